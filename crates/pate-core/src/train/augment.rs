//! Random changes to images that leave their class alone.

use tch::{Kind, Tensor};

use crate::rng::Stream;
use crate::{Result, tensor};

/// Ranges of the change, drawn anew for every image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    /// Rotation in ± degrees.
    pub degrees: f32,
    /// Shift in ± pixels along each axis, rounded to whole pixels.
    pub shift_pixels: f32,
    /// Widening and narrowing: factor `exp(U(-s, s))` along each axis; 0 = none.
    pub log_scale: f32,
    /// Shear: tangent `U(-s, s)`; 0 = none.
    pub shear: f32,
}

impl Geometry {
    /// The decoder's augmentation: ±10 degrees, whole pixels round(U(-2, 2)).
    pub const DECODER: Self = Self { degrees: 10.0, shift_pixels: 2.0, log_scale: 0.0, shear: 0.0 };

    /// The teachers' augmentation: ±10 degrees, shift up to 10% of a side of `pixels`.
    pub fn teachers(pixels: i64) -> Self {
        Self { shift_pixels: 0.1 * pixels as f32, ..Self::DECODER }
    }
}

/// Applies a geometry drawn per image, as one resampling with the nearest pixel; outside is 0.
///
/// Rotation and shift are one map here, so a corner that the rotation alone would cut off and the shift bring back is kept.
///
/// # Shapes
/// `[n, c, h, w]` in and out, any device.
///
/// # Errors
/// Where libtorch refuses.
pub fn transform(images: &Tensor, geometry: Geometry, stream: &mut Stream) -> Result<Tensor> {
    let size = images.size();
    let (n, h, w) = (size[0] as usize, size[2] as f32, size[3] as f32);
    let angles = stream.uniform(n, -geometry.degrees, geometry.degrees);
    let down = stream.uniform(n, -geometry.shift_pixels, geometry.shift_pixels);
    let right = stream.uniform(n, -geometry.shift_pixels, geometry.shift_pixels);
    let deform = geometry.log_scale > 0.0 || geometry.shear > 0.0;
    let mut draw = |range: f32| if deform { stream.uniform(n, -range, range) } else { vec![0.0; n] };
    let (scale_y, scale_x) = (draw(geometry.log_scale), draw(geometry.log_scale));
    let shear = draw(geometry.shear);
    // Output position to input position, in units in which the image spans -1..1 along each axis.
    let mut maps = Vec::with_capacity(6 * n);
    for i in 0..n {
        let (sin, cos) = angles[i].to_radians().sin_cos();
        let (sx, sy) = ((-scale_x[i]).exp(), (-scale_y[i]).exp());
        let a = [sx * (cos + shear[i] * sin), sx * (sin - shear[i] * cos) * h / w];
        let b = [-sy * sin * w / h, sy * cos];
        let (tx, ty) = (2.0 * right[i].round() / w, 2.0 * down[i].round() / h);
        maps.extend([a[0], a[1], -(a[0] * tx + a[1] * ty), b[0], b[1], -(b[0] * tx + b[1] * ty)]);
    }
    let maps = tensor::from_f32(&maps, &[n as i64, 2, 3])?.f_to_device(images.device())?;
    let grid = Tensor::f_affine_grid_generator(&maps, &size, false)?;
    // Interpolation 1 is the nearest pixel, padding 0 is zeros.
    Ok(images.f_grid_sampler(&grid, 1, 0, false)?)
}

/// Adds Gaussian noise of standard deviation `sigma` from libtorch's generator and clamps to `[0, 1]`.
///
/// # Shapes
/// Any in, the same out.
///
/// # Errors
/// Where libtorch refuses.
pub fn pixel_noise(images: &Tensor, sigma: f64) -> Result<Tensor> {
    let noise = Tensor::f_randn(images.size(), (Kind::Float, images.device()))?;
    Ok((images + noise * sigma).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;
    use tch::Device;

    fn stream() -> Stream {
        Stream::new(5, Purpose::Augmentation, 0)
    }

    #[test]
    fn no_range_is_no_change() {
        let x = Tensor::arange(2 * 28 * 28, (Kind::Float, Device::Cpu)).reshape([2, 1, 28, 28]);
        let none = Geometry { degrees: 0.0, shift_pixels: 0.0, log_scale: 0.0, shear: 0.0 };
        assert!(transform(&x, none, &mut stream()).unwrap().equal(&x));
    }

    #[test]
    fn a_shift_moves_whole_pixels() {
        let x = Tensor::zeros([64, 1, 28, 28], (Kind::Float, Device::Cpu));
        let _ = x.select(2, 14).select(2, 14).fill_(1.0);
        let shift = Geometry { degrees: 0.0, shift_pixels: 2.0, log_scale: 0.0, shear: 0.0 };
        let y = transform(&x, shift, &mut stream()).unwrap();
        assert_eq!(
            y.sum(Kind::Float).double_value(&[]) as i64,
            64,
            "the dot is still one pixel in every image"
        );
        let near = y.narrow(2, 12, 5).narrow(3, 12, 5).sum(Kind::Float).double_value(&[]) as i64;
        assert_eq!(near, 64, "and at most two pixels away");
        let still = y.select(2, 14).select(2, 14).sum(Kind::Float).double_value(&[]) as i64;
        assert!(still < 32, "{still}");
    }

    #[test]
    fn a_rotation_keeps_the_middle_and_stays_within_its_angle() {
        // A horizontal bar turned by at most 10 degrees moves by at most tan(10) x 10 pixels 10 pixels out.
        let x = Tensor::zeros([50, 1, 28, 28], (Kind::Float, Device::Cpu));
        let _ = x.narrow(2, 13, 2).fill_(1.0);
        let turn = Geometry { degrees: 10.0, shift_pixels: 0.0, log_scale: 0.0, shear: 0.0 };
        let y = transform(&x, turn, &mut stream()).unwrap();
        let middle = y.narrow(2, 13, 2).narrow(3, 12, 4).mean(Kind::Float).double_value(&[]);
        assert!(middle > 0.95, "{middle}");
        let far = y.narrow(2, 0, 10).sum(Kind::Float).double_value(&[]);
        assert!(far < 1e-6, "{far}");
        assert!(!y.equal(&x));
    }
}
