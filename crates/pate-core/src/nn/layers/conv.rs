//! The 2-D convolution.

use tch::{Device, Tensor};

use super::{Affine, Layer};
use crate::Result;
use crate::nn::fast::{taps, winograd};
use crate::nn::{Module, Parameter, Pass, Source};

/// 2-D convolution with bias.
#[derive(Clone, Debug)]
pub struct Conv2d {
    pub(super) affine: Affine,
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
        let affine = Affine::new(source, name, &[n_out, n_in, k, k], n_out, n_in * k * k)?;
        Ok(Self { affine, stride, padding })
    }

    /// `[n, n_in, h, w]` to `[n, n_out, h', w']` with `h' = (h + 2 padding - k) / stride + 1`; of g
    /// networks side by side, `[n, g n_in, h, w]` to `[n, g n_out, h', w']`.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let _guard = pass.guard();
        let (weight, bias) = (self.affine.weight.value(), self.affine.bias.value());
        let whole = |weight: &Tensor, bias: &Tensor, groups| {
            x.conv2d(weight, Some(bias), [self.stride; 2], [self.padding; 2], [1, 1], groups)
        };
        let y = match self.groups() {
            None if self.suits_taps(x) => taps::sum(x, weight, bias),
            None => whole(weight, bias, 1),
            Some(groups) => whole(&weight.flatten(0, 1), &bias.reshape([-1]), groups),
        };
        pass.record(|| Layer::Conv2d(self.clone()), x, &y);
        y
    }

    /// The convolution, then 2x2 maximum pooling, then ReLU.
    ///
    /// # Shapes
    /// `[n, n_in, h, w]` to `[n, n_out, h' / 2, w' / 2]`, rounded down.
    pub fn relu_pool(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let _guard = pass.guard();
        let pooled = if matches!(pass, Pass::Infer) && self.suits_winograd(x) {
            winograd::pooled(x, self.affine.weight.value(), self.affine.bias.value())
        } else {
            self.forward(x, pass).max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)
        };
        // ReLU and maximum commute; after the pool it touches a quarter of the values.
        pass.relu(pooled)
    }

    /// How many networks side by side its weights are for; `None`: one alone.
    pub(crate) fn groups(&self) -> Option<i64> {
        self.affine.groups(4)
    }

    fn suits_winograd(&self, x: &Tensor) -> bool {
        let (size, shape) = (x.size(), self.affine.weight.value().size());
        let small = shape.len() == 4 && shape[2..] == [3, 3] && (self.stride, self.padding) == (1, 0);
        small && x.device() == Device::Cpu && winograd::takes(size[2], size[3])
    }

    fn suits_taps(&self, x: &Tensor) -> bool {
        let shape = self.affine.weight.value().size();
        let same_size = self.stride == 1 && shape[2] == 2 * self.padding + 1;
        same_size && x.device() == Device::Cpu && taps::takes(shape[0])
    }
}

impl Module for Conv2d {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.affine.visit(f);
    }
}
