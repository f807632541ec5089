//! One teacher's labelled synthetic data: label a pool, filter it, steer for what is missing.

mod plan;
mod summary;

pub use plan::FilterPlan;
pub use summary::{FiltersApplied, Statistics, SteeredCounts, Summary};

use std::borrow::Cow;
use std::collections::BTreeMap;

use tch::Tensor;

use self::summary::SteeringRecord;
use crate::base::progress::{Progress, Silent};
use crate::data::Images;
use crate::models::{Decoder, Teacher};
use crate::pate::label::{Labelled, label};
use crate::pate::select::quota::Limits;
use crate::pate::select::{Pixels, Selection, Verdict, confidence, diversity, memorisation, quota, target};
use crate::pate::steer::{PoolStarts, make_missing};
use crate::{Error, Result};

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
    /// What the teacher says about each.
    pub answers: Labelled,
    /// Counts and statistics.
    pub summary: Summary,
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
/// Candidates and steered samples are rows of one table, steered ones after the pool; every filter
/// gives verdicts on rows, and the pixels of those that stay are gathered once, at the end.
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
    let mut labelled = Cow::Borrowed(labelled);
    let mut pixels = Pixels::new(pool.flat());
    let mut selection = Selection::all(pool.len());

    // In the original's order; distances to the shard are then computed for confident candidates
    // alone.
    confidence::filter(&mut selection, &labelled, &plan.thresholds);
    drop_near_copies(&mut selection, &pixels, inputs, plan)?;
    // Targets are fractions of what is left here, so that the quota divides what exists.
    let targets = match inputs.shard_counts {
        Some(counts) if plan.quota => quota::targets(counts, selection.kept().len(), &plan.limits),
        _ => BTreeMap::new(),
    };
    // Limits by class hold without a quota, too.
    quota::filter(&mut selection, &labelled, classes, &targets, &plan.limits);

    // Before diversity and target: what they take away is not made up for, as in the original.
    let missing = missing_by_class(&selection, &labelled, classes, &plan.limits);
    let mut steering =
        // Every class that is short is recorded, so that the report says so where steering cannot
        // run, too.
        SteeringRecord { ran: false, passed: missing.keys().map(|&class| (class, 0)).collect() };
    if let Some((steering_plan, decoder)) = plan.steering.zip(inputs.decoder).filter(|_| !missing.is_empty())
    {
        progress.start("steering", missing.values().sum());
        // Only these lack confidence; what other filters rejected has it already.
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
        // Labelled like any candidate: that a latent was steered to a class does not say that the
        // image shows it.
        let answers = label(inputs.teacher, &made.images, plan.batch_size, &Silent)?;
        let steered = judge_steered(&made.images, &answers, inputs, plan)?;
        steering.ran = true;
        for &row in steered.kept() {
            *steering.passed.entry(made.wanted[row]).or_default() += 1;
        }
        labelled.to_mut().extend(answers);
        pixels.append(made.images.flat());
        selection.append(&steered);
    }

    if let Some(least) = plan.min_diversity_distance {
        diversity::filter(&mut selection, &labelled, &pixels, least)?;
    }
    if let Some(wanted) = plan.target_samples {
        target::filter(&mut selection, &labelled, wanted);
    }
    let kept = selection.kept();
    let shape = pool.shape().batch(kept.len() as i64);
    let images = Images::trusted(pixels.gather(kept)?.f_reshape(shape)?);
    let summary = Summary::of((&selection, pool.len()), &labelled, &images, steering, inputs, plan)?;
    Ok(Filtered { images, answers: labelled.select(kept), summary })
}

/// Verdicts on steered samples alone: the teacher must be as sure of them as of a rare class, and
/// none may be a near-copy.
fn judge_steered(
    made: &Images,
    answers: &Labelled,
    inputs: &FilterInputs<'_>,
    plan: &FilterPlan,
) -> Result<Selection> {
    let mut steered = Selection::all(made.len());
    let least = plan.thresholds.rare as f32;
    steered.retain(Verdict::LowConfidence, |_, row| answers.confidences[row] >= least);
    drop_near_copies(&mut steered, &Pixels::new(made.flat()), inputs, plan)?;
    Ok(steered)
}

/// The memorisation check, where there is a shard and a distance.
fn drop_near_copies(
    selection: &mut Selection,
    pixels: &Pixels,
    inputs: &FilterInputs<'_>,
    plan: &FilterPlan,
) -> Result<()> {
    match (inputs.shard_private, plan.min_memorisation_distance) {
        (Some(shard), Some(least)) => memorisation::filter(selection, pixels, &shard.flat(), least),
        _ => Ok(()),
    }
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
