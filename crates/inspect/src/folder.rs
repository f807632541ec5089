//! A folder: every file in it, and what they are together.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use artifact::{FileRecord, StoredReport};
use shell::complain;

use crate::finding::{Beside, Finding, Privacy};
use crate::{file, text};

/// Files of one folder that are looked into.
const MAX_FILES: usize = 500;

/// What a folder exported by class has beside its images.
const LIST: &str = "metadata.csv";

pub(crate) fn inspect(dir: &Path) -> Result<Finding> {
    let (files, folders) = entries(dir)?;
    let mut finding = Finding { path: dir.to_path_buf(), format: "folder".to_owned(), ..Finding::default() };
    finding.field("files", files.len());
    finding.field("folders", folders.len());
    let has = |name: &str| files.iter().any(|path| path.file_name().is_some_and(|n| n == name));
    let numbered = |prefix: &str| -> Vec<&PathBuf> {
        let number = |path: &&PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.and_then(|name| name.strip_prefix(prefix)).is_some_and(|id| id.parse::<u64>().is_ok())
        };
        folders.iter().filter(number).collect()
    };
    let (teachers, ids) = (numbered("teacher_"), numbered(""));
    if !ids.is_empty() && has(LIST) {
        class_folders(dir, &mut finding)?;
        return Ok(finding);
    }
    for path in files.iter().take(MAX_FILES) {
        match file::inspect(path) {
            Ok(found) => finding.entries.push(found),
            Err(error) if unrecognised(&error) => finding.entries.push(Finding {
                path: path.clone(),
                format: "not recognised".to_owned(),
                bytes: path.metadata().ok().map(|meta| meta.len()),
                ..Finding::default()
            }),
            Err(error) => {
                finding.unreadable += 1;
                complain(&format!("error: {}", text::one_line(&format!("{error:#}"))));
            }
        }
    }
    finding.is = if has("synthetic_samples.pt") || has("labels.csv") {
        Some("samples of one teacher".to_owned())
    } else if has("shard.pt") && has("metadata.json") {
        Some("a private shard".to_owned())
    } else if has("model.pth") {
        Some("a trained teacher".to_owned())
    } else if has("decoder.pth") {
        Some("a decoder".to_owned())
    } else if files.iter().any(|path| path.to_string_lossy().ends_with("_teacher_ids.csv")) {
        Some("combined samples of teachers".to_owned())
    } else if !teachers.is_empty() {
        let complete = |folder: &&&PathBuf| {
            let has = |name: &str| folder.join(name).is_file();
            has("shard.pt") && has("metadata.json")
                || has("synthetic_samples.pt") && has("labels.csv") && has("selection_report.json")
                || has("decoder.pth") && has("training_report.json")
        };
        let n = teachers.iter().filter(complete).count();
        Some(format!("folders of {} teachers, {n} complete", teachers.len()))
    } else if ids.iter().any(|folder| folder.join("model.pth").is_file()) {
        let n = ids.iter().filter(|folder| folder.join("model.pth").is_file()).count();
        Some(format!("{n} trained teachers"))
    } else {
        None
    };
    if finding.is.as_deref() == Some("samples of one teacher") {
        let missing: Vec<&str> = ["synthetic_samples.pt", "labels.csv", "selection_report.json"]
            .into_iter()
            .filter(|name| !has(name))
            .collect();
        finding.is = Some(if missing.is_empty() {
            "samples of one teacher, complete".to_owned()
        } else {
            format!("samples of one teacher, incomplete: no {}", missing.join(", no "))
        });
    }
    rows_agree(&mut finding);
    finding.privacy = together(&finding.entries);
    Ok(finding)
}

/// Files and folders by name, without hidden ones.
fn entries(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let read = || format!("cannot read {}", dir.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).with_context(read)? {
        let entry = entry.with_context(read)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths.into_iter().partition(|path| !path.is_dir()))
}

fn unrecognised(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(tensorfile::Error::Unrecognised { .. }))
}

/// Samples and labels that lie together belong together.
fn rows_agree(finding: &mut Finding) {
    let mut samples: BTreeMap<String, usize> = BTreeMap::new();
    for entry in &finding.entries {
        let name = entry.path.file_name().unwrap_or_default().to_string_lossy();
        if let (Some(stem), [array]) = (name.strip_suffix("_samples.pt"), &entry.arrays[..]) {
            samples.insert(stem.to_owned(), array.shape.first().copied().unwrap_or(0));
        }
    }
    let mut problems = Vec::new();
    for entry in &finding.entries {
        let name = entry.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = if name == "labels.csv" {
            "synthetic".to_owned()
        } else if let Some(stem) =
            name.strip_suffix("_labels.csv").or_else(|| name.strip_suffix("_teacher_ids.csv"))
        {
            stem.to_owned()
        } else {
            continue;
        };
        let rows = entry.fields.get("rows").and_then(serde_json::Value::as_u64);
        if let (Some(&n), Some(rows)) = (samples.get(&stem), rows)
            && n as u64 != rows
        {
            problems.push(format!("{stem}_samples.pt has {n} samples, {name} has {rows} rows"));
        }
    }
    finding.problems.extend(problems);
}

/// The worst label of the files that have one.
fn together(entries: &[Finding]) -> Privacy {
    const WORST_FIRST: [&str; 4] = ["void", "none", "dp", "public"];
    let worst = WORST_FIRST
        .iter()
        .find_map(|label| entries.iter().map(|entry| &entry.privacy).find(|privacy| privacy.label == *label));
    worst.cloned().unwrap_or_else(|| Privacy::unknown("no report in it"))
}

/// The PNG images that `combine --format folders` leaves: each as the list says, and the list as the report says.
fn class_folders(dir: &Path, finding: &mut Finding) -> Result<()> {
    let list = dir.join(LIST);
    let found = file::inspect(&list)?;
    let record = FileRecord::of(&list)?;
    if let Some((report, named)) = StoredReport::of_file(&list, &record.sha256) {
        let unchanged = named.sha256 == record.sha256;
        finding.report = Some(Beside { path: report.path, unchanged });
    }
    finding.is = Some("images in class folders".to_owned());
    finding.privacy = found.privacy.clone();
    finding.problems.extend(found.problems.iter().map(|problem| format!("{LIST}: {problem}")));
    finding.fields.extend(found.fields);
    let mut reader =
        csv::Reader::from_path(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let column = |reader: &mut csv::Reader<fs::File>, name: &str| -> Option<usize> {
        reader.headers().ok()?.iter().position(|column| column == name)
    };
    let (Some(name), Some(hash)) = (column(&mut reader, "file_name"), column(&mut reader, "sha256")) else {
        return Ok(());
    };
    let (mut right, mut changed, mut missing) = (0u64, 0u64, 0u64);
    for row in reader.records() {
        let row = row.with_context(|| format!("{}: broken CSV file", list.display()))?;
        let inner = Path::new(row.get(name).unwrap_or_default());
        // A list may come from anybody: it names files in its folder only.
        let inside = inner.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        let path = dir.join(inner);
        if !inside || !path.is_file() {
            missing += 1;
        } else if FileRecord::of(&path).is_ok_and(|found| Some(found.sha256.as_str()) == row.get(hash)) {
            right += 1;
        } else {
            changed += 1;
        }
    }
    finding.field("images_as_listed", right);
    if changed > 0 {
        finding.problems.push(format!("{changed} images changed since {LIST} was written"));
    }
    if missing > 0 {
        finding.problems.push(format!("{missing} images of {LIST} are missing"));
    }
    Ok(())
}
