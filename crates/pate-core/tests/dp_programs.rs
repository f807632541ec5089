//! Record and replay over the tasks that private programs are made of: every architecture, with
//! views and without, on neighbouring data sets with frozen releases.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

mod kept;

use std::path::Path;

use dp_accounting::Adjacency;
use dp_accounting::filter::Cap;
use dp_accounting::ledger::{Charge, Header};
use dp_accounting::spend::Spending;
use dp_noise_testing::replay::{Change, Outputs, Recording};
use kept::Kept;
use pate_core::Result;
use pate_core::base::progress::Silent;
use pate_core::base::rng::{Purpose, Stream};
use pate_core::base::tensor;
use pate_core::config::{AugmentationKind, CentralKind, NetworkKind, OptimizerKind, Word as _};
use pate_core::data::augment::{Augmentation, Geometry};
use pate_core::data::{ImageShape, Images, Labels, Normalisation, Privacy, RangeRule, Records};
use pate_core::dp::{
    Clipping, Engine, PrivateFeatures, PrivateImages, PrivatePlan, PrivateTask, Views, shortened, train,
};
use pate_core::dpmi::gaussian::{self, Cells, GaussianPlan};
use pate_core::dpmi::inversion::{self, InversionPlan, Method};
use pate_core::dpmi::latents::Bounds;
use pate_core::dpmi::rows::{Classes, PrivateRows};
use pate_core::dpmi::vae::{LatentVae, PrivateVae, VaeShape};
use pate_core::dpmi::wgan::{GanShape, LatentGan, PrivateGan, TurnsPlan};
use pate_core::feta::central::{self, CentralPlan};
use pate_core::feta::{Levels, NoisePlan, PrivateDiffusion, finish};
use pate_core::imgsyn::statistics::{Seen, StatisticsPlan, release, vectors};
use pate_core::models::{
    self, Between, Classifier, Extractor, ExtractorKind, Latent, ScatterLinear, UNet, UNetShape,
};
use pate_core::nn::{Module, Schedule, parameters};
use tch::{Device, Tensor};

const SIDE: usize = 16;
const CLASSES: i64 = 3;

type Record = (Vec<f32>, i64);

fn image(seed: u64) -> Vec<f32> {
    Stream::new(seed, Purpose::Probe, 5).uniform(SIDE * SIDE, 0.0, 1.0)
}

/// Records of two classes, and one of a third, which is the last.
fn data() -> Vec<Record> {
    let mut all: Vec<Record> = (0..13).map(|i| (image(i), i as i64 % 2)).collect();
    all.push((image(13), 2));
    all
}

fn records(data: &[Record]) -> Records {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("images.npy");
    let pixels: Vec<f32> = data.iter().flat_map(|(image, _)| image.clone()).collect();
    let shape = [data.len() as i64, 1, SIDE as i64, SIDE as i64];
    let pixels = tensor::from_f32(&pixels, &shape).unwrap();
    // What no file holds is put in the place of what was read.
    pixels.zeros_like().write_npy(&path).unwrap();
    let images = Images::load(&path, RangeRule::AsIs).unwrap();
    images.tensor().shallow_clone().copy_(&pixels);
    let labels = data.iter().map(|(_, label)| *label).collect();
    Records {
        images,
        labels: Labels::new(Path::new("labels"), labels, CLASSES).unwrap(),
        name: "made up".to_owned(),
        privacy: Privacy::Private,
        class_names: Vec::new(),
        files: Vec::new(),
        listing: None,
    }
}

fn plan() -> PrivatePlan {
    PrivatePlan {
        steps: 2,
        sampling_rate: 0.6,
        expected_batch: 8.0,
        noise_multiplier: 1.0,
        clipping_norm: 0.3,
        clipping: Clipping::Flat,
        engine: Engine::Ghost,
        optimizer: OptimizerKind::Sgd,
        learning_rate: 0.1,
        momentum: 0.9,
        weight_decay: 0.0,
        schedule: Schedule::Constant,
        ema_decay: None,
        block: 1,
        micro_batch: Some(3),
    }
}

fn header(plan: &PrivatePlan) -> Header {
    let caps = vec![Cap { mechanism: plan.mechanism(), count: plan.steps }];
    Header::of_caps("made up", "one record", Adjacency::AddOrRemoveOne, (60.0, 1e-5), caps)
}

/// What a program of these crates does with private records.
fn program(data: &[Record], kind: NetworkKind, views: bool, spending: &mut dyn Spending) -> Result<Outputs> {
    let (records, plan, normalisation) = (records(data), plan(), Normalisation::mnist());
    let shape = ImageShape { channels: 1, height: SIDE as i64, width: SIDE as i64 };
    let charge = Charge::new(plan.mechanism(), Adjacency::AddOrRemoveOne, "replay", "steps");
    let kept = Kept::default();
    let mut learn = |task: &dyn PrivateTask| train(task, &plan, &charge, spending, &kept, None, &Silent);
    let whole: Box<dyn Classifier> = if kind == NetworkKind::ScatterLinear {
        let network = ScatterLinear::new(shape, CLASSES, Device::Cpu)?;
        let images = normalisation.apply(records.images.tensor());
        let features = network.features_of(&images, &Silent)?;
        learn(&PrivateFeatures::new(network.head(), &features, &records.labels.tensor())?)?;
        Box::new(network)
    } else {
        let network = models::fresh(kind, 2, shape, CLASSES, 1, Device::Cpu)?;
        let augmentation = Augmentation::of(AugmentationKind::Warp, 1.0, Geometry::DECODER).unwrap();
        let views = views.then_some(Views { count: 2, augmentation, seed: 4 });
        learn(&PrivateImages::new(&*network, &records, normalisation, views)?)?;
        network
    };
    let weights =
        parameters(&*whole).into_iter().flat_map(|parameter| tensor::to_f32(parameter.value()).unwrap());
    let mut outputs = kept.0.into_inner();
    outputs.push(("weights".to_owned(), weights.flat_map(f32::to_le_bytes).collect()));
    Ok(outputs)
}

/// What [`statistics::release`] is to be charged for.
fn statistics_plan() -> StatisticsPlan {
    let (bound, variance_floor) = (1.5, 1e-3);
    StatisticsPlan { noise_multiplier: 2.0, clipping_norm: 1.0, bound, records: 14.0, variance_floor }
}

/// The release of what a network's layers see.
fn statistics_program(data: &[Record], kind: NetworkKind, spending: &mut dyn Spending) -> Result<Outputs> {
    let (records, plan, normalisation) = (records(data), statistics_plan(), Normalisation::mnist());
    let shape = ImageShape { channels: 1, height: SIDE as i64, width: SIDE as i64 };
    let network = models::fresh(kind, 2, shape, CLASSES, 1, Device::Cpu)?;
    let charge = Charge::new(plan.mechanism(), Adjacency::AddOrRemoveOne, "replay", "statistics");
    let seen = Seen { network: &*network, normalisation: &normalisation, images: &records.images };
    let statistics = release(seen, &plan, charge, spending, &Silent, &mut |found| {
        Ok(serde_json::json!({ "floored": found.floored }))
    })?;
    let bytes = |tensor| tensor::to_f32(tensor).unwrap().into_iter().flat_map(f32::to_le_bytes).collect();
    Ok(vec![
        ("mean".to_owned(), bytes(&statistics.mean)),
        ("variance".to_owned(), bytes(&statistics.variance)),
    ])
}

fn neighbours(data: &[Record]) -> Vec<(Vec<Record>, Change)> {
    let last = data.len() - 1;
    let without = |row: usize| {
        let mut other = data.to_vec();
        other.remove(row);
        (other, Change::Removed(row))
    };
    let with = |image: Vec<f32>, label: i64| {
        let mut other = data.to_vec();
        other.push((image, label));
        (other, Change::Added)
    };
    let replaced = |row: usize, image: Vec<f32>, label: i64| {
        let mut other = data.to_vec();
        other[row] = (image, label);
        (other, Change::Replaced(row))
    };
    vec![
        without(0),
        without(6),
        // The last of its class.
        without(last),
        with(image(99), 1),
        with(vec![0.0; SIDE * SIDE], 0),
        with(vec![1e6; SIDE * SIDE], 2),
        // A twin.
        with(data[3].0.clone(), data[3].1),
        replaced(2, image(77), 2),
        replaced(last, vec![-1e4; SIDE * SIDE], 0),
    ]
}

#[test]
fn no_architecture_betrays_its_records() {
    let (data, header) = (data(), header(&plan()));
    let mut tried = 0;
    for kind in &NetworkKind::OF_RECORDS {
        for views in [false, true] {
            if views && *kind == NetworkKind::ScatterLinear {
                continue;
            }
            let run = |data: &[Record], spending: &mut dyn Spending| program(data, *kind, views, spending);
            let recording = Recording::of(&header, 8, |spending| run(&data, spending));
            recording.outputs().unwrap();
            assert_eq!(recording.calls(), 2);
            for (other, change) in neighbours(&data) {
                let violations = recording.replay(change, |spending| run(&other, spending));
                assert!(violations.is_empty(), "{kind:?}, views {views}, {change:?}: {}", violations[0]);
                tried += 1;
            }
        }
    }
    // Samples in which nobody takes part.
    for kind in &NetworkKind::OF_RECORDS {
        let run = |spending: &mut dyn Spending| program(&[], *kind, false, spending);
        let message = Recording::of(&header, 8, run).outputs().unwrap_err().clone();
        assert!(message.contains("no records"), "{message}");
    }
    println!("{tried} neighbours");
}

#[test]
fn no_statistics_betray_their_records() {
    let (data, plan) = (data(), statistics_plan());
    let caps = vec![Cap { mechanism: plan.mechanism(), count: 1 }];
    let header = Header::of_caps("made up", "one record", Adjacency::AddOrRemoveOne, (60.0, 1e-5), caps);
    for kind in &NetworkKind::OF_RECORDS {
        let recording = Recording::of(&header, 8, |spending| statistics_program(&data, *kind, spending));
        recording.outputs().unwrap();
        assert_eq!(recording.calls(), 1);
        let mut all = neighbours(&data);
        // What becomes no number on the way counts as nothing.
        let mut strange = data.clone();
        strange[4].0[17] = 3e38;
        all.push((strange, Change::Replaced(4)));
        let mut strange = data.clone();
        strange.push((vec![-3e38; SIDE * SIDE], 0));
        all.push((strange, Change::Added));
        for (other, change) in all {
            let violations = recording.replay(change, |spending| statistics_program(&other, *kind, spending));
            assert!(violations.is_empty(), "{kind:?}, {change:?}: {}", violations[0]);
        }
    }
}

/// No record, whatever it is, moves the sum by more than S: vectors of all sizes, before and after
/// rounding, against the bound that is charged.
#[test]
fn no_vector_is_longer_than_the_sensitivity() {
    let mut stream = Stream::new(3, Purpose::Probe, 6);
    let channels = [2, 4, 8];
    let n: i64 = channels.iter().sum();
    let mut longest = 0.0f64;
    for case in 0..3000 {
        let size = 10f32.powi(case % 17 - 8);
        let draw = |stream: &mut Stream| {
            let values: Vec<f32> = stream.normal(n as usize).into_iter().map(|x| x * size).collect();
            tensor::from_f32(&values, &[1, n]).unwrap()
        };
        let (mean, squares) = (draw(&mut stream), draw(&mut stream).abs());
        let bound = f64::from(size) * [0.1, 1.0, 1e9][case as usize % 3];
        let clip = f64::from(size) * [0.01, 0.5, 3.0, 1e6][case as usize % 4];
        let vectors = vectors(&mean, &squares, &channels, bound).unwrap();
        let short = shortened(&(vectors / clip), 1.0).unwrap();
        let norm = (&short * &short).sum(tch::Kind::Double).sqrt().double_value(&[]);
        assert!(norm <= 1.0 + 1e-12, "{case}: {norm}");
        longest = longest.max(norm);
    }
    // The bound is reached.
    assert!(longest > 1.0 - 1e-9);
    for strange in [f32::NAN, f32::INFINITY] {
        let mean = tensor::from_f32(&vec![strange; n as usize], &[1, n]).unwrap();
        let short = shortened(&vectors(&mean, &mean, &channels, 1.5).unwrap(), 1.0).unwrap();
        let norm = (&short * &short).sum(tch::Kind::Double).double_value(&[]);
        assert!(norm <= 1.0 + 1e-12, "{norm}");
    }
}

/// What DP-FETA asks of private images.
fn central_plan(kind: CentralKind) -> CentralPlan {
    CentralPlan {
        kind,
        rounds: 3,
        sampling_rate: 0.5,
        noise_multiplier: 1.5,
        clipping_norm: 2.0,
        bins: 3,
        records: 14.0,
    }
}

fn central_program(data: &[Record], kind: CentralKind, spending: &mut dyn Spending) -> Result<Outputs> {
    let (records, plan) = (records(data), central_plan(kind));
    let charge = Charge::new(plan.mechanism(), Adjacency::AddOrRemoveOne, "replay", "central images");
    let charge = Charge { count: plan.rounds, ..charge };
    let found = central::release(&records, &plan, charge, spending, &Silent, &mut |central| {
        Ok(serde_json::json!({ "images": central.labels.len() }))
    })?;
    let bytes = finish(&found.images)?.images().to_vec()?;
    let labels = found.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    let images = bytes.into_iter().flat_map(f32::to_le_bytes).collect();
    Ok(vec![("images".to_owned(), images), ("labels".to_owned(), labels)])
}

/// Neighbours, and some with records that no file holds.
fn and_strange_ones(data: &[Record]) -> Vec<(Vec<Record>, Change)> {
    let mut all = neighbours(data);
    for pixel in [f32::NAN, f32::INFINITY, 3e38, -3e38] {
        let mut strange = data.to_vec();
        strange[4].0[16] = pixel;
        all.push((strange, Change::Replaced(4)));
        let mut strange = data.to_vec();
        strange.push((vec![pixel; SIDE * SIDE], 0));
        all.push((strange, Change::Added));
    }
    all
}

#[test]
fn no_central_images_betray_their_records() {
    let data = data();
    for kind in CentralKind::ALL {
        let plan = central_plan(*kind);
        let caps = vec![Cap { mechanism: plan.mechanism(), count: plan.rounds }];
        let header = Header::of_caps("made up", "one record", Adjacency::AddOrRemoveOne, (90.0, 1e-5), caps);
        let recording = Recording::of(&header, 8, |spending| central_program(&data, *kind, spending));
        recording.outputs().unwrap();
        assert_eq!(recording.calls(), 3);
        for (other, change) in and_strange_ones(&data) {
            let violations = recording.replay(change, |spending| central_program(&other, *kind, spending));
            assert!(violations.is_empty(), "{kind:?}, {change:?}: {}", violations[0]);
        }
        // A class of which there is nobody, and nobody at all.
        for few in [&data[..1], &[]] {
            let recording = Recording::of(&header, 8, |spending| central_program(few, *kind, spending));
            assert_eq!(recording.outputs().unwrap()[0].1.len(), 4 * 9 * SIDE * SIDE);
        }
        // Another number of rounds than was charged.
        let more = CentralPlan { rounds: 4, ..plan };
        let refused = Recording::of(&header, 8, |spending| -> Result<Outputs> {
            let charge = Charge::new(more.mechanism(), Adjacency::AddOrRemoveOne, "replay", "central images");
            central::release(&records(&data), &more, charge, spending, &Silent, &mut |_| Ok(().into()))?;
            Ok(Vec::new())
        });
        assert!(refused.outputs().unwrap_err().contains("4 rounds"));
        assert_eq!(refused.calls(), 0);
    }
}

fn diffusion_program(data: &[Record], levels: Levels, spending: &mut dyn Spending) -> Result<Outputs> {
    let (records, plan) = (records(data), plan());
    let sizes = UNetShape {
        size: SIDE as i64,
        channels: 1,
        width: 4,
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![8],
        classes: CLASSES,
    };
    let network = UNet::new(&sizes, 1, Device::Cpu)?;
    let noise = NoisePlan { draws: 2, levels, label_dropout: 0.3, seed: 5 };
    let charge = Charge::new(plan.mechanism(), Adjacency::AddOrRemoveOne, "replay", "steps");
    let kept = Kept::default();
    let plan = PrivatePlan { ema_decay: Some(0.9), ..plan };
    train(
        &PrivateDiffusion::new(&network, &records, noise)?,
        &plan,
        &charge,
        spending,
        &kept,
        None,
        &Silent,
    )?;
    let weights =
        parameters(&network).into_iter().flat_map(|parameter| tensor::to_f32(parameter.value()).unwrap());
    let mut outputs = kept.0.into_inner();
    outputs.push(("weights".to_owned(), weights.flat_map(f32::to_le_bytes).collect()));
    Ok(outputs)
}

#[test]
fn no_diffusion_model_betrays_its_records() {
    let (data, header) = (data(), header(&plan()));
    let middle = Levels { within: Some((0.2, 1.0)), ..Levels::ORIGINAL };
    // Some of them: each takes half a second.
    for (levels, some) in [(Levels::ORIGINAL, 2), (middle, 6)] {
        let recording = Recording::of(&header, 8, |spending| diffusion_program(&data, levels, spending));
        recording.outputs().unwrap();
        assert_eq!(recording.calls(), 2);
        for (other, change) in and_strange_ones(&data).into_iter().step_by(some) {
            let violations = recording.replay(change, |spending| diffusion_program(&other, levels, spending));
            assert!(violations.is_empty(), "{change:?}: {}", violations[0]);
        }
    }
}

const LATENTS: i64 = 4;

/// Latents of private images, found in one of two ways and bounded: all before a mechanism.
fn bounded_latents(data: &[Record], search: bool) -> Result<(Tensor, Vec<i64>)> {
    let records = records(data);
    let kind = if search { ExtractorKind::Mini } else { ExtractorKind::Wide };
    let extractor = Extractor::new(kind, records.shape(), LATENTS, Latent::Encoded, 1, Device::Cpu)?;
    let public = Stream::new(8, Purpose::Probe, 7).normal_tensor(&[20, LATENTS])?;
    let extractor = extractor.with_standard(&public)?;
    let method = if search { Method::Adam { learning_rate: 0.1 } } else { Method::Encoder };
    let plan = InversionPlan { method, steps: 2, from_encoder: false, project: search, seed: 3 };
    let rows = inversion::extract(&extractor, &records, &plan, &Silent)?;
    let standard = extractor.standard().unwrap();
    Ok((Bounds::of(1.3, LATENTS).apply(&rows, &standard)?, records.labels.values().to_vec()))
}

fn bytes_of(network: &dyn Module) -> Vec<u8> {
    let values = parameters(network).into_iter().flat_map(|p| tensor::to_f32(p.value()).unwrap());
    values.flat_map(f32::to_le_bytes).collect()
}

fn moments_plan() -> GaussianPlan {
    let radius = Bounds::of(1.3, LATENTS).radius;
    GaussianPlan { noise_multiplier: 2.0, radius, weights: [0.25, 0.5, 1.0], floor: 0.02 }
}

/// The release of a latent model in closed form, of one Gaussian for each class or of two.
fn moments_program(
    data: &[Record],
    search: bool,
    components: i64,
    spending: &mut dyn Spending,
) -> Result<Outputs> {
    let (rows, labels) = bounded_latents(data, search)?;
    let mut stream = Stream::new(2, Purpose::Probe, 8);
    let public = stream.normal_tensor(&[30, LATENTS])?;
    let cells = Cells::of_public(&public, CLASSES, components, &mut stream)?;
    let plan = moments_plan();
    let charge = Charge::new(plan.mechanism(), Adjacency::AddOrRemoveOne, "replay", "moments");
    let rows = (&rows, &tensor::from_i64(&labels));
    let (model, hidden) = gaussian::release(rows, &cells, &plan, charge, spending, &Silent, &mut |model| {
        Ok(serde_json::json!({ "size": model.size() }))
    })?;
    Ok(vec![
        ("model".to_owned(), bytes_of(&model)),
        ("hidden".to_owned(), format!("{hidden:?}").into_bytes()),
    ])
}

#[test]
fn no_latent_moments_betray_their_records() {
    let data = data();
    let caps = vec![Cap { mechanism: moments_plan().mechanism(), count: 1 }];
    let header = Header::of_caps("made up", "one record", Adjacency::AddOrRemoveOne, (60.0, 1e-5), caps);
    for (search, components) in [(false, 1), (true, 1), (false, 2)] {
        let run = |data: &[Record], spending: &mut dyn Spending| {
            moments_program(data, search, components, spending)
        };
        let recording = Recording::of(&header, 8, |spending| run(&data, spending));
        recording.outputs().unwrap();
        assert_eq!(recording.calls(), 1);
        for (other, change) in and_strange_ones(&data) {
            let violations = recording.replay(change, |spending| run(&other, spending));
            assert!(violations.is_empty(), "{search} {components} {change:?}: {}", violations[0]);
        }
    }
}

/// A latent VAE, or a latent GAN, by DP-SGD.
fn latent_program(
    data: &[Record],
    classes: Classes,
    gan: bool,
    spending: &mut dyn Spending,
) -> Result<Outputs> {
    let (rows, labels) = bounded_latents(data, false)?;
    let private = PrivateRows::new(&rows, &labels, CLASSES, 6, Device::Cpu)?;
    let plan = plan();
    let charge = Charge::new(plan.mechanism(), Adjacency::AddOrRemoveOne, "replay", "steps");
    let kept = Kept::default();
    let mut learn = |task: &dyn PrivateTask| train(task, &plan, &charge, spending, &kept, None, &Silent);
    let weights = if gan {
        let beside = classes.beside(CLASSES);
        let shape = GanShape {
            latents: LATENTS,
            classes: CLASSES,
            conditioning: classes,
            noise: 3,
            generator: models::latent_generator(3 + beside, &[6], LATENTS, false),
            critic: models::critic(LATENTS + beside, &[6], Between::LeakyRelu),
        };
        let (generator, critic) = LatentGan::new(&shape, 1, Device::Cpu)?;
        let turns = TurnsPlan {
            critic_steps: 1,
            weight_clip: 0.1,
            batch: 8,
            learning_rate: 0.01,
            betas: (0.5, 0.999),
            seed: 2,
        };
        learn(&PrivateGan::new(&generator, critic, private, turns)?)?;
        bytes_of(&generator)
    } else {
        let shape = VaeShape::new(LATENTS, CLASSES, classes, (6, 3), Between::Tanh);
        let network = LatentVae::new(&shape, 1, Device::Cpu)?;
        learn(&PrivateVae::new(&network, private, 0.1))?;
        bytes_of(&network)
    };
    let mut outputs = kept.0.into_inner();
    outputs.push(("weights".to_owned(), weights));
    Ok(outputs)
}

#[test]
fn no_latent_model_betrays_its_records() {
    let (data, header) = (data(), header(&plan()));
    for (classes, gan) in [
        (Classes::Unconditional, false),
        (Classes::Each, false),
        (Classes::Conditional, false),
        (Classes::Conditional, true),
    ] {
        let run = |data: &[Record], spending: &mut dyn Spending| latent_program(data, classes, gan, spending);
        let recording = Recording::of(&header, 8, |spending| run(&data, spending));
        recording.outputs().unwrap();
        assert_eq!(recording.calls(), 2);
        for (other, change) in and_strange_ones(&data) {
            let violations = recording.replay(change, |spending| run(&other, spending));
            assert!(violations.is_empty(), "{classes:?} {gan} {change:?}: {}", violations[0]);
        }
    }
}
