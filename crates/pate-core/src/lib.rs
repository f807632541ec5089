//! The method: from teachers that were trained on private shards to labelled synthetic data and a student.
//!
//! Modules are named after what flows, and a module uses only those above it in this list:
//! [`error`](Error), [`tensor`], [`rng`], [`progress`], [`parallel`], [`config`], [`data`], [`augment`], [`nn`], [`models`], [`generate`], [`label`],
//! [`vote`], [`distance`], [`select`], [`steer`], [`evaluate`], [`label_filter`], [`combine`], [`train`].
//!
//! Functions return results; binaries print and save them. Nothing here downloads, and nothing that is read is executed
//! (but for a TorchScript program that the caller says to trust).

#![warn(missing_docs)]

pub mod augment;
pub mod combine;
pub mod compare;
pub mod config;
pub mod data;
pub mod distance;
mod error;
pub mod evaluate;
pub mod generate;
pub mod label;
pub mod label_filter;
pub mod models;
pub mod nn;
pub mod parallel;
pub mod progress;
pub mod rng;
pub mod select;
pub mod steer;
pub mod tensor;
pub mod train;
pub mod vote;

pub use error::{Error, Result};
