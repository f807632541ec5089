//! DPMI: private images become latents of a public decoder, a small model of the latents is
//! released, and its samples are decoded.
//!
//! D. Chen, S.-C. S. Cheung, C.-N. Chuah, S. Ozonoff, "Differentially private generative
//! adversarial networks with model inversion" (2021).

pub mod gaussian;
pub mod inversion;
pub mod latents;
pub mod model;
pub mod rows;
pub mod vae;
pub mod wgan;
