//! Noise that can be made again, and the chi-square statistic. For tests alone.
//!
//! **Nothing drawn from this crate is private.** Whoever knows the seed knows every draw: a
//! mechanism that is fed from here is a plain function of its input, and its epsilon is infinite.
//! No program that ships may link this crate; it belongs in `[dev-dependencies]`.
//!
//! - [`TestNoise`]: a stream of bits from a written seed.
//! - [`Scripted`]: exactly the bytes that a test wrote down.
//! - [`replay`]: a private program on neighbouring data sets, which it must not betray.
//! - [`chi_square`]: how far counts are from what they should be.

pub mod replay;

use std::fmt;

use dp_noise::{Error, NoiseSource};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// ChaCha20 from a 64-bit seed. Equal seeds give equal streams.
///
/// It stands in for `dp_noise::SystemNoise` where a test has to see the same draws in every run.
/// What it feeds has no privacy: see the head of the crate. [`NoiseSource::SECRET`] is false, so
/// code that releases something can refuse it.
pub struct TestNoise(ChaCha20Rng);

impl TestNoise {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }

    /// What [`NoiseSource::fill`] does. It stands here too because `dp-noise`'s own unit tests see
    /// another copy of that trait: the one that is being compiled.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A stream with the next 32 bytes of this one for a key: what [`NoiseSource::split`] does, and
    /// here too for the same reason.
    #[must_use]
    pub fn child(&mut self) -> Self {
        let mut key = [0; 32];
        self.fill(&mut key);
        Self(ChaCha20Rng::from_seed(key))
    }
}

impl NoiseSource for TestNoise {
    const SECRET: bool = false;

    fn fill(&mut self, bytes: &mut [u8]) {
        self.fill(bytes);
    }

    fn split(&mut self) -> Result<Self, Error> {
        Ok(self.child())
    }
}

impl fmt::Debug for TestNoise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestNoise").finish_non_exhaustive()
    }
}

/// Gives the bytes that a test wrote down, in their order.
#[derive(Clone, Debug)]
pub struct Scripted {
    bytes: Vec<u8>,
    used: usize,
}

impl Scripted {
    /// From bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), used: 0 }
    }

    /// From words, as [`NoiseSource::next_u64`] reads them.
    pub fn words(words: &[u64]) -> Self {
        Self::new(words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>())
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.used
    }
}

impl NoiseSource for Scripted {
    const SECRET: bool = false;

    /// # Panics
    /// Where the script is too short: the test expected fewer draws.
    fn fill(&mut self, bytes: &mut [u8]) {
        let end = self.used + bytes.len();
        bytes.copy_from_slice(&self.bytes[self.used..end]);
        self.used = end;
    }

    /// All that is left of the script: none of it is read twice.
    fn split(&mut self) -> Result<Self, Error> {
        Ok(Self::new(self.bytes.split_off(self.used)))
    }
}

/// Pearson's statistic, and with how many degrees of freedom it has to be compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChiSquare {
    /// The sum of (observed - expected)^2 / expected over the pooled cells.
    pub statistic: f64,
    /// Pooled cells less one.
    pub degrees: usize,
}

/// Pearson's chi-square of counts against expected counts.
///
/// Neighbouring cells are pooled, from the left, until at least 10 are expected in each; what is
/// left over at the right joins the last one. The pooling looks at `expected` alone, so it does not
/// bend the test.
///
/// # Panics
/// Where the two have different lengths or totals: then mass was forgotten, and the test would be
/// about something else.
#[must_use]
pub fn chi_square(observed: &[u64], expected: &[f64]) -> ChiSquare {
    assert_eq!(observed.len(), expected.len(), "as many counts as expectations");
    let total: u64 = observed.iter().sum();
    let forgotten = (expected.iter().sum::<f64>() - total as f64).abs();
    assert!(forgotten <= 1e-6 * total as f64, "observed and expected totals are {forgotten} apart");

    let mut cells: Vec<(f64, f64)> = Vec::new();
    let mut open = (0.0, 0.0);
    for (count, mean) in observed.iter().zip(expected) {
        open = (open.0 + *count as f64, open.1 + mean);
        if open.1 >= 10.0 {
            cells.push(open);
            open = (0.0, 0.0);
        }
    }
    if let Some(last) = cells.last_mut() {
        *last = (last.0 + open.0, last.1 + open.1);
    }
    let statistic = cells.iter().map(|(count, mean)| (count - mean).powi(2) / mean).sum();
    ChiSquare { statistic, degrees: cells.len().saturating_sub(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_streams_and_other_seeds_others() {
        let draws = |seed| {
            let mut noise = TestNoise::new(seed);
            [noise.next_u64(), noise.next_u64(), noise.next_u64()]
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
        assert_ne!(draws(1)[0], draws(1)[1]);
    }

    #[test]
    fn splits_can_be_made_again_and_differ_from_each_other() {
        let words = |seed| {
            let mut parent = TestNoise::new(seed);
            let mut children = [parent.split().unwrap(), parent.split().unwrap()];
            [parent.next_u64(), children[0].next_u64(), children[1].next_u64()]
        };
        assert_eq!(words(1), words(1));
        let [parent, one, other] = words(1);
        assert!(parent != one && parent != other && one != other);
        assert_ne!(words(1), words(2));
    }

    #[test]
    fn a_script_that_is_split_goes_on_in_its_child() {
        let mut script = Scripted::words(&[7, 8, 9]);
        assert_eq!(script.next_u64(), 7);
        let mut rest = script.split().unwrap();
        assert_eq!((script.left(), rest.next_u64(), rest.next_u64(), rest.left()), (0, 8, 9, 0));
    }

    #[test]
    fn neither_source_calls_itself_secret() {
        const { assert!(!TestNoise::SECRET && !Scripted::SECRET) };
    }

    #[test]
    fn a_script_is_read_in_its_order() {
        let mut script = Scripted::words(&[7, u64::MAX]);
        assert_eq!((script.next_u64(), script.next_u64(), script.left()), (7, u64::MAX, 0));
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn a_script_does_not_go_on_by_itself() {
        Scripted::new([1, 2, 3]).next_u64();
    }

    #[test]
    fn the_debug_text_holds_no_state() {
        assert_eq!(format!("{:?}", TestNoise::new(3)), "TestNoise { .. }");
    }

    /// scipy.stats.chisquare([18, 22, 20], [20, 20, 20]).statistic = 0.4
    #[test]
    fn the_statistic_is_scipys() {
        let test = chi_square(&[18, 22, 20], &[20.0; 3]);
        assert!((test.statistic - 0.4).abs() < 1e-12);
        assert_eq!(test.degrees, 2);
    }

    #[test]
    fn cells_with_small_expectations_are_pooled() {
        // Pools: {4, 6}, {30}, {10, 3}.
        let test = chi_square(&[3, 7, 30, 13, 0], &[4.0, 6.0, 30.0, 10.0, 3.0]);
        assert_eq!(test, ChiSquare { statistic: 0.0, degrees: 2 });
    }

    #[test]
    #[should_panic(expected = "totals")]
    fn forgotten_mass_is_noticed() {
        let _ = chi_square(&[50, 50], &[50.0, 40.0]);
    }
}
