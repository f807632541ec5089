//! Whether the fast sampler's draws have the distribution that the formula says.
//!
//! The seeds are fixed, so a test that passes once passes always. Were they fresh, each test would
//! raise a false alarm with the probability written beside it. What these numbers of draws cannot
//! see, such as the correction inside a step of 1024, is shown exactly beside the code.

use std::num::NonZero;
use std::sync::LazyLock;

use dp_noise::{Error, LatticeGaussian, NoiseSource, SystemNoise};
use dp_noise_testing::{Scripted, TestNoise, chi_square};

const DRAWS: usize = 1 << 22;
const SIGMA: f64 = LatticeGaussian::SIGMA as f64;
const CHUNK: usize = 1 << 16;

static VALUES: LazyLock<Vec<i64>> = LazyLock::new(|| {
    let mut values = vec![0; DRAWS];
    LatticeGaussian::add_to(&mut values, &mut TestNoise::new(600));
    values
});

/// P[X <= x - 1/2] of the continuous distribution. The mass between two half-integers is that of
/// the integers between them within 1e-12 of itself: the density is flat at this scale.
fn below(x: i64) -> f64 {
    0.5 * libm::erfc(-(x as f64 - 0.5) / (SIGMA * std::f64::consts::SQRT_2))
}

/// Chi-square of `draws` in cells of a quarter sigma, out to where nothing is.
fn in_quarters(draws: &[i64]) -> dp_noise_testing::ChiSquare {
    let width = i64::from(LatticeGaussian::SIGMA / 4);
    let cells = 4 * 14; // to each side
    let mut counts = vec![0; 2 * cells as usize];
    for draw in draws {
        counts[(draw.div_euclid(width) + cells) as usize] += 1;
    }
    let mass = |cell: i64| below((cell + 1) * width) - below(cell * width);
    let expected: Vec<f64> = (-cells..cells).map(|cell| draws.len() as f64 * mass(cell)).collect();
    chi_square(&counts, &expected)
}

/// False alarms, for a fresh seed: 1e-6.
#[test]
fn draws_have_the_probabilities_of_the_formula() {
    const CRITICAL: (usize, f64) = (37, 93.050_550_516_397); // chi2.isf(1e-6, 37)
    let test = in_quarters(&VALUES);
    assert_eq!(test.degrees, CRITICAL.0);
    assert!(test.statistic < CRITICAL.1, "{test:?}");
}

/// Not with a fixed seed: the generator that ships, with keys that nobody knows.
///
/// False alarms: 1e-9 per run.
#[test]
fn draws_from_the_system_have_the_probabilities_of_the_formula() {
    const CRITICAL: (usize, f64) = (37, 113.684_686_925_782); // chi2.isf(1e-9, 37)
    let mut values = vec![0; DRAWS];
    let threads = NonZero::new(2).unwrap();
    LatticeGaussian::add_to_parallel(&mut values, &mut SystemNoise::new().unwrap(), threads).unwrap();
    let test = in_quarters(&values);
    assert_eq!(test.degrees, CRITICAL.0);
    assert!(test.statistic < CRITICAL.1, "{test:?}");
}

/// A cell for each entry of the table, but for the rare ones.
///
/// False alarms, for a fresh seed: 1e-6.
#[test]
fn every_entry_of_the_table_is_met_as_often_as_it_should() {
    const CRITICAL: (usize, f64) = (3701, 4_124.450_502_550_264); // chi2.isf(1e-6, 3701)
    let mut counts = vec![0; 14 << 10];
    for draw in &*VALUES {
        counts[(draw.unsigned_abs() >> 10) as usize] += 1;
    }
    // Both sides; of zero, which has one, half is counted with each.
    let mass = |high: i64| {
        let from = if high == 0 { 0.5 } else { below(high << 10) };
        2.0 * (below((high + 1) << 10) - from)
    };
    let expected: Vec<f64> = (0..14 << 10).map(|high| DRAWS as f64 * mass(high)).collect();
    let test = chi_square(&counts, &expected);
    assert_eq!(test.degrees, CRITICAL.0);
    assert!(test.statistic < CRITICAL.1, "{test:?}");
}

/// The low part is nearly uniform: its exact distribution, by summation.
///
/// False alarms, for a fresh seed: 1e-6.
#[test]
fn low_parts_have_the_probabilities_of_the_formula() {
    const CRITICAL: (usize, f64) = (1023, 1_252.581_285_483_884); // chi2.isf(1e-6, 1023)
    let mut counts = vec![0; 1024];
    for draw in &*VALUES {
        counts[(draw.unsigned_abs() & 1023) as usize] += 1;
    }
    let scale = DRAWS as f64 / (SIGMA * (2.0 * std::f64::consts::PI).sqrt());
    let weight = |x: u32| scale * libm::exp(-0.5 * (f64::from(x) / SIGMA).powi(2));
    let low = |low: u32| {
        let sides = (0..8 << 10).map(|high| 2.0 * weight(1024 * high + low)).sum::<f64>();
        if low == 0 { sides - weight(0) } else { sides }
    };
    let test = chi_square(&counts, &(0..1024).map(low).collect::<Vec<f64>>());
    assert_eq!(test.degrees, CRITICAL.0);
    assert!(test.statistic < CRITICAL.1, "{test:?}");
}

/// False alarms, for a fresh seed: 1e-6 per moment and side.
#[test]
fn mean_variance_sides_and_tails_are_those_of_the_formula() {
    const Z: f64 = 4.891_638_475_698_591; // norm.isf(5e-7), to both sides
    let n = DRAWS as f64;
    let mean = VALUES.iter().sum::<i64>() as f64 / n / SIGMA;
    assert!(mean.abs() < Z / n.sqrt(), "{mean}");
    // The variance is sigma², to 1e-12 of it and more; the square's is 2 sigma^4.
    let squares = VALUES.iter().map(|draw| (*draw as f64 / SIGMA).powi(2)).sum::<f64>() / n;
    assert!((squares - 1.0).abs() < Z * (2.0 / n).sqrt(), "{squares}");

    let binomial = |count: usize, p: f64, what: &str| {
        let error = (count as f64 - n * p) / (n * p * (1.0 - p)).sqrt();
        assert!(error.abs() < Z, "{what}: {count}, {error} standard deviations off");
    };
    let zero = 1.0 / (SIGMA * (2.0 * std::f64::consts::PI).sqrt());
    binomial(VALUES.iter().filter(|draw| **draw > 0).count(), 0.5 - 0.5 * zero, "above zero");
    binomial(VALUES.iter().filter(|draw| **draw < 0).count(), 0.5 - 0.5 * zero, "below zero");
    for sigmas in [2, 3, 4] {
        let edge = i64::from(sigmas * LatticeGaussian::SIGMA);
        let tail = VALUES.iter().filter(|draw| draw.abs() >= edge).count();
        binomial(tail, 2.0 * (1.0 - below(edge)), "tails");
    }
    let largest = VALUES.iter().map(|draw| draw.abs()).max();
    // Of 7.5 and 4.5 sigma. False alarms: 3e-7 and 1e-12.
    assert!(largest < Some(15 << 19) && largest > Some(9 << 19), "{largest:?}");
}

/// A source that says how much was read.
struct Counting(TestNoise, usize);

impl NoiseSource for Counting {
    const SECRET: bool = false;

    fn fill(&mut self, bytes: &mut [u8]) {
        self.1 += bytes.len();
        self.0.fill(bytes);
    }

    fn split(&mut self) -> Result<Self, Error> {
        Ok(Self(self.0.split()?, 0))
    }
}

/// One in 2,600 draws takes two more: 640 bytes of 1,600,000 here, with a standard deviation of
/// 100. False alarms, for a fresh seed: below 1e-30.
#[test]
fn a_draw_takes_two_words_and_hardly_ever_more() {
    let mut source = Counting(TestNoise::new(601), 0);
    LatticeGaussian::add_to(&mut vec![0; 100_000], &mut source);
    assert!((1_600_000..1_602_000).contains(&source.1), "{}", source.1);
    let mut source = Counting(TestNoise::new(602), 0);
    for _ in 0..100_000 {
        LatticeGaussian::sample(&mut source);
    }
    assert!((1_600_000..1_602_000).contains(&source.1), "{}", source.1);
}

/// Words as the documentation says: 64 bits for the high part; a sign, 10 bits, 53 bits.
#[test]
fn a_block_is_read_in_pairs_and_what_is_refused_is_drawn_afterwards() {
    let (plus, minus) = ((1 << 53) - 1, (1 << 63) | ((1 << 53) - 1));
    let low = |low: u64| low << 53;
    let pairs = [[0, plus | low(5)], [0, minus], [0, minus | low(7)]];
    let again = [[0, minus], [0, plus | low(1023)]];
    let words: Vec<u64> = pairs.iter().chain(&again).flatten().copied().collect();
    let mut script = Scripted::words(&words);
    let mut values = [100, 200, 300];
    LatticeGaussian::add_to(&mut values, &mut script);
    assert_eq!((values, script.left()), ([105, 200 + 1023, 293], 0));

    let mut script = Scripted::words(&[&words[2..4], &words[..2]].concat());
    assert_eq!((LatticeGaussian::sample(&mut script), script.left()), (5, 0));
    LatticeGaussian::add_to(&mut [], &mut Scripted::new([]));
}

#[test]
fn sums_stay_inside_of_their_type() {
    for (end, direction) in [(i64::MAX, 1), (i64::MIN, -1)] {
        let mut values = vec![end; 1000];
        LatticeGaussian::add_to(&mut values, &mut TestNoise::new(603));
        let stuck = values.iter().filter(|value| **value == end).count();
        assert!((400..600).contains(&stuck), "{stuck}"); // false alarms: 1e-9
        let inside = values.iter().filter(|value| (**value - end).signum() == -direction).count();
        assert_eq!(stuck + inside, 1000);
    }
}

#[test]
fn noise_does_not_depend_on_the_number_of_threads() {
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17] {
        let noise = |threads: usize| {
            let mut values: Vec<i64> = (0..length as i64).collect();
            let mut source = TestNoise::new(604);
            let threads = NonZero::new(threads).unwrap();
            LatticeGaussian::add_to_parallel(&mut values, &mut source, threads).unwrap();
            // What the parent draws next is the same, too.
            (values, source.next_u64())
        };
        let one = noise(1);
        assert!([2, 3, 64].into_iter().all(|threads| noise(threads) == one), "{length}");
        // Each chunk is what `add_to` makes of its own source.
        let mut source = TestNoise::new(604);
        let mut children: Vec<TestNoise> =
            (0..length.div_ceil(CHUNK)).map(|_| source.split().unwrap()).collect();
        let mut values: Vec<i64> = (0..length as i64).collect();
        for (chunk, child) in values.chunks_mut(CHUNK).zip(&mut children) {
            LatticeGaussian::add_to(chunk, child);
        }
        assert_eq!(one.0, values);
    }
}

#[test]
fn every_value_of_every_chunk_gets_noise_of_its_own() {
    let mut values = vec![0; 3 * CHUNK + 17];
    let threads = NonZero::new(2).unwrap();
    LatticeGaussian::add_to_parallel(&mut values, &mut TestNoise::new(605), threads).unwrap();
    // By chance: 0.07 zeros.
    assert!(values.iter().filter(|value| **value == 0).count() < 3);
    let chunks: Vec<&[i64]> = values.chunks(CHUNK).collect();
    for (i, chunk) in chunks.iter().enumerate() {
        // By chance, 3e-7 of the values are equal.
        let equal = |other: &&[i64]| chunk.iter().zip(*other).filter(|(a, b)| a == b).count() > 3;
        assert!(!chunks[..i].iter().any(equal), "chunk {i}");
    }
}

/// A source that cannot be split a second time.
struct Once(TestNoise, bool);

impl NoiseSource for Once {
    const SECRET: bool = false;

    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn split(&mut self) -> Result<Self, Error> {
        if std::mem::replace(&mut self.1, true) {
            return Err(Error::NoClasses);
        }
        Ok(Self(self.0.split()?, false))
    }
}

/// Half noised values would look like noised ones.
#[test]
fn without_a_source_for_every_chunk_nothing_is_changed() {
    let mut values = vec![0; 2 * CHUNK];
    let mut source = Once(TestNoise::new(606), false);
    assert!(LatticeGaussian::add_to_parallel(&mut values, &mut source, NonZero::<usize>::MIN).is_err());
    assert!(values.iter().all(|value| *value == 0));
}
