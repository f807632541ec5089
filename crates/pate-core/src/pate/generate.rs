//! Candidates: images decoded from random latents.

mod latent_bank;

pub use latent_bank::LatentBank;

use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::base::parallel::{self, Threads};
use crate::base::progress::{Progress, Silent};
use crate::base::rng::{Purpose, Stream, TorchGenerator};
use crate::base::tensor;
use crate::data::augment::Augmentation;
use crate::data::{Images, Normalisation};
use crate::models::{Decoder, Vae};
use crate::nn::Pass;
use crate::{Error, Result};

/// Latents per batch. Part of the result: mixing is by batch, and so are the streams.
pub const BATCH: i64 = 256;

/// How latents are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LatentPlan {
    /// Share of every batch after the first that is a mixture of two latents, in `[0, 1]`.
    pub mixing_ratio: f64,
    /// Standard deviation of the noise added to every latent, at least 0.
    pub noise_scale: f64,
    /// Changes to the decoded images.
    pub augmentation: Option<Augmentation>,
}

/// Which generator latents come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LatentRng {
    /// A ChaCha20 stream per batch.
    ChaCha,
    /// libtorch's generator in the order of the original program, to get its pools again.
    Torch,
}

/// Where latents come from.
#[derive(Clone, Copy)]
pub struct LatentDraw<'a> {
    /// Mixing, noise, and what happens to the images.
    pub plan: LatentPlan,
    /// The generator.
    pub rng: LatentRng,
    /// Draw from these posteriors in place of N(0, I).
    pub bank: Option<&'a LatentBank>,
}

/// Latents of one batch: `[n, latent_dim]`.
///
/// z ~ N(0, I), or a random posterior of the bank; in every batch after the first, the first
/// `floor(n r)` rows become `a z1 + (1 - a) z2` with one `a ~ U(.6, 1)` per row; then
/// `z += s N(0, I)`.
fn latents(
    from: &LatentDraw<'_>,
    latent_dim: i64,
    n: i64,
    batch_idx: u64,
    draw: &mut dyn Draw,
) -> Result<Tensor> {
    let plan = from.plan;
    let fresh = |n: i64, draw: &mut dyn Draw| match from.bank {
        Some(bank) => bank.draw(n, draw),
        None => draw.normal(&[n, latent_dim]),
    };
    // The order of the draws is the original program's, whose generator is replayed with
    // `LatentRng::Torch`: fresh latents for all rows, then the two that are mixed.
    let mut z = fresh(n, draw)?;
    let m = (n as f64 * plan.mixing_ratio).floor() as i64;
    if plan.mixing_ratio > 0.0 && batch_idx > 0 && m > 0 {
        let z1 = fresh(m, draw)?;
        let z2 = fresh(m, draw)?;
        let a: Tensor = draw.uniform(m)? * 0.4 + 0.6; // [m, 1]
        let mixed = &a * z1 + (1.0 - &a) * z2;
        z.f_narrow(0, 0, m)?.f_copy_(&mixed)?;
    }
    // Without noise nothing is drawn, since a draw would move all that follow it in the original's
    // one stream.
    if plan.noise_scale > 0.0 {
        z += draw.normal(&[n, latent_dim])? * plan.noise_scale;
    }
    Ok(z)
}

trait Draw {
    fn normal(&mut self, shape: &[i64]) -> Result<Tensor>;
    fn uniform(&mut self, m: i64) -> Result<Tensor>;
}

impl Draw for Stream {
    fn normal(&mut self, shape: &[i64]) -> Result<Tensor> {
        self.normal_tensor(shape)
    }

    fn uniform(&mut self, m: i64) -> Result<Tensor> {
        tensor::from_f32(&self.uniform(m as usize, 0.0, 1.0), &[m, 1])
    }
}

impl Draw for TorchGenerator {
    fn normal(&mut self, shape: &[i64]) -> Result<Tensor> {
        Ok(Tensor::f_randn(shape, (Kind::Float, Device::Cpu))?)
    }

    fn uniform(&mut self, m: i64) -> Result<Tensor> {
        Ok(Tensor::f_rand([m, 1], (Kind::Float, Device::Cpu))?)
    }
}

/// A pool and what it was decoded from.
pub struct Pool {
    /// `[n, channels, height, width]` in `[0, 1]`, on the CPU.
    pub images: Images,
    /// `[n, latent_dim]`, on the CPU.
    pub latents: Tensor,
}

/// An alias: it has the same memory.
impl Clone for Pool {
    fn clone(&self) -> Self {
        Self { images: self.images.clone(), latents: self.latents.shallow_clone() }
    }
}

impl Pool {
    /// Several pools, one after the other.
    ///
    /// # Errors
    /// No pool, or other shapes.
    pub fn concat(pools: &[Self]) -> Result<Self> {
        let images: Vec<&Tensor> = pools.iter().map(|pool| pool.images.tensor()).collect();
        let latents: Vec<&Tensor> = pools.iter().map(|pool| &pool.latents).collect();
        Ok(Self { images: Images::trusted(Tensor::f_cat(&images, 0)?), latents: Tensor::f_cat(&latents, 0)? })
    }
}

/// Images of latents from N(0, I), neither mixed nor noisy.
///
/// # Guarantee
/// That of the decoder.
///
/// # Errors
/// As [`pool`].
pub fn samples(decoder: &Decoder, n: usize, seed: u64, progress: &dyn Progress) -> Result<Images> {
    let plan = LatentPlan { mixing_ratio: 0.0, noise_scale: 0.0, augmentation: None };
    let draw = LatentDraw { plan, rng: LatentRng::ChaCha, bank: None };
    candidates(decoder, n, seed, &draw, 0, progress)
}

/// The first `n` images, and what the VAE makes of the means of their latents: rows of `per_row`
/// images, each above its reconstructions. `normalisation` is what the encoder sees.
///
/// # Guarantee
/// None, where the images are private.
///
/// # Errors
/// Images of another shape.
pub fn reconstructions(
    network: &Vae,
    normalisation: &Normalisation,
    images: &Images,
    per_row: i64,
    n: i64,
) -> Result<Images> {
    let _guard = tch::no_grad_guard();
    let n = n.min(images.len() as i64);
    let originals = images.tensor().f_narrow(0, 0, n)?;
    let device = network.decoder.device();
    let (mu, _) =
        network.encoder.forward(&normalisation.apply(&originals.f_to_device(device)?), &mut Pass::Infer);
    let made = network.decoder.forward(&mu, &mut Pass::Infer).f_to_device(Device::Cpu)?;
    let mut rows = Vec::new();
    tensor::batches(n, per_row, |first, n| {
        rows.push(originals.f_narrow(0, first, n)?);
        rows.push(made.f_narrow(0, first, n)?);
        Ok(())
    })?;
    Ok(Images::trusted(Tensor::f_cat(&rows, 0)?))
}

/// The images of [`pool`].
///
/// # Errors
/// As [`pool`].
pub fn candidates(
    decoder: &Decoder,
    pool_size: usize,
    seed: u64,
    from: &LatentDraw<'_>,
    first_batch: u64,
    progress: &dyn Progress,
) -> Result<Images> {
    Ok(pool(decoder, pool_size, seed, from, first_batch, progress)?.images)
}

/// A pool of `pool_size` candidates in `[0, 1]`, on the CPU. `seed` is the effective seed.
///
/// `first_batch` is 0 for a pool of its own; a pool that goes on where another ended starts at that
/// one's number of batches, and then mixing begins at once.
///
/// # Shapes
/// `[pool_size, channels, height, width]`, and latents `[pool_size, latent_dim]`.
///
/// # Errors
/// A ratio or scale out of range, a pool that goes on with [`LatentRng::Torch`] (its stream has no
/// batches), or a stop.
pub fn pool(
    decoder: &Decoder,
    pool_size: usize,
    seed: u64,
    from: &LatentDraw<'_>,
    first_batch: u64,
    progress: &dyn Progress,
) -> Result<Pool> {
    let LatentDraw { plan, rng, bank } = *from;
    if let Some(bank) = bank {
        if rng == LatentRng::Torch {
            return Err(Error::invalid(
                "--rng torch draws as the original program did, which had no --latents",
            ));
        }
        if bank.latent_dim() != decoder.latent_dim() {
            return Err(Error::invalid(format!(
                "the file of --latents has {} latents and the decoder {}; give the file that was made with the decoder",
                bank.latent_dim(),
                decoder.latent_dim()
            )));
        }
    }
    if !(0.0..=1.0).contains(&plan.mixing_ratio) || plan.noise_scale < 0.0 || !plan.noise_scale.is_finite() {
        return Err(Error::invalid(format!(
            "latent mixing is {} and latent noise {}; mixing is in [0, 1] and noise at least 0",
            plan.mixing_ratio, plan.noise_scale
        )));
    }
    // The replayed stream has no place to begin at: it would give the first round's candidates
    // again.
    if rng == LatentRng::Torch && first_batch > 0 {
        return Err(Error::invalid("a pool that goes on in several rounds needs --rng chacha"));
    }
    let _guard = tch::no_grad_guard();
    let mut torch = (rng == LatentRng::Torch).then(TorchGenerator::hold);
    if let Some(torch) = &mut torch {
        torch.seed_raw(seed as i64);
    }
    let batch_idx = |first: i64| first_batch + (first / BATCH) as u64;
    // All latents before any decoding: the generator and its order belong to one thread, and the
    // decoder's batches then run on all threads without waits.
    let all = Tensor::f_empty([pool_size as i64, decoder.latent_dim()], (Kind::Float, Device::Cpu))?;
    // Drawing gains nothing from a second thread, and libgomp's turns in a loop after every
    // operation that it helped with.
    let threads = Threads::one();
    tensor::batches(pool_size as i64, BATCH, |first, n| {
        let mut stream;
        let draw: &mut dyn Draw = if let Some(torch) = &mut torch {
            torch
        } else {
            stream = Stream::new(seed, Purpose::Latents, batch_idx(first));
            &mut stream
        };
        let z = latents(from, decoder.latent_dim(), n, batch_idx(first), draw)?;
        Ok(all.f_narrow(0, first, n)?.f_copy_(&z)?)
    })?;
    // Decoding takes as many workers as libtorch has threads, so the guard must be gone.
    drop(threads);
    let images = decode(decoder, &all, progress)?;
    // In batches of latents and not of the decoder's rows, since the streams are numbered by them.
    if let Some(augmentation) = &plan.augmentation {
        let workers = (0..parallel::workers(Device::Cpu)).map(|_| images.shallow_clone()).collect();
        parallel::batches(
            pool_size as i64,
            BATCH,
            workers,
            &Silent,
            |images, first, n| {
                let _guard = tch::no_grad_guard();
                let batch = images.f_narrow(0, first, n)?;
                let mut stream = Stream::new(seed, Purpose::CandidateAugmentation, batch_idx(first));
                batch.shallow_clone().f_copy_(&augmentation.apply(&batch, &mut stream)?)?;
                Ok(())
            },
            |_, _, ()| progress.check(),
        )?;
    }
    Ok(Pool { images: Images::trusted(images), latents: all })
}

/// Rows that go through the decoder at once; its activations then stay in the processor's cache.
const DECODE_ROWS: i64 = 32;

/// Images of latents, in cache-sized batches, of which `progress` hears.
///
/// # Shapes
/// `[n, latent_dim]` to `[n, channels, height, width]`, on the CPU.
pub(crate) fn decode(decoder: &Decoder, z: &Tensor, progress: &dyn Progress) -> Result<Tensor> {
    let n = z.size()[0];
    let images = Tensor::f_empty(decoder.shape().batch(n), (Kind::Float, Device::Cpu))?;
    let workers = (0..parallel::workers(decoder.device()))
        .map(|_| (decoder.clone(), z.shallow_clone(), images.shallow_clone()))
        .collect();
    parallel::batches(
        n,
        DECODE_ROWS,
        workers,
        progress,
        |(decoder, z, images), first, rows| {
            let _guard = tch::no_grad_guard();
            let part = z.f_narrow(0, first, rows)?.f_to_device(decoder.device())?;
            images.f_narrow(0, first, rows)?.f_copy_(&decoder.forward(&part, &mut Pass::Infer))?;
            Ok(())
        },
        |_, _, ()| Ok(()),
    )?;
    Ok(images)
}
