//! What becomes of a central image after its release: enlarged, in bytes, smoothed, sharpened.

use tch::{Kind, Tensor};

use crate::Result;
use crate::data::Images;

/// A central image and the stages that it comes through.
#[derive(Debug)]
pub struct Finished {
    /// Enlarged, in bytes.
    pub bytes: Tensor,
    /// After the median of 3 by 3 pixels.
    pub median: Tensor,
    /// After sharpening; coloured images are not sharpened.
    pub sharpened: Tensor,
}

impl Finished {
    /// The last stage in `[0, 1]`.
    pub fn images(&self) -> Images {
        Images::trusted(self.sharpened.to_kind(Kind::Float) / 255.0)
    }
}

/// Finishes central images, as the original does: values are brought to `[0, 1]`, images to twice
/// their height and width (bilinear), bytes are cut off and not rounded; then the median of every
/// pixel's neighbourhood, with the edge repeated, and for grey images five times the pixel less its
/// four neighbours, mirrored at the edge.
///
/// # Privacy
/// A function of what was released.
///
/// # Shapes
/// `[n, c, h, w]` float32 to `[n, c, 2 h, 2 w]` bytes.
///
/// # Errors
/// Where libtorch refuses.
pub fn finish(central: &Tensor) -> Result<Finished> {
    let size = central.size();
    let larger =
        central.f_clamp(0.0, 1.0)?.f_upsample_bilinear2d([2 * size[2], 2 * size[3]], false, None, None)?;
    let bytes = larger.f_mul_scalar(255.0)?.f_to_kind(Kind::Uint8)?;
    let (height, width) = (2 * size[2], 2 * size[3]);
    // Windows of 3 by 3 in a padded image, as nine shifted ones.
    let shifted = |padded: &Tensor, (down, right): (i64, i64)| -> Result<Tensor> {
        Ok(padded.f_narrow(2, down, height)?.f_narrow(3, right, width)?)
    };
    let padded = bytes.f_to_kind(Kind::Float)?.f_replication_pad2d([1, 1, 1, 1])?;
    let around = (0..9).map(|at| shifted(&padded, (at / 3, at % 3))).collect::<Result<Vec<_>>>()?;
    let (median, _) = Tensor::f_stack(&around, 0)?.f_median_dim(0, false)?;
    let sharpened = if size[1] == 1 {
        let padded = median.f_reflection_pad2d([1, 1, 1, 1])?;
        let mut sharp = shifted(&padded, (1, 1))? * 5.0;
        for place in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            sharp -= shifted(&padded, place)?;
        }
        sharp.f_clamp(0.0, 255.0)?
    } else {
        median.shallow_clone()
    };
    Ok(Finished {
        bytes,
        median: median.f_to_kind(Kind::Uint8)?,
        sharpened: sharpened.f_to_kind(Kind::Uint8)?,
    })
}
