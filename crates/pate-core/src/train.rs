//! Training: [`classifier`] for teachers and students, [`vae`] for decoders, both by one loop;
//! [`logistic()`] for linear maps of features; [`recipes`] for classifiers that sets of images are
//! judged by.
//! Results are returned, not printed or saved; a [`CheckpointStore`] has the state between epochs.

pub mod autoencoder;
mod checkpoint;
pub mod classifier;
mod fit;
pub mod gan;
mod logistic;
mod prefetch;
pub mod recipes;
pub mod vae;
pub(crate) mod workers;

pub use checkpoint::{Checkpoint, CheckpointStore, NamedArray, NoCheckpoint};
pub use logistic::{LogisticPlan, logistic};
