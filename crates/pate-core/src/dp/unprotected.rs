//! The controls of private training: the same steps without protection.

use dp_accounting::draws::Lattice;
use dp_accounting::ledger::Charge;
use dp_accounting::spend::{Mechanisms, Spending, SumOf};
use dp_accounting::{Error, Mechanism, Result};
use dp_noise::Sample;
use serde_json::Value;

use crate::base::rng::{Purpose, Stream};

/// Takes the steps of private training, and releases sums, without any protection: no ledger, and
/// no noise or noise of floating-point numbers. For controls (what clipping costs, what noise
/// costs) and for measurements of speed.
///
/// # Privacy
/// None: whatever comes out has to be labelled so. Samples come from a seed.
pub struct Unprotected {
    seed: u64,
    /// Steps so far, each of which has a stream of its own.
    steps: u64,
    /// Standard deviation of floating-point noise, whose holes identify the inputs (Mironov 2012;
    /// Jin et al. 2022); 0 where there is none.
    deviation: f64,
}

impl Unprotected {
    /// No noise at all.
    pub fn without_noise(seed: u64) -> Self {
        Self { seed, steps: 0, deviation: 0.0 }
    }

    /// Gaussian noise of floating-point numbers, of `deviation` in the gradients' units.
    pub fn with_float_noise(seed: u64, deviation: f64) -> Self {
        Self { seed, steps: 0, deviation }
    }

    /// A lattice that is fine enough for nobody to notice it.
    pub(super) fn lattice(clipping_norm: f64) -> Result<Lattice> {
        let unit = if clipping_norm.is_finite() { clipping_norm } else { 1.0 };
        Lattice::new(unit * 2f64.powi(-30), unit)
    }
}

impl Spending for Unprotected {
    fn spend(
        &mut self,
        charge: Charge,
        draw: &mut dyn FnMut(&mut dyn Mechanisms) -> Result<Value>,
    ) -> Result<Value> {
        draw(&mut Steps { of: self, mechanism: charge.mechanism })
    }

    fn affordable(&self, charge: &Charge) -> Result<u64> {
        Ok(charge.count)
    }

    fn fraction_spent(&self, _: &Mechanism) -> f64 {
        0.0
    }

    fn protects(&self) -> bool {
        false
    }

    fn goes_on_after(&mut self, draws: u64) {
        self.steps = draws;
    }
}

struct Steps<'a> {
    of: &'a mut Unprotected,
    mechanism: Mechanism,
}

impl Steps<'_> {
    fn noisy(&self, sum: &[i64], lattice: Lattice, stream: &mut Stream) -> Vec<f64> {
        let mut sum: Vec<f64> = sum.iter().map(|&x| x as f64 * lattice.step()).collect();
        let deviation = self.of.deviation;
        if deviation > 0.0 {
            let noise = stream.normal(sum.len());
            sum.iter_mut().zip(noise).for_each(|(x, noise)| *x += deviation * f64::from(noise));
        }
        sum
    }

    fn refused<T>(&self) -> Result<T> {
        let reason = "a run without protection takes steps on samples or sums, and nothing else".to_owned();
        Err(Error::Draw { mechanism: self.mechanism.to_string(), reason })
    }
}

impl Mechanisms for Steps<'_> {
    fn screen(&mut self, _: &[u32], _: i64) -> Result<bool> {
        self.refused()
    }

    fn answer(&mut self, _: &[u32]) -> Result<usize> {
        self.refused()
    }

    fn integers(&mut self, _: &[i64]) -> Result<Vec<i64>> {
        self.refused()
    }

    fn vector(&mut self, sum_private: &[i64], lattice: Lattice) -> Result<Vec<f64>> {
        let mut stream = Stream::new(self.of.seed, Purpose::Unprotected, self.of.steps);
        self.of.steps += 1;
        Ok(self.noisy(sum_private, lattice, &mut stream))
    }

    fn sampled_sum(&mut self, records: usize, lattice: Lattice, sum_private: SumOf<'_>) -> Result<Vec<f64>> {
        let Mechanism::PoissonSubsampledGaussian { q, .. } = self.mechanism else {
            return self.refused();
        };
        let mut stream = Stream::new(self.of.seed, Purpose::Unprotected, self.of.steps);
        self.of.steps += 1;
        let taken: Vec<bool> = stream.uniform(records, 0.0, 1.0).iter().map(|&u| f64::from(u) < q).collect();
        let rows = (0..records).filter(|&row| taken[row]);
        let sample = Sample::new(rows.map(|row| (row, stream.below(1 << 32) as u32)).collect::<Vec<_>>());
        Ok(self.noisy(&sum_private(&sample)?, lattice, &mut stream))
    }
}
