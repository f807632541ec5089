//! What a private training costs and how it is done, from its flags.

use anyhow::{Result, bail};
use dp_accounting::calibrate::{Accountant, DpSgd};
use dp_accounting::filter::{Budget, Cap, epsilon_of_caps};
use dp_accounting::ledger::Header;
use dp_accounting::{Adjacency, Mechanism, draws, gdp};
use pate_core::config::{AugmentationKind, NetworkKind, OptimizerKind, ScheduleKind};
use pate_core::data::augment::{Augmentation, Geometry};
use pate_core::dp::{Clipping, Engine, PrivatePlan, Views};
use pate_core::nn::Schedule;
use serde::Serialize;

use super::classifier::schedule;
use crate::args::{BudgetArgs, DpSgdArgs, LengthArgs, ViewsArgs};

/// What a run is asked to cost: at most an epsilon, or what a noise multiplier costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Asked {
    /// Infinite: no noise.
    Epsilon(f64),
    /// DP-SGD's.
    NoiseMultiplier(f64),
}

impl Asked {
    /// Whether there is no noise.
    pub fn is_free(self) -> bool {
        self == Self::Epsilon(f64::INFINITY)
    }
}

/// What a run may cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PrivacyTarget {
    /// Infinite: no noise.
    pub epsilon: f64,
    /// At which delta.
    pub delta: f64,
}

impl BudgetArgs {
    /// What was asked for, whichever way.
    ///
    /// # Errors
    /// Nothing; a mu that no epsilon at this delta belongs to.
    pub fn asked(&self) -> Result<Asked> {
        let epsilon = match (self.epsilon, self.mu, self.noise_multiplier) {
            (Some(epsilon), ..) => epsilon,
            (_, Some(mu), _) => gdp::epsilon(mu, self.delta)?,
            (.., Some(sigma)) => return Ok(Asked::NoiseMultiplier(sigma)),
            (None, None, None) => {
                bail!("what the run may cost is missing: give --epsilon, --mu or --noise-multiplier")
            }
        };
        if epsilon <= 0.0 {
            bail!(
                "--mu {} is so small that delta alone covers it; give a larger one, or --epsilon",
                self.mu.unwrap_or_default()
            );
        }
        Ok(Asked::Epsilon(epsilon))
    }
}

/// Tolerance of sigma: a hundred-thousandth of it.
const TOLERANCE: f64 = 1e-5;

/// Largest norm of a record's gradient: most are longer, so that it is nearly a unit of the
/// learning rate alone.
const CLIPPING_NORM: f64 = 0.1;

/// What a private training has where no flag says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrivateDefaults {
    /// Records of a step.
    pub expected_batch: u64,
    /// Steps.
    pub steps: u64,
    /// Optimiser.
    pub optimizer: OptimizerKind,
    /// Learning rate of SGD and of Adam.
    pub learning_rate: (f64, f64),
    /// Largest norm of a record's gradient.
    pub clipping_norm: f64,
    /// Decay of the average of the weights.
    pub ema_decay: Option<f64>,
}

impl PrivateDefaults {
    /// Those of a classifier: a linear map of features takes larger steps than a network.
    pub fn of_classifier(network: NetworkKind) -> Self {
        let (expected_batch, steps, rate) = match network {
            NetworkKind::ScatterLinear => (8192, 150, 4.0),
            _ => (2048, 600, 2.0),
        };
        Self {
            expected_batch,
            steps,
            optimizer: OptimizerKind::Sgd,
            learning_rate: (rate, 1e-3),
            clipping_norm: CLIPPING_NORM,
            ema_decay: None,
        }
    }

    /// Those of a small model of latents (DPMI).
    pub const LATENT_MODEL: Self = Self {
        expected_batch: 256,
        steps: 2000,
        optimizer: OptimizerKind::Adam,
        learning_rate: (0.1, 0.01),
        clipping_norm: CLIPPING_NORM,
        ema_decay: None,
    };

    /// DP-FETA's, of a diffusion model: 150 passes over 60,000 images.
    pub const DIFFUSION: Self = Self {
        expected_batch: 4000,
        steps: 2250,
        optimizer: OptimizerKind::Adam,
        learning_rate: (1e-2, 3e-4),
        clipping_norm: 1.0,
        ema_decay: Some(0.999),
    };

    /// The plan of such a training of a length, with a noise multiplier of 0.
    pub fn plan(&self, length: Length) -> PrivatePlan {
        let Length { records, expected_batch, steps } = length;
        PrivatePlan {
            steps,
            sampling_rate: expected_batch as f64 / records as f64,
            expected_batch: expected_batch as f64,
            noise_multiplier: 0.0,
            clipping_norm: self.clipping_norm,
            clipping: Clipping::Flat,
            engine: Engine::Ghost,
            optimizer: self.optimizer,
            learning_rate: match self.optimizer {
                OptimizerKind::Sgd => self.learning_rate.0,
                OptimizerKind::Adam => self.learning_rate.1,
            },
            momentum: 0.0,
            weight_decay: 0.0,
            schedule: Schedule::Constant,
            ema_decay: self.ema_decay,
            block: (steps / 100).clamp(5, 100),
            micro_batch: None,
        }
    }
}

/// How long a private training is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Length {
    /// Records that the data set is publicly known to have.
    pub records: u64,
    /// Records of a step, expected.
    pub expected_batch: u64,
    /// Steps.
    pub steps: u64,
}

impl LengthArgs {
    /// `known` is the number of records that the data set is known to have, where its name tells.
    ///
    /// # Errors
    /// Numbers that do not go together, each with the flag to change.
    pub fn resolve(&self, defaults: &PrivateDefaults, known: Option<u64>) -> Result<Length> {
        let Some(records) = self.records.or(known) else {
            bail!(
                "--records is missing: the sampling rate needs a number of records that is publicly known, and counting \
                 the files would tell it to whoever sees the result"
            );
        };
        let expected_batch = self.expected_batch.unwrap_or(defaults.expected_batch);
        if expected_batch > records {
            bail!(
                "--expected-batch {expected_batch} is above --records {records}, so that each record would take part with \
                 a probability above 1; give at most {records}"
            );
        }
        let of_epochs =
            self.epochs.map(|epochs| (epochs * records as f64 / expected_batch as f64).ceil() as u64);
        Ok(Length { records, expected_batch, steps: self.steps.or(of_epochs).unwrap_or(defaults.steps) })
    }
}

impl DpSgdArgs {
    /// The plan, with a noise multiplier of 0.
    ///
    /// # Errors
    /// As [`LengthArgs::resolve`].
    pub fn plan(&self, defaults: &PrivateDefaults, known: Option<u64>) -> Result<PrivatePlan> {
        let length = self.length.resolve(defaults, known)?;
        let optimizer = self.optimizer.unwrap_or(defaults.optimizer);
        let plan = PrivateDefaults { optimizer, ..*defaults }.plan(length);
        Ok(PrivatePlan {
            clipping_norm: self.clipping_norm.unwrap_or(plan.clipping_norm),
            clipping: self.clipping.into(),
            engine: if self.materialise { Engine::Materialised } else { Engine::Ghost },
            learning_rate: self.learning_rate.unwrap_or(plan.learning_rate),
            momentum: self.momentum,
            weight_decay: self.weight_decay.unwrap_or(plan.weight_decay),
            schedule: schedule(self.lr_schedule.unwrap_or(ScheduleKind::Constant), plan.schedule),
            ema_decay: self.ema_decay.or(plan.ema_decay),
            block: self.block.unwrap_or(plan.block),
            micro_batch: self.micro_batch.map(|n| n as usize),
            ..plan
        })
    }
}

impl ViewsArgs {
    /// Checks that they go with a network.
    ///
    /// # Errors
    /// Copies that nothing changes, changes to what is computed once.
    pub fn check(&self, network: NetworkKind) -> Result<()> {
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
        Ok(())
    }

    /// Changed copies of each record, where there are any.
    pub fn views(&self, seed: u64, pixels: i64) -> Option<Views> {
        let augmentation =
            Augmentation::of(self.augmentation, self.augmentation_strength, Geometry::teachers(pixels))?;
        Some(Views { count: self.views, augmentation, seed })
    }
}

impl BudgetArgs {
    /// Whether any flag says what the run may cost.
    pub fn was_asked(&self) -> bool {
        self.epsilon.is_some() || self.mu.is_some() || self.noise_multiplier.is_some()
    }
}

impl DpSgdArgs {
    /// Whether steps protect what they read, for a run that was asked to cost so much.
    ///
    /// # Errors
    /// --clip-only beside noise.
    pub fn protects(&self, asked: Asked) -> Result<bool> {
        let noiseless = asked.is_free();
        if self.clip_only && !noiseless {
            bail!(
                "--clip-only goes with --epsilon inf: with noise, gradients are always clipped; leave it out"
            );
        }
        Ok(!noiseless && !self.float_noise)
    }

    /// Takes the clipping away from a plan without noise, unless it was asked for.
    pub fn set_free(&self, asked: Asked, plan: &mut PrivatePlan) {
        if asked.is_free() && !self.clip_only {
            plan.clipping_norm = f64::INFINITY;
        }
    }
}

/// A release beside the steps of DP-SGD, inside the same budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beside {
    /// Its mechanism, and how often it runs.
    pub cap: Cap,
    /// Coordinates of one.
    pub dimension: u64,
}

/// What a private training is charged with: its steps, and what else is to run on the same data.
#[derive(Clone, Copy, Debug)]
pub struct Costs<'a> {
    /// The steps.
    pub plan: &'a PrivatePlan,
    /// Weights that are trained.
    pub dimension: u64,
    /// What else.
    pub beside: Option<Beside>,
}

/// What is left of delta once the inexactness of so many draws of noise is taken off.
fn delta_left(target: PrivacyTarget, draws: u64, dimension: u64) -> Result<f64> {
    let inexact = draws::inexact_noise_delta(target.epsilon, draws, dimension)?;
    let delta = (target.delta - inexact).next_down();
    if delta <= 0.0 {
        bail!(
            "--delta {:e} is below what the noise's own inexactness takes, {inexact:.1e}, which grows with e^epsilon; \
             give a larger delta or a smaller --epsilon",
            target.delta
        );
    }
    Ok(delta)
}

impl Costs<'_> {
    /// All mechanisms, with the steps at `sigma`.
    fn caps(&self, sigma: f64) -> Vec<Cap> {
        let q = self.plan.sampling_rate;
        let steps =
            Cap { mechanism: Mechanism::PoissonSubsampledGaussian { q, sigma }, count: self.plan.steps };
        std::iter::once(steps).chain(self.beside.map(|beside| beside.cap)).collect()
    }

    /// What is left of delta once the noise's own inexactness is taken off.
    fn delta_left(&self, target: PrivacyTarget) -> Result<f64> {
        let (draws, dimension) = match self.beside {
            None => (self.plan.steps, self.dimension),
            Some(beside) => (self.plan.steps + beside.cap.count, self.dimension.max(beside.dimension)),
        };
        delta_left(target, draws, dimension)
    }

    /// The noise multiplier with which all costs at most the target, by privacy loss distributions,
    /// for noise that is drawn on a lattice.
    ///
    /// # Errors
    /// A target that cannot be met, and why.
    pub fn noise_multiplier(&self, target: PrivacyTarget) -> Result<f64> {
        let delta = self.delta_left(target)?;
        let run = DpSgd { q: self.plan.sampling_rate, steps: self.plan.steps, delta };
        let mut sigma = run.sigma(target.epsilon, Accountant::Pld, TOLERANCE)?.sigma;
        // A ledger counts all mechanisms on one grid, and so a little more where a formula is
        // exact.
        let cost = |sigma: f64| epsilon_of_caps(&self.caps(sigma), delta);
        if let Some(beside) = self.beside {
            let alone = epsilon_of_caps(&[beside.cap], delta)?;
            if alone >= target.epsilon {
                bail!(
                    "{} alone costs epsilon {alone:.3}, and --epsilon is {}; give it more noise, or a larger epsilon",
                    beside.cap.mechanism,
                    target.epsilon
                );
            }
            // Between what is too little and what is enough.
            let (mut low, mut high) = (sigma, sigma * 1.02);
            while cost(high)? > target.epsilon {
                low = high;
                high *= 1.1;
            }
            while high / low > 1.0 + TOLERANCE {
                let middle = 0.5 * (low + high);
                if cost(middle)? > target.epsilon { low = middle } else { high = middle }
            }
            sigma = high;
        }
        while cost(sigma)? > target.epsilon {
            sigma *= 1.0 + 10.0 * TOLERANCE;
        }
        // Whether there is a lattice for so much noise.
        PrivatePlan { noise_multiplier: sigma, ..self.plan.clone() }.lattice(self.dimension as usize)?;
        Ok(sigma)
    }

    /// What all costs with a noise multiplier of `sigma`.
    ///
    /// # Errors
    /// A sigma so small that nothing is protected.
    pub fn of_noise(&self, sigma: f64, delta: f64) -> Result<PrivacyTarget> {
        let caps = self.caps(sigma);
        // A thousandth of a per mille for the inexactness, which is far less for any epsilon of
        // use; the check below says so.
        let epsilon = epsilon_of_caps(&caps, delta * (1.0 - 1e-6))? * (1.0 + 1e-12);
        let target = PrivacyTarget { epsilon, delta };
        if !(epsilon.is_finite() && self.delta_left(target).is_ok_and(|left| left >= delta * (1.0 - 1e-6))) {
            bail!(
                "--noise-multiplier {sigma} costs epsilon {epsilon:.1}, which protects nobody; give a larger one"
            );
        }
        Ok(target)
    }

    /// The first line of the ledger of a data set on which nothing else is to run.
    pub fn ledger_header(&self, dataset: &str, target: PrivacyTarget) -> Header {
        Header::of_caps(
            dataset,
            "one record",
            Adjacency::AddOrRemoveOne,
            (target.epsilon, target.delta),
            self.caps(self.plan.noise_multiplier),
        )
    }
}

/// The noise of one Gaussian release of sensitivity 1 and of so many numbers, for a target.
///
/// # Errors
/// A target that cannot be met, and why.
pub fn one_release(target: PrivacyTarget, dimension: u64) -> Result<f64> {
    let delta = delta_left(target, 1, dimension)?;
    let mut sigma = gdp::sigma(target.epsilon, delta, 1, 1.0)?;
    // A ledger counts all mechanisms on a grid, and so a little more than the formula.
    while epsilon_of_caps(&[release_cap(sigma)], delta)? > target.epsilon {
        sigma *= 1.0 + TOLERANCE;
    }
    Ok(sigma)
}

/// What one Gaussian release with a noise of `sigma` sensitivities costs.
///
/// # Errors
/// A sigma so small that nothing is protected.
pub fn of_one_release(sigma: f64, delta: f64, dimension: u64) -> Result<PrivacyTarget> {
    let epsilon = epsilon_of_caps(&[release_cap(sigma)], delta * (1.0 - 1e-6))? * (1.0 + 1e-12);
    let target = PrivacyTarget { epsilon, delta };
    if !(epsilon.is_finite()
        && delta_left(target, 1, dimension).is_ok_and(|left| left >= delta * (1.0 - 1e-6)))
    {
        bail!(
            "--noise-multiplier {sigma} costs epsilon {epsilon:.1}, which protects nobody; give a larger one"
        );
    }
    Ok(target)
}

fn release_cap(sigma: f64) -> Cap {
    Cap { mechanism: Mechanism::Gaussian { sigma, sensitivity_l2: 1.0 }, count: 1 }
}

/// The first line of the ledger of a data set on which one Gaussian release is to run, and nothing
/// else.
pub fn release_header(dataset: &str, target: PrivacyTarget, sigma: f64) -> Header {
    Header::of_caps(
        dataset,
        "one record",
        Adjacency::AddOrRemoveOne,
        (target.epsilon, target.delta),
        vec![release_cap(sigma)],
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
            let length = LengthArgs {
                records: Some(records),
                expected_batch: Some(batch),
                steps: Some(steps),
                epochs: None,
            };
            let args = DpSgdArgs { length, ..flags() };
            let mut plan = args.plan(&PrivateDefaults::of_classifier(NetworkKind::SmallCnn), None).unwrap();
            let target = PrivacyTarget { epsilon, delta: 1e-5 };
            let statistics = Mechanism::Gaussian { sigma: 40.0 / epsilon, sensitivity_l2: 1.0 };
            let beside = Beside { cap: Cap { mechanism: statistics, count: 1 }, dimension: 9600 };
            for beside in [None, Some(beside)] {
                let costs = Costs { plan: &plan, dimension: 26_010, beside };
                let sigma = costs.noise_multiplier(target).unwrap();
                plan.noise_multiplier = sigma;
                let header =
                    |plan: &PrivatePlan| Costs { plan, dimension: 26_010, beside }.ledger_header("d", target);
                let start = |plan: &PrivatePlan| {
                    dp_accounting::ledger::Ledger::<dp_noise::SystemNoise>::start(&header(plan))
                };
                assert!(start(&plan).is_ok(), "{epsilon} {batch}: {:?}", start(&plan).err());
                assert_eq!(of_ledger(&header(&plan), &plan).unwrap(), Some(sigma));
                // What it costs is what was asked for.
                let costs = Costs { plan: &plan, dimension: 26_010, beside };
                let back = costs.of_noise(sigma, 1e-5).unwrap().epsilon;
                assert!(back <= epsilon * (1.0 + 1e-5) && back > epsilon * 0.99, "{back} {epsilon}");
                // And hardly more: a thousandth less noise is refused.
                plan.noise_multiplier *= 0.999;
                assert!(start(&plan).is_err(), "{epsilon} {batch}");
            }
        }
    }

    /// The specification's: MNIST in batches of 256 for 4 epochs, with statistics at 20.
    #[test]
    fn statistics_take_little_of_a_budget() {
        let length =
            LengthArgs { records: Some(60_000), expected_batch: Some(256), epochs: Some(4.0), steps: None };
        let args = DpSgdArgs { length, ..flags() };
        let plan = args.plan(&PrivateDefaults::of_classifier(NetworkKind::ResNet), None).unwrap();
        assert_eq!(plan.steps, 938);
        let statistics = Mechanism::Gaussian { sigma: 20.0, sensitivity_l2: 1.0 };
        let beside = Beside { cap: Cap { mechanism: statistics, count: 1 }, dimension: 9600 };
        let target = PrivacyTarget { epsilon: 1.0, delta: 1e-5 };
        let sigma =
            |beside| Costs { plan: &plan, dimension: 176_258, beside }.noise_multiplier(target).unwrap();
        let (alone, both) = (sigma(None), sigma(Some(beside)));
        assert!(alone < both && both < 1.01 * alone, "{alone} {both}");
        // What takes all of it is refused.
        let large = Mechanism::Gaussian { sigma: 2.0, sensitivity_l2: 1.0 };
        let beside = Some(Beside { cap: Cap { mechanism: large, count: 1 }, dimension: 9600 });
        let error = Costs { plan: &plan, dimension: 176_258, beside }.noise_multiplier(target).unwrap_err();
        assert!(error.to_string().contains("alone costs"), "{error}");
    }

    fn flags() -> DpSgdArgs {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            of: DpSgdArgs,
        }
        <Flags as clap::Parser>::parse_from(["test"]).of
    }
}
