//! Classifiers of fixed recipes: what sets of images are judged by.
//!
//! A recipe is a function of the number of images alone, so that no set is served better than
//! another: so many images are seen, in batches of 128, the learning rate falls to 0, and the last
//! step's weights count. Its numbers were set beforehand, and no result changed them.

use serde::Serialize;
use tch::{Device, Tensor};

use super::checkpoint::CheckpointStore;
use super::classifier::{self, ClassifierData, ClassifierPlan};
use super::logistic::{LogisticPlan, logistic};
use crate::base::progress::Progress;
use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::config::{NetworkKind, OptimizerKind};
use crate::data::{Normalisation, Records};
use crate::models::{self, Classifier, ScatterLinear};
use crate::nn::{self, Schedule};
use crate::{Error, Result};

/// How a classifier learns a set.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Recipe {
    /// A logistic regression on scattering features that the set itself whitens. It draws nothing:
    /// all seeds give the same.
    Scattering(ScatteringRecipe),
    /// A network from scratch.
    Network(ClassifierPlan),
}

/// How scattering features are whitened and learnt.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ScatteringRecipe {
    /// Values after whitening, at most.
    pub whitened: i64,
    /// Images whose features whitening looks at, at most.
    pub whitening_images: usize,
    /// What is added to variances before they are divided by.
    pub whitening_ridge: f64,
    /// The regression.
    pub regression: LogisticPlan,
}

/// Images of a step.
const BATCH: usize = 128;
/// Passes over a small set at most.
const MOST_EPOCHS: usize = 200;

impl Recipe {
    /// That of `network` for `n` images.
    ///
    /// # Errors
    /// A network that there is no recipe for.
    pub fn of(network: NetworkKind, n: usize, normalisation: Normalisation, seed: u64) -> Result<Self> {
        // Images seen: with a set of 60,000, so many passes over it.
        let (seen, learning_rate) = match network {
            NetworkKind::ScatterLinear => {
                return Ok(Self::Scattering(ScatteringRecipe {
                    whitened: 500,
                    whitening_images: 10_000,
                    whitening_ridge: 1e-2,
                    regression: LogisticPlan { ridge: 1e-4, iterations: 200 },
                }));
            }
            NetworkKind::Mlp => (600_000, 1e-3),
            NetworkKind::SmallCnn => (360_000, 2e-3),
            NetworkKind::UcStub => (120_000, 1e-3),
            NetworkKind::ResNet => {
                return Err(Error::invalid("there is no recipe for the residual network"));
            }
        };
        Ok(Self::Network(ClassifierPlan {
            epochs: seen_to_epochs(seen, n),
            batch_size: BATCH,
            optimizer: OptimizerKind::Adam,
            learning_rate,
            momentum: 0.0,
            weight_decay: 0.0,
            schedule: Schedule::Cosine,
            augmentation: None,
            label_smoothing: 0.0,
            normalisation,
            seed,
        }))
    }

    /// Progress that [`train`] reports, and in what.
    pub fn extent(&self) -> (&'static str, u64) {
        match self {
            Self::Scattering(plan) => ("iteration", plan.regression.iterations),
            Self::Network(plan) => ("epoch", plan.epochs as u64),
        }
    }
}

fn seen_to_epochs(seen: usize, n: usize) -> usize {
    seen.div_ceil(n.max(1)).clamp(1, MOST_EPOCHS)
}

/// A set of images to learn.
pub struct Lesson<'a> {
    /// Images and their classes.
    pub records: &'a Records,
    /// Probabilities of all classes in the place of the classes, `[n, classes]`.
    pub soft_labels: Option<&'a Tensor>,
    /// What the network sees of the images.
    pub normalisation: &'a Normalisation,
}

/// Trains a network by its recipe; `progress` has the extent of [`Recipe::extent`], and `watch`
/// learns of a stop alone.
///
/// # Guarantee
/// That of the records: what is learnt from a private set is private.
///
/// # Errors
/// Images that are too small for the network, those of training, a stop.
pub fn train(
    network: NetworkKind,
    recipe: &Recipe,
    lesson: &Lesson<'_>,
    device: Device,
    (progress, watch): (&dyn Progress, &dyn Progress),
    store: &dyn CheckpointStore,
) -> Result<Box<dyn Classifier>> {
    /// Of the residual network, which has no recipe.
    const NO_WIDTH: i64 = 2;
    let records = lesson.records;
    match recipe {
        Recipe::Scattering(plan) => scattering(plan, lesson, device, (progress, watch)),
        Recipe::Network(plan) => {
            let fresh =
                models::fresh(network, NO_WIDTH, records.shape(), records.classes(), plan.seed, device)?;
            let data = ClassifierData {
                soft_labels: lesson.soft_labels,
                dropout: false,
                ..ClassifierData::new(records)
            };
            Ok(classifier::train(fresh, &data, plan, device, progress, store)?.network)
        }
    }
}

fn scattering(
    plan: &ScatteringRecipe,
    lesson: &Lesson<'_>,
    device: Device,
    (progress, watch): (&dyn Progress, &dyn Progress),
) -> Result<Box<dyn Classifier>> {
    /// Images normalised at once: a second copy of all would be as large as they are.
    const CHUNK: i64 = 5000;
    let (records, normalisation) = (lesson.records, lesson.normalisation);
    normalisation.check_channels(records.shape().channels)?;
    let network = ScatterLinear::new(records.shape(), records.classes(), device)?;
    let mut rows = Stream::new(0, Purpose::Whitening, 1).permutation(records.len());
    rows.truncate(plan.whitening_images);
    let some = normalisation.apply(records.select(&rows)?.images.tensor());
    let features = network.features_of(&some, watch)?;
    let whitened = plan.whitened.min(features.size()[1]).min(rows.len() as i64);
    let network = network.whitened_by(&features, whitened, plan.whitening_ridge)?;
    drop(features);
    let mut parts = Vec::new();
    tensor::batches(records.len() as i64, CHUNK, |first, n| {
        let part = normalisation.apply(&records.images.tensor().f_narrow(0, first, n)?);
        parts.push(network.features_of(&part, watch)?);
        Ok(())
    })?;
    let features = Tensor::f_cat(&parts, 0)?;
    let hard = records.labels.tensor();
    let labels = lesson.soft_labels.unwrap_or(&hard);
    let (weight, bias) = logistic(&features, labels, records.classes(), &plan.regression, progress)?;
    nn::restore(network.head(), &[weight, bias])?;
    Ok(Box::new(network))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_depends_on_the_number_of_images_alone() {
        let epochs = |n| match Recipe::of(NetworkKind::UcStub, n, Normalisation::mnist(), 1).unwrap() {
            Recipe::Network(plan) => plan.epochs,
            Recipe::Scattering(_) => 0,
        };
        assert_eq!([60_000, 30_000, 50_000, 1000, 10].map(epochs), [2, 4, 3, 120, MOST_EPOCHS]);
        assert!(Recipe::of(NetworkKind::ResNet, 10, Normalisation::mnist(), 1).is_err());
    }
}
