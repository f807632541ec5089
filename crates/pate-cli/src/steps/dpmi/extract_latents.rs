//! `extract-latents`: latents of private images, each a function of its own image alone.
//!
//! Reads: a public extractor, private images. Writes: `private_latents.pt` and its report. Privacy:
//! the latents are as private as the images; a mechanism comes after.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use artifact::Report;
use clap::{Parser, ValueEnum};
use pate_core::data::Split;
use pate_core::dpmi::inversion::{self, Halving, InversionPlan, Method};
use pate_core::dpmi::latents::{About, Latents};
use pate_core::models::Latent;
use serde_json::json;

use super::extractors;
use crate::args::{PrivateDataArgs, not_negative, parse_path, positive};
use crate::files::{data_sets, pool};
use crate::run::{Context, Outcome, RunArgs, Step};

/// Find the latents of private images in a public extractor
///
/// By the encoder, or by a search that takes each image alone: its own loss, its own steps, its own
/// start. One record's latents never depend on another's, to the last bit, so that a mechanism that
/// counts records can follow. The file is private and stays with its owner.
#[derive(Parser)]
#[command(
    name = "extract-latents",
    version,
    after_help = "\
Examples:
  extract-latents --extractor extractor/extractor.pt --data-dir datasets \\
    --out private/private_latents.pt
  extract-latents --extractor generator/extractor.pt --data-dir datasets --only-classes 0,2,4,6,8 \\
    --method adam --start random --project --out private/private_latents.pt

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct ExtractLatents {
    /// The public extractor, from train-autoencoder or train-gan
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Extractor")]
    extractor: PathBuf,
    /// Folder of the private images: MNIST's or Fashion-MNIST's (torchvision's layout, or the IDX
    /// files straight in it), or of --dataset folders
    #[arg(long, value_name = "DIR", value_parser = parse_path, help_heading = "Private data")]
    data_dir: PathBuf,
    #[command(flatten)]
    data: PrivateDataArgs,
    /// Use the images of these classes alone, such as 0,2,4,6,8: where the others are public
    /// [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Private data")]
    only_classes: Vec<i64>,
    /// Name of the private data set in its ledger: public, and never a hash of the data [default:
    /// that of --dataset; of folders, that of the folder]
    #[arg(long, value_name = "NAME", help_heading = "Private data")]
    dataset_name: Option<String>,
    /// encoder: what it says; adam, gradient-descent: a search for the latents whose image is
    /// nearest
    #[arg(long, value_name = "KIND", value_enum, default_value_t = How::Encoder, hide_possible_values = true, help_heading = "Latents")]
    method: How,
    /// Steps of a search, the same for every image
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=1_000_000), help_heading = "Latents")]
    steps: u64,
    /// Adam's learning rate, or the first step of gradient descent on an image's mean squared error
    /// [default: 0.05 of adam, 0.5 of gradient-descent]
    #[arg(long, visible_alias = "lr", value_name = "RATE", value_parser = positive, help_heading = "Latents")]
    learning_rate: Option<f64>,
    /// With gradient-descent: look at each image's loss every so many steps, and halve its step
    /// where it did not fall by --tolerance [default: never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Latents")]
    halve_every: Option<u64>,
    /// With --halve-every: by how much an image's loss must fall
    #[arg(long, value_name = "LOSS", default_value_t = 1e-6, value_parser = not_negative, help_heading = "Latents")]
    tolerance: f64,
    /// With --halve-every: an image whose step is below this rests
    #[arg(long, value_name = "STEP", default_value_t = 0.0025, value_parser = not_negative, help_heading = "Latents")]
    least_step: f64,
    /// Where a search starts: at the encoder's latents, or at a standard normal draw of the image's
    /// own [default: encoder, where there is one]
    #[arg(long, value_name = "KIND", value_enum, hide_possible_values = true, help_heading = "Latents")]
    start: Option<From>,
    /// Keep latents within the norm of a standard normal draw of the image's own, as those of a GAN
    /// are
    #[arg(long, help_heading = "Latents")]
    project: bool,
    /// The latents; readable by you alone, their report beside them
    #[arg(long, value_name = "FILE", value_parser = parse_path, default_value = "private/private_latents.pt", help_heading = "Output")]
    out: PathBuf,
    #[command(flatten)]
    run: RunArgs,
}

/// Methods on command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    Encoder,
    Adam,
    GradientDescent,
}

/// Starts on command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    Encoder,
    Random,
}

impl Step for ExtractLatents {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let report_name = pool::report_of(&self.out);
        let (extractor, input) = extractors::open(&self.extractor, ctx)?;
        let plan = self.plan(extractor.latent() != Latent::Prior, ctx.seed)?;
        let records = self.data.load(&self.data_dir, Split::Train).context("cannot use the private data")?;
        let classes = records.classes();
        let records = data_sets::only_classes(records, &self.only_classes)?;
        let _lock = ctx.lock_file("--out", &self.out, std::slice::from_ref(&report_name))?;
        extractors::require_public(&self.extractor, &input)?;
        let mut report = Report::new();
        data_sets::describe(&mut report, &records)?;
        let known = self.only_classes.is_empty().then(|| self.data.dataset.known_records()).flatten();
        let about = About {
            extractor: input.record.sha256.clone(),
            dataset: self.data.name(self.dataset_name.as_ref(), &self.data_dir),
            classes,
            only_classes: self.only_classes.clone(),
            records: known,
            method: json!(plan),
        };
        report.input(input);
        let progress = ctx.progress();
        progress.start("record", records.len() as u64);
        let rows =
            inversion::extract(&extractor, &records, &plan, progress).context("cannot find the latents")?;
        progress.finish();
        let error = extractors::reconstruction_error(&extractor, &records.images, &rows, ctx)?;
        report
            .field("about", &about)?
            .field("records", records.len())?
            .field("plan", plan)?
            .field("mean_reconstruction_error", error)?;
        let latents = Latents { about, rows, labels: records.labels };
        report.output(latents.save(&self.out)?);
        ctx.write_report(&report, &self.out.with_file_name(&report_name))?;
        ctx.say(&format!(
            "latents of {} private images, mean squared error of a pixel {error:.4}: {}\n{}",
            latents.labels.len(),
            self.out.display(),
            report.guarantee().sentence()
        ));
        Ok(Outcome::Done)
    }
}

impl ExtractLatents {
    fn plan(&self, has_encoder: bool, seed: u64) -> Result<InversionPlan> {
        let from_encoder = match self.start {
            Some(start) => start == From::Encoder,
            None => has_encoder,
        };
        let searches = self.method != How::Encoder;
        if !searches && (self.project || self.start.is_some() || self.learning_rate.is_some()) {
            bail!(
                "--project, --start and --learning-rate are of a search; leave them out, or give --method adam or \
                 gradient-descent"
            );
        }
        if self.halve_every.is_some() && self.method != How::GradientDescent {
            bail!("--halve-every goes with --method gradient-descent; leave it out");
        }
        let halving = self.halve_every.map(|every| Halving {
            every,
            tolerance: self.tolerance,
            least: self.least_step,
        });
        Ok(InversionPlan {
            method: match self.method {
                How::Encoder => Method::Encoder,
                How::Adam => Method::Adam { learning_rate: self.learning_rate.unwrap_or(0.05) },
                How::GradientDescent => {
                    Method::GradientDescent { step: self.learning_rate.unwrap_or(0.5), halving }
                }
            },
            steps: if searches { self.steps } else { 0 },
            from_encoder: !searches || from_encoder,
            project: self.project,
            seed,
        })
    }
}
