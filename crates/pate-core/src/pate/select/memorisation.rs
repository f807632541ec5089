//! Drop what lies too near to a private image.

use tch::Tensor;

use super::{Selection, Verdict};
use crate::Result;
use crate::base::tensor;
use crate::evaluate::distances;

/// Keeps candidates whose Euclidean distance to the nearest private image is at least `min_distance`.
///
/// A heuristic against copies, no guarantee; it reads the shard.
///
/// # Shapes
/// `candidates` `[n, d]`, `shard_private` `[m, d]`, values in `[0, 1]`.
///
/// # Errors
/// Different image sizes, or an empty shard.
pub fn filter(
    selection: &mut Selection,
    candidates: &Tensor,
    shard_private: &Tensor,
    min_distance: f64,
) -> Result<()> {
    let kept: Vec<i64> = selection.kept().iter().map(|&c| c as i64).collect();
    let rows = candidates.f_index_select(0, &tensor::from_i64(&kept))?;
    let nearest = distances::nearest(&rows, shard_private)?;
    selection.retain(Verdict::Memorisation, |position, _| f64::from(nearest[position]) >= min_distance);
    Ok(())
}
