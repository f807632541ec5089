//! What a private training costs and how it is done, from its flags.

use anyhow::{Result, bail};
use dp_accounting::calibrate::{Accountant, DpSgd};
use dp_accounting::filter::{Budget, Cap, epsilon_of_caps};
use dp_accounting::ledger::Header;
use dp_accounting::{Adjacency, Mechanism, draws, gdp};
use pate_core::config::{AugmentationKind, NetworkKind, OptimizerKind, ScheduleKind};
use pate_core::data::augment::{Augmentation, Geometry};
use pate_core::dp::{Engine, PrivatePlan, Views};
use pate_core::nn::Schedule;
use serde::Serialize;

use crate::args::{BudgetArgs, DpSgdArgs};

/// What a run may cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PrivacyTarget {
    /// Infinite: no noise.
    pub epsilon: f64,
    /// At which delta.
    pub delta: f64,
}

impl BudgetArgs {
    /// The target, whichever way it was given.
    ///
    /// # Errors
    /// A mu that no epsilon at this delta belongs to.
    pub fn target(&self) -> Result<PrivacyTarget> {
        let epsilon = match (self.epsilon, self.mu) {
            (Some(epsilon), _) => epsilon,
            (None, Some(mu)) => gdp::epsilon(mu, self.delta)?,
            (None, None) => bail!("give --epsilon or --mu"),
        };
        if epsilon <= 0.0 {
            bail!(
                "--mu {} is so small that delta alone covers it; give a larger one, or --epsilon",
                self.mu.unwrap_or_default()
            );
        }
        Ok(PrivacyTarget { epsilon, delta: self.delta })
    }
}

/// Tolerance of sigma: a hundred-thousandth of it.
const TOLERANCE: f64 = 1e-5;

/// Largest norm of a record's gradient: most are longer, so that it is nearly a unit of the
/// learning rate alone.
const CLIPPING_NORM: f64 = 0.1;

/// What differs between a linear map of features and a network: records per step, steps, learning
/// rate.
fn defaults(network: NetworkKind) -> (u64, u64, f64) {
    match network {
        NetworkKind::ScatterLinear => (8192, 150, 4.0),
        _ => (2048, 600, 2.0),
    }
}

impl DpSgdArgs {
    /// The plan, with a noise multiplier of 0; `known` is the number of records that the data set
    /// is known to have, where its name tells.
    ///
    /// # Errors
    /// Numbers that do not go together, each with the flag to change.
    pub fn plan(&self, network: NetworkKind, known: Option<u64>) -> Result<PrivatePlan> {
        let Some(records) = self.records.or(known) else {
            bail!(
                "--records is missing: the sampling rate needs a number of records that is publicly known, and counting \
                 the files would tell it to whoever sees the result"
            );
        };
        let (batch, steps, rate) = defaults(network);
        let batch = self.expected_batch.unwrap_or(batch);
        if batch > records {
            bail!(
                "--expected-batch {batch} is above --records {records}, so that each record would take part with a \
                 probability above 1; give at most {records}"
            );
        }
        if self.views > 1 && self.augmentation == AugmentationKind::None {
            bail!(
                "--views {} of images that nothing changes are copies; give --augmentation as well",
                self.views
            );
        }
        if network == NetworkKind::ScatterLinear && self.augmentation != AugmentationKind::None {
            bail!(
                "--augmentation does not go with --network scatter-linear, whose features are computed once; leave it out"
            );
        }
        let rate = match self.optimizer {
            OptimizerKind::Sgd => rate,
            OptimizerKind::Adam => 1e-3,
        };
        let steps = self.steps.unwrap_or(steps);
        Ok(PrivatePlan {
            steps,
            sampling_rate: batch as f64 / records as f64,
            expected_batch: batch as f64,
            noise_multiplier: 0.0,
            clipping_norm: self.clipping_norm.unwrap_or(CLIPPING_NORM),
            clipping: self.clipping.into(),
            engine: if self.materialise { Engine::Materialised } else { Engine::Ghost },
            optimizer: self.optimizer,
            learning_rate: self.learning_rate.unwrap_or(rate),
            momentum: self.momentum,
            schedule: match self.lr_schedule {
                ScheduleKind::Constant => Schedule::Constant,
                ScheduleKind::Cosine => Schedule::Cosine,
            },
            ema_decay: self.ema_decay,
            block: self.block.unwrap_or((steps / 100).clamp(5, 100)),
            micro_batch: self.micro_batch.map(|n| n as usize),
        })
    }

    /// Changed copies of each record, where there are any.
    pub fn views(&self, seed: u64, pixels: i64) -> Option<Views> {
        let augmentation =
            Augmentation::of(self.augmentation, self.augmentation_strength, Geometry::teachers(pixels))?;
        Some(Views { count: self.views, augmentation, seed })
    }
}

/// The noise multiplier with which `plan` costs at most the target, by privacy loss distributions,
/// for noise that is drawn on a lattice in `dimension` coordinates.
///
/// # Errors
/// A target that cannot be met, and why.
pub fn noise_multiplier(plan: &PrivatePlan, target: PrivacyTarget, dimension: u64) -> Result<f64> {
    let inexact = draws::inexact_noise_delta(target.epsilon, plan.steps, dimension)?;
    let delta = (target.delta - inexact).next_down();
    if delta <= 0.0 {
        bail!(
            "--delta {:e} is below what the noise's own inexactness takes, {inexact:.1e}, which grows with e^epsilon; give a larger \
             delta or a smaller --epsilon",
            target.delta
        );
    }
    let run = DpSgd { q: plan.sampling_rate, steps: plan.steps, delta };
    let mut sigma = run.sigma(target.epsilon, Accountant::Pld, TOLERANCE)?.sigma;
    // A ledger counts all mechanisms on one grid, and so a little more where a formula is exact.
    let cost = |sigma: f64| {
        let mechanism = Mechanism::PoissonSubsampledGaussian { q: plan.sampling_rate, sigma };
        epsilon_of_caps(&[Cap { mechanism, count: plan.steps }], delta)
    };
    while cost(sigma)? > target.epsilon {
        sigma *= 1.0 + 10.0 * TOLERANCE;
    }
    // Whether there is a lattice for so much noise.
    PrivatePlan { noise_multiplier: sigma, ..plan.clone() }.lattice(dimension as usize)?;
    Ok(sigma)
}

/// The first line of the ledger of a data set on which nothing but `plan` is to run.
pub fn ledger_header(dataset: &str, plan: &PrivatePlan, target: PrivacyTarget) -> Header {
    Header::of_caps(
        dataset,
        "one record",
        Adjacency::AddOrRemoveOne,
        (target.epsilon, target.delta),
        vec![Cap { mechanism: plan.mechanism(), count: plan.steps }],
    )
}

/// The noise multiplier of the plan's steps in a ledger whose list of mechanisms is fixed; none
/// where it has no such list.
///
/// # Errors
/// A list without as many steps of the plan's sampling rate.
pub fn of_ledger(header: &Header, plan: &PrivatePlan) -> Result<Option<f64>> {
    let Budget::Caps { caps, .. } = &header.budget else { return Ok(None) };
    let found = caps.iter().find_map(|cap| match cap.mechanism {
        Mechanism::PoissonSubsampledGaussian { q: rate, sigma }
            if cap.count >= plan.steps && rate.total_cmp(&plan.sampling_rate).is_eq() =>
        {
            Some(sigma)
        }
        _ => None,
    });
    if found.is_none() {
        let list = caps.iter().map(|cap| format!("{} of {}", cap.count, cap.mechanism)).collect::<Vec<_>>();
        bail!(
            "its list, fixed when it was begun, is {}, and this run is {} steps of DP-SGD at sampling rate {}",
            list.join(", "),
            plan.steps,
            plan.sampling_rate
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is solved is what a ledger lets through, for rates up to 1.
    #[test]
    fn a_ledger_lets_through_what_was_solved() {
        for (epsilon, records, batch, steps) in [
            (0.05, 60_000, 256, 300),
            (1.0, 60_000, 8192, 150),
            (3.0, 60_000, 256, 2340),
            (2.0, 500, 500, 7),
            (20.0, 40, 8, 12),
        ] {
            let args = DpSgdArgs {
                records: Some(records),
                expected_batch: Some(batch),
                steps: Some(steps),
                ..flags()
            };
            let mut plan = args.plan(NetworkKind::SmallCnn, None).unwrap();
            let target = PrivacyTarget { epsilon, delta: 1e-5 };
            plan.noise_multiplier = noise_multiplier(&plan, target, 26_010).unwrap();
            let start = dp_accounting::ledger::Ledger::<dp_noise::SystemNoise>::start(&ledger_header(
                "d", &plan, target,
            ));
            assert!(start.is_ok(), "{epsilon} {batch}: {:?}", start.err());
            assert_eq!(
                of_ledger(&ledger_header("d", &plan, target), &plan).unwrap(),
                Some(plan.noise_multiplier)
            );
            // And hardly more: a thousandth less noise is refused.
            plan.noise_multiplier *= 0.999;
            let start = dp_accounting::ledger::Ledger::<dp_noise::SystemNoise>::start(&ledger_header(
                "d", &plan, target,
            ));
            assert!(start.is_err(), "{epsilon} {batch}");
        }
    }

    fn flags() -> DpSgdArgs {
        DpSgdArgs {
            records: None,
            expected_batch: None,
            steps: None,
            clipping_norm: None,
            clipping: pate_core::config::ClippingKind::Flat,
            optimizer: OptimizerKind::Sgd,
            learning_rate: None,
            momentum: 0.9,
            lr_schedule: ScheduleKind::Constant,
            ema_decay: None,
            augmentation: AugmentationKind::None,
            augmentation_strength: 1.0,
            views: 1,
            block: None,
            micro_batch: None,
            materialise: false,
            clip_only: false,
            float_noise: false,
            diagnostics: None,
        }
    }
}
