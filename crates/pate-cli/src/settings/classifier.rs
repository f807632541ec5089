//! The plans of teachers' and students' trainings.

use anyhow::Result;
use pate_core::config::{AugmentationKind, Config, OptimizerKind, ScheduleKind};
use pate_core::data::augment::{Augmentation, Geometry};
use pate_core::nn::Schedule;
use pate_core::train::classifier::ClassifierPlan;

use super::normalisation;
use crate::args::SgdArgs;

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
    Augmentation::of(kind, strength, Geometry::teachers(pixels))
}

/// How a learning rate falls; `constant` is what stands for the word.
pub fn schedule(kind: ScheduleKind, constant: Schedule) -> Schedule {
    match kind {
        ScheduleKind::Constant => constant,
        ScheduleKind::Cosine => Schedule::Cosine,
        ScheduleKind::Drops => Schedule::Drops,
    }
}

/// Settings of a student's training, and the fraction of the samples that trains.
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
        ema_decay: None,
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
        ema_decay: None,
        augmentation: sgd_augmentation(args, teachers.augmentation, teachers.augmentation_strength, pixels),
        label_smoothing: 0.0,
        normalisation: normalisation(&config.preprocessing)?,
        seed,
    })
}
