//! Adam, with weight decay in the gradient.

use tch::Tensor;

use super::{Optimizer, on_threads};
use crate::Result;
use crate::base::tensor;

/// Adam with L2 regularisation in the gradient (not decoupled), as `torch.optim.Adam`.
///
/// Kingma and Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1, with betas .9
/// and .999, epsilon 1e-8.
pub struct Adam {
    learning_rate: f64,
    weight_decay: f64,
    betas: (f64, f64),
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
        Self::with_betas(learning_rate, weight_decay, (Self::BETA_1, Self::BETA_2))
    }

    /// The same with other decays of the two averages.
    pub fn with_betas(learning_rate: f64, weight_decay: f64, betas: (f64, f64)) -> Self {
        Self { learning_rate, weight_decay, betas, threads: 1, step: 0, moments: Vec::new() }
    }

    /// One step of each row of `values`, rows being parameters of their own, without weight decay;
    /// `steps` counts a row's steps with this one.
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
        let (beta_1, beta_2) = self.betas;
        let correction_1 = 1.0 - beta_1.powi(self.step);
        // Epsilon is added after the correction, as in `torch.optim.Adam`.
        let correction_2 = (1.0 - beta_2.powi(self.step)).sqrt();
        let (rate, decay) = (self.learning_rate, self.weight_decay);
        for ((parameter, gradient), (mean, square)) in parameters.iter().zip(gradients).zip(&self.moments) {
            let tensors = [parameter, gradient, mean, square].map(Tensor::shallow_clone);
            on_threads(self.threads, &tensors, |tensors| {
                let [parameter, gradient, mean, square] = tensors else { return };
                let (mut parameter, mut square) = (parameter.shallow_clone(), square.shallow_clone());
                let gradient =
                    if decay == 0.0 { gradient.shallow_clone() } else { gradient + &parameter * decay };
                let _ = mean.shallow_clone().lerp_(&gradient, 1.0 - beta_1);
                let _ = square.g_mul_scalar_(beta_2);
                let _ = square.g_add_(&(&gradient * &gradient * (1.0 - beta_2)));
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
