//! The exact privacy loss of discrete Gaussian noise on votes.
//!
//! With integer noise of probability proportional to e^(-k^2 / (2 sigma^2)), a moved vote has
//! losses on a lattice: multiples of 1/sigma^2 for the argmax (two counts change by 1), odd
//! multiples of 1/(2 sigma^2) for the screen (the largest count changes by 1). Sums of them stay on
//! it, so the composed delta(epsilon) has no discretisation error at all. Against the continuous
//! Gaussian, which Gaussian DP describes, epsilon differs by 1e-7 at sigma 40 and by a tenth at
//! sigma 1.
//!
//! The Renyi divergence is at most that of the continuous Gaussian at every sigma (Canonne, Kamath
//! and Steinke 2020, 2004.00010), so [RDP](crate::rdp) needs no change.
//!
//! ```
//! use dp_accounting::pld::Composition;
//! use dp_accounting::lattice;
//! let answers = Composition::new().with(&lattice::argmax(40.0)?, 283);
//! assert!((answers.epsilon(1e-5)? - 2.4209613753).abs() < 1e-9);
//! # Ok::<(), dp_accounting::Error>(())
//! ```

use crate::error::check;
use crate::pld::{Losses, PrivacyLoss};
use crate::{Error, Result};

/// Standard deviations whose lattices are represented.
const RANGE: &str = "at least 0.1 and at most 100,000";

/// Standard deviations within which all but e^-80 of the noise lies.
const REACH: f64 = 12.9;

/// One noisy argmax over votes: the loss is (w + 1) / sigma^2 with w the difference of two draws.
///
/// # Guarantee
/// Neighbouring: any records inside one shard change, so that at most one vote moves (one count
/// falls by 1, one rises by 1).
///
/// # Errors
/// sigma out of range; for sigma 0 use [`PrivacyLoss::gaussian`], which is infinite then.
pub fn argmax(sigma: f64) -> Result<PrivacyLoss> {
    let sigma = check_sigma(sigma)?;
    // P[w] = sum_x p(x) p(x + w) = e^(-w^2 / (4 sigma^2)) c, where c depends on whether w is even.
    let total = theta_sum(0.0, 0.5 / (sigma * sigma)).powi(2);
    let factors =
        [theta_sum(0.0, 1.0 / (sigma * sigma)) / total, theta_sum(0.5, 1.0 / (sigma * sigma)) / total];
    let reach = (REACH * std::f64::consts::SQRT_2 * sigma).ceil() as i64 + 1;
    let mass = |w: i64| {
        let factor = if w % 2 == 0 { factors[0] } else { factors[1] };
        factor * (-0.25 * ((w * w) as f64) / (sigma * sigma)).exp()
    };
    Ok(losses(1.0 / (sigma * sigma), 1 - reach, (-reach..=reach).map(mass).collect()))
}

/// One screen of the largest count against a threshold: the loss is (1 - 2 x) / (2 sigma^2) with x
/// one draw.
///
/// # Guarantee
/// Neighbouring as for [`argmax`]: the largest count changes by at most 1. The outcome, one bit, is
/// a release.
///
/// # Errors
/// As [`argmax`].
pub fn screen(sigma: f64) -> Result<PrivacyLoss> {
    count(sigma, 1)
}

/// One release of integers of which one changes, by at most `sensitivity`: the loss is D (D - 2 x)
/// / (2 sigma^2) with x one draw. A smaller change tells less: the ratio of shifted draws rises
/// with the draw, so the best test is a threshold, and more shift makes each better.
///
/// # Edge cases
/// Sensitivity 0 has no loss.
///
/// # Errors
/// As [`argmax`]; a sensitivity above 1,000,000.
pub fn count(sigma: f64, sensitivity: u64) -> Result<PrivacyLoss> {
    let sigma = check_sigma(sigma)?;
    let moved = check("the sensitivity", sensitivity as f64, |value| value <= 1e6, "at most 1,000,000")?;
    if sensitivity == 0 {
        return PrivacyLoss::gaussian(1.0, 0.0, crate::pld::STEP);
    }
    let total = theta_sum(0.0, 0.5 / (sigma * sigma));
    let reach = (REACH * sigma).ceil() as i64 + 1;
    let mut masses = Vec::new();
    for x in -reach..=reach {
        // Only odd places of the lattice of 1/(2 sigma^2) are taken.
        masses.extend([(-0.5 * ((x * x) as f64) / (sigma * sigma)).exp() / total, 0.0]);
    }
    masses.pop();
    Ok(losses(0.5 * moved / (sigma * sigma), sensitivity as i64 - 2 * reach, masses))
}

fn check_sigma(sigma: f64) -> Result<f64> {
    check("sigma", sigma, |sigma| (0.1..=1e5).contains(&sigma), RANGE)
}

/// sum over all integers x of e^(-rate (x + shift)^2).
fn theta_sum(shift: f64, rate: f64) -> f64 {
    let reach = (750.0 / rate).sqrt().ceil() as i64 + 1;
    // From the smallest terms to the largest.
    (1..=reach)
        .rev()
        .map(|x| [x as f64, -x as f64].map(|x| (-rate * (x + shift).powi(2)).exp()).iter().sum::<f64>())
        .sum::<f64>()
        + (-rate * shift * shift).exp()
}

/// Both directions are the same, since noise is symmetric. What lies beyond the last loss counts as
/// infinite, what lies below the first as the first: less than e^-80 each.
fn losses(step: f64, low: i64, mut masses: Vec<f64>) -> PrivacyLoss {
    let beyond = (-80f64).exp();
    if let Some(first) = masses.first_mut() {
        *first += beyond;
    }
    PrivacyLoss::symmetric(Losses::new(step, low, masses, beyond))
}

impl PrivacyLoss {
    /// The same losses on another grid, to be composed with others: each mass is split between its
    /// two neighbours on the grid so that its P-mass and its Q-mass stay. Never less private than
    /// claimed: delta(epsilon) can only rise, by the second order of the step.
    ///
    /// # Errors
    /// A step out of range; more than 8 million points.
    pub fn on_grid(&self, step: f64) -> Result<Self> {
        if let Some(one) = self.one() {
            return Ok(Self::symmetric(one.on_grid(step)?));
        }
        let (remove, add) = self.directions();
        Ok(Self::of(remove.on_grid(step)?, add.on_grid(step)?))
    }
}

impl Losses {
    fn on_grid(&self, step: f64) -> Result<Self> {
        let step =
            check("the step of the grid", step, |step| step > 0.0 && step <= 1.0, "above 0 and at most 1")?;
        let at = |i: usize| self.step * (self.low + i as i64) as f64;
        let low = (at(0) / step).floor();
        let need = (at(self.masses.len()) / step).ceil() - low + 2.0;
        if need.is_nan() || need > crate::pld::LIMIT as f64 {
            let hint = "take a larger step";
            return Err(Error::TooLarge { need, limit: crate::pld::LIMIT, hint });
        }
        let mut masses = vec![0.0; need as usize];
        for (i, mass) in self.masses.iter().enumerate() {
            let place = at(i) / step - low;
            let below = place.floor();
            let (down, up) = ((place - below) * step, (below + 1.0 - place) * step);
            // P-masses a + b = 1 at distances down and up, Q-masses a e^down + b e^-up = 1.
            let share = (down.exp_m1() / (down.exp_m1() - (-up).exp_m1())).clamp(0.0, 1.0);
            for (place, share) in [(below, 1.0 - share), (below + 1.0, share)] {
                if let Some(sum) = masses.get_mut(place as usize) {
                    *sum += mass * share;
                }
            }
        }
        Ok(Self::new(step, low as i64, masses, self.infinity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pld::{Composition, STEP};

    #[test]
    fn masses_add_up_to_one() {
        for sigma in [0.1, 0.7, 1.0, 40.0, 1000.0] {
            for loss in [argmax(sigma).unwrap(), screen(sigma).unwrap()] {
                let sum: f64 = loss.one().unwrap().masses.iter().sum();
                assert!((sum - 1.0).abs() < 1e-13, "sigma {sigma}: {sum}");
            }
        }
    }

    #[test]
    fn the_difference_of_two_draws_is_their_convolution() {
        let sigma = 1.3;
        let draw = |x: i64| (-0.5 * (x * x) as f64 / (sigma * sigma)).exp();
        let total: f64 = (-40..=40).map(draw).sum();
        let loss = argmax(sigma).unwrap();
        let one = loss.one().unwrap();
        for w in -5..=5i64 {
            let direct: f64 = (-40..=40).map(|x| draw(x) * draw(x + w)).sum::<f64>() / (total * total);
            let mass = one.masses[(w + 1 - one.low) as usize];
            assert!((mass / direct - 1.0).abs() < 1e-14, "{w}: {mass} {direct}");
        }
    }

    #[test]
    fn a_grid_costs_a_little_more_and_never_less() {
        for (loss, count) in
            [(argmax(39.0).unwrap(), 115), (screen(63.0).unwrap(), 400), (argmax(2.0).unwrap(), 3)]
        {
            let exact = Composition::new().with(&loss, count).epsilon(1e-5).unwrap();
            let on_grid = Composition::new().with(&loss.on_grid(STEP).unwrap(), count).epsilon(1e-5).unwrap();
            assert!(on_grid >= exact - 1e-12 && on_grid < exact + 1e-5, "{exact} {on_grid}");
        }
    }

    #[test]
    fn sigma_out_of_range_is_refused() {
        assert!(argmax(0.0).is_err() && screen(1e6).is_err() && argmax(f64::NAN).is_err());
    }

    /// delta(epsilon) = sum over x of (p(x) - e^epsilon p(x + D))+, summed as it stands.
    #[test]
    fn a_count_that_moves_by_several_costs_what_its_definition_says() {
        for (sigma, moved) in [(4.0, 3), (30.0, 7), (1.0, 1)] {
            let draw = |x: i64| (-0.5 * (x * x) as f64 / (sigma * sigma)).exp();
            let total: f64 = (-600..=600).map(draw).sum();
            let all = Composition::new().with(&count(sigma, moved).unwrap(), 1);
            for epsilon in [0.0, 0.1, 0.7, 2.0] {
                let term = |x: i64| (draw(x) - f64::exp(epsilon) * draw(x + moved as i64)).max(0.0) / total;
                let right: f64 = (-600..=600).map(term).sum();
                let found = all.delta(epsilon).unwrap();
                assert!(
                    found >= right && found < right + 1e-12,
                    "{sigma} {moved} {epsilon}: {found} {right}"
                );
            }
        }
        assert_eq!(Composition::new().with(&count(2.0, 0).unwrap(), 9).epsilon(1e-5).unwrap(), 0.0);
    }
}
