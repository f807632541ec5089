//! A probability of every class for every record.

use std::path::Path;

use artifact::{Access, AtomicFile, FileRecord};
use tch::Tensor;
use tensorfile::View;

use crate::base::tensor;
use crate::{Error, Result};

/// A probability of every class for every record.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftLabels {
    values: Vec<f32>,
    classes: usize,
}

/// How far the probabilities of a record may be from 1 in sum.
const SUM_TOLERANCE: f32 = 1e-3;

impl SoftLabels {
    /// `values` row after row; `path` is where they came from.
    ///
    /// # Errors
    /// The first row that is no distribution over the classes.
    pub fn new(path: &Path, values: Vec<f32>, classes: i64) -> Result<Self> {
        let classes = classes as usize;
        for (row, probabilities) in values.chunks(classes).enumerate() {
            let valid = probabilities.len() == classes
                && probabilities.iter().all(|p| (0.0..=1.0 + SUM_TOLERANCE).contains(p));
            let sum: f32 = probabilities.iter().sum();
            if !valid || (sum - 1.0).abs() > SUM_TOLERANCE {
                return Err(Error::content(
                    path,
                    format!("row {row} is {probabilities:?}, sum {sum}"),
                    "a row is a probability per class, 1 in sum",
                ));
            }
        }
        Ok(Self { values, classes })
    }

    /// Reads float `[n, classes]` of any container.
    ///
    /// # Errors
    /// Names the file: another shape, rows that are no distributions.
    pub fn load(path: &Path, classes: i64) -> Result<Self> {
        let array = tensorfile::read(path)?.into_array()?;
        if array.shape().len() != 2 || array.shape()[1] != classes as usize {
            return Err(Error::content(
                path,
                format!("it holds a tensor of shape {:?}", array.shape()),
                format!("soft labels are [n, {classes}]"),
            ));
        }
        Self::new(path, array.into_f32(), classes)
    }

    /// [`SoftLabels::load`] for `records` records.
    ///
    /// # Errors
    /// As there; another number of rows.
    pub fn load_for(path: &Path, classes: i64, records: usize) -> Result<Self> {
        let soft = Self::load(path, classes)?;
        if soft.len() != records {
            return Err(Error::content(
                path,
                format!("{} rows for {records} samples", soft.len()),
                "give the files of one run",
            ));
        }
        Ok(soft)
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.values.len() / self.classes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The probabilities of one record, which must exist.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.classes..][..self.classes]
    }

    /// The rows, in that order; all of them must exist.
    #[must_use]
    pub fn select(&self, rows: impl Iterator<Item = usize>) -> Self {
        let values =
            rows.flat_map(|row| &self.values[row * self.classes..][..self.classes]).copied().collect();
        Self { values, classes: self.classes }
    }

    /// The rows of another set after these.
    pub fn extend(&mut self, other: &Self) {
        self.values.extend_from_slice(&other.values);
    }

    /// # Shapes
    /// `[n, classes]`, float32, on the CPU.
    ///
    /// # Errors
    /// Where libtorch cannot hold it.
    pub fn tensor(&self) -> Result<Tensor> {
        tensor::from_f32(&self.values, &[self.len() as i64, self.classes as i64])
    }

    /// Writes `[n, classes]` as a bare tensor that `torch.load` reads.
    ///
    /// # Errors
    /// Where the file cannot be written; nothing is left under its name then.
    pub fn save(&self, path: &Path, access: Access) -> Result<FileRecord> {
        let mut file = AtomicFile::create(path, access)?;
        tensorfile::pt::write_array(&mut file, View::f32(&[self.len(), self.classes], &self.values)?)?;
        Ok(file.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_distributions() {
        let new = |values: &[f32]| SoftLabels::new(Path::new("s.pt"), values.to_vec(), 2);
        let soft = new(&[0.25, 0.75, 1.0, 0.0]).unwrap();
        assert_eq!(soft.len(), 2);
        assert_eq!(soft.select([1, 0].into_iter()).values, [1.0, 0.0, 0.25, 0.75]);
        for bad in [&[0.5, 0.6][..], &[1.5, -0.5], &[f32::NAN, 1.0], &[0.5, 0.5, 1.0]] {
            let error = new(bad).unwrap_err().to_string();
            assert!(error.contains("s.pt") && error.contains("row"), "{error}");
        }
    }
}
