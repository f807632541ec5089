//! Noisy votes: the winner, and whether it is far enough ahead.

use crate::{DiscreteGaussian, DiscreteLaplace, Error, NoiseSource};

/// The class with the most votes after noise: each count gets a draw of its own, and the largest
/// sum wins.
///
/// `votes_private` has the number of teachers that voted for each class, in the order of the
/// classes. The result is a class's index. This is GNMax. It charges nothing: charge it to the
/// budget before the call.
///
/// # Guarantee
/// Data sets are neighbours if they differ in any records of ONE shard. With noise of `sigma` the
/// released index is `1/sigma²`-zCDP, so its Renyi divergence of order `a` is at most `a/sigma²`:
/// what the continuous Gaussian of that sigma has. The exact (epsilon, delta), of one release or of
/// many, is the accountant's work (`dp-accounting`). It holds only where the source is secret
/// ([`NoiseSource::SECRET`]) and every call draws noise of its own. The votes themselves, the noisy
/// counts, and the time that the call took are covered by nothing.
///
/// # Sensitivity
/// A shard trains one teacher, and a teacher has one vote: at most one vote moves, one count falls
/// by 1 and another rises by 1. That is the square root of 2 in L2. The largest sum is a function
/// of the noisy counts alone, so taking it costs nothing.
///
/// # Assumes
/// Every record is in exactly one shard, and which one does not depend on the data (no
/// stratification, no deduplication across shards). Every teacher casts one vote, from its own
/// shard and public data alone.
///
/// # Edge cases
/// A tie, which integers do have, goes to the lowest index: any rule does that does not look at the
/// data. One class is answered with 0. No votes at all, or all counts 0, still give an answer: then
/// noise decides. Counts up to `u32::MAX` do not overflow.
///
/// # Errors
/// [`Error::NoClasses`] where `votes_private` is empty; nothing is drawn then.
///
/// # Source
/// Papernot et al., "Scalable Private Learning with PATE", arXiv 1802.08908, section 4.1; with the
/// noise of Canonne, Kamath, Steinke, arXiv 2004.00010.
pub fn gnmax<S: NoiseSource + ?Sized>(
    votes_private: &[u32],
    noise: &DiscreteGaussian,
    source: &mut S,
) -> Result<usize, Error> {
    argmax(votes_private, || noise.sample(source))
}

/// The class with the most votes after Laplace noise: each count gets a draw of its own, and the
/// largest sum wins.
///
/// `votes_private` as in [`gnmax`]. This is LNMax. It charges nothing: charge it to the budget
/// before the call.
///
/// # Guarantee
/// Data sets are neighbours if they differ in any records of ONE shard. With noise of `scale` the
/// released index is `2/scale`-differentially private: two counts change by 1 each. It holds only
/// where the source is secret ([`NoiseSource::SECRET`]) and every call draws noise of its own.
///
/// # Assumes
/// What [`gnmax`] assumes.
///
/// # Edge cases
/// Those of [`gnmax`].
///
/// # Errors
/// [`Error::NoClasses`] where `votes_private` is empty; nothing is drawn then.
///
/// # Source
/// Papernot et al., "Semi-supervised Knowledge Transfer", arXiv 1610.05755, with noise on the
/// integers.
pub fn lnmax<S: NoiseSource + ?Sized>(
    votes_private: &[u32],
    noise: &DiscreteLaplace,
    source: &mut S,
) -> Result<usize, Error> {
    argmax(votes_private, || noise.sample(source))
}

fn argmax(votes_private: &[u32], mut draw: impl FnMut() -> i64) -> Result<usize, Error> {
    let mut best = None;
    for (class, votes) in votes_private.iter().enumerate() {
        let noisy = i64::from(*votes) + draw();
        // Only more than the best so far replaces it: the lowest index keeps a tie.
        if best.is_none_or(|(_, most)| noisy > most) {
            best = Some((class, noisy));
        }
    }
    best.map(|(class, _)| class).ok_or(Error::NoClasses)
}

/// Whether the largest vote reaches `threshold` after noise:
/// `max(votes_private) + noise >= threshold`.
///
/// `votes_private` as in [`gnmax`]. The result is a release, also where it is false. This is the
/// first step of Confident-GNMax; the answer that may follow is [`gnmax`] with fresh noise. It
/// charges nothing: charge it to the budget before the call.
///
/// # Guarantee
/// Data sets are neighbours if they differ in any records of ONE shard. With noise of `sigma` the
/// released bit is `1/(2 sigma²)`-zCDP, so its Renyi divergence of order `a` is at most
/// `a/(2 sigma²)`: what the continuous Gaussian of that sigma has. The exact (epsilon, delta) is
/// the accountant's work (`dp-accounting`). It holds only where the source is secret
/// ([`NoiseSource::SECRET`]) and the threshold comes from public data. The noisy maximum is not
/// released.
///
/// # Sensitivity
/// 1: at most one vote moves from one class to another, and the largest count then changes by at
/// most 1.
///
/// # Assumes
/// What [`gnmax`] assumes.
///
/// # Edge cases
/// Exactly the threshold passes. A threshold that no count can reach, or one that all reach, does
/// not make the call free: its cost does not look at the votes. Any `threshold` can be given; no
/// sum overflows.
///
/// # Errors
/// [`Error::NoClasses`] where `votes_private` is empty; nothing is drawn then.
///
/// # Source
/// Papernot et al., "Scalable Private Learning with PATE", arXiv 1802.08908, section 4.1; with the
/// noise of Canonne, Kamath, Steinke, arXiv 2004.00010.
pub fn screen<S: NoiseSource + ?Sized>(
    votes_private: &[u32],
    threshold: i64,
    noise: &DiscreteGaussian,
    source: &mut S,
) -> Result<bool, Error> {
    let most = votes_private.iter().max().ok_or(Error::NoClasses)?;
    Ok(i64::from(*most) + noise.sample(source) >= threshold)
}
