//! DPMI: a public extractor of latents, latents of private images, a private model of them, and
//! its decoded samples.

mod extract_latents;
mod extractors;
mod relabel;
mod sample_generator;
mod train_autoencoder;
mod train_dp_latent;
mod train_gan;

pub use extract_latents::ExtractLatents;
pub use relabel::Relabel;
pub use sample_generator::SampleGenerator;
pub use train_autoencoder::TrainAutoencoder;
pub use train_dp_latent::TrainDpLatent;
pub use train_gan::TrainGan;
