//! The 2-D transposed convolution.

use tch::Tensor;

use super::{Affine, Layer, Window};
use crate::Result;
use crate::nn::{Module, Parameter, Pass, Source};

/// 2-D transposed convolution, with a bias or without.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    pub(super) affine: Affine,
    window: Window,
    output_padding: [i64; 2],
}

impl ConvTranspose2d {
    /// Weight `[n_in, n_out, k, k]`, bias `[n_out]`, under `<name>.weight` and `<name>.bias`.
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
        Self::with_window(source, name, (n_in, n_out), window, [0; 2], true)
    }

    /// Weight `[n_in, n_out / groups, k, k']`, and a bias `[n_out]` where `bias` says so;
    /// `output_padding` rows and columns more at the end.
    ///
    /// # Errors
    /// See [`Source`]; channels that the groups do not divide.
    pub fn with_window(
        source: &mut Source<'_>,
        name: &str,
        (n_in, n_out): (i64, i64),
        window: Window,
        output_padding: [i64; 2],
        bias: bool,
    ) -> Result<Self> {
        let affine = Affine::of_window(source, name, (n_in, n_out), window, [n_in, n_out], bias)?;
        Ok(Self { affine, window, output_padding })
    }

    /// Where its windows lie in the output.
    pub(crate) fn window(&self) -> Window {
        self.window
    }

    /// `[n, n_in, h, w]` to `[n, n_out, h', w']`; of g networks side by side, `[n, g n_in, h, w]`
    /// to `[n, g n_out, h', w']`.
    ///
    /// Here `h' = (h - 1) stride + dilation (k - 1) + 1 + output_padding - 2 padding`.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let _guard = pass.guard();
        let (weight, bias) = self.affine.values();
        let without_bias = |weight: &Tensor, networks| {
            let Window { stride, padding, dilation, groups, .. } = self.window;
            let (more, groups) = (self.output_padding, networks * groups);
            x.conv_transpose2d(weight, None::<Tensor>, stride, padding, more, groups, dilation)
        };
        let mut y = match self.affine.groups(4) {
            None => without_bias(weight, 1),
            Some(networks) => without_bias(&weight.flatten(0, 1), networks),
        };
        // oneDNN adds a transposed convolution's bias with reference code, which takes up to a
        // third of the layer's time.
        if let Some(bias) = bias {
            y += bias.view([-1, 1, 1]);
        }
        pass.record(|| Layer::ConvTranspose2d(self.clone()), x, y)
    }
}

impl Module for ConvTranspose2d {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.affine.visit(f);
    }
}
