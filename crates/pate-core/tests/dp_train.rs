//! Private training with a ledger on disk and noise of the operating system: what it costs, and
//! what a crash costs.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

use std::cell::{Cell, RefCell};
use std::path::Path;

use dp_accounting::filter::Cap;
use dp_accounting::ledger::{Account, Charge, Header, Ledger};
use dp_accounting::{Adjacency, Mechanism};
use dp_noise::SystemNoise;
use pate_core::base::progress::{Progress, Silent};
use pate_core::base::rng::{Purpose, Stream};
use pate_core::base::tensor;
use pate_core::config::OptimizerKind;
use pate_core::dp::{
    Clipping, Diagnostics, Engine, Gradients, PrivateLearner, PrivatePlan, PrivateTask, SUM_ERROR,
    StepFigures, Trained, Unprotected, train,
};
use pate_core::nn::{
    Conv2d, DropoutMasks, Linear, Module, Parameter, Pass, Schedule, Source, Tape, parameters,
};
use pate_core::train::{Checkpoint, CheckpointStore};
use pate_core::{Error, Result};
use tch::{Device, Kind, Tensor};

/// A linear classifier of two blobs in the plane.
struct Blobs {
    network: Linear,
    x: Vec<[f32; 2]>,
    /// The step at which a learner gives up, as if the machine had died.
    fails_at: u64,
}

struct Learner<'a> {
    network: Linear,
    task: &'a [[f32; 2]],
    fails_at: u64,
}

impl Blobs {
    fn new(records: usize, fails_at: u64) -> Self {
        let mut stream = Stream::new(1, Purpose::Weights, 0);
        let network = Linear::new(&mut Source::fresh(&mut stream, Device::Cpu), "fc", 2, 2).unwrap();
        let mut noise = Stream::new(2, Purpose::Probe, 0);
        let x = (0..records).map(|i| {
            let noise = noise.normal(2);
            let centre = if i % 2 == 0 { 2.0 } else { -2.0 };
            [centre + noise[0], centre + noise[1]]
        });
        Self { network, x: x.collect(), fails_at }
    }

    fn right(&self) -> f64 {
        let flat: Vec<f32> = self.x.iter().flatten().copied().collect();
        let x = tensor::from_f32(&flat, &[self.x.len() as i64, 2]).unwrap();
        let found = self.network.forward(&x, &mut Pass::Infer).argmax(-1, false);
        let truth = Tensor::arange(self.x.len() as i64, (Kind::Int64, Device::Cpu)).remainder(2);
        found.eq_tensor(&truth).to_kind(Kind::Double).mean(Kind::Double).double_value(&[])
    }
}

impl PrivateTask for Blobs {
    fn records(&self) -> usize {
        self.x.len()
    }

    fn views(&self) -> i64 {
        1
    }

    fn network(&self) -> &dyn Module {
        &self.network
    }

    fn learner(&self) -> Box<dyn PrivateLearner + '_> {
        Box::new(Learner { network: self.network.clone(), task: &self.x, fails_at: self.fails_at })
    }

    fn made_up(&self, records: i64, stream: &mut Stream) -> Result<Tensor> {
        stream.normal_tensor(&[records, 2])
    }
}

impl PrivateLearner for Learner<'_> {
    fn network(&self) -> &dyn Module {
        &self.network
    }

    fn loss(&self, rows: &[usize], step: u64, tape: &mut Tape) -> Result<Tensor> {
        if step == self.fails_at {
            return Err(Error::Stopped);
        }
        let flat: Vec<f32> = rows.iter().flat_map(|&row| self.task[row]).collect();
        let x = tensor::from_f32(&flat, &[rows.len() as i64, 2])?;
        let labels: Vec<i64> = rows.iter().map(|&row| row as i64 % 2).collect();
        let mut pass = Pass::Record { tape, dropout: DropoutMasks::none() };
        let log_p = self.network.forward(&x, &mut pass).log_softmax(-1, None);
        let chosen = log_p.gather(1, &Tensor::from_slice(&labels).unsqueeze(1), false);
        Ok(-chosen.sum(Kind::Float))
    }

    fn outputs(&self, inputs: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        Ok(self.network.forward(inputs, pass))
    }
}

/// A disk that outlives a crash.
#[derive(Default)]
struct Disk(RefCell<Option<Checkpoint>>);

impl CheckpointStore for Disk {
    fn load(&self) -> Option<Checkpoint> {
        self.0.borrow().clone()
    }

    fn save(&self, state: &Checkpoint) -> Result<()> {
        *self.0.borrow_mut() = Some(state.clone());
        Ok(())
    }
}

fn run(
    task: &Blobs,
    plan: &PrivatePlan,
    ledger: &mut Ledger<SystemNoise>,
    disk: &Disk,
    progress: &dyn Progress,
) -> Result<Trained> {
    train(task, plan, &charge(plan.mechanism()), ledger, disk, None, progress)
}

fn plan(steps: u64) -> PrivatePlan {
    PrivatePlan {
        steps,
        sampling_rate: 0.2,
        expected_batch: 40.0,
        noise_multiplier: 1.5,
        clipping_norm: 1.0,
        clipping: Clipping::PerTensor,
        engine: Engine::Ghost,
        optimizer: OptimizerKind::Sgd,
        learning_rate: 0.5,
        momentum: 0.9,
        weight_decay: 0.0,
        schedule: Schedule::Cosine,
        ema_decay: Some(0.9),
        block: 4,
        micro_batch: Some(16),
    }
}

fn charge(mechanism: Mechanism) -> Charge {
    Charge::new(mechanism, Adjacency::AddOrRemoveOne, "blobs", "steps of DP-SGD")
}

fn create(path: &Path, plan: &PrivatePlan) -> Ledger<SystemNoise> {
    let caps = vec![Cap { mechanism: plan.mechanism(), count: plan.steps }];
    let header = Header::of_caps("blobs", "one record", Adjacency::AddOrRemoveOne, (20.0, 1e-5), caps);
    Ledger::create(path, &header, SystemNoise::new().unwrap()).unwrap()
}

fn charged(path: &Path) -> u64 {
    Account::read(path).unwrap().totals().iter().map(|(_, count)| count).sum()
}

#[test]
fn it_learns_and_costs_what_was_planned() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let (task, plan) = (Blobs::new(200, u64::MAX), plan(40));
    let mut ledger = create(&path, &plan);
    let disk = Disk::default();
    let steps = run(&task, &plan, &mut ledger, &disk, &Silent).unwrap().steps;
    assert_eq!((steps, charged(&path)), (40, 40));
    assert!(ledger.account().open().is_empty());
    assert!(matches!(ledger.label(), artifact::Guarantee::Dp(_)), "{:?}", ledger.label());
    // Two blobs, each 2.8 deviations from the middle, and fresh noise in every run: the least of
    // 400 runs was 0.995.
    assert!(task.right() > 0.9, "{}", task.right());
}

/// A run that was killed inside a block: its steps stay spent, and the rest is taken.
#[test]
fn steps_that_a_crash_took_away_are_spent_and_the_run_ends() {
    for fails_at in [0, 3, 4, 6, 19] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        let (plan, disk) = (plan(20), Disk::default());
        let crashed = Blobs::new(60, fails_at);
        let mut ledger = create(&path, &plan);
        let error = run(&crashed, &plan, &mut ledger, &disk, &Silent);
        assert!(matches!(error, Err(Error::Stopped)), "{error:?}");
        drop(ledger);
        // Everything up to the block that failed, that block included.
        assert_eq!(charged(&path), fails_at / 4 * 4 + 4);
        let mut ledger = Ledger::open(&path, SystemNoise::new().unwrap()).unwrap();
        assert_eq!(ledger.account().open().len(), 1);
        let task = Blobs::new(60, u64::MAX);
        let steps = run(&task, &plan, &mut ledger, &disk, &Silent).unwrap().steps;
        // Four steps are lost, none was made twice, and no more than the budget is spent.
        assert_eq!((steps, charged(&path)), (16, 20));
    }
}

/// Asks to stop after a number of steps.
struct StopsAfter(Cell<u32>);

impl Progress for StopsAfter {
    fn start(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64, _: &str) {}
    fn finish(&self) {}
    fn say(&self, _: &str) {}
    fn stop_requested(&self) -> bool {
        self.0.set(self.0.get().saturating_sub(1));
        self.0.get() == 0
    }
}

#[test]
fn a_stop_keeps_the_steps_that_were_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let (plan, disk, task) = (plan(20), Disk::default(), Blobs::new(60, u64::MAX));
    let mut ledger = create(&path, &plan);
    let stops = StopsAfter(Cell::new(8)); // the block's start, four steps, another start, two steps
    let error = run(&task, &plan, &mut ledger, &disk, &stops);
    assert!(matches!(error, Err(Error::Stopped)), "{error:?}");
    assert_eq!(disk.0.borrow().as_ref().unwrap().epochs, 6);
    let steps = run(&task, &plan, &mut ledger, &disk, &Silent).unwrap().steps;
    // Two of the second block's four were charged and not made.
    assert_eq!((steps, charged(&path)), (18, 20));
}

/// Records that are made to be hard on float32: of all sizes, cancelling, alike.
fn attack(seed: u64, records: i64) -> Tensor {
    let mut stream = Stream::new(seed, Purpose::Probe, 3);
    let images: Vec<Tensor> = (0..records)
        .map(|i| {
            let image = stream.normal_tensor(&[1, 8, 8]).unwrap();
            let scale = 10f64.powf(f64::from(stream.uniform(1, -6.0, 6.0)[0]));
            match i % 4 {
                0 => image * scale,
                1 => image.ones_like() * scale,
                2 => image.sign() * scale,
                _ => image + scale,
            }
        })
        .collect();
    Tensor::stack(&images, 0)
}

#[derive(Clone)]
struct Net {
    conv: Conv2d,
    fc: Linear,
}

impl Module for Net {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.conv.visit(f);
        self.fc.visit(f);
    }
}

fn clipped(network: &Net, x: &Tensor, kind: Kind, engine: Engine, norm: f64) -> Vec<f64> {
    let given = parameters(network).iter().map(|p| (p.name().to_owned(), p.value().to_kind(kind))).collect();
    let source = &mut Source::given(given, Device::Cpu);
    let network = Net {
        conv: Conv2d::new(source, "conv", (1, 8), 3, (1, 1)).unwrap(),
        fc: Linear::new(source, "fc", 512, 10).unwrap(),
    };
    let mut tape = Tape::default();
    let mut pass = Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() };
    let hidden = network.conv.forward(&x.to_kind(kind), &mut pass).relu();
    let logits = network.fc.forward(&hidden.flatten(1, -1), &mut pass);
    let labels = Tensor::arange(x.size()[0], (Kind::Int64, Device::Cpu)).remainder(10);
    let loss = -logits.log_softmax(-1, None).gather(1, &labels.unsqueeze(1), false).sum(None::<Kind>);
    let all = parameters(&network);
    let gradients = Gradients::of(&tape, &loss, &all, 1, engine).unwrap();
    let sums = Clipping::Flat.clip(gradients, &all, norm).unwrap().sums;
    let flat = sums
        .iter()
        .flat_map(|sum| Vec::<f64>::try_from(sum.to_kind(Kind::Double).contiguous().flatten(0, -1)).unwrap());
    flat.collect()
}

fn norm_of(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// One record moves the computed sum by the clipping norm at most, and by what is declared for
/// rounding: for records that are made to break it.
#[test]
fn an_attacked_sum_keeps_its_sensitivity() {
    let mut stream = Stream::new(5, Purpose::Weights, 0);
    let source = &mut Source::fresh(&mut stream, Device::Cpu);
    let network = Net {
        conv: Conv2d::new(source, "conv", (1, 8), 3, (1, 1)).unwrap(),
        fc: Linear::new(source, "fc", 512, 10).unwrap(),
    };
    let norm = 0.7;
    let (mut worst, mut furthest): (f64, f64) = (0.0, 0.0);
    // A group of the usual size, and one as large as they come.
    for (seed, records) in (0..12).map(|seed| (seed, if seed < 9 { 33 } else { 337 })) {
        let x = attack(seed, records);
        for engine in [Engine::Ghost, Engine::Materialised] {
            let with = clipped(&network, &x, Kind::Float, engine, norm);
            for gone in [0, 1, 2, 3, records - 1] {
                let rest = Tensor::cat(&[x.narrow(0, 0, gone), x.narrow(0, gone + 1, records - gone - 1)], 0);
                // Labels go by place, so the record that goes is the last one of the batch.
                let order = Tensor::cat(&[rest.shallow_clone(), x.narrow(0, gone, 1)], 0);
                let before = clipped(&network, &order, Kind::Float, engine, norm);
                let after = clipped(&network, &rest, Kind::Float, engine, norm);
                let moved = norm_of(before.iter().zip(&after).map(|(a, b)| a - b));
                worst = worst.max(moved / norm - 1.0);
                assert!(moved <= norm * (1.0 + SUM_ERROR), "seed {seed}, {engine:?}: {}", moved / norm);
            }
            let exact = clipped(&network, &x, Kind::Double, Engine::Materialised, norm);
            let off = norm_of(with.iter().zip(&exact).map(|(a, b)| a - b));
            // Of two sums: a fifth of what is declared for both.
            furthest = furthest.max(off / norm);
            assert!(off <= norm * SUM_ERROR / 10.0, "seed {seed}, {engine:?}: {}", off / norm);
        }
    }
    println!("beyond the norm at most {worst:.1e}, off by {furthest:.1e}, declared {SUM_ERROR:.1e}");
}

/// A hundred steps without protection: the controls.
#[test]
fn controls_train_and_say_that_they_protect_nobody() {
    let steps = PrivatePlan { noise_multiplier: 0.0, ..plan(60) };
    let unclipped = PrivatePlan { clipping_norm: f64::INFINITY, ..steps.clone() };
    for plan in [steps.clone(), unclipped] {
        let task = Blobs::new(200, u64::MAX);
        let mut none = Unprotected::without_noise(3);
        let of = charge(plan.mechanism());
        let watch = Watch::default();
        let trained = train(&task, &plan, &of, &mut none, &Disk::default(), Some(&watch), &Silent).unwrap();
        assert!(task.right() > 0.99, "{}", task.right());
        let average = trained.average.unwrap();
        let figures = watch.0.into_inner();
        assert_eq!(figures.len(), 60);
        // 40 expected, with a deviation of 5.7 for each of 60 steps: beyond 6 of them once in 1e7.
        assert!(figures.iter().all(|step| (6..75).contains(&step.records)));
        assert!(figures[59].loss < figures[0].loss);
        let clips = figures.iter().map(|step| step.clipped).sum::<f64>();
        assert_eq!(clips > 0.0, plan.clipping_norm.is_finite(), "{clips}");
        // The average lags behind the weights, and is near them.
        let last = parameters(&task.network)[0].value().shallow_clone();
        let apart = (&average[0] - &last).norm().double_value(&[]);
        assert!(apart > 0.0 && apart < 0.5 * last.norm().double_value(&[]), "{apart}");
    }
    // A ledger that is charged for noise takes no such plan.
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = create(&dir.path().join("ledger.jsonl"), &plan(20));
    for bad in [steps, PrivatePlan { clipping_norm: f64::INFINITY, ..plan(20) }] {
        let error = run(&Blobs::new(20, u64::MAX), &bad, &mut ledger, &Disk::default(), &Silent).unwrap_err();
        assert!(error.to_string().contains("above 0"), "{error}");
    }
    assert!(ledger.account().entries.is_empty());
}

#[derive(Default)]
struct Watch(RefCell<Vec<StepFigures>>);

impl Diagnostics for Watch {
    fn step(&self, figures_private: &StepFigures) {
        self.0.borrow_mut().push(*figures_private);
    }
}

/// A network that looks across the batch, as BatchNorm in training does.
struct Mixing(Blobs);

impl PrivateTask for Mixing {
    fn records(&self) -> usize {
        self.0.records()
    }

    fn views(&self) -> i64 {
        1
    }

    fn network(&self) -> &dyn Module {
        self.0.network()
    }

    fn learner(&self) -> Box<dyn PrivateLearner + '_> {
        Box::new(MixingLearner(self.0.network.clone()))
    }

    fn made_up(&self, records: i64, stream: &mut Stream) -> Result<Tensor> {
        self.0.made_up(records, stream)
    }
}

struct MixingLearner(Linear);

impl PrivateLearner for MixingLearner {
    fn network(&self) -> &dyn Module {
        &self.0
    }

    fn loss(&self, _: &[usize], _: u64, _: &mut Tape) -> Result<Tensor> {
        panic!("a private record was looked at")
    }

    fn outputs(&self, inputs: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let y = self.0.forward(inputs, pass);
        Ok(&y - y.mean_dim(0, true, Kind::Float))
    }
}

#[test]
fn a_network_that_mixes_records_is_refused_and_nothing_is_spent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let plan = plan(20);
    let mut ledger = create(&path, &plan);
    let task = Mixing(Blobs::new(20, u64::MAX));
    let of = charge(plan.mechanism());
    let error = train(&task, &plan, &of, &mut ledger, &Disk::default(), None, &Silent).unwrap_err();
    assert!(error.to_string().contains("take GroupNorm"), "{error}");
    assert_eq!(charged(&path), 0);
}

/// A checkpoint of something else must not be written over: its steps are paid for.
#[test]
fn a_state_of_another_training_is_an_error_and_nothing_is_spent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let (plan, task) = (plan(20), Blobs::new(20, u64::MAX));
    let mut ledger = create(&path, &plan);
    let disk = Disk::default();
    let state =
        Checkpoint { epochs: 4, steps: 4, best_epoch: None, arrays: Vec::new(), history: String::new() };
    disk.save(&state).unwrap();
    let error = run(&task, &plan, &mut ledger, &disk, &Silent).unwrap_err();
    assert!(error.to_string().contains("not one of this training"), "{error}");
    assert_eq!(charged(&path), 0);
}
