//! For tests alone: temporary folders, runs of the programs, and inputs whose results are known
//! beforehand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]
#![expect(clippy::missing_panics_doc, reason = "a test fails by a panic")]
#![expect(clippy::return_self_not_must_use, reason = "a check is of use by itself")]

pub mod golden;
mod networks;
mod run;
mod work;

pub use networks::{Image, SIDE, confidence, image};
pub use run::{Run, interrupt, none_of, number};
pub use work::{Work, idx, idx_gz, program};
