//! Exact biased coins, and the Poisson sampling that is made of them.

use std::num::NonZero;

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

/// Who takes part in a step, and a random number for each of them.
///
/// # Guarantee
/// All of it is private: with it, an attacker sees the step without its sampling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    rows: Vec<usize>,
    places: Vec<u32>,
}

impl Sample {
    /// Indices of records, each with its random number.
    pub fn new(members: impl IntoIterator<Item = (usize, u32)>) -> Self {
        let (rows, places) = members.into_iter().unzip();
        Self { rows, places }
    }

    /// Indices of the records, ascending.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The records' random numbers.
    pub fn places(&self) -> &[u32] {
        &self.places
    }

    /// The records in `count` groups, of about the same size, each ascending; some may be empty.
    ///
    /// A record goes where its own random number says, so that one that comes or goes changes its
    /// own group and leaves all others as they are. What is summed within a group in floating-point
    /// numbers, whose sums depend on who stands beside whom, is rounded in one group alone.
    pub fn groups(&self, count: NonZero<usize>) -> Vec<Vec<usize>> {
        let mut groups = vec![Vec::new(); count.get()];
        for (row, place) in self.rows.iter().zip(&self.places) {
            let group = (u128::from(*place) * count.get() as u128) >> u32::BITS;
            groups[group as usize].push(*row);
        }
        groups
    }
}

/// Which of `records` take part, each with probability `q`, independently of the others.
pub fn poisson_sample<S: NoiseSource + ?Sized>(records: usize, q: f64, source: &mut S) -> Sample {
    let rows: Vec<usize> = (0..records).filter(|_| coin(q, source)).collect();
    let places = rows.iter().map(|_| (source.next_u64() >> u32::BITS) as u32).collect();
    Sample { rows, places }
}
