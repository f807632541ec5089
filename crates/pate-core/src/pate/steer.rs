//! Latent steering: latents moved until the teacher sees the wanted class.

use std::collections::BTreeMap;

use serde::Serialize;
use tch::{Kind, Tensor};

use crate::Result;
use crate::base::progress::{Progress, Silent};
use crate::base::rng::{Purpose, Stream};
use crate::base::{parallel, tensor};
use crate::config::StartKind;
use crate::data::Images;
use crate::models::{Decoder, Teacher};
use crate::nn::{Adam, Optimizer as _, Pass};
use crate::pate::generate::decode;

/// How latents are steered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SteeringPlan {
    /// Adam steps.
    pub steps: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Standard deviation of the noise added after every step, at least 0.
    pub noise_scale: f64,
    /// A latent is done once the teacher's probability of its class is at least this; `None`: all
    /// steps are made.
    pub stop_confidence: Option<f64>,
    /// Where latents start.
    pub starts: StartKind,
}

/// Latents stay in this box.
const LATENT_LIMIT: f64 = 3.0;

/// Latents steered at once; their activations stay in the processor's cache.
const GROUP: i64 = 32;

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
/// Adam on the sum over rows of `-log p(class)` (rows do not touch each other); after each step
/// `z += noise`, clamped to `[-3, 3]`. All of z0 .. `z_steps` are measured, and the best is
/// returned; the earlier one among equals.
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
    // A copy, since steps write over the latents in place.
    let z = z0.f_to_device(device)?.f_detach()?.copy();
    let mut latents = [z];
    let mut adam = Adam::new(plan.learning_rate, 0.0);
    let mut best = latents[0].copy();
    let mut best_log_p = Tensor::f_full([latents[0].size()[0]], f64::NEG_INFINITY, (Kind::Float, device))?;
    let mut measured = Vec::with_capacity(plan.steps + 1);
    // One turn more than steps: where the last step ended is measured, too, as every latent is that
    // may be kept.
    for step in 0..=plan.steps {
        let z = latents[0].f_detach()?.f_set_requires_grad(step < plan.steps)?;
        let log_p = {
            let mut pass = if step == plan.steps { Pass::Infer } else { Pass::differentiate() };
            let images = decoder.forward(&z, &mut pass);
            let _guard = pass.guard();
            teacher.log_probs(&images, &mut pass)?.f_gather(1, &classes, false)?.f_squeeze_dim(1)?
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
        // Rows do not touch each other, so the gradient of the sum is each row's own.
        let loss = -log_p.f_sum(Kind::Float)?;
        let gradient = tensor::gradients(&loss, &[&z])?;
        adam.step(&mut latents, &gradient);
        let _guard = tch::no_grad_guard();
        // Noise before the clamp, or latents could leave the box by it.
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
    /// `[n, latent_dim]`.
    z0: Tensor,
    /// `[n]`.
    classes: Tensor,
    /// `[n, steps, latent_dim]`, where there is noise.
    noises: Option<Tensor>,
}

impl Starts {
    fn alias(&self) -> Self {
        Self {
            z0: self.z0.shallow_clone(),
            classes: self.classes.shallow_clone(),
            noises: self.noises.as_ref().map(Tensor::shallow_clone),
        }
    }

    fn narrow(&self, first: i64, n: i64) -> Result<Self> {
        Ok(Self {
            z0: self.z0.f_narrow(0, first, n)?,
            classes: self.classes.f_narrow(0, first, n)?,
            noises: self.noises.as_ref().map(|noises| noises.f_narrow(0, first, n)).transpose()?,
        })
    }
}

/// Rows that one thread steers with [`steer_until`]: as some are done, others take their places in
/// its group.
const QUEUE: i64 = 256;

/// Steers all rows of `from` until the teacher is sure enough of each, at most `plan.steps` steps.
///
/// As [`steer`], but a row leaves when its probability reaches `stop`, and the next one takes its
/// place: the network always has a full group to work on. Gives the best latents,
/// `[n, latent_dim]`.
fn steer_until(
    decoder: &Decoder,
    teacher: &Teacher,
    from: &Starts,
    plan: SteeringPlan,
    stop: f64,
) -> Result<Tensor> {
    let device = decoder.device();
    let (n, latent_dim) = (from.z0.size()[0], from.z0.size()[1]);
    let (z0, classes) = (from.z0.f_to_device(device)?, from.classes.f_to_device(device)?);
    // Row after row and, within a row, step after step: one index finds a row's noise, however far
    // each row of the group has come.
    let noises =
        from.noises.as_ref().map(|noises| noises.f_flatten(0, 1)?.f_to_device(device)).transpose()?;
    let found = z0.copy();
    // On the host, as the decision who leaves the group is: one row of probabilities is all that a
    // step copies from the device.
    let mut best = vec![f32::NEG_INFINITY; n as usize];
    let enough = stop.ln() as f32;
    let mut waiting = 0..n;
    let mut group: Vec<(i64, usize)> = Vec::new();
    let empty = Tensor::f_empty([0, latent_dim], (Kind::Float, device))?;
    // Rows of the group: latents and Adam's two moments.
    let mut state = [empty.shallow_clone(), empty.shallow_clone(), empty];
    loop {
        let first = waiting.start;
        while (group.len() as i64) < GROUP
            && let Some(row) = waiting.next()
        {
            group.push((row, 0));
        }
        let n_new = waiting.start - first;
        if n_new > 0 {
            let z = z0.f_narrow(0, first, n_new)?;
            let nothing = z.f_zeros_like()?;
            state = [
                Tensor::f_cat(&[&state[0], &z], 0)?,
                Tensor::f_cat(&[&state[1], &nothing], 0)?,
                Tensor::f_cat(&[&state[2], &nothing], 0)?,
            ];
        }
        if group.is_empty() {
            return Ok(found);
        }
        let rows: Vec<i64> = group.iter().map(|&(row, _)| row).collect();
        let rows = tensor::from_i64(&rows).f_to_device(device)?;
        let z = state[0].f_detach()?.f_set_requires_grad(true)?;
        let wanted = classes.f_index_select(0, &rows)?.f_unsqueeze(1)?;
        let mut pass = Pass::differentiate();
        let images = decoder.forward(&z, &mut pass);
        let log_p = teacher.log_probs(&images, &mut pass)?.f_gather(1, &wanted, false)?.f_squeeze_dim(1)?;
        let now = tensor::to_f32(&log_p.f_detach()?)?;
        let (mut better, mut left) = (Vec::new(), Vec::new());
        for (at, (&(row, step), &log_p)) in group.iter().zip(&now).enumerate() {
            if log_p > best[row as usize] {
                best[row as usize] = log_p;
                better.push(at as i64);
            }
            if log_p < enough && step < plan.steps {
                left.push(at as i64);
            }
        }
        // Where all rows leave, nobody needs gradients, which cost more than the pass before them.
        let gradient = if left.is_empty() {
            None
        } else {
            Some(tensor::gradients(&-log_p.f_sum(Kind::Float)?, &[&z])?.remove(0))
        };
        // Held until the turn ends; the next turn's pass must record again.
        let _guard = tch::no_grad_guard();
        if !better.is_empty() {
            let better = tensor::from_i64(&better).f_to_device(device)?;
            let values = z.f_detach()?.f_index_select(0, &better)?;
            let _ = found.shallow_clone().f_index_copy_(0, &rows.f_index_select(0, &better)?, &values)?;
        }
        let kept = tensor::from_i64(&left).f_to_device(device)?;
        let take = |x: &Tensor| x.f_index_select(0, &kept);
        group = left.iter().map(|&at| group[at as usize]).collect();
        state = [take(&state[0])?, take(&state[1])?, take(&state[2])?];
        let Some(gradient) = gradient else { continue };
        let gradient = take(&gradient)?;
        // Adam's bias correction follows a row's own number of steps, and rows of a group joined at
        // different times.
        let steps: Vec<i32> = group.iter().map(|&(_, step)| step as i32 + 1).collect();
        let [z, mean, square] = &mut state;
        Adam::step_rows(z, mean, square, &gradient, plan.learning_rate, &steps)?;
        if let Some(noises) = &noises {
            let at: Vec<i64> =
                group.iter().map(|&(row, step)| row * plan.steps as i64 + step as i64).collect();
            let _ = z.f_add_(&noises.f_index_select(0, &tensor::from_i64(&at).f_to_device(device)?)?)?;
        }
        let _ = z.f_clamp_(-LATENT_LIMIT, LATENT_LIMIT)?;
        for (_, step) in &mut group {
            *step += 1;
        }
    }
}

/// Rejected candidates from which steering can start.
pub struct PoolStarts<'a> {
    /// Latents of the whole pool, `[n, latent_dim]`.
    pub latents: &'a Tensor,
    /// The teacher's probabilities of all classes, row after row, for the whole pool.
    pub probabilities: &'a [f32],
    /// Candidates that may be used: those that were not confident enough.
    pub rows: &'a [usize],
}

impl PoolStarts<'_> {
    /// Rows of the candidates most like `class`, at most `n`; the lower one first among equals.
    fn best(&self, class: i64, classes: usize, n: usize) -> Vec<i64> {
        let p = |row: usize| self.probabilities[row * classes + class as usize];
        let mut rows = self.rows.to_vec();
        rows.sort_by(|&a, &b| p(b).total_cmp(&p(a)).then(a.cmp(&b)));
        rows.into_iter().take(n).map(|row| row as i64).collect()
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
/// Random start points and noise come from streams of (effective seed, class): the images of a
/// class do not depend on which other classes are made with it, up to rounding. `pool` is for
/// [`StartKind::Pool`].
///
/// # Errors
/// A stop, or a teacher's program that fails.
pub fn make_missing(
    decoder: &Decoder,
    teacher: &Teacher,
    missing: &BTreeMap<i64, u64>,
    plan: SteeringPlan,
    pool: Option<&PoolStarts<'_>>,
    seed: u64,
    progress: &dyn Progress,
) -> Result<SteeredImages> {
    let latent_dim = decoder.latent_dim();
    let mut wanted = Vec::new();
    let mut starts = Vec::new();
    let mut noises = Vec::new();
    for (&class, &n) in missing {
        let n = n as i64;
        wanted.extend(std::iter::repeat_n(class, n as usize));
        // Drawn for all rows, also where the pool fills some: which numbers the others get does not
        // depend on how many candidates were rejected.
        let random =
            Stream::new(seed, Purpose::SteeringStart, class as u64).normal_tensor(&[n, latent_dim])?;
        if let (StartKind::Pool, Some(pool)) = (plan.starts, pool) {
            let best = tensor::from_i64(&pool.best(class, teacher.classes() as usize, n as usize));
            // Latents of a pool may lie outside the box, and a first step would throw them back
            // into it.
            let best = pool.latents.f_index_select(0, &best)?.f_clamp(-LATENT_LIMIT, LATENT_LIMIT)?;
            random.f_narrow(0, 0, best.size()[0])?.f_copy_(&best)?;
        }
        starts.push(random);
        if plan.noise_scale > 0.0 && plan.steps > 0 {
            // All noise is drawn here, on one thread and by class: groups of rows cut across
            // classes, and threads take them in any order.
            let mut stream = Stream::new(seed, Purpose::SteeringNoise, class as u64);
            let steps = (0..plan.steps)
                .map(|_| Ok(stream.normal_tensor(&[n, latent_dim])? * plan.noise_scale))
                .collect::<Result<Vec<Tensor>>>()?;
            noises.push(Tensor::f_stack(&steps, 1)?);
        }
    }
    let empty = Tensor::f_empty(decoder.shape().batch(0), (Kind::Float, tch::Device::Cpu))?;
    if wanted.is_empty() {
        return Ok(SteeredImages { images: Images::trusted(empty), wanted });
    }
    let z0 = Tensor::f_cat(&starts, 0)?;
    let classes = tensor::from_i64(&wanted);
    let noises = if noises.is_empty() { None } else { Some(Tensor::f_cat(&noises, 0)?) };
    let mut best = Vec::new();
    let rows = wanted.len() as i64;
    let group = |decoder: &Decoder, teacher: &Teacher, from: &Starts, first: i64, n: i64| -> Result<Tensor> {
        let from = from.narrow(first, n)?;
        if let Some(stop) = plan.stop_confidence {
            return steer_until(decoder, teacher, &from, plan, stop);
        }
        let noise =
            |step: usize| from.noises.as_ref().map(|all| Ok(all.f_select(1, step as i64)?)).transpose();
        Ok(steer(decoder, teacher, &from.z0, &from.classes, plan, noise)?.best)
    };
    let rows_at_once = if plan.stop_confidence.is_some() { QUEUE } else { GROUP };
    let starts = Starts { z0, classes, noises };
    let workers: Option<Vec<_>> = (0..parallel::workers(decoder.device()))
        .map(|_| Some((decoder.clone(), teacher.alias()?, starts.alias())))
        .collect();
    match workers {
        Some(workers) => parallel::batches(
            rows,
            rows_at_once,
            workers,
            progress,
            |(decoder, teacher, starts), first, n| group(decoder, teacher, starts, first, n),
            |_, _, z| {
                best.push(z);
                Ok(())
            },
        )?,
        None => tensor::batches(rows, rows_at_once, |first, n| {
            progress.check()?;
            best.push(group(decoder, teacher, &starts, first, n)?);
            progress.advance(n as u64, "");
            Ok(())
        })?,
    }
    let images = decode(decoder, &Tensor::f_cat(&best, 0)?, &Silent)?;
    Ok(SteeredImages { images: Images::trusted(images), wanted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ImageShape, Normalisation};
    use crate::models::{UcStub, Vae};

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };
    const PLAN: SteeringPlan = SteeringPlan {
        steps: 5,
        learning_rate: 0.05,
        noise_scale: 0.1,
        stop_confidence: None,
        starts: StartKind::Random,
    };

    fn networks() -> (Decoder, Teacher) {
        let cpu = tch::Device::Cpu;
        let decoder = Vae::new(SHAPE, 8, 1, cpu).unwrap().decoder;
        let normalisation = Normalisation::new(&[0.1307], &[0.3081]).unwrap();
        (decoder, Teacher::from_network(&UcStub::new(SHAPE, 10, 2, cpu).unwrap(), normalisation))
    }

    fn make(plan: SteeringPlan, pool: Option<&PoolStarts<'_>>) -> SteeredImages {
        let (decoder, teacher) = networks();
        // More than a group, so that rows take the places of others.
        let missing = BTreeMap::from([(3, 50), (7, 90)]);
        make_missing(&decoder, &teacher, &missing, plan, pool, 5, &Silent).unwrap()
    }

    fn difference(a: &SteeredImages, b: &SteeredImages) -> f64 {
        (a.images.tensor() - b.images.tensor()).abs().max().double_value(&[])
    }

    #[test]
    fn a_confidence_that_nobody_reaches_is_all_steps() {
        let all = make(PLAN, None);
        let until = make(SteeringPlan { stop_confidence: Some(1.0), ..PLAN }, None);
        assert_eq!(all.wanted, until.wanted);
        assert!(difference(&all, &until) < 1e-4, "{}", difference(&all, &until));
        let other = make(SteeringPlan { steps: 4, ..PLAN }, None);
        assert!(difference(&all, &other) > 1e-4);
    }

    #[test]
    fn rows_that_are_sure_enough_stay_where_they_start() {
        let at_once = make(SteeringPlan { stop_confidence: Some(1e-6), ..PLAN }, None);
        let start = make(SteeringPlan { steps: 0, ..PLAN }, None);
        assert!(difference(&at_once, &start) < 1e-6);
    }

    #[test]
    fn starts_are_the_rejected_candidates_most_like_the_class() {
        let latents = Stream::new(9, Purpose::Latents, 0).normal_tensor(&[200, 8]).unwrap();
        let mut probabilities = vec![0.05; 2000];
        probabilities[150 * 10 + 3] = 0.6;
        probabilities[20 * 10 + 3] = 0.5;
        probabilities[10 * 10 + 3] = 0.7;
        let rows: Vec<usize> = (20..200).collect();
        let pool = PoolStarts { latents: &latents, probabilities: &probabilities, rows: &rows };
        assert_eq!(pool.best(3, 10, 4), [150, 20, 21, 22]);
        let plan = SteeringPlan { steps: 0, starts: StartKind::Pool, ..PLAN };
        let made = make(plan, Some(&pool));
        let (decoder, _) = networks();
        let row = tensor::from_i64(&[150]);
        let expected =
            decode(&decoder, &latents.index_select(0, &row).clamp(-LATENT_LIMIT, LATENT_LIMIT), &Silent)
                .unwrap();
        let distance = (made.images.tensor().narrow(0, 0, 1) - expected).abs().max().double_value(&[]);
        assert!(distance < 1e-6, "{distance}");
        // Without a pool they start at random.
        assert!(difference(&make(plan, None), &make(SteeringPlan { steps: 0, ..PLAN }, None)) < 1e-6);
    }
}
