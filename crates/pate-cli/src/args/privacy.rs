//! Flags of private training: what it may cost, and how it is done.

use std::path::PathBuf;

use clap::Args;
use pate_core::config::{AugmentationKind, ClippingKind, OptimizerKind, ScheduleKind};

use super::{fraction, parse_path, positive, word};

/// What a private step may cost, and where that is written down.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Privacy budget")]
pub struct BudgetArgs {
    /// Differential privacy's epsilon; inf: no noise and no guarantee, for a control
    #[arg(long, value_name = "EPSILON", value_parser = epsilon)]
    pub(crate) epsilon: Option<f64>,

    /// In place of --epsilon: the one that mu of Gaussian differential privacy means at --delta
    #[arg(long, value_name = "MU", value_parser = positive, conflicts_with = "epsilon")]
    pub(crate) mu: Option<f64>,

    /// In place of --epsilon: standard deviation of DP-SGD's noise, in clipping norms; epsilon is
    /// then what it costs
    #[arg(long, value_name = "SIGMA", value_parser = positive, conflicts_with_all = ["epsilon", "mu"])]
    pub(crate) noise_multiplier: Option<f64>,

    /// Differential privacy's delta, below one over the number of records
    #[arg(long, value_name = "DELTA", default_value_t = 1e-5, value_parser = probability)]
    pub(crate) delta: f64,

    /// Ledger of the private data set, in which everything that ever ran on it is charged; begun
    /// with this run's budget where it is not there [default: privacy_ledger.jsonl in --output-dir]
    #[arg(long, value_name = "FILE", value_parser = parse_path)]
    pub(crate) ledger: Option<PathBuf>,

    /// Name of the private data set in the ledger: public, and never a hash of the data [default:
    /// that of --dataset; of folders, that of the folder]
    #[arg(long, value_name = "NAME")]
    pub(crate) dataset_name: Option<String>,
}

/// How long a private training is. All of it is public and is never computed from the private data.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "DP-SGD")]
pub struct LengthArgs {
    /// Number of records that the data set is publicly known to have, from which the sampling rate
    /// follows: a constant, never a count of the files [default: 60000 for mnist and fashion-mnist,
    /// none for folders]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) records: Option<u64>,

    /// In place of --steps: expected passes over the records
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with = "steps")]
    pub(crate) epochs: Option<f64>,

    /// Expected number of records per step, which sums are divided by; each record takes part with
    /// probability B / --records [default: 2048; of scatter-linear 8192; of latent models 256; of
    /// diffusion models 4000]
    #[arg(long, visible_alias = "train-batch-size", value_name = "B", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) expected_batch: Option<u64>,

    /// Steps, fixed beforehand, for which the noise is solved [default: 600; of scatter-linear
    /// 150; of latent models 2000; of diffusion models 2250]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: Option<u64>,
}

/// How DP-SGD is done. All of it is public and is never computed from the private data.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "DP-SGD")]
pub struct DpSgdArgs {
    #[command(flatten)]
    pub(crate) length: LengthArgs,

    /// Largest L2 norm of a record's gradient [default: 0.1; of train-dp-teacher
    /// and of diffusion models 1]
    #[arg(long, visible_alias = "max-norm", value_name = "C", value_parser = positive)]
    pub(crate) clipping_norm: Option<f64>,

    /// What that norm is taken over
    #[arg(long, value_name = "KIND", value_parser = word::<ClippingKind>(), default_value = "flat")]
    pub(crate) clipping: ClippingKind,

    /// Optimiser; it sees noisy gradients alone [default: sgd; of latent and of diffusion models
    /// adam]
    #[arg(long, value_name = "KIND", value_parser = word::<OptimizerKind>())]
    pub(crate) optimizer: Option<OptimizerKind>,

    /// Learning rate [default: 2; of train-dp-teacher 0.01; of scatter-linear 4; of adam 0.001;
    /// of latent models 0.01; of diffusion models 3e-4]
    #[arg(long, visible_alias = "lr", value_name = "RATE", value_parser = positive)]
    pub(crate) learning_rate: Option<f64>,

    /// Momentum of SGD
    #[arg(long, value_name = "M", value_parser = fraction, default_value_t = 0.9)]
    pub(crate) momentum: f64,

    /// L2 regularisation in the gradient, after the noise [default: 0; of train-dp-teacher 5e-4]
    #[arg(long, value_name = "LAMBDA", value_parser = fraction)]
    pub(crate) weight_decay: Option<f64>,

    /// How the learning rate falls [default: constant; of train-dp-teacher drops]
    #[arg(long, value_name = "KIND", value_parser = word::<ScheduleKind>())]
    pub(crate) lr_schedule: Option<ScheduleKind>,

    /// Keep the average of the weights over the steps, with this decay, in their place; of
    /// diffusion models beside them [default: none; of diffusion models 0.999]
    #[arg(long, value_name = "DECAY", value_parser = fraction)]
    pub(crate) ema_decay: Option<f64>,

    /// Steps between two checkpoints; they are charged together beforehand, so that a crash costs
    /// at most these [default: a hundredth of --steps, from 5 to 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) block: Option<u64>,

    /// Records that a thread works on at once [default: by the memory that the network takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) micro_batch: Option<u32>,

    /// Form every record's gradient instead of computing its norm without it: slow, for comparisons
    #[arg(long)]
    pub(crate) materialise: bool,

    /// With --epsilon inf: clip all the same; without this, gradients are not clipped either
    #[arg(long)]
    pub(crate) clip_only: bool,

    /// Draw floating-point noise without a ledger, for measurements of speed: its holes identify
    /// the data, so there is no guarantee
    #[arg(long)]
    pub(crate) float_noise: bool,

    /// Also write losses, gradient norms, clipped fractions and sizes of the samples into this
    /// file: private, without any guarantee
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Output")]
    pub(crate) diagnostics: Option<PathBuf>,
}

/// Changed copies of private records.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "DP-SGD")]
pub struct ViewsArgs {
    /// Changes to the images, drawn for each record and step from the record's own content
    #[arg(long, value_name = "KIND", value_parser = word::<AugmentationKind>(), default_value = "none")]
    pub(crate) augmentation: AugmentationKind,

    /// Factor of the changes' sizes
    #[arg(long, value_name = "FACTOR", value_parser = positive, default_value_t = 1.0)]
    pub(crate) augmentation_strength: f64,

    /// Changed copies of a record per step; their gradients are averaged before clipping
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) views: u32,
}

fn epsilon(text: &str) -> Result<f64, String> {
    match text {
        "inf" => Ok(f64::INFINITY),
        _ => positive(text).map_err(|_| "give a number above 0, or inf for a run without noise".to_owned()),
    }
}

fn probability(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|x: &f64| *x > 0.0 && *x < 1.0);
    parsed.ok_or_else(|| "give a number above 0 and below 1, such as 1e-5".to_owned())
}
