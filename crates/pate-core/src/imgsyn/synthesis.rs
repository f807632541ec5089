//! Public images moved along a classifier's gradients.

use serde::Serialize;
use tch::{Kind, Reduction, Tensor};

use super::statistics::{self, Statistics};
use crate::base::parallel;
use crate::base::progress::Progress;
use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::data::{Images, Normalisation};
use crate::models::Classifier;
use crate::nn::{Adam, DropoutMasks, Optimizer, Pass, Tape};
use crate::{Error, Result};

/// Weights of the terms of the loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Weights {
    /// Distance of the batch's statistics from the released ones.
    pub features: f64,
    /// Cross-entropy with the assigned classes.
    pub cross_entropy: f64,
    /// Total variation.
    pub total_variation: f64,
    /// L2 norm of the whole batch.
    pub l2: f64,
}

impl Weights {
    /// The original's: 10, 1, 2.5e-5, 3e-8.
    pub const ORIGINAL: Self = Self { features: 10.0, cross_entropy: 1.0, total_variation: 2.5e-5, l2: 3e-8 };
}

/// How images are moved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SynthesisPlan {
    /// Steps (k); none leaves the images as they are.
    pub steps: u32,
    /// Images whose statistics are taken together.
    pub batch_size: usize,
    /// Adam's learning rate, on normalised pixels.
    pub learning_rate: f64,
    /// Weights of the loss.
    pub weights: Weights,
    /// In each step, roll the batch by up to an eighth of a side each way.
    pub roll: bool,
    /// In each step, mirror the batch with probability one half.
    pub flip: bool,
    /// Seed of rolls and mirrorings.
    pub seed: u64,
}

/// Adam's betas on pixels: the original's.
const BETAS: (f64, f64) = (0.5, 0.99);

/// One step's change of a whole batch: rows and columns to roll by, and whether it is mirrored.
pub type Change = (i64, i64, bool);

/// The loss and its terms.
#[derive(Debug)]
pub struct Loss {
    /// A scalar.
    pub total: Tensor,
    /// Sum over the layers of the distances of variances and of means; absent without statistics.
    pub features: Option<Tensor>,
    /// Mean cross-entropy.
    pub cross_entropy: Tensor,
    /// Mean absolute differences of neighbours, in four directions.
    pub total_variation: Tensor,
    /// Norm of the batch.
    pub l2: Tensor,
}

/// The loss of a batch: features and cross-entropy of the changed images, the rest of the images as
/// they are.
///
/// # Shapes
/// `x` `[n, c, h, w]`, normalised; `labels` `[n]`.
///
/// # Errors
/// Statistics of another network.
pub fn loss(
    network: &dyn Classifier,
    statistics: Option<&Statistics>,
    x: &Tensor,
    labels: &Tensor,
    weights: &Weights,
    (rows, columns, mirror): Change,
) -> Result<Loss> {
    let mut changed = x.f_roll([rows, columns], [2, 3])?;
    if mirror {
        changed = changed.f_flip([3])?;
    }
    let mut tape = Tape::default();
    let logits = match statistics {
        Some(_) => {
            network.logits(&changed, &mut Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() })
        }
        None => network.logits(&changed, &mut Pass::differentiate()),
    };
    let cross_entropy =
        logits.f_log_softmax(-1, None)?.f_nll_loss::<Tensor>(labels, None, Reduction::Mean, -100)?;
    let features = statistics.map(|statistics| features(&tape, &changed, statistics)).transpose()?;
    let (total_variation, l2) = (total_variation(x)?, x.f_norm()?);
    let mut total = &cross_entropy * weights.cross_entropy
        + &total_variation * weights.total_variation
        + &l2 * weights.l2;
    if let Some(features) = &features {
        total += features * weights.features;
    }
    Ok(Loss { total, features, cross_entropy, total_variation, l2 })
}

fn features(tape: &Tape, x: &Tensor, statistics: &Statistics) -> Result<Tensor> {
    let inputs = statistics::inputs(tape, x);
    let channels: Vec<i64> = inputs.iter().map(|x| x.size()[1]).collect();
    if channels != statistics.channels {
        return Err(Error::invalid(format!(
            "the statistics are of layers of {:?} channels, and the network's have {channels:?}; give those of this \
             network",
            statistics.channels
        )));
    }
    let mut total = Tensor::f_zeros([], (x.kind(), x.device()))?;
    for (input, (mean, variance)) in inputs.iter().zip(statistics.layers()) {
        let (batch_mean, batch_variance) = statistics::of_batch(input);
        let to = |target: &Tensor| target.to_device(x.device()).to_kind(x.kind());
        total = total + (batch_variance - to(&variance)).f_norm()? + (batch_mean - to(&mean)).f_norm()?;
    }
    Ok(total)
}

/// The sum of the mean absolute differences between neighbours: to the right, down, and along both
/// diagonals.
///
/// # Errors
/// Where libtorch refuses.
pub fn total_variation(x: &Tensor) -> Result<Tensor> {
    let size = x.size();
    let (h, w) = (size[2], size[3]);
    let part = |top: i64, left: i64, rows: i64, columns: i64| x.narrow(2, top, rows).narrow(3, left, columns);
    let difference = |a: Tensor, b: Tensor| (a - b).f_abs()?.f_mean(None::<Kind>);
    Ok(difference(part(0, 1, h, w - 1), part(0, 0, h, w - 1))?
        + difference(part(1, 0, h - 1, w), part(0, 0, h - 1, w))?
        + difference(part(1, 1, h - 1, w - 1), part(0, 0, h - 1, w - 1))?
        + difference(part(1, 0, h - 1, w - 1), part(0, 1, h - 1, w - 1))?)
}

/// A batch that is moved, step by step: normalised pixels and their optimiser.
pub struct Moved {
    x: Tensor,
    optimizer: Adam,
    least: Tensor,
    most: Tensor,
}

impl Moved {
    /// Starts at normalised images.
    pub fn new(x: &Tensor, normalisation: &Normalisation, learning_rate: f64) -> Self {
        let level = |value: f64| {
            let shape = [1, x.size()[1], 1, 1];
            normalisation.apply(&Tensor::full(shape, value, (x.kind(), x.device())))
        };
        Self {
            x: x.detach().copy(),
            optimizer: Adam::with_betas(learning_rate, 0.0, BETAS),
            least: level(0.0),
            most: level(1.0),
        }
    }

    /// One step of Adam on the pixels, which then are brought back to what pixels can be. Gives the
    /// loss before it.
    ///
    /// # Errors
    /// As [`loss`].
    pub fn step(
        &mut self,
        network: &dyn Classifier,
        statistics: Option<&Statistics>,
        labels: &Tensor,
        weights: &Weights,
        change: Change,
    ) -> Result<f64> {
        let x = self.x.detach().set_requires_grad(true);
        let loss = loss(network, statistics, &x, labels, weights, change)?;
        let gradients = tensor::gradients(&loss.total, std::slice::from_ref(&x))?;
        let _guard = tch::no_grad_guard();
        let mut values = [x.detach()];
        self.optimizer.step(&mut values, &gradients);
        let [moved] = values;
        self.x = moved.f_maximum(&self.least)?.f_minimum(&self.most)?;
        Ok(loss.total.f_double_value(&[])?)
    }

    /// The images as they are now, normalised.
    pub fn images(&self) -> &Tensor {
        &self.x
    }
}

/// Images that were moved.
pub struct Synthesised {
    /// In `[0, 1]`.
    pub images: Images,
    /// Mean over the batches of the loss before each step.
    pub losses: Vec<f64>,
}

/// Moves images: `steps` steps of Adam for every batch, in the order of the rows. The images of the
/// last step are what comes out, as in the original.
///
/// # Privacy
/// A function of the network, of the statistics and of the images: it has the guarantee of these.
///
/// # Errors
/// Other numbers of images and labels, statistics of another network, a stop.
pub fn synthesise(
    network: &dyn Classifier,
    normalisation: &Normalisation,
    statistics: Option<&Statistics>,
    images: &Images,
    labels: &[i64],
    plan: &SynthesisPlan,
    progress: &dyn Progress,
) -> Result<Synthesised> {
    if images.len() != labels.len() || plan.batch_size == 0 {
        return Err(Error::invalid(format!(
            "{} images, {} classes for them and batches of {}: nothing can be moved",
            images.len(),
            labels.len(),
            plan.batch_size
        )));
    }
    let device = network.device();
    let pixels = images.tensor();
    if plan.steps == 0 {
        return Ok(Synthesised { images: Images::trusted(pixels.shallow_clone()), losses: Vec::new() });
    }
    let moved = Tensor::f_empty_like(pixels)?;
    let mut losses = vec![0.0; plan.steps as usize];
    let (batch, n) = (plan.batch_size as i64, images.len() as i64);
    let limits = [pixels.size()[2] / 8, pixels.size()[3] / 8];
    let labels = tensor::from_i64(labels);
    let worker = |_| Worker {
        network: network.alias(),
        statistics: statistics.map(Statistics::alias),
        pixels: pixels.shallow_clone(),
        labels: labels.shallow_clone(),
    };
    let workers = (0..parallel::workers(device)).map(worker).collect();
    parallel::batches(
        n,
        batch,
        workers,
        progress,
        |worker, first, n| {
            let mut stream = Stream::new(plan.seed, Purpose::Synthesis, (first / batch) as u64);
            let x = normalisation.apply(&worker.pixels.f_narrow(0, first, n)?.f_to_device(device)?);
            let labels = worker.labels.f_narrow(0, first, n)?.f_to_device(device)?;
            let mut moved = Moved::new(&x, normalisation, plan.learning_rate);
            let mut losses = Vec::with_capacity(plan.steps as usize);
            for _ in 0..plan.steps {
                // Drawn whether they are used or not, so that one option leaves the other's alone.
                let mut up_to = |limit: i64| stream.below(2 * limit as u64 + 1) as i64 - limit;
                let [rows, columns] = limits.map(&mut up_to);
                let mirror = stream.below(2) == 1 && plan.flip;
                let change = if plan.roll { (rows, columns, mirror) } else { (0, 0, mirror) };
                let (network, statistics) = (&*worker.network, worker.statistics.as_ref());
                losses.push(moved.step(network, statistics, &labels, &plan.weights, change)?);
            }
            let pixels = normalisation.undo(moved.images()).f_clamp(0.0, 1.0)?;
            Ok((pixels, losses))
        },
        |first, n, (pixels, of_batch)| {
            moved.f_narrow(0, first, n)?.f_copy_(&pixels)?;
            losses.iter_mut().zip(of_batch).for_each(|(all, loss)| *all += loss);
            Ok(())
        },
    )?;
    let batches = (n as f64 / batch as f64).ceil();
    for loss in &mut losses {
        *loss /= batches;
    }
    Ok(Synthesised { images: Images::trusted(moved), losses })
}

/// What a thread moves images by.
struct Worker {
    network: Box<dyn Classifier>,
    statistics: Option<Statistics>,
    pixels: Tensor,
    labels: Tensor,
}

/// The classes that images are moved towards: each as often as the others, in turns.
pub fn assigned(n: usize, classes: i64) -> Vec<i64> {
    (0..n as i64).map(|row| row % classes.max(1)).collect()
}
