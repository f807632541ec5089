//! DP-ImgSyn: public images that a private classifier labels, moved towards what it has seen.
//!
//! E. Soufleri et al., *DP-ImgSyn: Dataset Alignment for Obfuscated, Differentially Private Image
//! Synthesis* (2024), with its statistics made private: [`statistics`] has what the layers of a
//! private classifier see, released once with noise; [`candidates`] makes public images;
//! [`synthesis`] moves them along the classifier's gradients; its answers
//! ([`crate::train::classifier::answers`]) are their labels.
//!
//! Two mechanisms read private data: the classifier's training ([`crate::dp`]) and
//! [`statistics::release`]. All else is a function of what they released and of public images.

pub mod candidates;
pub mod statistics;
pub mod synthesis;
