//! How good a student or a synthetic data set is.
//!
//! A student: accuracy with its interval, by class ([`classifier`]). A set of samples: spread,
//! class proportions and nearest neighbours ([`synthetic`]); resemblance to the private data in a
//! feature space ([`features`], [`frechet_distance`], [`precision_recall`]); memorisation, measured
//! against shards that a decoder has not seen ([`Memorisation`]).

mod classifier;
pub mod distances;
mod features;
mod frechet;
mod memorisation;
mod precision_recall;
mod synthetic;

pub use classifier::{ClassifierScore, classifier, wilson_95};
pub use features::features;
pub use frechet::frechet_distance;
pub use memorisation::{Memorisation, nearest_image};
pub use precision_recall::precision_recall;
pub use synthetic::{NearestDistances, SyntheticInputs, SyntheticScore, histogram_l1, ratio, synthetic};
