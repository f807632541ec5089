//! Training of Wasserstein GANs on public images.

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::base::parallel::Threads;
use crate::base::progress::Progress;
use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::data::Images;
use crate::models::{Extractor, Sequential, takes_rows};
use crate::nn::{self, Adam, Module, Optimizer as _, Pass};
use crate::train::checkpoint::{Checkpoint, CheckpointStore, OF_NO_USE};
use crate::{Error, Result};

/// How a critic is kept from growing steep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lipschitz {
    /// Its weights are clipped to this on both sides after every step (Arjovsky, Chintala, Bottou,
    /// "Wasserstein generative adversarial networks", 2017); biases are not, as in the original.
    Clip(f64),
    /// A penalty of this weight on gradients of a norm other than 1 (Gulrajani et al., "Improved
    /// training of Wasserstein GANs", 2017).
    Penalty(f64),
}

/// How a GAN is trained.
#[derive(Clone, Debug, Serialize)]
pub struct GanPlan {
    /// Steps of the generator.
    pub steps: u64,
    /// Steps of the critic before each.
    pub critic_steps: u64,
    /// Images per step.
    pub batch_size: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Adam's decays of its two averages.
    pub betas: (f64, f64),
    /// L2 regularisation in the gradient.
    pub weight_decay: f64,
    /// How the critic is held.
    pub lipschitz: Lipschitz,
    /// Steps between two checkpoints.
    pub block: u64,
    /// Seed of samples and noise.
    pub seed: u64,
}

/// Means over a block of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GanBlock {
    /// Steps of the generator so far.
    pub step: u64,
    /// What the critic maximises: its mean over images less that over generated ones.
    pub distance: f64,
}

/// The critic's loss: its mean over generated rows less that over real ones.
///
/// # Errors
/// Where libtorch refuses.
pub fn critic_loss(real: &Tensor, generated: &Tensor) -> Result<Tensor> {
    Ok(generated.f_mean(None)? - real.f_mean(None)?)
}

/// `weight * mean((|gradient of the critic at x^| - 1)^2)` for x^ between real and generated rows,
/// the norm over all values of a record; `share` says how far each lies from the generated one.
///
/// # Shapes
/// `real` and `generated` alike; `share` `[n]`.
///
/// # Errors
/// Where libtorch refuses.
#[expect(clippy::disallowed_methods, reason = "the graph of the gradient itself is asked for, and is there")]
pub fn penalty(
    critic: &Sequential,
    real: &Tensor,
    generated: &Tensor,
    share: &Tensor,
    weight: f64,
) -> Result<Tensor> {
    let mut size = vec![1; real.dim()];
    size[0] = -1;
    let share = share.f_view(size.as_slice())?;
    let rest: Tensor = 1.0 - &share;
    let between = (real * &share + generated * rest).detach().set_requires_grad(true);
    let scores = critic.forward(&between, &mut Pass::differentiate()).f_sum(None)?;
    let gradient = Tensor::f_run_backward(&[scores], &[&between], true, true)?.remove(0);
    let norm =
        gradient.f_flatten(1, -1)?.f_square()?.f_sum_dim_intlist([1i64].as_slice(), false, None)?.f_sqrt()?;
    Ok((norm - 1.0).f_square()?.f_mean(None)? * weight)
}

/// Clips the weights of a critic, and leaves its biases.
///
/// # Errors
/// Where libtorch refuses.
pub fn clip_weights(critic: &dyn Module, most: f64) -> Result<()> {
    let _guard = tch::no_grad_guard();
    for parameter in nn::learnt(critic).into_iter().filter(|p| p.name().ends_with("weight")) {
        let _ = parameter.value().detach().f_clamp_(-most, most)?;
    }
    Ok(())
}

/// Critic and generator as one module, for checkpoints.
struct Both(Sequential, Extractor);

impl Module for Both {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a nn::Parameter)) {
        self.0.visit(f);
        self.1.visit(f);
    }
}

/// Trains `generator` against `critic` on `images`; a training with a checkpoint in `store` goes on
/// from there. In steps of the critic the generator uses its running statistics, in its own the
/// batch's.
///
/// # Guarantee
/// None, where `images` are private: ordinary training.
///
/// # Errors
/// No images, another shape, a loss that is not finite, a checkpoint that cannot be written, a
/// stop.
pub fn train(
    generator: &Extractor,
    critic: &Sequential,
    images: &Images,
    plan: &GanPlan,
    device: Device,
    progress: &dyn Progress,
    store: &dyn CheckpointStore,
) -> Result<Vec<GanBlock>> {
    if images.is_empty() || plan.batch_size == 0 || plan.critic_steps == 0 || plan.block == 0 {
        return Err(Error::invalid(format!(
            "{} images in batches of {}, {} steps of the critic, blocks of {}: there is nothing to train on",
            images.len(),
            plan.batch_size,
            plan.critic_steps,
            plan.block
        )));
    }
    images.expect_shape(std::path::Path::new("the images"), generator.shape())?;
    let images = images.tensor().f_to_device(device)?;
    let images = if takes_rows(critic.spec()) { images.f_flatten(1, -1)? } else { images };
    let adam = || Adam::with_betas(plan.learning_rate, plan.weight_decay, plan.betas);
    let mut players = Players {
        both: Both(critic.clone(), generator.clone()),
        images,
        plan,
        optimizers: [adam(), adam()],
        trained: [nn::trainable(critic), nn::trainable(generator)],
    };
    let blocks = plan.steps.div_ceil(plan.block) as usize;
    let mut history: Vec<GanBlock> = Vec::with_capacity(blocks);
    if let Some(state) = store.load() {
        if let Some(resumed) = state.restore(&players.both, blocks, false)? {
            history = resumed.history;
            players.resume(&resumed.optimizer, history.last().map_or(0, |block: &GanBlock| block.step));
        } else {
            progress.say(OF_NO_USE);
        }
    }
    let mut done = history.last().map_or(0, |block| block.step);
    progress.advance(done, "");
    let _threads = Threads::one();
    while done < plan.steps {
        progress.check()?;
        let until = (done + plan.block).min(plan.steps);
        let mut distance = 0.0;
        for step in done..until {
            distance += players.step(step)? / (until - done) as f64;
        }
        if !distance.is_finite() {
            return Err(Error::invalid(format!(
                "the critic's scores became {distance} at step {until}; lower the learning rate ({})",
                plan.learning_rate
            )));
        }
        history.push(GanBlock { step: until, distance });
        if until < plan.steps {
            let steps = i32::try_from(until).unwrap_or(i32::MAX);
            store.save(&Checkpoint::new(
                &players.both,
                (&players.moments(), steps),
                None,
                None,
                &history,
            )?)?;
        }
        progress.advance(until - done, &format!("distance {distance:.4}"));
        done = until;
    }
    Ok(history)
}

/// A critic and a generator at work.
struct Players<'a> {
    both: Both,
    /// In the shape that the critic takes.
    images: Tensor,
    plan: &'a GanPlan,
    /// The critic's first.
    optimizers: [Adam; 2],
    trained: [Vec<Tensor>; 2],
}

impl Players<'_> {
    /// A step of the generator, and those of the critic before it; gives the critic's mean
    /// distance.
    fn step(&mut self, step: u64) -> Result<f64> {
        let (critic, generator, plan) = (&self.both.0, &self.both.1, self.plan);
        let device = self.images.device();
        let n = plan.batch_size as i64;
        let size = [&[n], &self.images.size()[1..]].concat();
        let noise = |stream: &mut Stream| -> Result<Tensor> {
            Ok(stream.normal_tensor(&[n, generator.latent_dim()])?.f_to_device(device)?)
        };
        let mut stream = Stream::new(plan.seed, Purpose::Gan, step);
        let mut distance = 0.0;
        for _ in 0..plan.critic_steps {
            let of = self.images.size()[0] as u64;
            let chosen: Vec<i64> = (0..n).map(|_| stream.below(of) as i64).collect();
            let real = self.images.f_index_select(0, &tensor::from_i64(&chosen).f_to_device(device)?)?;
            let drawn = generator.decoder().forward(&noise(&mut stream)?, &mut Pass::Infer);
            let drawn = drawn.f_reshape(&size)?;
            let pass = &mut Pass::differentiate();
            let mut loss = critic_loss(&critic.forward(&real, pass), &critic.forward(&drawn, pass))?;
            distance -= loss.f_double_value(&[])? / plan.critic_steps as f64;
            if let Lipschitz::Penalty(weight) = plan.lipschitz {
                let share = tensor::from_f32(&stream.uniform(n as usize, 0.0, 1.0), &[n])?;
                loss += penalty(critic, &real, &drawn, &share.f_to_device(device)?, weight)?;
            }
            let gradients = tensor::gradients(&loss, &self.trained[0])?;
            self.optimizers[0].step(&mut self.trained[0], &gradients);
            if let Lipschitz::Clip(most) = plan.lipschitz {
                clip_weights(critic, most)?;
            }
        }
        let pass = &mut Pass::differentiate();
        let drawn = generator.decoder().forward(&noise(&mut stream)?, pass).f_reshape(&size)?;
        let loss = critic.forward(&drawn, pass).f_mean(None)?.f_neg()?;
        let gradients = tensor::gradients(&loss, &self.trained[1])?;
        self.optimizers[1].step(&mut self.trained[1], &gradients);
        Ok(distance)
    }

    /// The optimisers' tensors in the order of all parameters: first moments, then second ones.
    fn moments(&self) -> Vec<Tensor> {
        let states = self.optimizers.each_ref().map(|optimizer| optimizer.state().0);
        let half = |which: usize| {
            states.iter().flat_map(move |all| {
                let (first, second) = all.split_at(all.len() / 2);
                if which == 0 { first } else { second }
            })
        };
        half(0).chain(half(1)).map(Tensor::shallow_clone).collect()
    }

    /// Goes on after `steps` of the generator.
    fn resume(&mut self, moments: &[Tensor], steps: u64) {
        let (first, second) = moments.split_at(moments.len() / 2);
        let of_critic = self.trained[0].len();
        let both = |from: usize, to: usize| -> Vec<Tensor> {
            first[from..to].iter().chain(&second[from..to]).map(Tensor::shallow_clone).collect()
        };
        let count = |steps: u64| i32::try_from(steps).unwrap_or(i32::MAX);
        self.optimizers[0].resume(both(0, of_critic), count(steps * self.plan.critic_steps));
        self.optimizers[1].resume(both(of_critic, first.len()), count(steps));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::progress::Silent;
    use crate::data::ImageShape;
    use crate::models::{self, Between};
    use crate::train::NoCheckpoint;

    #[test]
    fn a_generator_learns_how_bright_images_are() {
        let shape = ImageShape { channels: 1, height: 4, width: 4 };
        let bright = Stream::new(1, Purpose::Latents, 0).uniform(256 * 16, 0.7, 0.9);
        let images = Images::trusted(tensor::from_f32(&bright, &[256, 1, 4, 4]).unwrap());
        for lipschitz in [Lipschitz::Clip(0.05), Lipschitz::Penalty(10.0)] {
            let layers = models::latent_generator(4, &[16], 16, true);
            let generator = Extractor::generator(layers, shape, 4, 1, Device::Cpu).unwrap();
            let critic = Sequential::new(
                "critic.model",
                &models::critic(16, &[16], Between::LeakyRelu),
                1,
                2,
                Device::Cpu,
            )
            .unwrap();
            let plan = GanPlan {
                steps: 300,
                critic_steps: 3,
                batch_size: 32,
                learning_rate: 5e-3,
                betas: (0.0, 0.9),
                weight_decay: 0.0,
                lipschitz,
                block: 50,
                seed: 3,
            };
            let made = || {
                let z = Stream::new(9, Purpose::Latents, 0).normal_tensor(&[200, 4]).unwrap();
                let images = generator.decode(&z, &Silent).unwrap();
                images.tensor().mean(tch::Kind::Float).double_value(&[])
            };
            let before = made();
            let history =
                train(&generator, &critic, &images, &plan, Device::Cpu, &Silent, &NoCheckpoint).unwrap();
            let mean = made();
            assert!((mean - 0.8).abs() < 0.1, "{lipschitz:?}: {before:?} to {mean}, {history:?}");
            if let Lipschitz::Clip(most) = lipschitz {
                let weights = nn::learnt(&critic).into_iter().filter(|p| p.name().ends_with("weight"));
                for weight in weights {
                    assert!(weight.value().abs().max().double_value(&[]) <= most + 1e-8);
                }
            }
        }
    }
}
