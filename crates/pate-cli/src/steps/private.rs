//! Steps that read private data through charged mechanisms alone.

mod capture_dp_stats;
mod public_features;
mod train_dp_classifier;
mod train_dp_teacher;

pub use capture_dp_stats::CaptureDpStats;
pub use train_dp_classifier::TrainDpClassifier;
pub use train_dp_teacher::TrainDpTeacher;
