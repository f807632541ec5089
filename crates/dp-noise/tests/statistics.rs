//! Whether draws and releases have the distributions that the formulas say.
//!
//! The seeds are fixed, so a test that passes once passes always. Were they fresh, each test would
//! raise a false alarm with the probability written beside it: `isf(1e-6, ...)` is exceeded once in
//! a million runs. These rates are those of the chi-square and normal limits; every pooled cell
//! expects 10 or more.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

use dp_noise::{DiscreteGaussian, MAX_SIGMA, NoiseSource, SystemNoise, gnmax, screen};
use dp_noise_testing::{TestNoise, chi_square};

const DRAWS: u64 = 200_000;

/// The exact distribution, by summation, on `-reach..=reach`.
struct Exact {
    reach: i64,
    /// Probabilities.
    mass: Vec<f64>,
    /// Probabilities of this much or less.
    below: Vec<f64>,
}

impl Exact {
    fn new(sigma: u32) -> Self {
        let reach = 13 * i64::from(sigma); // what lies beyond has probability 1e-38
        let weight = |x: i64| libm::exp(-((x * x) as f64) / (2.0 * f64::from(sigma).powi(2)));
        let total: f64 = (-reach..=reach).map(weight).sum();
        let mass: Vec<f64> = (-reach..=reach).map(|x| weight(x) / total).collect();
        let below = mass
            .iter()
            .scan(0.0, |sum, p| {
                *sum += p;
                Some(*sum)
            })
            .collect();
        Self { reach, mass, below }
    }

    fn support(&self) -> impl Iterator<Item = (i64, f64)> {
        (-self.reach..).zip(self.mass.iter().copied())
    }

    fn moment(&self, power: i32) -> f64 {
        self.support().map(|(x, p)| p * (x as f64).powi(power)).sum()
    }

    /// P[X <= x].
    fn at_most(&self, x: i64) -> f64 {
        if x < -self.reach { 0.0 } else { self.below[(x.min(self.reach) + self.reach) as usize] }
    }

    /// The distribution of the difference of two draws, from -2·reach.
    fn difference(&self) -> Vec<f64> {
        let mut mass = vec![0.0; 2 * self.mass.len() - 1];
        for (i, p) in self.mass.iter().enumerate() {
            for (j, q) in self.mass.iter().rev().enumerate() {
                mass[i + j] += p * q;
            }
        }
        mass
    }

    /// The probability of every answer of GNMax: the class sums to some number, the classes before
    /// it to less (they would keep a tie), those after it to no more.
    fn answers(&self, votes: &[u32]) -> Vec<f64> {
        let probability = |class: usize| -> f64 {
            let wins = |z: i64| -> f64 {
                let others = votes.iter().enumerate().filter(|(other, _)| *other != class);
                others
                    .map(|(other, count)| {
                        let gap = i64::from(votes[class]) - i64::from(*count);
                        self.at_most(gap + z - i64::from(other < class))
                    })
                    .product()
            };
            self.support().map(|(z, p)| p * wins(z)).sum()
        };
        (0..votes.len()).map(probability).collect()
    }

    /// The delta of one GNMax release at an epsilon. Its privacy loss is (w + 1)/sigma², where w is
    /// a difference of two draws.
    fn delta(&self, sigma: u32, epsilon: f64) -> f64 {
        let losses = (-2 * self.reach..).map(|w| (w + 1) as f64 / f64::from(sigma).powi(2));
        losses.zip(self.difference()).map(|(loss, p)| p * (1.0 - libm::exp(epsilon - loss)).max(0.0)).sum()
    }

    /// The smallest epsilon that a delta allows.
    fn epsilon(&self, sigma: u32, delta: f64) -> f64 {
        if self.delta(sigma, 0.0) <= delta {
            return 0.0;
        }
        let (mut low, mut high) = (0.0, 20.0);
        while high - low > 1e-6 {
            let middle = f64::midpoint(low, high);
            if self.delta(sigma, middle) > delta { low = middle } else { high = middle }
        }
        high
    }
}

fn noise(sigma: u32) -> DiscreteGaussian {
    DiscreteGaussian::new(sigma).unwrap()
}

/// Counts of draws at -reach..=reach.
fn histogram(sigma: u32, reach: i64, source: &mut impl NoiseSource) -> Vec<u64> {
    let noise = noise(sigma);
    let mut counts = vec![0; 2 * reach as usize + 1];
    for _ in 0..DRAWS {
        counts[(noise.sample(source) + reach) as usize] += 1;
    }
    counts
}

fn expected(probabilities: &[f64]) -> Vec<f64> {
    probabilities.iter().map(|p| p * DRAWS as f64).collect()
}

/// False alarms, for a fresh seed: 1e-6 per sigma.
#[test]
fn draws_have_the_probabilities_of_the_formula() {
    // (sigma, degrees of freedom, chi2.isf(1e-6, degrees))
    for (sigma, degrees, critical) in SIGMAS {
        let exact = Exact::new(sigma);
        let counts = histogram(sigma, exact.reach, &mut TestNoise::new(100 + u64::from(sigma)));
        let test = chi_square(&counts, &expected(&exact.mass));
        assert_eq!(test.degrees, degrees, "sigma {sigma}");
        assert!(test.statistic < critical, "sigma {sigma}: {test:?}");
    }
}

const SIGMAS: [(u32, usize, f64); 4] = [
    (1, 8, 42.700_913_926_544_27),
    (2, 16, 58.324_390_014_388_9),
    (4, 32, 85.231_550_717_098_9),
    (40, 276, 402.398_994_733_945_6),
];

/// With the largest sigma all products take more than 64 bits. Cells of a quarter sigma; within
/// 1e-12, their probabilities are those of the continuous distribution between half-integers.
///
/// False alarms, for a fresh seed: 1e-6.
#[test]
fn draws_of_the_largest_sigma_have_the_probabilities_of_the_formula() {
    const CRITICAL: (usize, f64) = (31, 83.642_515_847_004_5); // chi2.isf(1e-6, 31)
    let width = i64::from(MAX_SIGMA / 4);
    let cells = 4 * 13; // to each side
    let noise = noise(MAX_SIGMA);
    let mut source = TestNoise::new(120);
    let mut counts = vec![0; 2 * cells];
    for _ in 0..DRAWS {
        counts[(noise.sample(&mut source).div_euclid(width) + cells as i64) as usize] += 1;
    }
    let at_most = |x: f64| 0.5 * libm::erfc(-x / (f64::from(MAX_SIGMA) * std::f64::consts::SQRT_2));
    let cell = |i: i64| at_most(((i + 1) * width) as f64 - 0.5) - at_most((i * width) as f64 - 0.5);
    let probabilities: Vec<f64> = (-(cells as i64)..cells as i64).map(cell).collect();
    let test = chi_square(&counts, &expected(&probabilities));
    assert_eq!(test.degrees, CRITICAL.0);
    assert!(test.statistic < CRITICAL.1, "{test:?}");
}

/// The variance is below sigma² (by 2e-7 where sigma is 1), so it is summed, not assumed.
///
/// False alarms, for a fresh seed: 1e-6 per sigma and moment.
#[test]
fn mean_and_variance_are_those_of_the_formula() {
    const Z: f64 = 4.891_638_475_698_591; // norm.isf(5e-7), to both sides
    for (sigma, ..) in SIGMAS {
        let exact = Exact::new(sigma);
        let (variance, fourth) = (exact.moment(2), exact.moment(4));
        assert!(variance < f64::from(sigma).powi(2) * (1.0 + 1e-12));
        assert!(variance > f64::from(sigma).powi(2) * (1.0 - 1e-6));

        let (noise, mut source) = (noise(sigma), TestNoise::new(200 + u64::from(sigma)));
        let (mut sum, mut squares) = (0, 0);
        for _ in 0..DRAWS {
            let draw = noise.sample(&mut source);
            sum += draw;
            squares += draw * draw;
        }
        let n = DRAWS as f64;
        let mean_error = sum as f64 / n;
        assert!(mean_error.abs() < Z * (variance / n).sqrt(), "sigma {sigma}: the mean is {mean_error}");
        let error = squares as f64 / n - variance;
        let allowed = Z * ((fourth - variance.powi(2)) / n).sqrt();
        assert!(error.abs() < allowed, "sigma {sigma}: the variance is {error} from {variance}");
    }
}

/// Not with a fixed seed: the generator that ships, with a key that nobody knows.
///
/// False alarms: 1e-9 per run.
#[test]
fn draws_from_the_system_have_the_probabilities_of_the_formula() {
    const CRITICAL: (usize, f64) = (32, 105.173_923_347_221); // chi2.isf(1e-9, 32)
    let exact = Exact::new(4);
    let counts = histogram(4, exact.reach, &mut SystemNoise::new().unwrap());
    let test = chi_square(&counts, &expected(&exact.mass));
    assert_eq!(test.degrees, CRITICAL.0);
    assert!(test.statistic < CRITICAL.1, "{test:?}");
}

/// How often GNMax gave each class.
fn answers(sigma: u32, votes: &[u32], source: &mut TestNoise) -> Vec<u64> {
    let noise = noise(sigma);
    let mut counts = vec![0; votes.len()];
    for _ in 0..DRAWS {
        counts[gnmax(votes, &noise, source).unwrap()] += 1;
    }
    counts
}

/// With sigma 1 ties are frequent, and a wrong rule moves tens of percent.
///
/// False alarms, for a fresh seed: 1e-6 per histogram.
#[test]
fn ties_go_to_the_lowest_class() {
    let exact = Exact::new(1);
    let equal = exact.answers(&[5, 5, 5]);
    assert!(equal[0] > equal[1] + 0.1 && equal[1] > equal[2] + 0.05, "{equal:?}");
    for (seed, votes) in [[5, 5, 5], [5, 6, 5], [5, 5, 6], [7, 5, 6]].iter().enumerate() {
        let probabilities = exact.answers(votes);
        assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let counts = answers(1, votes, &mut TestNoise::new(300 + seed as u64));
        let test = chi_square(&counts, &expected(&probabilities));
        assert_eq!(test.degrees, 2);
        assert!(test.statistic < 27.631_021_115_928_547, "{votes:?}: {counts:?}"); // chi2.isf(1e-6, 2)
    }
}

/// The runner-up beats a lead of `gap` where the difference W of two draws makes up for it. Before
/// the leader, in index order, a tie is enough.
///
/// False alarms, for a fresh seed: 1e-6 per order.
#[test]
fn a_runner_up_with_the_lower_index_needs_only_a_tie() {
    let exact = Exact::new(1);
    let difference = exact.difference();
    let at_least = |w: i64| difference[(w + 2 * exact.reach) as usize..].iter().sum::<f64>();
    let gap = 2;
    assert!((exact.answers(&[4, 6])[0] - at_least(gap)).abs() < 1e-12);
    assert!((exact.answers(&[6, 4])[1] - at_least(gap + 1)).abs() < 1e-12);
    for (votes, runner_up, wins) in [([4, 6], 0, at_least(gap)), ([6, 4], 1, at_least(gap + 1))] {
        let count = answers(1, &votes, &mut TestNoise::new(310))[runner_up];
        let test = chi_square(&[count, DRAWS - count], &expected(&[wins, 1.0 - wins]));
        assert!(test.statistic < 23.928_126_976_934_83, "{votes:?}: {count}"); // chi2.isf(1e-6, 1)
    }
}

/// False alarms, for a fresh seed: 1e-6 per threshold.
#[test]
fn a_screen_passes_from_exactly_its_threshold_on() {
    let exact = Exact::new(2);
    for threshold in [5, 8, 9, 12] {
        let (noise, mut source) = (noise(2), TestNoise::new(320 + threshold as u64));
        let passed = (0..DRAWS)
            .filter(|_| screen(&[3, 9, 9, 1], threshold, &noise, &mut source).unwrap())
            .count() as u64;
        let probability = 1.0 - exact.at_most(threshold - 9 - 1);
        let test = chi_square(&[passed, DRAWS - passed], &expected(&[probability, 1.0 - probability]));
        assert_eq!(test.degrees, 1);
        assert!(test.statistic < 23.928_126_976_934_83, "from {threshold}: {passed}"); // chi2.isf(1e-6, 1)
    }
}

/// Two data sets that differ in one shard: one vote moved.
const NEIGHBOURS: [[u32; 10]; 2] = [[26, 24, 0, 0, 0, 0, 0, 0, 0, 0], [25, 25, 0, 0, 0, 0, 0, 0, 0, 0]];

/// False alarms, for a fresh seed: 1e-6 per data set.
#[test]
fn audited_answers_have_the_probabilities_of_the_formula() {
    let exact = Exact::new(10);
    for (votes, seed) in NEIGHBOURS.iter().zip(400..) {
        let counts = answers(10, votes, &mut TestNoise::new(seed));
        let test = chi_square(&counts, &expected(&exact.answers(votes)));
        assert_eq!(test.degrees, 9);
        assert!(test.statistic < 44.810_937_870_687_81, "{votes:?}: {test:?}"); // chi2.isf(1e-6, 9)
    }
}

/// Bounds on a probability, each of which is wrong with probability `alpha` or less: what the
/// Chernoff bound in its Kullback-Leibler form, P[k/n >= p + t] <= exp(-n KL(p + t, p)), does not
/// rule out. They are valid for every n and wider than Clopper and Pearson's, so an audit with them
/// claims less.
fn bounds(count: u64, alpha: f64) -> (f64, f64) {
    let share = count as f64 / DRAWS as f64;
    let part = |a: f64, b: f64| if a > 0.0 { a * libm::log(a / b) } else { 0.0 };
    let possible = |p: f64| DRAWS as f64 * (part(share, p) + part(1.0 - share, 1.0 - p)) <= -libm::log(alpha);
    // Between an impossible end and the share, which is possible.
    let edge = |mut outside: f64| {
        let mut inside = share;
        while (inside - outside).abs() > 1e-12 {
            let middle = f64::midpoint(inside, outside);
            if possible(middle) { inside = middle } else { outside = middle }
        }
        outside
    };
    (edge(0.0), edge(1.0))
}

/// By how much the epsilon that the answers prove exceeds the one that a release with noise of
/// `sigma` may have, at the worst of some deltas. At or below 0 nothing speaks against the claim.
/// Confidence 1 - 1e-6: 10 classes, 2 data sets, 2 sides.
fn excess(counts: [&[u64]; 2], sigma: u32) -> f64 {
    let bounds =
        counts.map(|counts| counts.iter().map(|count| bounds(*count, 1e-6 / 40.0)).collect::<Vec<_>>());
    let exact = Exact::new(sigma);
    let mut worst = f64::NEG_INFINITY;
    for delta in [1e-5, 1e-3, 1e-2, 5e-2] {
        let allowed = exact.epsilon(sigma, delta);
        for (class, (one, other)) in bounds[0].iter().zip(&bounds[1]).enumerate() {
            for (more, less) in [(one, other), (other, one)] {
                let proven = libm::log((more.0 - delta).max(f64::MIN_POSITIVE) / less.1);
                assert!(less.1 > 0.0, "class {class}");
                worst = worst.max(proven - allowed);
            }
        }
    }
    worst
}

/// What the audit compares with. NumPy, with `w` the convolution of two probability vectors and
/// `L = (W + 1)/100`: `(w*np.maximum(0, 1 - np.exp(eps - L))).sum()`; the continuous one, within
/// 2e-5 here, is SciPy's `norm.cdf(mu/2 - eps/mu) - exp(eps)*norm.cdf(-mu/2 - eps/mu)` for
/// `mu = sqrt(2)/10`.
#[test]
fn the_delta_of_one_release_is_numpys_and_near_the_continuous_one() {
    let exact = Exact::new(10);
    for (epsilon, lattice, continuous) in [
        (0.1, 0.020_938_781_060_546_23, 0.020_957_982_036_206_83),
        (0.3, 0.000_996_966_469_319_090_5, 0.000_999_835_460_667_401),
    ] {
        let delta = exact.delta(10, epsilon);
        assert!((delta - lattice).abs() < 1e-12, "{epsilon}: {delta}");
        assert!((delta - continuous).abs() < 2e-5, "{epsilon}: {delta}");
    }
    // A confidence bound that is known: nothing in n draws rules out what is above 1 - alpha^(1/n).
    let (low, high) = bounds(0, 1e-6);
    assert!(low.abs() < 1e-11 && (high - (1.0 - libm::pow(1e-6, 1.0 / DRAWS as f64))).abs() < 1e-11);
}

/// False alarms, for a fresh seed: 1e-6.
#[test]
fn the_audit_does_not_contradict_the_guarantee() {
    let counts = [0, 1].map(|i| answers(10, &NEIGHBOURS[i], &mut TestNoise::new(410 + i as u64)));
    let excess = excess([&counts[0], &counts[1]], 10);
    assert!(excess <= 0.0, "epsilon is exceeded by {excess}");
}

/// An audit that cannot fail shows nothing: with noise of sigma 3, sold as 10, it has to.
#[test]
fn the_audit_contradicts_a_guarantee_that_is_too_good() {
    let counts = [0, 1].map(|i| answers(3, &NEIGHBOURS[i], &mut TestNoise::new(420 + i as u64)));
    let excess = excess([&counts[0], &counts[1]], 10);
    assert!(excess > 0.0, "{excess}");
}
