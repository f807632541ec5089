//! One release of a sum of records' vectors.

use dp_accounting::Mechanism;
use dp_accounting::draws::Lattice;
use dp_accounting::ledger::Charge;
use dp_accounting::spend::Spending;
use serde_json::Value;

use crate::{Error, Result};

/// A sum of vectors of an L2 norm of at most 1, one for each record, that is released once.
///
/// # Privacy
/// Neighbours add or remove one record, which moves the sum by 1 at most in L2: its vector is
/// clipped to 1 less what rounding to the lattice can add. Discrete Gaussian noise is added once to
/// each number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnitSum {
    /// Standard deviation of the noise; 0 without protection alone.
    pub noise_multiplier: f64,
}

/// The lattice of a [`UnitSum`], and what a record's vector is clipped to.
#[derive(Clone, Copy, Debug)]
pub struct UnitLattice {
    /// Its noise is 2^20 steps wide.
    pub lattice: Lattice,
    /// Norm that a vector has at most before it is rounded.
    pub clip: f64,
}

impl UnitSum {
    /// The release, as it is charged.
    pub fn mechanism(self) -> Mechanism {
        Mechanism::Gaussian { sigma: self.noise_multiplier, sensitivity_l2: 1.0 }
    }

    /// The lattice for vectors of which one record can move `numbers` coordinates.
    ///
    /// # Errors
    /// Noise that is no number above 0, or so large, in so many coordinates, that rounding would
    /// take half of the norm.
    pub fn lattice(self, numbers: usize, protects: bool) -> Result<UnitLattice> {
        let noise = if protects { self.noise_multiplier } else { self.noise_multiplier.max(1.0) };
        if !(noise > 0.0 && noise.is_finite()) {
            return Err(Error::invalid(format!("the noise multiplier is {noise}; it is a number above 0")));
        }
        let step = noise / f64::from(1 << 20) * (1.0 + 8.0 * f64::EPSILON);
        let rounding = 0.5 * step * (numbers as f64).sqrt();
        if rounding > 0.5 {
            return Err(Error::invalid(format!(
                "a noise multiplier of {noise} is too large for {numbers} numbers of a record; give one below {:.0}",
                f64::from(1 << 20) / (numbers as f64).sqrt()
            )));
        }
        // A billionth for the roundings of float64 on the way.
        Ok(UnitLattice { lattice: Lattice::new(step, 1.0)?, clip: 1.0 - rounding - 1e-9 })
    }

    /// Whether a charge is for one such release; to be asked before the sum is computed.
    ///
    /// # Errors
    /// A charge for another mechanism, or for several.
    pub fn check(self, charge: &Charge) -> Result<()> {
        if charge.mechanism == self.mechanism() && charge.count == 1 {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{} of {} was to be charged for one release of {}",
            charge.count,
            charge.mechanism,
            self.mechanism()
        )))
    }

    /// Releases a sum in steps of the lattice; `make` gets it with noise, in the vectors' units,
    /// before the charge is closed, and says what the ledger remembers.
    ///
    /// # Errors
    /// As [`UnitSum::check`], a refused charge, those of `make`.
    pub fn release<T>(
        self,
        sum_private: &[i64],
        lattice: Lattice,
        charge: Charge,
        spending: &mut dyn Spending,
        make: &mut dyn FnMut(Vec<f64>) -> Result<(T, Value)>,
    ) -> Result<T> {
        self.check(&charge)?;
        let mut released = None;
        spending.spend(charge, &mut |mechanisms| {
            let noisy = mechanisms.vector(sum_private, lattice)?;
            let made = make(noisy).map_err(|error| dp_accounting::Error::Statistic(Box::new(error)));
            let (value, remembered) = made?;
            released = Some(value);
            Ok(remembered)
        })?;
        released.ok_or_else(|| Error::invalid("nothing was released"))
    }
}
