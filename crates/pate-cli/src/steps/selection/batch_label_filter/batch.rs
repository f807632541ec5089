//! The loop of `batch-label-filter`. A teacher is the unit of work: idempotent, resumable,
//! independent of the others.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use artifact::{FileRecord, OutputLock, WorkId, layout};
use pate_core::base::progress::Progress;
use pate_core::data::{ImageShape, ImageSize, Images};
use pate_core::models::{Decoder, Program};
use pate_core::pate::generate::{self, LatentBank, LatentDraw, LatentPlan, LatentRng};
use pate_core::pate::label::{Labelled, label};
use pate_core::pate::label_filter::{self, FilterInputs, FilterPlan, Filtered};
use serde::Serialize;
use serde_json::{Value, json};
use tch::Tensor;

use crate::args::{
    DecoderOrigin, FilterArgs, LatentArgs, LoadedConfig, ScaleArgs, ShardScaleArgs, for_teacher, has_id,
};
use crate::files::in_folders;
use crate::files::pool::{self, PoolOrigin};
use crate::resume::{Details, OnFailure, Status, TeacherLine, cell, each_teacher};
use crate::run::Context;
use crate::steps::selection::one_teacher::{self, LoadedTeacher, ReportExtras, TeacherFiles};

/// The batch's report.
pub(super) const REPORT: &str = layout::BATCH_REPORT;

/// What the report says of a teacher.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct SelectionCounts {
    /// Candidates.
    pub num_generated: usize,
    /// Samples.
    pub num_selected: usize,
    /// Mean confidence of the samples.
    pub average_confidence: Option<f64>,
    /// Whether it was empty in an earlier run, when skipped.
    pub was_empty: bool,
}

impl Details for SelectionCounts {
    const COLUMNS: &[&str] = &["candidates", "samples", "confidence"];

    fn cells(&self) -> Vec<String> {
        let confidence = cell(self.average_confidence, |c| format!("{c:.4}"));
        vec![self.num_generated.to_string(), self.num_selected.to_string(), confidence]
    }

    fn note(&self) -> String {
        format!("{} samples", self.num_selected)
    }
}

/// A teacher's line.
pub(super) type Line = TeacherLine<SelectionCounts>;

/// Whether the batch's exit code should tell.
pub(super) fn is_failed_or_empty(line: &Line) -> bool {
    matches!(line.status, Status::Failed | Status::Empty) || line.details.was_empty
}

/// Settings of a batch.
pub(super) struct Batch<'a> {
    /// One pool for all, or one per teacher by `{id}`; `None`: pools are made.
    pub candidates: Option<PathBuf>,
    /// For pools and steering; may hold `{id}`.
    pub decoder: Option<PathBuf>,
    /// What the decoder has seen.
    pub origin: DecoderOrigin,
    /// Size of the images that a decoder draws; `None`: the square that its weights are for.
    pub image_size: Option<ImageSize>,
    /// Candidates of a pool that is made.
    pub pool_size: usize,
    /// How latents are drawn.
    pub latents: LatentPlan,
    /// From which generator.
    pub rng: LatentRng,
    /// Posteriors to draw from.
    pub bank: Option<LatentBank>,
    /// For the check of the number of latents.
    pub latent_args: LatentArgs,
    /// Where pools are written; `None`: nowhere.
    pub candidates_dir: Option<PathBuf>,
    /// The teachers' models, by id.
    pub models: BTreeMap<u64, PathBuf>,
    /// `teacher_<id>/shard.pt`.
    pub shard_base: Option<PathBuf>,
    /// `teacher_<id>/metadata.json`.
    pub metadata_base: Option<PathBuf>,
    /// On which scale pools from files are.
    pub scale: ScaleArgs,
    /// On which scale shards are.
    pub shard_scale: ShardScaleArgs,
    /// What may be done with programs of other architectures.
    pub program: Program,
    /// The filters.
    pub filters: FilterArgs,
    /// `teacher_<id>/` folders.
    pub output_dir: PathBuf,
    /// Do finished teachers again?
    pub force: bool,
    /// Draw samples?
    pub pictures: bool,
    /// The configuration.
    pub config: &'a LoadedConfig,
}

/// What is loaded once for all teachers.
pub(crate) struct Shared {
    /// The pool made last, under its seed and round, for the next teacher of the same group.
    last_pool: RefCell<Option<((u64, usize), generate::Pool)>>,
    pub(crate) pool: Option<(PathBuf, Images, FileRecord)>,
}

/// A teacher's candidates, their files, and what identifies them.
struct Pool {
    images: Images,
    latents: Option<Tensor>,
    labelled: Option<Labelled>,
    records: Vec<FileRecord>,
    path: String,
}

impl Batch<'_> {
    /// Checks what can be checked before the first teacher.
    ///
    /// # Errors
    /// Values out of range.
    pub(super) fn check(&self, seed: u64) -> Result<()> {
        self.filters.resolve(&self.config.config, seed)?;
        let (generation, per_teacher) =
            (&self.config.config.generation, self.decoder.as_deref().is_some_and(has_id));
        if self.candidates.is_none() && per_teacher && generation.teachers_per_pool > 1 {
            bail!(
                "generation.teachers_per_pool is {}, and --decoder-path has {{id}}: teachers with decoders of their own have no \
                 pool in common; set it to 1, or give one decoder",
                generation.teachers_per_pool
            );
        }
        if self.rng == LatentRng::Torch && self.config.config.generation.generate_until_target_per_class {
            bail!("--rng torch makes one pool; set generation.generate_until_target_per_class to false");
        }
        Ok(())
    }

    /// Checks what all teachers share, so that one wrong path is one error and not one per teacher.
    ///
    /// # Errors
    /// A folder of shards or metadata that is not there, a decoder for all that cannot be used.
    pub(super) fn check_files(&self, seed: u64) -> Result<()> {
        let bases =
            [("--teacher-shard-base", &self.shard_base), ("--shard-metadata-base", &self.metadata_base)];
        for (flag, base) in bases {
            if let Some(base) = base.as_ref().filter(|base| !base.is_dir()) {
                let hint = format!("give {flag} the --out-dir of prepare-shards, or leave it out");
                return Err(pate_core::Error::content(base, "there is no such folder", hint).into());
            }
        }
        let steers = self.filters.resolve(&self.config.config, seed)?.plan.steering.is_some();
        if let Some(path) = self.decoder.as_ref().filter(|path| !has_id(path))
            && (steers || self.candidates.is_none())
        {
            Decoder::values_of(path).context("cannot use the decoder")?;
        }
        Ok(())
    }

    /// Holds the output folder, after all files that will be written are held against all that will
    /// be read.
    ///
    /// # Errors
    /// See [`Context::lock`].
    pub(super) fn lock(&self, ids: &[u64], ctx: &Context) -> Result<OutputLock> {
        for &id in ids {
            let files = self.files(id, true);
            let optional = [files.shard, files.metadata, files.decoder, self.own_pool(id)];
            std::iter::once(files.model).chain(optional.into_iter().flatten()).for_each(|path| {
                input_file::note(&path);
            });
        }
        for (flag, path) in [("--candidates", &self.candidates), ("--decoder-path", &self.decoder)] {
            if let Some(above) = path.as_ref().filter(|path| has_id(path)).and_then(|path| fixed_part(path)) {
                artifact::name_input(flag, &above);
            }
        }
        if let Some(dir) = self.candidates_dir.as_ref().filter(|_| self.candidates.is_none()) {
            let name = |id: &u64| [layout::teacher_pool(*id), format!("candidates_teacher_{id}.json")];
            let names: Vec<String> = ids.iter().take(MAX_POOLS).flat_map(name).collect();
            artifact::claim(CANDIDATES_DIR, dir, &names)?;
        }
        let mut names = in_folders(ids, &one_teacher::OUTPUTS);
        names.push(REPORT.to_owned());
        ctx.lock("--output-dir", &self.output_dir, &names)
    }

    /// Does every teacher.
    ///
    /// # Errors
    /// A shared pool that cannot be used, or a stop.
    pub(super) fn run(&self, ids: &[u64], ctx: &Context) -> Result<Vec<Line>> {
        let shared = self.shared()?;
        artifact::check_claims()?;
        let mut told = BTreeSet::new();
        let each: Vec<&[u64]> = ids.chunks(1).collect();
        // One after the other, each on all cores: pools are made and labelled in parallel within a
        // teacher.
        let make = |(): &mut (), ids: &[u64]| Ok(ids.iter().map(|&id| (id, Ok(()))).collect());
        each_teacher(&each, vec![()], OnFailure::GoOn, ctx, make, |id, ()| {
            self.teacher(id, &shared, &mut told, ctx)
        })
    }

    pub(crate) fn shared(&self) -> Result<Shared> {
        let pool = match &self.candidates {
            Some(path) if !has_id(path) => {
                Some((path.clone(), one_teacher::load_pool(path, self.scale)?, FileRecord::of(path)?))
            }
            _ => None,
        };
        Ok(Shared { last_pool: RefCell::new(None), pool })
    }

    pub(crate) fn files(&self, teacher_id: u64, quota: bool) -> TeacherFiles {
        let name = layout::teacher(teacher_id);
        let in_output = self.output_dir.join(&name).join(layout::METADATA);
        let metadata = match &self.metadata_base {
            Some(base) => Some(base.join(&name).join(layout::METADATA)),
            None => (quota && in_output.is_file()).then_some(in_output),
        };
        TeacherFiles {
            model: self.models.get(&teacher_id).cloned().unwrap_or_default(),
            shard: self.shard_base.as_ref().map(|base| base.join(&name).join(layout::SHARD)),
            metadata,
            decoder: self.decoder.as_ref().map(|path| for_teacher(path, teacher_id)),
            shard_rule: self.shard_scale.rule(),
            program: self.program,
        }
    }

    fn teacher(
        &self,
        teacher_id: u64,
        shared: &Shared,
        told: &mut BTreeSet<String>,
        ctx: &Context,
    ) -> Result<Line> {
        let seed = ctx.seed.wrapping_add(teacher_id);
        let config = &self.config.config;
        let filters = self.filters.resolve(config, seed)?;
        let files = self.files(teacher_id, filters.plan.quota);
        let dir = self.output_dir.join(layout::teacher(teacher_id));
        let own_pool = match self.own_pool(teacher_id) {
            Some(path) => {
                let record = FileRecord::of(&path)?;
                Some((one_teacher::load_pool(&path, self.scale)?, record))
            }
            None => None,
        };
        let shape = match (&shared.pool, &own_pool) {
            (Some((_, pool, _)), _) | (None, Some((pool, _))) => pool.shape(),
            (None, None) => self.drawn(&files)?,
        };
        let teacher = LoadedTeacher::load(&files, config, &filters.plan, shape, ctx)?;
        // A pool that is made here is named by what decides it, so that a finished teacher is found
        // without making its pool.
        let identity = match (&shared.pool, &own_pool) {
            (Some((.., record)), _) | (None, Some((_, record))) => json!(record.sha256),
            (None, None) => self.made_pool_identity(self.pool_seed(teacher_id, ctx), &files, shape)?,
        };
        let work = one_teacher::work(
            &filters.plan,
            config,
            filters.soft_labels,
            &identity,
            &self.reading(),
            teacher.inputs(),
        )?;
        if !self.force
            && let Some(result) = finished_here(teacher_id, &dir, &work, self.pictures)
        {
            // The samples do not need their pool any more, so its loss is said and is no error.
            if let Some(path) = self.made_pool(teacher_id).filter(|path| !path.is_file()) {
                ctx.say(&format!(
                    "teacher {teacher_id}: its samples are there, but their pool {} is gone; --force makes both again",
                    path.display()
                ));
            }
            return Ok(result);
        }
        for note in teacher.switched_off(&filters.plan, shared.pool.is_none() && self.candidates.is_none()) {
            if told.insert(note.clone()) {
                ctx.say(&note);
            }
        }
        let watch = ctx.watch();
        let pool = match (&shared.pool, own_pool) {
            (Some((path, images, record)), _) => Pool {
                images: images.to_device(tch::Device::Cpu)?,
                latents: None,
                labelled: None,
                records: vec![record.clone()],
                path: path.to_string_lossy().into_owned(),
            },
            (None, Some((images, record))) => {
                let path = record.path.to_string_lossy().into_owned();
                Pool { images, latents: None, labelled: None, records: vec![record], path }
            }
            (None, None) => {
                self.make_pool(teacher_id, shared, &files, &teacher, &filters.plan, &watch, ctx)?
            }
        };
        let inputs = FilterInputs { latents: pool.latents.as_ref(), ..teacher.filter_inputs() };
        let filtered = match pool.labelled {
            Some(labelled) => label_filter::filter(&pool.images, &labelled, &inputs, &filters.plan, &watch)?,
            None => label_filter::label_filter(&pool.images, &inputs, &filters.plan, &watch)?,
        };
        let extras = ReportExtras {
            pool: pool.records,
            pool_path: pool.path,
            model: &files.model,
            config: self.config,
            lowered_min_per_class: filters.lowered_min_per_class,
            work: Some(work),
            soft_labels: filters.soft_labels,
            picture: self.pictures,
        };
        one_teacher::save(&filtered, &teacher, &dir, extras, ctx)?;
        Ok(line_of(teacher_id, &filtered))
    }

    /// Seed of a teacher's pool: teachers of one group of `generation.teachers_per_pool` have that
    /// of its first id.
    pub(crate) fn pool_seed(&self, teacher_id: u64, ctx: &Context) -> u64 {
        let group = self.config.config.generation.teachers_per_pool;
        ctx.seed.wrapping_add(teacher_id - teacher_id % group)
    }

    /// What was declared of the files that are read.
    pub(crate) fn reading(&self) -> Value {
        json!({
            "scale": self.scale.scale,
            "shard_scale": self.shard_scale.shard_scale,
            "program_scores": self.program.scores,
        })
    }

    /// Where a pool that is made for a teacher goes.
    fn made_pool(&self, teacher_id: u64) -> Option<PathBuf> {
        let dir = self.candidates_dir.as_ref().filter(|_| self.candidates.is_none())?;
        Some(dir.join(layout::teacher_pool(teacher_id)))
    }

    /// The teacher's own pool, where `{id}` names one.
    pub(crate) fn own_pool(&self, teacher_id: u64) -> Option<PathBuf> {
        self.candidates.as_ref().filter(|path| has_id(path)).map(|path| for_teacher(path, teacher_id))
    }

    /// Pools that are made for a teacher at most.
    pub(crate) fn rounds(&self) -> usize {
        let generation = &self.config.config.generation;
        if generation.generate_until_target_per_class { generation.max_pools } else { 1 }
    }

    /// Shape of the images that a teacher's decoder draws.
    pub(crate) fn drawn(&self, files: &TeacherFiles) -> Result<ImageShape> {
        let Some(path) = &files.decoder else { bail!("a pool can only be made with --decoder-path") };
        Decoder::shape_of(path, self.image_size).context("cannot use the decoder")
    }

    /// What decides a pool that is made here: known before it is made.
    pub(crate) fn made_pool_identity(
        &self,
        seed: u64,
        files: &TeacherFiles,
        shape: ImageShape,
    ) -> Result<Value> {
        let generation = &self.config.config.generation;
        let decoder = files.decoder.as_ref().map(|path| FileRecord::of(path)).transpose()?;
        Ok(json!({
            "decoder": decoder.map(|record| record.sha256),
            "posteriors": self.latent_args.bank_path().map(FileRecord::of).transpose()?.map(|record| record.sha256),
            "seed": seed,
            "pool_size": self.pool_size,
            "latents": self.latents,
            "rng": self.rng,
            "until_target": generation.generate_until_target_per_class.then_some(generation.max_pools),
            "image_size": [shape.height, shape.width],
        }))
    }

    #[expect(clippy::too_many_arguments, reason = "everything that a pool depends on")]
    fn make_pool(
        &self,
        teacher_id: u64,
        shared: &Shared,
        files: &TeacherFiles,
        teacher: &LoadedTeacher,
        plan: &FilterPlan,
        watch: &dyn Progress,
        ctx: &Context,
    ) -> Result<Pool> {
        let Some(decoder_path) = &files.decoder else {
            bail!("a pool can only be made with --decoder-path");
        };
        let seed = self.pool_seed(teacher_id, ctx);
        let generation = &self.config.config.generation;
        let decoder =
            Decoder::load(decoder_path, self.drawn(files)?, ctx.device).context("cannot use the decoder")?;
        self.latent_args.check_latent_dim(generation.latent_dim, decoder.latent_dim())?;
        let path = self.made_pool(teacher_id);
        // Pools lie in a folder of their own, which the batch's lock does not hold.
        let lock = |path: &PathBuf| ctx.lock_file(CANDIDATES_DIR, path, &[pool::report_of(path)]);
        let _lock = path.as_ref().map(lock).transpose()?;
        // A fixed number of batches a round: each round goes on in the streams where the one before
        // ended, and no candidate comes twice.
        let rounds = self.rounds();
        let batches = self.pool_size.div_ceil(generate::BATCH as usize) as u64;
        let mut pools = Vec::new();
        let mut labelled = Labelled::default();
        let draw = LatentDraw { plan: self.latents, rng: self.rng, bank: self.bank.as_ref() };
        for round in 0..rounds {
            let first = round as u64 * batches;
            let key = (seed, round);
            // Taken out in any case, so that the pool of another group does not stay in memory
            // beside the one that is made.
            let known =
                shared.last_pool.take().filter(|(last, _)| *last == key && generation.teachers_per_pool > 1);
            let pool = match known {
                Some((_, pool)) => pool,
                None => generate::pool(&decoder, self.pool_size, seed, &draw, first, watch)?,
            };
            // One pool is remembered, so of several rounds the first would be gone when the next
            // teacher asks for it.
            if generation.teachers_per_pool > 1 && rounds == 1 {
                shared.last_pool.replace(Some((key, pool.clone())));
            }
            labelled.extend(label(teacher.filter_inputs().teacher, &pool.images, plan.batch_size, watch)?);
            pools.push(pool);
            if has_minimum(&labelled, plan, teacher.filter_inputs().teacher.classes()) {
                break;
            }
        }
        let rounds = pools.len();
        let made = if rounds == 1 { pools.remove(0) } else { generate::Pool::concat(&pools)? };
        drop(pools);
        let (images, latents) = (made.images, Some(made.latents));
        let Some(path) = path else {
            let path = format!("not kept; {} candidates of seed {seed}", images.len());
            // In place of the pool, what it was made from; steering names the decoder anyway.
            let decoder = plan.steering.is_none().then_some(decoder_path.as_path());
            let made_from = decoder.into_iter().chain(self.latent_args.bank_path());
            let records = made_from.map(FileRecord::of).collect::<Result<_, _>>()?;
            return Ok(Pool { images, latents, labelled: Some(labelled), records, path });
        };
        // A decoder of the teacher's own has seen its shard; one for all is what the user declares.
        let own = self.decoder.as_ref().is_some_and(|path| has_id(path)).then_some(teacher_id);
        // Not whether it took several: that one was enough says what the teacher found, too.
        let private_reason = (self.rounds() > 1)
            .then(|| format!("how many rounds it took follows from the labels of teacher {teacher_id}"));
        let origin = PoolOrigin {
            decoder_path,
            latents_path: self.latent_args.bank_path(),
            latent_dim: decoder.latent_dim(),
            plan: self.latents,
            rng: self.rng,
            seed,
            run_id: layout::teacher(teacher_id),
            own,
            rounds,
            declared: self.origin.guarantee(own),
            private_reason,
        };
        let record = pool::save(&images, &path, &origin, false, self.config, ctx)?;
        Ok(Pool {
            images,
            latents,
            labelled: Some(labelled),
            records: vec![record],
            path: path.to_string_lossy().into_owned(),
        })
    }
}

const CANDIDATES_DIR: &str = "--candidates-dir";

/// Pools of more teachers than these are held against inputs as they are written.
const MAX_POOLS: usize = 1000;

/// The folder above the part of a path that stands for the teacher.
fn fixed_part(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|above| !has_id(above)).filter(|above| above.is_dir()).map(Path::to_path_buf)
}

/// Whether every class has its minimum of confident candidates.
fn has_minimum(labelled: &Labelled, plan: &FilterPlan, classes: i64) -> bool {
    let Some(min) = plan.limits.min_per_class else { return true };
    let mut counts = vec![0; classes as usize];
    for (&class, &confidence) in labelled.labels.iter().zip(&labelled.confidences) {
        if confidence >= plan.thresholds.of(class) {
            counts[class as usize] += 1;
        }
    }
    counts.iter().all(|&n: &u64| n >= min)
}

fn line_of(teacher_id: u64, filtered: &Filtered) -> Line {
    let summary = &filtered.summary;
    let details = SelectionCounts {
        num_generated: summary.num_generated,
        num_selected: summary.num_selected,
        average_confidence: summary.statistics.average_confidence,
        was_empty: false,
    };
    if summary.num_selected > 0 {
        return Line::new(teacher_id, Status::Done, details);
    }
    Line { reason: Some(summary.emptied_by().to_owned()), ..Line::new(teacher_id, Status::Empty, details) }
}

/// The line of an earlier run with all that this one would write.
pub(super) fn finished_here(teacher_id: u64, dir: &Path, work: &WorkId, pictures: bool) -> Option<Line> {
    finished(teacher_id, dir, work)
        .filter(|line| !pictures || line.details.was_empty || dir.join(layout::SELECTION_PICTURE).is_file())
}

/// The line of an earlier run, where its files are whole.
fn finished(teacher_id: u64, dir: &Path, work: &WorkId) -> Option<Line> {
    let report = work.finished(&dir.join(layout::SELECTION_REPORT))?.fields;
    let count = |name: &str| report.get(name)?.as_u64().map(|n| n as usize);
    let num_selected = count("num_selected")?;
    let details = SelectionCounts {
        num_generated: count("num_generated")?,
        num_selected,
        average_confidence: report.get("statistics").and_then(|all| all["average_confidence"].as_f64()),
        was_empty: num_selected == 0,
    };
    Some(Line::new(teacher_id, Status::Skipped, details))
}
