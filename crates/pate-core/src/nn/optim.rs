use tch::Tensor;

/// Changes parameters by their gradients.
///
/// Parameters are given at every step, in the same order; state is one tensor (or two) per parameter.
pub trait Optimizer {
    /// One step: `parameters[i]` moves along `gradients[i]`.
    fn step(&mut self, parameters: &mut [Tensor], gradients: &[Tensor]);

    /// Sets the learning rate from the next step on.
    fn set_learning_rate(&mut self, learning_rate: f64);
}

/// Stochastic gradient descent with momentum and L2 regularisation, as `torch.optim.SGD`.
///
/// `g += weight_decay p`; `b = momentum b + g` (`b = g` at the first step); `p -= lr b`.
pub struct Sgd {
    learning_rate: f64,
    momentum: f64,
    weight_decay: f64,
    velocity: Vec<Tensor>,
}

impl Sgd {
    /// No step taken yet.
    pub fn new(learning_rate: f64, momentum: f64, weight_decay: f64) -> Self {
        Self { learning_rate, momentum, weight_decay, velocity: Vec::new() }
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, parameters: &mut [Tensor], gradients: &[Tensor]) {
        let _guard = tch::no_grad_guard();
        let first = self.velocity.is_empty();
        for (i, (parameter, gradient)) in parameters.iter_mut().zip(gradients).enumerate() {
            let mut gradient = gradient.shallow_clone();
            if self.weight_decay != 0.0 {
                gradient += &*parameter * self.weight_decay;
            }
            if self.momentum != 0.0 {
                if first {
                    self.velocity.push(gradient.copy());
                } else {
                    let velocity = &mut self.velocity[i];
                    let _ = velocity.g_mul_scalar_(self.momentum);
                    let _ = velocity.g_add_(&gradient);
                }
                gradient = self.velocity[i].shallow_clone();
            }
            let _ = parameter.g_sub_(&(gradient * self.learning_rate));
        }
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }
}

/// Adam with L2 regularisation in the gradient (not decoupled), as `torch.optim.Adam`.
///
/// Kingma and Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1, with betas .9 and .999, epsilon 1e-8.
pub struct Adam {
    learning_rate: f64,
    weight_decay: f64,
    step: i32,
    moments: Vec<(Tensor, Tensor)>,
}

impl Adam {
    const BETA_1: f64 = 0.9;
    const BETA_2: f64 = 0.999;
    const EPSILON: f64 = 1e-8;

    /// No step taken yet.
    pub fn new(learning_rate: f64, weight_decay: f64) -> Self {
        Self { learning_rate, weight_decay, step: 0, moments: Vec::new() }
    }
}

impl Optimizer for Adam {
    fn step(&mut self, parameters: &mut [Tensor], gradients: &[Tensor]) {
        let _guard = tch::no_grad_guard();
        if self.moments.is_empty() {
            self.moments = gradients.iter().map(|g| (g.zeros_like(), g.zeros_like())).collect();
        }
        self.step += 1;
        let correction_1 = 1.0 - Self::BETA_1.powi(self.step);
        let correction_2 = (1.0 - Self::BETA_2.powi(self.step)).sqrt();
        for ((parameter, gradient), (mean, square)) in
            parameters.iter_mut().zip(gradients).zip(&mut self.moments)
        {
            let gradient = if self.weight_decay == 0.0 {
                gradient.shallow_clone()
            } else {
                gradient + &*parameter * self.weight_decay
            };
            let _ = mean.lerp_(&gradient, 1.0 - Self::BETA_1);
            let _ = square.g_mul_scalar_(Self::BETA_2);
            let _ = square.g_add_(&(&gradient * &gradient * (1.0 - Self::BETA_2)));
            let mut denominator = square.sqrt();
            let _ = denominator.g_div_scalar_(correction_2);
            let _ = denominator.g_add_scalar_(Self::EPSILON);
            let update = &*mean / denominator * (self.learning_rate / correction_1);
            let _ = parameter.g_sub_(&update);
        }
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }
}

/// Learning rate `base * gamma^(epoch / every)` (`torch.optim.lr_scheduler.StepLR`).
#[derive(Clone, Copy, Debug)]
pub struct StepDecay {
    /// Epochs between two drops; 0 = never.
    pub every: usize,
    /// Factor of a drop.
    pub gamma: f64,
}

impl StepDecay {
    /// The rate in `epoch`, counted from 0.
    pub fn rate(&self, base: f64, epoch: usize) -> f64 {
        let drops = epoch.checked_div(self.every).unwrap_or(0);
        base * self.gamma.powi(drops as i32)
    }
}
