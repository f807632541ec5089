//! Flags and configuration joined into the plans of `pate-core`: a flag beats a key, and a key the
//! built-in value.

mod classifier;
mod diffusion;
mod filters;
mod latents;
mod private;
mod vae;

pub use classifier::{schedule, student_plan, teacher_plan};
pub use diffusion::MOST_WEIGHTS;
pub use filters::ResolvedFilters;
pub use private::{
    Asked, Beside, Costs, Length, PrivacyTarget, PrivateDefaults, of_ledger, of_one_release, one_release,
    release_header,
};
pub use vae::{
    TEACHER_VAE_DEFAULTS, TEACHER_VAE_KEYS, decoder_plan, describe_vae_losses, describe_vae_plan,
    teacher_vae_batch, teacher_vae_plan,
};

use anyhow::Result;
use pate_core::config::PreprocessingConfig;
use pate_core::data::Normalisation;

/// What networks see.
///
/// # Errors
/// Means and deviations that do not fit each other.
pub fn normalisation(config: &PreprocessingConfig) -> Result<Normalisation> {
    Ok(Normalisation::new(&config.normalize_mean, &config.normalize_std)?)
}
