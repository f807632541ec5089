//! `compare-approaches`: several ways to make synthetic data, beside the same private shards.
//!
//! Reads: run folders with teachers' samples and a student's report, shards. Writes:
//! `comparison.md`, `comparison.json`, `comparison.png`. Prints: the table. Privacy: no formal
//! guarantee; every figure is a function of the private shards.

mod approach;
mod reference;
mod sheet;
mod table;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use artifact::{Input, Report, write_bytes};
use clap::Parser;
use pate_core::base::progress::Progress;
use pate_core::config::NetworkKind;
use pate_core::data::{self, ImageShape, Normalisation};
use pate_core::models::{Classifier, UcStub};
use pate_core::train::NoCheckpoint;
use pate_core::train::recipes::{self, Lesson, Recipe};

use self::approach::Approach;
use self::reference::{Reference, Shards};
use self::table::Measured;
use crate::args::{ConfigArgs, ShardScaleArgs, parse_path};
use crate::files::{markdown, pictures};
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings;

/// Compare ways to make synthetic data, such as a public decoder and one VAE per teacher
///
/// Each --approach names a run folder: teachers/teacher_<id>/ as batch-label-filter leaves them,
/// and, for the student's line, student/evaluation_report.json. All are measured on the teachers
/// that every one of them has. What the decoders learnt from and how long that took comes from the
/// reports beside them.
#[derive(Parser)]
#[command(
    name = "compare-approaches",
    version,
    after_help = "\
Examples:
  compare-approaches --approach \"public decoder=runs/pipeline\" \\
    --approach \"per-teacher VAE=runs/teacher_vae\" --teacher-shard-base runs/mnist250/shards \\
    --output-dir runs/comparison

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct CompareApproaches {
    /// A name for the table, and a run folder: NAME=FOLDER; twice or more
    #[arg(long, value_name = "NAME=DIR", required = true, help_heading = "Approaches")]
    approach: Vec<Approach>,
    /// Folder with teacher_<id>/shard.pt, and shard_labels.pt for the class proportions
    #[arg(long, value_name = "DIR", value_parser = parse_path, help_heading = "Private data")]
    teacher_shard_base: PathBuf,
    #[command(flatten)]
    shard_scale: ShardScaleArgs,
    /// Weights of a classifier whose last hidden layer gives the features of the Frechet distance,
    /// precision and recall; it should have seen other data than the approaches' [default: one
    /// trained here on the embedded public digits]
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Measures")]
    feature_model: Option<PathBuf>,
    /// Distance below which a sample counts as a near-copy
    #[arg(long, value_name = "DISTANCE", default_value_t = 2.0, help_heading = "Measures")]
    near: f64,
    /// Number of classes; labels are 0..N-1
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(i64).range(2..=10_000), help_heading = "Measures")]
    classes: i64,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "comparison", help_heading = "Output")]
    output_dir: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Step for CompareApproaches {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        if self.approach.len() < 2 {
            bail!("a comparison needs at least two --approach NAME=FOLDER");
        }
        if !(self.near > 0.0 && self.near.is_finite()) {
            bail!("--near is {}; it is a distance above 0", self.near);
        }
        let names: BTreeSet<&str> = self.approach.iter().map(|approach| approach.name.as_str()).collect();
        if names.len() < self.approach.len() {
            bail!("two --approach have the same name; the table would not tell them apart");
        }
        for approach in &self.approach {
            // The flag's value is a name and a folder, which the command line's own search for
            // paths does not see.
            artifact::name_input("--approach", &approach.dir);
        }
        let _lock = ctx.lock("--output-dir", &self.output_dir, &OUTPUTS)?;
        let sets = self
            .approach
            .iter()
            .map(|approach| approach.teachers(self.classes))
            .collect::<Result<Vec<_>>>()?;
        // Means over other teachers, and so other shards, could not be compared.
        let ids: Vec<u64> =
            sets[0].keys().copied().filter(|id| sets.iter().all(|set| set.contains_key(id))).collect();
        for (approach, set) in self.approach.iter().zip(&sets) {
            if set.len() > ids.len() {
                let left = set.len() - ids.len();
                ctx.say(&format!(
                    "\"{}\": {left} teachers are left out; not all approaches have them",
                    approach.name
                ));
            }
        }
        if ids.len() == 1 {
            ctx.say("there is one teacher in common: memorisation cannot be measured without another shard");
        }
        let shards = Shards::load(&self.teacher_shard_base, &ids, self.classes, self.shard_scale)?;
        let normalisation = settings::normalisation(&loaded.config.preprocessing)?;
        let (network, features) = feature_network(self, shards.shape(), &normalisation, ctx)?;
        let reference = Reference::new(shards, network, normalisation, self.near, ctx)?;
        let real = reference.real_against_real()?;

        let reason = "every figure is a function of the private shards, without a privacy mechanism";
        let mut report = Report::new();
        // Every file of the comparison is private: figures follow from the shards, and the picture
        // shows them.
        report.reads_private(reason);
        let access = report.access();
        let mut all: Vec<Measured> = Vec::new();
        let mut shown = Vec::new();
        for (approach, sets) in self.approach.iter().zip(&sets) {
            let (measured, images, files) = reference.measure(approach, sets, ctx)?;
            all.push(measured);
            shown.push((approach.name.as_str(), images));
            for file in files {
                report.input(Input::of(file));
            }
        }
        let table = table::table(&all, &real);
        // The feature space may name a path of the user's, which is foreign text to Markdown.
        let page = page(&table, &ids, &markdown::text(&features));
        report.output(write_bytes(&self.output_dir.join("comparison.md"), access, page.as_bytes())?);
        let (images, rows) = sheet::sheet(&shown)?;
        report.output(pictures::rows(
            "A confident sample of some teachers, and the nearest image of that teacher's shard with its distance",
            &images,
            &rows,
            &self.output_dir.join("comparison.png"),
            access,
        )?);
        report
            .field("teacher_ids", &ids)?
            .field("approaches", &all)?
            .field("private_images_among_themselves", &real)?
            .field("feature_space", features)?
            .field("seed", ctx.seed)?;
        loaded.describe(&mut report)?;
        for file in reference.shards.files() {
            report.input(Input::private(file.clone(), reason));
        }
        if let Some(path) = &self.feature_model {
            report.input(Input::open(path)?);
        }
        ctx.write_report(&report, &self.output_dir.join("comparison.json"))?;
        ctx.print(&page)?;
        Ok(Outcome::Done)
    }
}

/// The classifier whose hidden layer is the feature space, and what it is.
fn feature_network(
    args: &CompareApproaches,
    shape: ImageShape,
    normalisation: &Normalisation,
    ctx: &Context,
) -> Result<(Box<dyn Classifier>, String)> {
    if let Some(path) = &args.feature_model {
        let network = UcStub::load(path, shape, ctx.device).context("cannot use --feature-model")?;
        return Ok((Box::new(network), format!("the last hidden layer of {}", path.display())));
    }
    let digits = data::digits()?;
    let own = digits.shape();
    if (own.channels, own.height, own.width) != (shape.channels, shape.height, shape.width) {
        bail!(
            "the private images are {}x{}x{}, and the embedded digits {}x{}x{}; give a classifier of such images with \
             --feature-model",
            shape.channels,
            shape.height,
            shape.width,
            own.channels,
            own.height,
            own.width
        );
    }
    ctx.say("the feature space is that of a classifier trained here on the embedded public digits");
    let recipe = Recipe::of_features(digits.shape(), normalisation.clone(), ctx.seed);
    let (unit, extent) = recipe.extent();
    let progress = ctx.progress();
    progress.start(unit, extent);
    let lesson = Lesson { records: &digits, soft_labels: None, temperature: 1.0, normalisation };
    let both: (&dyn Progress, &dyn Progress) = (progress, &ctx.watch());
    let network = recipes::train(NetworkKind::UcStub, &recipe, &lesson, ctx.device, both, &NoCheckpoint)?;
    progress.finish();
    let text = format!(
        "the last hidden layer of UCStub trained on {} ({} images, {extent} epochs, seed {})",
        digits.name,
        digits.len(),
        ctx.seed
    );
    // Its classes are those of digits; a network's features do not depend on the number of its
    // classes.
    Ok((network, text))
}

const OUTPUTS: [&str; 3] = ["comparison.md", "comparison.json", "comparison.png"];

/// The Markdown page.
fn page(table: &str, ids: &[u64], features: &str) -> String {
    let range = match ids {
        [one] => format!("teacher {one}"),
        _ => format!("{} teachers, {} to {}", ids.len(), ids[0], ids[ids.len() - 1]),
    };
    format!(
        "# Comparison of approaches\n\nMeasured on {range}. **No formal privacy guarantee**: every figure is a function of the private \
         shards.\n\n{table}\nFrechet distance, precision and recall (3 neighbours) are taken in {features}; the last column says what two \
         halves of the private images give. Memorisation is suspected where a sample's nearest image lies in the own shard, or closer \
         than the distance for near-copies, at least twice as often as the other shards explain (95% interval); that it is not seen is no \
         proof.\n\n![Samples and their nearest private images](comparison.png)\n"
    )
}
