//! Pictures in PNG files: decoded within limits, checked, and stacked to images.

use std::io::Cursor;
use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use super::{ImageSize, Images};
use crate::Error;
use crate::base::tensor;

/// A side of an image, and what decoding one may take: a small file can claim to be a huge picture.
const MAX_SIDE: u32 = 16_384;
const MAX_ALLOCATION: u64 = 256 << 20;
/// Values of all images together; 16 GiB as float32.
pub(super) const MAX_VALUES: u64 = 1 << 32;

/// One image, row by row, as bytes.
pub(super) struct Picture {
    channels: usize,
    pub(super) height: u32,
    pub(super) width: u32,
    bytes: Vec<u8>,
    /// The largest value, of a file with 16 bits per value.
    deepest: Option<u16>,
}

/// Why a picture is not taken, and what to do.
pub(super) struct Refused {
    pub(super) problem: String,
    pub(super) hint: &'static str,
}

impl Refused {
    fn new(problem: impl Into<String>, hint: &'static str) -> Self {
        Self { problem: problem.into(), hint }
    }
}

/// Whether any pixel lets something through.
fn has_transparency(image: &DynamicImage) -> bool {
    match image {
        DynamicImage::ImageLumaA8(image) => image.pixels().any(|pixel| pixel.0[1] < u8::MAX),
        DynamicImage::ImageRgba8(image) => image.pixels().any(|pixel| pixel.0[3] < u8::MAX),
        DynamicImage::ImageLumaA16(image) => image.pixels().any(|pixel| pixel.0[1] < u16::MAX),
        DynamicImage::ImageRgba16(image) => image.pixels().any(|pixel| pixel.0[3] < u16::MAX),
        _ => false,
    }
}

/// The largest value of an image of 16 bits per value, transparency aside.
fn deepest(image: &DynamicImage) -> Option<u16> {
    match image {
        DynamicImage::ImageLuma16(image) => image.iter().max().copied(),
        DynamicImage::ImageRgb16(image) => image.iter().max().copied(),
        DynamicImage::ImageLumaA16(image) => image.pixels().map(|pixel| pixel.0[0]).max(),
        DynamicImage::ImageRgba16(image) => {
            image.pixels().flat_map(|pixel| [pixel.0[0], pixel.0[1], pixel.0[2]]).max()
        }
        _ => None,
    }
}

/// Cameras write 10, 12 or 14 bits into files of 16: no value reaches a quarter of the range.
const DEEP: u16 = 1 << 14;

/// Refuses images that show nothing, and those that use only a corner of their files' range.
pub(super) fn check_values(folder: &Path, all: &[Picture]) -> crate::Result<()> {
    for (value, colour) in [(0, "black"), (u8::MAX, "white")] {
        if all.iter().flat_map(|picture| &picture.bytes).all(|byte| *byte == value) {
            return Err(Error::content(
                folder,
                format!("all of its {} images are {colour}", all.len()),
                "give images that show something; perhaps they were written wrong",
            ));
        }
    }
    let deepest = all.iter().map(|picture| picture.deepest.unwrap_or(u16::MAX)).max();
    if let Some(deepest) = deepest.filter(|deepest| *deepest < DEEP) {
        return Err(Error::content(
            folder,
            format!("its images have 16 bits per value, and none is above {deepest} of 65535"),
            "they may be of fewer bits: rescale them to the whole range (ImageMagick: -auto-level over all), or to 8 bits",
        ));
    }
    Ok(())
}

impl Picture {
    /// The image of a PNG file's bytes.
    pub(super) fn decode(file: &[u8], size: Option<ImageSize>) -> Result<Self, Refused> {
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_ALLOCATION);
        let mut reader = ImageReader::with_format(Cursor::new(file), ImageFormat::Png);
        reader.limits(limits);
        let image = reader.decode().map_err(|e| {
            let reason = e.to_string().replace('\n', " ");
            Refused::new(
                format!("it cannot be read as a PNG image ({reason})"),
                "write it again, or take it out of the folder",
            )
        })?;
        // Before the conversion, which drops transparency.
        if has_transparency(&image) {
            return Err(Refused::new(
                "parts of it are transparent, and what stands behind them is not known",
                "put the images on a background (ImageMagick: -background black -alpha remove)",
            ));
        }
        let grey = !image.color().has_color();
        let deepest = deepest(&image);
        let image = if grey {
            DynamicImage::ImageLuma8(image.into_luma8())
        } else {
            DynamicImage::ImageRgb8(image.into_rgb8())
        };
        let image = match size {
            Some(size) => image.resize_exact(size.width as u32, size.height as u32, FilterType::Triangle),
            None => image,
        };
        let (width, height) = (image.width(), image.height());
        let allowed = 4..=1024;
        if !allowed.contains(&height) || !allowed.contains(&width) {
            return Err(Refused::new(
                format!("it is {height}x{width} (height, width)"),
                "sides are 4 to 1024 pixels; give --image-size to resize all",
            ));
        }
        let channels = if grey { 1 } else { 3 };
        Ok(Self { channels, height, width, bytes: image.into_bytes(), deepest })
    }

    /// Values that it takes among others: three channels are counted, since one colour image gives
    /// all of them three.
    pub(super) fn values(&self) -> u64 {
        3 * u64::from(self.height) * u64::from(self.width)
    }
}

/// All of them, of one size, as images.
pub(super) fn stack(all: &[Picture]) -> crate::Result<Images> {
    let channels = all.iter().map(|p| p.channels).max().unwrap_or(1);
    let (height, width) = all.first().map_or((0, 0), |p| (p.height, p.width));
    let area = height as usize * width as usize;
    let mut values = Vec::with_capacity(all.len() * channels * area);
    for picture in all {
        for channel in 0..channels {
            let first = channel.min(picture.channels - 1);
            let plane = picture.bytes.iter().skip(first).step_by(picture.channels);
            values.extend(plane.map(|&byte| f32::from(byte) / 255.0));
        }
    }
    let shape = [all.len() as i64, channels as i64, i64::from(height), i64::from(width)];
    Ok(Images::trusted(tensor::from_f32(&values, &shape)?))
}
