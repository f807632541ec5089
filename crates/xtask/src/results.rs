//! `results`: the table of a preset's runs with several seeds, out of their reports.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The strongest control's names are those of the reports.
struct Run {
    name: String,
    student: f64,
    controls: Vec<(String, f64)>,
}

/// Prints accuracies of every `<dir>/seed_*/student/evaluation_report.json`, their mean and spread,
/// and the controls'.
pub(crate) fn run(dir: &Path) -> Result<()> {
    let mut runs = Vec::new();
    let entries = std::fs::read_dir(dir)
        .with_context(|| format!("cannot read {}; `just full` makes it", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("seed_") {
            let path = entry.path().join("student").join("evaluation_report.json");
            runs.push(read(&name, &path)?);
        }
    }
    if runs.is_empty() {
        bail!("{} has no seed_<seed> folders; `just full` makes them", dir.display());
    }
    runs.sort_by(|a, b| a.name.cmp(&b.name));
    println!("{}", table(&runs));
    Ok(())
}

fn read(name: &str, path: &Path) -> Result<Run> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let report: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no report", path.display()))?;
    let accuracy = |value: &Value| {
        value["overall_accuracy"].as_f64().with_context(|| format!("{} names no accuracy", path.display()))
    };
    let mut controls = Vec::new();
    for control in report["controls"].as_array().into_iter().flatten() {
        controls.push((control["name"].as_str().unwrap_or_default().to_owned(), accuracy(control)?));
    }
    Ok(Run { name: name.to_owned(), student: accuracy(&report)?, controls })
}

/// A line per run, then mean and range over runs; the last column is the student above its
/// strongest control.
fn table(runs: &[Run]) -> String {
    use std::fmt::Write as _;
    let names: Vec<&str> = runs[0].controls.iter().map(|(name, _)| name.as_str()).collect();
    let mut text = String::from("| run | student |");
    for name in &names {
        let _ = write!(text, " control: {name} |");
    }
    text.push_str(" above the strongest |\n|---|---|");
    text.push_str(&"---|".repeat(names.len() + 1));
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); names.len() + 2];
    for run in runs {
        let strongest = run.controls.iter().map(|(_, a)| *a).fold(f64::NEG_INFINITY, f64::max);
        let mut values = vec![run.student];
        values.extend(run.controls.iter().map(|(_, a)| *a));
        values.push(run.student - strongest);
        let _ = write!(text, "\n| {} |", run.name);
        for (column, value) in columns.iter_mut().zip(&values) {
            let _ = write!(text, " {value:.2} |");
            column.push(*value);
        }
    }
    text.push_str("\n| mean (least to most) |");
    for values in columns {
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let _ = write!(text, " **{mean:.2}** ({low:.2} to {high:.2}) |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_range_and_the_strongest_control() {
        let run = |name: &str, student, a, b| Run {
            name: name.into(),
            student,
            controls: vec![("public".into(), a), ("relabelled".into(), b)],
        };
        let text = table(&[run("seed_1", 95.0, 90.0, 91.0), run("seed_2", 96.0, 92.5, 91.0)]);
        assert!(text.contains("| seed_1 | 95.00 | 90.00 | 91.00 | 4.00 |"), "{text}");
        assert!(text.contains("| seed_2 | 96.00 | 92.50 | 91.00 | 3.50 |"), "{text}");
        assert!(text.contains("| **95.50** (95.00 to 96.00) | **91.25** (90.00 to 92.50) |"), "{text}");
        assert!(text.ends_with("**3.75** (3.50 to 4.00) |"), "{text}");
    }
}
