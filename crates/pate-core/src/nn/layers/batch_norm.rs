//! Normalisation over a batch.

use tch::Tensor;

use super::Affine;
use crate::Result;
use crate::nn::{Module, Parameter, Pass, Source};

/// Share of a batch's statistics in the running ones (PyTorch's default).
const MOMENTUM: f64 = 0.1;
/// What is added to variances (PyTorch's default).
const EPSILON: f64 = 1e-5;

/// Normalisation of each channel over a whole batch, then a factor and a shift (Ioffe and Szegedy,
/// "Batch normalization", 2015).
///
/// In [`Pass::Train`] the batch's own mean and variance count, and a tenth of them goes into the
/// running ones, which count in [`Pass::Infer`] and for a single value.
///
/// # Privacy
/// It mixes the records of a batch, so that a record's gradient is not its own. Private training
/// refuses it: in [`Pass::Record`] the running statistics stand in, and nothing is recorded, so
/// that its factors are found to have no gradients of single records.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    affine: Affine,
    mean: Parameter,
    variance: Parameter,
}

impl BatchNorm {
    /// Weight 1, bias 0, `running_mean` 0 and `running_var` 1, each `[channels]`, under `name`.
    ///
    /// # Errors
    /// See [`Source`].
    pub fn new(source: &mut Source<'_>, name: &str, channels: i64) -> Result<Self> {
        Ok(Self {
            affine: Affine::identity(source, name, &[channels])?,
            mean: source.buffer(&format!("{name}.running_mean"), &[channels], 0.0)?,
            variance: source.buffer(&format!("{name}.running_var"), &[channels], 1.0)?,
        })
    }

    /// `[n, channels, ...]` to the same shape.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let _guard = pass.guard();
        let (weight, bias) = self.affine.values();
        let (mean, variance) = (Some(self.mean.value()), Some(self.variance.value()));
        // One value has no variance.
        let several = x.numel() as i64 > weight.size()[0];
        let training = matches!(pass, Pass::Train { .. }) && several;
        x.batch_norm(Some(weight), bias, mean, variance, training, MOMENTUM, EPSILON, false)
    }
}

impl Module for BatchNorm {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.affine.visit(f);
        f(&self.mean);
        f(&self.variance);
    }
}
