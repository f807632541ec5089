//! Groups of flags: one per theme, so that a flag means the same in every step.

mod config;
mod controls;
mod data;
mod decoder;
mod diffusion;
mod filters;
mod format;
mod latents;
mod privacy;
mod public_set;
mod reading;
mod resume;
mod shards;
mod training;
mod values;

pub use config::{ConfigArgs, LoadedConfig};
pub use controls::ControlArgs;
pub use data::{MNIST_DIR, OrientationArg, PrivateDataArgs, PrivateDataset, PublicDataArgs, SHARD_INDICES};
pub use decoder::DecoderOrigin;
pub use diffusion::{NoiseArgs, UNetArgs};
pub use filters::FilterArgs;
pub use format::Format;
pub use latents::{LatentArgs, RngArg};
pub use privacy::{BudgetArgs, DpSgdArgs, LengthArgs, ViewsArgs};
pub use public_set::{PublicSet, PublicSetArgs};
pub use reading::{InceptionArgs, ProgramArgs, ScaleArgs, ShardScaleArgs};
pub use resume::ResumeArgs;
pub use shards::IndexArgs;
pub use training::{SgdArgs, VaeArgs};
pub use values::{
    check_ending, check_name, for_teacher, fraction, has_id, not_negative, parse_bool, parse_path, positive,
    word, word_among,
};
