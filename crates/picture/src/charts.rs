//! Charts with axes, drawn by plotters: lines in panels, and histograms.

mod axes;
mod histogram;

use plotters::coord::CoordTranslate;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::Error;
use crate::page::{AXIS, Area, Drawing, Figure, Kind, MUTED, Page, RULE, Title, Type, checked_size};
use crate::text::{LABEL_SIZE, SLACK, TICK_SIZE, clean, fit, font, widest, width};
use axes::{Axis, Purpose, bounds, drawable, drawable_log};

pub use histogram::{MAX_BINS, histogram};

/// The most lines of a [`Panel`]: more are not told apart.
pub const MAX_LINES: usize = 8;

/// The most points of a [`Panel`], all its lines together.
pub const MAX_POINTS: usize = 100_000;

/// Okabe and Ito's colours, told apart under every common colour blindness; without the yellow,
/// which is too pale for lines.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// Lengths of dashes and of the gaps between them, so that lines are told apart without colours
/// too. Of eight lines, those with the same dashes are dark and light.
const DASHES: [Option<(f64, f64)>; 4] = [None, Some((9.0, 4.0)), Some((2.0, 3.0)), Some((16.0, 5.0))];

/// Pale enough for lines to stand out from them.
const BARS: RGBColor = PALETTE[5];

/// The grid of a logarithmic axis, between its labels.
const PALE: RGBColor = RGBColor(242, 242, 242);

const MARGIN: f64 = 18.0;
const PLOT_HEIGHT: f64 = 300.0;
const WIDE: f64 = 640.0;
const NARROW: f64 = 400.0;
/// Space for the numbers and the name of a horizontal axis.
const BELOW: f64 = 52.0;
/// Length of ticks. plotters sets labels at twice this distance from the axis.
const TICK: f64 = 5.0;
/// At the right end, half of the last number is beyond the axis.
const RIGHT: f64 = 26.0;

/// How numbers lie on an axis of a [`Panel`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AxisScale {
    /// Equal differences are equal distances.
    #[default]
    Linear,
    /// Equal ratios are equal distances; for positive numbers.
    Log,
}

/// A named line of a [`Panel`].
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The name in the legend; an empty one stays out of it.
    pub name: String,
    /// Points (x, y) in the order in which they are joined. One with a coordinate that is not
    /// finite (or beyond 1e250) leaves a gap.
    pub points: Vec<(f64, f64)>,
}

/// A horizontal line across a [`Panel`], such as a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// The name in the legend; an empty one stays out of it.
    pub name: String,
    /// Its height on the vertical axis, which is made to hold it.
    pub y: f64,
}

/// One pair of axes with its lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// What stands above the axes.
    pub title: String,
    /// The name of the horizontal axis, with its unit.
    pub x_label: String,
    /// The name of the vertical axis, with its unit.
    pub y_label: String,
    /// How numbers lie on the horizontal axis.
    pub x_scale: AxisScale,
    /// How numbers lie on the vertical axis.
    pub y_scale: AxisScale,
    /// The lines, at most [`MAX_LINES`] of together at most [`MAX_POINTS`] points.
    pub lines: Vec<Line>,
    /// A horizontal line behind the others.
    pub reference: Option<Reference>,
}

/// Panels side by side, each with its own axes and legend.
///
/// Lines differ in colour and in dashes, those of few points mark them, and the legend stands below
/// the axes. A panel without finite points says "no data". Both formats have the same layout, and
/// the same chart gives the same bytes.
///
/// ```
/// use picture::{AxisScale, Chart, Line, Panel, Reference};
///
/// let epsilon = |steps: f64| (steps * 0.02).sqrt();
/// let points = (0..5).map(|k| 10_f64.powi(k)).map(|steps| (steps, epsilon(steps))).collect();
/// let panel = Panel {
///     x_label: "steps".into(),
///     y_label: "epsilon".into(),
///     x_scale: AxisScale::Log,
///     lines: vec![Line { name: "sigma = 1.1".into(), points }],
///     reference: Some(Reference { name: "target".into(), y: 8.0 }),
///     ..Panel::default()
/// };
/// let chart = Chart { title: "Privacy spent".into(), panels: vec![panel] };
/// assert!(chart.png()?.starts_with(b"\x89PNG"));
/// assert!(chart.svg()?.starts_with("<svg"));
/// # Ok::<(), picture::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// What stands above all panels.
    pub title: String,
    /// The panels, from left to right.
    pub panels: Vec<Panel>,
}

impl Chart {
    /// The chart as PNG, some 750 x 450 pixels for one panel, and 500 in width for each of several.
    ///
    /// # Errors
    /// No panels, too many lines or points, a reference line that is not finite, a number on a
    /// logarithmic axis that is not positive (or less than 1e-250), or more than
    /// [`MAX_PIXELS`](crate::MAX_PIXELS).
    pub fn png(&self) -> Result<Vec<u8>, Error> {
        self.lay_out()?.png()
    }

    /// The chart as the text of an SVG file, which has the size of the PNG and is sharp at any
    /// other.
    ///
    /// # Errors
    /// Those of [`Chart::png`].
    pub fn svg(&self) -> Result<String, Error> {
        self.lay_out()?.svg()
    }

    fn lay_out(&self) -> Result<Drawing, Error> {
        let width = if self.panels.len() == 1 { WIDE } else { NARROW };
        let contents = self.panels.iter().map(|panel| panel.content(width)).collect::<Result<_, _>>()?;
        Ok(Drawing(Kind::Plots(Plots::new(&self.title, width, contents)?)))
    }
}

impl Panel {
    /// The panel's lines, and axes of the given length that hold them.
    fn content(&self, plot_width: f64) -> Result<Content, Error> {
        /// Lines of at most so many points show each of them.
        const MAX_MARKED: usize = 30;

        self.check()?;
        let mut content = Content {
            title: self.title.clone(),
            x_label: self.x_label.clone(),
            y_label: self.y_label.clone(),
            ..Content::default()
        };
        let points = || self.lines.iter().flat_map(|line| &line.points).copied().filter(is_shown);
        let reference = self.reference.as_ref();
        let heights = points().map(|point| point.1).chain(reference.map(|reference| reference.y));
        let Some((x_range, y_range)) = bounds(points().map(|point| point.0)).zip(bounds(heights)) else {
            return Ok(content);
        };
        let whole = points().all(|point| point.0.fract() == 0.0);
        let purpose = Purpose { scale: self.x_scale, whole, length: plot_width, upright: false };
        let x = Axis::around(x_range, purpose)?;
        let whole = points().all(|point| point.1.fract() == 0.0);
        let purpose = Purpose { scale: self.y_scale, whole, length: PLOT_HEIGHT, upright: true };
        let y = Axis::around(y_range, purpose)?;

        for (line_idx, line) in self.lines.iter().enumerate() {
            let n_points = line.points.iter().filter(|point| is_shown(point)).count();
            let runs = line.points.split(|point| !is_shown(point)).filter(|run| !run.is_empty());
            content.strokes.push(Stroke {
                name: line.name.clone(),
                color: PALETTE[line_idx % PALETTE.len()],
                width: 2.0,
                dash: DASHES[line_idx % DASHES.len()],
                runs: runs.map(<[_]>::to_vec).collect(),
                marked: n_points <= MAX_MARKED,
            });
        }
        if let Some(reference) = reference {
            content.strokes.push(Stroke {
                name: reference.name.clone(),
                color: MUTED,
                width: 1.4,
                dash: Some((5.0, 5.0)),
                runs: vec![[x.range().start, x.range().end].map(|end| (end, reference.y)).to_vec()],
                marked: false,
            });
        }
        content.axes = Some((x, y));
        Ok(content)
    }

    /// Refuses too much, and what a logarithmic axis has no place for.
    fn check(&self) -> Result<(), Error> {
        let n_points = self.lines.iter().map(|line| line.points.len()).sum();
        for (what, found, max) in [("lines", self.lines.len(), MAX_LINES), ("points", n_points, MAX_POINTS)] {
            if found > max {
                return Err(Error::TooMany { what, found, max });
            }
        }
        let check = |line: &str, axis: &'static str, scale: AxisScale, value: f64| {
            if scale == AxisScale::Log && !drawable_log(value) {
                return Err(Error::NotPositive { line: clean(line), axis, value });
            }
            Ok(())
        };
        for line in &self.lines {
            for &(x, y) in line.points.iter().filter(|point| is_shown(point)) {
                check(&line.name, "x", self.x_scale, x)?;
                check(&line.name, "y", self.y_scale, y)?;
            }
        }
        if let Some(Reference { name, y }) = &self.reference {
            if !drawable(*y) {
                return Err(Error::NotFinite { line: clean(name), value: *y });
            }
            check(name, "y", self.y_scale, *y)?;
        }
        Ok(())
    }
}

fn is_shown(&(x, y): &(f64, f64)) -> bool {
    drawable(x) && drawable(y)
}

/// A line, cut where points cannot be drawn.
struct Stroke {
    name: String,
    color: RGBColor,
    width: f64,
    dash: Option<(f64, f64)>,
    runs: Vec<Vec<(f64, f64)>>,
    /// Whether each point is shown.
    marked: bool,
}

/// What one pair of axes shows; "no data" without axes.
#[derive(Default)]
struct Content {
    title: String,
    x_label: String,
    y_label: String,
    axes: Option<(Axis, Axis)>,
    /// Corners of filled boxes.
    bars: Vec<[(f64, f64); 2]>,
    /// From front to back.
    strokes: Vec<Stroke>,
}

/// A name of the legend, the stroke it stands for, and where it stands in the legend.
struct Entry {
    at: (f64, f64),
    stroke_idx: usize,
    name: String,
}

/// A pair of axes and where its parts go.
struct Plot {
    content: Content,
    /// What the axes enclose.
    area: Area,
    /// Space for the numbers and the name of the vertical axis.
    beside: f64,
    legend: Vec<Entry>,
}

/// Plots side by side under a title.
pub(crate) struct Plots {
    size: (u32, u32),
    title: Title,
    panels: Vec<Plot>,
}

impl Plots {
    fn new(title: &str, plot_width: f64, contents: Vec<Content>) -> Result<Plots, Error> {
        const GAP: f64 = 22.0;

        if contents.is_empty() {
            return Err(Error::Empty { what: "panels" });
        }
        let has_titles = contents.iter().any(|content| !content.title.is_empty());
        let mut panels: Vec<Plot> = Vec::new();
        let (mut right, mut legend_height) = (MARGIN - GAP, 0.0_f64);
        for mut content in contents {
            content.title = fit(&content.title, LABEL_SIZE, plot_width / SLACK)?;
            content.x_label = fit(&content.x_label, LABEL_SIZE, plot_width / SLACK)?;
            content.y_label = fit(&content.y_label, LABEL_SIZE, PLOT_HEIGHT / SLACK)?;
            let (mut beside, mut beyond) = (12.0, RIGHT);
            if let Some((x, y)) = &content.axes {
                let name = if content.y_label.is_empty() { 0.0 } else { 28.0 };
                // A long number at either end of the horizontal axis reaches beyond it by half.
                let half = SLACK * widest(x.labels(), TICK_SIZE)? / 2.0 + 6.0;
                beside = (2.0 * TICK + SLACK * widest(y.labels(), TICK_SIZE)? + name).max(half).ceil();
                beyond = beyond.max(half).ceil();
            }
            let (legend, height) = legend(&content.strokes, plot_width)?;
            legend_height = legend_height.max(height);
            let x = right + GAP + beside;
            let area = Area { x, y: 0.0, width: plot_width, height: PLOT_HEIGHT };
            panels.push(Plot { content, area, beside, legend });
            right = x + plot_width + beyond;
        }
        let title = Title::new(title, (right + MARGIN) / SLACK)?;
        let top = title.height() + if has_titles { 34.0 } else { 8.0 };
        for plot in &mut panels {
            plot.area.y = top;
        }
        let height = top + PLOT_HEIGHT + BELOW + LEGEND_GAP + legend_height + MARGIN / 2.0;
        Ok(Plots { size: checked_size(right + MARGIN, height)?, title, panels })
    }
}

/// Between the name of the axis and the legend.
const LEGEND_GAP: f64 = 10.0;
const LEGEND_LINE: f64 = 24.0;
/// Length of a sample of a stroke, and with the space between it and the name.
const SAMPLE: f64 = 37.0;
const SAMPLED: f64 = SAMPLE + 8.0;

/// Names with the strokes that they stand for, in lines of at most a given width; and the height of
/// the lines.
fn legend(strokes: &[Stroke], max_width: f64) -> Result<(Vec<Entry>, f64), Error> {
    const GAP: f64 = 18.0;

    let mut entries = Vec::new();
    let (mut x, mut y) = (0.0, 0.0);
    for (stroke_idx, stroke) in strokes.iter().enumerate().filter(|(_, stroke)| !stroke.name.is_empty()) {
        let name = fit(&stroke.name, TICK_SIZE, (max_width - SAMPLED) / SLACK)?;
        let entry_width = SAMPLED + SLACK * width(&name, TICK_SIZE)?;
        if x > 0.0 && x + entry_width > max_width {
            (x, y) = (0.0, y + LEGEND_LINE);
        }
        entries.push(Entry { at: (x, y), stroke_idx, name });
        x += entry_width + GAP;
    }
    let height = if entries.is_empty() { 0.0 } else { y + LEGEND_LINE };
    Ok((entries, height))
}

impl Figure for Plots {
    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn draw<DB: DrawingBackend>(&self, page: &Page<DB>) -> Result<(), Error> {
        self.title.draw(page)?;
        for plot in &self.panels {
            let Plot { content, area, .. } = plot;
            let label = Type::new(LABEL_SIZE, HPos::Center);
            page.text(&content.title, (area.center().0, area.y - 20.0), label)?;
            if let Some(axes) = &content.axes {
                plot.draw(page, axes)?;
            } else {
                page.outline(*area, AXIS, 1.0)?;
                page.text("no data", area.center(), label.color(MUTED))?;
            }
            for entry in &plot.legend {
                let (x, y) = (
                    area.x + entry.at.0,
                    area.bottom() + BELOW + LEGEND_GAP + entry.at.1 + LEGEND_LINE / 2.0,
                );
                let sample = [x, x + SAMPLE].map(|x| (page.steps(x), page.steps(y)));
                trace(page, page.root, &sample, &content.strokes[entry.stroke_idx])?;
                page.text(&entry.name, (x + SAMPLED, y), Type::new(TICK_SIZE, HPos::Left))?;
            }
        }
        Ok(())
    }
}

impl Plot {
    fn draw<DB: DrawingBackend>(&self, page: &Page<DB>, (x, y): &(Axis, Axis)) -> Result<(), Error> {
        let Plot { content, area, beside, .. } = self;
        let corner = (page.steps(area.x - beside), page.steps(area.y));
        let size = (page.steps(area.width + beside), page.steps(area.height + BELOW));
        let root = page.root.clone().shrink(corner, size);
        let mut chart = ChartBuilder::on(&root)
            .x_label_area_size(page.steps(BELOW))
            .y_label_area_size(page.steps(*beside))
            .build_cartesian_2d(x.clone(), y.clone())
            .map_err(Error::draw)?;
        let mut mesh = chart.configure_mesh();
        if !content.bars.is_empty() {
            mesh.disable_x_mesh();
        }
        mesh.light_line_style(page.stroke(PALE, 1.0))
            .bold_line_style(page.stroke(RULE, 1.0))
            .axis_style(page.stroke(AXIS, 1.0))
            .set_all_tick_mark_size(page.steps(TICK))
            .label_style(font(TICK_SIZE * page.scale)?)
            .axis_desc_style(font(LABEL_SIZE * page.scale)?)
            .x_desc(&content.x_label)
            .y_desc(&content.y_label)
            .draw()
            .map_err(Error::draw)?;

        let bar = |corners: &[(f64, f64); 2]| Rectangle::new(*corners, BARS.filled());
        chart.draw_series(content.bars.iter().map(bar)).map_err(Error::draw)?;
        for stroke in content.strokes.iter().rev() {
            for run in &stroke.runs {
                trace(page, chart.plotting_area(), run, stroke)?;
                if stroke.marked || run.len() == 1 {
                    let mark =
                        |&point: &(f64, f64)| Circle::new(point, page.steps(3.2), stroke.color.filled());
                    chart.draw_series(run.iter().map(mark)).map_err(Error::draw)?;
                }
            }
        }
        Ok(())
    }
}

/// A line through the points, with the stroke's dashes.
fn trace<DB: DrawingBackend, CT: CoordTranslate>(
    page: &Page<DB>,
    area: &DrawingArea<DB, CT>,
    points: &[CT::From],
    stroke: &Stroke,
) -> Result<(), Error>
where
    CT::From: Clone + 'static,
{
    /// Of a line so long, in pixels, dashes lie over one another and would only cost time.
    const MAX_DASHED: f64 = 50_000.0;

    if points.len() < 2 {
        return Ok(());
    }
    let places: Vec<(i32, i32)> = points.iter().map(|point| area.map_coordinate(point)).collect();
    let length = |pair: &[(i32, i32)]| match *pair {
        [from, to] => f64::from(to.0 - from.0).hypot(f64::from(to.1 - from.1)),
        _ => 0.0,
    };
    let length: f64 = places.windows(2).map(length).sum();
    let style = page.stroke(stroke.color, stroke.width);
    match stroke.dash {
        Some((on, off)) if length <= MAX_DASHED * page.scale => {
            let (on, off) = (page.steps(on), page.steps(off));
            area.draw(&DashedPathElement::new(points.iter().cloned(), on, off, style))
        }
        _ => area.draw(&PathElement::new(points, style)),
    }
    .map_err(Error::draw)
}
