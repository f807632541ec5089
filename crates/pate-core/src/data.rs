//! Records: images, labels, what shape they have, and whether they are private.

mod digits;
mod folders;
mod images;
mod labels;
mod numbered;
mod public;
mod shard;
mod soft_labels;

pub use digits::{digits, enlarge_digits};
pub use folders::{folders, has_splits};
pub use images::{Images, RangeRule, Scale};
pub use labels::{LabelColumn, LabelRow, Labels, read_label_csv, read_labels_of, write_csv};
pub use numbered::{InPlace, numbered_folders};
pub use public::{Dataset, Orientation, Split, Wanted, mnist};
pub use shard::{Assignment, Shard, ShardIndices, ShardMetadata, class_counts};
pub use soft_labels::SoftLabels;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use artifact::FileRecord;
use serde::Serialize;
use tch::Tensor;

use crate::{Error, Result, tensor};

/// Shape of the images of a data set, and its number of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSpec {
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: i64,
    /// Rows of pixels.
    pub height: i64,
    /// Columns of pixels.
    pub width: i64,
    /// Number of classes; labels are `0..classes`.
    pub classes: i64,
}

impl ImageSpec {
    /// MNIST: 28x28, grey, ten classes.
    pub const MNIST: Self = Self { channels: 1, height: 28, width: 28, classes: 10 };

    /// `[n, channels, height, width]`.
    pub fn batch(&self, n: i64) -> [i64; 4] {
        [n, self.channels, self.height, self.width]
    }

    /// Pixel values of one image.
    pub fn numel(&self) -> i64 {
        self.channels * self.height * self.width
    }
}

/// Height and width of images, as a command line gives them: `32`, or `32x48`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    /// Rows of pixels.
    pub height: i64,
    /// Columns of pixels.
    pub width: i64,
}

impl fmt::Display for ImageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

impl FromStr for ImageSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| text.parse().ok().filter(|n| (4..=1024).contains(n));
        let (height, width) = text.split_once('x').unwrap_or((text, text));
        side(height).zip(side(width)).map(|(height, width)| Self { height, width }).ok_or_else(|| {
            "give one number of pixels for both sides, or HEIGHTxWIDTH, each in 4..=1024".to_owned()
        })
    }
}

/// Mean and standard deviation by channel: networks see `(x - mean) / std`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Normalisation {
    mean: Vec<f64>,
    std: Vec<f64>,
}

impl Normalisation {
    /// One value per channel, or one for all.
    ///
    /// # Errors
    /// Different numbers of values, none, or a deviation that is not above 0.
    pub fn new(mean: &[f64], std: &[f64]) -> Result<Self> {
        if mean.is_empty() || mean.len() != std.len() {
            return Err(Error::invalid(format!(
                "preprocessing has {} means and {} deviations; give one of each per channel",
                mean.len(),
                std.len()
            )));
        }
        if let Some(bad) = std.iter().find(|s| !s.is_finite() || **s <= 0.0) {
            return Err(Error::invalid(format!(
                "preprocessing.normalize_std holds {bad}; it must be above 0"
            )));
        }
        Ok(Self { mean: mean.to_vec(), std: std.to_vec() })
    }

    /// Checks that there is one mean for all channels, or one per channel.
    ///
    /// # Errors
    /// Another number of means than channels.
    pub fn check_channels(&self, channels: i64) -> Result<()> {
        if self.mean.len() == 1 || self.mean.len() as i64 == channels {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "preprocessing.normalize_mean has {} values, and the images {channels} channels; give one for all, or one \
             per channel",
            self.mean.len()
        )))
    }

    /// MNIST's: mean .1307, deviation .3081.
    pub fn mnist() -> Self {
        Self { mean: vec![0.1307], std: vec![0.3081] }
    }

    /// Leaves images as they are.
    pub fn identity() -> Self {
        Self { mean: vec![0.0], std: vec![1.0] }
    }

    /// # Shapes
    /// `[n, c, h, w]` in and out.
    pub fn apply(&self, images: &Tensor) -> Tensor {
        if let ([mean], [std]) = (&self.mean[..], &self.std[..]) {
            return (images - *mean) / *std;
        }
        let by_channel = |values: &[f64]| {
            Tensor::from_slice(values).to_kind(images.kind()).to_device(images.device()).view([1, -1, 1, 1])
        };
        (images - by_channel(&self.mean)) / by_channel(&self.std)
    }
}

/// Whether data may leave the place where it is without a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Anybody may have it.
    Public,
    /// About people who did not agree to its publication.
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
    /// For a folder of images, in place of all its files: the folder, their size, and a hash of the list of their hashes.
    pub listing: Option<FileRecord>,
}

impl Records {
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

    /// Shape and classes.
    pub fn spec(&self) -> ImageSpec {
        self.images.spec(self.labels.classes())
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
}
