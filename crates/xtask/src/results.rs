//! `results`: the table of a preset's runs with several seeds, or of all scored sets below a
//! folder, out of their reports.

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
        let mut scores = Vec::new();
        find_scores(dir, dir, &mut scores)?;
        if scores.is_empty() {
            bail!(
                "{} has no seed_<seed> folders, which `just full` makes, and no score_report.json of score-release",
                dir.display()
            );
        }
        scores.sort_by(|a, b| a.0.cmp(&b.0));
        println!("{}", score_table(&scores));
        return Ok(());
    }
    runs.sort_by(|a, b| a.name.cmp(&b.name));
    println!("{}", table(&runs));
    Ok(())
}

/// The scores below `dir`, each with its place below `root`.
fn find_scores(root: &Path, dir: &Path, found: &mut Vec<(String, Value)>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find_scores(root, &path, found)?;
        } else if path.ends_with("score_report.json") {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let report =
                serde_json::from_str(&text).with_context(|| format!("{} is no report", path.display()))?;
            let place = dir.strip_prefix(root).unwrap_or(dir);
            found.push((place.display().to_string().replace('\\', "/"), report));
        }
    }
    Ok(())
}

/// A line per score: what its label says, each classifier's mean beside that of public data alone,
/// and the resemblance to the test images.
fn score_table(scores: &[(String, Value)]) -> String {
    use std::fmt::Write as _;
    let number = |value: &Value, digits: usize| match value.as_f64() {
        Some(number) => format!("{number:.digits$}"),
        None => "-".to_owned(),
    };
    let mut text = String::from(
        "| score | epsilon | classifiers (public data alone) | mean | gain | FID-proxy | precision | recall |\n\
         |---|---|---|---|---|---|---|---|",
    );
    for (place, report) in scores {
        let label = &report["formal_guarantee"];
        let epsilon = match label.as_str() {
            Some(word) => word.to_owned(),
            None if label.is_null() => "none".to_owned(),
            None => number(&label["epsilon"], 2),
        };
        let controls = report["public_only_control"].as_array().map_or(&[][..], Vec::as_slice);
        let classifiers: Vec<String> = report["classifiers"]
            .as_array()
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .map(|judged| {
                let name = &judged["classifier"];
                let control = controls.iter().find(|control| &control["classifier"] == name);
                format!(
                    "{} {} ({})",
                    name.as_str().unwrap_or("?"),
                    number(&judged["mean"], 2),
                    control.map_or("-".to_owned(), |control| number(&control["mean"], 2))
                )
            })
            .collect();
        let beside = &report["fidelity"]["beside_test"];
        let _ = write!(
            text,
            "\n| {place} | {epsilon} | {} | {} | {} | {} | {} | {} |",
            classifiers.join(", "),
            number(&report["mean_accuracy"], 2),
            number(&report["gain"], 2),
            number(&beside["frechet_distance"], 2),
            number(&beside["neighbours"]["precision"], 3),
            number(&beside["neighbours"]["recall"], 3),
        );
    }
    text
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

    #[test]
    fn scores_below_a_folder_are_one_table() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/score")).unwrap();
        let report = serde_json::json!({
            "formal_guarantee": { "epsilon": 1.0 }, "mean_accuracy": 93.5, "gain": 8.25,
            "classifiers": [{ "classifier": "mlp", "mean": 93.5 }],
            "public_only_control": [{ "classifier": "mlp", "mean": 85.25 }],
            "fidelity": { "beside_test": { "frechet_distance": 0.5, "neighbours": { "precision": 0.7, "recall": 0.8 } } },
        });
        let path = dir.path().join("a/score/score_report.json");
        crate::fetch::write_file(&path, report.to_string().as_bytes()).unwrap();
        let mut found = Vec::new();
        find_scores(dir.path(), dir.path(), &mut found).unwrap();
        let line = "| a/score | 1.00 | mlp 93.50 (85.25) | 93.50 | 8.25 | 0.50 | 0.700 | 0.800 |";
        assert!(score_table(&found).ends_with(line), "{}", score_table(&found));
        let none = serde_json::json!({ "formal_guarantee": null, "classifiers": [] });
        assert!(score_table(&[("b".to_owned(), none)]).ends_with("| b | none |  | - | - | - | - | - |"));
    }
}
