//! One teacher's labelled synthetic data: label a pool, filter it, steer for what is missing.

use std::collections::BTreeMap;

use serde::Serialize;
use tch::Tensor;

use crate::base::progress::Progress;
use crate::base::tensor;
use crate::data::Images;
use crate::evaluate::distances;
use crate::models::{Decoder, Teacher};
use crate::pate::label::{Labelled, label};
use crate::pate::select::confidence::{self, Thresholds};
use crate::pate::select::quota::{self, Limits};
use crate::pate::select::{Selection, Verdict, diversity, memorisation, sort_by_confidence, target};
use crate::pate::steer::{PoolStarts, SteeringPlan, make_missing};
use crate::{Error, Result};

/// Settings of the filters, all resolved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilterPlan {
    /// Confidence by class.
    pub thresholds: Thresholds,
    /// Least distance to the shard; `None` or no shard: not checked.
    pub min_memorisation_distance: Option<f64>,
    /// Follow the shard's class proportions?
    pub quota: bool,
    /// Limits by class.
    pub limits: Limits,
    /// Least distance between two samples; `None`: not checked.
    pub min_diversity_distance: Option<f64>,
    /// Keep at most so many, the most confident.
    pub target_samples: Option<usize>,
    /// Steering for classes below the minimum; `None`: off.
    pub steering: Option<SteeringPlan>,
    /// Images labelled at once.
    pub batch_size: usize,
    /// Effective seed of steering.
    pub seed: u64,
}

/// What the filters may read besides the pool.
pub struct FilterInputs<'a> {
    /// The teacher.
    pub teacher: &'a Teacher,
    /// Its private images, for the memorisation check and the diversity ratio.
    pub shard_private: Option<&'a Images>,
    /// Its class counts, for the quota.
    pub shard_counts: Option<&'a BTreeMap<i64, u64>>,
    /// The decoder of the pool, for steering.
    pub decoder: Option<&'a Decoder>,
    /// What the pool was decoded from, `[n, latent_dim]`, for steering that starts there.
    pub latents: Option<&'a Tensor>,
}

/// The samples of one teacher, and how they came about.
pub struct Filtered {
    /// `[n, c, h, w]` in `[0, 1]`.
    pub images: Images,
    /// The teacher's label of each.
    pub labels: Vec<i64>,
    /// The teacher's confidence in each.
    pub confidences: Vec<f32>,
    /// The teacher's probabilities of all classes, row after row.
    pub probabilities: Vec<f32>,
    /// Counts and statistics.
    pub summary: Summary,
}

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
    /// For each class below the minimum after the quota: steered samples that passed confidence and memorisation.
    pub used_latent_steering: BTreeMap<i64, u64>,
    /// Whether steering ran.
    pub latent_steering_ran: bool,
    /// Whether the quota had class counts to follow.
    pub quota_applied: bool,
    /// L1 distance between the class shares of the result and of the shard.
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
    /// The least one allowed.
    pub min_memorization_distance: Option<f64>,
    /// Whether the quota was asked for.
    pub class_quota: bool,
    /// By how much a class may miss its target.
    pub quota_flexibility_percent: f64,
    /// Whether distances between samples were checked.
    pub diversity_enforcement: bool,
    /// The least one allowed.
    pub diversity_threshold: Option<f64>,
    /// Whether steering was asked for.
    pub latent_steering_enabled: bool,
}

/// Statistics of the samples; null where there are none.
#[derive(Clone, Debug, Serialize)]
pub struct Statistics {
    /// Mean confidence.
    pub average_confidence: Option<f64>,
    /// Least confidence.
    pub min_confidence: Option<f64>,
    /// Greatest confidence.
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

/// Labels `pool` and filters it: steps a to h of the pipeline's label-and-filter.
///
/// # Guarantee
/// None. Teacher, memorisation check, quota and selection all read the private shard.
///
/// # Errors
/// Crossed limits, images of different shapes, a stop, a teacher's program that fails.
pub fn label_filter(
    pool: &Images,
    inputs: &FilterInputs<'_>,
    plan: &FilterPlan,
    progress: &dyn Progress,
) -> Result<Filtered> {
    progress.start("labelling", pool.len() as u64);
    let labelled = label(inputs.teacher, pool, plan.batch_size, progress)?;
    progress.finish();
    filter(pool, &labelled, inputs, plan, progress)
}

/// Filters a pool that is labelled already.
///
/// # Errors
/// As [`label_filter`].
pub fn filter(
    pool: &Images,
    labelled: &Labelled,
    inputs: &FilterInputs<'_>,
    plan: &FilterPlan,
    progress: &dyn Progress,
) -> Result<Filtered> {
    plan.limits.check()?;
    let classes = classes_of(pool, inputs)?;
    let candidates = pool.flat();
    let shard = match (inputs.shard_private, plan.min_memorisation_distance) {
        (Some(shard), Some(least)) => Some((shard.flat(), least)),
        _ => None,
    };

    let mut selection = Selection::all(pool.len());
    confidence::filter(&mut selection, labelled, &plan.thresholds);
    if let Some((shard, least)) = &shard {
        memorisation::filter(&mut selection, &candidates, shard, *least)?;
    }
    let targets = match inputs.shard_counts {
        Some(counts) if plan.quota => quota::targets(counts, selection.kept().len(), &plan.limits),
        _ => BTreeMap::new(),
    };
    quota::filter(&mut selection, labelled, classes, &targets, &plan.limits);

    let missing = missing_by_class(&selection, labelled, classes, &plan.limits);
    let mut steered_by_class: BTreeMap<i64, u64> = missing.keys().map(|&class| (class, 0)).collect();
    let mut counts = SteeredCounts::default();
    let mut rows = Rows::of(&selection, labelled, &candidates)?;
    let steering = plan.steering.zip(inputs.decoder).filter(|_| !missing.is_empty());
    if let Some((steering_plan, decoder)) = steering {
        progress.start("steering", missing.values().sum());
        let unsure: Vec<usize> =
            (0..pool.len()).filter(|&row| selection.is(row, Verdict::LowConfidence)).collect();
        let starts = inputs.latents.map(|latents| PoolStarts {
            latents,
            probabilities: &labelled.probabilities,
            rows: &unsure,
        });
        let (teacher, seed) = (inputs.teacher, plan.seed);
        let made = make_missing(decoder, teacher, &missing, steering_plan, starts.as_ref(), seed, progress)?;
        progress.finish();
        let answers = label(inputs.teacher, &made.images, plan.batch_size, &crate::base::progress::Silent)?;
        let flat = made.images.flat();
        let mut steered = Selection::all(made.images.len());
        let least = plan.thresholds.rare as f32;
        steered.retain(Verdict::LowConfidence, |_, row| answers.confidences[row] >= least);
        if let Some((shard, least)) = &shard {
            memorisation::filter(&mut steered, &flat, shard, *least)?;
        }
        counts.generated = made.images.len();
        counts.rejected_low_confidence = steered.count(Verdict::LowConfidence);
        counts.rejected_memorization = steered.count(Verdict::Memorisation);
        for &row in steered.kept() {
            *steered_by_class.entry(made.wanted[row]).or_default() += 1;
        }
        rows.append(&steered, &answers, &flat)?;
    }

    rows.finish(&mut selection, &mut counts, plan)?;
    let images = Images::trusted(rows.pixels.f_reshape(pool.spec(classes).batch(rows.labels.len() as i64))?);
    counts.kept = rows.is_steered.iter().filter(|&&steered| steered).count();
    let summary = summarise(&selection, &rows, counts, steered_by_class, steering.is_some(), inputs, plan)?;
    Ok(Filtered {
        images,
        labels: rows.labels,
        confidences: rows.confidences,
        probabilities: rows.probabilities.concat(),
        summary,
    })
}

fn classes_of(pool: &Images, inputs: &FilterInputs<'_>) -> Result<i64> {
    let size = pool.tensor().size();
    if let Some(shard) = inputs.shard_private
        && shard.tensor().size()[1..] != size[1..]
    {
        return Err(Error::invalid(format!(
            "candidates are {:?} (channels, height, width) and the shard's images {:?}; both must be alike",
            &size[1..],
            &shard.tensor().size()[1..]
        )));
    }
    Ok(inputs.teacher.classes())
}

fn missing_by_class(
    selection: &Selection,
    labelled: &Labelled,
    classes: i64,
    limits: &Limits,
) -> BTreeMap<i64, u64> {
    let mut have = vec![0; classes as usize];
    for &candidate in selection.kept() {
        have[labelled.labels[candidate] as usize] += 1;
    }
    let min = limits.min_per_class.unwrap_or(0);
    (0..classes).zip(have).filter(|&(_, n)| n < min).map(|(class, n)| (class, min - n)).collect()
}

/// The samples so far: candidates by class, then steered ones.
struct Rows {
    /// The candidate behind each row; steered rows count on after the pool, for ties.
    order: Vec<usize>,
    is_steered: Vec<bool>,
    labels: Vec<i64>,
    confidences: Vec<f32>,
    probabilities: Vec<Vec<f32>>,
    pixels: Tensor,
}

impl Rows {
    fn of(selection: &Selection, labelled: &Labelled, candidates: &Tensor) -> Result<Self> {
        let mut rows = Self {
            order: Vec::new(),
            is_steered: Vec::new(),
            labels: Vec::new(),
            confidences: Vec::new(),
            probabilities: Vec::new(),
            pixels: candidates.f_narrow(0, 0, 0)?,
        };
        rows.add(selection, labelled, candidates, None)?;
        Ok(rows)
    }

    fn append(&mut self, steered: &Selection, answers: &Labelled, pixels: &Tensor) -> Result<()> {
        let first = self.order.iter().max().map_or(0, |m| m + 1);
        self.add(steered, answers, pixels, Some(first))
    }

    fn add(
        &mut self,
        selection: &Selection,
        labelled: &Labelled,
        pixels: &Tensor,
        steered_from: Option<usize>,
    ) -> Result<()> {
        let index: Vec<i64> = selection.kept().iter().map(|&row| row as i64).collect();
        let chosen = pixels.f_index_select(0, &tensor::from_i64(&index))?;
        self.pixels = Tensor::f_cat(&[&self.pixels, &chosen], 0)?;
        let classes = labelled.probabilities.len() / labelled.labels.len().max(1);
        for &row in selection.kept() {
            self.probabilities.push(labelled.probabilities[row * classes..(row + 1) * classes].to_vec());
            self.order.push(row + steered_from.unwrap_or(0));
            self.is_steered.push(steered_from.is_some());
            self.labels.push(labelled.labels[row]);
            self.confidences.push(labelled.confidences[row]);
        }
        Ok(())
    }

    fn take(&mut self, rows: &[usize]) -> Result<()> {
        let index: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        self.pixels = self.pixels.f_index_select(0, &tensor::from_i64(&index))?;
        self.order = rows.iter().map(|&r| self.order[r]).collect();
        self.is_steered = rows.iter().map(|&r| self.is_steered[r]).collect();
        self.labels = rows.iter().map(|&r| self.labels[r]).collect();
        self.confidences = rows.iter().map(|&r| self.confidences[r]).collect();
        self.probabilities = rows.iter().map(|&r| std::mem::take(&mut self.probabilities[r])).collect();
        Ok(())
    }

    /// Diversity and the wanted number, over candidates and steered samples together.
    fn finish(
        &mut self,
        selection: &mut Selection,
        counts: &mut SteeredCounts,
        plan: &FilterPlan,
    ) -> Result<()> {
        let mut result: Vec<usize> = (0..self.labels.len()).collect();
        if let Some(least) = plan.min_diversity_distance {
            // Rows stand by class here; ties go to the lower candidate, not to the lower class.
            let mut by_candidate = result.clone();
            by_candidate.sort_by_key(|&row| self.order[row]);
            let ranked: Vec<f32> = by_candidate.iter().map(|&row| self.confidences[row]).collect();
            let mut positions: Vec<usize> = (0..by_candidate.len()).collect();
            sort_by_confidence(&mut positions, &ranked);
            result = positions.into_iter().map(|position| by_candidate[position]).collect();
            self.take(&result)?;
            let keep = diversity::greedy(&self.pixels, least)?;
            let (kept, dropped): (Vec<usize>, Vec<usize>) = (0..keep.len()).partition(|&row| keep[row]);
            self.reject(selection, &dropped, Verdict::Diversity, &mut counts.rejected_diversity);
            self.take(&kept)?;
        }
        if let Some(wanted) = plan.target_samples {
            let all: Vec<usize> = (0..self.labels.len()).collect();
            let kept = target::limit(all.clone(), &self.confidences, wanted);
            if kept.len() < all.len() {
                let mut stays = vec![false; all.len()];
                for &row in &kept {
                    stays[row] = true;
                }
                let dropped: Vec<usize> = all.into_iter().filter(|&row| !stays[row]).collect();
                self.reject(selection, &dropped, Verdict::Target, &mut counts.rejected_target);
                self.take(&kept)?;
            }
        }
        Ok(())
    }

    fn reject(&self, selection: &mut Selection, rows: &[usize], reason: Verdict, steered: &mut usize) {
        let mut candidates = std::collections::HashSet::new();
        for &row in rows {
            if self.is_steered[row] {
                *steered += 1;
            } else {
                candidates.insert(self.order[row]);
            }
        }
        selection.retain(reason, |_, candidate| !candidates.contains(&candidate));
    }
}

fn summarise(
    selection: &Selection,
    rows: &Rows,
    steered: SteeredCounts,
    used_latent_steering: BTreeMap<i64, u64>,
    latent_steering_ran: bool,
    inputs: &FilterInputs<'_>,
    plan: &FilterPlan,
) -> Result<Summary> {
    let mut class_distribution: BTreeMap<i64, u64> = BTreeMap::new();
    let mut confidence_sums: BTreeMap<i64, f64> = BTreeMap::new();
    for (&class, &confidence) in rows.labels.iter().zip(&rows.confidences) {
        *class_distribution.entry(class).or_default() += 1;
        *confidence_sums.entry(class).or_default() += f64::from(confidence);
    }
    let avg_confidence_per_class =
        confidence_sums.iter().map(|(class, sum)| (*class, sum / class_distribution[class] as f64)).collect();
    let average_pairwise_distance = distances::mean_pairwise(&rows.pixels)?;
    let shard_distance = match inputs.shard_private {
        Some(shard) => distances::mean_pairwise(&shard.flat())?,
        None => None,
    };
    let diversity_ratio = crate::evaluate::ratio(average_pairwise_distance, shard_distance);
    let mut sorted = rows.confidences.clone();
    sorted.sort_by(f32::total_cmp);
    let n = sorted.len();
    let at = |i: Option<usize>| i.and_then(|i| sorted.get(i)).map(|&c| f64::from(c));
    let memorization_check = inputs.shard_private.is_some() && plan.min_memorisation_distance.is_some();
    Ok(Summary {
        num_generated: selection.n_candidates(),
        num_selected: n,
        final_histogram_l1: inputs
            .shard_counts
            .and_then(|counts| crate::evaluate::histogram_l1(&class_distribution, counts)),
        class_distribution,
        avg_confidence_per_class,
        rejected_low_confidence: selection.count(Verdict::LowConfidence),
        rejected_diversity: selection.count(Verdict::Diversity),
        rejected_memorization: selection.count(Verdict::Memorisation),
        rejected_quota: selection.count(Verdict::Quota),
        rejected_target: selection.count(Verdict::Target),
        rejected_steered: steered.generated - steered.kept,
        steered,
        used_latent_steering,
        latent_steering_ran,
        quota_applied: plan.quota && inputs.shard_counts.is_some(),
        diversity_ratio,
        filters_applied: FiltersApplied {
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
        },
        statistics: Statistics {
            average_confidence: (n > 0)
                .then(|| rows.confidences.iter().map(|&c| f64::from(c)).sum::<f64>() / n as f64),
            min_confidence: at(Some(0)),
            max_confidence: at(n.checked_sub(1)),
            median_confidence: at(n.checked_sub(1).map(|last| last / 2)),
            average_pairwise_distance,
            diversity_ratio,
        },
    })
}
