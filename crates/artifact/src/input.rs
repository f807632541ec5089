//! A file that a step read, with the privacy label of what is in it.

use std::path::Path;

use crate::{Error, FileRecord, Guarantee, StoredReport};

/// A file that a step read, and the privacy label of what is in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Path, size and hash.
    pub record: FileRecord,
    /// The label.
    pub guarantee: Guarantee,
}

impl Input {
    /// The file at `path` with the label that the report beside it gives. Where no report names it
    /// by its hash, nobody knows what it was made from, and it has no guarantee.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self::of(FileRecord::of(path)?))
    }

    /// [`Input::open`] for a file that was read already.
    pub fn of(record: FileRecord) -> Self {
        let guarantee = label_of(&record).unwrap_or_else(|| {
            // The same words for every file: the labels of hundreds of files join to one reason.
            Guarantee::none("an input has no report beside it that says what it was made from")
        });
        Self { record, guarantee }
    }

    /// The file at `path` with the label that the user declares for it. A report beside the file
    /// can make it worse, never better.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn declared(path: &Path, declared: Guarantee) -> Result<Self, Error> {
        let record = FileRecord::of(path)?;
        let guarantee = match label_of(&record) {
            Some(label) => label.join(declared),
            None => declared,
        };
        Ok(Self { record, guarantee })
    }

    /// A file that holds nothing private, such as settings.
    pub fn public(record: FileRecord) -> Self {
        Self { record, guarantee: Guarantee::Public }
    }

    /// A file that the report's label says nothing about: the test records of an evaluation, whose
    /// result is meant to be known. The report must say so in words.
    pub fn not_covered(record: FileRecord) -> Self {
        Self { record, guarantee: Guarantee::Public }
    }

    /// A file of private data, which is read outside any mechanism for `reason`.
    pub fn private(record: FileRecord, reason: &str) -> Self {
        Self { record, guarantee: Guarantee::none(reason) }
    }
}

/// The label in the report that names this very file.
fn label_of(record: &FileRecord) -> Option<Guarantee> {
    // Reports that are only looked at are no inputs: a step may write its own over that of an
    // earlier run.
    let _own = input_file::own();
    let (report, named) = StoredReport::of_file(&record.path, &record.sha256)?;
    (named.sha256 == record.sha256).then(|| report.guarantee())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::Map;

    use super::*;
    use crate::{Access, Report, write_bytes};

    #[test]
    fn a_files_label_is_its_reports_and_that_of_an_unknown_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pt");
        let mut record = write_bytes(&path, Access::Public, b"content").unwrap();
        let unknown = Input::open(&path).unwrap();
        assert!(unknown.guarantee.reason().unwrap().contains("an input has no report"));
        assert_eq!(Input::declared(&path, Guarantee::Public).unwrap().guarantee, Guarantee::Public);
        record.path = PathBuf::from("a.pt");
        let mut report = Report::new();
        report.reads_private("a shard").output(record);
        report.write(&dir.path().join("a_report.json"), &Map::new()).unwrap();
        assert_eq!(Input::open(&path).unwrap().guarantee, Guarantee::none("a shard"));
        // What the user says does not hide what the report says, nor the other way round.
        let declared = Input::declared(&path, Guarantee::Public).unwrap();
        assert_eq!(declared.guarantee, Guarantee::none("a shard"));
        let declared = Input::declared(&path, Guarantee::none("so I say")).unwrap();
        assert_eq!(declared.guarantee.reason().unwrap(), "a shard; so I say");
        // Another content is not what the report is about.
        write_bytes(&path, Access::Public, b"another").unwrap();
        assert!(Input::open(&path).unwrap().guarantee.reason().unwrap().contains("has no report"));
    }
}
