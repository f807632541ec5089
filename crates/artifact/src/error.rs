//! What can go wrong with files, with the path and the hint.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file could not be read, written or locked. Every message names the path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file or folder could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The file or folder could not be written; nothing was left under its name.
    #[error("cannot write {} (nothing was left under that name)", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Another run works in the folder, or on the file.
    #[error("the output {} is in use by {holder}; wait for it, stop it, or choose another output", path.display())]
    Locked {
        /// The folder or file.
        path: PathBuf,
        /// Process id and program of the other run, as it wrote them.
        holder: String,
    },
    /// What stands where a lock goes is no lock.
    #[error("{} is where this run's lock goes, but it is {found}; nothing was done to it: move it away", path.display())]
    NoLock {
        /// The lock's place.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// An output would take the place of an input.
    #[error("{}; give another output", clash(path, writer.as_deref(), reader.as_deref(), input))]
    IsInput {
        /// What would be written.
        path: PathBuf,
        /// The flag that says so.
        writer: Option<String>,
        /// The flag of the input.
        reader: Option<String>,
        /// The input as it was read, perhaps by another name.
        input: PathBuf,
    },
    /// Two outputs would be one file.
    #[error("{flag} and {other} both write {}; give one of them another place", path.display())]
    SameOutput {
        /// The file.
        path: PathBuf,
        /// One flag.
        flag: String,
        /// The other.
        other: String,
    },
    /// The disk has too little room.
    #[error(
        "{} has {} free, and this run writes at least {}; {hint}",
        dir.display(), crate::format_bytes(*have), crate::format_bytes(*need)
    )]
    Space {
        /// The folder that would be written to.
        dir: PathBuf,
        /// Bytes that the run writes at least.
        need: u64,
        /// Bytes that are free.
        have: u64,
        /// What to do about it.
        hint: String,
    },
    /// A folder that should be replaced holds something else.
    #[error(
        "{} holds {}, which this program did not write; move it away, or choose another name", dir.display(), found.display()
    )]
    Foreign {
        /// The folder.
        dir: PathBuf,
        /// What is in it.
        found: PathBuf,
    },
    /// A report field could not be written as JSON.
    #[error("cannot write the report field `{field}` as JSON")]
    Field {
        /// The field's name.
        field: String,
        /// The serialiser's reason.
        source: serde_json::Error,
    },
}

fn clash(path: &Path, writer: Option<&str>, reader: Option<&str>, input: &Path) -> String {
    let writes = writer.map_or_else(|| "this run would write".to_owned(), |flag| format!("{flag} writes"));
    let reads = reader
        .map_or_else(|| "a file that it reads".to_owned(), |flag| format!("the file that {flag} reads"));
    let name = if path == input { String::new() } else { format!(" as {}", input.display()) };
    format!("{writes} {}, {reads}{name}", path.display())
}

impl Error {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Read { path, source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Write { path, source }
    }
}
