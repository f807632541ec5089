//! What synthetic data are worth, and how approaches compare.

mod compare_approaches;
mod evaluate_synthetic;

pub use compare_approaches::CompareApproaches;
pub use evaluate_synthetic::EvaluateSynthetic;
