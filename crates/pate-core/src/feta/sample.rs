//! Images of a diffusion model: noise, from which the noise is taken level by level.

use serde::Serialize;
use tch::{Kind, Tensor};

use super::edm;
use crate::base::parallel;
use crate::base::progress::Progress;
use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::config::SamplerKind;
use crate::data::Images;
use crate::models::UNet;
use crate::nn::Pass;
use crate::{Error, Result};

/// Noise levels that a sampler goes through.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Grid {
    /// How many, 2 or more.
    pub steps: u32,
    /// The last one.
    pub least: f64,
    /// The first one.
    pub most: f64,
    /// How much denser they lie towards the last one.
    pub rho: f64,
}

impl Grid {
    /// EDM's and the original's, with so many steps.
    pub const fn original(steps: u32) -> Self {
        Self { steps, least: 0.002, most: 80.0, rho: 7.0 }
    }

    /// The levels, falling.
    ///
    /// # Errors
    /// Numbers that mean nothing.
    pub fn levels(&self) -> Result<Vec<f64>> {
        let Self { steps, least, most, rho } = *self;
        let falls = least > 0.0 && least < most && most.is_finite();
        if steps < 2 || !falls || !(rho > 0.0 && rho.is_finite()) {
            return Err(Error::invalid(format!(
                "{steps} noise levels from {most} to {least} with rho {rho}: give 2 or more that fall, to above 0, and a \
                 rho above 0"
            )));
        }
        let (first, last) = (most.powf(1.0 / rho), least.powf(1.0 / rho));
        let last_step = f64::from(steps - 1);
        Ok((0..steps).map(|i| (first + f64::from(i) / last_step * (last - first)).powf(rho)).collect())
    }
}

/// Fresh noise between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Churn {
    /// How much, over all steps together (`S_churn`).
    pub amount: f64,
    /// Least level at which there is some (`S_min`).
    pub least: f64,
    /// Largest one (`S_max`).
    pub most: f64,
}

impl Churn {
    /// None.
    pub const NONE: Self = Self { amount: 0.0, least: 0.0, most: f64::MAX };

    /// By what part a level rises, of `steps` in all.
    fn rise(&self, level: f64, steps: usize) -> f64 {
        if self.amount > 0.0 && (self.least..=self.most).contains(&level) {
            (self.amount / steps as f64).min(1.0)
        } else {
            0.0
        }
    }
}

/// What images without their noise look like, at one noise level for all.
pub type Denoiser<'a> = dyn FnMut(&Tensor, f64) -> Result<Tensor> + 'a;

/// The denoiser of a class, pushed away from that of no class (Ho and Salimans, "Classifier-free
/// diffusion guidance", 2022): `(1 + weight) of_class - weight of_none`.
pub fn guided(of_class: &Tensor, of_none: &Tensor, weight: f64) -> Tensor {
    of_class * (1.0 + weight) - of_none * weight
}

/// Euler's steps along the deterministic flow, then what is seen at the last level (Song, Meng,
/// Ermon, "Denoising diffusion implicit models", 2021, in EDM's terms).
///
/// # Shapes
/// `noise` `[n, c, h, w]`, standard normal; as it.
///
/// # Errors
/// Those of the denoiser.
pub fn ddim(denoiser: &mut Denoiser<'_>, noise: &Tensor, levels: &[f64]) -> Result<Tensor> {
    let Some((&last, &first)) = levels.last().zip(levels.first()) else {
        return Err(Error::invalid("a sampler needs noise levels"));
    };
    let mut x = noise * first;
    for pair in levels.windows(2) {
        let (level, next) = (pair[0], pair[1]);
        let slope = (&x - denoiser(&x, level)?) / level;
        x += slope * (next - level);
    }
    denoiser(&x, last)
}

/// Heun's steps, each corrected at its end, with fresh noise before it where `churn` says so; what
/// was seen last comes out. `fresh` gives the noise of a step, and is asked only where there is
/// some.
///
/// # Shapes
/// `noise` `[n, c, h, w]`, standard normal; as it.
///
/// # Errors
/// Those of the denoiser.
pub fn heun(
    denoiser: &mut Denoiser<'_>,
    noise: &Tensor,
    levels: &[f64],
    churn: &Churn,
    fresh: &mut dyn FnMut(usize) -> Result<Tensor>,
) -> Result<Tensor> {
    let Some(&first) = levels.first() else {
        return Err(Error::invalid("a sampler needs noise levels"));
    };
    let mut x = noise * first;
    let mut seen = x.shallow_clone();
    for (step, &level) in levels.iter().enumerate() {
        let next = levels.get(step + 1).copied().unwrap_or(0.0);
        let rise = churn.rise(level, levels.len());
        let raised = level * (1.0 + rise);
        if rise > 0.0 {
            x += fresh(step)? * (raised * raised - level * level).sqrt();
        }
        seen = denoiser(&x, raised)?;
        let slope = (&x - &seen) / raised;
        let moved = &x + &slope * (next - raised);
        x = if next > 0.0 {
            seen = denoiser(&moved, next)?;
            let after = (&moved - &seen) / next;
            x + (slope + after) * (0.5 * (next - raised))
        } else {
            moved
        };
    }
    Ok(seen)
}

/// Pixels of samples in `[-1, 1]` as bytes: cut off, not rounded.
///
/// # Errors
/// Where libtorch refuses.
pub fn to_bytes(samples: &Tensor) -> Result<Tensor> {
    let unit = (samples / 2.0 + 0.5).f_clamp(0.0, 1.0)?;
    Ok((unit * 255.0).f_to_kind(Kind::Uint8)?)
}

/// How images are made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SamplePlan {
    /// The sampler.
    pub sampler: SamplerKind,
    /// Its noise levels.
    pub grid: Grid,
    /// Fresh noise, of Heun's.
    pub churn: Churn,
    /// Weight of the guidance; 0: none.
    pub guidance: f64,
    /// Images made at once.
    pub batch_size: usize,
    /// Seed of the noise.
    pub seed: u64,
}

/// Makes images of `labels` by batches, from the batch `first_batch` on, and hands each batch's
/// over in order: its number and its images, in `[0, 1]` as bytes have it. A batch's images follow
/// from the plan, the batch's number and its labels.
///
/// # Privacy
/// A function of the network: it has the guarantee of that.
///
/// # Errors
/// A plan whose numbers mean nothing, labels that the network has not learnt, those of `take`, a
/// stop.
pub fn sample(
    network: &UNet,
    labels: &[i64],
    plan: &SamplePlan,
    first_batch: usize,
    progress: &dyn Progress,
    mut take: impl FnMut(usize, Images) -> Result<()>,
) -> Result<()> {
    let levels = plan.grid.levels()?;
    let shape = network.shape();
    if let Some(label) = labels.iter().find(|label| !(0..shape.classes).contains(label)) {
        return Err(Error::invalid(format!(
            "class {label} was asked for, and the network has learnt the classes 0 to {}",
            shape.classes - 1
        )));
    }
    if plan.batch_size == 0 || !plan.guidance.is_finite() {
        return Err(Error::invalid(format!(
            "batches of {} and a guidance of {}: give one image or more, and a number",
            plan.batch_size, plan.guidance
        )));
    }
    let device = network.device();
    let (batch, done) = (plan.batch_size, (first_batch * plan.batch_size).min(labels.len()));
    let left = &labels[done..];
    let workers = (0..parallel::workers(device)).map(|_| network.clone()).collect();
    let levels = &levels;
    parallel::batches(
        left.len() as i64,
        batch as i64,
        workers,
        progress,
        |network: &mut UNet, first, n| {
            let _guard = tch::no_grad_guard();
            let at = done + first as usize;
            let mut stream = Stream::new(plan.seed, Purpose::DiffusionSamples, (at / batch) as u64);
            let size = [n, shape.channels, shape.size, shape.size];
            let noise = stream.normal_tensor(&size)?.f_to_device(device)?;
            let classes = tensor::from_i64(&labels[at..at + n as usize]).f_to_device(device)?;
            let none = classes.f_full_like(shape.classes)?;
            let watched = network.clone();
            let of = |x: &Tensor, level: f64, classes: &Tensor| {
                let sigma = Tensor::f_full([n], level, (x.kind(), device))?;
                let mut forward = |x: &Tensor, level: &Tensor, class: &Tensor| {
                    Ok(watched.forward(x, level, class, &mut Pass::Infer))
                };
                edm::denoised(&mut forward, x, &sigma, classes)
            };
            let mut denoiser = |x: &Tensor, level: f64| -> Result<Tensor> {
                let of_class = of(x, level, &classes)?;
                if plan.guidance == 0.0 {
                    return Ok(of_class);
                }
                Ok(guided(&of_class, &of(x, level, &none)?, plan.guidance))
            };
            let made = match plan.sampler {
                SamplerKind::Ddim => ddim(&mut denoiser, &noise, levels)?,
                SamplerKind::Heun => heun(&mut denoiser, &noise, levels, &plan.churn, &mut |_| {
                    Ok(stream.normal_tensor(&size)?.f_to_device(device)?)
                })?,
            };
            Ok(to_bytes(&made)?.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Float)? / 255.0)
        },
        |first, _, pixels| take((done + first as usize) / batch, Images::trusted(pixels)),
    )
}
