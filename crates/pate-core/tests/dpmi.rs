//! DPMI's private trainings: what a stop changes (nothing), whose gradient a record's is, what is
//! refused.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

use std::cell::RefCell;

use dp_accounting::Adjacency;
use dp_accounting::ledger::Charge;
use pate_core::Result;
use pate_core::base::progress::Silent;
use pate_core::base::rng::{Purpose, Stream};
use pate_core::base::tensor;
use pate_core::config::OptimizerKind;
use pate_core::data::{ImageShape, Images};
use pate_core::dp::{Clipping, Engine, Gradients, PrivatePlan, PrivateTask, Unprotected, train};
use pate_core::dpmi::rows::{Classes, PrivateRows};
use pate_core::dpmi::vae::{LatentVae, PrivateVae, VaeShape};
use pate_core::dpmi::wgan::{GanShape, LatentGan, PrivateGan, TurnsPlan};
use pate_core::models::{
    Between, Extractor, ExtractorKind, Latent, LayerSpec, Sequential, critic, latent_generator,
};
use pate_core::nn::{DropoutMasks, Module, Pass, Schedule, Tape, learnt, parameters};
use pate_core::train::autoencoder::{self, AutoencoderPlan};
use pate_core::train::gan::{self, GanPlan, Lipschitz};
use pate_core::train::{Checkpoint, CheckpointStore};
use tch::{Device, Kind, Tensor};

const D: i64 = 6;
const CLASSES: i64 = 3;

/// Rows of which each class has a mean of its own, and their classes.
fn rows(n: i64) -> (Tensor, Vec<i64>) {
    let labels: Vec<i64> = (0..n).map(|row| row % CLASSES).collect();
    let shift = tensor::from_i64(&labels).to_kind(Kind::Float).unsqueeze(1) - 1.0;
    let noise = Stream::new(1, Purpose::Probe, 0).normal_tensor(&[n, D]).unwrap();
    (noise * 0.3 + shift, labels)
}

fn data(n: i64) -> PrivateRows {
    let (rows, labels) = rows(n);
    PrivateRows::new(&rows, &labels, CLASSES, 5, Device::Cpu).unwrap()
}

fn plan(steps: u64) -> PrivatePlan {
    PrivatePlan {
        steps,
        sampling_rate: 0.25,
        expected_batch: 30.0,
        noise_multiplier: 0.0,
        clipping_norm: 1.0,
        clipping: Clipping::Flat,
        engine: Engine::Ghost,
        optimizer: OptimizerKind::Adam,
        learning_rate: 0.02,
        momentum: 0.0,
        weight_decay: 0.0,
        schedule: Schedule::Constant,
        ema_decay: Some(0.9),
        block: 4,
        micro_batch: None,
    }
}

/// One checkpoint, in memory; behind `until` steps no other is taken.
struct Memory {
    state: RefCell<Option<Checkpoint>>,
    until: usize,
    /// What was handed over, in order: epochs, or steps.
    saved: RefCell<Vec<usize>>,
}

impl Memory {
    fn until(until: usize) -> Self {
        Self { state: RefCell::new(None), until, saved: RefCell::new(Vec::new()) }
    }
}

impl CheckpointStore for Memory {
    fn load(&self) -> Option<Checkpoint> {
        self.state.borrow().clone()
    }

    fn save(&self, state: &Checkpoint) -> Result<()> {
        self.saved.borrow_mut().push(state.epochs);
        if state.epochs <= self.until {
            *self.state.borrow_mut() = Some(state.clone());
        }
        Ok(())
    }
}

/// Trains without protection; gives the average of the weights.
fn run(task: &dyn PrivateTask, plan: &PrivatePlan, store: &Memory) -> Vec<Tensor> {
    let charge = Charge::new(plan.mechanism(), Adjacency::AddOrRemoveOne, "test", "steps");
    let mut none = Unprotected::without_noise(7);
    train(task, plan, &charge, &mut none, store, None, &Silent).unwrap().average.unwrap()
}

fn values(modules: &[&dyn Module], average: &[Tensor]) -> Vec<f32> {
    let own = modules.iter().flat_map(|module| parameters(*module)).map(|p| p.value().shallow_clone());
    own.chain(average.iter().map(Tensor::shallow_clone)).flat_map(|x| tensor::to_f32(&x).unwrap()).collect()
}

fn gan(conditioning: Classes) -> (LatentGan, Sequential) {
    let beside = conditioning.beside(CLASSES);
    let shape = GanShape {
        latents: D,
        classes: CLASSES,
        conditioning,
        noise: 4,
        generator: latent_generator(4 + beside, &[8], D, false),
        critic: critic(D + beside, &[8], Between::LeakyRelu),
    };
    LatentGan::new(&shape, 3, Device::Cpu).unwrap()
}

const TURNS: TurnsPlan = TurnsPlan {
    critic_steps: 3,
    weight_clip: 0.1,
    batch: 16,
    learning_rate: 0.01,
    betas: (0.0, 0.9),
    seed: 9,
};

/// Critic, generator, its optimiser, running statistics and the average all come back: a run that
/// was stopped between two turns ends with the bytes of one that was not.
#[test]
fn a_gan_that_is_stopped_goes_on_as_if_it_had_not() {
    for conditioning in [Classes::Unconditional, Classes::Conditional] {
        let whole = |store: &Memory| {
            let (generator, critic) = gan(conditioning);
            let task = PrivateGan::new(&generator, critic.clone(), data(120), TURNS).unwrap();
            let average = run(&task, &plan(20), store);
            values(&[&generator, &critic], &average)
        };
        let expected = whole(&Memory::until(usize::MAX));
        let (generator, critic) = gan(conditioning);
        let fresh = values(&[&generator, &critic], &[]);
        assert!(
            expected[..fresh.len()].iter().zip(&fresh).filter(|(a, b)| a.to_bits() != b.to_bits()).count()
                * 10
                > fresh.len() * 9
        );
        // 8 steps are two turns of the generator and two more steps of the critic.
        let stopped = Memory::until(8);
        let _ = whole(&stopped);
        stopped.saved.take();
        assert_eq!(stopped.state.borrow().as_ref().map(|state| state.epochs), Some(8));
        assert_eq!(whole(&stopped), expected, "{conditioning:?}");
        // It went on, and did not begin anew.
        assert_eq!(stopped.saved.take(), [12, 16, 20]);
    }
}

/// What a fresh generator draws.
fn images(n: i64) -> Images {
    let layers = latent_generator(5, &[32], 784, true);
    let generator = Extractor::generator(layers, ImageShape::MNIST, 5, 8, Device::Cpu).unwrap();
    let latents = Stream::new(2, Purpose::Probe, 0).normal_tensor(&[n, 5]).unwrap();
    generator.decode(&latents, &Silent).unwrap()
}

/// Gives the weights at the end.
type Training<'a> = &'a dyn Fn(&Memory) -> Vec<f32>;

/// The same of trainings on public images, with the running statistics of batch normalisation and
/// with both players' optimisers.
#[test]
fn public_trainings_that_are_stopped_go_on_as_if_they_had_not() {
    let images = images(20);
    let autoencoder = |store: &Memory| {
        let plan = AutoencoderPlan {
            epochs: 4,
            batch_size: 8,
            learning_rate: 1e-3,
            weight_decay: 1e-5,
            schedule: Schedule::Cosine,
            kl_weight: 1.0,
            latent_noise: 0.05,
            augmentation: None,
            seed: 1,
        };
        let fresh =
            Extractor::new(ExtractorKind::Conv, ImageShape::MNIST, 5, Latent::Encoded, 1, Device::Cpu)
                .unwrap();
        let (network, history) =
            autoencoder::train(fresh, &images, &plan, Device::Cpu, &Silent, store).unwrap();
        assert_eq!(history.len(), 4);
        values(&[&network], &[])
    };
    let gan = |lipschitz| {
        let images = &images;
        move |store: &Memory| {
            let plan = GanPlan {
                steps: 10,
                critic_steps: 2,
                batch_size: 8,
                learning_rate: 1e-3,
                betas: (0.0, 0.9),
                weight_decay: 1e-6,
                lipschitz,
                block: 3,
                seed: 3,
            };
            let layers = latent_generator(5, &[8], 784, true);
            let generator = Extractor::generator(layers, ImageShape::MNIST, 5, 1, Device::Cpu).unwrap();
            let layers = critic(784, &[8], Between::LeakyRelu);
            let critic = Sequential::new("critic.model", &layers, 1, 1, Device::Cpu).unwrap();
            let history =
                gan::train(&generator, &critic, images, &plan, Device::Cpu, &Silent, store).unwrap();
            assert_eq!(history.last().map(|block| block.step), Some(10));
            values(&[&generator, &critic], &[])
        }
    };
    let (clip, penalty) = (gan(Lipschitz::Clip(0.05)), gan(Lipschitz::Penalty(10.0)));
    for (at, train) in [&autoencoder as Training<'_>, &clip, &penalty].into_iter().enumerate() {
        let expected = train(&Memory::until(usize::MAX));
        let stopped = Memory::until(2);
        let _ = train(&stopped);
        stopped.saved.take();
        assert_eq!(stopped.state.borrow().as_ref().map(|state| state.epochs), Some(2));
        assert!(train(&stopped) == expected, "training {at}");
        // The last of four is the result itself.
        assert_eq!(stopped.saved.take(), [3], "training {at}");
    }
}

/// One class's model alone has a gradient of a record, and it is that of this model by itself.
#[test]
fn a_model_for_each_class_learns_its_own_class_alone() {
    let shape = VaeShape::new(D, CLASSES, Classes::Each, (8, 2), Between::Tanh);
    let network = LatentVae::new(&shape, 2, Device::Cpu).unwrap();
    let task = PrivateVae::new(&network, data(12), 0.1);
    let learner = task.learner();
    let mut tape = Tape::default();
    let loss = learner.loss(&[0, 1, 2, 4], 0, &mut tape).unwrap();
    let all = learnt(learner.network());
    let gradients = Gradients::of(&tape, &loss, &all, 1, Engine::Ghost).unwrap();
    // [parameters, records].
    let norms = gradients.squared_norms();
    let each = all.len() as i64 / CLASSES;
    for (record, class) in [(0, 0), (1, 1), (2, 2), (3, 1)] {
        for other in 0..CLASSES {
            let sum =
                norms.narrow(0, other * each, each).select(1, record).sum(Kind::Double).double_value(&[]);
            assert_eq!(sum > 0.0, other == class, "record {record}, model {other}: {sum}");
        }
    }
}

#[test]
fn every_kind_of_latent_vae_learns_where_its_classes_lie() {
    for conditioning in [Classes::Unconditional, Classes::Conditional, Classes::Each] {
        let shape = VaeShape::new(D, CLASSES, conditioning, (16, 2), Between::LeakyRelu);
        let network = LatentVae::new(&shape, 2, Device::Cpu).unwrap();
        let task = PrivateVae::new(&network, data(120), 0.01);
        let _ = run(&task, &plan(300), &Memory::until(0));
        let mean = |class: i64| {
            let mut stream = Stream::new(4, Purpose::Sampling, 0);
            network.sample(&[class; 200], &mut stream).unwrap().mean(Kind::Float).double_value(&[])
        };
        for class in 0..CLASSES {
            let truth = if conditioning == Classes::Unconditional { 0.0 } else { class as f64 - 1.0 };
            let found = mean(class);
            assert!((found - truth).abs() < 0.35, "{conditioning:?}, class {class}: {found}");
        }
    }
}

/// Batch normalisation mixes records: a network that has it is refused before anything is learnt.
#[test]
fn a_critic_that_normalises_batches_is_refused() {
    let linear = |inputs, outputs| LayerSpec::Linear { inputs, outputs };
    let layers = [linear(D, 8), LayerSpec::BatchNorm { channels: 8 }, LayerSpec::Relu, linear(8, 1)];
    let critic = Sequential::new("critic.model", &layers, 1, 0, Device::Cpu).unwrap();
    let (x, _) = rows(5);
    let mut tape = Tape::default();
    let mut pass = Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() };
    let loss = critic.forward(&x, &mut pass).sum(Kind::Float);
    let all = learnt(&critic);
    let error = Gradients::of(&tape, &loss, &all, 1, Engine::Ghost).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("critic.model.1.weight was used by no recorded layer"), "{error}");
    let (generator, _) = gan(Classes::Unconditional);
    let task = PrivateGan::new(&generator, critic, data(20), TURNS).unwrap();
    let plan = plan(4);
    let charge = Charge::new(plan.mechanism(), Adjacency::AddOrRemoveOne, "test", "steps");
    let store = Memory::until(usize::MAX);
    assert!(train(&task, &plan, &charge, &mut Unprotected::without_noise(1), &store, None, &Silent).is_err());
    assert!(store.state.borrow().is_none());
    for bad in [TurnsPlan { critic_steps: 0, ..TURNS }, TurnsPlan { batch: 1, ..TURNS }] {
        let (generator, critic) = gan(Classes::Unconditional);
        assert!(PrivateGan::new(&generator, critic, data(20), bad).is_err());
    }
}
