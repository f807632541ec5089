use anyhow::Result;
use serde::{Serialize, Serializer};

/// What a batch's report says of its counts.
pub const COUNTS_NOTE: &str = "done and skipped, and the teachers' status, are those of this run alone: one that went on after a stop \
                               counts what was there already as skipped, where one that never stopped made it";

/// What became of a teacher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// What it lacked was made now.
    Done,
    /// All of it was there already.
    Skipped,
    /// No candidate passed.
    Empty,
    /// It could not be done.
    Failed,
}

impl Status {
    /// The word for it in tables and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Empty => "empty",
            Self::Failed => "failed",
        }
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
