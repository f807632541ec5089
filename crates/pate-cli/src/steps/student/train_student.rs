//! `train-student`: a classifier on labelled synthetic images.
//!
//! Reads: samples and labels (or public labelled images, for a control). Writes:
//! `student_model_best.pth`, `student_model_final.pth`, `training_report.json`,
//! `training_curves.png`. Privacy: that of the samples.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use artifact::{Input, Report, layout};
use clap::Parser;
use pate_core::data::{
    Images, LabelColumn, Labels, Normalisation, RangeRule, Records, SoftLabels, read_labels_of,
};
use pate_core::models::{self, UcStub};
use pate_core::nn;
use pate_core::train::classifier::{self, ClassifierData};
use serde_json::json;

use crate::args::{ConfigArgs, PublicDataArgs, ResumeArgs, SgdArgs, parse_path};
use crate::files::{data_sets, pictures};
use crate::resume::checkpoint;
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings;

/// Train a student on labelled synthetic images
///
/// SGD on a seeded part of the samples; the rest chooses the best epoch.
#[derive(Parser)]
#[command(
    name = "train-student",
    version,
    after_help = "\
Examples:
  train-student --samples combined_dataset/combined_synthetic_samples.pt \\
    --labels combined_dataset/combined_synthetic_labels.csv \\
    --output-dir student_models --epochs 20
  train-student --public-control --dataset digits --augmentation handwriting \\
    --output-dir public_control

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct TrainStudent {
    /// The samples
    #[arg(long, value_name = "FILE", value_parser = parse_path, required_unless_present = "public_control", help_heading = "Samples")]
    samples: Option<PathBuf>,
    /// Their labels, CSV [default: those in the file of the samples, where it holds some]
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Samples")]
    labels: Option<PathBuf>,
    /// The teachers' probabilities of all classes, one row per sample; they take the labels' place
    /// in the loss
    #[arg(long, value_name = "FILE", value_parser = parse_path, conflicts_with_all = ["public_control", "relabel_with"], help_heading = "Samples")]
    soft_labels: Option<PathBuf>,
    /// Replace all labels by this student's (its weights): with a public control's, what the
    /// samples are worth without any teacher's label
    #[arg(long, value_name = "FILE", value_parser = parse_path, conflicts_with = "public_control", help_heading = "Samples")]
    relabel_with: Option<PathBuf>,
    /// Take that student's probabilities of all classes for soft labels, not its most probable
    /// class alone
    #[arg(long, requires = "relabel_with", help_heading = "Samples")]
    relabel_soft: bool,
    /// Number of classes; labels are 0..N-1
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(i64).range(2..=10_000), help_heading = "Samples")]
    classes: i64,
    /// Images are normalised already: take them as they are
    #[arg(long, help_heading = "Samples")]
    no_normalize: bool,
    /// Train on a public data set (see "Public data") and its own labels instead: what one gets
    /// without any private data
    #[arg(long, conflicts_with_all = ["samples", "labels", "no_normalize"], help_heading = "Samples")]
    public_control: bool,
    #[command(flatten)]
    public: PublicDataArgs,
    #[command(flatten)]
    training: SgdArgs,
    /// Share of the samples for training; the rest validates [config: student.train_split]
    #[arg(long, value_name = "FRACTION", help_heading = "Training")]
    train_split: Option<f64>,
    /// Share of the target that is spread evenly over all classes [config: student.label_smoothing]
    #[arg(long, value_name = "FRACTION", help_heading = "Training")]
    label_smoothing: Option<f64>,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "student_models", help_heading = "Output")]
    output_dir: PathBuf,
    #[command(flatten)]
    resume: ResumeArgs,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Step for TrainStudent {
    const KEYS: &[(&str, &str)] = &[
        ("epochs", "student.epochs"),
        ("batch_size", "student.batch_size"),
        ("learning_rate", "student.learning_rate"),
        ("momentum", "student.momentum"),
        ("weight_decay", "student.weight_decay"),
        ("augmentation", "student.augmentation"),
        ("lr_schedule", "student.lr_schedule"),
    ];

    const PUBLIC_WHERE_ITS_REPORT_IS: bool = true;

    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        // Before the samples are read: a second run on the folder is refused at once.
        let _lock = ctx.lock("--output-dir", &self.output_dir, &OUTPUTS)?;
        let mut records = records(self)?;
        models::UcStub::check_images(records.source(), records.shape())?;
        let mut plan =
            settings::student_plan(&self.training, &loaded.config, ctx.seed, records.shape().width)?;
        if self.no_normalize {
            plan.normalisation = Normalisation::identity();
        }
        if let Some(smoothing) = self.label_smoothing {
            plan.label_smoothing = smoothing;
        }
        // Before the split: new labels must go with the rows of both parts.
        let soft_labels = self.soft_labels(&mut records, &plan.normalisation, ctx)?;
        let train_split = self.train_split.unwrap_or(loaded.config.student.train_split);
        let (train_rows, validation_rows) = classifier::split(records.len(), train_split, ctx.seed)?;
        let (train, validation) = (records.select(&train_rows)?, records.select(&validation_rows)?);
        let others: Vec<PathBuf> = self.soft_labels.iter().chain(&self.relabel_with).cloned().collect();
        let files: Vec<PathBuf> = records.files.iter().chain(&others).cloned().collect();
        // All inputs are named before training, which writes a checkpoint: who may read that
        // follows from them, too.
        let mut report = Report::new();
        if self.public_control {
            data_sets::describe(&mut report, &records)?;
        } else {
            for path in &records.files {
                report.input(Input::open(path)?);
            }
        }
        for path in &others {
            report.input(Input::open(path)?);
        }
        let access = report.access();
        // Everything that decides the weights and is in no file; the files' content is hashed
        // beside it.
        let work = json!({
            "plan": plan, "data": records.name, "listing": records.listing, "train_split": train_split,
            "scale": self.public.scale().scale, "soft_labels": soft_labels.is_some(), "relabel": self.relabel_with.is_some(),
        });
        let checkpoint = self.resume.checkpoint(&self.output_dir, &work, &files, access, ctx)?;
        let progress = ctx.progress();
        progress.start("epoch", plan.epochs as u64);
        // Of the training rows alone: validation is against labels.
        let soft = soft_labels
            .map(|soft| soft.select(train_rows.iter().map(|&row| row as usize)).tensor())
            .transpose()?;
        let data = ClassifierData {
            soft_labels: soft.as_ref(),
            validation: Some(&validation),
            ..ClassifierData::new(&train)
        };
        let network = UcStub::new(train.shape(), train.classes(), plan.seed, ctx.device)?;
        let trained = classifier::train(network, &data, &plan, ctx.device, progress, &checkpoint)?;
        progress.finish();

        let (best_path, final_path) =
            (self.output_dir.join(layout::STUDENT_BEST), self.output_dir.join(layout::STUDENT_FINAL));
        // The last epoch first: restoring the best weights writes over it in the same network.
        let last = models::save(&trained.network, &final_path, access)?;
        nn::restore(&trained.network, &trained.best_weights)?;
        let best = models::save(&trained.network, &best_path, access)?;
        let curves = pictures::classifier_curves(
            "Training of the student",
            &trained.history,
            &self.output_dir.join(layout::TRAINING_CURVES),
            access,
        )?;
        let best_epoch = trained.best_epoch.and_then(|epoch| trained.history.get(epoch - 1));
        report
            .field("epochs", plan.epochs)?
            .field("batch_size", plan.batch_size)?
            .field("learning_rate", plan.learning_rate)?
            .field("momentum", plan.momentum)?
            .field("weight_decay", plan.weight_decay)?
            .field("augment", plan.augmentation.is_some())?
            .field("augmentation", plan.augmentation)?
            .field("lr_schedule", plan.schedule)?
            .field("label_smoothing", plan.label_smoothing)?
            .field("soft_labels", &self.soft_labels)?
            .field("relabelled_with", &self.relabel_with)?
            .field("relabelled_soft", self.relabel_soft)?
            .field("normalize", !self.no_normalize)?
            .field("train_split", train_split)?
            .field("seed", ctx.seed)?
            .field("data", &records.name)?
            .field("train_samples", train.len())?
            .field("validation_samples", validation_rows.len())?
            .field("best_epoch", trained.best_epoch)?
            .field("best_validation_accuracy", best_epoch.and_then(|e| e.validation_accuracy))?
            .field("best_model_path", &best_path)?
            .field("final_model_path", &final_path)?
            .field("training_history", &trained.history)?;
        loaded.describe(&mut report)?;
        report.output(best).output(last).output(curves);
        ctx.write_report(&report, &self.output_dir.join(layout::TRAINING_REPORT))?;
        // After the report: a run that ends before it goes on from the checkpoint.
        checkpoint.remove();
        if let Some(e) = best_epoch {
            ctx.say(&format!(
                "best epoch {} (right about the labels of {:.2}% of the validation samples): {}",
                e.epoch,
                e.validation_accuracy.unwrap_or_default(),
                best_path.display()
            ));
        }
        Ok(Outcome::Done)
    }
}

const OUTPUTS: [&str; 5] = [
    layout::STUDENT_BEST,
    layout::STUDENT_FINAL,
    layout::TRAINING_CURVES,
    layout::TRAINING_REPORT,
    checkpoint::FILE,
];

impl TrainStudent {
    /// Puts other labels in the records' place where a network gives them, and the soft labels that
    /// training uses.
    fn soft_labels(
        &self,
        records: &mut Records,
        normalisation: &Normalisation,
        ctx: &Context,
    ) -> Result<Option<SoftLabels>> {
        if let Some(path) = &self.relabel_with {
            let network =
                UcStub::load(path, records.shape(), ctx.device).context("cannot use the labels' network")?;
            let (labels, soft) = classifier::relabel(&network, normalisation, records)?;
            // Hard labels, too: validation must not see what the teachers said.
            records.labels = labels;
            return Ok(self.relabel_soft.then_some(soft));
        }
        let Some(path) = &self.soft_labels else { return Ok(None) };
        let soft =
            SoftLabels::load_for(path, self.classes, records.len()).context("cannot use the soft labels")?;
        Ok(Some(soft))
    }
}

fn records(args: &TrainStudent) -> Result<Records> {
    let Some(samples) = &args.samples else {
        return args.public.load();
    };
    let rule = if args.no_normalize {
        RangeRule::AsIs
    } else {
        RangeRule::Scaled {
            declared: args.public.scale().scale,
            flag: Some("--scale"),
            normalised_flag: Some("--no-normalize"),
        }
    };
    let (images, own_labels) =
        Images::load_with_labels(samples, rule, args.classes).context("cannot use the samples")?;
    if images.is_empty() {
        return Err(pate_core::Error::content(
            samples,
            "there are no images in it",
            "give samples that teachers selected, see combine",
        )
        .into());
    }
    let mut files = vec![samples.clone()];
    let labels = match (&args.labels, own_labels) {
        (Some(path), _) => {
            let rows = read_labels_of(samples, images.len(), path, args.classes, LabelColumn::Label)
                .context("cannot use the labels")?;
            files.push(path.clone());
            Labels::new(path, rows.into_iter().map(|row| row.label).collect(), args.classes)?
        }
        (None, Some(labels)) => labels,
        (None, None) => {
            bail!("--labels is missing, and {} holds no labels beside its images", samples.display())
        }
    };
    Ok(Records::of_samples(images, labels, files))
}
