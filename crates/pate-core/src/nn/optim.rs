use serde::Serialize;
use tch::Tensor;

use crate::{Result, tensor};

/// Changes parameters by their gradients.
///
/// Parameters are given at every step, in the same order; state is one tensor (or two) per parameter.
pub trait Optimizer {
    /// How many threads share the work on large parameters from the next step on; their values do not depend on it.
    fn set_threads(&mut self, threads: usize);

    /// One step: `parameters[i]` moves along `gradients[i]`.
    fn step(&mut self, parameters: &mut [Tensor], gradients: &[Tensor]);

    /// Sets the learning rate from the next step on.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// The state: a number of tensors like the parameters, all of one kind after all of another, and the steps taken.
    fn state(&self) -> (Vec<Tensor>, i32);

    /// Goes on from a [`Optimizer::state`].
    fn resume(&mut self, tensors: Vec<Tensor>, steps: i32);
}

/// Values of a parameter that are worth a second thread.
const LARGE: usize = 50_000;

/// Runs an element-wise `update` of tensors of one shape, in rows side by side where there are many values.
fn on_threads(threads: usize, tensors: &[Tensor], update: impl Fn(&[Tensor]) + Sync) {
    let rows = tensors[0].size().first().copied().unwrap_or(0);
    let parts = (threads as i64).min(rows);
    if parts < 2 || tensors[0].numel() < LARGE {
        update(tensors);
        return;
    }
    let part = |at: i64| -> Vec<Tensor> {
        let (first, after) = (rows * at / parts, rows * (at + 1) / parts);
        tensors.iter().map(|tensor| tensor.narrow(0, first, after - first)).collect()
    };
    std::thread::scope(|scope| {
        for at in 1..parts {
            let (part, update) = (part(at), &update);
            scope.spawn(move || {
                tch::set_num_threads(1);
                let _guard = tch::no_grad_guard();
                update(&part);
            });
        }
        update(&part(0));
    });
}

/// Stochastic gradient descent with momentum and L2 regularisation, as `torch.optim.SGD`.
///
/// `g += weight_decay p`; `b = momentum b + g` (`b = g` at the first step); `p -= lr b`.
pub struct Sgd {
    learning_rate: f64,
    momentum: f64,
    weight_decay: f64,
    threads: usize,
    velocity: Vec<Tensor>,
}

impl Sgd {
    /// No step taken yet.
    pub fn new(learning_rate: f64, momentum: f64, weight_decay: f64) -> Self {
        Self { learning_rate, momentum, weight_decay, threads: 1, velocity: Vec::new() }
    }
}

impl Optimizer for Sgd {
    fn set_threads(&mut self, threads: usize) {
        self.threads = threads;
    }

    fn step(&mut self, parameters: &mut [Tensor], gradients: &[Tensor]) {
        let _guard = tch::no_grad_guard();
        let first = self.velocity.is_empty() && self.momentum != 0.0;
        if first {
            self.velocity = gradients.iter().map(Tensor::zeros_like).collect();
        }
        let (rate, momentum, decay) = (self.learning_rate, self.momentum, self.weight_decay);
        for (i, (parameter, gradient)) in parameters.iter().zip(gradients).enumerate() {
            let mut tensors = vec![parameter.shallow_clone(), gradient.shallow_clone()];
            tensors.extend(self.velocity.get(i).map(Tensor::shallow_clone));
            on_threads(self.threads, &tensors, |tensors| {
                let mut parameter = tensors[0].shallow_clone();
                let mut gradient = tensors[1].shallow_clone();
                if decay != 0.0 {
                    gradient += &parameter * decay;
                }
                if let Some(velocity) = tensors.get(2) {
                    let mut velocity = velocity.shallow_clone();
                    if !first {
                        let _ = velocity.g_mul_scalar_(momentum);
                    }
                    let _ = velocity.g_add_(&gradient);
                    gradient = velocity;
                }
                let _ = parameter.g_sub_(&(gradient * rate));
            });
        }
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    fn state(&self) -> (Vec<Tensor>, i32) {
        (self.velocity.iter().map(Tensor::shallow_clone).collect(), 0)
    }

    fn resume(&mut self, tensors: Vec<Tensor>, _: i32) {
        self.velocity = tensors;
    }
}

/// Adam with L2 regularisation in the gradient (not decoupled), as `torch.optim.Adam`.
///
/// Kingma and Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1, with betas .9 and .999, epsilon 1e-8.
pub struct Adam {
    learning_rate: f64,
    weight_decay: f64,
    threads: usize,
    step: i32,
    moments: Vec<(Tensor, Tensor)>,
}

impl Adam {
    const BETA_1: f64 = 0.9;
    const BETA_2: f64 = 0.999;
    const EPSILON: f64 = 1e-8;

    /// No step taken yet.
    pub fn new(learning_rate: f64, weight_decay: f64) -> Self {
        Self { learning_rate, weight_decay, threads: 1, step: 0, moments: Vec::new() }
    }

    /// One step of each row of `values`, rows being parameters of their own, without weight decay; `steps` counts a row's steps
    /// with this one.
    ///
    /// # Shapes
    /// `values`, the moments `mean` and `square`, and `gradient`: `[n, d]`; n `steps`.
    ///
    /// # Errors
    /// Other shapes.
    pub fn step_rows(
        values: &mut Tensor,
        mean: &mut Tensor,
        square: &mut Tensor,
        gradient: &Tensor,
        learning_rate: f64,
        steps: &[i32],
    ) -> Result<()> {
        let column = |of: &dyn Fn(i32) -> f64| {
            let column: Vec<f32> = steps.iter().map(|&step| of(step) as f32).collect();
            Ok::<_, crate::Error>(
                tensor::from_f32(&column, &[column.len() as i64, 1])?.f_to_device(values.device())?,
            )
        };
        let rate = column(&|step| learning_rate / (1.0 - Self::BETA_1.powi(step)))?;
        let correction = column(&|step| (1.0 - Self::BETA_2.powi(step)).sqrt())?;
        let _ = mean.f_lerp_(gradient, 1.0 - Self::BETA_1)?;
        let _ = square.f_mul_scalar_(Self::BETA_2)?;
        let _ = square.f_add_(&(gradient * gradient * (1.0 - Self::BETA_2)))?;
        let denominator = (square.f_sqrt()? / correction).f_add_scalar(Self::EPSILON)?;
        let _ = values.f_sub_(&(&*mean / denominator * rate))?;
        Ok(())
    }
}

impl Optimizer for Adam {
    fn set_threads(&mut self, threads: usize) {
        self.threads = threads;
    }

    fn step(&mut self, parameters: &mut [Tensor], gradients: &[Tensor]) {
        let _guard = tch::no_grad_guard();
        if self.moments.is_empty() {
            self.moments = gradients.iter().map(|g| (g.zeros_like(), g.zeros_like())).collect();
        }
        self.step += 1;
        let correction_1 = 1.0 - Self::BETA_1.powi(self.step);
        let correction_2 = (1.0 - Self::BETA_2.powi(self.step)).sqrt();
        let (rate, decay) = (self.learning_rate, self.weight_decay);
        for ((parameter, gradient), (mean, square)) in parameters.iter().zip(gradients).zip(&self.moments) {
            let tensors = [parameter, gradient, mean, square].map(Tensor::shallow_clone);
            on_threads(self.threads, &tensors, |tensors| {
                let [parameter, gradient, mean, square] = tensors else { return };
                let (mut parameter, mut square) = (parameter.shallow_clone(), square.shallow_clone());
                let gradient =
                    if decay == 0.0 { gradient.shallow_clone() } else { gradient + &parameter * decay };
                let _ = mean.shallow_clone().lerp_(&gradient, 1.0 - Self::BETA_1);
                let _ = square.g_mul_scalar_(Self::BETA_2);
                let _ = square.g_add_(&(&gradient * &gradient * (1.0 - Self::BETA_2)));
                let mut denominator = square.sqrt();
                let _ = denominator.g_div_scalar_(correction_2);
                let _ = denominator.g_add_scalar_(Self::EPSILON);
                let update = mean / denominator * (rate / correction_1);
                let _ = parameter.g_sub_(&update);
            });
        }
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    fn state(&self) -> (Vec<Tensor>, i32) {
        let means = self.moments.iter().map(|(mean, _)| mean.shallow_clone());
        (means.chain(self.moments.iter().map(|(_, square)| square.shallow_clone())).collect(), self.step)
    }

    fn resume(&mut self, mut tensors: Vec<Tensor>, steps: i32) {
        let squares = tensors.split_off(tensors.len() / 2);
        self.moments = tensors.into_iter().zip(squares).collect();
        self.step = steps;
    }
}

/// How the learning rate falls over a training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// `base gamma^(epoch / every)` (`torch.optim.lr_scheduler.StepLR`).
    Steps {
        /// Epochs between two drops, at least 1.
        every: usize,
        /// Factor of a drop.
        gamma: f64,
    },
    /// Half a cosine from `base` to 0 over all epochs, step by step, after a linear rise over the first [`Schedule::WARM_UP`] of them
    /// (Loshchilov and Hutter, "SGDR", 2017, without restarts).
    Cosine,
}

impl Schedule {
    /// Share of the training in which the cosine's rate rises.
    pub const WARM_UP: f64 = 0.05;

    /// The rate at `epoch`, counted from 0, with the share of it that is done, of `epochs`.
    pub fn rate(self, base: f64, epoch: f64, epochs: usize) -> f64 {
        match self {
            Self::Constant => base,
            Self::Steps { every, gamma } => base * gamma.powi((epoch as usize / every.max(1)) as i32),
            Self::Cosine => {
                let done = epoch / epochs.max(1) as f64;
                let rise = ((done + 1e-3) / Self::WARM_UP).min(1.0);
                base * rise * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_as_the_schedule_says() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(Schedule::Constant.rate(0.1, 7.5, 10), 0.1);
        let steps = Schedule::Steps { every: 2, gamma: 0.5 };
        close(steps.rate(0.1, 1.9, 10), 0.1);
        close(steps.rate(0.1, 4.0, 10), 0.025);
        // Half-way the cosine is at half its height; at the end at 0; at the start it rises.
        close(Schedule::Cosine.rate(0.1, 5.0, 10), 0.05);
        close(Schedule::Cosine.rate(0.1, 10.0, 10), 0.0);
        assert!(Schedule::Cosine.rate(0.1, 0.0, 10) < 0.01);
        assert!(Schedule::Cosine.rate(0.1, 0.5, 10) > 0.099);
    }
}
