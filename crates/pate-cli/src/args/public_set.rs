//! Flags of a public data set beside private ones.

use std::path::PathBuf;

use clap::Args;
use pate_core::config::AugmentationKind;
use pate_core::data::Dataset;

use super::{parse_path, word};

/// A public data set, or none.
#[derive(Args, Clone, Debug)]
pub struct PublicSetArgs {
    /// Public images: digits (inside the program), emnist, kmnist, fashion-mnist, mnist, idx, or
    /// none [default: none; of score-release the digits, where the test images are MNIST's]
    #[arg(long, value_name = "NAME", value_parser = parse_public)]
    pub(crate) public: Option<PublicSet>,

    /// Folder of the public images, as --data-dir; the digits need none
    #[arg(long, value_name = "DIR", value_parser = parse_path)]
    pub(crate) public_root: Option<PathBuf>,

    /// MNIST counts as private in these programs: with --public mnist, say that none of it is
    /// private here
    #[arg(long)]
    pub(crate) mnist_is_public: bool,

    /// Changes to the public images [default: handwriting for the digits, none for others]
    #[arg(long, value_name = "KIND", value_parser = word::<AugmentationKind>())]
    pub(crate) public_augmentation: Option<AugmentationKind>,
}

/// The name of a public data set, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicSet(pub Option<Dataset>);

impl std::fmt::Display for PublicSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or("none", Dataset::name).fmt(f)
    }
}

fn parse_public(text: &str) -> Result<PublicSet, String> {
    match text {
        "none" => Ok(PublicSet(None)),
        "folders" => Err("folders are not read here; give idx, or one of the data sets".to_owned()),
        _ => text
            .parse()
            .map(|dataset| PublicSet(Some(dataset)))
            .map_err(|known: String| format!("none, or {known}")),
    }
}
