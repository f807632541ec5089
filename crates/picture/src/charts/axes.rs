//! Axes: ranges, ticks, and how their numbers are written.
//!
//! plotters asks an axis where a number lies and which numbers get lines and labels. Its own axes
//! do not see to it that labels keep apart, find no round numbers in a tiny range, and on a
//! logarithmic scale have only powers of ten above 1e-16.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, KeyPointWeight, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;

use super::AxisScale;
use crate::Error;
use crate::text::{TICK_SIZE, number, scientific, width};

/// Numbers beyond this are taken for infinite, and less than its inverse for zero on a logarithmic
/// axis: sums, differences and margins of what remains stay inside the range of `f64`.
const MAX_MAGNITUDE: f64 = 1e250;

/// The most labels of an axis.
const MAX_LABELS: usize = 9;

/// Whether a number can be drawn.
pub(crate) fn drawable(value: f64) -> bool {
    value.abs() <= MAX_MAGNITUDE
}

/// Whether a number can be drawn on a logarithmic axis.
pub(crate) fn drawable_log(value: f64) -> bool {
    (1.0 / MAX_MAGNITUDE..=MAX_MAGNITUDE).contains(&value)
}

/// A place on an axis and its label.
type Tick = (f64, String);

/// The least and the greatest of some numbers, None for none.
pub(crate) fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |bounds, value| match bounds {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

/// What an axis is for.
#[derive(Clone, Copy)]
pub(crate) struct Purpose {
    pub(crate) scale: AxisScale,
    /// Ticks at whole numbers only; a logarithmic axis does not mind.
    pub(crate) whole: bool,
    /// Length of the axis, in pixels.
    pub(crate) length: f64,
    /// Whether the axis is vertical, its labels one above the other.
    pub(crate) upright: bool,
}

/// A range of numbers and its ticks.
#[derive(Clone)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    scale: AxisScale,
    /// Labelled places.
    ticks: Vec<Tick>,
    /// Places of paler grid lines, on logarithmic axes.
    minor: Vec<f64>,
}

impl Axis {
    /// From `low` to `high`, both drawable on the scale, with the finest ticks whose labels keep
    /// apart. A range of no width gets one.
    pub(crate) fn new(low: f64, high: f64, purpose: Purpose) -> Result<Axis, Error> {
        let scale = purpose.scale;
        let log = scale == AxisScale::Log;
        let (low, high) = widened(low, high, if log { 1.02 } else { 1.0 + 1e-9 });
        let mut axis = Axis { low, high, scale, ticks: Vec::new(), minor: Vec::new() };
        // Within a decade, round numbers are better than powers of ten.
        let candidates = if log && high / low >= 9.0 {
            log_ticks(low, high)
        } else {
            let whole = purpose.whole && !log;
            (2..=MAX_LABELS).rev().map(|n| (round_numbers(low, high, n, whole), Vec::new())).collect()
        };
        for (ticks, minor) in candidates {
            (axis.ticks, axis.minor) = (ticks, minor);
            if axis.keeps_apart(purpose)? {
                return Ok(axis);
            }
        }
        // One label is better than labels over one another.
        axis.ticks.truncate(1);
        Ok(axis)
    }

    /// Around a range, with a margin at both ends.
    pub(crate) fn around((low, high): (f64, f64), purpose: Purpose) -> Result<Axis, Error> {
        let share = if purpose.upright { 0.04 } else { 0.02 };
        if purpose.scale == AxisScale::Log {
            let margin = ((high.ln() - low.ln()) * share).exp();
            return Axis::new(low / margin, high * margin, purpose);
        }
        let margin = (high - low) * share;
        // Positive numbers need no negative end of the axis.
        let low = if low > 0.0 { (low - margin).max(0.0) } else { low - margin };
        Axis::new(low, high + margin, purpose)
    }

    /// The labels of all ticks.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &str> {
        self.ticks.iter().map(|tick| tick.1.as_str())
    }

    /// Where a value lies: 0 at the low end, 1 at the high end.
    fn position(&self, value: f64) -> f64 {
        match self.scale {
            AxisScale::Linear => (value - self.low) / (self.high - self.low),
            AxisScale::Log => (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln()),
        }
    }

    /// Whether there are labels, not too many, and with space between each other.
    fn keeps_apart(&self, Purpose { length, upright, .. }: Purpose) -> Result<bool, Error> {
        let mut end = f64::NEG_INFINITY;
        for (place, label) in &self.ticks {
            let (extent, gap) = if upright { (TICK_SIZE, 4.0) } else { (width(label, TICK_SIZE)?, 14.0) };
            let start = self.position(*place) * length - extent / 2.0;
            if start < end + gap {
                return Ok(false);
            }
            end = start + extent;
        }
        Ok((1..=MAX_LABELS).contains(&self.ticks.len()))
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (f64::from(to - from) * self.position(*value)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight() {
            KeyPointWeight::Bold => self.ticks.iter().map(|tick| tick.0).collect(),
            KeyPointWeight::Any => self.minor.clone(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let tick = self.ticks.iter().find(|tick| tick.0.total_cmp(value).is_eq());
        tick.map_or_else(String::new, |tick| tick.1.clone())
    }
}

/// plotters' round numbers in a range that has a width, at most so many, with labels.
fn round_numbers(low: f64, high: f64, at_most: usize, whole: bool) -> Vec<Tick> {
    // In units of the power of ten below the range's width: plotters expects steps near 1.
    let unit = 10_f64.powf((high - low).log10().floor());
    let mut places = RangedCoordf64::from(low / unit..high / unit).key_points(at_most);
    if whole {
        places.retain(|place| (place * unit - (place * unit).round()).abs() < unit * 1e-6);
    }
    let step = if let [first, second, ..] = places[..] { (second - first) * unit } else { high - low };
    let largest = low.abs().max(high.abs());
    let label = |value: f64| {
        if largest >= 1e7 || step < 1e-5 {
            let digits = (largest.log10().floor() - step.log10().floor()).clamp(0.0, 15.0);
            scientific(value, digits as usize)
        } else {
            number(value, (-(step * 1.000_001).log10().floor()).max(0.0) as usize)
        }
    };
    // What is zero but for rounding is zero.
    let exact = |place: f64| if place.abs() < 1e-6 { 0.0 } else { place * unit };
    places.into_iter().map(exact).map(|value| (value, label(value))).collect()
}

/// Ticks and minor places of a logarithmic axis, from fine to coarse: 1, 2, 5 in every decade, or
/// powers of ten.
fn log_ticks(low: f64, high: f64) -> Vec<(Vec<Tick>, Vec<f64>)> {
    /// Beyond so many decades, lines at every power of ten would touch.
    const MAX_LINES: f64 = 60.0;

    let exponents = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    let values = |stride: i32, factors: &[f64]| -> Vec<f64> {
        let powers = exponents.clone().filter(|exponent| exponent.rem_euclid(stride) == 0);
        let all =
            powers.flat_map(|exponent| factors.iter().map(move |factor| factor * 10_f64.powi(exponent)));
        all.filter(|&value| low * 0.999_999 <= value && value <= high * 1.000_001).collect()
    };
    let label = |value: f64| {
        if (0.000_99..1e6).contains(&value) {
            number(value, (-(value * 1.000_001).log10().floor()).max(0.0) as usize)
        } else {
            scientific(value, 0)
        }
    };
    let ticks = |values: Vec<f64>| values.into_iter().map(|value| (value, label(value))).collect();
    let fine = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
    let mut candidates = vec![(ticks(values(1, &[1.0, 2.0, 5.0])), values(1, &fine))];
    for stride in [1, 2, 3, 5, 10, 20, 50, 100] {
        let minor = match stride {
            1 => values(1, &fine),
            _ if high.log10() - low.log10() <= MAX_LINES => values(1, &[1.0]),
            _ => Vec::new(),
        };
        candidates.push((ticks(values(stride, &[1.0])), minor));
    }
    candidates
}

/// A range whose ends differ at least by a ratio.
fn widened(low: f64, high: f64, ratio: f64) -> (f64, f64) {
    let largest = low.abs().max(high.abs());
    if high - low > (largest * (ratio - 1.0)).max(1.0 / MAX_MAGNITUDE) {
        return (low, high);
    }
    let half = if largest < 1.0 / MAX_MAGNITUDE { 0.5 } else { largest * 0.1 };
    (low - half, high + half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(low: f64, high: f64, scale: AxisScale, upright: bool) -> Axis {
        let length = if upright { 300.0 } else { 640.0 };
        Axis::new(low, high, Purpose { scale, whole: false, length, upright }).unwrap()
    }

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.labels().collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        let linear = |low, high| axis(low, high, AxisScale::Linear, false);
        assert_eq!(labels(&linear(0.0, 1.0)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&linear(-0.04, 2.1)), ["0.0", "0.5", "1.0", "1.5", "2.0"]);
        assert_eq!(labels(&linear(0.0, 9.5)), ["0", "2", "4", "6", "8"]);
        assert_eq!(labels(&linear(0.0, 12_500.0))[..3], ["0", "2,000", "4,000"]);
        let whole = Purpose { scale: AxisScale::Linear, whole: true, length: 640.0, upright: false };
        assert_eq!(labels(&Axis::new(0.0, 3.0, whole).unwrap()), ["0", "1", "2", "3"]);
        assert_eq!(labels(&Axis::new(0.0, 1.05, whole).unwrap()), ["0", "1"]);
        let log = |low, high| axis(low, high, AxisScale::Log, false);
        assert_eq!(labels(&log(0.9, 1.1e5)), ["1", "10", "100", "1,000", "10,000", "100,000"]);
        assert_eq!(labels(&log(1.5, 60.0)), ["2", "5", "10", "20", "50"]);
        assert_eq!(labels(&log(11.0, 1_900.0)), ["20", "50", "100", "200", "500", "1,000"]);
        assert_eq!(labels(&log(2.1, 15.0)), ["4", "6", "8", "10", "12", "14"]);
        assert_eq!(labels(&log(1e-11, 1.0)), ["1e−10", "1e−8", "1e−6", "1e−4", "0.01", "1"]);
    }

    #[test]
    fn labels_never_touch_whatever_the_range() {
        let magnitudes = [1e-250, 1e-100, 3e-8, 0.02, 0.7, 1.0, 4.0, 9e3, 1.3e6, 2e9, 1e100, 1e250];
        let ratios = [1.0, 1.0 + 1e-12, 1.001, 1.1, 1.9, 4.7, 8.0, 30.0, 99.0, 5e3, 2e7, 1e13, 1e60, 1e250];
        for low in magnitudes {
            for high in ratios.into_iter().map(|ratio| low * ratio).filter(|&high| drawable(high)) {
                for (scale, upright) in [
                    (AxisScale::Linear, false),
                    (AxisScale::Linear, true),
                    (AxisScale::Log, false),
                    (AxisScale::Log, true),
                ] {
                    let axis = axis(low, high, scale, upright);
                    let what =
                        format!("{low:e} to {high:e}, {scale:?}, upright {upright}: {:?}", labels(&axis));
                    assert!((1..=MAX_LABELS).contains(&axis.ticks.len()), "{what}");
                    for value in [low, high] {
                        assert!((0.0..=1.0).contains(&axis.position(value)), "{what}");
                    }
                    let mut end = f64::NEG_INFINITY;
                    for (place, label) in &axis.ticks {
                        let position = axis.position(*place);
                        assert!((-1e-3..=1.001).contains(&position), "{what}");
                        let extent = if upright { 14.0 } else { width(label, TICK_SIZE).unwrap() };
                        let middle = position * if upright { 300.0 } else { 640.0 };
                        assert!(middle - extent / 2.0 > end + 5.0, "{what}");
                        end = middle + extent / 2.0;
                    }
                }
            }
        }
    }

    #[test]
    fn no_range_is_too_strange() {
        let extremes =
            [-1e250, -1e20, -1.0, -5e-324, 0.0, 5e-324, 1e-250, 1.0, 1.0 + f64::EPSILON, 1e20, 1e250];
        for low in extremes {
            for high in extremes.into_iter().filter(|&high| high >= low) {
                for whole in [false, true] {
                    let purpose = Purpose { scale: AxisScale::Linear, whole, length: 640.0, upright: false };
                    let axis = Axis::new(low, high, purpose).unwrap();
                    assert!(axis.ticks.len() <= MAX_LABELS, "{low} to {high}: {} ticks", axis.ticks.len());
                    for value in [low, high] {
                        assert!((0.0..=1.0).contains(&axis.position(value)), "{value} in {low} to {high}");
                    }
                }
            }
        }
    }
}
