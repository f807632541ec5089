//! Laplace noise on the integers, coins and samples: against their probabilities.

use std::num::NonZero;

use dp_noise::{DiscreteLaplace, Error, Sample, coin, lnmax, poisson_sample};
use dp_noise_testing::{Scripted, TestNoise, chi_square};

#[test]
fn scales_out_of_range_are_refused() {
    for scale in [0, dp_noise::MAX_SIGMA + 1] {
        let error = DiscreteLaplace::new(scale).unwrap_err();
        assert!(error.to_string().contains(&format!("scale is {scale}, ")), "{error}");
    }
}

/// Against exp(-|x| / 3), normalised. False alarms, for a fresh seed: 1e-6.
#[test]
fn draws_are_those_of_the_formula() {
    const DRAWS: usize = 200_000;
    let noise = DiscreteLaplace::new(3).unwrap();
    let mut source = TestNoise::new(8);
    let mut observed = vec![0; 241];
    for _ in 0..DRAWS {
        observed[(noise.sample(&mut source) + 120) as usize] += 1;
    }
    let q = libm::exp(-1.0 / 3.0);
    let mass = |x: f64| DRAWS as f64 * (1.0 - q) / (1.0 + q) * libm::exp(-libm::fabs(x) / 3.0);
    let expected: Vec<f64> = (-120..=120).map(|x| mass(f64::from(x))).collect();
    let test = chi_square(&observed, &expected);
    // chi2.isf(1e-6, 60) is 127.
    assert!(test.degrees < 60 && test.statistic < 127.0, "{test:?}");
}

/// Bits of q, 64 at a time: what is equal so far is decided by the next ones.
#[test]
fn a_coin_has_the_very_probability() {
    let half = 1 << 63;
    assert!(coin(0.5, &mut Scripted::words(&[half - 1])));
    assert!(!coin(0.5, &mut Scripted::words(&[half])));
    assert!(coin(0.75, &mut Scripted::words(&[half])));
    // 2^-70: 64 zeros, then 58 of 64 bits below 2^58.
    let tiny = libm::exp2(-70.0);
    assert!(coin(tiny, &mut Scripted::words(&[0, (1 << 58) - 1])));
    assert!(!coin(tiny, &mut Scripted::words(&[0, 1 << 58])));
    assert!(!coin(tiny, &mut Scripted::words(&[1])));
    // The ends take no bits.
    assert!(coin(1.0, &mut Scripted::new([])) && !coin(0.0, &mut Scripted::new([])));
    assert!(!coin(f64::NAN, &mut Scripted::new([])) && !coin(-1.0, &mut Scripted::new([])));
    assert!(coin(f64::INFINITY, &mut Scripted::new([])));
}

/// False alarms, for a fresh seed: 1e-6 in each direction.
#[test]
fn everybody_takes_part_equally_often() {
    let mut source = TestNoise::new(9);
    let mut taken = [0u64; 50];
    for _ in 0..4000 {
        let sample = poisson_sample(50, 0.1, &mut source);
        assert!(sample.rows().windows(2).all(|pair| pair[0] < pair[1]));
        for index in sample.rows() {
            taken[*index] += 1;
        }
    }
    // 400 on average, with a standard deviation of 19: 5.6 of them for fifty chances of 1e-8.
    assert!(taken.iter().all(|count| (290..510).contains(count)), "{taken:?}");
    assert_eq!(poisson_sample(3, 1.0, &mut source).rows(), [0, 1, 2]);
}

/// False alarms, for a fresh seed: 1e-6 each.
#[test]
fn a_sample_has_the_sizes_of_poisson_sampling_and_fills_its_groups_alike() {
    const STEPS: usize = 4000;
    let mut source = TestNoise::new(10);
    let mut sizes = [0; 61];
    let (mut filled, mut both) = ([0; 7], 0);
    for _ in 0..STEPS {
        let sample = poisson_sample(60, 0.25, &mut source);
        sizes[sample.rows().len()] += 1;
        both += usize::from(sample.rows().contains(&3) && sample.rows().contains(&4));
        let groups = sample.groups(NonZero::new(7).unwrap());
        let mut all = groups.concat();
        all.sort_unstable();
        assert_eq!(all, sample.rows());
        groups.iter().zip(&mut filled).for_each(|(group, filled)| *filled += group.len());
    }
    // Binomial(60, 1/4).
    let mut chance = libm::exp(60.0 * libm::log(0.75));
    let mut expected = vec![STEPS as f64 * chance];
    for k in 1..=60u32 {
        chance *= f64::from(61 - k) / f64::from(k) / 3.0;
        expected.push(STEPS as f64 * chance);
    }
    let test = chi_square(&sizes.map(|n| n as u64), &expected);
    // chi2.isf(1e-6, 30) is 81.
    assert!(test.degrees < 30 && test.statistic < 81.0, "{test:?}");
    // Two records at once in 1/16 of the steps: 250, with a standard deviation of 15.3.
    assert!((175..326).contains(&both), "{both}");
    // 60,000 in seven groups: 8571, with a standard deviation of 86.
    assert!(filled.iter().all(|n| (8110..9035).contains(n)), "{filled:?}");
}

/// Who comes or goes changes its own group.
#[test]
fn a_record_more_changes_one_group() {
    let count = NonZero::new(5).unwrap();
    let sample = poisson_sample(200, 0.3, &mut TestNoise::new(11));
    let before = sample.groups(count);
    for gone in sample.rows() {
        let rest = sample.rows().iter().copied().zip(sample.places().iter().copied());
        let after = Sample::new(rest.filter(|(row, _)| row != gone)).groups(count);
        let other = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert_eq!(other, 1);
    }
}

#[test]
fn lnmax_is_an_argmax_of_noisy_counts() {
    let noise = DiscreteLaplace::new(20).unwrap();
    assert!(matches!(lnmax(&[], &noise, &mut Scripted::new([])), Err(Error::NoClasses)));
    let (mut source, mut same) = (TestNoise::new(3), TestNoise::new(3));
    let votes = [20, 24, 22, 24];
    for _ in 0..200 {
        let class = lnmax(&votes, &noise, &mut source).unwrap();
        let noisy = votes.map(|count| i64::from(count) + noise.sample(&mut same));
        assert_eq!(Some(class), noisy.iter().position(|sum| sum == noisy.iter().max().unwrap()));
    }
}
