//! Gaussian noise against true values: never below them, and close to them, from the usual to the
//! extreme.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

use dp_accounting::gdp;
use dp_accounting::pld::{Composition, PrivacyLoss, STEP, on_finest_grid};

struct Row {
    q: f64,
    sigma: f64,
    steps: u64,
    delta: f64,
    remove: f64,
    add: f64,
}

/// golden_gaussian.json, by make_gaussian.py.
fn rows() -> Vec<Row> {
    let text = include_str!("golden_gaussian.json");
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    value["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| Row {
            q: number(&row[0]),
            sigma: number(&row[1]),
            steps: row[2].as_u64().unwrap(),
            delta: number(&row[3]),
            remove: number(&row[4]),
            add: number(&row[5]),
        })
        .collect()
}

/// The table itself is rounded to the nearest number.
fn not_below(found: f64, truth: f64) -> bool {
    found >= truth * (1.0 - 2.0 * f64::EPSILON)
}

/// Attacks, row 14.
#[test]
fn losses_on_a_grid_never_cost_less_than_the_truth() {
    let rows = rows();
    assert!(rows.len() > 400);
    let (mut finite, mut tight) = (0, 0);
    for row in &rows {
        let Row { q, sigma, steps, delta, .. } = *row;
        // What one step and all together can lose, so that no grid here has many more than 100,000
        // points.
        let reach = 24.0 * (steps as f64).sqrt() / sigma + 0.5 / (sigma * sigma);
        for step in [STEP, 0.1 * STEP, 1e-2].map(|step| f64::max(step, (reach * 1e-5).min(1.0))) {
            let cost = |step: f64| {
                let loss = PrivacyLoss::sampled_gaussian(q, sigma, step)?;
                Composition::new().with(&loss, steps).epsilon_by_direction(delta)
            };
            // A fine grid has no room for large losses: then a coarser one is taken, and the bound
            // is the same.
            let (found, used) = on_finest_grid(step, cost).unwrap();
            for (name, found, truth) in [("remove", found.remove, row.remove), ("add", found.add, row.add)] {
                let case =
                    format!("q {q}, sigma {sigma}, {steps} steps, delta {delta:e}, step {used:e}, {name}");
                assert!(
                    not_below(found, truth),
                    "{case}: {found} is below {truth} by {:e}",
                    1.0 - found / truth
                );
                finite += usize::from(found.is_finite());
                // A loss is rounded up by a step at most; steps of small losses are not for a
                // coarse grid.
                if (found - truth) / truth.max(1.0) < 1e-3 {
                    tight += 1;
                }
            }
        }
    }
    let all = rows.len() * 6;
    assert!(finite > all * 9 / 10 && tight > all * 3 / 4, "{finite} finite and {tight} tight of {all}");
}

/// Attacks, row 14: deltas below 2.2e-308, at which the search for epsilon never ended.
#[test]
fn gaussian_dp_is_exact_down_to_the_smallest_delta() {
    for row in rows().iter().filter(|row| row.q >= 1.0) {
        let Row { sigma, steps, delta, remove: truth, .. } = *row;
        let mu = gdp::total_mu([(steps, 1.0, sigma)]).unwrap();
        let found = gdp::epsilon(mu, delta).unwrap();
        // The smallest numbers are multiples of 5e-324, and rounded up to the next.
        let slack = if delta < 1e-300 { 1e-3 } else { 1e-6 };
        let case = format!("sigma {sigma}, {steps} steps, delta {delta:e}: {found} {truth}");
        assert!(not_below(found, truth) && found <= truth + slack * (1.0 + truth), "{case}");
    }
    for delta in [5e-324, 1e-310, 2.2e-308, 1e-300] {
        for mu in [1e-300, 1e-8, 1.0, 30.0, 1e5, 1e100] {
            let epsilon = gdp::epsilon(mu, delta).unwrap();
            assert_eq!(epsilon > 0.0, gdp::delta(mu, 0.0).unwrap() > delta, "{mu:e} {delta:e}: {epsilon}");
            let back = gdp::mu(epsilon.min(1e300), delta).unwrap();
            assert!(back >= 0.0 && back <= mu * (1.0 + 1e-8), "{mu:e} {delta:e}: {epsilon:e} {back:e}");
        }
    }
}
