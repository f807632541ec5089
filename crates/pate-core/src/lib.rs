//! The method: from teachers that were trained on private shards to labelled synthetic data and a
//! student.
//!
//! Rooms, and a room uses only those above it in this list (a test of the house,
//! `cargo xtask tidy`, holds them to it):
//!
//! - [`base`]: tensors, random streams, threads, progress;
//! - [`config`]: every setting, declared once;
//! - [`data`]: images, labels, shards, and the files they come from; [`nn`]: layers, passes and
//!   optimisers;
//! - [`models`]: the networks;
//! - [`evaluate`]: scores of students and of synthetic data;
//! - [`train`]: one loop for classifiers and VAEs;
//! - [`dp`]: training under differential privacy;
//! - the methods: [`pate`], from candidates to the combined data set; [`imgsyn`], public images
//!   that a private classifier labels; [`dpmi`], a private model of the latents of a public
//!   decoder; [`feta`], images of a diffusion model that learnt noisy central images first.
//!
//! Functions return results; binaries print and save them. Nothing here downloads, and nothing that
//! is read is executed (but for a TorchScript program that the caller says to trust).

#![warn(missing_docs)]

pub mod base;
pub mod config;
pub mod data;
pub mod dp;
pub mod dpmi;
mod error;
pub mod evaluate;
pub mod feta;
pub mod imgsyn;
pub mod models;
pub mod nn;
pub mod pate;
pub mod train;

pub use error::{Error, Result};
