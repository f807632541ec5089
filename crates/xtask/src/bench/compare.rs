//! Whether two sides computed the same.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// One comparison of our result with another's.
#[derive(Clone, Debug)]
pub(super) struct Check {
    /// What was compared, and how it came out.
    pub(super) what: String,
    /// Whether it is within its tolerance.
    pub(super) ok: bool,
}

impl Check {
    fn new(ok: bool, what: String) -> Self {
        Self { what, ok }
    }
}

/// Share of labels that must be the same: a confidence may sit on the border between two classes.
const LABELS: f64 = 0.9999;
/// Largest difference of confidences, and of pixels.
const CLOSE: f64 = 1e-5;
/// Largest difference of distances: squares of them are off by 1e-5 of the squared norms.
const DISTANCE: f64 = 1e-4;
/// Largest difference of confidences along a path without noise: Adam's first step is the sign of a
/// gradient, which rounding turns where the gradient is next to nothing.
const PATH: f64 = 1e-3;
/// Standard errors that two means may be apart, where random numbers differ.
const STANDARD_ERRORS: f64 = 4.0;
/// Largest relative difference of losses of trainings that start from the same weights with other
/// random numbers.
const LOSS: f64 = 0.2;
/// Losses below this are those of a training that has learnt its few images; they differ by more of
/// themselves.
const SMALL_LOSS: f64 = 0.5;
/// Candidates of a thousand whose confidence or distance may sit on a threshold.
const BORDER: f64 = 0.001;
/// Largest difference of epsilons of the same algorithm.
const EPSILON: f64 = 1e-6;
/// Largest difference of calibrated sigmas: the tolerance of both sides, and what dp-accounting's
/// fractional orders overstate.
const SIGMA: f64 = 2e-4;

/// Largest distance of two clipped sums, relative to their norm.
const SUMS: f64 = 1e-4;

/// Largest distance of the losses along steps on pixels: where a gradient is next to nothing,
/// rounding turns Adam's first step.
const MOVED: f64 = 1e-3;

/// Largest difference of Frechet distances, of themselves: the peers take the root of a product of
/// covariances, whose rounding is that of its largest values.
const FRECHET: f64 = 1e-6;

/// Compares what both sides of a part wrote and reported.
pub(super) fn part(name: &str, ours: (&Path, &Value), theirs: (&Path, &Value)) -> Result<Vec<Check>> {
    let floats = |file: &str| -> Result<_> { Ok((read_floats(ours.0, file)?, read_floats(theirs.0, file)?)) };
    let integers =
        |file: &str| -> Result<_> { Ok((read_integers(ours.0, file)?, read_integers(theirs.0, file)?)) };
    let both = |field: &str| (number(ours.1, field), number(theirs.1, field));
    Ok(match name {
        "labelling" => {
            let (labels, confidences) = (integers("labels")?, floats("confidences")?);
            let same = share_equal(&labels.0, &labels.1);
            vec![
                Check::new(same >= LABELS, format!("{:.3}% of the labels are the same", 100.0 * same)),
                within("confidences", &confidences.0, &confidences.1, CLOSE),
            ]
        }
        "decoding" => {
            let images = floats("images")?;
            vec![within("pixels", &images.0, &images.1, CLOSE)]
        }
        "steering" => {
            let (path, steered) = (floats("trajectories")?, floats("steered")?);
            vec![
                within("confidences along paths without noise", &path.0, &path.1, PATH),
                means("confidences of steered samples", &steered.0, &steered.1),
            ]
        }
        "diversity" => {
            let kept = integers("kept")?;
            let what = format!("{} and {} rows kept, the same ones", kept.0.len(), kept.1.len());
            vec![Check::new(kept.0 == kept.1, what)]
        }
        "memorisation" => {
            let nearest = floats("nearest")?;
            vec![within("distances", &nearest.0, &nearest.1, DISTANCE)]
        }
        "teacher-training" | "decoder-epoch" | "student-epoch" | "teacher-vaes" | "teacher-vaes-grouped" => {
            let (a, b) = both("loss");
            let apart = LOSS * a.max(b).max(SMALL_LOSS);
            let ok = (a - b).abs() <= apart;
            vec![Check::new(ok, format!("losses {a:.4} and {b:.4} (at most {apart:.4} apart)"))]
        }
        "pool-files" => {
            let (a, b) = both("sum");
            vec![Check::new((a - b).abs() <= 1e-9 * a.abs(), format!("sums of pixels {a:.3} and {b:.3}"))]
        }
        "privacy-loss" => {
            let (a, b) = both("epsilon");
            vec![Check::new((a - b).abs() <= EPSILON, format!("epsilons {a:.8} and {b:.8}"))]
        }
        "calibration-pld" | "calibration-rdp" => {
            let (a, b) = both("sigma");
            vec![Check::new((a - b).abs() <= SIGMA, format!("sigmas {a:.7} and {b:.7}"))]
        }
        "synthesis" => {
            let losses = floats("losses")?;
            let apart = relative_distance(&losses.0, &losses.1);
            vec![Check::new(
                apart <= MOVED,
                format!("losses of the steps differ by {apart:.1e} of their norm ({MOVED:.0e} allowed)"),
            )]
        }
        "frechet" => {
            let (a, b) = both("distance");
            let what = format!("distances {a:.9} and {b:.9}");
            vec![Check::new((a - b).abs() <= FRECHET * a.abs(), what)]
        }
        "neighbours" => ["precision", "recall", "density", "coverage"]
            .map(|field| {
                let (a, b) = both(field);
                Check::new((a - b).abs() <= 1e-12, format!("{field} {a} and {b}"))
            })
            .to_vec(),
        "private-step" => {
            let sums = floats("sums")?;
            let apart = relative_distance(&sums.0, &sums.1);
            vec![Check::new(
                apart <= SUMS,
                format!("clipped sums differ by {apart:.1e} of their norm ({SUMS:.0e} allowed)"),
            )]
        }
        _ => Vec::new(),
    })
}

/// Compares two reports of one teacher of the batch step.
pub(super) fn batch(ours: &Value, theirs: &Value) -> Vec<Check> {
    let pool = number(ours, "num_generated");
    let border = (BORDER * pool).max(1.0);
    let mut checks = Vec::new();
    let mut count = |field: &str, a: f64, b: f64, most: f64| {
        let what = format!("{field} {a} and {b} (at most {most:.0} apart)");
        checks.push(Check::new((a - b).abs() <= most, what));
    };
    for field in ["num_generated", "rejected_low_confidence", "rejected_memorization", "rejected_quota"] {
        count(field, number(ours, field), number(theirs, field), border);
    }
    let steered = (number(&ours["steered"], "generated"), number(theirs, "steered_generated"));
    count("steered samples", steered.0, steered.1, border);
    let selected = (number(ours, "num_selected"), number(theirs, "num_selected"));
    // Whether a steered sample stays depends on its random numbers: compared is the fraction on
    // each side, with its standard error.
    let most = border + STANDARD_ERRORS * (steered.0 / 2.0).sqrt();
    count("num_selected", selected.0, selected.1, most);
    checks
}

/// NaN where there is none: it is within no tolerance.
fn number(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap_or(f64::NAN)
}

fn within(what: &str, a: &[f32], b: &[f32], tolerance: f64) -> Check {
    match largest_difference(a, b) {
        Some(most) => Check::new(
            most <= tolerance,
            format!("{what} differ by {most:.1e} at most ({tolerance:.0e} allowed)"),
        ),
        None => Check::new(false, format!("{what}: {} and {} values", a.len(), b.len())),
    }
}

fn means(what: &str, a: &[f32], b: &[f32]) -> Check {
    let ((mean_a, error_a), (mean_b, error_b)) = (mean_and_error(a), mean_and_error(b));
    let allowed = STANDARD_ERRORS * error_a.hypot(error_b);
    let what = format!("{what}: means {mean_a:.4} and {mean_b:.4} (at most {allowed:.4} apart)");
    Check::new((mean_a - mean_b).abs() <= allowed, what)
}

/// The mean and its standard error; NaN for fewer than two values.
fn mean_and_error(values: &[f32]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// `None` for different numbers of values; NaN makes it infinite.
fn largest_difference(a: &[f32], b: &[f32]) -> Option<f64> {
    let differences = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs()));
    (a.len() == b.len())
        .then(|| differences.fold(0.0, |most, d| if d.is_nan() { f64::INFINITY } else { d.max(most) }))
}

/// The distance of `a` and `b` by the norm of `b`; infinite for different numbers of values.
fn relative_distance(a: &[f32], b: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let distance = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    let relative = distance / norm(&mut b.iter().map(|b| f64::from(*b)));
    if a.len() == b.len() && relative.is_finite() { relative } else { f64::INFINITY }
}

/// 0 for different numbers of values.
fn share_equal(a: &[i64], b: &[i64]) -> f64 {
    if a.len() != b.len() {
        return 0.0;
    }
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
    equal as f64 / a.len().max(1) as f64
}

fn read_floats(dir: &Path, name: &str) -> Result<Vec<f32>> {
    Ok(read::<4>(dir, &format!("{name}.f32"))?.map(f32::from_le_bytes).collect())
}

fn read_integers(dir: &Path, name: &str) -> Result<Vec<i64>> {
    Ok(read::<8>(dir, &format!("{name}.i64"))?.map(i64::from_le_bytes).collect())
}

fn read<const N: usize>(dir: &Path, name: &str) -> Result<impl Iterator<Item = [u8; N]>> {
    let path = dir.join(name);
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() % N != 0 {
        bail!("{} has {} bytes, no multiple of {N}; run the part again", path.display(), bytes.len());
    }
    Ok((0..bytes.len() / N).map(move |i| std::array::from_fn(|at| bytes[N * i + at])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_largest_and_never_hidden() {
        assert_eq!(largest_difference(&[1.0, 2.0], &[1.0, 2.5]), Some(0.5));
        assert_eq!(largest_difference(&[1.0, f32::NAN], &[1.0, 2.5]), Some(f64::INFINITY));
        assert_eq!(largest_difference(&[1.0], &[1.0, 2.5]), None);
        assert!((relative_distance(&[3.0, 4.1], &[3.0, 4.0]) - 0.02).abs() < 1e-6);
        assert!(relative_distance(&[1.0], &[1.0, 2.5]).is_infinite());
        assert!(relative_distance(&[f32::NAN], &[1.0]).is_infinite());
        assert!((share_equal(&[1, 2, 3, 4], &[1, 2, 3, 5]) - 0.75).abs() < 1e-12);
        assert!(share_equal(&[1], &[1, 2]) < 0.1);
    }

    #[test]
    fn means_may_differ_by_their_errors() {
        let (mean, error) = mean_and_error(&[1.0, 2.0, 3.0]);
        assert!((mean - 2.0).abs() < 1e-12 && (error - (1.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!(means("x", &[1.0, 2.0, 3.0], &[2.0, 3.0, 4.0]).ok);
        assert!(!means("x", &[1.0, 1.1, 0.9], &[2.0, 2.1, 1.9]).ok);
        assert!(!means("x", &[1.0], &[1.0]).ok, "one value has no error");
    }

    #[test]
    fn reports_agree_up_to_borders() {
        let ours = json!({
            "num_generated": 2000, "rejected_low_confidence": 800, "rejected_memorization": 3,
            "rejected_quota": 100, "steered": {"generated": 50}, "num_selected": 300,
        });
        let mut theirs = ours.clone();
        theirs["steered_generated"] = json!(51);
        theirs["num_selected"] = json!(310);
        assert!(batch(&ours, &theirs).iter().all(|check| check.ok));
        theirs["rejected_low_confidence"] = json!(810);
        assert_eq!(batch(&ours, &theirs).iter().filter(|check| !check.ok).count(), 1);
        theirs["rejected_quota"] = Value::Null;
        assert_eq!(batch(&ours, &theirs).iter().filter(|check| !check.ok).count(), 2);
    }

    #[test]
    fn written_values_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let parts = [dir.path().join("ours"), dir.path().join("theirs")];
        let kept = |rows: &[i64]| rows.iter().flat_map(|row| row.to_le_bytes()).collect::<Vec<u8>>();
        for part in &parts {
            super::super::write(&part.join("kept.i64"), &kept(&[0, 4])).unwrap();
        }
        let none = Value::Null;
        let compare = || part("diversity", (&parts[0], &none), (&parts[1], &none));
        assert!(compare().unwrap()[0].ok);
        super::super::write(&parts[1].join("kept.i64"), &kept(&[0, 5])).unwrap();
        assert!(!compare().unwrap()[0].ok);
        super::super::write(&parts[1].join("kept.i64"), &[1, 2, 3]).unwrap();
        assert!(compare().unwrap_err().to_string().contains("3 bytes"));
    }
}
