//! Noise for differential privacy: exact, on integers, keyed by the operating system.
//!
//! - [`SystemNoise`]: secret bits. It takes no seed, on purpose: noise that can be made again hides
//!   nothing.
//! - [`NoiseSource`]: what the samplers draw from, so that tests can bring a source of their own
//!   (`dp-noise-testing`).
//! - [`DiscreteGaussian`]: noise on integers, with the distribution that the formula says and not
//!   one that is close to it.
//! - [`LatticeGaussian`]: such noise at sigma 2^20, on several threads, several times as fast and
//!   within 2^-115 of it: for long vectors of real numbers, as multiples of a fine step.
//! - [`DiscreteLaplace`]: Laplace noise, as exact.
//! - [`coin`], [`poisson_sample`]: which records take part in a step, with the exact probability.
//! - [`gnmax`], [`lnmax`]: the class with the most votes, after noise.
//! - [`screen`]: whether the largest vote, after noise, reaches a threshold.
//!
//! Floating-point samplers leave holes in their outputs, and a hole can give the input away
//! (Mironov 2012; Jin et al., arXiv 2112.05307). Here no step leaves the integers, so the proof for
//! the discrete Gaussian is a proof about the code.
//!
//! Nothing here keeps count of what was released. A release goes through a ledger
//! (`dp_accounting::ledger`): its draws are made with the noise that was charged, as often as it
//! was charged, and these functions are what they call.
//!
//! ```
//! # fn main() -> Result<(), dp_noise::Error> {
//! use dp_noise::{DiscreteGaussian, SystemNoise, gnmax, screen};
//! let mut source = SystemNoise::new()?;
//! let votes_private = [3, 240, 7];
//! // Sure enough?
//! if screen(&votes_private, 150, &DiscreteGaussian::new(40)?, &mut source)? {
//!     // The noise of the answer is drawn afresh.
//!     let label = gnmax(&votes_private, &DiscreteGaussian::new(20)?, &mut source)?;
//!     assert!(label < 3);
//! }
//! # Ok(())
//! # }
//! ```

mod coin;
mod error;
mod gaussian;
mod laplace;
mod lattice;
mod source;
mod system;
mod vote;

pub use coin::{Sample, coin, poisson_sample};
pub use error::Error;
pub use gaussian::{DiscreteGaussian, MAX_SIGMA};
pub use laplace::DiscreteLaplace;
pub use lattice::LatticeGaussian;
pub use source::NoiseSource;
pub use system::SystemNoise;
pub use vote::{gnmax, lnmax, screen};
