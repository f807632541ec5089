//! Training of autoencoders: deterministic ones and variational ones.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::base::progress::Progress;
use crate::base::rng::{Purpose, Stream};
use crate::data::Images;
use crate::data::augment::Augmentation;
use crate::models::{Extractor, Latent};
use crate::nn::{Adam, Module, Pass, Schedule};
use crate::train::checkpoint::CheckpointStore;
use crate::train::fit::{self, FitPlan, Learner, Loss, Part, Task};
use crate::{Error, Result};

/// How an autoencoder is trained.
#[derive(Clone, Debug, Serialize)]
pub struct AutoencoderPlan {
    /// Passes over the images.
    pub epochs: usize,
    /// Images per step; the last step of an epoch takes what is left.
    pub batch_size: usize,
    /// Adam's learning rate of the first epoch.
    pub learning_rate: f64,
    /// L2 regularisation in the gradient.
    pub weight_decay: f64,
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// Weight of the KL divergence of a variational one; 1 is the evidence bound for pixels with
    /// Gaussian noise of variance one half.
    pub kl_weight: f64,
    /// Deviation of the noise on the latents of a deterministic one, in units of each latent's
    /// deviation over the images that a thread works on: neighbouring latents then draw
    /// neighbouring images.
    pub latent_noise: f64,
    /// Changes to the images, or none.
    pub augmentation: Option<Augmentation>,
    /// Seed of order, augmentation and noise.
    pub seed: u64,
}

/// One epoch in figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AutoencoderEpoch {
    /// Counted from 1.
    pub epoch: usize,
    /// What was minimised.
    pub loss: f64,
    /// Mean squared error of a pixel.
    pub reconstruction_loss: f64,
    /// KL divergence of an image; 0 of a deterministic one.
    pub kl_loss: f64,
    /// Learning rate of the epoch.
    pub learning_rate: f64,
}

/// The loss of images: mean squared error over all pixels, and the KL divergence in the pixels'
/// units. Gives also the sums of both over the images.
///
/// # Shapes
/// `images` and `reconstruction` `[n, c, h, w]`; `posterior` mean and log-variance, `[n, d]` each.
///
/// # Errors
/// Other shapes.
pub fn loss(
    images: &Tensor,
    reconstruction: &Tensor,
    posterior: Option<(&Tensor, &Tensor)>,
    kl_weight: f64,
    step_rows: i64,
) -> Result<(Tensor, Tensor)> {
    let n = images.size()[0];
    let pixels = images.numel() as f64 / n.max(1) as f64;
    let squares = (reconstruction.f_sub(images)?).f_square()?.f_sum(None)? / pixels;
    let kl = match posterior {
        Some((mu, logvar)) => (mu.square() + logvar.exp() - 1.0 - logvar).f_sum(None)? * 0.5,
        None => squares.f_zeros_like()?,
    };
    let value = (&squares + &kl * (kl_weight / pixels)) / step_rows as f64;
    Ok((value, Tensor::f_stack(&[squares.detach(), kl.detach()], 0)?))
}

/// Trains `network`, from the weights that it has, on `images`; a training with a checkpoint in
/// `store` goes on from there.
///
/// # Guarantee
/// None, where `images` are private: ordinary training.
///
/// # Errors
/// No images, another shape, no encoder, a loss that is not finite, a checkpoint that cannot be
/// written, a stop.
pub fn train(
    network: Extractor,
    images: &Images,
    plan: &AutoencoderPlan,
    device: Device,
    progress: &dyn Progress,
    store: &dyn CheckpointStore,
) -> Result<(Extractor, Vec<AutoencoderEpoch>)> {
    fit::check(images.len() as i64, plan.batch_size)?;
    images.expect_shape(std::path::Path::new("the images"), network.shape())?;
    if network.latent() == Latent::Prior {
        return Err(Error::invalid("an extractor without an encoder is not trained as an autoencoder"));
    }
    let task = AutoencoderTask { network, images: images.tensor().f_to_device(device)?, plan };
    let fit_plan = FitPlan {
        epochs: plan.epochs,
        batch_size: plan.batch_size,
        learning_rate: plan.learning_rate,
        schedule: plan.schedule,
        ema_decay: None,
        seed: plan.seed,
    };
    let mut adam = Adam::new(plan.learning_rate, plan.weight_decay);
    let fitted = fit::fit(&task, &mut adam, &fit_plan, progress, store)?;
    Ok((task.network, fitted.history))
}

struct AutoencoderTask<'a> {
    network: Extractor,
    /// `[n, c, h, w]` in `[0, 1]`.
    images: Tensor,
    plan: &'a AutoencoderPlan,
}

struct AutoencoderPart {
    x: Tensor,
    noise: Tensor,
    step_rows: i64,
}

impl Part for AutoencoderPart {
    fn rows(&self) -> i64 {
        self.x.size()[0]
    }

    fn narrow(&self, range: Range<i64>) -> Result<Self> {
        let part = |all: &Tensor| all.f_narrow(0, range.start, range.end - range.start);
        Ok(Self { x: part(&self.x)?, noise: part(&self.noise)?, step_rows: self.step_rows })
    }
}

impl<'a> Task for AutoencoderTask<'a> {
    type Part = AutoencoderPart;
    type Learner = AutoencoderLearner<'a>;
    type Score = AutoencoderEpoch;

    fn records(&self) -> i64 {
        self.images.size()[0]
    }

    fn device(&self) -> Device {
        self.images.device()
    }

    fn mixes_records(&self) -> bool {
        self.network.mixes_records()
    }

    fn network(&self) -> &dyn Module {
        &self.network
    }

    fn learner(&self, _: usize) -> AutoencoderLearner<'a> {
        AutoencoderLearner { network: self.network.clone(), plan: self.plan }
    }

    fn batch(&self, rows: &Tensor, geometry: &mut Stream) -> Result<AutoencoderPart> {
        let mut x = self.images.f_index_select(0, rows)?;
        if let Some(augmentation) = &self.plan.augmentation {
            x = augmentation.apply(&x, geometry)?;
        }
        let step_rows = x.size()[0];
        let noise = Tensor::f_randn([step_rows, self.network.latent_dim()], (Kind::Float, self.device()))?;
        Ok(AutoencoderPart { x, noise, step_rows })
    }

    fn score(&self, epoch: usize, learning_rate: f64, sums: &[f64]) -> Result<AutoencoderEpoch> {
        let (n, pixels) = (self.records() as f64, self.network.shape().numel() as f64);
        let (squares, kl) = (sums[0] / n, sums[1] / n);
        let (epoch, loss) = (epoch + 1, squares + self.plan.kl_weight * kl / pixels);
        if !loss.is_finite() {
            return Err(Error::invalid(format!(
                "the loss became {loss} in epoch {epoch}; lower the learning rate ({})",
                self.plan.learning_rate
            )));
        }
        Ok(AutoencoderEpoch { epoch, loss, reconstruction_loss: squares, kl_loss: kl, learning_rate })
    }

    fn quality(&self, _: &AutoencoderEpoch) -> Option<f64> {
        None
    }

    fn note(&self, score: &AutoencoderEpoch) -> String {
        match self.network.latent() {
            Latent::Posterior => {
                format!("squared error {:.5}, KL {:.2}", score.reconstruction_loss, score.kl_loss)
            }
            _ => format!("squared error {:.5}", score.reconstruction_loss),
        }
    }
}

struct AutoencoderLearner<'a> {
    network: Extractor,
    plan: &'a AutoencoderPlan,
}

impl Learner for AutoencoderLearner<'_> {
    type Part = AutoencoderPart;

    fn network(&self) -> &dyn Module {
        &self.network
    }

    fn loss(&self, part: &AutoencoderPart) -> Result<Loss> {
        let (network, plan, d) = (&self.network, self.plan, self.network.latent_dim());
        let pass = &mut Pass::differentiate();
        let encoded = network.encoded(&part.x, pass)?;
        let posterior = match network.latent() {
            Latent::Posterior => Some((encoded.f_narrow(1, 0, d)?, encoded.f_narrow(1, d, d)?)),
            _ => None,
        };
        let latents = match &posterior {
            Some((mu, logvar)) => mu + (logvar * 0.5).f_exp()? * &part.noise,
            None if plan.latent_noise > 0.0 && part.rows() > 1 => {
                let deviation = encoded.detach().f_std_dim([0i64].as_slice(), false, true)?;
                &encoded + deviation * &part.noise * plan.latent_noise
            }
            None => encoded,
        };
        let drawn = network.decoded(&latents, pass);
        let posterior = posterior.as_ref().map(|(mu, logvar)| (mu, logvar));
        let (value, sums) = loss(&part.x, &drawn, posterior, plan.kl_weight, part.step_rows)?;
        Ok(Loss { value, sums })
    }
}

/// Gives an extractor the mean and deviation of the latents of `images`, which must be public: of
/// `copies` of each, changed, where there is an augmentation.
///
/// # Errors
/// No encoder, a stop.
pub fn standardise(
    network: Extractor,
    images: &Images,
    augmentation: Option<&Augmentation>,
    copies: usize,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Extractor> {
    let mut parts = Vec::new();
    for copy in 0..if augmentation.is_some() { copies.max(1) } else { 1 } {
        let mut stream = Stream::new(seed, Purpose::PublicFeatures, copy as u64);
        let changed = match augmentation {
            Some(augmentation) => Images::trusted(augmentation.apply(images.tensor(), &mut stream)?),
            None => images.clone(),
        };
        parts.push(network.encode(&changed, progress)?);
    }
    network.with_standard(&Tensor::f_cat(&parts, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::progress::Silent;
    use crate::base::tensor;
    use crate::data::ImageShape;
    use crate::models::ExtractorKind;
    use crate::train::NoCheckpoint;

    /// Images that one number each tells.
    fn images(n: i64) -> Images {
        let brightness = Stream::new(1, Purpose::Latents, 0).uniform(n as usize, 0.0, 1.0);
        let column = tensor::from_f32(&brightness, &[n, 1, 1, 1]).unwrap();
        Images::trusted(column.expand([n, 1, 8, 8], false).contiguous())
    }

    #[test]
    fn each_kind_learns_to_draw_what_it_saw() {
        let shape = ImageShape { channels: 1, height: 8, width: 8 };
        let images = images(64);
        for (kind, latent) in [
            (ExtractorKind::Mini, Latent::Encoded),
            (ExtractorKind::Mini, Latent::Posterior),
            (ExtractorKind::Wide, Latent::Encoded),
        ] {
            let plan = AutoencoderPlan {
                epochs: 40,
                batch_size: 16,
                learning_rate: 3e-3,
                weight_decay: 0.0,
                schedule: Schedule::Cosine,
                kl_weight: 0.01,
                latent_noise: 0.05,
                augmentation: None,
                seed: 1,
            };
            let fresh = Extractor::new(kind, shape, 2, latent, 1, Device::Cpu).unwrap();
            let (network, history) =
                train(fresh, &images, &plan, Device::Cpu, &Silent, &NoCheckpoint).unwrap();
            let (first, last) = (&history[0], &history[39]);
            // An even grey would leave a twelfth.
            assert!(last.reconstruction_loss < 0.02, "{kind:?} {latent:?}: {first:?} {last:?}");
            assert_eq!(last.kl_loss > 0.0, latent == Latent::Posterior);
            let network = standardise(network, &images, None, 3, 1, &Silent).unwrap();
            let latents = network.standard().unwrap().apply(&network.encode(&images, &Silent).unwrap());
            assert!(latents.mean(Kind::Float).double_value(&[]).abs() < 1e-3);
        }
    }
}
