//! Layers with weights.

mod conv;
mod conv_transpose;
mod linear;

pub use conv::Conv2d;
pub use conv_transpose::ConvTranspose2d;
pub use linear::Linear;

use super::{Module, Parameter, Source};
use crate::Result;

/// Any layer with parameters.
#[derive(Clone, Debug)]
pub enum Layer {
    /// 2-D convolution.
    Conv2d(Conv2d),
    /// 2-D transposed convolution.
    ConvTranspose2d(ConvTranspose2d),
    /// Affine map.
    Linear(Linear),
}

impl Layer {
    /// Its name in the network.
    pub fn name(&self) -> &str {
        let Affine { weight, .. } = match self {
            Self::Conv2d(layer) => &layer.affine,
            Self::ConvTranspose2d(layer) => &layer.affine,
            Self::Linear(layer) => &layer.affine,
        };
        weight.name().strip_suffix(".weight").unwrap_or(weight.name())
    }
}

/// What all these layers have: a weight, and a bias per output.
#[derive(Clone, Debug)]
struct Affine {
    weight: Parameter,
    bias: Parameter,
}

impl Affine {
    /// Parameters `<name>.weight` of `shape` and `<name>.bias` of `n_out` values.
    fn new(source: &mut Source<'_>, name: &str, shape: &[i64], n_out: i64, fan_in: i64) -> Result<Self> {
        Ok(Self {
            weight: source.parameter(&format!("{name}.weight"), shape, fan_in)?,
            bias: source.parameter(&format!("{name}.bias"), &[n_out], fan_in)?,
        })
    }

    /// How many networks of one shape these are side by side, where the weight has an axis more
    /// than `axes` for them.
    fn groups(&self, axes: usize) -> Option<i64> {
        let size = self.weight.value().size();
        (size.len() > axes).then(|| size[0])
    }
}

impl Module for Affine {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        f(&self.weight);
        f(&self.bias);
    }
}
