//! A folder: every file in it, and what they are together.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result};
use artifact::layout;
use program::eprint_line;

use super::finding::{Beside, Finding, Privacy};
use super::known::Known;
use super::{file, text};

/// Files of one folder that are looked into.
const MAX_FILES: usize = 500;

/// The weights in a teacher's folder.
const MODEL: &str = layout::MODEL;

/// Rows of a list of images that are checked.
const MAX_ROWS: usize = 1_000_000;

/// What a folder exported by class has beside its images.
const LIST: &str = "metadata.csv";

pub(crate) fn inspect(dir: &Path, known: &mut Known) -> Result<Finding> {
    let (files, folders) = entries(dir)?;
    let mut finding = Finding { path: dir.to_path_buf(), format: "folder".to_owned(), ..Finding::default() };
    finding.field("files", files.len());
    finding.field("folders", folders.len());
    let has = |name: &str| files.iter().any(|path| path.file_name().is_some_and(|n| n == name));
    let numbered = |prefix: &str| {
        folders.iter().filter(|path| number(path, prefix).is_some()).collect::<Vec<&PathBuf>>()
    };
    let (teachers, ids) = (numbered("teacher_"), numbered(""));
    if !ids.is_empty() && has(LIST) {
        class_folders(dir, &mut finding, known)?;
        return Ok(finding);
    }
    for path in files.iter().take(MAX_FILES) {
        match look(path, known) {
            Ok(found) => finding.entries.push(found),
            Err(error) if unrecognised(&error) => finding.entries.push(Finding {
                path: path.clone(),
                format: "not recognised".to_owned(),
                bytes: path.metadata().ok().map(|meta| meta.len()),
                ..Finding::default()
            }),
            Err(error) => {
                finding.unreadable += 1;
                eprint_line(&format!("error: {}", text::one_line(&format!("{error:#}"))));
            }
        }
    }
    finding.is = if has(layout::SAMPLES) || has(layout::LABELS) {
        Some("samples of one teacher".to_owned())
    } else if has(layout::SHARD) && has(layout::METADATA) {
        Some("a private shard".to_owned())
    } else if has(layout::MODEL) {
        Some("a trained teacher".to_owned())
    } else if has(layout::DECODER) {
        Some("a decoder".to_owned())
    } else if files.iter().any(|path| path.to_string_lossy().ends_with("_teacher_ids.csv")) {
        Some("combined samples of teachers".to_owned())
    } else if !teachers.is_empty() {
        let complete = |folder: &&&PathBuf| {
            let has = |name: &str| folder.join(name).is_file();
            has(layout::SHARD) && has(layout::METADATA)
                || has(layout::SAMPLES) && has(layout::LABELS) && has(layout::SELECTION_REPORT)
                || has(layout::DECODER) && has(layout::TRAINING_REPORT)
        };
        let n = teachers.iter().filter(complete).count();
        Some(format!("folders of {} teachers, {n} complete", teachers.len()))
    } else if ids.iter().chain(&teachers).any(|folder| model_in(folder).is_some()) {
        let n = ids.iter().filter(|folder| folder.join(MODEL).is_file()).count();
        finding.problems.extend(without_model(&ids));
        Some(format!("{n} trained teachers"))
    } else {
        None
    };
    if finding.is.as_deref() == Some("samples of one teacher") {
        let missing: Vec<&str> = [layout::SAMPLES, layout::LABELS, layout::SELECTION_REPORT]
            .into_iter()
            .filter(|name| !has(name))
            .collect();
        finding.is = Some(if missing.is_empty() {
            "samples of one teacher, complete".to_owned()
        } else {
            format!("samples of one teacher, incomplete: no {}", missing.join(", no "))
        });
    }
    finding.problems.extend(named_twice(&ids, ""));
    finding.problems.extend(named_twice(&teachers, "teacher_"));
    rows_agree(&mut finding);
    finding.privacy = together(&finding.entries);
    Ok(finding)
}

/// One of the folder's files.
fn look(path: &Path, known: &mut Known) -> Result<Finding> {
    let meta = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    file::inspect(path, &meta, known)
}

/// The number in a folder's name behind `prefix`.
fn number(folder: &Path, prefix: &str) -> Option<u64> {
    folder.file_name()?.to_str()?.strip_prefix(prefix)?.parse().ok()
}

/// The weights in a teacher's folder, in whatever case their name is.
fn model_in(folder: &Path) -> Option<PathBuf> {
    let exact = folder.join(MODEL);
    if exact.is_file() {
        return Some(exact);
    }
    let alike = |path: &PathBuf| {
        path.is_file()
            && path
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.eq_ignore_ascii_case(MODEL))
    };
    fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).find(alike)
}

/// Teachers' folders in which the steps find no model.
fn without_model(folders: &[&PathBuf]) -> Vec<String> {
    let problem = |folder: &&PathBuf| match model_in(folder) {
        None => Some(format!("{} has no {MODEL}: no teacher is read from it", folder.display())),
        Some(path) if path.ends_with(MODEL) => None,
        Some(path) => Some(format!("{} is not called {MODEL}: rename it", path.display())),
    };
    folders.iter().filter_map(problem).collect()
}

/// Folders that are one teacher by their numbers: `1`, `01` and `+1`.
fn named_twice(folders: &[&PathBuf], prefix: &str) -> Vec<String> {
    let mut by_number: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for folder in folders {
        if let Some(id) = number(folder, prefix) {
            by_number.entry(id).or_default().push(folder.display().to_string());
        }
    }
    let several = by_number.into_iter().filter(|(_, names)| names.len() > 1);
    several
        .map(|(id, names)| format!("teacher {id} has {} folders: {}", names.len(), names.join(", ")))
        .collect()
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
        let stem = if name == layout::LABELS {
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

/// The PNG images that `combine --format folders` leaves: each as the list says, and the list as
/// the report says.
fn class_folders(dir: &Path, finding: &mut Finding, known: &mut Known) -> Result<()> {
    let list = dir.join(LIST);
    let found = look(&list, known)?;
    let record = known.record(&list)?;
    if let Some((report, named)) = known.report_of(&list, &record.sha256) {
        let unchanged = named.sha256 == record.sha256;
        finding.report = Some(Beside { path: report.path.clone(), unchanged });
    }
    finding.is = Some("images in class folders".to_owned());
    finding.privacy = found.privacy.clone();
    finding.problems.extend(found.problems.iter().map(|problem| format!("{LIST}: {problem}")));
    finding.fields.extend(found.fields);
    let text = input_file::read_text(&list, input_file::CSV)
        .with_context(|| format!("cannot read {}", list.display()))?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let column = |reader: &mut csv::Reader<&[u8]>, name: &str| -> Option<usize> {
        reader.headers().ok()?.iter().position(|column| column == name)
    };
    let (Some(name), Some(hash)) = (column(&mut reader, "file_name"), column(&mut reader, "sha256")) else {
        return Ok(());
    };
    let (mut right, mut changed, mut missing, mut again, mut left) = (0u64, 0u64, 0u64, 0u64, 0u64);
    let mut seen = HashSet::new();
    for (n, row) in reader.records().enumerate() {
        let row = row.with_context(|| format!("{}: broken CSV file", list.display()))?;
        if n >= MAX_ROWS {
            left += 1;
            continue;
        }
        let inner = Path::new(row.get(name).unwrap_or_default());
        // A list may come from anybody: it names files in its folder only.
        let inside = inner.components().all(|part| matches!(part, Component::Normal(_)));
        if !seen.insert(inner.to_path_buf()) {
            again += 1;
        }
        let path = dir.join(inner);
        if !inside || !path.is_file() {
            missing += 1;
        } else if known.hash(&path).is_some_and(|found| Some(found.as_str()) == row.get(hash)) {
            right += 1;
        } else {
            changed += 1;
        }
    }
    finding.field("images_as_listed", right);
    if left > 0 {
        finding
            .problems
            .push(format!("{left} images of {LIST} were not looked at: it names more than {MAX_ROWS}"));
    }
    if changed > 0 {
        finding.problems.push(format!("{changed} images changed since {LIST} was written"));
    }
    if missing > 0 {
        finding.problems.push(format!("{missing} images of {LIST} are missing"));
    }
    if again > 0 {
        finding.problems.push(format!("{again} rows of {LIST} name an image that an earlier row names"));
    }
    Ok(())
}
