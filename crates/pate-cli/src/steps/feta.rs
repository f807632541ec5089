//! DP-FETA: noisy central images, a diffusion model that learns them first and private images
//! second, and its images.

mod finetune_diffusion;
mod pretrain_diffusion;
mod query_central_images;
mod sample_diffusion;

pub use finetune_diffusion::FinetuneDiffusion;
pub use pretrain_diffusion::PretrainDiffusion;
pub use query_central_images::QueryCentralImages;
pub use sample_diffusion::SampleDiffusion;
