//! Training under differential privacy: gradients of single records, their clipping, the noisy sum.

mod classify;
mod clip;
mod gradients;
pub mod keys;
mod share;
mod train;
mod unit_sum;
mod unprotected;

pub(crate) use classify::index;
pub use classify::{PrivateFeatures, PrivateImages, Views};
pub use clip::{Clipped, Clipping, Engine, shortened};
pub use gradients::Gradients;
pub use train::{
    Diagnostics, MEMORY, PrivateLearner, PrivatePlan, PrivateTask, SUM_ERROR, StepFigures, Trained, train,
};
pub use unit_sum::{UnitLattice, UnitSum};
pub use unprotected::Unprotected;
