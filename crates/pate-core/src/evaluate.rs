//! How good a student or a synthetic data set is.
//!
//! A student: accuracy with its interval, by class ([`classifier`]). A set of samples: spread,
//! class proportions and nearest neighbours ([`synthetic`]), near-copies ([`Copies`]); resemblance
//! to real images in a feature space ([`features`], [`frechet_distance`], [`neighbours`]; all of it
//! in [`Resemblance`]); how sure a classifier is ([`inception_score`]); memorisation, measured
//! against shards that a decoder has not seen ([`Memorisation`]).

mod classifier;
mod copies;
pub mod distances;
mod features;
mod frechet;
mod inception;
mod memorisation;
mod precision_recall;
mod resemblance;
mod synthetic;

pub use classifier::{ClassifierScore, classifier, wilson_95};
pub use copies::{Copies, copies_of, copies_within};
pub use features::features;
pub use frechet::frechet_distance;
pub use inception::{InceptionScore, inception_score};
pub use memorisation::{Memorisation, nearest_image};
pub use precision_recall::{Neighbours, neighbours};
pub use resemblance::{Resemblance, some_rows};
pub use synthetic::{NearestDistances, SyntheticInputs, SyntheticScore, histogram_l1, ratio, synthetic};

/// Figures of values that are not finite are none.
fn check_finite(x: &tch::Tensor) -> crate::Result<()> {
    let bad = x.f_isfinite()?.f_logical_not()?.f_sum(tch::Kind::Int64)?.f_int64_value(&[])?;
    if bad == 0 {
        return Ok(());
    }
    Err(crate::Error::invalid(format!(
        "{bad} values are not finite numbers; nothing can be measured of them"
    )))
}
