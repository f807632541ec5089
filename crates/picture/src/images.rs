//! Pictures of images: the plain grid, and a sheet with one row of captioned samples for each class.

use image::ExtendedColorType;
use plotters::style::RGBColor;

use crate::Error;
use crate::canvas::{
    Anchor, Canvas, LABEL_SIZE, MAX_PIXELS, MUTED, RULE, Rect, SMALL_SIZE, Sheet, Title, Type, encode, fit,
    widest,
};

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
    fn count(&self) -> Result<usize, Error> {
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

    fn color(&self, image_idx: usize, row: usize, column: usize) -> RGBColor {
        let red = self.value(image_idx, 0, row, column);
        if self.channels == 1 {
            return RGBColor(red, red, red);
        }
        RGBColor(red, self.value(image_idx, 1, row, column), self.value(image_idx, 2, row, column))
    }
}

/// A value of `[0, 1]` as a byte, rounded as torchvision's `save_image` does. NaN gives 0.
fn to_byte(value: f32) -> u8 {
    // `as` truncates, and takes NaN to 0.
    (value * 255.0 + 0.5).clamp(0.0, 255.0) as u8
}

/// Images side by side on white, `per_row` in a row, with `padding` pixels between and around them.
///
/// This is the layout and the rounding of torchvision's `make_grid` and `save_image`: 64 images of 28x28, 8 in a row,
/// 2 pixels apart, make 242x242. Two differences: a single image has its padding too, and grey images give a grey PNG.
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
    encode(&bytes, width, height, color)
}

/// One image of a class sheet and what is written below it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Which of the images, from 0.
    pub image_idx: usize,
    /// A few characters, such as a confidence: `0.98`.
    pub caption: String,
}

/// How many times larger a class sheet shows its images.
const SHEET_SCALE: f64 = 2.0;

/// One row of captioned samples for each class: `rows` holds the row's label and its samples, from left to right.
///
/// Images are shown at twice their size without smoothing. A row without samples says so.
///
/// # Errors
/// No rows or images, a wrong number of values, an `image_idx` that is not there, or more than [`MAX_PIXELS`].
pub fn class_sheet(
    title: &str,
    images: &Images<'_>,
    rows: &[(String, Vec<Sample>)],
) -> Result<Vec<u8>, Error> {
    const MARGIN: f64 = 18.0;
    const GAP: f64 = 12.0;
    const CAPTION_LINE: f64 = 22.0;
    const MAX_CAPTION: f64 = 120.0;
    const MAX_LABEL: f64 = 220.0;

    let n_images = images.count()?;
    if rows.is_empty() {
        return Err(Error::Empty { what: "rows" });
    }
    for (label, samples) in rows {
        if let Some(&Sample { image_idx, .. }) = samples.iter().find(|sample| sample.image_idx >= n_images) {
            return Err(Error::Sample { row: label.clone(), image_idx, n_images });
        }
    }

    let (image_width, image_height) = (images.width as f64 * SHEET_SCALE, images.height as f64 * SHEET_SCALE);
    let captions = rows.iter().flat_map(|(_, samples)| samples).map(|sample| sample.caption.as_str());
    let captioned = captions.clone().any(|caption| !caption.is_empty());
    let column_width = image_width.max(widest(captions, SMALL_SIZE)?.min(MAX_CAPTION));
    let n_columns = rows.iter().map(|(_, samples)| samples.len()).max().unwrap_or(0).max(1);
    let label_width = widest(rows.iter().map(|(label, _)| label.as_str()), LABEL_SIZE)?.min(MAX_LABEL);
    let left = MARGIN + label_width + if label_width > 0.0 { 16.0 } else { 0.0 };
    let row_height = image_height + if captioned { CAPTION_LINE } else { 0.0 };
    let pitch = row_height + 2.0 * GAP;
    let width = (left + n_columns as f64 * (column_width + GAP) - GAP + MARGIN).max(320.0);
    let title = Title::new(title, width)?;
    let mut canvas = Canvas::new(width, title.height() + rows.len() as f64 * pitch + GAP / 2.0)?;
    title.draw(&mut canvas)?;

    for (row_idx, (label, samples)) in rows.iter().enumerate() {
        let top = title.height() + row_idx as f64 * pitch;
        canvas.fill(Rect { x: MARGIN, y: top, width: width - 2.0 * MARGIN, height: 1.0 }, RULE);
        let middle = top + GAP + image_height / 2.0;
        let text = fit(label, LABEL_SIZE, label_width)?;
        canvas.text(&text, (MARGIN + label_width, middle), Type::new(LABEL_SIZE, Anchor::End))?;
        if samples.is_empty() {
            canvas.text("no samples", (left, middle), Type::new(SMALL_SIZE, Anchor::Start).color(MUTED))?;
        }
        for (column_idx, sample) in samples.iter().enumerate() {
            let center = left + column_idx as f64 * (column_width + GAP) + column_width / 2.0;
            let (x, y) = ((center - image_width / 2.0).round(), (top + GAP).round());
            // One pixel of frame, so that an image on white has an edge.
            let frame = Rect { x: x - 1.0, y: y - 1.0, width: image_width + 2.0, height: image_height + 2.0 };
            canvas.outline(frame, RULE, 1.0);
            canvas.image((x, y), (images.height, images.width), SHEET_SCALE, |row, column| {
                images.color(sample.image_idx, row, column)
            });
            let caption = fit(&sample.caption, SMALL_SIZE, column_width + GAP / 2.0)?;
            let below = y + image_height + 4.0 + CAPTION_LINE / 2.0;
            canvas.text(&caption, (center, below), Type::new(SMALL_SIZE, Anchor::Middle))?;
        }
    }
    canvas.finish()
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
