//! Random changes to images that leave their class alone.

use serde::{Serialize, Serializer};
use tch::{Kind, Tensor};

use crate::Result;
use crate::base::rng::Stream;
use crate::base::tensor;
use crate::config::AugmentationKind;

/// A kind of change, drawn anew for every image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Augmentation {
    /// Rotation and whole-pixel shift, nearest pixel: the original program's.
    Basic(Geometry),
    /// Rotation, shear, widths, elastic bending and stroke width, interpolated.
    Warp(Warp),
}

impl Augmentation {
    /// The augmentation of a kind; `basic` differs by step.
    pub fn of(kind: AugmentationKind, strength: f64, basic: Geometry) -> Option<Self> {
        match kind {
            AugmentationKind::None => None,
            AugmentationKind::Basic => Some(Self::Basic(basic)),
            AugmentationKind::Warp => Some(Self::Warp(Warp::new(strength, false))),
            AugmentationKind::Handwriting => Some(Self::Warp(Warp::new(strength, true))),
        }
    }

    /// Changes `images`.
    ///
    /// # Shapes
    /// `[n, c, h, w]` in `[0, 1]`, in and out, any device.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn apply(&self, images: &Tensor, stream: &mut Stream) -> Result<Tensor> {
        match self {
            Self::Basic(geometry) => transform(images, *geometry, stream),
            Self::Warp(ranges) => warp(images, ranges, stream),
        }
    }
}

/// Ranges of a [`warp`]; lengths are in pixels of an image 28 pixels wide and scale with it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Warp {
    /// Rotation in ± degrees.
    #[serde(serialize_with = "shortest")]
    pub degrees: f32,
    /// Slant: tangent `U(-s, s)`.
    #[serde(serialize_with = "shortest")]
    pub shear: f32,
    /// Width against height: factor `exp(U(-s, s))`.
    #[serde(serialize_with = "shortest")]
    pub log_aspect: f32,
    /// Size: factor `exp(U(-s, s))`.
    #[serde(serialize_with = "shortest")]
    pub log_scale: f32,
    /// Shift along each axis, ± pixels, not rounded.
    #[serde(serialize_with = "shortest")]
    pub shift_pixels: f32,
    /// Standard deviation of the displacement at the knots of a coarse grid, in pixels.
    #[serde(serialize_with = "shortest")]
    pub elastic_pixels: f32,
    /// Stroke width: from `-s` (thinner) to `s` (wider) times one pixel's erosion or dilation.
    #[serde(serialize_with = "shortest")]
    pub stroke: f32,
    /// Then bring the ink to the place and size that MNIST's digits have: longest side of its box
    /// 20 of 28 pixels, centre of mass in the middle.
    pub fit: bool,
}

impl Warp {
    /// All ranges times `strength`.
    pub fn new(strength: f64, fit: bool) -> Self {
        let s = strength as f32;
        Self {
            degrees: 12.0 * s,
            shear: 0.25 * s,
            log_aspect: 0.2 * s,
            log_scale: 0.1 * s,
            shift_pixels: 1.0 * s,
            elastic_pixels: 1.0 * s,
            stroke: 0.5 * s,
            fit,
        }
    }
}

/// A float32 as the shortest decimal number that gives it back, not as the float64 that it is
/// nearest to.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn shortest<S: Serializer>(x: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(x.to_string().parse().unwrap_or_else(|_| f64::from(*x)))
}

/// Side of the box that MNIST's digits fill, as a fraction of the image's.
const FIT: f64 = 20.0 / 28.0;
/// Values above are ink.
const INK: f64 = 0.25;
/// Knots of the elastic grid along each axis.
const KNOTS: i64 = 5;

/// Warps every image in one bilinear resampling, then changes its stroke width.
///
/// Around the ink's centre of mass (around the middle, where there is no ink): slant, aspect,
/// rotation, size; plus a smooth random displacement (Simard, Steinkraus, Platt, "Best practices
/// for convolutional neural networks applied to visual document analysis", 2003, with a coarse grid
/// in place of blurred noise).
///
/// # Shapes
/// `[n, c, h, w]` in `[0, 1]`, in and out, any device.
///
/// # Errors
/// Where libtorch refuses.
pub fn warp(images: &Tensor, ranges: &Warp, stream: &mut Stream) -> Result<Tensor> {
    let size = images.size();
    let (n, h, w) = (size[0], size[2], size[3]);
    let rows = n as usize;
    let (device, options) = (images.device(), (Kind::Float, images.device()));
    let pixel = w as f64 / 28.0;
    // Every range draws its numbers, whatever its size: the stream's order does not depend on the
    // settings.
    let angles = stream.uniform(rows, -ranges.degrees, ranges.degrees);
    let shears = stream.uniform(rows, -ranges.shear, ranges.shear);
    let aspects = stream.uniform(rows, -ranges.log_aspect, ranges.log_aspect);
    let scales = stream.uniform(rows, -ranges.log_scale, ranges.log_scale);
    let shifts = stream.uniform(2 * rows, -ranges.shift_pixels, ranges.shift_pixels);
    let strokes = stream.uniform(rows, -ranges.stroke, ranges.stroke);
    let knots = stream.normal_tensor(&[n, 2, KNOTS, KNOTS])?;

    // Forward maps (ink to its new place) and their inverses, row-major 2x2, in pixels.
    let mut forward = Vec::with_capacity(4 * rows);
    let mut inverse = Vec::with_capacity(4 * rows);
    for i in 0..rows {
        let (sin, cos) = angles[i].to_radians().sin_cos();
        let (sx, sy) = ((scales[i] + aspects[i] / 2.0).exp(), (scales[i] - aspects[i] / 2.0).exp());
        // Rotation after slant after stretching.
        let [a, b, c, d] = [cos * sx, (cos * shears[i] - sin) * sy, sin * sx, (sin * shears[i] + cos) * sy];
        let det = a * d - b * c;
        forward.extend([a, b, c, d]);
        inverse.extend([d / det, -b / det, -c / det, a / det]);
    }
    let on_device = |values: &[f32], shape: &[i64]| -> Result<Tensor> {
        Ok(tensor::from_f32(values, shape)?.f_to_device(device)?)
    };
    let forward = on_device(&forward, &[n, 2, 2])?;
    let inverse = on_device(&inverse, &[n, 2, 2])?;
    let shifts = on_device(&shifts, &[n, 2, 1])? * pixel;

    // Places of all pixels relative to the middle: [1, 2, h w], x first.
    let axis = |length: i64| Tensor::arange(length, options) - (length - 1) as f64 / 2.0;
    let (y, x) = (axis(h).view([h, 1]).expand([h, w], false), axis(w).view([1, w]).expand([h, w], false));
    let places = Tensor::f_stack(&[x, y], 0)?.f_reshape([1, 2, h * w])?;
    let ink = images.f_mean_dim(&[1i64][..], false, Kind::Float)?.f_reshape([n, 1, h * w])?;
    let mass = ink.f_sum_dim_intlist(&[2i64][..], true, Kind::Float)?;
    let centre = (&places * &ink).f_sum_dim_intlist(&[2i64][..], true, Kind::Float)? / mass.clamp_min(1e-6); // [n, 2, 1]

    let (target, zoom) = if ranges.fit {
        // Extent of the moved ink along each axis.
        let moved = forward.f_matmul(&(&places - &centre))?; // [n, 2, h w]
        let is_ink = ink.f_gt(INK)?;
        let far = 1e4;
        let low = moved
            .f_where_self(&is_ink, &Tensor::from(far as f32).to_device(device))?
            .f_amin(&[2i64][..], true)?;
        let high = moved
            .f_where_self(&is_ink, &Tensor::from(-far as f32).to_device(device))?
            .f_amax(&[2i64][..], true)?;
        let extent = (high - low + 1.0).f_amax(&[1i64][..], true)?; // [n, 1, 1]
        let jitter = on_device(&scales, &[n, 1, 1])?.exp();
        let zoom = extent.f_pow_tensor_scalar(-1.0)? * (FIT * w.min(h) as f64) * jitter;
        // Without ink the extent is negative.
        (Tensor::zeros([n, 2, 1], options), zoom.clamp(0.2, 5.0))
    } else {
        (centre.shallow_clone(), Tensor::ones([n, 1, 1], options))
    };
    let bend = knots.f_to_device(device)?.f_upsample_bicubic2d([h, w], true, None, None)?.f_reshape([
        n,
        2,
        h * w,
    ])? * (f64::from(ranges.elastic_pixels) * pixel);
    let source = inverse.f_matmul(&((&places - &target - &shifts) / zoom))? + &centre + bend; // [n, 2, h w]
    // From pixels around the middle to -1..1 along each axis.
    let half =
        Tensor::from_slice(&[w as f32 / 2.0, h as f32 / 2.0]).f_to_device(device)?.f_view([1, 2, 1])?;
    let grid = (source / half).f_transpose(1, 2)?.f_reshape([n, h, w, 2])?;
    // Interpolation 0 is bilinear, padding 0 is zeros.
    let moved = images.f_grid_sampler(&grid, 0, 0, false)?;
    stroke_width(&moved, &on_device(&strokes, &[n, 1, 1, 1])?)
}

/// Moves every image towards its dilation (`strength` above 0) or erosion (below 0) by one pixel.
fn stroke_width(images: &Tensor, strength: &Tensor) -> Result<Tensor> {
    let pool = |x: &Tensor| x.f_max_pool2d([3, 3], [1, 1], [1, 1], [1, 1], false);
    let wider = pool(images)? - images;
    let thinner = images + pool(&-images)?; // the image less its erosion
    let changed = images + strength.clamp_min(0.0) * wider + strength.clamp_max(0.0) * thinner;
    Ok(changed.clamp(0.0, 1.0))
}

/// Ranges of a rotation and shift.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Geometry {
    /// Rotation in ± degrees.
    #[serde(serialize_with = "shortest")]
    pub degrees: f32,
    /// Shift in ± pixels along each axis, rounded to whole pixels.
    #[serde(serialize_with = "shortest")]
    pub shift_pixels: f32,
}

impl Geometry {
    /// The decoder's augmentation: ±10 degrees, whole pixels round(U(-2, 2)).
    pub const DECODER: Self = Self { degrees: 10.0, shift_pixels: 2.0 };

    /// The teachers' augmentation: ±10 degrees, shift up to 10% of a side of `pixels`.
    pub fn teachers(pixels: i64) -> Self {
        Self { shift_pixels: 0.1 * pixels as f32, ..Self::DECODER }
    }
}

/// Applies a geometry drawn per image, as one resampling with the nearest pixel; outside is 0.
///
/// Rotation and shift are one map here, so a corner that the rotation alone would cut off and the
/// shift bring back is kept.
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
    // Output position to input position, in units in which the image spans -1..1 along each axis.
    let mut maps = Vec::with_capacity(6 * n);
    for i in 0..n {
        let (sin, cos) = angles[i].to_radians().sin_cos();
        let a = [cos, sin * h / w];
        let b = [-sin * w / h, cos];
        let (tx, ty) = (2.0 * right[i].round() / w, 2.0 * down[i].round() / h);
        maps.extend([a[0], a[1], -(a[0] * tx + a[1] * ty), b[0], b[1], -(b[0] * tx + b[1] * ty)]);
    }
    let maps = tensor::from_f32(&maps, &[n as i64, 2, 3])?.f_to_device(images.device())?;
    let grid = Tensor::f_affine_grid_generator(&maps, &size, false)?;
    // Interpolation 1 is the nearest pixel, padding 0 is zeros.
    Ok(images.f_grid_sampler(&grid, 1, 0, false)?)
}

/// Adds Gaussian noise of standard deviation `sigma` from libtorch's generator and clamps to
/// `[0, 1]`.
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
    use crate::base::rng::Purpose;
    use tch::Device;

    fn stream() -> Stream {
        Stream::new(5, Purpose::Augmentation, 0)
    }

    #[test]
    fn no_range_is_no_change() {
        let x = Tensor::arange(2 * 28 * 28, (Kind::Float, Device::Cpu)).reshape([2, 1, 28, 28]);
        let none = Geometry { degrees: 0.0, shift_pixels: 0.0 };
        assert!(transform(&x, none, &mut stream()).unwrap().equal(&x));
    }

    #[test]
    fn a_shift_moves_whole_pixels() {
        let x = Tensor::zeros([64, 1, 28, 28], (Kind::Float, Device::Cpu));
        let _ = x.select(2, 14).select(2, 14).fill_(1.0);
        let shift = Geometry { degrees: 0.0, shift_pixels: 2.0 };
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
        // A horizontal bar turned by at most 10 degrees moves by at most tan(10) x 10 pixels 10
        // pixels out.
        let x = Tensor::zeros([50, 1, 28, 28], (Kind::Float, Device::Cpu));
        let _ = x.narrow(2, 13, 2).fill_(1.0);
        let turn = Geometry { degrees: 10.0, shift_pixels: 0.0 };
        let y = transform(&x, turn, &mut stream()).unwrap();
        let middle = y.narrow(2, 13, 2).narrow(3, 12, 4).mean(Kind::Float).double_value(&[]);
        assert!(middle > 0.95, "{middle}");
        let far = y.narrow(2, 0, 10).sum(Kind::Float).double_value(&[]);
        assert!(far < 1e-6, "{far}");
        assert!(!y.equal(&x));
    }

    /// A filled box of `rows` x `columns` pixels at (`top`, `left`), n times.
    fn boxes(n: i64, (top, left): (i64, i64), (rows, columns): (i64, i64)) -> Tensor {
        let x = Tensor::zeros([n, 1, 28, 28], (Kind::Float, Device::Cpu));
        let _ = x.narrow(2, top, rows).narrow(3, left, columns).fill_(1.0);
        x
    }

    fn centre_of_mass(x: &Tensor, dim: i64) -> f64 {
        let places = Tensor::arange(28, (Kind::Float, Device::Cpu));
        let profile = x.sum_dim_intlist(&[0i64, 1, if dim == 2 { 3 } else { 2 }][..], false, Kind::Float);
        (&profile * places).sum(Kind::Float).double_value(&[]) / profile.sum(Kind::Float).double_value(&[])
    }

    #[test]
    fn a_warp_of_strength_0_changes_nothing() {
        let x = Tensor::rand([3, 1, 28, 28], (Kind::Float, Device::Cpu));
        let y = warp(&x, &Warp::new(0.0, false), &mut stream()).unwrap();
        assert!((&y - &x).abs().max().double_value(&[]) < 1e-4);
    }

    #[test]
    fn fitted_ink_has_mnists_size_and_place() {
        // 6 x 10 pixels in a corner become 12 x 20 in the middle.
        let x = boxes(1, (2, 1), (6, 10));
        let y = warp(&x, &Warp::new(0.0, true), &mut stream()).unwrap();
        assert!((centre_of_mass(&y, 2) - 13.5).abs() < 0.1 && (centre_of_mass(&y, 3) - 13.5).abs() < 0.1);
        let extent = |dim: i64| {
            let dims = [0i64, 1, if dim == 2 { 3 } else { 2 }];
            y.amax(&dims[..], false).gt(0.25).sum(Kind::Int64).int64_value(&[])
        };
        assert!((19..=22).contains(&extent(3)), "{}", extent(3));
        assert!((11..=14).contains(&extent(2)), "{}", extent(2));
    }

    #[test]
    fn images_without_ink_stay_without_and_colour_is_kept() {
        let blank = Tensor::zeros([2, 3, 32, 32], (Kind::Float, Device::Cpu));
        let y = warp(&blank, &Warp::new(1.0, true), &mut stream()).unwrap();
        assert_eq!(y.size(), [2, 3, 32, 32]);
        assert!(y.abs().max().double_value(&[]) < 1e-9);
        let red = &blank + Tensor::from_slice(&[0.8f32, 0.0, 0.0]).view([1, 3, 1, 1]);
        let y = warp(&red, &Warp::new(1.0, false), &mut stream()).unwrap();
        assert!(
            y.select(1, 0).max().double_value(&[]) > 0.7 && y.select(1, 1).max().double_value(&[]) < 1e-6
        );
    }

    #[test]
    fn a_warp_is_drawn_per_image_and_again_from_the_same_stream() {
        let x = boxes(40, (6, 9), (16, 8));
        let y = warp(&x, &Warp::new(1.0, false), &mut stream()).unwrap();
        assert!(y.equal(&warp(&x, &Warp::new(1.0, false), &mut stream()).unwrap()));
        let spread = (&y - y.narrow(0, 0, 1)).abs().sum_dim_intlist(&[1i64, 2, 3][..], false, Kind::Float);
        assert!(spread.narrow(0, 1, 39).min().double_value(&[]) > 1.0, "no two are alike");
        assert!(y.min().double_value(&[]) >= 0.0 && y.max().double_value(&[]) <= 1.0);
        // Strokes get wider and thinner alike: on average the ink stays.
        let ink = y.mean(Kind::Float).double_value(&[]) / x.mean(Kind::Float).double_value(&[]);
        assert!((0.85..1.15).contains(&ink), "{ink}");
    }

    #[test]
    fn strokes_move_by_a_pixel() {
        let x = boxes(2, (10, 10), (8, 4));
        let strength = Tensor::from_slice(&[1.0f32, -1.0]).view([2, 1, 1, 1]);
        let ink = stroke_width(&x, &strength).unwrap().sum_dim_intlist(&[1i64, 2, 3][..], false, Kind::Float);
        assert_eq!(tensor::to_f32(&ink).unwrap(), [10.0 * 6.0, 6.0 * 2.0]);
    }
}
