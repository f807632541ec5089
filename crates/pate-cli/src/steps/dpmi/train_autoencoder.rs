//! `train-autoencoder`: an encoder of public images to latents, and the decoder back.
//!
//! Reads: a public data set. Writes: `extractor.pt`, `public_latents.pt`, `reconstructions.png`,
//! `training_curves.png`, `training_report.json`. Privacy: public data only.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use artifact::{Report, layout};
use clap::{Parser, ValueEnum};
use pate_core::config::ScheduleKind;
use pate_core::models::{Extractor, ExtractorKind, Latent};
use pate_core::nn::Schedule;
use pate_core::train::autoencoder::{self, AutoencoderPlan};
use serde::Serialize;
use serde_json::json;

use super::extractors::{PublicImageArgs, Trained};
use crate::args::{ResumeArgs, not_negative, parse_path, positive, word};
use crate::files::pictures::Curve;
use crate::resume::checkpoint;
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings;

/// Train an autoencoder of public images: DPMI's extractor of latents
///
/// Adam on the mean squared error of pixels; with --variational also the KL divergence of the
/// latents from a standard normal. The file says its own architecture. Public data only, so that
/// whatever uses it later pays for nothing here.
#[derive(Parser)]
#[command(
    name = "train-autoencoder",
    version,
    after_help = "\
Examples:
  train-autoencoder --dataset digits --output-dir extractor
  train-autoencoder --dataset mnist --data-root datasets --mnist-is-public \\
    --only-classes 1,3,5,7,9 --architecture mini --latent-dim 100 --output-dir extractor

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct TrainAutoencoder {
    #[command(flatten)]
    public: PublicImageArgs,
    /// mini: perceptrons of 128 hidden values, the original's; conv: its small convolutions, for
    /// 28x28; wide: wider convolutions, which draw sharper images
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Architecture::Wide, hide_possible_values = true, help_heading = "Network")]
    architecture: Architecture,
    /// Latents are drawn around what the encoder says, and held near a standard normal
    #[arg(long, help_heading = "Network")]
    variational: bool,
    /// Number of latents
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(i64).range(1..=4096), help_heading = "Network")]
    latent_dim: i64,
    /// Passes over the images
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Training")]
    epochs: u32,
    /// Images per step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Training")]
    batch_size: u32,
    /// Adam's learning rate
    #[arg(long, visible_alias = "lr", value_name = "RATE", default_value_t = 1e-3, value_parser = positive, help_heading = "Training")]
    learning_rate: f64,
    /// L2 regularisation in the gradient
    #[arg(long, value_name = "LAMBDA", default_value_t = 0.0, value_parser = not_negative, help_heading = "Training")]
    weight_decay: f64,
    /// How the learning rate falls
    #[arg(long, value_name = "KIND", value_parser = word::<ScheduleKind>(), default_value = "cosine", help_heading = "Training")]
    lr_schedule: ScheduleKind,
    /// With --variational: weight of the KL divergence; 1 is the evidence bound for pixels with
    /// Gaussian noise of variance one half
    #[arg(long, value_name = "BETA", default_value_t = 1.0, value_parser = not_negative, help_heading = "Training")]
    kl_weight: f64,
    /// Without --variational: deviation of the noise on latents, in units of each latent's own, so
    /// that neighbours are drawn alike
    #[arg(long, value_name = "SIGMA", default_value_t = 0.05, value_parser = not_negative, help_heading = "Training")]
    latent_noise: f64,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "extractor", help_heading = "Output")]
    output_dir: PathBuf,
    #[command(flatten)]
    resume: ResumeArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Architectures on command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Architecture {
    Mini,
    Conv,
    Wide,
}

impl From<Architecture> for ExtractorKind {
    fn from(architecture: Architecture) -> Self {
        match architecture {
            Architecture::Mini => Self::Mini,
            Architecture::Conv => Self::Conv,
            Architecture::Wide => Self::Wide,
        }
    }
}

const OUTPUTS: [&str; 6] = [
    layout::EXTRACTOR,
    layout::PUBLIC_LATENTS,
    layout::RECONSTRUCTIONS,
    layout::TRAINING_CURVES,
    layout::TRAINING_REPORT,
    checkpoint::FILE,
];

impl Step for TrainAutoencoder {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let _lock = ctx.lock("--output-dir", &self.output_dir, &OUTPUTS)?;
        let mut report = Report::new();
        let records = self.public.load(&mut report)?;
        let latent = if self.variational { Latent::Posterior } else { Latent::Encoded };
        let network = Extractor::new(
            self.architecture.into(),
            records.shape(),
            self.latent_dim,
            latent,
            ctx.seed,
            ctx.device,
        )?;
        let plan = AutoencoderPlan {
            epochs: self.epochs as usize,
            batch_size: self.batch_size as usize,
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            schedule: settings::schedule(self.lr_schedule, Schedule::Constant),
            kl_weight: if self.variational { self.kl_weight } else { 0.0 },
            latent_noise: if self.variational { 0.0 } else { self.latent_noise },
            augmentation: self.public.augmentation(&records),
            seed: ctx.seed,
        };
        let access = report.access();
        let work = json!({
            "plan": plan, "architecture": self.architecture, "latent": latent, "latent_dim": self.latent_dim,
            "images": self.public.settings(&records),
        });
        let checkpoint = self.resume.checkpoint(&self.output_dir, &work, &records.files, access, ctx)?;
        let progress = ctx.progress();
        progress.start("epoch", plan.epochs as u64);
        let start = Instant::now();
        let (network, history) =
            autoencoder::train(network, &records.images, &plan, ctx.device, progress, &checkpoint)?;
        progress.finish();
        let seconds = checkpoint.seconds_since(start);
        let losses = history.iter().map(|e| (e.epoch as f64, e.reconstruction_loss)).collect();
        let divergences = history.iter().map(|e| (e.epoch as f64, e.kl_loss)).collect();
        let mut curves = vec![Curve::new("Reconstruction", "mean squared error of a pixel", losses)];
        curves.extend(self.variational.then(|| Curve::new("KL divergence", "nats per image", divergences)));
        let trained = Trained {
            network,
            public: &self.public,
            records: &records,
            architecture: self.architecture,
            plan: &plan,
            history: &history,
            seconds,
            x_label: "epoch",
            curves,
        };
        trained.write(&self.output_dir, report, &checkpoint, ctx)?;
        Ok(Outcome::Done)
    }
}
