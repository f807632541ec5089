//! Records: images, labels, what shape they have, and whether they are private.

mod digits;
mod images;
mod labels;
mod public;
mod shard;
mod soft_labels;

pub use digits::{digits, enlarge_digits};
pub use images::{Images, RangeRule};
pub use labels::{LabelColumn, LabelRow, Labels, read_label_csv, write_csv};
pub use public::{Dataset, Orientation, Split, mnist};
pub use shard::{Assignment, Shard, ShardIndices, ShardMetadata, class_counts};
pub use soft_labels::SoftLabels;

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

/// Mean and standard deviation by channel: networks see `(x - mean) / std`.
#[derive(Clone, Debug, PartialEq)]
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

/// Images with their labels.
pub struct Records {
    /// `[n, c, h, w]` in `[0, 1]`.
    pub images: Images,
    /// One class per image.
    pub labels: Labels,
    /// Where it came from, for messages and reports.
    pub name: String,
    /// May it be shown?
    pub privacy: Privacy,
    /// Files that it was read from.
    pub files: Vec<std::path::PathBuf>,
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

    /// Shape and classes.
    pub fn spec(&self) -> ImageSpec {
        self.images.spec(self.labels.classes())
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
            files: self.files.clone(),
        })
    }
}
