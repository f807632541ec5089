//! What differential privacy costs: exactly where that can be had, and rounded towards more spent
//! elsewhere.
//!
//! - [`Mechanism`]: what can run on private data; [`Adjacency`]: which data sets it hides from each
//!   other.
//! - [`gdp`]: Gaussian differential privacy, exact and additive.
//! - [`rdp`]: Renyi divergences, their conversions.
//! - [`pld`]: privacy loss distributions, composed by Fourier transforms; [`lattice`]: those of
//!   integer noise, exact.
//! - [`prv`]: an interval round the exact value, by another method: a check of [`pld`].
//! - [`pate`]: GNMax, Confident-GNMax, LNMax; figures that depend on the votes are for internal
//!   eyes. [`smooth`]: their smooth sensitivity.
//! - [`calibrate`]: how much noise a target needs.
//! - [`filter`]: budgets that hold however a run is steered.
//! - [`ledger`]: one file per private data set, written before anything is drawn; [`draws`]: the
//!   noise that a charge has paid for; [`spend`]: the same as traits, so that a program can run on
//!   something else than a ledger.
//!
//! # Which figure to trust
//! | figure | guarantee | use |
//! |---|---|---|
//! | [`gdp::epsilon`] | exact for Gaussian noise; a filter | certificates of Gaussian mechanisms |
//! | [`pld::Composition::epsilon`] | for numbers of runs fixed beforehand, or capped | certificates of DP-SGD and of capped votes |
//! | [`rdp::RdpCurve::epsilon`] | never below the exact value | planning; a filter at one order |
//! | [`pate::dependent`] | none: a function of private votes | diagnosis |
//!
//! # Edge cases
//! The same everywhere: no noise costs infinity, sensitivity 0 costs nothing, nothing that ran
//! costs nothing; delta lies strictly between 0 and 1; a value that is not a number is refused by
//! name.
//!
//! # Rounding
//! There is no interval arithmetic here. Every formula is arranged so that nothing cancels, a
//! first-order bound on what rounding can do is added in the unsafe direction's opposite, and tests
//! compare with 40 and 50 digit values. Each module says what its bound is.
//!
//! # Example
//! The smallest noise with which DP-SGD at a sampling rate of 256 in 60,000 spends at most epsilon
//! 1 in 15 epochs, and what it then spends:
//! ```
//! # fn main() -> Result<(), dp_accounting::Error> {
//! use dp_accounting::calibrate::{Accountant, DpSgd};
//!
//! let run = DpSgd { q: 256.0 / 60_000.0, steps: 15 * 234, delta: 1e-5 };
//! let found = run.sigma(1.0, Accountant::Pld, 1e-3)?;
//! assert!((1.18..1.19).contains(&found.sigma) && found.epsilon <= 1.0);
//! assert!(run.epsilon(2.0 * found.sigma, Accountant::Pld)? < 0.5);
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, expect(clippy::float_cmp, reason = "0 and infinity are meant exactly"))]

pub mod calibrate;
pub mod draws;
mod error;
pub mod filter;
pub mod gdp;
pub mod lattice;
pub mod ledger;
mod mechanism;
pub mod pate;
pub mod pld;
pub mod prv;
pub mod rdp;
pub mod smooth;
mod special;
pub mod spend;

pub use error::{Error, Result};
pub use mechanism::{Adjacency, Mechanism};
