//! Steps that read private data through charged mechanisms alone.

mod public_features;
mod train_dp_classifier;

pub use train_dp_classifier::TrainDpClassifier;
