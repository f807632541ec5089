//! A sheet of images: one row of captioned samples for each class.

use image::imageops::{FilterType, resize};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::page::{Area, Figure, MUTED, Page, RULE, Title, Type, checked_size};
use crate::text::{LABEL_SIZE, SMALL_SIZE, fit, widest};
use crate::{Error, Images, raster};

/// One image of a class sheet and what is written below it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Which of the images, from 0.
    pub image_idx: usize,
    /// A few characters, such as a confidence: `0.98`.
    pub caption: String,
}

/// How many times larger a class sheet shows its images.
const SCALE: f64 = 2.0;
const MARGIN: f64 = 18.0;
const GAP: f64 = 12.0;
const CAPTION_LINE: f64 = 22.0;

/// One row of captioned samples for each class: `rows` holds the row's label and its samples, from
/// left to right.
///
/// Images are shown at twice their size without smoothing. A row without samples says so.
///
/// # Errors
/// No rows or images, a wrong number of values, an `image_idx` that is not there, or more than
/// [`MAX_PIXELS`](crate::MAX_PIXELS).
pub fn class_sheet(
    title: &str,
    images: &Images<'_>,
    rows: &[(String, Vec<Sample>)],
) -> Result<Vec<u8>, Error> {
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

    let (image_width, image_height) = (images.width as f64 * SCALE, images.height as f64 * SCALE);
    let captions = rows.iter().flat_map(|(_, samples)| samples).map(|sample| sample.caption.as_str());
    let captioned = captions.clone().any(|caption| !caption.is_empty());
    let column_width = image_width.max(widest(captions, SMALL_SIZE)?.min(MAX_CAPTION)).ceil();
    let n_columns = rows.iter().map(|(_, samples)| samples.len()).max().unwrap_or(0).max(1);
    let label_width = widest(rows.iter().map(|(label, _)| label.as_str()), LABEL_SIZE)?.min(MAX_LABEL);
    let left = (MARGIN + label_width + if label_width > 0.0 { 16.0 } else { 0.0 }).ceil();
    let pitch = image_height + if captioned { CAPTION_LINE } else { 0.0 } + 2.0 * GAP;
    let width = (left + n_columns as f64 * (column_width + GAP) - GAP + MARGIN).max(320.0);
    let title = Title::new(title, width)?;
    let size = checked_size(width, title.height() + rows.len() as f64 * pitch + GAP / 2.0)?;
    raster::png(&Sheet { size, title, images, rows, label_width, left, column_width, pitch })
}

/// A class sheet's parts and where they go.
struct Sheet<'a> {
    size: (u32, u32),
    title: Title,
    images: &'a Images<'a>,
    rows: &'a [(String, Vec<Sample>)],
    label_width: f64,
    /// Where the images begin.
    left: f64,
    column_width: f64,
    /// From one row to the next.
    pitch: f64,
}

impl Figure for Sheet<'_> {
    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn draw<DB: DrawingBackend>(&self, page: &Page<DB>) -> Result<(), Error> {
        self.title.draw(page)?;
        let height = self.images.height as f64 * SCALE;
        for (row_idx, (label, samples)) in self.rows.iter().enumerate() {
            let top = self.title.height() + row_idx as f64 * self.pitch;
            let width = f64::from(self.size.0) - 2.0 * MARGIN;
            page.fill(Area { x: MARGIN, y: top, width, height: 1.0 }, RULE)?;
            let middle = top + GAP + height / 2.0;
            let text = fit(label, LABEL_SIZE, self.label_width)?;
            page.text(&text, (MARGIN + self.label_width, middle), Type::new(LABEL_SIZE, HPos::Right))?;
            if samples.is_empty() {
                let small = Type::new(SMALL_SIZE, HPos::Left).color(MUTED);
                page.text("no samples", (self.left, middle), small)?;
            }
            for (column_idx, sample) in samples.iter().enumerate() {
                let x = self.left + column_idx as f64 * (self.column_width + GAP);
                self.draw_sample(page, (x, top + GAP), sample)?;
            }
        }
        Ok(())
    }
}

impl Sheet<'_> {
    /// A sample in its column, whose upper left corner is given.
    fn draw_sample<DB: DrawingBackend>(
        &self,
        page: &Page<DB>,
        (x, y): (f64, f64),
        sample: &Sample,
    ) -> Result<(), Error> {
        let (n_rows, n_columns) = (self.images.height, self.images.width);
        let center = x + self.column_width / 2.0;
        let (width, height) = (n_columns as f64 * SCALE, n_rows as f64 * SCALE);
        let image_x = (center - width / 2.0).round();
        // One pixel of frame, so that an image on white has an edge.
        let frame = Area { x: image_x - 0.5, y: y - 0.5, width: width + 1.0, height: height + 1.0 };
        page.outline(frame, RULE, 1.0)?;
        let small = image::RgbImage::from_fn(n_columns as u32, n_rows as u32, |column, row| {
            image::Rgb(self.images.color(sample.image_idx, row as usize, column as usize))
        });
        let size = (page.steps(width) as u32, page.steps(height) as u32);
        let pixels = resize(&small, size.0, size.1, FilterType::Nearest).into_raw();
        let at = (page.steps(image_x), page.steps(y));
        let element = BitMapElement::with_owned_buffer(at, size, pixels)
            .ok_or_else(|| Error::draw("an image of the wrong size"))?;
        page.root.draw(&element).map_err(Error::draw)?;
        let caption = fit(&sample.caption, SMALL_SIZE, self.column_width + GAP / 2.0)?;
        let below = y + height + 4.0 + CAPTION_LINE / 2.0;
        page.text(&caption, (center, below), Type::new(SMALL_SIZE, HPos::Center))
    }
}
