//! What synthetic data are worth, and how approaches compare.

mod compare_approaches;
mod evaluate_synthetic;
mod score_release;

pub use compare_approaches::CompareApproaches;
pub use evaluate_synthetic::EvaluateSynthetic;
pub use score_release::ScoreRelease;
