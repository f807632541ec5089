//! Training loops: [`classifier`] for teachers and students, [`vae`] for decoders. Results are returned, not printed or saved.

pub mod classifier;
pub mod vae;
