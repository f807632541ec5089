use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Error, FileRecord, Guarantee};

/// Reports looked at in one folder, at most.
const MAX_LOOKED_AT: usize = 1000;

/// Where the report of most files lies, so that a folder of many is seldom searched.
const USUAL_NAMES: [&str; 6] = [
    "selection_report.json",
    "pretrain_report.json",
    "training_report.json",
    "evaluation_report.json",
    "shards_report.json",
    "batch_report.json",
];

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

    /// The report beside `file`, or in the folder above, that names it among its outputs, and what it says of it. One
    /// with the same hash comes before one with another; `sha256` is the file's.
    pub fn of_file(file: &Path, sha256: &str) -> Option<(Self, FileRecord)> {
        let dir = folder_of(file);
        let name = file.file_name()?;
        let mut places = vec![(dir.to_path_buf(), PathBuf::from(name))];
        if let Some(own) = std::path::absolute(dir).ok()?.file_name() {
            places.push((folder_above(dir), Path::new(own).join(name)));
        }
        let mut other = None;
        for (folder, inner) in places {
            let own = file.with_extension("json").file_name().map(|name| folder.join(name));
            let usual = USUAL_NAMES.iter().map(|name| folder.join(name));
            for path in own.into_iter().chain(usual).chain(json_files(&folder)) {
                let Ok(Some(report)) = Self::read(&path) else { continue };
                let named = |record: &&FileRecord| record.path.ends_with(&inner) && path != file;
                let Some(record) = report.outputs.iter().find(named).cloned() else { continue };
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

    /// Looks for a file that the report names: at its path from here, from each folder above the report, and beside the
    /// report, where a folder was moved with all that is in it.
    pub fn state_of(&self, record: &FileRecord) -> FileState {
        let Ok(dir) = std::path::absolute(folder_of(&self.path)) else { return FileState::Missing };
        let above = dir.ancestors().map(|folder| folder.join(&record.path));
        let parts: Vec<_> = record.path.iter().collect();
        let beside = (1..=parts.len().min(3))
            .rev()
            .map(|n| dir.join(parts[parts.len() - n..].iter().collect::<PathBuf>()));
        let mut changed = None;
        for path in above.chain(beside).chain([record.path.clone()]) {
            let Ok(meta) = fs::metadata(&path) else { continue };
            if !meta.is_file() {
                continue;
            }
            // Another size is another content, and need not be hashed.
            if meta.len() == record.bytes
                && FileRecord::of(&path).is_ok_and(|found| found.sha256 == record.sha256)
            {
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
        let mut report = Report::new(guarantee);
        report.output(record.clone());
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
