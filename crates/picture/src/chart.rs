//! Charts with axes: curves, bars and histograms.

use crate::Error;
use crate::axes::{
    BELOW, Legend, Linear, Scale, drawable, drawable_log, frame, left_of, numbers, place, thousands,
};
use crate::canvas::{
    AXIS, Anchor, BLACK, Canvas, LABEL_SIZE, MUTED, Rect, SMALL_SIZE, Sheet, Stroke, TICK_SIZE, Title, Type,
    fit, series_stroke, text_width, widest,
};

/// The most bins of a histogram.
pub const MAX_BINS: usize = 1_000;

pub(crate) const MARGIN: f64 = 18.0;
pub(crate) const PLOT_HEIGHT: f64 = 300.0;
/// The space for the numbers of an axis at the right end, where the last one is centred on the end of the plot.
pub(crate) const RIGHT: f64 = 26.0;

/// A named line of a [`Panel`].
#[derive(Clone, Debug)]
pub struct Curve {
    /// The name in the legend; an empty one stays out of it.
    pub name: String,
    /// Points from left to right. One that is not finite leaves a gap.
    pub points: Vec<(f64, f64)>,
}

/// One pair of axes with its curves.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What stands above the axes.
    pub title: String,
    /// The name of the horizontal axis, with its unit.
    pub x_label: String,
    /// The name of the vertical axis, with its unit.
    pub y_label: String,
    /// Whether the vertical axis is logarithmic; then values that are not positive leave a gap.
    pub log_y: bool,
    /// The lines.
    pub curves: Vec<Curve>,
}

/// A panel's curves, cut where points cannot be drawn, and the scales that hold them.
struct Prepared<'a> {
    panel: &'a Panel,
    /// For every curve, its runs of neighbouring points.
    runs: Vec<Vec<Vec<(f64, f64)>>>,
    /// None where there is no point to draw.
    scales: Option<(Scale, Scale)>,
    legend: Legend,
}

/// Panels side by side, each with its own axes and legend.
///
/// Points that are not finite, or not positive on a logarithmic axis, are left out and leave a gap in their curve. A
/// panel without points says "no data". Curves differ in colour, and beyond seven in dashes too.
///
/// # Errors
/// No panels, or more than [`MAX_PIXELS`](crate::MAX_PIXELS).
pub fn curves(title: &str, panels: &[Panel]) -> Result<Vec<u8>, Error> {
    const PANEL_GAP: f64 = 22.0;

    if panels.is_empty() {
        return Err(Error::Empty { what: "panels" });
    }
    let plot_width = if panels.len() == 1 { 620.0 } else { 400.0 };
    let prepared: Vec<Prepared<'_>> =
        panels.iter().map(|panel| prepare(panel, plot_width)).collect::<Result<_, _>>()?;
    let mut lefts = Vec::new();
    let mut width = MARGIN;
    for Prepared { panel, scales, .. } in &prepared {
        let left = match scales {
            Some((_, y)) => left_of(y, &panel.y_label)?,
            None => 12.0,
        };
        lefts.push(width + left);
        width += left + plot_width + RIGHT + PANEL_GAP;
    }
    width += MARGIN - PANEL_GAP;

    let title = Title::new(title, width)?;
    let titled = panels.iter().any(|panel| !panel.title.is_empty());
    let plot_top = title.height() + if titled { 30.0 } else { 8.0 };
    let legend_top = plot_top + PLOT_HEIGHT + BELOW + 2.0;
    let legend_height = prepared.iter().fold(0.0, |a: f64, p| a.max(p.legend.height()));
    let mut canvas = Canvas::new(width, legend_top + legend_height + MARGIN / 2.0)?;
    title.draw(&mut canvas)?;
    for (panel, left) in prepared.into_iter().zip(lefts) {
        let plot = Rect { x: left, y: plot_top, width: plot_width, height: PLOT_HEIGHT };
        let (center, _) = plot.center();
        let name = fit(&panel.panel.title, LABEL_SIZE, plot_width)?;
        canvas.text(&name, (center, plot_top - 18.0), Type::new(LABEL_SIZE, Anchor::Middle))?;
        panel.legend.draw(&mut canvas, (plot.x, legend_top), false)?;
        draw_panel(&mut canvas, plot, panel)?;
    }
    canvas.finish()
}

fn prepare(panel: &Panel, plot_width: f64) -> Result<Prepared<'_>, Error> {
    let shown = |&(x, y): &(f64, f64)| drawable(x) && if panel.log_y { drawable_log(y) } else { drawable(y) };
    let runs: Vec<Vec<Vec<(f64, f64)>>> = panel
        .curves
        .iter()
        .map(|curve| {
            curve
                .points
                .split(|point| !shown(point))
                .filter(|run| !run.is_empty())
                .map(<[_]>::to_vec)
                .collect()
        })
        .collect();
    let all = || runs.iter().flatten().flatten();
    let scales = bounds(all().map(|point| point.0)).zip(bounds(all().map(|point| point.1))).map(|(x, y)| {
        let whole = all().all(|point| point.0.fract() == 0.0);
        let margin = (x.1 - x.0) * 0.02;
        let x_scale = Scale::linear(
            x.0 - margin,
            x.1 + margin,
            Linear { n_ticks: (plot_width / 70.0) as usize, whole },
        );
        let y_scale = if panel.log_y {
            let margin = ((y.1.ln() - y.0.ln()) * 0.04).exp();
            Scale::log(y.0 / margin, y.1 * margin)
        } else {
            let margin = (y.1 - y.0) * 0.04;
            Scale::linear(y.0 - margin, y.1 + margin, Linear { n_ticks: 8, whole: false })
        };
        (x_scale, y_scale)
    });
    let entries =
        panel.curves.iter().enumerate().map(|(idx, curve)| (curve.name.as_str(), series_stroke(idx)));
    Ok(Prepared { panel, runs, scales, legend: Legend::new(entries, plot_width, 1.0)? })
}

/// The least and the greatest of some numbers, None for none.
pub(crate) fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |bounds, value| match bounds {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

fn no_data(canvas: &mut Canvas, plot: Rect) -> Result<(), Error> {
    canvas.outline(plot, AXIS, 1.0);
    canvas.text("no data", plot.center(), Type::new(LABEL_SIZE, Anchor::Middle).color(MUTED))
}

fn draw_panel(
    canvas: &mut Canvas,
    plot: Rect,
    Prepared { panel, runs, scales, .. }: Prepared<'_>,
) -> Result<(), Error> {
    /// Curves of at most so many points show each of them.
    const MAX_MARKED: usize = 40;

    let Some((mut x, y)) = scales else { return no_data(canvas, plot) };
    x.thin(plot.width)?;
    frame(canvas, plot, (&x, &panel.x_label), (&y, &panel.y_label))?;
    for (curve_idx, runs) in runs.iter().enumerate() {
        let stroke = series_stroke(curve_idx);
        let n_points: usize = runs.iter().map(Vec::len).sum();
        for run in runs {
            let places: Vec<(f64, f64)> = run.iter().map(|&point| place(plot, &x, &y, point)).collect();
            canvas.line(&places, stroke)?;
            if n_points <= MAX_MARKED || places.len() == 1 {
                for &at in &places {
                    canvas.disc(at, 3.2, stroke.color)?;
                }
            }
        }
    }
    Ok(())
}

/// Bars from zero: one group for each name in `groups`, and in it one bar for each of the `series` (name, values).
///
/// Values are written at the bars where there is room; one that is not finite has no bar and reads "n/a".
///
/// # Errors
/// No groups or series, a series with another number of values than there are groups, or more than
/// [`MAX_PIXELS`](crate::MAX_PIXELS).
pub fn bars(
    title: &str,
    x_label: &str,
    y_label: &str,
    groups: &[String],
    series: &[(String, Vec<f64>)],
) -> Result<Vec<u8>, Error> {
    const MAX_NAME: f64 = 170.0;

    for (is_empty, what) in [(groups.is_empty(), "groups"), (series.is_empty(), "series")] {
        if is_empty {
            return Err(Error::Empty { what });
        }
    }
    let expected = groups.len();
    if let Some((name, values)) = series.iter().find(|(_, values)| values.len() != expected) {
        return Err(Error::Length {
            what: format!("series '{name}'"),
            found: values.len(),
            expected,
            per: "group",
        });
    }

    let all = || series.iter().flat_map(|(_, values)| values).copied();
    let (low, high) = bounds(all().filter(|&value| drawable(value))).unwrap_or((0.0, 0.0));
    // Room for the numbers at the ends of the bars.
    let margin = (high.max(0.0) - low.min(0.0)) * 0.09;
    let low = if low < 0.0 { low - margin } else { 0.0 };
    let high = if high > 0.0 { high + margin } else { 0.0 };
    let high = if high > low { high } else { 1.0 };
    let whole = all().all(|value| !drawable(value) || value.fract() == 0.0);
    let y = Scale::linear(low, high, Linear { n_ticks: 8, whole });

    let plot_width = (groups.len() as f64 * (series.len() as f64 * 14.0 + 10.0)).max(640.0);
    let pitch = plot_width / groups.len() as f64;
    let bar_width = (pitch * 0.8 / series.len() as f64).min(90.0);
    let texts = numbers(&all().collect::<Vec<_>>());
    let written = widest(texts.iter().map(String::as_str), SMALL_SIZE)? <= bar_width + pitch * 0.1 - 4.0;
    let name_width = widest(groups.iter().map(String::as_str), TICK_SIZE)?.min(MAX_NAME);
    let turned = name_width > pitch - 8.0;
    let names_below = if turned { name_width + 2.0 } else { 16.0 };

    let left = MARGIN + left_of(&y, y_label)?;
    let width = left + plot_width + MARGIN;
    let entries = series.iter().enumerate().map(|(idx, (name, _))| (name.as_str(), series_stroke(idx)));
    let legend = Legend::new(entries.filter(|_| series.len() > 1), plot_width, 1.0)?;
    let title = Title::new(title, width)?;
    let plot =
        Rect { x: left, y: title.height() + legend.height() + 10.0, width: plot_width, height: PLOT_HEIGHT };
    let mut canvas = Canvas::new(width, plot.bottom() + BELOW + names_below - 16.0 + MARGIN / 2.0)?;
    title.draw(&mut canvas)?;
    legend.draw(&mut canvas, (plot.x - 12.0, title.height()), true)?;
    let x = Scale::bare(0.0, groups.len() as f64);
    frame(&mut canvas, plot, (&x, ""), (&y, y_label))?;
    let (center, _) = plot.center();
    let name_y = plot.bottom() + BELOW - 16.0 + names_below - 16.0;
    let x_name = fit(x_label, LABEL_SIZE, plot.width)?;
    canvas.text(&x_name, (center, name_y), Type::new(LABEL_SIZE, Anchor::Middle))?;

    let (_, zero) = place(plot, &x, &y, (0.0, 0.0));
    for (series_idx, (_, values)) in series.iter().enumerate() {
        let color = series_stroke(series_idx).color;
        let texts = texts.iter().skip(series_idx * groups.len());
        for (group_idx, (&value, text)) in values.iter().zip(texts).enumerate() {
            let middle = plot.x + (group_idx as f64 + 0.5) * pitch;
            let bar_x = middle + (series_idx as f64 - series.len() as f64 / 2.0) * bar_width;
            let end = if drawable(value) { place(plot, &x, &y, (0.0, value)).1 } else { zero };
            let gap = if series.len() > 1 { 1.0 } else { 0.0 };
            let bar = Rect { x: bar_x, y: end.min(zero), width: bar_width - gap, height: (end - zero).abs() };
            canvas.fill(bar, color);
            if written {
                let at = if value < 0.0 { bar.bottom() + 11.0 } else { bar.y - 10.0 };
                let style =
                    Type::new(SMALL_SIZE, Anchor::Middle).color(if drawable(value) { BLACK } else { MUTED });
                canvas.text(text, (bar.center().0, at), style)?;
            }
        }
    }
    canvas.line(&[(plot.x, zero), (plot.right(), zero)], Stroke::solid(AXIS, 1.0))?;
    for (group_idx, name) in groups.iter().enumerate() {
        let at = plot.x + (group_idx as f64 + 0.5) * pitch;
        let name = fit(name, TICK_SIZE, name_width)?;
        if turned {
            canvas.text(&name, (at, plot.bottom() + 8.0), Type::new(TICK_SIZE, Anchor::End).upward())?;
        } else {
            canvas.text(&name, (at, plot.bottom() + 16.0), Type::new(TICK_SIZE, Anchor::Middle))?;
        }
    }
    canvas.finish()
}

/// How often values fall into each of `bins` equal bins from the least to the greatest, with named vertical lines at
/// the `marks`, such as a threshold.
///
/// Values and marks that are not finite are left out; the number of values drawn, and of those left out, is written
/// above the plot.
///
/// # Errors
/// `bins` outside 1 to [`MAX_BINS`].
pub fn histogram(
    title: &str,
    x_label: &str,
    values: &[f64],
    bins: usize,
    marks: &[(String, f64)],
) -> Result<Vec<u8>, Error> {
    const PLOT_WIDTH: f64 = 680.0;
    const MARK_LINE: f64 = 22.0;
    /// Pale bars, and for the marks the colours that stand out from them.
    const BARS: usize = 5;
    const MARKS: [usize; 4] = [1, 6, 2, 3];

    if bins == 0 || bins > MAX_BINS {
        return Err(Error::Bins { bins, max: MAX_BINS });
    }
    let shown: Vec<f64> = values.iter().copied().filter(|&value| drawable(value)).collect();
    let marks: Vec<(&str, f64)> =
        marks.iter().map(|(name, at)| (name.as_str(), *at)).filter(|&(_, at)| drawable(at)).collect();
    let n_values = thousands(shown.len() as u64);
    let note = match values.len() - shown.len() {
        0 => format!("n = {n_values}"),
        left_out => format!("n = {n_values}, {} not finite and left out", thousands(left_out as u64)),
    };

    let data = bounds(shown.iter().copied());
    let binned = data.map(|(low, high)| count(&shown, low, high, bins));
    let highest = binned.iter().flat_map(|binned| &binned.counts).copied().max().unwrap_or(0);
    let y = Scale::linear(0.0, highest.max(1) as f64 * 1.05, Linear { n_ticks: 8, whole: true });
    let mut x = binned.as_ref().map(|binned| {
        let ends = [binned.low, binned.low + binned.step * bins as f64];
        let (low, high) =
            bounds(ends.into_iter().chain(marks.iter().map(|mark| mark.1))).unwrap_or((0.0, 1.0));
        let margin = (high - low) * 0.02;
        Scale::linear(low - margin, high + margin, Linear { n_ticks: 9, whole: false })
    });

    let left = MARGIN + left_of(&y, "count")?;
    let mut placed = Vec::new();
    let mut width = left + PLOT_WIDTH + RIGHT + MARGIN;
    if let Some(x) = &x {
        for (mark_idx, &(name, at)) in marks.iter().enumerate() {
            let name = fit(name, TICK_SIZE, PLOT_WIDTH / 2.0)?;
            let line_x = left + PLOT_WIDTH * x.position(at);
            let right = line_x + Mark::GAP + text_width(&name, TICK_SIZE)?;
            width = width.max(right + MARGIN);
            placed.push(Mark {
                name,
                line_x,
                right,
                lane: 0,
                stroke: Stroke { dash: &[7.0, 4.0], ..series_stroke(MARKS[mark_idx % MARKS.len()]) },
            });
        }
    }
    let n_lanes = assign_lanes(&mut placed);
    let title = Title::new(title, width)?;
    let note_y = title.height() + 8.0;
    let marks_top = note_y + 14.0;
    let plot_top = marks_top + n_lanes as f64 * MARK_LINE + 6.0;
    let plot = Rect { x: left, y: plot_top, width: PLOT_WIDTH, height: PLOT_HEIGHT };
    let mut canvas = Canvas::new(width, plot.bottom() + BELOW + MARGIN / 2.0)?;
    title.draw(&mut canvas)?;
    canvas.text(&note, (plot.right(), note_y), Type::new(SMALL_SIZE, Anchor::End).color(MUTED))?;
    let (Some(x), Some(binned)) = (&mut x, &binned) else {
        no_data(&mut canvas, plot)?;
        return canvas.finish();
    };

    x.thin(plot.width)?;
    frame(&mut canvas, plot, (x, x_label), (&y, "count"))?;
    for (bin_idx, &count) in binned.counts.iter().enumerate() {
        let edge = |idx: usize| place(plot, x, &y, (binned.low + binned.step * idx as f64, 0.0)).0;
        let (from, to) = (edge(bin_idx), edge(bin_idx + 1));
        let top = place(plot, x, &y, (0.0, count as f64)).1;
        let gap = if to - from >= 6.0 { 1.0 } else { 0.0 };
        let bar = Rect { x: from, y: top, width: to - from - gap, height: plot.bottom() - top };
        canvas.fill(bar, series_stroke(BARS).color);
    }
    canvas.line(&[(plot.x, plot.bottom()), (plot.right(), plot.bottom())], Stroke::solid(AXIS, 1.0))?;
    for mark in &placed {
        let text_y = marks_top + (mark.lane as f64 + 0.5) * MARK_LINE;
        canvas.line(&[(mark.line_x, text_y - 8.0), (mark.line_x, plot.bottom())], mark.stroke)?;
        canvas.text(&mark.name, (mark.line_x + Mark::GAP, text_y), Type::new(TICK_SIZE, Anchor::Start))?;
    }
    canvas.finish()
}

/// Counts of equal bins.
struct Binned {
    low: f64,
    step: f64,
    counts: Vec<u64>,
}

/// Counts values between `low` and `high` into bins; the greatest value belongs to the last one.
fn count(values: &[f64], low: f64, high: f64, bins: usize) -> Binned {
    let (low, high) = if high - low > low.abs().max(high.abs()) * 1e-12 {
        (low, high)
    } else {
        let half = if low == 0.0 { 0.5 } else { low.abs() * 0.05 };
        (low - half, high + half)
    };
    let step = (high - low) / bins as f64;
    let mut counts = vec![0; bins];
    for value in values {
        let bin_idx = (((value - low) / (high - low)) * bins as f64) as usize;
        if let Some(count) = counts.get_mut(bin_idx.min(bins - 1)) {
            *count += 1;
        }
    }
    Binned { low, step, counts }
}

/// A vertical line, with its name above the plot on the right of it, like a flag.
struct Mark {
    name: String,
    line_x: f64,
    /// Where the name ends.
    right: f64,
    /// Which line of names, from the top.
    lane: usize,
    stroke: Stroke,
}

impl Mark {
    /// Between the line and its name.
    const GAP: f64 = 6.0;
}

/// Gives every mark a lane where its name meets neither another name nor another line; returns the number of lanes.
fn assign_lanes(marks: &mut [Mark]) -> usize {
    const APART: f64 = 12.0;

    // From right to left: a name that reaches over marks on its right goes above them, where their lines do not reach.
    marks.sort_by(|a, b| b.line_x.total_cmp(&a.line_x));
    let mut n_lanes = 0;
    for mark_idx in 0..marks.len() {
        let (placed, rest) = marks.split_at_mut(mark_idx);
        let Some(mark) = rest.first_mut() else { continue };
        let below = placed.iter().filter(|other| other.line_x < mark.right + APART);
        mark.lane = below.map(|other| other.lane + 1).max().unwrap_or(0);
        n_lanes = n_lanes.max(mark.lane + 1);
    }
    // So far counted from the bottom.
    for mark in marks.iter_mut() {
        mark.lane = n_lanes - 1 - mark.lane;
    }
    n_lanes
}
