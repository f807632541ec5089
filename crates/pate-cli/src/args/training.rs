//! Flags of trainings, of VAEs and of classifiers.

use clap::Args;
use pate_core::config::{AugmentationKind, ScheduleKind};

use super::{not_negative, positive, word};

/// How a VAE is trained.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Training")]
pub struct VaeArgs {
    /// Number of latents
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub latent_dim: Option<u32>,

    /// Passes over the images
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,

    /// Images per step
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_size: Option<u32>,

    /// Adam's learning rate
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub lr: Option<f64>,

    /// L2 regularisation in the gradient (not AdamW's decay)
    #[arg(long, value_name = "LAMBDA", value_parser = not_negative)]
    pub weight_decay: Option<f64>,

    /// Epochs over which the weight of the KL term rises from 0 to 1; 0 = it is 1 from the start
    #[arg(long, value_name = "N")]
    pub kl_annealing_epochs: Option<u32>,

    /// Weight of the KL term once it has risen; below 1 images get sharper, and should be drawn
    /// with --latents
    #[arg(long, value_name = "BETA", value_parser = not_negative)]
    pub kl_weight: Option<f64>,

    /// Changes to the images in every epoch; all but none add pixel noise
    #[arg(long, value_parser = word::<AugmentationKind>(), value_name = "KIND")]
    pub augmentation: Option<AugmentationKind>,

    /// The same as --augmentation none
    #[arg(long, conflicts_with = "augmentation")]
    pub no_augmentation: bool,
}

/// How a classifier is trained with SGD.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Training")]
pub struct SgdArgs {
    /// Passes over the training records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,

    /// Records per step
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_size: Option<u32>,

    /// Learning rate
    #[arg(long, visible_alias = "lr", value_name = "RATE", value_parser = positive)]
    pub learning_rate: Option<f64>,

    /// Momentum of SGD
    #[arg(long, value_name = "M", value_parser = not_negative)]
    pub momentum: Option<f64>,

    /// L2 regularisation in the gradient
    #[arg(long, value_name = "LAMBDA", value_parser = not_negative)]
    pub weight_decay: Option<f64>,

    /// Changes to the images in every epoch
    #[arg(long, value_parser = word::<AugmentationKind>(), value_name = "KIND")]
    pub augmentation: Option<AugmentationKind>,

    /// The original's spelling: true for --augmentation basic (up to 10 degrees, up to 10% of a
    /// side), false for none [default: as --augmentation]
    #[arg(long, value_name = "BOOL", value_parser = super::parse_bool, num_args = 0..=1, default_missing_value = "true", conflicts_with = "augmentation")]
    pub augment: Option<bool>,

    /// How the learning rate falls
    #[arg(long, value_parser = word::<ScheduleKind>(), value_name = "KIND")]
    pub lr_schedule: Option<ScheduleKind>,
}
