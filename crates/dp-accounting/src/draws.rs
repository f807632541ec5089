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
//!
//! # Long vectors
//! Where Gaussian noise on a lattice is 2^20 steps wide, as it is on [`Lattice::of_clipped_sum`]'s,
//! [`LatticeGaussian`] draws it, several times as fast as the sampler for other widths and on as
//! many [threads](Draws::set_threads) as wished. Its noise is not exact, but within
//! [`TOTAL_VARIATION`](LatticeGaussian::TOTAL_VARIATION) = 2^-115 of it per coordinate: to the
//! delta of everything that is drawn so it adds (1 + e^epsilon) · draws · coordinates ·
//! TOTAL_VARIATION ([`inexact_noise_delta`]). A million coordinates in each of 100,000 steps add
//! 1e-23 at epsilon 1. The ledger and the accountants do not count it; whoever states a delta of
//! that size has to.

use std::num::NonZero;

use dp_noise::{
    DiscreteGaussian, DiscreteLaplace, LatticeGaussian, MAX_SIGMA, NoiseSource, Sample, gnmax, lnmax,
    poisson_sample,
    screen,
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

    /// For a sum of records' vectors that were clipped to the L2 norm `clip`, which is rounded to
    /// the nearest multiples of the step in each of its `dimension` coordinates after summing. The
    /// step is chosen so that noise of `sigma` times the sensitivity is 2^20 steps wide, for which
    /// there is a fast sampler: see the [module](self).
    ///
    /// `sum_error` is what floating-point arithmetic adds to the distance of two neighbours' sums,
    /// at most, in L2: the errors of both, together. 0 where sums are exact.
    ///
    /// # Sensitivity
    /// A record moves the exact sum by at most clip, and the computed one by at most clip +
    /// `sum_error`. Rounding moves each coordinate of each of two such sums by at most half a step,
    /// so a pair of coordinates comes at most a whole step further apart: step sqrt(dimension) in
    /// L2. (Rounding each record before summing costs half of that, and a rounding per record:
    /// [`Lattice::of_clipped`].) The step g solves
    /// sigma (clip + `sum_error` + g sqrt(dimension)) = 2^20 g, and is rounded up by a hundred
    /// trillionth, so that no rounding on the way makes the noise less than what is charged.
    ///
    /// `sigma` is that of the charge, or for a `gaussian` charge its sigma over its sensitivity. If
    /// less is charged, the noise is fewer steps wide, and slower; if more, the draw is refused.
    ///
    /// # Errors
    /// A value that is not finite and above 0 (`sum_error`: below 0); a step that no normal number
    /// is; [`Error::Dimension`] where sigma sqrt(dimension) is above 2^19, when rounding would be
    /// more than half of the sensitivity.
    pub fn of_clipped_sum(clip: f64, sigma: f64, dimension: usize, sum_error: f64) -> Result<Self> {
        let clip = check("clip", clip, |value| value > 0.0, "above 0")?;
        let sigma = check("sigma", sigma, |value| value > 0.0, "above 0")?;
        let sum_error = check("the error of the sum", sum_error, |value| value >= 0.0, "0 or above")?;
        let width = f64::from(LatticeGaussian::SIGMA);
        let rounding = sigma * (dimension as f64).sqrt();
        if rounding > 0.5 * width {
            return Err(Error::Dimension { sigma, dimension, product: rounding });
        }
        // The divisor is at least 2^19, so its rounding is relative to itself within a few units.
        // Of 64 units of slack, at least half arrive: the part of the noise that grows with the
        // step is at most half of it. Ten or so are used up, here and where the noise is made.
        let step = sigma * (clip + sum_error) / (width - rounding) * (1.0 + 64.0 * f64::EPSILON);
        let allowed = "a normal floating-point number; choose other units";
        let step = check("the step of the lattice", step, f64::is_normal, allowed)?;
        let moved = clip + sum_error + step * (dimension as f64).sqrt();
        Self::new(step, moved * (1.0 + 4.0 * f64::EPSILON))
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
    threads: NonZero<usize>,
}

#[derive(Debug, PartialEq)]
enum Sampler {
    Gaussian(DiscreteGaussian),
    /// 2^20 steps wide.
    Lattice,
    Laplace(DiscreteLaplace),
}

impl<'a, S: NoiseSource> Draws<'a, S> {
    pub(crate) fn new(source: &'a mut S, mechanism: Mechanism, count: u64) -> Self {
        Self { source, mechanism, count, left: count, threads: NonZero::<usize>::MIN }
    }

    /// On how many threads [`LatticeGaussian`] may draw; 1 at first. How many there are changes
    /// neither the distribution nor, with a source that can be made again, the noise.
    pub fn set_threads(&mut self, threads: NonZero<usize>) {
        self.threads = threads;
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
    /// noise; nothing is drawn then. [`Error::Noise`] where the operating system has no key for the
    /// noise of a thread: the draw is used up then.
    pub fn vector(&mut self, sum_private: &[i64], lattice: Lattice) -> Result<Vec<f64>>
    where
        S: Send,
    {
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
        self.noisy(sum_private.to_vec(), &noise, lattice)
    }

    /// One step of DP-SGD: draws which of `records` take part, each with the probability that was
    /// charged and independently of the others, asks `sum_private` for the sum of their vectors in
    /// steps of the lattice, and adds noise of the charged sigma times the lattice's sensitivity to
    /// each coordinate; comes back in the statistic's units.
    ///
    /// Which records take part is as secret as the noise: `sum_private` may use the sample and must
    /// let nothing of it out. Nobody may take part; the sum is then all zeros, and noise is
    /// added all the same.
    ///
    /// # Errors
    /// As [`Draws::vector`]; what `sum_private` refuses: the draw is used up then.
    pub fn sampled_sum(
        &mut self,
        records: usize,
        lattice: Lattice,
        sum_private: impl FnOnce(&Sample) -> Result<Vec<i64>>,
    ) -> Result<Vec<f64>>
    where
        S: Send,
    {
        let Mechanism::PoissonSubsampledGaussian { q, sigma } = self.mechanism else {
            return Err(self.other("a step on a Poisson sample"));
        };
        let noise = self.on_lattice(sigma * lattice.sensitivity, lattice)?;
        self.take()?;
        let sample_private = poisson_sample(records, q, self.source);
        let sum = sum_private(&sample_private)?;
        self.noisy(sum, &noise, lattice)
    }

    fn noisy(&mut self, mut sum_private: Vec<i64>, noise: &Sampler, lattice: Lattice) -> Result<Vec<f64>>
    where
        S: Send,
    {
        let values = sum_private.iter_mut();
        match noise {
            Sampler::Gaussian(noise) => {
                values.for_each(|value| *value = value.saturating_add(noise.sample(self.source)));
            }
            Sampler::Laplace(noise) => {
                values.for_each(|value| *value = value.saturating_add(noise.sample(self.source)));
            }
            Sampler::Lattice => {
                LatticeGaussian::add_to_parallel(&mut sum_private, self.source, self.threads)?;
            }
        }
        // From here on it is a function of what is released.
        Ok(sum_private.into_iter().map(|value| value as f64 * lattice.step).collect())
    }

    /// Noise of a standard deviation of at least `sigma`, in the statistic's units.
    fn on_lattice(&self, sigma: f64, lattice: Lattice) -> Result<Sampler> {
        let steps = (sigma / lattice.step * (1.0 + 4.0 * f64::EPSILON)).ceil();
        match self.steps(steps, LEAST_LATTICE_SIGMA)? {
            LatticeGaussian::SIGMA => Ok(Sampler::Lattice),
            steps => Ok(Sampler::Gaussian(DiscreteGaussian::new(steps)?)),
        }
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

/// What [`LatticeGaussian`] adds to a delta, because its noise is not exact: rounded up.
///
/// If `draws` vectors of `coordinates` each make an (epsilon, delta)-differentially private release
/// with ideal noise, adaptively chosen or not, then the release that is made is (epsilon, delta +
/// this)-differentially private. For it is within a total variation of t = draws · coordinates ·
/// [`TOTAL_VARIATION`](LatticeGaussian::TOTAL_VARIATION) of the ideal one on either data set (one
/// draw after the other is replaced), so
/// P\[M(D) in E\] <= t + e^epsilon (P\[M(D') in E\] + t) + delta.
///
/// # Errors
/// An epsilon that is not finite, or below 0.
pub fn inexact_noise_delta(epsilon: f64, draws: u64, coordinates: u64) -> Result<f64> {
    let epsilon = check("epsilon", epsilon, |value| value >= 0.0, "0 or above")?;
    // Seven roundings, of half a unit each but for the exponential's whole one.
    let up = 1.0 + 16.0 * f64::EPSILON;
    let distance = draws as f64 * coordinates as f64 * LatticeGaussian::TOTAL_VARIATION;
    Ok((1.0 + libm::exp(epsilon)) * distance * up)
}

/// A parameter that the samplers take as an integer.
fn integer(name: &'static str, value: f64) -> Result<u32> {
    let most = f64::from(MAX_SIGMA);
    let holds = |value: f64| value.fract() == 0.0 && (1.0..=most).contains(&value);
    Ok(check(name, value, holds, "an integer from 1 to 1,048,576, as the noise has it")? as u32)
}

#[cfg(test)]
mod tests {
    use dp_noise_testing::TestNoise;
    use proptest::prelude::*;

    use super::*;

    const STEPS: f64 = LatticeGaussian::SIGMA as f64;

    fn step(sigma: f64) -> Mechanism {
        Mechanism::PoissonSubsampledGaussian { q: 0.25, sigma }
    }

    fn threads(count: usize) -> NonZero<usize> {
        NonZero::new(count).unwrap()
    }

    proptest! {
        #[test]
        fn noise_on_a_clipped_sum_is_all_that_is_charged_and_hardly_more(
            clip in -20f64..20.0, sigma in -8f64..6.0, dimension in 0f64..30.0, sum_error in 0f64..0.1
        ) {
            let (clip, sigma) = (clip.exp2(), sigma.exp2());
            let dimension = dimension.exp2() as usize;
            let sum_error = clip * sum_error;
            let rounding = sigma * (dimension as f64).sqrt();
            prop_assume!(rounding <= 0.5 * STEPS);
            let lattice = Lattice::of_clipped_sum(clip, sigma, dimension, sum_error).unwrap();
            let (step_size, sensitivity) = (lattice.step(), lattice.sensitivity());
            // With one rounding at the end, which keeps the sign: the comparison is exact.
            prop_assert!(libm::fma(sigma, sensitivity, -STEPS * step_size) <= 0.0);
            prop_assert!(STEPS * step_size < sigma * sensitivity * (1.0 + 1e-13));
            let moved = clip + sum_error + step_size * (dimension as f64).sqrt();
            prop_assert!(sensitivity >= moved && sensitivity < moved * (1.0 + 1e-14));
            prop_assert!(sensitivity < 2.0 * (clip + sum_error) * (1.0 + 1e-13));

            // Both mechanisms take the fast sampler for it.
            let mut source = TestNoise::new(1);
            let draws = Draws::new(&mut source, step(sigma), 1);
            prop_assert_eq!(draws.on_lattice(sigma * sensitivity, lattice).unwrap(), Sampler::Lattice);
        }
    }

    #[test]
    fn too_many_coordinates_for_a_sigma_are_refused() {
        let most = 1 << 36; // its square root is 2^18
        assert!(Lattice::of_clipped_sum(1.0, 2.0, most, 0.0).is_ok());
        let error = Lattice::of_clipped_sum(1.0, 2.5, most, 0.0).unwrap_err().to_string();
        for part in
            ["sigma 2.5", "68719476736 coordinates", "is 655360", "at most 524288", "fewer coordinates"]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(Lattice::of_clipped_sum(bad, 1.0, 10, 0.0).is_err());
            assert!(Lattice::of_clipped_sum(1.0, bad, 10, 0.0).is_err());
            assert!(Lattice::of_clipped_sum(1.0, 1.0, 10, bad).is_err());
        }
        for (clip, sigma) in [(0.0, 1.0), (1.0, 0.0), (1e-305, 1.0), (1e305, 1e5)] {
            assert!(Lattice::of_clipped_sum(clip, sigma, 10, 0.0).is_err(), "{clip} {sigma}");
        }
    }

    /// The sample first, then the noise, from sources that are split off: for any number of
    /// threads.
    #[test]
    fn a_step_adds_the_fast_sampler_s_noise_on_any_number_of_threads() {
        let lattice = Lattice::of_clipped_sum(0.5, 4.0, 100_000, 0.0).unwrap();
        let sum = |included: &Sample| vec![included.rows().len() as i64; 100_000];
        let mut source = TestNoise::new(2);
        let mut expected = sum(&poisson_sample(50, 0.25, &mut source));
        LatticeGaussian::add_to_parallel(&mut expected, &mut source, threads(1)).unwrap();
        let expected: Vec<f64> = expected.iter().map(|value| *value as f64 * lattice.step()).collect();
        for count in [1, 2, 5] {
            let mut source = TestNoise::new(2);
            let mut draws = Draws::new(&mut source, step(4.0), 1);
            draws.set_threads(threads(count));
            let noisy = draws.sampled_sum(50, lattice, |included| Ok(sum(included))).unwrap();
            assert!(noisy == expected, "{count} threads");
        }
        let sensitivity = lattice.sensitivity();
        let mechanism = Mechanism::Gaussian { sigma: 4.0 * sensitivity, sensitivity_l2: sensitivity };
        let (mut source, mut same) = (TestNoise::new(3), TestNoise::new(3));
        let mut expected = vec![5; 1000];
        LatticeGaussian::add_to_parallel(&mut expected, &mut same, threads(1)).unwrap();
        let noisy = Draws::new(&mut source, mechanism, 1).vector(&[5; 1000], lattice).unwrap();
        assert!(noisy.iter().zip(&expected).all(|(found, value)| *found == *value as f64 * lattice.step()));
    }

    #[test]
    fn a_lattice_for_another_sigma_costs_speed_or_is_refused() {
        let lattice = Lattice::of_clipped_sum(1.0, 2.0, 100, 0.0).unwrap();
        let mut source = TestNoise::new(4);
        let slow = Draws::new(&mut source, step(1.5), 1).on_lattice(1.5 * lattice.sensitivity(), lattice);
        assert_eq!(slow.unwrap(), Sampler::Gaussian(DiscreteGaussian::new(3 << 18).unwrap()));
        let error = Draws::new(&mut source, step(2.1), 1).sampled_sum(1, lattice, |_| panic!("sampled"));
        assert!(error.unwrap_err().to_string().contains("steps of the lattice wide"));
    }

    #[test]
    fn what_inexact_noise_adds_to_delta_is_rounded_up() {
        // (1 + e^0) draws coordinates / 2^115, with a product that is a power of two.
        let exact = 2f64.powi(1 + 20 + 10 - 115);
        let found = inexact_noise_delta(0.0, 1 << 10, 1 << 20).unwrap();
        assert!(found >= exact && found < exact * (1.0 + 1e-14), "{found} {exact}");
        // The constant is below e, by less than 2e-16.
        let exact = (1.0 + std::f64::consts::E) * 1e11 / 2f64.powi(115);
        let found = inexact_noise_delta(1.0, 100_000, 1_000_000).unwrap();
        assert!(found > exact && found < exact * (1.0 + 1e-14) && found < 1e-23, "{found} {exact}");
        assert_eq!(inexact_noise_delta(3.0, 0, 5).unwrap(), 0.0);
        // Of the largest count, which no f64 is.
        let found = inexact_noise_delta(0.0, u64::MAX, 1).unwrap();
        assert!(found >= 2f64.powi(1 + 64 - 115));
        for bad in [-0.1, f64::NAN, f64::INFINITY] {
            assert!(inexact_noise_delta(bad, 1, 1).is_err());
        }
    }
}
