//! `train-gan`: a Wasserstein GAN of public images, whose generator is an extractor without an
//! encoder.
//!
//! Reads: a public data set. Writes: `extractor.pt`, `samples.png`, `training_curves.png`,
//! `training_report.json`. Privacy: public data only.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use artifact::{Report, layout};
use clap::{Parser, ValueEnum};
use pate_core::models::{self, Between, Extractor, Sequential};
use pate_core::train::gan::{self, GanPlan, Lipschitz};
use serde::Serialize;
use serde_json::json;

use super::extractors::{PublicImageArgs, Trained};
use crate::args::{ResumeArgs, not_negative, parse_path, positive};
use crate::files::pictures::Curve;
use crate::resume::checkpoint;
use crate::run::{Context, Outcome, RunArgs, Step};

/// Train a Wasserstein GAN of public images: DPMI's extractor without an encoder
///
/// Latents of its images are searched for by extract-latents. The critic ends in a plain score and
/// starts from random weights; it is held by clipped weights or by a penalty on its gradients.
/// Public data only. A GAN of private images is train-dp-latent --model wgan.
#[derive(Parser)]
#[command(
    name = "train-gan",
    version,
    after_help = "\
Examples:
  train-gan --dataset digits --lipschitz penalty --steps 20000 --output-dir generator
  train-gan --dataset mnist --data-root datasets --mnist-is-public --only-classes 1,3,5,7,9 \\
    --latent-dim 100 --architecture perceptron --output-dir generator

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct TrainGan {
    #[command(flatten)]
    public: PublicImageArgs,
    /// perceptron: one hidden layer of 256 on both sides, the original's; conv: convolutions, for
    /// 28x28
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Architecture::Perceptron, hide_possible_values = true, help_heading = "Network")]
    architecture: Architecture,
    /// Number of latents
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(i64).range(1..=4096), help_heading = "Network")]
    latent_dim: i64,
    /// clip: the critic's weights are clipped (WGAN); penalty: gradients of a norm other than 1 are
    /// (WGAN-GP)
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Held::Penalty, hide_possible_values = true, help_heading = "Training")]
    lipschitz: Held,
    /// With --lipschitz clip: largest weight on both sides
    #[arg(long, value_name = "C", default_value_t = 0.01, value_parser = positive, help_heading = "Training")]
    weight_clip: f64,
    /// With --lipschitz penalty: its weight
    #[arg(long, value_name = "LAMBDA", default_value_t = 10.0, value_parser = positive, help_heading = "Training")]
    penalty: f64,
    /// Steps of the generator
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Training")]
    steps: u64,
    /// Steps of the critic before each
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000), help_heading = "Training")]
    critic_steps: u64,
    /// Images per step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..), help_heading = "Training")]
    batch_size: u32,
    /// Adam's learning rate of both
    #[arg(long, visible_alias = "lr", value_name = "RATE", default_value_t = 2e-4, value_parser = positive, help_heading = "Training")]
    learning_rate: f64,
    /// Adam's first decay
    #[arg(long, value_name = "BETA", default_value_t = 0.0, value_parser = not_negative, help_heading = "Training")]
    beta1: f64,
    /// L2 regularisation in the gradient
    #[arg(long, value_name = "LAMBDA", default_value_t = 0.0, value_parser = not_negative, help_heading = "Training")]
    weight_decay: f64,
    /// Steps between two checkpoints
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Training")]
    block: u64,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "generator", help_heading = "Output")]
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
    Perceptron,
    Conv,
}

/// How the critic is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Held {
    Clip,
    Penalty,
}

const OUTPUTS: [&str; 5] = [
    layout::EXTRACTOR,
    layout::SAMPLES_PICTURE,
    layout::TRAINING_CURVES,
    layout::TRAINING_REPORT,
    checkpoint::FILE,
];

impl Step for TrainGan {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let _lock = ctx.lock("--output-dir", &self.output_dir, &OUTPUTS)?;
        let mut report = Report::new();
        let records = self.public.load(&mut report)?;
        let (shape, pixels) = (records.shape(), records.shape().numel());
        let (generator, critic) = match self.architecture {
            Architecture::Perceptron => (
                models::latent_generator(self.latent_dim, &[256], pixels, true),
                models::critic(pixels, &[256], Between::LeakyRelu),
            ),
            Architecture::Conv => (
                models::image_generator(self.latent_dim, shape.channels, 32),
                models::image_critic(shape.channels, 32),
            ),
        };
        let generator = Extractor::generator(generator, shape, self.latent_dim, ctx.seed, ctx.device)?;
        let critic = Sequential::new("critic.model", &critic, ctx.seed, 1, ctx.device)?;
        let plan = GanPlan {
            steps: self.steps,
            critic_steps: self.critic_steps,
            batch_size: self.batch_size as usize,
            learning_rate: self.learning_rate,
            betas: (self.beta1, 0.9),
            weight_decay: self.weight_decay,
            lipschitz: match self.lipschitz {
                Held::Clip => Lipschitz::Clip(self.weight_clip),
                Held::Penalty => Lipschitz::Penalty(self.penalty),
            },
            block: self.block,
            seed: ctx.seed,
        };
        let access = report.access();
        let images = match self.public.augmentation(&records) {
            // Once, so that many steps do not wait for changes.
            Some(augmentation) => {
                records.changed(CHANGED.max(records.len()), Some(&augmentation), ctx.seed)?.images
            }
            None => records.images.clone(),
        };
        let work = json!({
            "plan": plan, "architecture": self.architecture, "latent_dim": self.latent_dim,
            "images": self.public.settings(&records),
        });
        let checkpoint = self.resume.checkpoint(&self.output_dir, &work, &records.files, access, ctx)?;
        let progress = ctx.progress();
        progress.start("step", plan.steps);
        let start = Instant::now();
        let history = gan::train(&generator, &critic, &images, &plan, ctx.device, progress, &checkpoint)?;
        progress.finish();
        let seconds = checkpoint.seconds_since(start);
        let distances = history.iter().map(|block| (block.step as f64, block.distance)).collect();
        let distance = Curve::new("Distance", "critic of images less critic of generated ones", distances);
        let trained = Trained {
            network: generator,
            public: &self.public,
            records: &records,
            architecture: self.architecture,
            plan: &plan,
            history: &history,
            seconds,
            x_label: "step of the generator",
            curves: vec![distance],
        };
        trained.write(&self.output_dir, report, &checkpoint, ctx)?;
        Ok(Outcome::Done)
    }
}

/// Changed images that a GAN learns, where images are changed.
const CHANGED: usize = 20_000;
