//! What PATE's votes cost: GNMax, its screen, Confident-GNMax and LNMax.
//!
//! # Setting
//! M teachers were trained on disjoint shards of the private records. For a query each of them
//! votes for one of K classes, which gives counts n with M in total. **Neighbouring** data sets
//! differ in any records *inside one shard*. One teacher changes, so at most one vote moves: one
//! count falls by 1 and one rises by 1. The counts' L2 sensitivity is the square root of 2, their
//! L1 sensitivity 2, and the largest count changes by at most 1. The unit that is protected is
//! therefore a whole shard, which covers each record in it.
//!
//! # What breaks it
//! All of this holds only where the shard of every *other* record stays what it was: assign by a
//! fixed index (replace one record) or by a keyed hash of the record (add or remove one). These
//! break it, and no function here can see them:
//! - stratified or class-balanced splitting, and shuffles whose result depends on the number of
//!   records or on their labels;
//! - removing duplicates across shards; a record, or whatever unit is promised, in two shards;
//! - normalisation statistics, early stopping or hyper-parameters from pooled private data;
//! - teachers chosen or weighted by their accuracy on private data.
//!
//! # The three kinds of figures
//! - [`independent`]: hold for all votes. Only these can be promised to anyone.
//! - [`dependent`]: hold for the votes at hand. They are functions of private votes, bound the
//!   divergence in one direction only, and come as [`NotReleasable`].
//! - [`local`]: the exact divergence between the votes at hand and all their neighbours, for checks
//!   and audits; private too.
//!
//! Rényi-DP curves are vectors with one value per order in `orders`, each order above 1. They add
//! up over queries, order by order; the conversion to epsilon is done once, on the sum.
//!
//! # Example
//! ```
//! use dp_accounting::pate::{Gnmax, Noise, dependent, independent};
//!
//! let orders = [5.0, 20.0];
//! let promised = independent::gnmax_rdp(40.0, &orders)?;
//! let votes = [230, 12, 8, 0];
//! let here = dependent::gnmax_rdp(Gnmax { sigma: 40.0, noise: Noise::Gaussian }, &votes, &orders)?;
//! assert!(here.internal()[0] < promised[0]);
//! # Ok::<(), dp_accounting::Error>(())
//! ```
//!
//! # Source
//! Papernot et al., "Scalable Private Learning with PATE", 2018 (arXiv 1802.08908), called *PATE
//! 2018* below; Papernot et al., "Semi-supervised Knowledge Transfer for Deep Learning from Private
//! Training Data", 2017, *PATE 2017*.

use std::fmt;

use crate::error::{Error, Result, check, check_scale};

mod bound;
pub mod dependent;
mod divergence;
pub mod independent;
mod lattice;
pub mod local;

pub(crate) use bound::Bound;
pub use lattice::log_discrete_gap_tail;

/// Below this a noise scale counts as none: squares of it leave the range of `f64`.
pub(crate) const NO_NOISE: f64 = 1e-100;

/// How the noise on the counts is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// From the normal distribution on the real numbers.
    Gaussian,
    /// From the discrete Gaussian on the integers (Canonne, Kamath, Steinke 2020), whose Rényi-DP
    /// is bounded by the same curve, and where two noisy counts are equal with positive
    /// probability. Scales up to 2^20.
    DiscreteGaussian,
}

/// The noisy argmax of the counts: `argmax_j (n_j + noise_j)`, ties to the lowest index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gnmax {
    /// The noise's scale (sigma; sigma 2 in Confident-GNMax).
    pub sigma: f64,
    /// The noise's kind.
    pub noise: Noise,
}

/// The screen of Confident-GNMax: one bit, whether `max n + noise >= threshold`. The bit itself is
/// released.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Screen {
    /// T, in votes; chosen without looking at private votes.
    pub threshold: f64,
    /// The noise's scale (sigma 1).
    pub sigma: f64,
    /// The noise's kind.
    pub noise: Noise,
}

/// Confident-GNMax: a query that passes the screen is answered by [`Gnmax`] with fresh noise; any
/// other query gets no answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfidentGnmax {
    /// The first step, which every query pays for.
    pub screen: Screen,
    /// The second step, which answered queries pay for in addition.
    pub argmax: Gnmax,
}

/// A figure that is a function of private votes: **internal, not releasable**.
///
/// It may be compared and written to a report that stays inside. To print it in a certificate, to
/// send it along with a release, or to choose a public parameter by it, leaks what it was computed
/// from. There is no way to turn it into a certificate's figure: what `internal` gives is a plain
/// number, and the caller vouches for where the number goes.
///
/// It is neither serializable nor dereferenced silently, and its text carries the label:
/// ```
/// use dp_accounting::pate::NotReleasable;
/// assert_eq!(NotReleasable::new(1.5).to_string(), "1.5 (internal, not releasable)");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NotReleasable<T>(pub(crate) T);

impl<T> NotReleasable<T> {
    /// Labels a figure that was computed from private votes.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The figure, for use inside.
    pub fn internal(&self) -> &T {
        &self.0
    }

    /// The figure itself, for use inside.
    pub fn into_internal(self) -> T {
        self.0
    }

    /// A figure made from this one, which keeps the label.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> NotReleasable<U> {
        NotReleasable(make(self.0))
    }
}

impl<T: fmt::Display> fmt::Display for NotReleasable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)?;
        f.write_str(" (internal, not releasable)")
    }
}

/// The teachers' counts for many queries: private. Its `Debug` text shows no count.
#[derive(Clone, PartialEq, Eq)]
pub struct Votes {
    classes: usize,
    counts: Vec<u32>,
}

impl Votes {
    /// Counts of `classes` classes (2 or more), query after query. No query at all is allowed, and
    /// costs nothing.
    pub fn new(classes: usize, counts: Vec<u32>) -> Result<Self> {
        check("the number of classes", classes as f64, |value| value >= 2.0, "2 or more")?;
        if !counts.len().is_multiple_of(classes) {
            return Err(Error::Length {
                name: "the votes",
                found: counts.len(),
                allowed: "a multiple of the number of classes",
            });
        }
        Ok(Self { classes, counts })
    }

    /// One row of counts per query, all equally long. No rows are refused, since the number of
    /// classes is not known then.
    pub fn from_rows<R: AsRef<[u32]>>(rows: &[R]) -> Result<Self> {
        let classes = rows.first().map_or(0, |row| row.as_ref().len());
        for row in rows {
            if row.as_ref().len() != classes {
                return Err(Error::Length {
                    name: "a row of votes",
                    found: row.as_ref().len(),
                    allowed: "as many as the first row",
                });
            }
        }
        Self::new(classes, rows.iter().flat_map(|row| row.as_ref().iter().copied()).collect())
    }

    /// K.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many queries there are.
    pub fn queries(&self) -> usize {
        self.counts.len() / self.classes
    }

    /// The counts of each query.
    pub fn rows(&self) -> impl Iterator<Item = &[u32]> {
        self.counts.chunks_exact(self.classes)
    }

    /// The largest count of all.
    pub(crate) fn max(&self) -> u32 {
        largest(&self.counts)
    }
}

impl fmt::Debug for Votes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Votes")
            .field("queries", &self.queries())
            .field("classes", &self.classes)
            .finish_non_exhaustive()
    }
}

/// `max n`.
pub(crate) fn largest(counts: &[u32]) -> u32 {
    counts.iter().copied().max().unwrap_or(0)
}

/// One query's counts: two classes or more.
pub(crate) fn check_counts(counts: &[u32]) -> Result<&[u32]> {
    if counts.len() < 2 {
        return Err(Error::Length {
            name: "the votes of a query",
            found: counts.len(),
            allowed: "one count per class, 2 or more",
        });
    }
    Ok(counts)
}

pub(crate) fn check_order(order: f64) -> Result<f64> {
    check("a Rényi order", order, |order| order > 1.0, "finite and above 1")
}

pub(crate) fn check_orders(orders: &[f64]) -> Result<()> {
    orders.iter().try_for_each(|&order| check_order(order).map(drop))
}

impl Gnmax {
    pub(crate) fn checked(self) -> Result<Self> {
        check_noise("sigma of the argmax", self.sigma, self.noise)?;
        Ok(self)
    }
}

impl Screen {
    pub(crate) fn checked(self) -> Result<Self> {
        check_noise("sigma of the screen", self.sigma, self.noise)?;
        check("the threshold", self.threshold, |value| value.abs() <= 1e9, "between -1e9 and 1e9")?;
        Ok(self)
    }
}

fn check_noise(name: &'static str, sigma: f64, noise: Noise) -> Result<f64> {
    match noise {
        Noise::Gaussian => check_scale(name, sigma),
        Noise::DiscreteGaussian => check(
            name,
            sigma,
            |sigma| (0.0..=lattice::MAX_SIGMA).contains(&sigma),
            "0 (no noise: infinite cost) or above, up to 2^20 for integer noise",
        ),
    }
}
