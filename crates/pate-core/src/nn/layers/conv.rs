use tch::{Device, Tensor};

use super::{Affine, Layer};
use crate::Result;
use crate::nn::{Module, Parameter, Pass, Source, winograd};

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

    /// `[n, n_in, h, w]` to `[n, n_out, h', w']` with `h' = (h + 2 padding - k) / stride + 1`; of g networks side by side,
    /// `[n, g n_in, h, w]` to `[n, g n_out, h', w']`.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let _guard = pass.guard();
        let (weight, bias) = (self.affine.weight.value(), self.affine.bias.value());
        let whole = |weight: &Tensor, bias: &Tensor, groups| {
            x.conv2d(weight, Some(bias), [self.stride; 2], [self.padding; 2], [1, 1], groups)
        };
        let y = match self.groups() {
            None if self.suits_taps(x) => self.sum_of_taps(x),
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
        // A kernel for vectors of output channels leaves 15 of 16 lanes idle where an image has one channel.
        let shape = self.affine.weight.value().size();
        let (n_out, k) = (shape[0], shape[2]);
        n_out <= 3 && self.stride == 1 && k == 2 * self.padding + 1 && x.device() == Device::Cpu
    }

    /// The convolution as one matrix product over channels, which gives a plane for each of the kernel's `k k` taps, and the sum of
    /// these planes, each moved to its place: columns after rows. For stride 1 and outputs of the inputs' size.
    ///
    /// It serves every [`Pass`]: nothing in it is written over, and libtorch can differentiate all of it.
    fn sum_of_taps(&self, x: &Tensor) -> Tensor {
        let (weight, bias) = (self.affine.weight.value(), self.affine.bias.value());
        let (shape, input) = (weight.size(), x.size());
        let (n_out, n_in, k) = (shape[0], shape[1], shape[2]);
        let (n, h, w) = (input[0], input[2], input[3]);
        let taps = weight.permute([2, 3, 0, 1]).reshape([k * k * n_out, n_in]);
        let pixels = x.permute([0, 2, 3, 1]).reshape([-1, n_in]); // no copy where channels come last
        let planes = taps.mm(&pixels.tr()).view([k, k, n_out, n, h, w]);
        let moved = |planes: &Tensor, tap: i64, pad: fn(i64) -> [i64; 4]| {
            let plane = planes.get(tap);
            let by = self.padding - tap;
            if by == 0 { plane } else { plane.constant_pad_nd(pad(by)) }
        };
        let sum = |planes: &Tensor, pad: fn(i64) -> [i64; 4]| {
            (1..k).fold(moved(planes, 0, pad), |sum, tap| sum + moved(planes, tap, pad))
        };
        let rows = sum(&planes, |by| [0, 0, by, -by]); // [k, n_out, n, h, w]
        let sum = sum(&rows, |by| [by, -by, 0, 0]) + bias.view([n_out, 1, 1, 1]);
        sum.transpose(0, 1).contiguous()
    }
}

impl Module for Conv2d {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.affine.visit(f);
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn a_sum_of_taps_is_the_convolution() {
        for (n_out, k) in [(1, 3), (3, 3), (2, 5), (1, 1)] {
            let random = |shape: &[i64]| {
                let n: i64 = shape.iter().product();
                (Tensor::arange(n, (Kind::Float, Device::Cpu)) * 12.9898).sin().view(shape)
            };
            let parameter = |name, shape: &[i64]| Parameter::new(name, random(shape).set_requires_grad(true));
            let affine =
                Affine { weight: parameter("weight", &[n_out, 4, k, k]), bias: parameter("bias", &[n_out]) };
            let layer = Conv2d { affine, stride: 1, padding: k / 2 };
            let (weight, bias) = (layer.affine.weight.value(), layer.affine.bias.value());
            // Channels last, as a transposed convolution leaves them.
            let x = random(&[2, 6, 7, 4]).permute([0, 3, 1, 2]).set_requires_grad(true);
            let inputs = [&x, weight, bias];
            let expected = x.conv2d(weight, Some(bias), [1; 2], [k / 2; 2], [1, 1], 1);
            let taps = layer.forward(&x, &mut Pass::differentiate());
            let close = |a: &Tensor, b: &Tensor| {
                assert_eq!(a.size(), b.size());
                let difference = (a - b).abs().max().double_value(&[]);
                assert!(difference < 1e-4, "{n_out} outputs, kernel {k}: {difference}");
            };
            close(&taps, &expected);
            // An upstream gradient that is another one at every pixel.
            let weigh = |y: &Tensor| (y * random(&y.size())).sum(Kind::Float);
            let found = crate::tensor::gradients(&weigh(&taps), &inputs).unwrap();
            let expected = crate::tensor::gradients(&weigh(&expected), &inputs).unwrap();
            found.iter().zip(&expected).for_each(|(found, expected)| close(found, expected));
        }
    }
}
