//! Private rows that a latent model learns, and how their classes come in.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::dp::keys;
use crate::{Error, Result};

/// How classes come into a latent model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Classes {
    /// They do not: what it draws has no class.
    Unconditional,
    /// The class stands beside the latents, a value for each class.
    Conditional,
    /// A model for each class, all trained at once: a record's gradient is that of its class's
    /// model and nothing in the others, so that one clipping norm holds for all.
    Each,
}

impl Classes {
    /// Values that stand beside a row for `classes` classes.
    pub fn beside(self, classes: i64) -> i64 {
        if self == Self::Conditional { classes } else { 0 }
    }

    /// Rows with their classes `[n, classes]` beside them, where those come in so.
    ///
    /// # Errors
    /// Other shapes.
    pub fn join(self, rows: &Tensor, classes: &Tensor) -> Result<Tensor> {
        if self == Self::Conditional {
            return Ok(Tensor::f_cat(&[rows, classes], 1)?);
        }
        Ok(rows.shallow_clone())
    }

    /// The classes of samples, one of each row 1; where there are no classes, none of them.
    ///
    /// # Errors
    /// A label that is no class.
    pub(super) fn of_labels(self, labels: &[i64], classes: i64, device: Device) -> Result<Tensor> {
        if self == Self::Unconditional {
            return Ok(Tensor::f_zeros([labels.len() as i64, classes], (Kind::Float, device))?);
        }
        one_hot(labels, classes, device)
    }
}

/// `[n, classes]`, one of each row 1.
///
/// # Errors
/// A label that is no class.
pub(super) fn one_hot(labels: &[i64], classes: i64, device: Device) -> Result<Tensor> {
    let one_hot = tensor::from_i64(labels).f_one_hot(classes)?;
    Ok(one_hot.f_to_kind(Kind::Float)?.f_to_device(device)?)
}

/// A class at random for each record, from its own content and the seed: a control, whose records
/// keep nothing of what belongs to which class.
///
/// # Privacy
/// A record's class is a function of that record alone.
///
/// # Errors
/// Where the rows cannot be copied to the host.
pub fn random_labels(rows: &Tensor, labels: &[i64], classes: i64, seed: u64) -> Result<Vec<i64>> {
    let keys_private = keys::of_rows(&tensor::to_f32(&rows.f_flatten(1, -1)?)?, labels);
    let draw = |key: &u64| {
        Stream::new(seed ^ key, Purpose::LatentNoise, u64::MAX).below(classes.max(1) as u64) as i64
    };
    Ok(keys_private.iter().map(draw).collect())
}

/// Private rows with their classes, and what names each of them.
///
/// # Privacy
/// What is drawn for a record follows from a hash of its content and from the step, never from its
/// place among the others.
pub struct PrivateRows {
    /// `[n, d]`.
    rows: Tensor,
    /// `[n, classes]`, one of each row 1.
    classes: Tensor,
    keys_private: Arc<[u64]>,
    seed: u64,
}

impl PrivateRows {
    /// Rows `[n, d]` with their labels; `seed` is that of what is drawn for them.
    ///
    /// # Errors
    /// Other shapes, no room on the device.
    pub fn new(rows: &Tensor, labels: &[i64], classes: i64, seed: u64, device: Device) -> Result<Self> {
        let flat = rows.f_flatten(1, -1)?;
        if flat.size()[0] != labels.len() as i64 {
            return Err(Error::invalid(format!("{} rows and {} labels", flat.size()[0], labels.len())));
        }
        Ok(Self {
            keys_private: keys::of_rows(&tensor::to_f32(&flat)?, labels).into(),
            rows: rows.f_to_device(device)?,
            classes: one_hot(labels, classes, device)?,
            seed,
        })
    }

    /// Where they are.
    pub(super) fn device(&self) -> Device {
        self.rows.device()
    }

    /// The size of `n` rows like these.
    pub(super) fn size(&self, n: i64) -> Vec<i64> {
        let mut size = self.rows.size();
        size[0] = n;
        size
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.keys_private.len()
    }

    /// Rows `at`, and their classes.
    pub(super) fn at(&self, at: &[usize]) -> Result<(Tensor, Tensor)> {
        let index = crate::dp::index(at).f_to_device(self.rows.device())?;
        Ok((self.rows.f_index_select(0, &index)?, self.classes.f_index_select(0, &index)?))
    }

    /// Standard normal values for each of the rows `at` in a step, `[n, d]`.
    pub(super) fn noise(&self, at: &[usize], step: u64, d: i64) -> Result<Tensor> {
        let mut values = Vec::with_capacity(at.len() * d as usize);
        for &row in at {
            let key = self.seed ^ self.keys_private[row];
            values.extend(Stream::new(key, Purpose::LatentNoise, step).normal(d as usize));
        }
        Ok(tensor::from_f32(&values, &[at.len() as i64, d])?.f_to_device(self.rows.device())?)
    }

    /// The same memory for another thread.
    pub(super) fn alias(&self) -> Self {
        Self {
            rows: self.rows.shallow_clone(),
            classes: self.classes.shallow_clone(),
            keys_private: Arc::clone(&self.keys_private),
            seed: self.seed,
        }
    }
}
