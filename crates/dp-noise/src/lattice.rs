//! The discrete Gaussian at one fixed scale, fast enough for sums of a million coordinates.

use std::num::NonZero;
use std::sync::{Mutex, OnceLock, PoisonError};

use num_bigint::BigUint;
use zeroize::Zeroizing;

use crate::{Error, NoiseSource};

/// Bits of the low part of a magnitude: x = 1024 hi + lo.
const LOW_BITS: u32 = 10;
/// 2 sigma² is 2 to this.
const DENOMINATOR_BITS: u32 = 41;
/// Bits of the uniform number that decides at first whether a proposal is accepted.
const DECISION_BITS: u32 = 53;
/// Bits of a uniform number that find their place in the guide.
const GUIDE_BITS: u32 = 13;
/// Fractional bits of the arithmetic that the thresholds come from.
const PLACES: u32 = 256;
/// The last high part that has a weight in that arithmetic.
const LAST: u32 = 16 << LOW_BITS;
/// What [`LatticeGaussian::add_to`] draws at a time: the noise of 256 values.
const BLOCK: usize = 4096;
/// Two words.
const PROPOSAL: usize = 16;
/// Values to a source of their own in [`LatticeGaussian::add_to_parallel`].
const CHUNK: usize = 1 << 16;

// A word is used up by a sign, a low part and the decision; and the argument of the exponential,
// n/2^41, is below 2^-6, which the bounds of `rejection` need.
const _: () = {
    assert!(1 + LOW_BITS + DECISION_BITS == 64);
    assert!(1 << DENOMINATOR_BITS == 2 * (LatticeGaussian::SIGMA as u64).pow(2));
    assert!(argument(LAST as u64, (1 << LOW_BITS) - 1) < 1 << (DENOMINATOR_BITS - 6));
    // High parts are indices, and the guide keeps them in 16 bits.
    assert!(LAST < u16::MAX as u32);
};

/// The discrete Gaussian on the integers with sigma = 2^20: the probability of `x` is proportional
/// to `exp(-x²/2^41)`. The caller chooses a lattice so fine that its noise is 2^20 steps wide.
///
/// [`DiscreteGaussian`](crate::DiscreteGaussian) is exact for every sigma; this one is several
/// times as fast, and a known distance from exact: [`LatticeGaussian::TOTAL_VARIATION`].
///
/// # Guarantee
/// To a statistic with L2 sensitivity `D`, one ideal draw per coordinate gives `D²/(2 sigma²)`-zCDP
/// (Canonne, Kamath, Steinke). `n` draws of this sampler are within a total variation of `n` times
/// [`TOTAL_VARIATION`](LatticeGaussian::TOTAL_VARIATION) of `n` ideal ones; what is
/// (epsilon, delta)-DP with those is (epsilon, delta + (1 + e^epsilon) n TOTAL_VARIATION)-DP with
/// these. It holds only where the source is secret ([`NoiseSource::SECRET`]).
///
/// # Algorithm
/// Uniform bits, comparisons and integer products. A proposal is x = 1024 hi + lo and a sign:
///
/// 1. hi = 0, 1, 2, ... with probability proportional to `exp(-(1024 hi)²/2^41)`, by inversion: 128
///    uniform bits against a table of the distribution function;
/// 2. lo uniform on 0..1024;
/// 3. accepted with probability `exp(-lo (2048 hi + lo)/2^41)`, which is above .987;
/// 4. a fair sign; minus zero is refused.
///
/// What is refused starts again from 1.
///
/// **With an exact hi and an exact step 3, the law is exact.** Every x >= 0 is 1024 hi + lo for one
/// pair, and since (1024 hi)² + lo (2048 hi + lo) = x², this pair is proposed and accepted with
/// probability proportional to
/// `exp(-(1024 hi)²/2^41) · 1/1024 · exp(-lo (2048 hi + lo)/2^41) = exp(-x²/2^41)/1024`.
/// The sign gives half of that to x and half to -x; of zero's halves one is refused. So every
/// integer x is returned from a round with probability c exp(-x²/2^41), with the same c, and rounds
/// are independent.
///
/// # Distance from exact
/// In units of 2^-128, with thresholds T(k) for P[hi <= k]:
///
/// - *The table.* It is computed once per process in integers with 256 fractional bits; each T(k)
///   is within 1/2 + 2^-59 of the exact value (derived at `Table::new`). They end where T(k) is
///   2^128, which leaves N < 13,500 of them. A mass is a difference of two neighbours, so the N
///   errors count twice in the sum of |P'(k) - P(k)|; that T(N) is 2^128 and that nothing lies
///   beyond it are wrong by as little. Half of the sum is at most (N + 1)(1/2 + 2^-59) < 6,751.
/// - *The acceptance.* Its probability is a multiple of 2^-128 within 16 of the exact one (derived
///   at `rejection`). The shortcuts before it decide as it would.
/// - *A round* is thus within 6,767 of an ideal one. Let both run on a coupling: a round that comes
///   differs with at most this probability, and 1/.98 ideal rounds are needed at most on average.
///   So a draw is within 6,906 of ideal, below 2^13: **2^-115 in total variation**.
///
/// # Cost
/// Two words of 64 bits per draw, and a two-thousandth more on average.
///
/// # Timing
/// How long a draw takes, and which lines of the table come into the cache, depends on what is
/// drawn. Whoever can measure single draws, or shares the processor's cache, learns something about
/// them (Jin et al., arXiv 2112.05307). Do not answer queries interactively to somebody with a
/// clock.
///
/// # Source
/// Karney, "Sampling exactly from the normal distribution", arXiv 1303.6257, for the split into a
/// coarse part, a uniform fine part and their correction; Canonne, Kamath, Steinke, arXiv
/// 2004.00010, for the guarantee and the refused minus zero. The table in the place of their
/// geometric part is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatticeGaussian;

impl LatticeGaussian {
    /// The scale, in steps of the lattice.
    pub const SIGMA: u32 = 1 << 20;

    /// The total variation distance between one draw and the ideal distribution, at most: 2^-115.
    /// [`LatticeGaussian`] has the derivation.
    pub const TOTAL_VARIATION: f64 = 1.0 / (1_u128 << 115) as f64;

    /// One draw; its absolute value is below 2^24.
    pub fn sample<S: NoiseSource + ?Sized>(source: &mut S) -> i64 {
        let table = table();
        loop {
            let words = [source.next_u64(), source.next_u64()];
            if let Some(draw) = propose(table, words, || source.next_u64()) {
                return draw;
            }
        }
    }

    /// Adds a draw of its own to each value; sums beyond the type's ends stay there.
    ///
    /// Bits are drawn in blocks, which generators make faster than single words, and the blocks are
    /// overwritten with zeros afterwards.
    pub fn add_to<S: NoiseSource + ?Sized>(values: &mut [i64], source: &mut S) {
        let table = table();
        let mut block = Zeroizing::new([0; BLOCK]);
        for values in values.chunks_mut(BLOCK / PROPOSAL) {
            let bytes = &mut block[..PROPOSAL * values.len()];
            source.fill(bytes);
            let (words, _) = bytes.as_chunks::<8>();
            let (pairs, _) = words.as_chunks::<2>();
            for (value, pair) in values.iter_mut().zip(pairs) {
                let words = pair.map(u64::from_le_bytes);
                let draw = match propose(table, words, || source.next_u64()) {
                    Some(draw) => draw,
                    None => Self::sample(source),
                };
                *value = value.saturating_add(draw);
            }
        }
    }

    /// [`add_to`](LatticeGaussian::add_to) on several threads.
    ///
    /// Each 65,536 values have a source of their own, [split](NoiseSource::split) off in their
    /// order, for any number of threads: with a source that can be made again, the result does not
    /// depend on it. Where the operating system gives fewer threads than asked for, those that
    /// there are do the work.
    ///
    /// # Errors
    /// What [`NoiseSource::split`] returns; the values are unchanged then.
    pub fn add_to_parallel<S: NoiseSource + Send>(
        values: &mut [i64],
        source: &mut S,
        threads: NonZero<usize>,
    ) -> Result<(), Error> {
        let chunks = values.len().div_ceil(CHUNK);
        let sources = (0..chunks).map(|_| source.split()).collect::<Result<Vec<S>, Error>>()?;
        let queue = Mutex::new(values.chunks_mut(CHUNK).zip(sources));
        // The lock's holder takes one pair and nothing else, so a poisoned one is whole too.
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some((values, mut source)) = next() {
                Self::add_to(values, &mut source);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.get().min(chunks) {
                // A thread that does not start leaves its share to the others.
                let _ = std::thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        Ok(())
    }
}

/// n for which `exp(-n/2^41)` is the probability that a proposal is accepted.
const fn argument(high: u64, low: u64) -> u64 {
    low * ((high << (LOW_BITS + 1)) + low)
}

/// One round: two words make a proposal, `more` decides what they leave open. None where it is
/// refused.
#[inline]
fn propose(table: &Table, [first, second]: [u64; 2], mut more: impl FnMut() -> u64) -> Option<i64> {
    let high = table.high(first, &mut more);
    let low = (second >> DECISION_BITS) & ((1 << LOW_BITS) - 1);
    let negative = second >> 63 == 1;
    let decision = second & ((1 << DECISION_BITS) - 1);

    // A uniform V in [0, 1) refuses where V < 1 - exp(-x), x = n/2^41. The decision is V's first
    // bits, so V is in [decision, decision + 1)/2^53. Since 1 - exp(-x) is at most x, most V accept
    // by a comparison.
    let n = argument(high, low);
    let small = decision < (n << (DECISION_BITS - DENOMINATOR_BITS));
    if small && refused(n, decision, more) {
        return None;
    }
    let magnitude = ((high << LOW_BITS) | low) as i64;
    // Zero has one sign: with both, it would come twice as often.
    if negative && magnitude == 0 {
        return None;
    }
    Some(if negative { -magnitude } else { magnitude })
}

/// Whether V < 1 - exp(-n/2^41), where V's first bits are `decision` and `more` has the others.
#[cold]
fn refused(n: u64, decision: u64, mut more: impl FnMut() -> u64) -> bool {
    // 1 - exp(-x) >= x - x²/2, for all of V's interval, times 2^83.
    let wide = u128::from(n);
    if (u128::from(decision + 1) << 30) <= (wide << 42) - wide * wide {
        return true;
    }
    let rest = (u128::from(more()) << 11) | u128::from(more() >> 53);
    ((u128::from(decision) << 75) | rest) < rejection(n)
}

/// 1 - exp(-n/2^41) in units of 2^-128, within 16 of them, for `n` below 2^35.
///
/// The series x - x²/2 + x³/6 - ..., x below 2^-6. The first term is exact. Each next one is the
/// term before times x/(j + 1), rounded down: too small by at most 1 and what the error before it
/// shrank to, so by less than 1.01. The 14th or an earlier one is the last that is not 0, and what
/// follows an alternating series' last term is less than the first term that is left out, which is
/// below 1.01 as well. Errors of odd and of even terms have opposite signs: less than 9 in all.
fn rejection(n: u64) -> u128 {
    let n = u128::from(n);
    let mut term = n << (128 - DENOMINATOR_BITS);
    let mut sum = 0;
    let mut j = 1;
    while term > 0 {
        // Terms fall, so no partial sum is below 0.
        sum = if j % 2 == 1 { sum + term } else { sum - term };
        j += 1;
        // floor(term · n/2^41) in two halves: the product may have 157 bits.
        let (high, low) = (term >> 64, term & u128::from(u64::MAX));
        term = (((high * n) << (64 - DENOMINATOR_BITS)) + ((low * n) >> DENOMINATOR_BITS)) / j;
    }
    sum
}

/// The thresholds of the high part, in units of 2^-128: high is k where a uniform number of 128
/// bits is below threshold k, and not below an earlier one.
struct Table {
    /// The thresholds' upper 64 bits: all that most draws need, and half as much to keep in cache.
    /// Those that round to 2^128 are left out.
    upper: Vec<u64>,
    /// Their lower 64 bits.
    lower: Vec<u64>,
    /// For each value of a uniform number's first [`GUIDE_BITS`], and one beyond: how many
    /// thresholds' upper halves are below all numbers that start so.
    guide: Vec<u16>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(Table::new)
}

impl Table {
    /// Thresholds T(k) within 1/2 + 2^-59 of 2^128 P[hi <= k].
    ///
    /// Weights w(k) = exp(-k²/2^21) by w(k+1) = w(k) r(k), r(k+1) = r(k) s, where r(0) =
    /// exp(-1/2^21) and s = r(0)². Errors, in units u of 2^-256, every product being rounded down:
    ///
    /// - r(0): a dozen terms of an alternating series, each rounded down: 8 u. s: 2·8 + 1, and less
    ///   than 1 for the product of errors: 18 u.
    /// - All are at most 1, so r(k+1)'s error is at most r(k)'s + 18 + 1: r(k)'s is at most
    ///   19 (k + 1).
    /// - w(k+1)'s is at most w(k)'s + 19 (k + 1) + 1: w(k)'s is at most 10 k (k + 1), below 2^32 u
    ///   for k up to 2^14.
    /// - Sums of up to 2^14 + 1 weights: 2^47 u.
    /// - The sum S of all lacks those beyond k = 2^14: at most exp(-128) times a geometric series
    ///   of ratio exp(-2^-6), below 2^-178, or 2^78 u.
    ///
    /// With C(k) a sum up to k, C/S is wrong by at most (|error of C| + |error of S|)/S, where S is
    /// above 2^10: below 2^-187, so 2^-59 in units of 2^-128. Rounding to an integer adds 1/2.
    fn new() -> Self {
        let one = BigUint::from(1_u8) << PLACES;
        let mut term = one.clone();
        let (mut positive, mut negative) = (one.clone(), BigUint::ZERO);
        for j in 1_u32..=12 {
            // Floor of a floor: as if 2^256/(2^21j j!) were rounded down once.
            term = (term >> 21_u32) / j;
            if j % 2 == 0 { positive += &term } else { negative += &term }
        }
        let mut ratio = positive - negative;
        let step = (&ratio * &ratio) >> PLACES;

        let mut weight = one;
        let mut sum = BigUint::ZERO;
        let mut sums = Vec::with_capacity(LAST as usize + 1);
        for _ in 0..=LAST {
            sum += &weight;
            sums.push(sum.clone());
            weight = (weight * &ratio) >> PLACES;
            ratio = (ratio * &step) >> PLACES;
        }
        // What rounds to 2^128 has no u128.
        let rounded = |part: BigUint| u128::try_from(((part << 129_u32) + &sum) / (&sum << 1_u32)).ok();
        Self::of_thresholds(&sums.into_iter().map_while(rounded).collect::<Vec<u128>>())
    }

    fn of_thresholds(thresholds: &[u128]) -> Self {
        let upper: Vec<u64> = thresholds.iter().map(|threshold| (threshold >> 64) as u64).collect();
        let lower = thresholds.iter().map(|threshold| *threshold as u64).collect();
        let below = |cell: u64| upper.partition_point(|half| half >> (64 - GUIDE_BITS) < cell) as u16;
        let guide = (0..=1 << GUIDE_BITS).map(below).collect();
        Self { upper, lower, guide }
    }

    /// The high part for a number whose first 64 bits are `first`; the others are drawn where it
    /// depends on them.
    #[inline]
    fn high(&self, first: u64, more: impl FnMut() -> u64) -> u64 {
        let cell = (first >> (64 - GUIDE_BITS)) as usize;
        let (from, until) = (usize::from(self.guide[cell]), usize::from(self.guide[cell + 1]));
        // How many upper halves are below `first`: those before `from` are, those from `until` on
        // are not. Cells with one threshold or none are the most frequent by far.
        let k = if until - from <= 1 {
            from + usize::from(self.upper.get(from).is_some_and(|half| *half < first))
        } else {
            from + self.upper[from..until].partition_point(|half| *half < first)
        };
        if self.upper.get(k) == Some(&first) { self.high_of_tie(first, k, more) } else { k as u64 }
    }

    /// From `k`, whose upper half is `first`, on: by the lower halves.
    #[cold]
    fn high_of_tie(&self, first: u64, k: usize, mut more: impl FnMut() -> u64) -> u64 {
        let second = more();
        let thresholds = self.upper[k..].iter().zip(&self.lower[k..]);
        // Far out, many thresholds share an upper half.
        let passed = thresholds.take_while(|(upper, lower)| **upper == first && **lower <= second);
        (k + passed.count()) as u64
    }
}

#[cfg(test)]
mod tests {
    use dp_noise_testing::{TestNoise, chi_square};
    use num_bigint::BigInt;
    use proptest::prelude::*;

    use super::*;

    /// exp(-1/2^41) and the like, twice as fine as the table: 2^512/exp(n/2^bits), by the series
    /// without alternating signs.
    fn exp_of_minus(n: u64, bits: u32) -> BigInt {
        let mut term = BigInt::from(1) << 768_u32;
        let mut sum = BigInt::ZERO;
        let mut j = 1;
        while term > BigInt::ZERO {
            sum += &term;
            term = ((term * n) >> bits) / j;
            j += 1;
        }
        (BigInt::from(1) << 1280_u32) / sum
    }

    fn thresholds() -> Vec<u128> {
        let both = table().upper.iter().zip(&table().lower);
        both.map(|(upper, lower)| (u128::from(*upper) << 64) | u128::from(*lower)).collect()
    }

    #[test]
    fn the_table_never_falls_and_ends_at_1() {
        let thresholds = thresholds();
        assert!(thresholds.is_sorted());
        // The last one is nearly 1; beyond it are those that are 1.
        assert!(u128::MAX - thresholds[thresholds.len() - 1] <= 1);
        assert!(thresholds.len() < 13_500);
        // A proposal of the first high part is the most probable one; its weight is 1 of the sum,
        // and that is theta/2 + 1/2, where theta = 1024 sqrt(2 pi) (Poisson's summation formula).
        let sum = 0.5 + 512.0 * (2.0 * std::f64::consts::PI).sqrt();
        assert!((thresholds[0] as f64 / 2f64.powi(128) * sum - 1.0).abs() < 1e-14);
    }

    /// The weights as powers, with 512 bits, and four thousand more of them than the table has.
    #[test]
    fn every_threshold_is_as_near_as_its_bound_says() {
        let base = exp_of_minus(1, 21);
        let power = |exponent: u32| {
            let mut result = BigInt::from(1) << 512_u32;
            for bit in (0..u32::BITS - exponent.leading_zeros()).rev() {
                result = (&result * &result) >> 512_u32;
                if exponent >> bit & 1 == 1 {
                    result = (result * &base) >> 512_u32;
                }
            }
            result
        };
        let mut sum = BigInt::ZERO;
        let sums: Vec<BigInt> = (0..LAST + (4 << LOW_BITS))
            .map(|k| {
                sum += power(k * k);
                sum.clone()
            })
            .collect();
        let one = BigInt::from(1) << 128_u32;
        let thresholds = thresholds();
        let beyond = sums.len() - thresholds.len();
        let all = thresholds.into_iter().map(BigInt::from).chain(std::iter::repeat_n(one, beyond));
        // |T - 2^128 C/S| <= 1/2 + 2^-59, times 2^59 S.
        let allowed = ((BigInt::from(1) << 58_u32) + 1) * &sum;
        for (k, (threshold, part)) in all.zip(&sums).enumerate() {
            let error: BigInt = threshold * &sum - (part << 128_u32);
            let error = BigInt::from(error.magnitude().clone()) << 59_u32;
            assert!(error <= allowed, "threshold {k}");
        }
    }

    /// The sum in [`LatticeGaussian`]'s documentation.
    #[test]
    fn the_total_variation_covers_its_parts() {
        let n = table().upper.len() as f64;
        let round = (n + 1.0) * (0.5 + 2f64.powi(-59)) + 16.0;
        let accepted = libm::exp(-(argument(table().upper.len() as u64, 1023) as f64) / 2f64.powi(41));
        assert!(accepted > 0.987);
        let zero = 0.5 / 1024.0 * table().upper[0] as f64 / 2f64.powi(64);
        assert!(accepted * (1.0 - zero) > 0.98);
        assert!(round / 0.98 * 2f64.powi(-128) < LatticeGaussian::TOTAL_VARIATION);
        assert!((LatticeGaussian::TOTAL_VARIATION * 2f64.powi(115) - 1.0).abs() < f64::EPSILON);
    }

    /// `propose` with a script for what the two words leave open, and how much of it was read.
    fn scripted(words: [u64; 2], script: &[u64]) -> (Option<i64>, usize) {
        let mut used = 0;
        let draw = propose(table(), words, || {
            used += 1;
            script[used - 1]
        });
        (draw, used)
    }

    /// A second word: plus, low, V's first bits so large that all is accepted.
    fn plus(low: u64) -> u64 {
        (low << DECISION_BITS) | ((1 << DECISION_BITS) - 1)
    }

    /// A first word that says `high` without more bits, and the numbers for which there is none.
    fn first_for(high: usize) -> Option<u64> {
        let from = if high == 0 { 0 } else { table().upper[high - 1].checked_add(1)? };
        (from < table().upper[high]).then_some(from)
    }

    #[test]
    fn the_first_64_bits_decide_unless_they_are_a_threshold_s() {
        for high in [0, 1, 2, 511, 1024, 4000, 6000] {
            let (upper, lower) = (table().upper[high], table().lower[high]);
            let x = (high as i64) << LOW_BITS;
            assert_eq!(scripted([upper - 1, plus(3)], &[]), (Some(x + 3), 0));
            assert_eq!(scripted([upper + 1, plus(3)], &[]), (Some(x + 1024 + 3), 0));
            assert_eq!(scripted([upper, plus(3)], &[lower - 1]), (Some(x + 3), 1));
            assert_eq!(scripted([upper, plus(3)], &[lower]), (Some(x + 1024 + 3), 1));
            assert_eq!(scripted([upper, plus(3)], &[u64::MAX]), (Some(x + 1024 + 3), 1));
        }
        assert_eq!(scripted([0, plus(0)], &[]), (Some(0), 0));
    }

    #[test]
    fn far_out_many_high_parts_share_their_first_64_bits() {
        let last = table().upper.len();
        let shared = table().upper.partition_point(|upper| *upper < u64::MAX);
        assert!(last - shared > 1000, "{shared} of {last}");
        for high in shared..last {
            let (lower, before) = (table().lower[high], table().lower[high - 1]);
            // Where two thresholds are one, no number is between them.
            if high == shared || lower > before {
                let x = (high as i64) << LOW_BITS;
                assert_eq!(scripted([u64::MAX, plus(0)], &[lower - 1]), (Some(x), 1));
            }
        }
        assert_eq!(scripted([u64::MAX, plus(0)], &[u64::MAX]), (Some((last as i64) << LOW_BITS), 1));
    }

    #[test]
    fn minus_zero_is_refused() {
        let minus = 1 << 63;
        assert_eq!(scripted([0, plus(0)], &[]), (Some(0), 0));
        assert_eq!(scripted([0, plus(0) | minus], &[]), (None, 0));
        assert_eq!(scripted([0, plus(1) | minus], &[]), (Some(-1), 0));
        let first = first_for(1).unwrap();
        assert_eq!(scripted([first, plus(0) | minus], &[]), (Some(-1024), 0));
    }

    /// A proposal is accepted exactly where V >= R, whatever shortcut is taken, and V's 128 bits
    /// are drawn only where they are needed.
    #[test]
    fn shortcuts_decide_as_all_bits_would() {
        for (high, low) in [(0, 1), (0, 1023), (1, 1), (700, 512), (3000, 1), (6000, 1023)] {
            let first = first_for(high).unwrap();
            let n = argument(high as u64, low);
            let r = rejection(n);
            let decide = |v: u128| {
                let second = (low << DECISION_BITS) | (v >> 75) as u64;
                // What the last word has below V's bits must not matter.
                let script = [(v >> 11) as u64, ((v as u64) << 53) | 0x1234];
                let (draw, used) = scripted([first, second], &script);
                assert!(draw.is_none_or(|draw| draw as u64 == 1024 * high as u64 + low));
                (draw.is_some(), used)
            };
            assert_eq!(decide(r), (true, 2), "{high} {low}");
            assert_eq!(decide(r - 1), (false, 2), "{high} {low}");
            assert_eq!(decide(u128::MAX), (true, 0));
            // From x on, by the first bits; just below it, by all.
            let x = u128::from(n) << 87;
            assert_eq!(decide(x), (true, 0));
            assert_eq!(decide(x - 1), (true, 2));
            if n > 1 << 20 {
                assert_eq!(decide(0), (false, 0));
            }
        }
    }

    proptest! {
        /// Also the shortcuts' own bounds: x - x²/2 < 1 - exp(-x) < x.
        #[test]
        fn a_rejection_is_as_near_as_its_bound_says(n in 1_u64..1 << 35, shift in 0_u32..35) {
            for n in [(n >> shift).max(1), 1, (1 << 35) - 1] {
                let r = rejection(n);
                let error = (BigInt::from(1) << 512_u32) - exp_of_minus(n, 41) - (BigInt::from(r) << 384_u32);
                prop_assert!(error.magnitude() < &(BigUint::from(16_u8) << 384_u32), "{n}");
                let wide = u128::from(n);
                prop_assert!(r < wide << 87 && r > ((wide << 42) - wide * wide) << 45);
            }
        }

        #[test]
        fn the_guide_leads_to_where_a_search_does(first: u64, second: u64, shift in 0_u32..64) {
            for first in [first, first >> shift, u64::MAX - (first >> shift)] {
                let number = (u128::from(first) << 64) | u128::from(second);
                let expected = thresholds().partition_point(|threshold| *threshold <= number);
                prop_assert_eq!(table().high(first, || second), expected as u64);
            }
        }
    }

    /// Of the draws with high part 0, all from -1023 to 1023 are equally probable within a
    /// millionth. With both zeros, zero would come twice as often.
    ///
    /// False alarms, for a fresh seed: 1e-6.
    #[test]
    fn zero_is_as_probable_as_its_neighbours() {
        const CRITICAL: (usize, f64) = (2046, 2_364.592_064_982_97); // chi2.isf(1e-6, 2046)
        let mut source = TestNoise::new(500);
        let mut word = move || {
            let mut bytes = [0; 8];
            source.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        };
        let mut observed = vec![0; 2047];
        let mut draws = 0;
        while draws < 400 * 2047 {
            let second = word();
            if let Some(draw) = propose(table(), [0, second], &mut word) {
                observed[(draw + 1023) as usize] += 1;
                draws += 1;
            }
        }
        let test = chi_square(&observed, &[400.0; 2047]);
        assert_eq!(test.degrees, CRITICAL.0);
        assert!(test.statistic < CRITICAL.1, "{test:?}");
    }

    /// Far out, where one in a hundred is refused.
    ///
    /// False alarms, for a fresh seed: 1e-6 per case.
    #[test]
    fn proposals_are_accepted_as_often_as_they_should() {
        const CRITICAL: f64 = 23.928_126_976_934_83; // chi2.isf(1e-6, 1)
        const PROPOSALS: u64 = 1_000_000;
        let mut source = TestNoise::new(501);
        let mut word = move || {
            let mut bytes = [0; 8];
            source.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        };
        for (high, low) in [(6000, 1023), (6000, 200), (3000, 700)] {
            let first = first_for(high as usize).unwrap();
            let mut accepted = 0;
            for _ in 0..PROPOSALS {
                let second = (word() & !(1023 << DECISION_BITS)) | (low << DECISION_BITS);
                accepted += u64::from(propose(table(), [first, second], &mut word).is_some());
            }
            let expected = PROPOSALS as f64 * libm::exp(-(argument(high, low) as f64) / 2f64.powi(41));
            let (observed, means) =
                ([accepted, PROPOSALS - accepted], [expected, PROPOSALS as f64 - expected]);
            let test = chi_square(&observed, &means);
            assert_eq!(test.degrees, 1);
            assert!(test.statistic < CRITICAL, "{high} {low}: {accepted} of {expected}");
        }
    }
}
