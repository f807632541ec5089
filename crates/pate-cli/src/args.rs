//! Argument groups: one per theme, so that a flag means the same in every binary.

mod config;
mod filters;
mod latents;
mod reading;
mod run;
mod training;
mod values;

pub use config::{ConfigArgs, LoadedConfig};
pub use filters::FilterArgs;
pub use latents::{LatentArgs, RngArg};
pub use reading::{ProgramArgs, ScaleArgs, ShardScaleArgs};
pub use run::RunArgs;
pub use training::{SgdArgs, VaeArgs};
pub use values::{check_ending, for_teacher, has_id, parse_bool, parse_path, word};
