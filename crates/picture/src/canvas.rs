//! A white sheet with lines, boxes, discs, text and images on it, in pixels of the finished picture.
//!
//! Everything is drawn several times larger and averaged down at the end, which smooths edges of every kind alike.
//! What axes and legends need of a canvas is the trait [`Sheet`], so that the same layout can become an SVG.

use std::sync::LazyLock;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use plotters::backend::BitMapBackend;
use plotters::backend::DrawingBackend;
use plotters::style::{FontDesc, FontFamily, FontStyle, RGBColor, ShapeStyle, register_font};

use crate::Error;

/// The largest picture, in pixels: 8,000 x 8,000.
pub const MAX_PIXELS: usize = 64_000_000;

/// The most samples in each direction behind one pixel of the finished picture.
const MAX_OVERSAMPLING: usize = 3;

/// Characters kept of a name or title, so that a hostile name cannot cost minutes.
const MAX_CHARS: usize = 300;

/// Height of a capital or a digit as a part of the font size (Ubuntu: 693 of 1121 units).
pub(crate) const CAP_HEIGHT: f64 = 0.618;

const FONT: &str = "picture";

pub(crate) const TITLE_SIZE: f64 = 22.0;
pub(crate) const LABEL_SIZE: f64 = 18.0;
pub(crate) const TICK_SIZE: f64 = 16.0;
pub(crate) const SMALL_SIZE: f64 = 15.0;

pub(crate) const BLACK: RGBColor = RGBColor(0, 0, 0);
pub(crate) const WHITE: RGBColor = RGBColor(255, 255, 255);
pub(crate) const MUTED: RGBColor = RGBColor(80, 80, 80);
pub(crate) const RULE: RGBColor = RGBColor(225, 225, 225);
pub(crate) const AXIS: RGBColor = RGBColor(70, 70, 70);

/// Okabe and Ito's colours, told apart under every common colour blindness; without the yellow, which is too pale for lines.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// Dash patterns as lengths on and off, taken in turn when the colours are used up.
const DASHES: [&[f64]; 3] = [&[], &[7.0, 4.0], &[2.0, 3.0]];

/// A stroke that differs from its neighbours' in colour, and from those of the same colour in its dashes.
pub(crate) fn series_stroke(series_idx: usize) -> Stroke {
    let dash = DASHES[(series_idx / PALETTE.len()) % DASHES.len()];
    Stroke { color: PALETTE[series_idx % PALETTE.len()], width: 2.0, dash }
}

/// Dash patterns of lines that are told apart without colours too.
const LINE_DASHES: [&[f64]; 4] = [&[], &[9.0, 4.0], &[2.0, 3.0], &[11.0, 3.0, 2.0, 3.0]];

/// A stroke that differs from its neighbours' in colour and in dashes. Of the first eight, those with the same dashes
/// are dark and light.
pub(crate) fn line_stroke(line_idx: usize) -> Stroke {
    let dash = LINE_DASHES[line_idx % LINE_DASHES.len()];
    Stroke { color: PALETTE[line_idx % PALETTE.len()], width: 2.0, dash }
}

/// How a line is drawn.
#[derive(Clone, Copy)]
pub(crate) struct Stroke {
    pub(crate) color: RGBColor,
    pub(crate) width: f64,
    /// Lengths on and off; none for a solid line.
    pub(crate) dash: &'static [f64],
}

impl Stroke {
    pub(crate) fn solid(color: RGBColor, width: f64) -> Stroke {
        Stroke { color, width, dash: &[] }
    }
}

/// A box on the canvas.
#[derive(Clone, Copy)]
pub(crate) struct Rect {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Rect {
    pub(crate) fn right(self) -> f64 {
        self.x + self.width
    }

    pub(crate) fn bottom(self) -> f64 {
        self.y + self.height
    }

    pub(crate) fn center(self) -> (f64, f64) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }
}

/// Which part of a text lies at the given point, in reading direction.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text is set. The given point is half-way up its capitals.
#[derive(Clone, Copy)]
pub(crate) struct Type {
    pub(crate) size: f64,
    pub(crate) color: RGBColor,
    pub(crate) anchor: Anchor,
    pub(crate) upward: bool,
}

impl Type {
    pub(crate) fn new(size: f64, anchor: Anchor) -> Type {
        Type { size, color: BLACK, anchor, upward: false }
    }

    pub(crate) fn color(self, color: RGBColor) -> Type {
        Type { color, ..self }
    }

    /// Reads from bottom to top.
    pub(crate) fn upward(self) -> Type {
        Type { upward: true, ..self }
    }
}

/// The built-in font at a size, registered on first use. The size is even: then the baseline is on a pixel.
fn font(size: f64) -> Result<FontDesc<'static>, Error> {
    static REGISTERED: LazyLock<bool> =
        LazyLock::new(|| register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).is_ok());
    if !*REGISTERED {
        return Err(Error::Draw { reason: "the built-in font is unreadable".into() });
    }
    Ok(FontDesc::new(FontFamily::Name(FONT), even(size), FontStyle::Normal))
}

fn even(size: f64) -> f64 {
    (size / 2.0).round() * 2.0
}

fn draw_error(error: impl std::fmt::Display) -> Error {
    Error::Draw { reason: error.to_string() }
}

/// Without control characters, and not longer than anyone would read.
pub(crate) fn clean(text: &str) -> String {
    text.chars().take(MAX_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Width of a text, in pixels.
pub(crate) fn text_width(text: &str, size: f64) -> Result<f64, Error> {
    const FINE: f64 = 4.0;
    let ((left, _), (right, _)) = font(size * FINE)?.layout_box(&clean(text)).map_err(draw_error)?;
    Ok(f64::from(right - left) / FINE)
}

/// Width of the widest text, 0 for none.
pub(crate) fn widest<'a>(texts: impl IntoIterator<Item = &'a str>, size: f64) -> Result<f64, Error> {
    texts.into_iter().try_fold(0.0, |widest: f64, text| Ok(widest.max(text_width(text, size)?)))
}

/// The text, or its beginning and an ellipsis where it is wider than `width`.
pub(crate) fn fit(text: &str, size: f64, width: f64) -> Result<String, Error> {
    let mut text = clean(text);
    if text_width(&text, size)? <= width {
        return Ok(text);
    }
    while text.pop().is_some() {
        let cut = format!("{}…", text.trim_end());
        if text_width(&cut, size)? <= width {
            return Ok(cut);
        }
    }
    Ok(text)
}

/// The text in lines of at most `width` pixels, broken between words; at most `max_lines`, the last one cut.
pub(crate) fn wrap(text: &str, size: f64, width: f64, max_lines: usize) -> Result<Vec<String>, Error> {
    let text = clean(text);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        if let Some(line) = lines.last_mut() {
            let longer = format!("{line} {word}");
            if lines.len() == max_lines || text_width(&longer, size)? <= width {
                if let Some(line) = lines.last_mut() {
                    *line = longer;
                }
                continue;
            }
        }
        lines.push(word.to_owned());
    }
    lines.iter().map(|line| fit(line, size, width)).collect()
}

/// What a layout is drawn on, in pixels from the upper left corner.
pub(crate) trait Sheet {
    fn width(&self) -> f64;

    /// A filled box.
    fn fill(&mut self, rect: Rect, color: RGBColor);

    /// A filled disc.
    fn disc(&mut self, center: (f64, f64), radius: f64, color: RGBColor) -> Result<(), Error>;

    /// A line through all points, with round corners.
    fn line(&mut self, points: &[(f64, f64)], stroke: Stroke) -> Result<(), Error>;

    /// A text on one line.
    fn text(&mut self, text: &str, at: (f64, f64), style: Type) -> Result<(), Error>;

    /// What follows, up to [`Sheet::end`], is one thing with a name, where the format keeps names.
    fn begin(&mut self, _name: &str) {}

    /// Ends what [`Sheet::begin`] began.
    fn end(&mut self) {}
}

/// A picture in the making.
pub(crate) struct Canvas {
    width: usize,
    height: usize,
    /// Samples in each direction behind one pixel.
    oversampling: usize,
    /// Red, green and blue of every sample, row by row.
    samples: Vec<u8>,
}

impl Canvas {
    /// A white canvas, sizes rounded up to whole pixels.
    pub(crate) fn new(width: f64, height: f64) -> Result<Canvas, Error> {
        let (width, height) = (width.ceil().max(1.0), height.ceil().max(1.0));
        let n_pixels = width * height;
        let limit = MAX_PIXELS as f64;
        if n_pixels.is_nan() || n_pixels > limit {
            return Err(Error::TooLarge { width, height, limit: MAX_PIXELS });
        }
        let oversampling =
            (1..=MAX_OVERSAMPLING).rev().find(|&k| n_pixels * (k * k) as f64 <= limit).unwrap_or(1);
        let (width, height) = (width as usize, height as usize);
        let samples = vec![255; width * height * oversampling * oversampling * 3];
        Ok(Canvas { width, height, oversampling, samples })
    }

    fn sample_size(&self) -> (u32, u32) {
        ((self.width * self.oversampling) as u32, (self.height * self.oversampling) as u32)
    }

    /// A coordinate of the picture as a sample's index.
    fn sample(&self, coordinate: f64) -> i32 {
        (coordinate * self.oversampling as f64).round() as i32
    }

    fn backend(&mut self) -> Result<BitMapBackend<'_>, Error> {
        let size = self.sample_size();
        BitMapBackend::with_buffer_and_format(&mut self.samples, size).map_err(draw_error)
    }

    /// Mixes a colour into one sample; outside the canvas it does nothing.
    fn blend(&mut self, x: i32, y: i32, color: RGBColor, alpha: f32) {
        let (width, height) = self.sample_size();
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
        if x >= width || y >= height {
            return;
        }
        let start = 3 * (y as usize * width as usize + x as usize);
        if let Some(sample) = self.samples.get_mut(start..start + 3) {
            for (old, new) in sample.iter_mut().zip([color.0, color.1, color.2]) {
                let mixed = f32::from(*old) + (f32::from(new) - f32::from(*old)) * alpha.clamp(0.0, 1.0);
                *old = (mixed + 0.5) as u8;
            }
        }
    }

    /// The outline of a box, drawn inside it.
    pub(crate) fn outline(&mut self, rect: Rect, color: RGBColor, width: f64) {
        self.fill(Rect { height: width, ..rect }, color);
        self.fill(Rect { y: rect.bottom() - width, height: width, ..rect }, color);
        self.fill(Rect { width, ..rect }, color);
        self.fill(Rect { x: rect.right() - width, width, ..rect }, color);
    }

    fn solid_line(&mut self, points: &[(f64, f64)], stroke: Stroke) -> Result<(), Error> {
        let width = self.sample(stroke.width).max(1) as u32;
        let style = ShapeStyle::from(&stroke.color).stroke_width(width);
        let mut samples: Vec<(i32, i32)> =
            points.iter().map(|&(x, y)| (self.sample(x), self.sample(y))).collect();
        samples.dedup();
        let mut backend = self.backend()?;
        // Piece by piece: as one polygon, the library leaves holes where a jagged line crosses itself.
        for pair in samples.windows(2) {
            if let [from, to] = *pair {
                backend.draw_line(from, to, &style).map_err(draw_error)?;
            }
        }
        let inner = samples.get(1..samples.len().saturating_sub(1)).unwrap_or_default();
        if width > 2 {
            for &corner in inner {
                backend.draw_circle(corner, width / 2, &style.filled(), true).map_err(draw_error)?;
            }
        }
        Ok(())
    }

    /// An image of `color(row, column)`, each of its pixels `scale` pixels wide and high.
    pub(crate) fn image(
        &mut self,
        (x, y): (f64, f64),
        (height, width): (usize, usize),
        scale: f64,
        color: impl Fn(usize, usize) -> RGBColor,
    ) {
        for row in 0..height {
            for column in 0..width {
                let (x, y) = (x + column as f64 * scale, y + row as f64 * scale);
                self.fill(Rect { x, y, width: scale, height: scale }, color(row, column));
            }
        }
    }

    /// The finished picture as PNG.
    pub(crate) fn finish(self) -> Result<Vec<u8>, Error> {
        let k = self.oversampling;
        let line = 3 * self.width;
        let n_samples = (k * k) as u32;
        let mut pixels = Vec::with_capacity(self.height * line);
        let mut sums = vec![0_u32; line];
        for rows in self.samples.chunks_exact(k * k * line) {
            sums.fill(0);
            for row in rows.chunks_exact(k * line) {
                for (sum, group) in sums.chunks_exact_mut(3).zip(row.chunks_exact(3 * k)) {
                    for sample in group.chunks_exact(3) {
                        sum.iter_mut().zip(sample).for_each(|(sum, &value)| *sum += u32::from(value));
                    }
                }
            }
            pixels.extend(sums.iter().map(|sum| ((sum + n_samples / 2) / n_samples) as u8));
        }
        encode(&pixels, self.width, self.height, ExtendedColorType::Rgb8)
    }
}

impl Sheet for Canvas {
    fn width(&self) -> f64 {
        self.width as f64
    }

    fn fill(&mut self, rect: Rect, color: RGBColor) {
        let (width, height) = self.sample_size();
        let column = |x: f64| (self.sample(x).max(0) as usize).min(width as usize);
        let row = |y: f64| (self.sample(y).max(0) as usize).min(height as usize);
        let (left, right) = (column(rect.x), column(rect.right()));
        let (top, bottom) = (row(rect.y), row(rect.bottom()));
        if left >= right {
            return;
        }
        for line in self.samples.chunks_exact_mut(3 * width as usize).take(bottom).skip(top) {
            for sample in line[3 * left..3 * right].chunks_exact_mut(3) {
                sample.copy_from_slice(&[color.0, color.1, color.2]);
            }
        }
    }

    fn disc(&mut self, (x, y): (f64, f64), radius: f64, color: RGBColor) -> Result<(), Error> {
        let center = (self.sample(x), self.sample(y));
        let radius = self.sample(radius).max(1) as u32;
        let style = ShapeStyle::from(&color).filled();
        self.backend()?.draw_circle(center, radius, &style, true).map_err(draw_error)
    }

    fn line(&mut self, points: &[(f64, f64)], stroke: Stroke) -> Result<(), Error> {
        for piece in dashes(points, stroke.dash) {
            self.solid_line(&piece, stroke)?;
        }
        Ok(())
    }

    fn text(&mut self, text: &str, (x, y): (f64, f64), style: Type) -> Result<(), Error> {
        let text = clean(text);
        let size = even(style.size * self.oversampling as f64);
        let font = font(size)?;
        let ((left, _), (right, _)) = font.layout_box(&text).map_err(draw_error)?;
        let length = right - left;
        let along = match style.anchor {
            Anchor::Start => 0,
            Anchor::Middle => -length / 2,
            Anchor::End => -length,
        };
        // The library puts the baseline half the size below the point that it is given.
        let across = (size * CAP_HEIGHT / 2.0).round() as i32 - (size / 2.0) as i32;
        let origin = (self.sample(x), self.sample(y));
        let bolder = self.oversampling > 1;
        let mut covered: Vec<(i32, i32, f32)> = Vec::new();
        font.draw(&text, (along, across), |x, y, alpha| {
            covered.push((x, y, alpha));
            // The light face, a third or half of a pixel bolder.
            if bolder {
                covered.push((x + 1, y, alpha));
            }
            Ok::<(), std::convert::Infallible>(())
        })
        .map_err(draw_error)?
        .map_err(draw_error)?;
        for (along, across, alpha) in covered {
            let (dx, dy) = if style.upward { (across, -along) } else { (along, across) };
            self.blend(origin.0 + dx, origin.1 + dy, style.color, alpha);
        }
        Ok(())
    }
}

/// The pieces of a line that are on; the whole line where there is no pattern.
fn dashes(points: &[(f64, f64)], pattern: &[f64]) -> Vec<Vec<(f64, f64)>> {
    let Some(&first) = pattern.first() else { return vec![points.to_vec()] };
    let mut pieces = Vec::new();
    let mut piece: Vec<(f64, f64)> = points.first().copied().into_iter().collect();
    let (mut left, mut pattern_idx) = (first, 0);
    for pair in points.windows(2) {
        let [mut from, to] = *pair else { continue };
        loop {
            let (dx, dy) = (to.0 - from.0, to.1 - from.1);
            let length = dx.hypot(dy);
            if length < left {
                left -= length;
                piece.push(to);
                break;
            }
            from = (from.0 + dx * left / length, from.1 + dy * left / length);
            piece.push(from);
            let finished = std::mem::replace(&mut piece, vec![from]);
            if pattern_idx % 2 == 0 {
                pieces.push(finished);
            }
            pattern_idx += 1;
            left = pattern[pattern_idx % pattern.len()];
        }
    }
    if pattern_idx % 2 == 0 {
        pieces.push(piece);
    }
    pieces
}

/// PNG bytes of 8-bit pixels.
pub(crate) fn encode(
    pixels: &[u8],
    width: usize,
    height: usize,
    color: ExtendedColorType,
) -> Result<Vec<u8>, Error> {
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Default, FilterType::Adaptive).write_image(
        pixels,
        width as u32,
        height as u32,
        color,
    )?;
    Ok(png)
}

/// A title over a picture of the given width, one line or several.
pub(crate) struct Title {
    lines: Vec<String>,
}

impl Title {
    const LINE: f64 = 28.0;

    pub(crate) fn new(title: &str, width: f64) -> Result<Title, Error> {
        Ok(Title { lines: wrap(title, TITLE_SIZE, width - 24.0, 3)? })
    }

    /// Height that the title takes from the top of the picture, with the space below it.
    pub(crate) fn height(&self) -> f64 {
        if self.lines.is_empty() { 14.0 } else { 20.0 + Self::LINE * self.lines.len() as f64 }
    }

    pub(crate) fn draw(&self, sheet: &mut dyn Sheet) -> Result<(), Error> {
        let x = sheet.width() / 2.0;
        for (line_idx, line) in self.lines.iter().enumerate() {
            let y = 24.0 + Self::LINE * line_idx as f64;
            sheet.text(line, (x, y), Type::new(TITLE_SIZE, Anchor::Middle))?;
        }
        Ok(())
    }
}
