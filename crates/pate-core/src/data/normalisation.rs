//! Mean and standard deviation by channel.

use serde::Serialize;
use tch::Tensor;

use crate::{Error, Result};

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
        (images - by_channel(&self.mean, images)) / by_channel(&self.std, images)
    }

    /// The way back: `images * std + mean`.
    ///
    /// # Shapes
    /// `[n, c, h, w]` in and out.
    pub fn undo(&self, images: &Tensor) -> Tensor {
        images * by_channel(&self.std, images) + by_channel(&self.mean, images)
    }
}

fn by_channel(values: &[f64], like: &Tensor) -> Tensor {
    Tensor::from_slice(values).to_kind(like.kind()).to_device(like.device()).view([1, -1, 1, 1])
}
