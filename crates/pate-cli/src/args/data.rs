//! Flags that say which data set is read, and from where.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pate_core::data::{Dataset, ImageSize};

use super::{ScaleArgs, parse_path};

/// MNIST's folder where a PATE repository keeps it.
pub const MNIST_DIR: &str = "wp3_d3.2_saferlearn/src/input-data/MNIST";

/// `shard_indices.json` where a PATE repository keeps it.
pub const SHARD_INDICES: &str = "wp3_d3.2_saferlearn/shard_indices.json";

/// The public data set of a step.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Public data")]
pub struct PublicDataArgs {
    /// Folder of the data set: torchvision's layout, or the IDX files straight in it [default:
    /// EMNIST, KMNIST, FashionMNIST or MNIST in wp3_d3.2_saferlearn/src/input-data; the digits need
    /// none]
    #[arg(long, value_name = "DIR", value_parser = parse_path)]
    pub(crate) data_root: Option<PathBuf>,

    /// emnist, kmnist, fashion-mnist, mnist, digits (inside the program, so that nothing need be
    /// fetched), or public images of your own in --data-root: idx (files named as MNIST's) or
    /// folders (<class>/*.png)
    #[arg(long, value_name = "NAME", default_value_t = Dataset::Emnist)]
    pub(crate) dataset: Dataset,

    /// The same as --dataset kmnist
    #[arg(long, conflicts_with = "dataset")]
    pub(crate) use_kmnist: bool,

    /// EMNIST's files hold every image transposed: upright turns them back, raw keeps them
    #[arg(long, value_enum, default_value_t = OrientationArg::Upright)]
    pub(crate) orientation: OrientationArg,

    /// With --dataset folders: size that every image is brought to, one number of pixels or
    /// HEIGHTxWIDTH [default: the images' own, which must all be the same]
    #[arg(long, value_name = "SIZE")]
    pub(crate) image_size: Option<ImageSize>,

    #[command(flatten)]
    pub(crate) scale: ScaleArgs,

    /// The data set is private: what is made from it gets no guarantee and is readable by you
    /// alone. MNIST counts as private, any other as public
    #[arg(long)]
    pub(crate) private_data: bool,
}

/// Names of orientations on command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OrientationArg {
    /// As people write.
    Upright,
    /// As they stand in the files.
    Raw,
}

/// The private data set of a step; its folder is the step's own argument.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Private data")]
pub struct PrivateDataArgs {
    /// What the data folder holds: mnist, fashion-mnist, or folders (<class>/*.png, or
    /// train/<class>/*.png and test/<class>/*.png)
    #[arg(long, value_name = "NAME", value_enum, default_value_t = PrivateDataset::Mnist, hide_possible_values = true)]
    pub(crate) dataset: PrivateDataset,

    /// With --dataset folders: size that every image is brought to, one number of pixels or
    /// HEIGHTxWIDTH [default: the images' own, which must all be the same]
    #[arg(long, value_name = "SIZE")]
    pub(crate) image_size: Option<ImageSize>,

    #[command(flatten)]
    pub(crate) scale: ScaleArgs,
}

/// Names of private data sets on command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrivateDataset {
    /// MNIST.
    Mnist,
    /// Fashion-MNIST in the part of the private data.
    FashionMnist,
    /// A folder of images per class.
    Folders,
}
