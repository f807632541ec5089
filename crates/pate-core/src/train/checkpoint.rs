//! The state of a training between two epochs. Every random stream starts anew with each epoch, so
//! weights, the optimiser's tensors and the number of epochs are all of it: a training that goes on
//! gives the bytes of one that never stopped.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::Tensor;

use crate::base::tensor;
use crate::nn::{self, Module, Parameter};
use crate::{Error, Result};

/// An array by name: its shape and its values, row-major.
pub type NamedArray = (String, Vec<usize>, Vec<f32>);

/// What a training needs to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Epochs that are done; steps, in a training that has no epochs.
    pub epochs: usize,
    /// Steps that the optimiser has taken.
    pub steps: i32,
    /// Epoch of the best weights, counted from 1, where one was chosen.
    pub best_epoch: Option<usize>,
    /// Weights, the optimiser's tensors, and the best weights or their average.
    pub arrays: Vec<NamedArray>,
    /// Scores of the epochs, JSON.
    pub history: String,
}

/// Where the checkpoint of one training is stored.
pub trait CheckpointStore {
    /// The checkpoint of this training that was stored last, if any.
    fn load(&self) -> Option<Checkpoint>;

    /// Replaces the checkpoint that is stored.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn save(&self, checkpoint: &Checkpoint) -> Result<()>;
}

/// Stores nothing: every training starts at its beginning.
pub struct NoCheckpoint;

impl CheckpointStore for NoCheckpoint {
    fn load(&self) -> Option<Checkpoint> {
        None
    }

    fn save(&self, _: &Checkpoint) -> Result<()> {
        Ok(())
    }
}

/// First parts of names.
const WEIGHTS: &str = "weights";
const OPTIMIZER: &str = "optimizer";
const BEST: &str = "best";
const AVERAGE: &str = "average";

/// Said where a state was found that is none of the training: silence would pass for going on.
pub(super) const OF_NO_USE: &str = "the state in the checkpoint does not fit this training, which starts anew; it was written by another version or is \
     damaged";

impl Checkpoint {
    /// A training between two epochs: its network, its optimiser's tensors and steps, and the
    /// number and weights of the best epoch, and the average of what it learns.
    pub(super) fn new<H: Serialize>(
        network: &dyn Module,
        (optimizer, steps): (&[Tensor], i32),
        best: Option<(usize, &[Tensor])>,
        average: Option<&[Tensor]>,
        history: &[H],
    ) -> Result<Self> {
        let arrays = arrays(network, optimizer, best.map(|(_, best)| best), average)?;
        let json = serde_json::to_string(history)
            .map_err(|e| Error::invalid(format!("the history cannot be stored: {e}")))?;
        Ok(Checkpoint {
            epochs: history.len(),
            steps,
            best_epoch: best.map(|(epoch, _)| epoch),
            arrays,
            history: json,
        })
    }

    /// A training that counts steps: its network, its optimiser's tensors and steps, and the
    /// average of its weights.
    pub(crate) fn of_steps(
        network: &dyn Module,
        done: u64,
        (optimizer, steps): (&[Tensor], i32),
        average: Option<&[Tensor]>,
    ) -> Result<Self> {
        let arrays = arrays(network, optimizer, None, average)?;
        Ok(Checkpoint { epochs: done as usize, steps, best_epoch: None, arrays, history: String::new() })
    }
}

/// Weights, the optimiser's tensors, the best weights, and the average of those that are learnt.
fn arrays(
    network: &dyn Module,
    optimizer: &[Tensor],
    best: Option<&[Tensor]>,
    average: Option<&[Tensor]>,
) -> Result<Vec<NamedArray>> {
    let mut arrays = Vec::new();
    let mut push = |name: String, values: &Tensor| -> Result<()> {
        arrays.push((name, tensor::shape_of(values), tensor::to_f32(values)?));
        Ok(())
    };
    for parameter in nn::parameters(network) {
        push(format!("{WEIGHTS}.{}", parameter.name()), parameter.value())?;
    }
    for (at, values) in optimizer.iter().enumerate() {
        push(format!("{OPTIMIZER}.{at}"), values)?;
    }
    for (parameter, values) in nn::parameters(network).iter().zip(best.unwrap_or_default()) {
        push(format!("{BEST}.{}", parameter.name()), values)?;
    }
    // An average is of what gradients change alone.
    for (parameter, values) in nn::learnt(network).iter().zip(average.unwrap_or_default()) {
        push(format!("{AVERAGE}.{}", parameter.name()), values)?;
    }
    Ok(arrays)
}

/// What is read back from a state that counts steps.
pub(crate) struct ResumedSteps {
    pub(crate) steps: u64,
    /// In the layout of the parameters that they belong to.
    pub(crate) optimizer: Vec<Tensor>,
    pub(crate) average: Option<Vec<Tensor>>,
}

/// What is read back from a state.
pub(super) struct Resumed<H> {
    /// In the layout of the parameters that they belong to.
    pub(super) optimizer: Vec<Tensor>,
    pub(super) best: Option<(usize, Vec<Tensor>)>,
    pub(super) average: Option<Vec<Tensor>>,
    pub(super) history: Vec<H>,
}

impl Checkpoint {
    /// Puts the weights into `network`, and gives back the rest; `None` where the state is not one
    /// of this network and number of epochs, with an average where there is to be one.
    pub(super) fn restore<H: DeserializeOwned>(
        &self,
        network: &dyn Module,
        epochs: usize,
        averaged: bool,
    ) -> Result<Option<Resumed<H>>> {
        let _guard = tch::no_grad_guard();
        let parameters = nn::parameters(network);
        // Nothing is written into the network before all parts are found whole: a state that is no
        // use must leave the fresh weights alone.
        let Some(weights) = self.like(&parameters, WEIGHTS, 0)? else { return Ok(None) };
        let history: Option<Vec<H>> = serde_json::from_str(&self.history).ok();
        let Some(history) = history.filter(|h| h.len() == self.epochs && self.is_of(epochs)) else {
            return Ok(None);
        };
        let Some(optimizer) = self.optimizer(network)? else { return Ok(None) };
        let best = match self.best_epoch {
            None => None,
            Some(epoch) => match self.like(&parameters, BEST, 0)? {
                Some(tensors) => Some((epoch, tensors)),
                None => return Ok(None),
            },
        };
        let average = self.like(&nn::learnt(network), AVERAGE, 0)?;
        if average.is_some() != averaged {
            return Ok(None);
        }
        for (parameter, values) in parameters.iter().zip(&weights) {
            parameter.value().detach().f_copy_(values)?;
        }
        Ok(Some(Resumed { optimizer, best, average, history }))
    }

    /// [`Checkpoint::restore`] of a state that counts steps, at most `most`.
    pub(crate) fn restore_steps(&self, network: &dyn Module, most: u64) -> Result<Option<ResumedSteps>> {
        let _guard = tch::no_grad_guard();
        let parameters = nn::parameters(network);
        let Some(weights) = self.like(&parameters, WEIGHTS, 0)? else { return Ok(None) };
        let Some(optimizer) = self.optimizer(network)? else { return Ok(None) };
        // An average is of what gradients change alone.
        let average = self.like(&nn::learnt(network), AVERAGE, 0)?;
        let steps = self.epochs as u64;
        let counted = self.steps == 0 || u64::try_from(self.steps).is_ok_and(|counted| counted == steps);
        if steps > most || !counted {
            return Ok(None);
        }
        for (parameter, values) in parameters.iter().zip(&weights) {
            parameter.value().detach().f_copy_(values)?;
        }
        Ok(Some(ResumedSteps { steps, optimizer, average }))
    }

    /// The optimiser's tensors, or `None` where some are missing.
    fn optimizer(&self, network: &dyn Module) -> Result<Option<Vec<Tensor>>> {
        let parameters = nn::learnt(network);
        let per_parameter = self.arrays.iter().filter(|(name, ..)| name.starts_with(OPTIMIZER)).count()
            / parameters.len().max(1);
        let mut optimizer = Vec::new();
        for set in 0..per_parameter {
            let Some(tensors) = self.like(&parameters, OPTIMIZER, set * parameters.len())? else {
                return Ok(None);
            };
            optimizer.extend(tensors);
        }
        Ok(Some(optimizer))
    }

    /// Whether the state can be one of a training of `epochs` epochs, each of which takes equally
    /// many steps.
    fn is_of(&self, epochs: usize) -> bool {
        let (Ok(steps), Ok(done), Ok(all)) =
            (u64::try_from(self.steps), u64::try_from(self.epochs), u64::try_from(epochs))
        else {
            return false;
        };
        let each = steps.checked_div(done).unwrap_or(0);
        let whole = each.checked_mul(done) == Some(steps);
        let fits = each.checked_mul(all).is_some_and(|steps| i32::try_from(steps).is_ok());
        let best = self.best_epoch.is_none_or(|best| (1..=self.epochs).contains(&best));
        done <= all && whole && fits && best
    }

    /// The arrays of one kind as tensors like the parameters, or `None` where one is missing or has
    /// another shape.
    fn like(&self, parameters: &[&Parameter], kind: &str, from: usize) -> Result<Option<Vec<Tensor>>> {
        let mut all = Vec::with_capacity(parameters.len());
        for (at, parameter) in parameters.iter().enumerate() {
            let (name, parameter) = (parameter.name(), parameter.value());
            let wanted =
                if kind == OPTIMIZER { format!("{kind}.{}", from + at) } else { format!("{kind}.{name}") };
            let Some((_, shape, values)) = self.arrays.iter().find(|(name, ..)| *name == wanted) else {
                return Ok(None);
            };
            if *shape != tensor::shape_of(parameter) || values.iter().any(|value| !value.is_finite()) {
                return Ok(None);
            }
            let mut tensor = parameter.detach().f_empty_like()?;
            tensor.f_copy_(&tensor::from_f32(values, &parameter.size())?)?;
            all.push(tensor);
        }
        Ok(Some(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attacks, row 8: a number of steps that the next step does not fit ended in a panic.
    #[test]
    fn a_state_that_no_training_can_have_is_none() {
        let state = |epochs, steps, best_epoch| Checkpoint {
            epochs,
            steps,
            best_epoch,
            arrays: Vec::new(),
            history: String::new(),
        };
        assert!(
            state(3, 12, Some(3)).is_of(10) && state(3, 12, None).is_of(3) && state(2, 0, Some(1)).is_of(2)
        );
        for (epochs, steps) in
            [(3, i32::MAX), (1, i32::MAX), (3, -12), (3, 13), (3, i32::MIN), (0, 5), (11, 11)]
        {
            assert!(!state(epochs, steps, None).is_of(10), "{steps} steps in {epochs} epochs");
        }
        for best in [0, 4, usize::MAX] {
            assert!(!state(3, 12, Some(best)).is_of(10), "epoch {best}");
        }
    }
}
