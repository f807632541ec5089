//! What the steps that train a classifier or a VAE share.

use anyhow::{Result, bail};
use pate_core::config::{Config, PreprocessingConfig};
use pate_core::data::Normalisation;
use pate_core::nn::StepDecay;
use pate_core::train::augment::Geometry;
use pate_core::train::classifier::{ClassifierPlan, OptimizerKind};
use pate_core::train::vae::VaePlan;

use crate::args::{SgdArgs, VaeArgs};

/// What networks see.
///
/// # Errors
/// Means and deviations that do not fit each other.
pub fn normalisation(config: &PreprocessingConfig) -> Result<Normalisation> {
    Ok(Normalisation::new(&config.normalize_mean, &config.normalize_std)?)
}

/// Settings of a student's training, and the share of the samples that trains.
///
/// # Errors
/// See [`normalisation`].
pub fn student_plan(args: &SgdArgs, config: &Config, seed: u64, pixels: i64) -> Result<ClassifierPlan> {
    let student = &config.student;
    Ok(ClassifierPlan {
        epochs: args.epochs.map_or(student.epochs, |n| n as usize),
        batch_size: args.batch_size.map_or(student.batch_size, |n| n as usize),
        optimizer: OptimizerKind::Sgd,
        learning_rate: args.learning_rate.unwrap_or(student.learning_rate),
        momentum: args.momentum.unwrap_or(student.momentum),
        weight_decay: args.weight_decay.unwrap_or(student.weight_decay),
        decay: StepDecay { every: 0, gamma: 1.0 },
        augmentation: args.augment.unwrap_or(student.augment).then(|| Geometry::teachers(pixels)),
        normalisation: normalisation(&config.preprocessing)?,
        seed,
    })
}

/// Settings of the teachers' training; the seed is the run's, to which a teacher adds its id.
///
/// # Errors
/// An optimiser that is not known; see also [`normalisation`].
pub fn teacher_plan(
    args: &SgdArgs,
    optimizer: Option<&str>,
    decay: StepDecay,
    config: &Config,
    seed: u64,
    pixels: i64,
) -> Result<ClassifierPlan> {
    let teachers = &config.teachers;
    let optimizer = match optimizer.unwrap_or(&teachers.optimizer) {
        "sgd" => OptimizerKind::Sgd,
        "adam" => OptimizerKind::Adam,
        other => bail!("--optimizer is `{other}`; it must be sgd or adam"),
    };
    Ok(ClassifierPlan {
        epochs: args.epochs.map_or(teachers.epochs, |n| n as usize),
        batch_size: args.batch_size.map_or(teachers.batch_size, |n| n as usize),
        optimizer,
        learning_rate: args.learning_rate.unwrap_or(teachers.lr),
        momentum: args.momentum.unwrap_or(teachers.momentum),
        weight_decay: args.weight_decay.unwrap_or(teachers.weight_decay),
        decay,
        augmentation: args.augment.unwrap_or(teachers.augment).then(|| Geometry::teachers(pixels)),
        normalisation: normalisation(&config.preprocessing)?,
        seed,
    })
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
        augmentation: (!args.no_augmentation).then_some(Geometry::DECODER),
        normalisation: normalisation(&config.preprocessing)?,
        seed,
    })
}

/// Settings of one teacher's VAE, for a shard of `shard_size` images.
pub fn teacher_vae_plan(args: &VaeArgs, config: &Config, seed: u64, shard_size: usize) -> VaePlan {
    let vae = &config.teacher_vae;
    let batch_size = args.batch_size.map_or(vae.batch_size, |n| n as usize);
    VaePlan {
        latent_dim: args.latent_dim.map_or(vae.latent_dim, i64::from),
        epochs: args.epochs.map_or(vae.epochs, |n| n as usize),
        batch_size: batch_size.min(shard_size),
        learning_rate: args.lr.unwrap_or(vae.lr),
        weight_decay: args.weight_decay.unwrap_or(vae.weight_decay),
        kl_annealing_epochs: args.kl_annealing_epochs.map_or(vae.kl_annealing_epochs, |n| n as usize),
        augmentation: (!args.no_augmentation).then_some(Geometry::DECODER),
        // A teacher's encoder sees the image as it is.
        normalisation: Normalisation::identity(),
        seed,
    }
}
