//! What every step leaves behind, and the promises that go with it.
//!
//! - [`AtomicFile`]: a file is complete under its final name or it is not there at all.
//! - [`AtomicDir`]: the same for a folder of many files.
//! - [`FileRecord`]: path, size and SHA-256 of something that a step read or wrote.
//! - [`layout`]: the names of all files and folders.
//! - [`json`]: JSON files that somebody else made: bounded, and no key twice.
//! - [`check_space`]: whether a disk has room for what a step will write.
//! - [`OutputLock`]: one run at a time in an output folder.
//! - [`claim`]: the files that a run will write, held against those that it reads.
//! - [`abandon`]: the end of a run at once, with nothing left that is not complete.
//! - [`Guarantee`]: which privacy guarantee an artefact carries; labels join along the data flow.
//! - [`Input`]: a file that a step read, with its label.
//! - [`Report`]: the JSON file beside the artefacts: a step's own fields first, the common envelope
//!   after them.
//! - [`StoredReport`]: one that an earlier step left, and whether the files that it names are still
//!   the same.
//! - [`WorkId`]: everything that decides a result, and whether it is there already.
//!
//! This crate knows nothing about tensors or networks.
//!
//! ```
//! # fn main() -> Result<(), artifact::Error> {
//! use std::io::Write as _;
//! let dir = tempfile::tempdir().unwrap();
//! let path = dir.path().join("labels.csv");
//! let mut file = artifact::AtomicFile::create(&path, artifact::Access::Public)?;
//! file.write_all(b"index,label\r\n").unwrap();
//! assert!(!path.exists(), "nothing under the final name before commit");
//! let record = file.commit()?;
//! assert_eq!(record.bytes, 13);
//! assert_eq!(record, artifact::FileRecord::of(&path)?);
//! # Ok(())
//! # }
//! ```

mod dir;
mod disk;
mod error;
mod file;
mod guarantee;
mod input;
pub mod json;
pub mod layout;
mod lock;
mod outputs;
mod report;
mod stored;
mod under_way;
mod work;

pub use dir::AtomicDir;
pub use disk::{check_space, format_bytes, free_bytes, min_growth};
pub use error::Error;
pub use file::{
    Access, AtomicFile, FileRecord, create_dir, hex, sha256_bytes, sha256_parts, sha256_raw, write_bytes,
};
pub use guarantee::{DpGuarantee, Guarantee, LedgerMark};
pub use input::Input;
pub use lock::OutputLock;
pub use outputs::{check_claims, claim, keep_inputs, name_input};
pub use report::{Report, SCHEMA_VERSION};
pub use stored::{FileState, StoredReport};
pub use under_way::abandon;
pub use work::{FINGERPRINT, WorkId};
