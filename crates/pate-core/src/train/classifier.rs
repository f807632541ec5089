//! Training of the classifier: teachers on shards, students on synthetic data.

use serde::Serialize;
use tch::{Device, Kind, Reduction, Tensor};

use super::augment::{self, Geometry};
use crate::data::{Normalisation, Records};
use crate::models::UcStub;
use crate::nn::{self, Adam, Optimizer, Sgd, StepDecay};
use crate::progress::Progress;
use crate::rng::{Purpose, Stream, TorchGenerator};
use crate::{Error, Result, tensor};

/// Images classified at once in validation; their activations then stay in the processor's cache.
const VALIDATION_BATCH: usize = 64;

/// Which optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam.
    Adam,
}

/// How a classifier is trained.
#[derive(Clone, Debug)]
pub struct ClassifierPlan {
    /// Passes over the training records.
    pub epochs: usize,
    /// Records per step; the last step of an epoch takes what is left.
    pub batch_size: usize,
    /// Optimiser.
    pub optimizer: OptimizerKind,
    /// Learning rate of the first epoch.
    pub learning_rate: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// L2 regularisation in the gradient.
    pub weight_decay: f64,
    /// Drops of the learning rate.
    pub decay: StepDecay,
    /// Changes to the images, or none.
    pub augmentation: Option<Geometry>,
    /// What the network sees.
    pub normalisation: Normalisation,
    /// Seed of weights, order, dropout and augmentation.
    pub seed: u64,
}

/// One epoch in figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EpochScore {
    /// Counted from 1.
    pub epoch: usize,
    /// Mean loss over the training records, with dropout.
    pub train_loss: f64,
    /// Per cent right over the training records, with dropout.
    pub train_accuracy: f64,
    /// Mean loss over the validation records; null where there are none.
    pub validation_loss: Option<f64>,
    /// Per cent right over the validation records; null where there are none.
    pub validation_accuracy: Option<f64>,
    /// Learning rate of the epoch.
    pub learning_rate: f64,
}

/// A trained classifier.
pub struct TrainedClassifier {
    /// With the weights of the last epoch.
    pub network: UcStub,
    /// Weights of the best epoch by validation accuracy (the earlier one on a tie), for [`nn::restore`].
    pub best_weights: Vec<Tensor>,
    /// Its number, counted from 1; `None` without validation records.
    pub best_epoch: Option<usize>,
    /// Every epoch.
    pub history: Vec<EpochScore>,
}

/// Divides `0..n` into the first `floor(train_split n)` of a seeded permutation, and the rest.
///
/// # Errors
/// Where either part would be empty.
pub fn split(n: usize, train_split: f64, seed: u64) -> Result<(Vec<i64>, Vec<i64>)> {
    let n_train = (train_split * n as f64).floor() as usize;
    if n_train == 0 || n_train >= n {
        return Err(Error::invalid(format!(
            "a --train-split of {train_split} leaves {n_train} of {n} samples for training and {} for validation; \
             both need at least one",
            n.saturating_sub(n_train)
        )));
    }
    let mut order = Stream::new(seed, Purpose::Split, 0).permutation(n);
    let validation = order.split_off(n_train);
    Ok((order, validation))
}

/// Trains a fresh classifier on `train`, and measures it on `validation` after every epoch.
///
/// # Guarantee
/// None, where `train` is private: ordinary training.
///
/// # Errors
/// No records, different shapes, a loss that is not finite, a stop.
pub fn train(
    train: &Records,
    validation: Option<&Records>,
    plan: &ClassifierPlan,
    device: Device,
    progress: &dyn Progress,
) -> Result<TrainedClassifier> {
    if train.is_empty() || plan.batch_size == 0 {
        return Err(Error::invalid(format!(
            "{} records in batches of {}: there is nothing to train on",
            train.len(),
            plan.batch_size
        )));
    }
    plan.normalisation.check_channels(train.spec().channels)?;
    let network = UcStub::new(train.spec(), plan.seed, device)?;
    let mut parameters = nn::trainable(&network);
    let mut optimizer: Box<dyn Optimizer> = match plan.optimizer {
        OptimizerKind::Sgd => Box::new(Sgd::new(plan.learning_rate, plan.momentum, plan.weight_decay)),
        OptimizerKind::Adam => Box::new(Adam::new(plan.learning_rate, plan.weight_decay)),
    };
    let images = train.images.tensor().f_to_device(device)?;
    let labels = train.labels.tensor().f_to_device(device)?;
    let mut history: Vec<EpochScore> = Vec::with_capacity(plan.epochs);
    let mut best: Option<(f64, usize, Vec<Tensor>)> = None;
    for epoch in 0..plan.epochs {
        progress.check()?;
        let learning_rate = plan.decay.rate(plan.learning_rate, epoch);
        optimizer.set_learning_rate(learning_rate);
        let (train_loss, train_accuracy) =
            run_epoch(&network, &mut parameters, optimizer.as_mut(), &images, &labels, plan, epoch)?;
        if !train_loss.is_finite() {
            return Err(Error::invalid(format!(
                "the loss became {train_loss} in epoch {}; lower the learning rate ({learning_rate})",
                epoch + 1
            )));
        }
        let measured = match validation {
            Some(records) => Some(crate::evaluate::classifier(
                &network,
                &plan.normalisation,
                records,
                device,
                VALIDATION_BATCH,
                &crate::progress::Silent,
            )?),
            None => None,
        };
        let score = EpochScore {
            epoch: epoch + 1,
            train_loss,
            train_accuracy,
            validation_loss: measured.as_ref().map(|m| m.average_loss),
            validation_accuracy: measured.as_ref().map(|m| m.overall_accuracy),
            learning_rate,
        };
        if let Some(accuracy) = score.validation_accuracy
            && best.as_ref().is_none_or(|&(best, ..)| accuracy > best)
        {
            best = Some((accuracy, epoch + 1, nn::snapshot(&network)));
        }
        let note = match score.validation_accuracy {
            Some(accuracy) => format!("loss {train_loss:.4}, validation {accuracy:.2}%"),
            None => format!("loss {train_loss:.4}, training {train_accuracy:.2}%"),
        };
        progress.advance(1, &note);
        history.push(score);
    }
    let (best_epoch, best_weights) = match best {
        Some((_, epoch, weights)) => (Some(epoch), weights),
        None => (None, nn::snapshot(&network)),
    };
    Ok(TrainedClassifier { network, best_weights, best_epoch, history })
}

fn run_epoch(
    network: &UcStub,
    parameters: &mut [Tensor],
    optimizer: &mut dyn Optimizer,
    images: &Tensor,
    labels: &Tensor,
    plan: &ClassifierPlan,
    epoch: usize,
) -> Result<(f64, f64)> {
    let n = images.size()[0];
    let order = Stream::new(plan.seed, Purpose::Shuffle, epoch as u64).permutation(n as usize);
    let order = tensor::from_i64(&order).f_to_device(images.device())?;
    let mut geometry = Stream::new(plan.seed, Purpose::Augmentation, epoch as u64);
    let mut generator = TorchGenerator::hold();
    generator.seed_stream(plan.seed, epoch as u64);
    // Summed on the device; read once per epoch.
    let mut loss_sum = Tensor::f_zeros([1], (Kind::Double, images.device()))?;
    let mut hits = Tensor::f_zeros([1], (Kind::Int64, images.device()))?;
    tensor::batches(n, plan.batch_size as i64, |first, rows| {
        let index = order.f_narrow(0, first, rows)?;
        let mut x = images.f_index_select(0, &index)?;
        let truth = labels.f_index_select(0, &index)?;
        if let Some(ranges) = plan.augmentation {
            x = augment::transform(&x, ranges, &mut geometry)?;
        }
        let log_p = network.forward(&plan.normalisation.apply(&x), true);
        let loss = log_p.f_nll_loss::<Tensor>(&truth, None, Reduction::Mean, -100)?;
        let gradients = tensor::gradients(&loss, parameters)?;
        optimizer.step(parameters, &gradients);
        let _guard = tch::no_grad_guard();
        let _ = loss_sum.f_add_(&(loss.detach().to_kind(Kind::Double) * rows as f64))?;
        let _ = hits.f_add_(&log_p.f_argmax(-1, false)?.f_eq_tensor(&truth)?.f_sum(Kind::Int64)?)?;
        Ok(())
    })?;
    let loss = loss_sum.f_double_value(&[0])? / n as f64;
    let accuracy = 100.0 * hits.f_double_value(&[0])? / n as f64;
    Ok((loss, accuracy))
}
