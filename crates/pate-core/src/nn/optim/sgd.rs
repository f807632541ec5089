//! Stochastic gradient descent with momentum.

use tch::Tensor;

use super::{Optimizer, on_threads};

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
