//! A table of vectors.

use tch::Tensor;

use super::Layer;
use crate::Result;
use crate::nn::source::Init;
use crate::nn::{Module, Parameter, Pass, Source};

/// A vector for each of a number of classes.
#[derive(Clone, Debug)]
pub struct Embedding {
    pub(super) weight: Parameter,
}

impl Embedding {
    /// Weight `[entries, width]` under `<name>.weight`, standard normal as PyTorch draws it.
    ///
    /// # Errors
    /// See [`Source`].
    pub fn new(source: &mut Source<'_>, name: &str, entries: i64, width: i64) -> Result<Self> {
        let weight = source.parameter(&format!("{name}.weight"), &[entries, width], Init::Normal)?;
        Ok(Self { weight })
    }

    /// Indices, int64 `[n, ...]`, to vectors `[n, ..., width]`.
    pub fn forward(&self, indices: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let _guard = pass.guard();
        let y = Tensor::embedding(self.weight.value(), indices, -1, false, false);
        pass.record(|| Layer::Embedding(self.clone()), indices, y)
    }
}

impl Module for Embedding {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        f(&self.weight);
    }
}
