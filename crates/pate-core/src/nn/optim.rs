//! Optimisers and schedules of the learning rate, as PyTorch's, with their state in the open.

mod adam;
mod average;
mod schedule;
mod sgd;

pub use adam::Adam;
pub use average::Average;
pub use schedule::Schedule;
pub use sgd::Sgd;

use tch::Tensor;

/// Changes parameters by their gradients.
///
/// Parameters are given at every step, in the same order; state is one tensor (or two) per
/// parameter.
pub trait Optimizer {
    /// How many threads share the work on large parameters from the next step on; their values do
    /// not depend on it.
    fn set_threads(&mut self, threads: usize);

    /// One step: `parameters[i]` moves along `gradients[i]`.
    fn step(&mut self, parameters: &mut [Tensor], gradients: &[Tensor]);

    /// Sets the learning rate from the next step on.
    fn set_learning_rate(&mut self, learning_rate: f64);

    /// The state: a number of tensors like the parameters, all of one kind after all of another,
    /// and the steps taken.
    fn state(&self) -> (Vec<Tensor>, i32);

    /// Goes on from a [`Optimizer::state`].
    fn resume(&mut self, tensors: Vec<Tensor>, steps: i32);
}

/// Values of a parameter that are worth a second thread.
const LARGE: usize = 50_000;

/// Runs an element-wise `update` of tensors of one shape, in rows side by side where there are many
/// values.
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
