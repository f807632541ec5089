//! Laplace noise on the integers, coins and samples: against their probabilities.

use dp_noise::{DiscreteLaplace, Error, coin, lnmax, poisson_sample};
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
        assert!(sample.windows(2).all(|pair| pair[0] < pair[1]));
        for index in sample {
            taken[index] += 1;
        }
    }
    // 400 on average, with a standard deviation of 19: 5.6 of them for fifty chances of 1e-8.
    assert!(taken.iter().all(|count| (290..510).contains(count)), "{taken:?}");
    assert_eq!(poisson_sample(3, 1.0, &mut source), [0, 1, 2]);
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
