//! What a private training takes from public images: the whitening of features, and where it
//! starts.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use artifact::FileRecord;
use clap::{Args, ValueEnum};
use pate_core::base::rng::{Purpose, Stream};
use pate_core::config::AugmentationKind;
use pate_core::data::augment::{Augmentation, Geometry};
use pate_core::data::{Dataset, Normalisation, Orientation, Records, Split, Wanted};
use pate_core::models::ScatterLinear;
use pate_core::nn;
use pate_core::train::{LogisticPlan, logistic};
use serde_json::{Value, json};
use tch::Tensor;

use crate::args::{parse_path, positive, word};
use crate::files::data_sets;
use crate::run::Context;

/// Public images beside the private ones.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Public data (scatter-linear)")]
pub(super) struct PublicFeatureArgs {
    /// Public images by which features are whitened: digits (inside the program), emnist, kmnist,
    /// fashion-mnist, mnist, idx, or none: features as they are
    #[arg(long, value_name = "NAME", default_value = "none", value_parser = parse_public)]
    public: Public,

    /// Folder of the public images, as --data-dir; the digits need none
    #[arg(long, value_name = "DIR", value_parser = parse_path)]
    public_root: Option<PathBuf>,

    /// MNIST counts as private in these programs: with --public mnist, say that none of it is
    /// private here
    #[arg(long)]
    mnist_is_public: bool,

    /// How many public images; where there are fewer, each comes several times, changed
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    public_images: u32,

    /// Changes to the public images [default: handwriting for the digits, none for others]
    #[arg(long, value_name = "KIND", value_parser = word::<AugmentationKind>())]
    public_augmentation: Option<AugmentationKind>,

    /// Number of directions of largest variance that are kept of the public features
    #[arg(long, value_name = "K", default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..=20_000))]
    whiten: i64,

    /// Added to their variances before they are divided by their square roots
    #[arg(long, value_name = "VARIANCE", default_value_t = 0.02, value_parser = positive)]
    whiten_ridge: f64,

    /// Weights before the first step: zero, or a logistic regression on the public images and
    /// their labels, which must mean what the private ones mean
    #[arg(long, value_enum, default_value_t = Start::Zero, hide_possible_values = true)]
    start: Start,
}

/// Where training starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Start {
    Zero,
    Public,
}

/// A public data set, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Public(Option<Dataset>);

impl std::fmt::Display for Public {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or("none", Dataset::name).fmt(f)
    }
}

fn parse_public(text: &str) -> Result<Public, String> {
    match text {
        "none" => Ok(Public(None)),
        "folders" => Err("folders are not read here; give idx, or one of the data sets".to_owned()),
        _ => text
            .parse()
            .map(|dataset| Public(Some(dataset)))
            .map_err(|known: String| format!("none, or {known}")),
    }
}

/// How the start is fitted: settings that need no private data, and were chosen without any.
const START: LogisticPlan = LogisticPlan { ridge: 1e-3, iterations: 200 };

/// Images changed at once.
const CHUNK: i64 = 1000;

impl PublicFeatureArgs {
    /// All that decides the network before training, but for the files' content.
    pub(super) fn settings(&self) -> Value {
        json!({
            "public": self.public.to_string(),
            "public_images": self.public_images,
            "public_augmentation": self.augmentation(),
            "whiten": self.public.0.map(|_| self.whiten),
            "whiten_ridge": self.public.0.map(|_| self.whiten_ridge),
            "start": match self.start {
                Start::Zero => json!("zero"),
                Start::Public => json!({ "public": START }),
            },
        })
    }

    fn augmentation(&self) -> AugmentationKind {
        self.public_augmentation.unwrap_or(match self.public.0 {
            Some(Dataset::Digits) => AugmentationKind::Handwriting,
            _ => AugmentationKind::None,
        })
    }

    /// Whether training starts from public labels.
    pub(super) fn starts_from_labels(&self) -> bool {
        self.start == Start::Public
    }

    /// The public records; none where there are none.
    ///
    /// # Errors
    /// Data that are not there, or are not public.
    pub(super) fn load(&self) -> Result<Option<Records>> {
        let Some(dataset) = self.public.0 else {
            if self.start == Start::Public {
                bail!("--start public needs --public, the images and labels to start from");
            }
            return Ok(None);
        };
        let root = match (&self.public_root, dataset) {
            (_, Dataset::Digits) => PathBuf::new(),
            (Some(root), _) => root.clone(),
            (None, _) => bail!("--public {dataset} needs --public-root, the folder of its files"),
        };
        let wanted = if self.starts_from_labels() { Wanted::Labelled } else { Wanted::Images };
        let mut records = dataset.load(&root, Split::Train, Orientation::Upright, None, wanted)?;
        data_sets::require_public("--public", dataset, &mut records, self.mnist_is_public)?;
        records.files.iter().for_each(|path| input_file::note(path));
        Ok(Some(records))
    }

    /// `network` whitened by `public`, and started from its labels where that was asked for.
    ///
    /// # Errors
    /// Images of another shape, labels of other classes, a stop.
    pub(super) fn prepare(
        &self,
        network: ScatterLinear,
        public: &Records,
        normalisation: &Normalisation,
        ctx: &Context,
    ) -> Result<ScatterLinear> {
        let rows: Vec<i64> = (0..i64::from(self.public_images)).map(|i| i % public.len() as i64).collect();
        let chosen = public.select(&rows)?;
        let images = self.changed(chosen.images.tensor(), ctx.seed)?;
        let images = normalisation.apply(&images);
        let progress = ctx.progress();
        progress.start("public image", rows.len() as u64);
        let features = network.features_of(&images, progress)?;
        progress.finish();
        ctx.say(&format!("whitening to {} values", self.whiten));
        let network = network
            .whitened_by(&features, self.whiten, self.whiten_ridge)
            .context("cannot whiten by the public images")?;
        if !self.starts_from_labels() {
            return Ok(network);
        }
        let classes = pate_core::models::Classifier::classes(&network);
        if public.classes() != classes {
            bail!(
                "--start public: {} has {} classes, and the private data {classes}; leave it out, so that training starts \
                 at zero",
                public.name,
                public.classes()
            );
        }
        progress.start("iteration", START.iterations);
        let features = network.whiten(&features)?;
        let (weight, bias) = logistic(&features, &chosen.labels.tensor(), classes, &START, progress)?;
        progress.finish();
        nn::restore(network.head(), &[weight, bias])?;
        Ok(network)
    }

    fn changed(&self, images: &Tensor, seed: u64) -> Result<Tensor> {
        let width = images.size()[3];
        let Some(augmentation) = Augmentation::of(self.augmentation(), 1.0, Geometry::teachers(width)) else {
            return Ok(images.shallow_clone());
        };
        let n = images.size()[0];
        let mut parts = Vec::new();
        for (first, index) in (0..n).step_by(CHUNK as usize).zip(0..) {
            let mut stream = Stream::new(seed, Purpose::PublicFeatures, index);
            parts.push(augmentation.apply(&images.f_narrow(0, first, CHUNK.min(n - first))?, &mut stream)?);
        }
        Ok(Tensor::f_cat(&parts, 0)?)
    }

    /// The files of the public records, for the report.
    pub(super) fn files(public: Option<&Records>) -> Result<Vec<FileRecord>> {
        Ok(public.map(Records::inputs).transpose()?.unwrap_or_default())
    }
}
