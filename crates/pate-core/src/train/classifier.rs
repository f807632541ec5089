//! Training of the classifier: teachers on shards, students on synthetic data.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Reduction, Tensor};

use crate::augment::Augmentation;
use crate::data::{ImageSpec, Labels, Normalisation, Records, SoftLabels};
use crate::models::Classifier;
use crate::nn::{self, Adam, DropoutMasks, Optimizer, Pass, Schedule, Sgd};
use crate::progress::Progress;
use crate::rng::{Purpose, Stream, TorchGenerator};
use crate::train::ahead::Batches;
use crate::train::crew;
use crate::train::state::{KeepNothing, Keeper, Snapshot};
use crate::{Error, Result, parallel, tensor};

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
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// Changes to the images, or none.
    pub augmentation: Option<Augmentation>,
    /// Share of the target that is spread evenly over all classes, in `[0, 1)`.
    pub label_smoothing: f64,
    /// What the network sees.
    pub normalisation: Normalisation,
    /// Seed of weights, order, dropout and augmentation.
    pub seed: u64,
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

/// What `network` says about the images of `records`, instead of their own labels: the most probable class, and the
/// probabilities of all.
///
/// # Errors
/// Another number of classes, other shapes.
pub fn relabel(
    network: &dyn Classifier,
    normalisation: &Normalisation,
    records: &Records,
    device: Device,
) -> Result<(Labels, SoftLabels)> {
    if network.classes() != records.labels.classes() {
        return Err(Error::invalid(format!(
            "the network tells {} classes apart, and the samples have {}",
            network.classes(),
            records.labels.classes()
        )));
    }
    normalisation.check_channels(records.spec().channels)?;
    let _guard = tch::no_grad_guard();
    let (mut labels, mut shares) = (Vec::with_capacity(records.len()), Vec::new());
    tensor::batches(records.len() as i64, VALIDATION_BATCH as i64, |first, n| {
        let x = records.images.tensor().f_narrow(0, first, n)?.f_to_device(device)?;
        let log_p = network.log_probs(&normalisation.apply(&x), &mut Pass::Infer);
        labels.extend(tensor::to_i64(&log_p.f_argmax(-1, false)?)?);
        shares.extend(tensor::to_f32(&log_p.f_exp()?)?);
        Ok(())
    })?;
    let (source, classes) = (std::path::Path::new("the network's answers"), network.classes());
    Ok((Labels::new(source, labels, classes)?, SoftLabels::new(source, shares, classes)?))
}

/// Trains a classifier, from the weights that it has, on `train`, and measures it on `validation` after every epoch.
///
/// `soft_labels` are shares of all classes, float32 `[n, classes]`, one row per training record; they take the place of the
/// labels in the loss.
///
/// # Guarantee
/// None, where `train` is private: ordinary training.
///
/// # Errors
/// No records, different shapes, a loss that is not finite, a stop.
pub fn train<N: Classifier + Clone>(
    network: N,
    train: &Records,
    soft_labels: Option<&Tensor>,
    validation: Option<&Records>,
    plan: &ClassifierPlan,
    device: Device,
    progress: &dyn Progress,
) -> Result<TrainedClassifier<N>> {
    train_kept(network, train, soft_labels, validation, plan, device, progress, &KeepNothing)
}

/// [`train`] that goes on from the state that `keeper` has, and gives it the state after every epoch but the last.
///
/// # Guarantee
/// As [`train`].
///
/// # Errors
/// Those of [`train`], and a state that cannot be written.
pub fn train_kept<N: Classifier + Clone>(
    network: N,
    train: &Records,
    soft_labels: Option<&Tensor>,
    validation: Option<&Records>,
    plan: &ClassifierPlan,
    device: Device,
    progress: &dyn Progress,
    keeper: &dyn Keeper,
) -> Result<TrainedClassifier<N>> {
    if train.is_empty() || plan.batch_size == 0 {
        return Err(Error::invalid(format!(
            "{} records in batches of {}: there is nothing to train on",
            train.len(),
            plan.batch_size
        )));
    }
    plan.normalisation.check_channels(train.spec().channels)?;
    let mut parameters = nn::trainable(&network);
    let mut optimizer: Box<dyn Optimizer> = match plan.optimizer {
        OptimizerKind::Sgd => Box::new(Sgd::new(plan.learning_rate, plan.momentum, plan.weight_decay)),
        OptimizerKind::Adam => Box::new(Adam::new(plan.learning_rate, plan.weight_decay)),
    };
    let images = train.images.tensor().f_to_device(device)?;
    let targets = Targets::new(train, soft_labels, plan.label_smoothing, device)?;
    let mut history: Vec<EpochScore> = Vec::with_capacity(plan.epochs);
    let mut best: Option<(f64, usize, Vec<Tensor>)> = None;
    if let Some(state) = keeper.load()
        && let Some(resumed) = state.restore::<EpochScore>(&network, plan.epochs)?
    {
        history = resumed.history;
        optimizer.resume(resumed.optimizer, state.steps);
        best = resumed.best.and_then(|(epoch, weights)| {
            Some((history.get(epoch - 1)?.validation_accuracy?, epoch, weights))
        });
        progress.advance(history.len() as u64, "");
    }
    for epoch in history.len()..plan.epochs {
        progress.check()?;
        let learning_rate = plan.schedule.rate(plan.learning_rate, epoch as f64, plan.epochs);
        let (train_loss, train_accuracy) =
            run_epoch(&network, &mut parameters, optimizer.as_mut(), &images, &targets, plan, epoch)?;
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
        if epoch + 1 < plan.epochs {
            let (tensors, steps) = optimizer.state();
            let best = best.as_ref().map(|(_, epoch, weights)| (*epoch, &weights[..]));
            let snapshot =
                Snapshot { network: &network, optimizer: &tensors, steps, best, history: &history };
            keeper.save(&snapshot.state()?)?;
        }
    }
    let (best_epoch, best_weights) = match best {
        Some((_, epoch, weights)) => (Some(epoch), weights),
        None => (None, nn::snapshot(&network)),
    };
    Ok(TrainedClassifier { network, best_weights, best_epoch, history })
}

/// What the loss compares with.
struct Targets {
    /// `[n]`.
    labels: Tensor,
    /// Shares of the classes, `[n, classes]`, where they are more than the label says.
    shares: Option<Tensor>,
}

impl Targets {
    fn new(records: &Records, soft_labels: Option<&Tensor>, smoothing: f64, device: Device) -> Result<Self> {
        if !(0.0..1.0).contains(&smoothing) {
            return Err(Error::invalid(format!(
                "label smoothing is {smoothing}; it is a share from 0 to below 1"
            )));
        }
        let labels = records.labels.tensor().f_to_device(device)?;
        let classes = records.labels.classes();
        let expected = [records.len() as i64, classes];
        let shares = match soft_labels {
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
        let shares = shares.map(|shares| shares * (1.0 - smoothing) + smoothing / classes as f64);
        Ok(Self { labels, shares })
    }
}

/// A part of a step: images as the network sees them, and what the loss compares with.
struct Part {
    x: Tensor,
    truth: Tensor,
    shares: Option<Tensor>,
    dropout: Vec<Tensor>,
}

/// What a part gives: gradients of its share of the loss, that share, and hits.
struct PartResult {
    gradients: Vec<Tensor>,
    loss: Tensor,
    hits: Tensor,
}

/// A step of `rows` records, cut into parts.
struct Step {
    parts: Vec<(Part, i64)>,
    rows: i64,
    learning_rate: f64,
}

fn compute(network: &dyn Classifier, parameters: &[Tensor], part: &Part, rows: i64) -> Result<PartResult> {
    let mut pass = Pass::Train { dropout: DropoutMasks::new(&part.dropout) };
    let log_p = network.log_probs(&part.x, &mut pass);
    let loss = match &part.shares {
        None => log_p.f_nll_loss::<Tensor>(&part.truth, None, Reduction::Sum, -100)?,
        // Cross-entropy against shares of all classes.
        Some(shares) => -(shares * &log_p).f_sum(Kind::Float)?,
    } / rows as f64;
    let gradients = tensor::gradients(&loss, parameters)?;
    let _guard = tch::no_grad_guard();
    let hits = log_p.f_argmax(-1, false)?.f_eq_tensor(&part.truth)?.f_sum(Kind::Int64)?;
    Ok(PartResult { gradients, loss: loss.detach(), hits })
}

fn run_epoch<N: Classifier + Clone>(
    network: &N,
    parameters: &mut [Tensor],
    optimizer: &mut dyn Optimizer,
    images: &Tensor,
    targets: &Targets,
    plan: &ClassifierPlan,
    epoch: usize,
) -> Result<(f64, f64)> {
    let (n, device) = (images.size()[0], images.device());
    let spec = ImageSpec {
        channels: images.size()[1],
        height: images.size()[2],
        width: images.size()[3],
        classes: network.classes(),
    };
    let order = Stream::new(plan.seed, Purpose::Shuffle, epoch as u64).permutation(n as usize);
    let order = tensor::from_i64(&order).f_to_device(device)?;
    let mut geometry = Stream::new(plan.seed, Purpose::Augmentation, epoch as u64);
    let mut generator = TorchGenerator::hold();
    generator.seed_stream(plan.seed, epoch as u64);
    let batch_size = plan.batch_size as i64;
    let mut batches = Batches::new(n, batch_size, generator, |first, rows| {
        let index = order.f_narrow(0, first, rows)?;
        let mut x = images.f_index_select(0, &index)?;
        let truth = targets.labels.f_index_select(0, &index)?;
        let shares = targets.shares.as_ref().map(|shares| shares.f_index_select(0, &index)).transpose()?;
        if let Some(augmentation) = &plan.augmentation {
            x = augmentation.apply(&x, &mut geometry)?;
        }
        let x = plan.normalisation.apply(&x);
        let dropout = network.draw_dropout(spec, rows)?;
        let parts = crew::parts(rows, device)
            .into_iter()
            .map(|range| {
                let part = |all: &Tensor| all.f_narrow(0, range.start, range.end - range.start);
                let part = Part {
                    x: part(&x)?,
                    truth: part(&truth)?,
                    shares: shares.as_ref().map(part).transpose()?,
                    dropout: dropout.iter().map(part).collect::<Result<_, _>>()?,
                };
                Ok((part, rows))
            })
            .collect::<Result<_>>()?;
        let done = epoch as f64 + first as f64 / n as f64;
        Ok(Step { parts, rows, learning_rate: plan.schedule.rate(plan.learning_rate, done, plan.epochs) })
    })?;
    let n_members = crew::parts(batch_size.min(n), device).len().min(parallel::workers(device));
    let shallow = |all: &[Tensor]| all.iter().map(Tensor::shallow_clone).collect::<Vec<_>>();
    optimizer.set_threads(n_members);
    let members = (0..n_members).map(|_| (network.clone(), shallow(parameters))).collect();
    // Summed on the device; read once per epoch.
    let mut loss_sum = Tensor::f_zeros([1], (Kind::Double, device))?;
    let mut hits = Tensor::f_zeros([1], (Kind::Int64, device))?;
    crew::with_crew(
        members,
        |(network, parameters): &mut (N, Vec<Tensor>), (part, rows): (Part, i64)| {
            compute(network, parameters, &part, rows)
        },
        |crew| {
            while let Some(step) = batches.take() {
                crew.start(step.parts)?;
                // The next batch is made while this one is computed.
                batches.make_next()?;
                let _guard = tch::no_grad_guard();
                let mut gradients = Vec::new();
                for part in crew.finish()? {
                    let _ = loss_sum.f_add_(&(part.loss.to_kind(Kind::Double) * step.rows as f64))?;
                    let _ = hits.f_add_(&part.hits)?;
                    gradients.push(part.gradients);
                }
                optimizer.set_learning_rate(step.learning_rate);
                optimizer.step(parameters, &crew::sum(gradients)?);
            }
            Ok(())
        },
    )?;
    let loss = loss_sum.f_double_value(&[0])? / n as f64;
    let accuracy = 100.0 * hits.f_double_value(&[0])? / n as f64;
    Ok((loss, accuracy))
}
