//! Flags of the filters.

use clap::Args;

use super::parse_bool;

/// Which candidates stay.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// Least confidence of a candidate, 0 to 1; rare classes use the lower of this and their own
    /// [config: filtering.confidence_threshold]
    #[arg(long, value_name = "P")]
    pub(crate) confidence: Option<f64>,

    /// Follow the shard's class proportions, where metadata is given: true or false
    #[arg(long, value_name = "BOOL", value_parser = parse_bool, num_args = 0..=1, default_value = "true", default_missing_value = "true")]
    pub(crate) quota: bool,

    /// Least Euclidean distance to the nearest private image, 0 = not checked [config:
    /// filtering.min_nn_distance]
    #[arg(long, value_name = "DISTANCE")]
    pub(crate) min_nn_distance: Option<f64>,

    /// Least Euclidean distance between two samples, 0 = not checked [config:
    /// filtering.min_diversity_distance]
    #[arg(long, value_name = "DISTANCE")]
    pub(crate) min_diversity_distance: Option<f64>,

    /// The same as --min-diversity-distance 0
    #[arg(long, conflicts_with = "min_diversity_distance")]
    pub(crate) disable_diversity: bool,

    /// Minimum samples per class, if that many are available; 0 = no minimum [config:
    /// filtering.min_per_class]
    #[arg(long, value_name = "N")]
    pub(crate) min_per_class: Option<u64>,

    /// Maximum samples per class, 0 = no maximum; overrides the quota, and a configured minimum
    /// above it comes down with it [config: filtering.max_per_class]
    #[arg(long, value_name = "N")]
    pub(crate) max_per_class: Option<u64>,

    /// Maximum number of samples to keep, the most confident [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) target_samples: Option<u64>,

    /// Also write the teacher's probabilities of all classes, soft_labels.pt: true or false
    /// [config: filtering.save_soft_labels]
    #[arg(long, value_name = "BOOL", value_parser = parse_bool, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) save_soft_labels: Option<bool>,

    /// Images labelled at once
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch_size: u32,
}
