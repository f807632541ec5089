//! The shard's class proportions, within limits.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Selection, Verdict, sort_by_confidence};
use crate::pate::label::Labelled;
use crate::{Error, Result};

/// Limits on the number of samples of a class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// Minimum, if that many are available; `None` = no minimum.
    pub min_per_class: Option<u64>,
    /// Maximum; `None` = no maximum.
    pub max_per_class: Option<u64>,
    /// A class may miss its target by this percentage.
    pub flexibility_percent: f64,
}

impl Limits {
    /// # Errors
    /// A minimum above the maximum.
    pub fn check(&self) -> Result<()> {
        match (self.min_per_class, self.max_per_class) {
            (Some(min), Some(max)) if min > max => Err(Error::invalid(format!(
                "min_per_class is {min} and max_per_class {max}; the minimum must not be above the maximum"
            ))),
            _ => Ok(()),
        }
    }

    fn clamp(&self, n: u64) -> u64 {
        n.max(self.min_per_class.unwrap_or(0)).min(self.max_per_class.unwrap_or(u64::MAX))
    }

    /// How many samples to take of a class of which `available` are there.
    pub fn take(&self, target: Option<u64>, available: u64) -> u64 {
        let Some(target) = target else {
            let limit = self.min_per_class.or(self.max_per_class).unwrap_or(u64::MAX);
            return available.min(limit);
        };
        // Multiplied before dividing: 10% of 30 is 3, which 30 x .1 in binary is not quite.
        let slack = (target as f64 * self.flexibility_percent / 100.0).floor() as u64;
        let low = target.saturating_sub(slack).max(self.min_per_class.unwrap_or(0));
        let high = target.saturating_add(slack).min(self.max_per_class.unwrap_or(u64::MAX));
        low.max(available.min(high)).min(available)
    }
}

/// Wanted number of samples by class: the shard's proportion of `n_kept`, rounded half to even,
/// within the limits.
///
/// Classes that the metadata does not name have no target.
pub fn targets(shard_counts: &BTreeMap<i64, u64>, n_kept: usize, limits: &Limits) -> BTreeMap<i64, u64> {
    let total: u64 = shard_counts.values().sum();
    shard_counts
        .iter()
        .map(|(&class, &count)| {
            let proportion = count as f64 / total as f64;
            (class, limits.clamp((proportion * n_kept as f64).round_ties_even() as u64))
        })
        .collect()
}

/// Takes each class's most confident candidates; the kept then stand by class, most confident
/// first.
pub fn filter(
    selection: &mut Selection,
    labelled: &Labelled,
    classes: i64,
    targets: &BTreeMap<i64, u64>,
    limits: &Limits,
) {
    let mut by_class: Vec<Vec<usize>> = vec![Vec::new(); classes as usize];
    for &candidate in selection.kept() {
        by_class[labelled.labels[candidate] as usize].push(candidate);
    }
    let mut order = Vec::with_capacity(selection.kept().len());
    for (class, mut members) in by_class.into_iter().enumerate() {
        sort_by_confidence(&mut members, &labelled.confidences);
        let n = limits.take(targets.get(&(class as i64)).copied(), members.len() as u64);
        order.extend_from_slice(&members[..n as usize]);
    }
    selection.reorder(Verdict::Quota, order);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: Limits =
        Limits { min_per_class: Some(150), max_per_class: Some(500), flexibility_percent: 10.0 };
    const FREE: Limits = Limits { min_per_class: None, max_per_class: None, flexibility_percent: 10.0 };

    #[test]
    fn targets_round_half_to_even_within_the_limits() {
        let counts = BTreeMap::from([(0, 1), (1, 3), (2, 4), (3, 0)]);
        // 8 records, 20 kept: proportions 2.5, 7.5, 10, 0.
        assert_eq!(targets(&counts, 20, &FREE), BTreeMap::from([(0, 2), (1, 8), (2, 10), (3, 0)]));
        assert_eq!(targets(&counts, 20, &SEEDS).values().copied().collect::<Vec<_>>(), [150; 4]);
        assert_eq!(targets(&counts, 4000, &SEEDS)[&2], 500);
    }

    #[test]
    fn how_many_are_taken() {
        assert_eq!(SEEDS.take(Some(200), 1000), 220);
        assert_eq!(SEEDS.take(Some(200), 190), 190);
        assert_eq!(SEEDS.take(Some(490), 1000), 500, "the maximum holds");
        assert_eq!(SEEDS.take(Some(150), 10), 10, "never more than there are");
        assert_eq!(SEEDS.take(None, 1000), 150);
        assert_eq!(FREE.take(None, 1000), 1000);
        let only_max = Limits { min_per_class: None, ..SEEDS };
        assert_eq!(only_max.take(None, 1000), 500);
        let seven = Limits { flexibility_percent: 7.0, ..FREE };
        assert_eq!(seven.take(Some(100), 1000), 107, "100 x 7 / 100 is 7, not 6.99");
    }

    #[test]
    fn crossed_limits_are_refused() {
        let crossed = Limits { min_per_class: Some(50), max_per_class: Some(40), ..SEEDS };
        assert!(crossed.check().unwrap_err().to_string().contains("50"));
    }

    #[test]
    fn classes_stand_in_order_most_confident_first() {
        let labelled = Labelled {
            labels: vec![1, 0, 1, 0, 1],
            confidences: vec![0.7, 0.8, 0.9, 0.95, 0.9],
            ..Labelled::default()
        };
        let mut selection = Selection::all(5);
        let limits = Limits { max_per_class: Some(2), ..FREE };
        filter(&mut selection, &labelled, 2, &BTreeMap::new(), &limits);
        assert_eq!(selection.kept(), [3, 1, 2, 4]);
        assert_eq!(selection.count(0..5, Verdict::Quota), 1);
    }
}
