//! Figures of dp-accounting 0.6.0, prv-accountant 0.2.0, Opacus and mpmath, in `golden.json`;
//! `make_golden.py` says where they come from. Those of PATE are in `pate.rs`.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

use dp_accounting::calibrate::{Accountant, DpSgd};
use dp_accounting::pld::{Composition, PrivacyLoss, STEP};
use dp_accounting::prv::{Interval, Prv};
use dp_accounting::rdp::{Orders, RdpCurve};
use dp_accounting::{gdp, lattice};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[track_caller]
fn close(what: &str, value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() <= tolerance, "{what}: {value} is not {expected} within {tolerance:e}");
}

fn parts(case: &Value) -> Option<Vec<(f64, f64, u64)>> {
    let parts = case["parameters"]["parts"].as_array()?;
    Some(parts.iter().map(|p| (number(&p["q"]), number(&p["sigma"]), p["steps"].as_u64().unwrap())).collect())
}

fn composition(parts: &[(f64, f64, u64)], step: f64) -> Composition {
    parts.iter().fold(Composition::new(), |all, &(q, sigma, steps)| {
        all.with(&PrivacyLoss::sampled_gaussian(q, sigma, step).unwrap(), steps)
    })
}

fn curve(parts: &[(f64, f64, u64)], orders: &Orders) -> RdpCurve {
    let mut curve = RdpCurve::zero(orders);
    for &(q, sigma, steps) in parts {
        curve.add(&RdpCurve::sampled_gaussian(orders, q, sigma).unwrap(), steps).unwrap();
    }
    curve
}

#[test]
fn lists_of_orders_are_those_of_their_sources() {
    let golden = golden();
    let lists = [
        ("dp_accounting_default", Orders::default()),
        ("opacus_default", Orders::opacus()),
        ("pate2018", Orders::pate2018()),
    ];
    for (name, orders) in lists {
        let mut expected: Vec<f64> = list(&golden["orders"][name]).iter().map(number).collect();
        expected.sort_by(f64::total_cmp);
        assert_eq!(orders.as_slice().len(), expected.len(), "{name}");
        for (order, expected) in orders.as_slice().iter().zip(expected) {
            close(name, *order, expected, 1e-11);
        }
    }
}

/// The tolerance for the same algorithm is 1e-6. The reference's transform has a noise of about
/// 1e-13 in delta, which at delta 1e-8 is 6e-7 in the direction "add"; ours has none that matters,
/// and lies below or above it by that.
#[test]
fn subsampled_gaussians_and_their_compositions_by_pld() {
    let golden = golden();
    let mut compared = 0;
    for case in list(&golden["cases"]) {
        let Some(parts) = parts(case) else { continue };
        let (id, delta) = (case["id"].as_str().unwrap(), number(&case["delta"]));
        let found = composition(&parts, STEP).epsilon_by_direction(delta).unwrap();
        close(id, found.max(), number(&case["epsilon_pld"]["value"]), 1e-6);
        close(id, found.remove, number(&case["epsilon_pld_by_direction"]["remove"]), 1e-6);
        close(id, found.add, number(&case["epsilon_pld_by_direction"]["add"]), 1e-6);
        if let Some(exact) = case["epsilon_exact"]["value"].as_f64() {
            // The golden value itself is right to 1e-12.
            assert!(
                found.max() >= exact - 1e-12 && found.max() <= exact + 1e-6,
                "{id}: {} {exact}",
                found.max()
            );
        }
        if let Some(fine) = case["epsilon_pld_fine"]["value"].as_f64() {
            // With ten times as many points the reference's noise is larger, too.
            close(id, composition(&parts, 1e-5).epsilon(delta).unwrap(), fine, 3e-6);
        }
        compared += 1;
    }
    assert_eq!(compared, 38);
}

/// The package samples distribution functions at the same points and moves them by means that it
/// integrates numerically: up to 1.2e-5 off ours. What matters is that every interval, ours and the
/// package's, holds the PLD's answer.
#[test]
fn intervals_are_those_of_prv_accountant_and_hold_the_pld() {
    let golden = golden();
    let mut compared = 0;
    for case in list(&golden["cases"]).iter().filter(|case| case["epsilon_prv"].is_object()) {
        let (id, delta, p) = (case["id"].as_str().unwrap(), number(&case["delta"]), &case["parameters"]);
        let (prvs, pld) = if let Some(parts) = parts(case) {
            let prv =
                |&(q, sigma, steps): &(f64, f64, u64)| (Prv::sampled_gaussian(q, sigma).unwrap(), steps);
            (parts.iter().map(prv).collect(), composition(&parts, STEP))
        } else {
            let (scale, sensitivity) = (number(&p["scale"]), number(&p["sensitivity_l1"]));
            let count = p["count"].as_u64().unwrap();
            let loss = PrivacyLoss::laplace(scale, sensitivity, STEP).unwrap();
            (vec![(Prv::laplace(scale, sensitivity).unwrap(), count)], Composition::new().with(&loss, count))
        };
        let golden = &case["epsilon_prv"];
        let found =
            Interval::of(&prvs, delta, number(&golden["eps_error"]), number(&golden["delta_error"])).unwrap();
        for (name, value) in [("lower", found.lower), ("estimate", found.estimate), ("upper", found.upper)] {
            close(&format!("{id} {name}"), value, number(&golden[name]), 2e-5);
        }
        let pld = pld.epsilon(delta).unwrap();
        assert!(number(&golden["lower"]) <= pld && pld <= number(&golden["upper"]), "{id}: {pld} {golden}");
        assert!(found.lower <= pld && pld <= found.upper, "{id}: {pld} {found:?}");
        compared += 1;
    }
    assert_eq!(compared, 42);
}

#[test]
fn subsampled_gaussians_and_their_compositions_by_rdp() {
    let golden = golden();
    for case in list(&golden["cases"]) {
        let Some(parts) = parts(case) else { continue };
        let (id, delta) = (case["id"].as_str().unwrap(), number(&case["delta"]));
        let found = curve(&parts, &Orders::default()).epsilon(delta).unwrap();
        close(id, found.epsilon, number(&case["epsilon_rdp_exact"]["value"]), 1e-9);
        close(id, found.order, number(&case["epsilon_rdp_exact"]["order"]), 1e-9);
        // dp-accounting adds a series without its signs at fractional orders: an upper bound, up to
        // 3e-3 above.
        let upper = number(&case["epsilon_rdp"]["value"]);
        assert!(
            found.epsilon <= upper + 1e-9 && found.epsilon >= upper - 3e-3,
            "{id}: {} {upper}",
            found.epsilon
        );
        let opacus = curve(&parts, &Orders::opacus()).epsilon(delta).unwrap();
        // Opacus sums its series in f64: 1e-8 off at most here.
        close(id, opacus.epsilon, number(&case["epsilon_rdp_opacus"]["value"]), 1e-8);
        let pld = number(&case["epsilon_pld"]["value"]);
        assert!(pld <= found.epsilon, "{id}");
    }
}

#[test]
fn gaussian_cases_are_exact() {
    let golden = golden();
    let exact = list(&golden["cases"]).iter().filter(|case| !case["epsilon_exact"].is_null());
    let mut compared = 0;
    for case in exact {
        let mu = number(&case["epsilon_exact"]["mu"]);
        let epsilon = gdp::epsilon(mu, number(&case["delta"])).unwrap();
        close(case["id"].as_str().unwrap(), epsilon, number(&case["epsilon_exact"]["value"]), 1e-9);
        compared += 1;
    }
    assert_eq!(compared, 4);
}

#[test]
fn laplace_cases() {
    let golden = golden();
    let mut compared = 0;
    for case in list(&golden["cases"]).iter().filter(|case| case["mechanism"] == "laplace") {
        let (id, delta, p) = (case["id"].as_str().unwrap(), number(&case["delta"]), &case["parameters"]);
        let (scale, sensitivity) = (number(&p["scale"]), number(&p["sensitivity_l1"]));
        let count = p["count"].as_u64().unwrap();
        let loss = PrivacyLoss::laplace(scale, sensitivity, STEP).unwrap();
        let found = Composition::new().with(&loss, count).epsilon(delta).unwrap();
        close(id, found, number(&case["epsilon_pld"]["value"]), 1e-6);
        let mut curve = RdpCurve::zero(&Orders::default());
        curve.add(&RdpCurve::laplace(curve.orders(), scale, sensitivity).unwrap(), count).unwrap();
        close(id, curve.epsilon(delta).unwrap().epsilon, number(&case["epsilon_rdp"]["value"]), 1e-9);
        close(id, sensitivity / scale * count as f64, number(&case["epsilon_pure"]), 1e-12);
        compared += 1;
    }
    assert_eq!(compared, 4);
}

#[test]
fn calibrations_return_the_safe_end() {
    let golden = golden();
    for case in list(&golden["calibrations"]) {
        let id = case["id"].as_str().unwrap();
        let (target, delta) = (number(&case["target_epsilon"]), number(&case["delta"]));
        if let Some(answers) = case["answers"].as_u64() {
            let sigma = gdp::sigma(target, delta, answers, std::f64::consts::SQRT_2).unwrap();
            close(id, sigma, number(&case["sigma2_exact"]), 1e-9 * sigma);
            continue;
        }
        let run = DpSgd { q: number(&case["q"]), steps: case["steps"].as_u64().unwrap(), delta };
        for (accountant, name) in [(Accountant::Pld, "sigma_pld"), (Accountant::Rdp, "sigma_rdp")] {
            let found = run.sigma(target, accountant, 1e-5).unwrap();
            let expected = number(&case[name]);
            // Their RDP is above the true one at fractional orders, so it asks for up to 2e-4 more
            // noise.
            let below = if accountant == Accountant::Rdp { 2e-4 } else { 1.2e-5 };
            assert!(
                found.sigma <= expected + 1.2e-5 && found.sigma >= expected - below,
                "{id} {name}: {found:?} {expected}"
            );
            let cost = run.epsilon(found.sigma, accountant).unwrap();
            assert!(
                found.epsilon <= target && (cost - found.epsilon).abs() < 1e-12,
                "{id} {name}: {found:?} {cost}"
            );
            assert!(
                run.epsilon(found.sigma - 1.1e-5, accountant).unwrap() > target,
                "{id} {name}: {found:?}"
            );
        }
        if let Some(exact) = case["sigma_exact"].as_f64() {
            close(id, gdp::sigma(target, delta, 1, 1.0).unwrap(), exact, 1e-9);
        }
    }
}

#[test]
fn unit_vectors() {
    let golden = golden();
    let unit = &golden["unit"];
    for row in list(&unit["log_a_alpha"]) {
        let (q, sigma, alpha) = (number(&row["q"]), number(&row["sigma"]), number(&row["alpha"]));
        let orders = Orders::new(vec![alpha]).unwrap();
        let value = RdpCurve::sampled_gaussian(&orders, q, sigma).unwrap().values()[0] * (alpha - 1.0);
        let expected = number(&row["log_a"]);
        assert!(
            value >= expected * (1.0 - 1e-14) && value <= expected * (1.0 + 1e-11),
            "{row}: {value}, relative {:e}",
            value / expected - 1.0
        );
    }
    for row in list(&unit["gdp_delta"]) {
        let expected = number(&row["delta"]);
        let value = gdp::delta(number(&row["mu"]), number(&row["epsilon"])).unwrap();
        // What is too small for the reference to tell from 0 is rounded up.
        let high = expected * (1.0 + 1e-9) + 1e-300;
        assert!(value >= expected * (1.0 - 1e-13) && value <= high, "{row}: {value:e}");
    }
    for row in list(&unit["rdp_to_eps"]) {
        let slope = number(&row["slope"]);
        let orders = match row["orders"].as_str().unwrap() {
            "dp_accounting_default" => Orders::default(),
            "opacus_default" => Orders::opacus(),
            _ => Orders::pate2018(),
        };
        let values = orders.as_slice().iter().map(|order| slope * order).collect();
        let curve = RdpCurve::new(&orders, values).unwrap();
        let found = curve.epsilon(number(&row["delta"])).unwrap();
        close("rdp_to_eps", found.epsilon, number(&row["epsilon"]), 1e-12);
        close("its order", found.order, number(&row["order"]), 1e-9);
        let basic = curve.epsilon_basic(number(&row["delta"])).unwrap();
        close("basic", basic.epsilon, number(&row["epsilon_basic"]), 1e-12);
        // Over all real orders it cannot be larger.
        let real = dp_accounting::rdp::epsilon_of_linear(slope, number(&row["delta"])).unwrap();
        assert!(real.epsilon <= found.epsilon + 1e-12);
    }
}

/// delta at one step, from the composed distribution: at the grid's points it is the golden hockey
/// stick.
#[test]
fn one_steps_hockey_sticks() {
    let golden = golden();
    for row in list(&golden["unit"]["hockey_stick_sgm"]) {
        let epsilon = number(&row["epsilon"]);
        if epsilon < 0.0 {
            continue;
        }
        let loss = PrivacyLoss::sampled_gaussian(number(&row["q"]), number(&row["sigma"]), STEP).unwrap();
        let value = Composition::new().with(&loss, 1).delta(epsilon).unwrap();
        let expected = number(&row["remove"]).max(number(&row["add"]));
        assert!(value >= expected * (1.0 - 1e-12), "{row}: {value}");
        close(&row.to_string(), value, expected, 1e-11 + 1e-9 * expected);
    }
}

#[test]
fn integer_noise_is_exact_on_its_lattice() {
    for row in list(&golden()["discrete_gaussian"]) {
        let sigma = number(&row["sigma"]);
        let one = number(&row["sensitivity_l2"]) > 1.1;
        let loss = if one { lattice::argmax(sigma) } else { lattice::screen(sigma) }.unwrap();
        let (count, delta) = (row["count"].as_u64().unwrap(), number(&row["delta"]));
        let found = Composition::new().with(&loss, count).epsilon(delta).unwrap();
        // The golden transform's noise is 2e-9 at 1000 runs.
        close("discrete", found, number(&row["epsilon_exact_discrete"]), 5e-9);
        let mu = gdp::total_mu([(count, number(&row["sensitivity_l2"]), sigma)]).unwrap();
        close("continuous", gdp::epsilon(mu, delta).unwrap(), number(&row["epsilon_gdp_continuous"]), 1e-9);
    }
}
