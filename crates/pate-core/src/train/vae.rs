//! Training of the VAE: the public decoder, and one teacher's own.

use std::collections::VecDeque;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Reduction, Tensor};

use crate::base::progress::Progress;
use crate::base::rng::Stream;
use crate::base::tensor;
use crate::data::augment::{self, Augmentation};
use crate::data::{Images, Normalisation};
use crate::models::{GroupedVae, Vae};
use crate::nn::{Adam, DropoutMasks, Module, Optimizer as _, Pass, Schedule};
use crate::train::checkpoint::CheckpointStore;
use crate::train::fit::{self, Batch, FitPlan, Learner, Loss, Part, Task};
use crate::{Error, Result};

/// Standard deviation of the pixel noise of augmentation.
const NOISE: f64 = 0.03;

/// How a VAE is trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// Weight of the KL term after that; below 1 images get sharper, and N(0, I) fits their latents
    /// less (the beta of Higgins et al., "beta-VAE", 2017).
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

/// Trains a VAE on `images`; one with a checkpoint in `store` goes on from there.
///
/// Loss of a step: binary cross-entropy plus weighted KL divergence, summed over the batch.
///
/// # Guarantee
/// None, where `images` are private: ordinary training.
///
/// # Errors
/// No images, sides that are no multiples of 4, a loss that is not finite, a checkpoint that cannot
/// be written, a stop.
pub fn train(
    images: &Images,
    plan: &VaePlan,
    device: Device,
    progress: &dyn Progress,
    store: &dyn CheckpointStore,
) -> Result<TrainedVae> {
    let task = VaeTask::new(images, plan, device)?;
    let fitted = fit::fit(&task, &mut plan.adam(), &plan.fit(), progress, store)?;
    Ok(TrainedVae { network: task.network, history: fitted.history })
}

impl VaePlan {
    fn adam(&self) -> Adam {
        Adam::new(self.learning_rate, self.weight_decay)
    }

    fn fit(&self) -> FitPlan {
        FitPlan {
            epochs: self.epochs,
            batch_size: self.batch_size,
            learning_rate: self.learning_rate,
            schedule: Schedule::Constant,
            ema_decay: None,
            seed: self.seed,
        }
    }

    /// Weight of the KL term in `epoch`, counted from 0.
    fn weight(&self, epoch: usize) -> f64 {
        self.kl_weight * kl_weight(epoch, self.kl_annealing_epochs)
    }
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
    /// Whether both can be in one group: the same shape of network, the same number of batches of
    /// the same sizes.
    pub fn fits(&self, other: &Self) -> bool {
        let same_seed = VaePlan { seed: self.plan.seed, ..other.plan.clone() };
        self.images.tensor().size() == other.images.tensor().size() && *self.plan == same_seed
    }
}

/// Trains VAEs of one shape as one network in groups: each has its own weights, optimiser state,
/// losses and random streams, and ends as [`train`] would end it, but for rounding. One whose loss
/// is no longer finite ends with an error and leaves the others alone.
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
    let tasks =
        jobs.iter().map(|job| VaeTask::new(job.images, job.plan, device)).collect::<Result<Vec<_>>>()?;
    let networks: Vec<Vae> = tasks.iter().map(|task| task.network.clone()).collect();
    let grouped = GroupedVae::new(&networks)?;
    let mut parameters = grouped.trainable();
    // One optimiser for all: Adam works value by value, so no network's state meets another's.
    let mut adam = plan.adam();
    let mut ended: Vec<Result<Vec<VaeEpoch>>> = jobs.iter().map(|_| Ok(Vec::new())).collect();
    for epoch in 0..plan.epochs {
        progress.check()?;
        let weight = plan.weight(epoch);
        let mut batches = tasks
            .iter()
            // One task after the other: `all` draws every batch and gives libtorch's generator back
            // before the next task takes it.
            .map(|task| fit::batches(task, &task.plan.fit(), epoch)?.all())
            .collect::<Result<Vec<_>>>()?;
        let mut sums = Tensor::f_zeros([2, jobs.len() as i64], (Kind::Double, device))?;
        while let Some(parts) =
            batches.iter_mut().map(VecDeque::pop_front).collect::<Option<Vec<Batch<VaePart>>>>()
        {
            progress.check()?;
            let stack = |of: fn(&VaePart) -> &Tensor| {
                Tensor::f_stack(&parts.iter().map(|batch| of(&batch.part)).collect::<Vec<_>>(), 0)
            };
            let (x, noise) = (stack(|part| &part.x)?, stack(|part| &part.noise)?);
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
            // Networks share no weights, so the gradient of the sum is each one's own, and a loss
            // that is not finite spoils no other.
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
struct VaePart {
    x: Tensor,
    noise: Tensor,
}

impl Part for VaePart {
    fn rows(&self) -> i64 {
        self.x.size()[0]
    }

    fn narrow(&self, range: Range<i64>) -> Result<Self> {
        let part = |all: &Tensor| all.f_narrow(0, range.start, range.end - range.start);
        Ok(Self { x: part(&self.x)?, noise: part(&self.noise)? })
    }
}

struct VaeTask<'a> {
    network: Vae,
    /// `[n, c, h, w]` in `[0, 1]`.
    images: Tensor,
    plan: &'a VaePlan,
}

impl<'a> VaeTask<'a> {
    fn new(images: &Images, plan: &'a VaePlan, device: Device) -> Result<Self> {
        fit::check(images.len() as i64, plan.batch_size)?;
        // The number of classes means nothing to a VAE.
        let shape = images.shape();
        plan.normalisation.check_channels(shape.channels)?;
        let network = Vae::new(shape, plan.latent_dim, plan.seed, device)?;
        Ok(Self { network, images: images.tensor().f_to_device(device)?, plan })
    }
}

impl<'a> Task for VaeTask<'a> {
    type Part = VaePart;
    type Learner = VaeLearner<'a>;
    type Score = VaeEpoch;

    fn records(&self) -> i64 {
        self.images.size()[0]
    }

    fn device(&self) -> Device {
        self.images.device()
    }

    fn network(&self) -> &dyn Module {
        &self.network
    }

    fn learner(&self, epoch: usize) -> VaeLearner<'a> {
        VaeLearner { network: self.network.clone(), plan: self.plan, weight: self.plan.weight(epoch) }
    }

    fn batch(&self, rows: &Tensor, geometry: &mut Stream) -> Result<VaePart> {
        let mut x = self.images.f_index_select(0, rows)?;
        if let Some(augmentation) = &self.plan.augmentation {
            x = augment::pixel_noise(&augmentation.apply(&x, geometry)?, NOISE)?;
        }
        let noise = Tensor::f_randn([x.size()[0], self.plan.latent_dim], (Kind::Float, self.device()))?;
        Ok(VaePart { x, noise })
    }

    fn score(&self, epoch: usize, _: f64, sums: &[f64]) -> Result<VaeEpoch> {
        let n = self.records() as f64;
        score(epoch, sums[0] / n, sums[1] / n, self.plan.weight(epoch), self.plan)
    }

    fn quality(&self, _: &VaeEpoch) -> Option<f64> {
        None
    }

    fn note(&self, score: &VaeEpoch) -> String {
        let VaeEpoch { loss, recon_loss, kl_loss, .. } = score;
        format!("loss {loss:.2} (reconstruction {recon_loss:.2}, KL {kl_loss:.2})")
    }
}

struct VaeLearner<'a> {
    network: Vae,
    plan: &'a VaePlan,
    /// Of the KL term.
    weight: f64,
}

impl Learner for VaeLearner<'_> {
    type Part = VaePart;

    fn network(&self) -> &dyn Module {
        &self.network
    }

    /// Summed over the images; reconstruction and KL divergence.
    fn loss(&self, part: &VaePart) -> Result<Loss> {
        let seen = self.plan.normalisation.apply(&part.x);
        let mut pass = Pass::Train { dropout: DropoutMasks::none() };
        let (logits, mu, logvar) = self.network.forward(&seen, &part.noise, &mut pass);
        let recon =
            logits.f_binary_cross_entropy_with_logits::<Tensor>(&part.x, None, None, Reduction::Sum)?;
        let kl = (mu.square() + logvar.exp() - 1.0 - &logvar).sum(Kind::Float) * 0.5;
        let sums = Tensor::f_stack(&[recon.detach(), kl.detach()], 0)?;
        Ok(Loss { value: &recon + &kl * self.weight, sums })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::progress::Silent;
    use crate::base::rng::Purpose;
    use crate::nn;
    use crate::train::NoCheckpoint;

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
            .map(|(images, plan)| super::train(images, plan, device, &Silent, &NoCheckpoint).unwrap())
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
