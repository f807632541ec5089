//! Random changes to central images, which are few.

use serde::Serialize;
use tch::{Kind, Tensor};

use crate::base::rng::Stream;
use crate::base::tensor;
use crate::{Error, Result};

/// A few random changes to each image, each of a random kind and of a small size (Cubuk, Zoph,
/// Shlens, Le, "RandAugment: practical automated data augmentation with a reduced search space",
/// 2020, with the fourteen kinds and thirty sizes of torchvision).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RandAugment {
    /// Changes to an image.
    pub changes: u32,
    /// Sizes are drawn from 1 to this, of 30.
    pub largest: u32,
}

/// What can be done to an image.
#[derive(Clone, Copy)]
enum Change {
    Nothing,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Colour,
    Contrast,
    Sharpness,
    Posterise,
    Solarise,
    Stretch,
    Equalise,
}

const CHANGES: [Change; 14] = [
    Change::Nothing,
    Change::ShearX,
    Change::ShearY,
    Change::TranslateX,
    Change::TranslateY,
    Change::Rotate,
    Change::Brightness,
    Change::Colour,
    Change::Contrast,
    Change::Sharpness,
    Change::Posterise,
    Change::Solarise,
    Change::Stretch,
    Change::Equalise,
];

/// Sizes that there are.
const SIZES: u32 = 30;

impl RandAugment {
    /// The original's.
    pub const ORIGINAL: Self = Self { changes: 2, largest: 3 };

    /// Checks that there are such sizes.
    ///
    /// # Errors
    /// None, or more than 30.
    pub(super) fn check(self) -> Result<()> {
        if (1..=SIZES).contains(&self.largest) {
            return Ok(());
        }
        Err(Error::invalid(format!("changes up to size {}; sizes are from 1 to {SIZES}", self.largest)))
    }

    /// Changes every image by itself.
    ///
    /// # Shapes
    /// `[n, c, h, w]` in `[0, 1]`, in and out, on the CPU.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn apply(&self, images: &Tensor, stream: &mut Stream) -> Result<Tensor> {
        let mut all = Vec::new();
        for row in 0..images.size()[0] {
            let mut image = images.f_narrow(0, row, 1)?;
            for _ in 0..self.changes {
                let change = CHANGES[stream.below(CHANGES.len() as u64) as usize];
                let part = (1 + stream.below(u64::from(self.largest))) as f64 / f64::from(SIZES);
                let sign = if stream.below(2) == 0 { 1.0 } else { -1.0 };
                image = change.apply(&image, part, sign)?.f_clamp(0.0, 1.0)?;
            }
            all.push(image);
        }
        Ok(Tensor::f_cat(&all, 0)?)
    }
}

impl Change {
    /// `part` of what there is at most, to the side of `sign`.
    fn apply(self, x: &Tensor, part: f64, sign: f64) -> Result<Tensor> {
        const SHEAR: f64 = 0.3;
        /// Of the width or height.
        const SHIFT: f64 = 150.0 / 331.0;
        const DEGREES: f64 = 30.0;
        const TONE: f64 = 0.9;
        let of = |most: f64| sign * part * most;
        let tone = 1.0 + of(TONE);
        Ok(match self {
            Self::Nothing => x.shallow_clone(),
            Self::ShearX => mapped(x, [1.0, of(SHEAR), 0.0, 0.0, 1.0, 0.0])?,
            Self::ShearY => mapped(x, [1.0, 0.0, 0.0, of(SHEAR), 1.0, 0.0])?,
            // In units in which the image spans 2.
            Self::TranslateX => mapped(x, [1.0, 0.0, of(2.0 * SHIFT), 0.0, 1.0, 0.0])?,
            Self::TranslateY => mapped(x, [1.0, 0.0, 0.0, 0.0, 1.0, of(2.0 * SHIFT)])?,
            Self::Rotate => {
                let (sin, cos) = of(DEGREES).to_radians().sin_cos();
                mapped(x, [cos, sin, 0.0, -sin, cos, 0.0])?
            }
            Self::Brightness => x * tone,
            Self::Colour => between(&grey(x)?, x, tone)?,
            Self::Contrast => between(&grey(x)?.f_mean(None::<Kind>)?, x, tone)?,
            Self::Sharpness => between(&smoothed(x)?, x, tone)?,
            Self::Posterise => {
                let bits = 8 - (part * 4.0).round() as i32;
                let step = 2f64.powi(8 - bits);
                ((x * 255.0).f_round()? / step).f_floor()? * (step / 255.0)
            }
            Self::Solarise => {
                let threshold = 1.0 - part;
                x.f_where_self(&x.f_lt(threshold)?, &(1.0 - x))?
            }
            Self::Stretch => {
                let axes = [2i64, 3];
                let (low, high) = (x.f_amin(axes.as_slice(), true)?, x.f_amax(axes.as_slice(), true)?);
                let range = &high - &low;
                let stretched = (x - &low) / range.f_clamp_min(1e-6)?;
                stretched.f_where_self(&range.f_gt(0.0)?, x)?
            }
            Self::Equalise => equalised(x)?,
        })
    }
}

/// Each output place takes the nearest pixel of `map` of it, in units of -1 to 1; outside is black.
fn mapped(x: &Tensor, map: [f64; 6]) -> Result<Tensor> {
    let map: Vec<f32> = map.iter().map(|&value| value as f32).collect();
    let grid = Tensor::f_affine_grid_generator(&tensor::from_f32(&map, &[1, 2, 3])?, x.size(), false)?;
    // Interpolation 1 is the nearest pixel, padding 0 is zeros.
    Ok(x.f_grid_sampler(&grid, 1, 0, false)?)
}

fn grey(x: &Tensor) -> Result<Tensor> {
    if x.size()[1] != 3 {
        return Ok(x.shallow_clone());
    }
    // ITU-R 601.
    let weights = tensor::from_f32(&[0.299, 0.587, 0.114], &[1, 3, 1, 1])?;
    Ok((x * weights).f_sum_dim_intlist([1i64].as_slice(), true, None::<Kind>)?)
}

/// From `plain` to `x`, and beyond.
fn between(plain: &Tensor, x: &Tensor, part: f64) -> Result<Tensor> {
    Ok((x * part).f_add(&(plain * (1.0 - part)))?)
}

/// Each pixel with its neighbours, five times as heavy as one of them; the edge stays.
fn smoothed(x: &Tensor) -> Result<Tensor> {
    let size = x.size();
    let (h, w) = (size[2], size[3]);
    if h < 3 || w < 3 {
        return Ok(x.shallow_clone());
    }
    let inner = |image: &Tensor, down: i64, right: i64| -> Result<Tensor> {
        Ok(image.f_narrow(2, down, h - 2)?.f_narrow(3, right, w - 2)?)
    };
    let mut total = inner(x, 1, 1)? * 4.0;
    for at in 0..9 {
        total += inner(x, at / 3, at % 3)?;
    }
    let smooth = x.copy();
    inner(&smooth, 1, 1)?.f_copy_(&(total / 13.0))?;
    Ok(smooth)
}

/// Each channel's bytes so that all are about as frequent.
fn equalised(x: &Tensor) -> Result<Tensor> {
    let bytes = (x * 255.0).f_round()?.f_clamp(0.0, 255.0)?.f_to_kind(Kind::Int64)?;
    let mut channels = Vec::new();
    for channel in 0..x.size()[1] {
        let flat = bytes.f_narrow(1, channel, 1)?;
        let counts: Vec<i64> = Vec::try_from(flat.f_flatten(0, -1)?.f_bincount::<Tensor>(None, 256)?)?;
        // The brightest bytes do not count, as in the Python Imaging Library.
        let brightest = counts.iter().rev().find(|count| **count > 0).copied().unwrap_or(0);
        let step = (counts.iter().sum::<i64>() - brightest) / 255;
        if step == 0 {
            channels.push(x.f_narrow(1, channel, 1)?);
            continue;
        }
        let mut before = 0;
        let table: Vec<f32> = counts
            .iter()
            .map(|count| {
                let value = ((before + step / 2) / step).clamp(0, 255);
                before += count;
                value as f32 / 255.0
            })
            .collect();
        channels.push(tensor::from_f32(&table, &[256])?.f_take(&flat)?);
    }
    Ok(Tensor::f_cat(&channels, 1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Purpose;
    use tch::Device;

    #[test]
    fn every_change_keeps_shape_and_range() {
        let mut stream = Stream::new(3, Purpose::Augmentation, 0);
        for channels in [1, 3] {
            let pixels = stream.uniform((channels * 100) as usize, 0.0, 1.0);
            let x = tensor::from_f32(&pixels, &[1, channels, 10, 10]).unwrap();
            for change in CHANGES {
                for (part, sign) in [(0.03, 1.0), (0.1, -1.0), (1.0, 1.0)] {
                    let y = change.apply(&x, part, sign).unwrap().clamp(0.0, 1.0);
                    assert_eq!(y.size(), x.size());
                    assert!(y.isfinite().all().int64_value(&[]) == 1);
                }
            }
            let black = Tensor::zeros([1, channels, 10, 10], (Kind::Float, Device::Cpu));
            for change in CHANGES {
                let y = change.apply(&black, 0.1, 1.0).unwrap();
                assert!(y.abs().max().double_value(&[]) < 1e-6, "black stays black");
            }
        }
    }

    #[test]
    fn a_shift_is_one() {
        let x = Tensor::zeros([1, 1, 9, 9], (Kind::Float, Device::Cpu));
        let _ = x.narrow(2, 4, 1).narrow(3, 4, 1).fill_(1.0);
        // 2 of 9 pixels to the left: the place takes what is to its right.
        let y = mapped(&x, [1.0, 0.0, 4.0 / 9.0, 0.0, 1.0, 0.0]).unwrap();
        assert_eq!(y.narrow(2, 4, 1).narrow(3, 2, 1).double_value(&[0, 0, 0, 0]) as i64, 1);
        // Half of them 10, half 20: equalised, they are black and white.
        let x = tensor::from_f32(
            &[10.0 / 255.0; 255].into_iter().chain([20.0 / 255.0; 257]).collect::<Vec<_>>(),
            &[1, 1, 16, 32],
        )
        .unwrap();
        let y = equalised(&x).unwrap();
        assert!(y.min().double_value(&[]) < 1e-6 && y.max().double_value(&[]) > 0.99);
    }

    #[test]
    fn the_stream_decides() {
        let x = Tensor::rand([4, 1, 12, 12], (Kind::Float, Device::Cpu));
        let of =
            |seed| RandAugment::ORIGINAL.apply(&x, &mut Stream::new(seed, Purpose::Augmentation, 0)).unwrap();
        assert!(of(1).equal(&of(1)) && !of(1).equal(&of(2)));
        assert!(RandAugment { largest: 31, ..RandAugment::ORIGINAL }.check().is_err());
    }
}
