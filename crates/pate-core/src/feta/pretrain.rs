//! The model learns central images, which are public or were released.

use serde::Serialize;
use tch::{Kind, Tensor};

use super::noise::NoisePlan;
use super::private::fits;
use super::randaugment::RandAugment;
use super::{edm, signed};
use crate::base::progress::Progress;
use crate::base::rng::{Purpose, Stream};
use crate::base::{parallel, tensor};
use crate::data::Records;
use crate::models::UNet;
use crate::nn::{self, Adam, Average, Optimizer as _, Pass};
use crate::train::{Checkpoint, CheckpointStore, workers};
use crate::{Error, Result};

/// How a model learns central images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PretrainPlan {
    /// Steps.
    pub steps: u64,
    /// Images of a step, at most: where there are fewer, all of them.
    pub batch_size: usize,
    /// Of Adam.
    pub learning_rate: f64,
    /// Decay of the average of the weights.
    pub ema_decay: f64,
    /// Noise; its seed is that of the changes and of the order, too.
    pub noise: NoisePlan,
    /// Changes to the images.
    pub augmentation: Option<RandAugment>,
    /// Steps between two checkpoints.
    pub every: u64,
}

/// The end of such a training.
#[derive(Debug)]
pub struct Pretrained {
    /// The average of the weights.
    pub average: Vec<Tensor>,
    /// Mean losses of a hundredth of the steps each, or of every step.
    pub losses: Vec<f64>,
}

/// Trains `network`, from the checkpoint in `store` if there is one.
///
/// # Privacy
/// It looks at all records as they are: the network has the guarantee of the records.
///
/// # Errors
/// A plan whose numbers mean nothing, images that the network is not for, a checkpoint that cannot
/// be written, a stop.
pub fn pretrain(
    network: &UNet,
    records: &Records,
    plan: &PretrainPlan,
    store: &dyn CheckpointStore,
    progress: &dyn Progress,
) -> Result<Pretrained> {
    plan.noise.check()?;
    plan.augmentation.map_or(Ok(()), RandAugment::check)?;
    fits(network, records.shape(), records.classes(), &records.name)?;
    if records.is_empty() || plan.steps == 0 || plan.batch_size == 0 || plan.every == 0 {
        return Err(Error::invalid(format!(
            "{} steps on batches of {} of {} images, with a checkpoint every {} steps: each is at least 1",
            plan.steps,
            plan.batch_size,
            records.len(),
            plan.every
        )));
    }
    let device = network.device();
    let mut values = nn::trainable(network);
    let mut optimizer = Adam::new(plan.learning_rate, 0.0);
    let mut average = Average::new(plan.ema_decay, &nn::parameters(network));
    let (mut done, mut losses): (u64, Vec<(f64, f64)>) = (0, Vec::new());
    if let Some(checkpoint) = store.load()
        && let Some(resumed) = checkpoint.restore_steps(network, plan.steps)?
    {
        done = resumed.steps;
        if !resumed.optimizer.is_empty() {
            optimizer.resume(resumed.optimizer, checkpoint.steps);
        }
        if let Some(tensors) = resumed.average {
            average.resume(tensors, done);
        }
        losses = serde_json::from_str(&checkpoint.history).unwrap_or_default();
        progress.advance(done, "");
    }
    let batch = Batches { network, records, plan };
    let rows = plan.batch_size.min(records.len()) as i64;
    let n_workers = workers::parts(rows, device).len().min(parallel::workers(device));
    optimizer.set_threads(n_workers);
    let learners = (0..n_workers)
        .map(|_| {
            let alias = network.clone();
            let parameters = nn::trainable(&alias);
            (alias, parameters)
        })
        .collect();
    let of_part = |(network, parameters): &mut (UNet, Vec<Tensor>), part: Part| {
        part.gradients(network, parameters, rows)
    };
    workers::with_pool(learners, of_part, |pool: &mut workers::Pool<'_, _, _>| {
        while done < plan.steps {
            progress.check()?;
            let part = batch.make(done)?;
            let ranges = workers::parts(rows, device).into_iter();
            pool.start(
                ranges
                    .map(|range| part.narrow(range.start, range.end - range.start))
                    .collect::<Result<_>>()?,
            )?;
            let _guard = tch::no_grad_guard();
            let (mut parts, mut loss) = (Vec::new(), 0.0);
            for (gradients, of_part) in pool.finish()? {
                parts.push(gradients);
                loss += of_part;
            }
            optimizer.step(&mut values, &workers::sum(parts)?);
            average.update(&nn::parameters(network));
            done += 1;
            if !loss.is_finite() {
                return Err(Error::invalid(format!(
                    "the loss of step {done} is {loss}; lower the learning rate"
                )));
            }
            note(&mut losses, loss, done, plan.steps);
            // A line for each hundredth, not for each step.
            let told = done.is_multiple_of(plan.steps.div_ceil(100)) || done == plan.steps;
            progress.advance(1, &if told { format!("loss {loss:.3}") } else { String::new() });
            if done < plan.steps && (done.is_multiple_of(plan.every) || progress.stop_requested()) {
                let (tensors, steps) = optimizer.state();
                let mut state =
                    Checkpoint::of_steps(network, done, (&tensors, steps), Some(average.values()))?;
                state.history = serde_json::to_string(&losses).unwrap_or_default();
                store.save(&state)?;
            }
        }
        Ok(())
    })?;
    let losses = losses.into_iter().map(|(sum, count)| sum / count).collect();
    Ok(Pretrained { average: average.into_values(), losses })
}

/// Adds a step's loss to its hundredth of the training.
fn note(losses: &mut Vec<(f64, f64)>, loss: f64, done: u64, steps: u64) {
    let at = ((done - 1) / steps.div_ceil(100)) as usize;
    losses.resize(losses.len().max(at + 1), (0.0, 0.0));
    if let Some((sum, count)) = losses.get_mut(at) {
        *sum += loss;
        *count += 1.0;
    }
}

/// Makes the batches of steps.
struct Batches<'a> {
    network: &'a UNet,
    records: &'a Records,
    plan: &'a PretrainPlan,
}

/// Images under noise, ready to be computed: several rows for each.
struct Part {
    images: Tensor,
    noise: Tensor,
    sigma: Tensor,
    classes: Tensor,
    draws: i64,
}

impl Batches<'_> {
    /// The batch of a step, which follows from the plan and the step's number alone.
    fn make(&self, step: u64) -> Result<Part> {
        let Self { network, records, plan } = self;
        let (n, batch) = (records.len(), plan.batch_size);
        let seed = plan.noise.seed;
        // In turns through all records, in another order each time.
        let rows: Vec<i64> = if batch >= n {
            (0..n as i64).collect()
        } else {
            let each = (n / batch) as u64;
            let order = Stream::new(seed, Purpose::Shuffle, step / each).permutation(n);
            let first = (step % each) as usize * batch;
            order[first..first + batch].to_vec()
        };
        let mut images = records.images.tensor().f_index_select(0, &tensor::from_i64(&rows))?;
        if let Some(augmentation) = &plan.augmentation {
            images = augmentation.apply(&images, &mut Stream::new(seed, Purpose::Augmentation, step))?;
        }
        let size = images.size();
        let classes: Vec<i64> = rows.iter().map(|&row| records.labels.values()[row as usize]).collect();
        let stream =
            |at: usize| Stream::new(seed, Purpose::DiffusionNoise, step * rows.len() as u64 + at as u64);
        let shape = [size[1], size[2], size[3]];
        let drawn = plan.noise.draw(&classes, network.shape().classes, shape, stream, 1)?;
        let (device, draws) = (network.device(), i64::from(plan.noise.draws));
        Ok(Part {
            images: signed(&images).f_repeat_interleave_self_int(draws, 0, None)?.f_to_device(device)?,
            noise: drawn.noise.f_to_device(device)?,
            sigma: drawn.sigma.f_to_device(device)?,
            classes: drawn.classes.f_to_device(device)?,
            draws,
        })
    }
}

impl Part {
    fn narrow(&self, first: i64, n: i64) -> Result<Self> {
        let part = |x: &Tensor| x.f_narrow(0, first * self.draws, n * self.draws);
        Ok(Self {
            images: part(&self.images)?,
            noise: part(&self.noise)?,
            sigma: part(&self.sigma)?,
            classes: part(&self.classes)?,
            draws: self.draws,
        })
    }

    /// Its share of the gradient of the mean loss of `rows` images, and of that loss.
    fn gradients(&self, network: &UNet, parameters: &[Tensor], rows: i64) -> Result<(Vec<Tensor>, f64)> {
        let mut pass = Pass::differentiate();
        let losses = edm::losses(
            &mut |x, level, class| Ok(network.forward(x, level, class, &mut pass)),
            &self.images,
            &self.noise,
            &self.sigma,
            &self.classes,
        )?;
        let loss = losses.f_sum(None::<Kind>)?.f_div_scalar((rows * self.draws) as f64)?;
        let gradients = tensor::gradients(&loss, parameters)?;
        Ok((gradients, loss.f_detach()?.f_double_value(&[])?))
    }
}
