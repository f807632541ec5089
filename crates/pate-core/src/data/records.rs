//! Images with their labels, where they came from, and whether they are private.

use std::path::{Path, PathBuf};

use artifact::FileRecord;

use tch::Tensor;

use super::augment::Augmentation;
use super::{ImageShape, Images, Labels};
use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::{Error, Result};

/// Whether data may leave the place where it is without a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Anybody may have it.
    Public,
    /// May only leave through a charged mechanism.
    Private,
}

/// Images with their labels. A clone has the same images in memory.
#[derive(Clone)]
pub struct Records {
    /// `[n, c, h, w]` in `[0, 1]`.
    pub images: Images,
    /// One class per image.
    pub labels: Labels,
    /// Where it came from, for messages and reports.
    pub name: String,
    /// May it be shown?
    pub privacy: Privacy,
    /// Names of the classes, by number; empty where the numbers are the names.
    pub class_names: Vec<String>,
    /// Files that it was read from.
    pub files: Vec<PathBuf>,
    /// For a folder of images, in place of all its files: the folder, their size, and a hash of the
    /// list of their hashes.
    pub listing: Option<FileRecord>,
}

impl Records {
    /// Samples and their labels out of `files`, the samples' own first. They count as private: what
    /// they were made from is for reports to say.
    pub fn of_samples(images: Images, labels: Labels, files: Vec<PathBuf>) -> Self {
        Self {
            images,
            labels,
            name: files.first().map(|path| path.display().to_string()).unwrap_or_default(),
            privacy: Privacy::Private,
            class_names: Vec::new(),
            files,
            listing: None,
        }
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file or folder that its images came from, for messages.
    pub fn source(&self) -> &Path {
        let listed = self.listing.as_ref().map(|record| record.path.as_path());
        self.files.first().map(PathBuf::as_path).or(listed).unwrap_or(Path::new("the embedded images"))
    }

    /// Shape of the images.
    pub fn shape(&self) -> ImageShape {
        self.images.shape()
    }

    /// Number of classes; labels are `0..classes`.
    pub fn classes(&self) -> i64 {
        self.labels.classes()
    }

    /// What it was read from, with hashes, for reports.
    ///
    /// # Errors
    /// A file that is not there any more.
    pub fn inputs(&self) -> Result<Vec<FileRecord>> {
        let files = self.files.iter().map(|path| FileRecord::of(path));
        Ok(files.chain(self.listing.clone().map(Ok)).collect::<Result<_, artifact::Error>>()?)
    }

    /// The records at `rows`, in that order.
    ///
    /// # Errors
    /// A row that does not exist.
    pub fn select(&self, rows: &[i64]) -> Result<Self> {
        let n = self.len() as i64;
        if let Some(row) = rows.iter().find(|&&r| r < 0 || r >= n) {
            return Err(Error::invalid(format!("{} has {n} records; there is no record {row}", self.name)));
        }
        let index = tensor::from_i64(rows);
        Ok(Self {
            images: Images::trusted(self.images.tensor().f_index_select(0, &index)?),
            labels: self.labels.select(rows),
            name: self.name.clone(),
            privacy: self.privacy,
            class_names: self.class_names.clone(),
            files: self.files.clone(),
            listing: self.listing.clone(),
        })
    }

    /// `n` records, from the first on and around again, their images changed by `augmentation`;
    /// each time that a record comes it is changed in another way.
    ///
    /// # Errors
    /// No records, no room.
    pub fn changed(&self, n: usize, augmentation: Option<&Augmentation>, seed: u64) -> Result<Self> {
        /// Images changed at once.
        const CHUNK: i64 = 1000;
        if self.is_empty() {
            return Err(Error::invalid(format!("{} has no records", self.name)));
        }
        let rows: Vec<i64> = (0..n as i64).map(|row| row % self.len() as i64).collect();
        let chosen = self.select(&rows)?;
        let Some(augmentation) = augmentation else { return Ok(chosen) };
        let mut parts = Vec::new();
        tensor::batches(n as i64, CHUNK, |first, rows| {
            let mut stream = Stream::new(seed, Purpose::PublicFeatures, (first / CHUNK) as u64);
            parts.push(augmentation.apply(&chosen.images.tensor().f_narrow(0, first, rows)?, &mut stream)?);
            Ok(())
        })?;
        Ok(Self { images: Images::trusted(Tensor::f_cat(&parts, 0)?), ..chosen })
    }
}
