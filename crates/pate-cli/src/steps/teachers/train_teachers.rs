//! `train-teachers`: a classifier on every private shard.
//!
//! Reads: MNIST or folders of images, and shard indices. Writes: `<id>/model.pth` per teacher,
//! `shard_indices.json` where it made the indices, `training_report.json`. Privacy: no formal
//! guarantee; a teacher's weights are a function of its shard.

mod job;

use std::path::PathBuf;

use anyhow::{Result, bail};
use artifact::{FileRecord, Input, Report, layout};
use clap::Parser;
use pate_core::base::parallel;
use pate_core::config::OptimizerKind;
use pate_core::data::{Assignment, Records, ShardIndices, Split};
use pate_core::models;
use pate_core::nn::Schedule;
use pate_core::train::classifier::ClassifierPlan;
use serde_json::{Map, Value, json};

use self::job::{TeacherJob, Trained};
use crate::args::{ConfigArgs, ControlArgs, MNIST_DIR, PrivateDataArgs, SgdArgs, parse_path, word};
use crate::files::controls;
use crate::files::data_sets::{self, shard_indices};
use crate::resume::{OnFailure, TeacherLine, each_teacher};
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings;

/// Train one classifier per private shard
///
/// Teacher t is trained with seed + t, so that any of them can be made again alone. A teacher whose
/// file is there and whose settings are the same is kept, so that a stopped run goes on.
#[derive(Parser)]
#[command(
    name = "train-teachers",
    version,
    after_help = "\
Examples:
  train-teachers --data-dir datasets --num-models 250 --epochs 20 --lr 0.05 \\
    --momentum 0.9 --output-dir trained_nets_gpu
  train-teachers --data-dir data/mnist-subset --num-models 20 \\
    --shard-indices data/shard_indices.json

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct TrainTeachers {
    /// Folder of MNIST (torchvision's layout, or the IDX files straight in it), or of --dataset
    /// folders
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = MNIST_DIR, help_heading = "Private data")]
    data_dir: PathBuf,
    #[command(flatten)]
    data: PrivateDataArgs,
    /// Number of teachers [config: teachers.num_models]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Teachers")]
    num_models: Option<u32>,
    /// Id of the first teacher
    #[arg(long, value_name = "ID", default_value_t = 0, help_heading = "Teachers")]
    start_id: u64,
    /// Rows of the training set by teacher [default: made here, as prepare-shards does]
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Teachers")]
    shard_indices: Option<PathBuf>,
    #[command(flatten)]
    training: SgdArgs,
    /// Optimiser [config: teachers.optimizer]
    #[arg(long, value_parser = word::<OptimizerKind>(), help_heading = "Training")]
    optimizer: Option<OptimizerKind>,
    /// Epochs between two drops of the learning rate, 0 = never [config: teachers.lr_decay_epoch]
    #[arg(long, value_name = "N", help_heading = "Training")]
    lr_decay_epoch: Option<u32>,
    /// Factor of a drop [config: teachers.lr_gamma]
    #[arg(long, value_name = "FACTOR", help_heading = "Training")]
    lr_gamma: Option<f64>,
    #[command(flatten)]
    controls: ControlArgs,
    /// Folder for the <id>/model.pth
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "trained_nets_gpu", help_heading = "Output")]
    output_dir: PathBuf,
    /// File for the shard indices, where they are made here
    #[arg(long, value_name = "FILE", value_parser = parse_path, default_value = "shard_indices.json", help_heading = "Output")]
    save_shards: PathBuf,
    /// Do not test the teachers (250 of them take as long on 10,000 images as their training)
    #[arg(long, help_heading = "Output")]
    skip_test: bool,
    /// Train teachers again that are there already
    #[arg(long, help_heading = "Output")]
    force: bool,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Step for TrainTeachers {
    const KEYS: &[(&str, &str)] = &[
        ("epochs", "teachers.epochs"),
        ("batch_size", "teachers.batch_size"),
        ("learning_rate", "teachers.lr"),
        ("momentum", "teachers.momentum"),
        ("weight_decay", "teachers.weight_decay"),
        ("augmentation", "teachers.augmentation"),
        ("lr_schedule", "teachers.lr_schedule"),
    ];

    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        let teachers = &loaded.config.teachers;
        let every = self.lr_decay_epoch.map_or(teachers.lr_decay_epoch, |n| n as usize);
        let gamma = self.lr_gamma.unwrap_or(teachers.lr_gamma);
        if !(0.0..=1.0).contains(&gamma) {
            bail!("--lr-gamma is {gamma}; it is a factor from 0 to 1");
        }
        let decay = if every == 0 { Schedule::Constant } else { Schedule::Steps { every, gamma } };
        let n_models = self.num_models.map_or(teachers.num_models as u64, u64::from);
        let Some(end_id) = self.start_id.checked_add(n_models) else {
            bail!(
                "--start-id is {}; with {n_models} teachers it is at most {}",
                self.start_id,
                u64::MAX - n_models
            );
        };
        // This file may lie outside the output folder, whose lock does not cover it.
        if let Some(path) = Some(&self.save_shards).filter(|_| self.shard_indices.is_none()) {
            Context::claim_file("--save-shards", path)?;
        }
        let folders: Vec<String> = match n_models {
            0..=1000 => (self.start_id..end_id).map(|id| id.to_string()).collect(),
            _ => vec!["*".to_owned()],
        };
        let models = |folder: &String| [format!("{folder}/model.pth"), format!("{folder}/{}", job::REPORT)];
        let names: Vec<String> = folders.iter().flat_map(models).chain([REPORT.to_owned()]).collect();
        let _lock = ctx.lock("--output-dir", &self.output_dir, &names)?;
        // Both at once, so that shapes which differ are an error before hours of training.
        let (train, test) = if self.skip_test {
            (self.data.load(&self.data_dir, Split::Train)?, None)
        } else {
            let (train, test) = self.data.load_both(&self.data_dir)?;
            (train, Some(test))
        };
        models::UcStub::check_images(train.source(), train.shape())?;
        let plan = settings::teacher_plan(
            &self.training,
            self.optimizer,
            decay,
            &loaded.config,
            ctx.seed,
            train.shape().width,
        )?;
        let (indices, indices_record) = indices(self, end_id, train.len(), ctx.seed)?;

        let mut report = Report::new();
        report.reads_private(job::REASON);
        // Made once here: threads write the teachers' reports, and the run's context stays on this
        // one.
        let envelope = ctx.envelope_of(report.guarantee());
        let ids: Vec<u64> = (self.start_id..end_id).collect();
        let lines = self.train(&ids, (&train, test.as_ref()), &indices, &plan, &envelope, ctx)?;
        let accuracies: Vec<f64> = lines.iter().filter_map(|line| line.details.test_accuracy).collect();
        let entry = |line: &TeacherLine<Trained>| {
            let (id, trained) = (line.teacher_id, &line.details);
            json!({
                "teacher_id": id,
                "shard_size": trained.shard_size,
                "test_accuracy": trained.test_accuracy,
                "test_loss": trained.test_loss,
                "seed": ctx.seed.wrapping_add(id),
                "model_path": self.model_path(id),
            })
        };
        let entries: Vec<_> = lines.iter().map(entry).collect();
        for teacher_id in ids {
            report.output(FileRecord::of_output(&self.model_path(teacher_id))?);
        }
        let mean = (!accuracies.is_empty()).then(|| accuracies.iter().sum::<f64>() / accuracies.len() as f64);
        let controls = match &test {
            Some(test) => self.controls.measure(test, &plan.normalisation, ctx)?,
            None => Vec::new(),
        };
        report
            .field("controls", &controls)?
            .field("num_models", n_models)?
            .field("start_id", self.start_id)?
            .field("epochs", plan.epochs)?
            .field("batch_size", plan.batch_size)?
            .field("optimizer", plan.optimizer)?
            .field("lr", plan.learning_rate)?
            .field("momentum", plan.momentum)?
            .field("weight_decay", plan.weight_decay)?
            .field("lr_decay_epoch", every)?
            .field("lr_gamma", gamma)?
            .field("augment", plan.augmentation.is_some())?
            .field("augmentation", plan.augmentation)?
            .field("lr_schedule", plan.schedule)?
            .field("seed", ctx.seed)?
            .field("mean_test_accuracy", mean)?
            .field("teachers", entries)?;
        loaded.describe(&mut report)?;
        report.input(Input::private(indices_record, data_sets::READ));
        data_sets::describe(&mut report, &train)?;
        if let Some(test) = &test {
            data_sets::describe(&mut report, test)?;
        }
        ctx.write_report(&report, &self.output_dir.join(REPORT))?;
        let tested = mean.map_or_else(
            || "not tested".to_owned(),
            |mean| format!("{mean:.2}% of the test images on average"),
        );
        ctx.say(&format!("{n_models} teachers, {tested}: {}", self.output_dir.display()));
        if mean.is_some() {
            ctx.say(&controls::summary(&controls, mean));
        }
        Ok(Outcome::Done)
    }
}

const REPORT: &str = layout::TRAINING_REPORT;

impl TrainTeachers {
    /// Trains these teachers side by side, on records that are with a test set or without one.
    fn train(
        &self,
        ids: &[u64],
        (train, test): (&Records, Option<&Records>),
        indices: &ShardIndices,
        plan: &ClassifierPlan,
        envelope: &Map<String, Value>,
        ctx: &Context,
    ) -> Result<Vec<TeacherLine<Trained>>> {
        let indices_path = self.shard_indices.as_ref().unwrap_or(&self.save_shards);
        let each: Vec<&[u64]> = ids.chunks(1).collect();
        // Every core trains another teacher: the parts of one teacher's small batches would wait
        // for each other.
        let n_workers = parallel::workers(ctx.device).min(ids.len());
        let workers = (0..n_workers).map(|_| (train.clone(), test.cloned())).collect();
        let (device, seed, watch) = (ctx.device, ctx.seed, ctx.watch());
        let train_one = |train: &Records, test: Option<&Records>, teacher_id: u64| {
            let rows = indices.rows(indices_path, teacher_id)?;
            let plan = ClassifierPlan { seed: seed.wrapping_add(teacher_id), ..plan.clone() };
            let path = &self.model_path(teacher_id);
            TeacherJob { teacher_id, path, rows, plan: &plan, force: self.force, envelope }
                .run(train, test, device, &watch)
        };
        let make = |(train, test): &mut (Records, Option<Records>), ids: &[u64]| {
            Ok(ids.iter().map(|&id| (id, train_one(train, test.as_ref(), id))).collect())
        };
        // Teachers of one run belong together: one that cannot be trained ends it.
        each_teacher(&each, workers, OnFailure::End, ctx, make, |id, (status, details)| {
            Ok(TeacherLine::new(id, status, details))
        })
    }

    fn model_path(&self, teacher_id: u64) -> PathBuf {
        self.output_dir.join(teacher_id.to_string()).join(layout::MODEL)
    }
}

/// The shards of the teachers below `end_id`, at least.
fn indices(
    args: &TrainTeachers,
    end_id: u64,
    n_records: usize,
    seed: u64,
) -> Result<(ShardIndices, FileRecord)> {
    if let Some(path) = &args.shard_indices {
        let indices = shard_indices(path, n_records)?;
        return Ok((indices, FileRecord::of(path)?));
    }
    if args.start_id > 0 {
        // How many shards there are decides where each is cut: two ranges would overlap.
        bail!(
            "--start-id is {}, and the number of all teachers is not known; give --shard-indices with the shards of all of \
             them, which a run over all teachers writes (--save-shards)",
            args.start_id
        );
    }
    if end_id > n_records as u64 {
        bail!(
            "--num-models from --start-id on ends with teacher {}, but {n_records} records make at most {n_records} shards",
            end_id - 1
        );
    }
    let indices = ShardIndices::assign(n_records, end_id as usize, None, Assignment::Index, seed)?;
    let record = indices.save(&args.save_shards)?;
    Ok((indices, record))
}
