//! `combine`: the data sets of all teachers in one.
//!
//! Reads: `teacher_<id>/synthetic_samples.pt` and `labels.csv`; for the card, the reports beside
//! them, their pools and decoders. Writes: `<name>_samples.pt`, `<name>_labels.csv`,
//! `<name>_teacher_ids.csv`, `<name>_metadata.json`, `<name>_samples.png`, `<name>_card.md`, and
//! the exports of `--format`. Privacy: no formal guarantee.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use artifact::{
    FileRecord, Guarantee, Input, Report, check_space, free_bytes, layout, min_growth, write_bytes,
};
use clap::Parser;
use pate_core::data::{Images, SoftLabels, class_counts, write_csv};
use pate_core::pate::combine::{self, MergePlan, Merged, TeacherSet};

use crate::args::{Format, check_name, parse_path};
use crate::files::card::Card;
use crate::files::exports::Export;
use crate::files::pictures;
use crate::files::provenance::Provenance;
use crate::run::{Context, Outcome, RunArgs, Step};

/// Combine the synthetic data sets of all teachers
///
/// Teachers come in the order of their ids. Folders without samples or labels are skipped and
/// named. A data card says what the set is; for it, the reports beside the samples, their pools and
/// their decoder are read, where they are there.
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
    #[arg(long, value_name = "FRACTION", default_value_t = 1.0, help_heading = "Sampling")]
    percentage: f64,
    /// Take samples at random instead of keeping the class proportions
    #[arg(long, help_heading = "Sampling")]
    no_stratify: bool,
    /// Also combine the teachers' soft_labels.pt into <name>_soft_labels.pt; every teacher must
    /// have one
    #[arg(long, help_heading = "Sampling")]
    with_soft_labels: bool,
    /// Merge images that several teachers have (one pool for all, or generation.teachers_per_pool):
    /// one sample under the label with most votes, or with --with-soft-labels the largest mean
    /// probability
    #[arg(long, help_heading = "Sampling")]
    merge_identical: bool,
    /// Minimum fraction of an image's votes that its label needs
    #[arg(
        long,
        value_name = "FRACTION",
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
    /// What to write besides the samples as .pt and the labels as .csv, several with commas: pt
    /// (nothing), npz (<name>.npz, samples x and labels y), folders (<name>_folders, a folder of
    /// PNG images per class), safetensors (<name>.safetensors, images, labels, teacher_ids)
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
        check_name("--name", &self.name)?;
        let sets = combine::find(&self.teachers_dir, self.start_id, self.end_id, self.classes)
            .context("cannot use the teachers' folder")?;
        for (folder, reason) in &sets.skipped {
            ctx.say(&format!("skipped: {folder} ({reason})"));
        }
        // Chosen before the lock: a choice that cannot be made leaves nothing behind.
        let choice = self.choose(&sets.complete, ctx)?;
        // Noted before the lock, since these files were found in a folder and are read only after
        // it.
        for set in &sets.complete {
            input_file::note(&set.samples_path);
            input_file::note(&set.labels_path);
            input_file::note(&set.samples_path.with_file_name(layout::SOFT_LABELS));
        }
        let formats = self.formats();
        let _lock = ctx.lock("--output", &self.output, &self.outputs(&formats))?;
        let combined = self.gather(&sets.complete, &choice, ctx)?;

        // Named before anything is written: their labels together say who may read the results.
        let inputs = sets.complete.iter().map(|set| FileRecord::of(&set.samples_path));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let provenance = Provenance::of(&sets.complete, &inputs);
        let mut report = Report::new();
        for (set, samples) in sets.complete.iter().zip(inputs) {
            report.input(Input::of(samples)).input(Input::open(&set.labels_path)?);
        }
        let files = self.write(&combined, &formats, sets.complete.len(), report.guarantee(), ctx)?;

        let mut by_teacher: BTreeMap<u64, u64> = BTreeMap::new();
        for &owner in &combined.owners {
            *by_teacher.entry(owner).or_default() += 1;
        }
        let classes = class_counts(&combined.labels);
        let merged = choice.merged.as_ref().map(|merged| merged.summary);
        let card = Card {
            name: &self.name,
            formats: &formats,
            shape: &combined.shape(),
            range: combined.images.range()?,
            classes: &classes,
            n_classes: self.classes,
            teachers: &by_teacher,
            n_teachers: sets.complete.len(),
            merged,
            percentage: self.percentage,
            stratified: !self.no_stratify,
            seed: ctx.seed,
            provenance: &provenance,
            guarantee: report.guarantee(),
            files: &files,
        };
        // After the files whose hashes it lists, and before the report, which lists the card.
        let card = write_bytes(&self.path("card.md"), report.access(), card.markdown()?.as_bytes())?;
        report
            .field("total_samples", combined.images.len())?
            .field("num_teachers", sets.complete.len())?
            .field("teacher_ids", sets.complete.iter().map(|set| set.teacher_id).collect::<Vec<_>>())?
            .field("percentage_used", self.percentage)?
            .field("seed", ctx.seed)?
            .field("stratified_sampling", !self.no_stratify)?
            .field("class_distribution", classes)?
            .field("teacher_distribution", by_teacher)?
            .field("average_pairwise_distance", combine::mean_distance(&combined.images, ctx.seed)?)?
            .field("samples_path", self.path(SAMPLES))?
            .field("labels_path", self.path(layout::LABELS))?
            .field("teacher_ids_path", self.path(TEACHER_IDS))?
            .field("shape", combined.images.tensor().size())?
            .field("samples_hash", files.first().map(|samples| &samples.sha256))?
            .field("skipped", &sets.skipped)?
            .field("card_reports", &provenance.read)?
            .field("merged", merged)?;
        for record in files.into_iter().chain([card]) {
            report.output(record);
        }
        ctx.write_report(&report, &self.path(layout::METADATA))?;
        ctx.say(&format!(
            "{} samples of {} teachers: {}",
            combined.images.len(),
            sets.complete.len(),
            self.path(SAMPLES).display()
        ));
        Ok(Outcome::Done)
    }
}

/// What follows the name in the files' names.
const SAMPLES: &str = "samples.pt";
const TEACHER_IDS: &str = "teacher_ids.csv";
const PICTURE: &str = "samples.png";

/// All samples by their labels and teachers, and which of them are taken.
struct Choice {
    /// Where identical images were merged: in place of the teachers' own samples.
    merged: Option<Merged>,
    labels: Vec<i64>,
    owners: Vec<u64>,
    rows: Vec<usize>,
}

/// The samples that are taken.
struct Combined {
    images: Images,
    labels: Vec<i64>,
    owners: Vec<u64>,
    soft_labels: Option<SoftLabels>,
}

impl Combined {
    fn shape(&self) -> Vec<usize> {
        pate_core::base::tensor::shape_of(self.images.tensor())
    }
}

impl Combine {
    /// What is written besides the labels, once each.
    fn formats(&self) -> Vec<Format> {
        let mut formats = self.format.clone();
        formats.push(Format::Pt);
        formats.sort();
        formats.dedup();
        formats
    }

    fn path(&self, what: &str) -> PathBuf {
        self.output.join(format!("{}_{what}", self.name))
    }

    /// The files that are written in the output folder.
    fn outputs(&self, formats: &[Format]) -> Vec<String> {
        let fixed = [layout::LABELS, TEACHER_IDS, layout::METADATA, PICTURE, "card.md"];
        let soft = self.with_soft_labels.then_some(layout::SOFT_LABELS);
        let fixed = fixed.into_iter().chain(soft).map(|what| format!("{}_{what}", self.name));
        let place = |format: &Format| format.path(Path::new(""), &self.name).to_string_lossy().into_owned();
        fixed.chain(formats.iter().map(place)).collect()
    }

    fn merged(&self, sets: &[TeacherSet], ctx: &Context) -> Result<Option<Merged>> {
        if !self.merge_identical || sets.iter().all(|set| set.labels.is_empty()) {
            return Ok(None);
        }
        let plan = MergePlan {
            soft: self.with_soft_labels,
            min_agreement: self.min_agreement,
            min_votes: self.min_votes,
        };
        let progress = ctx.progress();
        progress.start("teachers", sets.len() as u64);
        let merged =
            combine::merge(sets, self.classes, plan, progress).context("cannot merge the samples")?;
        progress.finish();
        Ok(Some(merged))
    }

    /// Chooses rows by their labels; no image is read for it unless identical ones are merged.
    fn choose(&self, sets: &[TeacherSet], ctx: &Context) -> Result<Choice> {
        let merged = self.merged(sets, ctx)?;
        let (labels, owners): (Vec<i64>, Vec<u64>) = match &merged {
            Some(merged) => (merged.labels.clone(), merged.owners.clone()),
            None => {
                sets.iter().flat_map(|set| set.labels.iter().map(|&label| (label, set.teacher_id))).unzip()
            }
        };
        let rows = combine::choose(&labels, self.percentage, !self.no_stratify, ctx.seed)?;
        if labels.is_empty() {
            return Err(pate_core::Error::content(
                &self.teachers_dir,
                "its teacher_<id> folders hold no samples",
                "make some with label-filter or batch-label-filter, or give another --teachers-dir",
            )
            .into());
        }
        if rows.is_empty() {
            bail!("--percentage {} of {} samples is not even one; give more", self.percentage, labels.len());
        }
        Ok(Choice { merged, labels, owners, rows })
    }

    /// Reads the chosen samples.
    fn gather(&self, sets: &[TeacherSet], choice: &Choice, ctx: &Context) -> Result<Combined> {
        let Choice { merged, labels, owners, rows } = choice;
        let images = if let Some(merged) = merged {
            merged.images.select(&rows.iter().map(|&row| row as i64).collect::<Vec<_>>())?
        } else {
            let progress = ctx.progress();
            progress.start("teachers", sets.len() as u64);
            let images = combine::gather(sets, rows, progress).context("cannot combine the samples")?;
            progress.finish();
            images
        };
        let soft_labels = match merged {
            _ if !self.with_soft_labels => None,
            Some(merged) => Some(merged.soft_labels.select(rows.iter().copied())),
            None => Some(
                combine::gather_soft_labels(sets, rows, self.classes)
                    .context("cannot combine the soft labels")?,
            ),
        };
        Ok(Combined {
            images,
            labels: rows.iter().map(|&row| labels[row]).collect(),
            owners: rows.iter().map(|&row| owners[row]).collect(),
            soft_labels,
        })
    }

    /// Writes the samples, and all that lies beside them but card and report; the samples' record
    /// comes first.
    fn write(
        &self,
        combined: &Combined,
        formats: &[Format],
        n_teachers: usize,
        guarantee: &Guarantee,
        ctx: &Context,
    ) -> Result<Vec<FileRecord>> {
        let Combined { images, labels, owners, soft_labels } = combined;
        let access = guarantee.access();
        let values = combined.shape().iter().skip(1).product();
        let least = formats
            .iter()
            .map(|format| (format.path(&self.output, &self.name), format.min_bytes(labels.len(), values)));
        let hint = "give a smaller --percentage, fewer formats, or --output on another disk";
        check_space(&self.output, min_growth(least), free_bytes(&self.output), hint)?;
        let mut files = vec![images.save(&self.path(SAMPLES), access)?];
        let row = |(index, value): (usize, String)| vec![index.to_string(), value];
        let labels_of = labels.iter().map(ToString::to_string).enumerate().map(row);
        files.push(write_csv(&self.path(layout::LABELS), access, &["index", "label"], labels_of)?);
        let ids_of = owners.iter().map(ToString::to_string).enumerate().map(row);
        files.push(write_csv(&self.path(TEACHER_IDS), access, &["index", "teacher_id"], ids_of)?);
        if let Some(soft) = soft_labels {
            files.push(soft.save(&self.path(layout::SOFT_LABELS), access)?);
        }
        let metadata = [
            ("content", "generated images; labels are those of teachers".to_owned()),
            ("guarantee", guarantee.sentence()),
            ("name", self.name.clone()),
            ("num_teachers", n_teachers.to_string()),
            ("seed", ctx.seed.to_string()),
            ("tool", format!("combine {}", env!("CARGO_PKG_VERSION"))),
        ]
        .map(|(key, text)| (key.to_owned(), text));
        let export = Export {
            images,
            labels,
            teacher_ids: owners,
            dir: &self.output,
            name: &self.name,
            access,
            metadata: &metadata,
        };
        for &format in formats.iter().filter(|format| **format != Format::Pt) {
            files.push(export.write(format)?);
        }
        let title = "Combined samples by class";
        files.push(pictures::class_sheet(title, images, labels, None, 16, &self.path(PICTURE), access)?);
        Ok(files)
    }
}
