//! What is drawn, and a page of any of plotters' backends to draw it on, in pixels of the finished
//! picture.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::charts::Plots;
use crate::confusion::Matrix;
use crate::text::{TITLE_SIZE, clean, font, wrap};
use crate::{Error, raster};

/// The largest picture, in pixels: 8,000 x 8,000.
pub const MAX_PIXELS: usize = 64_000_000;

pub(crate) const MUTED: RGBColor = RGBColor(80, 80, 80);
pub(crate) const RULE: RGBColor = RGBColor(225, 225, 225);
pub(crate) const AXIS: RGBColor = RGBColor(70, 70, 70);

/// Steps of an SVG in one pixel: plotters places everything at whole numbers.
const SVG_SCALE: f64 = 10.0;

/// Something of a known size that can be drawn on every backend.
pub(crate) trait Figure {
    /// Width and height, in whole pixels.
    fn size(&self) -> (u32, u32);

    /// Draws it on a white page.
    fn draw<DB: DrawingBackend>(&self, page: &Page<DB>) -> Result<(), Error>;
}

/// A picture that is laid out and can be written as PNG or as SVG. Both have the same layout.
pub struct Drawing(pub(crate) Kind);

/// What a [`Drawing`] shows.
pub(crate) enum Kind {
    Plots(Plots),
    Matrix(Matrix),
}

impl Drawing {
    /// The picture as PNG.
    ///
    /// # Errors
    /// A fault of the drawing library or of the encoder.
    pub fn png(&self) -> Result<Vec<u8>, Error> {
        match &self.0 {
            Kind::Plots(plots) => raster::png(plots),
            Kind::Matrix(matrix) => raster::png(matrix),
        }
    }

    /// The picture as the text of an SVG file, which has the size of the PNG and is sharp at any
    /// other.
    ///
    /// # Errors
    /// A fault of the drawing library.
    pub fn svg(&self) -> Result<String, Error> {
        match &self.0 {
            Kind::Plots(plots) => svg(plots),
            Kind::Matrix(matrix) => svg(matrix),
        }
    }
}

fn svg(figure: &impl Figure) -> Result<String, Error> {
    let (width, height) = figure.size();
    let mut svg = String::new();
    let scaled = (width * SVG_SCALE as u32, height * SVG_SCALE as u32);
    let root = SVGBackend::with_string(&mut svg, scaled).into_drawing_area();
    Page { root: &root, scale: SVG_SCALE }.draw(figure)?;
    drop(root);
    // plotters gives the steps as the size.
    let (_, rest) = svg.split_once(" viewBox").ok_or_else(|| Error::draw("an SVG without a viewBox"))?;
    Ok(format!("<svg width=\"{width}\" height=\"{height}\" stroke-linejoin=\"round\" viewBox{rest}"))
}

/// A width and height in whole pixels, unless there are too many of them.
pub(crate) fn checked_size(width: f64, height: f64) -> Result<(u32, u32), Error> {
    let (width, height) = (width.ceil().max(1.0), height.ceil().max(1.0));
    if width * height <= MAX_PIXELS as f64 {
        Ok((width as u32, height as u32))
    } else {
        Err(Error::TooLarge { width, height, limit: MAX_PIXELS })
    }
}

/// A box on a page.
#[derive(Clone, Copy)]
pub(crate) struct Area {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Area {
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

/// How a text is set. Its height is centred on the given point.
#[derive(Clone, Copy)]
pub(crate) struct Type {
    pub(crate) size: f64,
    /// Which part of the text lies at the given point, in reading direction.
    pub(crate) anchor: HPos,
    pub(crate) color: RGBColor,
    /// Reads from bottom to top.
    pub(crate) upward: bool,
}

impl Type {
    pub(crate) fn new(size: f64, anchor: HPos) -> Type {
        Type { size, anchor, color: BLACK, upward: false }
    }

    pub(crate) fn color(self, color: RGBColor) -> Type {
        Type { color, ..self }
    }

    pub(crate) fn upward(self) -> Type {
        Type { upward: true, ..self }
    }
}

/// A drawing area whose sizes are so many times those of the finished picture.
pub(crate) struct Page<'a, DB: DrawingBackend> {
    pub(crate) root: &'a DrawingArea<DB, Shift>,
    pub(crate) scale: f64,
}

impl<DB: DrawingBackend> Page<'_, DB> {
    /// The whole figure on white.
    pub(crate) fn draw(&self, figure: &impl Figure) -> Result<(), Error> {
        self.root.fill(&WHITE).map_err(Error::draw)?;
        figure.draw(self)?;
        self.root.present().map_err(Error::draw)
    }

    /// A length or coordinate of the picture in steps of the backend.
    pub(crate) fn steps(&self, length: f64) -> i32 {
        (length * self.scale).round() as i32
    }

    /// A line of so many pixels' width, at least one step.
    pub(crate) fn stroke(&self, color: RGBColor, width: f64) -> ShapeStyle {
        ShapeStyle::from(&color).stroke_width(self.steps(width).max(1) as u32)
    }

    fn corners(&self, Area { x, y, width, height }: Area) -> [(i32, i32); 2] {
        [(self.steps(x), self.steps(y)), (self.steps(x + width), self.steps(y + height))]
    }

    pub(crate) fn fill(&self, area: Area, color: RGBColor) -> Result<(), Error> {
        self.root.draw(&Rectangle::new(self.corners(area), color.filled())).map_err(Error::draw)
    }

    /// The outline of a box, half inside it and half outside.
    pub(crate) fn outline(&self, area: Area, color: RGBColor, width: f64) -> Result<(), Error> {
        let [(left, top), (right, bottom)] = self.corners(area);
        // The first side twice, for a whole corner at the end of the fourth.
        let path = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top), (right, top)];
        self.root.draw(&PathElement::new(path, self.stroke(color, width))).map_err(Error::draw)
    }

    pub(crate) fn text(&self, text: &str, (x, y): (f64, f64), set: Type) -> Result<(), Error> {
        let text = clean(text);
        if text.is_empty() {
            return Ok(());
        }
        let style = TextStyle::from(font(set.size * self.scale)?).color(&set.color);
        let style = style.pos(Pos::new(set.anchor, VPos::Center));
        let style = if set.upward { style.transform(FontTransform::Rotate270) } else { style };
        self.root.draw_text(&text, &style, (self.steps(x), self.steps(y))).map_err(Error::draw)
    }
}

/// A title over a picture, one line or several.
pub(crate) struct Title(Vec<String>);

impl Title {
    const LINE: f64 = 28.0;

    /// For a picture of the given width.
    pub(crate) fn new(title: &str, width: f64) -> Result<Title, Error> {
        Ok(Title(wrap(title, TITLE_SIZE, width - 24.0, 3)?))
    }

    /// Height that the title takes from the top of the picture, with the space below it.
    pub(crate) fn height(&self) -> f64 {
        if self.0.is_empty() { 14.0 } else { 20.0 + Self::LINE * self.0.len() as f64 }
    }

    pub(crate) fn draw<DB: DrawingBackend>(&self, page: &Page<DB>) -> Result<(), Error> {
        let center = f64::from(page.root.dim_in_pixel().0) / page.scale / 2.0;
        for (line_idx, line) in self.0.iter().enumerate() {
            let y = 24.0 + Self::LINE * line_idx as f64;
            page.text(line, (center, y), Type::new(TITLE_SIZE, HPos::Center))?;
        }
        Ok(())
    }
}
