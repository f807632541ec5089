//! The steps of the pipeline and what they share. A binary is five lines over a step of [`steps`].
//!
//! Rooms, and a room uses only those above it in this list (`cargo xtask tidy` holds them to it):
//!
//! - [`mod@run`]: from a command line to an exit code: the context of a run, its progress, its
//!   help;
//! - [`args`]: groups of flags, one per theme, so that a flag means the same in every step;
//! - [`settings`]: flags and configuration joined into the plans of `pate-core`;
//! - [`files`]: what lies on disk: pools, data sets, teachers' folders, pictures, exports, the data
//!   card;
//! - [`resume`]: work that goes on after a stop: checkpoints, and the loop over teachers;
//! - [`steps`]: the steps, by family. No family uses another.

pub mod args;
pub mod files;
pub mod resume;
pub mod run;
pub mod settings;
pub mod steps;

pub use run::run;
pub use steps::STEPS;
