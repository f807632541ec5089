//! Training loops: [`classifier`] for teachers and students, [`vae`] for decoders. Results are returned, not printed or saved;
//! a [`Keeper`] keeps the state between epochs.

mod ahead;
pub mod classifier;
mod crew;
mod state;
pub mod vae;

pub use state::{KeepNothing, Keeper, NamedArray, TrainingState};
