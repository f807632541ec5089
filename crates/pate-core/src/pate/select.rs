//! Which candidates stay. A selection is a verdict for every candidate and an order of those that
//! are kept; images are touched only to measure distances, and gathered once at the end by the
//! caller.
//!
//! The filters, one file each, in the order in which a step applies them: [`confidence`],
//! [`memorisation`], [`quota`], [`diversity`], [`target`].
//!
//! # Guarantee
//! None for all of them: labels, the memorisation check and the quota are functions of the private
//! shard.

pub mod confidence;
pub mod diversity;
pub mod memorisation;
pub mod quota;
pub mod target;

use std::ops::Range;

use tch::Tensor;

use crate::Result;
use crate::base::tensor;

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Still in.
    Kept,
    /// The teacher was not confident enough.
    LowConfidence,
    /// Too near to a private image.
    Memorisation,
    /// More of its class than the quota takes.
    Quota,
    /// Too near to a more confident sample.
    Diversity,
    /// Beyond the wanted number of samples.
    Target,
}

/// Verdicts, and the order of the kept.
#[derive(Clone, Debug)]
pub struct Selection {
    verdicts: Vec<Verdict>,
    kept: Vec<usize>,
}

impl Selection {
    /// All `n` candidates, in their own order.
    pub fn all(n: usize) -> Self {
        Self { verdicts: vec![Verdict::Kept; n], kept: (0..n).collect() }
    }

    /// Number of candidates, kept or not.
    pub fn n_candidates(&self) -> usize {
        self.verdicts.len()
    }

    /// The kept candidates, in the order in which the last filter left them.
    pub fn kept(&self) -> &[usize] {
        &self.kept
    }

    /// Whether a candidate, which must exist, met this fate.
    pub fn is(&self, candidate: usize, verdict: Verdict) -> bool {
        self.verdicts[candidate] == verdict
    }

    /// How many candidates among `rows`, which must exist, met this fate.
    pub fn count(&self, rows: Range<usize>, verdict: Verdict) -> usize {
        self.verdicts[rows].iter().filter(|&&v| v == verdict).count()
    }

    /// Keeps the candidates for which `keep` holds and notes `reason` for the others. `keep` gets
    /// the position in [`Selection::kept`] and the candidate.
    pub fn retain(&mut self, reason: Verdict, mut keep: impl FnMut(usize, usize) -> bool) {
        let mut position = 0;
        let verdicts = &mut self.verdicts;
        self.kept.retain(|&candidate| {
            let stays = keep(position, candidate);
            position += 1;
            if !stays {
                verdicts[candidate] = reason;
            }
            stays
        });
    }

    /// Replaces the kept by `order`, a selection of them; a candidate that is not in it gets
    /// `reason`.
    pub fn reorder(&mut self, reason: Verdict, order: Vec<usize>) {
        for &candidate in &self.kept {
            self.verdicts[candidate] = reason;
        }
        for &candidate in &order {
            self.verdicts[candidate] = Verdict::Kept;
        }
        self.kept = order;
    }

    /// Adds candidates that were judged apart; they are numbered from the end of these on.
    pub fn append(&mut self, more: &Self) {
        let first = self.verdicts.len();
        self.verdicts.extend(&more.verdicts);
        self.kept.extend(more.kept.iter().map(|row| first + row));
    }
}

/// Pixels of candidates that lie in one matrix or several, read by row.
pub struct Pixels {
    parts: Vec<Tensor>,
}

impl Pixels {
    /// # Shapes
    /// `[n, d]`.
    pub fn new(rows: Tensor) -> Self {
        Self { parts: vec![rows] }
    }

    /// Adds rows, which are numbered from the end of the others on.
    ///
    /// # Shapes
    /// `[m, d]`.
    pub fn append(&mut self, rows: Tensor) {
        self.parts.push(rows);
    }

    /// Copies rows, in the order given: `[rows, d]`.
    ///
    /// # Errors
    /// A row that does not exist.
    pub fn gather(&self, rows: &[usize]) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        let mut first = 0;
        let (mut found, mut places) = (Vec::new(), Vec::new());
        for part in &self.parts {
            let n = part.size()[0] as usize;
            let (positions, own): (Vec<i64>, Vec<i64>) = (0..)
                .zip(rows)
                .filter(|&(_, row)| (first..first + n).contains(row))
                .map(|(position, row)| (position, (row - first) as i64))
                .unzip();
            // The first part is always taken, so that no rows at all still give a matrix of the
            // right width.
            if !own.is_empty() || found.is_empty() {
                found.push(part.f_index_select(0, &tensor::from_i64(&own).f_to_device(part.device())?)?);
                places.extend(positions);
            }
            first += n;
        }
        if places.len() < rows.len() {
            let all = rows.iter().max().unwrap_or(&0);
            return Err(crate::Error::invalid(format!(
                "there are {first} candidates, and none is number {all}"
            )));
        }
        if let [part] = &found[..] {
            return Ok(part.shallow_clone());
        }
        let gathered = Tensor::f_cat(&found, 0)?;
        Ok(gathered.f_empty_like()?.f_index_copy_(
            0,
            &tensor::from_i64(&places).f_to_device(gathered.device())?,
            &gathered,
        )?)
    }
}

/// Sorts `items` by falling confidence; the lower item first among equals.
pub fn sort_by_confidence(items: &mut [usize], confidences: &[f32]) {
    items.sort_by(|&a, &b| confidences[b].total_cmp(&confidences[a]).then(a.cmp(&b)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_add_up_by_construction() {
        let mut selection = Selection::all(6);
        selection.retain(Verdict::LowConfidence, |_, c| c != 1);
        selection.reorder(Verdict::Quota, vec![5, 0, 2]);
        selection.retain(Verdict::Diversity, |position, _| position != 0);
        assert_eq!(selection.kept(), [0, 2]);
        let total: usize = [Verdict::Kept, Verdict::LowConfidence, Verdict::Quota, Verdict::Diversity]
            .map(|v| selection.count(0..6, v))
            .iter()
            .sum();
        assert_eq!(total, 6);
        assert_eq!(selection.count(0..6, Verdict::Quota), 2);
        assert_eq!(selection.count(3..6, Verdict::Quota), 2, "3 and 4");
    }

    #[test]
    fn equals_keep_the_lower_index_first() {
        let mut items = vec![3, 1, 2, 0];
        sort_by_confidence(&mut items, &[0.5, 0.9, 0.5, 0.5]);
        assert_eq!(items, [1, 0, 2, 3]);
    }

    #[test]
    fn rows_of_several_parts_are_gathered_in_the_order_given() {
        let rows = |values: &[f32]| Tensor::from_slice(values).view([-1, 1]);
        let mut pixels = Pixels::new(rows(&[0.0, 1.0, 2.0]));
        pixels.append(rows(&[3.0, 4.0]));
        let found = |wanted: &[usize]| tensor::to_f32(&pixels.gather(wanted).unwrap()).unwrap();
        assert_eq!(found(&[4, 1, 3, 0]), [4.0, 1.0, 3.0, 0.0]);
        assert_eq!(found(&[2, 0]), [2.0, 0.0]);
        assert_eq!(found(&[4]), [4.0]);
        assert_eq!(pixels.gather(&[]).unwrap().size(), [0, 1]);
        assert!(pixels.gather(&[1, 5]).is_err());
    }

    #[test]
    fn appended_candidates_are_numbered_on() {
        let mut selection = Selection::all(2);
        selection.reorder(Verdict::Quota, vec![1]);
        let mut more = Selection::all(3);
        more.retain(Verdict::LowConfidence, |_, row| row != 1);
        selection.append(&more);
        assert_eq!(selection.kept(), [1, 2, 4]);
        assert_eq!(selection.count(2..5, Verdict::LowConfidence), 1);
    }
}
