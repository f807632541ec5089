//! What could be said outside about the data-dependent cost: its smooth sensitivity, and the price
//! of saying it.
//!
//! The figures of [`pate::dependent`](crate::pate::dependent) are functions of private votes. To
//! release one, noise is added in proportion to its *smooth sensitivity*: a bound on how much it
//! changes between neighbours, which itself changes little between neighbours. The way there:
//!
//! 1. per query, a list of bounds on the local sensitivity at 0, 1, 2, ... moved votes
//!    ([`GnmaxSensitivity::by_distance`], [`screen_by_distance`]), summed over queries
//!    ([`confident_by_distance`]);
//! 2. the smooth sensitivity of the sum at some beta ([`smooth_sensitivity`]);
//! 3. epsilon + smooth sensitivity * N(0, sigma^2), which costs [`release_rdp`] on top.
//!
//! # What it is not
//! - Lists and smooth sensitivities are private ([`NotReleasable`]): what is releasable is the
//!   noisy figure of step 3 alone, drawn with secret noise, once, and charged.
//! - beta, sigma and the order must be chosen **on public votes** (or beforehand), never by what
//!   looks best on the private ones.
//! - The bounds hold only where the conditions C5 and C6 do: [`GnmaxSensitivity::conditions`]
//!   looks, on a grid.
//! - They are for normal noise: with integer noise one moved vote moves ln q otherwise.
//! - [`pate::independent`](crate::pate::independent) needs none of this, and Gaussian DP of the
//!   same run is usually as good.
//!
//! All of it works on ln q, since q may be e^-1000.
//!
//! # Source
//! PATE 2018 (Papernot et al., arXiv 1802.08908), the appendix on smooth sensitivity, with its
//! conditions C5 and C6.

use std::ops::Range;

use crate::error::{Error, Result, check, check_scale};
use crate::pate::dependent::{GapTail, screen_bound};
use crate::pate::independent::{Coin, check_answered};
use crate::pate::{
    Bound, ConfidentGnmax, Gnmax, NO_NOISE, Noise, NotReleasable, Screen, Votes, check_counts, check_order,
    largest,
};
use crate::special::{log_ndtr, log_ndtri};

/// The data-dependent cost of one noisy argmax at one order as a function of ln q, and how far one
/// vote moves it.
///
/// Public: it depends on sigma, K and the order, and on no votes.
#[derive(Clone, Debug, PartialEq)]
pub struct GnmaxSensitivity {
    sigma: f64,
    classes: usize,
    order: f64,
    log_q0: f64,
    log_q1: f64,
    plateau: f64,
}

/// Whether the two conditions hold on a grid, under which [`GnmaxSensitivity::at`] bounds the local
/// sensitivity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// C5: the cost rises with q below q0.
    pub c5: bool,
    /// C6: what one vote adds to the cost rises with q as long as it ends below q0.
    pub c6: bool,
}

impl GnmaxSensitivity {
    /// For normal noise of scale `sigma` on the counts of `classes` classes.
    ///
    /// # Edge cases
    /// `sigma` 0 is refused: the cost is infinite and has no sensitivity.
    ///
    /// # Rounding
    /// q0 is a root of two curves found by bisection, to the last digit of ln q.
    pub fn new(sigma: f64, classes: usize, order: f64) -> Result<Self> {
        let allowed = "above 0 (at 0 the cost is infinite and has no sensitivity)";
        check("sigma of the argmax", sigma, |sigma| sigma > NO_NOISE, allowed)?;
        check("the number of classes", classes as f64, |value| value >= 2.0, "2 or more")?;
        check_order(order)?;
        let log_q0 = Self::find_log_q0(sigma, order)?;
        let mut curve = Self { sigma, classes, order, log_q0, log_q1: 0.0, plateau: 0.0 };
        curve.log_q1 = curve.log_q_down(log_q0);
        // One vote more from q1 is q0, where the cost may jump.
        let cost = curve.cost(curve.log_q1);
        let up = curve.independent() - cost;
        curve.plateau = up.max(cost - curve.cost(curve.log_q_down(curve.log_q1)));
        Ok(curve)
    }

    /// Where the data-dependent cost becomes the smaller one.
    fn find_log_q0(sigma: f64, order: f64) -> Result<f64> {
        let better = |log_q: f64| {
            let bound = Bound::new(log_q, sigma);
            bound.dependent(order).is_some_and(|cost| cost < bound.independent(order))
        };
        // Above this a condition of the theorem fails.
        let inverse = sigma.recip();
        let squares = [1.0 + inverse, (order - 0.99) * inverse, inverse];
        let mut high = squares.iter().map(|root| -root * root).fold(f64::INFINITY, f64::min);
        if better(high) {
            return Ok(high);
        }
        let mut low = 2.0 * high;
        while !better(low) {
            (low, high) = (1.5 * low, low);
            let allowed = "such that the data-dependent cost is the smaller one at some q";
            check("the order", order, |_| low.is_finite(), allowed)?;
        }
        loop {
            let middle = 0.5 * (low + high);
            if middle <= low || middle >= high {
                return Ok(low);
            }
            if better(middle) { low = middle } else { high = middle }
        }
    }

    /// ln q0: below it the cost is the data-dependent one, from it on alpha / sigma^2.
    pub fn log_q0(&self) -> f64 {
        self.log_q0
    }

    /// ln q1: one vote below q0.
    pub fn log_q1(&self) -> f64 {
        self.log_q1
    }

    /// The bound on the local sensitivity for q from q1 to q0, which stands for all distances where
    /// none better is known.
    pub fn plateau(&self) -> f64 {
        self.plateau
    }

    /// The cost at ln q.
    pub fn cost(&self, log_q: f64) -> f64 {
        if log_q < self.log_q0 { Bound::new(log_q, self.sigma).rdp(self.order) } else { self.independent() }
    }

    fn independent(&self) -> f64 {
        Bound::new(0.0, self.sigma).independent(self.order)
    }

    /// An upper bound (`B_U`) on ln q of all neighbours of votes with this ln q.
    pub fn log_q_up(&self, log_q: f64) -> f64 {
        self.log_q_moved(log_q, 1.0)
    }

    /// A lower bound (`B_L`) on ln q of all neighbours of votes with this ln q.
    pub fn log_q_down(&self, log_q: f64) -> f64 {
        self.log_q_moved(log_q, -1.0)
    }

    /// All gaps are taken to be equal, and to change by 2 votes.
    fn log_q_moved(&self, log_q: f64, direction: f64) -> f64 {
        let log_others = ((self.classes - 1) as f64).ln();
        let z = log_ndtri(log_q - log_others) + direction * std::f64::consts::SQRT_2 / self.sigma;
        (log_others + log_ndtr(z)).min(0.0)
    }

    /// A bound on how much the cost changes between votes with this ln q and their neighbours.
    ///
    /// # Guarantee
    /// Only where C5 and C6 hold; see [`conditions`](Self::conditions).
    pub fn at(&self, log_q: f64) -> f64 {
        if (self.log_q1..=self.log_q0).contains(&log_q) {
            return self.plateau;
        }
        let cost = self.cost(log_q);
        let up = self.cost(self.log_q_up(log_q)) - cost;
        let down = cost - self.cost(self.log_q_down(log_q));
        up.max(down).max(0.0)
    }

    /// Bounds on the local sensitivity of the cost at all votes that are 0, 1, ..., M - 1 moved
    /// votes away from these, for M votes.
    ///
    /// # What it is not
    /// Releasable. It is for normal noise.
    ///
    /// # Edge cases
    /// Distances that cannot be reached, or of which nothing better is known, have the
    /// [`plateau`](Self::plateau). The number of counts must be the number of classes.
    ///
    /// # Rounding
    /// Differences of costs: their absolute error is about 1e-12 of the cost.
    pub fn by_distance(&self, counts: &[u32]) -> Result<NotReleasable<Vec<f64>>> {
        if counts.len() != self.classes {
            return Err(Error::Length {
                name: "the votes of a query",
                found: counts.len(),
                allowed: "one count per class",
            });
        }
        let tail = GapTail::new(Gnmax { sigma: self.sigma, noise: Noise::Gaussian }, 0)?;
        let mut list = vec![self.plateau; n_votes(counts)?];
        let mut counts = counts.to_vec();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let mut log_q = tail.log_q(&counts);
        let falling = log_q > self.log_q0;
        for at_distance in &mut list {
            if (self.log_q1..=self.log_q0).contains(&log_q) || falling != (log_q > self.log_q0) {
                break;
            }
            *at_distance = self.at(log_q);
            if falling {
                if counts[1] == 0 {
                    break;
                }
                counts[0] += 1;
                counts[1] -= 1;
                counts[1..].sort_unstable_by(|a, b| b.cmp(a));
            } else {
                if counts[0] < counts[1] + 2 {
                    break;
                }
                counts[0] -= 1;
                counts[1] += 1;
            }
            log_q = tail.log_q(&counts);
        }
        Ok(NotReleasable::new(list))
    }

    /// Looks whether C5 and C6 hold, on a grid of 4000 points of ln q, each 0.3 % below the one
    /// before.
    ///
    /// # What it is not
    /// A proof: a grid is not an interval, and it ends where ln q is about 160 000 times that of
    /// q0.
    pub fn conditions(&self) -> Conditions {
        let rises = |top: f64, value: &dyn Fn(f64) -> f64| {
            let mut log_q = top * (1.0 + 1e-9);
            let mut above = value(log_q);
            for _ in 0..4000 {
                log_q *= 1.003;
                let here = value(log_q);
                if here > above * (1.0 + 1e-9) {
                    return false;
                }
                above = here;
            }
            true
        };
        let added = |log_q: f64| self.cost(self.log_q_up(log_q)) - self.cost(log_q);
        Conditions { c5: rises(self.log_q0, &|log_q| self.cost(log_q)), c6: rises(self.log_q1, &added) }
    }
}

/// M. Lists have one entry per vote.
fn n_votes(counts: &[u32]) -> Result<usize> {
    let votes: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    check("the number of votes", votes as f64, |votes| votes <= 16_777_216.0, "at most 2^24")?;
    Ok(votes as usize)
}

/// Local sensitivities of the screen's data-dependent cost at all votes that are 0, 1, ..., M - 1
/// moved votes away from these.
///
/// # What it is not
/// Releasable.
///
/// # Edge cases
/// `sigma` 0 is refused, as above. Distances at which no vote is left to move have 0.
///
/// # Source
/// PATE 2018: the cost is a function of the largest count v alone, which moves by at most 1; at
/// distance d it is v - d or v + d, and the larger step from there counts.
///
/// # Rounding
/// Differences of costs: their absolute error is about 1e-12 of the cost.
pub fn screen_by_distance(screen: Screen, counts: &[u32], order: f64) -> Result<NotReleasable<Vec<f64>>> {
    let steps = ScreenSteps::new(screen, n_votes(check_counts(counts)?)?, order)?;
    Ok(NotReleasable::new(steps.by_distance(largest(counts))))
}

/// For v = 0, ..., M: the larger of the costs' differences to v - 1 and to v + 1.
struct ScreenSteps(Vec<f64>);

impl ScreenSteps {
    fn new(screen: Screen, votes: usize, order: f64) -> Result<Self> {
        let allowed = "above 0 (at 0 the cost is infinite and has no sensitivity)";
        check("sigma of the screen", screen.sigma, |sigma| sigma > NO_NOISE, allowed)?;
        check_order(order)?;
        let coin = Coin::new(screen.checked()?, votes as u32)?;
        let costs: Vec<f64> =
            (0..=votes as u32).map(|count| screen_bound(screen, &coin, count).rdp(order)).collect();
        let step = |low: usize| (costs[low + 1] - costs[low]).abs();
        let larger = |count: usize| {
            let down = if count > 0 { step(count - 1) } else { 0.0 };
            let up = if count < votes { step(count) } else { 0.0 };
            down.max(up)
        };
        Ok(Self((0..=votes).map(larger).collect()))
    }

    fn by_distance(&self, max: u32) -> Vec<f64> {
        let (max, votes) = (max as usize, self.0.len() - 1);
        let at = |distance: usize| {
            // Where both ends are reached, one vote less far has what there is.
            if distance >= max.max(votes - max) {
                return 0.0;
            }
            let up = self.0.get(max + distance).copied().unwrap_or(0.0);
            let down = max.checked_sub(distance).map_or(0.0, |count| self.0[count]);
            up.max(down)
        };
        (0..votes).map(at).collect()
    }
}

/// Adds `weight` times a list to a sum of lists.
///
/// Lists of queries with the same number of votes are equally long; others are refused.
pub fn add_list(
    total: &mut NotReleasable<Vec<f64>>,
    list: &NotReleasable<Vec<f64>>,
    weight: f64,
) -> Result<()> {
    check("the weight", weight, |weight| weight >= 0.0, "a finite number, 0 or above")?;
    if total.0.len() != list.0.len() {
        return Err(Error::Length {
            name: "a list of local sensitivities",
            found: list.0.len(),
            allowed: "one entry per vote, the same for all queries",
        });
    }
    for (sum, value) in total.0.iter_mut().zip(&list.0) {
        *sum += weight * value;
    }
    Ok(())
}

/// Which queries pay for the second step of Confident-GNMax.
#[derive(Clone, Copy, Debug)]
pub enum Answered<'a> {
    /// Those that were answered: one entry per query. The list is part of the release.
    These(&'a [bool]),
    /// Each by its chance to pass, as the literature's scripts weight it. That chance depends on
    /// private votes, and how it changes between neighbours is *not* in the sum: a figure for
    /// comparison, no sensitivity of the expected cost.
    Expected,
}

/// The lists of all queries of a Confident-GNMax run, summed: [`screen_by_distance`] for each, and
/// [`GnmaxSensitivity::by_distance`] for those that are `answered`.
///
/// # What it is not
/// Releasable; and no bound with [`Answered::Expected`].
///
/// # Edge cases
/// No queries: an empty list. Every query must have the same number of votes. Integer noise of the
/// argmax is refused.
///
/// # Source
/// PATE 2018: the local sensitivity of a sum is at most the sum of local sensitivities.
///
/// # Rounding
/// To nearest: the absolute error is about 1e-12 of the cost.
pub fn confident_by_distance(
    mechanism: ConfidentGnmax,
    votes: &Votes,
    answered: Answered<'_>,
    order: f64,
) -> Result<NotReleasable<Vec<f64>>> {
    let ConfidentGnmax { screen, argmax } = mechanism;
    if argmax.noise != Noise::Gaussian {
        return Err(Error::Unsupported {
            mechanism: "GNMax with integer noise".to_owned(),
            accountant: "the smooth sensitivity",
            reason: "its steps in q are those of normal noise; use a data-independent cost",
        });
    }
    if let Answered::These(list) = answered {
        check_answered(list, votes.queries())?;
    }
    let curve = GnmaxSensitivity::new(argmax.sigma, votes.classes(), order)?;
    let n = votes.rows().next().map_or(Ok(0), n_votes)?;
    let steps = ScreenSteps::new(screen, n, order)?;
    let coin = Coin::new(screen, votes.max())?;
    let mut total = NotReleasable::new(vec![0.0; n]);
    for (query, counts) in votes.rows().enumerate() {
        let max = largest(counts);
        let weight = match answered {
            Answered::These(list) => f64::from(u8::from(list[query])),
            Answered::Expected => coin.logs(max)[0].exp(),
        };
        // First, since it sees a query with another number of votes.
        add_list(&mut total, &curve.by_distance(counts)?, weight)?;
        add_list(&mut total, &NotReleasable::new(steps.by_distance(max)), 1.0)?;
    }
    Ok(total)
}

/// The smooth sensitivity at `beta`: the largest of e^(-beta d) times the bound at distance d.
///
/// # What it is not
/// Releasable.
///
/// # Edge cases
/// An empty list: 0. `beta` 0: the largest entry, which is the global sensitivity as far as the
/// list knows it.
///
/// # Source
/// PATE 2018, after Nissim, Raskhodnikova, Smith 2007.
///
/// # Rounding
/// To nearest.
pub fn smooth_sensitivity(list: &NotReleasable<Vec<f64>>, beta: f64) -> Result<NotReleasable<f64>> {
    check("beta", beta, |beta| beta >= 0.0, "a finite number, 0 or above")?;
    let discounted =
        list.0.iter().enumerate().map(|(distance, value)| (-beta * distance as f64).exp() * value);
    Ok(NotReleasable::new(discounted.fold(0.0, f64::max)))
}

/// Rényi-DP at `order` of releasing a figure with noise of its smooth sensitivity at `beta` times
/// N(0, `sigma`^2):
/// `alpha e^(2 beta) / sigma^2 + (-ln(1 - 2 alpha beta) / 2 + beta alpha) / (alpha - 1)`.
///
/// # Guarantee
/// The release of that one number, with a true smooth sensitivity at `beta`, is (`order`,
/// result)-Rényi-DP. It is at this one order, and adds to what the figure is about.
///
/// # Edge cases
/// Infinite from `order` 1 / (2 `beta`) on, and for `sigma` 0.
///
/// # Source
/// PATE 2018, the Gaussian noise scaled by smooth sensitivity.
///
/// # Rounding
/// To nearest: relative error below about 1e-14, more where 2 alpha beta is next to 1.
pub fn release_rdp(beta: f64, sigma: f64, order: f64) -> Result<f64> {
    check("beta", beta, |beta| beta >= 0.0, "a finite number, 0 or above")?;
    check_scale("sigma of the release", sigma)?;
    check_order(order)?;
    let twice = 2.0 * order * beta;
    if twice >= 1.0 || sigma < NO_NOISE {
        return Ok(f64::INFINITY);
    }
    let noise = order * (2.0 * beta).exp() / (sigma * sigma);
    Ok(noise + (-0.5 * (-twice).ln_1p() + beta * order) / (order - 1.0))
}

/// Values of beta that are worth trying for an order: 0.3 / alpha up to, not including, 0.495 /
/// alpha.
///
/// **Choose on public votes.** Trying values on the private ones and keeping the best leaks, and is
/// not charged by anything here.
pub fn beta_range(order: f64) -> Result<Range<f64>> {
    check_order(order)?;
    Ok(0.3 / order..0.495 / order)
}

/// A release noise that balances what the release costs against its error: the cube root of alpha
/// e^(2 beta) over the smooth sensitivity, where that is one of **public votes** (hence a plain
/// number).
///
/// # Edge cases
/// A smooth sensitivity of 0 is refused: no noise is too much then.
pub fn release_sigma(order: f64, beta: f64, public_smooth_sensitivity: f64) -> Result<f64> {
    check_order(order)?;
    check("beta", beta, |beta| beta >= 0.0, "a finite number, 0 or above")?;
    check("the smooth sensitivity", public_smooth_sensitivity, |value| value > 0.0, "above 0")?;
    Ok((order * (2.0 * beta).exp() / public_smooth_sensitivity).cbrt())
}
