//! Axes: ranges, ticks, how numbers are written, and the frame around a plot.

use crate::Error;
use crate::canvas::{
    AXIS, Anchor, LABEL_SIZE, RULE, Rect, Sheet, Stroke, TICK_SIZE, Type, fit, text_width, widest,
};

/// Numbers beyond this are taken for infinite, and less than its inverse for zero on a logarithmic axis: sums,
/// differences and margins of what remains stay inside the range of `f64`.
const MAX_MAGNITUDE: f64 = 1e250;

/// The most labels of an axis made by [`Scale::fitting`].
const MAX_LABELS: usize = 8;

/// Whether a number can be drawn.
pub(crate) fn drawable(value: f64) -> bool {
    value.abs() <= MAX_MAGNITUDE
}

/// Whether a number can be drawn on a logarithmic axis.
pub(crate) fn drawable_log(value: f64) -> bool {
    (1.0 / MAX_MAGNITUDE..=MAX_MAGNITUDE).contains(&value)
}

/// A count with a comma between thousands: `12,345`.
pub(crate) fn thousands(count: u64) -> String {
    group(&count.to_string())
}

/// Commas into the whole part of a number without sign.
fn group(digits: &str) -> String {
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut text = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + fraction
}

/// A number with so many decimals, commas between thousands, and a true minus sign.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    let text = group(&format!("{:.decimals$}", value.abs()));
    let is_zero = text.chars().all(|c| matches!(c, '0' | '.' | ','));
    if value < 0.0 && !is_zero { format!("−{text}") } else { text }
}

/// Numbers that are shown together, each with as many decimals as their sizes call for.
pub(crate) fn numbers(values: &[f64]) -> Vec<String> {
    let largest = values.iter().copied().filter(|&v| drawable(v)).fold(0.0, |a: f64, v| a.max(v.abs()));
    let whole = values.iter().all(|&v| !drawable(v) || v.fract() == 0.0);
    let decimals =
        if whole || largest <= 0.0 { 0 } else { (2.0 - largest.log10().floor()).clamp(0.0, 6.0) as usize };
    values
        .iter()
        .map(|&value| match value {
            _ if !drawable(value) => "n/a".to_owned(),
            _ if largest >= 1e9 || (largest < 1e-4 && largest > 0.0) => scientific(value, 2),
            _ => number(value, decimals),
        })
        .collect()
}

fn scientific(value: f64, decimals: usize) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.decimals$e}").replace('-', "−") }
}

/// A labelled place on an axis.
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) label: String,
}

/// A range of numbers and its ticks.
pub(crate) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    pub(crate) ticks: Vec<Tick>,
    /// Unlabelled places between the decades of a logarithmic axis.
    minor: Vec<f64>,
}

/// What a scale of at most [`MAX_LABELS`] labels is for.
#[derive(Clone, Copy)]
pub(crate) struct Fitting {
    pub(crate) log: bool,
    /// Ticks at whole numbers only; a logarithmic scale does not mind.
    pub(crate) whole: bool,
    /// Length of the axis, in pixels.
    pub(crate) length: f64,
    /// Whether the axis is vertical, its labels one above the other.
    pub(crate) upright: bool,
}

/// What a linear scale is for.
#[derive(Clone, Copy)]
pub(crate) struct Linear {
    /// About this many ticks.
    pub(crate) n_ticks: usize,
    /// Ticks at whole numbers only.
    pub(crate) whole: bool,
}

impl Scale {
    /// From `low` to `high`, both drawable; a range of no width gets one.
    pub(crate) fn linear(low: f64, high: f64, Linear { n_ticks, whole }: Linear) -> Scale {
        let (low, high) = widened(low, high);
        let mut step = nice_step((high - low) / n_ticks.max(1) as f64);
        if whole {
            step = step.max(1.0);
        }
        let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
        let values: Vec<f64> = (0..=4 * n_ticks.max(1))
            .map(|tick_idx| first + tick_idx as f64)
            .take_while(|&multiple| multiple <= last)
            .map(|multiple| multiple * step)
            .collect();
        let largest = values.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
        let label = |value: f64| {
            if largest >= 1e7 || step < 1e-5 {
                let digits = (largest.log10().floor() - step.log10().floor()).clamp(0.0, 15.0);
                scientific(value, digits as usize)
            } else {
                number(value, (-(step * 1.000_001).log10().floor()).max(0.0) as usize)
            }
        };
        let ticks = values.into_iter().map(|value| Tick { value, label: label(value) }).collect();
        Scale { low, high, log: false, ticks, minor: Vec::new() }
    }

    /// Logarithmic from `low` to `high`, both positive and drawable.
    pub(crate) fn log(low: f64, high: f64) -> Scale {
        let (low, high) = if high / low < 1.02 { (low / 1.1, high * 1.1) } else { (low, high) };
        let decades = high.log10() - low.log10();
        if decades < 0.7 {
            return Scale { log: true, ..Scale::linear(low, high, Linear { n_ticks: 5, whole: false }) };
        }
        let exponents = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
        let inside = |value: &f64| low * 0.999_999 <= *value && *value <= high * 1.000_001;
        let places = |factors: &[f64]| -> Vec<f64> {
            let all = exponents.clone().flat_map(|k| factors.iter().map(move |f| f * 10_f64.powi(k)));
            all.filter(inside).collect()
        };
        let stride = (decades / 7.0).ceil().max(1.0) as usize;
        let labelled = if decades < 2.0 { places(&[1.0, 2.0, 5.0]) } else { places(&[1.0]) };
        let ticks =
            labelled.into_iter().step_by(stride).map(|value| Tick { value, label: power(value) }).collect();
        let minor = if stride == 1 { places(&[2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]) } else { Vec::new() };
        Scale { low, high, log: true, ticks, minor }
    }

    /// From `low` to `high`, with the finest ticks of at most [`MAX_LABELS`] whose labels keep apart; positive where
    /// `log` is set.
    pub(crate) fn fitting(low: f64, high: f64, axis: Fitting) -> Result<Scale, Error> {
        let linear = |low, high| {
            (2..MAX_LABELS).rev().map(move |n_ticks| {
                Scale::linear(low, high, Linear { n_ticks, whole: axis.whole && !axis.log })
            })
        };
        let candidates = if axis.log { log_scales(low, high, linear) } else { linear(low, high).collect() };
        let mut last = None;
        for scale in candidates {
            if scale.ticks.len() <= MAX_LABELS && scale.keeps_apart(axis.length, axis.upright)? {
                return Ok(scale);
            }
            last = Some(scale);
        }
        // One label is better than labels over one another.
        let mut scale = last.unwrap_or_else(|| Scale::bare(low, high));
        scale.ticks.truncate(1);
        Ok(scale)
    }

    /// Whether labels on an axis of `length` pixels leave space between each other.
    fn keeps_apart(&self, length: f64, upright: bool) -> Result<bool, Error> {
        let mut end = f64::NEG_INFINITY;
        for tick in &self.ticks {
            let (extent, gap) =
                if upright { (TICK_SIZE, 4.0) } else { (text_width(&tick.label, TICK_SIZE)?, 14.0) };
            let start = self.position(tick.value) * length - extent / 2.0;
            if start < end + gap {
                return Ok(false);
            }
            end = start + extent;
        }
        Ok(true)
    }

    /// Places without ticks, for axes with names instead of numbers.
    pub(crate) fn bare(low: f64, high: f64) -> Scale {
        Scale { low, high, log: false, ticks: Vec::new(), minor: Vec::new() }
    }

    /// Where a value lies: 0 at the low end, 1 at the high end.
    pub(crate) fn position(&self, value: f64) -> f64 {
        if self.log {
            (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// The ticks that fit on an axis of `length` pixels without touching: all, or every second, third, ...
    pub(crate) fn thin(&mut self, length: f64) -> Result<(), Error> {
        let needed = widest(self.ticks.iter().map(|tick| tick.label.as_str()), TICK_SIZE)? + 14.0;
        let fitting = (length / needed).floor().max(1.0) as usize;
        let stride = self.ticks.len().div_ceil(fitting + 1).max(1);
        let mut tick_idx = 0;
        self.ticks.retain(|_| {
            tick_idx += 1;
            (tick_idx - 1) % stride == 0
        });
        Ok(())
    }
}

/// Logarithmic scales for a range, from fine to coarse ticks: 1, 2, 5 in every decade, or powers of ten. Where that
/// would give fewer than three labels, ticks of a linear scale come first.
fn log_scales<L: Iterator<Item = Scale>>(low: f64, high: f64, linear: impl Fn(f64, f64) -> L) -> Vec<Scale> {
    /// Beyond so many decades, unlabelled powers of ten would touch.
    const MAX_DECADES: f64 = 60.0;

    let base = Scale { ticks: Vec::new(), minor: Vec::new(), ..Scale::log(low, high) };
    let (low, high) = (base.low, base.high);
    let decades = high.log10() - low.log10();
    let inside = |value: f64| low * 0.999_999 <= value && value <= high * 1.000_001;
    let places = |stride: i32, factors: &[f64]| -> Vec<f64> {
        ((low.log10().floor() as i32)..=(high.log10().ceil() as i32))
            .filter(|exponent| exponent.rem_euclid(stride) == 0)
            .flat_map(|exponent| factors.iter().map(move |factor| factor * 10_f64.powi(exponent)))
            .filter(|&value| inside(value))
            .collect()
    };
    let ticks = |values: Vec<f64>| -> Vec<Tick> {
        values.into_iter().map(|value| Tick { value, label: power(value) }).collect()
    };
    let scale = |ticks, minor| Scale { low, high, log: true, ticks, minor };

    let fine = ticks(places(1, &[1.0, 2.0, 5.0]));
    let mut scales = Vec::new();
    if fine.len() < 3 {
        scales.extend(linear(low, high).map(|mut linear| {
            linear.ticks.retain(|tick| inside(tick.value));
            scale(linear.ticks, Vec::new())
        }));
    }
    scales.push(scale(fine, places(1, &[3.0, 4.0, 6.0, 7.0, 8.0, 9.0])));
    for stride in [1, 2, 3, 5, 10, 20, 50, 100] {
        let minor = match stride {
            1 => places(1, &[2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]),
            _ if decades <= MAX_DECADES => places(1, &[1.0]),
            _ => Vec::new(),
        };
        scales.push(scale(ticks(places(stride, &[1.0])), minor));
    }
    scales
}

/// A range that has a width even after rounding.
fn widened(low: f64, high: f64) -> (f64, f64) {
    let largest = low.abs().max(high.abs());
    if high - low > (largest * 1e-9).max(1.0 / MAX_MAGNITUDE) {
        return (low, high);
    }
    let half = if largest < 1.0 / MAX_MAGNITUDE { 0.5 } else { largest * 0.1 };
    (low - half, high + half)
}

/// The smallest of 1, 2, 5, 10, ... that is at least `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|&nice| nice >= step * 0.999_999)
        .unwrap_or(10.0 * power)
}

/// A tick of a logarithmic axis: plain where it is short.
fn power(value: f64) -> String {
    if (0.000_99..1e6).contains(&value) {
        number(value, (-(value * 1.000_001).log10().floor()).max(0.0) as usize)
    } else {
        scientific(value, 0)
    }
}

/// Space that an axis needs beside and below its plot.
pub(crate) const BELOW: f64 = 58.0;

/// Space that the numbers and the name of a vertical axis need.
pub(crate) fn left_of(y: &Scale, y_label: &str) -> Result<f64, Error> {
    let numbers = widest(y.ticks.iter().map(|tick| tick.label.as_str()), TICK_SIZE)?;
    Ok(numbers + 12.0 + if y_label.is_empty() { 0.0 } else { 26.0 })
}

/// Where a point lies inside a plot.
pub(crate) fn place(plot: Rect, x: &Scale, y: &Scale, point: (f64, f64)) -> (f64, f64) {
    (plot.x + plot.width * x.position(point.0), plot.bottom() - plot.height * y.position(point.1))
}

/// Grid lines, axes, ticks, numbers and axis names. To be drawn before the data.
pub(crate) fn frame(
    sheet: &mut dyn Sheet,
    plot: Rect,
    (x, x_label): (&Scale, &str),
    (y, y_label): (&Scale, &str),
) -> Result<(), Error> {
    for tick in &y.ticks {
        let (_, at) = place(plot, x, y, (0.0, tick.value));
        sheet.line(&[(plot.x, at), (plot.right(), at)], Stroke::solid(RULE, 1.0))?;
        sheet.line(&[(plot.x - 5.0, at), (plot.x, at)], Stroke::solid(AXIS, 1.0))?;
        sheet.text(&tick.label, (plot.x - 9.0, at), Type::new(TICK_SIZE, Anchor::End))?;
    }
    for &value in &y.minor {
        let (_, at) = place(plot, x, y, (0.0, value));
        sheet.line(&[(plot.x - 3.0, at), (plot.x, at)], Stroke::solid(AXIS, 1.0))?;
    }
    for tick in &x.ticks {
        let at = plot.x + plot.width * x.position(tick.value);
        sheet.line(&[(at, plot.bottom()), (at, plot.bottom() + 5.0)], Stroke::solid(AXIS, 1.0))?;
        sheet.text(&tick.label, (at, plot.bottom() + 17.0), Type::new(TICK_SIZE, Anchor::Middle))?;
    }
    for &value in &x.minor {
        let at = plot.x + plot.width * x.position(value);
        sheet.line(&[(at, plot.bottom()), (at, plot.bottom() + 3.0)], Stroke::solid(AXIS, 1.0))?;
    }
    let corner = [(plot.x, plot.y), (plot.x, plot.bottom()), (plot.right(), plot.bottom())];
    sheet.line(&corner, Stroke::solid(AXIS, 1.0))?;

    let (center_x, center_y) = plot.center();
    let name = Type::new(LABEL_SIZE, Anchor::Middle);
    let x_name = fit(x_label, LABEL_SIZE, plot.width)?;
    sheet.text(&x_name, (center_x, plot.bottom() + BELOW - 16.0), name)?;
    let y_name = fit(y_label, LABEL_SIZE, plot.height)?;
    sheet.text(&y_name, (plot.x - left_of(y, y_label)? + 9.0, center_y), name.upward())
}

/// Names with the strokes that they stand for, in lines of at most a given width.
pub(crate) struct Legend {
    /// Room for a name, as a multiple of its measured width.
    slack: f64,
    lines: Vec<Vec<(String, Option<Stroke>)>>,
}

impl Legend {
    const LINE: f64 = 24.0;
    const SAMPLE: f64 = 26.0;
    const GAP: f64 = 18.0;
    /// Names beyond this number are counted, not shown.
    const MAX_ENTRIES: usize = 12;

    /// Entries with a name, in order. A `slack` above 1 leaves room for a font that is wider than the built-in one.
    pub(crate) fn new<'a>(
        entries: impl IntoIterator<Item = (&'a str, Stroke)>,
        width: f64,
        slack: f64,
    ) -> Result<Legend, Error> {
        let named: Vec<_> = entries.into_iter().filter(|(name, _)| !name.is_empty()).collect();
        let mut entries: Vec<(String, Option<Stroke>)> = Vec::new();
        for &(name, stroke) in named.iter().take(Self::MAX_ENTRIES) {
            entries.push((fit(name, TICK_SIZE, (width - Self::SAMPLE - 8.0) / slack)?, Some(stroke)));
        }
        if named.len() > entries.len() {
            entries.push((format!("and {} more", thousands((named.len() - entries.len()) as u64)), None));
        }
        let mut lines: Vec<Vec<_>> = Vec::new();
        let mut used = f64::INFINITY;
        for entry in entries {
            let entry_width = Self::entry_width(&entry, slack)?;
            if used + Self::GAP + entry_width > width {
                lines.push(Vec::new());
                used = -Self::GAP;
            }
            used += Self::GAP + entry_width;
            if let Some(line) = lines.last_mut() {
                line.push(entry);
            }
        }
        Ok(Legend { slack, lines })
    }

    fn entry_width((name, stroke): &(String, Option<Stroke>), slack: f64) -> Result<f64, Error> {
        Ok(slack * text_width(name, TICK_SIZE)? + if stroke.is_some() { Self::SAMPLE + 8.0 } else { 0.0 })
    }

    pub(crate) fn height(&self) -> f64 {
        self.lines.len() as f64 * Self::LINE
    }

    /// Draws the legend from the point down; a stroke as a line, or as a box where `boxes` is set.
    pub(crate) fn draw(
        &self,
        sheet: &mut dyn Sheet,
        (left, top): (f64, f64),
        boxes: bool,
    ) -> Result<(), Error> {
        for (line_idx, line) in self.lines.iter().enumerate() {
            let mut x = left;
            let y = top + (line_idx as f64 + 0.5) * Self::LINE;
            for entry in line {
                let (name, stroke) = entry;
                let mut text_x = x;
                if let Some(stroke) = *stroke {
                    text_x += Self::SAMPLE + 8.0;
                    if boxes {
                        let sample =
                            Rect { x: x + Self::SAMPLE - 14.0, y: y - 7.0, width: 14.0, height: 14.0 };
                        sheet.fill(sample, stroke.color);
                    } else {
                        sheet.line(&[(x, y), (x + Self::SAMPLE, y)], stroke)?;
                    }
                }
                sheet.text(name, (text_x, y), Type::new(TICK_SIZE, Anchor::Start))?;
                x += Self::entry_width(entry, self.slack)? + Self::GAP;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> Vec<&str> {
        scale.ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(number(-12_345.678, 1), "−12,345.7");
        assert_eq!(number(-0.001, 2), "0.00");
        assert_eq!(numbers(&[1_200.0, 3.0, f64::NAN]), ["1,200", "3", "n/a"]);
        assert_eq!(numbers(&[0.5, 0.25]), ["0.500", "0.250"]);
    }

    #[test]
    fn ticks_are_round_numbers() {
        let linear = |low, high, whole| Scale::linear(low, high, Linear { n_ticks: 5, whole });
        assert_eq!(labels(&linear(0.0, 1.0, false)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&linear(-0.04, 2.1, false)), ["0.0", "0.5", "1.0", "1.5", "2.0"]);
        assert_eq!(labels(&linear(0.0, 3.0, true)), ["0", "1", "2", "3"]);
        assert_eq!(labels(&linear(0.0, 12_000.0, true)), ["0", "5,000", "10,000"]);
        assert_eq!(labels(&linear(3.0, 3.0, false)), ["2.8", "3.0", "3.2"]);
        assert_eq!(labels(&Scale::log(0.001, 10.0)), ["0.001", "0.01", "0.1", "1", "10"]);
        assert_eq!(labels(&Scale::log(1.5, 60.0)), ["2", "5", "10", "20", "50"]);
        assert_eq!(labels(&Scale::log(1e-7, 1e-3)), ["1e−7", "1e−6", "1e−5", "1e−4", "0.001"]);
    }

    fn fitted(low: f64, high: f64, log: bool, upright: bool) -> Scale {
        let length = if upright { 300.0 } else { 640.0 };
        Scale::fitting(low, high, Fitting { log, whole: false, length, upright }).unwrap()
    }

    #[test]
    fn fitted_ticks_are_as_fine_as_eight_labels_allow() {
        let log = |low, high| fitted(low, high, true, false);
        assert_eq!(labels(&log(0.9, 1.1e5)), ["1", "10", "100", "1,000", "10,000", "100,000"]);
        assert_eq!(labels(&log(1.5, 60.0)), ["2", "5", "10", "20", "50"]);
        assert_eq!(labels(&log(11.0, 1_900.0)), ["20", "50", "100", "200", "500", "1,000"]);
        assert_eq!(labels(&log(1.0, 1_000.0)), ["1", "10", "100", "1,000"]);
        assert_eq!(labels(&log(2.1, 15.0)), ["4", "6", "8", "10", "12", "14"]);
        assert_eq!(labels(&log(0.8, 2.2)), ["0.8", "1.0", "1.2", "1.4", "1.6", "1.8", "2.0", "2.2"]);
        assert_eq!(labels(&log(1e-11, 1.0)), ["1e−10", "1e−8", "1e−6", "1e−4", "0.01", "1"]);
        let linear = |low, high| fitted(low, high, false, false);
        assert_eq!(labels(&linear(-0.04, 2.1)), ["0.0", "0.5", "1.0", "1.5", "2.0"]);
        assert_eq!(labels(&linear(0.0, 7.0)), ["0", "1", "2", "3", "4", "5", "6", "7"]);
        assert_eq!(labels(&linear(0.0, 8.5)), ["0", "2", "4", "6", "8"]);
    }

    #[test]
    fn fitted_labels_never_touch() {
        let magnitudes = [1e-250, 1e-100, 3e-8, 0.02, 0.7, 1.0, 4.0, 9e3, 1.3e6, 2e9, 1e100, 1e250];
        let ratios = [1.0, 1.0 + 1e-12, 1.001, 1.1, 1.9, 4.7, 8.0, 30.0, 99.0, 5e3, 2e7, 1e13, 1e60, 1e250];
        for low in magnitudes {
            for high in ratios.into_iter().map(|ratio| low * ratio).filter(|&high| drawable(high)) {
                for (log, upright) in [(false, false), (false, true), (true, false), (true, true)] {
                    let scale = fitted(low, high, log, upright);
                    let what =
                        format!("{low:e} to {high:e}, log {log}, upright {upright}: {:?}", labels(&scale));
                    assert!((1..=MAX_LABELS).contains(&scale.ticks.len()), "{what}");
                    assert!((0.0..=1.0).contains(&scale.position(low)), "{what}");
                    assert!((0.0..=1.0).contains(&scale.position(high)), "{what}");
                    let mut end = f64::NEG_INFINITY;
                    for tick in &scale.ticks {
                        let position = scale.position(tick.value);
                        assert!((-1e-3..=1.001).contains(&position), "{what}");
                        let extent = if upright { 14.0 } else { text_width(&tick.label, TICK_SIZE).unwrap() };
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
                    let scale = Scale::linear(low, high, Linear { n_ticks: 6, whole });
                    assert!(scale.ticks.len() <= 25, "{low} to {high}: {} ticks", scale.ticks.len());
                    for value in [low, high] {
                        assert!((0.0..=1.0).contains(&scale.position(value)), "{value} in {low} to {high}");
                    }
                }
                if drawable_log(low) {
                    let scale = Scale::log(low, high);
                    assert!(scale.ticks.len() <= 25, "{low} to {high}: {} ticks", scale.ticks.len());
                    assert!(scale.position(low).is_finite() && scale.position(high).is_finite());
                }
            }
        }
    }
}
