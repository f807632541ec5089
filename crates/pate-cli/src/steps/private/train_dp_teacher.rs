//! `train-dp-teacher`: DP-ImgSyn's private classifier, with room in the budget for its statistics.
//!
//! Reads: private images, public ones for features. Writes: as `train-dp-classifier`. Privacy:
//! (epsilon, delta) for one record, in the ledger that it begins.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use dp_accounting::Mechanism;
use dp_accounting::filter::Cap;
use pate_core::config::{NetworkKind, OptimizerKind, ScheduleKind};

use super::TrainDpClassifier;
use super::public_features::PublicFeatureArgs;
use crate::args::{
    BudgetArgs, ConfigArgs, DpSgdArgs, PrivateDataArgs, PrivateDataset, ViewsArgs, not_negative, parse_path,
    word_among,
};
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings::Beside;

/// Train DP-ImgSyn's private classifier
///
/// As train-dp-classifier, with the original's network, optimiser and schedule, and with room in
/// the budget for one release of statistics by capture-dp-stats. (epsilon, delta)-differential
/// privacy for adding or removing one record, of both together.
#[derive(Parser)]
#[command(
    name = "train-dp-teacher",
    version,
    after_help = "\
Examples:
  train-dp-teacher --data-dir datasets --table mnist-1 --output-dir dp_teacher
  train-dp-teacher --data-dir datasets --width 16 --epsilon 1 --epochs 4 \\
    --train-batch-size 256 --max-norm 1 --output-dir dp_teacher
  train-dp-teacher --data-dir datasets --model scatter-linear --public fashion-mnist \\
    --public-root datasets --epsilon 1 --learning-rate 12 --lr-schedule cosine \\
    --output-dir dp_teacher

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct TrainDpTeacher {
    /// Folder of the private images: MNIST's or Fashion-MNIST's (torchvision's layout, or the IDX
    /// files straight in it), or of --dataset folders
    #[arg(long, value_name = "DIR", value_parser = parse_path, help_heading = "Private data")]
    data_dir: PathBuf,
    #[command(flatten)]
    data: PrivateDataArgs,
    /// Architecture
    #[arg(long, visible_alias = "network", value_name = "NAME", value_parser = word_among(&NetworkKind::OF_RECORDS), default_value = "resnet", help_heading = "Network")]
    model: NetworkKind,
    /// Channels of the residual network's first layer, even; 64 is the original's
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(i64).range(2..=512), help_heading = "Network")]
    width: i64,
    /// Settings of the original's table 1, data set and epsilon: mnist-1, mnist-10, fashion-1 or
    /// fashion-10; flags that are given beat them. Its noise is what it is there, and epsilon what
    /// it costs
    #[arg(
        long,
        value_name = "NAME",
        value_enum,
        hide_possible_values = true,
        help_heading = "Privacy budget"
    )]
    table: Option<Table>,
    /// Standard deviation of the statistics' noise, in sensitivities, for which the budget is kept;
    /// 0: no statistics will be released
    #[arg(long, value_name = "SIGMA", default_value_t = 20.0, value_parser = noise_or_none, help_heading = "Privacy budget")]
    statistics_noise: f64,
    #[command(flatten)]
    budget: BudgetArgs,
    #[command(flatten)]
    dp_sgd: DpSgdArgs,
    #[command(flatten)]
    views: ViewsArgs,
    #[command(flatten)]
    public: PublicFeatureArgs,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "dp_teacher", help_heading = "Output")]
    output_dir: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Rows of the original's table 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Table {
    #[value(name = "mnist-1")]
    Mnist1,
    #[value(name = "mnist-10")]
    Mnist10,
    #[value(name = "fashion-1")]
    Fashion1,
    #[value(name = "fashion-10")]
    Fashion10,
}

impl Table {
    /// Epochs, batch, clipping norm, noise multiplier.
    fn row(self) -> (f64, u64, f64, f64) {
        match self {
            Self::Mnist1 => (4.0, 128, 1.0, 0.8),
            Self::Mnist10 => (14.0, 128, 1.0, 0.5),
            Self::Fashion1 => (30.0, 50, 1.2, 1.0),
            Self::Fashion10 => (20.0, 128, 1.2, 0.5),
        }
    }

    fn data(self) -> PrivateDataset {
        match self {
            Self::Mnist1 | Self::Mnist10 => PrivateDataset::Mnist,
            Self::Fashion1 | Self::Fashion10 => PrivateDataset::FashionMnist,
        }
    }
}

fn noise_or_none(text: &str) -> Result<f64, String> {
    not_negative(text).map_err(|_| "give a number above 0, or 0 for no statistics".to_owned())
}

/// What the original's optimiser has in all rows.
const LEARNING_RATE: f64 = 0.01;
const WEIGHT_DECAY: f64 = 5e-4;
/// Statistics that a network may have at most, for what their noise's inexactness takes of delta.
const STATISTICS: u64 = 1 << 20;

impl Step for TrainDpTeacher {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        self.training()?.run(ctx)
    }
}

impl TrainDpTeacher {
    /// The training that this is.
    fn training(&self) -> Result<TrainDpClassifier> {
        let (mut budget, mut dp_sgd) = (self.budget.clone(), self.dp_sgd.clone());
        if let Some(table) = self.table {
            if table.data() != self.data.dataset {
                bail!(
                    "--table is of the other data set; give the one that goes with --dataset, or --dataset as well"
                );
            }
            let (epochs, batch, clip, sigma) = table.row();
            let length = &mut dp_sgd.length;
            if length.epochs.is_none() && length.steps.is_none() {
                length.epochs = Some(epochs);
            }
            length.expected_batch.get_or_insert(batch);
            dp_sgd.clipping_norm.get_or_insert(clip);
            if budget.epsilon.is_none() && budget.mu.is_none() {
                budget.noise_multiplier.get_or_insert(sigma);
            }
        }
        // A linear map of features has settings of its own.
        if self.model != NetworkKind::ScatterLinear {
            if dp_sgd.optimizer.is_none_or(|kind| kind == OptimizerKind::Sgd) {
                dp_sgd.learning_rate.get_or_insert(LEARNING_RATE);
            }
            dp_sgd.weight_decay.get_or_insert(WEIGHT_DECAY);
            dp_sgd.lr_schedule.get_or_insert(ScheduleKind::Drops);
            dp_sgd.clipping_norm.get_or_insert(1.0);
        }
        let statistics = Mechanism::Gaussian { sigma: self.statistics_noise, sensitivity_l2: 1.0 };
        let beside = Beside { cap: Cap { mechanism: statistics, count: 1 }, dimension: STATISTICS };
        Ok(TrainDpClassifier {
            data_dir: self.data_dir.clone(),
            data: self.data.clone(),
            network: self.model,
            width: self.width,
            budget,
            dp_sgd,
            views: self.views.clone(),
            public: self.public.clone(),
            output_dir: self.output_dir.clone(),
            config: self.config.clone(),
            run: self.run.clone(),
            beside: (self.statistics_noise > 0.0).then_some(beside),
        })
    }
}
