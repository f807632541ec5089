//! DP-ImgSyn: public images that a private classifier labels, and a student of them. Nothing here
//! reads private data.

mod distill_student;
mod synthesize_images;

pub use distill_student::DistillStudent;
pub use synthesize_images::SynthesizeImages;
