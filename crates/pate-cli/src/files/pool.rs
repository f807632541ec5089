//! A pool of candidates on disk: the tensor, the report beside it, and the label that both have.

use std::path::Path;

use anyhow::Result;
use artifact::{FileRecord, Guarantee, Input, Report};
use pate_core::data::Images;
use pate_core::pate::generate::{LatentPlan, LatentRng};

use crate::args::LoadedConfig;
use crate::files::pictures;
use crate::run::Context;

/// How a pool came about.
pub struct PoolOrigin<'a> {
    /// The decoder's file.
    pub decoder_path: &'a Path,
    /// The file of posteriors that latents were drawn from.
    pub latents_path: Option<&'a Path>,
    /// Its number of latents.
    pub latent_dim: i64,
    /// How latents were drawn.
    pub plan: LatentPlan,
    /// From which generator.
    pub rng: LatentRng,
    /// Effective seed.
    pub seed: u64,
    /// Name of the run.
    pub run_id: String,
    /// Teacher whose own decoder it is.
    pub own: Option<u64>,
    /// Times that `pool_size` candidates were made.
    pub rounds: usize,
    /// What the user says about the decoder.
    pub declared: Guarantee,
    /// What else makes the pool private.
    pub private_reason: Option<String>,
}

/// The name of the report beside a pool.
pub fn report_of(pool: &Path) -> String {
    pool.with_extension("json").file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Writes `path`, the report beside it as `.json`, and with `grid` a picture as `.png`; gives the
/// pool's record.
///
/// # Errors
/// Where a file cannot be written.
pub fn save(
    pool: &Images,
    path: &Path,
    origin: &PoolOrigin<'_>,
    grid: bool,
    config: &LoadedConfig,
    ctx: &Context,
) -> Result<FileRecord> {
    let mut report = Report::new();
    // What the user declares is joined with what the decoder's own report says, and the worse
    // counts.
    for path in std::iter::once(origin.decoder_path).chain(origin.latents_path) {
        report.input(Input::declared(path, origin.declared.clone())?);
    }
    // Before the pool is saved: its access follows from the label.
    if let Some(reason) = &origin.private_reason {
        report.reads_private(reason);
    }
    let access = report.access();
    let record = pool.save(path, access)?;
    report
        .field("pool_size", pool.len())?
        .field("latent_dim", origin.latent_dim)?
        .field("latent_mixing_ratio", origin.plan.mixing_ratio)?
        .field("latents_path", origin.latents_path)?
        .field("augmentation", origin.plan.augmentation)?
        .field("latent_noise_scale", origin.plan.noise_scale)?
        .field("run_id", &origin.run_id)?
        .field("seed", origin.seed)?
        .field("decoder_path", origin.decoder_path)?
        .field("shape", pool.tensor().size())?
        .field("rng", origin.rng)?
        .field("rounds", origin.rounds)?;
    if let Some(id) = origin.own {
        report.field("teacher_id", id)?.field("approach", "per_teacher_vae")?;
    }
    if *report.guarantee() == Guarantee::Public {
        // A public label rests on the user's word here, and the report says so.
        let basis = "the decoder is taken to have seen public data only; its weights do not tell (--private-decoder says otherwise)";
        report.field("formal_guarantee_basis", basis)?;
    }
    config.describe(&mut report)?;
    report.output(record.clone());
    if grid {
        report.output(pictures::grid(pool, &path.with_extension("png"), access)?);
    }
    ctx.write_report(&report, &path.with_extension("json"))?;
    Ok(record)
}
