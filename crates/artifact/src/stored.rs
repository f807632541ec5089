//! A report that an earlier step left, and whether its files are still the same.

use std::collections::HashSet;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Error, FileRecord, Guarantee, layout};

/// Reports looked at in one folder, at most.
const MAX_LOOKED_AT: usize = 1000;

/// What the JSON files of one folder that are looked at may take together; reports take some
/// thousand bytes, those of large batches some hundred thousand.
const MAX_SEARCHED: u64 = 16 << 20;

/// A report that an earlier step left.
#[derive(Clone, Debug)]
pub struct StoredReport {
    /// Where it lies.
    pub path: PathBuf,
    /// All its fields.
    pub fields: Map<String, Value>,
    /// Files that the step read.
    pub inputs: Vec<FileRecord>,
    /// Files that the step wrote.
    pub outputs: Vec<FileRecord>,
}

/// What became of a file since a report named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// There, with the report's hash.
    Present(PathBuf),
    /// There, with another content.
    Changed(PathBuf),
    /// Nowhere to be found.
    Missing,
}

impl StoredReport {
    /// Reads a report; `None` for a JSON file that is something else.
    ///
    /// # Errors
    /// [`Error::Read`] as [`json::read`](crate::json::read).
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        let value = crate::json::read(path)?;
        Ok(Self::from_json(path, value))
    }

    /// A report out of its JSON value; `None` where it is something else.
    pub fn from_json(path: &Path, value: Value) -> Option<Self> {
        let Value::Object(fields) = value else { return None };
        if !fields.contains_key("formal_guarantee") || !fields.contains_key("outputs") {
            return None;
        }
        let inputs = records(fields.get("inputs")?)?;
        let outputs = records(fields.get("outputs")?)?;
        Some(Self { path: path.to_path_buf(), fields, inputs, outputs })
    }

    /// The report beside `file`, or in the folder above, that names it among its outputs, and what
    /// it says of it. One with the same hash comes before one with another; `sha256` is the file's.
    ///
    /// Of each folder at most 1,000 JSON files are looked at, and at most 16 MiB of them, those
    /// first that usually are reports: a large one that is none must not decide how long this
    /// takes.
    pub fn of_file(file: &Path, sha256: &str) -> Option<(Self, FileRecord)> {
        let (report, record) =
            Self::of_file_by(file, sha256, |path| Self::read(path).ok().flatten().map(Box::new))?;
        Some((*report, record))
    }

    /// [`StoredReport::of_file`] for a caller that looks for the reports of many files: `read` may
    /// remember what it gave.
    pub fn of_file_by<R: Deref<Target = Self>>(
        file: &Path,
        sha256: &str,
        mut read: impl FnMut(&Path) -> Option<R>,
    ) -> Option<(R, FileRecord)> {
        let dir = folder_of(file);
        let name = file.file_name()?;
        let mut places = vec![(dir.to_path_buf(), PathBuf::from(name))];
        if let Some(own) = std::path::absolute(dir).ok()?.file_name() {
            places.push((folder_above(dir), Path::new(own).join(name)));
        }
        let mut other = None;
        for (folder, inner) in places {
            let own = file.with_extension("json").file_name().map(|name| folder.join(name));
            let usual = layout::REPORTS.iter().map(|name| folder.join(name));
            let mut left = MAX_SEARCHED;
            let mut seen = HashSet::new();
            for path in own.into_iter().chain(usual).chain(json_files(&folder)) {
                if path == file || !seen.insert(path.clone()) {
                    continue;
                }
                let Ok(meta) = fs::metadata(&path) else { continue };
                let Some(rest) = left.checked_sub(meta.len()).filter(|_| meta.is_file()) else { continue };
                left = rest;
                let Some(report) = read(&path) else { continue };
                let Some(record) =
                    report.outputs.iter().find(|record| record.path.ends_with(&inner)).cloned()
                else {
                    continue;
                };
                if record.sha256 == sha256 {
                    return Some((report, record));
                }
                other.get_or_insert((report, record));
            }
        }
        other
    }

    /// The label that the report gives to the step's outputs.
    pub fn guarantee(&self) -> Guarantee {
        Guarantee::from_json(
            self.fields.get("formal_guarantee").unwrap_or(&Value::Null),
            self.fields.get("formal_guarantee_reason").and_then(Value::as_str),
        )
    }

    /// Looks for a file that the report names: at its path from here, from each folder above the
    /// report, and beside the report, where a folder was moved with all that is in it.
    pub fn state_of(&self, record: &FileRecord) -> FileState {
        self.state_of_by(record, |path| FileRecord::of(path).ok().map(|found| found.sha256))
    }

    /// [`StoredReport::state_of`] for a caller that asks about many records: `hash` may remember
    /// what it gave, as a report can name one file any number of times.
    pub fn state_of_by(
        &self,
        record: &FileRecord,
        mut hash: impl FnMut(&Path) -> Option<String>,
    ) -> FileState {
        let Ok(dir) = std::path::absolute(folder_of(&self.path)) else { return FileState::Missing };
        let above = dir.ancestors().map(|folder| folder.join(&record.path));
        let parts: Vec<_> = record.path.iter().collect();
        let beside = (1..=parts.len().min(3)).rev().filter_map(|n| {
            Some(dir.join(parts.get(parts.len().checked_sub(n)?..)?.iter().collect::<PathBuf>()))
        });
        let mut changed = None;
        for path in above.chain(beside).chain([record.path.clone()]) {
            let Ok(meta) = fs::metadata(&path) else { continue };
            if !meta.is_file() {
                continue;
            }
            // Another size is another content, and need not be hashed.
            if meta.len() == record.bytes && hash(&path).is_some_and(|found| found == record.sha256) {
                return FileState::Present(path);
            }
            changed.get_or_insert(path);
        }
        changed.map_or(FileState::Missing, FileState::Changed)
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The folder above, as a path from here where `dir` is one.
fn folder_above(dir: &Path) -> PathBuf {
    match (dir.file_name(), dir.parent()) {
        (Some(_), Some(above)) if above.as_os_str().is_empty() => PathBuf::from("."),
        (Some(_), Some(above)) => above.to_path_buf(),
        // "." and ".." have no names of their own.
        _ => dir.join(".."),
    }
}

fn records(value: &Value) -> Option<Vec<FileRecord>> {
    let record = |value: &Value| {
        Some(FileRecord {
            // A report of the other system has the other slash.
            path: PathBuf::from(value.get("path")?.as_str()?.replace('\\', "/")),
            bytes: value.get("bytes")?.as_u64()?,
            sha256: value.get("sha256")?.as_str()?.to_owned(),
        })
    };
    value.as_array()?.iter().map(record).collect()
}

/// The JSON files of a folder, by name.
fn json_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .take(MAX_LOOKED_AT)
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, Report, write_bytes};
    use serde_json::json;

    /// `out/a.pt` and its report, as a step that ran in `work` leaves them.
    fn stored(work: &Path, guarantee: Guarantee) -> FileRecord {
        let mut record = write_bytes(&work.join("out/a.pt"), Access::Public, b"content").unwrap();
        record.path = PathBuf::from("out/a.pt");
        let mut report = Report::new();
        report.input(crate::Input { record: record.clone(), guarantee }).output(record.clone());
        report.write(&work.join("out/any_report.json"), &Map::new()).unwrap();
        record
    }

    #[test]
    fn a_file_finds_its_report_and_the_report_its_file() {
        let work = tempfile::tempdir().unwrap();
        let record = stored(work.path(), Guarantee::none("a teacher"));
        let file = work.path().join("out/a.pt");
        let (report, named) = StoredReport::of_file(&file, &record.sha256).unwrap();
        assert_eq!(named, record);
        assert_eq!(report.guarantee(), Guarantee::none("a teacher"));
        assert!(matches!(report.state_of(&record), FileState::Present(_)));
        // Moved with its folder.
        fs::rename(work.path().join("out"), work.path().join("elsewhere")).unwrap();
        let file = work.path().join("elsewhere/a.pt");
        let (report, _) = StoredReport::of_file(&file, &record.sha256).unwrap();
        assert!(matches!(report.state_of(&record), FileState::Present(_)));
        write_bytes(&file, Access::Public, b"another").unwrap();
        assert!(matches!(report.state_of(&record), FileState::Changed(_)));
        let (_, named) = StoredReport::of_file(&file, "another hash").unwrap();
        assert_eq!(named, record, "a changed file is still the one that the report names");
        fs::remove_file(&file).unwrap();
        assert_eq!(report.state_of(&record), FileState::Missing);
    }

    /// Attacks, row 6: JSON beside a file is read up to a bound, once each, the likeliest first.
    #[test]
    fn the_search_for_a_report_is_bounded() {
        let work = tempfile::tempdir().unwrap();
        let record = stored(work.path(), Guarantee::Public);
        let file = work.path().join("out/a.pt");
        let large = vec![b' '; 9 << 20];
        for name in ["out/aa.json", "out/ab.json", "out/ac.json", "out/a.json"] {
            write_bytes(&work.path().join(name), Access::Public, &large).unwrap();
        }
        let mut read = Vec::new();
        let found = StoredReport::of_file_by(&file, &record.sha256, |path| {
            read.push(path.file_name().unwrap().to_string_lossy().into_owned());
            StoredReport::read(path).ok().flatten().map(Box::new)
        });
        // Of four large ones only the first fits, and the report still does.
        assert_eq!(read, ["a.json", "any_report.json"]);
        assert_eq!(found.unwrap().1, record);
    }

    /// Attacks, row 7.
    #[test]
    fn hashes_can_be_remembered() {
        let work = tempfile::tempdir().unwrap();
        let record = stored(work.path(), Guarantee::Public);
        let (report, _) = StoredReport::of_file(&work.path().join("out/a.pt"), &record.sha256).unwrap();
        let mut asked = 0;
        let state = report.state_of_by(&record, |_| {
            asked += 1;
            Some(record.sha256.clone())
        });
        assert!(matches!(state, FileState::Present(_)));
        assert_eq!(asked, 1);
        assert!(matches!(report.state_of_by(&record, |_| None), FileState::Changed(_)));
    }

    #[test]
    fn files_of_other_names_and_other_json_are_no_match() {
        let work = tempfile::tempdir().unwrap();
        let record = stored(work.path(), Guarantee::Public);
        let other = work.path().join("out/b.pt");
        write_bytes(&other, Access::Public, b"content").unwrap();
        assert!(StoredReport::of_file(&other, &record.sha256).is_none());
        for value in
            [json!([]), json!({"formal_guarantee": null}), json!({"formal_guarantee": null, "outputs": 3})]
        {
            assert!(StoredReport::from_json(Path::new("a.json"), value).is_none());
        }
        let broken = work.path().join("out/c.json");
        write_bytes(&broken, Access::Public, b"{").unwrap();
        assert!(StoredReport::read(&broken).unwrap_err().to_string().contains("c.json"));
        assert!(StoredReport::read(work.path()).is_err());
    }
}
