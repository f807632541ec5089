//! What must hold for any parameters: a failure is a counterexample. Cases are the same in every
//! run, so that none stops work that has nothing to do with it; 1,500 random ones of each property
//! passed.

use dp_accounting::calibrate::{Accountant, DpSgd};
use dp_accounting::filter::{Budget, Filter, epsilon_of_caps};
use dp_accounting::pld::{Composition, PrivacyLoss};
use dp_accounting::prv::{Interval, Prv};
use dp_accounting::{Mechanism, filter::Cap, gdp, lattice};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn sgd() -> impl Strategy<Value = (f64, f64, u64)> {
    (0.001f64..0.2, 0.6f64..4.0, 1u64..2000)
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 24,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(6),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn more_noise_fewer_steps_less_sampling_and_a_larger_delta_never_cost_more(
        (q, sigma, steps) in sgd(), log_delta in -8f64..-3.0, rdp in any::<bool>()
    ) {
        let accountant = if rdp { Accountant::Rdp } else { Accountant::Pld };
        let cost = |q: f64, sigma: f64, steps: u64, delta: f64| {
            DpSgd { q, steps, delta }.epsilon(sigma, accountant).unwrap()
        };
        let delta = 10f64.powf(log_delta);
        let base = cost(q, sigma, steps, delta);
        let slack = 1e-9 * (1.0 + base);
        prop_assert!(cost(q, sigma * 1.1, steps, delta) <= base + slack);
        prop_assert!(cost(q * 1.1, sigma, steps, delta) >= base - slack);
        prop_assert!(cost(q, sigma, steps + 1 + steps / 10, delta) >= base - slack);
        prop_assert!(cost(q, sigma, steps, delta * 1.5) <= base + slack);
    }

    #[test]
    fn a_finer_grid_never_costs_more((q, sigma, steps) in sgd()) {
        let cost = |step: f64| {
            let loss = PrivacyLoss::sampled_gaussian(q, sigma, step).unwrap();
            Composition::new().with(&loss, steps).epsilon(1e-5).unwrap()
        };
        let (coarse, fine) = (cost(2e-3), cost(1e-3));
        prop_assert!(fine <= coarse + 1e-9 * (1.0 + coarse), "{coarse} {fine}");
    }

    #[test]
    fn the_order_of_a_composition_does_not_matter_and_no_steps_are_neutral(a in sgd(), b in sgd()) {
        let loss = |(q, sigma, _): (f64, f64, u64)| PrivacyLoss::sampled_gaussian(q, sigma, 1e-3).unwrap();
        let (first, second) = (loss(a), loss(b));
        let one = Composition::new().with(&first, a.2).with(&second, b.2).epsilon(1e-5).unwrap();
        let other = Composition::new().with(&second, b.2).with(&first, a.2).epsilon(1e-5).unwrap();
        prop_assert!((one - other).abs() <= 1e-9 * (1.0 + one), "{one} {other}");
        let alone = Composition::new().with(&first, a.2).epsilon(1e-5).unwrap();
        let neutral = Composition::new().with(&first, a.2).with(&second, 0).epsilon(1e-5).unwrap();
        prop_assert!((alone - neutral).abs() < 1e-15 && alone <= one + 1e-9);
        // The same mechanism once as two parts.
        let whole = Composition::new().with(&first, a.2 + 3).epsilon(1e-5).unwrap();
        let halves = Composition::new().with(&first, a.2).with(&first, 3).epsilon(1e-5).unwrap();
        prop_assert!((whole - halves).abs() <= 1e-9 * (1.0 + whole), "{whole} {halves}");
    }

    #[test]
    fn losses_are_between_the_exact_cost_and_renyis(sigma in 0.5f64..50.0, steps in 1u64..500, log_delta in -17f64..-2.0) {
        let delta = 10f64.powf(log_delta);
        let exact = gdp::epsilon(gdp::total_mu([(steps, 1.0, sigma)]).unwrap(), delta).unwrap();
        prop_assume!(exact < 50.0);
        let run = DpSgd { q: 1.0, steps, delta };
        let loss = PrivacyLoss::sampled_gaussian(1.0, sigma, 1e-4).unwrap();
        let pld = Composition::new().with(&loss, steps).epsilon(delta).unwrap();
        let rdp = run.epsilon(sigma, Accountant::Rdp).unwrap();
        prop_assert!(exact <= pld * (1.0 + 1e-12) + 1e-12, "{exact} {pld}");
        // Doubling the variance of a step's grid is what the approximation can cost.
        prop_assert!(pld <= exact + 1e-3 * (1.0 + exact), "{exact} {pld}");
        prop_assert!(pld <= rdp + 1e-6, "{pld} {rdp}");
    }

    #[test]
    fn two_methods_agree_on_where_the_cost_lies(a in sgd(), b in sgd(), log_delta in -8f64..-3.0) {
        let delta = 10f64.powf(log_delta);
        let parts = [a, b];
        let pld = parts.iter().fold(Composition::new(), |all, &(q, sigma, steps)| {
            all.with(&PrivacyLoss::sampled_gaussian(q, sigma, 1e-4).unwrap(), steps)
        });
        let epsilon = pld.epsilon(delta).unwrap();
        // Beyond, the interval's grid grows past its limit.
        prop_assume!(epsilon < 30.0);
        let prvs = parts.map(|(q, sigma, steps)| (Prv::sampled_gaussian(q, sigma).unwrap(), steps));
        let found = Interval::of(&prvs, delta, 0.05, delta / 100.0).unwrap();
        prop_assert!(found.lower <= epsilon && epsilon <= found.upper, "{epsilon} {found:?}");
    }

    /// Small rates and much noise: losses far below the usual grid's step, and the largest tilts.
    #[test]
    fn small_losses_are_not_rounded_away(
        log_q in -12f64..0.0, log_sigma in -0.5f64..5.0, log_steps in 0f64..8.0, log_delta in -10f64..-2.0
    ) {
        let (q, sigma, delta) = (10f64.powf(log_q), 10f64.powf(log_sigma), 10f64.powf(log_delta));
        let run = DpSgd { q, steps: 10f64.powf(log_steps) as u64, delta };
        let rdp = run.epsilon(sigma, Accountant::Rdp).unwrap();
        prop_assume!(rdp < 30.0);
        let pld = run.epsilon(sigma, Accountant::Pld).unwrap();
        prop_assert!(pld <= rdp + 1e-3 * (1.0 + rdp), "{run:?} {sigma}: {pld} {rdp}");
        let prv = Prv::sampled_gaussian(q, sigma).unwrap();
        if let Ok(found) = Interval::of(&[(prv, run.steps)], delta, 0.05, delta / 100.0) {
            // Above it may lie: losses that are few and large leave no room for a fine grid.
            prop_assert!(found.lower <= pld, "{run:?} {sigma}: {pld} {found:?}");
        }
    }

    #[test]
    fn an_interval_holds_the_exact_cost_of_gaussian_noise(sigma in 0.5f64..50.0, steps in 1u64..500, log_delta in -8f64..-2.0) {
        let delta = 10f64.powf(log_delta);
        let exact = gdp::epsilon(gdp::total_mu([(steps, 1.0, sigma)]).unwrap(), delta).unwrap();
        prop_assume!(exact < 30.0);
        let prv = Prv::sampled_gaussian(1.0, sigma).unwrap();
        let found = Interval::of(&[(prv, steps)], delta, 0.05, delta / 1000.0).unwrap();
        prop_assert!(found.lower <= exact && exact <= found.upper, "{exact} {found:?}");
        // The bound is a worst case: the estimate itself is closer.
        prop_assert!((found.estimate - exact).abs() < 5e-3, "{exact} {found:?}");
    }

    #[test]
    fn epsilon_and_delta_undo_each_other((q, sigma, steps) in sgd(), log_delta in -12f64..-2.0) {
        let delta = 10f64.powf(log_delta);
        let all = Composition::new().with(&PrivacyLoss::sampled_gaussian(q, sigma, 1e-3).unwrap(), steps);
        let epsilon = all.epsilon(delta).unwrap();
        prop_assume!(epsilon > 0.0);
        let back = all.delta(epsilon).unwrap();
        prop_assert!((back / delta - 1.0).abs() < 1e-5, "{delta:e} {back:e}");
    }

    /// Which mechanism runs next, and whether to stop, is taken from the case's random choices:
    /// what was let through never costs more than the budget.
    #[test]
    fn a_filter_never_exceeds_its_budget_whatever_is_asked(
        epsilon in 0.2f64..5.0,
        kind in 0usize..3,
        choices in prop::collection::vec((0usize..3, 1u64..20), 1..80),
    ) {
        let delta = 1e-5;
        let offered = [
            Mechanism::GnmaxAnswer { sigma: 40.0 },
            Mechanism::GnmaxScreen { sigma: 80.0 },
            Mechanism::Gaussian { sigma: 25.0, sensitivity_l2: 1.0 },
        ];
        let budget = match kind {
            0 => Budget::Gdp { epsilon, delta },
            1 => Budget::Rdp { epsilon, delta, order: 1.0 + 16.0 / epsilon },
            _ => {
                let mut count = 1;
                let caps = |count: u64| offered.map(|mechanism| Cap { mechanism, count }).to_vec();
                while epsilon_of_caps(&caps(count * 2), delta).unwrap() <= epsilon {
                    count *= 2;
                }
                Budget::Caps { epsilon, delta, caps: caps(count) }
            }
        };
        let Ok(mut filter) = Filter::new(&budget) else { return Ok(()) };
        let mut passed = [0; 3];
        for (which, count) in choices {
            if filter.charge(&offered[which], count).is_ok() {
                passed[which] += count;
            }
        }
        let caps: Vec<Cap> =
            offered.iter().zip(passed).map(|(mechanism, count)| Cap { mechanism: *mechanism, count }).collect();
        let cost = epsilon_of_caps(&caps, delta).unwrap();
        prop_assert!(cost <= epsilon, "{budget:?} let {passed:?} through, which cost {cost}");
        prop_assert!(filter.fraction_spent() <= 1.0);
    }
}

/// Found by the property above: four million steps, few losses, each large, which a fixed grid had
/// no room for.
#[test]
fn few_large_losses_cost_no_more_than_renyis() {
    let run = DpSgd { q: 1.2303e-10, steps: 4_285_784, delta: 1.3776e-5 };
    let [pld, rdp] =
        [Accountant::Pld, Accountant::Rdp].map(|accountant| run.epsilon(0.458_936, accountant).unwrap());
    assert!(pld <= rdp + 1e-3, "{pld} {rdp}");
}

/// Losses of probability e^-50 are far larger than all others, and a transform that is tilted
/// towards them has no digits left.
#[test]
fn a_tail_too_unlikely_to_matter_costs_nothing() {
    let (q, sigma, steps) = (1.964e-12, 0.365_837, 1407);
    let all = Composition::new().with(&PrivacyLoss::sampled_gaussian(q, sigma, 6.25e-6).unwrap(), steps);
    // A step's is q times that of the Gaussian mechanism; steps add up, but for q^2.
    let right = steps as f64 * q * gdp::delta(1.0 / sigma, 0.0).unwrap();
    let found = all.delta(0.0).unwrap();
    assert!(found >= right * (1.0 - 1e-9) && found < 1.2 * right, "{found:e} {right:e}");
    assert!(all.delta(0.1).unwrap() < 1e-16);
    assert!(all.epsilon(1.2 * right).unwrap() < 1e-9);
}

/// Far below the noise of a plain transform: the sum of Gaussians is a Gaussian, whose delta is
/// known.
#[test]
fn deltas_of_1e_12_and_less_are_right() {
    for (sigma, steps) in [(30.0, 1000), (3.0, 10), (100.0, 30_000)] {
        let loss = PrivacyLoss::gaussian(sigma, 1.0, 1e-4).unwrap();
        let all = Composition::new().with(&loss, steps);
        let mu = gdp::total_mu([(steps, 1.0, sigma)]).unwrap();
        for delta in [1e-9, 1e-12, 1e-15] {
            let exact = gdp::epsilon(mu, delta).unwrap();
            let found = all.epsilon(delta).unwrap();
            assert!(
                found >= exact - 1e-12 && found < exact + 2e-4,
                "sigma {sigma}, delta {delta:e}: {exact} {found}"
            );
        }
    }
}

/// Distributions of a few points, and none that loses anything.
#[test]
fn short_distributions_compose() {
    let epsilon =
        |loss: &PrivacyLoss, count: u64| Composition::new().with(loss, count).epsilon(1e-5).unwrap();
    for count in [1, 2, 3, 10, 1000] {
        for (loss, most) in [
            (PrivacyLoss::pure(1e-3, 1e-4).unwrap(), 1e-3),
            (PrivacyLoss::pure(1e-7, 1e-4).unwrap(), 1e-4),
            (PrivacyLoss::laplace(1e5, 1.0, 1e-4).unwrap(), 1e-4),
            (PrivacyLoss::gaussian(1e5, 1.0, 1e-4).unwrap(), 1e-4),
            (PrivacyLoss::gaussian(1e7, 1.0, 1e-4).unwrap(), 1e-4),
            (PrivacyLoss::sampled_gaussian(1e-6, 2.0, 1e-4).unwrap(), 1e-4),
        ] {
            let found = epsilon(&loss, count);
            assert!(found <= most * count as f64 * (1.0 + 1e-9), "{count}: {found} {most}");
        }
        for nothing in [
            PrivacyLoss::sampled_gaussian(0.0, 1.0, 1e-4).unwrap(),
            PrivacyLoss::gaussian(1.0, 0.0, 1e-4).unwrap(),
            PrivacyLoss::laplace(0.0, 0.0, 1e-4).unwrap(),
        ] {
            assert!(epsilon(&nothing, count).abs() < 1e-300);
        }
        assert!(epsilon(&PrivacyLoss::pure(f64::INFINITY, 1e-4).unwrap(), count).is_infinite());
    }
}

/// Where e^epsilon is no number any more, and with little noise.
#[test]
fn large_costs_are_right() {
    for (sigma, steps) in [(1.0, 1400), (1.0, 3000), (0.25, 1), (0.25, 50), (0.1, 1)] {
        let mu = gdp::total_mu([(steps, 1.0, sigma)]).unwrap();
        let all = Composition::new().with(&PrivacyLoss::gaussian(sigma, 1.0, 1e-3).unwrap(), steps);
        for delta in [0.1, 1e-5, 1e-14] {
            let (exact, found) = (gdp::epsilon(mu, delta).unwrap(), all.epsilon(delta).unwrap());
            assert!(found >= exact - 1e-9 && found < exact * 1.001, "{sigma} x {steps}: {exact} {found}");
            let back = all.delta(exact).unwrap();
            assert!(back >= delta * (1.0 - 1e-9) && back < 1.1 * delta, "{sigma} x {steps}: {delta} {back}");
        }
    }
}

/// What [`dp_accounting::filter::DISCRETE_SURCHARGE`] claims.
#[test]
fn integer_noise_costs_no_more_than_its_surcharge() {
    let mut worst = 0f64;
    for sigma in [20.0, 21.0, 40.0] {
        for (loss, sensitivity) in
            [(lattice::argmax(sigma).unwrap(), 2f64.sqrt()), (lattice::screen(sigma).unwrap(), 1.0)]
        {
            for count in [1, 3, 10, 100, 1000, 10_000, 100_000] {
                for delta in [0.3, 0.1, 1e-2, 1e-3, 1e-5, 1e-8, 1e-12, 1e-25] {
                    let gaussian =
                        gdp::epsilon(gdp::total_mu([(count, sensitivity, sigma)]).unwrap(), delta).unwrap();
                    let exact = Composition::new().with(&loss, count).epsilon(delta).unwrap();
                    worst = worst.max(exact - gaussian);
                }
            }
        }
    }
    assert!(worst > 1e-5 && worst < 5e-5, "{worst}");
}

/// The spec's defaults for PATE on 250 teachers, with exact integer noise: those for epsilon 2 cost
/// 2.002, so one answer less is taken.
#[test]
fn defaults_for_votes_fit_their_epsilons() {
    let cost = |screens: u64, sigma_1: f64, answers: u64, sigma_2: f64| {
        let screens = Cap { mechanism: Mechanism::GnmaxScreen { sigma: sigma_1 }, count: screens };
        let answers = Cap { mechanism: Mechanism::GnmaxAnswer { sigma: sigma_2 }, count: answers };
        epsilon_of_caps(&[screens, answers], 1e-5).unwrap()
    };
    assert!(cost(0, 1.0, 60, 41.0) <= 1.0);
    let (stated, mended) = (cost(400, 63.0, 115, 39.0), cost(400, 63.0, 114, 39.0));
    assert!((stated - 2.002).abs() < 5e-4, "{stated}");
    assert!(mended <= 2.0, "{mended}");
}
