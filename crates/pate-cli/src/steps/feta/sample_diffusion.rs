//! `sample-diffusion`: images of a diffusion model, class by class.
//!
//! Reads: the model. Writes: `gen.npz`, a picture, a report. Privacy: post-processing, so that of
//! the model.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use artifact::{FINGERPRINT, Guarantee, Input, Report, WorkId, layout};
use clap::Parser;
use pate_core::config::SamplerKind;
use pate_core::data::{ImageShape, Images, LabelColumn, read_label_csv};
use pate_core::feta::sample::{Churn, Grid, SamplePlan, sample};
use pate_core::models::UNet;
use serde_json::json;
use tensorfile::{Array, View};

use crate::args::{not_negative, parse_path, positive, word};
use crate::files::{exports, pictures};
use crate::resume::checkpoint::{self, Checkpoint};
use crate::run::{Context, Outcome, RunArgs, Step};

/// Make images with a diffusion model
///
/// Batches of noise, from which the model takes the noise level by level; a stopped run goes on.
/// Images and classes go into gen.npz, x and y, as DPImageBench reads them. A function of the
/// model: it has its guarantee.
#[derive(Parser)]
#[command(
    name = "sample-diffusion",
    version,
    after_help = "\
Examples:
  sample-diffusion --model diffusion/diffusion_ema.safetensors --num-samples 10000 \\
    --num-steps 30 --output-dir generated
  sample-diffusion --model diffusion/diffusion_ema.safetensors --sampler heun \\
    --num-steps 1000 --s-churn 50 --s-min 0.05 --s-max 50 --guid-scale 0.25 \\
    --output-dir generated

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct SampleDiffusion {
    /// The model's weights, from finetune-diffusion or pretrain-diffusion
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Model")]
    model: PathBuf,
    /// Number of images, as many of each class
    #[arg(long, value_name = "N", default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000), help_heading = "Images")]
    num_samples: u32,
    /// Classes of the images, a CSV file with the column label, taken to be public [default: as
    /// many of each]
    #[arg(long, value_name = "FILE", value_parser = parse_path, conflicts_with = "num_samples", help_heading = "Images")]
    labels: Option<PathBuf>,
    /// How images come about
    #[arg(long, value_name = "KIND", value_parser = word::<SamplerKind>(), default_value = "ddim", help_heading = "Sampler")]
    sampler: SamplerKind,
    /// Noise levels [default: 50; of heun 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100_000), help_heading = "Sampler")]
    num_steps: Option<u32>,
    /// Least noise level
    #[arg(long, value_name = "SIGMA", default_value_t = 0.002, value_parser = positive, help_heading = "Sampler")]
    tmin: f64,
    /// Largest noise level
    #[arg(long, value_name = "SIGMA", default_value_t = 80.0, value_parser = positive, help_heading = "Sampler")]
    tmax: f64,
    /// How much denser levels lie towards the least
    #[arg(long, value_name = "RHO", default_value_t = 7.0, value_parser = positive, help_heading = "Sampler")]
    rho: f64,
    /// Weight of classifier-free guidance; 0: none
    #[arg(long, value_name = "W", default_value_t = 0.0, value_parser = not_negative, help_heading = "Sampler")]
    guid_scale: f64,
    /// Fresh noise over all of heun's steps together; 0: none
    #[arg(long, value_name = "S", default_value_t = 0.0, value_parser = not_negative, help_heading = "Sampler")]
    s_churn: f64,
    /// Least level with fresh noise
    #[arg(long, value_name = "SIGMA", default_value_t = 0.05, value_parser = not_negative, help_heading = "Sampler")]
    s_min: f64,
    /// Largest level with fresh noise
    #[arg(long, value_name = "SIGMA", default_value_t = 50.0, value_parser = positive, help_heading = "Sampler")]
    s_max: f64,
    /// Images made at once; they follow from it
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Sampler")]
    batch_size: u32,
    /// Folder for the results
    #[arg(long, visible_alias = "workdir", value_name = "DIR", value_parser = parse_path, default_value = "generated", help_heading = "Output")]
    output_dir: PathBuf,
    #[command(flatten)]
    run: RunArgs,
}

const OUTPUTS: [&str; 4] =
    [layout::GENERATED, layout::SAMPLES_PICTURE, layout::SAMPLING_REPORT, checkpoint::FILE];

/// Images of a class in the picture.
const SHOWN: usize = 10;
/// Between two states of unfinished work.
const EVERY: Duration = Duration::from_mins(1);
/// Names in such a state.
const MADE: &str = "images";
const BATCHES: &str = "batches";

impl Step for SampleDiffusion {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let mut report = Report::new();
        report.input(Input::open(&self.model)?);
        let network = UNet::load(&self.model, ctx.device).context("cannot use the model")?;
        let plan = self.plan(ctx.seed)?;
        plan.grid.levels()?;
        let classes = network.shape().classes;
        let labels: Vec<i64> = match &self.labels {
            None => (0..i64::from(self.num_samples)).map(|row| row % classes).collect(),
            Some(path) => {
                report.input(Input::declared(path, Guarantee::Public)?);
                let rows =
                    read_label_csv(path, classes, LabelColumn::Label).context("cannot use the labels")?;
                rows.into_iter().map(|row| row.label).collect()
            }
        };
        if labels.is_empty() {
            bail!(
                "there are no classes to make images of; give --num-samples, or --labels with a row for each image"
            );
        }
        let _lock = ctx.lock("--output-dir", &self.output_dir, &OUTPUTS)?;
        let access = report.access();
        let settings = json!({ "plan": plan, "images": labels.len() });
        let work = WorkId::new(&settings, report.inputs().iter().map(|input| input.sha256.as_str()))?;
        let report_path = self.output_dir.join(layout::SAMPLING_REPORT);
        if work.finished(&report_path).is_some() {
            ctx.say(&format!("these images are made already: {}", report_path.display()));
            return Ok(Outcome::Done);
        }
        let checkpoint = Checkpoint::new(self.output_dir.join(checkpoint::FILE), work.clone(), access);
        let images = made(&network, &labels, &plan, &checkpoint, ctx)?;
        let written = exports::npz(&self.output_dir.join(layout::GENERATED), access, &images, &labels)?;
        let title = "Images of the diffusion model";
        let picture = self.output_dir.join(layout::SAMPLES_PICTURE);
        let picture = pictures::class_sheet(title, &images, &labels, None, SHOWN, &picture, access)?;
        report
            .field("plan", plan)?
            .field("network", network.shape())?
            .field("images", labels.len())?
            .field("classes", classes)?
            .field("image_shape", images.tensor().size()[1..].to_vec())?
            .field(FINGERPRINT, &work)?;
        report.output(written).output(picture);
        ctx.write_report(&report, &report_path)?;
        checkpoint.remove();
        ctx.say(&format!(
            "{} images: {}\n{}",
            labels.len(),
            self.output_dir.join(layout::GENERATED).display(),
            report.guarantee().sentence()
        ));
        Ok(Outcome::Done)
    }
}

impl SampleDiffusion {
    fn plan(&self, seed: u64) -> Result<SamplePlan> {
        let heun = self.sampler == SamplerKind::Heun;
        if !heun && self.s_churn > 0.0 {
            bail!("--s-churn goes with --sampler heun; leave it out, or take that sampler");
        }
        let steps = self.num_steps.unwrap_or(if heun { 1000 } else { 50 });
        Ok(SamplePlan {
            sampler: self.sampler,
            grid: Grid { steps, least: self.tmin, most: self.tmax, rho: self.rho },
            churn: Churn { amount: self.s_churn, least: self.s_min, most: self.s_max },
            guidance: self.guid_scale,
            batch_size: self.batch_size as usize,
            seed,
        })
    }
}

/// All images, from where a stopped run of the same work was.
fn made(
    network: &UNet,
    labels: &[i64],
    plan: &SamplePlan,
    checkpoint: &Checkpoint,
    ctx: &Context,
) -> Result<Images> {
    let sizes = network.shape();
    let each = (sizes.channels * sizes.size * sizes.size) as usize;
    let (mut pixels, mut batches) = (Vec::with_capacity(labels.len() * each), 0);
    if let Some(state) = checkpoint.load_or_say(ctx) {
        let made = state.array(MADE).map(Array::to_f32).unwrap_or_default();
        let done: usize = state.text(BATCHES).and_then(|text| text.parse().ok()).unwrap_or(0);
        if done.checked_mul(plan.batch_size * each).is_some_and(|values| values == made.len())
            && made.len() <= labels.len() * each
        {
            (pixels, batches) = (made, done);
        }
    }
    let progress = ctx.progress();
    progress.start("image", labels.len() as u64);
    progress.advance((batches * plan.batch_size) as u64, "");
    let state = RefCell::new((pixels, batches, Instant::now()));
    let save = |pixels: &[f32], batches: usize| -> pate_core::Result<()> {
        let shape = [pixels.len()];
        checkpoint.save(&[(MADE, View::f32(&shape, pixels)?)], &[(BATCHES, batches.to_string())])
    };
    let finished = sample(network, labels, plan, batches, progress, |batch, images| {
        let mut state = state.borrow_mut();
        let (pixels, batches, saved) = &mut *state;
        pixels.extend(images.to_vec()?);
        *batches = batch + 1;
        if saved.elapsed() >= EVERY && pixels.len() < labels.len() * each {
            save(pixels, *batches)?;
            *saved = Instant::now();
        }
        Ok(())
    });
    let (pixels, batches, _) = state.into_inner();
    if let Err(pate_core::Error::Stopped) = &finished
        && !pixels.is_empty()
    {
        save(&pixels, batches)?;
    }
    finished?;
    progress.finish();
    let shape = ImageShape { channels: sizes.channels, height: sizes.size, width: sizes.size };
    Ok(Images::of_pixels(&pixels, shape)?)
}
