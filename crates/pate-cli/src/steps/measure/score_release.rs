//! `score-release`: what a data set of any generator is worth.
//!
//! Reads: images with labels or soft labels, a TorchScript program of features, test images, a
//! public data set, private images only on request. Writes: `score_report.json`, `score.md`,
//! `score.png`, the trained classifiers in `classifiers/`. Privacy: that of the scored data set;
//! none where private images were asked for.

mod fidelity;
mod judges;
mod page;
mod release;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use artifact::{FileRecord, Guarantee, Input, Report, layout, write_bytes};
use clap::Parser;
use pate_core::config::{NetworkKind, Word as _};
use pate_core::data::{Dataset, Privacy, Records, SoftLabels, Split, Wanted};
use pate_core::train::recipes::Recipe;
use serde::Serialize;

use self::fidelity::Beside;
use self::judges::{Judged, Judges, Soft};
use self::release::SetScore;
use crate::args::{
    ConfigArgs, ControlArgs, InceptionArgs, PrivateDataArgs, PrivateDataset, PublicSet, PublicSetArgs,
    ScaleArgs, parse_path, positive, word_among,
};
use crate::files::controls::Control;
use crate::files::{data_sets, pictures};
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings;

/// Score a synthetic data set of any origin: what classifiers learn from it, beside a control
///
/// Classifiers of fixed recipes learn the data set from scratch, each with several seeds; the last
/// step counts, and nothing is chosen by the test images. The same recipes learn public data alone:
/// what the data set adds is the gain over that control. All classifiers are shown, never the best.
/// Results are kept, and a run that was stopped goes on; another run scores again without training
/// again.
#[derive(Parser)]
#[command(
    name = "score-release",
    version,
    after_help = "\
Examples:
  score-release --release combined --test-dir datasets --output-dir score
  score-release --release gen/gen.npz --test-dir datasets --test-set fashion-mnist \\
    --epsilon 1 --delta 1e-5 --adjacency add-remove --chosen-on public --runs 1 \\
    --classifiers-tried 0 --output-dir score
  score-release --release images --test-dir photos --test-set folders \\
    --classifiers mlp,small-cnn --output-dir score

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct ScoreRelease {
    /// The data set: a file of images and labels (.npz with x and y, .pt, .safetensors, .parquet
    /// with image and label), a folder of combine or label-filter, of Parquet files, or of images
    /// per class
    #[arg(long, value_name = "PATH", value_parser = parse_path, help_heading = "Data set")]
    release: PathBuf,
    /// Its labels, CSV [default: those in its file or folder]
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Data set")]
    labels: Option<PathBuf>,
    /// Probabilities of all classes, one row per image, which take the labels' place in the loss;
    /// the control keeps its public labels
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Data set")]
    soft_labels: Option<PathBuf>,
    /// Temperature at which those were softened: then the classifiers' scores are softened, too
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = positive, requires = "soft_labels", help_heading = "Data set")]
    temperature: f64,
    /// Number of classes; labels are 0..N-1
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(i64).range(2..=10_000), help_heading = "Data set")]
    classes: i64,
    #[command(flatten)]
    scale: ScaleArgs,
    /// Folder of the test images: MNIST's or Fashion-MNIST's, or folders
    #[arg(long, value_name = "DIR", value_parser = parse_path, help_heading = "Test images")]
    test_dir: PathBuf,
    /// What it holds: mnist, fashion-mnist, or folders (<class>/*.png, or test/<class>/*.png)
    #[arg(
        long,
        value_name = "NAME",
        value_enum,
        default_value = "mnist",
        hide_possible_values = true,
        help_heading = "Test images"
    )]
    test_set: PrivateDataset,
    /// Score by these classes alone, such as 0,2,4,6,8: images of the others are left out of all
    /// sets [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Test images")]
    only_classes: Vec<i64>,
    #[command(flatten, next_help_heading = "Public control")]
    public: PublicSetArgs,
    #[command(flatten)]
    controls: ControlArgs,
    /// Which classifiers learn the data set: scatter-linear, mlp, small-cnn, ucstub; and the three
    /// of the benchmark DPImageBench, resnet110, wrn40-4, resnext29, which take days on a CPU
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = word_among(&NetworkKind::JUDGES), default_value = "scatter-linear,mlp,small-cnn,ucstub", hide_possible_values = true, help_heading = "Classifiers")]
    classifiers: Vec<NetworkKind>,
    /// Seeds of the small ones: mlp, small-cnn (scatter-linear draws nothing)
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100), help_heading = "Classifiers")]
    seeds: u64,
    /// Seeds of each of the others: ucstub takes minutes, the benchmark's three take days
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100), help_heading = "Classifiers")]
    large_seeds: u64,
    /// Euclidean distance of pixels in [0, 1] below which two images are near-copies
    #[arg(long, value_name = "DISTANCE", default_value_t = 1.0, value_parser = positive, help_heading = "Images")]
    near: f64,
    /// Folder of the private images of the same kind as the test images: measures resemblance to
    /// them and near-copies of them, and then the report has no guarantee
    #[arg(long, value_name = "DIR", value_parser = parse_path, help_heading = "Images")]
    private_dir: Option<PathBuf>,
    #[command(flatten)]
    inception: InceptionArgs,
    #[command(flatten)]
    claims: Claims,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "score", help_heading = "Output")]
    output_dir: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// What the makers say of the data set: printed as said, and never checked here.
#[derive(clap::Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "What its makers say")]
struct Claims {
    /// Differential privacy's epsilon, or inf for none [default: not stated]
    #[arg(long, value_name = "EPSILON", value_parser = any_positive)]
    #[serde(serialize_with = "as_text")]
    epsilon: Option<f64>,
    /// Its delta [default: not stated]
    #[arg(long, value_name = "DELTA", value_parser = positive)]
    delta: Option<f64>,
    /// Which data sets are neighbours, such as add-remove or replace-one [default: not stated]
    #[arg(long, value_name = "WORD")]
    adjacency: Option<String>,
    /// What hyper-parameters were chosen on: nothing, public, synthetic, private or test data
    /// [default: not stated]
    #[arg(long, value_name = "DATA")]
    chosen_on: Option<String>,
    /// How many runs were made, this one being one of them [default: not stated]
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// How many classifiers were tried on the test images before [default: not stated]
    #[arg(long, value_name = "N")]
    classifiers_tried: Option<u64>,
}

fn any_positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|x: &f64| *x > 0.0).ok_or_else(|| "give a number above 0, or inf".to_owned())
}

/// JSON has no infinity, and what was stated must not look like what was not.
#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn as_text<S: serde::Serializer>(epsilon: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match epsilon {
        Some(epsilon) if epsilon.is_infinite() => serializer.serialize_str("inf"),
        epsilon => epsilon.serialize(serializer),
    }
}

const PAGE: &str = "score.md";
const PICTURE: &str = "score.png";
const OUTPUTS: [&str; 3] = [layout::SCORE_REPORT, PAGE, PICTURE];

/// Images of a class in the picture.
const SHOWN: usize = 10;

impl Step for ScoreRelease {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        let normalisation = settings::normalisation(&loaded.config.preprocessing)?;
        for (at, &network) in self.classifiers.iter().enumerate() {
            if let Err(error) = Recipe::of(network, 1, normalisation.clone(), ctx.seed) {
                bail!("--classifiers: {error}");
            }
            if self.classifiers[..at].contains(&network) {
                bail!("--classifiers names {} twice", network.word());
            }
        }
        if self.soft_labels.is_some() && !self.only_classes.is_empty() {
            bail!("--only-classes does not go with --soft-labels, which are of all classes; leave one out");
        }
        let release = data_sets::only_classes(release::load(self)?, &self.only_classes)?;
        let soft = self.soft(&release)?;
        let program = fidelity::program(&self.inception, ctx.device)?;
        let _lock = ctx.lock("--output-dir", &self.output_dir, &self.outputs(ctx.seed))?;
        let test = self.records_like(&self.test_dir, Split::Test)?;
        let shape = release.shape();
        test.images.expect_shape(test.source(), shape).context("the test images do not fit the data set")?;
        if test.classes() != release.classes() {
            bail!(
                "{} has {} classes, and the data set {}; give --classes",
                test.name,
                test.classes(),
                release.classes()
            );
        }
        let public = self.public_records()?;
        let mut report = Report::new();
        for path in &release.files {
            report.input(Input::open(path)?);
        }
        for record in release.listing.iter().cloned() {
            report.input(Input::of(record));
        }
        if let Some(soft) = &soft {
            report.input(Input::of(soft.file.clone()));
        }
        for record in test.inputs()? {
            report.input(Input::not_covered(record));
        }
        if let Some(record) = program.as_ref().and_then(|(_, name)| name.program.clone()) {
            report.input(Input::not_covered(record));
        }
        if let Some(public) = &public {
            data_sets::describe(&mut report, public)?;
        }
        let label = report.guarantee().clone();
        let score = SetScore::of(&release, &test, public.as_ref(), self.near, ctx)?;
        let judges = Judges { args: self, normalisation: &normalisation, test: &test, ctx };
        let public_label = match &public {
            Some(public) if public.privacy == Privacy::Private => Guarantee::none(data_sets::READ),
            _ => Guarantee::Public,
        };
        let control =
            public.as_ref().map(|public| self.control_records(public, &release, ctx)).transpose()?;
        let scored = judges.judge("release", &release, soft.as_ref(), &label)?;
        let controlled = match &control {
            Some(control) if control.classes() == test.classes() => {
                judges.judge("control", control, None, &public_label)?
            }
            _ => Vec::new(),
        };
        let given = self.controls.measure(&test, &normalisation, ctx)?;
        let beside = Beside::new(&judges, &release, &controlled, program)?;
        let fidelity = match &beside {
            Some(beside) => beside.fidelity()?,
            None => None,
        };
        // Read last, and only here: all that stands above has nothing of them.
        let private = match &self.private_dir {
            Some(dir) => {
                let private = self.records_like(dir, Split::Train)?;
                private.images.expect_shape(private.source(), shape)?;
                for record in private.inputs()? {
                    report.input(Input::private(record, "the score was asked to look at private images"));
                }
                Some(fidelity::Private::measure(&judges, &release, &private, beside.as_ref())?)
            }
            None => None,
        };
        let access = report.access();
        let total = Total {
            scored: &scored,
            control: &controlled,
            given: &given,
            classes: self.scored_classes(&test),
        };
        let page = page::Page {
            args: self,
            release: &release,
            set: &score,
            total: &total,
            fidelity: fidelity.as_ref(),
            private: private.as_ref(),
            guarantee: report.guarantee(),
            test: &test,
        }
        .text();
        report.output(write_bytes(&self.output_dir.join(PAGE), access, page.as_bytes())?);
        report.output(pictures::class_sheet(
            &format!("{} images, some of each class", release.len()),
            &release.images,
            release.labels.values(),
            None,
            SHOWN,
            &self.output_dir.join(PICTURE),
            access,
        )?);
        for judged in scored.iter().chain(&controlled) {
            for run in &judged.runs {
                report.output(run.weights.clone());
            }
        }
        report
            .field("release", &self.release)?
            .field("images", release.len())?
            .field("soft_labels", &self.soft_labels)?
            .field("temperature", soft.as_ref().map(|soft| soft.temperature))?
            .field("set", &score)?
            .field("classifiers", &scored)?
            .field("public_only_control", &controlled)?
            .field("given_controls", &given)?
            .field("strongest_control", total.strongest_control())?
            .field("mean_accuracy", total.mean())?
            .field("gain", total.gain())?
            .field("fidelity", &fidelity)?
            .field("private", &private)?
            .field("stated_by_its_makers", &self.claims)?
            .field("formal_guarantee_scope", SCOPE)?;
        loaded.describe(&mut report)?;
        ctx.write_report(&report, &self.output_dir.join(layout::SCORE_REPORT))?;
        ctx.print(page.trim_end())?;
        Ok(Outcome::Done)
    }
}

/// What the label is about.
const SCOPE: &str = "the data that the scored set and the classifiers were made from; the test images are others, and the label does not cover them";

impl ScoreRelease {
    /// Every file that a run may write, in the output folder.
    fn outputs(&self, seed: u64) -> Vec<String> {
        let judged = self.classifiers.iter().flat_map(|&network| {
            let seeds = (0..self.seeds_of(network)).map(move |at| seed.wrapping_add(at));
            seeds.flat_map(move |seed| {
                ["release", "control"].map(|origin| judges::folder(origin, network, seed))
            })
        });
        let own = judges::OF_TEST.map(|network| judges::folder("test", network, seed));
        let files = |folder: PathBuf| {
            [layout::MODEL, layout::TRAINING_REPORT, layout::CHECKPOINT]
                .map(|name| folder.join(name).to_string_lossy().into_owned())
        };
        judged.chain(own).flat_map(files).chain(OUTPUTS.map(str::to_owned)).collect()
    }

    fn soft(&self, release: &Records) -> Result<Option<Soft>> {
        let Some(path) = &self.soft_labels else { return Ok(None) };
        let soft = SoftLabels::load_for(path, release.classes(), release.len())
            .context("cannot use the soft labels")?;
        let (file, temperature) = (FileRecord::of(path)?, self.temperature);
        Ok(Some(Soft { rows: soft.tensor()?, temperature, file }))
    }

    /// Test or private images.
    fn records_like(&self, dir: &std::path::Path, split: Split) -> Result<Records> {
        let data =
            PrivateDataArgs { dataset: self.test_set, image_size: None, scale: ScaleArgs { scale: None } };
        data_sets::only_classes(data.load(dir, split)?, &self.only_classes)
    }

    /// Number of classes that a test image can be of.
    fn scored_classes(&self, test: &Records) -> i64 {
        if self.only_classes.is_empty() { test.classes() } else { self.only_classes.len() as i64 }
    }

    fn dataset(&self) -> Option<Dataset> {
        match self.public.public {
            Some(PublicSet(dataset)) => dataset,
            None => (self.test_set == PrivateDataset::Mnist).then_some(Dataset::Digits),
        }
    }

    fn public_records(&self) -> Result<Option<Records>> {
        let Some(dataset) = self.dataset() else { return Ok(None) };
        let records = self.public.load(dataset, Wanted::Labelled)?;
        // Those of other classes than the test images' are no control, and stay as they are.
        let same = records.classes() == self.classes;
        Ok(Some(if same { data_sets::only_classes(records, &self.only_classes)? } else { records }))
    }

    /// As many public images as the data set has, changed.
    fn control_records(&self, public: &Records, release: &Records, ctx: &Context) -> Result<Records> {
        public
            .images
            .expect_shape(public.source(), release.shape())
            .context("the public images do not fit the data set; give another --public, or none")?;
        self.public.changed(public, self.dataset(), release.len(), ctx.seed)
    }

    /// Seeds of a classifier.
    fn seeds_of(&self, network: NetworkKind) -> u64 {
        match network {
            NetworkKind::ScatterLinear => 1,
            NetworkKind::Mlp | NetworkKind::SmallCnn => self.seeds,
            _ => self.large_seeds,
        }
    }
}

/// All results.
struct Total<'a> {
    scored: &'a [Judged],
    control: &'a [Judged],
    given: &'a [Control],
    classes: i64,
}

/// A control's name and accuracy in per cent.
#[derive(Clone, Debug, Serialize)]
struct Strongest {
    name: String,
    accuracy: f64,
}

impl Total<'_> {
    /// Mean over the classifiers' means: no classifier is chosen.
    fn mean(&self) -> f64 {
        self.scored.iter().map(|judged| judged.mean).sum::<f64>() / self.scored.len().max(1) as f64
    }

    /// The best of what needs no private data; chance is always there.
    fn strongest_control(&self) -> Strongest {
        let chance = Strongest { name: "chance".to_owned(), accuracy: 100.0 / self.classes as f64 };
        let judged = self.control.iter().map(|judged| Strongest {
            name: format!("{} on public data", judged.classifier.word()),
            accuracy: judged.mean,
        });
        let given = self
            .given
            .iter()
            .map(|control| Strongest { name: control.name.to_owned(), accuracy: control.overall_accuracy });
        judged.chain(given).fold(chance, |best, next| if next.accuracy > best.accuracy { next } else { best })
    }

    /// Points of the mean above the strongest control.
    fn gain(&self) -> f64 {
        self.mean() - self.strongest_control().accuracy
    }
}
