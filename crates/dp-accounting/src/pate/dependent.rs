//! Costs at the votes at hand: for parity with the literature, and for diagnosis inside.
//!
//! # What they are not
//! - They are no certificate: every figure is a function of private votes, hence [`NotReleasable`].
//!   What may be said of it outside is the smooth-sensitivity release of [`smooth`](crate::smooth),
//!   or nothing.
//! - They bound D(M(D) || M(D')) for the data D at hand and each neighbour D', and **not** D(M(D')
//!   || M(D)), which can be larger: for 250 unanimous votes of 10 classes, sigma 40 and order 14,
//!   it is 5.1e-6 where the first is 1.8e-6.
//! - They are loose: [`local`](super::local) is 5 to 40 times smaller for confident queries.
//! - [`confident_expected`] is an expectation over the screens' noise, and not what any run costs.
//!
//! # Source
//! PATE 2018: Prop. 7 (q), Thm 6 (the bound), Prop. 10 (its two orders); PATE 2017 for LNMax.

use crate::error::{Result, check_scale};
use crate::pate::independent::{Coin, check_answered, lnmax_independent, pure_epsilon};
use crate::pate::lattice::LatticeTail;
use crate::pate::{
    Bound, ConfidentGnmax, Gnmax, NO_NOISE, Noise, NotReleasable, Screen, Votes, check_counts, check_orders,
    largest,
};
use crate::special::{log_add_exp, log_ndtr, log_sum_exp, log1m_exp};

/// ln q, where q bounds the chance that the noisy argmax is *not* the class with most votes.
///
/// q is the sum, over the other classes, of the chance that their noisy count reaches the first's,
/// and at most 1 - 1/K. For normal noise that chance is Phi(-gap / (sqrt(2) sigma)), for integer
/// noise [`log_discrete_gap_tail`](super::log_discrete_gap_tail), in which ties count.
///
/// # What it is not
/// Releasable; nor the exact chance, which [`local`](super::local) has.
///
/// # Edge cases
/// `sigma` 0: only ties of the votes count, each with one half. No votes: ln(1 - 1/K).
///
/// # Source
/// PATE 2018, Prop. 7.
///
/// # Rounding
/// To nearest, from logarithms (q may be e^-1000): relative error of q below about 1e-13.
pub fn gnmax_log_q(gnmax: Gnmax, counts: &[u32]) -> Result<NotReleasable<f64>> {
    let counts = check_counts(counts)?;
    let tail = GapTail::new(gnmax.checked()?, largest(counts))?;
    Ok(NotReleasable::new(tail.log_q(counts)))
}

/// The chance that one class's noisy count reaches another's.
pub(crate) enum GapTail {
    /// sqrt(2) sigma.
    Normal(f64),
    Lattice(LatticeTail),
}

impl GapTail {
    /// For gaps of at most `max`, of a checked mechanism.
    pub(crate) fn new(gnmax: Gnmax, max: u32) -> Result<Self> {
        Ok(match gnmax.noise {
            Noise::Gaussian => Self::Normal(std::f64::consts::SQRT_2 * gnmax.sigma),
            Noise::DiscreteGaussian => Self::Lattice(LatticeTail::difference(gnmax.sigma, max as usize)?),
        })
    }

    fn log_reached(&self, gap: u32) -> f64 {
        match self {
            Self::Normal(_) if gap == 0 => -std::f64::consts::LN_2,
            Self::Normal(scale) if *scale < NO_NOISE => f64::NEG_INFINITY,
            Self::Normal(scale) => log_ndtr(-f64::from(gap) / scale),
            Self::Lattice(tail) => tail.at_least(i64::from(gap)),
        }
    }

    pub(crate) fn log_q(&self, counts: &[u32]) -> f64 {
        capped_sum(counts, |gap| self.log_reached(gap))
    }
}

/// ln of the sum of `log_chance` over all classes but the first with most votes, at most 1 - 1/K.
fn capped_sum(counts: &[u32], log_chance: impl Fn(u32) -> f64) -> f64 {
    let max = largest(counts);
    let first = counts.iter().position(|count| *count == max);
    let others = counts.iter().enumerate().filter(|(class, _)| Some(*class) != first);
    let terms: Vec<f64> = others.map(|(_, count)| log_chance(max - count)).collect();
    log_sum_exp(&terms).min((-1.0 / counts.len() as f64).ln_1p())
}

/// Rényi-DP bound of one noisy argmax at these counts.
///
/// # What it is not
/// A guarantee: see the [module](self). It bounds D(M(D) || M(D')) for the D at hand only.
///
/// # Edge cases
/// Where a condition of the theorem fails (q too large, the order too high), the data-independent
/// alpha / sigma^2, which the result never exceeds. `sigma` 0: infinite.
///
/// # Source
/// PATE 2018, Thm 6 at the orders of Prop. 10. For integer noise the same theorem holds, since it
/// only needs q and the curve alpha / sigma^2.
///
/// # Rounding
/// To nearest: relative error below about 1e-12.
pub fn gnmax_rdp(gnmax: Gnmax, counts: &[u32], orders: &[f64]) -> Result<NotReleasable<Vec<f64>>> {
    check_orders(orders)?;
    let log_q = gnmax_log_q(gnmax, counts)?.into_internal();
    let bound = Bound::new(log_q, gnmax.sigma);
    Ok(NotReleasable::new(orders.iter().map(|order| bound.rdp(*order)).collect()))
}

/// [`gnmax_rdp`], summed over queries.
///
/// # What it is not
/// A guarantee: see the [module](self).
///
/// # Edge cases
/// No queries: 0 at every order. Otherwise as [`gnmax_rdp`].
///
/// # Source
/// PATE 2018, Thm 6; Rényi-DP adds up.
///
/// # Rounding
/// To nearest: relative error below about 1e-12.
pub fn gnmax_total_rdp(gnmax: Gnmax, votes: &Votes, orders: &[f64]) -> Result<NotReleasable<Vec<f64>>> {
    check_orders(orders)?;
    let tail = GapTail::new(gnmax.checked()?, votes.max())?;
    let mut total = vec![0.0; orders.len()];
    for counts in votes.rows() {
        add(&mut total, &Bound::new(tail.log_q(counts), gnmax.sigma), orders, 1.0);
    }
    Ok(NotReleasable::new(total))
}

/// Adds `weight` times the bound. Nothing of something infinite is nothing.
fn add(total: &mut [f64], bound: &Bound, orders: &[f64], weight: f64) {
    if weight > 0.0 {
        for (sum, order) in total.iter_mut().zip(orders) {
            *sum += weight * bound.rdp(*order);
        }
    }
}

/// ln of the chance that a query with these counts passes the screen.
///
/// # What it is not
/// Releasable: it tells the largest count.
///
/// # Edge cases
/// `sigma` 0: 0 or minus infinity.
///
/// # Source
/// PATE 2018: Phi((max n - T) / sigma), or the discrete Gaussian's tail.
///
/// # Rounding
/// To nearest, from the tail itself: relative error of the chance below about 1e-13.
pub fn screen_log_answered(screen: Screen, counts: &[u32]) -> Result<NotReleasable<f64>> {
    let max = largest(check_counts(counts)?);
    Ok(NotReleasable::new(Coin::new(screen.checked()?, max)?.logs(max)[0]))
}

/// Rényi-DP bound of one screen at these counts: the same theorem for two outcomes, with q the less
/// likely one's chance and sqrt(2) sigma for sigma.
///
/// # What it is not
/// A guarantee: see the [module](self).
///
/// # Edge cases
/// As [`gnmax_rdp`], with alpha / (2 sigma^2) as the data-independent cost.
///
/// # Source
/// PATE 2018, Thm 6 at the orders of Prop. 10.
///
/// # Rounding
/// To nearest: relative error below about 1e-12.
pub fn screen_rdp(screen: Screen, counts: &[u32], orders: &[f64]) -> Result<NotReleasable<Vec<f64>>> {
    check_orders(orders)?;
    let max = largest(check_counts(counts)?);
    let bound = screen_bound(screen, &Coin::new(screen.checked()?, max)?, max);
    Ok(NotReleasable::new(orders.iter().map(|order| bound.rdp(*order)).collect()))
}

/// The bound at a largest count.
pub(crate) fn screen_bound(screen: Screen, coin: &Coin, max: u32) -> Bound {
    let [pass, fail] = coin.logs(max);
    Bound::new(pass.min(fail), std::f64::consts::SQRT_2 * screen.sigma)
}

/// Rényi-DP bound of a run of Confident-GNMax: every query's screen, and the argmax of every query
/// that *was* answered.
///
/// # What it is not
/// A guarantee: see the [module](self). Which queries were answered is public in a released
/// transcript; the rest is not.
///
/// # Edge cases
/// No queries: 0. `answered` needs one entry per query. A scale of 0: infinite, if any query pays
/// for it.
///
/// # Source
/// PATE 2018, Thm 6 for each step.
///
/// # Rounding
/// To nearest: relative error below about 1e-12.
pub fn confident_charged_rdp(
    mechanism: ConfidentGnmax,
    votes: &Votes,
    answered: &[bool],
    orders: &[f64],
) -> Result<NotReleasable<Vec<f64>>> {
    check_answered(answered, votes.queries())?;
    let run = confident(mechanism, votes, orders, |query, _| f64::from(u8::from(answered[query])))?;
    Ok(NotReleasable::new(run.rdp))
}

/// What [`confident_expected`] expects.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// How many queries pass the screen.
    pub answers: f64,
    /// The cost at each order.
    pub rdp: Vec<f64>,
}

/// Expected cost of a run of Confident-GNMax: every query's screen, and its argmax times the chance
/// to pass the screen.
///
/// # What it is not
/// A charge. It is the mean over the screens' noise, which figures of the literature are; a run
/// that answers more costs more. For planning on public votes; [`confident_charged_rdp`] is what a
/// run costs.
///
/// # Edge cases
/// No queries: 0. A scale of 0: infinite, if any query may pay for it.
///
/// # Source
/// PATE 2018, Thm 6 for each step, weighted as its authors' scripts do.
///
/// # Rounding
/// To nearest: relative error below about 1e-12.
pub fn confident_expected(
    mechanism: ConfidentGnmax,
    votes: &Votes,
    orders: &[f64],
) -> Result<NotReleasable<Expected>> {
    Ok(NotReleasable::new(confident(mechanism, votes, orders, |_, log_answered| log_answered.exp())?))
}

/// The sum over queries, each argmax weighted by `weight` of the query's index and its ln of the
/// chance to pass.
fn confident(
    mechanism: ConfidentGnmax,
    votes: &Votes,
    orders: &[f64],
    weight: impl Fn(usize, f64) -> f64,
) -> Result<Expected> {
    check_orders(orders)?;
    let ConfidentGnmax { screen, argmax } = mechanism;
    let coin = Coin::new(screen.checked()?, votes.max())?;
    let tail = GapTail::new(argmax.checked()?, votes.max())?;
    let mut all = Expected { answers: 0.0, rdp: vec![0.0; orders.len()] };
    for (query, counts) in votes.rows().enumerate() {
        let max = largest(counts);
        add(&mut all.rdp, &screen_bound(screen, &coin, max), orders, 1.0);
        let answered = weight(query, coin.logs(max)[0]);
        all.answers += answered;
        add(&mut all.rdp, &Bound::new(tail.log_q(counts), argmax.sigma), orders, answered);
    }
    Ok(all)
}

/// ln q of LNMax with Laplace noise of scale `scale` (lambda): the sum over the other classes of (2
/// + g) e^-g / 4 for g their gap to the first over lambda, at most 1 - 1/K.
///
/// # What it is not
/// Releasable.
///
/// # Edge cases
/// `scale` 0: only ties of the votes count, each with one half.
///
/// # Source
/// PATE 2017.
///
/// # Rounding
/// To nearest, from logarithms: relative error of q below about 1e-14.
pub fn lnmax_log_q(scale: f64, counts: &[u32]) -> Result<NotReleasable<f64>> {
    check_scale("the scale of the Laplace noise", scale)?;
    Ok(NotReleasable::new(laplace_log_q(scale, check_counts(counts)?)))
}

fn laplace_log_q(scale: f64, counts: &[u32]) -> f64 {
    capped_sum(counts, |gap| {
        if gap == 0 {
            return -std::f64::consts::LN_2;
        }
        let g = f64::from(gap) / scale;
        if g.is_finite() { (0.25 * (2.0 + g)).ln() - g } else { f64::NEG_INFINITY }
    })
}

/// Rényi-DP bound of one LNMax answer at these counts.
///
/// # What it is not
/// A guarantee: see the [module](self).
///
/// # Edge cases
/// Where q is above 1 / (e^`epsilon_0` + 1), the data-independent cost, which the result never
/// exceeds. `scale` 0: infinite.
///
/// # Source
/// PATE 2017.
///
/// # Rounding
/// To nearest: relative error below about 1e-12.
pub fn lnmax_rdp(scale: f64, counts: &[u32], orders: &[f64]) -> Result<NotReleasable<Vec<f64>>> {
    check_orders(orders)?;
    let log_q = lnmax_log_q(scale, counts)?.into_internal();
    Ok(NotReleasable::new(orders.iter().map(|order| lnmax_bound(scale, log_q, *order)).collect()))
}

/// [`lnmax_rdp`], summed over queries.
///
/// # What it is not
/// A guarantee: see the [module](self).
///
/// # Edge cases
/// No queries: 0 at every order. Otherwise as [`lnmax_rdp`].
///
/// # Source
/// PATE 2017; Rényi-DP adds up.
///
/// # Rounding
/// To nearest: relative error below about 1e-12.
pub fn lnmax_total_rdp(scale: f64, votes: &Votes, orders: &[f64]) -> Result<NotReleasable<Vec<f64>>> {
    check_scale("the scale of the Laplace noise", scale)?;
    check_orders(orders)?;
    let mut total = vec![0.0; orders.len()];
    for counts in votes.rows() {
        let log_q = laplace_log_q(scale, counts);
        for (sum, order) in total.iter_mut().zip(orders) {
            *sum += lnmax_bound(scale, log_q, *order);
        }
    }
    Ok(NotReleasable::new(total))
}

fn lnmax_bound(scale: f64, log_q: f64, order: f64) -> f64 {
    let epsilon_0 = pure_epsilon(scale);
    let independent = lnmax_independent(epsilon_0, order);
    if !epsilon_0.is_finite() || log_q > -log_add_exp(epsilon_0, 0.0) {
        return independent;
    }
    let above = order - 1.0;
    let log_1m_q = log1m_exp(log_q);
    let kept = log_1m_q + above * (log_1m_q - log1m_exp(epsilon_0 + log_q));
    let log_moment = log_add_exp(kept, log_q + epsilon_0 * above);
    independent.min((log_moment / above).max(0.0))
}
