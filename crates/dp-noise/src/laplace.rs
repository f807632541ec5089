//! The discrete Laplace distribution, exactly.

use std::num::NonZero;

use crate::gaussian::discrete_laplace;
use crate::{Error, MAX_SIGMA, NoiseSource};

/// The discrete Laplace distribution on the integers: the probability of `x` is proportional to
/// `exp(-|x|/scale)`.
///
/// Every draw is exact, as those of [`DiscreteGaussian`](crate::DiscreteGaussian) are. To a
/// statistic of integers with L1 sensitivity `D`, one draw per coordinate gives
/// `D/scale`-differential privacy.
///
/// The one deviation: what lies 2^22 scales or more from zero is drawn again. The probability of
/// all that is below `exp(-2^22)`.
///
/// # Source
/// Ghosh, Roughgarden, Sundararajan, arXiv 0811.2841, for the guarantee; Canonne, Kamath, Steinke,
/// arXiv 2004.00010, algorithm 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscreteLaplace {
    scale: NonZero<u128>,
}

impl DiscreteLaplace {
    /// With a `scale` from 1 to [`MAX_SIGMA`].
    ///
    /// # Errors
    /// [`Error::Scale`] for any other.
    pub fn new(scale: u32) -> Result<Self, Error> {
        let scale =
            NonZero::new(u128::from(scale)).filter(|_| scale <= MAX_SIGMA).ok_or(Error::Scale { scale })?;
        Ok(Self { scale })
    }

    /// One draw; its absolute value is below 2^43.
    pub fn sample<S: NoiseSource + ?Sized>(&self, source: &mut S) -> i64 {
        discrete_laplace(source, self.scale)
    }
}
