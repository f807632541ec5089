//! Class proportions, diversity and nearest neighbours of a synthetic data set.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Result;
use crate::base::progress::Silent;
use crate::data::Images;
use crate::evaluate::distances;

/// `a / b`; `None` where either is missing or b is 0.
pub fn ratio(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.zip(b).filter(|&(_, b)| b > 0.0).map(|(a, b)| a / b)
}

/// L1 distance between the class proportions of two sets of counts, in `[0, 2]`; `None` where
/// either is empty.
pub fn histogram_l1(a: &BTreeMap<i64, u64>, b: &BTreeMap<i64, u64>) -> Option<f64> {
    let (n_a, n_b): (u64, u64) = (a.values().sum(), b.values().sum());
    if n_a == 0 || n_b == 0 {
        return None;
    }
    let classes: std::collections::BTreeSet<i64> = a.keys().chain(b.keys()).copied().collect();
    let proportion = |counts: &BTreeMap<i64, u64>, n: u64, class: &i64| {
        counts.get(class).copied().unwrap_or(0) as f64 / n as f64
    };
    Some(classes.iter().map(|class| (proportion(a, n_a, class) - proportion(b, n_b, class)).abs()).sum())
}

/// Distances of one set to its nearest neighbours in another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NearestDistances {
    /// Minimum.
    pub min: f64,
    /// Maximum.
    pub max: f64,
    /// Mean.
    pub mean: f64,
    /// The lower middle one.
    pub median: f64,
    /// Unbiased standard deviation; null for one value.
    pub std: Option<f64>,
    /// Quantile .05, linear between neighbours.
    pub percentile_5: f64,
    /// Quantile .25.
    pub percentile_25: f64,
    /// Quantile .75.
    pub percentile_75: f64,
    /// Quantile .95.
    pub percentile_95: f64,
}

impl NearestDistances {
    /// Statistics of distances; `None` where there are none.
    pub fn of(distances: &[f32]) -> Option<Self> {
        let mut sorted: Vec<f64> = distances.iter().map(|&d| f64::from(d)).collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = sorted.first().zip(sorted.last())?;
        let n = sorted.len();
        let mean = sorted.iter().sum::<f64>() / n as f64;
        let std =
            (n > 1).then(|| (sorted.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt());
        let quantile = |q: f64| {
            let at = q * (n - 1) as f64;
            let low = at.floor() as usize;
            let high = (low + 1).min(n - 1);
            sorted[low] + (at - low as f64) * (sorted[high] - sorted[low])
        };
        Some(Self {
            min,
            max,
            mean,
            median: sorted[(n - 1) / 2],
            std,
            percentile_5: quantile(0.05),
            percentile_25: quantile(0.25),
            percentile_75: quantile(0.75),
            percentile_95: quantile(0.95),
        })
    }
}

/// What a synthetic data set is compared with.
pub struct SyntheticInputs<'a> {
    /// The samples.
    pub samples: &'a Images,
    /// Their labels.
    pub labels: &'a [i64],
    /// The private shard.
    pub shard_private: Option<&'a Images>,
    /// Its labels.
    pub shard_labels_private: Option<&'a [i64]>,
}

/// Diversity, class proportions, nearest neighbours and resemblance of a synthetic data set.
#[derive(Clone, Debug)]
pub struct SyntheticScore {
    /// Mean distance between two samples.
    pub average_pairwise_distance: Option<f64>,
    /// The shard's.
    pub original_diversity: Option<f64>,
    /// Their ratio.
    pub diversity_ratio: Option<f64>,
    /// Samples by label.
    pub class_distribution: BTreeMap<i64, u64>,
    /// The shard's.
    pub original_distribution: Option<BTreeMap<i64, u64>>,
    /// L1 distance of their class proportions.
    pub histogram_l1: Option<f64>,
    /// Samples to the shard.
    pub nearest: Option<NearestDistances>,
    /// The shard to the samples.
    pub nearest_reverse: Option<NearestDistances>,
    /// Mean distance between a sample and a private image.
    pub cross_set_distance: Option<f64>,
    /// `.3 min(ratio / 1.5, 1) + .2 max(0, 1 - L1) + .25 min(mean / d, 1) + .25 min(min / d, 1)`,
    /// where d is the distance between black and white, the root of the number of values: the
    /// original's 28 for 28x28.
    pub similarity_score: Option<f64>,
}

/// Compares samples with a shard.
///
/// # Guarantee
/// None: with a shard, every figure is a function of private data.
///
/// # Errors
/// Images of different sizes.
pub fn synthetic(inputs: &SyntheticInputs<'_>) -> Result<SyntheticScore> {
    let samples = inputs.samples.flat();
    let average_pairwise_distance = distances::mean_pairwise(&samples)?;
    let class_distribution = crate::data::class_counts(inputs.labels);
    let original_distribution = inputs.shard_labels_private.map(crate::data::class_counts);
    let histogram_l1 =
        original_distribution.as_ref().and_then(|original| histogram_l1(&class_distribution, original));
    let mut score = SyntheticScore {
        average_pairwise_distance,
        original_diversity: None,
        diversity_ratio: None,
        class_distribution,
        original_distribution,
        histogram_l1,
        nearest: None,
        nearest_reverse: None,
        cross_set_distance: None,
        similarity_score: None,
    };
    let Some(shard) = inputs.shard_private else { return Ok(score) };
    let shard = shard.flat();
    score.original_diversity = distances::mean_pairwise(&shard)?;
    score.diversity_ratio = ratio(average_pairwise_distance, score.original_diversity);
    if !inputs.samples.is_empty() {
        score.nearest = NearestDistances::of(&distances::nearest(&samples, &shard, &Silent)?);
        score.nearest_reverse = NearestDistances::of(&distances::nearest(&shard, &samples, &Silent)?);
        score.cross_set_distance = distances::mean_between(&samples, &shard)?;
    }
    if let (Some(ratio), Some(l1), Some(nearest)) =
        (score.diversity_ratio, score.histogram_l1, &score.nearest)
    {
        let furthest = (inputs.samples.shape().numel() as f64).sqrt();
        score.similarity_score = Some(
            0.3 * (ratio / 1.5).min(1.0)
                + 0.2 * (1.0 - l1).max(0.0)
                + 0.25 * (nearest.mean / furthest).min(1.0)
                + 0.25 * (nearest.min / furthest).min(1.0),
        );
    }
    Ok(score)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_distances() {
        // numpy: quantile([1, 2, 4, 8], [.05, .25, .75, .95]) = 1.15, 1.75, 5, 7.4; std(ddof=1) =
        // 3.0957.
        let found = NearestDistances::of(&[4.0, 1.0, 8.0, 2.0]).unwrap();
        assert!((found.median - 2.0).abs() < 1e-12, "the lower middle one");
        for (value, expected) in [
            (found.percentile_5, 1.15),
            (found.percentile_25, 1.75),
            (found.percentile_75, 5.0),
            (found.percentile_95, 7.4),
            (found.std.unwrap(), 3.095_695_936_834_452),
        ] {
            assert!((value - expected).abs() < 1e-9, "{value} {expected}");
        }
        assert_eq!(NearestDistances::of(&[]), None);
        assert_eq!(NearestDistances::of(&[1.0]).unwrap().std, None);
    }

    #[test]
    fn class_proportions_are_compared_over_all_classes() {
        let a = BTreeMap::from([(0, 1), (1, 1)]);
        let b = BTreeMap::from([(1, 3), (2, 1)]);
        assert!((histogram_l1(&a, &b).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(histogram_l1(&a, &BTreeMap::new()), None);
    }
}
