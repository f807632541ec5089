//! The loop of `batch-train-teacher-vaes`. A teacher is the unit of work: idempotent, resumable,
//! independent of the others.

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
use crate::files::{IndexedShards, TeacherShard, in_folders};
use crate::resume::{Details, OnFailure, Status, TeacherLine, cell, each_teacher};
use crate::run::{Context, to_milliseconds};
use crate::settings;
use crate::steps::teachers::teacher_vae::{self, TeacherVae};

/// What the report says of a teacher.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Fitted {
    /// Images of its shard.
    pub shard_size: Option<u64>,
    /// Loss of the last epoch, per image.
    pub final_loss: Option<f64>,
    /// Seconds of its training.
    pub training_seconds: Option<f64>,
}

impl Details for Fitted {
    const COLUMNS: &[&str] = &["images", "loss", "seconds"];

    fn cells(&self) -> Vec<String> {
        let number = |value| cell(value, |v: f64| format!("{v:.2}"));
        vec![cell(self.shard_size, |n| n.to_string()), number(self.final_loss), number(self.training_seconds)]
    }

    fn note(&self) -> String {
        format!("loss {:.2}", self.final_loss.unwrap_or(f64::NAN))
    }
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
    /// Held until the teacher's files are written.
    _lock: OutputLock,
    /// The batch size that was asked for, where the shard is smaller.
    lowered_from: Option<usize>,
}

/// What a thread gives back of a teacher.
enum Work {
    Trained { ready: Box<Ready>, trained: Box<TrainedVae>, seconds: f64, group: usize },
    Finished(Box<StoredReport>),
}

impl VaeBatch<'_> {
    /// Holds the batch's report, after all files that will be written are held against all that
    /// will be read.
    ///
    /// # Errors
    /// See [`Context::lock_file`].
    pub(super) fn lock(&self, report: &Path, ctx: &Context) -> Result<OutputLock> {
        self.ids.clone().take(MAX_NOTED).filter_map(|id| self.shard_path(id)).for_each(|path| {
            input_file::note(&path);
        });
        let ids: Vec<u64> = self.ids.clone().take(MAX_NOTED).collect();
        ctx.lock_file("--out-dir", report, &in_folders(&ids, &teacher_vae::OUTPUTS))
    }

    /// Trains every teacher.
    ///
    /// # Errors
    /// A folder of shards that is not there, indices that cannot be used where a shard needs them,
    /// or a stop.
    pub(super) fn run(&self, ctx: &Context) -> Result<Vec<TeacherLine<Fitted>>> {
        // One wrong folder is one error, not one for every teacher.
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
        // Once the inputs are known: where a teacher's failure leaves the others alone, the run
        // itself must be refused here.
        artifact::check_claims()?;
        let ids: Vec<u64> = self.ids.clone().collect();
        let groups: Vec<&[u64]> = ids.chunks(self.group_size).collect();
        // A core trains another teacher: the parts of one small batch would wait for each other.
        let n_workers = parallel::workers(ctx.device).min(groups.len());
        let workers = (0..n_workers).map(|_| indexed.clone()).collect();
        let threads = if n_workers > 1 { 1 } else { parallel::workers(ctx.device) };
        let (watch, program, seed, device) = (ctx.watch(), ctx.program(), ctx.seed, ctx.device);
        each_teacher(
            &groups,
            workers,
            OnFailure::GoOn,
            ctx,
            |indexed: &mut Option<IndexedShards>, ids| {
                self.group(ids, indexed.as_ref(), program, seed, device, &watch)
            },
            |teacher_id, work| self.finish(teacher_id, work, threads, ctx),
        )
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
    ) -> pate_core::Result<Vec<(u64, Result<Work>)>> {
        let mut done = Vec::new();
        let mut left = Vec::new();
        for &teacher_id in ids {
            match self.prepare(teacher_id, indexed, program, seed) {
                Ok(Prepared::Ready(ready)) => left.push(ready),
                Ok(Prepared::Finished(report)) => done.push((teacher_id, Ok(Work::Finished(report)))),
                Err(error) => done.push((teacher_id, Err(error))),
            }
        }
        // Shards of other sizes cannot be stacked, so a group falls into those that fit each other.
        while let Some(first) = left.first() {
            let fits: Vec<bool> = left.iter().map(|ready| ready.job().fits(&first.job())).collect();
            let (together, others): (Vec<_>, Vec<_>) =
                left.into_iter().zip(fits).partition(|(_, fits)| *fits);
            let together: Vec<Box<Ready>> = together.into_iter().map(|(ready, _)| ready).collect();
            left = others.into_iter().map(|(ready, _)| ready).collect();
            let start = Instant::now();
            // Without a checkpoint: a teacher is the unit that is kept or done again.
            let trained = if let [one] = &together[..] {
                vec![vae::train(&one.shard.images, &one.plan, device, watch, &NoCheckpoint)]
            } else {
                let jobs: Vec<GroupJob<'_>> = together.iter().map(|ready| ready.job()).collect();
                vae::train_group(&jobs, device, watch)?
            };
            let (group, seconds) = (together.len(), start.elapsed().as_secs_f64());
            for (ready, trained) in together.into_iter().zip(trained) {
                let teacher_id = ready.teacher_id;
                // What each one took of the time of all.
                let seconds = to_milliseconds(seconds / group as f64);
                done.push(match trained {
                    Ok(trained) => {
                        (teacher_id, Ok(Work::Trained { ready, trained: Box::new(trained), seconds, group }))
                    }
                    // A stop is no failure of a teacher.
                    Err(pate_core::Error::Stopped) => return Err(pate_core::Error::Stopped),
                    Err(error) => (teacher_id, Err(error.into())),
                });
            }
        }
        done.sort_by_key(|(teacher_id, _)| *teacher_id);
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
        // Here and not in the group, where one shard's fault would end all.
        shard.check()?;
        let (config, n) = (&self.config.config, shard.images.len());
        let plan = settings::teacher_vae_plan(&self.training, config, seed.wrapping_add(teacher_id), n);
        let asked = settings::teacher_vae_batch(&self.training, config);
        // Held before looking whether the result is there, so that no other run makes it meanwhile.
        let lock = OutputLock::acquire(&dir, program)?;
        let work = teacher_vae::work(teacher_id, &shard, &plan)?;
        if !self.force
            && let Some(report) = work.finished(&dir.join(teacher_vae::REPORT))
        {
            return Ok(Prepared::Finished(Box::new(report)));
        }
        let lowered_from = (plan.batch_size < asked).then_some(asked);
        Ok(Prepared::Ready(Box::new(Ready { teacher_id, shard, plan, work, _lock: lock, lowered_from })))
    }

    /// Writes what was trained, and gives the line of the report.
    fn finish(
        &self,
        teacher_id: u64,
        work: Work,
        threads: usize,
        ctx: &Context,
    ) -> Result<TeacherLine<Fitted>> {
        let (ready, trained, seconds, group) = match work {
            Work::Trained { ready, trained, seconds, group } => (ready, trained, seconds, group),
            Work::Finished(report) => {
                let number = |name: &str| report.fields.get(name).and_then(Value::as_f64);
                let details = Fitted {
                    shard_size: report.fields.get("shard_size").and_then(Value::as_u64),
                    final_loss: number("final_loss"),
                    training_seconds: number("training_seconds"),
                };
                return Ok(TeacherLine::new(teacher_id, Status::Skipped, details));
            }
        };
        let n = ready.shard.images.len();
        // Said here, since threads that train say nothing.
        if let Some(asked) = ready.lowered_from {
            let used = ready.plan.batch_size;
            ctx.say(&format!(
                "the shard of teacher {teacher_id} has {n} images: batches of {asked} become {used}"
            ));
        }
        TeacherVae {
            teacher_id,
            shard: &ready.shard,
            plan: &ready.plan,
            trained: &trained,
            seconds: Some(seconds),
            threads,
            group,
            work: &ready.work,
        }
        .save(&self.dir(teacher_id), self.config, ctx)
        .with_context(|| format!("cannot write the VAE of teacher {teacher_id}"))?;
        let details = Fitted {
            shard_size: Some(n as u64),
            final_loss: trained.history.last().map(|epoch| epoch.loss),
            training_seconds: Some(seconds),
        };
        Ok(TeacherLine::new(teacher_id, Status::Done, details))
    }
}

/// Shards of more teachers than these are held against outputs as they are read.
const MAX_NOTED: usize = 100_000;

enum Prepared {
    Ready(Box<Ready>),
    Finished(Box<StoredReport>),
}

impl Ready {
    fn job(&self) -> GroupJob<'_> {
        GroupJob { images: &self.shard.images, plan: &self.plan }
    }
}
