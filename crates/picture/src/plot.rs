//! Lines over a numeric axis, as PNG and as SVG from one layout.

use crate::Error;
use crate::axes::{BELOW, Fitting, Legend, Scale, drawable, drawable_log, frame, left_of, place};
use crate::canvas::{
    Canvas, LABEL_SIZE, MUTED, RULE, Rect, Sheet, Stroke, TICK_SIZE, Title, clean, fit, line_stroke, widest,
};
use crate::chart::{MARGIN, PLOT_HEIGHT, RIGHT, bounds};
use crate::svg::{SLACK, Svg};

/// The most lines of a [`Plot`]: more are not told apart.
pub const MAX_LINES: usize = 8;

/// The most points of a [`Plot`], all its lines together.
pub const MAX_POINTS: usize = 100_000;

const PLOT_WIDTH: f64 = 640.0;

/// The reference line: grey, and dashes that no other line has.
const REFERENCE: Stroke = Stroke { color: MUTED, width: 1.4, dash: &[18.0, 4.0, 4.0, 4.0] };

/// How numbers lie on an axis of a [`Plot`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AxisScale {
    /// Equal differences are equal distances.
    #[default]
    Linear,
    /// Equal ratios are equal distances; for positive numbers.
    Log,
}

/// A named line of a [`Plot`].
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The name in the legend; an empty one stays out of it.
    pub name: String,
    /// Points (x, y) in the order in which they are joined. One with a coordinate that is not finite (or beyond 1e250)
    /// leaves a gap.
    pub points: Vec<(f64, f64)>,
}

/// A horizontal line across a [`Plot`], such as a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// The name in the legend; an empty one stays out of it.
    pub name: String,
    /// Its height on the vertical axis, which is made to hold it.
    pub y: f64,
}

/// Lines over a numeric axis.
///
/// Lines differ in colour and in dashes, those of few points mark them, and the legend stands below the axes. Both
/// formats have the same layout, and the same plot gives the same bytes. An SVG names its lines, which viewers show
/// under the pointer, and is set in the reader's own font.
///
/// ```
/// use picture::{AxisScale, Line, Plot, Reference};
///
/// let epsilon = |steps: f64| (steps * 0.02).sqrt();
/// let points = (0..5).map(|k| 10_f64.powi(k)).map(|steps| (steps, epsilon(steps))).collect();
/// let plot = Plot {
///     title: "Privacy spent".into(),
///     x_label: "steps".into(),
///     y_label: "epsilon".into(),
///     x_scale: AxisScale::Log,
///     lines: vec![Line { name: "sigma = 1.1".into(), points }],
///     reference: Some(Reference { name: "target".into(), y: 8.0 }),
///     ..Plot::default()
/// };
/// assert!(plot.png()?.starts_with(b"\x89PNG"));
/// assert!(plot.svg()?.starts_with("<svg"));
/// # Ok::<(), picture::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plot {
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

/// For every line, its runs of neighbouring points that can be drawn.
type Runs<'a> = Vec<Vec<&'a [(f64, f64)]>>;

impl Plot {
    /// The plot as PNG, some 750 x 450 pixels.
    ///
    /// # Errors
    /// No lines or no finite points, too many of either, a reference line that is not finite, or a number on a
    /// logarithmic axis that is not positive (or less than 1e-250).
    pub fn png(&self) -> Result<Vec<u8>, Error> {
        let layout = Layout::new(self)?;
        let mut canvas = Canvas::new(layout.width, layout.height)?;
        layout.draw(&mut canvas)?;
        canvas.finish()
    }

    /// The plot as the text of an SVG file, which has the size of the PNG and is sharp at any other.
    ///
    /// # Errors
    /// Those of [`Plot::png`].
    pub fn svg(&self) -> Result<String, Error> {
        let layout = Layout::new(self)?;
        let mut svg = Svg::new(layout.width, layout.height, &self.title);
        layout.draw(&mut svg)?;
        Ok(svg.finish())
    }

    /// The lines, cut where points cannot be drawn.
    fn runs(&self) -> Result<Runs<'_>, Error> {
        let n_points = self.lines.iter().map(|line| line.points.len()).sum();
        for (what, found, max) in [("lines", self.lines.len(), MAX_LINES), ("points", n_points, MAX_POINTS)] {
            if found > max {
                return Err(Error::TooMany { what, found, max });
            }
        }
        if self.lines.is_empty() {
            return Err(Error::Empty { what: "lines" });
        }
        let shown = |&(x, y): &(f64, f64)| drawable(x) && drawable(y);
        for line in &self.lines {
            for &(x, y) in line.points.iter().filter(|point| shown(point)) {
                check(&line.name, "x", self.x_scale, x)?;
                check(&line.name, "y", self.y_scale, y)?;
            }
        }
        let runs: Runs<'_> = self
            .lines
            .iter()
            .map(|line| line.points.split(|point| !shown(point)).filter(|run| !run.is_empty()).collect())
            .collect();
        if runs.iter().all(Vec::is_empty) {
            return Err(Error::Empty { what: "finite points" });
        }
        if let Some(Reference { name, y }) = &self.reference {
            if !drawable(*y) {
                return Err(Error::NotFinite { line: clean(name), value: *y });
            }
            check(name, "y", self.y_scale, *y)?;
        }
        Ok(runs)
    }
}

/// Refuses what a logarithmic axis has no place for.
fn check(line: &str, axis: &'static str, scale: AxisScale, value: f64) -> Result<(), Error> {
    if scale == AxisScale::Log && !drawable_log(value) {
        return Err(Error::NotPositive { line: clean(line), axis, value });
    }
    Ok(())
}

/// The range of some numbers with a margin at both ends, as a share of the range; None for no numbers.
fn padded(
    values: impl Iterator<Item = f64> + Clone,
    scale: AxisScale,
    margin: f64,
) -> Option<(f64, f64, bool)> {
    let whole = values.clone().all(|value| value.fract() == 0.0);
    let (low, high) = bounds(values)?;
    Some(match scale {
        AxisScale::Linear => {
            let margin = (high - low) * margin;
            // Positive numbers need no negative end of the axis.
            let end = if low > 0.0 { (low - margin).max(0.0) } else { low - margin };
            (end, high + margin, whole)
        }
        AxisScale::Log => {
            let margin = ((high.ln() - low.ln()) * margin).exp();
            (low / margin, high * margin, whole)
        }
    })
}

/// A plot's parts and where they go.
struct Layout<'a> {
    plot: &'a Plot,
    runs: Runs<'a>,
    x: Scale,
    y: Scale,
    title: Title,
    x_label: String,
    y_label: String,
    legend: Legend,
    /// What the axes enclose.
    area: Rect,
    width: f64,
    height: f64,
}

impl<'a> Layout<'a> {
    fn new(plot: &'a Plot) -> Result<Layout<'a>, Error> {
        let runs = plot.runs()?;
        let points = || runs.iter().flatten().copied().flatten();
        let reference = plot.reference.as_ref().map(|reference| reference.y);
        let x_range = padded(points().map(|point| point.0), plot.x_scale, 0.02);
        let y_range = padded(points().map(|point| point.1).chain(reference), plot.y_scale, 0.04);
        let (Some((x_low, x_high, x_whole)), Some((y_low, y_high, y_whole))) = (x_range, y_range) else {
            return Err(Error::Empty { what: "finite points" });
        };
        let axis =
            |scale, whole, length, upright| Fitting { log: scale == AxisScale::Log, whole, length, upright };
        let x = Scale::fitting(x_low, x_high, axis(plot.x_scale, x_whole, PLOT_WIDTH, false))?;
        let y = Scale::fitting(y_low, y_high, axis(plot.y_scale, y_whole, PLOT_HEIGHT, true))?;

        // A long number at either end of the horizontal axis reaches beyond the axis by half.
        let beyond = widest(x.ticks.iter().map(|tick| tick.label.as_str()), TICK_SIZE)? / 2.0 + 6.0;
        let left = (MARGIN + left_of(&y, &plot.y_label)?).max(beyond).ceil();
        let width = left + PLOT_WIDTH + (MARGIN + RIGHT).max(beyond).ceil();
        let title = Title::new(&plot.title, width / SLACK)?;
        let x_label = fit(&plot.x_label, LABEL_SIZE, PLOT_WIDTH / SLACK)?;
        let y_label = fit(&plot.y_label, LABEL_SIZE, PLOT_HEIGHT / SLACK)?;
        let area = Rect { x: left, y: title.height() + 8.0, width: PLOT_WIDTH, height: PLOT_HEIGHT };
        let lines = plot.lines.iter().enumerate().map(|(idx, line)| (line.name.as_str(), line_stroke(idx)));
        let reference = plot.reference.as_ref().map(|reference| (reference.name.as_str(), REFERENCE));
        let legend = Legend::new(lines.chain(reference), PLOT_WIDTH, SLACK)?;
        let height = (area.bottom() + BELOW + 2.0 + legend.height() + MARGIN / 2.0).ceil();
        Ok(Layout { plot, runs, x, y, title, x_label, y_label, legend, area, width, height })
    }

    fn draw(&self, sheet: &mut dyn Sheet) -> Result<(), Error> {
        /// Lines of at most so many points show each of them.
        const MAX_MARKED: usize = 25;

        let Layout { plot, area, x, y, .. } = self;
        self.title.draw(sheet)?;
        for tick in &x.ticks {
            let at = area.x + area.width * x.position(tick.value);
            sheet.line(&[(at, area.y), (at, area.bottom())], Stroke::solid(RULE, 1.0))?;
        }
        frame(sheet, *area, (x, &self.x_label), (y, &self.y_label))?;
        if let Some(reference) = &plot.reference {
            let at = area.bottom() - area.height * y.position(reference.y);
            sheet.begin(&reference.name);
            sheet.line(&[(area.x, at), (area.right(), at)], REFERENCE)?;
            sheet.end();
        }
        for (line_idx, (line, runs)) in plot.lines.iter().zip(&self.runs).enumerate() {
            let stroke = line_stroke(line_idx);
            let n_points: usize = runs.iter().map(|run| run.len()).sum();
            sheet.begin(&line.name);
            for run in runs {
                let places: Vec<(f64, f64)> = run.iter().map(|&point| place(*area, x, y, point)).collect();
                if places.len() > 1 {
                    sheet.line(&places, stroke)?;
                }
                if n_points <= MAX_MARKED || places.len() == 1 {
                    for &at in &places {
                        sheet.disc(at, 3.2, stroke.color)?;
                    }
                }
            }
            sheet.end();
        }
        self.legend.draw(sheet, (area.x, area.bottom() + BELOW + 2.0), false)
    }
}
