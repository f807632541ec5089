//! What the binaries share: argument groups, the run context, progress, exit codes, and the writing of artefacts.
//!
//! A binary parses its arguments into a plain struct, resolves them with the configuration into the settings of
//! `pate-core`, calls it once, and saves what comes back. [`run`] does everything around that.

pub mod approaches;
pub mod args;
mod bar;
pub mod batch;
pub mod batch_plan;
pub mod card;
pub mod checkpoint;
mod context;
pub mod controls;
mod exit;
pub mod exports;
pub mod markdown;
pub mod pictures;
pub mod pool;
pub mod provenance;
pub mod public_data;
pub mod teacher_run;
pub mod teacher_training;
pub mod teacher_vae;
pub mod teacher_vae_batch;
pub mod training;

pub use bar::StopOnly;
pub use context::{Context, Step, run};
pub use exit::Outcome;
