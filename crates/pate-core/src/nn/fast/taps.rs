//! A convolution with few output channels as one matrix product and a sum of shifted planes.

use tch::Tensor;

/// Whether a layer with `n_out` output channels gains by it: a kernel for vectors of output
/// channels leaves 15 of 16 lanes idle where an image has one channel.
pub(in crate::nn) fn takes(n_out: i64) -> bool {
    n_out <= 3
}

/// The convolution with stride 1 whose outputs have the inputs' size: one matrix product over
/// channels, which gives a plane for each of the kernel's `k k` taps, and the sum of these planes,
/// each moved to its place: columns after rows.
///
/// It serves every [`Pass`](crate::nn::Pass): nothing in it is written over, and libtorch can
/// differentiate all of it.
///
/// # Shapes
/// `x` `[n, n_in, h, w]`, `weight` `[n_out, n_in, k, k]` with k odd, `bias` `[n_out]` or none; to
/// `[n, n_out, h, w]`.
pub(in crate::nn) fn sum(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let (shape, input) = (weight.size(), x.size());
    let (n_out, n_in, k) = (shape[0], shape[1], shape[2]);
    let (n, h, w) = (input[0], input[2], input[3]);
    let taps = weight.permute([2, 3, 0, 1]).reshape([k * k * n_out, n_in]);
    let pixels = x.permute([0, 2, 3, 1]).reshape([-1, n_in]); // no copy where channels come last
    let planes = taps.mm(&pixels.tr()).view([k, k, n_out, n, h, w]);
    let moved = |planes: &Tensor, tap: i64, pad: fn(i64) -> [i64; 4]| {
        let plane = planes.get(tap);
        let by = k / 2 - tap;
        if by == 0 { plane } else { plane.constant_pad_nd(pad(by)) }
    };
    let sum = |planes: &Tensor, pad: fn(i64) -> [i64; 4]| {
        (1..k).fold(moved(planes, 0, pad), |sum, tap| sum + moved(planes, tap, pad))
    };
    let rows = sum(&planes, |by| [0, 0, by, -by]); // [k, n_out, n, h, w]
    let mut sum = sum(&rows, |by| [by, -by, 0, 0]);
    if let Some(bias) = bias {
        sum += bias.view([n_out, 1, 1, 1]);
    }
    sum.transpose(0, 1).contiguous()
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::base::tensor::gradients;

    #[test]
    fn a_sum_of_taps_is_the_convolution() {
        for (n_out, k) in [(1, 3), (3, 3), (2, 5), (1, 1)] {
            let random = |shape: &[i64]| {
                let n: i64 = shape.iter().product();
                (Tensor::arange(n, (Kind::Float, Device::Cpu)) * 12.9898).sin().view(shape)
            };
            let weight = random(&[n_out, 4, k, k]).set_requires_grad(true);
            let bias = random(&[n_out]).set_requires_grad(true);
            // Channels last, as a transposed convolution leaves them.
            let x = random(&[2, 6, 7, 4]).permute([0, 3, 1, 2]).set_requires_grad(true);
            let inputs = [&x, &weight, &bias];
            let expected = x.conv2d(&weight, Some(&bias), [1; 2], [k / 2; 2], [1, 1], 1);
            let taps = sum(&x, &weight, Some(&bias));
            let close = |a: &Tensor, b: &Tensor| {
                assert_eq!(a.size(), b.size());
                let difference = (a - b).abs().max().double_value(&[]);
                assert!(difference < 1e-4, "{n_out} outputs, kernel {k}: {difference}");
            };
            close(&taps, &expected);
            // An upstream gradient that is another one at every pixel.
            let weigh = |y: &Tensor| (y * random(&y.size())).sum(Kind::Float);
            let found = gradients(&weigh(&taps), &inputs).unwrap();
            let expected = gradients(&weigh(&expected), &inputs).unwrap();
            found.iter().zip(&expected).for_each(|(found, expected)| close(found, expected));
        }
    }
}
