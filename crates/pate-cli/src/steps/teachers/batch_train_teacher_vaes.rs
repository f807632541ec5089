//! `batch-train-teacher-vaes`: train-teacher-vae for many teachers, side by side in one process.
//!
//! Reads: shards, or shard indices and MNIST. Writes: `teacher_<id>/` as train-teacher-vae does,
//! `batch_report_<first>-<last>.json`. Privacy: no formal guarantee; each VAE is a function of its
//! shard and may have memorised it.

mod batch;

use std::path::PathBuf;

use anyhow::{Result, bail};
use artifact::{FileRecord, Report, layout};
use clap::Parser;
use tch::Device;

use self::batch::VaeBatch;
use super::teacher_vae;
use crate::args::{ConfigArgs, IndexArgs, VaeArgs, parse_path};
use crate::resume::{COUNTS_NOTE, Status, count, table};
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings;

/// Train a VAE on every teacher's private shard
///
/// Teacher t is trained with seed + t, and gets what train-teacher-vae with that seed gives. On a
/// CPU every core trains another teacher; on a GPU --group-size teachers are trained as one
/// network. A run that was stopped goes on: a teacher whose files are there, made from the same
/// shard with the same settings, is skipped. One that fails is reported, and the others go on.
#[derive(Parser)]
#[command(
    name = "batch-train-teacher-vaes",
    version,
    after_help = "\
Examples:
  batch-train-teacher-vaes --num-teachers 250 --shard-base teachers --epochs 100 \\
    --out-dir teacher_vaes
  batch-train-teacher-vaes --start-id 100 --num-teachers 50 \\
    --shard-indices shard_indices.json --mnist-data-dir datasets

Exit codes: 0 done, 1 a teacher failed, 2 arguments, 3 files, 130 stopped."
)]
pub struct BatchTrainTeacherVaes {
    /// Number of teachers
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Private data")]
    num_teachers: u64,
    /// Id of the first teacher
    #[arg(long, value_name = "ID", default_value_t = 0, help_heading = "Private data")]
    start_id: u64,
    /// Folder with teacher_<id>/shard.pt, made by prepare-shards; a teacher without one there gets
    /// its shard from --shard-indices
    #[arg(long, value_name = "DIR", value_parser = parse_path, help_heading = "Private data")]
    shard_base: Option<PathBuf>,
    #[command(flatten)]
    indices: IndexArgs,
    #[command(flatten)]
    training: VaeArgs,
    /// Teachers that are trained as one network, each with its own weights; their shards must have
    /// the same size [default: 1 on a CPU, 25 on a GPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "Training")]
    group_size: Option<u32>,
    /// Folder for the teacher_<id> folders
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "teacher_vaes", help_heading = "Output")]
    out_dir: PathBuf,
    /// Train teachers again that are there already
    #[arg(long, help_heading = "Output")]
    force: bool,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Step for BatchTrainTeacherVaes {
    const KEYS: &[(&str, &str)] = settings::TEACHER_VAE_KEYS;
    const DEFAULTS: &[(&str, &str)] = settings::TEACHER_VAE_DEFAULTS;

    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        let Some(end) = self.start_id.checked_add(self.num_teachers) else {
            bail!("--start-id is {}; with {} teachers it is too large", self.start_id, self.num_teachers);
        };
        let otherwise = if ctx.device == Device::Cpu { 1 } else { GPU_GROUP };
        let batch = VaeBatch {
            ids: self.start_id..end,
            shard_base: self.shard_base.clone(),
            indices: self.indices.clone(),
            training: self.training.clone(),
            group_size: self.group_size.map_or(otherwise, |n| n as usize),
            out_dir: self.out_dir.clone(),
            force: self.force,
            config: &loaded,
        };
        // Named after its range, so that ranges which run on several machines share a folder.
        let report_path = self.out_dir.join(format!("batch_report_{}-{}.json", self.start_id, end - 1));
        // On the report alone: each teacher's folder is held while that teacher is worked on.
        let _lock = batch.lock(&report_path, ctx)?;
        let lines = batch.run(ctx)?;
        let mut report = Report::new();
        report.reads_private(teacher_vae::REASON);
        let count = |status| count(&lines, status);
        report
            .field("num_teachers", lines.len())?
            .field("start_id", self.start_id)?
            .field("done", count(Status::Done))?
            .field("skipped", count(Status::Skipped))?
            .field("failed", count(Status::Failed))?
            .field("group_size", batch.group_size)?
            .field("seed", ctx.seed)?
            .field("counts_note", COUNTS_NOTE)?
            .field("teachers", &lines)?;
        loaded.describe(&mut report)?;
        for line in lines.iter().filter(|line| line.status != Status::Failed) {
            let dir = self.out_dir.join(layout::teacher(line.teacher_id));
            for name in [layout::DECODER, layout::VAE] {
                report.output(FileRecord::of_output(&dir.join(name))?);
            }
        }
        ctx.write_report(&report, &report_path)?;
        ctx.print(&table(&lines))?;
        match count(Status::Failed) {
            0 => Ok(Outcome::Done),
            n => Ok(Outcome::No(format!("{n} of {} teachers failed", lines.len()))),
        }
    }
}

/// Teachers trained as one network on a GPU, which small layers of one network would leave idle.
const GPU_GROUP: usize = 25;
