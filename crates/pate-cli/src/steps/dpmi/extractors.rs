//! What the trainings of extractors share: public images in, an extractor's files out.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use artifact::{Access, Guarantee, Input, Report, layout};
use clap::Args;
use pate_core::config::AugmentationKind;
use pate_core::data::augment::{Augmentation, Geometry};
use pate_core::data::{Dataset, Images, Records};
use pate_core::dpmi::latents;
use pate_core::models::{Extractor, Latent};
use picture::Sample;

use crate::args::{PublicDataArgs, positive, word};
use crate::files::{data_sets, pictures};
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

/// Writes a trained extractor with the statistics of public latents, its picture, and what they
/// are into `report`.
///
/// # Errors
/// Where a file cannot be written, a stop.
pub(super) fn finish(
    network: Extractor,
    public: &PublicImageArgs,
    records: &Records,
    dir: &Path,
    report: &mut Report,
    ctx: &Context,
) -> Result<PathBuf> {
    let access = report.access();
    let path = dir.join(layout::EXTRACTOR);
    let network = if network.latent() == Latent::Prior {
        let drawn = pate_core::base::rng::Stream::new(ctx.seed, pate_core::base::rng::Purpose::Latents, 0)
            .normal_tensor(&[8 * SHOWN, network.latent_dim()])?;
        let progress = ctx.progress();
        let images = network.decode(&drawn, progress)?;
        report.output(pictures::grid(&images, &dir.join(layout::SAMPLES_PICTURE), access)?);
        network
    } else {
        let changed = records.changed(
            MOST.min(20 * records.len()).max(records.len().min(MOST)),
            public.augmentation(records).as_ref(),
            ctx.seed,
        )?;
        let progress = ctx.progress();
        progress.start("public latent", changed.len() as u64);
        let rows = network.encode(&changed.images, progress)?;
        progress.finish();
        let error = reconstruction_error(&network, &changed.images, &rows, ctx)?;
        report.field("reconstruction_error_of_public_images", error)?;
        report.output(latents::save_public(&rows, &dir.join(layout::PUBLIC_LATENTS))?);
        report.output(reconstructions(&network, &changed.images, &rows, dir, access)?);
        network.with_standard(&rows)?
    };
    let extractor = network.save(&path, access)?;
    report
        .field("image_shape", records.images.tensor().size()[1..].to_vec())?
        .field("latent_dim", network.latent_dim())?
        .field("latents_are", network.latent())?
        .field("extractor_path", &path)?;
    report.output(extractor);
    Ok(path)
}

/// Mean squared error of a pixel over the first images.
fn reconstruction_error(
    network: &Extractor,
    images: &Images,
    rows: &tch::Tensor,
    ctx: &Context,
) -> Result<f64> {
    const FEW: i64 = 2000;
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
    let drawn = network.decode(&rows.narrow(0, 0, n), &pate_core::base::progress::Silent)?;
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
    if extractor.standard().is_none() {
        bail!("{} has no statistics of public latents; train it again", path.display());
    }
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
