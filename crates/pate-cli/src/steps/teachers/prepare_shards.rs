//! `prepare-shards`: a training set cut into the teachers' private shards.
//!
//! Reads: MNIST or folders of images, and shard indices where there are some. Writes:
//! `teacher_<id>/shard.pt`, `shard_labels.pt`, `metadata.json`, and `shard_indices.json` where it
//! made the indices. Privacy: copies of private data, readable by the owner alone.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use artifact::{FileRecord, Input, Report, layout};
use clap::{Parser, ValueEnum};
use pate_core::data::{Assignment, Shard, ShardIndices, Split};

use crate::args::{MNIST_DIR, PrivateDataArgs, parse_path};
use crate::files::data_sets::{self, shard_indices};
use crate::run::{Context, Outcome, RunArgs, Step};

/// Cut a training set into disjoint private shards, one per teacher
///
/// Shards are never stratified: class counts are part of what is private.
#[derive(Parser)]
#[command(
    name = "prepare-shards",
    version,
    after_help = "\
Examples:
  prepare-shards --mnist-dir datasets --num-teachers 250 --out-dir teachers
  prepare-shards --mnist-dir data/mnist-subset \\
    --shard-indices data/shard_indices.json --out-dir teachers

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct PrepareShards {
    /// Folder of MNIST (torchvision's layout, or the IDX files straight in it), or of --dataset
    /// folders
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = MNIST_DIR, help_heading = "Private data")]
    mnist_dir: PathBuf,
    #[command(flatten)]
    data: PrivateDataArgs,
    /// Rows of the training set by teacher, JSON [default: made here, and written as
    /// shard_indices.json]
    #[arg(long, value_name = "FILE", value_parser = parse_path, conflicts_with_all = ["shard_size", "assignment"], help_heading = "Assignment")]
    shard_indices: Option<PathBuf>,
    /// Number of teachers [default: 250, or all of --shard-indices]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Assignment")]
    num_teachers: Option<u32>,
    /// Records per shard [default: all records, in equal parts]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Assignment")]
    shard_size: Option<u32>,
    /// index: shuffled by the seed and cut (replace-one neighbours); keyed-hash: by a hash of each
    /// record's number (add/remove neighbours) [default: index]
    #[arg(long, value_enum, help_heading = "Assignment")]
    assignment: Option<AssignmentArg>,
    /// Folder for the teacher_<id> folders
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "teachers", help_heading = "Output")]
    out_dir: PathBuf,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AssignmentArg {
    Index,
    KeyedHash,
}

impl Step for PrepareShards {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        if self.data.is_folders() && matches!(self.assignment, Some(AssignmentArg::KeyedHash)) {
            bail!(
                "--assignment keyed-hash does not go with --dataset folders: it hashes a record's number, and one more image \
                 moves the numbers of all after it; take index"
            );
        }
        let made = self.shard_indices.is_none().then_some(layout::SHARD_INDICES);
        // A pattern, since the ids are known only once the indices are.
        let shards =
            [layout::SHARD, layout::SHARD_LABELS, layout::METADATA].map(|name| format!("teacher_*/{name}"));
        let names = shards.iter().map(String::as_str).chain([layout::SHARDS_REPORT]).chain(made);
        let _lock = ctx.lock("--out-dir", &self.out_dir, &names.collect::<Vec<_>>())?;
        let records = self.data.load(&self.mnist_dir, Split::Train)?;
        let mut report = Report::new();
        report.reads_private("shards are copies of private data");
        let (indices, assignment) = if let Some(path) = &self.shard_indices {
            let indices = shard_indices(path, records.len())?;
            report.input(Input::private(FileRecord::of(path)?, data_sets::READ));
            (indices, "as given")
        } else {
            let assignment = match self.assignment.unwrap_or(AssignmentArg::Index) {
                AssignmentArg::Index => Assignment::Index,
                AssignmentArg::KeyedHash => Assignment::KeyedHash,
            };
            let teachers = self.num_teachers.unwrap_or(250) as usize;
            let size = self.shard_size.map(|n| n as usize);
            let indices = ShardIndices::assign(records.len(), teachers, size, assignment, ctx.seed)?;
            report.output(indices.save(&self.out_dir.join(layout::SHARD_INDICES))?);
            (indices, assignment.name())
        };
        let wanted = self.num_teachers.map_or(indices.by_teacher.len(), |n| n as usize);
        if wanted > indices.by_teacher.len() {
            bail!("--num-teachers is {wanted}, but the indices have {} teachers", indices.by_teacher.len());
        }
        let progress = ctx.progress();
        progress.start("shards", wanted as u64);
        let mut sizes = Vec::with_capacity(wanted);
        for (&teacher_id, rows) in indices.by_teacher.iter().take(wanted) {
            progress.check()?;
            let shard = records
                .select(rows)
                .with_context(|| format!("cannot make the shard of teacher {teacher_id}"))?;
            let dir = self.out_dir.join(layout::teacher(teacher_id));
            for record in Shard::write(&dir, teacher_id, &shard, assignment)? {
                report.output(record);
            }
            sizes.push(rows.len());
            progress.advance(1, "");
        }
        progress.finish();
        report
            .field("num_teachers", wanted)?
            .field("num_records", records.len())?
            .field("assignment", assignment)?
            .field("seed", ctx.seed)?
            .field("shard_sizes", sizes)?;
        data_sets::describe(&mut report, &records)?;
        ctx.write_report(&report, &self.out_dir.join(layout::SHARDS_REPORT))?;
        ctx.say(&format!("{wanted} shards: {}", self.out_dir.display()));
        Ok(Outcome::Done)
    }
}
