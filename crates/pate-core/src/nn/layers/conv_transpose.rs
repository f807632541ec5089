//! The 2-D transposed convolution.

use tch::Tensor;

use super::{Affine, Layer};
use crate::Result;
use crate::nn::{Module, Parameter, Pass, Source};

/// 2-D transposed convolution with bias.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    pub(super) affine: Affine,
    stride: i64,
    padding: i64,
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
        // PyTorch counts the fan-in over the weight's second axis, which is the number of outputs
        // here.
        let affine = Affine::new(source, name, &[n_in, n_out, k, k], n_out, n_out * k * k)?;
        Ok(Self { affine, stride, padding })
    }

    /// `[n, n_in, h, w]` to `[n, n_out, h', w']` with `h' = (h - 1) stride - 2 padding + k`; of g
    /// networks side by side, `[n, g n_in, h, w]` to `[n, g n_out, h', w']`.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let _guard = pass.guard();
        let (weight, bias) = (self.affine.weight.value(), self.affine.bias.value());
        let without_bias = |weight: &Tensor, groups| {
            let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
            x.conv_transpose2d(weight, None::<Tensor>, stride, padding, [0, 0], groups, [1, 1])
        };
        let mut y = match self.affine.groups(4) {
            None => without_bias(weight, 1),
            Some(groups) => without_bias(&weight.flatten(0, 1), groups),
        };
        // oneDNN adds a transposed convolution's bias with reference code, which takes up to a
        // third of the layer's time.
        y += bias.view([-1, 1, 1]);
        pass.record(|| Layer::ConvTranspose2d(self.clone()), x, &y);
        y
    }
}

impl Module for ConvTranspose2d {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.affine.visit(f);
    }
}
