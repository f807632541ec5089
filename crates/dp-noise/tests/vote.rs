//! Noisy votes: refusals and edges. What their distributions are stands in `statistics.rs`.

use dp_noise::{DiscreteGaussian, Error, MAX_SIGMA, NoiseSource, SystemNoise, gnmax, screen};
use dp_noise_testing::{Scripted, TestNoise};
use proptest::prelude::*;

#[test]
fn votes_among_no_classes_are_refused_before_anything_is_drawn() {
    let noise = DiscreteGaussian::new(40).unwrap();
    // The script has no bytes: a draw would panic.
    let mut source = Scripted::new([]);
    let answer = gnmax(&[], &noise, &mut source).unwrap_err();
    let bit = screen(&[], 0, &noise, &mut source).unwrap_err();
    for error in [answer, bit] {
        assert!(matches!(error, Error::NoClasses), "{error:?}");
        assert!(error.to_string().contains("0 classes"), "{error}");
    }
}

#[test]
fn messages_are_one_line_in_lower_case() {
    for error in [Error::Sigma { sigma: 0 }, Error::NoClasses] {
        let text = error.to_string();
        assert!(!text.contains('\n') && !text.contains("  ") && !text.ends_with('.'), "{text}");
        assert!(text.starts_with(char::is_lowercase), "{text}");
    }
}

#[test]
fn one_class_is_the_answer() {
    let noise = DiscreteGaussian::new(MAX_SIGMA).unwrap();
    assert_eq!(gnmax(&[0], &noise, &mut TestNoise::new(1)).unwrap(), 0);
}

#[test]
fn a_lead_far_beyond_the_noise_wins_at_any_place() {
    let noise = DiscreteGaussian::new(1).unwrap();
    let mut source = TestNoise::new(2);
    for leader in 0..5 {
        let mut votes = [10; 5];
        votes[leader] = 1000; // false alarms: below exp(-200000)
        assert_eq!(gnmax(&votes, &noise, &mut source).unwrap(), leader);
    }
}

#[test]
fn extreme_votes_and_thresholds_do_not_overflow() {
    let noise = DiscreteGaussian::new(MAX_SIGMA).unwrap();
    let mut source = SystemNoise::new().unwrap();
    for _ in 0..1000 {
        let class = gnmax(&[u32::MAX, 0, u32::MAX], &noise, &mut source).unwrap();
        assert_ne!(class, 1); // false alarms: below exp(-4000000)
        assert!(screen(&[u32::MAX, 0], i64::MIN, &noise, &mut source).unwrap());
        assert!(!screen(&[u32::MAX, 0], i64::MAX, &noise, &mut source).unwrap());
    }
}

/// Every class has a draw of its own, and every call fresh ones.
#[test]
fn the_noise_is_what_the_sampler_would_draw_one_by_one() {
    let noise = DiscreteGaussian::new(7).unwrap();
    let (mut source, mut same) = (TestNoise::new(3), TestNoise::new(3));
    let votes = [20, 24, 22, 24];
    for _ in 0..1000 {
        let class = gnmax(&votes, &noise, &mut source).unwrap();
        let noisy = votes.map(|count| i64::from(count) + noise.sample(&mut same));
        let most = noisy.iter().max().unwrap();
        assert_eq!(Some(class), noisy.iter().position(|sum| sum == most));
        let bit = screen(&votes, 25, &noise, &mut source).unwrap();
        assert_eq!(bit, 24 + noise.sample(&mut same) >= 25);
    }
    assert_eq!(source.next_u64(), same.next_u64(), "nothing else was drawn");
}

#[test]
fn equal_test_seeds_give_equal_answers_and_the_system_does_not() {
    fn answers(mut source: impl NoiseSource) -> Vec<usize> {
        let noise = DiscreteGaussian::new(20).unwrap();
        (0..100).map(|_| gnmax(&[5; 10], &noise, &mut source).unwrap()).collect()
    }
    assert_eq!(answers(TestNoise::new(4)), answers(TestNoise::new(4)));
    assert_ne!(answers(TestNoise::new(4)), answers(TestNoise::new(5)));
    // By chance: about 1e-100.
    assert_ne!(answers(SystemNoise::new().unwrap()), answers(SystemNoise::new().unwrap()));
}

proptest! {
    #[test]
    fn the_answer_is_a_class(
        votes in prop::collection::vec(any::<u32>(), 1..20),
        sigma in 1..=MAX_SIGMA,
        threshold: i64,
        seed: u64,
    ) {
        let noise = DiscreteGaussian::new(sigma).unwrap();
        let mut source = TestNoise::new(seed);
        prop_assert!(gnmax(&votes, &noise, &mut source).unwrap() < votes.len());
        screen(&votes, threshold, &noise, &mut source).unwrap();
    }
}
