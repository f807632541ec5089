//! Settings of the filters, all resolved.

use serde::Serialize;

use crate::pate::select::confidence::Thresholds;
use crate::pate::select::quota::Limits;
use crate::pate::steer::SteeringPlan;

/// Settings of the filters, all resolved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilterPlan {
    /// Confidence by class.
    pub thresholds: Thresholds,
    /// Minimum distance to the shard; `None` or no shard: not checked.
    pub min_memorisation_distance: Option<f64>,
    /// Follow the shard's class proportions?
    pub quota: bool,
    /// Limits by class.
    pub limits: Limits,
    /// Minimum distance between two samples; `None`: not checked.
    pub min_diversity_distance: Option<f64>,
    /// Maximum number of samples to keep, the most confident.
    pub target_samples: Option<usize>,
    /// Steering for classes below the minimum; `None`: off.
    pub steering: Option<SteeringPlan>,
    /// Images labelled at once.
    pub batch_size: usize,
    /// Effective seed of steering.
    pub seed: u64,
}
