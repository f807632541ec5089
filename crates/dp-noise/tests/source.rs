//! Uniform numbers out of bits.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

use std::num::NonZero;

use dp_noise::NoiseSource as _;
use dp_noise_testing::{Scripted, TestNoise, chi_square};
use proptest::prelude::*;

fn n(n: u128) -> NonZero<u128> {
    NonZero::new(n).unwrap()
}

#[test]
fn words_are_little_endian() {
    assert_eq!(Scripted::new([1, 2, 0, 0, 0, 0, 0, 128]).next_u64(), 0x8000_0000_0000_0201);
}

#[test]
fn a_number_that_is_too_large_is_drawn_again() {
    // 0..3 takes the two highest bits; 3 does not fit.
    let mut script = Scripted::words(&[3 << 62, 3 << 62 | 5, 2 << 62, 1 << 62, 0]);
    assert_eq!([script.below(n(3)), script.below(n(3)), script.below(n(3))], [2, 1, 0]);
    assert_eq!(script.left(), 0);
}

#[test]
fn wide_numbers_take_two_words_the_low_one_first() {
    let most = 1_u128 << 127;
    let mut script = Scripted::words(&[9, u64::MAX, 9, 1 << 63]);
    // 2^127 + 1 numbers: 128 bits, nearly half of all draws do not fit.
    assert_eq!(script.below(n(most + 10)), most + 9);
    assert_eq!(script.left(), 0);
    // From 2^64 + 1 numbers on; 65 bits.
    let mut script = Scripted::words(&[0, 1 << 63, 0, 1 << 62]);
    assert_eq!(script.below(n((1 << 64) + 1)), 1 << 64);
    assert_eq!(script.left(), 16);
    // 2^64 numbers are one whole word.
    assert_eq!(Scripted::words(&[u64::MAX]).below(n(1 << 64)), u64::MAX.into());
}

#[test]
fn one_number_needs_no_bits() {
    assert_eq!(Scripted::new([]).below(n(1)), 0);
}

/// False alarms, for a fresh seed: 1e-6 per case.
#[test]
fn every_number_is_equally_probable() {
    const DRAWS: u32 = 300_000;
    // (what a cell is wide, cells, chi2.isf(1e-6, cells - 1)); the last ones are beyond 64 bits.
    for (width, cells, critical) in [
        (1, 3, 27.631_021_115_928_547),
        (1, 10, 44.810_937_870_687_81),
        (1 << 62, 3, 27.631_021_115_928_547),
        (1 << 64, 10, 44.810_937_870_687_81),
        (1 << 80, 3, 27.631_021_115_928_547),
    ] {
        let mut source = TestNoise::new(11);
        let mut observed = vec![0; cells];
        for _ in 0..DRAWS {
            observed[(source.below(n(width * cells as u128)) / width) as usize] += 1;
        }
        let test = chi_square(&observed, &vec![f64::from(DRAWS) / cells as f64; cells]);
        assert_eq!(test.degrees, cells - 1);
        assert!(test.statistic < critical, "{cells} cells of {width}: {observed:?}");
    }
}

proptest! {
    #[test]
    fn a_number_is_below_its_bound(bound in 1..=u128::MAX, shift in 0_u32..128, seed: u64) {
        let bound = n((bound >> shift).max(1));
        let mut source = TestNoise::new(seed);
        for _ in 0..20 {
            prop_assert!(source.below(bound) < bound.get());
        }
    }
}
