//! DP-SGD: steps on Poisson samples, each the noisy sum of clipped gradients.

use std::num::NonZero;

use dp_accounting::draws::Lattice;
use dp_accounting::ledger::Charge;
use dp_accounting::spend::{Mechanisms, Spending};
use dp_accounting::{Adjacency, Mechanism};
use serde::Serialize;
use serde_json::json;
use tch::{Kind, Tensor};

use super::{Clipping, Engine, Gradients, Unprotected};
use crate::base::parallel;
use crate::base::progress::Progress;
use crate::base::rng::{Purpose, Stream};
use crate::config::OptimizerKind;
use crate::nn::{self, Adam, Average, DropoutMasks, Module, Optimizer, Parameter, Pass, Schedule, Sgd, Tape};
use crate::train::{Checkpoint, CheckpointStore, workers};
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
    /// L2 regularisation in the gradient, after the noise.
    pub weight_decay: f64,
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// Decay of the average of the weights over the steps, from 0 to below 1; see
    /// [`Average`](crate::nn::Average).
    pub ema_decay: Option<f64>,
    /// Steps between two checkpoints, which is also what is charged at a time.
    pub block: u64,
    /// Records that a thread works on at once, about; what fits into [`MEMORY`] where there is no
    /// number.
    pub micro_batch: Option<usize>,
}

/// What floating-point arithmetic may add to the L2 distance of two neighbours' sums, as a fraction
/// of the clipping norm: of both sums together.
///
/// The records of a step come in groups, at random ([`Sample::groups`](dp_noise::Sample::groups)).
/// Within a group gradients are scaled and summed in float32; the group's sum is brought to the
/// lattice, and from there on all is whole numbers. One record changes one group, so this is the
/// error of one group's sum and not of the whole batch's. The bound is measured, not proved: a test
/// that tries to make the error large, with records of all sizes that cancel, fails where it finds
/// a tenth of this.
pub const SUM_ERROR: f64 = 1.0 / 512.0;

/// Bytes of activations that a thread works on at once, about, on the CPU.
pub const MEMORY: usize = 64 << 20;
/// The same on other devices, which need much work at once.
const MEMORY_ELSEWHERE: usize = 4 << 30;
/// Records of a group, about: with many more, rounding in their float32 sums would come near
/// [`SUM_ERROR`].
const GROUP: f64 = 128.0;

impl PrivatePlan {
    /// One step, as it is charged.
    pub fn mechanism(&self) -> Mechanism {
        Mechanism::PoissonSubsampledGaussian { q: self.sampling_rate, sigma: self.noise_multiplier }
    }

    /// The lattice of its sums in `dimension` coordinates.
    ///
    /// # Errors
    /// A noise multiplier that is too large for so many coordinates.
    pub fn lattice(&self, dimension: usize) -> Result<Lattice> {
        let error = SUM_ERROR * self.clipping_norm;
        Ok(Lattice::of_clipped_sum(self.clipping_norm, self.noise_multiplier, dimension, error)?)
    }

    /// Checks that its numbers mean something for data of `records` records.
    ///
    /// # Errors
    /// Names the first that does not, what is allowed, and the cure.
    fn check(&self, records: usize, protected: bool) -> Result<()> {
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
        let bounded = self.clipping_norm.is_finite() || !protected;
        if self.clipping_norm.is_nan() || self.clipping_norm <= 0.0 || !bounded {
            return refuse(format!(
                "the clipping norm is {}; it is a finite number above 0",
                self.clipping_norm
            ));
        }
        let covers = self.noise_multiplier > 0.0 || (self.noise_multiplier >= 0.0 && !protected);
        if !(covers && self.noise_multiplier.is_finite()) {
            return refuse(format!(
                "the noise multiplier is {}; it is a finite number above 0",
                self.noise_multiplier
            ));
        }
        let micro_batch = self.micro_batch.unwrap_or(1);
        if self.steps == 0 || self.block == 0 || micro_batch == 0 {
            return refuse(format!(
                "{} steps in blocks of {} and micro-batches of {micro_batch}: each is at least 1",
                self.steps, self.block
            ));
        }
        if let Some(decay) = self.ema_decay.filter(|decay| !(0.0..1.0).contains(decay)) {
            return refuse(format!("the average's decay is {decay}; it is from 0 to below 1"));
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

    /// Called when step `step` has changed the weights, between two steps: what else follows from
    /// what was released, such as a generator's step against a critic, is done here.
    ///
    /// # Errors
    /// Where libtorch refuses.
    fn after_step(&self, _step: u64) -> Result<()> {
        Ok(())
    }

    /// Made-up inputs of the network, of the shape that `records` records have with all their
    /// views: what the network is tried out on before it sees a private record.
    ///
    /// # Errors
    /// Where libtorch has no room.
    fn made_up(&self, records: i64, stream: &mut Stream) -> Result<Tensor>;
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

    /// The network's output for inputs of one row per view.
    ///
    /// # Errors
    /// Where libtorch refuses.
    fn outputs(&self, inputs: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor>;
}

/// Who is told what private training must not tell.
pub trait Diagnostics {
    /// A step was taken.
    fn step(&self, figures_private: &StepFigures);
}

/// A step in figures: all of them private.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct StepFigures {
    /// Counted from 0.
    pub step: u64,
    /// Records that took part.
    pub records: u64,
    /// Mean loss of these; not a number where there were none.
    pub loss: f64,
    /// Mean norm of their gradients before clipping.
    pub gradient_norm: f64,
    /// Fraction of them whose gradient was shortened, or left out.
    pub clipped: f64,
}

/// The end of a private training.
#[derive(Debug)]
pub struct Trained {
    /// Steps that were taken: those of the plan, or fewer where steps that a crash took away had
    /// been charged.
    pub steps: u64,
    /// The average of the weights, where the plan has one.
    pub average: Option<Vec<Tensor>>,
}

/// Trains `task`'s network.
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
    store: &dyn CheckpointStore,
    diagnostics: Option<&dyn Diagnostics>,
    progress: &dyn Progress,
) -> Result<Trained> {
    plan.check(task.records(), spending.protects())?;
    check_charge(plan, charge)?;
    let micro_batch = try_out(task, plan)?;
    let parameters = nn::learnt(task.network());
    let dimension: usize = parameters.iter().map(|parameter| parameter.value().numel()).sum();
    let lattice = if spending.protects() {
        plan.lattice(dimension)?
    } else {
        Unprotected::lattice(plan.clipping_norm)?
    };
    let mut optimizer: Box<dyn Optimizer> = match plan.optimizer {
        OptimizerKind::Sgd => Box::new(Sgd::new(plan.learning_rate, plan.momentum, plan.weight_decay)),
        OptimizerKind::Adam => Box::new(Adam::new(plan.learning_rate, plan.weight_decay)),
    };
    let mut average = plan.ema_decay.map(|decay| Average::new(decay, &parameters));
    let mut done = 0;
    if let Some(checkpoint) = store.load() {
        let resumed = checkpoint.restore_steps(task.network(), plan.steps)?;
        let Some(resumed) = resumed else {
            return Err(Error::invalid(
                "the checkpoint is not one of this training, whose steps are charged: to start anew would spend more; \
                 give the settings that it was begun with",
            ));
        };
        done = resumed.steps;
        spending.goes_on_after(done);
        if !resumed.optimizer.is_empty() {
            optimizer.resume(resumed.optimizer, checkpoint.steps);
        }
        if let Some((average, tensors)) = average.as_mut().zip(resumed.average) {
            average.resume(tensors, done);
        }
        progress.advance(done, "");
    }
    let device = nn::device_of(task.network());
    let threads = parallel::workers(device);
    let learners = (0..threads).map(|_| task.learner()).collect();
    let diagnose = diagnostics.is_some();
    let worker = Worker { plan, views: task.views(), micro_batch, step: lattice.step(), diagnose };
    let job = |learner: &mut Box<dyn PrivateLearner + '_>, (rows, step): (Vec<usize>, u64)| {
        worker.group(learner.as_ref(), &rows, step)
    };
    // Few, since each is brought to the lattice by itself; and as many for each thread, since with
    // one more all others would wait for it.
    let least = if micro_batch < SMALL { 2 * threads } else { threads };
    let groups = ((plan.expected_batch / GROUP).ceil() as usize).max(least);
    let groups = NonZero::new(groups.next_multiple_of(threads)).unwrap_or(NonZero::<usize>::MIN);
    let mut releases = Releases { task, lattice, groups, threads, figures: None };
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
                    let released = releases.next(done, pool, mechanisms)?;
                    if let (Some(diagnostics), Some(figures)) = (diagnostics, releases.figures) {
                        diagnostics.step(&figures);
                    }
                    apply(&parameters, optimizer.as_mut(), plan, done, &released).map_err(statistic)?;
                    task.after_step(done).map_err(statistic)?;
                    done += 1;
                    if let Some(average) = &mut average {
                        average.update(&parameters);
                    }
                    if progress.stop_requested() {
                        break;
                    }
                }
                Ok(json!({ "steps": done - before }))
            })?;
            let (tensors, steps) = optimizer.state();
            let average = average.as_ref().map(Average::values);
            store.save(&Checkpoint::of_steps(task.network(), done, (&tensors, steps), average)?)?;
            let spent = 100.0 * spending.fraction_spent(&charge.mechanism);
            let note = if spending.protects() {
                format!("{spent:.1}% of its budget spent")
            } else {
                "no privacy".to_owned()
            };
            progress.advance(done - before, &note);
        }
        Ok(Trained { steps: done, average: average.map(Average::into_values) })
    })
}

/// Runs the network on made-up records: refuses one that mixes records, and gives the number of
/// records that a thread works on at once.
fn try_out(task: &dyn PrivateTask, plan: &PrivatePlan) -> Result<usize> {
    const RECORDS: i64 = 3;
    /// Beyond what kernels for one row and for three may differ by.
    const APART: f64 = 1e-2;
    let (learner, views) = (task.learner(), task.views());
    let mut stream = Stream::new(0, Purpose::Trial, 0);
    let inputs = task.made_up(RECORDS, &mut stream)?;
    let others = task.made_up(RECORDS, &mut stream)?;
    let among_others =
        Tensor::f_cat(&[inputs.f_narrow(0, 0, views)?, others.f_narrow(0, views, views * 2)?], 0)?;
    let mut tape = Tape::default();
    let mut outputs = |inputs: &Tensor| -> Result<Tensor> {
        tape = Tape::default();
        let mut pass = Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() };
        Ok(learner.outputs(inputs, &mut pass)?.f_narrow(0, 0, views)?.f_detach()?.f_to_kind(Kind::Double)?)
    };
    let (first, second) = (outputs(&inputs)?, outputs(&among_others)?);
    let apart = (&first - second).abs().max().f_double_value(&[])?;
    let scale = first.abs().max().f_double_value(&[])?;
    // What is not a number is refused as well.
    if apart.is_nan() || apart > APART * (1.0 + scale) {
        return Err(Error::invalid(format!(
            "what the network gives for a record depends on the records beside it (it moves by {apart:.2e}), so no \
             record has a gradient of its own; take GroupNorm or LayerNorm in the place of BatchNorm, and nothing else \
             that looks across the batch"
        )));
    }
    if let Some(rows) = plan.micro_batch {
        return Ok(rows);
    }
    let values = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
    // What a layer was given, what it gave, and the gradient of that.
    let bytes: usize = tape.uses.iter().map(|used| values(&used.input) + 2 * values(&used.output)).sum();
    let budget = if first.device() == tch::Device::Cpu { MEMORY } else { MEMORY_ELSEWHERE };
    Ok((budget * RECORDS as usize / bytes.max(1)).clamp(1, GROUP as usize))
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

type Pool<'a> = workers::Pool<'a, (Vec<usize>, u64), (Tensor, [f64; 4])>;

/// The steps' releases.
struct Releases<'a> {
    task: &'a dyn PrivateTask,
    lattice: Lattice,
    groups: NonZero<usize>,
    threads: usize,
    /// Of the last step.
    figures: Option<StepFigures>,
}

impl Releases<'_> {
    /// One step's release, in the gradients' units.
    fn next(
        &mut self,
        step: u64,
        pool: &mut Pool<'_>,
        mechanisms: &mut dyn Mechanisms,
    ) -> dp_accounting::Result<Vec<f64>> {
        let Self { task, lattice, groups, threads, figures } = self;
        let parameters = nn::learnt(task.network());
        let dimension: usize = parameters.iter().map(|parameter| parameter.value().numel()).sum();
        mechanisms.sampled_sum(task.records(), *lattice, &mut |sample| {
            let mut jobs = sample.groups(*groups);
            jobs.retain(|rows| !rows.is_empty());
            // To the threads in turns, forward and back, the largest first: as many records for
            // each. Whole numbers add up to the same in any order.
            jobs.sort_by_key(|rows| std::cmp::Reverse(rows.len()));
            jobs.chunks_mut(*threads).skip(1).step_by(2).for_each(<[_]>::reverse);
            let mut sum = || -> Result<Vec<i64>> {
                let mut total = Tensor::f_zeros([dimension as i64], (Kind::Int64, tch::Device::Cpu))?;
                let mut all = [0.0; 4];
                pool.start(jobs.drain(..).map(|rows| (rows, step)).collect())?;
                // In whole numbers, whose sum does not depend on the order.
                for (part, figures) in pool.finish()? {
                    let _ = total.f_add_(&part)?;
                    all.iter_mut().zip(figures).for_each(|(all, figure)| *all += figure);
                }
                let [records, loss, norm, clipped] = all;
                *figures = Some(StepFigures {
                    step,
                    records: records as u64,
                    loss: loss / records,
                    gradient_norm: norm / records,
                    clipped: clipped / records,
                });
                Ok(Vec::try_from(total)?)
            };
            sum().map_err(statistic)
        })
    }
}

/// Networks of which a thread takes so many records at once are small.
const SMALL: usize = 64;

/// How many of `left` records are worked on next. Few different numbers ever come out: libtorch
/// compiles its convolutions anew for each, which takes a large network as long as dozens of
/// records.
fn at_once(left: usize, micro_batch: usize) -> usize {
    match left {
        _ if micro_batch >= SMALL && left <= 2 * micro_batch => left,
        _ if left >= micro_batch => micro_batch,
        // The largest power of two that there is.
        _ => 1 << left.ilog2(),
    }
}

/// What a thread needs to know.
struct Worker<'a> {
    plan: &'a PrivatePlan,
    views: i64,
    micro_batch: usize,
    /// Of the lattice.
    step: f64,
    /// Whether anybody asks for figures.
    diagnose: bool,
}

impl Worker<'_> {
    /// The sum of a group's clipped gradients, in steps of the lattice; records, loss, norms and
    /// how many were clipped.
    fn group(&self, learner: &dyn PrivateLearner, rows: &[usize], step: u64) -> Result<(Tensor, [f64; 4])> {
        let parameters = nn::learnt(learner.network());
        let mut total: Vec<Tensor> = Vec::new();
        let mut figures = [0.0; 4];
        let mut left = rows;
        while !left.is_empty() {
            let (rows, after) = left.split_at(at_once(left.len(), self.micro_batch));
            left = after;
            let mut tape = Tape::default();
            let loss = learner.loss(rows, step, &mut tape)?;
            let gradients = Gradients::of(&tape, &loss, &parameters, self.views, self.plan.engine)?;
            if gradients.records() != rows.len() as i64 {
                return Err(Error::invalid(format!(
                    "{} records went in, and gradients of {} came out",
                    rows.len(),
                    gradients.records()
                )));
            }
            let clipped = self.plan.clipping.clip(gradients, &parameters, self.plan.clipping_norm)?;
            let value = |tensor: Tensor| tensor.f_sum(Kind::Double)?.f_double_value(&[]);
            if self.diagnose {
                let more = [
                    rows.len() as f64,
                    value(loss.detach())?,
                    value(clipped.norms_private)?,
                    value(clipped.clipped_private)?,
                ];
                figures.iter_mut().zip(more).for_each(|(all, figure)| *all += figure);
            }
            if total.is_empty() {
                let wide = clipped.sums.iter().map(|sum| sum.f_to_kind(Kind::Double));
                total = wide.collect::<std::result::Result<_, _>>()?;
            } else {
                for (total, sum) in total.iter_mut().zip(&clipped.sums) {
                    let _ = total.f_add_(sum)?;
                }
            }
        }
        let flat = |sum: &Tensor| sum.f_contiguous()?.f_flatten(0, -1);
        let sums = total.iter().map(flat).collect::<std::result::Result<Vec<_>, _>>()?;
        let sum = Tensor::f_cat(&sums, 0)?.f_div_scalar(self.step)?.f_round()?;
        Ok((sum.f_to_kind(Kind::Int64)?.f_to_device(tch::Device::Cpu)?, figures))
    }
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
