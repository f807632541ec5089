//! One teacher's label-and-filter, from files to files: what `label-filter` does once and
//! `batch-label-filter` for many.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use artifact::{FINGERPRINT, FileRecord, Input, Report, WorkId, layout};
use pate_core::config::{Config, StartKind};
use pate_core::data::{ImageShape, Images, RangeRule, Shard, ShardMetadata, SoftLabels, write_csv};
use pate_core::models::{Decoder, Program, Scores, Teacher};
use pate_core::pate::label_filter::{FilterInputs, FilterPlan, Filtered};
use serde_json::json;

use crate::args::{LoadedConfig, ScaleArgs};
use crate::files::pictures;
use crate::run::Context;
use crate::settings;

/// The files of one teacher.
pub(super) struct TeacherFiles {
    /// Its classifier.
    pub model: PathBuf,
    /// Its private images.
    pub shard: Option<PathBuf>,
    /// Its class counts.
    pub metadata: Option<PathBuf>,
    /// The decoder for steering.
    pub decoder: Option<PathBuf>,
    /// On which scale its private images are.
    pub shard_rule: RangeRule,
    /// What may be done with a TorchScript teacher's own program.
    pub program: Program,
}

impl TeacherFiles {
    /// The files that `plan` reads, with hashes.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn records(&self, plan: &FilterPlan) -> Result<Vec<FileRecord>> {
        let decoder = self.decoder.as_ref().filter(|_| plan.steering.is_some());
        let named = [Some(&self.model), self.shard.as_ref(), self.metadata.as_ref(), decoder];
        Ok(named.into_iter().flatten().map(|path| FileRecord::of(path)).collect::<Result<_, _>>()?)
    }
}

/// A teacher ready to work.
pub(super) struct LoadedTeacher {
    teacher: Teacher,
    shard_private: Option<Images>,
    shard_counts: Option<BTreeMap<i64, u64>>,
    class_names: Vec<String>,
    decoder: Option<Decoder>,
    inputs: Vec<FileRecord>,
}

/// Why nothing that a teacher had a hand in has a guarantee.
pub(super) const REASON: &str = "the teacher was trained on a private shard, and the memorisation check, the quota and the selection read it, \
    none of it through a privacy mechanism";

/// Files that a teacher's folder holds when it is complete.
pub(super) const SAMPLES: &str = layout::SAMPLES;
/// Labels of the samples.
pub(super) const LABELS: &str = layout::LABELS;
/// Probabilities of all classes, where they are asked for.
pub(super) const SOFT_LABELS: &str = layout::SOFT_LABELS;
/// The teacher's report.
pub(super) const REPORT: &str = layout::SELECTION_REPORT;
/// The samples by class, for a look.
pub(super) const PICTURE: &str = layout::SELECTION_PICTURE;

/// All files of a teacher's folder that are written there.
pub(super) const OUTPUTS: [&str; 5] = [SAMPLES, LABELS, SOFT_LABELS, REPORT, PICTURE];

impl LoadedTeacher {
    /// Loads the files; images must have the shape of `shape`.
    ///
    /// # Errors
    /// A file that is missing, damaged or of another shape.
    pub(super) fn load(
        files: &TeacherFiles,
        config: &Config,
        plan: &FilterPlan,
        shape: ImageShape,
        ctx: &Context,
    ) -> Result<Self> {
        let normalisation = settings::normalisation(&config.preprocessing)?;
        let teacher = Teacher::load(&files.model, shape, normalisation, files.program, ctx.device)
            .context("cannot use the teacher")?;
        let classes = teacher.classes();
        let shard_private = match &files.shard {
            Some(path) => {
                let shard = Shard::load(path, files.shard_rule).context("cannot use the shard")?;
                shard.images.expect_shape(path, shape)?;
                Some(shard.images)
            }
            None => None,
        };
        let mut class_names = Vec::new();
        let shard_counts = match &files.metadata {
            Some(path) => {
                let metadata =
                    ShardMetadata::load(path, classes).context("cannot use the shard's metadata")?;
                let counts = metadata.counts(path, classes)?;
                class_names = metadata.class_names;
                Some(counts)
            }
            None => None,
        };
        let decoder = match &files.decoder {
            // Only where steering may need it: a decoder that is not used must not fail the
            // teacher, nor stand among its inputs.
            Some(path) if plan.steering.is_some() => {
                let decoder = Decoder::load(path, shape, ctx.device).context("cannot use the decoder")?;
                if let Some(configured) = config.latent_steering.latent_dim
                    && configured != decoder.latent_dim()
                {
                    bail!(
                        "latent_steering.latent_dim is {configured}, but {} has {} latents; leave it out or give that",
                        path.display(),
                        decoder.latent_dim()
                    );
                }
                Some(decoder)
            }
            _ => None,
        };
        let inputs = files.records(plan)?;
        Ok(Self { teacher, shard_private, shard_counts, class_names, decoder, inputs })
    }

    /// What the filters may read.
    pub(super) fn filter_inputs(&self) -> FilterInputs<'_> {
        FilterInputs {
            teacher: &self.teacher,
            shard_private: self.shard_private.as_ref(),
            shard_counts: self.shard_counts.as_ref(),
            decoder: self.decoder.as_ref(),
            latents: None,
        }
    }

    /// The files that were read, with hashes.
    pub(super) fn inputs(&self) -> &[FileRecord] {
        &self.inputs
    }

    /// What is switched off for want of a file, or of the pool's latents, for the user.
    pub(super) fn switched_off(&self, plan: &FilterPlan, latents: bool) -> Vec<String> {
        let mut off: Vec<String> = Vec::new();
        let classes = self.teacher.classes();
        for class in plan.thresholds.rare_classes.iter().filter(|class| **class >= classes) {
            off.push(format!(
                "filtering.rare_classes names the class {class}, and the teacher knows 0..{}: it changes nothing",
                classes - 1
            ));
        }
        if self.shard_private.is_none() && plan.min_memorisation_distance.is_some() {
            off.push("no shard is given: distances to private images are not checked".to_owned());
        }
        if self.shard_counts.is_none() && plan.quota {
            off.push("no metadata is given: the shard's class proportions are not followed".to_owned());
        }
        if let Some(steering) = plan.steering
            && steering.starts == StartKind::Pool
            && !latents
        {
            off.push("latents of a pool from a file are not known: steering starts at random".to_owned());
        }
        if self.decoder.is_none() && plan.steering.is_some() {
            off.push("no decoder is given: latent steering is off".to_owned());
        }
        off
    }
}

/// What goes into a teacher's report besides the summary.
pub(super) struct ReportExtras<'a> {
    /// The pool, as named.
    pub pool: Vec<FileRecord>,
    /// Path or paths of the pool, as the original's field has it.
    pub pool_path: String,
    /// The teacher's file.
    pub model: &'a Path,
    /// The configuration.
    pub config: &'a LoadedConfig,
    /// The minimum by class, where the command line lowered it.
    pub lowered_min_per_class: Option<u64>,
    /// What decides the result, for resuming.
    pub work: Option<WorkId>,
    /// Write the teacher's probabilities of all classes?
    pub soft_labels: bool,
    /// Draw the samples?
    pub picture: bool,
}

/// Writes samples, labels, picture and report of one teacher into `dir`. The report comes last:
/// where it is, all is.
///
/// # Errors
/// Where a file cannot be written.
pub(super) fn save(
    filtered: &Filtered,
    teacher: &LoadedTeacher,
    dir: &Path,
    extras: ReportExtras<'_>,
    ctx: &Context,
) -> Result<FileRecord> {
    let mut report = Report::new();
    // Before the first file: its access follows from the label.
    report.reads_private(REASON);
    let access = report.access();
    let samples_path = dir.join(SAMPLES);
    let labels_path = dir.join(LABELS);
    let samples = filtered.images.save(&samples_path, access)?;
    let rows = filtered.answers.labels.iter().zip(&filtered.answers.confidences).enumerate();
    let labels = write_csv(
        &labels_path,
        access,
        &["index", "label", "confidence"],
        rows.map(|(i, (label, confidence))| {
            // Through double precision, as Python writes a float32 in the original's files.
            vec![i.to_string(), label.to_string(), f64::from(*confidence).to_string()]
        }),
    )?;
    report
        .fields(&filtered.summary)?
        .field("candidate_pool_path", extras.pool_path)?
        .field("teacher_model_path", extras.model)?
        .field("samples_path", &samples_path)?
        .field("labels_path", &labels_path)?
        .field("samples_hash", &samples.sha256)?
        .field("teacher_format", teacher.teacher.format().to_string())?
        .field("teacher_program_executed", teacher.teacher.runs_program())?
        .field("teacher_program_scores", teacher.teacher.scores().map(Scores::name))?
        .field("min_per_class_lowered_to", extras.lowered_min_per_class)?;
    if !teacher.class_names.is_empty() {
        report.field("class_names", &teacher.class_names)?;
    }
    if filtered.images.is_empty() {
        report.field("emptied_by", filtered.summary.emptied_by())?;
    }
    if let Some(work) = extras.work {
        report.field(FINGERPRINT, work)?;
    }
    extras.config.describe(&mut report)?;
    for record in extras.pool.into_iter().chain(teacher.inputs.iter().cloned()) {
        report.input(Input::of(record));
    }
    report.output(samples).output(labels);
    let soft_path = dir.join(SOFT_LABELS);
    if extras.soft_labels {
        let soft =
            SoftLabels::new(&soft_path, filtered.answers.probabilities.clone(), teacher.teacher.classes())?;
        report.output(soft.save(&soft_path, access)?);
    } else {
        // Those of an earlier run would be of other samples.
        let _ = std::fs::remove_file(&soft_path);
    }
    let path = dir.join(PICTURE);
    if !extras.picture || filtered.images.is_empty() {
        // One of an earlier run would show other samples.
        let _ = std::fs::remove_file(&path);
    } else {
        let title = "Selected samples, most confident first, with the teacher's confidence";
        report.output(pictures::class_sheet(
            title,
            &filtered.images,
            &filtered.answers.labels,
            Some(&filtered.answers.confidences),
            12,
            &path,
            access,
        )?);
    }
    ctx.write_report(&report, &dir.join(REPORT))
}

/// Reads a pool of candidates.
///
/// # Errors
/// Names the file, and what is wrong with it.
pub(super) fn load_pool(path: &Path, scale: ScaleArgs) -> Result<Images> {
    Images::load(path, scale.rule()).context("cannot use the candidates")
}

/// What decides a teacher's result; `reading` is what was declared of its files.
///
/// # Errors
/// None in practice: all settings serialise.
pub(super) fn work(
    plan: &FilterPlan,
    config: &Config,
    soft_labels: bool,
    pool: &serde_json::Value,
    reading: &serde_json::Value,
    inputs: &[FileRecord],
) -> Result<WorkId> {
    let settings = json!({
        "plan": plan,
        "soft_labels": soft_labels,
        "preprocessing": config.preprocessing,
        "pool": pool,
        "reading": reading,
    });
    Ok(WorkId::new(&settings, inputs.iter().map(|record| record.sha256.as_str()))?)
}
