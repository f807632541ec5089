//! `pretrain-diffusion`: a diffusion model learns central images.
//!
//! Reads: images and their classes. Writes: `diffusion.safetensors`, `diffusion_ema.safetensors`,
//! `training_report.json`. Privacy: post-processing, so that of the images.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use artifact::{FINGERPRINT, Input, Report, WorkId, layout};
use clap::Parser;
use pate_core::data::{Images, Labels, RangeRule, Records};
use pate_core::feta::{self, PretrainPlan, RandAugment};
use pate_core::models::UNet;
use pate_core::nn;
use serde_json::json;

use crate::args::{NoiseArgs, ResumeArgs, UNetArgs, fraction, parse_path, positive};
use crate::resume::checkpoint;
use crate::run::{Context, Outcome, RunArgs, Step};

/// Let a diffusion model learn noisy central images
///
/// Adam on the loss of EDM, on randomly changed images. A function of the images alone: it has
/// their guarantee. finetune-diffusion goes on from the weights of the last step.
#[derive(Parser)]
#[command(
    name = "pretrain-diffusion",
    version,
    after_help = "\
Examples:
  pretrain-diffusion --images central/central_images.npz --output-dir pretrained
  pretrain-diffusion --images central/central_images.npz --nf 8 --num-res-blocks 1 \\
    --steps 600 --output-dir pretrained

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct PretrainDiffusion {
    /// Images with their classes, from query-central-images
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Images")]
    images: PathBuf,
    #[command(flatten)]
    network: UNetArgs,
    /// Steps
    #[arg(long, value_name = "T", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Training")]
    steps: u64,
    /// Images of a step at most; all of them where there are fewer
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Training")]
    batch_size: u32,
    /// Learning rate of Adam
    #[arg(long, visible_alias = "lr", value_name = "RATE", default_value_t = 3e-4, value_parser = positive, help_heading = "Training")]
    learning_rate: f64,
    /// Decay of the average of the weights
    #[arg(long, value_name = "DECAY", default_value_t = 0.999, value_parser = fraction, help_heading = "Training")]
    ema_decay: f64,
    /// Random changes to an image in a step; 0: none
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=14), help_heading = "Training")]
    rand_augment: u32,
    /// Largest size of these changes, of 30
    #[arg(long, value_name = "M", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=30), help_heading = "Training")]
    rand_size: u32,
    /// Steps between two checkpoints
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Training")]
    every: u64,
    #[command(flatten)]
    noise: NoiseArgs,
    /// Folder for the results
    #[arg(long, visible_alias = "workdir", value_name = "DIR", value_parser = parse_path, default_value = "pretrained", help_heading = "Output")]
    output_dir: PathBuf,
    #[command(flatten)]
    resume: ResumeArgs,
    #[command(flatten)]
    run: RunArgs,
}

const OUTPUTS: [&str; 4] =
    [layout::DIFFUSION, layout::DIFFUSION_EMA, layout::TRAINING_REPORT, checkpoint::FILE];

/// Classes that a file may have.
const MOST_CLASSES: i64 = 100_000;

impl Step for PretrainDiffusion {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let records = self.records().context("cannot use the images")?;
        let shape = self.network.shape(records.shape(), records.classes())?;
        let plan = self.plan(ctx.seed)?;
        let network = UNet::new(&shape, ctx.seed, ctx.device)?;
        let mut report = Report::new();
        report.input(Input::open(&self.images)?);
        let _lock = ctx.lock("--output-dir", &self.output_dir, &OUTPUTS)?;
        let access = report.access();
        let settings = json!({ "plan": plan, "network": shape, "seed": ctx.seed });
        let work = WorkId::new(&settings, report.inputs().iter().map(|input| input.sha256.as_str()))?;
        let report_path = self.output_dir.join(layout::TRAINING_REPORT);
        if work.finished(&report_path).is_some() {
            ctx.say(&format!("this training is done already: {}", report_path.display()));
            return Ok(Outcome::Done);
        }
        let files = [self.images.clone()];
        let checkpoint = self.resume.checkpoint(&self.output_dir, &settings, &files, access, ctx)?;
        let progress = ctx.progress();
        progress.start("step", plan.steps);
        let trained = feta::pretrain(&network, &records, &plan, &checkpoint, progress)?;
        progress.finish();
        let last = network.save(&self.output_dir.join(layout::DIFFUSION), access)?;
        nn::restore(&network, &trained.average)?;
        let average_path = self.output_dir.join(layout::DIFFUSION_EMA);
        let average = network.save(&average_path, access)?;
        report
            .field("network", &shape)?
            .field("weights", nn::parameters(&network).iter().map(|p| p.value().numel()).sum::<usize>())?
            .field("plan", plan)?
            .field("images", records.len())?
            .field("losses", &trained.losses)?
            .field(FINGERPRINT, &work)?;
        report.output(last).output(average);
        ctx.write_report(&report, &report_path)?;
        checkpoint.remove();
        ctx.say(&format!(
            "{} steps: {}\n{}",
            plan.steps,
            average_path.display(),
            report.guarantee().sentence()
        ));
        Ok(Outcome::Done)
    }
}

impl PretrainDiffusion {
    /// The images with as many classes as there are labels.
    fn records(&self) -> Result<Records> {
        let (images, labels) = Images::load_with_labels(&self.images, RangeRule::OWN, MOST_CLASSES)?;
        let missing = || {
            pate_core::Error::content(
                &self.images,
                "there are no classes in it",
                "give the .npz of query-central-images, with images `x` and classes `y`",
            )
        };
        let labels = labels.ok_or_else(missing)?;
        let classes = labels.values().iter().max().map_or(1, |most| most + 1);
        let labels = Labels::new(&self.images, labels.values().to_vec(), classes)?;
        if labels.len() != images.len() || images.is_empty() {
            return Err(pate_core::Error::content(
                &self.images,
                format!("it holds {} images and {} classes", images.len(), labels.len()),
                "give one class for each of one image or more",
            )
            .into());
        }
        Ok(Records::of_samples(images, labels, vec![self.images.clone()]))
    }

    fn plan(&self, seed: u64) -> Result<PretrainPlan> {
        let changes = RandAugment { changes: self.rand_augment, largest: self.rand_size };
        Ok(PretrainPlan {
            steps: self.steps,
            batch_size: self.batch_size as usize,
            learning_rate: self.learning_rate,
            ema_decay: self.ema_decay,
            noise: self.noise.plan(1, seed)?,
            augmentation: (self.rand_augment > 0).then_some(changes),
            every: self.every,
        })
    }
}
