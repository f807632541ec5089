//! What was read once and need not be read again: hashes of files, and reports.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use artifact::{FileRecord, StoredReport};

/// What all files of one run have in common.
#[derive(Default)]
pub(crate) struct Known {
    /// By the path without links.
    hashes: HashMap<PathBuf, Option<FileRecord>>,
    reports: HashMap<PathBuf, Option<Rc<StoredReport>>>,
}

impl Known {
    /// The hash of a file, computed when it is first asked for.
    pub(crate) fn hash(&mut self, path: &Path) -> Option<String> {
        let whole = std::fs::canonicalize(path).ok()?;
        let record = self.hashes.entry(whole).or_insert_with(|| FileRecord::of(path).ok());
        record.as_ref().map(|record| record.sha256.clone())
    }

    /// The record of a file, which is remembered as [`Known::hash`] does.
    pub(crate) fn record(&mut self, path: &Path) -> Result<FileRecord, artifact::Error> {
        let whole = std::fs::canonicalize(path).ok();
        if let Some(Some(Some(record))) = whole.as_ref().map(|whole| self.hashes.get(whole)) {
            return Ok(FileRecord { path: path.to_path_buf(), ..record.clone() });
        }
        let record = FileRecord::of(path)?;
        if let Some(whole) = whole {
            self.hashes.insert(whole, Some(record.clone()));
        }
        Ok(record)
    }

    /// The report that names a file among its outputs, and what it says of it.
    pub(crate) fn report_of(&mut self, file: &Path, sha256: &str) -> Option<(Rc<StoredReport>, FileRecord)> {
        let reports = &mut self.reports;
        StoredReport::of_file_by(file, sha256, |path| {
            let read = || StoredReport::read(path).ok().flatten().map(Rc::new);
            reports.entry(path.to_path_buf()).or_insert_with(read).clone()
        })
    }
}
