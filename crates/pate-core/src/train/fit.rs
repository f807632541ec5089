//! The one training loop: epochs of batches, cut into parts that worker threads compute while the
//! next batch is made.

use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::{Device, Kind, Tensor};

use super::checkpoint::{Checkpoint, CheckpointStore, OF_NO_USE};
use super::prefetch::Prefetch;
use super::workers::{self, Pool};
use crate::base::progress::Progress;
use crate::base::rng::{Purpose, Stream, TorchGenerator};
use crate::base::{parallel, tensor};
use crate::nn::{self, Average, Module, Optimizer, Parameter, Schedule};
use crate::{Error, Result};

/// What is learnt, seen from the thread that leads the training.
pub(super) trait Task {
    /// A number of records, ready to be computed.
    type Part: Part;
    /// The worker threads' side.
    type Learner: Learner<Part = Self::Part>;
    /// An epoch in figures.
    type Score: Serialize + DeserializeOwned;

    /// Records to learn from.
    fn records(&self) -> i64;

    /// Where they are.
    fn device(&self) -> Device;

    /// What is trained.
    fn network(&self) -> &dyn Module;

    /// Whether what the network makes of a record depends on the others of its batch: then a batch
    /// is one part.
    fn mixes_records(&self) -> bool {
        false
    }

    /// An alias of the network for a worker, in `epoch`, counted from 0.
    fn learner(&self, epoch: usize) -> Self::Learner;

    /// Makes a batch of the records `rows`, `[n]`; changes to images draw from `geometry`, all else
    /// from libtorch's generator.
    fn batch(&self, rows: &Tensor, geometry: &mut Stream) -> Result<Self::Part>;

    /// The figures of `epoch`, counted from 0, from the sums over all its parts; validation belongs
    /// here.
    fn score(&self, epoch: usize, learning_rate: f64, sums: &[f64]) -> Result<Self::Score>;

    /// What the best epoch has most of; `None` where no epoch is better than another.
    fn quality(&self, score: &Self::Score) -> Option<f64>;

    /// A few words for the progress display.
    fn note(&self, score: &Self::Score) -> String;
}

/// A number of records, ready to be computed.
pub(super) trait Part: Send + Sized {
    /// Records.
    fn rows(&self) -> i64;

    /// Some of them.
    fn narrow(&self, range: Range<i64>) -> Result<Self>;
}

/// A worker's side of a [`Task`].
pub(super) trait Learner: Send {
    /// What it computes on.
    type Part: Send;

    /// The network's parameters.
    fn network(&self) -> &dyn Module;

    /// The loss on `part`.
    fn loss(&self, part: &Self::Part) -> Result<Loss>;
}

/// A loss on a part.
pub(super) struct Loss {
    /// A scalar to differentiate; those of all parts add up to a step's.
    pub(super) value: Tensor,
    /// Figures to add up over an epoch, `[k]`.
    pub(super) sums: Tensor,
}

/// What every training has.
#[derive(Clone, Copy, Debug)]
pub(super) struct FitPlan {
    /// Passes over the records.
    pub(super) epochs: usize,
    /// Records per step; the last step of an epoch takes what is left.
    pub(super) batch_size: usize,
    /// Learning rate of the first epoch.
    pub(super) learning_rate: f64,
    /// How it falls.
    pub(super) schedule: Schedule,
    /// Decay of the average of weights over steps, where there is one.
    pub(super) ema_decay: Option<f64>,
    /// Seed of order, augmentation and whatever else a batch draws.
    pub(super) seed: u64,
}

/// The end of a training.
pub(super) struct Fitted<H> {
    /// Number, counted from 1, and weights of the best epoch, the earlier one on a tie.
    pub(super) best: Option<(usize, Vec<Tensor>)>,
    /// The average of what is learnt, where one was asked for.
    pub(super) average: Option<Vec<Tensor>>,
    /// Every epoch.
    pub(super) history: Vec<H>,
}

/// Trains the network of `task`, from the checkpoint in `store` if there is one; the store gets one
/// after every epoch but the last.
///
/// # Errors
/// Nothing to train on, those of the task, a checkpoint that cannot be written, a stop.
pub(super) fn fit<T: Task>(
    task: &T,
    optimizer: &mut dyn Optimizer,
    plan: &FitPlan,
    progress: &dyn Progress,
    store: &dyn CheckpointStore,
) -> Result<Fitted<T::Score>> {
    check(task.records(), plan.batch_size)?;
    let mut fitted = Fitted { best: None, average: None, history: Vec::with_capacity(plan.epochs) };
    let learnt = nn::learnt(task.network());
    let mut stepper = Stepper {
        optimizer,
        parameters: nn::trainable(task.network()),
        average: plan.ema_decay.map(|decay| Average::new(decay, &learnt)),
        learnt,
    };
    if let Some(checkpoint) = store.load() {
        let averaged = plan.ema_decay.is_some();
        if let Some(resumed) = checkpoint.restore::<T::Score>(task.network(), plan.epochs, averaged)? {
            if let Some((average, tensors)) = stepper.average.as_mut().zip(resumed.average) {
                average.resume(tensors, u64::try_from(checkpoint.steps).unwrap_or(0));
            }
            fitted = Fitted { best: resumed.best, average: None, history: resumed.history };
            stepper.optimizer.resume(resumed.optimizer, checkpoint.steps);
            progress.advance(fitted.history.len() as u64, "");
        } else {
            progress.say(OF_NO_USE);
        }
    }
    for epoch in fitted.history.len()..plan.epochs {
        progress.check()?;
        let sums = run_epoch(task, &mut stepper, plan, epoch, progress)?;
        let learning_rate = plan.schedule.rate(plan.learning_rate, epoch as f64, plan.epochs);
        let score = task.score(epoch, learning_rate, &sums)?;
        if fitted.is_improved_by(task, &score) {
            fitted.best = Some((epoch + 1, nn::snapshot(task.network())));
        }
        progress.advance(1, &task.note(&score));
        fitted.history.push(score);
        // After the last epoch the caller writes the result itself.
        if epoch + 1 < plan.epochs {
            let (tensors, steps) = stepper.optimizer.state();
            let best = fitted.best.as_ref().map(|(epoch, weights)| (*epoch, &weights[..]));
            let average = stepper.average.as_ref().map(Average::values);
            let state = (&tensors[..], steps);
            store.save(&Checkpoint::new(task.network(), state, best, average, &fitted.history)?)?;
        }
    }
    fitted.average = stepper.average.map(Average::into_values);
    Ok(fitted)
}

/// What a step changes.
struct Stepper<'a> {
    optimizer: &'a mut dyn Optimizer,
    /// Aliases of what is learnt, which ask for gradients.
    parameters: Vec<Tensor>,
    learnt: Vec<&'a Parameter>,
    average: Option<Average>,
}

impl Stepper<'_> {
    fn step(&mut self, gradients: &[Tensor], learning_rate: f64) {
        self.optimizer.set_learning_rate(learning_rate);
        self.optimizer.step(&mut self.parameters, gradients);
        if let Some(average) = &mut self.average {
            average.update(&self.learnt);
        }
    }
}

/// Checks that there is something to train on.
pub(super) fn check(records: i64, batch_size: usize) -> Result<()> {
    if records > 0 && batch_size > 0 {
        return Ok(());
    }
    Err(Error::invalid(format!("{records} records in batches of {batch_size}: there is nothing to train on")))
}

impl<H> Fitted<H> {
    fn is_improved_by<T: Task<Score = H>>(&self, task: &T, score: &H) -> bool {
        let best = self.best.as_ref().and_then(|(epoch, _)| task.quality(self.history.get(epoch - 1)?));
        task.quality(score).is_some_and(|quality| best.is_none_or(|best| quality > best))
    }
}

/// A batch, and how many of the epoch's records came before it.
pub(super) struct Batch<P> {
    pub(super) part: P,
    first: i64,
}

/// Makes the batch of a number of records from a first one on.
pub(super) trait MakeBatch<P>: FnMut(i64, i64) -> Result<Batch<P>> {}
impl<P, F: FnMut(i64, i64) -> Result<Batch<P>>> MakeBatch<P> for F {}

/// The batches of `epoch`, counted from 0, in the order that the seed gives.
pub(super) fn batches<'a, T: Task>(
    task: &'a T,
    plan: &FitPlan,
    epoch: usize,
) -> Result<Prefetch<impl MakeBatch<T::Part> + use<'a, T>, Batch<T::Part>>> {
    let order = Stream::new(plan.seed, Purpose::Shuffle, epoch as u64).permutation(task.records() as usize);
    let order = tensor::from_i64(&order).f_to_device(task.device())?;
    let mut geometry = Stream::new(plan.seed, Purpose::Augmentation, epoch as u64);
    // One stream orders the records and one moves the images; what else a batch draws comes from
    // libtorch's generator, which nobody else may seed until the last batch is made.
    let mut generator = TorchGenerator::hold();
    generator.seed_stream(plan.seed, epoch as u64);
    Prefetch::new(task.records(), plan.batch_size as i64, generator, move |first, rows| {
        Ok(Batch { part: task.batch(&order.f_narrow(0, first, rows)?, &mut geometry)?, first })
    })
}

/// One epoch; gives the sums of the figures of all its parts.
fn run_epoch<T: Task>(
    task: &T,
    stepper: &mut Stepper<'_>,
    plan: &FitPlan,
    epoch: usize,
    progress: &dyn Progress,
) -> Result<Vec<f64>> {
    let (n, device) = (task.records(), task.device());
    let mut batches = batches(task, plan, epoch)?;
    let threads = parallel::workers(device);
    let whole = task.mixes_records();
    let parts = |rows| if whole { std::iter::once(0..rows).collect() } else { workers::parts(rows, device) };
    // No more threads than parts; the parts follow from the batch alone, so weights do not depend
    // on this number. A batch that is one part has all threads to itself.
    let n_workers = parts((plan.batch_size as i64).min(n)).len().min(threads);
    stepper.optimizer.set_threads(if whole { threads } else { n_workers });
    let learners = (0..n_workers)
        .map(|_| {
            // Made anew for each epoch, since a loss may change with it, as the weight of the KL
            // term does; the weights are the same memory.
            let learner = task.learner(epoch);
            let parameters = nn::trainable(learner.network());
            (learner, parameters)
        })
        .collect();
    // Summed on the device; read once per epoch.
    let mut sums: Option<Tensor> = None;
    workers::with_pool(
        learners,
        |(learner, parameters): &mut (T::Learner, Vec<Tensor>), part: T::Part| {
            let _threads = whole.then(|| parallel::Threads::hold(threads));
            let Loss { value, sums } = learner.loss(&part)?;
            Ok((tensor::gradients(&value, parameters)?, sums.detach()))
        },
        |pool: &mut Pool<'_, _, _>| {
            while let Some(batch) = batches.take() {
                progress.check()?;
                let ranges = parts(batch.part.rows()).into_iter();
                pool.start(ranges.map(|range| batch.part.narrow(range)).collect::<Result<_>>()?)?;
                // The next batch is made while this one is computed.
                batches.make_next()?;
                let _guard = tch::no_grad_guard();
                let mut parts = Vec::new();
                // In the order of the parts: a sum of floats depends on it, and so would the
                // weights.
                for (tensors, figures) in pool.finish()? {
                    let figures = figures.f_to_kind(Kind::Double)?;
                    sums = Some(match sums.take() {
                        Some(mut sums) => sums.f_add_(&figures)?,
                        None => figures.copy(),
                    });
                    parts.push(tensors);
                }
                // The cosine falls from step to step, not from epoch to epoch.
                let done = epoch as f64 + batch.first as f64 / n as f64;
                let rate = plan.schedule.rate(plan.learning_rate, done, plan.epochs);
                stepper.step(&workers::sum(parts)?, rate);
            }
            Ok(())
        },
    )?;
    match sums {
        Some(sums) => Ok(Vec::try_from(sums.f_to_device(Device::Cpu)?)?),
        None => Ok(Vec::new()),
    }
}
