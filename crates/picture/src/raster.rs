//! PNG: drawn several times larger and averaged down, which smooths edges of every kind alike.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use plotters::prelude::*;
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind};

use crate::Error;
use crate::page::{Figure, MAX_PIXELS, Page};

/// The most samples in each direction behind one pixel of the finished picture.
const MAX_OVERSAMPLING: u32 = 3;

/// The figure as PNG.
pub(crate) fn png(figure: &impl Figure) -> Result<Vec<u8>, Error> {
    let (width, height) = figure.size();
    let samples = |k: u32| width as usize * height as usize * (k * k) as usize;
    let scale = (1..=MAX_OVERSAMPLING).rev().find(|&k| samples(k) <= MAX_PIXELS).unwrap_or(1);
    let mut buffer = vec![255; 3 * samples(scale)];
    let size = (width * scale, height * scale);
    let backend = BitMapBackend::with_buffer_and_format(&mut buffer, size).map_err(Error::draw)?;
    let root = Raster(backend).into_drawing_area();
    Page { root: &root, scale: f64::from(scale) }.draw(figure)?;
    drop(root);
    let large = RgbImage::from_raw(size.0, size.1, buffer)
        .ok_or_else(|| Error::draw("a buffer of the wrong size"))?;
    let small = image::imageops::thumbnail(&large, width, height);
    encode(&small, width, height, ExtendedColorType::Rgb8)
}

/// PNG bytes of 8-bit pixels.
pub(crate) fn encode(
    pixels: &[u8],
    width: u32,
    height: u32,
    color: ExtendedColorType,
) -> Result<Vec<u8>, Error> {
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Default, FilterType::Adaptive)
        .write_image(pixels, width, height, color)?;
    Ok(png)
}

/// plotters' bitmap with whole lines, and with text that is set as an SVG sets it.
struct Raster<'a>(BitMapBackend<'a>);

type Drawn<'a> = Result<(), DrawingErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

impl<'a> DrawingBackend for Raster<'a> {
    type ErrorType = <BitMapBackend<'a> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.0.get_size()
    }

    fn ensure_prepared(&mut self) -> Drawn<'a> {
        self.0.ensure_prepared()
    }

    fn present(&mut self) -> Drawn<'a> {
        self.0.present()
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn<'a> {
        self.0.draw_pixel(point, color)
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn<'a> {
        self.0.draw_line(from, to, style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn<'a> {
        self.0.draw_rect(upper_left, bottom_right, style, fill)
    }

    fn blit_bitmap(&mut self, pos: BackendCoord, size: (u32, u32), src: &[u8]) -> Drawn<'a> {
        self.0.blit_bitmap(pos, size, src)
    }

    /// Piece by piece with round corners: plotters fills the outline of the whole path, which
    /// leaves holes where a jagged line crosses itself.
    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn<'a> {
        let radius = style.stroke_width() / 2;
        let mut path = path.into_iter();
        let Some(mut from) = path.next() else { return Ok(()) };
        let mut is_corner = false;
        for to in path {
            if to == from {
                continue;
            }
            if is_corner && radius > 0 {
                self.0.draw_circle(from, radius, &style.color(), true)?;
            }
            self.0.draw_line(from, to, style)?;
            (from, is_corner) = (to, true);
        }
        Ok(())
    }

    /// Lower, where an SVG has its text: plotters sets it too high. And the light face a sample
    /// bolder.
    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, (x, y): BackendCoord) -> Drawn<'a> {
        let down = (style.size() * 0.2).round() as i32;
        for right in 0..2 {
            let (dx, dy) = style.transform().transform(right, down);
            self.0.draw_text(text, style, (x + dx, y + dy))?;
        }
        Ok(())
    }
}
