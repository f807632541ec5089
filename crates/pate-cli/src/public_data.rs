//! Which public data set a step reads.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use pate_core::data::{Dataset, Orientation, Records, ShardIndices, Split};

use crate::args::parse_path;

/// The public data set of a step.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Public data")]
pub struct PublicDataArgs {
    /// Folder of the data set: torchvision's layout, or the IDX files straight in it [default: EMNIST, KMNIST,
    /// FashionMNIST or MNIST in wp3_d3.2_saferlearn/src/input-data; the digits need none]
    #[arg(long, value_name = "DIR", value_parser = parse_path)]
    data_root: Option<PathBuf>,

    /// emnist, kmnist, fashion-mnist, mnist, digits (inside the program, so that nothing need be fetched), or idx (public
    /// images of your own in --data-root, in files named as MNIST's)
    #[arg(long, value_name = "NAME", default_value_t = Dataset::Emnist)]
    dataset: Dataset,

    /// The same as --dataset kmnist
    #[arg(long, conflicts_with = "dataset")]
    use_kmnist: bool,

    /// EMNIST's files hold every image transposed: upright turns them back, raw keeps them
    #[arg(long, value_enum, default_value_t = OrientationArg::Upright)]
    orientation: OrientationArg,
}

/// Names of orientations on command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OrientationArg {
    /// As people write.
    Upright,
    /// As they stand in the files.
    Raw,
}

impl PublicDataArgs {
    /// Which one.
    pub fn dataset(&self) -> Dataset {
        if self.use_kmnist { Dataset::Kmnist } else { self.dataset }
    }

    /// Reads its training records.
    ///
    /// # Errors
    /// A missing folder, damaged files.
    pub fn load(&self) -> Result<Records> {
        let dataset = self.dataset();
        if dataset == Dataset::Digits && self.data_root.is_some() {
            bail!(
                "--data-root does not go with --dataset digits, which is inside the program; leave one out"
            );
        }
        let orientation = match self.orientation {
            OrientationArg::Upright => Orientation::Upright,
            OrientationArg::Raw => Orientation::Raw,
        };
        let default = format!("wp3_d3.2_saferlearn/src/input-data/{}", dataset.folder());
        let root = self.data_root.clone().unwrap_or_else(|| PathBuf::from(default));
        Ok(dataset.load(&root, Split::Train, orientation)?)
    }
}

/// MNIST's folder where a PATE repository keeps it.
pub const MNIST_DIR: &str = "wp3_d3.2_saferlearn/src/input-data/MNIST";

/// `shard_indices.json` where a PATE repository keeps it.
pub const SHARD_INDICES: &str = "wp3_d3.2_saferlearn/shard_indices.json";

/// Shard indices, all of whose rows are among `n_records` records.
///
/// # Errors
/// Names the file: what [`ShardIndices::load`] gives, or a row that does not exist.
pub fn shard_indices(path: &Path, n_records: usize) -> Result<ShardIndices> {
    let indices = ShardIndices::load(path).context("cannot use the shard indices")?;
    for (teacher_id, rows) in &indices.by_teacher {
        if let Some(row) = rows.iter().find(|&&row| row >= n_records as i64) {
            return Err(pate_core::Error::content(
                path,
                format!("teacher {teacher_id} has row {row}, but the training set has {n_records} records"),
                "give the indices that belong to this data set, or let them be made",
            )
            .into());
        }
    }
    Ok(indices)
}

/// One split of MNIST.
///
/// # Errors
/// A missing folder, damaged files.
pub fn mnist(root: &Path, split: Split) -> Result<Records> {
    Ok(pate_core::data::mnist(root, split)?)
}
