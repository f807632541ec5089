//! How much noise a target needs: always the safe end of the last bracket.
//!
//! epsilon falls as sigma rises. The root is found by the secant method on logarithms, from cheap approximations first, and is then
//! enclosed: the answer's epsilon was computed, in full, and is at most the target; at `tolerance` less noise it is above. Never
//! is a cost extrapolated, in steps or in sigma.
//!
//! ```
//! use dp_accounting::calibrate::{Accountant, DpSgd};
//! let run = DpSgd { q: 256.0 / 60000.0, steps: 3516, delta: 1e-5 };
//! let found = run.sigma(1.0, Accountant::Pld, 1e-5)?;
//! assert!(found.epsilon <= 1.0 && (found.sigma - 1.18514).abs() < 1e-4);
//! # Ok::<(), dp_accounting::Error>(())
//! ```

use crate::error::check;
use crate::pld::{Composition, Mixture, PrivacyLoss, STEP, TAIL};
use crate::rdp::{Found, Orders, RdpCurve};
use crate::{Error, Result};

/// Which accountant a calibration trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accountant {
    /// Privacy loss distributions: tight.
    Pld,
    /// Renyi divergences at [`Orders::default`]: 3 to 10% more noise than necessary, and quick.
    Rdp,
}

/// A run of DP-SGD: Poisson sampling at rate `q`, `steps` times, judged at `delta`, under adding or removing one record.
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

/// Where the search looks.
const SMALLEST: f64 = 0.05;
const LARGEST: f64 = 1e6;

/// For each step: a hundred times what the tails that are cut off hold.
const SMALLEST_DELTA: f64 = 1e-20;

impl DpSgd {
    /// epsilon with noise multiplier `sigma`.
    ///
    /// # Errors
    /// A parameter out of range.
    pub fn epsilon(&self, sigma: f64, accountant: Accountant) -> Result<f64> {
        match accountant {
            Accountant::Pld => self.epsilon_pld(sigma, self.step(sigma)),
            Accountant::Rdp => Ok(self.epsilon_rdp(sigma, &Orders::default())?.epsilon),
        }
    }

    /// [`STEP`], halved until one step's losses spread over four points: on a coarser grid, what rounding up adds is no longer small against
    /// them.
    fn step(&self, sigma: f64) -> f64 {
        // The chi-square divergence of the mixture, about the variance of small losses; and the largest of them.
        let variance = (self.q * self.q * (sigma * sigma).recip().exp_m1()).ln_1p();
        let largest = Mixture { q: self.q, sigma }.loss(sigma * TAIL + 1.0);
        let fits = |step: f64| largest / step < 1e6 && (self.steps as f64) < 1e10;
        let mut step = STEP;
        while step > 0.25 * variance.sqrt() && step > 1e-11 && fits(0.5 * step) {
            step *= 0.5;
        }
        step
    }

    fn epsilon_pld(&self, sigma: f64, step: f64) -> Result<f64> {
        let loss = PrivacyLoss::sampled_gaussian(self.q, sigma, step)?;
        Composition::new().with(&loss, self.steps).epsilon(self.delta)
    }

    fn epsilon_rdp(&self, sigma: f64, orders: &Orders) -> Result<Found> {
        let mut curve = RdpCurve::zero(orders);
        curve.add(&RdpCurve::sampled_gaussian(orders, self.q, sigma)?, self.steps)?;
        curve.epsilon(self.delta)
    }

    /// The smallest noise multiplier with which the run costs at most `epsilon`, to within `tolerance`, rounded up.
    ///
    /// # Errors
    /// A parameter out of range; a target that no noise multiplier between 0.05 and 1,000,000 meets.
    pub fn sigma(&self, epsilon: f64, accountant: Accountant, tolerance: f64) -> Result<Calibrated> {
        let epsilon = check("epsilon", epsilon, |value| value > 0.0, "above 0")?;
        crate::error::check_delta(self.delta)?;
        let tolerance =
            check("the tolerance", tolerance, |value| (1e-9..=1.0).contains(&value), "from 1e-9 to 1")?;
        check("the sampling rate q", self.q, |q| q > 0.0 && q <= 1.0, "above 0 and at most 1")?;
        check("the number of steps", self.steps as f64, |steps| steps >= 1.0, "1 or above")?;
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
                let close = search.secant(guess, 1e-3, |sigma| self.epsilon_pld(sigma, coarse))?;
                search.secant(close, 0.1 * tolerance / close, exact)?
            }
        };
        search.enclose(guess, exact)
    }

    /// Close to the answer on the list `all`.
    fn guess(&self, target: f64, all: &Orders, search: &Search) -> Result<f64> {
        // A start for the start: integer orders are quick.
        let few = Orders::new((2..=64).step_by(4).map(f64::from).collect())?;
        let start =
            (self.q * (self.steps as f64).sqrt() * (-self.delta.ln()).sqrt() / target).clamp(0.5, 1e4);
        let rough = search.secant(start, 0.02, |sigma| Ok(self.epsilon_rdp(sigma, &few)?.epsilon))?;
        let best = self.epsilon_rdp(rough, all)?.order;
        let place = all.as_slice().iter().position(|order| *order >= best).unwrap_or(0);
        let near = &all.as_slice()[place.saturating_sub(4)..(place + 5).min(all.as_slice().len())];
        let near = Orders::new(near.to_vec())?;
        search.secant(rough, 0.1 * search.tolerance / rough, |sigma| {
            Ok(self.epsilon_rdp(sigma, &near)?.epsilon)
        })
    }
}

struct Search {
    target: f64,
    tolerance: f64,
}

impl Search {
    /// Where `of` is the target, from `start`, to a relative `precision`; the best point where it does not converge.
    fn secant(&self, start: f64, precision: f64, of: impl Fn(f64) -> Result<f64>) -> Result<f64> {
        // epsilon = 0 has no logarithm: it is "far below".
        let gap = |sigma: f64| Ok::<f64, Error>((of(sigma)? / self.target).max(1e-6).ln());
        let inside = |x: f64| x.clamp(SMALLEST.ln(), LARGEST.ln());
        let mut x0 = inside(start.ln());
        let mut f0 = gap(x0.exp())?;
        // epsilon is about proportional to 1/sigma.
        let mut x1 = inside(x0 + f0.clamp(-1.0, 1.0));
        for _ in 0..40 {
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

    /// The upper end of a bracket of `tolerance` round the root, which is close to `guess`.
    fn enclose(&self, guess: f64, of: impl Fn(f64) -> Result<f64>) -> Result<Calibrated> {
        let holds = |sigma: f64| Ok::<_, Error>(Some(of(sigma)?).filter(|epsilon| *epsilon <= self.target));
        let mut width = 0.45 * self.tolerance;
        let mut high = guess + width;
        let mut found = holds(high)?;
        let mut low = guess - width;
        while found.is_none() {
            low = high;
            width *= 4.0;
            high += width;
            if high > LARGEST {
                let cure = "take fewer steps, a smaller sampling rate, a larger delta, or a larger epsilon";
                return Err(Error::Unreachable {
                    name: "noise multiplier",
                    limit: LARGEST,
                    target: self.target,
                    cure,
                });
            }
            found = holds(high)?;
        }
        let mut best = Calibrated { sigma: high, epsilon: found.unwrap_or(f64::INFINITY) };
        let mut width = 0.9 * self.tolerance;
        while low > SMALLEST {
            match holds(low)? {
                Some(epsilon) => {
                    best = Calibrated { sigma: low, epsilon };
                    width *= 4.0;
                    low -= width;
                }
                None => break,
            }
        }
        let mut low = low.max(SMALLEST);
        while best.sigma - low > self.tolerance {
            let middle = 0.5 * (low + best.sigma);
            match holds(middle)? {
                Some(epsilon) => best = Calibrated { sigma: middle, epsilon },
                None => low = middle,
            }
        }
        Ok(best)
    }
}
