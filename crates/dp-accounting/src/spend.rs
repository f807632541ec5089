//! What a private program asks for, whoever answers: the seam where tests listen.
//!
//! A program that touches private data is a function of a [`Spending`]. In service that is a
//! [`Ledger`]: charges are durable, noise is secret. In tests it is a recorder that keeps what
//! every mechanism was given, or one that gives the same answers again to a program that runs on a
//! neighbouring data set ("record and replay", arXiv 2602.17454).

use dp_noise::{NoiseSource, Sample};
use serde_json::Value;

use crate::draws::{Draws, Lattice};
use crate::filter::Budget;
use crate::ledger::{Charge, Ledger, Store};
use crate::{Mechanism, Result};

/// The sum that a step asks for: the records that take part, in; multiples of the lattice's step,
/// out.
pub type SumOf<'a> = &'a mut dyn FnMut(&Sample) -> Result<Vec<i64>>;

/// The mechanisms: the only ways from private data to what is released. See [`Draws`], whose
/// methods these are.
pub trait Mechanisms {
    /// [`Draws::screen`].
    ///
    /// # Errors
    /// As there.
    fn screen(&mut self, votes_private: &[u32], threshold: i64) -> Result<bool>;

    /// [`Draws::answer`].
    ///
    /// # Errors
    /// As there.
    fn answer(&mut self, votes_private: &[u32]) -> Result<usize>;

    /// [`Draws::integers`].
    ///
    /// # Errors
    /// As there.
    fn integers(&mut self, values_private: &[i64]) -> Result<Vec<i64>>;

    /// [`Draws::vector`].
    ///
    /// # Errors
    /// As there.
    fn vector(&mut self, sum_private: &[i64], lattice: Lattice) -> Result<Vec<f64>>;

    /// [`Draws::sampled_sum`].
    ///
    /// # Errors
    /// As there.
    fn sampled_sum(&mut self, records: usize, lattice: Lattice, sum_private: SumOf<'_>) -> Result<Vec<f64>>;
}

impl<S: NoiseSource + Send> Mechanisms for Draws<'_, S> {
    fn screen(&mut self, votes_private: &[u32], threshold: i64) -> Result<bool> {
        Draws::screen(self, votes_private, threshold)
    }

    fn answer(&mut self, votes_private: &[u32]) -> Result<usize> {
        Draws::answer(self, votes_private)
    }

    fn integers(&mut self, values_private: &[i64]) -> Result<Vec<i64>> {
        Draws::integers(self, values_private)
    }

    fn vector(&mut self, sum_private: &[i64], lattice: Lattice) -> Result<Vec<f64>> {
        Draws::vector(self, sum_private, lattice)
    }

    fn sampled_sum(&mut self, records: usize, lattice: Lattice, sum_private: SumOf<'_>) -> Result<Vec<f64>> {
        Draws::sampled_sum(self, records, lattice, sum_private)
    }
}

/// Somebody who lets a program draw after a charge.
pub trait Spending {
    /// [`Ledger::run`].
    ///
    /// # Errors
    /// As there.
    fn spend(
        &mut self,
        charge: Charge,
        draw: &mut dyn FnMut(&mut dyn Mechanisms) -> Result<Value>,
    ) -> Result<Value>;

    /// [`Ledger::affordable`].
    ///
    /// # Errors
    /// As there.
    fn affordable(&self, charge: &Charge) -> Result<u64>;

    /// The fraction of the budget that is spent, from 0 to 1; of a list, of what it has for `of`.
    fn fraction_spent(&self, of: &Mechanism) -> f64;

    /// Whether what is drawn protects anybody: no noise and noise of floating-point numbers do not,
    /// and stand in for the real thing in controls and measurements alone.
    fn protects(&self) -> bool {
        true
    }

    /// Says, before the first draw, how many a stopped run has made already: what draws from a
    /// public seed goes on behind them. Noise that protects never repeats, and has no use for it.
    fn goes_on_after(&mut self, _draws: u64) {}
}

impl<S: NoiseSource + Send, D: Store> Spending for Ledger<S, D> {
    fn spend(
        &mut self,
        charge: Charge,
        draw: &mut dyn FnMut(&mut dyn Mechanisms) -> Result<Value>,
    ) -> Result<Value> {
        self.run(charge, |draws| {
            draws
                .set_threads(std::thread::available_parallelism().unwrap_or(std::num::NonZero::<usize>::MIN));
            draw(draws)
        })
    }

    fn affordable(&self, charge: &Charge) -> Result<u64> {
        Ledger::affordable(self, charge)
    }

    fn fraction_spent(&self, of: &Mechanism) -> f64 {
        let account = self.account();
        let Budget::Caps { caps, .. } = &account.header.budget else { return account.fraction_spent() };
        let Some(cap) = caps.iter().find(|cap| cap.mechanism == *of) else { return 0.0 };
        let used = account.totals().into_iter().find(|(mechanism, _)| mechanism == of);
        used.map_or(0.0, |(_, used)| (used as f64 / cap.count.max(1) as f64).min(1.0))
    }
}
