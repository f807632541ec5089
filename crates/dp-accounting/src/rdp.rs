//! Renyi differential privacy: curves over orders, their composition, and their conversion to
//! (epsilon, delta).
//!
//! A mechanism is (alpha, r)-RDP if the Renyi divergence of order alpha between its outputs on
//! neighbouring data sets is at most r, both ways round (Mironov 2017, 1702.07476). Costs add up
//! order by order. RDP is quick and good for planning; a [PLD](crate::pld) of the same mechanism is
//! tighter.
//!
//! # Rounding
//! Values are computed from sums of positive terms, so that small costs keep their relative
//! accuracy, and a relative 1e-12 is added ([`MARGIN`]). The largest error against 40-digit values
//! over the tests' grid is 100 times smaller.
//!
//! ```
//! use dp_accounting::rdp::{Orders, RdpCurve};
//! // 1000 steps of DP-SGD: sampling rate 0.01, noise multiplier 1.
//! let mut curve = RdpCurve::zero(&Orders::default());
//! curve.add(&RdpCurve::sampled_gaussian(curve.orders(), 0.01, 1.0)?, 1000)?;
//! let found = curve.epsilon(1e-5)?;
//! assert!((found.epsilon - 2.101365).abs() < 1e-6);
//! # Ok::<(), dp_accounting::Error>(())
//! ```

use std::sync::Arc;

use crate::error::{check, check_delta, check_scale, check_sensitivity};
use crate::special::{log_add_exp, log_sum_exp, log1m_exp};
use crate::{Error, Result};

/// Relative, added to every divergence that is computed with rounding.
pub const MARGIN: f64 = 1e-12;

/// Below this noise multiplier the integrand has two peaks far apart, and moments at fractional
/// orders come from the integer ones.
const LEAST_INTEGRATED: f64 = 0.1;

/// Points of an integral at most.
const MOST_POINTS: f64 = 1e6;

/// Integer orders up to this are binomial sums; larger and fractional ones are integrals.
const LARGEST_SUM: f64 = 4096.0;

/// Orders at which divergences are tracked: ascending, each above 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Orders(Arc<[f64]>);

impl Orders {
    /// A list of one's own; it is sorted, and repetitions go.
    ///
    /// # Errors
    /// An empty list, an order of 1 or below, one that is not finite.
    pub fn new(mut orders: Vec<f64>) -> Result<Self> {
        if orders.is_empty() {
            return Err(Error::Length { name: "the list of orders", found: 0, allowed: "at least one" });
        }
        for &order in &orders {
            check_order(order)?;
        }
        orders.sort_by(f64::total_cmp);
        orders.dedup();
        Ok(Self(orders.into()))
    }

    /// Those of Opacus: 1.1 to 10.9 by 0.1, 12 to 63.
    pub fn opacus() -> Self {
        Self(tenths().chain((12..64).map(f64::from)).collect())
    }

    /// Those of the PATE analysis of 2018: 2 to 100.5 by 0.5, then 100 up to 500 on a logarithmic
    /// scale.
    pub fn pate2018() -> Self {
        let halves = (4..=201).map(|twice| 0.5 * f64::from(twice));
        let (low, high) = (100f64.log10(), 500f64.log10());
        let spaced = (0..100).map(|i| 10f64.powf(low + (high - low) * f64::from(i) / 99.0));
        let mut all: Vec<f64> = halves.chain(spaced).collect();
        all.sort_by(f64::total_cmp);
        Self(all.into())
    }

    /// The orders.
    pub fn as_slice(&self) -> &[f64] {
        &self.0
    }
}

/// Those of Google's dp-accounting: 1.1 to 10.9 by 0.1, 11 to 63, then 128, 256, 512, 1024.
impl Default for Orders {
    fn default() -> Self {
        let integers = (11..64).chain([128, 256, 512, 1024]);
        Self(tenths().chain(integers.map(f64::from)).collect())
    }
}

fn tenths() -> impl Iterator<Item = f64> {
    (1..100).map(|tenth| 1.0 + f64::from(tenth) / 10.0)
}

fn check_order(order: f64) -> Result<f64> {
    check("an order", order, |order| order > 1.0, "above 1 and finite")
}

/// An epsilon, and the order that gave it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Infinite where no order gives a finite one.
    pub epsilon: f64,
    /// The order; where epsilon is 0 or infinite, the first of the list.
    pub order: f64,
}

/// Divergences at every order of a list, each 0 or above; infinite where there is no bound.
#[derive(Clone, Debug, PartialEq)]
pub struct RdpCurve {
    orders: Orders,
    values: Vec<f64>,
}

impl RdpCurve {
    /// The cost of nothing.
    pub fn zero(orders: &Orders) -> Self {
        Self { orders: orders.clone(), values: vec![0.0; orders.0.len()] }
    }

    /// A curve out of its values, one for each order.
    ///
    /// # Errors
    /// Another number of values, a negative one, NaN.
    pub fn new(orders: &Orders, values: Vec<f64>) -> Result<Self> {
        if values.len() != orders.0.len() {
            let found = values.len();
            return Err(Error::Length { name: "the list of divergences", found, allowed: "one per order" });
        }
        if let Some(&value) = values.iter().find(|value| value.is_nan() || **value < 0.0) {
            return Err(Error::Parameter { name: "a divergence", value, allowed: "0 or above" });
        }
        Ok(Self { orders: orders.clone(), values })
    }

    /// The Gaussian mechanism: alpha D^2 / (2 sigma^2) for L2 sensitivity D.
    ///
    /// # Edge cases
    /// Sensitivity 0 costs 0; sigma 0 costs infinity.
    ///
    /// # Source
    /// Mironov 2017 (1702.07476).
    ///
    /// # Errors
    /// A negative or non-finite parameter.
    pub fn gaussian(orders: &Orders, sigma: f64, sensitivity: f64) -> Result<Self> {
        let (sigma, sensitivity) = (check_scale("sigma", sigma)?, check_sensitivity(sensitivity)?);
        let slope = if sensitivity > 0.0 { 0.5 * (sensitivity / sigma).powi(2) } else { 0.0 };
        Ok(Self::linear(orders, slope * (1.0 + 4.0 * f64::EPSILON)))
    }

    /// slope * alpha at every order alpha.
    fn linear(orders: &Orders, slope: f64) -> Self {
        Self { orders: orders.clone(), values: orders.0.iter().map(|order| slope * order).collect() }
    }

    /// One step of the Poisson-subsampled Gaussian mechanism: every record takes part with
    /// probability `q`, independently of the others, the sum has L2 sensitivity 1, and the noise
    /// has standard deviation `sigma`.
    ///
    /// # Guarantee
    /// Under adding or removing one record. Shuffled batches of fixed size are another mechanism,
    /// and not covered.
    ///
    /// # Edge cases
    /// q 0 costs 0; q 1 is the Gaussian mechanism; sigma 0 costs infinity.
    ///
    /// # Source
    /// Mironov, Talwar and Zhang 2019 (1908.10530): the divergence of N(0, sigma^2) and its mixture
    /// with N(1, sigma^2); the binomial sum at integer orders, the integral itself at others.
    ///
    /// # Errors
    /// q outside of [0, 1]; a negative sigma.
    pub fn sampled_gaussian(orders: &Orders, q: f64, sigma: f64) -> Result<Self> {
        let q = check("the sampling rate q", q, |q| (0.0..=1.0).contains(&q), "between 0 and 1")?;
        let sigma = check_scale("sigma", sigma)?;
        if q == 0.0 {
            return Ok(Self::zero(orders));
        }
        if q >= 1.0 || sigma == 0.0 {
            return Self::gaussian(orders, sigma, 1.0);
        }
        let value = |(&order, log_moment): (&f64, f64)| {
            (log_moment / (order - 1.0) * (1.0 + MARGIN)).min(0.5 * order / (sigma * sigma))
        };
        let moments = Mixture { q, sigma }.log_moments(&orders.0);
        Ok(Self { orders: orders.clone(), values: orders.0.iter().zip(moments).map(value).collect() })
    }

    /// The Laplace mechanism of scale `scale` on a query of L1 sensitivity `sensitivity`.
    ///
    /// # Edge cases
    /// Sensitivity 0 costs 0; scale 0 costs infinity. Never more than sensitivity / scale, its pure
    /// epsilon.
    ///
    /// # Source
    /// Mironov 2017 (1702.07476), table of basic mechanisms.
    ///
    /// # Errors
    /// A negative or non-finite parameter.
    pub fn laplace(orders: &Orders, scale: f64, sensitivity: f64) -> Result<Self> {
        let (scale, sensitivity) = (check_scale("the scale", scale)?, check_sensitivity(sensitivity)?);
        if sensitivity == 0.0 {
            return Ok(Self::zero(orders));
        }
        let x = sensitivity / scale;
        let value = |&order: &f64| {
            if x.is_infinite() {
                return x;
            }
            let inner = (order - 1.0) * ((1.0 - 2.0 * order) * x).exp_m1() / (2.0 * order - 1.0);
            let cancelled = 8.0 * f64::EPSILON * x * order;
            (x + inner.ln_1p() / (order - 1.0) + cancelled).min(x)
        };
        Ok(Self { orders: orders.clone(), values: orders.0.iter().map(value).collect() })
    }

    /// Anything that is `epsilon`-DP: min(epsilon^2 alpha / 2, epsilon).
    ///
    /// # Source
    /// Bun and Steinke 2016 (1605.02065): epsilon-DP is epsilon^2/2-zCDP; no divergence exceeds
    /// epsilon.
    ///
    /// # Errors
    /// A negative epsilon.
    pub fn pure(orders: &Orders, epsilon: f64) -> Result<Self> {
        if epsilon < f64::INFINITY {
            check("epsilon", epsilon, |value| value >= 0.0, "0 or above")?;
        }
        let value =
            |&order: &f64| (0.5 * epsilon * epsilon * order * (1.0 + 4.0 * f64::EPSILON)).min(epsilon);
        Ok(Self { orders: orders.clone(), values: orders.0.iter().map(value).collect() })
    }

    /// Adds `other`, `times` times.
    ///
    /// # Errors
    /// Another list of orders.
    pub fn add(&mut self, other: &Self, times: u64) -> Result<()> {
        if self.orders != other.orders {
            let found = other.orders.0.len();
            return Err(Error::Length {
                name: "the other curve's list of orders",
                found,
                allowed: "the same ones",
            });
        }
        for (sum, value) in self.values.iter_mut().zip(&other.values) {
            // Zero times infinity is nothing.
            if times > 0 {
                *sum = (*sum + times as f64 * value) * (1.0 + 2.0 * f64::EPSILON);
            }
        }
        Ok(())
    }

    /// The orders.
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// The divergences, in the order of the orders.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The smallest epsilon over the orders, by the improved conversion: r + ln(1 - 1/alpha) -
    /// ln(delta alpha) / (alpha - 1).
    ///
    /// # Source
    /// Canonne, Kamath and Steinke 2020 (2004.00010), Prop. 12; the same formula in Asoodeh et al.
    /// (2001.05990).
    ///
    /// # Errors
    /// delta outside of (0, 1).
    pub fn epsilon(&self, delta: f64) -> Result<Found> {
        let delta = check_delta(delta)?;
        Ok(self.best(|order, r| {
            // The total variation distance is at most sqrt(1 - exp(-KL)), and KL is at most any r
            // (Bretagnolle and Huber).
            if delta * delta >= -(-r).exp_m1() { 0.0 } else { improved(order, r, delta) }
        }))
    }

    /// The smallest epsilon over the orders, by the basic conversion r - ln(delta) / (alpha - 1).
    ///
    /// # Source
    /// Mironov 2017 (1702.07476), Prop. 3. Kept for comparison: the improved one is never larger.
    ///
    /// # Errors
    /// delta outside of (0, 1).
    pub fn epsilon_basic(&self, delta: f64) -> Result<Found> {
        let log_delta = check_delta(delta)?.ln();
        Ok(self.best(|order, r| up(r - log_delta / (order - 1.0))))
    }

    /// The smallest delta over the orders for `epsilon`: ln delta = (alpha - 1) (r - epsilon + ln(1
    /// - 1/alpha)) - ln alpha.
    ///
    /// # Errors
    /// epsilon below 0 or not finite.
    pub fn delta(&self, epsilon: f64) -> Result<f64> {
        let epsilon = check("epsilon", epsilon, |value| value >= 0.0, "0 or above")?;
        let of = |(&order, &r): (&f64, &f64)| {
            let log = (order - 1.0) * (r - epsilon + (-1.0 / order).ln_1p()) - order.ln();
            let log = log + 8.0 * f64::EPSILON * (order - 1.0) * (r + epsilon + 1.0);
            log.exp().min((-(-r).exp_m1()).sqrt())
        };
        Ok(self.orders.0.iter().zip(&self.values).map(of).fold(1.0, f64::min))
    }

    fn best(&self, convert: impl Fn(f64, f64) -> f64) -> Found {
        let mut best = Found { epsilon: f64::INFINITY, order: self.orders.0[0] };
        for (&order, &r) in self.orders.0.iter().zip(&self.values) {
            // Below, the improved formula gains nothing and loses digits.
            if order <= 1.01 {
                continue;
            }
            let epsilon = convert(order, r).max(0.0);
            if epsilon < best.epsilon {
                best = Found { epsilon, order };
            }
        }
        best
    }
}

/// The epsilon at `delta` of a cost that is `slope` * alpha at every order alpha, over all real
/// orders: GNMax, screens, and the Gaussian mechanism, without a list of orders to choose.
///
/// # Errors
/// A negative slope; delta outside of (0, 1).
pub fn epsilon_of_linear(slope: f64, delta: f64) -> Result<Found> {
    let delta = check_delta(delta)?;
    if slope == f64::INFINITY {
        return Ok(Found { epsilon: slope, order: 2.0 });
    }
    let slope = check("the slope", slope, |slope| slope >= 0.0, "0 or above")?;
    if slope == 0.0 {
        return Ok(Found { epsilon: 0.0, order: 2.0 });
    }
    let of = |order: f64| improved(order, slope * order, delta);
    // The formula has one minimum in alpha - 1, so a golden section on its logarithm finds it.
    let golden = 0.5 * (5f64.sqrt() - 1.0);
    let (mut low, mut high) = ((0.01f64).ln(), (1e9f64).ln());
    for _ in 0..100 {
        let (left, right) = (high - golden * (high - low), low + golden * (high - low));
        if of(1.0 + left.exp()) <= of(1.0 + right.exp()) {
            high = right;
        } else {
            low = left;
        }
    }
    let order = 1.0 + (0.5 * (low + high)).exp();
    Ok(Found { epsilon: of(order).max(0.0), order })
}

fn improved(order: f64, r: f64, delta: f64) -> f64 {
    // Not the logarithm of the product: where delta is tiny, it has no digits.
    up(r + (-1.0 / order).ln_1p() - (delta.ln() + order.ln()) / (order - 1.0))
}

/// A few units in the last place up: the roundings of the conversions.
fn up(value: f64) -> f64 {
    value + 16.0 * f64::EPSILON * (value.abs() + 1.0)
}

/// (1 - q) N(0, sigma^2) + q N(1, sigma^2) against N(0, sigma^2).
struct Mixture {
    q: f64,
    sigma: f64,
}

impl Mixture {
    /// ln E[ratio^alpha] under N(0, sigma^2) for every order alpha.
    fn log_moments(&self, orders: &[f64]) -> Vec<f64> {
        let is_sum = |order: f64| order.fract() == 0.0 && order <= LARGEST_SUM;
        let largest =
            |sums: bool| orders.iter().copied().filter(|order| is_sum(*order) == sums).fold(0.0, f64::max);
        let points = self.points(largest(false));
        // Without points there are the integer orders on either side.
        let beside = if points.is_some() { 0.0 } else { largest(false).min(LARGEST_SUM).ceil() };
        let terms = self.terms(largest(true).max(beside) as usize);
        let moment = |&order: &f64| match &points {
            _ if is_sum(order) => self.sum(order, &terms),
            Some(points) => integral(order, points),
            None => self.between(order, &terms),
        };
        orders.iter().map(moment).collect()
    }

    /// ln(q^k (exp(k(k-1) / (2 sigma^2)) - 1)) for k = 0, ..., n, and ln k!.
    fn terms(&self, n: usize) -> Vec<(f64, f64)> {
        let log_in = self.q.ln();
        (0..=n)
            .map(|k| {
                let k = k as f64;
                let t = 0.5 * k * (k - 1.0) / (self.sigma * self.sigma);
                (k * log_in + t + log1m_exp(-t), libm::lgamma(k + 1.0))
            })
            .collect()
    }

    /// The moment at an integer order is sum_k C(alpha, k) (1-q)^(alpha-k) q^k exp(k(k-1) / (2
    /// sigma^2)). Less the binomial theorem's 1 all terms are positive, those of k = 0 and 1
    /// vanish, and nothing cancels.
    fn sum(&self, order: f64, terms: &[(f64, f64)]) -> f64 {
        let n = order as usize;
        let log_out = (-self.q).ln_1p();
        let Some((head, (_, top))) = terms.get(..=n).and_then(|head| Some((head, head.last()?))) else {
            return f64::INFINITY;
        };
        let logs: Vec<f64> = (2..=n)
            .zip(head.iter().skip(2).zip(head.iter().rev().skip(2)))
            .map(|(k, ((term, below), (_, rest)))| top - below - rest + (n - k) as f64 * log_out + term)
            .collect();
        ln_1p_exp(log_sum_exp(&logs))
    }

    /// A bound at a fractional order: the logarithm of a moment is convex in its order, so the line
    /// between the integer orders beside it lies above; beyond the largest of them, that of the
    /// plain Gaussian mechanism.
    fn between(&self, order: f64, terms: &[(f64, f64)]) -> f64 {
        if order > LARGEST_SUM {
            return 0.5 * order * (order - 1.0) / (self.sigma * self.sigma);
        }
        let at = |order: f64| if order < 2.0 { 0.0 } else { self.sum(order, terms) };
        let (low, share) = (order.floor(), order.fract());
        (1.0 - share) * at(low) + share * at(low + 1.0)
    }

    /// Where the trapezoidal rule looks. Its error on such integrands falls exponentially with
    /// 1/step: they are analytic in a strip of half-width pi sigma^2, the distance of the mixture's
    /// complex zeros. With too little noise, or at too large an order, they would be too many: none
    /// then.
    fn points(&self, largest_order: f64) -> Option<Vec<Point>> {
        if largest_order == 0.0 {
            return Some(Vec::new());
        }
        let (q, sigma) = (self.q, self.sigma);
        if sigma < LEAST_INTEGRATED {
            return None;
        }
        let step = sigma * (0.05f64).min(0.25 * sigma);
        let (low, high) = (-14.0 * sigma, largest_order + 14.0 * sigma);
        let scale = (step / (sigma * std::f64::consts::TAU.sqrt())).ln();
        let n = ((high - low) / step).ceil();
        if n > MOST_POINTS {
            return None;
        }
        let point = |i: usize| {
            let x = low + step * i as f64;
            let log_density = scale - 0.5 * (x / sigma).powi(2);
            let exponent = (2.0 * x - 1.0) / (2.0 * sigma * sigma);
            let (y, log_ratio) = if exponent < 30.0 {
                let y = q * exponent.exp_m1();
                (y, y.ln_1p())
            } else {
                (f64::INFINITY, log_add_exp((-q).ln_1p(), q.ln() + exponent))
            };
            Point { x, log_density, density: log_density.exp(), y, log_ratio, reach: 14.0 * sigma }
        };
        Some((0..=n as usize).map(point).collect())
    }
}

/// A point of the integral's grid.
struct Point {
    x: f64,
    /// Of N(0, sigma^2), times the step.
    log_density: f64,
    density: f64,
    /// The ratio of the densities, less 1; infinite where it is too large for that to matter.
    y: f64,
    log_ratio: f64,
    /// The integrand of order alpha is negligible this far above alpha.
    reach: f64,
}

/// ln E((1+y)^alpha). Since y has mean 0, what is summed is (1+y)^alpha - 1 - alpha y, which is
/// never negative.
fn integral(order: f64, points: &[Point]) -> f64 {
    let mut small = 0.0;
    // What would overflow is summed as logarithms.
    let mut large = f64::NEG_INFINITY;
    for point in points {
        if point.x > order + point.reach {
            break;
        }
        let power = order * point.log_ratio;
        if power < 600.0 && point.y.is_finite() {
            small += point.density * excess(order, point.y, power);
        } else {
            // (1+y)^alpha dwarfs 1 + alpha y; leaving those out rounds up.
            large = log_add_exp(large, point.log_density + power);
        }
    }
    ln_1p_exp(log_add_exp(small.ln(), large))
}

/// ln(1 + exp(x)).
fn ln_1p_exp(x: f64) -> f64 {
    if x > 40.0 { x + (-x).exp() } else { x.exp().ln_1p() }
}

/// (1+y)^alpha - 1 - alpha y for y > -1, with `power` = alpha ln(1+y): positive, and without
/// cancellation near 0.
fn excess(alpha: f64, y: f64, power: f64) -> f64 {
    if power > 1.0 {
        return power.exp() - 1.0 - alpha * y;
    }
    if (alpha * y).abs() > 0.05 || y.abs() > 0.05 {
        return power.exp_m1() - alpha * y;
    }
    // The binomial series from its second term on; terms fall at least by 20 each.
    let mut term = 0.5 * alpha * (alpha - 1.0) * y * y;
    let mut sum = term;
    let mut k = 2.0;
    while term.abs() > f64::EPSILON * 1e-2 * sum.abs() && k < 40.0 {
        k += 1.0;
        term *= (alpha - k + 1.0) / k * y;
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_orders_have_their_sources_lengths() {
        assert_eq!(Orders::default().as_slice().len(), 156);
        assert_eq!(Orders::opacus().as_slice().len(), 151);
        assert_eq!(Orders::pate2018().as_slice().len(), 298);
    }

    #[test]
    fn the_integral_equals_the_sum_at_integer_orders() {
        for q in [1e-4, 0.01, 0.3, 0.99] {
            for sigma in [0.3, 0.7, 1.0, 3.0, 30.0] {
                let mixture = Mixture { q, sigma };
                for order in [2.0, 3.0, 5.0, 11.0] {
                    let sum = mixture.log_moments(&[order])[0];
                    let integral = integral(order, &mixture.points(order).unwrap());
                    let error = (integral / sum - 1.0).abs();
                    assert!(error < 3e-13, "q {q}, sigma {sigma}, order {order}: {sum} {integral} {error:e}");
                }
            }
        }
    }

    #[test]
    fn moments_between_integers_are_bounded_where_there_is_too_little_noise_for_an_integral() {
        for q in [1e-6, 1e-4, 0.3] {
            let mixture = Mixture { q, sigma: 0.12 };
            let orders = [1.1, 1.9, 2.5, 7.3];
            let points = mixture.points(7.3).unwrap();
            let terms = mixture.terms(10);
            for order in orders {
                let (integral, bound) = (integral(order, &points), mixture.between(order, &terms));
                assert!(bound >= integral * (1.0 - 1e-12), "q {q}, order {order}: {integral} {bound}");
            }
            // Fast, whatever the noise, and never above the plain Gaussian mechanism.
            for sigma in [0.05, 1e-3, 1e-200] {
                let orders = Orders::new(vec![1.5, 3.0, 11.5, 1e12 + 0.5]).unwrap();
                let curve = RdpCurve::sampled_gaussian(&orders, q, sigma).unwrap();
                for (value, order) in curve.values().iter().zip(orders.as_slice()) {
                    assert!(*value <= 0.5 * order / (sigma * sigma), "{sigma} {order}: {value}");
                }
            }
        }
    }

    #[test]
    fn no_noise_costs_everything_and_nothing_read_nothing() {
        let orders = Orders::default();
        let all = |curve: &RdpCurve, value: f64| curve.values().iter().all(|v| *v == value);
        assert!(all(&RdpCurve::sampled_gaussian(&orders, 0.1, 0.0).unwrap(), f64::INFINITY));
        assert!(all(&RdpCurve::laplace(&orders, 0.0, 1.0).unwrap(), f64::INFINITY));
        assert!(all(&RdpCurve::sampled_gaussian(&orders, 0.0, 0.0).unwrap(), 0.0));
        assert!(all(&RdpCurve::gaussian(&orders, 0.0, 0.0).unwrap(), 0.0));
        assert!(all(&RdpCurve::laplace(&orders, 0.0, 0.0).unwrap(), 0.0));
        assert_eq!(RdpCurve::zero(&orders).epsilon(1e-5).unwrap().epsilon, 0.0);
        let infinite = RdpCurve::gaussian(&orders, 0.0, 1.0).unwrap();
        assert_eq!(infinite.epsilon(1e-5).unwrap().epsilon, f64::INFINITY);
        let mut sum = RdpCurve::zero(&orders);
        sum.add(&infinite, 0).unwrap();
        assert!(all(&sum, 0.0));
    }

    #[test]
    fn delta_and_epsilon_belong_together() {
        let orders = Orders::default();
        let curve = RdpCurve::sampled_gaussian(&orders, 0.02, 0.9).unwrap();
        let epsilon = curve.epsilon(1e-6).unwrap().epsilon;
        let delta = curve.delta(epsilon).unwrap();
        assert!(delta <= 1e-6 * (1.0 + 1e-9) && delta > 0.99e-6, "{delta}");
    }

    #[test]
    fn curves_of_different_orders_do_not_add() {
        let mut curve = RdpCurve::zero(&Orders::default());
        assert!(curve.add(&RdpCurve::zero(&Orders::opacus()), 1).is_err());
        assert!(Orders::new(vec![]).is_err() && Orders::new(vec![1.0]).is_err());
        assert!(RdpCurve::new(&Orders::opacus(), vec![1.0]).is_err());
    }
}
