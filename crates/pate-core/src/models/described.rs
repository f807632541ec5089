//! Weights files that say in themselves what network they are of.

use std::path::{Path, PathBuf};

use artifact::{Access, AtomicFile, FileRecord};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::Device;
use tensorfile::{Array, View};

use crate::base::tensor::HostTensors;
use crate::nn::{self, Module, Source};
use crate::{Error, Result};

/// The name of the description among the tensors: its JSON text, a byte for each number.
const DESCRIPTION: &str = "architecture";
/// Longest description that is read.
const MOST: usize = 1 << 16;

/// A weights file with a description of its network: what a name or a shape does not tell, such as
/// an activation, comes with the weights and is never guessed.
pub struct Described<D> {
    /// The description.
    pub description: D,
    path: PathBuf,
    tensors: Vec<(String, Array)>,
}

impl<D: Serialize + DeserializeOwned> Described<D> {
    /// Writes `modules` with a description, as `torch.save` of one dict would.
    ///
    /// # Errors
    /// Where the file cannot be written; nothing is left under its name then.
    pub fn save(description: &D, modules: &[&dyn Module], path: &Path, access: Access) -> Result<FileRecord> {
        let parameters = modules.iter().flat_map(|module| nn::parameters(*module));
        let tensors = HostTensors::of(parameters.map(|p| (p.name().to_owned(), p.value())))?;
        Self::write(description, &tensors.views()?, path, access)
    }

    /// Writes named arrays with a description.
    ///
    /// # Errors
    /// As [`Described::save`].
    pub fn write(
        description: &D,
        views: &[(&str, View<'_>)],
        path: &Path,
        access: Access,
    ) -> Result<FileRecord> {
        let json = serde_json::to_vec(description)
            .map_err(|e| Error::invalid(format!("an architecture cannot be written: {e}")))?;
        let size = [json.len()];
        let mut all = views.to_vec();
        all.push((DESCRIPTION, View::u8(&size, &json)?));
        let mut file = AtomicFile::create(path, access)?;
        tensorfile::pt::write_dict(&mut file, &all)?;
        Ok(file.commit()?)
    }

    /// Reads what [`Described::save`] wrote. `what` is what the file should be of, and `step` the
    /// program that writes such.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(path: &Path, what: &str, step: &str) -> Result<Self> {
        let bad = |found: String| Error::content(path, found, format!("give {what} of {step}"));
        let mut tensors = tensorfile::read(path)?.into_tensors()?;
        let Some(at) = tensors.iter().position(|(name, _)| name == DESCRIPTION) else {
            return Err(bad(format!("there is no `{DESCRIPTION}` in it, which says what network it is of")));
        };
        let (_, array) = tensors.swap_remove(at);
        if array.dtype() != tensorfile::DType::U8 || array.len() > MOST {
            return Err(bad(format!("its `{DESCRIPTION}` is {} numbers of {}", array.len(), array.dtype())));
        }
        let description = serde_json::from_slice(array.bytes())
            .map_err(|e| bad(format!("its `{DESCRIPTION}` is not understood ({e})")))?;
        Ok(Self { description, path: path.to_path_buf(), tensors })
    }

    /// The description, and the arrays.
    pub fn into_parts(self) -> (D, Vec<(String, Array)>) {
        (self.description, self.tensors)
    }

    /// The description, and the weights to build networks from; [`Source::finish`] comes after.
    pub fn into_source(self, device: Device) -> (D, Source<'static>) {
        (self.description, Source::file(&self.path, self.tensors, device))
    }
}
