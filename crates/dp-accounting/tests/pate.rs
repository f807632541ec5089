//! PATE's costs against the golden numbers of `golden_pate.json` (made by `make_golden.py`), and
//! properties that need no numbers.
//!
//! The golden numbers on the authors' own votes are left out: their vote files are not in the
//! repository.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::float_cmp,
    reason = "a test's helpers; the worst errors are worth reading; 0 and infinity are meant exactly"
)]

use dp_accounting::Error;
use dp_accounting::pate::{
    ConfidentGnmax, Gnmax, Noise, NotReleasable, Screen, Votes, dependent, independent, local,
    log_discrete_gap_tail,
};
use dp_accounting::prv::{Interval, Prv};
use dp_accounting::smooth::{self, Answered, GnmaxSensitivity};
use proptest::prelude::*;
use serde_json::{Map, Value};

fn golden() -> Value {
    serde_json::from_str(include_str!("golden_pate.json")).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn counts(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|count| u32::try_from(count.as_u64().unwrap()).unwrap()).collect()
}

fn votes(set: &Value) -> Votes {
    let rows: Vec<Vec<u32>> = set["counts"].as_array().unwrap().iter().map(counts).collect();
    Votes::from_rows(&rows).unwrap()
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap()
}

/// `{"2.0": x, ...}`: the order and what is said about it.
fn by_order(value: &Value) -> Vec<(f64, &Value)> {
    object(value).iter().map(|(order, value)| (order.parse().unwrap(), value)).collect()
}

fn gnmax(sigma: f64) -> Gnmax {
    Gnmax { sigma, noise: Noise::Gaussian }
}

fn screen(threshold: f64, sigma: f64) -> Screen {
    Screen { threshold, sigma, noise: Noise::Gaussian }
}

/// Compares, counts, and remembers the worst relative error.
struct Tally {
    kind: &'static str,
    relative: f64,
    compared: usize,
    worst: f64,
}

impl Tally {
    fn new(kind: &'static str, relative: f64) -> Self {
        Self { kind, relative, compared: 0, worst: 0.0 }
    }

    fn close(&mut self, value: f64, expected: f64) {
        self.compared += 1;
        let error = if expected == 0.0 { value.abs() * 1e9 } else { (value / expected - 1.0).abs() };
        // The golden divergences are logarithms of sums near 1: those below 1e-5 have lost digits
        // that ours keep.
        let lost = 1e-13 / expected.abs().max(1e-300);
        assert!(
            error <= self.relative.max(lost.min(1e-6)),
            "{}: {value} is not {expected}, by {error:e}",
            self.kind
        );
        self.worst = self.worst.max(error);
    }

    fn done(self, compared: usize) {
        println!("{}: {} compared, worst relative error {:.1e}", self.kind, self.compared, self.worst);
        assert_eq!(self.compared, compared, "{}", self.kind);
    }
}

/// Mironov 2017: the smallest epsilon and its order.
fn basic(rdp: &[f64], orders: &[f64], delta: f64) -> (f64, f64) {
    smallest(rdp, orders, |rdp, order| rdp - delta.ln() / (order - 1.0))
}

/// Canonne, Kamath, Steinke 2020.
fn improved(rdp: &[f64], orders: &[f64], delta: f64) -> (f64, f64) {
    smallest(rdp, orders, |rdp, order| {
        if delta * delta >= -(-rdp).exp_m1() {
            return 0.0;
        }
        (rdp + (-order.recip()).ln_1p() - (delta * order).ln() / (order - 1.0)).max(0.0)
    })
}

fn smallest(rdp: &[f64], orders: &[f64], epsilon: impl Fn(f64, f64) -> f64) -> (f64, f64) {
    let of = |(rdp, order): (&f64, &f64)| (epsilon(*rdp, *order), *order);
    let first_smallest = |best: (f64, f64), next: (f64, f64)| if next.0 < best.0 { next } else { best };
    rdp.iter()
        .zip(orders)
        .filter(|(_, order)| **order > 1.01)
        .map(of)
        .fold((f64::INFINITY, 0.0), first_smallest)
}

/// Value and order of an epsilon.
fn compare_epsilon(tally: &mut Tally, found: (f64, f64), expected: &Value) {
    tally.close(found.0, number(&expected["value"]));
    tally.close(found.1, number(&expected["order"]));
}

#[test]
fn gnmax_at_votes_is_golden() {
    let golden = golden();
    let orders = numbers(&golden["orders"]);
    let mut log_q = Tally::new("gnmax logq", 1e-8);
    let mut per_query = Tally::new("gnmax rdp_at", 1e-8);
    let mut total = Tally::new("gnmax total_rdp_at", 1e-8);
    let mut epsilon = Tally::new("gnmax epsilon_rdp, epsilon_rdp_basic and their orders", 1e-8);
    let mut mu = Tally::new("gnmax epsilon_data_independent_exact", 1e-8);
    for set in object(&golden["vote_sets"]).values() {
        let votes = votes(set);
        for part in object(&set["gnmax"]).values() {
            let mechanism = gnmax(number(&part["sigma"]));
            for (row, expected) in votes.rows().zip(numbers(&part["logq"])) {
                log_q.close(dependent::gnmax_log_q(mechanism, row).unwrap().into_internal(), expected);
            }
            for (order, expected) in by_order(&part["rdp_at"]) {
                let expected = numbers(expected);
                assert_eq!(expected.len(), votes.queries());
                for (row, expected) in votes.rows().zip(expected) {
                    let rdp = dependent::gnmax_rdp(mechanism, row, &[order]).unwrap();
                    per_query.close(rdp.internal()[0], expected);
                }
            }
            for (order, expected) in by_order(&part["total_rdp_at"]) {
                let rdp = dependent::gnmax_total_rdp(mechanism, &votes, &[order]).unwrap();
                total.close(rdp.internal()[0], number(expected));
            }
            let rdp = dependent::gnmax_total_rdp(mechanism, &votes, &orders).unwrap().into_internal();
            compare_epsilon(&mut epsilon, basic(&rdp, &orders, 1e-5), &part["epsilon_rdp_basic"]);
            compare_epsilon(&mut epsilon, improved(&rdp, &orders, 1e-5), &part["epsilon_rdp"]);
            let squared =
                independent::gdp_mu_squared(0, 1.0, votes.queries() as u64, mechanism.sigma).unwrap();
            mu.close(gaussian_delta(squared.sqrt(), number(&part["epsilon_data_independent_exact"])), 1e-5);
        }
    }
    log_q.done(471);
    per_query.done(2355);
    total.done(75);
    epsilon.done(60);
    mu.done(15);
}

/// delta(epsilon) of mu-Gaussian DP, in plain arithmetic that is good enough for deltas of 1e-5.
fn gaussian_delta(mu: f64, epsilon: f64) -> f64 {
    let phi = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
    phi(0.5 * mu - epsilon / mu) - epsilon.exp() * phi(-0.5 * mu - epsilon / mu)
}

#[test]
fn the_screen_is_golden() {
    let golden = golden();
    let mut answered = Tally::new("log_pr_answered", 1e-8);
    let mut per_query = Tally::new("screen rdp_at", 1e-8);
    let mut promised = Tally::new("screen rdp_data_independent_at", 1e-8);
    let mut exact = Tally::new("screen rdp_exact_binary_data_independent_at", 1e-8);
    for set in object(&golden["vote_sets"]).values() {
        let votes = votes(set);
        let teachers = u32::try_from(set["teachers"].as_u64().unwrap()).unwrap();
        for part in object(&set["threshold"]).values() {
            let mechanism = screen(number(&part["T"]), number(&part["sigma"]));
            for (row, expected) in votes.rows().zip(numbers(&part["log_pr_answered"])) {
                let found = dependent::screen_log_answered(mechanism, row).unwrap();
                answered.close(found.into_internal(), expected);
            }
            for (order, expected) in by_order(&part["rdp_at"]) {
                for (row, expected) in votes.rows().zip(numbers(expected)) {
                    let found = dependent::screen_rdp(mechanism, row, &[order]).unwrap();
                    per_query.close(found.internal()[0], expected);
                }
            }
            for (order, expected) in by_order(&part["rdp_data_independent_at"]) {
                let found = independent::screen_rdp(mechanism.sigma, &[order]).unwrap();
                promised.close(found[0], number(expected));
            }
            for (order, expected) in by_order(&part["rdp_exact_binary_data_independent_at"]) {
                let found = independent::binary_screen_rdp(teachers, 10, mechanism, &[order]).unwrap();
                exact.close(found[0], number(expected));
            }
        }
    }
    answered.done(314);
    per_query.done(1570);
    promised.done(50);
    exact.done(50);
}

#[test]
fn lnmax_at_votes_is_golden() {
    let golden = golden();
    let orders = numbers(&golden["orders"]);
    let mut log_q = Tally::new("lnmax logq", 1e-8);
    let mut per_query = Tally::new("lnmax rdp_at", 1e-8);
    let mut epsilon = Tally::new("lnmax epsilon_rdp_basic and its order", 1e-8);
    for set in object(&golden["vote_sets"]).values() {
        let votes = votes(set);
        for part in object(&set["lnmax"]).values() {
            let scale = number(&part["lambda"]);
            for (row, expected) in votes.rows().zip(numbers(&part["logq"])) {
                log_q.close(dependent::lnmax_log_q(scale, row).unwrap().into_internal(), expected);
            }
            for (order, expected) in by_order(&part["rdp_at"]) {
                for (row, expected) in votes.rows().zip(numbers(expected)) {
                    let rdp = dependent::lnmax_rdp(scale, row, &[order]).unwrap();
                    per_query.close(rdp.internal()[0], expected);
                }
            }
            let rdp = dependent::lnmax_total_rdp(scale, &votes, &orders).unwrap().into_internal();
            compare_epsilon(&mut epsilon, basic(&rdp, &orders, 1e-5), &part["epsilon_rdp_basic"]);
        }
    }
    log_q.done(157);
    per_query.done(785);
    epsilon.done(10);
}

#[test]
fn the_exact_local_divergence_is_golden() {
    let golden = golden();
    let mut chances = Tally::new("output_probs", 1e-8);
    let mut forward = Tally::new("exact local rdp, D(M(D)||M(D'))", 1e-8);
    let mut backward = Tally::new("exact local rdp, D(M(D')||M(D))", 1e-8);
    for set in object(&golden["vote_sets"]).values() {
        let part = &set["gnmax_exact_local_rdp"];
        let sigma = number(&part["sigma"]);
        let votes = votes(set);
        let rows: Vec<&[u32]> = votes.rows().collect();
        let indices = part["rows"].as_array().unwrap();
        for (at, index) in indices.iter().enumerate() {
            let row = rows[usize::try_from(index.as_u64().unwrap()).unwrap()];
            let logs = local::output_log_probabilities(sigma, row).unwrap().into_internal();
            for (log, expected) in logs.iter().zip(numbers(&part["output_probs"][at])) {
                chances.close(log.exp(), expected);
            }
            for (order, expected) in by_order(&part["rdp_at"]) {
                let expected = numbers(&expected[at]);
                let found = local::gnmax_rdp(sigma, row, &[order]).unwrap().into_internal();
                forward.close(found.forward[0], expected[0]);
                backward.close(found.backward[0], expected[1]);
                let bound = dependent::gnmax_rdp(gnmax(sigma), row, &[order]).unwrap();
                assert!(found.forward[0] <= bound.internal()[0]);
            }
        }
    }
    chances.done(300);
    forward.done(60);
    backward.done(60);
}

#[test]
fn the_cases_are_golden() {
    let golden = golden();
    let orders = numbers(&golden["orders"]);
    let mut plain = Tally::new("cases: data-independent", 1e-8);
    let mut laplace = Tally::new("cases: LNMax", 1e-8);
    // The package's own rounding is 1e-6 where epsilon is 18.
    let mut intervals = Tally::new("cases: LNMax, epsilon_prv", 1e-6);
    let mut at_votes = Tally::new("cases: GNMax at votes", 1e-8);
    let mut confident = Tally::new("cases: Confident-GNMax at votes", 1e-8);
    for case in golden["cases"].as_array().unwrap() {
        let (parameters, delta) = (&case["parameters"], number(&case["delta"]));
        match case["mechanism"].as_str().unwrap() {
            "gnmax_data_independent" | "confident_gnmax_data_independent" => {
                let argmax = &parameters["argmax"];
                let (answers, sigma_2) = (argmax["answers"].as_u64().unwrap(), number(&argmax["sigma2"]));
                let (queries, sigma_1) = match &parameters["threshold"] {
                    Value::Null => (0, 0.0),
                    first => (first["queries"].as_u64().unwrap(), number(&first["sigma1"])),
                };
                let rdp =
                    independent::confident_gnmax_rdp(queries, sigma_1, answers, sigma_2, &orders).unwrap();
                plain.close(rdp[0] / orders[0], number(&case["rdp_slope_per_alpha"]));
                compare_epsilon(&mut plain, basic(&rdp, &orders, delta), &case["epsilon_rdp_basic"]);
                // The best of a dense grid, whose order is known: the grid itself is not needed.
                let dense = [number(&case["epsilon_rdp"]["order"])];
                let rdp =
                    independent::confident_gnmax_rdp(queries, sigma_1, answers, sigma_2, &dense).unwrap();
                compare_epsilon(&mut plain, improved(&rdp, &dense, delta), &case["epsilon_rdp"]);
                let mu = independent::gdp_mu_squared(queries, sigma_1, answers, sigma_2).unwrap().sqrt();
                plain.close(mu, number(&case["epsilon_exact"]["mu"]));
                plain.close(gaussian_delta(mu, number(&case["epsilon_exact"]["value"])), delta);
            }
            "lnmax_data_independent" => {
                let answers = number(&parameters["answers"]);
                let rdp: Vec<f64> = independent::lnmax_rdp(number(&parameters["lambda"]), &orders)
                    .unwrap()
                    .iter()
                    .map(|rdp| answers * rdp)
                    .collect();
                compare_epsilon(&mut laplace, basic(&rdp, &orders, delta), &case["epsilon_rdp_basic"]);
                compare_epsilon(&mut laplace, improved(&rdp, &orders, delta), &case["epsilon_rdp"]);
                let pure = independent::lnmax_rdp(number(&parameters["lambda"]), &[1e9]).unwrap()[0];
                laplace.close(pure * answers, number(&case["epsilon_pure"]));
                let prv = Prv::pure(2.0 / number(&parameters["lambda"])).unwrap();
                let golden = &case["epsilon_prv"];
                let found =
                    Interval::of(&[(prv, answers as u64)], delta, 0.01, number(&golden["delta_error"]));
                let found = found.unwrap();
                for (name, value) in
                    [("lower", found.lower), ("estimate", found.estimate), ("upper", found.upper)]
                {
                    intervals.close(value, number(&golden[name]));
                }
            }
            "gnmax_data_dependent" => {
                let votes = votes(&golden["vote_sets"][parameters["vote_set"].as_str().unwrap()]);
                let mechanism = gnmax(number(&parameters["sigma"]));
                let rdp = dependent::gnmax_total_rdp(mechanism, &votes, &orders).unwrap().into_internal();
                compare_epsilon(&mut at_votes, basic(&rdp, &orders, delta), &case["epsilon_rdp_basic"]);
                compare_epsilon(&mut at_votes, improved(&rdp, &orders, delta), &case["epsilon_rdp"]);
            }
            "confident_gnmax_data_dependent" => {
                let votes = votes(&golden["vote_sets"][parameters["vote_set"].as_str().unwrap()]);
                let mechanism = ConfidentGnmax {
                    screen: screen(number(&parameters["T"]), number(&parameters["sigma1"])),
                    argmax: gnmax(number(&parameters["sigma2"])),
                };
                let mask = parameters["answered_mask"].as_array().unwrap();
                let answered: Vec<bool> = mask.iter().map(|bit| bit.as_u64() == Some(1)).collect();
                let rdp = dependent::confident_charged_rdp(mechanism, &votes, &answered, &orders).unwrap();
                let rdp = rdp.into_internal();
                compare_epsilon(
                    &mut confident,
                    basic(&rdp, &orders, delta),
                    &case["epsilon_rdp_basic_charged"],
                );
                compare_epsilon(&mut confident, improved(&rdp, &orders, delta), &case["epsilon_rdp_charged"]);
                let expected = dependent::confident_expected(mechanism, &votes, &orders).unwrap();
                let expected = expected.into_internal();
                confident.close(expected.answers, number(&case["expected_answers"]));
                let epsilon = basic(&expected.rdp, &orders, delta);
                compare_epsilon(&mut confident, epsilon, &case["epsilon_rdp_basic_expected_cost"]);
                let exact = &case["epsilon_data_independent_exact"];
                let answers = answered.iter().filter(|answered| **answered).count();
                assert_eq!(exact["answers"].as_u64(), Some(answers as u64));
                let squared = independent::gdp_mu_squared(
                    votes.queries() as u64,
                    mechanism.screen.sigma,
                    answers as u64,
                    mechanism.argmax.sigma,
                );
                let mu = squared.unwrap().sqrt();
                confident.close(mu, number(&exact["mu"]));
                confident.close(gaussian_delta(mu, number(&exact["value"])), delta);
            }
            other => panic!("{other} is not a mechanism of PATE"),
        }
    }
    plain.done(70);
    laplace.done(10);
    intervals.done(6);
    at_votes.done(32);
    confident.done(36);
}

#[test]
fn ties_of_integer_noise_are_golden() {
    let golden = golden();
    let mut tail = Tally::new("argmax_gap_tail_sigma40", 1e-11);
    for row in golden["argmax_gap_tail_sigma40"].as_array().unwrap() {
        let gap = u32::try_from(row["gap"].as_u64().unwrap()).unwrap();
        tail.close(log_discrete_gap_tail(40.0, gap).unwrap().exp(), number(&row["p_ge"]));
        tail.close(log_discrete_gap_tail(40.0, gap + 1).unwrap().exp(), number(&row["p_gt"]));
        let continuous = dependent::gnmax_log_q(gnmax(40.0), &[gap, 0]).unwrap();
        tail.close(continuous.into_internal().exp(), number(&row["continuous"]));
    }
    tail.done(18);
}

#[test]
fn smooth_sensitivities_are_golden() {
    let golden = golden();
    let mut roots = Tally::new("smooth: logq0, logq1, logq", 1e-6);
    let mut lists = Tally::new("smooth: ls_by_distance", 1e-6);
    let mut smooths = Tally::new("smooth: smooth_at_beta, ls_tail_constant", 1e-6);
    let mut costs = Tally::new("smooth: gnss_cost", 1e-6);
    let mut conditions = 0;
    for part in golden["smooth_sensitivity"].as_array().unwrap() {
        let (kind, order) = (part["kind"].as_str().unwrap(), part["order"].as_f64().unwrap_or(f64::NAN));
        let list = match kind {
            "gnmax" => {
                let (row, sigma) = (counts(&part["counts"]), number(&part["sigma"]));
                let curve = GnmaxSensitivity::new(sigma, row.len(), order).unwrap();
                roots.close(curve.log_q0(), number(&part["logq0"]));
                roots.close(curve.log_q1(), number(&part["logq1"]));
                let log_q = dependent::gnmax_log_q(gnmax(sigma), &row).unwrap();
                roots.close(log_q.into_internal(), number(&part["logq"]));
                smooths.close(curve.plateau(), number(&part["ls_tail_constant"]));
                curve.by_distance(&row).unwrap()
            }
            "threshold" => {
                let mechanism = screen(number(&part["T"]), number(&part["sigma"]));
                smooth::screen_by_distance(mechanism, &counts(&part["counts"]), order).unwrap()
            }
            "gnss_cost" => {
                for row in part["rows"].as_array().unwrap() {
                    let (beta, sigma) = (number(&row["beta"]), number(&row["sigma"]));
                    let rdp = smooth::release_rdp(beta, sigma, number(&row["order"])).unwrap();
                    costs.close(rdp, number(&row["rdp"]));
                }
                continue;
            }
            "conditions_C5_C6" => {
                for row in part["rows"].as_array().unwrap() {
                    let classes = usize::try_from(row["classes"].as_u64().unwrap()).unwrap();
                    let curve =
                        GnmaxSensitivity::new(number(&row["sigma"]), classes, number(&row["order"])).unwrap();
                    let found = curve.conditions();
                    assert_eq!(Value::from(vec![found.c5, found.c6]), row["C5_C6"], "{row}");
                    conditions += 1;
                }
                continue;
            }
            other => panic!("{other} is not known"),
        };
        assert_eq!(list.internal().len() as u64, part["teachers"].as_u64().unwrap());
        for (value, expected) in list.internal().iter().zip(numbers(&part["ls_by_distance"])) {
            lists.close(*value, expected);
        }
        for (beta, expected) in by_order(&part["smooth_at_beta"]) {
            let found = smooth::smooth_sensitivity(&list, beta).unwrap().into_internal();
            smooths.close(found, number(expected));
        }
    }
    roots.done(15);
    lists.done(340);
    smooths.done(26);
    costs.done(4);
    assert_eq!(conditions, 4);
}

#[test]
fn no_noise_costs_everything_and_no_query_nothing() {
    let orders = [1.5, 20.0];
    let infinite = vec![f64::INFINITY; 2];
    let (row, none) = ([9, 1, 0], Votes::new(3, vec![]).unwrap());
    let some = Votes::from_rows(&[row]).unwrap();
    assert_eq!(independent::gnmax_rdp(0.0, &orders).unwrap(), infinite);
    assert_eq!(independent::screen_rdp(0.0, &orders).unwrap(), infinite);
    assert_eq!(independent::lnmax_rdp(0.0, &orders).unwrap(), infinite);
    assert_eq!(independent::gdp_mu_squared(0, 0.0, 0, 0.0).unwrap(), 0.0);
    assert_eq!(independent::gdp_mu_squared(0, 0.0, 1, 0.0).unwrap(), f64::INFINITY);
    assert_eq!(independent::confident_gnmax_rdp(0, 0.0, 0, 0.0, &orders).unwrap(), [0.0; 2]);
    assert_eq!(dependent::lnmax_rdp(0.0, &row, &orders).unwrap().into_internal(), infinite);
    assert_eq!(dependent::lnmax_total_rdp(0.0, &none, &orders).unwrap().into_internal(), [0.0; 2]);
    assert_eq!(local::gnmax_rdp(0.0, &row, &orders).unwrap().into_internal().backward, infinite);
    assert_eq!(smooth::release_rdp(0.01, 0.0, 14.0).unwrap(), f64::INFINITY);
    assert_eq!(smooth::release_rdp(0.05, 6.0, 10.0).unwrap(), f64::INFINITY);
    for noise in [Noise::Gaussian, Noise::DiscreteGaussian] {
        let argmax = Gnmax { sigma: 0.0, noise };
        let mechanism = ConfidentGnmax { screen: Screen { threshold: 5.0, sigma: 0.0, noise }, argmax };
        assert_eq!(
            independent::binary_screen_rdp(10, 3, mechanism.screen, &orders).unwrap(),
            infinite,
            "{noise:?}"
        );
        assert_eq!(dependent::gnmax_rdp(argmax, &row, &orders).unwrap().into_internal(), infinite);
        assert_eq!(dependent::screen_rdp(mechanism.screen, &row, &orders).unwrap().into_internal(), infinite);
        assert_eq!(dependent::gnmax_total_rdp(argmax, &none, &orders).unwrap().into_internal(), [0.0; 2]);
        let charged = |votes, answered: &[bool]| {
            dependent::confident_charged_rdp(mechanism, votes, answered, &orders).unwrap().into_internal()
        };
        assert_eq!(charged(&none, &[]), [0.0; 2]);
        assert_eq!(charged(&some, &[false]), infinite);
        // A query that no noise can let pass does not pay for its argmax.
        let never = ConfidentGnmax { screen: Screen { threshold: 1e4, sigma: 1.0, noise }, argmax };
        let expected = dependent::confident_expected(never, &some, &orders).unwrap().into_internal();
        assert!(expected.rdp.iter().all(|rdp| rdp.is_finite()), "{noise:?}: {expected:?}");
    }
}

#[test]
fn one_teacher_has_nothing_to_screen() {
    assert_eq!(independent::binary_screen_rdp(1, 10, screen(1.0, 2.0), &[2.0]).unwrap(), [0.0]);
}

#[test]
fn bad_input_is_an_error_that_names_it() {
    let parameter = |result: Result<Vec<f64>, Error>, name: &str| match result {
        Err(Error::Parameter { name: found, .. }) => assert!(found.contains(name), "{found}"),
        other => panic!("{other:?}"),
    };
    let row = [3, 1];
    for order in [1.0, 0.5, f64::NAN, f64::INFINITY] {
        parameter(independent::gnmax_rdp(40.0, &[order]), "order");
        parameter(
            dependent::gnmax_rdp(gnmax(40.0), &row, &[order]).map(NotReleasable::into_internal),
            "order",
        );
    }
    for sigma in [-1.0, f64::NAN, f64::INFINITY] {
        parameter(independent::gnmax_rdp(sigma, &[2.0]), "sigma");
        parameter(independent::screen_rdp(sigma, &[2.0]), "sigma");
        parameter(independent::lnmax_rdp(sigma, &[2.0]), "scale");
        parameter(
            dependent::gnmax_rdp(gnmax(sigma), &row, &[2.0]).map(NotReleasable::into_internal),
            "sigma",
        );
    }
    parameter(independent::binary_screen_rdp(10, 2, screen(f64::NAN, 1.0), &[2.0]), "threshold");
    parameter(independent::binary_screen_rdp(0, 2, screen(1.0, 1.0), &[2.0]), "teachers");
    parameter(independent::binary_screen_rdp(10, 1, screen(1.0, 1.0), &[2.0]), "classes");
    assert!(matches!(dependent::gnmax_log_q(gnmax(1.0), &[7]), Err(Error::Length { .. })));
    assert!(matches!(Votes::new(3, vec![1, 2]), Err(Error::Length { .. })));
    assert!(matches!(Votes::new(1, vec![1, 2]), Err(Error::Parameter { .. })));
    assert!(matches!(Votes::from_rows(&[vec![1, 2], vec![1]]), Err(Error::Length { .. })));
    let none: [&[u32]; 0] = [];
    assert!(Votes::from_rows(&none).is_err());
    let votes = Votes::from_rows(&[row, row]).unwrap();
    let mechanism = ConfidentGnmax { screen: screen(2.0, 5.0), argmax: gnmax(5.0) };
    assert!(matches!(
        dependent::confident_charged_rdp(mechanism, &votes, &[true], &[2.0]),
        Err(Error::Length { .. })
    ));
    assert!(GnmaxSensitivity::new(0.0, 10, 14.0).is_err());
    assert!(GnmaxSensitivity::new(40.0, 1, 14.0).is_err());
    let curve = GnmaxSensitivity::new(40.0, 10, 14.0).unwrap();
    assert!(matches!(curve.by_distance(&row), Err(Error::Length { .. })));
    assert!(smooth::release_sigma(14.0, 0.03, 0.0).is_err());
    let uneven = Votes::from_rows(&[[3, 1], [4, 9]]).unwrap();
    assert!(matches!(
        smooth::confident_by_distance(mechanism, &uneven, Answered::Expected, 14.0),
        Err(Error::Length { .. })
    ));
    let integer =
        ConfidentGnmax { argmax: Gnmax { sigma: 5.0, noise: Noise::DiscreteGaussian }, ..mechanism };
    assert!(matches!(
        smooth::confident_by_distance(integer, &votes, Answered::Expected, 14.0),
        Err(Error::Unsupported { .. })
    ));
}

#[test]
fn private_figures_say_so_and_votes_do_not_print() {
    let log_q = dependent::gnmax_log_q(gnmax(40.0), &[25, 25]).unwrap();
    assert!(log_q.to_string().ends_with(" (internal, not releasable)"));
    assert!(format!("{log_q:?}").starts_with("NotReleasable("));
    let votes = Votes::from_rows(&[[123_456, 1]]).unwrap();
    assert!(!format!("{votes:?}").contains("123456"));
}

#[test]
fn the_other_direction_may_exceed_the_bound() {
    // The bound is about D(M(D) || M(D')): 250 unanimous votes are a place where the other one is
    // larger than the first, and the theorem gives no reason why it should not pass the bound
    // elsewhere.
    let mut votes = vec![0; 10];
    votes[0] = 250;
    let found = local::gnmax_rdp(40.0, &votes, &[14.0]).unwrap().into_internal();
    assert!(found.backward[0] > 2.5 * found.forward[0], "{found:?}");
}

#[test]
fn the_release_noise_of_the_literature_comes_out() {
    // Spec, the authors' MNIST votes: order 14, beta 0.46 / 14, smooth sensitivity 0.06175.
    let beta = 0.46 / 14.0;
    assert!(smooth::beta_range(14.0).unwrap().contains(&beta));
    let sigma = smooth::release_sigma(14.0, beta, 0.06175).unwrap();
    assert!((sigma - 6.233).abs() < 1e-3, "{sigma}");
}

#[test]
fn a_list_of_a_run_is_the_sum_of_its_lists() {
    let rows = [[30, 10, 0], [20, 12, 8], [40, 0, 0]];
    let votes = Votes::from_rows(&rows).unwrap();
    let mechanism = ConfidentGnmax { screen: screen(25.0, 10.0), argmax: gnmax(8.0) };
    let answered = [true, false, true];
    let order = 6.0;
    let run = smooth::confident_by_distance(mechanism, &votes, Answered::These(&answered), order).unwrap();
    let curve = GnmaxSensitivity::new(8.0, 3, order).unwrap();
    let mut sum = NotReleasable::new(vec![0.0; 40]);
    for (row, answered) in rows.iter().zip(answered) {
        let first = smooth::screen_by_distance(mechanism.screen, row, order).unwrap();
        smooth::add_list(&mut sum, &first, 1.0).unwrap();
        if answered {
            smooth::add_list(&mut sum, &curve.by_distance(row).unwrap(), 1.0).unwrap();
        }
    }
    for (a, b) in run.internal().iter().zip(sum.internal()) {
        assert!((a - b).abs() <= 1e-14 * b, "{a} {b}");
    }
    let expected = smooth::confident_by_distance(mechanism, &votes, Answered::Expected, order).unwrap();
    let all = smooth::confident_by_distance(mechanism, &votes, Answered::These(&[true; 3]), order).unwrap();
    assert!(expected.internal().iter().zip(all.internal()).all(|(a, b)| a <= b));
}

/// One query's votes.
fn row(classes: std::ops::Range<usize>, most: u32) -> impl Strategy<Value = Vec<u32>> {
    (proptest::collection::vec(0..=most, classes), any::<prop::sample::Index>(), 0..=2 * most).prop_map(
        |(mut counts, class, extra)| {
            // A leader, more often than by chance.
            let class = class.index(counts.len());
            counts[class] += extra;
            counts
        },
    )
}

/// All votes in which one vote has moved.
fn neighbours(counts: &[u32]) -> Vec<Vec<u32>> {
    let mut all = Vec::new();
    for from in (0..counts.len()).filter(|from| counts[*from] > 0) {
        for to in (0..counts.len()).filter(|to| *to != from) {
            let mut moved = counts.to_vec();
            moved[from] -= 1;
            moved[to] += 1;
            all.push(moved);
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exact_is_below_the_bound_which_is_below_what_holds_for_all_votes(
        counts in row(2..6, 25),
        sigma in 0.7..60.0f64,
    ) {
        let orders = [1.05, 2.0, 5.0, 14.0, 40.0];
        let exact = local::gnmax_rdp(sigma, &counts, &orders).unwrap().into_internal();
        let bound = dependent::gnmax_rdp(gnmax(sigma), &counts, &orders).unwrap().into_internal();
        let promised = independent::gnmax_rdp(sigma, &orders).unwrap();
        // One part in 1e9 and the smallest divergence that plain numbers tell from 0 are left to
        // rounding.
        let below = |a: f64, b: f64| a <= b * (1.0 + 1e-9) + 1e-30;
        for index in 0..orders.len() {
            prop_assert!(below(exact.forward[index], bound[index]), "{exact:?} {bound:?}");
            prop_assert!(below(bound[index], promised[index]));
            // The theorem is about D(M(D) || M(D')) only: its q is the chance of an unlikely answer
            // under D, and under D' it may be larger. This direction is therefore held to what
            // holds for all votes.
            prop_assert!(below(exact.backward[index], promised[index]));
        }
    }

    #[test]
    fn chances_add_up_to_one(counts in row(2..9, 30), sigma in 0.5..80.0f64) {
        let logs = local::output_log_probabilities(sigma, &counts).unwrap().into_internal();
        let sum: f64 = logs.iter().map(|log| log.exp()).sum();
        prop_assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        // And the chance that the bound bounds.
        let max = counts.iter().max().unwrap();
        let first = counts.iter().position(|count| count == max).unwrap();
        let log_q = dependent::gnmax_log_q(gnmax(sigma), &counts).unwrap().into_internal();
        let others: f64 = logs.iter().enumerate().filter(|(at, _)| *at != first).map(|(_, log)| log.exp()).sum();
        prop_assert!(others <= log_q.exp() * (1.0 + 1e-10));
    }

    #[test]
    fn the_order_of_classes_does_not_matter(
        (sorted, shuffled) in row(2..8, 40).prop_flat_map(|row| (Just(row.clone()), Just(row).prop_shuffle())),
        sigma in 1.0..60.0f64,
        discrete: bool,
    ) {
        let noise = if discrete { Noise::DiscreteGaussian } else { Noise::Gaussian };
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-10 * b.abs() + 1e-300;
        let orders = [2.0, 14.0];
        let argmax = Gnmax { sigma, noise };
        let bound = |row: &[u32]| dependent::gnmax_rdp(argmax, row, &orders).unwrap().into_internal();
        let laplace = |row: &[u32]| dependent::lnmax_rdp(sigma, row, &orders).unwrap().into_internal();
        let first = Screen { threshold: 30.0, sigma, noise };
        let bit = |row: &[u32]| dependent::screen_rdp(first, row, &orders).unwrap().into_internal();
        let exact = |row: &[u32]| local::gnmax_rdp(sigma, row, &orders).unwrap().into_internal();
        let log_q = |row: &[u32]| dependent::gnmax_log_q(argmax, row).unwrap().into_internal();
        prop_assert!(close(log_q(&sorted), log_q(&shuffled)));
        for index in 0..orders.len() {
            prop_assert!(close(bound(&sorted)[index], bound(&shuffled)[index]));
            prop_assert!(close(laplace(&sorted)[index], laplace(&shuffled)[index]));
            prop_assert!(close(bit(&sorted)[index], bit(&shuffled)[index]));
            prop_assert!(close(exact(&sorted).forward[index], exact(&shuffled).forward[index]));
            prop_assert!(close(exact(&sorted).backward[index], exact(&shuffled).backward[index]));
        }
        let curve = GnmaxSensitivity::new(sigma, sorted.len(), 14.0).unwrap();
        let lists = [curve.by_distance(&sorted).unwrap(), curve.by_distance(&shuffled).unwrap()];
        prop_assert_eq!(lists[0].internal(), lists[1].internal());
    }

    #[test]
    fn q_falls_as_the_gap_grows(mut counts in row(2..8, 40), sigma in 0.5..60.0f64, discrete: bool) {
        let noise = if discrete { Noise::DiscreteGaussian } else { Noise::Gaussian };
        let max = counts.iter().copied().max().unwrap();
        let first = counts.iter().position(|count| *count == max).unwrap();
        let log_q = |counts: &[u32]| {
            (
                dependent::gnmax_log_q(Gnmax { sigma, noise }, counts).unwrap().into_internal(),
                dependent::lnmax_log_q(sigma, counts).unwrap().into_internal(),
            )
        };
        let cap = (-1.0 / counts.len() as f64).ln_1p();
        let mut before = log_q(&counts);
        for _ in 0..8 {
            counts[first] += 3;
            let after = log_q(&counts);
            prop_assert!(after.0 < before.0 || before.0 >= cap);
            prop_assert!(after.1 < before.1 || before.1 >= cap);
            before = after;
        }
    }

    #[test]
    fn integer_noise_ties_and_so_its_q_is_larger(counts in row(2..8, 40), sigma in 0.5..60.0f64) {
        let log_q = |noise| dependent::gnmax_log_q(Gnmax { sigma, noise }, &counts).unwrap().into_internal();
        prop_assert!(log_q(Noise::DiscreteGaussian) >= log_q(Noise::Gaussian));
    }

    #[test]
    fn the_bit_costs_less_than_the_noisy_count(
        teachers in 1..80u32,
        classes in 2..12u32,
        threshold in -5.0..90.0f64,
        sigma in 0.5..60.0f64,
        discrete: bool,
    ) {
        let noise = if discrete { Noise::DiscreteGaussian } else { Noise::Gaussian };
        let orders = [1.1, 2.0, 8.0, 64.0];
        let first = Screen { threshold, sigma, noise };
        let bit = independent::binary_screen_rdp(teachers, classes, first, &orders).unwrap();
        let count = independent::screen_rdp(sigma, &orders).unwrap();
        for (bit, count) in bit.iter().zip(&count) {
            prop_assert!(*bit <= count * (1.0 + 1e-10), "{bit} {count}");
        }
    }

    #[test]
    fn a_run_costs_its_screens_and_its_answers(
        rows in proptest::collection::vec(row(4..5, 30), 0..6),
        mask: [bool; 6],
        sigma in 2.0..60.0f64,
        discrete: bool,
    ) {
        let noise = if discrete { Noise::DiscreteGaussian } else { Noise::Gaussian };
        let orders = [2.0, 14.0];
        let mechanism = ConfidentGnmax {
            screen: Screen { threshold: 40.0, sigma: 2.0 * sigma, noise },
            argmax: Gnmax { sigma, noise },
        };
        let votes = Votes::new(4, rows.concat()).unwrap();
        let run = |answered: &[bool]| {
            dependent::confident_charged_rdp(mechanism, &votes, answered, &orders).unwrap().into_internal()
        };
        let answered = &mask[..rows.len()];
        let found = run(answered);
        let mut expected = [0.0; 2];
        for (row, answered) in rows.iter().zip(answered) {
            let first = dependent::screen_rdp(mechanism.screen, row, &orders).unwrap().into_internal();
            let second = dependent::gnmax_rdp(mechanism.argmax, row, &orders).unwrap().into_internal();
            for index in 0..2 {
                expected[index] += first[index] + if *answered { second[index] } else { 0.0 };
            }
        }
        let mean = dependent::confident_expected(mechanism, &votes, &orders).unwrap().into_internal();
        let all = run(&vec![true; rows.len()]);
        let none = run(&vec![false; rows.len()]);
        for index in 0..2 {
            prop_assert!((found[index] - expected[index]).abs() <= 1e-12 * expected[index]);
            prop_assert!(none[index] <= mean.rdp[index] && mean.rdp[index] <= all[index]);
        }
        prop_assert!(mean.answers <= rows.len() as f64);
    }

    #[test]
    fn smooth_sensitivity_is_above_the_local_one_and_falls_with_beta(
        counts in row(3..8, 40),
        sigma in 1.0..60.0f64,
        order in 1.5..30.0f64,
        beta in 0.0..0.2f64,
    ) {
        let curve = GnmaxSensitivity::new(sigma, counts.len(), order).unwrap();
        let lists = [
            curve.by_distance(&counts).unwrap(),
            smooth::screen_by_distance(screen(40.0, sigma), &counts, order).unwrap(),
        ];
        for list in lists {
            let at = |beta| smooth::smooth_sensitivity(&list, beta).unwrap().into_internal();
            prop_assert!(at(beta) >= list.internal().first().copied().unwrap_or(0.0));
            prop_assert!(at(beta + 0.05) <= at(beta));
        }
    }

    #[test]
    fn lists_bound_what_a_vote_changes(
        counts in row(10..11, 40),
        sigma in 30.0..60.0f64,
        order in 5.0..25.0f64,
    ) {
        let curve = GnmaxSensitivity::new(sigma, 10, order).unwrap();
        let found = curve.conditions();
        prop_assume!(found.c5 && found.c6);
        let first = screen(60.0, sigma);
        let second_cost = |counts: &[u32]| {
            curve.cost(dependent::gnmax_log_q(gnmax(sigma), counts).unwrap().into_internal())
        };
        let first_cost =
            |counts: &[u32]| dependent::screen_rdp(first, counts, &[order]).unwrap().into_internal()[0];
        let list = curve.by_distance(&counts).unwrap().into_internal();
        let steps = smooth::screen_by_distance(first, &counts, order).unwrap().into_internal();
        for moved in neighbours(&counts) {
            let changed = (second_cost(&moved) - second_cost(&counts)).abs();
            prop_assert!(changed <= list[0] * (1.0 + 1e-9) + 1e-15, "{changed} {}", list[0]);
            let changed = (first_cost(&moved) - first_cost(&counts)).abs();
            prop_assert!(changed <= steps[0] * (1.0 + 1e-9) + 1e-15, "{changed} {}", steps[0]);
        }
    }

    #[test]
    fn smooth_sensitivity_is_smooth(
        counts in row(10..11, 30),
        sigma in 30.0..60.0f64,
        order in 5.0..25.0f64,
        beta in 0.005..0.1f64,
    ) {
        let curve = GnmaxSensitivity::new(sigma, 10, order).unwrap();
        let found = curve.conditions();
        prop_assume!(found.c5 && found.c6);
        let first = screen(60.0, sigma);
        let both = |counts: &[u32]| {
            let lists = [
                curve.by_distance(counts).unwrap(),
                smooth::screen_by_distance(first, counts, order).unwrap(),
            ];
            lists.map(|list| smooth::smooth_sensitivity(&list, beta).unwrap().into_internal())
        };
        let here = both(&counts);
        for moved in neighbours(&counts) {
            for (here, there) in here.iter().zip(both(&moved)) {
                prop_assert!(there <= here * beta.exp() * (1.0 + 1e-9) + 1e-15, "{here} {there}");
            }
        }
    }
}
