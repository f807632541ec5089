//! `relabel`: images that a private classifier gives new labels.
//!
//! Reads: images, a private classifier. Writes: `synthetic_samples.pt`, `labels.csv`,
//! `soft_labels.pt`, `relabel_report.json`. Privacy: that of the images and of the classifier,
//! joined by the ledger that both were charged to.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use artifact::{FINGERPRINT, Guarantee, Input, Report, WorkId, layout};
use clap::Parser;
use pate_core::data::{Images, LabelColumn, read_labels_of, write_csv};
use pate_core::models;
use pate_core::train::classifier;
use serde_json::json;

use crate::args::{ConfigArgs, ScaleArgs, parse_path, positive};
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings;

/// Label images with a private classifier, inside one budget
///
/// A function of the images and of the classifier. Where both were charged to one ledger, its
/// budget covers both; where they were not, nobody knows what they cost together, and the result is
/// refused unless --allow-none asks for it.
#[derive(Parser)]
#[command(
    name = "relabel",
    version,
    after_help = "\
Examples:
  relabel --samples samples/synthetic_samples.pt --labels samples/labels.csv \\
    --teacher dp_teacher/model.pth --output-dir relabelled

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct Relabel {
    /// The images, from sample-generator
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Images")]
    samples: PathBuf,
    /// Their labels so far, to be compared with and kept as the column `assigned` [default: none]
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Images")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    scale: ScaleArgs,
    /// With --labels: keep only images whose label the classifier agrees with
    #[arg(long, requires = "labels", help_heading = "Images")]
    keep_agreed: bool,
    /// The private classifier's weights, from train-dp-teacher or train-dp-classifier
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Classifier")]
    teacher: PathBuf,
    /// Temperature at which the classifier's scores become soft labels
    #[arg(long, short_alias = 'T', value_name = "T", default_value_t = 10.0, value_parser = positive, help_heading = "Classifier")]
    temperature: f64,
    /// Go on where images and classifier were charged to different ledgers, without a guarantee
    #[arg(long, help_heading = "Classifier")]
    allow_none: bool,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "relabelled", help_heading = "Output")]
    output_dir: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

const OUTPUTS: [&str; 4] = [layout::SAMPLES, layout::LABELS, layout::SOFT_LABELS, layout::RELABEL_REPORT];

impl Step for Relabel {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        let normalisation = settings::normalisation(&loaded.config.preprocessing)?;
        let mut images = Images::load(&self.samples, self.scale.rule()).context("cannot use the samples")?;
        let network = models::load_classifier(&self.teacher, images.shape(), ctx.device)
            .context("cannot use the classifier")?;
        let mut assigned = match &self.labels {
            Some(path) => {
                let (n, classes) = (images.len(), network.classes());
                let rows = read_labels_of(&self.samples, n, path, classes, LabelColumn::Label);
                let rows = rows.context("cannot use the labels")?;
                Some(rows.into_iter().map(|row| row.label).collect::<Vec<i64>>())
            }
            None => None,
        };
        let (samples, teacher) = (Input::open(&self.samples)?, Input::open(&self.teacher)?);
        let labels_input = self.labels.as_deref().map(Input::open).transpose()?;
        let covered = |input: &Input| !matches!(input.guarantee, Guarantee::None { .. });
        let both = samples.guarantee.clone().join(teacher.guarantee.clone());
        if let (Some(reason), true, true, false) =
            (both.reason(), covered(&samples), covered(&teacher), self.allow_none)
        {
            bail!(
                "{} and {} together have no guarantee ({reason}): train the classifier and the latent model on one ledger, \
                 with train-dp-teacher --statistics-noise and train-dp-latent --ledger; --allow-none goes on without",
                self.samples.display(),
                self.teacher.display()
            );
        }
        let _lock = ctx.lock("--output-dir", &self.output_dir, &OUTPUTS)?;
        let mut report = Report::new();
        report.input(samples).input(teacher);
        if let Some(input) = labels_input {
            report.input(input);
        }
        let work = WorkId::new(
            &json!({ "temperature": self.temperature, "normalisation": normalisation, "keep_agreed": self.keep_agreed }),
            report.inputs().iter().map(|input| input.sha256.as_str()),
        )?;
        let report_path = self.output_dir.join(layout::RELABEL_REPORT);
        if work.finished(&report_path).is_some() {
            ctx.say(&format!("these images are labelled already: {}", self.output_dir.display()));
            return Ok(Outcome::Done);
        }
        let progress = ctx.progress();
        progress.start("label", images.len() as u64);
        let mut answers =
            classifier::answers(&*network, &normalisation, &images, self.temperature, progress)?;
        progress.finish();
        let total = images.len();
        let agreed: Option<Vec<i64>> = assigned.as_ref().map(|assigned| {
            let pairs = answers.labels.values().iter().zip(assigned).enumerate();
            pairs.filter(|(_, (given, before))| given == before).map(|(row, _)| row as i64).collect()
        });
        if let (true, Some(rows)) = (self.keep_agreed, &agreed) {
            if rows.is_empty() {
                bail!(
                    "the classifier agrees with no label of {}; are they labels of these images?",
                    self.samples.display()
                );
            }
            images = images.select(rows)?;
            answers = answers.select(rows);
            assigned = assigned.map(|all| rows.iter().map(|&row| all[row as usize]).collect());
        }
        let access = report.access();
        report.output(images.save(&self.output_dir.join(layout::SAMPLES), access)?);
        report.output(answers.soft.save(&self.output_dir.join(layout::SOFT_LABELS), access)?);
        let mut header = vec!["index", "label", "confidence"];
        header.extend(assigned.as_ref().map(|_| "assigned"));
        let rows = answers.labels.values().iter().zip(&answers.confidences).enumerate();
        let rows = rows.map(|(i, (label, confidence))| {
            let mut row = vec![i.to_string(), label.to_string(), confidence.to_string()];
            row.extend(assigned.as_ref().map(|assigned| assigned[i].to_string()));
            row
        });
        report.output(write_csv(&self.output_dir.join(layout::LABELS), access, &header, rows)?);
        let share = agreed.as_ref().map(|rows| rows.len() as f64 / total.max(1) as f64);
        report
            .field("images", images.len())?
            .field("images_given", total)?
            .field("agreed_with_the_labels_given", share)?
            .field("class_counts", answers.labels.counts())?
            .field("temperature", self.temperature)?
            .field("classes", network.classes())?
            .field("image_shape", images.tensor().size()[1..].to_vec())?
            .field(FINGERPRINT, &work)?;
        loaded.describe(&mut report)?;
        ctx.write_report(&report, &report_path)?;
        ctx.say(&format!(
            "{} images{}: {}\n{}",
            images.len(),
            share.map_or_else(String::new, |share| format!(", {:.1}% as they were", 100.0 * share)),
            self.output_dir.display(),
            report.guarantee().sentence()
        ));
        Ok(Outcome::Done)
    }
}
