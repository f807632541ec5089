//! Winograd's minimal filtering over rows: four rows of a 3x3 convolution from six products instead
//! of twelve.
//!
//! F(4, 3) of A. Lavin and S. Gray, *Fast Algorithms for Convolutional Neural Networks* (CVPR
//! 2016), with their points 0, 1, -1, 2 and -2, along the height alone. The width and the channels
//! stay a convolution of libtorch's, which runs at the rate of a matrix product, so the sums before
//! and after it go over whole rows in memory. Both directions would save more products and lose it
//! again to sums over single pixels.
//!
//! Rounding: about three times the direct convolution's error in float32 (4e-6 against 1.5e-6 where
//! outputs are near 1).

use tch::{Device, Kind, Tensor};

/// Output rows of a tile.
const ROWS: i64 = 4;
/// Input rows of a tile, and products of it, by number.
const POINTS: [i64; 6] = [0, 1, 2, 3, 4, 5];
/// Images whose products stay in a processor core's cache.
const IMAGES: i64 = 16;

/// What each product takes of a kernel's three rows: the matrix G.
const KERNEL: [f32; 18] = [
    1.0 / 4.0,
    0.0,
    0.0,
    -1.0 / 6.0,
    -1.0 / 6.0,
    -1.0 / 6.0,
    -1.0 / 6.0,
    1.0 / 6.0,
    -1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 12.0,
    1.0 / 6.0,
    1.0 / 24.0,
    -1.0 / 12.0,
    1.0 / 6.0,
    0.0,
    0.0,
    1.0,
];

/// Whether [`pooled`] can take images of `height` and `width`: whole tiles, whole pairs of columns.
pub(in crate::nn) fn takes(height: i64, width: i64) -> bool {
    height > 2 && width > 2 && (height - 2) % ROWS == 0 && (width - 2) % 2 == 0
}

/// 3x3 convolution of stride 1 without padding, then 2x2 maximum, then bias:
/// `max_pool2d(conv2d(x) + bias, 2)`, on the CPU, without gradients.
///
/// # Shapes
/// `x` `[n, n_in, h, w]`, channels-last, of a size that [`takes`] accepts; `weight`
/// `[n_out, n_in, 3, 3]`; to `[n, n_out, (h - 2) / 2, (w - 2) / 2]`, channels-last.
pub(in crate::nn) fn pooled(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let float = (Kind::Float, Device::Cpu);
    let pixels = x.permute([0, 2, 3, 1]); // [n, h, w, n_in], rows whole in memory
    let (size, n_out) = (pixels.size(), weight.size()[0]);
    let (n, w, n_in) = (size[0], size[2], size[3]);
    let (tiles, columns) = ((size[1] - 2) / ROWS, w - 2);
    let kernels = kernels(weight);
    let out = Tensor::empty([n, tiles * 2, columns / 2, n_out], float);

    let most = IMAGES.min(n);
    // One group's buffers serve all groups, so that they stay in the core's cache.
    let rows = Tensor::empty([6, most, tiles, w, n_in], float);
    let scratch = Tensor::empty([2, most, tiles, w, n_in], float);
    let higher = Tensor::empty([most, tiles, 2, columns, n_out], float);
    for first in (0..n).step_by(IMAGES as usize) {
        let n = IMAGES.min(n - first);
        let rows = rows.narrow(1, 0, n);
        transform(&pixels.narrow(0, first, n), &rows, &scratch.narrow(1, 0, n));
        let products = POINTS.map(|point| {
            let rows = rows.get(point).permute([0, 3, 1, 2]); // [n, n_in, tiles, w]
            let product = rows.conv2d(&kernels[point as usize], None::<Tensor>, [1, 1], [0, 0], [1, 1], 1);
            product.permute([0, 2, 3, 1]) // [n, tiles, columns, n_out]
        });
        let higher = higher.narrow(0, 0, n);
        outputs(&products, &higher);
        // The larger of two columns, which lie side by side.
        let pairs = higher.view([n, tiles * 2, columns / 2, 2, n_out]);
        let out = out.narrow(0, first, n);
        let _ = pairs.select(3, 0).maximum_out(&out, &pairs.select(3, 1));
    }
    // All pixels of a channel have the same bias, so it can follow the maximum, which leaves a
    // quarter of the values.
    let _ = out.add_out(&out, bias);
    out.permute([0, 3, 1, 2])
}

/// A kernel `[n_out, n_in, 1, 3]`, channels-last, for every product.
fn kernels(weight: &Tensor) -> [Tensor; 6] {
    let size = weight.size();
    let by_row = weight.permute([2, 0, 3, 1]).reshape([3, -1]); // [3, n_out * 3 * n_in]
    let all = Tensor::from_slice(&KERNEL).view([6, 3]).mm(&by_row);
    let all = all.view([6, size[0], 1, 3, size[1]]).permute([0, 1, 4, 2, 3]);
    POINTS.map(|point| all.get(point))
}

/// The six sums of a tile's rows, for all tiles: the matrix B transposed.
fn transform(pixels: &Tensor, rows: &Tensor, scratch: &Tensor) {
    let last = pixels.size()[1] - 6;
    let [r0, r1, r2, r3, r4, r5] = &POINTS.map(|row| pixels.slice(1, row, last + row + 1, ROWS));
    let [t0, t1, t2, t3, t4, t5] = &POINTS.map(|point| rows.get(point));
    let (p, q) = (&scratch.get(0), &scratch.get(1));
    // t1, t2 = (r4 - 4 r2) +- (r3 - 4 r1)
    add(p, r4, -4.0, r2);
    add(q, r3, -4.0, r1);
    let _ = p.add_out(t1, q);
    let _ = p.sub_out(t2, q);
    // t0 = 4 r0 - 5 r2 + r4; t5 = 4 r1 - 5 r3 + r5
    let _ = p.sub_out(t0, r2);
    add(t0, t0, 4.0, r0);
    add(t5, r5, -5.0, r3);
    add(t5, t5, 4.0, r1);
    // t3, t4 = (r4 - r2) +- 2 (r3 - r1)
    let _ = r4.sub_out(p, r2);
    let _ = r3.sub_out(q, r1);
    add(t3, p, 2.0, q);
    add(t4, p, -2.0, q);
}

/// `out = x + times y` in one pass.
fn add(out: &Tensor, x: &Tensor, times: f64, y: &Tensor) {
    let times = Tensor::scalar_tensor(times, (Kind::Float, Device::Cpu));
    let _ = x.addcmul_out(out, y, &times);
}

/// The four rows of every tile from its six products, and the larger of each two: the matrix A
/// transposed. Uses the products up.
///
/// `products` `[n, tiles, columns, n_out]` each; `higher` `[n, tiles, 2, columns, n_out]`.
fn outputs([m0, m1, m2, m3, m4, m5]: &[Tensor; 6], higher: &Tensor) {
    // a, b = m1 +- m2; c, d = m3 +- m4
    let a = &(m1 + m2);
    let b = m1;
    let _ = m1.sub_out(b, m2);
    let c = m2;
    let _ = m3.add_out(c, m4);
    let d = m3;
    let _ = m3.sub_out(d, m4);
    // y0 = m0 + a + c; y1 = b + 2 d
    let _ = m0.add_out(m0, a);
    let _ = m0.add_out(m0, c);
    add(m4, b, 2.0, d);
    let _ = m0.maximum_out(&higher.select(2, 0), m4);
    // y2 = a + 4 c; y3 = b + 8 d + m5
    add(a, a, 4.0, c);
    let _ = m5.add_out(m5, b);
    add(m5, m5, 8.0, d);
    let _ = a.maximum_out(&higher.select(2, 1), m5);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_convolution_then_the_maximum() {
        let random = |shape: &[i64]| {
            let n: i64 = shape.iter().product();
            (Tensor::arange(n, (Kind::Float, Device::Cpu)) * 12.9898).sin().view(shape)
        };
        for (n, n_in, n_out, height, width) in [(1, 32, 64, 26, 26), (35, 8, 5, 6, 10), (17, 3, 4, 14, 4)] {
            assert!(takes(height, width));
            let x = random(&[n, height, width, n_in]).permute([0, 3, 1, 2]);
            let (weight, bias) = (random(&[n_out, n_in, 3, 3]), random(&[n_out]));
            let found = pooled(&x, &weight, &bias);
            let exact = |t: &Tensor| t.to_kind(Kind::Double);
            let expected = exact(&x)
                .conv2d(&exact(&weight), Some(exact(&bias)), [1, 1], [0, 0], [1, 1], 1)
                .max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false);
            assert_eq!(found.size(), expected.size());
            // Sums of up to 288 products of numbers up to 1.
            let difference = (&found - &expected).abs().max().double_value(&[]);
            assert!(difference < 5e-5, "{n} images of {height}x{width}: {difference}");
            // What an image gets does not depend on the others.
            let alone = pooled(&x.narrow(0, n - 1, 1), &weight, &bias);
            let difference = (found.narrow(0, n - 1, 1) - alone).abs().max().double_value(&[]);
            assert!(difference < 5e-5, "{difference}");
        }
        for (height, width) in [(27, 26), (26, 27), (2, 4), (0, 0), (5, 6)] {
            assert!(!takes(height, width), "{height}x{width}");
        }
    }
}
