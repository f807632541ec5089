//! Drop what lies too near to a private image.

use tch::Tensor;

use super::{Pixels, Selection, Verdict};
use crate::Result;
use crate::base::progress::Silent;
use crate::evaluate::distances;

/// Keeps candidates whose Euclidean distance to the nearest private image is at least
/// `min_distance`.
///
/// A heuristic against copies, no guarantee; it reads the shard.
///
/// # Shapes
/// `pixels` `[n, d]`, `shard_private` `[m, d]`, values in `[0, 1]`.
///
/// # Errors
/// Different image sizes, or an empty shard.
pub fn filter(
    selection: &mut Selection,
    pixels: &Pixels,
    shard_private: &Tensor,
    min_distance: f64,
) -> Result<()> {
    let nearest = distances::nearest(&pixels.gather(selection.kept())?, shard_private, &Silent)?;
    selection.retain(Verdict::Memorisation, |position, _| f64::from(nearest[position]) >= min_distance);
    Ok(())
}
