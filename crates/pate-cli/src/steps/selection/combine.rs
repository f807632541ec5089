//! `combine`: the data sets of all teachers in one.
//!
//! Reads: `teacher_<id>/synthetic_samples.pt` and `labels.csv`; for the card, the reports beside them, their pools and decoders.
//! Writes: `<name>_samples.pt`, `<name>_labels.csv`, `<name>_teacher_ids.csv`, `<name>_metadata.json`, `<name>_samples.png`,
//! `<name>_card.md`, and the exports of `--format`. Privacy: no formal guarantee.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use artifact::{FileRecord, Input, Report, check_space, free_bytes, layout, least_growth, write_bytes};
use clap::Parser;
use pate_core::data::{class_counts, write_csv};
use pate_core::pate::combine::{self, MergePlan, Merged, TeacherSet};

use crate::args::{Format, parse_path};
use crate::files::card::Card;
use crate::files::exports::Export;
use crate::files::pictures;
use crate::files::provenance::Provenance;
use crate::run::{Context, Outcome, RunArgs, Step};

/// Combine the synthetic data sets of all teachers
///
/// Teachers come in the order of their ids. Folders without samples or labels are skipped and named. A data card says what
/// the set is; for it, the reports beside the samples, their pools and their decoder are read, where they are there.
#[derive(Parser)]
#[command(
    name = "combine",
    version,
    after_help = "\
Examples:
  combine --teachers-dir teachers --output combined_dataset --percentage 0.1
  combine --teachers-dir teachers --output combined_subset --percentage 0.5 \\
    --start-id 0 --end-id 100
  combine --teachers-dir teachers --output combined_dataset \\
    --format npz,folders,safetensors

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct Combine {
    /// Folder with teacher_<id> folders
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "teachers", help_heading = "Teachers")]
    teachers_dir: PathBuf,
    /// Id of the first teacher
    #[arg(long, value_name = "ID", default_value_t = 0, help_heading = "Teachers")]
    start_id: u64,
    /// Id after the last teacher, so 100 ends with teacher 99 [default: all]
    #[arg(long, value_name = "ID", help_heading = "Teachers")]
    end_id: Option<u64>,
    /// Number of classes; labels are 0..N-1
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(i64).range(2..=10_000), help_heading = "Teachers")]
    classes: i64,
    /// Share of all samples to take, above 0 and at most 1 (0.1 = a tenth)
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, help_heading = "Sampling")]
    percentage: f64,
    /// Take samples at random instead of keeping the classes' shares
    #[arg(long, help_heading = "Sampling")]
    no_stratify: bool,
    /// Also combine the teachers' soft_labels.pt into <name>_soft_labels.pt; every teacher must have one
    #[arg(long, help_heading = "Sampling")]
    with_soft_labels: bool,
    /// Merge images that several teachers have (one pool for all, or generation.teachers_per_pool): one sample under the
    /// label with most votes, or with --with-soft-labels the largest mean probability
    #[arg(long, help_heading = "Sampling")]
    merge_identical: bool,
    /// Least share of an image's votes that its label needs
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.0,
        requires = "merge_identical",
        help_heading = "Sampling"
    )]
    min_agreement: f64,
    /// Least number of teachers that have an image
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        requires = "merge_identical",
        help_heading = "Sampling"
    )]
    min_votes: usize,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, help_heading = "Output")]
    output: PathBuf,
    /// First part of the file names
    #[arg(long, value_name = "NAME", default_value = "combined_synthetic", help_heading = "Output")]
    name: String,
    /// What to write besides the samples as .pt and the labels as .csv, several with commas: pt (nothing), npz
    /// (<name>.npz, samples x and labels y), folders (<name>_folders, a folder of PNG images per class), safetensors
    /// (<name>.safetensors, images, labels, teacher_ids)
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        value_delimiter = ',',
        num_args = 1,
        default_value = "pt",
        hide_possible_values = true,
        help_heading = "Output"
    )]
    format: Vec<Format>,
    #[command(flatten)]
    run: RunArgs,
}

impl Step for Combine {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        if self.name.contains(['/', '\\']) {
            bail!(
                "--name is `{}`; it is a part of file names and has no slashes (folders go into --output)",
                self.name
            );
        }
        let sets = combine::find(&self.teachers_dir, self.start_id, self.end_id, self.classes)
            .context("cannot use the teachers' folder")?;
        for (folder, reason) in &sets.skipped {
            ctx.say(&format!("skipped: {folder} ({reason})"));
        }
        let merged = merged(self, &sets.complete, ctx)?;
        let (all, owners): (Vec<i64>, Vec<u64>) = match &merged {
            Some(merged) => (merged.labels.clone(), merged.owners.clone()),
            None => sets
                .complete
                .iter()
                .flat_map(|set| set.labels.iter().map(|&label| (label, set.teacher_id)))
                .unzip(),
        };
        let stratified = !self.no_stratify;
        let chosen = combine::choose(&all, self.percentage, stratified, ctx.seed)?;
        if all.is_empty() {
            return Err(pate_core::Error::content(
                &self.teachers_dir,
                "its teacher_<id> folders hold no samples",
                "make some with label-filter or batch-label-filter, or give another --teachers-dir",
            )
            .into());
        }
        if chosen.is_empty() {
            bail!("--percentage {} of {} samples is not even one; give more", self.percentage, all.len());
        }
        for set in &sets.complete {
            input_file::note(&set.samples_path);
            input_file::note(&set.labels_path);
            input_file::note(&set.samples_path.with_file_name(layout::SOFT_LABELS));
        }
        let formats = formats(self);
        let _lock = ctx.lock("--output", &self.output, &outputs(self, &formats))?;
        let rows: Vec<i64> = chosen.iter().map(|&row| row as i64).collect();
        let images = if let Some(merged) = &merged {
            merged.images.select(&rows)?
        } else {
            let progress = ctx.progress();
            progress.start("teachers", sets.complete.len() as u64);
            let images =
                combine::gather(&sets.complete, &chosen, progress).context("cannot combine the samples")?;
            progress.finish();
            images
        };

        let labels: Vec<i64> = chosen.iter().map(|&row| all[row]).collect();
        let owners: Vec<u64> = chosen.iter().map(|&row| owners[row]).collect();
        let inputs = sets.complete.iter().map(|set| FileRecord::of(&set.samples_path));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let provenance = Provenance::of(&sets.complete, &inputs);
        let mut report = Report::new();
        for (set, samples) in sets.complete.iter().zip(inputs) {
            report.input(Input::of(samples)).input(Input::open(&set.labels_path)?);
        }
        let access = report.access();
        let path = |what: &str| self.output.join(format!("{}_{what}", self.name));
        let (samples_path, labels_path, ids_path) =
            (path("samples.pt"), path(layout::LABELS), path("teacher_ids.csv"));
        let shape = pate_core::base::tensor::shape_of(images.tensor());
        let least = formats.iter().map(|format| {
            let values = shape.iter().skip(1).product();
            (format.path(&self.output, &self.name), format.least_bytes(labels.len(), values))
        });
        let cure = "give a smaller --percentage, fewer formats, or --output on another disk";
        check_space(&self.output, least_growth(least), free_bytes(&self.output), cure)?;
        let samples = images.save(&samples_path, access)?;
        let rows = |i: usize, value: String| vec![i.to_string(), value];
        let labels_file = write_csv(
            &labels_path,
            access,
            &["index", "label"],
            labels.iter().enumerate().map(|(i, l)| rows(i, l.to_string())),
        )?;
        let ids_file = write_csv(
            &ids_path,
            access,
            &["index", "teacher_id"],
            owners.iter().enumerate().map(|(i, t)| rows(i, t.to_string())),
        )?;
        let soft_labels = if self.with_soft_labels {
            let soft = match &merged {
                Some(merged) => merged.soft_labels.select(chosen.iter().copied()),
                None => combine::gather_soft_labels(&sets.complete, &chosen, self.classes)
                    .context("cannot combine the soft labels")?,
            };
            Some(soft.save(&path(layout::SOFT_LABELS), access)?)
        } else {
            None
        };
        let reason = report.guarantee().sentence();
        let texts = |(key, text): (&str, String)| (key.to_owned(), text);
        let metadata = [
            ("content", "generated images; labels are those of teachers".to_owned()),
            ("guarantee", reason),
            ("name", self.name.clone()),
            ("num_teachers", sets.complete.len().to_string()),
            ("seed", ctx.seed.to_string()),
            ("tool", format!("combine {}", env!("CARGO_PKG_VERSION"))),
        ]
        .map(texts);
        let export = Export {
            images: &images,
            labels: &labels,
            teacher_ids: &owners,
            dir: &self.output,
            name: &self.name,
            access,
            metadata: &metadata,
        };
        let others = formats.iter().filter(|format| **format != Format::Pt);
        let exports = others.map(|format| export.write(*format)).collect::<Result<Vec<_>>>()?;
        let picture = pictures::class_sheet(
            "Combined samples by class",
            &images,
            &labels,
            None,
            16,
            &path("samples.png"),
            access,
        )?;

        let mut by_teacher: BTreeMap<u64, u64> = BTreeMap::new();
        for owner in owners {
            *by_teacher.entry(owner).or_default() += 1;
        }
        let files = [&samples, &labels_file, &ids_file].into_iter().chain(&soft_labels).chain(&exports);
        let files: Vec<FileRecord> = files.chain([&picture]).cloned().collect();
        let classes = class_counts(&labels);
        let card = Card {
            name: &self.name,
            formats: &formats,
            shape: &shape,
            range: (
                images.tensor().min().double_value(&[]) as f32,
                images.tensor().max().double_value(&[]) as f32,
            ),
            classes: &classes,
            n_classes: self.classes,
            teachers: &by_teacher,
            n_teachers: sets.complete.len(),
            merged: merged.as_ref().map(|merged| merged.summary),
            percentage: self.percentage,
            stratified,
            seed: ctx.seed,
            provenance: &provenance,
            guarantee: report.guarantee(),
            files: &files,
        };
        let card = write_bytes(&path("card.md"), access, card.markdown()?.as_bytes())?;
        report
            .field("total_samples", images.len())?
            .field("num_teachers", sets.complete.len())?
            .field("teacher_ids", sets.complete.iter().map(|set| set.teacher_id).collect::<Vec<_>>())?
            .field("percentage_used", self.percentage)?
            .field("seed", ctx.seed)?
            .field("stratified_sampling", stratified)?
            .field("class_distribution", classes)?
            .field("teacher_distribution", by_teacher)?
            .field("average_pairwise_distance", combine::mean_distance(&images, ctx.seed)?)?
            .field("samples_path", &samples_path)?
            .field("labels_path", &labels_path)?
            .field("teacher_ids_path", &ids_path)?
            .field("shape", images.tensor().size())?
            .field("samples_hash", &samples.sha256)?
            .field("skipped", &sets.skipped)?
            .field("card_reports", &provenance.read)?
            .field("merged", merged.map(|merged| merged.summary))?;
        for record in files.into_iter().chain([card]) {
            report.output(record);
        }
        ctx.write_report(&report, &path(layout::METADATA))?;
        ctx.say(&format!(
            "{} samples of {} teachers: {}",
            images.len(),
            sets.complete.len(),
            samples_path.display()
        ));
        Ok(Outcome::Done)
    }
}

/// What is written besides the labels, once each.
fn formats(args: &Combine) -> Vec<Format> {
    let mut formats = args.format.clone();
    formats.push(Format::Pt);
    formats.sort();
    formats.dedup();
    formats
}

/// The files that are written in the output folder.
fn outputs(args: &Combine, formats: &[Format]) -> Vec<String> {
    let fixed = [layout::LABELS, "teacher_ids.csv", layout::METADATA, "samples.png", "card.md"];
    let soft = args.with_soft_labels.then_some(layout::SOFT_LABELS);
    let fixed = fixed.into_iter().chain(soft).map(|what| format!("{}_{what}", args.name));
    let place = |format: &Format| format.path(Path::new(""), &args.name).to_string_lossy().into_owned();
    fixed.chain(formats.iter().map(place)).collect()
}

fn merged(args: &Combine, sets: &[TeacherSet], ctx: &Context) -> Result<Option<Merged>> {
    if !args.merge_identical || sets.iter().all(|set| set.labels.is_empty()) {
        return Ok(None);
    }
    let plan = MergePlan {
        soft: args.with_soft_labels,
        min_agreement: args.min_agreement,
        min_votes: args.min_votes,
    };
    let progress = ctx.progress();
    progress.start("teachers", sets.len() as u64);
    let merged = combine::merge(sets, args.classes, plan, progress).context("cannot merge the samples")?;
    progress.finish();
    Ok(Some(merged))
}
