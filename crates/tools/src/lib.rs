//! The programs without libtorch. Each is a module with a `run`; its binary is five lines.

pub mod budget;
pub mod inspect;

/// The command lines of all tools, for documents.
pub fn commands() -> [clap::Command; 2] {
    [inspect::command(), budget::command()]
}
