//! Layers and optimisers, thin over libtorch's functions.
//!
//! A layer is a struct of parameters with PyTorch's names and PyTorch's initial distribution; a
//! network is a struct of layers. Weights come from a [`Source`]: fresh from a random stream, given
//! by name from a file, or stacked from several networks of one shape. A network has one forward
//! function for all contexts; the [`Pass`] that it is given says which one this is. Optimisers keep
//! their state in the open, so that a run can be stored and several networks can share one.

mod fast;
mod layers;
mod layout;
mod optim;
mod parameter;
mod pass;
pub mod scatter;
mod source;
mod whitening;

pub use layers::{
    BatchNorm, Conv2d, ConvTranspose2d, Embedding, GroupNorm, Layer, LayerNorm, Linear, Window,
};
pub(crate) use layout::{flatten, stack_channels, unflatten, unstack_channels};
pub use optim::{Adam, Average, Optimizer, Schedule, Sgd};
pub use parameter::{Module, Parameter, device_of, learnt, parameters, restore, snapshot, trainable};
pub use pass::{DropoutMasks, Pass, Recorded, Tape};
pub use source::Source;
pub use whitening::Moments;
