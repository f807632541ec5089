//! The 2-D convolution.

use tch::{Device, Kind, Tensor};

use super::{Affine, Init, Layer, Window};
use crate::Result;
use crate::nn::fast::{taps, winograd};
use crate::nn::{Module, Parameter, Pass, Source};

/// 2-D convolution, with a bias or without.
#[derive(Clone, Debug)]
pub struct Conv2d {
    pub(super) affine: Affine,
    window: Window,
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
        let window = Window::square(k).stride(stride).padding(padding);
        Self::with_window(source, name, (n_in, n_out), window, true)
    }

    /// Weight `[n_out, n_in / groups, k, k']`, and a bias `[n_out]` where `bias` says so.
    ///
    /// # Errors
    /// See [`Source`]; channels that the groups do not divide.
    pub fn with_window(
        source: &mut Source<'_>,
        name: &str,
        (n_in, n_out): (i64, i64),
        window: Window,
        bias: bool,
    ) -> Result<Self> {
        let affine = Affine::of_window(source, name, (n_in, n_out), window, [n_out, n_in], bias)?;
        Ok(Self { affine, window })
    }

    /// The same without a bias, its weights normal with the variance `2 / (k k' n_out)` (He, Zhang,
    /// Ren, Sun, "Delving deep into rectifiers", 2015, equation 14).
    ///
    /// # Errors
    /// As [`Conv2d::with_window`].
    pub fn he(
        source: &mut Source<'_>,
        name: &str,
        (n_in, n_out): (i64, i64),
        window: Window,
    ) -> Result<Self> {
        let outputs = n_out * window.size[0] * window.size[1];
        let init = Init::Spread((2.0 / outputs as f32).sqrt());
        let shape = Affine::shape_of_window(name, (n_in, n_out), window, [n_out, n_in])?;
        Ok(Self { affine: Affine::weight_alone(source, name, &shape, init)?, window })
    }

    /// Where its weights are.
    pub fn device(&self) -> Device {
        self.affine.weight.value().device()
    }

    /// Where its windows lie.
    pub(crate) fn window(&self) -> Window {
        self.window
    }

    /// `[n, n_in, h, w]` to `[n, n_out, h', w']` with
    /// `h' = (h + 2 padding - dilation (k - 1) - 1) / stride + 1`; of g networks side by side,
    /// `[n, g n_in, h, w]` to `[n, g n_out, h', w']`.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let _guard = pass.guard();
        let (weight, bias) = self.affine.values();
        let Window { stride, padding, dilation, groups, .. } = self.window;
        let y = match self.groups() {
            None if self.suits_taps(x) => taps::sum(x, weight, bias),
            None if weight.requires_grad() && self.is_pointwise() => pointwise(x, weight, bias, stride),
            None => x.conv2d(weight, bias, stride, padding, dilation, groups),
            Some(networks) => {
                let bias = bias.map(|bias| bias.reshape([-1]));
                x.conv2d(&weight.flatten(0, 1), bias, stride, padding, dilation, networks * groups)
            }
        };
        pass.record(|| Layer::Conv2d(self.clone()), x, y)
    }

    /// The convolution, then 2x2 maximum pooling, then ReLU.
    ///
    /// # Shapes
    /// `[n, n_in, h, w]` to `[n, n_out, h' / 2, w' / 2]`, rounded down.
    pub fn relu_pool(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let _guard = pass.guard();
        let (weight, bias) = self.affine.values();
        let pooled = match bias {
            Some(bias) if matches!(pass, Pass::Infer) && self.suits_winograd(x) => {
                winograd::pooled(x, weight, bias)
            }
            _ => self.forward(x, pass).max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false),
        };
        // ReLU and maximum commute; after the pool it touches a quarter of the values.
        pass.relu(pooled)
    }

    /// How many networks side by side its weights are for; `None`: one alone.
    pub(crate) fn groups(&self) -> Option<i64> {
        self.affine.groups(4)
    }

    /// Windows of one pixel in an odd number of channels, in eights: for such weights' gradients
    /// oneDNN 3.12 writes past the end of its memory (`jit_avx2_1x1_convolution_bwd_weights_t`).
    fn is_pointwise(&self) -> bool {
        let shape = self.affine.weight.value().size();
        let Window { size, padding, groups, .. } = self.window;
        size == [1, 1] && padding == [0, 0] && groups == 1 && shape[..2].iter().any(|n| n % 8 != 0)
    }

    fn suits_winograd(&self, x: &Tensor) -> bool {
        let (size, axes) = (x.size(), self.affine.weight.value().dim());
        let plain = axes == 4 && self.window == Window::square(3);
        plain && x.kind() == Kind::Float && x.device() == Device::Cpu && winograd::takes(size[2], size[3])
    }

    fn suits_taps(&self, x: &Tensor) -> bool {
        let shape = self.affine.weight.value().size();
        let same_size =
            self.window == Window::square(shape[2]).padding((shape[2] - 1) / 2) && shape[2] % 2 == 1;
        same_size && x.device() == Device::Cpu && taps::takes(shape[0])
    }
}

/// A convolution with windows of one pixel, as a product.
fn pointwise(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: [i64; 2]) -> Tensor {
    let seen = x.slice(2, 0, None, stride[0]).slice(3, 0, None, stride[1]);
    seen.permute([0, 2, 3, 1]).linear(&weight.flatten(1, 3), bias).permute([0, 3, 1, 2])
}

impl Module for Conv2d {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.affine.visit(f);
    }
}
