//! Candidates: a decoder of public images, and pools of what it draws.

mod generate_candidates;
mod pretrain_decoder;

pub use generate_candidates::GenerateCandidates;
pub use pretrain_decoder::PretrainDecoder;
