//! The discrete Gaussian, exactly.

use std::num::NonZero;

use crate::{Error, NoiseSource};

/// The largest sigma: with it, all products below fit into 128 bits.
pub const MAX_SIGMA: u32 = 1 << 20;

/// Where the geometric part of a proposal is given up.
const RUN_LIMIT: u128 = 1 << 22;

// Nothing overflows. Arithmetic in a constant that does is refused by the compiler, so these lines
// are the proof.
const _: () = {
    let sigma = MAX_SIGMA as u128;
    let scale = sigma + 1;
    // |y| = u + scale·run, with u < scale and run < RUN_LIMIT.
    let largest = scale * RUN_LIMIT;
    // | |y|·scale - sigma² | is at most the larger of the two, and it is squared.
    let distance = largest * scale;
    assert!(distance > sigma * sigma);
    let _ = distance * distance;
    let _ = 2 * (sigma * scale) * (sigma * scale);
    // A draw, a vote added to it, as a signed number of 64 bits.
    assert!(largest + (u32::MAX as u128) <= i64::MAX as u128);
};

const ONE: NonZero<u128> = NonZero::<u128>::MIN;
const TWO: NonZero<u128> = ONE.saturating_add(1);

/// The discrete Gaussian on the integers: the probability of `x` is proportional to
/// `exp(-x²/(2 sigma²))`.
///
/// Every draw is exact. The algorithm uses uniform integers, comparisons, and integer products that
/// are shown to fit; no logarithm, no table, no floating-point number. To a statistic with L2
/// sensitivity `D`, one draw per coordinate gives `D²/(2 sigma²)`-zCDP, the same as the continuous
/// Gaussian of the same `sigma`.
///
/// The one deviation: what lies 2^22 sigma or more from zero is drawn again. The probability of all
/// that together is below `exp(-2^42)`, so no experiment can tell.
///
/// # Cost
/// Some 20 uniform numbers per draw on average, for every sigma: three of four proposals are
/// accepted. [`LatticeGaussian`](crate::LatticeGaussian) is much faster, for one sigma.
///
/// # Timing
/// How long a draw takes depends on what is drawn: proposals far from zero need more steps. Whoever
/// can measure single draws learns something about them (Jin et al., arXiv 2112.05307). Do not
/// answer queries interactively to somebody with a clock.
///
/// # Source
/// Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", arXiv 2004.00010:
/// its section on privacy for the guarantee, algorithms 1 to 3 for the sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscreteGaussian {
    sigma: u32,
    /// Of the Laplace distribution that proposals come from: sigma + 1.
    scale: NonZero<u128>,
    /// 2 sigma² scale².
    denominator: NonZero<u128>,
}

impl DiscreteGaussian {
    /// With a `sigma` from 1 to [`MAX_SIGMA`].
    ///
    /// # Errors
    /// [`Error::Sigma`] for any other.
    pub fn new(sigma: u32) -> Result<Self, Error> {
        let wide =
            NonZero::new(u128::from(sigma)).filter(|_| sigma <= MAX_SIGMA).ok_or(Error::Sigma { sigma })?;
        let scale = wide.saturating_add(1);
        let denominator = wide.saturating_mul(scale).saturating_pow(2).saturating_mul(TWO);
        Ok(Self { sigma, scale, denominator })
    }

    /// The scale. The standard deviation is this, or less by under a millionth.
    pub fn sigma(&self) -> u32 {
        self.sigma
    }

    /// One draw; its absolute value is below 2^43.
    pub fn sample<S: NoiseSource + ?Sized>(&self, source: &mut S) -> i64 {
        let variance = u128::from(self.sigma).pow(2);
        loop {
            let proposal = discrete_laplace(source, self.scale);
            let distance = (u128::from(proposal.unsigned_abs()) * self.scale.get()).abs_diff(variance);
            if bernoulli_exp(source, distance.pow(2), self.denominator) {
                return proposal;
            }
        }
    }
}

/// True with probability `numerator/denominator`, at most 1.
fn bernoulli<S: NoiseSource + ?Sized>(source: &mut S, numerator: u128, denominator: NonZero<u128>) -> bool {
    source.below(denominator) < numerator
}

/// True with probability `exp(-numerator/denominator)`.
fn bernoulli_exp<S: NoiseSource + ?Sized>(
    source: &mut S,
    numerator: u128,
    denominator: NonZero<u128>,
) -> bool {
    // exp(-(whole + rest)) is a product, so all of its factors have to come up.
    let whole = numerator / denominator;
    let mut done = 0;
    while done < whole {
        if !bernoulli_exp_fraction(source, 1, ONE) {
            return false;
        }
        done += 1;
    }
    bernoulli_exp_fraction(source, numerator % denominator, denominator)
}

/// True with probability `exp(-x)` for `x = numerator/denominator` in `[0, 1]`.
///
/// Successes with the probabilities x/1, x/2, x/3, ... are counted until the first failure. More
/// than k come in a row with probability x^k/k!, so an even number does with 1 - x + x²/2 - ...
fn bernoulli_exp_fraction<S: NoiseSource + ?Sized>(
    source: &mut S,
    numerator: u128,
    denominator: NonZero<u128>,
) -> bool {
    let mut k = ONE;
    // x/k as "1/k and x": the product k·denominator might not fit.
    while bernoulli(source, 1, k) && bernoulli(source, numerator, denominator) {
        k = k.saturating_add(1);
    }
    k.get() % 2 == 1
}

/// The probability of `y` is proportional to `exp(-|y|/scale)`, for `|y| < RUN_LIMIT·scale`.
pub(crate) fn discrete_laplace<S: NoiseSource + ?Sized>(source: &mut S, scale: NonZero<u128>) -> i64 {
    loop {
        // |y| = u + scale·run: the remainder has weights exp(-u/scale), the quotient exp(-run).
        let u = source.below(scale);
        if !bernoulli_exp_fraction(source, u, scale) {
            continue;
        }
        let mut run = 0;
        while run < RUN_LIMIT && bernoulli_exp_fraction(source, 1, ONE) {
            run += 1;
        }
        let magnitude = (u + scale.get() * run) as i64;
        let negative = bernoulli(source, 1, TWO);
        // Zero has one sign: with both, it would come twice as often.
        if run == RUN_LIMIT || (negative && magnitude == 0) {
            continue;
        }
        return if negative { -magnitude } else { magnitude };
    }
}

#[cfg(test)]
mod tests {
    use dp_noise_testing::{TestNoise, chi_square};

    use super::*;

    /// `TestNoise` knows the trait of the library as a dependency, which is another one than this
    /// one under test.
    struct Seeded(TestNoise);

    impl NoiseSource for Seeded {
        const SECRET: bool = false;

        fn fill(&mut self, bytes: &mut [u8]) {
            self.0.fill(bytes);
        }

        fn split(&mut self) -> Result<Self, Error> {
            Ok(Self(self.0.child()))
        }
    }

    fn seeded(seed: u64) -> Seeded {
        Seeded(TestNoise::new(seed))
    }

    const DRAWS: u64 = 200_000;

    #[test]
    fn sigma_outside_of_its_range_is_refused() {
        for sigma in [0, MAX_SIGMA + 1, u32::MAX] {
            let error = DiscreteGaussian::new(sigma).unwrap_err();
            assert!(error.to_string().contains(&format!("sigma is {sigma}, ")), "{error}");
            assert!(error.to_string().contains("1 to 1048576"), "{error}");
        }
        for sigma in [1, MAX_SIGMA] {
            assert_eq!(DiscreteGaussian::new(sigma).unwrap().sigma(), sigma);
        }
    }

    #[test]
    fn the_stored_products_are_the_formulas() {
        let largest = DiscreteGaussian::new(MAX_SIGMA).unwrap();
        assert_eq!(largest.scale.get(), (1 << 20) + 1);
        assert_eq!(largest.denominator.get(), 2 * (1_u128 << 40) * ((1 << 20) + 1) * ((1 << 20) + 1));
        assert_eq!(DiscreteGaussian::new(3).unwrap().denominator.get(), 2 * 9 * 16);
    }

    /// False alarms, for a fresh seed: 1e-6 per case.
    #[test]
    fn a_coin_of_exp_comes_up_as_often_as_it_should() {
        const CRITICAL: f64 = 23.928_126_976_934_83; // chi2.isf(1e-6, 1)
        let wide = 1_u128 << 81; // as large as the sampler's
        for (numerator, denominator, x) in [
            (1, 3, 1.0 / 3.0),
            (2, 3, 2.0 / 3.0),
            (1, 1, 1.0),
            (7, 2, 3.5),
            (5, 1, 5.0),
            (wide / 4, wide, 0.25),
            (wide + wide / 2, wide, 1.5),
        ] {
            let mut source = seeded(0x0e_u64 + numerator as u64);
            let denominator = NonZero::new(denominator).unwrap();
            let heads =
                (0..DRAWS).filter(|_| bernoulli_exp(&mut source, numerator, denominator)).count() as u64;
            let expected = DRAWS as f64 * libm::exp(-x);
            let test = chi_square(&[heads, DRAWS - heads], &[expected, DRAWS as f64 - expected]);
            assert_eq!(test.degrees, 1);
            assert!(test.statistic < CRITICAL, "exp(-{x}): {heads} heads, {expected} expected");
        }
    }

    #[test]
    fn a_coin_of_exp_0_always_comes_up_and_one_of_exp_1000_never_does() {
        let mut source = seeded(1);
        for _ in 0..10_000 {
            assert!(bernoulli_exp(&mut source, 0, TWO));
            assert!(!bernoulli_exp(&mut source, 2000, TWO)); // false alarms: 1e-430
        }
    }

    /// False alarms, for a fresh seed: 1e-6 per case.
    #[test]
    fn the_proposal_is_a_discrete_laplace() {
        // (scale, degrees of freedom, chi2.isf(1e-6, degrees))
        for (scale, degrees, critical) in CASES {
            let q = libm::exp(-1.0 / scale as f64);
            let reach = 40 * scale as i64; // what lies beyond has probability 4e-18
            let expected: Vec<f64> = (-reach..=reach)
                .map(|y| DRAWS as f64 * (1.0 - q) / (1.0 + q) * libm::exp(-y.abs() as f64 / scale as f64))
                .collect();
            let mut observed = vec![0; expected.len()];
            let mut source = seeded(scale as u64);
            for _ in 0..DRAWS {
                let draw = discrete_laplace(&mut source, NonZero::new(scale).unwrap());
                observed[(draw + reach) as usize] += 1;
            }
            let test = chi_square(&observed, &expected);
            assert_eq!(test.degrees, degrees, "scale {scale}");
            assert!(test.statistic < critical, "scale {scale}: {test:?}");
        }
    }

    const CASES: [(u128, usize, f64); 4] = [
        (1, 18, 61.914_226_716_255_8),
        (2, 34, 88.383_282_396_841_3),
        (5, 82, 157.821_657_815_751_6),
        (41, 514, 681.044_473_107_551_7),
    ];
}
