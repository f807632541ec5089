//! `evaluate-student`: a student on a test set.
//!
//! Reads: weights of a student and of its controls, MNIST or folders of images. Writes: with
//! `--output` a JSON report and a confusion matrix beside it. Prints: loss, overall and per-class
//! accuracy, the controls' beside it. Privacy: that of the student.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use artifact::{Input, Report};
use clap::Parser;
use pate_core::data::Split;
use pate_core::evaluate::{self, ClassifierScore};
use pate_core::models;

use crate::args::{
    ConfigArgs, ControlArgs, MNIST_DIR, PrivateDataArgs, PrivateDataset, check_ending, parse_path,
};
use crate::files::{controls, pictures};
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings;

/// Test a student on MNIST's 10,000 test images, or on your own
#[derive(Parser)]
#[command(
    name = "evaluate-student",
    version,
    after_help = "\
Examples:
  evaluate-student --model student_models/student_model_best.pth \\
    --mnist-dir datasets --output student_models/evaluation_report.json
  evaluate-student --model student_models/student_model_best.pth \\
    --public-control-model public_control/student_model_best.pth \\
    --relabelled-control-model relabelled_control/student_model_best.pth \\
    --mnist-dir data/mnist-subset

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct EvaluateStudent {
    /// The student's weights
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Student and data")]
    model: PathBuf,
    #[command(flatten)]
    controls: ControlArgs,
    /// Folder of MNIST or Fashion-MNIST (torchvision's layout, or the IDX files straight in it), or
    /// of --dataset folders
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = MNIST_DIR, help_heading = "Student and data")]
    mnist_dir: PathBuf,
    #[command(flatten)]
    data: PrivateDataArgs,
    /// Images classified at once
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = "Student and data")]
    batch_size: u32,
    /// Report, JSON; the confusion matrix goes beside it as .png
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Output")]
    output: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Step for EvaluateStudent {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        if let Some(path) = &self.output {
            check_ending("--output", path, &["png"], ".json")?;
        }
        let normalisation = settings::normalisation(&loaded.config.preprocessing)?;
        let records = self.data.load(&self.mnist_dir, Split::Test)?;
        let student = models::load_classifier(&self.model, records.shape(), ctx.device)
            .context("cannot use the student")?;
        let lock = |path| ctx.lock_file("--output", path, &[pictures::beside(path)]);
        let _lock = self.output.as_deref().map(lock).transpose()?;
        let progress = ctx.progress();
        progress.start("images", records.len() as u64);
        let score = evaluate::classifier(
            &*student,
            &normalisation,
            &records,
            ctx.device,
            self.batch_size as usize,
            progress,
        )?;
        progress.finish();
        let controls = self.controls.measure(&records, &normalisation, ctx)?;
        ctx.print(&format!(
            "{}\n{}",
            summary(&score, &records.class_names),
            controls::summary(&controls, Some(score.overall_accuracy))
        ))?;
        let Some(path) = &self.output else { return Ok(Outcome::Done) };

        let mut report = Report::new();
        // The label is that of the networks; the result on the test records is meant to be known.
        report.input(Input::open(&self.model)?);
        for control in &controls {
            report.input(Input::open(&control.model_path)?);
        }
        for record in records.inputs()? {
            report.input(Input::not_covered(record));
        }
        let access = report.access();
        let data = match self.data.dataset {
            PrivateDataset::Mnist => "MNIST test set",
            PrivateDataset::FashionMnist => "Fashion-MNIST test set",
            PrivateDataset::Folders => records.name.as_str(),
        };
        let title = format!("{data}: {:.2}% of {}", score.overall_accuracy, score.total_samples);
        let picture =
            pictures::confusion(&title, &score, &records.class_names, &path.with_extension("png"), access)?;
        report.field("model_path", &self.model)?.field("mnist_test_dir", &self.mnist_dir)?.fields(&score)?;
        report.field("controls", &controls)?;
        loaded.describe(&mut report)?;
        report.field("formal_guarantee_scope", SCOPE)?;
        if !records.class_names.is_empty() {
            report.field("class_names", &records.class_names)?;
        }
        report.output(picture);
        ctx.write_report(&report, path)?;
        Ok(Outcome::Done)
    }
}

/// What the label is about.
const SCOPE: &str = "the data that the networks were trained on; the test records are others, and the label does not cover them";

fn summary(score: &ClassifierScore, class_names: &[String]) -> String {
    let [low, high] = score.accuracy_interval_95;
    let mut text = format!(
        "loss      {:.4}\naccuracy  {:.2}% ({} of {}; 95% interval {low:.2} to {high:.2}%)",
        score.average_loss, score.overall_accuracy, score.correct_predictions, score.total_samples
    );
    for (class, accuracy) in &score.per_class_accuracy {
        let (hits, n) = (score.per_class_correct[class], score.per_class_total[class]);
        let name = class_names.get(*class as usize).map_or_else(String::new, |name| format!(" {name}"));
        let _ = write!(text, "\nclass {class}   {accuracy:6.2}% ({hits} of {n}){name}");
    }
    text
}
