//! Training of the VAE: the public decoder, and one teacher's own.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Reduction, Tensor};

use crate::augment::{self, Augmentation};
use crate::data::{Images, Normalisation};
use crate::models::{GroupedVae, Vae};
use crate::nn::{self, Adam, Optimizer as _, Pass};
use crate::progress::Progress;
use crate::rng::{Purpose, Stream, TorchGenerator};
use crate::train::ahead::Batches;
use crate::train::crew;
use crate::train::state::{KeepNothing, Keeper, Snapshot};
use crate::{Error, Result, parallel, tensor};

/// Standard deviation of the pixel noise of augmentation.
const NOISE: f64 = 0.03;

/// How a VAE is trained.
#[derive(Clone, Debug)]
pub struct VaePlan {
    /// Number of latents.
    pub latent_dim: i64,
    /// Passes over the images.
    pub epochs: usize,
    /// Images per step; the last step of an epoch takes what is left.
    pub batch_size: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// L2 regularisation in the gradient.
    pub weight_decay: f64,
    /// Epochs over which the weight of the KL term rises from 0 to 1; 0 = 1 from the start.
    pub kl_annealing_epochs: usize,
    /// Weight of the KL term after that; below 1 images get sharper, and N(0, I) fits their latents less (the beta of
    /// Higgins et al., "beta-VAE", 2017).
    pub kl_weight: f64,
    /// Changes to the images (with pixel noise), or none.
    pub augmentation: Option<Augmentation>,
    /// What the encoder sees; the target is the image in `[0, 1]`.
    pub normalisation: Normalisation,
    /// Seed of weights, order, latents and augmentation.
    pub seed: u64,
}

/// One epoch in figures; losses are per image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VaeEpoch {
    /// Counted from 1.
    pub epoch: usize,
    /// `recon_loss + kl_weight kl_loss`.
    pub loss: f64,
    /// Binary cross-entropy, summed over pixels, in nats.
    pub recon_loss: f64,
    /// KL divergence from the standard normal, in nats.
    pub kl_loss: f64,
    /// Weight of the KL term.
    pub kl_weight: f64,
}

/// A trained VAE.
pub struct TrainedVae {
    /// With the weights of the last epoch.
    pub network: Vae,
    /// Every epoch.
    pub history: Vec<VaeEpoch>,
}

/// Weight of the KL term in `epoch`, counted from 0: 0, 1/k, 2/k, ..., 1.
pub fn kl_weight(epoch: usize, annealing_epochs: usize) -> f64 {
    if annealing_epochs == 0 { 1.0 } else { (epoch as f64 / annealing_epochs as f64).min(1.0) }
}

/// Trains a VAE on `images`.
///
/// Loss of a step: binary cross-entropy plus weighted KL divergence, summed over the batch.
///
/// # Guarantee
/// None, where `images` are private: ordinary training.
///
/// # Errors
/// No images, sides that are no multiples of 4, a loss that is not finite, a stop.
pub fn train(images: &Images, plan: &VaePlan, device: Device, progress: &dyn Progress) -> Result<TrainedVae> {
    train_kept(images, plan, device, progress, &KeepNothing)
}

/// [`train`] that goes on from the state that `keeper` has, and gives it the state after every epoch but the last.
///
/// # Guarantee
/// As [`train`].
///
/// # Errors
/// Those of [`train`], and a state that cannot be written.
pub fn train_kept(
    images: &Images,
    plan: &VaePlan,
    device: Device,
    progress: &dyn Progress,
    keeper: &dyn Keeper,
) -> Result<TrainedVae> {
    check(images, plan)?;
    // The number of classes means nothing to a VAE.
    let network = Vae::new(images.spec(1), plan.latent_dim, plan.seed, device)?;
    let mut parameters = nn::trainable(&network);
    let mut adam = Adam::new(plan.learning_rate, plan.weight_decay);
    let images = images.tensor().f_to_device(device)?;
    let mut history = Vec::with_capacity(plan.epochs);
    if let Some(state) = keeper.load()
        && let Some(resumed) = state.restore(&network, plan.epochs)?
    {
        history = resumed.history;
        adam.resume(resumed.optimizer, state.steps);
        progress.advance(history.len() as u64, "");
    }
    for epoch in history.len()..plan.epochs {
        progress.check()?;
        let weight = plan.kl_weight * kl_weight(epoch, plan.kl_annealing_epochs);
        let (recon_loss, kl_loss) =
            run_epoch(&network, &mut parameters, &mut adam, &images, plan, epoch, weight, progress)?;
        let score = score(epoch, recon_loss, kl_loss, weight, plan)?;
        progress
            .advance(1, &format!("loss {:.2} (reconstruction {recon_loss:.2}, KL {kl_loss:.2})", score.loss));
        history.push(score);
        if epoch + 1 < plan.epochs {
            let (tensors, steps) = adam.state();
            let snapshot =
                Snapshot { network: &network, optimizer: &tensors, steps, best: None, history: &history };
            keeper.save(&snapshot.state()?)?;
        }
    }
    Ok(TrainedVae { network, history })
}

fn check(images: &Images, plan: &VaePlan) -> Result<()> {
    if images.is_empty() || plan.batch_size == 0 {
        return Err(Error::invalid(format!(
            "{} images in batches of {}: there is nothing to train on",
            images.len(),
            plan.batch_size
        )));
    }
    plan.normalisation.check_channels(images.spec(1).channels)
}

/// An epoch, counted from 0, in figures.
fn score(epoch: usize, recon_loss: f64, kl_loss: f64, kl_weight: f64, plan: &VaePlan) -> Result<VaeEpoch> {
    let (epoch, loss) = (epoch + 1, recon_loss + kl_weight * kl_loss);
    if loss.is_finite() {
        return Ok(VaeEpoch { epoch, loss, recon_loss, kl_loss, kl_weight });
    }
    Err(Error::invalid(format!(
        "the loss became {loss} in epoch {epoch}; lower the learning rate ({})",
        plan.learning_rate
    )))
}

/// A VAE to train in a group.
#[derive(Clone, Copy)]
pub struct GroupJob<'a> {
    /// What it learns from.
    pub images: &'a Images,
    /// How; plans of a group differ in their seeds alone.
    pub plan: &'a VaePlan,
}

impl GroupJob<'_> {
    /// Whether both can be in one group: the same shape of network, the same number of batches of the same sizes.
    pub fn fits(&self, other: &Self) -> bool {
        let seedless = |plan: &VaePlan| format!("{:?}", VaePlan { seed: 0, ..plan.clone() });
        self.images.tensor().size() == other.images.tensor().size()
            && seedless(self.plan) == seedless(other.plan)
    }
}

/// Trains VAEs of one shape as one network in groups: each has its own weights, optimiser state, losses and random streams, and
/// ends as [`train`] would end it, but for rounding. One whose loss is no longer finite ends with an error and leaves the others alone.
///
/// # Guarantee
/// As [`train`]; no VAE depends on another one's images.
///
/// # Errors
/// Jobs that do not fit each other, what [`train`] says before its first step, a stop.
pub fn train_group(
    jobs: &[GroupJob<'_>],
    device: Device,
    progress: &dyn Progress,
) -> Result<Vec<Result<TrainedVae>>> {
    let Some(first) = jobs.first() else { return Ok(Vec::new()) };
    if !jobs.iter().all(|job| job.fits(first)) {
        return Err(Error::invalid(
            "the trainings of a group need as many images, and the same settings but for seeds",
        ));
    }
    let plan = first.plan;
    check(first.images, plan)?;
    let networks = jobs
        .iter()
        .map(|job| Vae::new(job.images.spec(1), plan.latent_dim, job.plan.seed, device))
        .collect::<Result<Vec<_>>>()?;
    let images =
        jobs.iter().map(|job| Ok(job.images.tensor().f_to_device(device)?)).collect::<Result<Vec<_>>>()?;
    let grouped = GroupedVae::new(&networks)?;
    let mut parameters = grouped.trainable();
    let mut adam = Adam::new(plan.learning_rate, plan.weight_decay);
    let mut ended: Vec<Result<Vec<VaeEpoch>>> = jobs.iter().map(|_| Ok(Vec::new())).collect();
    for epoch in 0..plan.epochs {
        progress.check()?;
        let weight = plan.kl_weight * kl_weight(epoch, plan.kl_annealing_epochs);
        let mut batches = jobs
            .iter()
            .zip(&images)
            .map(|(job, images)| batches(images, job.plan, epoch)?.all())
            .collect::<Result<Vec<_>>>()?;
        let mut sums = Tensor::f_zeros([2, jobs.len() as i64], (Kind::Double, device))?;
        while let Some(parts) = batches.iter_mut().map(VecDeque::pop_front).collect::<Option<Vec<Batch>>>() {
            progress.check()?;
            let stack =
                |of: fn(&Batch) -> &Tensor| Tensor::f_stack(&parts.iter().map(of).collect::<Vec<_>>(), 0);
            let (x, noise) = (stack(|batch| &batch.x)?, stack(|batch| &batch.noise)?);
            let seen = plan.normalisation.apply(&x.flatten(0, 1)).reshape(x.size());
            let (logits, mu, logvar) = grouped.forward(&seen, &noise, &mut Pass::differentiate());
            let by_network =
                |values: Tensor| values.flatten(1, -1).sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
            let recon = by_network(logits.f_binary_cross_entropy_with_logits::<Tensor>(
                &x,
                None,
                None,
                Reduction::None,
            )?);
            let kl = by_network(mu.square() + logvar.exp() - 1.0 - &logvar) * 0.5;
            let gradients = tensor::gradients(&(&recon + &kl * weight).sum(Kind::Float), &parameters)?;
            let _guard = tch::no_grad_guard();
            let _ = sums.f_add_(&Tensor::f_stack(&[recon, kl], 0)?.to_kind(Kind::Double))?;
            adam.step(&mut parameters, &gradients);
        }
        // Read once per epoch.
        let sums = Vec::<f64>::try_from(sums.f_to_device(Device::Cpu)?.f_flatten(0, -1)?)?;
        let n = first.images.len() as f64;
        for (at, ended) in ended.iter_mut().enumerate() {
            let Ok(history) = ended else { continue };
            match score(epoch, sums[at] / n, sums[jobs.len() + at] / n, weight, plan) {
                Ok(score) => history.push(score),
                Err(error) => *ended = Err(error),
            }
        }
        if ended.iter().all(Result::is_err) {
            break;
        }
    }
    let finish = |((at, network), ended): ((usize, Vae), Result<Vec<VaeEpoch>>)| {
        ended.and_then(|history| {
            grouped.copy_to(at as i64, &network)?;
            Ok(TrainedVae { network, history })
        })
    };
    Ok(networks.into_iter().enumerate().zip(ended).map(finish).collect())
}

/// Images, and the noise of their latents.
struct Batch {
    x: Tensor,
    noise: Tensor,
}

impl Batch {
    fn part(&self, range: std::ops::Range<i64>) -> Result<Self> {
        let part = |all: &Tensor| all.f_narrow(0, range.start, range.end - range.start);
        Ok(Self { x: part(&self.x)?, noise: part(&self.noise)? })
    }
}

/// The batches of an epoch.
fn batches<'a>(
    images: &'a Tensor,
    plan: &'a VaePlan,
    epoch: usize,
) -> Result<Batches<impl FnMut(i64, i64) -> Result<Batch> + use<'a>, Batch>> {
    let (n, device) = (images.size()[0], images.device());
    let order = Stream::new(plan.seed, Purpose::Shuffle, epoch as u64).permutation(n as usize);
    let order = tensor::from_i64(&order).f_to_device(device)?;
    let mut geometry = Stream::new(plan.seed, Purpose::Augmentation, epoch as u64);
    let mut generator = TorchGenerator::hold();
    generator.seed_stream(plan.seed, epoch as u64);
    Batches::new(n, plan.batch_size as i64, generator, move |first, rows| {
        let mut x = images.f_index_select(0, &order.f_narrow(0, first, rows)?)?;
        if let Some(augmentation) = &plan.augmentation {
            x = augment::pixel_noise(&augmentation.apply(&x, &mut geometry)?, NOISE)?;
        }
        let noise = Tensor::f_randn([rows, plan.latent_dim], (Kind::Float, device))?;
        Ok(Batch { x, noise })
    })
}

/// What a part gives: gradients of its loss, and the loss's two sums.
struct PartResult {
    gradients: Vec<Tensor>,
    sums: Tensor,
}

fn compute(
    network: &Vae,
    parameters: &[Tensor],
    part: &Batch,
    plan: &VaePlan,
    weight: f64,
) -> Result<PartResult> {
    let seen = plan.normalisation.apply(&part.x);
    let (logits, mu, logvar) = network.forward(&seen, &part.noise, &mut Pass::differentiate());
    let recon = logits.f_binary_cross_entropy_with_logits::<Tensor>(&part.x, None, None, Reduction::Sum)?;
    let kl = (mu.square() + logvar.exp() - 1.0 - &logvar).sum(Kind::Float) * 0.5;
    let gradients = tensor::gradients(&(&recon + &kl * weight), parameters)?;
    Ok(PartResult { gradients, sums: Tensor::f_stack(&[recon.detach(), kl.detach()], 0)? })
}

#[expect(clippy::too_many_arguments, reason = "the state of one loop, split for reading")]
fn run_epoch(
    network: &Vae,
    parameters: &mut [Tensor],
    adam: &mut Adam,
    images: &Tensor,
    plan: &VaePlan,
    epoch: usize,
    weight: f64,
    progress: &dyn Progress,
) -> Result<(f64, f64)> {
    let (n, device) = (images.size()[0], images.device());
    let batch_size = plan.batch_size as i64;
    let mut batches = batches(images, plan, epoch)?;
    let n_members = crew::parts(batch_size.min(n), device).len().min(parallel::workers(device));
    let shallow = |all: &[Tensor]| all.iter().map(Tensor::shallow_clone).collect::<Vec<_>>();
    adam.set_threads(n_members);
    let members = (0..n_members).map(|_| (network.clone(), shallow(parameters))).collect();
    let mut sums = Tensor::f_zeros([2], (Kind::Double, device))?;
    crew::with_crew(
        members,
        |(network, parameters): &mut (Vae, Vec<Tensor>), part: Batch| {
            compute(network, parameters, &part, plan, weight)
        },
        |crew| {
            while let Some(batch) = batches.take() {
                progress.check()?;
                let rows = batch.x.size()[0];
                let parts = crew::parts(rows, device).into_iter().map(|range| batch.part(range));
                crew.start(parts.collect::<Result<_>>()?)?;
                // The next batch is made while this one is computed.
                batches.make_next()?;
                let _guard = tch::no_grad_guard();
                let mut gradients = Vec::new();
                for part in crew.finish()? {
                    let _ = sums.f_add_(&part.sums.to_kind(Kind::Double))?;
                    gradients.push(part.gradients);
                }
                adam.step(parameters, &crew::sum(gradients)?);
            }
            Ok(())
        },
    )?;
    Ok((sums.f_double_value(&[0])? / n as f64, sums.f_double_value(&[1])? / n as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    fn plan(seed: u64) -> VaePlan {
        VaePlan {
            latent_dim: 3,
            epochs: 4,
            batch_size: 8,
            learning_rate: 1e-3,
            weight_decay: 1e-5,
            kl_annealing_epochs: 2,
            kl_weight: 1.0,
            augmentation: Some(Augmentation::Basic(augment::Geometry::DECODER)),
            normalisation: Normalisation::identity(),
            seed,
        }
    }

    fn images(n: i64, seed: u64) -> Images {
        let values = Stream::new(seed, Purpose::Latents, 0).uniform((n * 144) as usize, 0.0, 1.0);
        Images::trusted(tensor::from_f32(&values, &[n, 1, 12, 12]).unwrap())
    }

    #[test]
    fn a_group_trains_each_as_alone_and_one_that_diverges_harms_nobody() {
        let device = Device::Cpu;
        let shards: Vec<Images> = (0..3).map(|seed| images(20, seed)).collect();
        let plans: Vec<VaePlan> = (5..8).map(plan).collect();
        let train = |shards: &[Images]| {
            let jobs: Vec<GroupJob<'_>> =
                shards.iter().zip(&plans).map(|(images, plan)| GroupJob { images, plan }).collect();
            train_group(&jobs, device, &Silent).unwrap()
        };
        let alone: Vec<TrainedVae> = shards
            .iter()
            .zip(&plans)
            .map(|(images, plan)| super::train(images, plan, device, &Silent).unwrap())
            .collect();
        let same = |grouped: &TrainedVae, alone: &TrainedVae| {
            assert_eq!(grouped.history.len(), alone.history.len());
            for (a, b) in grouped.history.iter().zip(&alone.history) {
                assert!((a.loss - b.loss).abs() < 1e-4 * b.loss, "{a:?} {b:?}");
            }
            let parameters = nn::parameters(&grouped.network);
            for (a, b) in parameters.into_iter().zip(nn::parameters(&alone.network)) {
                let (name, a, b) = (a.name(), a.value(), b.value());
                let difference = (a - b).abs().max().double_value(&[]);
                assert!(difference < 1e-3, "{name}: {difference}");
            }
        };
        for (grouped, alone) in train(&shards).iter().zip(&alone) {
            same(grouped.as_ref().unwrap(), alone);
        }
        // Pixels that no image has, of the second one.
        let mut broken = shards;
        broken[1] = Images::trusted(broken[1].tensor() * f64::NAN);
        let ended = train(&broken);
        let error = ended[1].as_ref().err().unwrap().to_string();
        assert!(error.contains("the loss became") && error.contains("epoch"), "{error}");
        for at in [0, 2] {
            same(ended[at].as_ref().unwrap(), &alone[at]);
        }
        // Other settings or shapes do not go together.
        let (other, larger) = (VaePlan { epochs: 5, ..plan(1) }, images(21, 1));
        let job = GroupJob { images: &broken[0], plan: &plans[0] };
        for wrong in
            [GroupJob { images: &broken[0], plan: &other }, GroupJob { images: &larger, plan: &plans[0] }]
        {
            assert!(!job.fits(&wrong));
            assert!(train_group(&[job, wrong], device, &Silent).is_err());
        }
        assert!(train_group(&[], device, &Silent).unwrap().is_empty());
    }

    #[test]
    fn the_kl_weight_rises_to_one() {
        let weights: Vec<f64> = (0..12).map(|e| kl_weight(e, 10)).collect();
        assert!((weights[0]).abs() < 1e-12 && (weights[3] - 0.3).abs() < 1e-12);
        assert!((weights[10] - 1.0).abs() < 1e-12 && (weights[11] - 1.0).abs() < 1e-12);
        assert!((kl_weight(0, 0) - 1.0).abs() < 1e-12);
    }
}
