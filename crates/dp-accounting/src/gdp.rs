//! Gaussian differential privacy: exact, additive, and safe under fully adaptive composition.
//!
//! A mechanism is mu-GDP if telling its outputs on neighbouring data sets apart is at least as hard
//! as telling N(0, 1) from N(mu, 1). The Gaussian mechanism with L2 sensitivity D and standard
//! deviation s is exactly D/s-GDP, and mechanisms of mu_1, ..., mu_k together are sqrt(mu_1^2 + ...
//! + mu_k^2)-GDP (Dong, Roth and Su, 1905.02383).
//!
//! # Rounding
//! Every figure is rounded towards more spent: [`delta`] and [`epsilon`] up, [`mu`] down. The
//! margin is a first-order bound on the rounding of the formula, a few units in the last place
//! times its condition number; values of mpmath test it.
//!
//! ```
//! // 283 answers of GNMax with sigma 40 (sensitivity sqrt 2 each) at delta 1e-5.
//! let mu = dp_accounting::gdp::total_mu([(283, 2f64.sqrt(), 40.0)])?;
//! let epsilon = dp_accounting::gdp::epsilon(mu, 1e-5)?;
//! assert!((epsilon - 2.420961252).abs() < 1e-8);
//! # Ok::<(), dp_accounting::Error>(())
//! ```

use std::f64::consts::{FRAC_PI_2, SQRT_2, TAU};

use crate::error::{check, check_delta};
use crate::special::ndtr;
use crate::{Error, Result};

/// mu of Gaussian releases, `(how many, L2 sensitivity, sigma)` each, added up.
///
/// # Edge cases
/// Nothing released, or sensitivity 0, is mu 0; sigma 0 with a positive sensitivity is infinite.
///
/// # Errors
/// A value that is negative or not a number.
pub fn total_mu(releases: impl IntoIterator<Item = (u64, f64, f64)>) -> Result<f64> {
    let mut total = 0.0;
    for (count, sensitivity, sigma) in releases {
        let sensitivity = crate::error::check_sensitivity(sensitivity)?;
        let sigma = crate::error::check_scale("sigma", sigma)?;
        if count > 0 && sensitivity > 0.0 {
            // What is too small for a number is rounded up to one.
            total += count as f64 * (sensitivity / sigma).powi(2).max(f64::MIN_POSITIVE);
        }
    }
    // Sums of thousands of parts lose a unit in the last place each.
    Ok(total.sqrt() * (1.0 + 1e-13))
}

/// The smallest delta for which mu-GDP gives (epsilon, delta)-DP, rounded up.
///
/// delta = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu).
///
/// # Edge cases
/// mu 0 gives 0, infinite mu gives 1.
///
/// # Source
/// Balle and Wang 2018 (1805.06530); Dong, Roth and Su (1905.02383).
///
/// # Errors
/// mu below 0; epsilon below 0 or not finite.
pub fn delta(mu: f64, epsilon: f64) -> Result<f64> {
    let mu = check_mu(mu)?;
    let epsilon = check("epsilon", epsilon, |value| value >= 0.0, "0 or above")?;
    Ok(upper_delta(mu, epsilon))
}

/// The smallest epsilon for which mu-GDP gives (epsilon, delta)-DP, rounded up.
///
/// # Edge cases
/// mu 0 gives 0, infinite mu gives infinity.
///
/// # Errors
/// mu below 0; delta outside of (0, 1).
pub fn epsilon(mu: f64, delta: f64) -> Result<f64> {
    let (mu, delta) = (check_mu(mu)?, check_delta(delta)?);
    if mu.is_infinite() {
        return Ok(f64::INFINITY);
    }
    if upper_delta(mu, 0.0) <= delta {
        return Ok(0.0);
    }
    let mut high: f64 = 1.0;
    while upper_delta(mu, high) > delta {
        high *= 2.0;
        if high.is_infinite() {
            return Ok(high);
        }
    }
    Ok(bisect(0.0, high, |epsilon| upper_delta(mu, epsilon) <= delta))
}

/// The largest mu that is (epsilon, delta)-DP, rounded down.
///
/// # Edge cases
/// A delta so far below epsilon that rounding hides it gives 0: nothing is allowed.
///
/// # Errors
/// epsilon below 0 or not finite; delta outside of (0, 1).
pub fn mu(epsilon: f64, delta: f64) -> Result<f64> {
    let epsilon = check("epsilon", epsilon, |value| value >= 0.0, "0 or above")?;
    let delta = check_delta(delta)?;
    let mut high = 1.0;
    while upper_delta(high, epsilon) <= delta {
        high *= 2.0;
    }
    // The noise is the inverse of mu: the largest that is allowed is the smallest noise that
    // suffices.
    let inverse = bisect(1.0 / high, 1e300, |inverse| upper_delta(1.0 / inverse, epsilon) <= delta);
    let mut mu = 1.0 / inverse;
    // The inverse of the inverse may have been rounded up.
    for _ in 0..8 {
        if upper_delta(mu, epsilon) <= delta {
            return Ok(mu);
        }
        mu *= 1.0 - 2.0 * f64::EPSILON;
    }
    // The bound on the rounding alone is above delta.
    Ok(0.0)
}

/// The smallest standard deviation with which `releases` Gaussian releases of L2 sensitivity
/// `sensitivity` each are (epsilon, delta)-DP, rounded up. sqrt(2) is the sensitivity of a vote's
/// argmax, 1 of its screen.
///
/// # Edge cases
/// No releases, or sensitivity 0, need no noise: 0.
///
/// # Errors
/// As [`mu`]; a negative sensitivity.
pub fn sigma(epsilon: f64, delta: f64, releases: u64, sensitivity: f64) -> Result<f64> {
    let sensitivity = crate::error::check_sensitivity(sensitivity)?;
    let mu = mu(epsilon, delta)?;
    let sigma = sensitivity * (releases as f64).sqrt() / mu;
    Ok(sigma * (1.0 + 4.0 * f64::EPSILON))
}

pub(crate) fn check_mu(mu: f64) -> Result<f64> {
    if mu >= 0.0 { Ok(mu) } else { Err(Error::Parameter { name: "mu", value: mu, allowed: "0 or above" }) }
}

/// The upper end of the smallest interval in `[low, high]` that `holds` changes in from false to
/// true.
///
/// The interval shrinks geometrically while its ends differ by more than a factor of 2, so tiny and
/// huge values are found as fast.
pub(crate) fn bisect(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..2200 {
        let middle =
            if low > 0.0 && high > 2.0 * low { (low * high).sqrt() } else { low + 0.5 * (high - low) };
        if middle <= low || middle >= high {
            break;
        }
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// Phi(-t) / phi(t), the Mills ratio.
fn mills(t: f64) -> f64 {
    FRAC_PI_2.sqrt() * errorfunctions::RealErrorFunctions::erfcx(t / SQRT_2)
}

/// delta plus a bound on its rounding error.
fn upper_delta(mu: f64, epsilon: f64) -> f64 {
    if mu.is_infinite() {
        return 1.0;
    }
    if mu <= 0.0 {
        return 0.0;
    }
    if epsilon == 0.0 {
        // The two terms' difference, without cancellation.
        return (libm::erf(mu / (2.0 * SQRT_2)) * (1.0 + 4.0 * f64::EPSILON)).min(1.0);
    }
    let (a, b) = (0.5 * mu - epsilon / mu, -0.5 * mu - epsilon / mu);
    if a > 38.0 {
        return 1.0;
    }
    if a < -40.0 {
        // Less than the smallest number.
        return f64::from_bits(1);
    }
    // Relative: of the functions, of the square, and of a, which is a difference.
    let condition = 1.0 + a * a + a.abs() * (0.5 * mu + epsilon / mu);
    if a < -37.0 {
        // The density has no digits left, and its logarithm all of them. What is too small for a
        // number is rounded up to one.
        let (high, low) = (mills(-a), mills(-b));
        let error = 8.0 * f64::EPSILON * condition * (high + low);
        let log = -0.5 * a * a + ((high - low + error) / TAU.sqrt()).ln();
        return (log.exp() * (1.0 + 1e-12)).next_up();
    }
    // e^epsilon phi(b) = phi(a), so that both terms share a factor and neither over- nor underflows
    // before the other.
    let density = (-0.5 * a * a).exp() / TAU.sqrt();
    let low = density * mills(-b);
    let high = if a < 0.0 { density * mills(-a) } else { ndtr(a) };
    let error = 8.0 * f64::EPSILON * condition * (high + low);
    (high - low + error).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    // mpmath 1.3, mp.dps = 50: ncdf(m/2 - e/m) - exp(e)*ncdf(-m/2 - e/m).
    #[test]
    fn delta_is_above_the_true_value_and_close_to_it() {
        for (mu, epsilon, expected) in TRUE_DELTAS {
            let value = delta(mu, epsilon).unwrap();
            assert!(value >= expected, "mu {mu}, epsilon {epsilon}: {value} < {expected}");
            // The margin grows with the cancellation of the two terms: 2e-8 at mu 1e-6.
            assert!(value <= expected * (1.0 + 1e-7), "mu {mu}, epsilon {epsilon}: {value} > {expected}");
        }
    }

    const TRUE_DELTAS: [(f64, f64, f64); 10] = [
        (1.0, 1.0, 0.126_936_737_506_643_94),
        (0.1, 0.5, 6.856_582_455_838_737e-09),
        (0.001, 0.004, 7.159_562_434_938_247e-09),
        (0.5, 3.0, 3.400_911_735_673_529e-10),
        (5.0, 2.0, 0.968_348_980_290_514_9),
        (5.0, 40.0, 8.823_257_920_004_711e-09),
        (0.03, 0.8, 9.596_743_661_455_446e-160),
        (20.0, 300.0, 2.272_774_882_319_489_4e-07),
        (1e-06, 1e-06, 8.331_551_224_542_54e-08),
        (2.0, 0.0, 0.682_689_492_137_085_9),
    ];

    #[test]
    fn epsilon_and_mu_undo_each_other_on_the_safe_side() {
        for mu_in in [1e-3, 0.1, 0.5, 1.0, 5.0, 30.0] {
            for d in [1e-2, 1e-5, 1e-10, 1e-30] {
                let e = epsilon(mu_in, d).unwrap();
                assert!(delta(mu_in, e).unwrap() <= d);
                let back = mu(e, d).unwrap();
                if e > 0.0 {
                    assert!((back / mu_in - 1.0).abs() < 1e-9, "{mu_in} {d}: {back}");
                }
                assert!(delta(back, e).unwrap() <= d);
                assert!(epsilon(back, d).unwrap() <= e * (1.0 + 1e-12));
            }
        }
    }

    // mpmath 1.3, mp.dps = 60, as above: a is a small difference of large numbers.
    const LARGE_MUS: [(f64, f64, f64); 3] = [
        (70.0, 2300.0, 0.983_345_995_345_479_3),
        (988.0, 487_000.0, 0.860_819_272_541_804_7),
        (98_321.0, 4_833_400_000.0, 0.867_338_383_834_997_1),
    ];

    #[test]
    fn large_mus_lose_digits_to_the_safe_side() {
        for (mu, epsilon, expected) in LARGE_MUS {
            let value = delta(mu, epsilon).unwrap();
            assert!(
                value >= expected && value < expected * (1.0 + 1e-7),
                "{mu} {epsilon}: {value:e} {expected:e}"
            );
        }
    }

    #[test]
    fn extreme_values_end() {
        // erf(mu / (2 sqrt 2)) = 1e-16.
        assert!((mu(0.0, 1e-16).unwrap() / 2.506_628_274_631e-16 - 1.0).abs() < 1e-9);
        for (e, d) in [(1e6, 1e-5), (1e300, 1e-5), (1e-4, 1e-16), (1e-300, 1e-300), (0.0, 0.999)] {
            let found = mu(e, d).unwrap();
            assert!(delta(found, e).unwrap() <= d, "{e} {d}: {found}");
        }
        assert!((mu(1e6, 1e-5).unwrap() - 1410.0).abs() < 10.0);
        assert_eq!(epsilon(1e160, 1e-5).unwrap(), f64::INFINITY);
        // erf(1 / (2 sqrt 2)).
        assert!((delta(1.0, 0.0).unwrap() - 0.382_924_922_548_026).abs() < 1e-14);
    }

    #[test]
    fn no_noise_costs_everything_and_no_release_nothing() {
        assert_eq!(total_mu([(2, 1.0, 0.0)]).unwrap(), f64::INFINITY);
        assert_eq!(total_mu([(1, 0.0, 0.0)]).unwrap(), 0.0);
        assert_eq!(epsilon(f64::INFINITY, 1e-5).unwrap(), f64::INFINITY);
        assert_eq!(epsilon(0.0, 1e-5).unwrap(), 0.0);
        assert_eq!(delta(f64::INFINITY, 3.0).unwrap(), 1.0);
        assert_eq!(sigma(1.0, 1e-5, 0, 1.0).unwrap(), 0.0);
    }

    #[test]
    fn values_out_of_range_are_named() {
        assert!(epsilon(1.0, 0.0).unwrap_err().to_string().starts_with("delta is 0.0; it must be above 0"));
        assert!(epsilon(f64::NAN, 0.1).unwrap_err().to_string().starts_with("mu is NaN"));
        assert!(
            mu(-1.0, 0.1).is_err()
                && delta(1.0, f64::INFINITY).is_err()
                && total_mu([(1, -1.0, 1.0)]).is_err()
        );
    }
}
