//! Where samplers draw their bits from.

use std::num::NonZero;

use crate::Error;

/// A stream of uniform, independent bits that noise is made of.
pub trait NoiseSource {
    /// Whether nobody can know the bits or make them again. An implementation vouches for this,
    /// nothing checks it. Noise hides something only where it is true; code that releases results
    /// should refuse a source where it is false, or say in its report that there is no guarantee.
    const SECRET: bool;

    /// Writes the next bits of the stream over all of `bytes`. It cannot fail: what can go wrong
    /// has to go wrong when the source is made.
    fn fill(&mut self, bytes: &mut [u8]);

    /// Another source, whose bits are independent of this one's and of those of every other that
    /// was split off: for another thread. It is secret where this one is. A source for tests whose
    /// bits can be made again makes the same ones again out of the same splits.
    ///
    /// # Errors
    /// What can go wrong where a source is made.
    fn split(&mut self) -> Result<Self, Error>
    where
        Self: Sized;

    /// The next 8 bytes as a number, little-endian on every machine.
    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A uniform number in `0..n`, each exactly as probable as any other.
    ///
    /// It draws as many bits as `n - 1` has and starts again while they make a number that is too
    /// large: fewer than two rounds on average. A remainder, the shorter way, would prefer small
    /// numbers. For `n = 1` nothing is drawn.
    fn below(&mut self, n: NonZero<u128>) -> u128 {
        let largest = n.get() - 1;
        if largest == 0 {
            return 0;
        }
        // A shift by all bits of the type cannot happen: `largest` has one bit at least.
        if let Ok(largest) = u64::try_from(largest) {
            loop {
                let draw = self.next_u64() >> largest.leading_zeros();
                if draw <= largest {
                    return draw.into();
                }
            }
        }
        loop {
            let (low, high) = (self.next_u64(), self.next_u64());
            let draw = ((u128::from(high) << 64) | u128::from(low)) >> largest.leading_zeros();
            if draw <= largest {
                return draw;
            }
        }
    }
}
