//! Costs that hold for all votes: the only ones that can be promised.
//!
//! Everything here is a function of public numbers. The curves compose over queries that are chosen
//! adaptively, also when earlier answers decide whether the next query is answered, as long as caps
//! on queries and answers are fixed before the run and every screen and every answer is charged
//! before it is drawn. *Expected* numbers of answers must not be charged.

use crate::error::{Error, Result, check, check_scale};
use crate::pate::divergence::renyi;
use crate::pate::lattice::LatticeTail;
use crate::pate::{NO_NOISE, Noise, Screen, check_orders};
use crate::special::log_ndtr;

/// Teachers whose counts are all looked at, at most.
const MOST_TEACHERS: u32 = 1_000_000;

/// Rényi-DP of one noisy argmax: alpha / sigma^2.
///
/// # Guarantee
/// For each order alpha the mechanism `argmax_j (n_j + noise_j)` is (alpha, result)-Rényi-DP for
/// neighbouring data sets in the sense of [`pate`](super), for normal and for discrete Gaussian
/// noise, under every tie rule that does not look at the data.
///
/// # Edge cases
/// `sigma` 0: infinite. No query costs nothing, which [`confident_gnmax_rdp`] knows.
///
/// # Source
/// PATE 2018: the Gaussian mechanism with L2 sensitivity sqrt(2), then post-processing.
///
/// # Rounding
/// To nearest; the relative error is about 2e-16.
pub fn gnmax_rdp(sigma: f64, orders: &[f64]) -> Result<Vec<f64>> {
    check_scale("sigma of the argmax", sigma)?;
    gaussian(sigma * sigma, orders)
}

/// Rényi-DP of one screen, as a Gaussian mechanism of sensitivity 1: alpha / (2 sigma^2).
///
/// # Guarantee
/// For each order alpha the noisy largest count is (alpha, result)-Rényi-DP; the released bit
/// therefore is, too. [`binary_screen_rdp`] is what the bit alone costs, about two thirds of it.
///
/// # Edge cases
/// `sigma` 0: infinite.
///
/// # Source
/// PATE 2018: the first step of Confident-GNMax.
///
/// # Rounding
/// To nearest; the relative error is about 2e-16.
pub fn screen_rdp(sigma: f64, orders: &[f64]) -> Result<Vec<f64>> {
    check_scale("sigma of the screen", sigma)?;
    gaussian(2.0 * sigma * sigma, orders)
}

fn gaussian(divisor: f64, orders: &[f64]) -> Result<Vec<f64>> {
    check_orders(orders)?;
    let no_noise = divisor < NO_NOISE * NO_NOISE;
    Ok(orders.iter().map(|order| if no_noise { f64::INFINITY } else { order / divisor }).collect())
}

/// Exact Rényi-DP of the one bit that a screen releases, maximised over all votes of `teachers` for
/// `classes`.
///
/// # Guarantee
/// The largest count v of M votes for K classes is an integer from M / K (rounded up) to M and
/// changes by at most 1. The result at an order is the largest Rényi divergence, in both
/// directions, between the bits at v and at v - 1 or v + 1 over all of these, the step out of the
/// range at either end included: that no pair of neighbours makes, so it can only round up. Around
/// 2/pi of [`screen_rdp`] where sigma is large.
///
/// # Edge cases
/// `sigma` 0: infinite. One teacher: 0, the largest count is always 1. No teacher, or fewer than 2
/// classes: an error.
///
/// # Source
/// The definition: the divergence of two coins that fall with Phi((v - T) / sigma) and Phi((v + 1 -
/// T) / sigma); for integer noise with the discrete Gaussian's exact tails.
///
/// # Rounding
/// To nearest, from logarithms and without cancellation: relative error below about 1e-12. To
/// promise the value, round it up by more than that.
pub fn binary_screen_rdp(teachers: u32, classes: u32, screen: Screen, orders: &[f64]) -> Result<Vec<f64>> {
    let screen = screen.checked()?;
    check_orders(orders)?;
    check("the number of teachers", f64::from(teachers), |value| value >= 1.0, "1 or more")?;
    check("the number of classes", f64::from(classes), |value| value >= 2.0, "2 or more")?;
    let (most, allowed) = (f64::from(MOST_TEACHERS), "at most 1,000,000, all of whose counts are looked at");
    check("the number of teachers", f64::from(teachers), |value| value <= most, allowed)?;
    let lowest = teachers.div_ceil(classes);
    if lowest == teachers {
        return Ok(vec![0.0; orders.len()]);
    }
    if screen.sigma < NO_NOISE {
        return Ok(vec![f64::INFINITY; orders.len()]);
    }
    let coin = Coin::new(screen, teachers.saturating_add(1))?;
    let coins: Vec<[f64; 2]> =
        (lowest - 1..=teachers.saturating_add(1)).map(|count| coin.logs(count)).collect();
    let worst = |&order: &f64| {
        let pairs = coins.windows(2);
        pairs
            .map(|pair| renyi(&pair[0], &pair[1], order).max(renyi(&pair[1], &pair[0], order)))
            .fold(0.0, f64::max)
    };
    Ok(orders.iter().map(worst).collect())
}

/// The bit of a screen.
pub(crate) struct Coin {
    screen: Screen,
    /// For integer noise.
    tail: Option<LatticeTail>,
}

impl Coin {
    /// For largest counts of at most `max`, of a checked screen.
    pub(crate) fn new(screen: Screen, max: u32) -> Result<Self> {
        let tail = match screen.noise {
            Noise::Gaussian => None,
            Noise::DiscreteGaussian => {
                let reach = i64::from(max) + (screen.threshold.abs().ceil() as i64) + 1;
                Some(LatticeTail::single(screen.sigma, usize::try_from(reach).unwrap_or(usize::MAX))?)
            }
        };
        Ok(Self { screen, tail })
    }

    /// ln of the chances to pass and to fail, both from their own tail.
    pub(crate) fn logs(&self, count: u32) -> [f64; 2] {
        let Screen { threshold, sigma, .. } = self.screen;
        if sigma < NO_NOISE {
            let passes = f64::from(count) >= threshold;
            return if passes { [0.0, f64::NEG_INFINITY] } else { [f64::NEG_INFINITY, 0.0] };
        }
        if let Some(tail) = &self.tail {
            let missing = threshold.ceil() as i64 - i64::from(count);
            return [tail.at_least(missing), tail.at_least(1 - missing)];
        }
        let z = (f64::from(count) - threshold) / sigma;
        [log_ndtr(z), log_ndtr(-z)]
    }
}

/// Rényi-DP of one LNMax answer, the argmax of counts with Laplace noise of scale `scale` (lambda):
/// the smaller of `epsilon_0^2 alpha / 2` and `epsilon_0`, with `epsilon_0 = 2 / lambda`.
///
/// # Guarantee
/// For each order alpha the mechanism is (alpha, result)-Rényi-DP, and it is `epsilon_0`-DP.
///
/// # Edge cases
/// `scale` 0: infinite.
///
/// # Source
/// PATE 2017 for the mechanism and its `2 / lambda`.
///
/// # Rounding
/// To nearest; the relative error is about 4e-16.
pub fn lnmax_rdp(scale: f64, orders: &[f64]) -> Result<Vec<f64>> {
    check_scale("the scale of the Laplace noise", scale)?;
    check_orders(orders)?;
    let epsilon_0 = pure_epsilon(scale);
    Ok(orders.iter().map(|order| lnmax_independent(epsilon_0, *order)).collect())
}

/// `epsilon_0`.
pub(crate) fn pure_epsilon(scale: f64) -> f64 {
    if scale < NO_NOISE { f64::INFINITY } else { 2.0 / scale }
}

pub(crate) fn lnmax_independent(epsilon_0: f64, order: f64) -> f64 {
    (0.5 * epsilon_0 * epsilon_0 * order).min(epsilon_0)
}

/// mu^2 of a run of Confident-GNMax in Gaussian DP: `queries / sigma_1^2 + 2 answers / sigma_2^2`.
///
/// # Guarantee
/// With normal noise, a run that screens at most `queries` queries and answers at most `answers` of
/// them is mu-Gaussian-DP for neighbouring data sets in the sense of [`pate`](super), adaptively
/// chosen queries and an answer to the next question that depends on earlier ones included, if both
/// numbers are caps that were fixed before the run. Without a screen `queries` is 0. Integer noise
/// deviates from it by little where both scales are 20 or more; its exact cost is a privacy loss
/// distribution on a lattice.
///
/// # Edge cases
/// Zero queries and zero answers cost 0, whatever the scale. A scale of 0 with a query or an
/// answer: infinite.
///
/// # Source
/// Gaussian mechanisms of sensitivity 1 and sqrt(2), composed; the filter's validity: Koskela et
/// al. 2022 (arXiv 2209.15596).
///
/// # Rounding
/// To nearest; the relative error is about 4e-16.
pub fn gdp_mu_squared(queries: u64, sigma_1: f64, answers: u64, sigma_2: f64) -> Result<f64> {
    check_scale("sigma of the screen", sigma_1)?;
    check_scale("sigma of the argmax", sigma_2)?;
    let part = |count: u64, per_variance: f64, sigma: f64| {
        if count == 0 {
            0.0
        } else if sigma < NO_NOISE {
            f64::INFINITY
        } else {
            per_variance * count as f64 / (sigma * sigma)
        }
    };
    Ok(part(queries, 1.0, sigma_1) + part(answers, 2.0, sigma_2))
}

/// Rényi-DP of a run of Confident-GNMax: [`screen_rdp`] for every query and [`gnmax_rdp`] for every
/// answer.
///
/// # Guarantee
/// As [`gdp_mu_squared`], of which it is the half times alpha.
///
/// # Edge cases
/// As [`gdp_mu_squared`].
///
/// # Source
/// PATE 2018, with numbers of queries and answers that are caps.
///
/// # Rounding
/// To nearest; the relative error is about 6e-16.
pub fn confident_gnmax_rdp(
    queries: u64,
    sigma_1: f64,
    answers: u64,
    sigma_2: f64,
    orders: &[f64],
) -> Result<Vec<f64>> {
    check_orders(orders)?;
    let half = 0.5 * gdp_mu_squared(queries, sigma_1, answers, sigma_2)?;
    Ok(orders.iter().map(|order| order * half).collect())
}

/// One flag per query.
pub(crate) fn check_answered(answered: &[bool], queries: usize) -> Result<()> {
    if answered.len() == queries {
        Ok(())
    } else {
        Err(Error::Length {
            name: "the list of answered queries",
            found: answered.len(),
            allowed: "one entry per query",
        })
    }
}
