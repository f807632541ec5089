//! The same transform with gradients for the images: every product is libtorch's to differentiate,
//! and nothing is written over.

use tch::Tensor;

use super::Scatter;
use super::maps::Level;
use crate::{Error, Result};

/// Added under the roots of moduli. Where a wavelet sees nothing, as on an even ground, the modulus
/// is 0 and has no derivative; a modulus is larger by at most a millionth for it.
const EVEN: f64 = 1e-12;

impl Scatter {
    /// The features of images with gradients for these; see [`Scatter::forward`], which gives the
    /// same values to a millionth and is several times as fast.
    ///
    /// # Shapes
    /// As [`Scatter::forward`].
    ///
    /// # Errors
    /// As [`Scatter::forward`].
    pub fn differentiable(&self, x: &Tensor) -> Result<Tensor> {
        let (n, colours) = self.check(x)?;
        let [height, width] = self.size;
        let planes = n * colours;
        let pixels = x.f_reshape([planes, height, width])?.f_permute([2, 1, 0])?;
        let [n_out, rows, columns] = self.output();
        let angles = self.angles;
        let Some((level, levels)) = self.levels.split_first() else {
            return Err(Error::invalid("a scattering has no maps"));
        };
        // [planes, channels, rows, columns] each, in the order of the channels.
        let mut first = Vec::new();
        let mut second = Vec::new();
        let average = low_pass(level, &pixels).f_unsqueeze(0)?.f_permute([3, 0, 2, 1])?;
        let spectrum = spectrum(level, &pixels);
        for (wavelets, level) in level.wavelets.iter().zip(levels) {
            let x = wavelets.moduli_of(&spectrum, EVEN);
            let low = low_pass(level, &x).f_view([columns, rows, angles, planes])?;
            first.push(low.f_permute([3, 2, 1, 0])?);
            let coarser = level.wavelets.len() as i64;
            if coarser == 0 {
                continue;
            }
            let spectrum = self::spectrum(level, &x);
            let after = &levels[levels.len() - level.wavelets.len()..];
            let mut parts = Vec::new();
            for (wavelets, level) in level.wavelets.iter().zip(after) {
                let x = wavelets.moduli_of(&spectrum, EVEN);
                let low = low_pass(level, &x).f_view([columns, rows, angles, angles, planes])?;
                parts.push(low.f_permute([4, 3, 2, 1, 0])?);
            }
            second.push(Tensor::f_stack(&parts, 2)?.f_reshape([planes, -1, rows, columns])?);
        }
        // Of each scale, the first moduli stand before the second ones of all.
        let all: Vec<Tensor> = std::iter::once(average).chain(first).chain(second).collect();
        let features = Tensor::f_cat(&all, 1)?.f_to_kind(self.kind)?;
        Ok(features.f_reshape([n, colours, n_out, rows, columns])?)
    }
}

fn spectrum(level: &Level, x: &Tensor) -> Tensor {
    let size = x.size();
    let (transform, rows, m) = (&level.transform, size[1], size[2]);
    let n_out = transform.size()[0];
    let map = transform.unsqueeze(0).expand([rows, -1, -1], false);
    map.bmm(&x.transpose(0, 1)).view([rows, 2, n_out / 2, m])
}

fn low_pass(level: &Level, x: &Tensor) -> Tensor {
    let (columns, rows) = level.averages();
    let size = x.size();
    let half = columns.mm(&x.reshape([size[0], -1])).view([columns.size()[0], size[1], size[2]]);
    rows.unsqueeze(0).expand([columns.size()[0], -1, -1], false).bmm(&half)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::base::tensor;

    #[test]
    fn the_values_are_the_transforms_and_the_gradients_are_finite_differences() {
        let scatter = Scatter::new([12, 16], Kind::Double, Device::Cpu).unwrap();
        let x = Tensor::rand([2, 2, 12, 16], (Kind::Double, Device::Cpu));
        // An even ground has moduli of 0.
        let _ = x.narrow(0, 1, 1).fill_(0.0);
        let x = x.set_requires_grad(true);
        let features = scatter.differentiable(&x).unwrap();
        let off = (&features - scatter.forward(&x).unwrap()).abs().max().double_value(&[]);
        assert!(off < 2e-6, "{off}");
        let direction = Tensor::randn(features.size(), (Kind::Double, Device::Cpu));
        let value = |x: &Tensor| (scatter.differentiable(x).unwrap() * &direction).sum(Kind::Double);
        let gradient = &tensor::gradients(&value(&x), std::slice::from_ref(&x)).unwrap()[0];
        assert!(gradient.isfinite().all().int64_value(&[]) == 1);
        let along = Tensor::randn(x.size(), (Kind::Double, Device::Cpu));
        let _ = along.narrow(0, 1, 1).fill_(0.0);
        let h = 1e-6;
        let _guard = tch::no_grad_guard();
        let slope = (value(&(&x + &along * h)) - value(&(&x - &along * h))) / (2.0 * h);
        let expected = slope.double_value(&[]);
        let found = (gradient * &along).sum(Kind::Double).double_value(&[]);
        assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0), "{found} {expected}");
    }
}
