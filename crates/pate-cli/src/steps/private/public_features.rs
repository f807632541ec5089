//! What a private training takes from public images: the whitening of features, and where it
//! starts.

use anyhow::{Context as _, Result, bail};
use artifact::FileRecord;
use clap::{Args, ValueEnum};
use pate_core::data::{Dataset, Normalisation, Records, Wanted};
use pate_core::models::ScatterLinear;
use pate_core::nn;
use pate_core::train::{LogisticPlan, logistic};
use serde_json::{Value, json};

use crate::args::{PublicSet, PublicSetArgs, positive};
use crate::run::Context;

/// Public images beside the private ones.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Public data (scatter-linear)")]
pub(super) struct PublicFeatureArgs {
    #[command(flatten)]
    set: PublicSetArgs,

    /// How many public images; where there are fewer, each comes several times, changed
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    public_images: u32,

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

/// How the start is fitted: settings that need no private data, and were chosen without any.
const START: LogisticPlan = LogisticPlan { ridge: 1e-3, iterations: 200 };

impl PublicFeatureArgs {
    /// All that decides the network before training, but for the files' content.
    pub(super) fn settings(&self) -> Value {
        json!({
            "public": PublicSet(self.dataset()).to_string(),
            "public_images": self.public_images,
            "public_augmentation": self.set.augmentation(self.dataset()),
            "whiten": self.dataset().map(|_| self.whiten),
            "whiten_ridge": self.dataset().map(|_| self.whiten_ridge),
            "start": match self.start {
                Start::Zero => json!("zero"),
                Start::Public => json!({ "public": START }),
            },
        })
    }

    fn dataset(&self) -> Option<Dataset> {
        self.set.public.and_then(|set| set.0)
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
        let Some(dataset) = self.dataset() else {
            if self.start == Start::Public {
                bail!("--start public needs --public, the images and labels to start from");
            }
            return Ok(None);
        };
        let wanted = if self.starts_from_labels() { Wanted::Labelled } else { Wanted::Images };
        Ok(Some(self.set.load(dataset, wanted)?))
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
        let n = self.public_images as usize;
        let chosen = self.set.changed(public, self.dataset(), n, ctx.seed)?;
        let images = normalisation.apply(chosen.images.tensor());
        let progress = ctx.progress();
        progress.start("public image", n as u64);
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

    /// The files of the public records, for the report.
    pub(super) fn files(public: Option<&Records>) -> Result<Vec<FileRecord>> {
        Ok(public.map(Records::inputs).transpose()?.unwrap_or_default())
    }
}
