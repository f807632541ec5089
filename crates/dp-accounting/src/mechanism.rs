//! What ran on private data, with everything that its cost depends on.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::pld::PrivacyLoss;
use crate::rdp::{Orders, RdpCurve};
use crate::{Error, Result, lattice};

/// Which data sets are neighbours: what the guarantee hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adjacency {
    /// One record is there or not. The relation of Poisson-subsampled mechanisms.
    AddOrRemoveOne,
    /// One record has another value; the number of records is known.
    ReplaceOne,
    /// All records of one shard have other values; which record lies in which shard does not depend
    /// on the data. The relation of votes.
    ReplaceOneShard,
}

impl Adjacency {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::AddOrRemoveOne => "adding or removing one record",
            Self::ReplaceOne => "replacing one record",
            Self::ReplaceOneShard => "replacing all records of one shard",
        }
    }
}

/// One run of a mechanism.
///
/// Sensitivities are those under the adjacency that a charge names; noise of scale 0 costs
/// infinity, sensitivity 0 costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mechanism", rename_all = "snake_case", deny_unknown_fields)]
pub enum Mechanism {
    /// A vector plus N(0, sigma^2) on each coordinate.
    Gaussian {
        /// Standard deviation.
        sigma: f64,
        /// L2 sensitivity of the vector.
        sensitivity_l2: f64,
    },
    /// Integers plus discrete Gaussian noise on each.
    DiscreteGaussian {
        /// Standard deviation.
        sigma: f64,
        /// One of the integers differs between neighbours, by at most so much.
        sensitivity: u64,
    },
    /// A step of DP-SGD with true Poisson batches.
    PoissonSubsampledGaussian {
        /// Probability with which a record takes part.
        q: f64,
        /// Standard deviation of the noise in units of the clipping norm.
        sigma: f64,
    },
    /// A vector plus Laplace noise on each coordinate.
    Laplace {
        /// Scale of the noise.
        scale: f64,
        /// L1 sensitivity of the vector.
        sensitivity_l1: f64,
    },
    /// Anything that is epsilon-DP.
    Pure {
        /// Its epsilon.
        epsilon: f64,
    },
    /// Confident-GNMax's question whether enough teachers agree: largest count plus discrete
    /// Gaussian noise against a threshold.
    GnmaxScreen {
        /// Standard deviation.
        sigma: f64,
    },
    /// GNMax's answer: the argmax of the counts plus discrete Gaussian noise.
    GnmaxAnswer {
        /// Standard deviation.
        sigma: f64,
    },
    /// LNMax's answer: the argmax of the counts plus Laplace noise.
    LnmaxAnswer {
        /// Scale of the noise.
        lambda: f64,
    },
}

impl Mechanism {
    /// Whether the mechanism's cost is stated under `adjacency`. Mechanisms with a stated
    /// sensitivity are under any, since the sensitivity is the caller's; sampled ones and votes
    /// have one of their own.
    pub fn is_stated_under(&self, adjacency: Adjacency) -> bool {
        match self {
            Self::Gaussian { .. }
            | Self::DiscreteGaussian { .. }
            | Self::Laplace { .. }
            | Self::Pure { .. } => true,
            Self::PoissonSubsampledGaussian { .. } => adjacency == Adjacency::AddOrRemoveOne,
            Self::GnmaxScreen { .. } | Self::GnmaxAnswer { .. } | Self::LnmaxAnswer { .. } => {
                adjacency == Adjacency::ReplaceOneShard
            }
        }
    }

    /// The mechanism as it costs under another adjacency. The only conversions that there are:
    ///
    /// - **one shard to one record** (`ReplaceOneShard` to either of the others): the same
    ///   parameters. A record lies in one shard, and changing, adding or removing it there changes
    ///   that shard alone. It holds only where the others' places do not depend on it. A ledger
    ///   under the other relation takes votes by
    ///   [`Charge::converted`](crate::ledger::Charge::converted), which writes down where they come
    ///   from.
    /// - **add or remove to replace** (`AddOrRemoveOne` to `ReplaceOne`): a replacement is a
    ///   removal and an addition, so sensitivities and a pure epsilon double. The sampled Gaussian
    ///   has no such conversion here.
    ///
    /// # Errors
    /// Any other pair, or a mechanism for which there is none.
    pub fn converted(self, from: Adjacency, to: Adjacency) -> Result<Self> {
        use Adjacency::{AddOrRemoveOne, ReplaceOne, ReplaceOneShard};
        let refused = |reason: &'static str| Error::Unsupported {
            mechanism: self.to_string(),
            accountant: to.words(),
            reason,
        };
        if !self.is_stated_under(from) {
            return Err(refused("it is not stated under the adjacency that it is said to come from"));
        }
        match (from, to) {
            _ if from == to => Ok(self),
            (ReplaceOneShard, AddOrRemoveOne | ReplaceOne) => Ok(self),
            (AddOrRemoveOne, ReplaceOne) => match self {
                Self::Gaussian { sigma, sensitivity_l2 } => {
                    Ok(Self::Gaussian { sigma, sensitivity_l2: 2.0 * sensitivity_l2 })
                }
                Self::Laplace { scale, sensitivity_l1 } => {
                    Ok(Self::Laplace { scale, sensitivity_l1: 2.0 * sensitivity_l1 })
                }
                Self::Pure { epsilon } => Ok(Self::Pure { epsilon: 2.0 * epsilon }),
                Self::DiscreteGaussian { .. } => Err(refused(
                    "a replaced record may move two of the integers; charge it as it is under replacement",
                )),
                _ => Err(refused(
                    "sampled mechanisms have no conversion here; keep a ledger under add or remove",
                )),
            },
            _ => Err(refused("there is no conversion from a weaker relation to a stronger one")),
        }
    }

    /// Divergences of one run.
    ///
    /// # Errors
    /// A parameter out of range.
    pub fn rdp(&self, orders: &Orders) -> Result<RdpCurve> {
        match *self {
            Self::Gaussian { sigma, sensitivity_l2 } => RdpCurve::gaussian(orders, sigma, sensitivity_l2),
            Self::PoissonSubsampledGaussian { q, sigma } => RdpCurve::sampled_gaussian(orders, q, sigma),
            Self::Laplace { scale, sensitivity_l1 } => RdpCurve::laplace(orders, scale, sensitivity_l1),
            // The discrete Gaussian diverges no more than the continuous one (2004.00010).
            Self::DiscreteGaussian { sigma, sensitivity } => {
                RdpCurve::gaussian(orders, sigma, sensitivity as f64)
            }
            Self::GnmaxScreen { sigma } => RdpCurve::gaussian(orders, sigma, 1.0),
            Self::GnmaxAnswer { sigma } => RdpCurve::gaussian(orders, sigma, std::f64::consts::SQRT_2),
            Self::LnmaxAnswer { lambda } => RdpCurve::pure(orders, lnmax_epsilon(lambda)?),
            Self::Pure { epsilon } => RdpCurve::pure(orders, epsilon),
        }
    }

    /// Losses of one run on a grid of `step`.
    ///
    /// # Errors
    /// A parameter out of range; too many grid points.
    pub fn losses(&self, step: f64) -> Result<PrivacyLoss> {
        match *self {
            Self::Gaussian { sigma, sensitivity_l2 } => PrivacyLoss::gaussian(sigma, sensitivity_l2, step),
            Self::PoissonSubsampledGaussian { q, sigma } => PrivacyLoss::sampled_gaussian(q, sigma, step),
            Self::Laplace { scale, sensitivity_l1 } => PrivacyLoss::laplace(scale, sensitivity_l1, step),
            Self::DiscreteGaussian { sensitivity: 0, .. } => PrivacyLoss::gaussian(1.0, 0.0, step),
            Self::GnmaxScreen { sigma: 0.0 }
            | Self::GnmaxAnswer { sigma: 0.0 }
            | Self::DiscreteGaussian { sigma: 0.0, .. } => PrivacyLoss::gaussian(0.0, 1.0, step),
            Self::DiscreteGaussian { sigma, sensitivity } => {
                lattice::count(sigma, sensitivity)?.on_grid(step)
            }
            Self::GnmaxScreen { sigma } => lattice::screen(sigma)?.on_grid(step),
            Self::GnmaxAnswer { sigma } => lattice::argmax(sigma)?.on_grid(step),
            Self::LnmaxAnswer { lambda } => PrivacyLoss::pure(lnmax_epsilon(lambda)?, step),
            Self::Pure { epsilon } => PrivacyLoss::pure(epsilon, step),
        }
    }

    /// (L2 sensitivity, sigma) where the mechanism is Gaussian; for votes, of the continuous noise
    /// that theirs stands for.
    pub fn gaussian(&self) -> Option<(f64, f64)> {
        match *self {
            Self::Gaussian { sigma, sensitivity_l2 } => Some((sensitivity_l2, sigma)),
            Self::DiscreteGaussian { sigma, sensitivity } => Some((sensitivity as f64, sigma)),
            Self::GnmaxScreen { sigma } => Some((1.0, sigma)),
            Self::GnmaxAnswer { sigma } => Some((std::f64::consts::SQRT_2, sigma)),
            _ => None,
        }
    }

    /// Its epsilon without a delta, where it has one.
    pub fn pure(&self) -> Option<f64> {
        match *self {
            Self::Pure { epsilon } => Some(epsilon),
            Self::Laplace { sensitivity_l1: 0.0, .. } => Some(0.0),
            Self::Laplace { scale, sensitivity_l1 } => Some(sensitivity_l1 / scale),
            Self::LnmaxAnswer { lambda } => Some(2.0 / lambda),
            _ => None,
        }
    }

    /// Refuses what cannot be drawn: noise on integers has an integer scale.
    ///
    /// # Errors
    /// For votes and integers, a sigma or lambda that is no integer from 1 to 1,048,576.
    pub fn check_drawable(&self) -> Result<()> {
        let (name, scale) = match *self {
            Self::GnmaxScreen { sigma } | Self::GnmaxAnswer { sigma } => ("sigma of votes", sigma),
            Self::LnmaxAnswer { lambda } => ("lambda of votes", lambda),
            Self::DiscreteGaussian { sigma, .. } => ("sigma of integers", sigma),
            _ => return Ok(()),
        };
        let most = f64::from(dp_noise::MAX_SIGMA);
        let allowed = "an integer from 1 to 1,048,576, as the noise has it";
        crate::error::check(name, scale, |s| s.fract() == 0.0 && (1.0..=most).contains(&s), allowed)?;
        Ok(())
    }

    /// Where the noise is Gaussian on the integers, its sigma for a change by 1: what says how
    /// coarse they are.
    pub fn discrete_sigma(&self) -> Option<f64> {
        match *self {
            Self::GnmaxScreen { sigma } | Self::GnmaxAnswer { sigma } => Some(sigma),
            Self::DiscreteGaussian { sigma, sensitivity } => Some(sigma / (sensitivity as f64).max(1.0)),
            _ => None,
        }
    }
}

/// An LNMax answer is (2 / lambda)-DP: a moved vote changes two counts by 1.
fn lnmax_epsilon(lambda: f64) -> Result<f64> {
    Ok(2.0 / crate::error::check_scale("lambda", lambda)?)
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gaussian { sigma, sensitivity_l2 } => {
                write!(f, "a Gaussian mechanism (sigma {sigma}, L2 sensitivity {sensitivity_l2})")
            }
            Self::DiscreteGaussian { sigma, sensitivity } => {
                write!(f, "a discrete Gaussian mechanism (sigma {sigma}, sensitivity {sensitivity})")
            }
            Self::PoissonSubsampledGaussian { q, sigma } => {
                write!(f, "a Poisson-subsampled Gaussian step (q {q}, sigma {sigma})")
            }
            Self::Laplace { scale, sensitivity_l1 } => {
                write!(f, "a Laplace mechanism (scale {scale}, L1 sensitivity {sensitivity_l1})")
            }
            Self::Pure { epsilon } => write!(f, "a {epsilon}-DP mechanism"),
            Self::GnmaxScreen { sigma } => write!(f, "a GNMax screen (sigma {sigma})"),
            Self::GnmaxAnswer { sigma } => write!(f, "a GNMax answer (sigma {sigma})"),
            Self::LnmaxAnswer { lambda } => write!(f, "an LNMax answer (lambda {lambda})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_OF_SGD: Mechanism = Mechanism::PoissonSubsampledGaussian { q: 0.01, sigma: 1.0 };

    #[test]
    fn only_the_documented_conversions_exist() {
        use Adjacency::{AddOrRemoveOne, ReplaceOne, ReplaceOneShard};
        let gaussian = Mechanism::Gaussian { sigma: 3.0, sensitivity_l2: 1.0 };
        let doubled = Mechanism::Gaussian { sigma: 3.0, sensitivity_l2: 2.0 };
        assert_eq!(gaussian.converted(AddOrRemoveOne, ReplaceOne).unwrap(), doubled);
        let answer = Mechanism::GnmaxAnswer { sigma: 40.0 };
        assert_eq!(answer.converted(ReplaceOneShard, AddOrRemoveOne).unwrap(), answer);
        assert!(STEP_OF_SGD.converted(AddOrRemoveOne, ReplaceOne).is_err());
        assert!(STEP_OF_SGD.converted(ReplaceOne, ReplaceOne).is_err());
        assert!(gaussian.converted(ReplaceOne, AddOrRemoveOne).is_err());
        assert!(gaussian.converted(AddOrRemoveOne, ReplaceOneShard).is_err());
    }

    #[test]
    fn parameters_go_through_json_unchanged_and_unknown_ones_are_refused() {
        let text = serde_json::to_string(&STEP_OF_SGD).unwrap();
        assert_eq!(text, r#"{"mechanism":"poisson_subsampled_gaussian","q":0.01,"sigma":1.0}"#);
        assert_eq!(serde_json::from_str::<Mechanism>(&text).unwrap(), STEP_OF_SGD);
        assert!(serde_json::from_str::<Mechanism>(&text.replace("sigma", "sigmas")).is_err());
    }
}
