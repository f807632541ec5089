//! Privacy loss random variables: an interval round the exact epsilon, by a method that shares
//! nothing with [`pld`](crate::pld).
//!
//! The same losses, discretised in another way: every grid point takes the probability of its cell,
//! and all points are moved so that the mean is kept. The sum of T copies is then off by about
//! sqrt(T) cells, not T, and a Chernoff bound says by how much: with mesh = eps_error / sqrt(T/2
//! ln(12/delta_error)) the truth lies between epsilon(delta + delta_error) - eps_error and
//! epsilon(delta - delta_error) + eps_error of the discrete sum.
//!
//! A check and nothing else: an answer of [`Composition`](crate::pld::Composition) outside of the
//! interval is an error in one of the two. A certificate takes the former, which is tighter than
//! the upper end.
//!
//! # Source
//! Gopi, Lee and Wutschitz 2021 (2106.02848), Algorithms 1 and 2 and the theorem on their error.
//!
//! # Rounding
//! Plain floating point. A transform's relative error, about 1e-15, is multiplied by the number of
//! runs when its values are raised to it, and comes out as an error of delta; where that is more
//! than a tenth of delta_error there is no interval.
//!
//! ```
//! use dp_accounting::prv::{Interval, Prv};
//! let step = Prv::sampled_gaussian(0.01, 1.0)?;
//! let found = Interval::of(&[(step, 1000)], 1e-5, 0.01, 1e-8)?;
//! assert!(found.lower < 1.828244 && 1.828244 < found.upper);
//! # Ok::<(), dp_accounting::Error>(())
//! ```

use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use crate::error::{check, check_delta};
use crate::pld::{Directions, Mixture, fast_length, in_two_threads};
use crate::rdp::{Orders, RdpCurve};
use crate::special::ndtr;
use crate::{Error, Result};

/// Relative rounding of a transform's values: about sqrt(log2 n) units in the last place.
const TRANSFORM_ERROR: f64 = 1e-15;

/// Points of an interval's grid at most: about 1 GB for all that is held at once.
const LIMIT: usize = 1 << 24;

/// Added to the largest loss that matters.
const SLACK: f64 = 3.0;

/// The loss of one mechanism as a random variable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prv(Kind);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    SampledGaussian { q: f64, sigma: f64 },
    Laplace { pure: f64 },
    Pure { epsilon: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Remove,
    Add,
}

/// Where the exact epsilon lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// epsilon(delta + `delta_error`) - `eps_error` of the discrete sum, at least 0.
    pub lower: f64,
    /// epsilon(delta) of the discrete sum: no bound.
    pub estimate: f64,
    /// epsilon(delta - `delta_error`) + `eps_error` of the discrete sum.
    pub upper: f64,
    /// How far the discrete sum may be off in epsilon.
    pub eps_error: f64,
    /// How far it may be off in delta.
    pub delta_error: f64,
}

impl Prv {
    /// One step of the Poisson-subsampled Gaussian mechanism, as
    /// [`crate::pld::PrivacyLoss::sampled_gaussian`].
    ///
    /// # Errors
    /// A sampling rate outside of (0, 1], a noise multiplier of 0 or below: their losses are
    /// nothing, or infinite.
    pub fn sampled_gaussian(q: f64, sigma: f64) -> Result<Self> {
        let q = check("the sampling rate q", q, |q| 0.0 < q && q <= 1.0, "above 0 and at most 1")?;
        let sigma = check("sigma", sigma, |sigma| sigma > 0.0, "above 0")?;
        Ok(Self(Kind::SampledGaussian { q, sigma }))
    }

    /// The Laplace mechanism of scale `scale` on a query of L1 sensitivity `sensitivity`.
    ///
    /// # Errors
    /// A parameter of 0 or below.
    pub fn laplace(scale: f64, sensitivity: f64) -> Result<Self> {
        let scale = check("the scale", scale, |scale| scale > 0.0, "above 0")?;
        let sensitivity = check("the sensitivity", sensitivity, |value| value > 0.0, "above 0")?;
        let pure = check("sensitivity / scale", sensitivity / scale, |value| value > 0.0, "above 0")?;
        Ok(Self(Kind::Laplace { pure }))
    }

    /// Randomised response, which has the largest loss of all that is `epsilon`-DP.
    ///
    /// # Errors
    /// An epsilon of 0 or below.
    pub fn pure(epsilon: f64) -> Result<Self> {
        Ok(Self(Kind::Pure { epsilon: check("epsilon", epsilon, |value| value > 0.0, "above 0")? }))
    }

    /// Losses of removing and of adding a record are distributed alike.
    fn is_symmetric(self) -> bool {
        !matches!(self.0, Kind::SampledGaussian { q, .. } if q < 1.0)
    }

    /// (P(Y <= y), P(Y > y)), each with its own relative accuracy.
    fn tails(self, direction: Direction, y: f64) -> (f64, f64) {
        match self.0 {
            Kind::SampledGaussian { q, sigma } => {
                let pair = Mixture { q, sigma };
                match direction {
                    Direction::Remove => {
                        let Some(x) = pair.output(y) else { return (0.0, 1.0) };
                        let mix = |a: f64, b: f64| (1.0 - q) * ndtr(a) + q * ndtr(b);
                        let (a, b) = (x / sigma, (x - 1.0) / sigma);
                        (mix(a, b), mix(-a, -b))
                    }
                    Direction::Add => {
                        let Some(x) = pair.output(-y) else { return (1.0, 0.0) };
                        (ndtr(-x / sigma), ndtr(x / sigma))
                    }
                }
            }
            // Noise between the two answers has a loss between the ends; beyond them, the end's
            // own.
            Kind::Laplace { pure } => {
                if y >= pure {
                    (1.0, 0.0)
                } else if y < -pure {
                    (0.0, 1.0)
                } else {
                    let below = 0.5 * (0.5 * (y - pure)).exp();
                    (below, 1.0 - below)
                }
            }
            Kind::Pure { epsilon } => {
                let less = 1.0 / (1.0 + epsilon.exp());
                if y >= epsilon {
                    (1.0, 0.0)
                } else if y < -epsilon {
                    (0.0, 1.0)
                } else {
                    (less, 1.0 - less)
                }
            }
        }
    }

    /// E[Y], a divergence of Kullback and Leibler.
    fn mean(self, direction: Direction) -> f64 {
        match self.0 {
            Kind::SampledGaussian { q, sigma } => {
                // The trapezoid rule is exact to rounding for what falls off like a Gaussian.
                let pair = Mixture { q, sigma };
                let step = sigma / 32.0;
                let (first, last) = (-14.0 * 32.0, (1.0 / step).ceil() + 14.0 * 32.0);
                let density = |u: f64| (-0.5 * u * u).exp();
                let mut sum = 0.0;
                let mut mass = 0.0;
                for i in first as i64..=last as i64 {
                    let x = step * i as f64;
                    let weight = match direction {
                        Direction::Remove => (1.0 - q) * density(x / sigma) + q * density((x - 1.0) / sigma),
                        Direction::Add => density(x / sigma),
                    };
                    mass += weight;
                    sum += weight * pair.loss(x);
                }
                if direction == Direction::Remove { sum / mass } else { -sum / mass }
            }
            Kind::Laplace { pure } => pure + (-pure).exp_m1(),
            Kind::Pure { epsilon } => epsilon * (0.5 * epsilon).tanh(),
        }
    }

    fn rdp(self, orders: &Orders) -> Result<RdpCurve> {
        match self.0 {
            Kind::SampledGaussian { q, sigma } => RdpCurve::sampled_gaussian(orders, q, sigma),
            Kind::Laplace { pure } => RdpCurve::laplace(orders, 1.0, pure),
            Kind::Pure { epsilon } => RdpCurve::pure(orders, epsilon),
        }
    }
}

impl Interval {
    /// The interval at `delta` for mechanisms and how often each ran, under both directions of
    /// adding or removing a record.
    ///
    /// # Errors
    /// delta or an error out of range: `eps_error` must be above 0, `delta_error` below delta and
    /// from 1e-14 for each run. More than 16 million points.
    pub fn of(parts: &[(Prv, u64)], delta: f64, eps_error: f64, delta_error: f64) -> Result<Self> {
        let delta = check_delta(delta)?;
        let eps_error = check("eps_error", eps_error, |value| value > 0.0, "above 0")?;
        let parts: Vec<(Prv, u64)> = parts.iter().copied().filter(|(_, count)| *count > 0).collect();
        let runs: f64 = parts.iter().map(|(_, count)| *count as f64).sum();
        let smallest = 10.0 * TRANSFORM_ERROR * runs;
        let allowed = "below delta, and at least 1e-14 for each run, which is what rounding leaves room for";
        let delta_error = check(
            "delta_error",
            delta_error,
            |value| 0.0 < value && smallest <= value && value < delta,
            allowed,
        )?;
        if parts.is_empty() {
            return Ok(Self { lower: 0.0, estimate: 0.0, upper: 0.0, eps_error, delta_error });
        }
        let mesh = eps_error / (0.5 * runs * (12.0 / delta_error).ln()).sqrt();
        let half = half_width(&parts, runs, delta_error)?;
        let need = 2.0 * half / mesh;
        if need.is_nan() || need > LIMIT as f64 {
            let hint = "take a larger eps_error, fewer runs, or more noise";
            return Err(Error::TooLarge { need, limit: LIMIT, hint });
        }
        let grid = Grid { mesh, points: fast_length(need.ceil() as usize) };
        let of = |direction: Direction| -> Result<[f64; 3]> {
            let sum = grid.compose(&parts, direction)?;
            Ok([delta + delta_error, delta, delta - delta_error].map(|delta| sum.epsilon(delta)))
        };
        let mut ends = of(Direction::Remove)?;
        if parts.iter().any(|(prv, _)| !prv.is_symmetric()) {
            for (end, other) in ends.iter_mut().zip(of(Direction::Add)?) {
                *end = Directions { remove: *end, add: other }.max();
            }
        }
        let [lower, estimate, upper] = ends;
        Ok(Self {
            lower: (lower - eps_error).max(0.0),
            estimate,
            upper: upper + eps_error,
            eps_error,
            delta_error,
        })
    }
}

/// Losses beyond it, of the sum or of any run, have less than `delta_error` together.
fn half_width(parts: &[(Prv, u64)], runs: f64, delta_error: f64) -> Result<f64> {
    let orders = Orders::default();
    let mut all = RdpCurve::zero(&orders);
    let mut half: f64 = 0.0;
    for (prv, count) in parts {
        let one = prv.rdp(&orders)?;
        half = half.max(one.epsilon(delta_error / (8.0 * runs))?.epsilon);
        all.add(&one, *count)?;
    }
    Ok(half.max(all.epsilon(0.25 * delta_error)?.epsilon) + SLACK)
}

/// Points i * mesh with i from -points/2.
struct Grid {
    mesh: f64,
    points: usize,
}

/// Masses at `start + i * mesh`.
struct Discrete {
    start: f64,
    mesh: f64,
    masses: Vec<f64>,
}

impl Grid {
    fn first(&self) -> i64 {
        -((self.points / 2) as i64)
    }

    /// Each cell's probability, and how far its points must move to have the mean of the losses
    /// themselves.
    fn discretise(&self, prv: Prv, direction: Direction) -> (Vec<f64>, f64) {
        let first = self.first();
        let edges = in_two_threads(first, first + self.points as i64, |i| {
            prv.tails(direction, self.mesh * (i as f64 - 0.5))
        });
        let cell = |pair: &[(f64, f64)]| {
            let ((below, above), (next_below, next_above)) = (pair[0], pair[1]);
            if below < above { next_below - below } else { above - next_above }
        };
        let mut masses: Vec<f64> = edges.windows(2).map(|pair| cell(pair).max(0.0)).collect();
        let total: f64 = masses.iter().sum();
        let mut mean = 0.0;
        for (i, mass) in masses.iter_mut().enumerate() {
            *mass /= total;
            mean += *mass * (first + i as i64) as f64;
        }
        (masses, prv.mean(direction) - self.mesh * mean)
    }

    fn compose(&self, parts: &[(Prv, u64)], direction: Direction) -> Result<Discrete> {
        let n = self.points;
        let mut planner = RealFftPlanner::<f64>::new();
        let (forward, backward) = (planner.plan_fft_forward(n), planner.plan_fft_inverse(n));
        let broken = |_| Error::Length { name: "a transform's buffer", found: n, allowed: "its own length" };
        let mut product: Vec<Complex<f64>> = Vec::new();
        let mut moved = 0.0;
        for (prv, count) in parts {
            let (mut masses, shift) = self.discretise(*prv, direction);
            moved += shift * *count as f64;
            // Loss 0 to the front: sums then stay where they belong, modulo the length.
            masses.rotate_left(n / 2);
            let mut spectrum = forward.make_output_vec();
            forward.process(&mut masses, &mut spectrum).map_err(broken)?;
            for value in &mut spectrum {
                *value = power(*value, *count);
            }
            if product.is_empty() {
                product = spectrum;
            } else {
                product.iter_mut().zip(&spectrum).for_each(|(value, more)| *value *= more);
            }
        }
        // Rounding leaves imaginary parts where the transform of real numbers has none.
        product[0].im = 0.0;
        product[n / 2].im = 0.0;
        let mut masses = backward.make_output_vec();
        backward.process(&mut product, &mut masses).map_err(broken)?;
        // Entry j holds the sums of j steps, modulo n, before they are moved; the window is where
        // they come to lie.
        let low = self.first() - (moved / self.mesh).round() as i64;
        masses.rotate_left(low.rem_euclid(n as i64) as usize);
        for mass in &mut masses {
            // Noise of both signs stays in: clamped, it would add up.
            *mass /= n as f64;
        }
        Ok(Discrete { start: moved + self.mesh * low as f64, mesh: self.mesh, masses })
    }
}

fn power(base: Complex<f64>, mut exponent: u64) -> Complex<f64> {
    let (mut square, mut result) = (base, Complex::new(1.0, 0.0));
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    result
}

impl Discrete {
    /// The epsilon at which the sum of p (1 - e^(epsilon - y)) over y > epsilon is `delta`; 0 where
    /// it is less at 0.
    fn epsilon(&self, delta: f64) -> f64 {
        let (mut upper, mut discounted) = (0.0, 0.0);
        for (i, &mass) in self.masses.iter().enumerate().rev() {
            let y = self.start + self.mesh * i as f64;
            // With `upper` and `discounted` of all points above y, delta(epsilon) falls from here
            // to the next point.
            if y <= 0.0 {
                break;
            }
            if upper - y.exp() * discounted > delta {
                return ((upper - delta) / discounted).ln().max(0.0);
            }
            upper += mass;
            discounted += mass * (-y).exp();
        }
        if upper - discounted > delta { ((upper - delta) / discounted).ln().max(0.0) } else { 0.0 }
    }
}
