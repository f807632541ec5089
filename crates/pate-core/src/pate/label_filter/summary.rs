//! Counts and statistics of one teacher's selection.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{FilterInputs, FilterPlan};
use crate::Result;
use crate::data::Images;
use crate::evaluate::{self, distances};
use crate::pate::label::Labelled;
use crate::pate::select::{Selection, Verdict};

/// What became of steered samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SteeredCounts {
    /// Made.
    pub generated: usize,
    /// In the result.
    pub kept: usize,
    /// Below the rare-class threshold.
    pub rejected_low_confidence: usize,
    /// Too near to the shard.
    pub rejected_memorization: usize,
    /// Too near to a more confident sample.
    pub rejected_diversity: usize,
    /// Beyond the wanted number.
    pub rejected_target: usize,
}

/// Counts and statistics, under the names of `selection_report.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Candidates in the pool.
    pub num_generated: usize,
    /// Samples in the result, steered ones among them.
    pub num_selected: usize,
    /// Samples by label.
    pub class_distribution: BTreeMap<i64, u64>,
    /// Mean confidence by label.
    pub avg_confidence_per_class: BTreeMap<i64, f64>,
    /// Candidates below their threshold.
    pub rejected_low_confidence: usize,
    /// Candidates too near to another sample.
    pub rejected_diversity: usize,
    /// Candidates too near to the shard.
    pub rejected_memorization: usize,
    /// Candidates beyond their class's quota.
    pub rejected_quota: usize,
    /// Candidates beyond the wanted number.
    pub rejected_target: usize,
    /// Steered samples that are not in the result.
    pub rejected_steered: usize,
    /// Steered samples, counted apart from candidates.
    pub steered: SteeredCounts,
    /// For each class below the minimum after the quota: steered samples that passed confidence and
    /// memorisation.
    pub used_latent_steering: BTreeMap<i64, u64>,
    /// Whether steering ran.
    pub latent_steering_ran: bool,
    /// Whether the quota had class counts to follow.
    pub quota_applied: bool,
    /// L1 distance between the class proportions of the result and of the shard.
    pub final_histogram_l1: Option<f64>,
    /// Mean pairwise distance of the result over the shard's.
    pub diversity_ratio: Option<f64>,
    /// The settings, as applied.
    pub filters_applied: FiltersApplied,
    /// Of the result.
    pub statistics: Statistics,
}

/// The settings as `selection_report.json` lists them.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the report's fields, as the original names them")]
pub struct FiltersApplied {
    /// For most classes.
    pub default_confidence_threshold: f64,
    /// For rare classes.
    pub rare_class_threshold: f64,
    /// The rare classes.
    pub rare_classes: Vec<i64>,
    /// Minimum by class.
    pub min_per_class: Option<u64>,
    /// Maximum by class.
    pub max_per_class: Option<u64>,
    /// Whether distances to the shard were checked.
    pub memorization_check: bool,
    /// The minimum allowed.
    pub min_memorization_distance: Option<f64>,
    /// Whether the quota was asked for.
    pub class_quota: bool,
    /// By how much a class may miss its target.
    pub quota_flexibility_percent: f64,
    /// Whether distances between samples were checked.
    pub diversity_enforcement: bool,
    /// The minimum allowed.
    pub diversity_threshold: Option<f64>,
    /// Whether steering was asked for.
    pub latent_steering_enabled: bool,
}

/// Statistics of the samples; null where there are none.
#[derive(Clone, Debug, Serialize)]
pub struct Statistics {
    /// Mean confidence.
    pub average_confidence: Option<f64>,
    /// Minimum confidence.
    pub min_confidence: Option<f64>,
    /// Maximum confidence.
    pub max_confidence: Option<f64>,
    /// Median confidence, the lower middle one of an even number.
    pub median_confidence: Option<f64>,
    /// Mean distance between two samples.
    pub average_pairwise_distance: Option<f64>,
    /// As above.
    pub diversity_ratio: Option<f64>,
}

impl Summary {
    /// The filter that took the last candidates, for an empty result.
    pub fn emptied_by(&self) -> &'static str {
        if self.num_generated == 0 {
            "the pool has no candidates"
        } else if self.rejected_low_confidence == self.num_generated {
            "no candidate reached its confidence threshold; lower --confidence, or make a larger or better pool"
        } else if self.rejected_memorization > 0
            && self.rejected_low_confidence + self.rejected_memorization == self.num_generated
        {
            "every confident candidate lies too near to the shard; lower --min-nn-distance only if you accept near-copies"
        } else {
            "the quota or the target left no candidate; raise --max-per-class or --target-samples"
        }
    }
}

/// What the steering of one teacher left behind, for the summary.
#[derive(Default)]
pub(super) struct SteeringRecord {
    /// Whether it ran.
    pub ran: bool,
    /// By class that was missing: steered samples that passed confidence and memorisation.
    pub passed: BTreeMap<i64, u64>,
}

impl Summary {
    /// Counts verdicts, candidates (rows up to `pool`) apart from steered samples (rows from there
    /// on), and describes the kept.
    pub(super) fn of(
        (selection, pool): (&Selection, usize),
        labelled: &Labelled,
        images: &Images,
        steering: SteeringRecord,
        inputs: &FilterInputs<'_>,
        plan: &FilterPlan,
    ) -> Result<Self> {
        let rejected = |verdict| selection.count(0..pool, verdict);
        let all = selection.n_candidates();
        let steered = |verdict| selection.count(pool..all, verdict);
        let kept_of_steered = steered(Verdict::Kept);
        let (class_distribution, avg_confidence_per_class) = by_class(selection, labelled);
        let statistics = Statistics::of(selection, labelled, images, inputs.shard_private)?;
        Ok(Self {
            num_generated: pool,
            num_selected: selection.kept().len(),
            final_histogram_l1: inputs
                .shard_counts
                .and_then(|counts| evaluate::histogram_l1(&class_distribution, counts)),
            class_distribution,
            avg_confidence_per_class,
            rejected_low_confidence: rejected(Verdict::LowConfidence),
            rejected_diversity: rejected(Verdict::Diversity),
            rejected_memorization: rejected(Verdict::Memorisation),
            rejected_quota: rejected(Verdict::Quota),
            rejected_target: rejected(Verdict::Target),
            rejected_steered: all - pool - kept_of_steered,
            steered: SteeredCounts {
                generated: all - pool,
                kept: kept_of_steered,
                rejected_low_confidence: steered(Verdict::LowConfidence),
                rejected_memorization: steered(Verdict::Memorisation),
                rejected_diversity: steered(Verdict::Diversity),
                rejected_target: steered(Verdict::Target),
            },
            used_latent_steering: steering.passed,
            latent_steering_ran: steering.ran,
            quota_applied: plan.quota && inputs.shard_counts.is_some(),
            diversity_ratio: statistics.diversity_ratio,
            filters_applied: FiltersApplied::of(plan, inputs.shard_private.is_some()),
            statistics,
        })
    }
}

/// Samples and mean confidence by label.
fn by_class(selection: &Selection, labelled: &Labelled) -> (BTreeMap<i64, u64>, BTreeMap<i64, f64>) {
    let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
    let mut sums: BTreeMap<i64, f64> = BTreeMap::new();
    for &row in selection.kept() {
        *counts.entry(labelled.labels[row]).or_default() += 1;
        *sums.entry(labelled.labels[row]).or_default() += f64::from(labelled.confidences[row]);
    }
    let means = sums.iter().map(|(class, sum)| (*class, sum / counts[class] as f64)).collect();
    (counts, means)
}

impl FiltersApplied {
    fn of(plan: &FilterPlan, has_shard: bool) -> Self {
        let memorization_check = has_shard && plan.min_memorisation_distance.is_some();
        Self {
            default_confidence_threshold: plan.thresholds.general,
            rare_class_threshold: plan.thresholds.rare,
            rare_classes: plan.thresholds.rare_classes.clone(),
            min_per_class: plan.limits.min_per_class,
            max_per_class: plan.limits.max_per_class,
            memorization_check,
            min_memorization_distance: plan.min_memorisation_distance.filter(|_| memorization_check),
            class_quota: plan.quota,
            quota_flexibility_percent: plan.limits.flexibility_percent,
            diversity_enforcement: plan.min_diversity_distance.is_some(),
            diversity_threshold: plan.min_diversity_distance,
            latent_steering_enabled: plan.steering.is_some(),
        }
    }
}

impl Statistics {
    fn of(
        selection: &Selection,
        labelled: &Labelled,
        images: &Images,
        shard_private: Option<&Images>,
    ) -> Result<Self> {
        // Summed in the result's order: a sum of doubles depends on it, and so would a report's
        // bytes.
        let confidences: Vec<f64> =
            selection.kept().iter().map(|&row| f64::from(labelled.confidences[row])).collect();
        let n = confidences.len();
        let average_confidence = (n > 0).then(|| confidences.iter().sum::<f64>() / n as f64);
        let mut sorted = confidences;
        sorted.sort_by(f64::total_cmp);
        let average_pairwise_distance = distances::mean_pairwise(&images.flat())?;
        let shard_distance = match shard_private {
            Some(shard) => distances::mean_pairwise(&shard.flat())?,
            None => None,
        };
        Ok(Self {
            average_confidence,
            min_confidence: sorted.first().copied(),
            max_confidence: sorted.last().copied(),
            median_confidence: n.checked_sub(1).map(|last| sorted[last / 2]),
            average_pairwise_distance,
            diversity_ratio: evaluate::ratio(average_pairwise_distance, shard_distance),
        })
    }
}
