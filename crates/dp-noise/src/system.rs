//! Secret bits, keyed by the operating system.

use std::fmt;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng as _, SeedableRng as _};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{Error, NoiseSource};

/// Secret noise: ChaCha20 with a key of 32 bytes from the operating system, a new one for every
/// value of this type.
///
/// No constructor takes a seed, nothing gives the key away, and there is no way to copy, write or
/// read the state. Two values are independent, so threads and processes each make their own
/// ([`NoiseSource::split`] does).
///
/// # Forks
/// After a `fork` both processes would hold the same state and draw the same noise, and the
/// difference of two results with the same noise is a result without noise. So a value must not be
/// used on both sides: make it after the fork.
///
/// # Memory
/// The state and the block of output that was made ahead live in one place on the heap and are
/// overwritten with zeros on drop (`chacha20` with its feature `zeroize` does it: `ChaChaCore` for
/// the key and the counter, `BlockRng` through `Generator::drop` for the block; read in version
/// 0.10.2, and the compiler checks that the feature is on). The buffer that the key came in is
/// overwritten too. This is done as far as a library can: the copies that the compiler makes on the
/// stack and in registers while it builds and uses the generator are out of reach, as are swapped
/// pages, core dumps, and the draws once they were handed out. A process that is aborted drops
/// nothing.
pub struct SystemNoise {
    // On the heap, so that moving this value does not leave copies of the key behind.
    rng: Box<ChaCha20Rng>,
}

// Fails to compile without the feature that overwrites the state.
const _: fn() = || {
    fn overwritten<T: ZeroizeOnDrop>() {}
    overwritten::<ChaCha20Rng>();
};

impl SystemNoise {
    /// Asks the operating system for a key.
    ///
    /// # Errors
    /// [`Error::Entropy`] where it gives none.
    pub fn new() -> Result<Self, Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut_slice()).map_err(|source| Error::Entropy { source })?;
        Ok(Self { rng: Box::new(ChaCha20Rng::from_seed(*key)) })
    }
}

impl NoiseSource for SystemNoise {
    const SECRET: bool = true;

    fn fill(&mut self, bytes: &mut [u8]) {
        self.rng.fill_bytes(bytes);
    }

    /// A new value, with a fresh key from the operating system. A key out of this one's stream
    /// would hang on this one's secrecy, and a common key with another nonce would lose all of them
    /// at once; asking costs a microsecond.
    fn split(&mut self) -> Result<Self, Error> {
        Self::new()
    }

    fn next_u64(&mut self) -> u64 {
        self.rng.next_u64()
    }
}

impl fmt::Debug for SystemNoise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemNoise").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_values_draw_different_noise_and_so_do_two_draws() {
        let (mut one, mut other) = (SystemNoise::new().unwrap(), SystemNoise::new().unwrap());
        // By chance: 2^-256 for each pair.
        let mut blocks = [[0; 32]; 4];
        for (i, block) in blocks.iter_mut().enumerate() {
            if i % 2 == 0 { one.fill(block) } else { other.fill(block) }
        }
        for (i, block) in blocks.iter().enumerate() {
            assert!(!blocks[..i].contains(block), "block {i} was there before");
        }
    }

    #[test]
    fn what_is_split_off_draws_other_noise_and_leaves_the_stream_alone() {
        let same = || SystemNoise { rng: Box::new(ChaCha20Rng::from_seed([7; 32])) };
        let (mut whole, mut parent) = (same(), same());
        let mut children = [parent.split().unwrap(), parent.split().unwrap()];
        // By chance: 2^-128 for each pair.
        let words = [&mut parent].into_iter().chain(&mut children).map(|s| [s.next_u64(), s.next_u64()]);
        let words: Vec<[u64; 2]> = words.collect();
        assert!(words[0] != words[1] && words[0] != words[2] && words[1] != words[2]);
        assert_eq!(words[0], [whole.next_u64(), whole.next_u64()]);
    }

    #[test]
    fn nothing_can_seed_it() {
        // The type of the one constructor: no argument.
        let only: fn() -> Result<SystemNoise, Error> = SystemNoise::new;
        only().unwrap();
        const { assert!(SystemNoise::SECRET) };
    }

    #[test]
    fn it_cannot_be_copied() {
        // Two traits fit a type that is Clone, and then the compiler cannot choose: this would not
        // compile.
        trait Copies<Marker> {
            const NO: bool = true;
        }
        struct IfClone;
        impl<T: ?Sized> Copies<()> for T {}
        impl<T: Clone> Copies<IfClone> for T {}
        const { assert!(<SystemNoise as Copies<_>>::NO) };
    }

    #[test]
    fn its_debug_text_holds_no_state() {
        assert_eq!(format!("{:?}", SystemNoise::new().unwrap()), "SystemNoise { .. }");
    }

    #[test]
    fn words_are_the_bytes_of_the_stream() {
        // The same key twice, which only a test of the private field can have.
        let same = || SystemNoise { rng: Box::new(ChaCha20Rng::from_seed([7; 32])) };
        let (mut words, mut bytes) = (same(), same());
        let mut buffer = [0; 8];
        for _ in 0..100 {
            bytes.fill(&mut buffer);
            assert_eq!(words.next_u64(), u64::from_le_bytes(buffer));
        }
    }
}
