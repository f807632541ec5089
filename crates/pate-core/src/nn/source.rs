use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tch::{Device, Tensor};
use tensorfile::Array;

use crate::rng::Stream;
use crate::{Error, Result, tensor};

/// Where the weights of a network come from while it is built.
pub struct Source<'a> {
    kind: SourceKind<'a>,
    device: Device,
}

enum SourceKind<'a> {
    Fresh(&'a mut Stream),
    File { path: PathBuf, left: Vec<(String, Array)>, missing: Vec<String> },
}

impl<'a> Source<'a> {
    /// PyTorch's default distribution, uniform in ±1/sqrt(fan-in), from `stream`.
    pub fn fresh(stream: &'a mut Stream, device: Device) -> Self {
        Self { kind: SourceKind::Fresh(stream), device }
    }

    /// The tensors of a file. `path` is for messages.
    pub fn file(path: &Path, tensors: Vec<(String, Array)>, device: Device) -> Source<'static> {
        let kind = SourceKind::File { path: path.to_path_buf(), left: tensors, missing: Vec::new() };
        Source { kind, device }
    }

    /// The next parameter.
    ///
    /// # Errors
    /// From a file: another shape than `shape`, or values that are not finite. A missing name is
    /// remembered (the parameter is zeros until then) and reported by [`Source::finish`] together with all others.
    pub(super) fn parameter(&mut self, name: &str, shape: &[i64], fan_in: i64) -> Result<Tensor> {
        let name = name.to_owned();
        let numel = shape.iter().product::<i64>() as usize;
        let values = match &mut self.kind {
            SourceKind::Fresh(stream) => {
                let bound = 1.0 / (fan_in as f32).sqrt();
                stream.uniform(numel, -bound, bound)
            }
            SourceKind::File { path, left, missing } => {
                if let Some(at) = left.iter().position(|(n, _)| *n == name) {
                    let array = left.swap_remove(at).1;
                    let found: Vec<i64> = array.shape().iter().map(|&n| n as i64).collect();
                    if found != shape || !array.is_floating() {
                        return Err(Error::content(
                            path,
                            format!("`{name}` is {} {found:?}", array.dtype()),
                            format!("this network needs floating-point values of shape {shape:?}"),
                        ));
                    }
                    let values = array.into_f32();
                    if let Some(bad) = values.iter().find(|x| !x.is_finite()) {
                        return Err(Error::content(
                            path,
                            format!("`{name}` holds {bad}"),
                            "weights must be finite; the network's training diverged or the file is damaged",
                        ));
                    }
                    values
                } else {
                    missing.push(name);
                    vec![0.0; numel]
                }
            }
        };
        let parameter = tensor::from_f32(&values, shape)?.f_to_device(self.device)?;
        // Convolutions follow the layout of their weights.
        Ok(if shape.len() == 4 { tensor::channels_last(&parameter) } else { parameter })
    }

    /// Checks that a file held exactly the network's names.
    ///
    /// # Errors
    /// Names that were missing or left over, all of them in one message.
    pub fn finish(self, architecture: &str) -> Result<()> {
        let SourceKind::File { path, left, missing } = self.kind else { return Ok(()) };
        if left.is_empty() && missing.is_empty() {
            return Ok(());
        }
        let mut problem = format!("its parameters are not those of {architecture}");
        if !missing.is_empty() {
            let _ = write!(problem, "; missing: {}", some_of(&missing));
        }
        if !left.is_empty() {
            let mut names: Vec<String> = left.into_iter().map(|(name, _)| name).collect();
            names.sort();
            let _ = write!(problem, "; not known: {}", some_of(&names));
        }
        Err(Error::content(&path, problem, "give the file of the right network, or its state_dict alone"))
    }
}

fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        let _ = write!(text, " and {} more", names.len() - SHOWN);
    }
    text
}
