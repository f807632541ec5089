//! Everything that decides a result, as one hash: the answer to "is it done already?".

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use crate::{Error, FileRecord, FileState, StoredReport};

/// The field of a report that says by which work its outputs were made.
pub const FINGERPRINT: &str = "fingerprint";

/// Outputs of the report of finished work that are looked at; one that names more is not of this
/// program.
const MAX_OUTPUTS: usize = 100;

/// Everything that decides a result, as one hash: equal for the same version of the programs, the
/// same settings and the same inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkId(String);

impl WorkId {
    /// The work of `settings` on inputs with these SHA-256 hashes, in order.
    ///
    /// # Errors
    /// [`Error::Field`] where the settings do not serialise.
    pub fn new<'a>(
        settings: &impl Serialize,
        inputs: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Error> {
        let settings = serde_json::to_value(settings)
            .map_err(|source| Error::Field { field: FINGERPRINT.to_owned(), source })?;
        let inputs: Vec<&str> = inputs.into_iter().collect();
        let all = json!({ "version": env!("CARGO_PKG_VERSION"), "settings": settings, "inputs": inputs });
        Ok(Self(crate::sha256_bytes(all.to_string().as_bytes())))
    }

    /// The hash, in hexadecimal.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The report at `path`, where this work made it and all its outputs are there as it names
    /// them: nothing is left to do.
    pub fn finished(&self, path: &Path) -> Option<StoredReport> {
        // What an earlier run wrote is no input, and may be written again.
        let _own = input_file::own();
        let report = StoredReport::read(path).ok()??;
        if report.fields.get(FINGERPRINT)? != self.as_str() || report.outputs.len() > MAX_OUTPUTS {
            return None;
        }
        let mut known: HashMap<PathBuf, Option<String>> = HashMap::new();
        let mut hash = |path: &Path| {
            let hash = || FileRecord::of_output(path).ok().map(|record| record.sha256);
            known.entry(path.to_path_buf()).or_insert_with(hash).clone()
        };
        let whole = report
            .outputs
            .iter()
            .all(|output| matches!(report.state_of_by(output, &mut hash), FileState::Present(_)));
        whole.then_some(report)
    }
}

impl Serialize for WorkId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::{Access, Report, write_bytes};

    #[test]
    fn work_is_the_same_where_settings_and_inputs_are() {
        let id = |settings: serde_json::Value, inputs: &[&str]| {
            WorkId::new(&settings, inputs.iter().copied()).unwrap()
        };
        let work = id(json!({"epochs": 3, "rate": 0.1}), &["a", "b"]);
        assert_eq!(work, id(json!({"epochs": 3, "rate": 0.1}), &["a", "b"]));
        for other in [
            id(json!({"epochs": 4, "rate": 0.1}), &["a", "b"]),
            id(json!({"epochs": 3, "rate": 0.100_000_000_000_000_02}), &["a", "b"]),
            id(json!({"epochs": 3, "rate": 0.1}), &["b", "a"]),
            id(json!({"epochs": 3, "rate": 0.1}), &["a"]),
            id(json!({"epochs": 3, "rate": 0.1}), &["ab"]),
        ] {
            assert_ne!(work, other);
        }
    }

    #[test]
    fn work_is_finished_where_its_outputs_are_whole_wherever_their_folder_went() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let work = WorkId::new(&json!({"seed": 1}), ["x"]).unwrap();
        let mut output = write_bytes(&at("out/a.pt"), Access::Private, b"content").unwrap();
        output.path = PathBuf::from("out/a.pt");
        let mut report = Report::new();
        report.field(FINGERPRINT, &work).unwrap().output(output);
        report.write(&at("out/report.json"), &Map::new()).unwrap();
        assert!(work.finished(&at("out/report.json")).is_some());
        let other = WorkId::new(&json!({"seed": 2}), ["x"]).unwrap();
        assert!(other.finished(&at("out/report.json")).is_none());
        std::fs::rename(at("out"), at("moved")).unwrap();
        assert!(work.finished(&at("moved/report.json")).is_some());
        assert!(work.finished(&at("out/report.json")).is_none(), "there is no report any more");
        write_bytes(&at("moved/a.pt"), Access::Private, b"another").unwrap();
        assert!(work.finished(&at("moved/report.json")).is_none());
        std::fs::remove_file(at("moved/a.pt")).unwrap();
        assert!(work.finished(&at("moved/report.json")).is_none());
    }
}
