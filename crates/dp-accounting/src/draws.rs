//! What a charge pays for: its own mechanism's noise, as often as it says.
//!
//! A [`Draws`] is all that the closure of [`Ledger::run`](crate::ledger::Ledger::run) gets. The
//! source of the noise is inside and cannot be reached: each method draws with the parameters that
//! were charged, takes one of the draws that were charged, and refuses what was not. Using fewer is
//! fine, and gives nothing back.
//!
//! | mechanism of the charge | method | a draw is |
//! |---|---|---|
//! | `gnmax_screen` | [`screen`](Draws::screen) | one bit about the largest count |
//! | `gnmax_answer`, `lnmax_answer` | [`answer`](Draws::answer) | one argmax |
//! | `discrete_gaussian` | [`integers`](Draws::integers) | one vector of integers |
//! | `gaussian`, `laplace` | [`vector`](Draws::vector) | one vector, of any dimension, on a [`Lattice`] |
//! | `poisson_subsampled_gaussian` | [`sampled_sum`](Draws::sampled_sum) | one step: which records take part, and the noisy sum |
//! | `pure` | none | its noise is the caller's own affair |
//!
//! What the type cannot see is the statistic's sensitivity: that the numbers which are handed over
//! move by no more than the charge, or the lattice, says. That is the caller's to show.

use dp_noise::{
    DiscreteGaussian, DiscreteLaplace, MAX_SIGMA, NoiseSource, gnmax, lnmax, poisson_sample, screen,
};

use crate::error::check;
use crate::{Error, Mechanism, Result};

/// Standard deviations of Gaussian noise on a lattice, in its steps, at least: from here on the
/// difference to the continuous Gaussian, as which a `gaussian` charge is counted, is far below all
/// roundings (under Renyi divergences there is none at all).
pub const LEAST_LATTICE_SIGMA: u32 = 1 << 10;

/// Real numbers as multiples of a step, so that their noise is exact: no bits of a floating-point
/// sum can give it away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lattice {
    step: f64,
    sensitivity: f64,
}

impl Lattice {
    /// Multiples of `step`, of a statistic that moves by at most `sensitivity` (in the statistic's
    /// units, not in steps; rounding to the lattice included): L2 for Gaussian noise, L1 for
    /// Laplace noise.
    ///
    /// # Errors
    /// A value that is not finite and above 0.
    pub fn new(step: f64, sensitivity: f64) -> Result<Self> {
        let step = check("the step of the lattice", step, |value| value > 0.0, "above 0")?;
        let sensitivity =
            check("the sensitivity on the lattice", sensitivity, |value| value > 0.0, "above 0")?;
        Ok(Self { step, sensitivity })
    }

    /// For a sum of records' vectors that were clipped to the L2 norm `clip` and then rounded to
    /// the nearest multiples of `step` in each of their `dimension` coordinates: a record then
    /// moves it by clip + step sqrt(dimension) / 2 at most.
    ///
    /// # Errors
    /// As [`Lattice::new`].
    pub fn of_clipped(clip: f64, step: f64, dimension: usize) -> Result<Self> {
        let rounding = 0.5 * step * (dimension as f64).sqrt();
        Self::new(step, (clip + rounding) * (1.0 + 4.0 * f64::EPSILON))
    }

    /// One step, in the statistic's units.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// The largest change, in the statistic's units.
    pub fn sensitivity(&self) -> f64 {
        self.sensitivity
    }
}

/// The draws that one charge has paid for: see the [module](self).
#[derive(Debug)]
pub struct Draws<'a, S> {
    source: &'a mut S,
    mechanism: Mechanism,
    count: u64,
    left: u64,
}

enum Sampler {
    Gaussian(DiscreteGaussian),
    Laplace(DiscreteLaplace),
}

impl<'a, S: NoiseSource> Draws<'a, S> {
    pub(crate) fn new(source: &'a mut S, mechanism: Mechanism, count: u64) -> Self {
        Self { source, mechanism, count, left: count }
    }

    /// What was charged.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// How many draws are left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Confident-GNMax's screen: whether the largest count reaches `threshold` after noise. See
    /// [`dp_noise::screen`] for what it assumes.
    ///
    /// # Errors
    /// [`Error::Draw`] where the charge is for something else or used up; no classes. Nothing is
    /// drawn then.
    pub fn screen(&mut self, votes_private: &[u32], threshold: i64) -> Result<bool> {
        let Mechanism::GnmaxScreen { sigma } = self.mechanism else {
            return Err(self.other("a screen of votes"));
        };
        let noise = DiscreteGaussian::new(integer("sigma", sigma)?)?;
        self.take_for(votes_private)?;
        Ok(screen(votes_private, threshold, &noise, self.source)?)
    }

    /// The argmax of the counts after noise: GNMax or LNMax, as it was charged. See
    /// [`dp_noise::gnmax`], [`dp_noise::lnmax`].
    ///
    /// # Errors
    /// As [`Draws::screen`].
    pub fn answer(&mut self, votes_private: &[u32]) -> Result<usize> {
        match self.mechanism {
            Mechanism::GnmaxAnswer { sigma } => {
                let noise = DiscreteGaussian::new(integer("sigma", sigma)?)?;
                self.take_for(votes_private)?;
                Ok(gnmax(votes_private, &noise, self.source)?)
            }
            Mechanism::LnmaxAnswer { lambda } => {
                let noise = DiscreteLaplace::new(integer("lambda", lambda)?)?;
                self.take_for(votes_private)?;
                Ok(lnmax(votes_private, &noise, self.source)?)
            }
            _ => Err(self.other("an answer of votes")),
        }
    }

    /// Integers, each with noise of its own. Of neighbouring data sets one of them differs, by at
    /// most the charge's sensitivity: counts, or a histogram of which a record is in one cell.
    ///
    /// # Errors
    /// [`Error::Draw`] where the charge is for something else or used up; nothing is drawn then.
    pub fn integers(&mut self, values_private: &[i64]) -> Result<Vec<i64>> {
        let Mechanism::DiscreteGaussian { sigma, .. } = self.mechanism else {
            return Err(self.other("integers with discrete Gaussian noise"));
        };
        let noise = DiscreteGaussian::new(integer("sigma", sigma)?)?;
        self.take()?;
        Ok(values_private.iter().map(|value| value.saturating_add(noise.sample(self.source))).collect())
    }

    /// A vector in steps of a lattice, each coordinate with noise of its own; comes back in the
    /// statistic's units. One draw, whatever the dimension.
    ///
    /// Gaussian: discrete noise of at least the standard deviation that was charged. Laplace:
    /// discrete noise of a scale t' of at least t + 1/4 steps for the t that was charged, which
    /// tells no more than continuous noise of scale t: its delta(epsilon) is at most 1 -
    /// e^((epsilon - D/t')/2) / cosh(1/(2 t')), and ln cosh(x) is at most x^2/2.
    ///
    /// # Errors
    /// [`Error::Draw`] where the charge is for something else or used up, where the lattice's
    /// sensitivity is above the charge's, or where its step is too coarse or too fine for the
    /// noise; nothing is drawn then.
    pub fn vector(&mut self, sum_private: &[i64], lattice: Lattice) -> Result<Vec<f64>> {
        let (noise, sensitivity) = match self.mechanism {
            Mechanism::Gaussian { sigma, sensitivity_l2 } => {
                (self.on_lattice(sigma, lattice)?, sensitivity_l2)
            }
            Mechanism::Laplace { scale, sensitivity_l1 } => {
                let steps = (scale / lattice.step + 0.25).ceil();
                (Sampler::Laplace(DiscreteLaplace::new(self.steps(steps, 1)?)?), sensitivity_l1)
            }
            _ => return Err(self.other("a vector with noise")),
        };
        if lattice.sensitivity > sensitivity {
            let reason = format!(
                "a vector of sensitivity {} was given; charge for that, or clip it to less",
                lattice.sensitivity
            );
            return Err(self.refused(reason));
        }
        self.take()?;
        Ok(self.noisy(sum_private, &noise, lattice))
    }

    /// One step of DP-SGD: draws which of `records` take part, each with the probability that was
    /// charged and independently of the others, asks `sum_private` for the sum of their vectors in
    /// steps of the lattice, and adds noise of the charged sigma times the lattice's sensitivity to
    /// each coordinate; comes back in the statistic's units.
    ///
    /// Which records take part is as secret as the noise: `sum_private` may use the indices and
    /// must let nothing of them out. Nobody may take part; the sum is then all zeros, and noise is
    /// added all the same.
    ///
    /// # Errors
    /// As [`Draws::vector`]; what `sum_private` refuses: the draw is used up then.
    pub fn sampled_sum(
        &mut self,
        records: usize,
        lattice: Lattice,
        sum_private: impl FnOnce(&[usize]) -> Result<Vec<i64>>,
    ) -> Result<Vec<f64>> {
        let Mechanism::PoissonSubsampledGaussian { q, sigma } = self.mechanism else {
            return Err(self.other("a step on a Poisson sample"));
        };
        let noise = self.on_lattice(sigma * lattice.sensitivity, lattice)?;
        self.take()?;
        let sample_private = poisson_sample(records, q, self.source);
        let sum = sum_private(&sample_private)?;
        Ok(self.noisy(&sum, &noise, lattice))
    }

    fn noisy(&mut self, sum_private: &[i64], noise: &Sampler, lattice: Lattice) -> Vec<f64> {
        let noisy = |value: &i64| {
            let draw = match noise {
                Sampler::Gaussian(noise) => noise.sample(self.source),
                Sampler::Laplace(noise) => noise.sample(self.source),
            };
            // From here on it is a function of what is released.
            value.saturating_add(draw) as f64 * lattice.step
        };
        sum_private.iter().map(noisy).collect()
    }

    /// Noise of a standard deviation of at least `sigma`, in the statistic's units.
    fn on_lattice(&self, sigma: f64, lattice: Lattice) -> Result<Sampler> {
        let steps = (sigma / lattice.step * (1.0 + 4.0 * f64::EPSILON)).ceil();
        Ok(Sampler::Gaussian(DiscreteGaussian::new(self.steps(steps, LEAST_LATTICE_SIGMA)?)?))
    }

    fn steps(&self, steps: f64, least: u32) -> Result<u32> {
        if steps >= f64::from(least) && steps <= f64::from(MAX_SIGMA) {
            return Ok(steps as u32);
        }
        Err(self.refused(format!(
            "its noise is {steps} steps of the lattice wide; choose the step so that it is from {least} to {MAX_SIGMA} of them"
        )))
    }

    fn take_for(&mut self, votes_private: &[u32]) -> Result<()> {
        if votes_private.is_empty() {
            return Err(dp_noise::Error::NoClasses.into());
        }
        self.take()
    }

    fn take(&mut self) -> Result<()> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                Err(self.refused(format!("all {} of its draws are made; charge for more first", self.count)))
            }
        }
    }

    fn other(&self, asked: &str) -> Error {
        self.refused(format!("{asked} was asked for; charge for that first"))
    }

    fn refused(&self, reason: String) -> Error {
        Error::Draw { mechanism: self.mechanism.to_string(), reason }
    }
}

/// A parameter that the samplers take as an integer.
fn integer(name: &'static str, value: f64) -> Result<u32> {
    let most = f64::from(MAX_SIGMA);
    let holds = |value: f64| value.fract() == 0.0 && (1.0..=most).contains(&value);
    Ok(check(name, value, holds, "an integer from 1 to 1,048,576, as the noise has it")? as u32)
}
