//! The parts: each is one public function of `pate-core` on prepared inputs, timed, with its result
//! written for comparison.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use artifact::Access;
use dp_accounting::calibrate::{Accountant, DpSgd};
use pate_core::base::progress::Silent;
use pate_core::base::{parallel, tensor};
use pate_core::config::{OptimizerKind, StartKind};
use pate_core::data::augment::{Augmentation, Geometry};
use pate_core::data::{
    ImageShape, Images, Labels, MNIST_CLASSES, Normalisation, Privacy, RangeRule, Records, Shard,
};
use pate_core::evaluate::{self, distances};
use pate_core::models::{Decoder, Program, Teacher, UcStub};
use pate_core::nn::Schedule;
use pate_core::pate::generate::{self, LatentDraw, LatentPlan, LatentRng};
use pate_core::pate::label;
use pate_core::pate::select::{Pixels, diversity};
use pate_core::pate::steer::{self, SteeringPlan};
use pate_core::train::NoCheckpoint;
use pate_core::train::classifier::{self, ClassifierData, ClassifierPlan};
use pate_core::train::vae::{self, GroupJob, VaePlan};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::outputs;
use crate::settings::{Classifier, Settings, Vae as VaeSettings};

/// The teacher's shard, below the folder of inputs.
pub(crate) const SHARD: &str = "shards/teacher_0/shard.pt";

/// The folder of inputs.
pub(crate) struct Inputs {
    dir: PathBuf,
    pub(crate) settings: Settings,
}

impl Inputs {
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        Ok(Self { dir: dir.to_path_buf(), settings: Settings::load(dir)? })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn pool(&self) -> Result<Images> {
        self.images("pool.pt")
    }

    pub(crate) fn teacher(&self) -> Result<Teacher> {
        let path = self.file("nets/0/model.pth");
        Ok(Teacher::load(&path, ImageShape::MNIST, Normalisation::mnist(), Program::default(), Device::Cpu)?)
    }

    fn decoder(&self) -> Result<Decoder> {
        Ok(Decoder::load(&self.file("decoder/decoder.pth"), ImageShape::MNIST, Device::Cpu)?)
    }

    fn images(&self, name: &str) -> Result<Images> {
        Ok(Images::load(&self.file(name), RangeRule::OWN)?)
    }

    pub(crate) fn records(&self, images: &str, labels: &str) -> Result<Records> {
        Ok(Records {
            images: self.images(images)?,
            labels: Labels::load(&self.file(labels), MNIST_CLASSES)?,
            name: images.to_owned(),
            privacy: Privacy::Private,
            class_names: Vec::new(),
            files: vec![self.file(images)],
            listing: None,
        })
    }
}

/// How long a part is repeated, and where its results go.
pub(crate) struct Run<'a> {
    pub(crate) inputs: &'a Inputs,
    pub(crate) out: &'a Path,
    pub(crate) repeat_for: f64,
}

/// A first run that takes longer than this counts; a shorter one warms up.
const WARM_UP_BELOW: f64 = 2.0;
/// Runs at most.
const MAX_RUNS: usize = 5;

impl Run<'_> {
    /// Seconds of each run of `body`, and what the last one gave.
    pub(crate) fn timed<T>(&self, mut body: impl FnMut() -> Result<T>) -> Result<(Vec<f64>, T)> {
        let mut once = || -> Result<(f64, T)> {
            let start = Instant::now();
            let value = body()?;
            Ok((start.elapsed().as_secs_f64(), value))
        };
        let (first, mut value) = once()?;
        let mut seconds = Vec::new();
        if first >= WARM_UP_BELOW {
            seconds.push(first);
        }
        while seconds.is_empty()
            || (seconds.len() < MAX_RUNS && seconds.iter().sum::<f64>() < self.repeat_for)
        {
            let (next, result) = once()?;
            seconds.push(next);
            value = result;
        }
        Ok((seconds, value))
    }
}

/// What a part gives: seconds of its runs, and figures that the other side has too.
pub(crate) type Measured = (Vec<f64>, Value);

pub(crate) fn labelling(run: &Run<'_>) -> Result<Measured> {
    let (teacher, pool) = (run.inputs.teacher()?, run.inputs.pool()?);
    let (seconds, labelled) =
        run.timed(|| Ok(label::label(&teacher, &pool, run.inputs.settings.batch_size, &Silent)?))?;
    outputs::integers(run.out, "labels", &labelled.labels)?;
    outputs::floats(run.out, "confidences", &labelled.confidences)?;
    Ok((seconds, json!({ "images": pool.len() })))
}

/// Draws latents as PyTorch does, so that both sides decode the same ones.
pub(crate) fn decoding(run: &Run<'_>) -> Result<Measured> {
    let (decoder, settings) = (run.inputs.decoder()?, &run.inputs.settings);
    let plan = LatentPlan {
        mixing_ratio: settings.mixing_ratio,
        noise_scale: settings.noise_scale,
        augmentation: None,
    };
    let draw = LatentDraw { plan, rng: LatentRng::Torch, bank: None };
    let (seconds, pool) = run.timed(|| {
        Ok(generate::candidates(&decoder, settings.pool_size, settings.seed, &draw, 0, &Silent)?)
    })?;
    outputs::floats(run.out, "images", &pool.to_vec()?)?;
    Ok((seconds, json!({ "images": pool.len() })))
}

/// Times the steering of one class, then steers a few given latents without noise, where both sides
/// must agree.
pub(crate) fn steering(run: &Run<'_>) -> Result<Measured> {
    let (decoder, teacher, settings) =
        (run.inputs.decoder()?, run.inputs.teacher()?, &run.inputs.settings.steering);
    let plan = SteeringPlan {
        steps: settings.steps,
        learning_rate: settings.learning_rate,
        noise_scale: settings.noise_scale,
        stop_confidence: None,
        starts: StartKind::Random,
    };
    let missing = BTreeMap::from([(settings.class, settings.samples)]);
    let seed = run.inputs.settings.seed;
    let (seconds, made) =
        run.timed(|| Ok(steer::make_missing(&decoder, &teacher, &missing, plan, None, seed, &Silent)?))?;
    let answers = label::label(&teacher, &made.images, run.inputs.settings.batch_size, &Silent)?;
    let classes = teacher.classes() as usize;
    let of_class: Vec<f32> =
        answers.probabilities.iter().skip(settings.class as usize).step_by(classes).copied().collect();
    outputs::floats(run.out, "steered", &of_class)?;

    let z0 = tensor::from_array(tensorfile::read(&run.inputs.file("z0.pt"))?.into_array()?)?;
    let wanted = tensor::from_i64(&vec![settings.class; z0.size()[0] as usize]);
    let quiet = SteeringPlan { noise_scale: 0.0, ..plan };
    let exact = steer::steer(&decoder, &teacher, &z0, &wanted, quiet, |_| Ok(None))?;
    outputs::floats(run.out, "trajectories", &tensor::to_f32(&exact.confidences)?)?;
    Ok((seconds, json!({ "samples": made.images.len() })))
}

pub(crate) fn diversity(run: &Run<'_>) -> Result<Measured> {
    let rows = run.inputs.images("survivors.pt")?.flat();
    let order: Vec<usize> = (0..rows.size()[0] as usize).collect();
    let rows = Pixels::new(rows);
    let (seconds, keep) =
        run.timed(|| Ok(diversity::greedy(&rows, &order, run.inputs.settings.min_distance)?))?;
    let kept: Vec<i64> = (0..).zip(&keep).filter(|&(_, &keep)| keep).map(|(row, _)| row).collect();
    outputs::integers(run.out, "kept", &kept)?;
    Ok((seconds, json!({ "rows": keep.len(), "kept": kept.len() })))
}

pub(crate) fn memorisation(run: &Run<'_>) -> Result<Measured> {
    let pool = run.inputs.pool()?.flat();
    let shard_private = Shard::load(&run.inputs.file(SHARD), RangeRule::OWN)?.images.flat();
    let (seconds, nearest) = run.timed(|| Ok(distances::nearest(&pool, &shard_private, &Silent)?))?;
    outputs::floats(run.out, "nearest", &nearest)?;
    Ok((seconds, json!({ "rows": nearest.len(), "shard": shard_private.size()[0] })))
}

fn classifier_plan(settings: &Classifier, seed: u64) -> ClassifierPlan {
    ClassifierPlan {
        epochs: settings.epochs,
        batch_size: settings.batch_size,
        optimizer: OptimizerKind::Sgd,
        learning_rate: settings.learning_rate,
        momentum: settings.momentum,
        weight_decay: settings.weight_decay,
        schedule: Schedule::Constant,
        ema_decay: None,
        augmentation: None,
        label_smoothing: 0.0,
        normalisation: Normalisation::mnist(),
        seed,
    }
}

fn network(records: &Records, plan: &ClassifierPlan) -> Result<UcStub> {
    Ok(UcStub::new(records.shape(), records.classes(), plan.seed, Device::Cpu)?)
}

/// Trains one teacher, all epochs.
pub(crate) fn teacher_training(run: &Run<'_>) -> Result<Measured> {
    let records = run.inputs.records(SHARD, "shards/teacher_0/shard_labels.pt")?;
    let plan = classifier_plan(&run.inputs.settings.teacher, run.inputs.settings.seed);
    let (seconds, trained) = run.timed(|| {
        Ok(classifier::train(
            network(&records, &plan)?,
            &ClassifierData::new(&records),
            &plan,
            Device::Cpu,
            &Silent,
            &NoCheckpoint,
        )?)
    })?;
    let last = trained.history.last().map(|epoch| epoch.train_loss);
    Ok((seconds, json!({ "images": records.len() * plan.epochs, "loss": last })))
}

/// Seconds of one epoch of a student, validation included.
pub(crate) fn student_epoch(run: &Run<'_>) -> Result<Measured> {
    let settings = &run.inputs.settings.student;
    let records = run.inputs.records("student.pt", "student_labels.pt")?;
    let plan = classifier_plan(settings, run.inputs.settings.seed);
    let (train, validation) = classifier::split(records.len(), settings.train_split, plan.seed)?;
    let (train, validation) = (records.select(&train)?, records.select(&validation)?);
    let data = ClassifierData { validation: Some(&validation), ..ClassifierData::new(&train) };
    let (seconds, trained) = run.timed(|| {
        Ok(classifier::train(network(&train, &plan)?, &data, &plan, Device::Cpu, &Silent, &NoCheckpoint)?)
    })?;
    let last = trained.history.last().map(|epoch| epoch.train_loss);
    Ok((
        per_epoch(seconds, plan.epochs),
        json!({ "images": train.len(), "validation": validation.len(), "loss": last }),
    ))
}

/// Seconds of one epoch of the decoder, augmentation included.
pub(crate) fn decoder_epoch(run: &Run<'_>) -> Result<Measured> {
    let settings = &run.inputs.settings.decoder;
    let images = run.inputs.images("digits.pt")?;
    let plan = vae_plan(settings, Normalisation::mnist(), run.inputs.settings.seed);
    let (seconds, trained) =
        run.timed(|| Ok(vae::train(&images, &plan, Device::Cpu, &Silent, &NoCheckpoint)?))?;
    let last = trained.history.last().map(|epoch| epoch.recon_loss);
    Ok((per_epoch(seconds, plan.epochs), json!({ "images": images.len(), "loss": last })))
}

fn vae_plan(settings: &VaeSettings, normalisation: Normalisation, seed: u64) -> VaePlan {
    VaePlan {
        latent_dim: settings.latent_dim,
        epochs: settings.epochs,
        batch_size: settings.batch_size,
        learning_rate: settings.learning_rate,
        weight_decay: settings.weight_decay,
        kl_annealing_epochs: 10,
        kl_weight: 1.0,
        augmentation: Some(Augmentation::Basic(Geometry::DECODER)),
        normalisation,
        seed,
    }
}

/// Seconds of the VAEs of several teachers, `group` of them as one network, groups side by side.
pub(crate) fn teacher_vaes(run: &Run<'_>, group: usize) -> Result<Measured> {
    let settings = &run.inputs.settings.teacher_vaes;
    let images = run.inputs.images(SHARD)?;
    let seeds: Vec<u64> = (0..settings.networks).collect();
    let groups: Vec<&[u64]> = seeds.chunks(group.min(seeds.len())).collect();
    let (seconds, losses) = run.timed(|| {
        let n = parallel::workers(Device::Cpu).min(groups.len());
        let workers = (0..n).map(|_| run.inputs.images(SHARD)).collect::<Result<Vec<_>>>()?;
        let mut losses = Vec::new();
        let train = |images: &mut Images, group: usize| {
            let plans: Vec<VaePlan> = groups[group]
                .iter()
                .map(|seed| vae_plan(&settings.vae, Normalisation::identity(), *seed))
                .collect();
            if let [plan] = &plans[..] {
                return Ok(vec![vae::train(images, plan, Device::Cpu, &Silent, &NoCheckpoint)?]);
            }
            let jobs: Vec<GroupJob<'_>> = plans.iter().map(|plan| GroupJob { images, plan }).collect();
            vae::train_group(&jobs, Device::Cpu, &Silent)?.into_iter().collect()
        };
        parallel::jobs(groups.len(), workers, &Silent, train, |_, trained| {
            losses.extend(trained.iter().filter_map(|one| one.history.last()).map(|epoch| epoch.recon_loss));
            Ok::<_, anyhow::Error>(())
        })?;
        Ok(losses)
    })?;
    let mean = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
    Ok((seconds, json!({ "images": images.len(), "networks": seeds.len(), "loss": mean })))
}

fn per_epoch(seconds: Vec<f64>, epochs: usize) -> Vec<f64> {
    seconds.into_iter().map(|seconds| seconds / epochs.max(1) as f64).collect()
}

/// Writes the pool and reads it again.
pub(crate) fn pool_files(run: &Run<'_>) -> Result<Measured> {
    let pool = run.inputs.pool()?;
    let path = run.out.join("pool_written.pt");
    let (seconds, read) = run.timed(|| {
        pool.save(&path, Access::Private)?;
        Ok(Images::load(&path, RangeRule::OWN)?)
    })?;
    anyhow::ensure!(
        read.tensor() == pool.tensor(),
        "{} holds other values than were written",
        path.display()
    );
    Ok((
        seconds,
        json!({ "images": read.len(), "sum": read.tensor().f_sum(Kind::Double)?.f_double_value(&[])? }),
    ))
}

/// The privacy loss of many steps of DP-SGD, from its parameters to epsilon.
pub(crate) fn privacy_loss(run: &Run<'_>) -> Result<Measured> {
    let job = &run.inputs.settings.accounting;
    let steps = DpSgd { q: job.q, steps: job.steps, delta: job.delta };
    let (seconds, epsilon) = run.timed(|| Ok(steps.epsilon(job.sigma, Accountant::Pld)?))?;
    Ok((seconds, json!({ "steps": job.steps, "epsilon": epsilon })))
}

/// The noise that a target needs.
pub(crate) fn calibration(run: &Run<'_>, accountant: Accountant) -> Result<Measured> {
    let job = &run.inputs.settings.accounting;
    let steps = DpSgd { q: job.q, steps: job.calibration_steps, delta: job.delta };
    let (seconds, found) = run.timed(|| Ok(steps.sigma(job.epsilon, accountant, job.tolerance)?))?;
    Ok((seconds, json!({ "steps": job.calibration_steps, "sigma": found.sigma, "epsilon": found.epsilon })))
}

/// Sides of the matrices whose product is timed.
const SIDES: [i64; 3] = [1024, 1536, 2048];

/// The best rate of float32 matrix products, in GFLOP/s.
pub(crate) fn sgemm(run: &Run<'_>) -> Result<Measured> {
    let mut all = Vec::new();
    let mut rates = serde_json::Map::new();
    for side in SIDES {
        let options = (Kind::Float, Device::Cpu);
        let (a, b) = (Tensor::f_rand([side, side], options)?, Tensor::f_rand([side, side], options)?);
        let (seconds, _) = run.timed(|| Ok(a.f_matmul(&b)?))?;
        let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
        rates.insert(side.to_string(), json!(2.0 * (side as f64).powi(3) / least / 1e9));
        all.extend(seconds);
    }
    let best = rates.values().filter_map(Value::as_f64).fold(0.0, f64::max);
    Ok((all, json!({ "gflops": best, "by_side": rates })))
}

fn features(run: &Run<'_>) -> Result<[Tensor; 2]> {
    let load = |name: &str| -> Result<Tensor> {
        Ok(tensor::from_array(tensorfile::read(&run.inputs.file(name))?.into_array()?)?)
    };
    Ok([load("features_real.pt")?, load("features_generated.pt")?])
}

/// The Frechet distance of two sets of features.
pub(crate) fn frechet(run: &Run<'_>) -> Result<Measured> {
    let [real, generated] = features(run)?;
    let (seconds, distance) = run.timed(|| Ok(evaluate::frechet_distance(&real, &generated, &Silent)?))?;
    Ok((seconds, json!({ "rows": real.size()[0], "distance": distance })))
}

/// Nearest neighbours of two sets of features.
pub(crate) fn neighbours(run: &Run<'_>) -> Result<Measured> {
    let [real, generated] = features(run)?;
    let (seconds, found) = run.timed(|| Ok(evaluate::neighbours(&real, &generated, 3, &Silent)?))?;
    Ok((seconds, serde_json::to_value(found)?))
}
