//! A public data set beside private ones: read, and changed until there are enough images.

use std::path::PathBuf;

use anyhow::{Result, bail};
use pate_core::config::AugmentationKind;
use pate_core::data::augment::{Augmentation, Geometry};
use pate_core::data::{Dataset, Orientation, Records, Split, Wanted};

use crate::args::PublicSetArgs;
use crate::files::data_sets;

impl PublicSetArgs {
    /// How images of `dataset` are changed.
    pub fn augmentation(&self, dataset: Option<Dataset>) -> AugmentationKind {
        self.public_augmentation.unwrap_or(match dataset {
            Some(Dataset::Digits) => AugmentationKind::Handwriting,
            _ => AugmentationKind::None,
        })
    }

    /// The training records of `dataset`.
    ///
    /// # Errors
    /// Data that are not there, or are not public.
    pub fn load(&self, dataset: Dataset, wanted: Wanted) -> Result<Records> {
        let root = match (&self.public_root, dataset) {
            (_, Dataset::Digits) => PathBuf::new(),
            (Some(root), _) => root.clone(),
            (None, _) => bail!("--public {dataset} needs --public-root, the folder of its files"),
        };
        let mut records = dataset.load(&root, Split::Train, Orientation::Upright, None, wanted)?;
        data_sets::require_public("--public", dataset, &mut records, self.mnist_is_public)?;
        records.files.iter().for_each(|path| input_file::note(path));
        Ok(records)
    }

    /// `n` of the public records, changed; where there are fewer, each comes several times.
    ///
    /// # Errors
    /// Where there is no room.
    pub fn changed(
        &self,
        public: &Records,
        dataset: Option<Dataset>,
        n: usize,
        seed: u64,
    ) -> Result<Records> {
        let kind = self.augmentation(dataset);
        let augmentation = Augmentation::of(kind, 1.0, Geometry::teachers(public.shape().width));
        Ok(public.changed(n, augmentation.as_ref(), seed)?)
    }
}
