//! Named arrays in and out of .pt, .pth, safetensors, npy, npz and IDX files, without running
//! anything in them.
//!
//! [`read`] tells the format by the content and gives a [`Document`]: one array
//! ([`Document::into_array`]), a `state_dict` ([`Document::into_tensors`]), or the whole tree
//! ([`Document::root`]). The modules [`pt`], [`safetensors`], [`npz`] and [`idx`] write; equal
//! arrays give equal bytes. There is no libtorch here.
//!
//! # What is refused
//! Pickles that name any class or function but those that rebuild tensors and plain containers;
//! everything that is inconsistent, or that would take memory out of proportion to the file
//! ([`limits`]). A refusal is an [`Error`] that names the file, the reason and the hint. A
//! TorchScript archive is a program: its parameters are read, its code is not ([`Document::code`]
//! says that it is there).
//!
//! # Example
//! ```
//! use tensorfile::{View, npz};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("batch.npz");
//! let mut bytes = Vec::new();
//! npz::write(&mut bytes, &[("x", View::f32(&[2, 2], &[0.0, 0.25, 0.5, 1.0])?), ("y", View::i64(&[2], &[7, 3])?)])?;
//! std::fs::write(&path, bytes)?;
//!
//! let tensors = tensorfile::read(&path)?.into_tensors()?;
//! assert_eq!(tensors[0].0, "x");
//! assert_eq!(tensors[0].1.to_f32(), [0.0, 0.25, 0.5, 1.0]);
//! assert_eq!(tensors[1].1.to_i64()?, [7, 3]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(target_endian = "big")]
compile_error!("tensorfile keeps arrays as little-endian bytes and hands them out unswapped");

mod array;
mod document;
mod error;
pub mod idx;
mod labelled;
pub mod limits;
mod npy;
pub mod npz;
mod pickle;
pub mod pt;
mod reader;
pub mod safetensors;
mod source;
mod state_dict;
mod strided;
mod torch;
mod zip_reader;
mod zip_writer;

pub use array::{Array, DType, View};
pub use document::{Document, Format, Value};
pub use error::{Error, Result};
pub use reader::{read, read_bytes, read_from};
