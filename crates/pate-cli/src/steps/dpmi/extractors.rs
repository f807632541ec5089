//! What the trainings of extractors share: public images in, an extractor's files out.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use artifact::{Access, Guarantee, Input, Report, layout};
use clap::Args;
use pate_core::base::progress::Silent;
use pate_core::base::rng::{Purpose, Stream};
use pate_core::config::AugmentationKind;
use pate_core::data::augment::{Augmentation, Geometry};
use pate_core::data::{Dataset, Images, Records};
use pate_core::dpmi::latents;
use pate_core::models::{Extractor, Latent};
use picture::Sample;
use serde::Serialize;

use crate::args::{PublicDataArgs, positive, word};
use crate::files::data_sets;
use crate::files::pictures::{self, Curve};
use crate::resume::checkpoint::Checkpoint;
use crate::run::Context;

/// The public images that an extractor learns.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Public data")]
pub(super) struct PublicImageArgs {
    #[command(flatten)]
    data: PublicDataArgs,
    /// MNIST counts as private in these programs: with --dataset mnist, say that what is used of it
    /// is not private here
    #[arg(long)]
    mnist_is_public: bool,
    /// Use the images of these classes alone, such as 1,3,5,7,9: where the other classes of a data
    /// set are the private ones [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    only_classes: Vec<i64>,
    /// Changes to the images, drawn anew for each epoch [default: handwriting for the digits, none
    /// for others]
    #[arg(long, value_name = "KIND", value_parser = word::<AugmentationKind>())]
    augmentation: Option<AugmentationKind>,
    /// Factor of the changes' sizes
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = positive)]
    augmentation_strength: f64,
}

/// Changed images whose latents' statistics are taken, at most.
const MOST: usize = 20_000;
/// Images in a row of the picture.
const SHOWN: i64 = 10;

impl PublicImageArgs {
    /// Reads them; what they are goes into `report`.
    ///
    /// # Errors
    /// Data that are not there or not public, a class that they have not.
    pub(super) fn load(&self, report: &mut Report) -> Result<Records> {
        let dataset = self.data.dataset();
        let mut records =
            if self.only_classes.is_empty() { self.data.load_images()? } else { self.data.load()? };
        data_sets::require_public("--dataset", dataset, &mut records, self.mnist_is_public)?;
        data_sets::describe(report, &records)?;
        let records = data_sets::only_classes(records, &self.only_classes)?;
        report
            .field("dataset", &records.name)?
            .field("dataset_size", records.len())?
            .field("only_classes", &self.only_classes)?
            .field("augmentation", self.augmentation(&records))?;
        if let Some(basis) = self.data.basis(&records) {
            report.field("formal_guarantee_basis", basis)?;
        }
        if dataset == Dataset::Mnist {
            report.field(
                "formal_guarantee_basis",
                "the user says that what is used of MNIST is not private (--mnist-is-public)",
            )?;
        }
        Ok(records)
    }

    fn kind(&self) -> AugmentationKind {
        self.augmentation.unwrap_or(match self.data.dataset() {
            Dataset::Digits => AugmentationKind::Handwriting,
            _ => AugmentationKind::None,
        })
    }

    /// How they are changed.
    pub(super) fn augmentation(&self, records: &Records) -> Option<Augmentation> {
        Augmentation::of(self.kind(), self.augmentation_strength, Geometry::teachers(records.shape().width))
    }

    /// What decides their content beside their files, for a run that goes on.
    pub(super) fn settings(&self, records: &Records) -> serde_json::Value {
        serde_json::json!({
            "data": records.name, "listing": records.listing, "scale": self.data.scale().scale,
            "only_classes": self.only_classes, "augmentation": self.augmentation(records),
        })
    }
}

/// A training that is done.
pub(super) struct Trained<'a, A, P, H> {
    /// What was trained.
    pub(super) network: Extractor,
    /// Its images.
    pub(super) public: &'a PublicImageArgs,
    /// The same, read.
    pub(super) records: &'a Records,
    /// Its architecture.
    pub(super) architecture: A,
    /// How it was trained.
    pub(super) plan: &'a P,
    /// Its figures.
    pub(super) history: &'a [H],
    /// How long it took, where that is known.
    pub(super) seconds: Option<f64>,
    /// Over what its curves run.
    pub(super) x_label: &'static str,
    /// Its curves.
    pub(super) curves: Vec<Curve>,
}

impl<A: Serialize, P: Serialize, H: Serialize> Trained<'_, A, P, H> {
    /// Writes the extractor with the statistics of public latents, its pictures and its report.
    ///
    /// # Errors
    /// Where a file cannot be written, a stop.
    pub(super) fn write(
        self,
        dir: &Path,
        mut report: Report,
        checkpoint: &Checkpoint,
        ctx: &Context,
    ) -> Result<()> {
        let Self { public, records, .. } = self;
        let access = report.access();
        let curves = dir.join(layout::TRAINING_CURVES);
        let title = "Training of the extractor";
        report
            .field("architecture", self.architecture)?
            .field("plan", self.plan)?
            .field("training_history", self.history)?
            .field("training_seconds", self.seconds)?
            .output(pictures::curves(title, self.x_label, self.curves, &curves, access)?);
        let network = if self.network.latent() == Latent::Prior {
            let mut stream = Stream::new(ctx.seed, Purpose::Latents, 0);
            let drawn = stream.normal_tensor(&[8 * SHOWN, self.network.latent_dim()])?;
            let images = self.network.decode(&drawn, &Silent)?;
            report.output(pictures::grid(&images, &dir.join(layout::SAMPLES_PICTURE), access)?);
            self.network
        } else {
            let n = MOST.min(20 * records.len());
            let changed = records.changed(n, public.augmentation(records).as_ref(), ctx.seed)?;
            let progress = ctx.progress();
            progress.start("public latent", changed.len() as u64);
            let rows = self.network.encode(&changed.images, progress)?;
            progress.finish();
            let error = reconstruction_error(&self.network, &changed.images, &rows, ctx)?;
            report.field("reconstruction_error_of_public_images", error)?;
            report.output(latents::save_public(&rows, &dir.join(layout::PUBLIC_LATENTS))?);
            report.output(reconstructions(&self.network, &changed.images, &rows, dir, access)?);
            self.network.with_standard(&rows)?
        };
        let path = dir.join(layout::EXTRACTOR);
        let extractor = network.save(&path, access)?;
        report
            .field("image_shape", records.images.tensor().size()[1..].to_vec())?
            .field("latent_dim", network.latent_dim())?
            .field("latents_are", network.latent())?
            .field("extractor_path", &path)?
            .output(extractor);
        ctx.write_report(&report, &dir.join(layout::TRAINING_REPORT))?;
        checkpoint.remove();
        ctx.say(&format!("extractor of {} latents: {}", network.latent_dim(), path.display()));
        Ok(())
    }
}

/// Mean squared error of a pixel over the first images, whose latents are `rows`: of private ones
/// private.
///
/// # Errors
/// A stop.
pub(super) fn reconstruction_error(
    network: &Extractor,
    images: &Images,
    rows: &tch::Tensor,
    ctx: &Context,
) -> Result<f64> {
    const FEW: i64 = 5000;
    let n = FEW.min(rows.size()[0]);
    let drawn = network.decode(&rows.narrow(0, 0, n), &ctx.watch())?;
    let off = (drawn.tensor() - images.tensor().narrow(0, 0, n)).square();
    Ok(off.mean(tch::Kind::Double).double_value(&[]))
}

/// Public images above, what the extractor makes of them below.
fn reconstructions(
    network: &Extractor,
    images: &Images,
    rows: &tch::Tensor,
    dir: &Path,
    access: Access,
) -> Result<artifact::FileRecord> {
    let n = SHOWN.min(images.len() as i64);
    let first: Vec<i64> = (0..n).collect();
    let drawn = network.decode(&rows.narrow(0, 0, n), &Silent)?;
    let both = Images::concat(&[images.select(&first)?, drawn])?;
    let row = |name: &str, from: usize| {
        let samples = (0..n as usize).map(|i| Sample { image_idx: from + i, caption: String::new() });
        (name.to_owned(), samples.collect::<Vec<_>>())
    };
    let sheet = [row("public", 0), row("drawn again", n as usize)];
    let title = "Public images, and the same through the extractor";
    pictures::rows(title, &both, &sheet, &dir.join(layout::RECONSTRUCTIONS), access)
}

/// The extractor at `path`.
///
/// # Errors
/// A file that cannot be used.
pub(super) fn open(path: &Path, ctx: &Context) -> Result<(Extractor, Input)> {
    let input = Input::open(path)?;
    let extractor = Extractor::load(path, ctx.device).context("cannot use the extractor")?;
    Ok((extractor, input))
}

/// Refuses an extractor that is not known to be public.
///
/// # Errors
/// One whose report does not say so.
pub(super) fn require_public(path: &Path, input: &Input) -> Result<()> {
    if input.guarantee == Guarantee::Public {
        return Ok(());
    }
    bail!(
        "{} is not known to be public ({}): an extractor that learnt private images would tell of them; give one of \
         train-autoencoder or train-gan, with its report beside it",
        path.display(),
        input.guarantee.sentence()
    )
}
