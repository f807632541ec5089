//! `batch-label-filter`: label-filter for many teachers, in one process.
//!
//! Reads: teachers, a decoder or pools, and optionally shards and metadata. Writes: `teacher_<id>/`
//! as label-filter does, pools, `batch_report.json`. Privacy: no formal guarantee (the pools of a
//! public decoder are public).

mod batch;
mod dry_run;

use std::path::PathBuf;

use anyhow::{Result, bail};
use artifact::{FileRecord, Report, layout};
use clap::Parser;
use pate_core::data::ImageSize;

use self::batch::{Batch, REPORT, is_failed_or_empty};
use super::one_teacher;
use crate::args::{
    ConfigArgs, DecoderOrigin, FilterArgs, LatentArgs, ProgramArgs, ScaleArgs, ShardScaleArgs, parse_bool,
    parse_path,
};
use crate::files::find_teachers;
use crate::resume::{COUNTS_NOTE, Status, count, table};
use crate::run::{Context, Outcome, RunArgs, Step};

/// Label and filter for many teachers
///
/// A run that was stopped goes on: a teacher whose results are there, made from the same files with
/// the same settings, is skipped. A teacher that fails is reported and the others go on.
#[derive(Parser)]
#[command(
    name = "batch-label-filter",
    version,
    after_help = "\
Examples:
  batch-label-filter --generate-candidates-per-teacher --pool-size 20000 \\
    --decoder-path pretrained_decoder/decoder.pth --candidates-dir candidates \\
    --teachers-dir trained_nets_gpu --num-teachers 250 --output-dir teachers
  batch-label-filter --candidates candidates/candidates_run1.pt \\
    --teachers-dir trained_nets_gpu --num-teachers 10 --quota False

Exit codes: 0 done, 1 a teacher failed or came out empty, 2 arguments, 3 files, 130 stopped.
With --dry-run: 1 inputs of a teacher are missing, 3 the pool for all is, or the disk is too small."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct BatchLabelFilter {
    /// Make a pool of its own for every teacher (needs --decoder-path)
    #[arg(long, value_name = "BOOL", value_parser = parse_bool, num_args = 0..=1, default_value = "false", default_missing_value = "true", help_heading = "Candidates")]
    generate_candidates_per_teacher: bool,
    /// A pool for all teachers; with {id}, one pool per teacher
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Candidates")]
    candidates: Option<PathBuf>,
    /// The decoder, for pools and for latent steering; with {id}, one decoder per teacher
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Candidates")]
    decoder_path: Option<PathBuf>,
    #[command(flatten)]
    origin: DecoderOrigin,
    /// Size of the images that are made, one number of pixels or HEIGHTxWIDTH [default: the square
    /// that the decoder's weights are for]
    #[arg(long, value_name = "SIZE", help_heading = "Candidates")]
    image_size: Option<ImageSize>,
    /// Folder for the pools that are made
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "candidates", help_heading = "Candidates")]
    candidates_dir: PathBuf,
    /// Do not write the pools that are made (they can be made again from the seed)
    #[arg(long, help_heading = "Candidates")]
    discard_candidates: bool,
    #[command(flatten)]
    latents: LatentArgs,
    /// Folder with <id>/model.pth
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "wp3_d3.2_saferlearn/trained_nets_gpu", help_heading = "Teachers")]
    teachers_dir: PathBuf,
    /// Number of teachers, counting those that exist from --start-id on [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Teachers")]
    num_teachers: Option<u32>,
    /// Minimum id of a teacher
    #[arg(long, value_name = "ID", default_value_t = 0, help_heading = "Teachers")]
    start_id: u64,
    /// Folder with teacher_<id>/shard.pt, for the distance check
    #[arg(long, value_name = "DIR", value_parser = parse_path, help_heading = "Teachers")]
    teacher_shard_base: Option<PathBuf>,
    /// Folder with teacher_<id>/metadata.json, for the quota [default: the output folder, where it
    /// has them]
    #[arg(long, value_name = "DIR", value_parser = parse_path, help_heading = "Teachers")]
    shard_metadata_base: Option<PathBuf>,
    #[command(flatten)]
    scale: ScaleArgs,
    #[command(flatten)]
    shard_scale: ShardScaleArgs,
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    filters: FilterArgs,
    /// Folder for the teacher_<id> folders
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "teachers", help_heading = "Output")]
    output_dir: PathBuf,
    /// Do finished teachers again instead of skipping them
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Print what would run, which files are missing and what disk it needs, and write nothing
    #[arg(long, help_heading = "Output")]
    dry_run: bool,
    /// Also draw every teacher's samples, as selected_samples.png
    #[arg(long, help_heading = "Output")]
    pictures: bool,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Step for BatchLabelFilter {
    const DEFAULT_SEED: u64 = 123;

    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        let generation = &loaded.config.generation;
        match (self.generate_candidates_per_teacher, &self.candidates, &self.decoder_path) {
            (true, Some(_), _) => {
                bail!("--candidates and --generate-candidates-per-teacher exclude each other; give one")
            }
            (true, None, None) => bail!("--generate-candidates-per-teacher needs --decoder-path"),
            (false, None, _) => {
                bail!("give --candidates FILE, or --generate-candidates-per-teacher with --decoder-path")
            }
            _ => {}
        }
        self.filters.resolve(&loaded.config, ctx.seed)?;
        let teachers =
            find_teachers(&self.teachers_dir, self.start_id, self.num_teachers.map(|n| n as usize))?;
        let ids: Vec<u64> = teachers.models.keys().copied().collect();
        let batch = Batch {
            candidates: self.candidates.clone(),
            decoder: self.decoder_path.clone(),
            origin: self.origin,
            image_size: self.image_size,
            pool_size: self.latents.pool_size(generation),
            latents: self.latents.plan(generation)?,
            rng: self.latents.rng(),
            bank: self.latents.bank()?,
            latent_args: self.latents.clone(),
            candidates_dir: (!self.discard_candidates).then(|| self.candidates_dir.clone()),
            models: teachers.models.clone(),
            shard_base: self.teacher_shard_base.clone(),
            metadata_base: self.shard_metadata_base.clone(),
            scale: self.scale,
            shard_scale: self.shard_scale,
            program: self.program.program(),
            filters: self.filters.clone(),
            output_dir: self.output_dir.clone(),
            force: self.force,
            pictures: self.pictures,
            config: &loaded,
        };
        batch.check(ctx.seed)?;
        teachers.say_what_is_left_out(ctx);
        // Before the lock, which would already be a file written.
        if self.dry_run {
            return dry_run(&batch, &ids, ctx);
        }
        batch.check_files(ctx.seed)?;
        // Before the first teacher, since pools are gigabytes and the disk may fill up after hours.
        batch.check_room(&ids, ctx)?;
        let _lock = batch.lock(&ids, ctx)?;
        let lines = batch.run(&ids, ctx)?;

        let mut report = Report::new();
        report.reads_private(one_teacher::REASON);
        let count = |status| count(&lines, status);
        report
            .field("num_teachers", lines.len())?
            .field("folders_without_model", &teachers.without_model)?
            .field("done", count(Status::Done))?
            .field("skipped", count(Status::Skipped))?
            .field("empty", count(Status::Empty))?
            .field("failed", count(Status::Failed))?
            .field("total_samples", lines.iter().map(|line| line.details.num_selected).sum::<usize>())?
            .field("teachers", &lines)?;
        loaded.describe(&mut report)?;
        for line in lines.iter().filter(|line| line.status != Status::Failed) {
            let dir = self.output_dir.join(layout::teacher(line.teacher_id));
            for path in [dir.join(layout::SAMPLES), dir.join(layout::LABELS)] {
                if path.is_file() {
                    report.output(FileRecord::of_output(&path)?);
                }
            }
        }
        report.field("counts_note", COUNTS_NOTE)?;
        ctx.write_report(&report, &self.output_dir.join(REPORT))?;
        ctx.print(&table(&lines))?;
        let bad = lines.iter().filter(|line| is_failed_or_empty(line)).count();
        if bad > 0 {
            return Ok(Outcome::No(format!("{bad} of {} teachers failed or came out empty", lines.len())));
        }
        Ok(Outcome::Done)
    }
}

fn dry_run(batch: &Batch<'_>, ids: &[u64], ctx: &Context) -> Result<Outcome> {
    let plan = batch.plan(ids, ctx)?;
    let pools = batch.candidates_dir.as_deref().filter(|_| batch.candidates.is_none());
    ctx.print(&plan.text(&batch.output_dir, pools))?;
    batch.check_planned_room(&plan)?;
    match plan.n_missing() {
        0 => Ok(Outcome::Done),
        n => Ok(Outcome::No(format!("inputs of {n} of {} teachers are missing", ids.len()))),
    }
}
