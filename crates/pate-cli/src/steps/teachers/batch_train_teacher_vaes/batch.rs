//! The loop of `batch-train-teacher-vaes`. A teacher is the unit of work: idempotent, resumable, independent of the others.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use artifact::{OutputLock, StoredReport, WorkId, layout};
use pate_core::base::parallel;
use pate_core::base::progress::Progress;
use pate_core::train::NoCheckpoint;
use pate_core::train::vae::{self, GroupJob, TrainedVae, VaePlan};
use serde::Serialize;
use serde_json::Value;

use crate::args::{IndexArgs, LoadedConfig, VaeArgs};
use crate::files::in_folders;
use crate::files::{IndexedShards, TeacherShard};
use crate::resume::Status;
use crate::run::{Context, to_milliseconds};
use crate::settings;
use crate::steps::teachers::teacher_vae::{self, TeacherVae};

/// A line of the batch's report.
#[derive(Clone, Debug, Serialize)]
pub(super) struct VaeResult {
    /// Which teacher.
    pub teacher_id: u64,
    /// What became of it.
    pub status: Status,
    /// Images of its shard.
    pub shard_size: Option<u64>,
    /// Loss of the last epoch, per image.
    pub final_loss: Option<f64>,
    /// Seconds of its training.
    pub training_seconds: Option<f64>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// Settings of a batch.
pub(super) struct VaeBatch<'a> {
    /// Which teachers.
    pub ids: Range<u64>,
    /// `teacher_<id>/shard.pt`.
    pub shard_base: Option<PathBuf>,
    /// Shards of the others.
    pub indices: IndexArgs,
    /// How VAEs are trained.
    pub training: VaeArgs,
    /// Teachers that are trained as one network.
    pub group_size: usize,
    /// `teacher_<id>/` folders.
    pub out_dir: PathBuf,
    /// Train finished teachers again?
    pub force: bool,
    /// The configuration.
    pub config: &'a LoadedConfig,
}

/// What a thread has of a teacher before it trains.
struct Ready {
    teacher_id: u64,
    shard: TeacherShard,
    plan: VaePlan,
    work: WorkId,
    lock: OutputLock,
    /// The batch size that was asked for, where the shard is smaller.
    lowered_from: Option<usize>,
}

/// What a thread gives back.
enum Work {
    Trained { ready: Box<Ready>, trained: Box<TrainedVae>, seconds: f64, group: usize },
    Skipped { teacher_id: u64, report: Box<StoredReport> },
    Failed { teacher_id: u64, reason: String },
}

impl VaeBatch<'_> {
    /// Holds the batch's report, after all files that will be written are held against all that will be read.
    ///
    /// # Errors
    /// See [`Context::lock_file`].
    pub(super) fn lock(&self, report: &Path, ctx: &Context) -> Result<OutputLock> {
        self.ids.clone().take(MOST_NOTED).filter_map(|id| self.shard_path(id)).for_each(|path| {
            input_file::note(&path);
        });
        let ids: Vec<u64> = self.ids.clone().take(MOST_NOTED).collect();
        ctx.lock_file("--out-dir", report, &in_folders(&ids, &teacher_vae::OUTPUTS))
    }

    /// Trains every teacher.
    ///
    /// # Errors
    /// A folder of shards that is not there, indices that cannot be used where a shard needs them, or a stop.
    pub(super) fn run(&self, ctx: &Context) -> Result<Vec<VaeResult>> {
        if let Some(base) = self.shard_base.as_ref().filter(|base| !base.is_dir()) {
            return Err(pate_core::Error::content(
                base,
                "there is no such folder",
                "give the --out-dir of prepare-shards, or leave --shard-base out for --shard-indices",
            )
            .into());
        }
        let absent =
            self.ids.clone().filter(|&id| !self.shard_path(id).is_some_and(|path| path.is_file())).count();
        if absent > 0
            && let Some(base) = &self.shard_base
        {
            ctx.say(&format!(
                "{absent} teachers have no teacher_<id>/shard.pt in {}: their shards come from {}",
                base.display(),
                self.indices.shard_indices.display()
            ));
        }
        let indexed = if absent > 0 { Some(self.indices.load()?) } else { None };
        artifact::check_claims()?;
        let ids: Vec<u64> = self.ids.clone().collect();
        let groups: Vec<&[u64]> = ids.chunks(self.group_size).collect();
        let n_workers = parallel::workers(ctx.device).min(groups.len());
        let workers = (0..n_workers).map(|_| indexed.clone()).collect();
        let threads = if n_workers > 1 { 1 } else { parallel::workers(ctx.device) };
        let (watch, program, seed, device) = (ctx.watch(), ctx.program(), ctx.seed, ctx.device);
        let progress = ctx.progress();
        progress.start("teacher", ids.len() as u64);
        let mut results = Vec::with_capacity(ids.len());
        parallel::jobs(
            groups.len(),
            workers,
            &watch,
            |indexed: &mut Option<IndexedShards>, group| {
                self.group(groups[group], indexed.as_ref(), program, seed, device, &watch)
            },
            |_, work| {
                for one in work {
                    let result = self.keep(one, threads, ctx);
                    let note = match (&result.reason, result.final_loss) {
                        (Some(reason), _) => format!("teacher {}: failed: {reason}", result.teacher_id),
                        (None, loss) => format!(
                            "teacher {}: loss {:.2}{}",
                            result.teacher_id,
                            loss.unwrap_or(f64::NAN),
                            if result.status == Status::Skipped { " (kept)" } else { "" }
                        ),
                    };
                    if result.status == Status::Failed {
                        ctx.say(&format!("error: {note}"));
                    }
                    progress.advance(1, &note);
                    results.push(result);
                }
                Ok(())
            },
        )?;
        progress.finish();
        Ok(results)
    }

    fn shard_path(&self, teacher_id: u64) -> Option<PathBuf> {
        self.shard_base.as_ref().map(|base| base.join(layout::teacher(teacher_id)).join(layout::SHARD))
    }

    fn dir(&self, teacher_id: u64) -> PathBuf {
        self.out_dir.join(layout::teacher(teacher_id))
    }

    /// Trains the teachers of a group: as one network those that fit each other, the others alone.
    fn group(
        &self,
        ids: &[u64],
        indexed: Option<&IndexedShards>,
        program: &str,
        seed: u64,
        device: tch::Device,
        watch: &dyn Progress,
    ) -> pate_core::Result<Vec<Work>> {
        let mut done = Vec::new();
        let mut left = Vec::new();
        for &teacher_id in ids {
            match self.prepare(teacher_id, indexed, program, seed) {
                Ok(Prepared::Ready(ready)) => left.push(ready),
                Ok(Prepared::Finished(report)) => done.push(Work::Skipped { teacher_id, report }),
                Err(error) => done.push(Work::Failed { teacher_id, reason: format!("{error:#}") }),
            }
        }
        while let Some(first) = left.first() {
            let fits: Vec<bool> = left.iter().map(|ready| ready.job().fits(&first.job())).collect();
            let (together, others): (Vec<_>, Vec<_>) =
                left.into_iter().zip(fits).partition(|(_, fits)| *fits);
            let together: Vec<Box<Ready>> = together.into_iter().map(|(ready, _)| ready).collect();
            left = others.into_iter().map(|(ready, _)| ready).collect();
            let start = Instant::now();
            let trained = if let [one] = &together[..] {
                vec![vae::train(&one.shard.images, &one.plan, device, watch, &NoCheckpoint)]
            } else {
                let jobs: Vec<GroupJob<'_>> = together.iter().map(|ready| ready.job()).collect();
                vae::train_group(&jobs, device, watch)?
            };
            let (group, seconds) = (together.len(), start.elapsed().as_secs_f64());
            for (ready, trained) in together.into_iter().zip(trained) {
                done.push(match trained {
                    // What each one took of the time of all.
                    Ok(trained) => Work::Trained {
                        ready,
                        trained: Box::new(trained),
                        seconds: to_milliseconds(seconds / group as f64),
                        group,
                    },
                    Err(pate_core::Error::Stopped) => return Err(pate_core::Error::Stopped),
                    Err(error) => Work::Failed { teacher_id: ready.teacher_id, reason: error.to_string() },
                });
            }
        }
        done.sort_by_key(Work::teacher_id);
        Ok(done)
    }

    fn prepare(
        &self,
        teacher_id: u64,
        indexed: Option<&IndexedShards>,
        program: &str,
        seed: u64,
    ) -> Result<Prepared> {
        let dir = self.dir(teacher_id);
        let shard = match (self.shard_path(teacher_id).filter(|path| path.is_file()), indexed) {
            (Some(path), _) => TeacherShard::load(&path, self.indices.scale())?,
            (None, Some(indexed)) => indexed.shard(teacher_id)?,
            (None, None) => anyhow::bail!("its shard has gone since the start"),
        };
        shard.check()?;
        let (config, n) = (&self.config.config, shard.images.len());
        let plan = settings::teacher_vae_plan(&self.training, config, seed.wrapping_add(teacher_id), n);
        let asked = settings::teacher_vae_batch(&self.training, config);
        let lock = OutputLock::acquire(&dir, program)?;
        let work = teacher_vae::work(teacher_id, &shard, &plan)?;
        if !self.force
            && let Some(report) = work.finished(&dir.join(teacher_vae::REPORT))
        {
            return Ok(Prepared::Finished(Box::new(report)));
        }
        let lowered_from = (plan.batch_size < asked).then_some(asked);
        Ok(Prepared::Ready(Box::new(Ready { teacher_id, shard, plan, work, lock, lowered_from })))
    }

    /// Writes what was trained, and gives the line of the report.
    fn keep(&self, work: Work, threads: usize, ctx: &Context) -> VaeResult {
        let result = |teacher_id, status| VaeResult {
            teacher_id,
            status,
            shard_size: None,
            final_loss: None,
            training_seconds: None,
            reason: None,
        };
        match work {
            Work::Failed { teacher_id, reason } => {
                VaeResult { reason: Some(reason), ..result(teacher_id, Status::Failed) }
            }
            Work::Skipped { teacher_id, report } => VaeResult {
                shard_size: report.fields.get("shard_size").and_then(Value::as_u64),
                final_loss: report.fields.get("final_loss").and_then(Value::as_f64),
                training_seconds: report.fields.get("training_seconds").and_then(Value::as_f64),
                ..result(teacher_id, Status::Skipped)
            },
            Work::Trained { ready, trained, seconds, group } => {
                let teacher_id = ready.teacher_id;
                if let Some(asked) = ready.lowered_from {
                    ctx.say(&format!(
                        "the shard of teacher {teacher_id} has {} images: batches of {asked} become {}",
                        ready.shard.images.len(),
                        ready.plan.batch_size
                    ));
                }
                let made = TeacherVae {
                    teacher_id,
                    shard: &ready.shard,
                    plan: &ready.plan,
                    trained: &trained,
                    seconds: Some(seconds),
                    threads,
                    group,
                    work: &ready.work,
                };
                let saved = made
                    .save(&self.dir(teacher_id), self.config, ctx)
                    .with_context(|| format!("cannot write the VAE of teacher {teacher_id}"));
                drop(ready.lock);
                match saved {
                    Ok(_) => VaeResult {
                        shard_size: Some(ready.shard.images.len() as u64),
                        final_loss: trained.history.last().map(|epoch| epoch.loss),
                        training_seconds: Some(seconds),
                        ..result(teacher_id, Status::Done)
                    },
                    Err(error) => {
                        VaeResult { reason: Some(format!("{error:#}")), ..result(teacher_id, Status::Failed) }
                    }
                }
            }
        }
    }
}

/// Shards of more teachers than these are held against outputs as they are read.
const MOST_NOTED: usize = 100_000;

enum Prepared {
    Ready(Box<Ready>),
    Finished(Box<StoredReport>),
}

impl Ready {
    fn job(&self) -> GroupJob<'_> {
        GroupJob { images: &self.shard.images, plan: &self.plan }
    }
}

impl Work {
    fn teacher_id(&self) -> u64 {
        match self {
            Self::Trained { ready, .. } => ready.teacher_id,
            Self::Skipped { teacher_id, .. } | Self::Failed { teacher_id, .. } => *teacher_id,
        }
    }
}

/// The batch as a table.
pub(super) fn table(results: &[VaeResult]) -> String {
    let mut text =
        format!("{:>8}  {:<8} {:>8} {:>10} {:>9}", "teacher", "status", "images", "loss", "seconds");
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
    for r in results {
        let status = r.status.name();
        let size = r.shard_size.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let _ = write!(
            text,
            "\n{:>8}  {status:<8} {size:>8} {:>10} {:>9}",
            r.teacher_id,
            number(r.final_loss),
            number(r.training_seconds)
        );
        if let Some(reason) = &r.reason {
            let _ = write!(text, "  {reason}");
        }
    }
    text
}
