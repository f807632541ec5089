//! Training under differential privacy: gradients of single records, their clipping, the noisy sum.

mod clip;
mod gradients;
mod share;
mod train;

pub use clip::{Clipped, Clipping, Engine};
pub use gradients::Gradients;
pub use train::{PrivateLearner, PrivatePlan, PrivateState, PrivateStore, PrivateTask, SUM_ERROR, train};
