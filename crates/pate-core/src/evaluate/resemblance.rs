//! Two sets of images beside each other in a feature space.

use serde::Serialize;
use tch::Tensor;

use super::{Neighbours, frechet_distance, neighbours};
use crate::Result;
use crate::base::progress::Progress;
use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;

/// How the features of a set of images lie beside those of real ones.
#[derive(Clone, Debug, Serialize)]
pub struct Resemblance {
    /// Images of the set that were looked at.
    pub images: i64,
    /// Real images that they were compared with.
    pub real_images: i64,
    /// Frechet distance of their features.
    pub frechet_distance: f64,
    /// Nearest neighbours among their features.
    pub neighbours: Neighbours,
}

impl Resemblance {
    /// Images of a side at most.
    pub const ROWS: usize = 10_000;
    /// Neighbours that make a ball (the value of the paper on precision and recall).
    pub const NEIGHBOURS: i64 = 3;

    /// That of features `images` to those of real images; neighbours are looked for among the first
    /// `most` of each, since distances between all of these are computed.
    ///
    /// # Shapes
    /// `[n, d]` and `[m, d]`.
    ///
    /// # Guarantee
    /// None: a function of both.
    ///
    /// # Errors
    /// As [`frechet_distance`] and [`neighbours`].
    pub fn of(real: &Tensor, images: &Tensor, most: usize, progress: &dyn Progress) -> Result<Self> {
        let first = |x: &Tensor| x.f_narrow(0, 0, x.size()[0].min(most as i64));
        Ok(Self {
            images: images.size()[0],
            real_images: real.size()[0],
            frechet_distance: frechet_distance(real, images, progress)?,
            neighbours: neighbours(&first(real)?, &first(images)?, Self::NEIGHBOURS, progress)?,
        })
    }

    /// That of one half of real images to the other, drawn by `seed` for the use `index`: what
    /// could be reached.
    ///
    /// # Errors
    /// As [`Resemblance::of`].
    pub fn of_halves(
        real: &Tensor,
        (seed, index): (u64, u64),
        most: usize,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let n = real.size()[0] as usize;
        let order = some_rows(n, n, seed, index);
        let (a, b) = order.split_at(order.len() / 2);
        let rows = |rows: &[i64]| real.f_index_select(0, &tensor::from_i64(rows));
        Self::of(&rows(a)?, &rows(b)?, most, progress)
    }

    /// Whether there are images enough on both sides for neighbours to be counted.
    pub fn is_defined(real: &Tensor, images: &Tensor) -> bool {
        real.size()[0] > Self::NEIGHBOURS && images.size()[0] > Self::NEIGHBOURS
    }
}

/// Some rows of `n`, at most `most`, in an order that `seed` gives; each use has an `index` of its
/// own.
pub fn some_rows(n: usize, most: usize, seed: u64, index: u64) -> Vec<i64> {
    let mut rows = Stream::new(seed, Purpose::Comparison, index).permutation(n);
    rows.truncate(most);
    rows
}
