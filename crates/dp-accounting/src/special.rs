//! The normal distribution's tails and sums of exponentials, as exact as `f64` allows.
//!
//! Everything here is accurate to a few units in the last place (tests hold it to 40-digit values
//! of mpmath); which way a privacy figure is rounded is decided where the figure is made.

use std::f64::consts::SQRT_2;

use libm::erfc;

/// Phi(x), the standard normal distribution function.
pub(crate) fn ndtr(x: f64) -> f64 {
    0.5 * erfc(-x / SQRT_2)
}

/// ln Phi(x), also where Phi(x) underflows.
pub(crate) fn log_ndtr(x: f64) -> f64 {
    if x < -1.0 {
        // The scaled function takes the exponential out of the tail.
        (0.5 * errorfunctions::RealErrorFunctions::erfcx(-x / SQRT_2)).ln() - 0.5 * x * x
    } else {
        (-0.5 * erfc(x / SQRT_2)).ln_1p()
    }
}

/// The x with ln Phi(x) = `log_p`, for `log_p` < 0; also where `exp(log_p)` underflows.
pub(crate) fn log_ndtri(log_p: f64) -> f64 {
    if log_p >= 0.0 {
        return f64::INFINITY;
    }
    let mut x = if log_p > -600.0 {
        spec_math::cephes64::ndtri(log_p.exp())
    } else {
        // Mills: ln Phi(x) is about -x^2/2 - ln(-x sqrt(2 pi)).
        let first = -(-2.0 * log_p).sqrt();
        -(-2.0 * (log_p + (-first).ln() + 0.5 * std::f64::consts::TAU.ln())).sqrt()
    };
    if log_p > -1e-12 {
        return x;
    }
    for _ in 0..8 {
        let value = log_ndtr(x);
        // d/dx ln Phi(x) = phi(x) / Phi(x).
        let slope = (-0.5 * x * x - 0.5 * std::f64::consts::TAU.ln() - value).exp();
        let step = (value - log_p) / slope;
        if !step.is_finite() || step.abs() <= 4.0 * f64::EPSILON * x.abs() {
            break;
        }
        x -= step;
    }
    x
}

/// ln(exp(a) + exp(b)).
pub(crate) fn log_add_exp(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// ln of the sum of exp of the values; minus infinity for none.
pub(crate) fn log_sum_exp(values: &[f64]) -> f64 {
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if high.is_infinite() {
        return high;
    }
    high + values.iter().map(|value| (value - high).exp()).sum::<f64>().ln()
}

/// ln(1 - exp(x)) for x <= 0 (Maechler 2012: `expm1` near 0, `ln_1p` below -ln 2).
pub(crate) fn log1m_exp(x: f64) -> f64 {
    if x > -std::f64::consts::LN_2 { (-x.exp_m1()).ln() } else { (-x.exp()).ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64, relative: f64) {
        assert!((value - expected).abs() <= relative * expected.abs(), "{value} is not {expected}");
    }

    // mpmath 1.3, mp.dps = 40: log(ncdf(x)).
    #[test]
    fn the_logarithm_of_the_normal_distribution_is_right_in_both_tails() {
        for (x, expected) in [
            (-40.0, -804.608_442_013_753_8),
            (-10.0, -53.231_285_150_512_47),
            (-1.5, -2.705_944_400_823_889_8),
            (-0.5, -1.175_911_761_593_618_6),
            (0.0, -std::f64::consts::LN_2),
            (3.0, -0.001_350_809_964_748_193_8),
            (9.0, -1.128_588_405_953_840_6e-19),
        ] {
            close(log_ndtr(x), expected, 1e-14);
        }
    }

    #[test]
    fn the_inverse_of_the_logarithm_gives_back_what_went_in() {
        for x in [-60.0, -39.0, -20.0, -5.0, -1.0, 0.0, 1.0, 4.0] {
            let back = log_ndtri(log_ndtr(x));
            assert!((back - x).abs() <= 1e-12 * x.abs().max(1.0), "{x}: {back}");
        }
    }

    #[test]
    fn sums_of_exponentials_neither_overflow_nor_vanish() {
        close(log_sum_exp(&[1000.0, 1000.0]), 1000.0 + std::f64::consts::LN_2, 1e-15);
        assert_eq!(log_sum_exp(&[]), f64::NEG_INFINITY);
        assert_eq!(log_add_exp(f64::NEG_INFINITY, -3.0), -3.0);
        assert_eq!(log_add_exp(f64::NEG_INFINITY, f64::NEG_INFINITY), f64::NEG_INFINITY);
        close(log1m_exp(-1e-10), (1e-10f64).ln(), 1e-10);
        close(log1m_exp(-50.0), -(-50.0f64).exp(), 1e-15);
    }
}
