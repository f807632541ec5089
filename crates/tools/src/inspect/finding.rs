//! What was found out about a file or a folder.

use std::path::PathBuf;

use artifact::{Guarantee, StoredReport};
use serde::Serialize;
use serde_json::{Map, Value};

use super::arrays::ArrayInfo;

/// What was found out about a file or a folder.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Finding {
    /// As given.
    pub(crate) path: PathBuf,
    /// Container, in words.
    pub(crate) format: String,
    /// What is in it, where that is recognised.
    pub(crate) is: Option<String>,
    /// Size of a file.
    pub(crate) bytes: Option<u64>,
    /// Hash of a file.
    pub(crate) sha256: Option<String>,
    /// Whether it holds a program, which was not run.
    pub(crate) program: bool,
    /// Its arrays.
    pub(crate) arrays: Vec<ArrayInfo>,
    /// Facts by name, and the key fields of a report.
    pub(crate) fields: Map<String, Value>,
    /// The privacy label.
    pub(crate) privacy: Privacy,
    /// The report that names the file.
    pub(crate) report: Option<Beside>,
    /// The files that a report names.
    pub(crate) files: Vec<Named>,
    /// What is in a folder.
    pub(crate) entries: Vec<Self>,
    /// What does not match.
    pub(crate) problems: Vec<String>,
    /// Files in the folder that could not be read.
    pub(crate) unreadable: usize,
}

impl Finding {
    pub(crate) fn matches(&self) -> bool {
        self.problems.is_empty() && self.entries.iter().all(Self::matches)
    }

    pub(crate) fn field(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }
}

/// The privacy label of a file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Privacy {
    /// `public`, `dp`, `none`, `void` or `unknown`.
    pub(crate) label: &'static str,
    /// The report's `formal_guarantee`.
    pub(crate) formal_guarantee: Value,
    /// Why it is so.
    pub(crate) reason: Option<String>,
}

impl Default for Privacy {
    fn default() -> Self {
        Self::unknown("no report beside it")
    }
}

impl Privacy {
    pub(crate) fn unknown(reason: &str) -> Self {
        Self { label: "unknown", formal_guarantee: Value::Null, reason: Some(reason.to_owned()) }
    }

    /// What a report says of what its step made, and no more.
    pub(crate) fn of(report: &StoredReport) -> Self {
        let guarantee = report.guarantee();
        let (label, reason) = match &guarantee {
            Guarantee::Public => {
                let basis = report.fields.get("formal_guarantee_basis").and_then(Value::as_str);
                ("public", basis.unwrap_or("its report says that no private data was read"))
            }
            Guarantee::Dp(_) => ("dp", "its report says so; the claim is not checked here"),
            Guarantee::None { reason } => ("none", reason.as_str()),
            Guarantee::Void { reason } => ("void", reason.as_str()),
        };
        Self { label, formal_guarantee: guarantee.to_json(), reason: Some(reason.to_owned()) }
    }
}

/// A report beside a file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Beside {
    pub(crate) path: PathBuf,
    /// Whether the file still has the hash that the report gives.
    pub(crate) unchanged: bool,
}

/// A file that a report names.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Named {
    /// `input` or `output`.
    pub(crate) role: &'static str,
    pub(crate) path: PathBuf,
    /// `present`, `changed` or `missing`.
    pub(crate) state: &'static str,
}
