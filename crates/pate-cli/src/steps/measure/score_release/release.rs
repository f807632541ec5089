//! The data set that is scored, and what it is without any classifier.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use artifact::layout;
use pate_core::data::{
    Images, LabelColumn, Labels, Privacy, Records, Split, folders, is_parquet, parquet, read_labels_of,
};
use pate_core::evaluate::{self, Copies};
use serde::Serialize;

use super::ScoreRelease;
use crate::run::Context;

/// Samples and labels as the programs here name them in a folder.
const PAIRS: [[&str; 2]; 2] =
    [[layout::SAMPLES, layout::LABELS], ["combined_synthetic_samples.pt", "combined_synthetic_labels.csv"]];

/// Reads it, whatever it is.
///
/// # Errors
/// Names the file or folder and what it should be.
pub(super) fn load(args: &ScoreRelease) -> Result<Records> {
    let path = &args.release;
    let there = PAIRS.iter().find(|[samples, _]| path.join(samples).is_file());
    if there.is_none() && is_parquet(path) {
        if args.labels.is_some() {
            bail!("--labels: {} holds labels of its own, in its column label", path.display());
        }
        let records = parquet(path, args.classes, Privacy::Private).context("cannot use the data set")?;
        return checked(path, records);
    }
    if !path.is_dir() {
        return of_file(args, path, args.labels.clone()).context("cannot use the data set");
    }
    if let Some([samples, labels]) = there {
        let labels = args.labels.clone().unwrap_or_else(|| path.join(labels));
        return of_file(args, &path.join(samples), Some(labels)).context("cannot use the data set");
    }
    if args.labels.is_some() {
        bail!(
            "--labels goes with a file of images; in {} the folders' names are the classes",
            path.display()
        );
    }
    let records = folders(path, Split::Train, None, Privacy::Private).with_context(|| {
        format!(
            "{} holds no {}, so that it is read as a folder of images per class",
            path.display(),
            PAIRS[0][0]
        )
    })?;
    checked(path, records)
}

fn of_file(args: &ScoreRelease, samples: &Path, labels: Option<PathBuf>) -> Result<Records> {
    let (images, own) = Images::load_with_labels(samples, args.scale.rule(), args.classes)?;
    let mut files = vec![samples.to_path_buf()];
    let labels = match (labels, own) {
        (None, Some(own)) => own,
        (labels, _) => {
            let path = labels.unwrap_or_else(|| samples.with_file_name(layout::LABELS));
            let rows = read_labels_of(samples, images.len(), &path, args.classes, LabelColumn::Label)?;
            files.push(path.clone());
            Labels::new(&path, rows.into_iter().map(|row| row.label).collect(), args.classes)?
        }
    };
    if labels.len() != images.len() {
        return Err(pate_core::Error::content(
            samples,
            format!("it holds {} images and {} labels", images.len(), labels.len()),
            "a label belongs to each image",
        )
        .into());
    }
    checked(samples, Records::of_samples(images, labels, files))
}

fn checked(path: &Path, records: Records) -> Result<Records> {
    /// Fewer are no data set, and have no neighbours.
    const LEAST: usize = 10;
    if records.len() < LEAST {
        return Err(pate_core::Error::content(
            path,
            format!("it holds {} images", records.len()),
            format!("a data set that can be scored has {LEAST} or more"),
        )
        .into());
    }
    Ok(records)
}

/// The data set by itself.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SetScore {
    /// Images of each class.
    pub(super) class_counts: Vec<u64>,
    /// Classes without an image.
    pub(super) absent_classes: Vec<usize>,
    /// L1 distance of the class proportions to equal ones, from 0 to 2.
    pub(super) imbalance: f64,
    /// Different images.
    pub(super) distinct: usize,
    /// Near-copies of each other.
    pub(super) within: Copies,
    /// Near-copies of test images: what a classifier learns of those is no measure.
    pub(super) of_test: Copies,
    /// Near-copies of public images.
    pub(super) of_public: Option<Copies>,
}

impl SetScore {
    pub(super) fn of(
        records: &Records,
        test: &Records,
        public: Option<&Records>,
        near: f64,
        ctx: &Context,
    ) -> Result<Self> {
        let counts = records.labels.counts();
        let n = records.len() as f64;
        let even = 1.0 / counts.len() as f64;
        let imbalance = counts.iter().map(|&count| (count as f64 / n - even).abs()).sum();
        let absent = counts.iter().enumerate().filter(|(_, count)| **count == 0).map(|(class, _)| class);
        let progress = ctx.progress();
        progress.start("image compared", (3 * records.len().min(10_000)) as u64);
        let of =
            |other: &Records| evaluate::copies_of(&records.images, &other.images, near, ctx.seed, progress);
        let (distinct, within) = evaluate::copies_within(&records.images, near, ctx.seed, progress)?;
        let score = Self {
            absent_classes: absent.collect(),
            class_counts: counts,
            imbalance,
            distinct,
            within,
            of_test: of(test)?,
            of_public: match public {
                Some(public) if public.shape() == records.shape() => Some(of(public)?),
                _ => None,
            },
        };
        progress.finish();
        Ok(score)
    }
}
