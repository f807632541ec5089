//! How we compute: checked ways to tensors, named random streams, work on several threads,
//! progress.

pub mod parallel;
pub mod progress;
pub mod rng;
pub mod tensor;
