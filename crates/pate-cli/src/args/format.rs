//! Names of export formats on command lines.

use clap::ValueEnum;

/// Names of formats on command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Format {
    /// The samples as .pt, the labels as .csv.
    Pt,
    /// Samples and labels in one .npz.
    Npz,
    /// A folder of PNG images for each class.
    Folders,
    /// Samples, labels and teacher ids in one .safetensors.
    Safetensors,
}
