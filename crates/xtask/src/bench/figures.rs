//! Medians, ratios, verdicts, work in floating-point operations, and the table.

use std::fmt::Write as _;

/// The median; the mean of the middle two of an even number.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some(f64::midpoint(sorted[middle - 1], upper)) }
}

/// How many times longer they took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio {
    /// Of the medians.
    pub(super) median: f64,
    /// The least of one round.
    pub(super) least: f64,
    /// The greatest of one round.
    pub(super) most: f64,
}

/// `None` where either side was not measured.
pub(super) fn ratio(theirs: &[f64], ours: &[f64]) -> Option<Ratio> {
    let median = median(theirs)? / median(ours)?;
    let rounds: Vec<f64> = theirs.iter().zip(ours).map(|(theirs, ours)| theirs / ours).collect();
    Some(Ratio {
        median,
        least: rounds.iter().copied().fold(f64::INFINITY, f64::min),
        most: rounds.iter().copied().fold(0.0, f64::max),
    })
}

/// What a figure is held against: at least this much is the bar, and that much the stretch.
pub(super) type Bar = Option<(f64, f64)>;

/// Whether a figure meets its bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stretch,
    Met,
    Missed,
    /// There is no bar.
    None,
    NotMeasured,
}

impl Verdict {
    pub(super) fn of(value: Option<f64>, bar: Bar) -> Self {
        match (value, bar) {
            (_, None) => Self::None,
            (None, Some(_)) => Self::NotMeasured,
            (Some(value), Some((_, stretch))) if value >= stretch => Self::Stretch,
            (Some(value), Some((bar, _))) if value >= bar => Self::Met,
            _ => Self::Missed,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Stretch => "stretch",
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::None => "-",
            Self::NotMeasured => "not measured",
        }
    }
}

/// Multiplications and additions of one forward pass for one image, and those of the first layer
/// among them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    forward: f64,
    first: f64,
}

/// Teacher and student: two 3x3 convolutions of a 28x28 image, 9,216 to 128 to 10.
pub(super) const TEACHER: Network = {
    let first = 2.0 * 26.0 * 26.0 * 32.0 * 9.0;
    let forward = first + 2.0 * 24.0 * 24.0 * 64.0 * 288.0 + 2.0 * 9216.0 * 128.0 + 2.0 * 128.0 * 10.0;
    Network { forward, first }
};

/// The decoder: 32 to 6,272, two 4x4 transposed convolutions, a 3x3 convolution.
pub(super) const DECODER: Network = {
    let first = 2.0 * 32.0 * 6272.0;
    let transposed = 2.0 * 49.0 * 128.0 * 64.0 * 16.0 + 2.0 * 196.0 * 64.0 * 32.0 * 16.0;
    Network { forward: first + transposed + 2.0 * 784.0 * 32.0 * 9.0, first }
};

/// The encoder: two 4x4 convolutions, 3,136 to twice 32.
pub(super) const ENCODER: Network = {
    let first = 2.0 * 196.0 * 32.0 * 16.0;
    Network { forward: first + 2.0 * 49.0 * 64.0 * 512.0 + 2.0 * 2.0 * 3136.0 * 32.0, first }
};

impl Network {
    /// One image through.
    pub(super) fn forward(self) -> f64 {
        self.forward
    }

    /// One image in training: through, and gradients of weights and of inputs, but for the image's
    /// own.
    pub(super) fn training(self) -> f64 {
        3.0 * self.forward - self.first
    }
}

/// One image of a VAE in training.
pub(super) fn vae_training() -> f64 {
    ENCODER.training() + 3.0 * DECODER.forward
}

/// One latent steered: each step through both networks and back to the latent, and a last look.
pub(super) fn steering(steps: f64) -> f64 {
    (2.0 * steps + 1.0) * (TEACHER.forward + DECODER.forward)
}

/// Columns as wide as their widest cell, the first to the left and the others to the right.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ =
                if column == 0 { write!(line, "{cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Seconds with three figures.
pub(super) fn seconds(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(s) if s >= 100.0 => format!("{s:.0} s"),
        Some(s) if s >= 10.0 => format!("{s:.1} s"),
        Some(s) if s >= 1.0 => format!("{s:.2} s"),
        Some(s) => format!("{:.1} ms", s * 1e3),
    }
}

/// As in `5.2x (4.9-5.4)`.
pub(super) fn times(value: Option<Ratio>) -> String {
    match value {
        None => "-".to_owned(),
        Some(Ratio { median, least, most }) => format!("{median:.2}x ({least:.2}-{most:.2})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_ratio_is_that_of_medians_with_the_spread_of_rounds() {
        let ratio = ratio(&[10.0, 12.0, 8.0], &[2.0, 2.0, 2.0]).unwrap();
        assert_eq!(ratio, Ratio { median: 5.0, least: 4.0, most: 6.0 });
        assert_eq!(times(Some(ratio)), "5.00x (4.00-6.00)");
        assert_eq!(super::ratio(&[], &[1.0]), None);
        assert_eq!(super::ratio(&[1.0], &[]), None);
    }

    #[test]
    fn verdicts_hold_the_figure_against_both() {
        let bar = Some((5.0, 7.0));
        assert_eq!(Verdict::of(Some(7.0), bar), Verdict::Stretch);
        assert_eq!(Verdict::of(Some(5.0), bar), Verdict::Met);
        assert_eq!(Verdict::of(Some(4.99), bar), Verdict::Missed);
        assert_eq!(Verdict::of(None, bar), Verdict::NotMeasured);
        assert_eq!(Verdict::of(Some(1.0), None), Verdict::None);
        assert_eq!(Verdict::of(Some(f64::NAN), bar), Verdict::Missed);
    }

    #[test]
    fn operations_are_those_of_the_layers() {
        assert!((TEACHER.forward() - 23_984_896.0).abs() < 0.5);
        assert!((DECODER.forward() - 26_543_104.0).abs() < 0.5);
        assert!((ENCODER.forward() - 3_813_376.0).abs() < 0.5);
        assert!((TEACHER.training() - (3.0 * 23_984_896.0 - 389_376.0)).abs() < 0.5);
        assert!((steering(20.0) - 41.0 * (23_984_896.0 + 26_543_104.0)).abs() < 0.5);
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["part".into(), "ours".into()], vec!["a".into(), "12.0 s".into()], vec!["bc".into()]];
        assert_eq!(table(&rows), "part    ours\na     12.0 s\nbc\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn seconds_keep_three_figures() {
        let shown = [Some(123.4), Some(12.34), Some(1.234), Some(0.0123), None].map(seconds);
        assert_eq!(shown, ["123 s", "12.3 s", "1.23 s", "12.3 ms", "-"]);
    }
}
