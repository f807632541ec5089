//! `train-teacher-vae`: a VAE on one teacher's private shard.
//!
//! Reads: a shard, or shard indices and MNIST. Writes: `teacher_<id>/decoder.pth`, `vae_full.pth`,
//! `training_report.json`, pictures. Privacy: no formal guarantee; the VAE is a function of the
//! shard and may have memorised it.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use artifact::layout;
use clap::Parser;
use pate_core::train::vae;

use super::teacher_vae::{self, TeacherVae};
use crate::args::{ConfigArgs, IndexArgs, ResumeArgs, VaeArgs, parse_path};
use crate::files::TeacherShard;
use crate::resume::checkpoint;
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings;

/// Train a VAE on one teacher's private shard
///
/// The decoder then makes candidates for that teacher alone. About 240 images are few for a VAE:
/// expect blurred samples, and near-copies of private images among them.
#[derive(Parser)]
#[command(
    name = "train-teacher-vae",
    version,
    after_help = "\
Examples:
  train-teacher-vae --teacher-id 0 --shard-path teachers/teacher_0/shard.pt
  train-teacher-vae --teacher-id 0 --shard-indices shard_indices.json \\
    --mnist-data-dir datasets --epochs 100 --out-dir teacher_vaes

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct TrainTeacherVae {
    /// Which teacher
    #[arg(long, value_name = "ID", help_heading = "Private data")]
    teacher_id: u64,
    /// The shard, made by prepare-shards; beats --shard-indices
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Private data")]
    shard_path: Option<PathBuf>,
    #[command(flatten)]
    indices: IndexArgs,
    #[command(flatten)]
    training: VaeArgs,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "teacher_vaes", help_heading = "Output")]
    out_dir: PathBuf,
    #[command(flatten)]
    resume: ResumeArgs,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Step for TrainTeacherVae {
    const KEYS: &[(&str, &str)] = settings::TEACHER_VAE_KEYS;
    const DEFAULTS: &[(&str, &str)] = settings::TEACHER_VAE_DEFAULTS;

    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        let dir = self.out_dir.join(layout::teacher(self.teacher_id));
        let _lock =
            ctx.lock("--out-dir", &dir, &[&teacher_vae::OUTPUTS[..], &[checkpoint::FILE]].concat())?;
        let shard = match &self.shard_path {
            Some(path) => TeacherShard::load(path, self.indices.scale())?,
            None => self.indices.load()?.shard(self.teacher_id)?,
        };
        shard.check()?;
        let n = shard.images.len();
        let plan = settings::teacher_vae_plan(&self.training, &loaded.config, ctx.seed, n);
        let asked = settings::teacher_vae_batch(&self.training, &loaded.config);
        if plan.batch_size < asked {
            ctx.say(&format!("the shard has {n} images: batches of {asked} become {}", plan.batch_size));
        }
        let files: Vec<PathBuf> = shard.files.iter().map(|file| file.path.clone()).collect();
        let work = teacher_vae::settings(self.teacher_id, &plan, self.indices.scale());
        // The report begins only with the results; weights of a private shard are private whatever
        // it says.
        let access = artifact::Access::Private;
        let checkpoint = self.resume.checkpoint(&dir, &work, &files, access, ctx)?;
        let progress = ctx.progress();
        progress.start("epoch", plan.epochs as u64);
        let start = Instant::now();
        let trained = vae::train(&shard.images, &plan, ctx.device, progress, &checkpoint)?;
        progress.finish();
        let made = TeacherVae {
            teacher_id: self.teacher_id,
            shard: &shard,
            plan: &plan,
            trained: &trained,
            seconds: checkpoint.seconds_since(start),
            threads: pate_core::base::parallel::workers(ctx.device),
            group: 1,
            work: &teacher_vae::work(self.teacher_id, &shard, &plan)?,
        };
        made.save(&dir, &loaded, ctx)?;
        checkpoint.remove();
        ctx.say(&format!("decoder: {}", dir.join(layout::DECODER).display()));
        Ok(Outcome::Done)
    }
}
