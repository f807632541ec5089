//! The networks. Field names are the keys of PyTorch's `state_dict`, so that files go both ways.

mod teacher;
mod ucstub;
mod vae;

pub use teacher::{Program, Scores, Teacher};
pub use ucstub::UcStub;
pub use vae::{Decoder, Encoder, GroupedVae, Vae};

use artifact::{Access, AtomicFile, FileRecord};
use std::path::Path;
use tensorfile::Array;

use crate::nn::Network;
use crate::tensor::HostTensors;
use crate::{Error, Result};

/// Writes a network as `torch.save(state_dict)` would; `torch.load(..., weights_only=True)` reads it.
///
/// # Errors
/// Where the file cannot be written; nothing is left under its name then.
pub fn save(network: &impl Network, path: &Path, access: Access) -> Result<FileRecord> {
    let tensors = HostTensors::of(network.parameters())?;
    let mut file = AtomicFile::create(path, access)?;
    tensorfile::pt::write_dict(&mut file, &tensors.views()?)?;
    Ok(file.commit()?)
}

/// The named tensors of a weights file in any container.
fn read_tensors(path: &Path) -> Result<Vec<(String, Array)>> {
    Ok(tensorfile::read(path)?.into_tensors()?)
}

fn shape_in<'a>(tensors: &'a [(String, Array)], name: &str) -> Option<&'a [usize]> {
    tensors.iter().find(|(n, _)| n == name).map(|(_, array)| array.shape())
}

fn missing(path: &Path, name: &str, architecture: &str, tensors: &[(String, Array)]) -> Error {
    let names: Vec<&str> = tensors.iter().take(6).map(|(n, _)| n.as_str()).collect();
    Error::content(
        path,
        format!(
            "there is no `{name}` in it (it holds {})",
            if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
        ),
        format!("give the state_dict of {architecture}"),
    )
}
