//! Training of the classifier: teachers on shards, students on synthetic data.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Reduction, Tensor};

use crate::base::progress::{Progress, Silent};
use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::config::OptimizerKind;
use crate::data::augment::Augmentation;
use crate::data::{ImageShape, Images, Labels, Normalisation, Records, SoftLabels};
use crate::models::Classifier;
use crate::nn::{self, Adam, DropoutMasks, Module, Optimizer, Pass, Schedule, Sgd};
use crate::train::checkpoint::CheckpointStore;
use crate::train::fit::{self, FitPlan, Learner, Loss, Part, Task};
use crate::{Error, Result};

/// Images classified at once in validation; their activations then stay in the processor's cache.
const VALIDATION_BATCH: usize = 64;

/// How a classifier is trained.
#[derive(Clone, Debug, Serialize)]
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
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// Decay of the moving average of weights over steps ([`nn::Average`]): the network ends with
    /// the average of what it learns, and with running statistics as they are. Scores of epochs are
    /// those of the weights themselves, so that it does not go with validation records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema_decay: Option<f64>,
    /// Changes to the images, or none.
    pub augmentation: Option<Augmentation>,
    /// Share of the target that is spread evenly over all classes, in `[0, 1)`.
    pub label_smoothing: f64,
    /// What the network sees.
    pub normalisation: Normalisation,
    /// Seed of weights, order, dropout and augmentation.
    pub seed: u64,
}

/// What a classifier learns from.
#[derive(Clone, Copy)]
pub struct ClassifierData<'a> {
    /// Images and their labels.
    pub train: &'a Records,
    /// Probabilities of all classes, float32 `[n, classes]`, one row per training record; they take
    /// the place of the labels in the loss.
    pub soft_labels: Option<&'a Tensor>,
    /// Temperature at which those were softened; see [`distillation`].
    pub temperature: f64,
    /// Whether the network's dropouts drop anything.
    pub dropout: bool,
    /// What it is measured on after every epoch.
    pub validation: Option<&'a Records>,
}

impl<'a> ClassifierData<'a> {
    /// Images and their labels alone.
    pub fn new(train: &'a Records) -> Self {
        Self { train, soft_labels: None, temperature: 1.0, dropout: true, validation: None }
    }
}

/// One epoch in figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
pub struct TrainedClassifier<N> {
    /// With the weights of the last epoch.
    pub network: N,
    /// Weights of the best epoch by validation accuracy (the earlier one on a tie), for
    /// [`nn::restore`].
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

/// What a classifier says of images.
pub struct Answers {
    /// Its most probable classes.
    pub labels: Labels,
    /// How probable it thinks these.
    pub confidences: Vec<f32>,
    /// softmax(logits / T).
    pub soft: SoftLabels,
}

impl Answers {
    /// The answers at `rows`, which must exist.
    #[must_use]
    pub fn select(&self, rows: &[i64]) -> Self {
        let at = || rows.iter().map(|&row| row as usize);
        Self {
            labels: self.labels.select(rows),
            confidences: at().map(|row| self.confidences[row]).collect(),
            soft: self.soft.select(at()),
        }
    }
}

/// Asks `network` about images; `temperature` is that of the probabilities of all classes.
///
/// # Errors
/// A temperature that is not above 0, other channels than the normalisation's, a stop.
pub fn answers(
    network: &dyn Classifier,
    normalisation: &Normalisation,
    images: &Images,
    temperature: f64,
    progress: &dyn Progress,
) -> Result<Answers> {
    if !(temperature > 0.0 && temperature.is_finite()) {
        return Err(Error::invalid(format!("the temperature is {temperature}; it is a number above 0")));
    }
    normalisation.check_channels(images.shape().channels)?;
    let _guard = tch::no_grad_guard();
    let (mut labels, mut confidences, mut soft) = (Vec::with_capacity(images.len()), Vec::new(), Vec::new());
    tensor::batches(images.len() as i64, VALIDATION_BATCH as i64, |first, n| {
        progress.check()?;
        let x = images.tensor().f_narrow(0, first, n)?.f_to_device(network.device())?;
        let log_p = network.log_probs(&normalisation.apply(&x), &mut Pass::Infer);
        let (top, class) = log_p.f_max_dim(-1, false)?;
        labels.extend(tensor::to_i64(&class)?);
        confidences.extend(tensor::to_f32(&top.f_exp()?)?);
        // Log-probabilities are logits, too.
        let softened = if temperature.total_cmp(&1.0).is_eq() {
            log_p
        } else {
            log_p.f_div_scalar(temperature)?.f_log_softmax(-1, None)?
        };
        soft.extend(tensor::to_f32(&softened.f_exp()?)?);
        progress.advance(n as u64, "");
        Ok(())
    })?;
    let (source, classes) = (std::path::Path::new("the network's answers"), network.classes());
    Ok(Answers {
        labels: Labels::new(source, labels, classes)?,
        confidences,
        soft: SoftLabels::new(source, soft, classes)?,
    })
}

/// What `network` says about the images of `records`, instead of their own labels: the most
/// probable class, and the probabilities of all.
///
/// # Errors
/// Another number of classes, other shapes.
pub fn relabel(
    network: &dyn Classifier,
    normalisation: &Normalisation,
    records: &Records,
) -> Result<(Labels, SoftLabels)> {
    if network.classes() != records.labels.classes() {
        return Err(Error::invalid(format!(
            "the network tells {} classes apart, and the samples have {}",
            network.classes(),
            records.labels.classes()
        )));
    }
    let Answers { labels, soft, .. } = answers(network, normalisation, &records.images, 1.0, &Silent)?;
    Ok((labels, soft))
}

/// Trains a classifier, from the weights that it has, and measures it on the validation records
/// after every epoch. A training with a checkpoint in `store` goes on from there.
///
/// # Guarantee
/// None, where the training records are private: ordinary training.
///
/// # Errors
/// No records, different shapes, a loss that is not finite, a checkpoint that cannot be written, a
/// stop.
pub fn train<N: Classifier + Clone>(
    network: N,
    data: &ClassifierData<'_>,
    plan: &ClassifierPlan,
    device: Device,
    progress: &dyn Progress,
    store: &dyn CheckpointStore,
) -> Result<TrainedClassifier<N>> {
    let train = data.train;
    fit::check(train.len() as i64, plan.batch_size)?;
    plan.normalisation.check_channels(train.shape().channels)?;
    if plan.ema_decay.is_some() && data.validation.is_some() {
        return Err(Error::invalid(
            "an average of weights is that of the last step: no epoch is chosen for it",
        ));
    }
    let mut optimizer: Box<dyn Optimizer> = match plan.optimizer {
        OptimizerKind::Sgd => Box::new(Sgd::new(plan.learning_rate, plan.momentum, plan.weight_decay)),
        OptimizerKind::Adam => Box::new(Adam::new(plan.learning_rate, plan.weight_decay)),
    };
    let task = ClassifierTask {
        images: train.images.tensor().f_to_device(device)?,
        targets: Targets::new(train, data.soft_labels, plan.label_smoothing, device)?,
        shape: train.shape(),
        network,
        validation: data.validation,
        temperature: data.temperature,
        dropout: data.dropout,
        plan,
    };
    let fit_plan = FitPlan {
        epochs: plan.epochs,
        batch_size: plan.batch_size,
        learning_rate: plan.learning_rate,
        schedule: plan.schedule,
        ema_decay: plan.ema_decay,
        seed: plan.seed,
    };
    let fitted = fit::fit(&task, &mut *optimizer, &fit_plan, progress, store)?;
    let network = task.network;
    if let Some(average) = &fitted.average {
        let _guard = tch::no_grad_guard();
        for (parameter, values) in nn::learnt(&network).into_iter().zip(average) {
            parameter.value().detach().f_copy_(values)?;
        }
    }
    // Without validation no epoch is better than another, and the last one stands for the best.
    let (best_epoch, best_weights) = match fitted.best {
        Some((epoch, weights)) => (Some(epoch), weights),
        None => (None, nn::snapshot(&network)),
    };
    Ok(TrainedClassifier { network, best_weights, best_epoch, history: fitted.history })
}

/// What the loss compares with.
struct Targets {
    /// `[n]`.
    labels: Tensor,
    /// Shares of the classes, `[n, classes]`, where they are more than the label says.
    soft: Option<Tensor>,
}

impl Targets {
    fn new(records: &Records, soft_labels: Option<&Tensor>, smoothing: f64, device: Device) -> Result<Self> {
        if !(0.0..1.0).contains(&smoothing) {
            return Err(Error::invalid(format!(
                "label smoothing is {smoothing}; it is a fraction from 0 to below 1"
            )));
        }
        let labels = records.labels.tensor().f_to_device(device)?;
        let classes = records.labels.classes();
        let expected = [records.len() as i64, classes];
        let soft = match soft_labels {
            Some(soft) if soft.size() != expected => {
                return Err(Error::invalid(format!(
                    "soft labels are {:?}; {expected:?} is needed (records, classes)",
                    soft.size()
                )));
            }
            Some(soft) => Some(soft.f_to_device(device)?.f_to_kind(Kind::Float)?),
            None if smoothing > 0.0 => Some(labels.f_one_hot(classes)?.f_to_kind(Kind::Float)?),
            None => None,
        };
        let soft = soft.map(|soft| soft * (1.0 - smoothing) + smoothing / classes as f64);
        Ok(Self { labels, soft })
    }
}

/// Images as the network sees them, and what the loss compares with.
struct ClassifierPart {
    x: Tensor,
    truth: Tensor,
    soft: Option<Tensor>,
    dropout: Vec<Tensor>,
    /// Records of the step that this is a part of.
    step_rows: i64,
}

impl Part for ClassifierPart {
    fn rows(&self) -> i64 {
        self.x.size()[0]
    }

    fn narrow(&self, range: Range<i64>) -> Result<Self> {
        let part = |all: &Tensor| all.f_narrow(0, range.start, range.end - range.start);
        Ok(Self {
            x: part(&self.x)?,
            truth: part(&self.truth)?,
            soft: self.soft.as_ref().map(part).transpose()?,
            dropout: self.dropout.iter().map(part).collect::<Result<_, _>>()?,
            step_rows: self.step_rows,
        })
    }
}

struct ClassifierTask<'a, N> {
    network: N,
    /// `[n, c, h, w]` in `[0, 1]`.
    images: Tensor,
    targets: Targets,
    shape: ImageShape,
    validation: Option<&'a Records>,
    temperature: f64,
    dropout: bool,
    plan: &'a ClassifierPlan,
}

impl<N: Classifier + Clone> Task for ClassifierTask<'_, N> {
    type Part = ClassifierPart;
    type Learner = ClassifierLearner<N>;
    type Score = EpochScore;

    fn records(&self) -> i64 {
        self.images.size()[0]
    }

    fn device(&self) -> Device {
        self.images.device()
    }

    fn mixes_records(&self) -> bool {
        self.network.mixes_records()
    }

    fn network(&self) -> &dyn Module {
        &self.network
    }

    fn learner(&self, _: usize) -> Self::Learner {
        ClassifierLearner { network: self.network.clone(), temperature: self.temperature }
    }

    fn batch(&self, rows: &Tensor, geometry: &mut Stream) -> Result<ClassifierPart> {
        let mut x = self.images.f_index_select(0, rows)?;
        let truth = self.targets.labels.f_index_select(0, rows)?;
        let soft = self.targets.soft.as_ref().map(|soft| soft.f_index_select(0, rows)).transpose()?;
        if let Some(augmentation) = &self.plan.augmentation {
            x = augmentation.apply(&x, geometry)?;
        }
        let x = self.plan.normalisation.apply(&x);
        let step_rows = x.size()[0];
        let dropout =
            if self.dropout { self.network.draw_dropout(self.shape, step_rows)? } else { Vec::new() };
        Ok(ClassifierPart { x, truth, soft, dropout, step_rows })
    }

    fn score(&self, epoch: usize, learning_rate: f64, sums: &[f64]) -> Result<EpochScore> {
        let n = self.records() as f64;
        // A loss that is not finite stays so in the sum, so one look per epoch finds it.
        let (train_loss, hits) = (sums[0] / n, sums[1]);
        if !train_loss.is_finite() {
            return Err(Error::invalid(format!(
                "the loss became {train_loss} in epoch {}; lower the learning rate ({learning_rate})",
                epoch + 1
            )));
        }
        let measure = |records| {
            let (normalisation, device) = (&self.plan.normalisation, self.device());
            let silent = &Silent;
            crate::evaluate::classifier(
                &self.network,
                normalisation,
                records,
                device,
                VALIDATION_BATCH,
                silent,
            )
        };
        let measured = self.validation.map(measure).transpose()?;
        Ok(EpochScore {
            epoch: epoch + 1,
            train_loss,
            train_accuracy: 100.0 * hits / n,
            validation_loss: measured.as_ref().map(|m| m.average_loss),
            validation_accuracy: measured.as_ref().map(|m| m.overall_accuracy),
            learning_rate,
        })
    }

    fn quality(&self, score: &EpochScore) -> Option<f64> {
        score.validation_accuracy
    }

    fn note(&self, score: &EpochScore) -> String {
        match score.validation_accuracy {
            Some(accuracy) => format!("loss {:.4}, validation {accuracy:.2}%", score.train_loss),
            None => format!("loss {:.4}, training {:.2}%", score.train_loss, score.train_accuracy),
        }
    }
}

struct ClassifierLearner<N> {
    network: N,
    temperature: f64,
}

/// The loss of a student that learns from probabilities softened by a temperature T: T^2
/// KL(soft || softmax(logits / T)), summed over the rows. Its gradient for the logits is
/// T (softmax(logits / T) - soft). At T = 1 that of the cross-entropy.
///
/// G. Hinton, O. Vinyals, J. Dean, *Distilling the Knowledge in a Neural Network* (2015).
///
/// # Shapes
/// `[n, classes]` both.
///
/// # Errors
/// Other shapes.
pub fn distillation(logits: &Tensor, soft: &Tensor, temperature: f64) -> Result<Tensor> {
    let log_p = logits.f_div_scalar(temperature)?.f_log_softmax(-1, None)?;
    let entropy = soft.f_xlogy(soft)?;
    Ok((entropy - soft * log_p).f_sum(None::<Kind>)? * (temperature * temperature))
}

impl<N: Classifier> Learner for ClassifierLearner<N> {
    type Part = ClassifierPart;

    fn network(&self) -> &dyn Module {
        &self.network
    }

    /// Mean loss over the step's records; sums of the losses and of the hits.
    fn loss(&self, part: &ClassifierPart) -> Result<Loss> {
        let masks = &part.dropout;
        let dropout = if masks.is_empty() { DropoutMasks::none() } else { DropoutMasks::new(masks) };
        let mut pass = Pass::Train { dropout };
        let (log_p, value) = match &part.soft {
            Some(soft) if self.temperature.total_cmp(&1.0).is_ne() => {
                let logits = self.network.logits(&part.x, &mut pass);
                let loss = distillation(&logits, soft, self.temperature)?;
                (logits, loss)
            }
            soft => {
                let log_p = self.network.log_probs(&part.x, &mut pass);
                let loss = match soft {
                    None => log_p.f_nll_loss::<Tensor>(&part.truth, None, Reduction::Sum, -100)?,
                    // Cross-entropy against probabilities of all classes.
                    Some(soft) => -(soft * &log_p).f_sum(Kind::Float)?,
                };
                (log_p, loss)
            }
        };
        let value = value / part.step_rows as f64;
        let _guard = tch::no_grad_guard();
        let hits = log_p.f_argmax(-1, false)?.f_eq_tensor(&part.truth)?.f_sum(Kind::Double)?;
        let loss = value.f_detach()?.f_to_kind(Kind::Double)? * part.step_rows as f64;
        Ok(Loss { value, sums: Tensor::f_stack(&[loss, hits], 0)? })
    }
}
