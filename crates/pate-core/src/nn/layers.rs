use tch::{Device, Tensor};

use super::{Source, winograd};
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
        let (n_out, k) = (self.weight.size()[0], self.weight.size()[2]);
        // A kernel for vectors of output channels leaves 15 of 16 lanes idle where an image has one channel.
        if n_out <= 3 && self.stride == 1 && k == 2 * self.padding + 1 && x.device() == Device::Cpu {
            return self.sum_of_taps(x);
        }
        x.conv2d(&self.weight, Some(&self.bias), [self.stride; 2], [self.padding; 2], [1, 1], 1)
    }

    /// The convolution, then 2x2 maximum pooling, then ReLU.
    ///
    /// # Shapes
    /// `[n, n_in, h, w]` to `[n, n_out, h' / 2, w' / 2]`, rounded down.
    pub fn relu_pool(&self, x: &Tensor) -> Tensor {
        // Who asks for gradients gets libtorch's convolution: the other way writes over what they would need.
        let weight = self.weight.permute([0, 1, 2, 3]);
        let (size, shape) = (x.size(), self.weight.size());
        let recorded = weight.requires_grad() || x.requires_grad();
        let small = shape[2..] == [3, 3] && (self.stride, self.padding) == (1, 0);
        let mut pooled =
            if !recorded && small && x.device() == Device::Cpu && winograd::takes(size[2], size[3]) {
                winograd::pooled(x, &weight, &self.bias)
            } else {
                self.forward(x).max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)
            };
        // ReLU and maximum commute; after the pool it touches a quarter of the values. In place: no gradient needs its input.
        pooled.relu_()
    }

    /// The convolution as one matrix product over channels, which gives a plane for each of the kernel's `k k` taps, and the sum of
    /// these planes, each moved to its place: columns after rows. For stride 1 and outputs of the inputs' size.
    fn sum_of_taps(&self, x: &Tensor) -> Tensor {
        let (weight, input) = (self.weight.size(), x.size());
        let (n_out, n_in, k) = (weight[0], weight[1], weight[2]);
        let (n, h, w) = (input[0], input[2], input[3]);
        let taps = self.weight.permute([2, 3, 0, 1]).reshape([k * k * n_out, n_in]);
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
        let sum = sum(&rows, |by| [by, -by, 0, 0]) + self.bias.view([n_out, 1, 1, 1]);
        sum.transpose(0, 1).contiguous()
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
        // oneDNN adds a transposed convolution's bias with reference code, which takes up to a third of the layer's time.
        let mut y = x.conv_transpose2d(
            &self.weight,
            None::<Tensor>,
            [self.stride; 2],
            [self.padding; 2],
            [0, 0],
            1,
            [1, 1],
        );
        y += self.bias.view([-1, 1, 1]);
        y
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
            let layer = Conv2d {
                weight: random(&[n_out, 4, k, k]).set_requires_grad(true),
                bias: random(&[n_out]).set_requires_grad(true),
                stride: 1,
                padding: k / 2,
            };
            // Channels last, as a transposed convolution leaves them.
            let x = random(&[2, 6, 7, 4]).permute([0, 3, 1, 2]).set_requires_grad(true);
            let inputs = [&x, &layer.weight, &layer.bias];
            let expected = x.conv2d(&layer.weight, Some(&layer.bias), [1; 2], [k / 2; 2], [1, 1], 1);
            let taps = layer.forward(&x);
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
