//! Private training on neighbouring data sets, with frozen releases: it must not betray which. And
//! programs with planted faults, which must be caught.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

mod kept;

use std::cell::RefCell;

use dp_accounting::draws::Lattice;
use dp_accounting::filter::Cap;
use dp_accounting::ledger::{Charge, Header};
use dp_accounting::spend::Spending;
use dp_accounting::{Adjacency, Mechanism};
use dp_noise_testing::replay::{Change, Outputs, Recording, Violation};
use kept::Kept;
use pate_core::base::progress::Progress;
use pate_core::base::rng::{Purpose, Stream};
use pate_core::base::tensor;
use pate_core::config::OptimizerKind;
use pate_core::dp::{
    Clipping, Engine, Gradients, PrivateLearner, PrivatePlan, PrivateTask, SUM_ERROR, train,
};
use pate_core::nn::{
    Conv2d, DropoutMasks, Linear, Module, Parameter, Pass, Schedule, Source, Tape, parameters,
};
use pate_core::{Error, Result};
use serde_json::json;
use tch::{Device, Kind, Tensor};

const SIDE: i64 = 6;
const CLASSES: i64 = 4;
const VIEWS: i64 = 2;

/// Private records.
#[derive(Clone)]
struct Data {
    images: Vec<Vec<f32>>,
    labels: Vec<i64>,
}

impl Data {
    fn new(records: u64) -> Self {
        let image = |i| Stream::new(i, Purpose::Probe, 0).uniform((SIDE * SIDE) as usize, 0.0, 1.0);
        Self {
            images: (0..records).map(image).collect(),
            labels: (0..records).map(|i| i as i64 % CLASSES).collect(),
        }
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn with(mut self, image: Vec<f32>, label: i64) -> Self {
        self.images.push(image);
        self.labels.push(label);
        self
    }

    fn without(mut self, row: usize) -> Self {
        self.images.remove(row);
        self.labels.remove(row);
        self
    }

    /// A number of the record's own, whoever is there beside it.
    fn key(&self, row: usize) -> u64 {
        let fold = |key: u64, x: &f32| (key ^ u64::from(x.to_bits())).wrapping_mul(0x100_0000_01b3);
        self.images[row].iter().fold(0xcbf2_9ce4_8422_2325, fold)
    }

    fn replaced(mut self, row: usize, image: Vec<f32>, label: i64) -> Self {
        self.images[row] = image;
        self.labels[row] = label;
        self
    }
}

/// What is wrong with a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A view is drawn by the place in the batch, not by the record.
    ViewsByPlace,
    /// A view is drawn by the number of the row, which moves when a record before it goes.
    ViewsByRow,
    /// Activations are centred over the batch.
    BatchMean,
    /// Sums are divided by the number of records times q.
    DivisorFromData,
    /// The rate is a batch size over the number of records.
    RateFromData,
    /// As many steps as epochs of the data.
    StepsFromData,
    /// As many classes as labels are seen.
    ClassesFromData,
    /// Pixels are centred by the data's mean.
    CentredByData,
    /// Nothing is clipped.
    NoClipping,
    /// Each view is clipped, and they are added instead of averaged.
    ViewsAdded,
    /// The sensitivity is too small by the square root of 2.
    SensitivityTooSmall,
    /// The lattice is that of a mean, the sum is a sum.
    NoiseOfTheMean,
    /// Every record is counted twice.
    CountedTwice,
    /// The clipping norm is the median of the private norms.
    NormFromData,
    /// A record whose gradient is no number makes the sum no number.
    NotANumberPasses,
    /// The number of records is in the report.
    RecordsReported,
    /// The loss is printed.
    LossPrinted,
    /// The size of each sample is printed.
    BatchSizePrinted,
    /// It stops where the loss is small.
    StopsEarly,
    /// A step is left out where nobody takes part.
    SkipsEmpty,
    /// The best weights by private accuracy are kept.
    BestByAccuracy,
    /// The sample of a step is used a second time without a charge.
    SampleUsedAgain,
    /// Weights start at a function of the data.
    StartFromData,
    /// Records are sorted by their pixels first, so that who is record 5 depends on the others.
    Sorted,
    /// A bad record is an error that names it.
    BadRecordNamed,
    /// Only half of the records are clipped.
    HalfClipped,
}

const FAULTS: [Fault; 26] = [
    Fault::ViewsByPlace,
    Fault::ViewsByRow,
    Fault::BatchMean,
    Fault::DivisorFromData,
    Fault::RateFromData,
    Fault::StepsFromData,
    Fault::ClassesFromData,
    Fault::CentredByData,
    Fault::NoClipping,
    Fault::ViewsAdded,
    Fault::SensitivityTooSmall,
    Fault::NoiseOfTheMean,
    Fault::CountedTwice,
    Fault::NormFromData,
    Fault::NotANumberPasses,
    Fault::RecordsReported,
    Fault::LossPrinted,
    Fault::BatchSizePrinted,
    Fault::StopsEarly,
    Fault::SkipsEmpty,
    Fault::BestByAccuracy,
    Fault::SampleUsedAgain,
    Fault::StartFromData,
    Fault::Sorted,
    Fault::BadRecordNamed,
    Fault::HalfClipped,
];

#[derive(Clone)]
struct Network {
    conv: Conv2d,
    fc: Linear,
}

impl Module for Network {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.conv.visit(f);
        self.fc.visit(f);
    }
}

impl Network {
    fn new(classes: i64) -> Self {
        let mut stream = Stream::new(3, Purpose::Weights, 0);
        let source = &mut Source::fresh(&mut stream, Device::Cpu);
        let conv = Conv2d::new(source, "conv", (1, 3), 3, (2, 1)).unwrap();
        Self { conv, fc: Linear::new(source, "fc", 3 * 9, classes).unwrap() }
    }

    fn losses(&self, x: &Tensor, labels: &Tensor, fault: Option<Fault>, tape: &mut Tape) -> Tensor {
        let mut pass = Pass::Record { tape, dropout: DropoutMasks::none() };
        let mut x = self.conv.forward(x, &mut pass).tanh();
        if fault == Some(Fault::BatchMean) {
            let mean = x.mean_dim([0i64].as_slice(), true, None::<Kind>);
            x = &x - mean;
        }
        let logits = self.fc.forward(&x.flatten(1, -1), &mut pass);
        let log_p = logits.log_softmax(-1, None);
        -log_p.gather(1, &labels.unsqueeze(1), false).squeeze_dim(1)
    }
}

/// The task as a program of ours would have it, with or without a fault.
struct Task<'a> {
    data: &'a Data,
    network: Network,
    fault: Option<Fault>,
    mean: f64,
}

struct Learner<'a> {
    data: &'a Data,
    network: Network,
    fault: Option<Fault>,
    mean: f64,
}

impl PrivateTask for Task<'_> {
    fn records(&self) -> usize {
        self.data.len()
    }

    fn views(&self) -> i64 {
        VIEWS
    }

    fn network(&self) -> &dyn Module {
        &self.network
    }

    fn learner(&self) -> Box<dyn PrivateLearner + '_> {
        Box::new(Learner {
            data: self.data,
            network: self.network.clone(),
            fault: self.fault,
            mean: self.mean,
        })
    }

    fn made_up(&self, records: i64, stream: &mut Stream) -> Result<Tensor> {
        stream.normal_tensor(&[records * VIEWS, 1, SIDE, SIDE])
    }
}

impl Learner<'_> {
    fn rows(&self, rows: &[usize], step: u64) -> (Tensor, Tensor) {
        let mut pixels: Vec<f32> = Vec::new();
        let mut labels = Vec::new();
        for (place, &row) in rows.iter().enumerate() {
            for view in 0..VIEWS as u64 {
                let who = match self.fault {
                    Some(Fault::ViewsByPlace) => place as u64,
                    Some(Fault::ViewsByRow) => row as u64,
                    _ => self.data.key(row),
                };
                let index = who.wrapping_mul(16).wrapping_add(view);
                let mut stream = Stream::new(step, Purpose::Augmentation, index);
                let noise = stream.normal((SIDE * SIDE) as usize);
                let image = &self.data.images[row];
                pixels.extend(image.iter().zip(noise).map(|(x, e)| x - self.mean as f32 + 0.3 * e));
                labels.push(self.data.labels[row]);
            }
        }
        let n = labels.len() as i64;
        (tensor::from_f32(&pixels, &[n, 1, SIDE, SIDE]).unwrap(), Tensor::from_slice(&labels))
    }
}

impl PrivateLearner for Learner<'_> {
    fn network(&self) -> &dyn Module {
        &self.network
    }

    fn loss(&self, rows: &[usize], step: u64, tape: &mut Tape) -> Result<Tensor> {
        let (x, labels) = self.rows(rows, step);
        let losses = self.network.losses(&x, &labels, self.fault, tape);
        Ok(losses.sum(Kind::Float) / VIEWS as f64)
    }

    /// Faults that a trial shows are hidden from it here: the harness has to find them by itself.
    fn outputs(&self, inputs: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let x = self.network.conv.forward(inputs, pass).tanh();
        Ok(self.network.fc.forward(&x.flatten(1, -1), pass))
    }
}

fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    tensor::to_f32(tensor).unwrap().into_iter().flat_map(f32::to_le_bytes).collect()
}

fn weights(network: &dyn Module) -> Vec<u8> {
    parameters(network).iter().flat_map(|parameter| bytes_of(parameter.value())).collect()
}

/// What a user sees.
#[derive(Default)]
struct Screen(RefCell<Vec<String>>);

impl Progress for Screen {
    fn start(&self, _: &str, _: u64) {}
    fn advance(&self, n: u64, _: &str) {
        self.0.borrow_mut().push(format!("{n} steps"));
    }
    fn finish(&self) {}
    fn say(&self, text: &str) {
        self.0.borrow_mut().push(text.to_owned());
    }
    fn stop_requested(&self) -> bool {
        false
    }
}

fn plan(rate: f64) -> PrivatePlan {
    PrivatePlan {
        steps: 5,
        sampling_rate: rate,
        expected_batch: 12.0,
        noise_multiplier: 1.0,
        clipping_norm: 0.25,
        clipping: Clipping::Flat,
        engine: Engine::Ghost,
        optimizer: OptimizerKind::Adam,
        learning_rate: 0.01,
        momentum: 0.9,
        weight_decay: 0.0,
        schedule: Schedule::Constant,
        ema_decay: Some(0.5),
        block: 2,
        micro_batch: Some(4),
    }
}

fn charge(plan: &PrivatePlan, count: u64) -> Charge {
    Charge { count, ..Charge::new(plan.mechanism(), Adjacency::AddOrRemoveOne, "test", "steps") }
}

fn header(plan: &PrivatePlan) -> Header {
    let caps = vec![Cap { mechanism: plan.mechanism(), count: 100 }];
    Header::of_caps("test", "one record", Adjacency::AddOrRemoveOne, (60.0, 1e-5), caps)
}

/// The program as it is meant to be: everything through `dp::train`.
fn honest(
    data: &Data,
    plan: &PrivatePlan,
    fault: Option<Fault>,
    spending: &mut dyn Spending,
) -> Result<Outputs> {
    let mut data = data.clone();
    let mut plan = plan.clone();
    let n = data.len() as f64;
    let mut classes = CLASSES;
    let mut mean = 0.0;
    match fault {
        Some(Fault::DivisorFromData) => plan.expected_batch = n * plan.sampling_rate,
        Some(Fault::RateFromData) => plan.sampling_rate = (12.0 / n).min(1.0),
        Some(Fault::StepsFromData) => plan.steps = (2.0 * n / 12.0) as u64,
        Some(Fault::ClassesFromData) => classes = data.labels.iter().max().unwrap() + 1,
        Some(Fault::CentredByData) => {
            let all: Vec<f64> = data.images.iter().flatten().map(|&x| f64::from(x)).collect();
            mean = all.iter().sum::<f64>() / all.len() as f64;
        }
        Some(Fault::Sorted) => {
            let mut rows: Vec<(Vec<f32>, i64)> = data.images.into_iter().zip(data.labels).collect();
            rows.sort_by(|a, b| a.0[0].total_cmp(&b.0[0]));
            (data.images, data.labels) = rows.into_iter().unzip();
        }
        Some(Fault::BadRecordNamed) => {
            if let Some(bad) = data.images.iter().position(|image| image.iter().any(|x| !x.is_finite())) {
                return Err(Error::invalid(format!("record {bad} is no number")));
            }
        }
        _ => {}
    }
    let network = Network::new(classes);
    if fault == Some(Fault::StartFromData) {
        let _guard = tch::no_grad_guard();
        let first = f64::from(data.images[data.len() - 1][0]);
        let _ = network.fc_bias().fill_(first);
    }
    let task = Task { data: &data, network, fault, mean };
    let (kept, screen) = (Kept::default(), Screen::default());
    let steps = train(&task, &plan, &charge(&plan, 1), spending, &kept, None, &screen)?.steps;
    let mut outputs = kept.0.into_inner();
    outputs.push(("weights".to_owned(), weights(&task.network)));
    outputs.push(("steps".to_owned(), steps.to_le_bytes().to_vec()));
    outputs.push(("screen".to_owned(), screen.0.into_inner().join("\n").into_bytes()));
    if fault == Some(Fault::RecordsReported) {
        outputs.push(("report".to_owned(), data.len().to_le_bytes().to_vec()));
    }
    Ok(outputs)
}

impl Network {
    fn fc_bias(&self) -> Tensor {
        let all = parameters(self);
        all[all.len() - 1].value().shallow_clone()
    }
}

/// A training of somebody who writes the steps by hand, and errs.
fn by_hand(data: &Data, plan: &PrivatePlan, fault: Fault, spending: &mut dyn Spending) -> Result<Outputs> {
    let network = Network::new(CLASSES);
    let learner = Learner { data, network: network.clone(), fault: None, mean: 0.0 };
    let all = parameters(&network);
    let dimension: usize = all.iter().map(|p| p.value().numel()).sum();
    let mut clip = plan.clipping_norm;
    if fault == Fault::NormFromData {
        let rows: Vec<usize> = (0..data.len()).collect();
        let mut tape = Tape::default();
        let loss = learner.loss(&rows, 0, &mut tape)?;
        let gradients = Gradients::of(&tape, &loss, &all, VIEWS, Engine::Ghost)?;
        let norms = gradients.squared_norms().sum_dim_intlist(0, false, None).sqrt();
        clip = norms.median().double_value(&[]).max(1e-3);
    }
    let lattice = Lattice::of_clipped_sum(clip, 1.0, dimension, SUM_ERROR * clip)?;
    let lattice = match fault {
        Fault::SensitivityTooSmall => {
            let factor = std::f64::consts::FRAC_1_SQRT_2;
            Lattice::new(lattice.step() * factor, lattice.sensitivity() * factor)?
        }
        Fault::NoiseOfTheMean => {
            Lattice::new(lattice.step() / plan.expected_batch, lattice.sensitivity() / plan.expected_batch)?
        }
        _ => lattice,
    };
    let mut printed: Vec<String> = Vec::new();
    let mut best: (f64, Vec<u8>) = (f64::INFINITY, Vec::new());
    for step in 0..plan.steps {
        let (mut stop, mut loss_private, mut rows_private) = (false, 0.0, Vec::new());
        if fault == Fault::SkipsEmpty && data.len().is_multiple_of(2) {
            continue; // what "nobody takes part" comes to: whether a step runs depends on the data
        }
        spending.spend(charge(plan, 1), &mut |mechanisms| {
            let released = mechanisms.sampled_sum(data.len(), lattice, &mut |sample| {
                let rows = sample.rows();
                rows_private = rows.to_vec();
                let mut sums: Vec<Tensor> = all.iter().map(|p| p.value().zeros_like()).collect();
                let count = if fault == Fault::CountedTwice { 2.0 } else { 1.0 };
                if !rows.is_empty() {
                    let mut tape = Tape::default();
                    let loss = learner.loss(rows, step, &mut tape).unwrap();
                    loss_private = loss.double_value(&[]) / rows.len() as f64;
                    let views = if fault == Fault::ViewsAdded { 1 } else { VIEWS };
                    let loss = if fault == Fault::ViewsAdded { loss * VIEWS as f64 } else { loss };
                    let gradients = Gradients::of(&tape, &loss, &all, views, Engine::Ghost).unwrap();
                    sums = match fault {
                        Fault::NoClipping => {
                            Clipping::Flat.clip(gradients, &all, f64::INFINITY).unwrap().sums
                        }
                        Fault::NotANumberPasses => {
                            let norms = gradients.squared_norms().sum_dim_intlist(0, false, None).sqrt();
                            let factor = (norms.reciprocal() * clip).clamp_max(1.0);
                            let each = factor.unsqueeze(0).expand([all.len() as i64, -1], false).copy();
                            gradients.weighted_sums(&each)
                        }
                        Fault::HalfClipped => {
                            let n = gradients.records();
                            let norms = gradients.squared_norms().sum_dim_intlist(0, false, None).sqrt();
                            let factor = (norms.reciprocal() * clip).clamp_max(1.0);
                            let even = Tensor::arange(n, (Kind::Int64, Device::Cpu)).remainder(2).eq(0);
                            let factor = factor.where_self(&even, &factor.ones_like());
                            let each = factor.unsqueeze(0).expand([all.len() as i64, -1], false).copy();
                            gradients.weighted_sums(&each)
                        }
                        _ => Clipping::Flat.clip(gradients, &all, clip).unwrap().sums,
                    };
                }
                let flat: Vec<f32> = sums.iter().flat_map(|sum| tensor::to_f32(sum).unwrap()).collect();
                Ok(flat.iter().map(|&x| (f64::from(x) * count / lattice.step()).round() as i64).collect())
            })?;
            let mut from = 0;
            let _guard = tch::no_grad_guard();
            for parameter in &all {
                let n = parameter.value().numel();
                let gradient = Tensor::from_slice(&released[from..from + n]) / plan.expected_batch;
                let gradient = gradient.view(parameter.value().size().as_slice()).to_kind(Kind::Float);
                let _ = parameter.value().shallow_clone().g_sub_(&(gradient * 0.05));
                from += n;
            }
            Ok(json!(null))
        })?;
        match fault {
            Fault::LossPrinted => printed.push(format!("{loss_private:.6}")),
            Fault::BatchSizePrinted => printed.push(rows_private.len().to_string()),
            Fault::StopsEarly => stop = loss_private < 1.4,
            Fault::BestByAccuracy if loss_private < best.0 => best = (loss_private, weights(&network)),
            Fault::SampleUsedAgain if !rows_private.is_empty() => {
                let bias = network.fc_bias().set_requires_grad(true);
                let loss = learner.loss(&rows_private, step, &mut Tape::default())?;
                let gradient = tensor::gradients(&loss, &[&bias])?;
                let _guard = tch::no_grad_guard();
                let _ = network.fc_bias().g_sub_(&(&gradient[0] * 0.01));
                let _ = network.fc_bias().set_requires_grad(false);
            }
            _ => {}
        }
        if stop {
            break;
        }
    }
    let weights = if fault == Fault::BestByAccuracy { best.1 } else { weights(&network) };
    Ok(vec![("weights".to_owned(), weights), ("screen".to_owned(), printed.join("\n").into_bytes())])
}

fn program(
    data: &Data,
    plan: &PrivatePlan,
    fault: Option<Fault>,
    spending: &mut dyn Spending,
) -> Result<Outputs> {
    use Fault as F;
    match fault {
        Some(
            fault @ (F::NoClipping
            | F::ViewsAdded
            | F::SensitivityTooSmall
            | F::NoiseOfTheMean
            | F::CountedTwice
            | F::NormFromData
            | F::NotANumberPasses
            | F::LossPrinted
            | F::BatchSizePrinted
            | F::StopsEarly
            | F::SkipsEmpty
            | F::BestByAccuracy
            | F::SampleUsedAgain
            | F::HalfClipped),
        ) => by_hand(data, plan, fault, spending),
        fault => honest(data, plan, fault, spending),
    }
}

/// Neighbours of all kinds, with how each was made.
fn neighbours(data: &Data, seed: u64) -> Vec<(Data, Change)> {
    let n = data.len();
    let other =
        |i: u64| Stream::new(1000 * seed + i, Purpose::Probe, 1).uniform((SIDE * SIDE) as usize, 0.0, 1.0);
    let constant = |value: f32| vec![value; (SIDE * SIDE) as usize];
    let last = n - 1;
    vec![
        (data.clone().without(last), Change::Removed(last)),
        (data.clone().without(0), Change::Removed(0)),
        (data.clone().without(n / 2), Change::Removed(n / 2)),
        (data.clone().with(other(0), 1), Change::Added),
        (data.clone().with(constant(1e6), 0), Change::Added),
        (data.clone().with(constant(-1e6), 2), Change::Added),
        (data.clone().with(constant(f32::NAN), 0), Change::Added),
        (data.clone().with(constant(f32::INFINITY), 3), Change::Added),
        (data.clone().with(constant(0.0), CLASSES - 1), Change::Added),
        (data.clone().replaced(last, constant(f32::NAN), data.labels[last]), Change::Replaced(last)),
        (data.clone().replaced(0, constant(1e20), data.labels[0]), Change::Replaced(0)),
        (data.clone().replaced(last, other(1), (data.labels[last] + 1) % CLASSES), Change::Replaced(last)),
        (data.clone().replaced(n / 2, data.images[n / 2].clone(), 0), Change::Replaced(n / 2)),
        (data.clone().replaced(1, other(2), data.labels[1]), Change::Replaced(1)),
    ]
}

/// The first neighbour that is betrayed, and how.
fn betrayed(data: &Data, plan: &PrivatePlan, fault: Option<Fault>, seed: u64) -> Option<(Change, Violation)> {
    let recording = Recording::of(&header(plan), seed, |spending| program(data, plan, fault, spending));
    neighbours(data, seed).into_iter().find_map(|(other, change)| {
        let violations = recording.replay(change, |spending| program(&other, plan, fault, spending));
        violations.into_iter().next().map(|violation| (change, violation))
    })
}

#[test]
fn honest_training_betrays_nothing_on_a_hundred_neighbours() {
    // A rate at which most steps have somebody, and one at which some have nobody.
    for (rate, seeds) in [(0.5, 0..6), (0.05, 6..9)] {
        for seed in seeds {
            let (plan, data) = (plan(rate), Data::new(20 + seed));
            let recording = Recording::of(&header(&plan), seed, |s| program(&data, &plan, None, s));
            recording.outputs().unwrap();
            assert_eq!(recording.calls(), 5);
            if let Some((change, violation)) = betrayed(&data, &plan, None, seed) {
                panic!("seed {seed}, {change:?}: {violation}");
            }
        }
    }
}

#[test]
fn every_planted_fault_is_caught() {
    for fault in FAULTS {
        // The last record is the only one of its class, so that a class can vanish.
        let mut data = Data::new(23);
        data.labels.iter_mut().for_each(|label| *label = (*label).min(CLASSES - 2));
        let last = data.len() - 1;
        data.labels[last] = CLASSES - 1;
        let caught = betrayed(&data, &plan(0.5), Some(fault), 1);
        let Some((change, violation)) = caught else { panic!("{fault:?} was not caught") };
        println!("{fault:?}: {change:?}: {violation}");
    }
}

#[test]
fn plans_that_mean_nothing_are_refused_and_nothing_is_spent() {
    let data = Data::new(8);
    let good = plan(0.5);
    let bad: [(&str, PrivatePlan); 7] = [
        ("sampling rate is 0", PrivatePlan { sampling_rate: 0.0, ..good.clone() }),
        ("sampling rate is 1.5", PrivatePlan { sampling_rate: 1.5, ..good.clone() }),
        ("clipping norm is 0", PrivatePlan { clipping_norm: 0.0, ..good.clone() }),
        ("expected batch is 0", PrivatePlan { expected_batch: 0.0, ..good.clone() }),
        ("noise multiplier is 0", PrivatePlan { noise_multiplier: 0.0, ..good.clone() }),
        ("0 steps", PrivatePlan { steps: 0, ..good.clone() }),
        ("blocks of 0", PrivatePlan { block: 0, ..good.clone() }),
    ];
    for (words, plan) in bad {
        let recording = Recording::of(&header(&good), 1, |s| program(&data, &plan, None, s));
        let message = recording.outputs().unwrap_err();
        assert!(message.contains(words), "{message}");
        assert_eq!(recording.calls(), 0);
    }
    let other =
        Charge { mechanism: Mechanism::PoissonSubsampledGaussian { q: 0.1, sigma: 1.0 }, ..charge(&good, 1) };
    let recording = Recording::of(&header(&good), 1, |spending| -> Result<Outputs> {
        let task = Task { data: &data, network: Network::new(CLASSES), fault: None, mean: 0.0 };
        train(&task, &good, &other, spending, &Kept::default(), None, &Screen::default())?;
        Ok(Vec::new())
    });
    assert!(recording.outputs().unwrap_err().contains("the charge is for"));
    assert_eq!(recording.calls(), 0);
}
