//! The plain grid of images.

use image::ExtendedColorType;

use crate::raster::encode;
use crate::{Error, MAX_PIXELS};

/// Images `[n, channels, height, width]` in one row-major buffer; n follows from its length.
///
/// Values are in `[0, 1]`; what lies outside is clamped, and NaN is drawn as 0.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    /// 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// All values, `n * channels * height * width` of them.
    pub pixels: &'a [f32],
}

impl Images<'_> {
    /// The number of images, at least one.
    pub(crate) fn count(&self) -> Result<usize, Error> {
        let &Images { channels, height, width, pixels } = self;
        if channels != 1 && channels != 3 {
            return Err(Error::Channels { channels });
        }
        for (size, what) in [(height, "image height"), (width, "image width")] {
            if size == 0 {
                return Err(Error::Zero { what });
            }
        }
        if pixels.is_empty() {
            return Err(Error::Empty { what: "images" });
        }
        let found = pixels.len();
        let whole = height.checked_mul(width).and_then(|area| area.checked_mul(channels));
        whole
            .filter(|&values| found.is_multiple_of(values))
            .map(|values| found / values)
            .ok_or(Error::Pixels { found, channels, height, width })
    }

    /// The 8-bit value of one channel of a pixel; 0 outside the images.
    fn value(&self, image_idx: usize, channel: usize, row: usize, column: usize) -> u8 {
        let index = ((image_idx * self.channels + channel) * self.height + row) * self.width + column;
        self.pixels.get(index).copied().map_or(0, to_byte)
    }

    /// Red, green and blue of a pixel.
    pub(crate) fn color(&self, image_idx: usize, row: usize, column: usize) -> [u8; 3] {
        let value = |channel: usize| self.value(image_idx, channel.min(self.channels - 1), row, column);
        [value(0), value(1), value(2)]
    }
}

/// A value of `[0, 1]` as a byte, rounded as torchvision's `save_image` does. NaN gives 0.
fn to_byte(value: f32) -> u8 {
    // `as` truncates, and takes NaN to 0.
    (value * 255.0 + 0.5).clamp(0.0, 255.0) as u8
}

/// Images side by side on white, `per_row` in a row, with `padding` pixels between and around them.
///
/// This is the layout and the rounding of torchvision's `make_grid` and `save_image`: 64 images of
/// 28x28, 8 in a row, 2 pixels apart, make 242x242. Two differences: a single image has its padding
/// too, and grey images give a grey PNG.
///
/// # Errors
/// No images, a wrong number of values, a size of zero, or more than [`MAX_PIXELS`].
pub fn grid(images: &Images<'_>, per_row: usize, padding: usize) -> Result<Vec<u8>, Error> {
    let n_images = images.count()?;
    if per_row == 0 {
        return Err(Error::Zero { what: "images per row" });
    }
    let n_columns = per_row.min(n_images);
    let n_rows = n_images.div_ceil(n_columns);
    let extent = |n: usize, size: usize| n.checked_mul(size.checked_add(padding)?)?.checked_add(padding);
    let sizes = extent(n_columns, images.width).zip(extent(n_rows, images.height));
    let Some((width, height)) = sizes.filter(|&(w, h)| w.checked_mul(h).is_some_and(|n| n <= MAX_PIXELS))
    else {
        let extent = |n: usize, size: usize| n as f64 * (size as f64 + padding as f64) + padding as f64;
        let (width, height) = (extent(n_columns, images.width), extent(n_rows, images.height));
        return Err(Error::TooLarge { width, height, limit: MAX_PIXELS });
    };

    let channels = images.channels;
    let mut bytes = vec![255; height * width * channels];
    for image_idx in 0..n_images {
        let top = padding + image_idx / n_columns * (images.height + padding);
        let left = padding + image_idx % n_columns * (images.width + padding);
        for row in 0..images.height {
            let start = ((top + row) * width + left) * channels;
            let line = &mut bytes[start..start + images.width * channels];
            for (column, pixel) in line.chunks_exact_mut(channels).enumerate() {
                for (channel, byte) in pixel.iter_mut().enumerate() {
                    *byte = images.value(image_idx, channel, row, column);
                }
            }
        }
    }
    let color = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    encode(&bytes, width as u32, height as u32, color)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_as_torchvision_does() {
        let cases = [
            (0.0, 0),
            (1.0, 255),
            (0.5, 128),       // 127.5 + 0.5
            (0.498, 127),     // 126.99 + 0.5
            (1.0 / 510.0, 1), // one half of a step
            (0.0019, 0),      // just below it
            (-3.0, 0),
            (7.0, 255),
            (f32::NAN, 0),
            (f32::INFINITY, 255),
            (f32::NEG_INFINITY, 0),
        ];
        for (value, byte) in cases {
            assert_eq!(to_byte(value), byte, "{value}");
        }
    }
}
