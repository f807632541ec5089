//! Latent steering: latents moved until the teacher sees the wanted class.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::data::Images;
use crate::generate::decode;
use crate::models::{Decoder, Teacher};
use crate::nn::{Adam, Optimizer as _};
use crate::progress::Progress;
use crate::rng::{Purpose, Stream};
use crate::{Result, parallel, tensor};

/// How latents are steered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SteeringPlan {
    /// Adam steps.
    pub steps: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Standard deviation of the noise added after every step, at least 0.
    pub noise_scale: f64,
}

/// Latents stay in this box.
const LATENT_LIMIT: f64 = 3.0;

/// Latents steered at once; their activations stay in the processor's cache.
const GROUP: i64 = 64;

/// What steering found, one row per latent.
pub struct Steered {
    /// The best of z0 .. `z_steps`: `[n, latent_dim]`.
    pub best: Tensor,
    /// Where the last step ended: `[n, latent_dim]`.
    pub last: Tensor,
    /// The teacher's probability of the wanted class at z0 .. `z_steps`: `[steps + 1, n]`.
    pub confidences: Tensor,
}

/// Steers `z0` towards `classes`.
///
/// Adam on the sum over rows of `-log p(class)` (rows do not touch each other); after each step `z += noise`, clamped to
/// `[-3, 3]`. All of z0 .. `z_steps` are measured, and the best is returned; the earlier one among equals.
///
/// # Shapes
/// `z0` `[n, latent_dim]`, `classes` int64 `[n]`; `noise(step)` gives `[n, latent_dim]` or `None`.
///
/// # Guarantee
/// None: it follows the gradient of a teacher that was trained on private data.
///
/// # Errors
/// Where the teacher's program fails.
pub fn steer(
    decoder: &Decoder,
    teacher: &Teacher,
    z0: &Tensor,
    classes: &Tensor,
    plan: SteeringPlan,
    mut noise: impl FnMut(usize) -> Result<Option<Tensor>>,
) -> Result<Steered> {
    let device = decoder.device();
    let classes = classes.f_to_device(device)?.f_unsqueeze(1)?;
    let z = z0.f_to_device(device)?.f_detach()?.copy();
    let mut latents = [z];
    let mut adam = Adam::new(plan.learning_rate, 0.0);
    let mut best = latents[0].copy();
    let mut best_log_p = Tensor::f_full([latents[0].size()[0]], f64::NEG_INFINITY, (Kind::Float, device))?;
    let mut measured = Vec::with_capacity(plan.steps + 1);
    for step in 0..=plan.steps {
        let z = latents[0].f_detach()?.f_set_requires_grad(step < plan.steps)?;
        let log_p = {
            let _guard = (step == plan.steps).then(tch::no_grad_guard);
            teacher.log_probs(&decoder.forward(&z))?.f_gather(1, &classes, false)?.f_squeeze_dim(1)?
        };
        {
            let _guard = tch::no_grad_guard();
            let now = log_p.f_detach()?;
            let better = now.f_gt_tensor(&best_log_p)?;
            best_log_p = now.f_where_self(&better, &best_log_p)?;
            best = z.f_detach()?.f_where_self(&better.f_unsqueeze(1)?, &best)?;
            measured.push(now.f_exp()?);
        }
        if step == plan.steps {
            break;
        }
        let loss = -log_p.f_sum(Kind::Float)?;
        let gradient = tensor::gradients(&loss, &[&z])?;
        adam.step(&mut latents, &gradient);
        let _guard = tch::no_grad_guard();
        if let Some(noise) = noise(step)? {
            let _ = latents[0].f_add_(&noise.f_to_device(device)?)?;
        }
        let _ = latents[0].f_clamp_(-LATENT_LIMIT, LATENT_LIMIT)?;
    }
    let [last] = latents;
    Ok(Steered { best, last, confidences: Tensor::f_stack(&measured, 0)? })
}

/// What steering starts from, for all rows.
struct Starts {
    z0: Tensor,
    classes: Tensor,
    noises: Vec<Option<Tensor>>,
}

impl Starts {
    fn share(&self) -> Self {
        Self {
            z0: self.z0.shallow_clone(),
            classes: self.classes.shallow_clone(),
            noises: self.noises.iter().map(|noise| noise.as_ref().map(Tensor::shallow_clone)).collect(),
        }
    }
}

/// Images steered to classes, and the class that each was steered to.
pub struct SteeredImages {
    /// `[n, c, h, w]`, by class in rising order.
    pub images: Images,
    /// One per image.
    pub wanted: Vec<i64>,
}

/// Makes `missing[class]` images for every class, all classes side by side.
///
/// Start points and noise come from streams of (effective seed, class): the images of a class do not depend on which other
/// classes are made with it, up to rounding.
///
/// # Errors
/// A stop, or a teacher's program that fails.
pub fn make_missing(
    decoder: &Decoder,
    teacher: &Teacher,
    missing: &BTreeMap<i64, u64>,
    plan: SteeringPlan,
    seed: u64,
    progress: &dyn Progress,
) -> Result<SteeredImages> {
    let latent_dim = decoder.latent_dim();
    let mut wanted = Vec::new();
    let mut starts = Vec::new();
    let mut noises: Vec<Vec<Tensor>> = (0..plan.steps).map(|_| Vec::new()).collect();
    for (&class, &n) in missing {
        let n = n as i64;
        wanted.extend(std::iter::repeat_n(class, n as usize));
        starts.push(Stream::new(seed, Purpose::SteeringStart, class as u64).normal_tensor(&[n, latent_dim])?);
        if plan.noise_scale > 0.0 {
            let mut stream = Stream::new(seed, Purpose::SteeringNoise, class as u64);
            for step in &mut noises {
                step.push(stream.normal_tensor(&[n, latent_dim])? * plan.noise_scale);
            }
        }
    }
    let empty = Tensor::f_empty(decoder.spec().batch(0), (Kind::Float, tch::Device::Cpu))?;
    if wanted.is_empty() {
        return Ok(SteeredImages { images: Images::trusted(empty), wanted });
    }
    let z0 = Tensor::f_cat(&starts, 0)?;
    let classes = tensor::from_i64(&wanted);
    let noises: Vec<Option<Tensor>> = noises
        .iter()
        .map(|by_class| if by_class.is_empty() { Ok(None) } else { Ok(Some(Tensor::f_cat(by_class, 0)?)) })
        .collect::<Result<_>>()?;
    let mut best = Vec::new();
    let rows = wanted.len() as i64;
    let group = |decoder: &Decoder, teacher: &Teacher, from: &Starts, first: i64, n: i64| -> Result<Tensor> {
        let part = |x: &Tensor| -> Result<Tensor> { Ok(x.f_narrow(0, first, n)?) };
        let noise = |step: usize| from.noises[step].as_ref().map(part).transpose();
        Ok(steer(decoder, teacher, &part(&from.z0)?, &part(&from.classes)?, plan, noise)?.best)
    };
    let starts = Starts { z0, classes, noises };
    let shares: Option<Vec<_>> = (0..parallel::workers(decoder.device()))
        .map(|_| Some((decoder.share(), teacher.share()?, starts.share())))
        .collect();
    match shares {
        Some(workers) => parallel::batches(
            rows,
            GROUP,
            workers,
            progress,
            |(decoder, teacher, starts), first, n| group(decoder, teacher, starts, first, n),
            |_, _, z| {
                best.push(z);
                Ok(())
            },
        )?,
        None => tensor::batches(rows, GROUP, |first, n| {
            progress.check()?;
            best.push(group(decoder, teacher, &starts, first, n)?);
            progress.advance(n as u64, "");
            Ok(())
        })?,
    }
    let images = decode(decoder, &Tensor::f_cat(&best, 0)?)?;
    Ok(SteeredImages { images: Images::trusted(images), wanted })
}
