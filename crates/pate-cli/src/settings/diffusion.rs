//! The plans of diffusion models, from their flags.

use anyhow::{Result, bail};
use pate_core::data::ImageShape;
use pate_core::feta::{Levels, NoisePlan};
use pate_core::models::UNetShape;

use crate::args::{NoiseArgs, UNetArgs};

/// Weights that a network under a shared ledger may have: the query that begins it takes so much
/// off delta for the inexactness of their noise, before anybody knows the network.
pub const MOST_WEIGHTS: u64 = 1 << 28;

impl UNetArgs {
    /// Whether any of them is given.
    pub fn given(&self) -> bool {
        self.nf.is_some()
            || self.ch_mult.is_some()
            || self.num_res_blocks.is_some()
            || self.attn_resolutions.is_some()
    }

    /// The network for images of `shape`.
    ///
    /// # Errors
    /// Images that are not square.
    pub fn shape(&self, shape: ImageShape, classes: i64) -> Result<UNetShape> {
        if shape.height != shape.width {
            bail!(
                "the images are {}x{}; a diffusion model's are square: bring them to one size with --image-size",
                shape.height,
                shape.width
            );
        }
        let attention = self.attn_resolutions.clone().unwrap_or_else(|| vec![shape.height / 2]);
        Ok(UNetShape {
            size: shape.height,
            channels: shape.channels,
            width: self.nf.unwrap_or(32),
            multipliers: self.ch_mult.clone().unwrap_or_else(|| vec![2, 2]),
            blocks: self.num_res_blocks.unwrap_or(2),
            attention: attention.into_iter().filter(|side| *side > 0).collect(),
            classes,
        })
    }
}

impl NoiseArgs {
    /// What is drawn, `draws` times where no flag says otherwise.
    ///
    /// # Errors
    /// Noise levels that are no range.
    pub fn plan(&self, draws: u32, seed: u64) -> Result<NoisePlan> {
        let within = match self.noise_levels.as_deref() {
            None => None,
            Some(&[low, high]) if low < high => Some((low, high)),
            Some(other) => {
                let given: Vec<String> = other.iter().map(f64::to_string).collect();
                bail!("--noise-levels {}: give the least and the largest, such as 0.1,2", given.join(","));
            }
        };
        Ok(NoisePlan {
            draws: self.noise_draws.unwrap_or(draws),
            levels: Levels { within, ..Levels::ORIGINAL },
            label_dropout: self.label_dropout,
            seed,
        })
    }
}
