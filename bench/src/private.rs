//! Steps of DP-SGD on made-up images, and the same network's steps without privacy.

use std::cell::RefCell;
use std::time::Instant;

use anyhow::Result;
use dp_accounting::Adjacency;
use dp_accounting::filter::Cap;
use dp_accounting::ledger::{Charge, Header, Ledger};
use dp_noise::SystemNoise;
use pate_core::base::progress::{Progress, Silent};
use pate_core::base::rng::{Purpose, Stream};
use pate_core::base::tensor;
use pate_core::config::OptimizerKind;
use pate_core::data::{ImageShape, MNIST_CLASSES, Normalisation, Records};
use pate_core::dp::{
    self, Clipping, Diagnostics, Engine, Gradients, PrivateImages, PrivatePlan, StepFigures,
};
use pate_core::models::{Activation, Classifier, GnResNet, SmallCnn, UcStub};
use pate_core::nn::{self, DropoutMasks, Pass, Schedule, Source, Tape};
use pate_core::train::NoCheckpoint;
use pate_core::train::classifier::{self, ClassifierData, ClassifierPlan};
use serde::Deserialize;
use serde_json::json;
use tch::{Device, Kind, Reduction, Tensor};

use crate::outputs;
use crate::parts::{Inputs, Measured, Run};

/// A line of the table.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) network: Network,
    /// Records of a step, on average.
    pub(crate) batch: usize,
    pub(crate) learning_rate: f64,
    pub(crate) clipping_norm: f64,
    pub(crate) noise_multiplier: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Network {
    SmallCnn,
    Ucstub,
    GnResnet,
}

impl Network {
    pub(crate) const ALL: [(Self, &str); 3] = [
        (Self::SmallCnn, "private_small-cnn.pth"),
        (Self::Ucstub, "private_ucstub.pth"),
        (Self::GnResnet, "private_gn-resnet.pth"),
    ];

    pub(crate) fn build(self, seed: u64) -> Result<Box<dyn Classifier>> {
        Ok(match self {
            Self::SmallCnn => Box::new(small_cnn(seed)?),
            Self::Ucstub => Box::new(ucstub(seed)?),
            Self::GnResnet => Box::new(gn_resnet(seed)?),
        })
    }

    /// The same network with weights of float64.
    fn in_double(self, network: &dyn Classifier) -> Result<Box<dyn Classifier>> {
        let values = nn::parameters(network).into_iter();
        let doubled = values.map(|p| Ok((p.name().to_owned(), p.value().f_to_kind(Kind::Double)?)));
        let source = &mut Source::given(doubled.collect::<Result<_>>()?, Device::Cpu);
        let (shape, classes) = (ImageShape::MNIST, MNIST_CLASSES);
        Ok(match self {
            Self::SmallCnn => Box::new(SmallCnn::build(source, shape, classes, Activation::Relu)?),
            Self::Ucstub => Box::new(UcStub::build(source, shape, classes)?),
            Self::GnResnet => Box::new(GnResNet::build(source, shape, classes, WIDTH)?),
        })
    }
}

fn small_cnn(seed: u64) -> Result<SmallCnn> {
    Ok(SmallCnn::new(ImageShape::MNIST, MNIST_CLASSES, Activation::Relu, seed, Device::Cpu)?)
}

fn ucstub(seed: u64) -> Result<UcStub> {
    Ok(UcStub::new(ImageShape::MNIST, MNIST_CLASSES, seed, Device::Cpu)?)
}

const WIDTH: i64 = 16;

fn gn_resnet(seed: u64) -> Result<GnResNet> {
    Ok(GnResNet::new(ImageShape::MNIST, MNIST_CLASSES, WIDTH, seed, Device::Cpu)?)
}

/// Records that samples are drawn from: a multiple of every batch, for a rate that both sides have.
pub(crate) const RECORDS: usize = 16_384;
/// Files of these.
pub(crate) const IMAGES: &str = "private.pt";
pub(crate) const LABELS: &str = "private_labels.pt";

/// Made-up images, `[RECORDS, 1, 28, 28]`: what they show does not matter for time.
pub(crate) fn pixels(seed: u64) -> Vec<f32> {
    let values = ImageShape::MNIST.batch(RECORDS as i64).iter().product::<i64>();
    Stream::new(seed, Purpose::Probe, 0).uniform(values as usize, 0.0, 1.0)
}

/// The first steps warm up.
const WARM_UP: usize = 2;
const MIN_STEPS: usize = 5;
const MAX_STEPS: usize = 40;
/// Records of the comparison of clipped sums, and how many at once: few, since the process's peak
/// of memory is that of the steps.
const COMPARED: (i64, i64) = (256, 8);

/// When steps ended; stops when there are enough.
struct Watch {
    ends: RefCell<Vec<Instant>>,
    repeat_for: f64,
}

impl Watch {
    fn seconds(&self) -> Vec<f64> {
        let ends = self.ends.borrow();
        let steps = ends.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
        steps.skip(WARM_UP - 1).collect()
    }
}

impl Diagnostics for Watch {
    fn step(&self, _: &StepFigures) {
        self.ends.borrow_mut().push(Instant::now());
    }
}

impl Progress for Watch {
    fn start(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64, _: &str) {}
    fn finish(&self) {}
    fn say(&self, _: &str) {}
    fn stop_requested(&self) -> bool {
        let seconds = self.seconds();
        seconds.len() >= MIN_STEPS && seconds.iter().sum::<f64>() > self.repeat_for
    }
}

impl Run<'_> {
    fn row(&self, name: Option<&str>) -> Result<&Row> {
        let rows = &self.inputs.settings.private;
        name.and_then(|name| rows.get(name))
            .ok_or_else(|| anyhow::anyhow!("--row is one of {:?}", rows.keys()))
    }
}

fn records(inputs: &Inputs) -> Result<Records> {
    inputs.records(IMAGES, LABELS)
}

/// Seconds of steps of DP-SGD, with the noise and the charges of a release.
pub(crate) fn private_step(run: &Run<'_>, row: Option<&str>) -> Result<Measured> {
    let (row, records) = (run.row(row)?, records(run.inputs)?);
    let network = row.network.build(run.inputs.settings.seed)?;
    let task = PrivateImages::new(&*network, &records, Normalisation::identity(), None)?;
    compare(run, row, &*network, &records)?;
    let plan = PrivatePlan {
        steps: (WARM_UP + MAX_STEPS) as u64,
        sampling_rate: row.batch as f64 / RECORDS as f64,
        expected_batch: row.batch as f64,
        noise_multiplier: row.noise_multiplier,
        clipping_norm: row.clipping_norm,
        clipping: Clipping::Flat,
        engine: Engine::Ghost,
        optimizer: OptimizerKind::Sgd,
        learning_rate: row.learning_rate,
        momentum: 0.0,
        weight_decay: 0.0,
        schedule: Schedule::Constant,
        ema_decay: None,
        block: (WARM_UP + MAX_STEPS) as u64,
        micro_batch: None,
    };
    let watch = Watch { ends: RefCell::default(), repeat_for: run.repeat_for };
    let mut ledger = ledger(run, &plan)?;
    let charge = Charge::new(plan.mechanism(), Adjacency::AddOrRemoveOne, "bench", "steps of DP-SGD");
    match dp::train(&task, &plan, &charge, &mut ledger, &NoCheckpoint, Some(&watch), &watch) {
        Ok(_) | Err(pate_core::Error::Stopped) => {}
        Err(error) => return Err(error.into()),
    }
    Ok((watch.seconds(), json!({ "batch": row.batch })))
}

fn ledger(run: &Run<'_>, plan: &PrivatePlan) -> Result<Ledger<SystemNoise>> {
    let path = run.out.join("ledger.jsonl");
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    let caps = vec![Cap { mechanism: plan.mechanism(), count: plan.steps }];
    let header =
        Header::of_caps("made-up images", "one record", Adjacency::AddOrRemoveOne, (100.0, 1e-5), caps);
    Ok(Ledger::create(&path, &header, SystemNoise::new()?)?)
}

/// Writes the clipped sum of the first records, computed in float64: in float32 a record whose
/// activation comes out on the other side of ReLU's zero is more than rounding.
fn compare(run: &Run<'_>, row: &Row, network: &dyn Classifier, records: &Records) -> Result<()> {
    let network = row.network.in_double(network)?;
    let parameters = nn::parameters(&*network);
    let mut total: Option<Vec<Tensor>> = None;
    tensor::batches(COMPARED.0, COMPARED.1, |first, n| {
        let part = |all: &Tensor| all.f_narrow(0, first, n);
        let mut tape = Tape::default();
        let mut pass = Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() };
        let images = part(records.images.tensor())?.f_to_kind(Kind::Double)?;
        let log_p = network.log_probs(&images, &mut pass);
        let labels = part(&records.labels.tensor())?;
        let loss = log_p.f_nll_loss::<Tensor>(&labels, None, Reduction::Sum, -100)?;
        let gradients = Gradients::of(&tape, &loss, &parameters, 1, Engine::Ghost)?;
        let sums = Clipping::Flat.clip(gradients, &parameters, row.clipping_norm)?.sums;
        total = Some(match total.take() {
            None => sums,
            Some(total) => total.iter().zip(&sums).map(|(a, b)| a.f_add(b)).collect::<Result<_, _>>()?,
        });
        Ok(())
    })?;
    let flat = total.iter().flatten().map(tensor::to_f32).collect::<pate_core::Result<Vec<_>>>()?.concat();
    outputs::floats(run.out, "sums", &flat)
}

/// Batches of an epoch without privacy.
const PLAIN_STEPS: usize = 8;

/// Seconds of a step without privacy, of the same network on batches of the same size.
pub(crate) fn plain_step(run: &Run<'_>, row: Option<&str>) -> Result<Measured> {
    let (row, records) = (run.row(row)?, records(run.inputs)?);
    let chosen: Vec<i64> = (0..(PLAIN_STEPS * row.batch).min(RECORDS) as i64).collect();
    let records = records.select(&chosen)?;
    let seed = run.inputs.settings.seed;
    match row.network {
        Network::SmallCnn => plain(run, row, &records, || small_cnn(seed)),
        Network::Ucstub => plain(run, row, &records, || ucstub(seed)),
        Network::GnResnet => plain(run, row, &records, || gn_resnet(seed)),
    }
}

fn plain<N: Classifier + Clone>(
    run: &Run<'_>,
    row: &Row,
    records: &Records,
    network: impl Fn() -> Result<N>,
) -> Result<Measured> {
    let plan = ClassifierPlan {
        epochs: 1,
        batch_size: row.batch,
        optimizer: OptimizerKind::Sgd,
        learning_rate: row.learning_rate,
        momentum: 0.0,
        weight_decay: 0.0,
        schedule: Schedule::Constant,
        ema_decay: None,
        augmentation: None,
        label_smoothing: 0.0,
        normalisation: Normalisation::identity(),
        seed: run.inputs.settings.seed,
    };
    let data = ClassifierData::new(records);
    let (seconds, _) =
        run.timed(|| Ok(classifier::train(network()?, &data, &plan, Device::Cpu, &Silent, &NoCheckpoint)?))?;
    let steps = records.len().div_ceil(row.batch) as f64;
    Ok((seconds.into_iter().map(|seconds| seconds / steps).collect(), json!({ "batch": row.batch })))
}
