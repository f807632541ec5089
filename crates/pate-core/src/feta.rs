//! DP-FETA: a diffusion model learns noisy central images first, private images second.
//!
//! K. Li et al., *From Easy to Hard: Building a Shortcut for Differentially Private Image
//! Synthesis* (IEEE S&P 2025). [`central`] asks for the mean or the most frequent brightness of
//! each class, with noise on sums over public constants; [`finish`] makes images of the answers;
//! [`pretrain()`] lets the model learn these; [`PrivateDiffusion`] is what DP-SGD
//! ([`crate::dp::train`]) then learns from; [`sample`] has the samplers, and [`edm`] the model's
//! preconditioning and loss.
//!
//! Two mechanisms read private data: [`central::release`] and the steps of DP-SGD. All else is a
//! function of what they released.

pub mod central;
pub mod edm;
mod finish;
mod noise;
mod pretrain;
mod private;
mod randaugment;
pub mod sample;

pub use finish::{Finished, finish};
pub use noise::{Levels, NoisePlan};
pub use pretrain::{PretrainPlan, Pretrained, pretrain};
pub use private::PrivateDiffusion;
pub use randaugment::RandAugment;

use tch::Tensor;

/// Pixels in `[0, 1]` as the model sees them, in `[-1, 1]`.
fn signed(images: &Tensor) -> Tensor {
    images * 2.0 - 1.0
}
