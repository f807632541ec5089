//! The data-dependent bound as a function of ln q, without the votes.

use crate::pate::NO_NOISE;
use crate::special::{log_add_exp, log1m_exp};

/// PATE 2018's bound for a mechanism whose most probable output has probability at least 1 - q, and
/// whose Rényi-DP is alpha / sigma^2 at every order alpha.
pub(crate) struct Bound {
    /// 1 / sigma^2; infinite without noise.
    slope: f64,
    log_q: f64,
    /// Set where q allows the bound at some order.
    valid: Option<Valid>,
}

struct Valid {
    /// Orders below this are covered.
    mu_1: f64,
    log_1m_q: f64,
    log_a: f64,
    log_b: f64,
}

impl Bound {
    /// For q = exp(`log_q`), `log_q` at most 0; minus infinity means that there is no other output.
    pub(crate) fn new(log_q: f64, sigma: f64) -> Self {
        let slope = if sigma < NO_NOISE { f64::INFINITY } else { (sigma * sigma).recip() };
        Self { slope, log_q, valid: if slope.is_finite() { valid(log_q, sigma) } else { None } }
    }

    /// The cost that holds for all q.
    pub(crate) fn independent(&self, order: f64) -> f64 {
        order * self.slope
    }

    /// The data-dependent part alone, where its conditions hold. It may exceed `independent`.
    pub(crate) fn dependent(&self, order: f64) -> Option<f64> {
        let valid = self.valid.as_ref().filter(|valid| order < valid.mu_1)?;
        let above = order - 1.0;
        let log_moment = log_add_exp(valid.log_1m_q + above * valid.log_a, self.log_q + above * valid.log_b);
        Some((log_moment / above).max(0.0))
    }

    /// The smaller of both.
    pub(crate) fn rdp(&self, order: f64) -> f64 {
        let independent = self.independent(order);
        if self.log_q == f64::NEG_INFINITY && self.slope.is_finite() {
            return 0.0;
        }
        self.dependent(order).map_or(independent, |dependent| dependent.min(independent))
    }
}

fn valid(log_q: f64, sigma: f64) -> Option<Valid> {
    let variance = sigma * sigma;
    // mu 1 = mu 2 + 1.
    let mu_2 = sigma * (-log_q).sqrt();
    let epsilon_1 = (mu_2 + 1.0) / variance;
    let epsilon_2 = mu_2 / variance;
    if !(mu_2 > 1.0 && mu_2.is_finite() && -log_q > epsilon_2) {
        return None;
    }
    let limit = (mu_2 - 1.0) * epsilon_2 - mu_2 * (mu_2.recip().ln_1p() + (mu_2 - 1.0).recip().ln_1p());
    if log_q > limit {
        return None;
    }
    let log_1m_q = log1m_exp(log_q);
    Some(Valid {
        mu_1: mu_2 + 1.0,
        log_1m_q,
        log_a: log_1m_q - log1m_exp((log_q + epsilon_2) * (1.0 - mu_2.recip())),
        log_b: epsilon_1 - log_q / mu_2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_noise_costs_everything_and_no_other_output_costs_nothing() {
        assert_eq!(Bound::new(-50.0, 0.0).rdp(2.0), f64::INFINITY);
        assert_eq!(Bound::new(f64::NEG_INFINITY, 0.0).rdp(2.0), f64::INFINITY);
        assert_eq!(Bound::new(f64::NEG_INFINITY, 40.0).rdp(2.0), 0.0);
    }

    #[test]
    fn an_unlikely_rest_is_needed() {
        // mu 2 is 0.5: no order may use the bound.
        assert!(Bound::new(-0.25, 1.0).dependent(1.1).is_none());
        // mu 1 is 6.
        let bound = Bound::new(-25.0, 1.0);
        assert!(bound.dependent(6.0).is_none());
    }
}
