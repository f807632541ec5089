//! Rényi divergence between two distributions on few outcomes.

use crate::special::log_sum_exp;

/// D(P || Q) at `order` > 1, from the logarithms of two distributions on the same outcomes.
///
/// Where P and Q are close, the plain sum of p^a q^(1-a) is 1 plus something that rounding drowns.
/// Since the sum of q (p/q - 1) is 0, the something is the sum of q ((p/q)^a - 1 - a (p/q - 1)),
/// and no term of this is negative.
pub(crate) fn renyi(log_p: &[f64], log_q: &[f64], order: f64) -> f64 {
    let above = order - 1.0;
    let terms: Vec<f64> = log_p.iter().zip(log_q).map(|(p, q)| log_term(*p, *q, order)).collect();
    let log_moment = log_sum_exp(&terms);
    if log_moment > 0.5 {
        return log_moment / above;
    }
    let excess: f64 = log_p.iter().zip(log_q).map(|(p, q)| convex_term(*p, *q, order)).sum();
    excess.ln_1p() / above
}

/// ln(p^a q^(1-a)), where nothing of P costs nothing.
fn log_term(log_p: f64, log_q: f64, order: f64) -> f64 {
    if log_p == f64::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    if log_q == f64::NEG_INFINITY {
        return f64::INFINITY;
    }
    log_q + order * (log_p - log_q)
}

/// q (r^a - 1 - a (r - 1)) for r = p / q.
fn convex_term(log_p: f64, log_q: f64, order: f64) -> f64 {
    if log_q == f64::NEG_INFINITY {
        // Here p is 0 as well: the caller saw a finite sum.
        return 0.0;
    }
    let log_ratio = log_p - log_q;
    if log_ratio * order > 30.0 {
        // The ratio's power may leave the range of f64 where q is tiny; the rest of the term does
        // not matter beside it.
        return (log_q + order * log_ratio).exp() - log_q.exp() - order * (log_p.exp() - log_q.exp());
    }
    log_q.exp() * convex_part(log_ratio, order)
}

/// e^(ax) - 1 - a (e^x - 1), without cancellation near 0.
fn convex_part(x: f64, order: f64) -> f64 {
    let scaled = order * x;
    if scaled.abs() >= 1.0 {
        return scaled.exp_m1() - order * x.exp_m1();
    }
    // The series in k >= 2 of ((ax)^k - a x^k) / k!, where the second is the first over a^(k-1).
    let log_order = order.ln();
    let (mut term, mut sum) = (scaled, 0.0);
    for k in 2..=24_i32 {
        term *= scaled / f64::from(k);
        sum -= term * (f64::from(1 - k) * log_order).exp_m1();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64, relative: f64) {
        assert!((value - expected).abs() <= relative * expected.abs(), "{value} is not {expected}");
    }

    // mpmath 1.3, mp.dps = 40: log(sum p^a q^(1-a)) / (a - 1).
    #[test]
    fn close_distributions_and_far_ones_are_told_apart_exactly() {
        let logs = |p: f64| [p.ln(), (-p).ln_1p()];
        close(renyi(&logs(0.5), &logs(0.500_000_1), 3.0), 5.999_999_993_683_77e-14, 1e-8);
        close(renyi(&logs(0.5), &logs(0.25), 3.0), 0.399_253_848_108_885_8, 1e-14);
        close(renyi(&logs(0.5), &logs(1e-12), 20.0), 26.901_392_504_812_82, 1e-14);
        assert_eq!(renyi(&logs(0.3), &logs(0.3), 3.0), 0.0);
        assert_eq!(renyi(&logs(0.3), &[f64::NEG_INFINITY, 0.0], 3.0), f64::INFINITY);
        assert_eq!(renyi(&[f64::NEG_INFINITY, 0.0], &[f64::NEG_INFINITY, 0.0], 3.0), 0.0);
    }
}
