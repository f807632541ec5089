//! Which candidates stay. A selection is a verdict for every candidate and an order of those that are kept; images are
//! touched only to measure distances, and gathered once at the end by whoever needs them.
//!
//! The filters, one file each, in the order in which a step applies them: [`confidence`], [`memorisation`], [`quota`],
//! [`diversity`], [`target`].
//!
//! # Guarantee
//! None for all of them: labels, the memorisation check and the quota are functions of the private shard.

pub mod confidence;
pub mod diversity;
pub mod memorisation;
pub mod quota;
pub mod target;

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

    /// How many met this fate.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.verdicts.iter().filter(|&&v| v == verdict).count()
    }

    /// Keeps the candidates for which `keep` holds and notes `reason` for the others. `keep` gets the position in
    /// [`Selection::kept`] and the candidate.
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

    /// Replaces the kept by `order`, a selection of them; whoever is not in it gets `reason`.
    pub fn reorder(&mut self, reason: Verdict, order: Vec<usize>) {
        for &candidate in &self.kept {
            self.verdicts[candidate] = reason;
        }
        for &candidate in &order {
            self.verdicts[candidate] = Verdict::Kept;
        }
        self.kept = order;
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
            .map(|v| selection.count(v))
            .iter()
            .sum();
        assert_eq!(total, 6);
        assert_eq!(selection.count(Verdict::Quota), 2);
    }

    #[test]
    fn equals_keep_the_lower_index_first() {
        let mut items = vec![3, 1, 2, 0];
        sort_by_confidence(&mut items, &[0.5, 0.9, 0.5, 0.5]);
        assert_eq!(items, [1, 0, 2, 3]);
    }
}
