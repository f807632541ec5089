//! `label-filter`: one teacher labels candidates and keeps the good ones.
//!
//! Reads: pools, a teacher, and optionally its shard, its metadata and the decoder. Writes:
//! `synthetic_samples.pt`, `labels.csv`, `selection_report.json`, `selected_samples.png`. Privacy:
//! no formal guarantee.

use std::path::PathBuf;

use anyhow::{Result, bail};
use artifact::FileRecord;
use clap::Parser;
use pate_core::data::Images;
use pate_core::pate::label_filter::label_filter;

use super::one_teacher::{self, LoadedTeacher, ReportExtras, TeacherFiles};
use crate::args::{ConfigArgs, FilterArgs, ProgramArgs, ScaleArgs, ShardScaleArgs, parse_path};
use crate::run::{Context, Outcome, RunArgs, Step};

/// Label candidates with one teacher and keep confident, diverse images that are no near-copies of
/// its shard
///
/// In this order: confidence, distance to the shard, class quota, latent steering for classes that
/// are short, diversity, wanted number. A filter whose file is not given is off, and the program
/// says so.
#[derive(Parser)]
#[command(
    name = "label-filter",
    version,
    after_help = "\
Examples:
  label-filter --candidates candidates/candidates_run1.pt \\
    --teacher-model trained_nets_gpu/0/model.pth \\
    --teacher-shard-path teachers/teacher_0/shard.pt \\
    --shard-metadata teachers/teacher_0/metadata.json \\
    --decoder-path pretrained_decoder/decoder.pth --out-dir teachers/teacher_0
  label-filter --candidates a.pt --candidates b.pt \\
    --teacher-model model.safetensors --quota False --target-samples 36

Exit codes: 0 done, 1 no candidate passed, 2 arguments, 3 files, 130 stopped."
)]
pub struct LabelFilter {
    /// A pool of candidates; several are put one after the other
    #[arg(long, value_name = "FILE", value_parser = parse_path, required = true, help_heading = "Candidates and teacher")]
    candidates: Vec<PathBuf>,
    /// The teacher: state_dict, TorchScript archive (its parameters are read, nothing runs) or
    /// safetensors
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Candidates and teacher")]
    teacher_model: PathBuf,
    /// Its private images, for the distance check
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Candidates and teacher")]
    teacher_shard_path: Option<PathBuf>,
    /// Its class counts, for the quota
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Candidates and teacher")]
    shard_metadata: Option<PathBuf>,
    /// The decoder of the pool, for latent steering
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Candidates and teacher")]
    decoder_path: Option<PathBuf>,
    #[command(flatten)]
    scale: ScaleArgs,
    #[command(flatten)]
    shard_scale: ShardScaleArgs,
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    filters: FilterArgs,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "teachers/teacher_0", help_heading = "Output")]
    out_dir: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Step for LabelFilter {
    const DEFAULT_SEED: u64 = 123;

    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        let filters = self.filters.resolve(&loaded.config, ctx.seed)?;
        let _lock = ctx.lock("--out-dir", &self.out_dir, &one_teacher::OUTPUTS)?;
        // After the lock: a second run on the folder is refused before anything large is read.
        let (pool, records) = pools(self)?;
        let files = TeacherFiles {
            model: self.teacher_model.clone(),
            shard: self.teacher_shard_path.clone(),
            metadata: self.shard_metadata.clone(),
            decoder: self.decoder_path.clone(),
            shard_rule: self.shard_scale.rule(),
            program: self.program.program(),
        };
        let shape = pool.shape();
        let teacher = LoadedTeacher::load(&files, &loaded.config, &filters.plan, shape, ctx)?;
        for note in teacher.switched_off(&filters.plan, false) {
            ctx.say(&note);
        }
        let filtered = label_filter(&pool, &teacher.filter_inputs(), &filters.plan, ctx.progress())?;
        let names: Vec<String> = self.candidates.iter().map(|p| p.to_string_lossy().into_owned()).collect();
        let extras = ReportExtras {
            pool: records,
            pool_path: names.join(", "),
            model: &self.teacher_model,
            config: &loaded,
            lowered_min_per_class: filters.lowered_min_per_class,
            work: None,
            soft_labels: filters.soft_labels,
            picture: true,
        };
        one_teacher::save(&filtered, &teacher, &self.out_dir, extras, ctx)?;
        let summary = &filtered.summary;
        ctx.say(&format!(
            "{} of {} candidates and {} of {} steered samples kept: {}",
            summary.num_selected - summary.steered.kept,
            summary.num_generated,
            summary.steered.kept,
            summary.steered.generated,
            self.out_dir.display()
        ));
        if filtered.images.is_empty() {
            return Ok(Outcome::No(summary.emptied_by().to_owned()));
        }
        Ok(Outcome::Done)
    }
}

/// All pools as one, and their files.
fn pools(args: &LabelFilter) -> Result<(Images, Vec<FileRecord>)> {
    let mut pools = Vec::new();
    let mut records = Vec::new();
    for path in &args.candidates {
        let pool = one_teacher::load_pool(path, args.scale)?;
        if let Some(first) = pools.first() {
            let first: &Images = first;
            pool.expect_shape(path, first.shape())?;
        }
        pools.push(pool);
        records.push(FileRecord::of(path)?);
    }
    match pools.len() {
        0 => bail!("--candidates is missing"),
        1 => Ok((pools.remove(0), records)),
        _ => Ok((Images::concat(&pools)?, records)),
    }
}
