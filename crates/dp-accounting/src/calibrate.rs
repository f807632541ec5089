//! How much noise a target needs: always the safe end of the last bracket.
//!
//! epsilon falls as sigma rises. The root is found by the secant method on logarithms, from cheap
//! approximations first, and is then enclosed: the answer's epsilon was computed, in full, and is
//! at most the target; at `tolerance` less noise it is above. Never is a cost extrapolated, in
//! steps or in sigma.
//!
//! ```
//! use dp_accounting::calibrate::{Accountant, DpSgd};
//! let run = DpSgd { q: 256.0 / 60000.0, steps: 3516, delta: 1e-5 };
//! let found = run.sigma(1.0, Accountant::Pld, 1e-5)?;
//! assert!(found.epsilon <= 1.0 && (found.sigma - 1.18514).abs() < 1e-4);
//! # Ok::<(), dp_accounting::Error>(())
//! ```

use crate::error::check;
use crate::pld::{Composition, Mixture, PrivacyLoss, STEP, TAIL, on_finest_grid};
use crate::rdp::{Found, Orders, RdpCurve};
use crate::{Error, Result, gdp};

/// Which accountant a calibration trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accountant {
    /// Privacy loss distributions: tight. Where every record takes part (q = 1), the run is one
    /// Gaussian release, and the figure is exact, by [`gdp`].
    Pld,
    /// Renyi divergences at [`Orders::default`]: 3 to 10% more noise than necessary, and quick.
    Rdp,
}

/// A run of DP-SGD: Poisson sampling at rate `q`, `steps` times, judged at `delta`, under adding or
/// removing one record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DpSgd {
    /// Sampling rate, above 0 and at most 1.
    pub q: f64,
    /// Number of steps, 1 or more.
    pub steps: u64,
    /// Above 0 and below 1.
    pub delta: f64,
}

/// A noise multiplier, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibrated {
    /// Standard deviation of the noise in units of the sensitivity.
    pub sigma: f64,
    /// At most the target.
    pub epsilon: f64,
}

/// Where the search looks: what lies outside is an error that says so, never the range's end as an
/// answer.
const SMALLEST: f64 = 1e-9;
const LARGEST: f64 = 1e9;

/// Grid points of a run's distributions, at most: a quarter of what a single composition may take,
/// since a search makes dozens. Where they do not suffice the grid is made coarser, which costs
/// more, never less.
const POINTS: usize = 1 << 21;

/// For each step: a hundred times what the tails that are cut off hold.
const SMALLEST_DELTA: f64 = 1e-20;

impl DpSgd {
    /// epsilon with noise multiplier `sigma`.
    ///
    /// # Errors
    /// A parameter out of range; losses too large for the coarsest grid.
    pub fn epsilon(&self, sigma: f64, accountant: Accountant) -> Result<f64> {
        match accountant {
            Accountant::Pld if self.q >= 1.0 => self.epsilon_exact(sigma),
            Accountant::Pld => self.epsilon_pld(sigma, self.step(sigma)),
            Accountant::Rdp => Ok(self.epsilon_rdp(sigma, &Orders::default())?.epsilon),
        }
    }

    /// [`STEP`], halved until one step's losses spread over four points: on a coarser grid, what
    /// rounding up adds is no longer small against them. Doubled where they would not fit.
    pub(crate) fn step(&self, sigma: f64) -> f64 {
        // The chi-square divergence of the mixture, about the variance of small losses; and the
        // largest of them.
        let variance = (self.q * self.q * (sigma * sigma).recip().exp_m1()).ln_1p();
        let largest = Mixture { q: self.q, sigma }.loss(sigma * TAIL + 1.0);
        let fits = |step: f64| largest / step < 1e6 && (self.steps as f64) < 1e10;
        let mut step = STEP;
        while step > 0.25 * variance.sqrt() && step > 1e-11 && fits(0.5 * step) {
            step *= 0.5;
        }
        while largest / step > POINTS as f64 && step < 0.5 {
            step *= 2.0;
        }
        step
    }

    fn epsilon_exact(&self, sigma: f64) -> Result<f64> {
        check("the sampling rate q", self.q, |q| (0.0..=1.0).contains(&q), "between 0 and 1")?;
        gdp::epsilon(gdp::total_mu([(self.steps, 1.0, sigma)])?, self.delta)
    }

    fn epsilon_pld(&self, sigma: f64, step: f64) -> Result<f64> {
        let cost = |step: f64| {
            let loss = PrivacyLoss::sampled_gaussian_within(self.q, sigma, step, POINTS)?;
            Composition::new().within(POINTS).with(&loss, self.steps).epsilon(self.delta)
        };
        Ok(on_finest_grid(step, cost)?.0)
    }

    fn epsilon_rdp(&self, sigma: f64, orders: &Orders) -> Result<Found> {
        let mut curve = RdpCurve::zero(orders);
        curve.add(&RdpCurve::sampled_gaussian(orders, self.q, sigma)?, self.steps)?;
        curve.epsilon(self.delta)
    }

    /// The smallest noise multiplier with which the run costs at most `epsilon`, to within
    /// `tolerance`, rounded up; to within `tolerance` times itself where it is below 1. With q = 1
    /// and [`Accountant::Pld`] it is exact, by [`gdp::sigma`].
    ///
    /// # Errors
    /// A parameter out of range; [`Error::Unreachable`] where no noise multiplier up to 1e9 meets
    /// the target; [`Error::Reached`] where all do, down to none: delta then allows that a record
    /// is shown as it is. Losses too large for the coarsest grid.
    pub fn sigma(&self, epsilon: f64, accountant: Accountant, tolerance: f64) -> Result<Calibrated> {
        let epsilon = check("epsilon", epsilon, |value| value > 0.0, "above 0")?;
        crate::error::check_delta(self.delta)?;
        let tolerance =
            check("the tolerance", tolerance, |value| (1e-9..=1.0).contains(&value), "from 1e-9 to 1")?;
        check("the sampling rate q", self.q, |q| q > 0.0 && q <= 1.0, "above 0 and at most 1")?;
        check("the number of steps", self.steps as f64, |steps| steps >= 1.0, "1 or above")?;
        // Every record that takes part may be shown as it is.
        let shown = -(self.steps as f64 * (-self.q).ln_1p()).exp_m1();
        if shown <= self.delta {
            return Err(Error::Reached {
                name: "noise multiplier",
                limit: 0.0,
                target: epsilon,
                hint: "delta is above the chance that the record takes part at all, and then no noise is called for; take a smaller delta",
            });
        }
        if accountant == Accountant::Pld && self.q >= 1.0 {
            return self.sigma_exact(epsilon);
        }
        if accountant == Accountant::Pld {
            let smallest = SMALLEST_DELTA * self.steps as f64;
            let allowed =
                "at least 1e-20 for each step with privacy loss distributions; Renyi divergences take any";
            check("delta", self.delta, |delta| delta >= smallest, allowed)?;
        }
        let exact = |sigma: f64| self.epsilon(sigma, accountant);
        let search = Search { target: epsilon, tolerance };
        // On few orders: the list is computed once, where the search is close already.
        let all = Orders::default();
        let guess = self.guess(epsilon, &all, &search)?;
        let guess = match accountant {
            Accountant::Rdp => guess,
            Accountant::Pld => {
                let coarse = (epsilon / 200.0).clamp(STEP, 1e-2);
                let close = search.secant(guess, 1e-3, |sigma| {
                    self.epsilon_pld(sigma, coarse.max(self.step(sigma)).min(coarse.max(STEP)))
                })?;
                search.secant(close, 0.1 * search.near(close) / close, exact)?
            }
        };
        search.enclose(guess, exact)
    }

    fn sigma_exact(&self, epsilon: f64) -> Result<Calibrated> {
        let mut sigma = gdp::sigma(epsilon, self.delta, self.steps, 1.0)?;
        for _ in 0..64 {
            if !sigma.is_finite() || sigma > LARGEST * LARGEST {
                break;
            }
            let found = self.epsilon_exact(sigma)?;
            if found <= epsilon {
                return Ok(Calibrated { sigma, epsilon: found });
            }
            // The two roundings, each towards more spent, are a few units in the last place apart.
            sigma *= 1.0 + 1e-13;
        }
        Err(Error::Unreachable {
            name: "noise multiplier",
            limit: LARGEST * LARGEST,
            target: epsilon,
            hint: UNREACHABLE,
        })
    }

    /// Close to the answer on the list `all`.
    fn guess(&self, target: f64, all: &Orders, search: &Search) -> Result<f64> {
        // A start for the start: integer orders are quick.
        let few = Orders::new((2..=64).step_by(4).map(f64::from).collect())?;
        let start =
            (self.q * (self.steps as f64).sqrt() * (-self.delta.ln()).sqrt() / target).clamp(0.5, 1e8);
        let rough = search.secant(start, 0.02, |sigma| Ok(self.epsilon_rdp(sigma, &few)?.epsilon))?;
        let best = self.epsilon_rdp(rough, all)?.order;
        let place = all.as_slice().iter().position(|order| *order >= best).unwrap_or(0);
        let near = &all.as_slice()[place.saturating_sub(4)..(place + 5).min(all.as_slice().len())];
        let near = Orders::new(near.to_vec())?;
        search.secant(rough, 0.1 * search.near(rough) / rough, |sigma| {
            Ok(self.epsilon_rdp(sigma, &near)?.epsilon)
        })
    }
}

const UNREACHABLE: &str = "take fewer steps, a smaller sampling rate, a larger delta, or a larger epsilon";

struct Search {
    target: f64,
    tolerance: f64,
}

impl Search {
    /// How near to the root the answer has to be, where the root is about `sigma`.
    fn near(&self, sigma: f64) -> f64 {
        self.tolerance * sigma.min(1.0)
    }

    /// Where `of` is the target, from `start`, to a relative `precision`; the best point where it
    /// does not converge.
    fn secant(&self, start: f64, precision: f64, of: impl Fn(f64) -> Result<f64>) -> Result<f64> {
        // epsilon = 0 has no logarithm: it is "far below"; and infinity "far above".
        let gap = |sigma: f64| Ok::<f64, Error>((of(sigma)? / self.target).clamp(1e-6, 1e12).ln());
        let inside = |x: f64| x.clamp(SMALLEST.ln(), LARGEST.ln());
        let mut x0 = inside(start.ln());
        let mut f0 = gap(x0.exp())?;
        // epsilon is about proportional to 1/sigma.
        let mut x1 = inside(x0 + f0.clamp(-1.0, 1.0));
        for _ in 0..60 {
            if (x1 - x0).abs() <= precision {
                break;
            }
            let f1 = gap(x1.exp())?;
            let slope = (f1 - f0) / (x1 - x0);
            let step = if slope < -0.01 { -f1 / slope } else { f1 };
            (x0, f0) = (x1, f1);
            x1 = inside(x1 + step.clamp(-1.0, 1.0));
        }
        Ok(x1.exp())
    }

    /// The upper end of a bracket round the root, which is close to `guess`.
    fn enclose(&self, guess: f64, of: impl Fn(f64) -> Result<f64>) -> Result<Calibrated> {
        let holds = |sigma: f64| Ok::<_, Error>(Some(of(sigma)?).filter(|epsilon| *epsilon <= self.target));
        let near = self.near(guess);
        let mut width = 0.45 * near;
        let mut high = guess + width;
        let mut found = holds(high)?;
        let mut low = guess - width;
        while found.is_none() {
            low = high;
            width *= 4.0;
            high += width;
            if high > LARGEST {
                return Err(Error::Unreachable {
                    name: "noise multiplier",
                    limit: LARGEST,
                    target: self.target,
                    hint: UNREACHABLE,
                });
            }
            found = holds(high)?;
        }
        let mut best = Calibrated { sigma: high, epsilon: found.unwrap_or(f64::INFINITY) };
        let mut width = 0.9 * near;
        while let Some(epsilon) = holds(low)? {
            best = Calibrated { sigma: low, epsilon };
            width *= 4.0;
            // Never to 0 and beyond: what is small is found by halves.
            low = (low - width).max(0.5 * low);
            if low < SMALLEST {
                return Err(Error::Reached {
                    name: "noise multiplier",
                    limit: SMALLEST,
                    target: self.target,
                    hint: "take a smaller epsilon or delta, or more steps",
                });
            }
        }
        while best.sigma - low > self.near(best.sigma) {
            let middle = 0.5 * (low + best.sigma);
            if middle <= low || middle >= best.sigma {
                break;
            }
            match holds(middle)? {
                Some(epsilon) => best = Calibrated { sigma: middle, epsilon },
                None => low = middle,
            }
        }
        Ok(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Field cases, row 9. mpmath: the sigma at which the Gaussian mechanism's delta at epsilon is
    /// 1e-5.
    #[test]
    fn little_noise_is_found_without_a_floor() {
        for (epsilon, sigma) in [(300.0, 0.048_461), (500.0, 0.036_136), (100_000.0, 0.002_257_5)] {
            for (accountant, above) in [(Accountant::Pld, 2e-5), (Accountant::Rdp, 0.06)] {
                let run = DpSgd { q: 1.0, steps: 1, delta: 1e-5 };
                let found = run.sigma(epsilon, accountant, 1e-5).unwrap();
                let gap = found.sigma / sigma - 1.0;
                assert!(gap > -2e-5 && gap < above, "epsilon {epsilon}, {accountant:?}: {found:?}");
                assert!(found.epsilon <= epsilon && found.epsilon > 0.9 * epsilon, "{found:?}");
            }
        }
        // Sampled steps have none either: at a little less noise the cost is above the target.
        for (q, steps, epsilon) in [(0.5, 3, 2000.0), (0.01, 1, 400.0)] {
            let run = DpSgd { q, steps, delta: 1e-5 };
            for accountant in [Accountant::Pld, Accountant::Rdp] {
                let found = run.sigma(epsilon, accountant, 1e-4).unwrap();
                assert!(found.sigma < 0.06 && found.epsilon <= epsilon, "{q} {accountant:?}: {found:?}");
                let less = run.epsilon(found.sigma * (1.0 - 2e-4), accountant).unwrap();
                assert!(less > epsilon, "{q} {accountant:?}: {found:?} {less}");
            }
        }
    }

    /// Field cases, row 9: nor is there a ceiling; and where no noise is called for, no number is
    /// made up.
    #[test]
    fn the_ends_of_the_range_are_errors_and_no_answers() {
        let much = DpSgd { q: 1.0, steps: 1_000_000_000, delta: 1e-5 };
        let found = much.sigma(1e-9, Accountant::Pld, 1e-5).unwrap();
        assert!(found.sigma > 1e9 && found.epsilon <= 1e-9, "{found:?}");
        // Nor does the exact figure care how small delta is.
        let tiny = DpSgd { q: 1.0, steps: 1, delta: 1e-310 }.sigma(1.0, Accountant::Pld, 1e-5).unwrap();
        assert!(tiny.sigma > 30.0 && tiny.sigma < 45.0 && tiny.epsilon <= 1.0, "{tiny:?}");
        let error = much.sigma(1e-9, Accountant::Rdp, 1e-5).unwrap_err().to_string();
        assert!(error.starts_with("no noise multiplier up to 1000000000 gives epsilon"), "{error}");
        let none = DpSgd { q: 1e-3, steps: 2, delta: 0.01 };
        for accountant in [Accountant::Pld, Accountant::Rdp] {
            let error = none.sigma(1.0, accountant, 1e-5).unwrap_err().to_string();
            assert!(error.contains("smaller delta"), "{error}");
        }
    }

    /// Attacks, row 14: 33 seconds and 2.2 GB. The grid is bounded, whatever the target.
    #[test]
    fn huge_targets_take_a_coarser_grid() {
        for epsilon in [1e4, 1e6] {
            let run = DpSgd { q: 0.5, steps: 1, delta: 1e-5 };
            let found = run.sigma(epsilon, Accountant::Pld, 1e-3).unwrap();
            // About as for all records: 1 / (2 sigma^2) = epsilon.
            assert!((found.sigma / (0.5 / epsilon).sqrt() - 1.0).abs() < 0.1, "{epsilon}: {found:?}");
        }
        let error = DpSgd { q: 0.5, steps: 1, delta: 1e-5 }.sigma(1e9, Accountant::Pld, 1e-3).unwrap_err();
        assert!(error.to_string().contains("Renyi"), "{error}");
        assert!(DpSgd { q: 0.5, steps: 1, delta: 1e-5 }.sigma(1e9, Accountant::Rdp, 1e-3).is_ok());
    }
}
