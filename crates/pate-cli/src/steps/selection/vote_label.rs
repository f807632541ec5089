//! `vote-label`: the label that most teachers give a sample.
//!
//! Reads: samples and `<id>/model.pth`. Writes: `<name>_labels.csv`, `<name>_soft_labels.pt`,
//! `<name>_report.json`; while it works, `<name>_checkpoint.safetensors`. Privacy: no formal
//! guarantee.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use artifact::{Access, FileRecord, Input, Report, WorkId, layout};
use clap::{Parser, ValueEnum};
use pate_core::data::{Images, LabelColumn, Normalisation, class_counts, read_labels_of, write_csv};
use pate_core::models::Teacher;
use pate_core::pate::label::label;
use pate_core::pate::vote::{Aggregate, Ballot, panel_rows};
use serde_json::json;
use tensorfile::View;

use crate::args::{ConfigArgs, ProgramArgs, ScaleArgs, check_name, parse_path};
use crate::files::find_teachers;
use crate::resume::checkpoint::Checkpoint;
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings;

/// Label samples anew by the vote of all teachers
///
/// Every teacher labels every sample, its own among them; the class with most votes becomes the
/// label. For combined samples: one teacher alone errs more often than many do. Counts are exact,
/// without the noise that would make PATE's vote private: no formal guarantee. A stopped run goes
/// on where it was.
#[derive(Parser)]
#[command(
    name = "vote-label",
    version,
    after_help = "\
Examples:
  vote-label --samples combined_dataset/combined_synthetic_samples.pt \\
    --labels combined_dataset/combined_synthetic_labels.csv \\
    --teachers-dir trained_nets_gpu --output combined_dataset
  train-student --samples combined_dataset/combined_synthetic_samples.pt \\
    --labels combined_dataset/voted_labels.csv \\
    --soft-labels combined_dataset/voted_soft_labels.pt

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct VoteLabel {
    /// The samples
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Samples and teachers")]
    samples: PathBuf,
    /// Their labels so far, CSV, to say how many change
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Samples and teachers")]
    labels: Option<PathBuf>,
    /// Folder with <id>/model.pth
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "wp3_d3.2_saferlearn/trained_nets_gpu", help_heading = "Samples and teachers")]
    teachers_dir: PathBuf,
    /// Number of teachers that vote, counting those that exist from --start-id on [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Samples and teachers")]
    num_teachers: Option<u32>,
    /// Minimum id of a teacher
    #[arg(long, value_name = "ID", default_value_t = 0, help_heading = "Samples and teachers")]
    start_id: u64,
    /// How many of them are asked about each sample, all of them in turn [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Samples and teachers")]
    panel: Option<u32>,
    #[command(flatten)]
    scale: ScaleArgs,
    #[command(flatten)]
    program: ProgramArgs,
    /// What counts: a vote of each teacher for its most probable class, or its probabilities of all
    /// classes
    #[arg(long, value_enum, value_name = "COUNT", default_value = "votes", help_heading = "Vote")]
    aggregate: Count,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, help_heading = "Output")]
    output: PathBuf,
    /// First part of the file names
    #[arg(long, value_name = "NAME", default_value = "voted", help_heading = "Output")]
    name: String,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Count {
    Votes,
    Probabilities,
}

impl Count {
    fn aggregate(self) -> Aggregate {
        match self {
            Self::Votes => Aggregate::Votes,
            Self::Probabilities => Aggregate::Probabilities,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Votes => "votes",
            Self::Probabilities => "probabilities",
        }
    }
}

impl Step for VoteLabel {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        check_name("--name", &self.name)?;
        let loaded = self.config.load(ctx)?;
        let normalisation = settings::normalisation(&loaded.config.preprocessing)?;
        let teachers =
            find_teachers(&self.teachers_dir, self.start_id, self.num_teachers.map(|n| n as usize))?;
        let ids: Vec<u64> = teachers.models.keys().copied().collect();
        teachers.say_what_is_left_out(ctx);
        let path = |what: &str| self.output.join(format!("{}_{what}", self.name));
        // Noted before the lock, since the folder is on the command line and its models are not.
        for model in teachers.models.values() {
            input_file::note(model);
        }
        let beside = [layout::LABELS, layout::SOFT_LABELS, layout::CHECKPOINT];
        let beside = beside.map(|what| format!("{}_{what}", self.name));
        let _lock = ctx.lock_file("--output", &path("report.json"), &beside)?;
        let images = Images::load(&self.samples, self.scale.rule()).context("cannot use the samples")?;
        if images.is_empty() {
            return Err(pate_core::Error::content(
                &self.samples,
                "there are no images in it",
                "give samples that teachers selected, see combine",
            )
            .into());
        }
        let panel = self.panel.map_or(ids.len(), |n| n as usize);
        if panel > ids.len() {
            bail!("--panel is {panel}, but there are {} teachers; give at most that", ids.len());
        }
        let samples = FileRecord::of(&self.samples)?;
        let models =
            teachers.models.values().map(|path| FileRecord::of(path)).collect::<Result<Vec<_>, _>>()?;
        let voting =
            Vote { args: self, images: &images, normalisation, models: &models, samples: &samples, panel };
        // The labels so far are checked against the teachers' classes, and before hours of voting.
        let classes = voting.load(0, ctx)?.classes();
        let before = match &self.labels {
            Some(path) => {
                let column = LabelColumn::Label;
                let rows = read_labels_of(&self.samples, images.len(), path, classes, column)
                    .context("cannot use the labels")?;
                Some(rows)
            }
            None => None,
        };
        let ballot = voting.collect(&path(layout::CHECKPOINT), classes, ctx)?;
        let tally = ballot.tally(self.aggregate.aggregate())?;

        let mut report = Report::new();
        report.reads_private(REASON).input(Input::of(samples.clone()));
        if let Some(path) = &self.labels {
            report.input(Input::open(path)?);
        }
        for model in models {
            report.input(Input::of(model));
        }
        let access = report.access();
        let rows = tally.labels.iter().zip(&tally.agreement).enumerate();
        let labels = write_csv(
            &path(layout::LABELS),
            access,
            &["index", "label", "agreement"],
            rows.map(|(i, (label, agreement))| {
                vec![i.to_string(), label.to_string(), f64::from(*agreement).to_string()]
            }),
        )?;
        let soft_labels = tally.soft_labels.save(&path(layout::SOFT_LABELS), access)?;
        let changed = before
            .map(|rows| rows.iter().zip(&tally.labels).filter(|(row, label)| row.label != **label).count());
        report
            .field("samples_path", &self.samples)?
            .field("labels_path", path(layout::LABELS))?
            .field("soft_labels_path", path(layout::SOFT_LABELS))?
            .field("total_samples", images.len())?
            .field("num_teachers", ids.len())?
            .field("folders_without_model", &teachers.without_model)?
            .field("teacher_ids", &ids)?
            .field("panel", panel)?
            .field("aggregate", self.aggregate.word())?
            .field("class_distribution", class_counts(&tally.labels))?
            .field("average_agreement", tally.mean_agreement())?
            .field("average_agreement_per_class", tally.mean_agreement_by_class())?
            .field("unanimous_samples", tally.unanimous())?
            .field("changed_labels", changed)?;
        loaded.describe(&mut report)?;
        report.output(labels).output(soft_labels);
        // After labels and soft labels, and before the checkpoint goes: a stop in between loses
        // nothing.
        ctx.write_report(&report, &path("report.json"))?;
        let _ = std::fs::remove_file(path(layout::CHECKPOINT));
        let change = changed.map_or_else(String::new, |n| format!(", {n} labels changed"));
        ctx.say(&format!(
            "{} samples, {} teachers, mean agreement {:.3}{change}: {}",
            images.len(),
            ids.len(),
            tally.mean_agreement(),
            path(layout::LABELS).display()
        ));
        Ok(Outcome::Done)
    }
}

/// Images labelled at once; their activations then stay in the processor's cache.
const BATCH: usize = 64;

/// Why votes have no guarantee.
const REASON: &str = "labels are exact counts of the answers of teachers that were trained on private shards; one private record can \
    move one vote per sample (L1 sensitivity 2 under replacing a record), and no noise covers that";

/// One vote: the teachers and the images.
struct Vote<'a> {
    args: &'a VoteLabel,
    images: &'a Images,
    normalisation: Normalisation,
    models: &'a [FileRecord],
    samples: &'a FileRecord,
    panel: usize,
}

impl Vote<'_> {
    fn load(&self, index: usize, ctx: &Context) -> Result<Teacher> {
        Teacher::load(
            &self.models[index].path,
            self.images.shape(),
            self.normalisation.clone(),
            self.args.program.program(),
            ctx.device,
        )
        .context("cannot use the teacher")
    }

    /// Asks every teacher; state is kept after each.
    fn collect(&self, state: &std::path::Path, classes: i64, ctx: &Context) -> Result<Ballot> {
        let hashes: Vec<&str> = self.models.iter().map(|model| model.sha256.as_str()).collect();
        // What is counted in the end is not among these: both counts are kept, so that another
        // --aggregate goes on from the same votes.
        let settings = json!({
            "normalisation": self.normalisation, "program": self.args.program.program(), "scale": self.args.scale.scale,
            "panel": self.panel,
        });
        // In the order of the ids: a checkpoint says how many teachers have voted, and these are
        // the first.
        let inputs = std::iter::once(self.samples.sha256.as_str()).chain(hashes);
        let work = WorkId::new(&settings, inputs)?;
        let checkpoint = Checkpoint::new(state.to_path_buf(), work, Access::Private);
        let mut ballot = Ballot::new(self.images.len(), classes);
        if let Some(saved) = checkpoint.load_or_say(ctx)
            && let (Some(teachers), Some(counts)) = (saved.text("teachers"), saved.array("counts"))
            && let Ok(teachers) = teachers.parse::<usize>()
            && teachers <= self.models.len()
            && let Ok(resumed) = Ballot::resume(teachers, &counts.to_f32(), self.images.len(), classes)
        {
            ctx.say(&format!("{teachers} teachers have voted already: {}", checkpoint.path().display()));
            ballot = resumed;
        }
        let progress = ctx.progress();
        progress.start("teacher", self.models.len() as u64);
        progress.advance(ballot.teachers() as u64, "");
        for index in ballot.teachers()..self.models.len() {
            let teacher = self.load(index, ctx)?;
            // Votes of teachers with other classes would be counted under wrong names.
            if teacher.classes() != classes {
                return Err(pate_core::Error::content(
                    &self.models[index].path,
                    format!("it tells {} classes apart, and teachers before it {classes}", teacher.classes()),
                    "teachers that vote have the same classes",
                )
                .into());
            }
            let rows = panel_rows(self.images.len(), index, self.models.len(), self.panel);
            let asked = if rows.len() == self.images.len() { None } else { Some(self.images.select(&rows)?) };
            let images = asked.as_ref().unwrap_or(self.images);
            ballot.add(&rows, &label(&teacher, images, BATCH, &ctx.watch())?)?;
            let counts = ballot.counts();
            // After every teacher, which takes far longer than writing the counts.
            checkpoint.save(
                &[("counts", View::f32(&[counts.len()], &counts)?)],
                &[("teachers", ballot.teachers().to_string())],
            )?;
            progress.advance(1, "");
        }
        progress.finish();
        Ok(ballot)
    }
}
