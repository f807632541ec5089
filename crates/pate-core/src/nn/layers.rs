use tch::{Device, Tensor};

use super::Source;
use crate::Result;

/// 2-D convolution with bias.
pub struct Conv2d {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
}

impl Conv2d {
    /// Weight `[n_out, n_in, k, k]`, bias `[n_out]`, under `<name>.weight` and `<name>.bias`.
    ///
    /// # Errors
    /// See [`Source`].
    pub fn new(
        source: &mut Source<'_>,
        name: &str,
        (n_in, n_out): (i64, i64),
        k: i64,
        (stride, padding): (i64, i64),
    ) -> Result<Self> {
        let fan_in = n_in * k * k;
        Ok(Self {
            weight: source.parameter(&format!("{name}.weight"), &[n_out, n_in, k, k], fan_in)?,
            bias: source.parameter(&format!("{name}.bias"), &[n_out], fan_in)?,
            stride,
            padding,
        })
    }

    /// `[n, n_in, h, w]` to `[n, n_out, h', w']` with `h' = (h + 2 padding - k) / stride + 1`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.conv2d(&self.weight, Some(&self.bias), [self.stride; 2], [self.padding; 2], [1, 1], 1)
    }

    /// The same layer for another thread: its weights are these, not copies.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            weight: self.weight.shallow_clone(),
            bias: self.bias.shallow_clone(),
            stride: self.stride,
            padding: self.padding,
        }
    }

    pub(crate) fn push_parameters<'a>(&'a self, name: &str, out: &mut Vec<(String, &'a Tensor)>) {
        out.push((format!("{name}.weight"), &self.weight));
        out.push((format!("{name}.bias"), &self.bias));
    }
}

/// 2-D transposed convolution with bias.
pub struct ConvTranspose2d {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
}

impl ConvTranspose2d {
    /// Weight `[n_in, n_out, k, k]`, bias `[n_out]`.
    ///
    /// # Errors
    /// See [`Source`].
    pub fn new(
        source: &mut Source<'_>,
        name: &str,
        (n_in, n_out): (i64, i64),
        k: i64,
        (stride, padding): (i64, i64),
    ) -> Result<Self> {
        // PyTorch counts the fan-in over the weight's second axis, which is the number of outputs here.
        let fan_in = n_out * k * k;
        Ok(Self {
            weight: source.parameter(&format!("{name}.weight"), &[n_in, n_out, k, k], fan_in)?,
            bias: source.parameter(&format!("{name}.bias"), &[n_out], fan_in)?,
            stride,
            padding,
        })
    }

    /// `[n, n_in, h, w]` to `[n, n_out, h', w']` with `h' = (h - 1) stride - 2 padding + k`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.conv_transpose2d(
            &self.weight,
            Some(&self.bias),
            [self.stride; 2],
            [self.padding; 2],
            [0, 0],
            1,
            [1, 1],
        )
    }

    /// The same layer for another thread: its weights are these, not copies.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            weight: self.weight.shallow_clone(),
            bias: self.bias.shallow_clone(),
            stride: self.stride,
            padding: self.padding,
        }
    }

    pub(crate) fn push_parameters<'a>(&'a self, name: &str, out: &mut Vec<(String, &'a Tensor)>) {
        out.push((format!("{name}.weight"), &self.weight));
        out.push((format!("{name}.bias"), &self.bias));
    }
}

/// Affine map with bias.
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// Weight `[n_out, n_in]`, bias `[n_out]`.
    ///
    /// # Errors
    /// See [`Source`].
    pub fn new(source: &mut Source<'_>, name: &str, n_in: i64, n_out: i64) -> Result<Self> {
        Ok(Self {
            weight: source.parameter(&format!("{name}.weight"), &[n_out, n_in], n_in)?,
            bias: source.parameter(&format!("{name}.bias"), &[n_out], n_in)?,
        })
    }

    /// `[n, n_in]` to `[n, n_out]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }

    /// Where its weights are.
    pub fn device(&self) -> Device {
        self.weight.device()
    }

    /// The same layer for another thread: its weights are these, not copies.
    #[must_use]
    pub fn share(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.shallow_clone() }
    }

    pub(crate) fn push_parameters<'a>(&'a self, name: &str, out: &mut Vec<(String, &'a Tensor)>) {
        out.push((format!("{name}.weight"), &self.weight));
        out.push((format!("{name}.bias"), &self.bias));
    }
}
