//! Training under differential privacy: gradients of single records, their clipping, the noisy sum.

mod clip;
mod gradients;
mod share;

pub use clip::{Clipped, Clipping, Engine};
pub use gradients::Gradients;
