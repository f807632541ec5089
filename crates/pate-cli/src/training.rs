//! What the steps that train a classifier or a VAE share.

use anyhow::Result;
use artifact::Report;
use pate_core::config::{AugmentationKind, Config, OptimizerKind, PreprocessingConfig, ScheduleKind};
use pate_core::data::Normalisation;
use pate_core::data::augment::{Augmentation, Geometry, Warp};
use pate_core::nn::Schedule;
use pate_core::train::classifier::ClassifierPlan;
use pate_core::train::vae::{VaeEpoch, VaePlan};

use crate::args::{SgdArgs, VaeArgs};

/// What networks see.
///
/// # Errors
/// Means and deviations that do not fit each other.
pub fn normalisation(config: &PreprocessingConfig) -> Result<Normalisation> {
    Ok(Normalisation::new(&config.normalize_mean, &config.normalize_std)?)
}

/// The augmentation of a kind; `basic` differs by step.
pub fn augmentation(kind: AugmentationKind, strength: f64, basic: Geometry) -> Option<Augmentation> {
    match kind {
        AugmentationKind::None => None,
        AugmentationKind::Basic => Some(Augmentation::Basic(basic)),
        AugmentationKind::Warp => Some(Augmentation::Warp(Warp::new(strength, false))),
        AugmentationKind::Handwriting => Some(Augmentation::Warp(Warp::new(strength, true))),
    }
}

/// Flag, then the original's flag, then the configuration.
fn sgd_augmentation(
    args: &SgdArgs,
    configured: AugmentationKind,
    strength: f64,
    pixels: i64,
) -> Option<Augmentation> {
    let kind = match (args.augmentation, args.augment) {
        (Some(kind), _) => kind,
        (None, Some(true)) => AugmentationKind::Basic,
        (None, Some(false)) => AugmentationKind::None,
        (None, None) => configured,
    };
    augmentation(kind, strength, Geometry::teachers(pixels))
}

fn vae_augmentation(args: &VaeArgs, configured: AugmentationKind, strength: f64) -> Option<Augmentation> {
    let kind =
        if args.no_augmentation { AugmentationKind::None } else { args.augmentation.unwrap_or(configured) };
    augmentation(kind, strength, Geometry::DECODER)
}

fn schedule(kind: ScheduleKind, constant: Schedule) -> Schedule {
    match kind {
        ScheduleKind::Constant => constant,
        ScheduleKind::Cosine => Schedule::Cosine,
    }
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
        schedule: schedule(args.lr_schedule.unwrap_or(student.lr_schedule), Schedule::Constant),
        augmentation: sgd_augmentation(args, student.augmentation, student.augmentation_strength, pixels),
        label_smoothing: student.label_smoothing,
        normalisation: normalisation(&config.preprocessing)?,
        seed,
    })
}

/// Settings of the teachers' training; the seed is the run's, to which a teacher adds its id.
///
/// # Errors
/// See [`normalisation`].
pub fn teacher_plan(
    args: &SgdArgs,
    optimizer: Option<OptimizerKind>,
    decay: Schedule,
    config: &Config,
    seed: u64,
    pixels: i64,
) -> Result<ClassifierPlan> {
    let teachers = &config.teachers;
    Ok(ClassifierPlan {
        epochs: args.epochs.map_or(teachers.epochs, |n| n as usize),
        batch_size: args.batch_size.map_or(teachers.batch_size, |n| n as usize),
        optimizer: optimizer.unwrap_or(teachers.optimizer),
        learning_rate: args.learning_rate.unwrap_or(teachers.lr),
        momentum: args.momentum.unwrap_or(teachers.momentum),
        weight_decay: args.weight_decay.unwrap_or(teachers.weight_decay),
        schedule: schedule(args.lr_schedule.unwrap_or(teachers.lr_schedule), decay),
        augmentation: sgd_augmentation(args, teachers.augmentation, teachers.augmentation_strength, pixels),
        label_smoothing: 0.0,
        normalisation: normalisation(&config.preprocessing)?,
        seed,
    })
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

/// Seconds for a report, to the millisecond.
pub fn to_milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
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
