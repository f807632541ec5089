//! Layers and optimisers, thin over libtorch's functions.
//!
//! A layer is a struct of tensors with PyTorch's names and PyTorch's initial distribution; a network is a struct of layers.
//! Weights come from a [`Source`]: fresh from a random stream, or given by name from a file, checked name by name and
//! shape by shape. Optimisers keep their state in the open, so that a run can be stored and several networks can share one.

pub(crate) mod grouped;
mod layers;
mod optim;
mod source;
mod winograd;

pub use layers::{Conv2d, ConvTranspose2d, Linear};
pub use optim::{Adam, Optimizer, Schedule, Sgd};
pub use source::Source;

use tch::Tensor;

use crate::Result;

/// Something with named parameters.
pub trait Network {
    /// The parameters under their `state_dict` names, in PyTorch's order.
    fn parameters(&self) -> Vec<(String, &Tensor)>;

    /// The network's file name of its architecture, for messages.
    fn architecture(&self) -> &'static str;
}

/// Shallow clones of the parameters that ask for gradients, in order.
pub fn trainable(network: &impl Network) -> Vec<Tensor> {
    network.parameters().into_iter().map(|(_, p)| p.set_requires_grad(true)).collect()
}

/// A copy of all parameters' values, to come back to with [`restore`].
pub fn snapshot(network: &impl Network) -> Vec<Tensor> {
    network.parameters().into_iter().map(|(_, p)| p.detach().copy()).collect()
}

/// Puts the values of a [`snapshot`] back.
///
/// # Errors
/// Where the snapshot is another network's.
pub fn restore(network: &impl Network, values: &[Tensor]) -> Result<()> {
    let _guard = tch::no_grad_guard();
    for ((_, parameter), value) in network.parameters().into_iter().zip(values) {
        parameter.detach().f_copy_(value)?;
    }
    Ok(())
}
