use anyhow::{Result, bail};
use clap::Args;
use pate_core::config::Config;
use pate_core::pate::label_filter::FilterPlan;
use pate_core::pate::select::confidence::Thresholds;
use pate_core::pate::select::quota::Limits;
use pate_core::pate::steer::SteeringPlan;

use super::parse_bool;

/// Which candidates stay.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// Least confidence of a candidate, 0 to 1; rare classes use the lower of this and their own [config: filtering.confidence_threshold]
    #[arg(long, value_name = "P")]
    confidence: Option<f64>,

    /// Follow the shard's class proportions, where metadata is given: true or false
    #[arg(long, value_name = "BOOL", value_parser = parse_bool, num_args = 0..=1, default_value = "true", default_missing_value = "true")]
    quota: bool,

    /// Least Euclidean distance to the nearest private image, 0 = not checked [config: filtering.min_nn_distance]
    #[arg(long, value_name = "DISTANCE")]
    min_nn_distance: Option<f64>,

    /// Least Euclidean distance between two samples, 0 = not checked [config: filtering.min_diversity_distance]
    #[arg(long, value_name = "DISTANCE")]
    min_diversity_distance: Option<f64>,

    /// The same as --min-diversity-distance 0
    #[arg(long, conflicts_with = "min_diversity_distance")]
    disable_diversity: bool,

    /// At least so many samples of a class, where there are; 0 = no minimum [config: filtering.min_per_class]
    #[arg(long, value_name = "N")]
    min_per_class: Option<u64>,

    /// At most so many samples of a class, 0 = no maximum; overrides the quota, and a configured minimum above
    /// it comes down with it [config: filtering.max_per_class]
    #[arg(long, value_name = "N")]
    max_per_class: Option<u64>,

    /// Keep at most so many samples, the most confident [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    target_samples: Option<u64>,

    /// Also write the teacher's probabilities of all classes, soft_labels.pt: true or false [config: filtering.save_soft_labels]
    #[arg(long, value_name = "BOOL", value_parser = parse_bool, num_args = 0..=1, default_missing_value = "true")]
    save_soft_labels: Option<bool>,

    /// Images labelled at once
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_size: u32,
}

/// Resolved filters, and what the user should know about how.
pub struct ResolvedFilters {
    /// The settings.
    pub plan: FilterPlan,
    /// The minimum, where `--max-per-class` lowered it.
    pub lowered_min_per_class: Option<u64>,
    /// Write the teacher's probabilities?
    pub soft_labels: bool,
}

impl FilterArgs {
    /// Joins command line and configuration. `seed` is the effective one.
    ///
    /// # Errors
    /// Values out of range, a minimum and a maximum that cross.
    pub fn resolve(&self, config: &Config, seed: u64) -> Result<ResolvedFilters> {
        let filtering = &config.filtering;
        let general = self.confidence.unwrap_or(filtering.confidence_threshold);
        if !(0.0..=1.0).contains(&general) {
            bail!("--confidence is {general}; it is a probability from 0 to 1");
        }
        let distance = |flag: &str, given: Option<f64>, configured: Option<f64>| match given {
            None => Ok(configured),
            Some(d) if d >= 0.0 && d.is_finite() => Ok(Some(d).filter(|d| *d > 0.0)),
            Some(d) => bail!("{flag} is {d}; it is a distance, at least 0 (0 = not checked)"),
        };
        let min_memorisation_distance =
            distance("--min-nn-distance", self.min_nn_distance, filtering.min_nn_distance)?;
        let diversity = distance(
            "--min-diversity-distance",
            self.min_diversity_distance,
            filtering.min_diversity_distance,
        )?;
        let limit = |given: Option<u64>, configured: Option<u64>| {
            given.map_or(configured, |n| Some(n).filter(|n| *n > 0))
        };
        let mut min_per_class = limit(self.min_per_class, filtering.min_per_class);
        let max_per_class = limit(self.max_per_class, filtering.max_per_class);
        let mut lowered_min_per_class = None;
        if self.max_per_class.is_some()
            && self.min_per_class.is_none()
            && let (Some(min), Some(max)) = (min_per_class, max_per_class)
            && max < min
        {
            min_per_class = Some(max);
            lowered_min_per_class = min_per_class;
        }
        let limits =
            Limits { min_per_class, max_per_class, flexibility_percent: filtering.quota_flexibility_percent };
        limits.check()?;
        let steering = &config.latent_steering;
        let plan = FilterPlan {
            thresholds: Thresholds {
                general,
                rare: filtering.rare_class_threshold,
                rare_classes: filtering.rare_classes.clone(),
            },
            min_memorisation_distance,
            quota: self.quota,
            limits,
            min_diversity_distance: diversity.filter(|_| !self.disable_diversity),
            target_samples: self.target_samples.map(|n| n as usize),
            steering: (steering.enabled && steering.use_for_classes_below_quota).then_some(SteeringPlan {
                steps: steering.steps,
                learning_rate: steering.learning_rate,
                noise_scale: steering.noise_scale,
                stop_confidence: steering.stop_confidence,
                starts: steering.starts,
            }),
            batch_size: self.batch_size as usize,
            seed,
        };
        let soft_labels = self.save_soft_labels.unwrap_or(filtering.save_soft_labels);
        Ok(ResolvedFilters { plan, lowered_min_per_class, soft_labels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        filters: FilterArgs,
    }

    fn resolve(line: &str) -> Result<ResolvedFilters> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        Command::try_parse_from(words)?.filters.resolve(&Config::default(), 123)
    }

    #[test]
    fn a_maximum_on_the_command_line_lowers_a_configured_minimum() {
        let filters = resolve("--max-per-class 40").unwrap();
        assert_eq!(filters.plan.limits.min_per_class, Some(40));
        assert_eq!(filters.lowered_min_per_class, Some(40));
        assert_eq!(resolve("--max-per-class 200").unwrap().lowered_min_per_class, None);
        let error = resolve("--max-per-class 40 --min-per-class 41").err().unwrap().to_string();
        assert!(error.contains("41") && error.contains("40"), "{error}");
    }

    #[test]
    fn switching_checks_off() {
        assert_eq!(resolve("").unwrap().plan.min_diversity_distance, Some(3.0));
        assert_eq!(resolve("--disable-diversity").unwrap().plan.min_diversity_distance, None);
        assert_eq!(resolve("--min-diversity-distance 0").unwrap().plan.min_diversity_distance, None);
        assert_eq!(resolve("--min-per-class 0").unwrap().plan.limits.min_per_class, None);
        assert!(resolve("--min-nn-distance -1").is_err());
    }

    #[test]
    fn truth_values_with_and_without_a_word() {
        assert!(resolve("").unwrap().plan.quota);
        assert!(resolve("--quota").unwrap().plan.quota);
        assert!(!resolve("--quota False").unwrap().plan.quota);
        assert!(resolve("--quota maybe").is_err());
    }
}
