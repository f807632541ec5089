//! The filters: a Gaussian and oriented wavelets, in the Fourier domain.
//!
//! S. Mallat, *Group Invariant Scattering* (2012), and J. Bruna and S. Mallat, *Invariant
//! Scattering Convolution Networks* (2013), define them; widths, angles and constants are kymatio
//! 0.3.0's.

use std::f64::consts::PI;

use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// What kymatio takes for pi in the filters' scale, and there alone: 2.9e-5 off, more than float32
/// rounds.
#[expect(clippy::approx_constant, reason = "kymatio's constant, on purpose")]
const SCALE_PI: f64 = 3.1415;

/// Width of the wavelets and of the Gaussian at scale 0, in pixels.
const SIGMA: f64 = 0.8;

/// Periods of a filter on either side of the one that is kept, which are added to it.
const PERIODS: i64 = 2;

/// The filters for one size of padded image, real and in the order of the discrete Fourier
/// transform, `[rows, columns]`, float64 on the CPU.
#[derive(Debug)]
pub struct Filters {
    /// The Gaussian of the widest scale.
    pub low_pass: Tensor,
    /// Wavelets `[scale][angle]`: Morlet's, finest first, turning from just under a right angle to
    /// minus one.
    pub wavelets: Vec<Vec<Tensor>>,
}

impl Filters {
    /// Filters of `scales` octaves with `angles` directions each, for `rows` times `columns`
    /// pixels.
    ///
    /// # Errors
    /// Where a number is not positive, or libtorch has no Fourier transform.
    pub fn new(rows: i64, columns: i64, scales: u32, angles: i64) -> Result<Self> {
        if rows < 1 || columns < 1 || scales < 1 || angles < 1 {
            return Err(Error::invalid(format!(
                "there are no filters of {rows}x{columns} pixels, {scales} scales and {angles} angles; \
                 all are at least 1"
            )));
        }
        let field = |wave: &Wave| wave.periodic(rows, columns);
        let round = Wave { sigma: SIGMA * octave(scales - 1), theta: 0.0, xi: 0.0, slant: 1.0 };
        let low_pass = spectrum(&field(&round), rows, columns)?;
        let first = (angles as f64 / 2.0 - 1.0).floor();
        let mut wavelets = Vec::new();
        for scale in 0..scales {
            let mut turned = Vec::new();
            for angle in 0..angles {
                let wave = Wave {
                    sigma: SIGMA * octave(scale),
                    theta: (first - angle as f64) * PI / angles as f64,
                    xi: 0.75 * PI / octave(scale),
                    slant: 4.0 / angles as f64,
                };
                let (wave, envelope) = (field(&wave), field(&Wave { xi: 0.0, ..wave }));
                turned.push(spectrum(&wave.without_mean(&envelope), rows, columns)?);
            }
            wavelets.push(turned);
        }
        Ok(Self { low_pass, wavelets })
    }
}

/// A filter for images that were subsampled by 2^`resolution`: frequencies that those cannot have
/// are left out of it, and the rest is folded to their size.
///
/// # Shapes
/// `[rows, columns]`, which 2^(`resolution` + 1) divides, to both over 2^`resolution`.
pub fn at_resolution(filter: &Tensor, resolution: u32) -> Tensor {
    let by = 1 << resolution;
    let kept = |length: i64| {
        // The middle of the axis holds the highest frequencies.
        let (start, zeros) = (length / (2 * by), length - length / by);
        let kept = Tensor::ones([length], (filter.kind(), filter.device()));
        let _ = kept.narrow(0, start, zeros).zero_();
        kept
    };
    let size = filter.size();
    let (rows, columns) = (size[0], size[1]);
    let low = filter * kept(rows).unsqueeze(1) * kept(columns);
    low.view([by, rows / by, by, columns / by]).sum_dim_intlist([0i64, 2].as_slice(), false, filter.kind())
}

fn octave(scale: u32) -> f64 {
    f64::from(scale).exp2()
}

/// A Gaussian envelope times a plane wave.
struct Wave {
    /// Width along the wave, in pixels.
    sigma: f64,
    /// Direction of the wave; rows are its first coordinate.
    theta: f64,
    /// Frequency, in radians a pixel.
    xi: f64,
    /// Width along the wave over the width across.
    slant: f64,
}

impl Wave {
    /// Its values at whole pixels, with its periods added up.
    fn periodic(&self, rows: i64, columns: i64) -> Field {
        let (sin, cos) = self.theta.sin_cos();
        let thin = self.slant * self.slant;
        let width = 2.0 * self.sigma * self.sigma;
        let (xx, xy, yy) =
            (cos * cos + thin * sin * sin, cos * sin * (1.0 - thin), sin * sin + thin * cos * cos);
        let scale = self.slant / (width * SCALE_PI);
        let mut field = Field { re: Vec::new(), im: Vec::new() };
        for row in 0..rows {
            for column in 0..columns {
                let (mut re, mut im) = (0.0, 0.0);
                for (down, across) in periods() {
                    let (x, y) = ((row + down * rows) as f64, (column + across * columns) as f64);
                    let exponent = (xx * x * x + 2.0 * xy * x * y + yy * y * y) / width;
                    // Beyond it the envelope is nothing in float64.
                    if exponent < 750.0 {
                        let (sin, cos) = (self.xi * (x * cos + y * sin)).sin_cos();
                        re += (-exponent).exp() * cos;
                        im += (-exponent).exp() * sin;
                    }
                }
                field.re.push(scale * re);
                field.im.push(scale * im);
            }
        }
        field
    }
}

fn periods() -> impl Iterator<Item = (i64, i64)> {
    (-PERIODS..=PERIODS).flat_map(|down| (-PERIODS..=PERIODS).map(move |across| (down, across)))
}

/// Complex values at the pixels, row by row.
struct Field {
    re: Vec<f64>,
    im: Vec<f64>,
}

impl Field {
    /// Less as much of `envelope`, which is real, as makes the sum zero: Morlet's correction.
    fn without_mean(mut self, envelope: &Self) -> Self {
        let total = envelope.re.iter().sum::<f64>();
        for part in [&mut self.re, &mut self.im] {
            let share = part.iter().sum::<f64>() / total;
            part.iter_mut().zip(&envelope.re).for_each(|(value, envelope)| *value -= share * envelope);
        }
        self
    }
}

/// The real part of the Fourier transform; that of a filter that is even about the origin is real.
fn spectrum(field: &Field, rows: i64, columns: i64) -> Result<Tensor> {
    let part =
        |values: &[f64]| -> Result<Tensor> { Ok(Tensor::f_from_slice(values)?.f_view([rows, columns])?) };
    let both = Tensor::f_complex(&part(&field.re)?, &part(&field.im)?)?;
    let spectrum =
        both.f_fft_fft2(None::<i64>, [-2i64, -1].as_slice(), "backward")?.f_real()?.f_contiguous()?;
    debug_assert_eq!((spectrum.kind(), spectrum.device()), (Kind::Double, Device::Cpu));
    Ok(spectrum)
}
