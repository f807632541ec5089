//! Normalisations that look at one record alone, and so fit private training.

use tch::Tensor;

use super::{Affine, Layer};
use crate::base::tensor::channels_last;
use crate::nn::{Module, Parameter, Pass, Source};
use crate::{Error, Result};

/// Normalisation over the values of groups of channels, then a factor and a shift per channel
/// (Wu and He, "Group normalization", 2018).
#[derive(Clone, Debug)]
pub struct GroupNorm {
    pub(super) affine: Affine,
    groups: i64,
    epsilon: f64,
}

impl GroupNorm {
    /// Weight and bias `[channels]`, 1 and 0 at first. PyTorch's `epsilon` is 1e-5.
    ///
    /// # Errors
    /// See [`Source`]; channels that the groups do not divide.
    pub fn new(
        source: &mut Source<'_>,
        name: &str,
        (groups, channels): (i64, i64),
        epsilon: f64,
    ) -> Result<Self> {
        if groups < 1 || channels % groups != 0 {
            return Err(Error::invalid(format!("{name}: {channels} channels in {groups} groups")));
        }
        Ok(Self { affine: Affine::identity(source, name, &[channels])?, groups, epsilon })
    }

    /// `[n, channels, ...]` to the same shape.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let _guard = pass.guard();
        let (weight, bias) = self.affine.values();
        let norm = |x: &Tensor| x.group_norm(self.groups, Some(weight), bias, self.epsilon, false);
        // Where channels come last, libtorch takes ten to twenty times as long as where they come
        // first, forward and backward: moving the values there and back costs less.
        let last = x.dim() == 4 && !x.is_contiguous();
        let y = if last { channels_last(&norm(&x.contiguous())) } else { norm(x) };
        pass.record(|| Layer::GroupNorm(self.clone()), x, y)
    }

    /// Factors and shifts, where what they are applied to can be had back from the output without a
    /// loss: no shift is larger than a few of the factors.
    pub(crate) fn inverse(&self) -> Option<(Tensor, Tensor)> {
        let (weight, bias) = self.affine.values();
        let bias = bias.map_or_else(|| weight.zeros_like(), Tensor::shallow_clone);
        let least = weight.abs().min().double_value(&[]);
        let most = bias.abs().max().double_value(&[]);
        (least > 0.0 && most <= 4.0 * least).then(|| (weight.shallow_clone(), bias))
    }

    /// What the factors and shifts are applied to.
    pub(crate) fn normalised(&self, x: &Tensor) -> Tensor {
        // By hand: libtorch's takes ten times as long where channels come last.
        let size = x.size();
        let (n, channels) = (size[0], size[1]);
        let maps = if size.len() == 4 { x.shallow_clone() } else { x.reshape([n, channels, -1, 1]) };
        // The mean over a group, for each of its channels.
        let mean = |maps: &Tensor| {
            let means = maps.mean_dim([2, 3].as_slice(), false, None).view([n, self.groups, -1]);
            let mean = means.mean_dim(2, true, None).expand_as(&means);
            mean.reshape([n, channels, 1, 1])
        };
        let centred = &maps - mean(&maps);
        let variance = mean(&(&centred * &centred));
        (centred * (variance + self.epsilon).rsqrt()).view_as(x)
    }
}

impl Module for GroupNorm {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.affine.visit(f);
    }
}

/// Normalisation over the last axes, then a factor and a shift per value (Ba, Kiros, Hinton,
/// "Layer normalization", 2016).
#[derive(Clone, Debug)]
pub struct LayerNorm {
    pub(super) affine: Affine,
    shape: Vec<i64>,
    epsilon: f64,
}

impl LayerNorm {
    /// Weight and bias of `shape`, 1 and 0 at first. PyTorch's `epsilon` is 1e-5.
    ///
    /// # Errors
    /// See [`Source`].
    pub fn new(source: &mut Source<'_>, name: &str, shape: &[i64], epsilon: f64) -> Result<Self> {
        Ok(Self { affine: Affine::identity(source, name, shape)?, shape: shape.to_vec(), epsilon })
    }

    /// `[n, ..., shape]` to the same shape.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let _guard = pass.guard();
        let (weight, bias) = self.affine.values();
        let y = x.layer_norm(&self.shape[..], Some(weight), bias, self.epsilon, false);
        pass.record(|| Layer::LayerNorm(self.clone()), x, y)
    }

    /// Values that a row is normalised over.
    pub(crate) fn width(&self) -> i64 {
        self.shape.iter().product()
    }

    /// What the factors and shifts are applied to.
    pub(crate) fn normalised(&self, x: &Tensor) -> Tensor {
        x.layer_norm(&self.shape[..], None::<Tensor>, None::<Tensor>, self.epsilon, false)
    }
}

impl Module for LayerNorm {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.affine.visit(f);
    }
}
