//! A report: its key fields, and what became of the files that it names.

use artifact::{FileRecord, FileState, StoredReport};
use serde_json::Value;

use super::finding::{Finding, Named, Privacy};
use super::known::Known;

/// Fields that are shown otherwise.
const SHOWN_OTHERWISE: [&str; 5] =
    ["formal_guarantee", "formal_guarantee_reason", "inputs", "outputs", "training_history"];

/// A longer value is left out.
const LONGEST: usize = 240;

/// Files that are looked for, at most: each may be anywhere above the report.
const MAX_FILES: usize = 100_000;

pub(crate) fn inspect(report: &StoredReport, known: &mut Known) -> Finding {
    let command = report.fields.get("command").and_then(Value::as_str).unwrap_or_default();
    let step = command.split(' ').next().filter(|step| !step.is_empty());
    let mut finding = Finding {
        format: "JSON".to_owned(),
        is: Some(step.map_or_else(|| "report".to_owned(), |step| format!("report of {step}"))),
        privacy: Privacy::of(report),
        ..Finding::default()
    };
    for (name, value) in &report.fields {
        let short = match value {
            Value::Null => false,
            Value::Array(_) | Value::Object(_) => value.to_string().len() <= LONGEST,
            _ => true,
        };
        if short && !SHOWN_OTHERWISE.contains(&name.as_str()) {
            finding.fields.insert(name.clone(), value.clone());
        }
    }
    let files = report.inputs.len() + report.outputs.len();
    if files > MAX_FILES {
        let left = files - MAX_FILES;
        finding.problems.push(format!("it names {files} files; the last {left} were not looked for"));
    }
    let mut left = MAX_FILES;
    for (role, records) in [("input", &report.inputs), ("output", &report.outputs)] {
        for record in records.iter().take(left) {
            left -= 1;
            let named = named(role, record, &report.state_of_by(record, |path| known.hash(path)));
            // An input may well be elsewhere; an output that is gone is not what the report says.
            match (named.state, role) {
                ("changed", _) => {
                    finding.problems.push(format!("{role} {} changed since", record.path.display()));
                }
                ("missing", "output") => {
                    finding.problems.push(format!("output {} is missing", record.path.display()));
                }
                _ => {}
            }
            finding.files.push(named);
        }
    }
    finding
}

fn named(role: &'static str, record: &FileRecord, state: &FileState) -> Named {
    let state = match state {
        FileState::Present(_) => "present",
        FileState::Changed(_) => "changed",
        FileState::Missing => "missing",
    };
    Named { role, path: record.path.clone(), state }
}
