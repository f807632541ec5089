//! `sample-generator`: samples of a private latent model, drawn by the public decoder.
//!
//! Reads: a public extractor, a latent model. Writes: `synthetic_samples.pt`, `labels.csv`,
//! `samples.png`, `sampling_report.json`. Privacy: that of the model.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use artifact::{AtomicFile, FINGERPRINT, Input, Report, WorkId, layout};
use clap::{Parser, ValueEnum};
use pate_core::base::progress::Silent;
use pate_core::base::rng::{Purpose, Stream};
use pate_core::data::{Images, write_csv};
use pate_core::dpmi::model::LatentModel;
use serde::Serialize;
use serde_json::json;
use tensorfile::DType;
use tensorfile::pt::ArrayWriter;

use super::extractors;
use crate::args::parse_path;
use crate::files::pictures;
use crate::run::{Context, Outcome, RunArgs, Step};

/// Draw labelled images from a private model of latents
///
/// Latents of each class are drawn from the model, shortened as those that it learnt, and drawn by
/// the public decoder; any number, written as they come. A function of what was released: the
/// images cost nothing more.
#[derive(Parser)]
#[command(
    name = "sample-generator",
    version,
    after_help = "\
Examples:
  sample-generator --extractor extractor/extractor.pt --model latent_model/latent_model.pt \\
    --num-samples 20000 --output-dir samples

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct SampleGenerator {
    /// The public extractor that the model was made with
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Model")]
    extractor: PathBuf,
    /// The latent model, from train-dp-latent
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Model")]
    model: PathBuf,
    /// Number of images
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000), help_heading = "Samples")]
    num_samples: u64,
    /// even: as many of each class; released: by the shares that the model was released with
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Shares::Even, hide_possible_values = true, help_heading = "Samples")]
    class_shares: Shares,
    /// Leave classes out of which the model knows nothing, such as those that were public; a list
    /// of those to draw [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Samples")]
    only_classes: Vec<i64>,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "samples", help_heading = "Output")]
    output_dir: PathBuf,
    #[command(flatten)]
    run: RunArgs,
}

/// Shares of classes on command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Shares {
    Even,
    Released,
}

const OUTPUTS: [&str; 4] =
    [layout::SAMPLES, layout::LABELS, layout::SAMPLES_PICTURE, layout::SAMPLING_REPORT];

/// Images that are in memory at once.
const CHUNK: usize = 10_000;
/// Images of each class in the picture.
const SHOWN: usize = 10;

impl Step for SampleGenerator {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let (extractor, input) = extractors::open(&self.extractor, ctx)?;
        let model = LatentModel::load(&self.model, ctx.device).context("cannot use the model")?;
        if model.about.extractor != input.record.sha256 {
            bail!(
                "{} was made with another extractor (SHA-256 {}), and {} is {}; give the one that it was made with",
                self.model.display(),
                model.about.extractor,
                self.extractor.display(),
                input.record.sha256
            );
        }
        let shares = self.shares(&model)?;
        let _lock = ctx.lock("--output-dir", &self.output_dir, &OUTPUTS)?;
        extractors::require_public(&self.extractor, &input)?;
        let mut report = Report::new();
        report.input(input).input(Input::open(&self.model)?);
        let work = WorkId::new(
            &json!({ "n": self.num_samples, "shares": self.class_shares, "only": self.only_classes, "seed": ctx.seed }),
            report.inputs().iter().map(|input| input.sha256.as_str()),
        )?;
        let report_path = self.output_dir.join(layout::SAMPLING_REPORT);
        if work.finished(&report_path).is_some() {
            ctx.say(&format!("these samples are there already: {}", self.output_dir.display()));
            return Ok(Outcome::Done);
        }
        let access = report.access();
        let n = self.num_samples as usize;
        let labels = labels(n, shares.as_deref(), ctx.seed);
        let shape = extractor.shape();
        let path = self.output_dir.join(layout::SAMPLES);
        let size = [n, shape.channels as usize, shape.height as usize, shape.width as usize];
        let mut file = ArrayWriter::new(AtomicFile::create(&path, access)?, DType::F32, &size)?;
        let progress = ctx.progress();
        progress.start("sample", n as u64);
        let mut first = None;
        for (at, part) in labels.chunks(CHUNK).enumerate() {
            progress.check()?;
            let mut stream = Stream::new(ctx.seed, Purpose::Latents, at as u64);
            let latents = model.sample(part, &extractor, &mut stream)?;
            let images = extractor.decode(&latents, &Silent)?;
            file.write_f32(&images.to_vec()?)?;
            progress.advance(part.len() as u64, "");
            first.get_or_insert(images);
        }
        report.output(file.finish()?.commit()?);
        progress.finish();
        if shares.is_some() {
            let rows = labels.iter().enumerate().map(|(i, label)| vec![i.to_string(), label.to_string()]);
            report.output(write_csv(
                &self.output_dir.join(layout::LABELS),
                access,
                &["index", "label"],
                rows,
            )?);
        }
        if let Some(images) = &first {
            let path = self.output_dir.join(layout::SAMPLES_PICTURE);
            report.output(picture(images, &labels, shares.is_some(), &path, access)?);
        }
        report
            .field("num_samples", self.num_samples)?
            .field("class_shares", self.class_shares)?
            .field("only_classes", &self.only_classes)?
            .field("model", &model.about.kind)?
            .field("image_shape", &size[1..])?
            .field("classes", model.classes())?
            .field(FINGERPRINT, &work)?;
        ctx.write_report(&report, &report_path)?;
        ctx.say(&format!(
            "{n} images{}: {}\n{}",
            if shares.is_some() { " with classes" } else { " without classes (give them some with relabel)" },
            self.output_dir.display(),
            report.guarantee().sentence()
        ));
        Ok(Outcome::Done)
    }
}

impl SampleGenerator {
    /// The share of each class; none where samples have no classes.
    fn shares(&self, model: &LatentModel) -> Result<Option<Vec<f64>>> {
        let Some(classes) = model.classes().filter(|&classes| classes > 1) else {
            if !self.only_classes.is_empty() || self.class_shares == Shares::Released {
                bail!(
                    "{} knows no classes; leave --only-classes and --class-shares out",
                    self.model.display()
                );
            }
            return Ok(None);
        };
        if let Some(class) = self.only_classes.iter().find(|class| !(0..classes).contains(class)) {
            bail!("--only-classes {class}: the model has classes 0 to {}", classes - 1);
        }
        let wanted = |class: i64| self.only_classes.is_empty() || self.only_classes.contains(&class);
        let released = match self.class_shares {
            Shares::Even => None,
            Shares::Released => Some(model.class_shares()?.with_context(|| {
                format!(
                    "{} was trained without a release of how many records each class has; give --class-shares even",
                    self.model.display()
                )
            })?),
        };
        let share = |class: i64| match &released {
            _ if !wanted(class) => 0.0,
            None => 1.0,
            Some(released) => f64::from(released[class as usize]),
        };
        let shares: Vec<f64> = (0..classes).map(share).collect();
        if shares.iter().sum::<f64>() <= 0.0 {
            bail!("no class that is asked for has a share; give others with --only-classes");
        }
        Ok(Some(shares))
    }
}

/// `n` classes by their shares, as near as whole numbers go, in a random order.
fn labels(n: usize, shares: Option<&[f64]>, seed: u64) -> Vec<i64> {
    let Some(shares) = shares else { return vec![0; n] };
    let total: f64 = shares.iter().sum();
    let mut labels = Vec::with_capacity(n);
    let mut sum = 0.0;
    for (class, share) in shares.iter().enumerate() {
        sum += share / total;
        let until = if class + 1 == shares.len() { n } else { (sum * n as f64).round() as usize };
        labels.resize(until.clamp(labels.len(), n), class as i64);
    }
    let order = Stream::new(seed, Purpose::Sampling, 0).permutation(n);
    order.into_iter().map(|row| labels[row as usize]).collect()
}

/// Some images of each class in a row, or of all.
fn picture(
    images: &Images,
    labels: &[i64],
    classes: bool,
    path: &std::path::Path,
    access: artifact::Access,
) -> Result<artifact::FileRecord> {
    if !classes {
        return pictures::grid(images, path, access);
    }
    let labels = &labels[..images.len()];
    pictures::class_sheet("Samples of the model, by class", images, labels, None, SHOWN, path, access)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_come_by_their_shares() {
        let counts = |labels: &[i64]| {
            (0..3).map(|class| labels.iter().filter(|&&label| label == class).count()).collect::<Vec<_>>()
        };
        assert_eq!(counts(&labels(9, Some(&[1.0, 1.0, 1.0]), 1)), [3, 3, 3]);
        assert_eq!(counts(&labels(10, Some(&[0.0, 0.25, 0.75]), 1)), [0, 3, 7]);
        assert_eq!(counts(&labels(2, Some(&[1.0, 0.0, 0.0]), 1)), [2, 0, 0]);
        assert_ne!(labels(100, Some(&[1.0, 1.0, 0.0]), 1), labels(100, Some(&[1.0, 1.0, 0.0]), 2));
        assert_eq!(labels(3, None, 1), [0, 0, 0]);
    }
}
