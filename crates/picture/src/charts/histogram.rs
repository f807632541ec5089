//! Histograms with named vertical lines.

use plotters::prelude::Ranged;

use super::axes::{Axis, Purpose, bounds, drawable};
use super::{AxisScale, Content, DASHES, MAX_LINES, PALETTE, PLOT_HEIGHT, Plots, Stroke, WIDE};
use crate::Error;
use crate::page::{Drawing, Kind};
use crate::text::thousands;

/// The most bins of a histogram.
pub const MAX_BINS: usize = 1_000;

/// How often values fall into each of `bins` equal bins from the least to the greatest, with named
/// vertical lines at the `marks`, such as a threshold.
///
/// Values and marks that are not finite (or beyond 1e250) are left out; the number of values drawn,
/// and of those left out, is written above the plot. Without values it says "no data".
///
/// # Errors
/// `bins` outside 1 to [`MAX_BINS`], or more than [`MAX_LINES`] marks.
pub fn histogram(
    title: &str,
    x_label: &str,
    values: &[f64],
    bins: usize,
    marks: &[(String, f64)],
) -> Result<Drawing, Error> {
    if bins == 0 || bins > MAX_BINS {
        return Err(Error::Bins { bins, max: MAX_BINS });
    }
    if marks.len() > MAX_LINES {
        return Err(Error::TooMany { what: "marks", found: marks.len(), max: MAX_LINES });
    }
    let shown: Vec<f64> = values.iter().copied().filter(|&value| drawable(value)).collect();
    let n_values = thousands(shown.len() as u64);
    let note = match values.len() - shown.len() {
        0 => format!("n = {n_values}"),
        left_out => format!("n = {n_values}, {} not finite and left out", thousands(left_out as u64)),
    };
    let mut content = Content {
        title: note,
        x_label: x_label.to_owned(),
        y_label: "count".to_owned(),
        ..Content::default()
    };
    if let Some(range) = bounds(shown.iter().copied()) {
        fill(&mut content, count(&shown, range, bins), marks)?;
    }
    Ok(Drawing(Kind::Plots(Plots::new(title, WIDE, vec![content])?)))
}

/// Axes, bars and marks for counts of bins that are equally wide between two ends.
fn fill(
    content: &mut Content,
    (low, high, counts): (f64, f64, Vec<u64>),
    marks: &[(String, f64)],
) -> Result<(), Error> {
    /// Colours that stand out from the bars.
    const COLORS: [usize; 4] = [1, 6, 2, 3];

    let marks = marks.iter().filter(|(_, at)| drawable(*at));
    let ends = [low, high].into_iter().chain(marks.clone().map(|mark| mark.1));
    let purpose = Purpose { scale: AxisScale::Linear, whole: false, length: WIDE, upright: false };
    let x = Axis::around(bounds(ends).unwrap_or((low, high)), purpose)?;
    let highest = counts.iter().copied().max().unwrap_or(0).max(1) as f64 * 1.05;
    let purpose = Purpose { whole: true, length: PLOT_HEIGHT, upright: true, ..purpose };
    let y = Axis::new(0.0, highest, purpose)?;

    // A pixel between bars that are wide enough.
    let pixel = (x.range().end - x.range().start) / WIDE;
    let step = (high - low) / counts.len() as f64;
    let gap = if step >= 6.0 * pixel { pixel } else { 0.0 };
    for (bin_idx, &count) in counts.iter().enumerate() {
        let from = low + step * bin_idx as f64;
        content.bars.push([(from, count as f64), (from + step - gap, 0.0)]);
    }
    for (mark_idx, (name, at)) in marks.enumerate() {
        content.strokes.push(Stroke {
            name: name.clone(),
            color: PALETTE[COLORS[mark_idx % COLORS.len()]],
            width: 2.0,
            dash: DASHES[(mark_idx + 1) % DASHES.len()],
            runs: vec![vec![(*at, 0.0), (*at, y.range().end)]],
            marked: false,
        });
    }
    content.axes = Some((x, y));
    Ok(())
}

/// Counts of values in equal bins, and the ends of all bins; the greatest value belongs to the
/// last.
fn count(values: &[f64], (low, high): (f64, f64), bins: usize) -> (f64, f64, Vec<u64>) {
    let is_wide = high - low > low.abs().max(high.abs()) * 1e-12;
    let half = if low == 0.0 { 0.5 } else { low.abs() * 0.05 };
    let (low, high) = if is_wide { (low, high) } else { (low - half, high + half) };
    let mut counts = vec![0; bins];
    for value in values {
        let bin_idx = (value - low) / (high - low) * bins as f64;
        if let Some(count) = counts.get_mut((bin_idx as usize).min(bins - 1)) {
            *count += 1;
        }
    }
    (low, high, counts)
}
