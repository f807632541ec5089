//! Privacy filters: budgets that hold however the run is steered.
//!
//! What is asked next, and when to stop, may depend on earlier answers. The sum of costs is then
//! random, and only some accountants stay valid when a run simply stops before the sum is too
//! large. Each [`Budget`] here is one of them:
//!
//! - **Gaussian DP** ([`Budget::Gdp`]): sums of mu^2 against mu^2 of the budget, with noise chosen
//!   as one goes (Koskela, Tobaben and Honkela 2022, 2209.15596).
//! - **RDP at one order**, chosen before the run ([`Budget::Rdp`]; Feldman and Zrnic 2021,
//!   2008.11193). Stopping when the best of many orders is crossed is not what the theorem covers.
//! - **Caps** ([`Budget::Caps`]): every mechanism has its parameters and its largest number of runs
//!   fixed before. Which of them run, and when, is free. The cost is that of all caps used up, by
//!   exact losses. Reason: each run is a function of what came before and of one draw from its
//!   dominating pair; drawing all capped runs' pairs beforehand and looking at them as needed gives
//!   the same transcript, which is thus a function of the product of all pairs.
//!
//! A composed **PLD curve is not a filter**: where parameters are chosen as one goes, stopping when
//! its epsilon is crossed is not covered. That is why there is no such budget.
//!
//! The guarantee of a filter is its budget, not what happened to be spent: the latter depends on
//! the data's answers.
//!
//! # Rounding
//! Costs are summed upwards, budgets are rounded down.
//!
//! ```
//! use dp_accounting::filter::{Budget, Cap, Filter};
//! use dp_accounting::Mechanism;
//! let answer = Mechanism::GnmaxAnswer { sigma: 41.0 };
//! let caps = vec![Cap { mechanism: answer, count: 2 }];
//! let mut filter = Filter::new(&Budget::Caps { epsilon: 1.0, delta: 1e-5, caps })?;
//! filter.charge(&answer, 1)?;
//! filter.charge(&answer, 1)?;
//! assert!(filter.charge(&answer, 1).is_err());
//! # Ok::<(), dp_accounting::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::calibrate::DpSgd;
use crate::error::{check, check_delta};
use crate::pld::{Composition, STEP, on_finest_grid};
use crate::rdp::Orders;
use crate::{Error, Mechanism, Result, gdp};

/// What a data set may cost at most, and how that is counted. Fixed before the first charge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "accountant", rename_all = "snake_case", deny_unknown_fields)]
pub enum Budget {
    /// Gaussian mechanisms of any noise, in any order.
    Gdp {
        /// At most.
        epsilon: f64,
        /// At which delta.
        delta: f64,
    },
    /// Anything with a Renyi divergence.
    Rdp {
        /// At most.
        epsilon: f64,
        /// At which delta.
        delta: f64,
        /// The order at which it is counted, above 1.
        order: f64,
    },
    /// A list of mechanisms with fixed parameters.
    Caps {
        /// At most; all caps together cost no more, or there is no filter.
        epsilon: f64,
        /// At which delta.
        delta: f64,
        /// What may run, and how often.
        caps: Vec<Cap>,
    },
}

/// How often a mechanism may run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// With these very parameters.
    pub mechanism: Mechanism,
    /// At most so often.
    pub count: u64,
}

/// Integer noise under Gaussian DP: from this sigma on, epsilon is [`DISCRETE_SURCHARGE`] above the
/// continuous noise's at most. A scan over counts of 1 to 100,000 and delta from 0.3 to 1e-25 (a
/// test repeats it) found 4e-5 at most: evidence, not a proof. [`Budget::Caps`] has the proof.
pub const DISCRETE_FROM: f64 = 20.0;

/// See [`DISCRETE_FROM`].
pub const DISCRETE_SURCHARGE: f64 = 1e-4;

/// A budget, and what was charged to it.
#[derive(Clone, Debug)]
pub struct Filter {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Gdp { limit: f64, spent: f64 },
    Rdp { orders: Orders, limit: f64, spent: f64 },
    Caps(Vec<(Cap, u64)>),
}

impl Budget {
    /// (epsilon, delta) of everything that may be charged to it: the guarantee.
    pub fn epsilon_delta(&self) -> (f64, f64) {
        match self {
            Self::Gdp { epsilon, delta }
            | Self::Rdp { epsilon, delta, .. }
            | Self::Caps { epsilon, delta, .. } => (*epsilon, *delta),
        }
    }

    /// How it is counted, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Gdp { .. } => format!(
                "Gaussian DP filter (integer noise from sigma {DISCRETE_FROM} on: + {DISCRETE_SURCHARGE} by a scan, not a proof)"
            ),
            Self::Rdp { order, .. } => format!("RDP filter at order {order}"),
            Self::Caps { .. } => "fixed caps, composed by privacy loss distributions".to_owned(),
        }
    }
}

/// What all caps together cost at `delta`.
///
/// # Errors
/// A parameter out of range; too many grid points.
pub fn epsilon_of_caps(caps: &[Cap], delta: f64) -> Result<f64> {
    let cost = |step: f64| {
        let mut all = Composition::new();
        for cap in caps {
            all = all.with(&cap.mechanism.losses(step)?, cap.count);
        }
        all.epsilon(delta)
    };
    // As fine as a calibration has it: on a coarser grid what it solved would cost more. Where
    // there is no room for it, a coarser one costs a little more.
    let step = |cap: &Cap| match cap.mechanism {
        Mechanism::PoissonSubsampledGaussian { q, sigma } if q < 1.0 => {
            DpSgd { q, steps: cap.count, delta }.step(sigma)
        }
        _ => STEP,
    };
    Ok(on_finest_grid(caps.iter().map(step).fold(STEP, f64::min), cost)?.0)
}

/// A run that is not counted must not run.
fn check_count(count: u64) -> Result<()> {
    check("the number of runs of a charge", count as f64, |count| count >= 1.0, "1 or more").map(|_| ())
}

impl Filter {
    /// An unspent budget.
    ///
    /// # Errors
    /// A parameter out of range; an order at which the budget allows nothing; caps that cost more
    /// than their epsilon.
    pub fn new(budget: &Budget) -> Result<Self> {
        let (epsilon, delta) = budget.epsilon_delta();
        check("the budget's epsilon", epsilon, |value| value > 0.0, "above 0")?;
        check_delta(delta)?;
        let kind = match budget {
            Budget::Gdp { .. } => {
                // The surcharge is taken off beforehand: whether integer noise will be used is not
                // known yet.
                let mu = gdp::mu((epsilon - DISCRETE_SURCHARGE).max(0.0), delta)?;
                Kind::Gdp { limit: mu * mu * (1.0 - 2.0 * f64::EPSILON), spent: 0.0 }
            }
            Budget::Rdp { order, .. } => {
                let orders = Orders::new(vec![*order])?;
                let limit = epsilon - (-1.0 / order).ln_1p() + (delta.ln() + order.ln()) / (order - 1.0);
                let limit = limit - 1e-14 * (1.0 + epsilon);
                let allowed = "one at which the budget's epsilon allows a positive divergence";
                check("the filter's order", *order, |_| limit > 0.0, allowed)?;
                Kind::Rdp { orders, limit, spent: 0.0 }
            }
            Budget::Caps { caps, .. } => {
                for cap in caps {
                    cap.mechanism.check_drawable()?;
                }
                let cost = epsilon_of_caps(caps, delta)?;
                if cost > epsilon {
                    return Err(Error::Overspent {
                        mechanism: "using up all caps".to_owned(),
                        measure: "epsilon".to_owned(),
                        before: 0.0,
                        after: cost,
                        budget: epsilon,
                    });
                }
                Kind::Caps(caps.iter().map(|cap| (*cap, 0)).collect())
            }
        };
        Ok(Self { kind })
    }

    /// Charges `count` runs, or nothing at all.
    ///
    /// # Errors
    /// [`Error::Overspent`] where they do not fit; [`Error::Unsupported`] where this budget cannot
    /// count them; a parameter out of range, a count of 0 among them.
    pub fn charge(&mut self, mechanism: &Mechanism, count: u64) -> Result<()> {
        check_count(count)?;
        mechanism.check_drawable()?;
        let overspent = |measure: String, before: f64, after: f64, budget: f64| Error::Overspent {
            mechanism: format!("{count} of {mechanism}"),
            measure,
            before,
            after,
            budget,
        };
        match &mut self.kind {
            Kind::Gdp { limit, spent } => {
                let refused = |reason| Error::Unsupported {
                    mechanism: mechanism.to_string(),
                    accountant: "a Gaussian DP budget",
                    reason,
                };
                let Some((sensitivity, sigma)) = mechanism.gaussian() else {
                    return Err(refused("it is not Gaussian; take a budget of RDP or of caps"));
                };
                if mechanism.discrete_sigma().is_some_and(|sigma| sigma < DISCRETE_FROM) {
                    return Err(refused(
                        "its noise is too coarse an integer; take caps, or sigma 20 or above",
                    ));
                }
                let mu = gdp::total_mu([(count, sensitivity, sigma)])?;
                let after = (*spent + mu * mu) * (1.0 + 2.0 * f64::EPSILON);
                if after.is_nan() || after > *limit {
                    return Err(overspent("mu^2".to_owned(), *spent, after, *limit));
                }
                *spent = after;
            }
            Kind::Rdp { orders, limit, spent } => {
                let cost = mechanism.rdp(orders)?.values().first().copied().unwrap_or(f64::INFINITY);
                let after = (*spent + cost * count as f64) * (1.0 + 4.0 * f64::EPSILON);
                if after.is_nan() || after > *limit {
                    let order = orders.as_slice().first().copied().unwrap_or(f64::NAN);
                    return Err(overspent(format!("the divergence of order {order}"), *spent, after, *limit));
                }
                *spent = after;
            }
            Kind::Caps(caps) => {
                let Some((cap, used)) = caps.iter_mut().find(|(cap, _)| cap.mechanism == *mechanism) else {
                    return Err(Error::Unsupported {
                        mechanism: mechanism.to_string(),
                        accountant: "a budget of caps",
                        reason: "it is not in the list; the list is fixed before the run",
                    });
                };
                let Some(after) = used.checked_add(count).filter(|after| *after <= cap.count) else {
                    let (before, limit) = (*used as f64, cap.count as f64);
                    let measure = "its number of runs".to_owned();
                    return Err(overspent(measure, before, before + count as f64, limit));
                };
                *used = after;
            }
        }
        Ok(())
    }

    /// The fraction of the budget that is spent, from 0 to 1: of mu^2, of the divergence, or of the
    /// cap that is used up most.
    pub fn fraction_spent(&self) -> f64 {
        match &self.kind {
            Kind::Gdp { limit, spent } | Kind::Rdp { limit, spent, .. } => spent / limit,
            Kind::Caps(caps) => caps
                .iter()
                .map(|(cap, used)| if cap.count == 0 { 0.0 } else { *used as f64 / cap.count as f64 })
                .fold(0.0, f64::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_leaves_no_trace() {
        let answer = Mechanism::GnmaxAnswer { sigma: 40.0 };
        for budget in [
            Budget::Gdp { epsilon: 1.0, delta: 1e-5 },
            Budget::Rdp { epsilon: 1.0, delta: 1e-5, order: 20.0 },
            Budget::Caps { epsilon: 1.0, delta: 1e-5, caps: vec![Cap { mechanism: answer, count: 50 }] },
        ] {
            let mut filter = Filter::new(&budget).unwrap();
            let mut charged = 0;
            while filter.charge(&answer, 1).is_ok() {
                charged += 1;
            }
            let share = filter.fraction_spent();
            assert!(filter.charge(&answer, 1000).is_err() && filter.charge(&answer, 0).is_err());
            assert!((filter.fraction_spent() - share).abs() < 1e-12 && share <= 1.0);
            let cost = epsilon_of_caps(&[Cap { mechanism: answer, count: charged }], 1e-5).unwrap();
            assert!(charged > 10 && cost <= 1.0, "{budget:?}: {charged} answers cost {cost}");
        }
    }

    #[test]
    fn budgets_that_mean_nothing_are_refused() {
        for budget in [
            Budget::Gdp { epsilon: 0.0, delta: 1e-5 },
            Budget::Gdp { epsilon: 1.0, delta: 1.0 },
            Budget::Rdp { epsilon: 1.0, delta: 1e-5, order: 1.5 },
            Budget::Rdp { epsilon: 1.0, delta: 1e-5, order: f64::NAN },
            Budget::Caps {
                epsilon: 1.0,
                delta: 1e-5,
                caps: vec![Cap { mechanism: Mechanism::GnmaxAnswer { sigma: 40.0 }, count: 60 }],
            },
        ] {
            assert!(Filter::new(&budget).is_err(), "{budget:?}");
        }
    }

    #[test]
    fn a_gaussian_budget_counts_gaussian_mechanisms_alone() {
        let mut filter = Filter::new(&Budget::Gdp { epsilon: 1.0, delta: 1e-5 }).unwrap();
        for mechanism in [
            Mechanism::Laplace { scale: 100.0, sensitivity_l1: 1.0 },
            Mechanism::PoissonSubsampledGaussian { q: 0.1, sigma: 100.0 },
            Mechanism::GnmaxAnswer { sigma: 19.0 },
            Mechanism::GnmaxAnswer { sigma: 40.5 },
            // Squares that are too small for a number are no reason for a cost of 0.
            Mechanism::Gaussian { sigma: 0.0, sensitivity_l2: 1e-170 },
            Mechanism::Gaussian { sigma: 1e-200, sensitivity_l2: 1e-170 },
        ] {
            assert!(filter.charge(&mechanism, 1).is_err(), "{mechanism}");
        }
        assert!(filter.charge(&Mechanism::Gaussian { sigma: 0.0, sensitivity_l2: 1.0 }, 1).is_err());
        assert!(filter.charge(&Mechanism::Gaussian { sigma: 0.0, sensitivity_l2: 0.0 }, 1).is_ok());
    }
}
