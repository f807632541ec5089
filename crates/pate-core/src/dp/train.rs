//! DP-SGD: steps on Poisson samples, each the noisy sum of clipped gradients.

use dp_accounting::draws::Lattice;
use dp_accounting::ledger::Charge;
use dp_accounting::spend::{Mechanisms, Spending};
use dp_accounting::{Adjacency, Mechanism};
use serde::Serialize;
use serde_json::json;
use tch::{Kind, Tensor};

use super::{Clipping, Engine, Gradients};
use crate::base::parallel;
use crate::base::progress::Progress;
use crate::config::OptimizerKind;
use crate::nn::{self, Adam, Module, Optimizer, Parameter, Schedule, Sgd, Tape};
use crate::train::workers;
use crate::{Error, Result};

/// How a network is trained under differential privacy. Everything in it is public: fixed before
/// the private data is looked at, and never computed from them.
#[derive(Clone, Debug, Serialize)]
pub struct PrivatePlan {
    /// Steps, fixed beforehand: sigma was solved for them.
    pub steps: u64,
    /// Probability with which a record takes part in a step.
    pub sampling_rate: f64,
    /// What sums are divided by. A constant: a divisor that follows the size of the data tells
    /// neighbours apart (arXiv 2605.15648).
    pub expected_batch: f64,
    /// Standard deviation of the noise, in sensitivities.
    pub noise_multiplier: f64,
    /// Largest L2 norm of a record's gradient.
    pub clipping_norm: f64,
    /// What the norm is taken over.
    pub clipping: Clipping,
    /// How gradients come about.
    pub engine: Engine,
    /// Optimiser; it sees noisy gradients alone.
    pub optimizer: OptimizerKind,
    /// Learning rate of the first step.
    pub learning_rate: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// Steps between two checkpoints, which is also what is charged at a time.
    pub block: u64,
    /// Records that a thread works on at once, at most.
    pub micro_batch: usize,
}

/// What floating-point arithmetic may add to the L2 distance of two neighbours' sums, as a fraction
/// of the clipping norm: of both sums together.
///
/// Each record's gradient is scaled and summed in float32 within a micro-batch, and in float64
/// between them. The bound is measured, not proved: a test that tries to make the error large, with
/// records of all sizes that cancel, fails where it finds a twentieth of this.
pub const SUM_ERROR: f64 = 1.0 / 512.0;

impl PrivatePlan {
    /// One step, as it is charged.
    pub fn mechanism(&self) -> Mechanism {
        Mechanism::PoissonSubsampledGaussian { q: self.sampling_rate, sigma: self.noise_multiplier }
    }

    /// Checks that its numbers mean something for data of `records` records.
    ///
    /// # Errors
    /// Names the first that does not, what is allowed, and the cure.
    fn check(&self, records: usize) -> Result<()> {
        let refuse = |text: String| Err(Error::invalid(text));
        if !(self.sampling_rate > 0.0 && self.sampling_rate <= 1.0) {
            return refuse(format!(
                "the sampling rate is {}; it is a probability above 0, at most 1",
                self.sampling_rate
            ));
        }
        if !(self.expected_batch > 0.0 && self.expected_batch.is_finite()) {
            return refuse(format!("the expected batch is {}; it is a number above 0", self.expected_batch));
        }
        if self.clipping_norm.is_nan() || self.clipping_norm <= 0.0 || self.clipping_norm.is_infinite() {
            return refuse(format!(
                "the clipping norm is {}; it is a finite number above 0",
                self.clipping_norm
            ));
        }
        if !(self.noise_multiplier > 0.0 && self.noise_multiplier.is_finite()) {
            return refuse(format!(
                "the noise multiplier is {}; it is a finite number above 0",
                self.noise_multiplier
            ));
        }
        if self.steps == 0 || self.block == 0 || self.micro_batch == 0 {
            return refuse(format!(
                "{} steps in blocks of {} and micro-batches of {}: each is at least 1",
                self.steps, self.block, self.micro_batch
            ));
        }
        if records == 0 {
            return refuse("there are no records to learn from".to_owned());
        }
        Ok(())
    }
}

/// What is learnt from private records.
pub trait PrivateTask {
    /// How many records there are. Private, as everything is that follows from it.
    fn records(&self) -> usize;

    /// Rows of a pass for each record: its augmented or noised views.
    fn views(&self) -> i64;

    /// What is trained.
    fn network(&self) -> &dyn Module;

    /// An alias of the network for a thread.
    fn learner(&self) -> Box<dyn PrivateLearner + '_>;
}

/// A thread's side of a [`PrivateTask`].
pub trait PrivateLearner: Send {
    /// The network's parameters.
    fn network(&self) -> &dyn Module;

    /// The sum over `rows` of each record's loss, the mean over its views, with every layer on the
    /// tape.
    ///
    /// Whatever is drawn for a record, such as a view, follows from the record's own content and
    /// from `step`. If it followed from its place in the batch or in the file, one record that
    /// comes or goes would move the gradients of all that stand behind it.
    ///
    /// # Errors
    /// Where libtorch refuses.
    fn loss(&self, rows: &[usize], step: u64, tape: &mut Tape) -> Result<Tensor>;
}

/// The state between two blocks: nothing but what was released.
#[derive(Debug, Default)]
pub struct PrivateState {
    /// Steps that are done.
    pub steps: u64,
    /// The optimiser's tensors and steps.
    pub optimizer: (Vec<Tensor>, i32),
}

/// Where the state is stored.
pub trait PrivateStore {
    /// The state that was stored last, with the parameters put back into `network`.
    ///
    /// # Errors
    /// A state of another training.
    fn load(&self, network: &dyn Module) -> Result<Option<PrivateState>>;

    /// Replaces it.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn save(&self, network: &dyn Module, state: &PrivateState) -> Result<()>;
}

/// Trains `task`'s network. Gives the number of steps that were taken: those of the plan, or fewer
/// where steps that a crash took away had been charged.
///
/// # Privacy
/// Neighbours add or remove one record. A step releases the sum of the clipped gradients of a
/// Poisson sample, on a lattice, with discrete Gaussian noise of `noise_multiplier` times the
/// sensitivity: the clipping norm, one step of the lattice times the square root of the dimension,
/// and [`SUM_ERROR`]. What is learnt is a function of these sums. An empty sample is a step like
/// any other.
///
/// Before each block its steps are charged, durably; a block that did not end is spent and is never
/// drawn again.
///
/// # Errors
/// A plan whose numbers mean nothing, a refused charge, those of the task, a stop.
pub fn train(
    task: &dyn PrivateTask,
    plan: &PrivatePlan,
    charge: &Charge,
    spending: &mut dyn Spending,
    store: &dyn PrivateStore,
    progress: &dyn Progress,
) -> Result<u64> {
    plan.check(task.records())?;
    check_charge(plan, charge)?;
    let parameters = nn::parameters(task.network());
    let dimension: usize = parameters.iter().map(|parameter| parameter.value().numel()).sum();
    let lattice = Lattice::of_clipped_sum(
        plan.clipping_norm,
        plan.noise_multiplier,
        dimension,
        SUM_ERROR * plan.clipping_norm,
    )?;
    let mut optimizer: Box<dyn Optimizer> = match plan.optimizer {
        OptimizerKind::Sgd => Box::new(Sgd::new(plan.learning_rate, plan.momentum, 0.0)),
        OptimizerKind::Adam => Box::new(Adam::new(plan.learning_rate, 0.0)),
    };
    let mut done = 0;
    if let Some(state) = store.load(task.network())? {
        done = state.steps;
        if !state.optimizer.0.is_empty() {
            optimizer.resume(state.optimizer.0, state.optimizer.1);
        }
        progress.advance(done, "");
    }
    let device = parameters.first().map_or(tch::Device::Cpu, |parameter| parameter.value().device());
    let threads = parallel::workers(device);
    let learners = (0..threads).map(|_| task.learner()).collect();
    let views = task.views();
    let job = |learner: &mut Box<dyn PrivateLearner + '_>, (rows, step): (Vec<usize>, u64)| {
        clipped_sum(learner.as_ref(), &rows, step, views, plan)
    };
    workers::with_pool(learners, job, |pool| {
        while done < plan.steps {
            progress.check()?;
            let wanted = Charge { count: plan.block.min(plan.steps - done), ..charge.clone() };
            let count = spending.affordable(&wanted)?;
            if count == 0 {
                progress.say(&format!(
                    "the budget is used up after {done} of {} steps: what a stopped run had charged stays spent",
                    plan.steps
                ));
                break;
            }
            let before = done;
            spending.spend(Charge { count, ..wanted }, &mut |mechanisms| {
                for _ in 0..count {
                    let released = noisy_sum(task, plan, lattice, done, pool, mechanisms)?;
                    apply(&parameters, optimizer.as_mut(), plan, done, &released).map_err(statistic)?;
                    done += 1;
                    if progress.stop_requested() {
                        break;
                    }
                }
                Ok(json!({ "steps": done - before }))
            })?;
            let (tensors, steps) = optimizer.state();
            store.save(task.network(), &PrivateState { steps: done, optimizer: (tensors, steps) })?;
            let spent = 100.0 * spending.fraction_spent();
            progress.advance(done - before, &format!("{spent:.1}% of the budget spent"));
        }
        Ok(done)
    })
}

/// A charge for anything else would pay for nothing here.
fn check_charge(plan: &PrivatePlan, charge: &Charge) -> Result<()> {
    if charge.mechanism == plan.mechanism() && charge.adjacency == Adjacency::AddOrRemoveOne {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the charge is for {} under {}, and the plan's step is {} under {}",
        charge.mechanism,
        charge.adjacency.words(),
        plan.mechanism(),
        Adjacency::AddOrRemoveOne.words()
    )))
}

fn statistic(error: Error) -> dp_accounting::Error {
    dp_accounting::Error::Statistic(Box::new(error))
}

type Pool<'a> = workers::Pool<'a, (Vec<usize>, u64), Vec<Tensor>>;

/// One step's release, in the gradients' units.
fn noisy_sum(
    task: &dyn PrivateTask,
    plan: &PrivatePlan,
    lattice: Lattice,
    step: u64,
    pool: &mut Pool<'_>,
    mechanisms: &mut dyn Mechanisms,
) -> dp_accounting::Result<Vec<f64>> {
    let mut sum = |rows: &[usize]| {
        let sums_private = sum_of(task.network(), plan, rows, step, pool).map_err(statistic)?;
        on_lattice(&sums_private, lattice.step()).map_err(statistic)
    };
    mechanisms.sampled_sum(task.records(), lattice, &mut sum)
}

/// The sum of the clipped gradients of `rows`, in float64, one tensor per parameter.
fn sum_of(
    network: &dyn Module,
    plan: &PrivatePlan,
    rows: &[usize],
    step: u64,
    pool: &mut Pool<'_>,
) -> Result<Vec<Tensor>> {
    let zero = |parameter: &Parameter| parameter.value().detach().to_kind(Kind::Double).zeros_like();
    let mut total: Vec<Tensor> = nn::parameters(network).into_iter().map(zero).collect();
    pool.start(rows.chunks(plan.micro_batch).map(|part| (part.to_vec(), step)).collect())?;
    for part in pool.finish()? {
        for (total, part) in total.iter_mut().zip(&part) {
            let _ = total.f_add_(&part.f_to_kind(Kind::Double)?)?;
        }
    }
    Ok(total)
}

/// A worker's part of a step.
fn clipped_sum(
    learner: &dyn PrivateLearner,
    rows: &[usize],
    step: u64,
    views: i64,
    plan: &PrivatePlan,
) -> Result<Vec<Tensor>> {
    let mut tape = Tape::default();
    let loss = learner.loss(rows, step, &mut tape)?;
    let parameters = nn::parameters(learner.network());
    let gradients = Gradients::of(&tape, &loss, &parameters, views, plan.engine)?;
    if gradients.records() != rows.len() as i64 {
        return Err(Error::invalid(format!(
            "{} records went in, and gradients of {} came out",
            rows.len(),
            gradients.records()
        )));
    }
    Ok(plan.clipping.clip(gradients, &parameters, plan.clipping_norm)?.sums)
}

/// All coordinates, in steps of the lattice, rounded to the nearest.
fn on_lattice(sums_private: &[Tensor], step: f64) -> Result<Vec<i64>> {
    let mut all = Vec::new();
    for sum in sums_private {
        let rounded = (sum.f_contiguous()?.f_flatten(0, -1)? / step).f_round()?;
        let values = Vec::<f64>::try_from(rounded.f_to_device(tch::Device::Cpu)?)?;
        all.extend(values.into_iter().map(|value| value as i64));
    }
    Ok(all)
}

/// A step of the optimiser along what was released.
fn apply(
    parameters: &[&Parameter],
    optimizer: &mut dyn Optimizer,
    plan: &PrivatePlan,
    step: u64,
    released: &[f64],
) -> Result<()> {
    let _guard = tch::no_grad_guard();
    let mut values: Vec<Tensor> = parameters.iter().map(|parameter| parameter.value().detach()).collect();
    let mut gradients = Vec::new();
    let mut from = 0;
    for value in &values {
        let part = &released[from..from + value.numel()];
        from += value.numel();
        let gradient = Tensor::f_from_slice(part)?.f_div_scalar(plan.expected_batch)?;
        let gradient = gradient.f_view(value.size().as_slice())?.f_to_kind(value.kind())?;
        // In the memory order of the parameter, which the optimiser's state follows.
        let mut like = value.f_empty_like()?;
        like.f_copy_(&gradient)?;
        gradients.push(like);
    }
    let rate = plan.schedule.rate(plan.learning_rate, step as f64, plan.steps as usize);
    optimizer.set_learning_rate(rate);
    optimizer.step(&mut values, &gradients);
    Ok(())
}
