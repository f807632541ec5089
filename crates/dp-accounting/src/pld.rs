//! Privacy loss distributions: how much every possible output tells, composed exactly on a grid.
//!
//! A mechanism is described by a pair of distributions P and Q that are at least as far apart as
//! its outputs on any two neighbouring data sets. Under P the privacy loss is ln(P/Q). Losses of
//! independent runs add up, so composition is convolution, and delta(epsilon) = E[(1 - e^(epsilon -
//! loss))+] plus the mass at infinity. Where the relation is one of removing or adding a record
//! there are two pairs, and the larger cost of the two holds: "add" alone can be far too small.
//!
//! - **Grid**: connect-the-dots (Doroshenko et al. 2022, 2207.04380): the discrete pair has the
//!   true delta(epsilon) at every multiple of the step and lies above it between them. A smaller
//!   step never costs more.
//! - **Composition**: one Fourier transform for each kind of mechanism, all powers multiplied, one
//!   transform back. Before, losses are tilted: weighted by e^(theta loss), with theta where the
//!   answer is expected (the exponential change of measure of large deviations). The transform's
//!   rounding errors are then small against the masses that matter, so deltas far below 1e-11 can
//!   be answered, where a plain transform drowns them.
//! - **Not a filter.** Numbers of steps and noise must be fixed before the run. Stopping when a
//!   composed curve is crossed is not covered; see [`filter`](crate::filter) for what is.
//!
//! # Rounding
//! Towards more spent: masses are clamped at 0, what lies above the window counts as infinite loss,
//! what wraps round from below is added, every entry is raised by a bound on the rounding of the
//! transforms (worst case of the usual error analysis, not the typical one), and delta is divided
//! by e^(128 u) per composed step for the rounding of the masses themselves, and by what the tilt's
//! exponentials round in all. The curve of one step is rounded up before its masses are taken from
//! it, and those are then exact to a few units in the last place. A billionth of delta is given to
//! the largest losses, so that a heavy tail that is too unlikely to matter does not steer the tilt.
//!
//! ```
//! use dp_accounting::pld::{Composition, PrivacyLoss, STEP};
//! // DP-SGD: 1000 steps, sampling rate 0.01, noise multiplier 1.
//! let step = PrivacyLoss::sampled_gaussian(0.01, 1.0, STEP)?;
//! let epsilon = Composition::new().with(&step, 1000).epsilon(1e-5)?;
//! assert!((epsilon - 1.828244).abs() < 2e-6);
//! # Ok::<(), dp_accounting::Error>(())
//! ```

use std::f64::consts::{FRAC_PI_2, SQRT_2, TAU};
use std::sync::{Arc, LazyLock, Mutex};

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use crate::error::{check, check_delta, check_scale, check_sensitivity};
use crate::gdp::check_mu;
use crate::special::ndtr;
use crate::{Error, Result};

/// The usual step of the grid of losses.
pub const STEP: f64 = 1e-4;

/// Grid points of one distribution, or of one transform, at most: about 1 GB for all that is held
/// at once.
pub(crate) const LIMIT: usize = 1 << 23;

/// The largest step of a grid.
const LARGEST_STEP: f64 = 1.0;

/// Rounding of one step's masses, relative.
const STEP_ERROR: f64 = 128.0 * f64::EPSILON;

/// -Phi^-1(e^-50 / 2): losses beyond it have less than e^-50 of the mass.
pub(crate) const TAIL: f64 = 10.149_055_238_961_14;

/// The losses of one mechanism, in both directions.
#[derive(Clone, Debug)]
pub struct PrivacyLoss {
    /// P is the larger data set's: a record was removed.
    remove: Arc<Losses>,
    /// P is the smaller data set's: a record was added.
    add: Arc<Losses>,
}

/// One direction: masses at `low * step`, `(low + 1) * step`, ..., and at infinity.
#[derive(Clone, Debug)]
pub(crate) struct Losses {
    pub(crate) step: f64,
    pub(crate) low: i64,
    pub(crate) masses: Vec<f64>,
    pub(crate) infinity: f64,
    /// The largest ln(mass) of every [`BLOCK`] masses.
    tops: Vec<f64>,
}

/// What `of` gives on the finest grid that fits, from `step` on: where there is no room, the step
/// is doubled, up to 1. A coarser grid costs more and never less.
///
/// # Errors
/// Those of `of`; [`Error::TooLarge`] where the coarsest grid has too many points as well.
pub fn on_finest_grid<T>(step: f64, mut of: impl FnMut(f64) -> Result<T>) -> Result<(T, f64)> {
    let mut step = check_step(step)?;
    loop {
        match of(step) {
            Err(Error::TooLarge { .. }) if step < LARGEST_STEP => step = (2.0 * step).min(LARGEST_STEP),
            Err(Error::TooLarge { need, limit, .. }) => {
                let hint = "take more noise or fewer runs, or count by Renyi divergences";
                return Err(Error::TooLarge { need, limit, hint });
            }
            other => return Ok((other?, step)),
        }
    }
}

/// Masses that share one exponential.
const BLOCK: usize = 64;

/// With more tilt per step of the grid than this the powers of a block, e^(63 tilt), would
/// overflow.
const MOST_TILT: f64 = 11.0;

/// The largest tilt that is looked for: neighbours differ by e^8 already, and there is room for the
/// window's edges.
const MOST_SOLVED: f64 = 8.0;

impl PrivacyLoss {
    /// One step of the Poisson-subsampled Gaussian mechanism: sampling rate `q`, noise multiplier
    /// `sigma` (sensitivity 1).
    ///
    /// # Guarantee
    /// Under adding or removing one record, both directions.
    ///
    /// # Edge cases
    /// q 0 has no loss at all; sigma 0 has all of it (with probability q).
    ///
    /// # Source
    /// Doroshenko et al. 2022 (2207.04380): the mixture (1-q) N(0) + q N(1) against N(0), and N(0)
    /// against the mixture.
    ///
    /// # Errors
    /// A parameter out of range; a distribution of more than 8 million points.
    pub fn sampled_gaussian(q: f64, sigma: f64, step: f64) -> Result<Self> {
        Self::sampled_gaussian_within(q, sigma, step, LIMIT)
    }

    /// The same with at most `limit` points.
    pub(crate) fn sampled_gaussian_within(q: f64, sigma: f64, step: f64, limit: usize) -> Result<Self> {
        let q = check("the sampling rate q", q, |q| (0.0..=1.0).contains(&q), "between 0 and 1")?;
        let sigma = check_scale("sigma", sigma)?;
        let step = check_step(step)?;
        if q == 0.0 {
            return Ok(Self::symmetric(Losses::nothing(step, 0.0)));
        }
        if sigma == 0.0 {
            return Ok(Self::symmetric(Losses::nothing(step, q)));
        }
        // Below, numbers lose their digits; a larger rate costs more.
        let pair = Mixture { q: q.max(1e-300), sigma };
        let reach = sigma * TAIL;
        let (low, high) = (pair.loss(-reach), pair.loss(reach + 1.0));
        if (high - low) / step > limit as f64 {
            let need = (high - low) / step;
            return Err(Error::TooLarge { need, limit, hint: "take a larger step, or more noise" });
        }
        let both = Self::connect_the_dots(step, low, high, |x| pair.excess(x))?;
        Ok(if q < 1.0 { both } else { both.mirror_images() })
    }

    /// The Gaussian mechanism with standard deviation `sigma` and L2 sensitivity `sensitivity`.
    ///
    /// # Errors
    /// As [`PrivacyLoss::sampled_gaussian`].
    pub fn gaussian(sigma: f64, sensitivity: f64, step: f64) -> Result<Self> {
        let (sigma, sensitivity) = (check_scale("sigma", sigma)?, check_sensitivity(sensitivity)?);
        let q = if sensitivity > 0.0 { 1.0 } else { 0.0 };
        Self::sampled_gaussian(q, if sensitivity > 0.0 { sigma / sensitivity } else { 1.0 }, step)
    }

    /// Any releases that are mu-GDP together, such as those of [`total_mu`](crate::gdp::total_mu):
    /// as much as one of sensitivity mu under noise of standard deviation 1.
    ///
    /// # Edge cases
    /// mu 0 has no loss; infinite mu has infinite loss.
    ///
    /// # Source
    /// Dong, Roth and Su (1905.02383): mu-GDP is the trade-off between N(0, 1) and N(mu, 1).
    ///
    /// # Errors
    /// mu below 0; a distribution of more than 8 million points.
    pub fn gaussian_dp(mu: f64, step: f64) -> Result<Self> {
        let mu = check_mu(mu)?;
        if mu.is_infinite() { Self::gaussian(0.0, 1.0, step) } else { Self::gaussian(1.0, mu, step) }
    }

    /// The Laplace mechanism of scale `scale` on a query of L1 sensitivity `sensitivity`.
    ///
    /// # Edge cases
    /// Sensitivity 0 has no loss; scale 0 has infinite loss.
    ///
    /// # Errors
    /// A parameter out of range; a distribution of more than 8 million points.
    pub fn laplace(scale: f64, sensitivity: f64, step: f64) -> Result<Self> {
        let (scale, sensitivity) = (check_scale("the scale", scale)?, check_sensitivity(sensitivity)?);
        let step = check_step(step)?;
        if sensitivity == 0.0 || scale == 0.0 {
            let infinity = if sensitivity == 0.0 { 0.0 } else { 1.0 };
            return Ok(Self::symmetric(Losses::nothing(step, infinity)));
        }
        let pure = sensitivity / scale;
        Self::connect_the_dots(step, -pure, pure, |x| {
            // The same for x and -x, but for the factor that every symmetric pair has.
            let upper = -(0.5 * (x.abs() - pure)).exp_m1();
            (upper.max(0.0) * raised(x, pure)) * x.min(0.0).exp()
        })
        .map(Self::mirror_images)
    }

    /// Any mechanism that is `epsilon`-DP: randomised response has the largest loss of them all.
    ///
    /// # Source
    /// Kairouz, Oh and Viswanath 2015 (1311.0776).
    ///
    /// # Errors
    /// A negative epsilon; a distribution of more than 8 million points.
    pub fn pure(epsilon: f64, step: f64) -> Result<Self> {
        let step = check_step(step)?;
        if epsilon == f64::INFINITY {
            return Ok(Self::symmetric(Losses::nothing(step, 1.0)));
        }
        let epsilon = check("epsilon", epsilon, |value| value >= 0.0, "0 or above")?;
        Self::connect_the_dots(step, -epsilon, epsilon, |x| {
            let away = x.abs();
            // (e^epsilon - e^x) / (1 + e^epsilon), without overflow.
            let upper = -(away - epsilon).exp_m1() / (1.0 + (-epsilon).exp());
            (upper.max(0.0) * raised(x, epsilon)) * x.min(0.0).exp()
        })
        .map(Self::mirror_images)
    }

    /// Both directions have the same losses.
    pub(crate) fn symmetric(losses: Losses) -> Self {
        let losses = Arc::new(losses);
        Self { remove: losses.clone(), add: losses }
    }

    /// A pair whose directions are the same, by the direction of removal: the other's masses, far
    /// below 0, may be too small for numbers.
    fn mirror_images(self) -> Self {
        Self { add: self.remove.clone(), remove: self.remove }
    }

    pub(crate) fn of(remove: Losses, add: Losses) -> Self {
        Self { remove: Arc::new(remove), add: Arc::new(add) }
    }

    /// The losses of both directions, where they are the same.
    pub(crate) fn one(&self) -> Option<&Losses> {
        Arc::ptr_eq(&self.remove, &self.add).then_some(&*self.remove)
    }

    pub(crate) fn directions(&self) -> (&Losses, &Losses) {
        (&self.remove, &self.add)
    }

    /// The step of its grid.
    pub fn step(&self) -> f64 {
        self.remove.step
    }

    /// The grid pair whose delta equals a given one at every grid point from `low` to `high`.
    ///
    /// `excess(x)` is delta(x) - (1 - e^x)+: delta itself at and above 0; below, what is left when
    /// the part that any pair has is taken off, which is e^x times the reverse direction's delta at
    /// -x. In terms of it nothing cancels, and the reverse direction comes out of the same values:
    /// its masses are those of this one, mirrored, times e^loss.
    fn connect_the_dots(step: f64, low: f64, high: f64, excess: impl Fn(f64) -> f64 + Sync) -> Result<Self> {
        let (low, high) = ((low / step).floor().min(-1.0), (high / step).ceil().max(1.0));
        let need = high - low + 1.0;
        if need.is_nan() || need > LIMIT as f64 {
            let hint = "take a larger step, or more noise";
            return Err(Error::TooLarge { need, limit: LIMIT, hint });
        }
        let (low, high) = (low as i64, high as i64);
        let values = in_two_threads(low, high, |i| excess(step * i as f64));
        let n = values.len();
        let grow = step.exp_m1();
        // (value above - this value) - e^step (this value - value below), over e^step - 1. The
        // second difference is taken first, since neighbours' differences are exact: 1 + grow is
        // rounded, the same way everywhere, and a part of it lost that is 1/step times more than
        // the rounding of a number.
        let middle = |i: usize| {
            let (above, below) = (values[i + 1] - values[i], values[i] - values[i - 1]);
            ((above - below) - grow * below) / grow + if low + i as i64 == 0 { 1.0 } else { 0.0 }
        };
        let at_low = |v0: f64, v1: f64| (v1 - v0) / grow - v0;
        let at_high = |v_last: f64, v_before: f64| (v_before - v_last) / -(-step).exp_m1();
        let mut remove = vec![0.0; n];
        let mut add = vec![0.0; n];
        for i in 1..n - 1 {
            let mass = middle(i).max(0.0);
            remove[i] = mass;
            add[n - 1 - i] = mass * (-step * (low + i as i64) as f64).exp();
        }
        remove[0] = at_low(values[0], values[1]).max(0.0);
        remove[n - 1] = at_high(values[n - 1], values[n - 2]).max(0.0);
        let mirrored = |i: usize| values[i] * (-step * (low + i as i64) as f64).exp();
        add[0] = at_low(mirrored(n - 1), mirrored(n - 2)).max(0.0);
        add[n - 1] = at_high(mirrored(0), mirrored(1)).max(0.0);
        Ok(Self::of(
            Losses::new(step, low, remove, values[n - 1].max(0.0)),
            Losses::new(step, -high, add, mirrored(0).max(0.0)),
        ))
    }
}

fn check_step(step: f64) -> Result<f64> {
    check("the step of the grid", step, |step| step > 0.0 && step <= LARGEST_STEP, "above 0 and at most 1")
}

/// The factor that makes up for the rounding of 1 - e^-(end - |x|), where end - |x| is a
/// difference.
fn raised(x: f64, end: f64) -> f64 {
    let away = (end - x.abs()).max(f64::MIN_POSITIVE);
    1.0 + 4.0 * f64::EPSILON * (4.0 + (end + x.abs()) / away.min(1.0)).min(1e12)
}

/// The values of `of` at low..=high; long ranges on two threads.
pub(crate) fn in_two_threads<T: Send>(low: i64, high: i64, of: impl Fn(i64) -> T + Sync) -> Vec<T> {
    if high - low < 20_000 {
        return (low..=high).map(of).collect();
    }
    let middle = low + (high - low) / 2;
    let of = &of;
    std::thread::scope(|scope| {
        let upper = scope.spawn(move || (middle..=high).map(of).collect::<Vec<T>>());
        let mut all: Vec<T> = (low..middle).map(of).collect();
        match upper.join() {
            Ok(more) => all.extend(more),
            // A thread that could not finish: do its work here.
            Err(_) => all.extend((middle..=high).map(of)),
        }
        all
    })
}

/// (1-q) N(0, sigma^2) + q N(1, sigma^2) against N(0, sigma^2).
pub(crate) struct Mixture {
    pub(crate) q: f64,
    pub(crate) sigma: f64,
}

impl Mixture {
    /// The loss of the output x.
    pub(crate) fn loss(&self, x: f64) -> f64 {
        let exponent = (2.0 * x - 1.0) / (2.0 * self.sigma * self.sigma);
        if self.q >= 1.0 {
            exponent
        } else if exponent < 30.0 {
            (self.q * exponent.exp_m1()).ln_1p()
        } else {
            exponent + self.q.ln() + ((1.0 - self.q) / self.q * (-exponent).exp()).ln_1p()
        }
    }

    /// ln((e^loss - 1 + q) / q); none at and below ln(1-q), for no output has that little loss.
    fn log_ratio(&self, loss: f64) -> Option<f64> {
        if self.q >= 1.0 {
            return Some(loss);
        }
        if loss > 30.0 {
            return Some(loss - self.q.ln() + ((self.q - 1.0) * (-loss).exp()).ln_1p());
        }
        let ratio = loss.exp_m1() / self.q;
        (ratio > -1.0).then(|| ratio.ln_1p())
    }

    /// The output that has a given loss.
    pub(crate) fn output(&self, loss: f64) -> Option<f64> {
        Some(0.5 + self.sigma * self.sigma * self.log_ratio(loss)?)
    }

    /// delta(loss) - (1 - e^loss)+ of removing a record, rounded up: a first-order bound on the
    /// rounding is added.
    ///
    /// The output t has that loss: q phi((t-1)/sigma) = (q + e^loss - 1) phi(t/sigma). With it both
    /// terms of delta share a factor, and what remains is a difference of Mills ratios.
    fn excess(&self, loss: f64) -> f64 {
        let (q, sigma) = (self.q, self.sigma);
        let Some(log_ratio) = self.log_ratio(loss) else { return 0.0 };
        let t = 0.5 + sigma * sigma * log_ratio;
        let shift = 1.0 / sigma;
        let density = |u: f64| (-0.5 * u * u).exp() / TAU.sqrt();
        // Where the term is left of the mean by so much, the density is 0 and the ratio infinite.
        let tail = |u: f64, to: f64| if u < -38.0 { 0.0 } else { density(u) * mills(to) };
        let (u, upper, lower) = if loss >= 0.0 {
            let u = (t - 1.0) / sigma;
            (u, if u < 0.0 { ndtr(-u) } else { tail(u, u) }, tail(u, u + shift))
        } else {
            let v = (1.0 - t) / sigma;
            let upper = if v < shift { log_ratio.exp() * ndtr(t / sigma) } else { tail(v, v - shift) };
            (v, upper, tail(v, v))
        };
        // In units of the last place: how far the logarithm of the ratio may be off, and what that
        // does to the output, the density and the ratios. 1 + ratio is small where the loss is near
        // the least that there is.
        let spread = if q >= 1.0 || loss > 30.0 {
            2.0 * (loss.abs() - q.ln()) + 2.0
        } else {
            let ratio = loss.exp_m1() / q;
            (3.0 * ratio.abs() + loss.abs() * loss.exp() / q) / (1.0 + ratio) + log_ratio.abs()
        };
        let output = (t.abs() + 1.0 + sigma * sigma * (spread + 2.0 * log_ratio.abs())) / sigma + u.abs();
        let condition = 8.0 + u * u + (u.abs() + 1.0) * output + spread.min(1e15);
        let error = 2.0 * f64::EPSILON * condition * (upper + lower);
        (q * ((upper - lower).max(0.0) + error)).min(1.0)
    }
}

/// Phi(-t) / phi(t).
fn mills(t: f64) -> f64 {
    FRAC_PI_2.sqrt() * errorfunctions::RealErrorFunctions::erfcx(t / SQRT_2)
}

impl Losses {
    pub(crate) fn new(step: f64, low: i64, masses: Vec<f64>, infinity: f64) -> Self {
        let tops = masses.chunks(BLOCK).map(|block| block.iter().copied().fold(0.0, f64::max).ln()).collect();
        Self { step, low, masses, infinity, tops }
    }

    /// Loss 0, but for `infinity`.
    fn nothing(step: f64, infinity: f64) -> Self {
        Self::new(step, 0, vec![1.0 - infinity], infinity)
    }

    fn last(&self) -> i64 {
        self.low + self.masses.len() as i64 - 1
    }

    /// With the largest losses, as far as they have at most `spare` of the mass, taken for
    /// infinite: a heavy tail that is too unlikely to matter would be all that a tilt sees.
    fn without_tail(&self, spare: f64) -> Self {
        let mut tail = 0.0;
        let kept = self.masses.iter().rposition(|mass| {
            let within = tail + mass <= spare;
            tail += if within { *mass } else { 0.0 };
            !within
        });
        let kept = kept.map_or(1, |last| last + 1);
        let masses = self.masses.iter().take(kept).copied().collect();
        Self::new(self.step, self.low, masses, self.infinity + tail * (1.0 + STEP_ERROR))
    }

    /// Calls `with(first, scale, masses)` for every block that matters, where
    /// `masses[k] * scale * ratio^k` are the tilted masses from index `first`, all divided by
    /// e^shift; gives the shift.
    fn tilted(&self, theta: f64, mut with: impl FnMut(usize, f64, &[f64])) -> f64 {
        let at = |i: usize| theta * self.step * (self.low + i as i64) as f64;
        let reach = theta.abs() * self.step * BLOCK as f64;
        // The last block may be short.
        let last = self.masses.len().saturating_sub(1);
        let size =
            |block: usize, top: f64| at(block * BLOCK).max(at((block * BLOCK + BLOCK - 1).min(last))) + top;
        let shift =
            self.tops.iter().enumerate().map(|(i, &top)| size(i, top)).fold(f64::NEG_INFINITY, f64::max);
        for (block, (&top, masses)) in self.tops.iter().zip(self.masses.chunks(BLOCK)).enumerate() {
            // What is e^-300 of the largest is nothing next to a relative error of 1e-13.
            if top > f64::NEG_INFINITY && size(block, top) - shift > -300.0 - reach {
                let first = block * BLOCK;
                with(first, (at(first) - shift).exp(), masses);
            }
        }
        shift
    }

    /// ln E[e^(theta loss)] without the mass at infinity, and its first two derivatives.
    fn cumulants(&self, theta: f64) -> [f64; 3] {
        let powers = powers(theta * self.step);
        let mut sums = [0.0; 3];
        let shift = self.tilted(theta, |first, scale, masses| {
            let mut block = [0.0; 3];
            for (k, (mass, power)) in masses.iter().zip(&powers).enumerate() {
                let weight = mass * power;
                let k = k as f64;
                block[0] += weight;
                block[1] += k * weight;
                block[2] += k * k * weight;
            }
            let x = (self.low + first as i64) as f64;
            sums[0] += scale * block[0];
            sums[1] += scale * (x * block[0] + block[1]);
            sums[2] += scale * (x * x * block[0] + 2.0 * x * block[1] + block[2]);
        });
        let mean = sums[1] / sums[0];
        let variance = (sums[2] / sums[0] - mean * mean).max(0.0);
        [sums[0].ln() + shift, mean * self.step, variance * self.step * self.step]
    }
}

/// e^0, e^x, e^2x, ...
fn powers(x: f64) -> [f64; BLOCK] {
    std::array::from_fn(|k| (x * k as f64).exp())
}

/// Mechanisms that ran, and how often.
#[derive(Clone, Debug, Default)]
pub struct Composition {
    parts: Vec<(PrivacyLoss, u64)>,
    /// Points at most; none is [`LIMIT`].
    limit: Option<usize>,
}

/// The two costs of an asymmetric mechanism.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Directions {
    /// A record is removed.
    pub remove: f64,
    /// A record is added.
    pub add: f64,
}

impl Directions {
    /// What holds for both.
    pub fn max(self) -> f64 {
        self.remove.max(self.add)
    }
}

impl Composition {
    /// Nothing ran yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a maximum number of grid points in the sum.
    pub(crate) fn within(mut self, limit: usize) -> Self {
        self.limit = Some(limit.min(LIMIT));
        self
    }

    /// `count` more runs of a mechanism.
    #[must_use]
    pub fn with(mut self, loss: &PrivacyLoss, count: u64) -> Self {
        if count > 0 {
            self.parts.push((loss.clone(), count));
        }
        self
    }

    /// The smallest epsilon at `delta`, rounded up; infinite where the mass at infinity is above
    /// `delta`, which starts at e^-50 for each step of a Gaussian mechanism.
    ///
    /// # Errors
    /// delta outside of (0, 1); parts of different steps; too many grid points.
    pub fn epsilon(&self, delta: f64) -> Result<f64> {
        Ok(self.epsilon_by_direction(delta)?.max())
    }

    /// The same for each direction alone. Only the larger one is a guarantee.
    ///
    /// # Errors
    /// As [`Composition::epsilon`].
    pub fn epsilon_by_direction(&self, delta: f64) -> Result<Directions> {
        let delta = check_delta(delta)?;
        self.both(|sum| sum.epsilon(delta))
    }

    /// The smallest delta at `epsilon`, rounded up.
    ///
    /// # Errors
    /// epsilon below 0 or not finite; parts of different steps; too many grid points.
    pub fn delta(&self, epsilon: f64) -> Result<f64> {
        let epsilon = check("epsilon", epsilon, |value| value >= 0.0, "0 or above")?;
        Ok(self.both(|sum| sum.delta(epsilon))?.max())
    }

    fn both(&self, of: impl Fn(&Sum<'_>) -> Result<f64> + Sync) -> Result<Directions> {
        let Some((first, _)) = self.parts.first() else { return Ok(Directions { remove: 0.0, add: 0.0 }) };
        let limit = self.limit.unwrap_or(LIMIT);
        let step = first.step();
        if let Some((other, _)) = self.parts.iter().find(|(loss, _)| (loss.step() - step).abs() > 0.0) {
            return Err(Error::Parameter {
                name: "the step of a composed distribution",
                value: other.step(),
                allowed: "that of the others",
            });
        }
        let remove = Sum::new(self.parts.iter().map(|(loss, count)| (&*loss.remove, *count)), limit);
        if self.parts.iter().all(|(loss, _)| loss.one().is_some()) {
            let value = of(&remove)?;
            return Ok(Directions { remove: value, add: value });
        }
        let add = Sum::new(self.parts.iter().map(|(loss, count)| (&*loss.add, *count)), limit);
        let (of, add) = (&of, &add);
        std::thread::scope(|scope| {
            let other = scope.spawn(move || of(add));
            let remove = of(&remove)?;
            let add = other.join().unwrap_or_else(|_| of(add))?;
            Ok(Directions { remove, add })
        })
    }
}

/// One direction of a composition.
struct Sum<'a> {
    parts: Vec<(&'a Losses, u64)>,
    step: f64,
    infinity: f64,
    limit: usize,
}

/// Tilted mass below the window, as a natural logarithm. It wraps round to the window's top, where
/// it counts as more loss than it has, times e^-(theta width): next to nothing.
const LOG_BELOW: f64 = -14.0;

/// Tilted mass above the window. It counts as infinite loss.
const LOG_ABOVE: f64 = -24.0;

/// A fraction of delta that is given away, for losses that are taken for infinite.
const UNLIKELY: f64 = 1e-9;

/// Below, quotients of delta lose their digits: the largest loss is the answer.
const LEAST_DELTA: f64 = 1e-290;

/// Upper bounds of delta that are computed, each from the one before, until they no longer fall by
/// half.
const DELTA_ROUNDS: u32 = 64;

/// Transforms are planned once for each length up to this.
const PLANNED: usize = 1 << 20;

static PLANNER: LazyLock<Mutex<RealFftPlanner<f64>>> = LazyLock::new(|| Mutex::new(RealFftPlanner::new()));

type Forward = Arc<dyn RealToComplex<f64>>;
type Backward = Arc<dyn ComplexToReal<f64>>;

fn plan(n: usize) -> (Forward, Backward) {
    let both = |planner: &mut RealFftPlanner<f64>| (planner.plan_fft_forward(n), planner.plan_fft_inverse(n));
    match PLANNER.lock() {
        Ok(mut planner) if n <= PLANNED => both(&mut planner),
        _ => both(&mut RealFftPlanner::new()),
    }
}

impl<'a> Sum<'a> {
    fn new(parts: impl Iterator<Item = (&'a Losses, u64)>, limit: usize) -> Self {
        let parts: Vec<_> = parts.collect();
        let log_finite: f64 =
            parts.iter().map(|(part, count)| *count as f64 * (-part.infinity).ln_1p()).sum();
        let step = parts.first().map_or(STEP, |(part, _)| part.step);
        Self { parts, step, infinity: -log_finite.exp_m1(), limit }
    }

    fn cumulants(&self, theta: f64) -> [f64; 3] {
        let mut sum = [0.0; 3];
        for (part, count) in &self.parts {
            for (sum, value) in sum.iter_mut().zip(part.cumulants(theta)) {
                *sum += *count as f64 * value;
            }
        }
        sum
    }

    /// What the rounding of masses can multiply delta by.
    fn mass_error(&self) -> f64 {
        let steps: f64 = self.parts.iter().map(|(_, count)| *count as f64).sum();
        (STEP_ERROR * steps).exp()
    }

    fn epsilon(&self, delta: f64) -> Result<f64> {
        let most = self.most();
        let delta = delta / self.mass_error();
        if self.infinity >= delta || delta < LEAST_DELTA {
            return Ok(most);
        }
        let found = match self.single() {
            Some(window) => window.epsilon(delta).unwrap_or(0.0),
            None => self.without_tails(delta, |sum| sum.tilted_epsilon(delta))?,
        };
        Ok(found.min(most))
    }

    /// The largest loss that there is: epsilon at any delta.
    fn most(&self) -> f64 {
        if self.infinity > 0.0 {
            return f64::INFINITY;
        }
        let points: f64 = self.parts.iter().map(|(part, count)| part.last() as f64 * *count as f64).sum();
        (points * self.step * (1.0 + 1e-14)).max(0.0)
    }

    /// Of the sum without the tails that matter little next to `delta`.
    fn without_tails<T>(&self, delta: f64, of: impl FnOnce(&Sum<'_>) -> T) -> T {
        let spare = UNLIKELY * delta / self.parts.len() as f64;
        let kept = self.parts.iter().map(|(part, count)| (part.without_tail(spare / *count as f64), *count));
        let kept: Vec<(Losses, u64)> = kept.collect();
        of(&Sum::new(kept.iter().map(|(part, count)| (part, *count)), self.limit))
    }

    fn tilted_epsilon(&self, delta: f64) -> Result<f64> {
        // P(loss >= K'(theta)) is about e^-(theta K' - K).
        let surprise = -delta.ln();
        let mut theta =
            self.solve(|theta, [k, mean, variance]| (theta * mean - k - surprise, theta * variance));
        loop {
            let window = self.compose(theta)?;
            match window.epsilon(delta) {
                Some(epsilon) => return Ok(epsilon),
                None if window.start() <= 0.0 => return Ok(0.0),
                // The answer lies below the window; less tilt moves it down.
                None => theta *= 0.5,
            }
            if theta < 1e-9 {
                return Ok(window.start());
            }
        }
    }

    /// One run of one mechanism needs no transform.
    fn single(&self) -> Option<Window> {
        let [(part, 1)] = self.parts[..] else { return None };
        Some(Window {
            step: self.step,
            low: part.low as f64,
            theta: 0.0,
            log_scale: 0.0,
            weights: part.masses.clone(),
            unit: 1.0,
            error: 0.0,
            relative: 1.0,
            infinity: self.infinity,
        })
    }

    fn delta(&self, epsilon: f64) -> Result<f64> {
        if let Some(window) = self.single() {
            return Ok((window.delta(epsilon) * self.mass_error()).min(1.0));
        }
        // Each is an upper bound, from which the next knows which tails matter.
        let mut delta: f64 = 1.0;
        for _ in 0..DELTA_ROUNDS {
            let less = self.without_tails(delta, |sum| sum.tilted_delta(epsilon))?;
            if less >= 0.5 * delta || less < LEAST_DELTA {
                return Ok(delta.min(less));
            }
            delta = less;
        }
        Ok(delta)
    }

    fn tilted_delta(&self, epsilon: f64) -> Result<f64> {
        let theta = self.solve(|_, [_, mean, variance]| (mean - epsilon, variance));
        let mut window = self.compose(theta)?;
        let mut less = theta;
        while window.start() > epsilon && less > 1e-9 {
            less *= 0.5;
            window = self.compose(less)?;
        }
        Ok((window.delta(epsilon) * self.mass_error()).min(1.0))
    }

    /// The theta > 0 at which an increasing function of the cumulants is 0, roughly; `of` gives the
    /// function and its derivative.
    fn solve(&self, of: impl Fn(f64, [f64; 3]) -> (f64, f64)) -> f64 {
        let most = MOST_SOLVED / self.step;
        let spread = self.cumulants(0.0)[2].sqrt().max(self.step);
        let (mut low, mut high) = (0.0, most);
        let mut theta = (4.0 / spread).min(most);
        for _ in 0..60 {
            let (value, slope) = of(theta, self.cumulants(theta));
            if value < 0.0 {
                low = theta;
            } else {
                high = theta;
            }
            let next = theta - value / slope;
            let next = if next.is_finite() && next > low && next < high {
                next
            } else if low > 0.0 {
                (low * high).sqrt()
            } else {
                0.25 * high
            };
            if (next / theta - 1.0).abs() < 0.01 || high < 1e-9 {
                return next;
            }
            theta = next;
        }
        theta
    }

    /// The tilted distribution of the sum, in a window that holds nearly all of it.
    fn compose(&self, theta: f64) -> Result<Window> {
        let [k, mean, variance] = self.cumulants(theta);
        if !(k + mean + variance).is_finite() {
            let hint = "its losses are too far apart for this program; take a larger step, or more noise";
            return Err(Error::TooLarge { need: f64::INFINITY, limit: self.limit, hint });
        }
        let spread = variance.sqrt().max(self.step);
        // Chernoff: P(X >= x) <= e^(K(theta + s) - K(theta) - s x). The s of a normal distribution
        // is too large where a tail is heavy, so it is halved while that helps.
        let edge = |log_tail: f64, sign: f64| {
            let room = MOST_TILT / self.step - sign * theta;
            let mut s = ((-2.0 * log_tail).sqrt() / spread).min(room);
            let mut best = f64::INFINITY;
            for _ in 0..30 {
                let reach = (self.cumulants(theta + sign * s)[0] - k - log_tail) / s;
                if reach >= best {
                    break;
                }
                if reach.is_finite() {
                    best = reach;
                }
                s *= 0.5;
            }
            sign * best
        };
        let extreme = |end: fn(&Losses) -> i64| -> f64 {
            self.parts.iter().map(|(part, count)| end(part) as f64 * *count as f64).sum()
        };
        let low = (edge(LOG_BELOW, -1.0) / self.step).floor().max(extreme(|part| part.low)) - 1.0;
        let high = (edge(LOG_ABOVE, 1.0) / self.step).ceil().min(extreme(Losses::last)) + 1.0;
        let high = high.max(low + 1.0);
        let need = high - low + 2.0;
        if need.is_nan() || need > self.limit as f64 || low.abs() > 9e15 {
            return Err(Error::TooLarge { need, limit: self.limit, hint: "take a larger step" });
        }
        let n = fast_length(need as usize);
        let (forward, backward) = plan(n);
        let mut product = Vec::new();
        // What an error in the transforms becomes in the product: count |product| / |transform|,
        // summed over parts.
        let mut frailty = Vec::new();
        let mut offset = 0.0;
        // The very numbers that the transforms were divided by, so that the rounding of their sums
        // is nothing.
        let mut log_scale = 0.0;
        let mut relative = 0.0;
        for (part, count) in &self.parts {
            let [_, part_mean, _] = part.cumulants(theta);
            // Centred, phases are small where the product is large, and their errors stay small
            // when multiplied by count.
            let centre = (part_mean / self.step).round() as i64;
            offset += centre as f64 * *count as f64;
            let (spectrum, log_total, rounding) = transform(part, theta, centre, &*forward, n);
            log_scale += *count as f64 * log_total;
            relative += *count as f64 * rounding;
            if product.is_empty() {
                frailty = spectrum.iter().map(|value| value.norm_sqr().sqrt()).collect();
                product = spectrum;
                raise(&mut product, &mut frailty, *count);
            } else {
                let mut more = spectrum;
                let mut size: Vec<f64> = more.iter().map(|value| value.norm_sqr().sqrt()).collect();
                raise(&mut more, &mut size, *count);
                for (((value, more), frailty), size) in
                    product.iter_mut().zip(more).zip(&mut frailty).zip(size)
                {
                    *frailty = *frailty * more.norm_sqr().sqrt() + size * value.norm_sqr().sqrt();
                    *value *= more;
                }
            }
        }
        let levels = (n as f64).log2();
        let transform_error = 0.5 * f64::EPSILON * (16.0 + 4.0 * levels);
        let error = 4.0 * transform_error * frailty.iter().sum::<f64>() / n as f64;
        // The transform back needs real ends.
        for end in [0, product.len() - 1] {
            if let Some(value) = product.get_mut(end) {
                value.im = 0.0;
            }
        }
        let mut weights = vec![0.0; n];
        if backward.process(&mut product, &mut weights).is_err() {
            return Err(Error::TooLarge { need, limit: self.limit, hint: "take a larger step" });
        }
        // Entry j holds the sums that are offset + j, modulo n.
        let farthest = low.abs().max(high.abs()) * self.step;
        relative += 8.0 * f64::EPSILON * (log_scale.abs() + theta * farthest);
        let turn = (low - offset).rem_euclid(n as f64) as usize;
        weights.rotate_left(turn % n);
        Ok(Window {
            step: self.step,
            low,
            theta,
            log_scale,
            weights,
            unit: 1.0 / n as f64,
            error,
            relative: relative.exp(),
            // Above the window, under the untilted measure.
            infinity: self.infinity + (k - theta * self.step * high + LOG_ABOVE).exp(),
        })
    }
}

/// The transform of a part's tilted masses, normalised, with index `centre` at 0, modulo `n`; the
/// logarithm of what they were divided by; a bound on the relative rounding of each that matters.
fn transform(
    part: &Losses,
    theta: f64,
    centre: i64,
    forward: &dyn RealToComplex<f64>,
    n: usize,
) -> (Vec<Complex<f64>>, f64, f64) {
    let mut folded = vec![0.0; n];
    let powers = powers(theta * part.step);
    let mut total = 0.0;
    let mut blocks = Vec::new();
    let mut reach: f64 = 0.0;
    let shift = part.tilted(theta, |first, scale, masses| {
        let mut sum = 0.0;
        for (mass, power) in masses.iter().zip(&powers) {
            sum += mass * power * scale;
        }
        total += sum;
        // What holds less than e^-40 may be as wrong as it likes.
        if sum > 1e-18 {
            reach = reach.max((theta * part.step * (part.low + first as i64) as f64).abs());
        }
        blocks.push((first, scale));
    });
    for (first, scale) in blocks {
        let masses = part.masses.get(first..).unwrap_or_default();
        let mut place = (part.low + first as i64 - centre).rem_euclid(n as i64) as usize;
        for (mass, power) in masses.iter().take(BLOCK).zip(&powers) {
            folded[place] += mass * power * scale / total;
            place = if place + 1 == n { 0 } else { place + 1 };
        }
    }
    let mut spectrum = forward.make_output_vec();
    // Lengths fit by construction.
    let _ = forward.process(&mut folded, &mut spectrum);
    let rounding = f64::EPSILON * (16.0 + 64.0 * theta.abs() * part.step + 2.0 * (reach + shift.abs()));
    (spectrum, total.ln() + shift, rounding)
}

/// Raises every value to `count`, and turns its size into count |value|^(count - 1).
fn raise(values: &mut [Complex<f64>], sizes: &mut [f64], count: u64) {
    if count == 1 {
        sizes.fill(1.0);
        return;
    }
    let times = count as f64;
    // Below, the power is less than 1e-40, and its frailty than count 1e-20.
    let negligible = (1e-40f64.ln() / times).exp();
    for (value, size) in values.iter_mut().zip(sizes) {
        if *size < negligible {
            *value = Complex::ZERO;
            *size = times * 1e-20;
            continue;
        }
        let (mut base, mut left, mut result) = (*value, count, Complex::<f64>::ONE);
        loop {
            if left & 1 == 1 {
                result *= base;
            }
            left >>= 1;
            if left == 0 {
                break;
            }
            base *= base;
        }
        *size = times * result.norm_sqr().sqrt() / *size;
        *value = result;
    }
}

/// The smallest 2^a 3^b 5^c that is even and at least `n`.
pub(crate) fn fast_length(n: usize) -> usize {
    let mut best = n.next_power_of_two().max(2);
    let mut fives = 1;
    while fives < best {
        let mut odd = fives;
        while odd < best {
            let mut length = 2 * odd;
            while length < n {
                length *= 2;
            }
            best = best.min(length);
            odd *= 3;
        }
        fives *= 5;
    }
    best
}

/// A composed distribution from `low` on, in steps: the mass at x is e^(log_scale - theta x) times
/// (weight unit + error).
struct Window {
    step: f64,
    low: f64,
    theta: f64,
    log_scale: f64,
    weights: Vec<f64>,
    /// Scales the weights.
    unit: f64,
    /// A bound on the rounding of each.
    error: f64,
    /// What all masses together may be too small by, as a factor.
    relative: f64,
    infinity: f64,
}

impl Window {
    fn start(&self) -> f64 {
        self.low * self.step
    }

    /// Walks down from the highest loss: `with(loss, upper, lower)` until it gives an answer, where
    /// `upper` is the mass above `loss`, rounded up, and `lower` the same under Q, times e^loss,
    /// rounded down: each mass times e^(loss - its own). Then both for the window's start.
    fn descend<T>(
        &self,
        mut with: impl FnMut(f64, f64, f64) -> Option<T>,
    ) -> std::result::Result<T, (f64, f64)> {
        // What has infinite loss has no mass under Q.
        let (mut upper, mut carry, mut lower) = (self.infinity, 0.0, 0.0);
        let (up, down) = ((self.theta * self.step).exp(), self.step.exp());
        let mut reference = 0.0;
        // A block's own sums round 64 times, its exponentials a few times more. Below, what lies
        // more than 40 above weighs nothing.
        let counted = (40.0 / (self.step * BLOCK as f64)).ceil();
        let mut blocks = 0.0;
        let bounds = |loss: f64, upper: f64, lower: f64, blocks: f64| {
            let error = f64::EPSILON * (256.0 + 4.0 * loss.abs() + 4.0 * f64::min(blocks, counted));
            (upper * (1.0 + 256.0 * f64::EPSILON), lower * (1.0 - error.min(1.0)))
        };
        for (block, weights) in self.weights.chunks(BLOCK).enumerate().rev() {
            let first = self.low + (block * BLOCK) as f64;
            let top = self.step * (first + weights.len() as f64 - 1.0);
            if lower > 0.0 {
                lower *= (top - reference).exp();
            }
            reference = top;
            blocks += 1.0;
            // Exact at every block's top, then multiplied: 64 roundings.
            let (mut scale, mut ratio) = ((self.log_scale - self.theta * top).exp(), 1.0);
            let (mut more, mut more_below) = (0.0, 0.0);
            for (i, weight) in weights.iter().enumerate().rev() {
                let loss = self.step * (first + i as f64);
                let (high, low) = bounds(loss, upper + more, (lower + more_below) / ratio, blocks);
                if let Some(answer) = with(loss, high, low) {
                    return Ok(answer);
                }
                let mass = (weight.max(0.0) * self.unit + self.error) * scale;
                more += mass;
                more_below += mass * ratio;
                scale *= up;
                ratio *= down;
            }
            lower += more_below;
            // Compensated: the error of a sum of blocks does not grow with their number.
            let term = more + carry;
            let sum = upper + term;
            carry = if upper >= term { (upper - sum) + term } else { (term - sum) + upper };
            upper = sum;
        }
        let start = self.start();
        Err(bounds(start, upper, lower * (start - reference).exp(), blocks))
    }

    /// `None` where delta at the window's start is still below `delta`.
    fn epsilon(&self, delta: f64) -> Option<f64> {
        let delta = delta / self.relative;
        // delta(epsilon) = upper - e^(epsilon - loss) lower from one loss of the grid up to the
        // next.
        let found = self.descend(|loss, upper, lower| {
            // The logarithm is for the last step alone.
            let reached = upper > delta && upper - delta >= lower;
            reached.then(|| (loss + ((upper - delta) / lower).ln()).max(loss))
        });
        let epsilon = match found {
            Ok(epsilon) => epsilon,
            Err((upper, lower)) if upper > delta && upper - delta >= lower => {
                self.start() + ((upper - delta) / lower).ln()
            }
            Err(_) => return None,
        };
        // The roundings of losses, and of the logarithm of a difference.
        Some(if epsilon <= 0.0 { 0.0 } else { epsilon + 1e-13 * (1.0 + epsilon) })
    }

    fn delta(&self, epsilon: f64) -> f64 {
        let between = |loss: f64, upper: f64, lower: f64| {
            let reach = (epsilon - loss).exp();
            let taken = if lower > 0.0 { reach * lower * (1.0 - 1e-14) } else { 0.0 };
            // Both sums are of positive terms; their difference loses what they have in common.
            if taken < upper { upper - taken + 1e-13 * upper } else { 1e-13 * upper }
        };
        let found = self.descend(|loss, upper, lower| (loss <= epsilon).then(|| between(loss, upper, lower)));
        let delta = match found {
            Ok(delta) => delta,
            Err((upper, lower)) => between(self.start(), upper, lower),
        };
        (delta * self.relative).max(f64::MIN_POSITIVE)
    }
}
