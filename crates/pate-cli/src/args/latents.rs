//! Flags of the latents that candidates are drawn from.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use pate_core::config::{AugmentationKind, GenerationConfig};
use pate_core::pate::generate::{LatentBank, LatentRng};

use super::{parse_path, word};

/// How latents are drawn.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Latents")]
pub struct LatentArgs {
    /// Candidates in a pool [config: generation.pool_size]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pool_size: Option<u64>,

    /// Number of latents; must be the decoder's [default: the decoder's]
    #[arg(long, value_name = "N")]
    latent_dim: Option<i64>,

    /// Fraction of a batch that mixes two latents, 0 to 1 [config: generation.latent_mixing_ratio]
    #[arg(long, value_name = "FRACTION")]
    pub(crate) latent_mixing: Option<f64>,

    /// Standard deviation of the noise on latents [config: generation.latent_noise_scale]
    #[arg(long, value_name = "SIGMA")]
    pub(crate) latent_noise: Option<f64>,

    /// Changes to decoded candidates before anybody labels them [config: generation.augmentation]
    #[arg(long, value_parser = word::<AugmentationKind>(), value_name = "KIND")]
    pub(crate) augmentation: Option<AugmentationKind>,

    /// Draw latents from the posteriors of public images in this file (pretrain-decoder's
    /// latents.pt) in place of N(0, 1): fewer candidates that are no character [default: N(0, 1)]
    #[arg(long, value_name = "FILE", value_parser = parse_path)]
    latents: Option<PathBuf>,

    /// Random numbers: chacha (a stream per batch), or torch (the original program's order, to get
    /// its pools again)
    #[arg(long, value_enum, default_value_t = RngArg::Chacha)]
    rng: RngArg,
}

/// Names of generators on command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RngArg {
    /// A ChaCha20 stream per batch.
    Chacha,
    /// libtorch's generator, in the original's order.
    Torch,
}

impl LatentArgs {
    /// Number of candidates.
    pub fn pool_size(&self, config: &GenerationConfig) -> usize {
        self.pool_size.map_or(config.pool_size, |n| n as usize)
    }

    /// The file of posteriors, read.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn bank(&self) -> Result<Option<LatentBank>> {
        self.latents.as_deref().map(LatentBank::load).transpose().context("cannot use the latents")
    }

    /// The file of posteriors.
    pub fn bank_path(&self) -> Option<&Path> {
        self.latents.as_deref()
    }

    /// Which generator.
    pub fn rng(&self) -> LatentRng {
        match self.rng {
            RngArg::Chacha => LatentRng::ChaCha,
            RngArg::Torch => LatentRng::Torch,
        }
    }

    /// Checks the number of latents that was asked for against the decoder's.
    ///
    /// # Errors
    /// Both numbers.
    pub fn check_latent_dim(&self, configured: Option<i64>, decoder: i64) -> Result<()> {
        let (asked, from) = match (self.latent_dim, configured) {
            (Some(n), _) => (n, "--latent-dim"),
            (None, Some(n)) => (n, "latent_dim of the configuration"),
            (None, None) => return Ok(()),
        };
        if asked != decoder {
            bail!("{from} is {asked}, but the decoder has {decoder} latents; leave it out or give {decoder}");
        }
        Ok(())
    }
}
