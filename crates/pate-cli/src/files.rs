//! What lies on disk: read, found, written and drawn, the same way for every step.

pub mod card;
pub mod controls;
pub mod data_sets;
pub mod exports;
pub mod ledger;
pub mod markdown;
pub mod pictures;
pub mod pool;
pub mod provenance;
mod public_set;
mod shards;
mod teachers;

pub use shards::{IndexedShards, TeacherShard};
pub use teachers::{Teachers, find_teachers, in_folders};
