//! The affine map.

use tch::{Device, Tensor};

use super::{Affine, Init, Layer};
use crate::Result;
use crate::nn::{Module, Parameter, Pass, Source};

/// Affine map, with a bias or without.
#[derive(Clone, Debug)]
pub struct Linear {
    pub(super) affine: Affine,
}

impl Linear {
    /// Weight `[n_out, n_in]`, bias `[n_out]`, under `<name>.weight` and `<name>.bias`.
    ///
    /// # Errors
    /// See [`Source`].
    pub fn new(source: &mut Source<'_>, name: &str, n_in: i64, n_out: i64) -> Result<Self> {
        Ok(Self { affine: Affine::new(source, name, &[n_out, n_in], n_out, n_in)? })
    }

    /// The same without a bias: a linear map.
    ///
    /// # Errors
    /// See [`Source`].
    pub fn without_bias(source: &mut Source<'_>, name: &str, n_in: i64, n_out: i64) -> Result<Self> {
        Ok(Self { affine: Affine::without_bias(source, name, &[n_out, n_in], n_in)? })
    }

    /// The same with a bias that is 0 at first, and weights that are normal with the standard
    /// deviation `spread`, or PyTorch's where there is none.
    ///
    /// # Errors
    /// See [`Source`].
    pub fn with_spread(
        source: &mut Source<'_>,
        name: &str,
        n_in: i64,
        n_out: i64,
        spread: Option<f32>,
    ) -> Result<Self> {
        let init = spread.map_or(Init::FanIn(n_in), Init::Spread);
        let weight = Affine::weight_alone(source, name, &[n_out, n_in], init)?;
        let bias = source.parameter(&format!("{name}.bias"), &[n_out], Init::Constant(0.0))?;
        Ok(Self { affine: Affine { bias: Some(bias), ..weight } })
    }

    /// `[n, ..., n_in]` to `[n, ..., n_out]`; of g networks side by side, `[g, n, n_in]` to
    /// `[g, n, n_out]`.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let _guard = pass.guard();
        let (weight, bias) = self.affine.values();
        let y = match (self.groups(), bias) {
            (None, _) => x.linear(weight, bias),
            (Some(_), Some(bias)) => bias.unsqueeze(1).baddbmm(x, &weight.transpose(1, 2), 1.0, 1.0),
            (Some(_), None) => x.bmm(&weight.transpose(1, 2)),
        };
        pass.record(|| Layer::Linear(self.clone()), x, y)
    }

    /// How many networks side by side its weights are for; `None`: one alone.
    pub(crate) fn groups(&self) -> Option<i64> {
        self.affine.groups(2)
    }

    /// Values that it takes.
    pub fn inputs(&self) -> i64 {
        self.affine.weight.value().size().last().copied().unwrap_or(0)
    }

    /// Where its weights are.
    pub fn device(&self) -> Device {
        self.affine.weight.value().device()
    }
}

impl Module for Linear {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.affine.visit(f);
    }
}
