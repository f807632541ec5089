//! The plan of a VAE's training, and how reports tell it.

use anyhow::Result;
use artifact::Report;
use pate_core::config::{AugmentationKind, Config};
use pate_core::data::Normalisation;
use pate_core::data::augment::{Augmentation, Geometry};
use pate_core::train::vae::{VaeEpoch, VaePlan};

use super::normalisation;
use crate::args::VaeArgs;

fn vae_augmentation(args: &VaeArgs, configured: AugmentationKind, strength: f64) -> Option<Augmentation> {
    let kind =
        if args.no_augmentation { AugmentationKind::None } else { args.augmentation.unwrap_or(configured) };
    Augmentation::of(kind, strength, Geometry::DECODER)
}

/// The fields of a VAE's report that say how it was trained.
///
/// # Errors
/// Never for plain numbers.
pub fn describe_vae_plan(report: &mut Report, plan: &VaePlan) -> Result<(), artifact::Error> {
    report
        .field("latent_dim", plan.latent_dim)?
        .field("epochs", plan.epochs)?
        .field("batch_size", plan.batch_size)?
        .field("learning_rate", plan.learning_rate)?
        .field("weight_decay", plan.weight_decay)?
        .field("kl_annealing_epochs", plan.kl_annealing_epochs)?;
    Ok(())
}

/// The fields of a VAE's report that say what came of it, per image.
///
/// # Errors
/// Never for plain numbers.
pub fn describe_vae_losses(report: &mut Report, history: &[VaeEpoch]) -> Result<(), artifact::Error> {
    let last = history.last();
    report
        .field("final_loss", last.map(|e| e.loss))?
        .field("final_recon_loss", last.map(|e| e.recon_loss))?
        .field("final_kl_loss", last.map(|e| e.kl_loss))?;
    Ok(())
}

/// Settings of the public decoder's training.
///
/// # Errors
/// See [`normalisation`].
pub fn decoder_plan(args: &VaeArgs, config: &Config, seed: u64) -> Result<VaePlan> {
    let decoder = &config.decoder;
    Ok(VaePlan {
        latent_dim: args.latent_dim.map_or(decoder.latent_dim, i64::from),
        epochs: args.epochs.map_or(decoder.pretrain_epochs, |n| n as usize),
        batch_size: args.batch_size.map_or(decoder.batch_size, |n| n as usize),
        learning_rate: args.lr.unwrap_or(decoder.learning_rate),
        weight_decay: args.weight_decay.unwrap_or(decoder.weight_decay),
        kl_annealing_epochs: args.kl_annealing_epochs.map_or(decoder.kl_annealing_epochs, |n| n as usize),
        kl_weight: args.kl_weight.unwrap_or(decoder.kl_weight),
        augmentation: vae_augmentation(args, decoder.augmentation, decoder.augmentation_strength),
        normalisation: normalisation(&config.preprocessing)?,
        seed,
    })
}

/// Keys of the configuration behind the flags of a teacher's VAE, for the help.
pub const TEACHER_VAE_KEYS: &[(&str, &str)] = &[
    ("latent_dim", "teacher_vae.latent_dim"),
    ("epochs", "teacher_vae.epochs"),
    ("lr", "teacher_vae.lr"),
    ("weight_decay", "teacher_vae.weight_decay"),
    ("kl_annealing_epochs", "teacher_vae.kl_annealing_epochs"),
];

/// Defaults of a teacher's VAE that the configuration does not have, for the help.
pub const TEACHER_VAE_DEFAULTS: &[(&str, &str)] = &[
    ("batch_size", "32 or the whole shard, or teacher_vae.batch_size"),
    ("kl_weight", "1"),
    ("augmentation", "basic"),
];

/// Images per step that were asked for, for a teacher's VAE.
pub fn teacher_vae_batch(args: &VaeArgs, config: &Config) -> usize {
    args.batch_size.map_or(config.teacher_vae.batch_size, |n| n as usize)
}

/// Settings of one teacher's VAE, for a shard of `shard_size` images.
pub fn teacher_vae_plan(args: &VaeArgs, config: &Config, seed: u64, shard_size: usize) -> VaePlan {
    let vae = &config.teacher_vae;
    let batch_size = teacher_vae_batch(args, config);
    VaePlan {
        latent_dim: args.latent_dim.map_or(vae.latent_dim, i64::from),
        epochs: args.epochs.map_or(vae.epochs, |n| n as usize),
        batch_size: batch_size.min(shard_size),
        learning_rate: args.lr.unwrap_or(vae.lr),
        weight_decay: args.weight_decay.unwrap_or(vae.weight_decay),
        kl_annealing_epochs: args.kl_annealing_epochs.map_or(vae.kl_annealing_epochs, |n| n as usize),
        kl_weight: args.kl_weight.unwrap_or(1.0),
        augmentation: vae_augmentation(args, AugmentationKind::Basic, 1.0),
        // A teacher's encoder sees the image as it is.
        normalisation: Normalisation::identity(),
        seed,
    }
}
