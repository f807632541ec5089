//! Exact biased coins, and the Poisson sampling that is made of them.

use crate::NoiseSource;

/// True with probability `q`, exactly: the number that `q` is, to its last bit, not one that is
/// near it.
///
/// `q` at and below 0, and what is no number, is never true; `q` from 1 on always.
///
/// Such coins choose which records take part in a step of DP-SGD. Which records did is as secret as
/// the noise, and so are the coins.
pub fn coin<S: NoiseSource + ?Sized>(q: f64, source: &mut S) -> bool {
    // 64 bits of q at a time, against 64 uniform ones. Products with 2^64 and differences from the
    // whole part are exact.
    let mut rest = q;
    while rest > 0.0 {
        if rest >= 1.0 {
            return true;
        }
        let scaled = rest * 18_446_744_073_709_551_616.0;
        let whole = scaled.floor();
        let draw = u128::from(source.next_u64());
        if draw != whole as u128 {
            return draw < whole as u128;
        }
        rest = scaled - whole;
    }
    false
}

/// Which of `records` take part, each with probability `q`, independently of the others: their
/// indices, ascending.
///
/// # Guarantee
/// The indices are private: with them, an attacker sees the step without its sampling.
pub fn poisson_sample<S: NoiseSource + ?Sized>(records: usize, q: f64, source: &mut S) -> Vec<usize> {
    (0..records).filter(|_| coin(q, source)).collect()
}
