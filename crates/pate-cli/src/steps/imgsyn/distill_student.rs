//! `distill-student`: a student of synthesised images and their soft labels.
//!
//! Reads: a folder of `synthesize-images`. Writes: `student_model_final.pth`,
//! `training_report.json`, `training_curves.png`. Privacy: that of the images.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use artifact::{Input, Report, StoredReport, layout};
use clap::Parser;
use pate_core::base::progress::Progress;
use pate_core::config::{AugmentationKind, NetworkKind, OptimizerKind, ScheduleKind, Word as _};
use pate_core::data::augment::{Augmentation, Geometry};
use pate_core::data::{Images, LabelColumn, Labels, RangeRule, Records, SoftLabels, read_labels_of};
use pate_core::models::{self, Classifier};
use pate_core::nn::Schedule;
use pate_core::train::classifier::{self, ClassifierData, ClassifierPlan};
use pate_core::train::recipes::{self, Lesson, Recipe, ScatteringRecipe};
use pate_core::train::{LogisticPlan, NoCheckpoint};
use serde_json::json;

use crate::args::{ConfigArgs, ResumeArgs, not_negative, parse_path, positive, word, word_among};
use crate::files::pictures;
use crate::resume::checkpoint::{self, Checkpoint};
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings;

/// Train a student on synthesised images and their soft labels
///
/// Distillation: the divergence of the student's softened scores from the soft labels, for a fixed
/// number of epochs; the last one counts. With --public-control, the public data set's own classes
/// take the soft labels' place, and the rest is the same recipe.
#[derive(Parser)]
#[command(
    name = "distill-student",
    version,
    after_help = "\
Examples:
  distill-student --synthesis synthesis --k 10 --output-dir student
  distill-student --synthesis synthesis --k 0 --output-dir student_k0
  distill-student --synthesis synthesis --k 0 --public-control --output-dir control

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct DistillStudent {
    /// Folder of synthesize-images
    #[arg(long, value_name = "DIR", value_parser = parse_path, help_heading = "Samples")]
    synthesis: PathBuf,
    /// The images after how many steps
    #[arg(long, value_name = "K", help_heading = "Samples")]
    k: u32,
    /// Learn the public data set's own classes instead, which must mean what the private ones mean:
    /// what one gets without any private data
    #[arg(long, help_heading = "Samples")]
    public_control: bool,
    /// Architecture. scatter-linear is a logistic regression on features that the images whiten:
    /// the options under Training do not apply to it
    #[arg(long, visible_alias = "student", value_name = "NAME", value_parser = word_among(&NetworkKind::OF_RECORDS), default_value = "ucstub", help_heading = "Network")]
    network: NetworkKind,
    /// Channels of the residual network's first layer, even
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(i64).range(2..=512), help_heading = "Network")]
    width: i64,
    /// Passes over the images
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Training")]
    epochs: u32,
    /// Images per step
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Training")]
    batch_size: u32,
    /// Optimiser
    #[arg(long, value_name = "KIND", value_parser = word::<OptimizerKind>(), default_value = "adam", help_heading = "Training")]
    optimizer: OptimizerKind,
    /// Learning rate [default: 0.001; of sgd 0.1]
    #[arg(long, visible_alias = "lr", value_name = "RATE", value_parser = positive, help_heading = "Training")]
    learning_rate: Option<f64>,
    /// How the learning rate falls
    #[arg(long, value_name = "KIND", value_parser = word::<ScheduleKind>(), default_value = "cosine", help_heading = "Training")]
    lr_schedule: ScheduleKind,
    /// L2 regularisation in the gradient
    #[arg(long, value_name = "LAMBDA", value_parser = not_negative, default_value_t = 0.0, help_heading = "Training")]
    weight_decay: f64,
    /// Let UCStub's dropouts drop, which costs a student of soft labels more than it gives
    #[arg(long, help_heading = "Training")]
    dropout: bool,
    /// Changes to the images in every epoch; soft labels stay as they are
    #[arg(long, value_name = "KIND", value_parser = word::<AugmentationKind>(), default_value = "none", help_heading = "Training")]
    augmentation: AugmentationKind,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "distilled_student", help_heading = "Output")]
    output_dir: PathBuf,
    #[command(flatten)]
    resume: ResumeArgs,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

const OUTPUTS: [&str; 4] =
    [layout::STUDENT_FINAL, layout::TRAINING_CURVES, layout::TRAINING_REPORT, checkpoint::FILE];

/// Momentum of SGD: the original's.
const MOMENTUM: f64 = 0.9;

impl Step for DistillStudent {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        let _lock = ctx.lock("--output-dir", &self.output_dir, &OUTPUTS)?;
        let folder = self.synthesis.join(layout::steps_taken(self.k));
        let samples = folder.join(layout::SAMPLES);
        let labels = folder.join(layout::LABELS);
        let soft_path = folder.join(layout::SOFT_LABELS);
        let Stored { temperature, classes } = self.stored()?;
        let column = if self.public_control { LabelColumn::Public } else { LabelColumn::Label };
        let images = Images::load(&samples, RangeRule::AsIs).context("cannot use the samples")?;
        let rows = read_labels_of(&samples, images.len(), &labels, classes, column)
            .context("cannot use the labels")?;
        let classed = Labels::new(&labels, rows.into_iter().map(|row| row.label).collect(), classes)?;
        let records = Records::of_samples(images, classed, vec![samples, labels]);
        let mut report = Report::new();
        let mut files = records.files.clone();
        for path in &records.files {
            report.input(Input::open(path)?);
        }
        let soft = if self.public_control {
            None
        } else {
            let soft = SoftLabels::load_for(&soft_path, classes, records.len())
                .context("cannot use the soft labels")?;
            report.input(Input::open(&soft_path)?);
            files.push(soft_path);
            Some(soft.tensor()?)
        };
        let access = report.access();
        let temperature = if self.public_control { 1.0 } else { temperature };
        let lesson = Lesson {
            records: &records,
            soft_labels: soft.as_ref(),
            temperature,
            normalisation: &settings::normalisation(&loaded.config.preprocessing)?,
        };
        let (network, checkpoint) = if self.network == NetworkKind::ScatterLinear {
            (self.regression(&lesson, &mut report, ctx)?, None)
        } else {
            let plan = self.plan(&loaded.config, ctx.seed, records.shape().width)?;
            let (network, checkpoint) =
                self.train(&lesson, &plan, (temperature, &files), &mut report, ctx)?;
            (network, Some(checkpoint))
        };
        let path = self.output_dir.join(layout::STUDENT_FINAL);
        report.output(models::save(&*network, &path, access)?);
        report
            .field("network", self.network.word())?
            .field("width", (self.network == NetworkKind::ResNet).then_some(self.width))?
            .field("k", self.k)?
            .field("public_control", self.public_control)?
            .field("temperature", temperature)?
            .field("samples", records.len())?
            .field("final_model_path", &path)?;
        loaded.describe(&mut report)?;
        ctx.write_report(&report, &self.output_dir.join(layout::TRAINING_REPORT))?;
        if let Some(checkpoint) = checkpoint {
            checkpoint.remove();
        }
        ctx.say(&format!("the student: {}", path.display()));
        Ok(Outcome::Done)
    }
}

/// What the synthesis says of its labels.
struct Stored {
    temperature: f64,
    classes: i64,
}

/// The logistic regression: the whitening of private training, and steps enough for soft labels,
/// whose loss is next to a parabola.
const REGRESSION: ScatteringRecipe = ScatteringRecipe {
    whitened: 1000,
    whitening_images: 20_000,
    whitening_ridge: 0.02,
    regression: LogisticPlan { ridge: 1e-6, iterations: 1000 },
};

impl DistillStudent {
    /// A network from scratch, from its checkpoint where there is one; that is to be removed when
    /// the report is written.
    fn train(
        &self,
        lesson: &Lesson<'_>,
        plan: &ClassifierPlan,
        (temperature, files): (f64, &[PathBuf]),
        report: &mut Report,
        ctx: &Context,
    ) -> Result<(Box<dyn Classifier>, Checkpoint)> {
        let records = lesson.records;
        let work = json!({ "plan": plan, "network": self.network, "width": self.width, "temperature": temperature, "control": self.public_control, "dropout": self.dropout });
        let checkpoint = self.resume.checkpoint(&self.output_dir, &work, files, report.access(), ctx)?;
        let (shape, classes) = (records.shape(), records.classes());
        let network = models::fresh(self.network, self.width, shape, classes, ctx.seed, ctx.device)?;
        let data = ClassifierData {
            soft_labels: lesson.soft_labels,
            temperature,
            dropout: self.dropout,
            ..ClassifierData::new(records)
        };
        let progress = ctx.progress();
        progress.start("epoch", plan.epochs as u64);
        let trained = classifier::train(network, &data, plan, ctx.device, progress, &checkpoint)?;
        progress.finish();
        let curves = pictures::classifier_curves(
            "Distillation of the student",
            &trained.history,
            &self.output_dir.join(layout::TRAINING_CURVES),
            report.access(),
        )?;
        report
            .field("dropout", self.dropout)?
            .field("plan", plan)?
            .field("training_history", &trained.history)?
            .output(curves);
        Ok((trained.network, checkpoint))
    }

    /// A logistic regression on scattering features.
    fn regression(
        &self,
        lesson: &Lesson<'_>,
        report: &mut Report,
        ctx: &Context,
    ) -> Result<Box<dyn Classifier>> {
        if self.resume.resume {
            bail!("--resume: a logistic regression keeps no checkpoint; leave it out");
        }
        let recipe = Recipe::Scattering(REGRESSION);
        let (unit, extent) = recipe.extent();
        let progress = ctx.progress();
        progress.start(unit, extent);
        let both: (&dyn Progress, &dyn Progress) = (progress, &ctx.watch());
        let network = recipes::train(self.network, &recipe, lesson, ctx.device, both, &NoCheckpoint)?;
        progress.finish();
        report.field("recipe", &recipe)?;
        Ok(network)
    }

    fn stored(&self) -> Result<Stored> {
        let path = self.synthesis.join(layout::SYNTHESIS_REPORT);
        let cure = "give the folder that synthesize-images wrote with --synthesis";
        let Some(report) = StoredReport::read(&path).context(cure)? else {
            return Err(pate_core::Error::content(&path, "it is no report", cure).into());
        };
        let number = |name: &str| report.fields.get(name).and_then(serde_json::Value::as_f64);
        let temperature = number("temperature").filter(|t| *t > 0.0 && t.is_finite());
        let classes = number("classes").filter(|n| (2.0..=10_000.0).contains(n));
        if !report.fields.contains_key(&layout::steps_taken(self.k)) {
            let has = |name: &&String| name.strip_prefix('k').is_some_and(|k| k.parse::<u32>().is_ok());
            let there: Vec<&str> = report.fields.keys().filter(has).map(String::as_str).collect();
            return Err(pate_core::Error::content(
                &path,
                format!("it knows of no images after {} steps", self.k),
                format!("give --k a number of these: {}", there.join(", ")),
            )
            .into());
        }
        match (temperature, classes) {
            (Some(temperature), Some(classes)) => Ok(Stored { temperature, classes: classes as i64 }),
            _ => Err(pate_core::Error::content(&path, "it names no temperature or no classes", cure).into()),
        }
    }

    fn plan(&self, config: &pate_core::config::Config, seed: u64, pixels: i64) -> Result<ClassifierPlan> {
        let rate = match self.optimizer {
            OptimizerKind::Sgd => 0.1,
            OptimizerKind::Adam => 1e-3,
        };
        Ok(ClassifierPlan {
            epochs: self.epochs as usize,
            batch_size: self.batch_size as usize,
            optimizer: self.optimizer,
            learning_rate: self.learning_rate.unwrap_or(rate),
            momentum: MOMENTUM,
            weight_decay: self.weight_decay,
            schedule: settings::schedule(self.lr_schedule, Schedule::Constant),
            ema_decay: None,
            augmentation: Augmentation::of(self.augmentation, 1.0, Geometry::teachers(pixels)),
            label_smoothing: 0.0,
            normalisation: settings::normalisation(&config.preprocessing)?,
            seed,
        })
    }
}
