//! The plan of the latents.

use anyhow::{Result, bail};
use pate_core::config::GenerationConfig;
use pate_core::data::augment::{Augmentation, Geometry};
use pate_core::pate::generate::LatentPlan;

use crate::args::LatentArgs;

impl LatentArgs {
    /// The plan.
    ///
    /// # Errors
    /// A fraction outside 0 to 1, or noise below 0.
    pub fn plan(&self, config: &GenerationConfig) -> Result<LatentPlan> {
        let mixing_ratio = self.latent_mixing.unwrap_or(config.latent_mixing_ratio);
        let noise_scale = self.latent_noise.unwrap_or(config.latent_noise_scale);
        if !(0.0..=1.0).contains(&mixing_ratio) {
            bail!("--latent-mixing is {mixing_ratio}; it is a fraction from 0 to 1");
        }
        if !(noise_scale >= 0.0 && noise_scale.is_finite()) {
            bail!("--latent-noise is {noise_scale}; it is a standard deviation, at least 0");
        }
        let kind = self.augmentation.unwrap_or(config.augmentation);
        let augmentation = Augmentation::of(kind, config.augmentation_strength, Geometry::DECODER);
        Ok(LatentPlan { mixing_ratio, noise_scale, augmentation })
    }
}
