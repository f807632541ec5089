//! Classifiers of fixed recipes: what sets of images are judged by.
//!
//! A recipe is a function of the number of images alone, so that no set is served better than
//! another: so many images are seen, in batches of 128, the learning rate falls to 0, and the last
//! step's weights count. Its numbers were set beforehand, and no result changed them.
//!
//! Those of ResNet-110, WRN-40-4 and ResNeXt-29 are the benchmark DPImageBench's (arXiv
//! 2503.14681), without its choice of an epoch: 50 passes in batches of 256, Adam at .01, a fifth
//! of it after 20 passes each, images in [-1, 1], and the moving average of the weights counts.

use serde::Serialize;
use tch::{Device, Tensor};

use super::checkpoint::CheckpointStore;
use super::classifier::{self, ClassifierData, ClassifierPlan};
use super::logistic::{LogisticPlan, logistic};
use crate::base::progress::Progress;
use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::config::{NetworkKind, OptimizerKind};
use crate::data::augment::{Augmentation, Geometry};
use crate::data::{ImageShape, Normalisation, Records};
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
    Network(NetworkRecipe),
}

/// How a network learns from scratch.
#[derive(Clone, Debug, Serialize)]
pub struct NetworkRecipe {
    /// Everything but its dropouts.
    #[serde(flatten)]
    pub plan: ClassifierPlan,
    /// Whether they drop anything.
    pub dropout: bool,
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
            NetworkKind::ResNet110 | NetworkKind::Wrn40 | NetworkKind::ResNext29 => {
                let dropout = network == NetworkKind::Wrn40;
                return Ok(Self::Network(NetworkRecipe { plan: Self::of_benchmark(seed)?, dropout }));
            }
            NetworkKind::ResNet => {
                return Err(Error::invalid(
                    "there is no recipe for the residual network with group normalisation",
                ));
            }
        };
        let plan = ClassifierPlan {
            epochs: seen_to_epochs(seen, n),
            batch_size: BATCH,
            optimizer: OptimizerKind::Adam,
            learning_rate,
            momentum: 0.0,
            weight_decay: 0.0,
            schedule: Schedule::Cosine,
            ema_decay: None,
            augmentation: None,
            label_smoothing: 0.0,
            normalisation,
            seed,
        };
        Ok(Self::Network(NetworkRecipe { plan, dropout: false }))
    }

    /// That of UCStub on the embedded digits, for its features: 20 passes over rotated and shifted
    /// images of `shape`.
    pub fn of_features(shape: ImageShape, normalisation: Normalisation, seed: u64) -> Self {
        let plan = ClassifierPlan {
            epochs: 20,
            batch_size: 64,
            optimizer: OptimizerKind::Adam,
            learning_rate: 1e-3,
            momentum: 0.0,
            weight_decay: 0.0,
            schedule: Schedule::Constant,
            ema_decay: None,
            augmentation: Some(Augmentation::Basic(Geometry::teachers(shape.width))),
            label_smoothing: 0.0,
            normalisation,
            seed,
        };
        Self::Network(NetworkRecipe { plan, dropout: true })
    }

    fn of_benchmark(seed: u64) -> Result<ClassifierPlan> {
        Ok(ClassifierPlan {
            epochs: 50,
            batch_size: 256,
            optimizer: OptimizerKind::Adam,
            learning_rate: 0.01,
            momentum: 0.0,
            weight_decay: 0.0,
            schedule: Schedule::Steps { every: 20, gamma: 0.2 },
            ema_decay: Some(0.9999),
            augmentation: None,
            label_smoothing: 0.0,
            normalisation: Normalisation::new(&[0.5], &[0.5])?,
            seed,
        })
    }

    /// What the network sees of images; `given`, where the recipe has no say in it.
    pub fn normalisation<'a>(&'a self, given: &'a Normalisation) -> &'a Normalisation {
        match self {
            Self::Scattering(_) => given,
            Self::Network(recipe) => &recipe.plan.normalisation,
        }
    }

    /// Whether it takes hours, so that checkpoints are worth their time.
    pub fn is_long(&self) -> bool {
        matches!(self, Self::Network(recipe) if recipe.plan.ema_decay.is_some())
    }

    /// Progress that [`train`] reports, and in what.
    pub fn extent(&self) -> (&'static str, u64) {
        match self {
            Self::Scattering(plan) => ("iteration", plan.regression.iterations),
            Self::Network(recipe) => ("epoch", recipe.plan.epochs as u64),
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
    /// Temperature at which those were softened ([`classifier::distillation`]); the regression on
    /// scattering features, whose classes do not depend on it, has none.
    pub temperature: f64,
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
        Recipe::Network(NetworkRecipe { plan, dropout }) => {
            let fresh =
                models::fresh(network, NO_WIDTH, records.shape(), records.classes(), plan.seed, device)?;
            let data = ClassifierData {
                soft_labels: lesson.soft_labels,
                temperature: lesson.temperature,
                dropout: *dropout,
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
    use crate::base::progress::Silent;
    use crate::data::{Images, Labels};
    use crate::models::{BatchNormed, BlockKind, Form};

    #[test]
    fn a_recipe_depends_on_the_number_of_images_alone() {
        let epochs = |n| match Recipe::of(NetworkKind::UcStub, n, Normalisation::mnist(), 1).unwrap() {
            Recipe::Network(recipe) => recipe.plan.epochs,
            Recipe::Scattering(_) => 0,
        };
        assert_eq!([60_000, 30_000, 50_000, 1000, 10].map(epochs), [2, 4, 3, 120, MOST_EPOCHS]);
        assert!(Recipe::of(NetworkKind::ResNet, 10, Normalisation::mnist(), 1).is_err());
        for kind in NetworkKind::JUDGES {
            Recipe::of(kind, 10, Normalisation::mnist(), 1).unwrap();
        }
    }
    /// Forgets nothing: hands back what was kept, up to a number of epochs.
    #[derive(Default)]
    struct Kept(std::cell::RefCell<Vec<crate::train::Checkpoint>>, Option<usize>);

    impl CheckpointStore for Kept {
        fn load(&self) -> Option<crate::train::Checkpoint> {
            let all = self.0.borrow();
            all.iter().rfind(|checkpoint| Some(checkpoint.epochs) == self.1).cloned()
        }

        fn save(&self, checkpoint: &crate::train::Checkpoint) -> Result<()> {
            self.0.borrow_mut().push(checkpoint.clone());
            Ok(())
        }
    }

    /// The benchmark's recipe on a small network: it learns, its average is no single step's
    /// weights, and a training that goes on has the bytes of one that never stopped.
    #[test]
    fn an_average_with_batch_statistics_goes_on_where_it_was() {
        let form = Form { kind: BlockKind::Basic, stem: 4, width: 4, blocks: 1 };
        let shape = ImageShape { channels: 1, height: 8, width: 8 };
        let n = 40;
        let mut stream = Stream::new(1, Purpose::Probe, 0);
        let labels: Vec<i64> = (0..n).map(|row| row % 2).collect();
        let shift = tensor::from_i64(&labels).to_kind(tch::Kind::Float).view([n, 1, 1, 1]) * 0.5;
        let pixels =
            tensor::from_f32(&stream.uniform(n as usize * 64, 0.0, 0.5), &shape.batch(n)).unwrap() + shift;
        let classes = Labels::new(std::path::Path::new("made up"), labels, 2).unwrap();
        let records = Records::of_samples(Images::trusted(pixels), classes, Vec::new());
        let plan = ClassifierPlan { epochs: 12, batch_size: 16, ..Recipe::of_benchmark(3).unwrap() };
        let learn = |store: &Kept| {
            let network = BatchNormed::new(form, shape, 2, 3, Device::Cpu).unwrap();
            let data = ClassifierData::new(&records);
            classifier::train(network, &data, &plan, Device::Cpu, &Silent, store).unwrap()
        };
        let kept = Kept::default();
        let whole = learn(&kept);
        let last = whole.history.last().unwrap();
        assert!(last.train_accuracy > 90.0, "{last:?}");
        let all = kept.0.borrow().clone();
        assert_eq!(all.len(), 11);
        let value = |arrays: &[(String, Vec<usize>, Vec<f32>)], name: &str| {
            arrays.iter().find(|(known, ..)| known == name).unwrap().2.clone()
        };
        let state = &all[6].arrays;
        assert_ne!(value(state, "weights.conv1.weight"), value(state, "average.conv1.weight"));
        assert!(!state.iter().any(|(name, ..)| name == "average.bn1.running_mean"));
        let again = learn(&Kept(std::cell::RefCell::new(all), Some(7)));
        for (a, b) in nn::parameters(&whole.network).into_iter().zip(nn::parameters(&again.network)) {
            assert!(a.value().equal(b.value()), "{}", a.name());
        }
        assert_eq!(whole.history, again.history);
    }
}
