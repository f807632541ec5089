//! One teacher's VAE, from its shard to files: what `train-teacher-vae` does once and
//! `batch-train-teacher-vaes` for many.

use std::path::Path;

use anyhow::Result;
use artifact::{Access, FINGERPRINT, FileRecord, Input, Report, WorkId, layout};
use pate_core::base::progress::Silent;
use pate_core::models::{self};
use pate_core::pate::generate;
use pate_core::train::vae::{TrainedVae, VaePlan};
use serde_json::{Value, json};

use crate::args::{LoadedConfig, ShardScaleArgs};
use crate::files::{TeacherShard, pictures};
use crate::run::Context;
use crate::settings;

/// The report of a teacher's VAE. It is written last: where it is, all is.
pub(super) const REPORT: &str = layout::TRAINING_REPORT;

/// All files of a teacher's folder that are written there.
pub(super) const OUTPUTS: [&str; 6] =
    [layout::DECODER, layout::VAE, layout::TRAINING_CURVES, "reconstructions.png", "samples.png", REPORT];

/// A teacher's VAE and how it came about.
pub(super) struct TeacherVae<'a> {
    /// Which teacher.
    pub teacher_id: u64,
    /// What it learnt from.
    pub shard: &'a TeacherShard,
    /// How.
    pub plan: &'a VaePlan,
    /// The result.
    pub trained: &'a TrainedVae,
    /// Seconds of the training, on each of `threads` threads; not known of one that went on after a
    /// stop.
    pub seconds: Option<f64>,
    /// Threads that computed.
    pub threads: usize,
    /// VAEs that were trained as one network, with this one.
    pub group: usize,
    /// What decides it.
    pub work: &'a WorkId,
}

/// Why a teacher's VAE, and all that it draws, has no guarantee.
pub(super) const REASON: &str = "the VAE was trained on a private shard without a privacy mechanism";

/// What decides a teacher's VAE.
///
/// # Errors
/// Where the images cannot be read back.
pub(super) fn work(teacher_id: u64, shard: &TeacherShard, plan: &VaePlan) -> Result<WorkId> {
    let settings = json!({ "teacher_id": teacher_id, "plan": plan, "images": shard.images.tensor().size() });
    Ok(WorkId::new(&settings, [shard.images.sha256()?.as_str()])?)
}

impl TeacherVae<'_> {
    /// Writes weights, pictures and the report into `dir`.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub(super) fn save(&self, dir: &Path, config: &LoadedConfig, ctx: &Context) -> Result<FileRecord> {
        let mut report = Report::new();
        // Before the first file: weights and pictures of a private shard are for the owner alone.
        report.reads_private(REASON);
        let access = report.access();
        let (decoder_path, full_path) = (dir.join(layout::DECODER), dir.join(layout::VAE));
        let network = &self.trained.network;
        let decoder = models::save(&network.decoder, &decoder_path, access)?;
        let full = models::save(network, &full_path, access)?;
        let plan = self.plan;
        report.field("teacher_id", self.teacher_id)?;
        settings::describe_vae_plan(&mut report, plan)?;
        report
            .field("seed", plan.seed)?
            .field("shard_size", self.shard.images.len())?
            .field("shard_source", self.shard.files.first().map(|file| &file.path))?
            .field("use_augmentation", plan.augmentation.is_some())?;
        settings::describe_vae_losses(&mut report, &self.trained.history)?;
        report
            .field("decoder_path", &decoder_path)?
            .field("full_vae_path", &full_path)?
            .field("decoder_hash", &decoder.sha256)?
            .field("training_history", &self.trained.history)?
            .field("training_seconds", self.seconds)?
            .field("training_threads", self.threads)?
            .field("group_size", self.group)?
            .field(FINGERPRINT, self.work)?;
        config.describe(&mut report)?;
        for file in &self.shard.files {
            report.input(Input::private(file.clone(), REASON));
        }
        report.output(decoder).output(full);
        for picture in self.pictures(dir, access)? {
            report.output(picture);
        }
        // Last: its fingerprint is what a later run takes for a finished teacher.
        ctx.write_report(&report, &dir.join(REPORT))
    }

    /// Loss curves, images of the shard above what the VAE makes of them, and images of random
    /// latents.
    fn pictures(&self, dir: &Path, access: Access) -> Result<Vec<FileRecord>> {
        let network = &self.trained.network;
        let title = format!("VAE of teacher {}", self.teacher_id);
        let curves =
            pictures::vae_curves(&title, &self.trained.history, &dir.join(layout::TRAINING_CURVES), access)?;
        let pairs = generate::reconstructions(network, &self.plan.normalisation, &self.shard.images, 8, 32)?;
        let reconstructions = pictures::grid(&pairs, &dir.join("reconstructions.png"), access)?;
        // A request to stop comes too late for a teacher that is trained: its files are written.
        let drawn = generate::samples(&network.decoder, 64, self.plan.seed, &Silent)?;
        Ok(vec![curves, reconstructions, pictures::grid(&drawn, &dir.join("samples.png"), access)?])
    }
}

/// The settings of a run with a checkpoint.
pub(super) fn settings(teacher_id: u64, plan: &VaePlan, scale: ShardScaleArgs) -> Value {
    json!({ "plan": plan, "teacher_id": teacher_id, "scale": scale.rule() })
}
