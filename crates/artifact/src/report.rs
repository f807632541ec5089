//! The JSON report that every step writes beside its outputs.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{Access, Error, FileRecord, Guarantee, Input, write_bytes};

/// Version of the envelope fields; raised when one is added or changes its meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// A step's report: its own fields in the order in which they were set, then the envelope that all
/// reports share.
///
/// Envelope: `schema_version`, `tool`, `tool_version`, `command` (the full command line),
/// `formal_guarantee` and `formal_guarantee_reason`, `inputs` and `outputs` (path, bytes, SHA-256),
/// `environment`, `wall_seconds`. A number that is not finite is written as null.
#[derive(Clone, Debug)]
pub struct Report {
    fields: Map<String, Value>,
    guarantee: Guarantee,
    inputs: Vec<FileRecord>,
    outputs: Vec<FileRecord>,
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

impl Report {
    /// An empty report: so far, nothing private was read.
    pub fn new() -> Self {
        Self { fields: Map::new(), guarantee: Guarantee::Public, inputs: Vec::new(), outputs: Vec::new() }
    }

    /// The label of what the step made: that of all its inputs together.
    pub fn guarantee(&self) -> &Guarantee {
        &self.guarantee
    }

    /// Adds every field of `value`, which must serialise to an object.
    ///
    /// # Errors
    /// [`Error::Field`] where it does not serialise, or not to an object.
    pub fn fields(&mut self, value: impl Serialize) -> Result<&mut Self, Error> {
        let object: Map<String, Value> = serde_json::to_value(value)
            .and_then(serde_json::from_value)
            .map_err(|source| Error::Field { field: "*".to_owned(), source })?;
        self.fields.extend(object);
        Ok(self)
    }

    /// Sets one field.
    ///
    /// # Errors
    /// [`Error::Field`] where the value does not serialise.
    pub fn field(&mut self, name: &str, value: impl Serialize) -> Result<&mut Self, Error> {
        let value =
            serde_json::to_value(value).map_err(|source| Error::Field { field: name.to_owned(), source })?;
        self.fields.insert(name.to_owned(), value);
        Ok(self)
    }

    /// The users that may read what the step makes of the inputs that were named so far.
    pub fn access(&self) -> Access {
        self.guarantee.access()
    }

    /// Names a file that the step read; its label joins the report's.
    pub fn input(&mut self, input: Input) -> &mut Self {
        self.join(input.guarantee);
        self.inputs.push(input.record);
        self
    }

    /// Says that the step read private data outside any mechanism, for `reason`: there is no
    /// guarantee.
    pub fn reads_private(&mut self, reason: impl Into<String>) -> &mut Self {
        self.join(Guarantee::none(reason))
    }

    /// Says that the step read private data through mechanisms that were charged, with the ledger's
    /// label: what it made of them has that guarantee.
    pub fn released(&mut self, label: Guarantee) -> &mut Self {
        self.join(label)
    }

    fn join(&mut self, label: Guarantee) -> &mut Self {
        self.guarantee = std::mem::replace(&mut self.guarantee, Guarantee::Public).join(label);
        self
    }

    /// Names a file that the step wrote.
    pub fn output(&mut self, record: FileRecord) -> &mut Self {
        self.outputs.push(record);
        self
    }

    /// The files that the step read, as named so far.
    pub fn inputs(&self) -> &[FileRecord] {
        &self.inputs
    }

    /// The files that the step wrote, as named so far.
    pub fn outputs(&self) -> &[FileRecord] {
        &self.outputs
    }

    /// The whole report. `run` holds the envelope fields that belong to the run (tool, command,
    /// environment, time).
    pub fn to_json(&self, run: &Map<String, Value>) -> Value {
        let mut all = self.fields.clone();
        all.insert("formal_guarantee".to_owned(), self.guarantee.to_json());
        all.insert("formal_guarantee_reason".to_owned(), json!(self.guarantee.reason()));
        all.insert("inputs".to_owned(), json!(self.inputs));
        all.insert("outputs".to_owned(), json!(self.outputs));
        all.insert("schema_version".to_owned(), json!(SCHEMA_VERSION));
        all.extend(run.clone());
        Value::Object(all)
    }

    /// Writes the report, atomically; private content is for the owner alone.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&self, path: &Path, run: &Map<String, Value>) -> Result<FileRecord, Error> {
        let mut text = serde_json::to_string_pretty(&self.to_json(run))
            .map_err(|source| Error::Field { field: "*".to_owned(), source })?;
        text.push('\n');
        write_bytes(path, self.guarantee.access(), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_fields_come_first_and_missing_values_are_null() {
        let mut report = Report::new();
        report.reads_private("the teacher read the shard");
        report.field("num_generated", 3).unwrap().field("ratio", f64::NAN).unwrap();
        let run = json!({"tool": "t", "wall_seconds": 1.5});
        let value = report.to_json(run.as_object().unwrap());
        let keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys[..3], ["num_generated", "ratio", "formal_guarantee"]);
        assert!(value["ratio"].is_null());
        assert!(value["formal_guarantee"].is_null());
        assert_eq!(value["formal_guarantee_reason"], "the teacher read the shard");
        assert_eq!(value["wall_seconds"], 1.5);
    }

    #[test]
    fn a_public_report_says_so() {
        let value = Report::new().to_json(&Map::new());
        assert_eq!(value["formal_guarantee"], "public");
        assert!(value["formal_guarantee_reason"].is_null());
    }
}
