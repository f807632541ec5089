//! The plan of the filters.

use anyhow::{Result, bail};
use pate_core::config::Config;
use pate_core::pate::label_filter::FilterPlan;
use pate_core::pate::select::confidence::Thresholds;
use pate_core::pate::select::quota::Limits;
use pate_core::pate::steer::SteeringPlan;

use crate::args::FilterArgs;

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
        // A flag of 0 switches off what the configuration asks for; a flag that is not given leaves
        // it.
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
        // The default configuration has a minimum, so a lower maximum on the command line would be
        // an error each time; it wins, and the report says so.
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
