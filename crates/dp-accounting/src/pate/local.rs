//! What one noisy argmax exactly leaks at the votes at hand.
//!
//! # What it is not
//! A certificate: these are functions of private votes ([`NotReleasable`]), and they say nothing
//! about other votes. They are the yardstick for the bounds of [`dependent`](super::dependent), the
//! expectation of a test that draws answers, and what an auditor can hope to see at most.
//!
//! # Source
//! The definition of the mechanism. Chadha et al. 2024 (arXiv 2402.09403) audit PATE against such
//! exact divergences.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Result, check_scale};
use crate::pate::divergence::renyi;
use crate::pate::{NO_NOISE, NotReleasable, check_counts, check_orders, largest};
use crate::special::{log_ndtr, log_sum_exp};

/// Both directions of the exact Rényi divergence to the worst neighbour, at each order.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// The largest D(M(D) || M(D')). [`gnmax_rdp`](super::dependent::gnmax_rdp) bounds this.
    pub forward: Vec<f64>,
    /// The largest D(M(D') || M(D)). The data-dependent bound at D says nothing about this; alpha /
    /// sigma^2 bounds both.
    pub backward: Vec<f64>,
}

/// ln of the chance of each class to be the argmax of the counts with normal noise of scale
/// `sigma`.
///
/// # What it is not
/// Releasable.
///
/// # Edge cases
/// `sigma` 0: the first class with most votes.
///
/// # Source
/// The integral over the winner's noise z of phi(z) prod Phi((n_i - n_j) / sigma + z).
///
/// # Rounding
/// To nearest. The integrand's logarithm bends at least as much as that of phi, so that 10 to
/// either side of its peak nothing is left (e^-50), and the trapezoid's error falls like e^(-2 pi^2
/// / (step^2 K)), which is e^-78: relative error below about 1e-13, also for chances like e^-800.
/// The runtime is `D^2 sqrt(K)` for D different counts.
pub fn output_log_probabilities(sigma: f64, counts: &[u32]) -> Result<NotReleasable<Vec<f64>>> {
    check_scale("sigma of the argmax", sigma)?;
    Ok(NotReleasable::new(log_probabilities(sigma, check_counts(counts)?)))
}

fn log_probabilities(sigma: f64, counts: &[u32]) -> Vec<f64> {
    let max = largest(counts);
    if sigma < NO_NOISE {
        let first = counts.iter().position(|count| *count == max);
        let sure = |class| if Some(class) == first { 0.0 } else { f64::NEG_INFINITY };
        return (0..counts.len()).map(sure).collect();
    }
    let mut classes_with: BTreeMap<u32, u32> = BTreeMap::new();
    for count in counts {
        *classes_with.entry(*count).or_default() += 1;
    }
    let chances: BTreeMap<u32, f64> =
        classes_with.keys().map(|&count| (count, log_chance(sigma, count, &classes_with))).collect();
    let mut logs: Vec<f64> = counts.iter().map(|count| chances[count]).collect();
    // A likely winner's chance is what the others leave: that has more digits than the integral
    // has.
    if let Some(first) = counts.iter().position(|count| *count == max)
        && logs[first] > -std::f64::consts::LN_2
    {
        let others: f64 =
            logs.iter().enumerate().filter(|(class, _)| *class != first).map(|(_, log)| log.exp()).sum();
        logs[first] = (-others).ln_1p();
    }
    logs
}

/// ln of the chance to win of one class with `own` votes.
fn log_chance(sigma: f64, own: u32, classes_with: &BTreeMap<u32, u32>) -> f64 {
    let rivals: Vec<(f64, f64)> = classes_with
        .iter()
        .map(|(&count, &classes)| {
            let rivals = f64::from(classes) - if count == own { 1.0 } else { 0.0 };
            ((f64::from(own) - f64::from(count)) / sigma, rivals)
        })
        .filter(|(_, rivals)| *rivals > 0.0)
        .collect();
    let log_density = |z: f64| {
        let reached: f64 = rivals.iter().map(|(ahead, rivals)| rivals * log_ndtr(ahead + z)).sum();
        reached - 0.5 * z * z - 0.5 * std::f64::consts::TAU.ln()
    };
    // Falls everywhere, from at least 0 at z = 0.
    let slope = |z: f64| {
        let hazard = |x: f64| (-0.5 * x * x - 0.5 * std::f64::consts::TAU.ln() - log_ndtr(x)).exp();
        rivals.iter().map(|(ahead, rivals)| rivals * hazard(ahead + z)).sum::<f64>() - z
    };
    let (mut low, mut high) = (0.0, 1.0);
    while slope(high) > 0.0 {
        (low, high) = (high, 2.0 * high);
    }
    while high - low > 0.125 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if slope(middle) > 0.0 { low = middle } else { high = middle }
    }
    let n_rivals: f64 = rivals.iter().map(|(_, rivals)| rivals).sum();
    let step = 0.5 / (n_rivals + 1.0).sqrt();
    let reach = (10.25 / step).ceil() as i32;
    let terms: Vec<f64> = (-reach..=reach).map(|k| log_density(low + f64::from(k) * step)).collect();
    (log_sum_exp(&terms) + step.ln()).min(0.0)
}

/// The exact Rényi divergences between the noisy argmax at these counts and at all neighbours: one
/// vote moved from any class that has one to any other.
///
/// # What it is not
/// A guarantee, or releasable: see the [module](self).
///
/// # Edge cases
/// `sigma` 0: infinite. No votes: 0, there is no vote to move.
///
/// # Source
/// The definition; normal noise.
///
/// # Rounding
/// To nearest, without cancellation where neighbours are close: relative error below about 1e-10.
/// The runtime is that of [`output_log_probabilities`] for each pair of different counts.
pub fn gnmax_rdp(sigma: f64, counts: &[u32], orders: &[f64]) -> Result<NotReleasable<Divergence>> {
    check_scale("sigma of the argmax", sigma)?;
    check_orders(orders)?;
    check_counts(counts)?;
    let mut worst = Divergence { forward: vec![0.0; orders.len()], backward: vec![0.0; orders.len()] };
    if sigma < NO_NOISE {
        let infinite = vec![f64::INFINITY; orders.len()];
        return Ok(NotReleasable::new(Divergence { forward: infinite.clone(), backward: infinite }));
    }
    let here = log_probabilities(sigma, counts);
    let mut seen = BTreeSet::new();
    for from in (0..counts.len()).filter(|class| counts[*class] > 0) {
        for to in (0..counts.len()).filter(|class| *class != from) {
            // Classes with equal counts are equal to the mechanism.
            if !seen.insert((counts[from], counts[to])) {
                continue;
            }
            let mut moved = counts.to_vec();
            moved[from] -= 1;
            moved[to] = moved[to].saturating_add(1);
            let there = log_probabilities(sigma, &moved);
            for (index, order) in orders.iter().enumerate() {
                worst.forward[index] = worst.forward[index].max(renyi(&here, &there, *order));
                worst.backward[index] = worst.backward[index].max(renyi(&there, &here, *order));
            }
        }
    }
    Ok(NotReleasable::new(worst))
}
