//! Layers with weights.

mod batch_norm;
mod conv;
mod conv_transpose;
mod embedding;
mod linear;
mod norm;

pub use batch_norm::BatchNorm;
pub use conv::Conv2d;
pub use conv_transpose::ConvTranspose2d;
pub use embedding::Embedding;
pub use linear::Linear;
pub use norm::{GroupNorm, LayerNorm};

use tch::Tensor;

use super::source::Init;
use super::{Module, Parameter, Source};
use crate::{Error, Result};

/// Any layer with parameters.
#[derive(Clone, Debug)]
pub enum Layer {
    /// 2-D convolution.
    Conv2d(Conv2d),
    /// 2-D transposed convolution.
    ConvTranspose2d(ConvTranspose2d),
    /// Affine map.
    Linear(Linear),
    /// Table of vectors.
    Embedding(Embedding),
    /// Normalisation in groups of channels.
    GroupNorm(GroupNorm),
    /// Normalisation over the last axes.
    LayerNorm(LayerNorm),
}

impl Layer {
    /// Its name in the network.
    pub fn name(&self) -> &str {
        let name = self.weight().name();
        name.strip_suffix(".weight").unwrap_or(name)
    }

    /// Its weight.
    pub(crate) fn weight(&self) -> &Parameter {
        match self {
            Self::Conv2d(layer) => &layer.affine.weight,
            Self::ConvTranspose2d(layer) => &layer.affine.weight,
            Self::Linear(layer) => &layer.affine.weight,
            Self::Embedding(layer) => &layer.weight,
            Self::GroupNorm(layer) => &layer.affine.weight,
            Self::LayerNorm(layer) => &layer.affine.weight,
        }
    }

    /// Its bias, if it has one.
    pub(crate) fn bias(&self) -> Option<&Parameter> {
        match self {
            Self::Conv2d(layer) => layer.affine.bias.as_ref(),
            Self::ConvTranspose2d(layer) => layer.affine.bias.as_ref(),
            Self::Linear(layer) => layer.affine.bias.as_ref(),
            Self::Embedding(_) => None,
            Self::GroupNorm(layer) => layer.affine.bias.as_ref(),
            Self::LayerNorm(layer) => layer.affine.bias.as_ref(),
        }
    }
}

/// Where the windows of a convolution lie: vertical, then horizontal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Side lengths of the kernel.
    pub size: [i64; 2],
    /// Steps from one window to the next.
    pub stride: [i64; 2],
    /// Zeros around the image, on each side.
    pub padding: [i64; 2],
    /// Steps from one pixel of a window to the next.
    pub dilation: [i64; 2],
    /// Parts that the channels of input and output are cut into; each sees its own alone.
    pub groups: i64,
}

impl Window {
    /// A square kernel, all else plain.
    pub fn square(size: i64) -> Self {
        Self { size: [size; 2], stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 1 }
    }

    /// The same stride both ways.
    #[must_use]
    pub fn stride(self, stride: i64) -> Self {
        Self { stride: [stride; 2], ..self }
    }

    /// The same padding both ways.
    #[must_use]
    pub fn padding(self, padding: i64) -> Self {
        Self { padding: [padding; 2], ..self }
    }
}

/// What all these layers have: a weight, and most of them a bias per output.
#[derive(Clone, Debug)]
struct Affine {
    weight: Parameter,
    bias: Option<Parameter>,
}

impl Affine {
    /// Parameters `<name>.weight` of `shape` and `<name>.bias` of `n_out` values, as PyTorch draws
    /// them.
    fn new(source: &mut Source<'_>, name: &str, shape: &[i64], n_out: i64, fan_in: i64) -> Result<Self> {
        let with_bias = Self::without_bias(source, name, shape, fan_in)?;
        let bias = source.parameter(&format!("{name}.bias"), &[n_out], Init::FanIn(fan_in))?;
        Ok(Self { bias: Some(bias), ..with_bias })
    }

    /// The weight of a convolution in a window's groups, of `shape`, and a bias where `bias` says
    /// so.
    ///
    /// PyTorch counts the fan-in over the weight's axes after the first; of a transposed
    /// convolution these are outputs.
    fn of_window(
        source: &mut Source<'_>,
        name: &str,
        (n_in, n_out): (i64, i64),
        window: Window,
        shape: [i64; 2],
        bias: bool,
    ) -> Result<Self> {
        let shape = Self::shape_of_window(name, (n_in, n_out), window, shape)?;
        let fan_in = shape[1..].iter().product();
        if bias {
            Self::new(source, name, &shape, n_out, fan_in)
        } else {
            Self::without_bias(source, name, &shape, fan_in)
        }
    }

    /// The shape of such a weight.
    fn shape_of_window(
        name: &str,
        (n_in, n_out): (i64, i64),
        window: Window,
        shape: [i64; 2],
    ) -> Result<[i64; 4]> {
        let groups = window.groups;
        if groups < 1 || n_in % groups != 0 || n_out % groups != 0 {
            return Err(Error::invalid(format!("{name}: {n_in} to {n_out} channels in {groups} groups")));
        }
        Ok([shape[0], shape[1] / groups, window.size[0], window.size[1]])
    }

    fn without_bias(source: &mut Source<'_>, name: &str, shape: &[i64], fan_in: i64) -> Result<Self> {
        Self::weight_alone(source, name, shape, Init::FanIn(fan_in))
    }

    fn weight_alone(source: &mut Source<'_>, name: &str, shape: &[i64], init: Init) -> Result<Self> {
        Ok(Self { weight: source.parameter(&format!("{name}.weight"), shape, init)?, bias: None })
    }

    /// A factor of 1 and a shift of 0 for each of the values of `shape`.
    fn identity(source: &mut Source<'_>, name: &str, shape: &[i64]) -> Result<Self> {
        Ok(Self {
            weight: source.parameter(&format!("{name}.weight"), shape, Init::Constant(1.0))?,
            bias: Some(source.parameter(&format!("{name}.bias"), shape, Init::Constant(0.0))?),
        })
    }

    /// How many networks of one shape these are side by side, where the weight has an axis more
    /// than `axes` for them.
    fn groups(&self, axes: usize) -> Option<i64> {
        let size = self.weight.value().size();
        (size.len() > axes).then(|| size[0])
    }

    fn values(&self) -> (&Tensor, Option<&Tensor>) {
        (self.weight.value(), self.bias.as_ref().map(Parameter::value))
    }
}

impl Module for Affine {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        f(&self.weight);
        if let Some(bias) = &self.bias {
            f(bias);
        }
    }
}
