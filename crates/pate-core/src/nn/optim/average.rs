//! The moving average of weights.

use tch::Tensor;

use crate::nn::Parameter;

/// The exponential moving average of parameters over steps: `a = d a + (1 - d) p`, with `d` the
/// decay, or `(1 + t) / (10 + t)` after `t` steps where that is less, so that the first weights are
/// soon forgotten.
#[derive(Debug)]
pub struct Average {
    decay: f64,
    steps: u64,
    values: Vec<Tensor>,
}

impl Average {
    /// The parameters as they are.
    pub fn new(decay: f64, parameters: &[&Parameter]) -> Self {
        let values = parameters.iter().map(|parameter| parameter.value().detach().copy()).collect();
        Self { decay, steps: 0, values }
    }

    /// After a step.
    pub fn update(&mut self, parameters: &[&Parameter]) {
        let _guard = tch::no_grad_guard();
        self.steps += 1;
        let steps = self.steps as f64;
        let decay = self.decay.min((1.0 + steps) / (10.0 + steps));
        for (average, parameter) in self.values.iter_mut().zip(parameters) {
            let _ = average.lerp_(parameter.value(), 1.0 - decay);
        }
    }

    /// Goes on from `values` after `steps` steps.
    pub fn resume(&mut self, values: Vec<Tensor>, steps: u64) {
        self.values = values;
        self.steps = steps;
    }

    /// The average so far, like the parameters.
    pub fn values(&self) -> &[Tensor] {
        &self.values
    }

    /// The same for good.
    pub fn into_values(self) -> Vec<Tensor> {
        self.values
    }
}
