//! A charge buys its own mechanism's noise, as often as it says, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

use std::num::NonZero;

use dp_accounting::draws::{Draws, LEAST_LATTICE_SIGMA, Lattice};
use dp_accounting::filter::Budget;
use dp_accounting::ledger::{Charge, FileStore, Header, Ledger, Stamp};
use dp_accounting::{Adjacency, Mechanism, Result};
use dp_noise::SystemNoise;
use dp_noise_testing::TestNoise;
use tempfile::TempDir;

type Book = Ledger<SystemNoise, FileStore>;

const SCREEN: Mechanism = Mechanism::GnmaxScreen { sigma: 63.0 };
const ANSWER: Mechanism = Mechanism::GnmaxAnswer { sigma: 41.0 };
const LNMAX: Mechanism = Mechanism::LnmaxAnswer { lambda: 20.0 };
const COUNT: Mechanism = Mechanism::DiscreteGaussian { sigma: 50.0, sensitivity: 2 };
const VECTOR: Mechanism = Mechanism::Gaussian { sigma: 30.0, sensitivity_l2: 1.0 };
const LAPLACE: Mechanism = Mechanism::Laplace { scale: 10.0, sensitivity_l1: 1.0 };
const STEP: Mechanism = Mechanism::PoissonSubsampledGaussian { q: 0.25, sigma: 4.0 };
const PURE: Mechanism = Mechanism::Pure { epsilon: 0.1 };
const ALL: [Mechanism; 8] = [SCREEN, ANSWER, LNMAX, COUNT, VECTOR, LAPLACE, STEP, PURE];

fn book(dir: &TempDir) -> Book {
    let header = Header {
        ledger: 1,
        dataset: "d".to_owned(),
        unit: "one record".to_owned(),
        adjacency: Adjacency::AddOrRemoveOne,
        budget: Budget::Rdp { epsilon: 1000.0, delta: 1e-5, order: 8.0 },
        stamp: Stamp::Release,
    };
    Ledger::create(&dir.path().join("ledger"), &header, SystemNoise::new().unwrap()).unwrap()
}

fn charge(mechanism: Mechanism, count: u64) -> Charge {
    let stated = if mechanism.is_stated_under(Adjacency::AddOrRemoveOne) {
        Adjacency::AddOrRemoveOne
    } else {
        Adjacency::ReplaceOneShard
    };
    let charge = Charge {
        mechanism,
        count,
        adjacency: stated,
        run: String::new(),
        purpose: String::new(),
        converted_from: None,
    };
    charge.converted(Adjacency::AddOrRemoveOne).unwrap()
}

fn lattice() -> Lattice {
    Lattice::new(1e-3, 1.0).unwrap()
}

/// Whether each of the five ways to draw works.
fn ways(draws: &mut Draws<'_, SystemNoise>) -> [bool; 5] {
    [
        draws.screen(&[3, 5], 4).is_ok(),
        draws.answer(&[3, 5]).is_ok(),
        draws.integers(&[7, 8]).is_ok(),
        draws.vector(&[1000, -2000], lattice()).is_ok(),
        draws.sampled_sum(10, lattice(), |included| Ok(vec![included.rows().len() as i64; 2])).is_ok(),
    ]
}

/// Attacks, row 12: a charge of sigma 41 allowed 10,000 draws at sigma 1 inside the closure.
#[test]
fn a_charge_buys_its_own_mechanism_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = book(&dir);
    for (mechanism, way) in ALL.into_iter().zip([0, 1, 1, 2, 3, 3, 4, 5]) {
        let worked = book.run(charge(mechanism, 9), |draws| Ok(ways(draws))).unwrap();
        let expected: Vec<bool> = (0..5).map(|i| i == way).collect();
        assert_eq!(worked.to_vec(), expected, "{mechanism}");
    }
}

/// Attacks, row 12.
#[test]
fn a_charge_buys_so_many_draws_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = book(&dir);
    for mechanism in &ALL[..7] {
        for count in [1, 3] {
            let (made, left, error) = book
                .run(charge(*mechanism, count), |draws| {
                    let mut made = 0;
                    while made < 10 && ways(draws).contains(&true) {
                        made += 1;
                    }
                    let error = match *mechanism {
                        SCREEN => draws.screen(&[1], 0).unwrap_err(),
                        ANSWER | LNMAX => draws.answer(&[1]).unwrap_err(),
                        COUNT => draws.integers(&[1]).unwrap_err(),
                        STEP => draws.sampled_sum(1, lattice(), |_| panic!("sampled")).unwrap_err(),
                        _ => draws.vector(&[1], lattice()).unwrap_err(),
                    };
                    Ok((made, draws.left(), error.to_string()))
                })
                .unwrap();
            assert_eq!((made, left), (count, 0), "{mechanism}");
            assert!(error.contains(&format!("all {count} of its draws are made")), "{error}");
        }
    }
    // Fewer are fine.
    book.run(charge(ANSWER, 100), |draws| draws.answer(&[1, 2])).unwrap();
}

/// Attacks, row 12: the noise has the sigma that was charged, whatever the closure would like. A
/// thousand draws of standard deviation s have a sample deviation within 12% of s; false alarms,
/// for a fresh seed: 1e-7.
#[test]
fn the_noise_is_as_wide_as_it_was_charged() {
    let deviation =
        |values: &[f64]| (values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64).sqrt();
    let near =
        |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 0.12, "{found} {expected}");
    let dir = tempfile::tempdir().unwrap();
    let mut book = book(&dir);
    let zeros = vec![0; 1000];
    let found = book.run(charge(COUNT, 1), |draws| draws.integers(&zeros)).unwrap();
    near(deviation(&found.iter().map(|value| *value as f64).collect::<Vec<_>>()), 50.0);
    // In the units of the statistic, whatever the lattice.
    for step in [1e-3, 2e-4] {
        let lattice = Lattice::new(step, 1.0).unwrap();
        near(deviation(&book.run(charge(VECTOR, 1), |draws| draws.vector(&zeros, lattice)).unwrap()), 30.0);
        // A Laplace distribution's is sqrt(2) times its scale, and more uncertain: two thousand
        // draws.
        let twice = vec![0; 4000];
        let found = book.run(charge(LAPLACE, 1), |draws| draws.vector(&twice, lattice)).unwrap();
        near(deviation(&found), 10.0 * 2f64.sqrt());
    }
    // A step's is sigma times the lattice's sensitivity; without records it is noise alone.
    let clipped = Lattice::new(1e-3, 0.5).unwrap();
    let found =
        book.run(charge(STEP, 1), |draws| draws.sampled_sum(0, clipped, |_| Ok(zeros.clone()))).unwrap();
    near(deviation(&found), 4.0 * 0.5);
}

/// False alarms, for a fresh key: 1e-9 per kind of draw.
#[test]
fn long_vectors_get_the_noise_that_was_charged_also_without_records() {
    const DIMENSION: usize = 200_000;
    let deviation = |values: &[f64]| {
        assert_eq!(values.len(), DIMENSION);
        (values.iter().map(|value| value * value).sum::<f64>() / DIMENSION as f64).sqrt()
    };
    let near = |found: f64, charged: f64| assert!((found / charged - 1.0).abs() < 0.01, "{found} {charged}");
    let dir = tempfile::tempdir().unwrap();
    let mut book = book(&dir);
    let lattice = Lattice::of_clipped_sum(0.5, 4.0, DIMENSION, 1e-6).unwrap();
    for threads in [1, 2] {
        let step = |draws: &mut Draws<'_, SystemNoise>| {
            draws.set_threads(NonZero::new(threads).unwrap());
            draws.sampled_sum(0, lattice, |included| {
                assert!(included.rows().is_empty());
                Ok(vec![0; DIMENSION])
            })
        };
        near(deviation(&book.run(charge(STEP, 1), step).unwrap()), 4.0 * lattice.sensitivity());
    }
    // 30 times the sensitivity that is charged.
    let lattice = Lattice::of_clipped_sum(0.9, 30.0, DIMENSION, 0.0).unwrap();
    assert!(lattice.sensitivity() <= 1.0);
    let found = book.run(charge(VECTOR, 1), |draws| draws.vector(&vec![0; DIMENSION], lattice));
    // More than this lattice needs: the charge is for a sensitivity of 1.
    assert!(found.unwrap_err().to_string().contains("steps of the lattice wide"));
    let sensitivity = lattice.sensitivity();
    let vector = Mechanism::Gaussian { sigma: 30.0 * sensitivity, sensitivity_l2: sensitivity };
    let found = book.run(charge(vector, 1), |draws| draws.vector(&vec![0; DIMENSION], lattice)).unwrap();
    near(deviation(&found), 30.0 * sensitivity);
}

#[test]
fn a_sample_has_the_probability_that_was_charged() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = book(&dir);
    let mut sizes = 0;
    book.run(charge(STEP, 1), |draws| {
        draws.sampled_sum(10_000, lattice(), |included| {
            sizes = included.rows().len();
            Ok(vec![0])
        })
    })
    .unwrap();
    // 2500, with a standard deviation of 43. False alarms: 1e-8.
    assert!((2250..2750).contains(&sizes), "{sizes}");
}

/// What is refused takes no draw.
#[test]
fn sensitivities_and_lattices_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = book(&dir);
    let errors = book
        .run(charge(VECTOR, 1), |draws| {
            let mut refuse = |step: f64, sensitivity: f64| {
                let lattice = Lattice::new(step, sensitivity).unwrap();
                draws.vector(&[1], lattice).unwrap_err().to_string()
            };
            let errors = [refuse(1e-3, 1.5), refuse(1.0, 1.0), refuse(1e-6, 1.0)];
            assert_eq!(draws.left(), 1);
            assert!(draws.vector(&[1], lattice()).is_ok());
            Ok(errors)
        })
        .unwrap();
    assert!(errors[0].contains("sensitivity 1.5"), "{errors:?}");
    assert!(errors[1].contains(&format!("from {LEAST_LATTICE_SIGMA} to 1048576")), "{errors:?}");
    assert!(errors[2].contains("steps of the lattice wide"), "{errors:?}");
    let error = book.run(charge(ANSWER, 1), |draws| draws.answer(&[])).unwrap_err();
    assert!(error.to_string().contains("0 classes"), "{error}");
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Lattice::new(bad, 1.0).is_err() && Lattice::new(1.0, bad).is_err());
    }
    // clip + step sqrt(d) / 2.
    let lattice = Lattice::of_clipped(1.0, 0.01, 10_000).unwrap();
    assert!((lattice.sensitivity() - 1.5).abs() < 1e-12 && lattice.sensitivity() >= 1.5);
}

/// A closure that fails leaves its charge spent, without a result.
#[test]
fn a_draw_that_fails_is_paid_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = book(&dir);
    let failed: Result<usize> = book.run(charge(ANSWER, 1), |draws| {
        draws.answer(&[1, 2])?;
        draws.answer(&[1, 2])
    });
    assert!(failed.is_err());
    assert_eq!(book.account().open(), [1]);
    book.run(charge(ANSWER, 1), |draws| draws.answer(&[1, 2])).unwrap();
}

#[test]
fn test_noise_makes_a_void_ledger_here_too() {
    let dir = tempfile::tempdir().unwrap();
    drop(book(&dir));
    let mut book = Ledger::open(&dir.path().join("ledger"), TestNoise::new(1)).unwrap();
    book.run(charge(ANSWER, 1), |draws| draws.answer(&[1, 2])).unwrap();
    assert!(book.label().to_json().is_null());
}
