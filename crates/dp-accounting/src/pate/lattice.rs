//! Tails of the discrete Gaussian, and of the difference of two of them, summed exactly.

use std::f64::consts::{LN_2, PI};

use crate::error::{Result, check};
use crate::special::{log_add_exp, log_sum_exp, log1m_exp};

/// The largest scale of the samplers on integers.
pub(crate) const MAX_SIGMA: f64 = 1_048_576.0;

/// The largest gap for which a table is made.
const MAX_GAP: usize = 1 << 24;

/// ln P(W >= `gap`) for W the difference of two independent discrete Gaussians of scale `sigma`.
///
/// That is the chance that one class's noisy count reaches another's which is `gap` votes ahead, a
/// tie counted as reached. For continuous noise it is Phi(-gap / (sqrt(2) sigma)), and at sigma =
/// 40 the two differ by 0.7 % of the probability at gap 0 and by 3.4 % at 200. This is arithmetic
/// on public numbers, and no figure about any data.
///
/// # Edge cases
/// `sigma` 0 (no noise): 0, the logarithm of 1, at gap 0 and minus infinity above.
///
/// # Rounding
/// A sum of positive terms, smallest first: good to about 1e-13 of the probability, in no
/// particular direction.
///
/// # Source
/// The density: Canonne, Kamath, Steinke 2020 (arXiv 2004.00010). The sum over one draw given the
/// difference is a theta sum that depends on the difference's parity alone, so that one sum is
/// left.
pub fn log_discrete_gap_tail(sigma: f64, gap: u32) -> Result<f64> {
    let sigma = check("sigma", sigma, |sigma| (0.0..=MAX_SIGMA).contains(&sigma), "0 or above, up to 2^20")?;
    Ok(LatticeTail::difference(sigma, gap as usize)?.at_least(i64::from(gap)))
}

/// ln P[W >= g] for g up to some limit, where W is symmetric around 0.
pub(crate) struct LatticeTail(Vec<f64>);

impl LatticeTail {
    /// W a discrete Gaussian.
    pub(crate) fn single(sigma: f64, limit: usize) -> Result<Self> {
        let log_factor = -log_theta(sigma, 0.0);
        Self::new(sigma, [log_factor, log_factor], limit)
    }

    /// W the difference of two discrete Gaussians: P[W = w] = e^(-w^2 / (4 sigma^2)) S(w mod 2) /
    /// Z^2, with Z the sum over integers k of e^(-k^2 / (2 sigma^2)) and S(r) that of e^(-(k +
    /// r/2)^2 / sigma^2).
    pub(crate) fn difference(sigma: f64, limit: usize) -> Result<Self> {
        let narrow = sigma / std::f64::consts::SQRT_2;
        let log_total = 2.0 * log_theta(sigma, 0.0);
        let factors = [log_theta(narrow, 0.0) - log_total, log_theta(narrow, 0.5) - log_total];
        Self::new(sigma * std::f64::consts::SQRT_2, factors, limit)
    }

    /// P[W = w] = e^(-w^2 / (2 spread^2) + `log_factors`[w mod 2]).
    fn new(spread: f64, log_factors: [f64; 2], limit: usize) -> Result<Self> {
        check(
            "the number of votes (or the threshold)",
            limit as f64,
            |value| value <= MAX_GAP as f64,
            "at most 2^24 for integer noise",
        )?;
        if spread < super::NO_NOISE {
            let mut tail = vec![f64::NEG_INFINITY; limit + 1];
            tail[0] = 0.0;
            return Ok(Self(tail));
        }
        let log_mass = |w: f64, odd: usize| -0.5 * (w / spread).powi(2) + log_factors[odd];
        // From where the mass is e^-45 of that at the limit, inwards, so that the smallest terms
        // are added first.
        let first = limit as f64;
        let last = (first * first + 90.0 * spread * spread).sqrt().ceil().max(first + 2.0) as usize;
        let scale = log_mass(first, limit & 1).max(log_mass(first + 1.0, (limit + 1) & 1));
        let beyond: f64 = (limit..=last).rev().map(|w| (log_mass(w as f64, w & 1) - scale).exp()).sum();
        let mut tail = vec![scale + beyond.ln(); limit + 1];
        for w in (0..limit).rev() {
            tail[w] = log_add_exp(tail[w + 1], log_mass(w as f64, w & 1));
        }
        Ok(Self(tail))
    }

    /// ln P(W >= `gap`), from one less than minus the limit to the limit.
    pub(crate) fn at_least(&self, gap: i64) -> f64 {
        let at = |gap: i64| self.0[usize::try_from(gap).unwrap_or(0).min(self.0.len() - 1)];
        // P[W >= -g] = 1 - P[W >= g + 1].
        if gap >= 0 { at(gap) } else { log1m_exp(at(1 - gap)) }
    }
}

/// ln of the sum over integers k of e^(-(k + `shift`)^2 / (2 `width`^2)).
fn log_theta(width: f64, shift: f64) -> f64 {
    if width > 2.0 {
        // Poisson: width sqrt(2 pi) (1 + 2 sum_j e^(-2 pi^2 width^2 j^2) cos(2 pi j shift)), and
        // e^(-8 pi^2) is 5e-35.
        return width.ln() + 0.5 * (LN_2 + PI.ln());
    }
    if width < super::NO_NOISE {
        return if shift.abs() > 0.0 { f64::NEG_INFINITY } else { 0.0 };
    }
    let terms: Vec<f64> = (-24_i32..=24).map(|k| -0.5 * ((f64::from(k) + shift) / width).powi(2)).collect();
    log_sum_exp(&terms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brute(sigma: f64, gap: i32) -> f64 {
        let mass = |k: i32| (-f64::from(k * k) / (2.0 * sigma * sigma)).exp();
        let total: f64 = (-60..=60).map(mass).sum();
        let mut sum = 0.0;
        for x in -60..=60 {
            for y in -60..=60 {
                if x - y >= gap {
                    sum += mass(x) * mass(y);
                }
            }
        }
        sum / total / total
    }

    #[test]
    fn tails_are_those_of_the_double_sum() {
        for sigma in [0.3, 1.0, 2.5, 4.0] {
            for gap in 0..12 {
                let tail = LatticeTail::difference(sigma, 11).unwrap();
                let (value, expected) = (tail.at_least(i64::from(gap)).exp(), brute(sigma, gap));
                assert!((value - expected).abs() <= 1e-13 * expected, "{sigma} {gap}: {value} {expected}");
            }
        }
    }

    #[test]
    fn both_sides_of_a_single_draw_add_up_to_one() {
        let tail = LatticeTail::single(3.0, 20).unwrap();
        for gap in -19..=19 {
            let sum = tail.at_least(gap).exp() + tail.at_least(1 - gap).exp();
            assert!((sum - 1.0).abs() < 1e-14, "{gap}: {sum}");
        }
    }

    #[test]
    fn tiny_and_missing_noise_have_limits() {
        assert_eq!(log_discrete_gap_tail(0.0, 0).unwrap(), 0.0);
        assert_eq!(log_discrete_gap_tail(0.0, 1).unwrap(), f64::NEG_INFINITY);
        let tiny = log_discrete_gap_tail(1e-3, 1).unwrap();
        // Either draw is off by one: 2 e^(-1 / (2 sigma^2)).
        assert!((tiny - (LN_2 - 0.5e6)).abs() < 1e-6, "{tiny}");
        assert!(log_discrete_gap_tail(f64::NAN, 1).is_err());
        assert!(log_discrete_gap_tail(2e6, 1).is_err());
    }
}
