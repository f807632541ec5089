//! Where the weights of a network come from while it is built.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tch::{Device, Tensor};
use tensorfile::Array;

use super::{Module, Parameter};
use crate::base::rng::Stream;
use crate::base::tensor;
use crate::{Error, Result};

/// Where the weights of a network come from while it is built.
pub struct Source<'a> {
    kind: SourceKind<'a>,
    scope: String,
    device: Device,
}

/// How a fresh parameter is drawn: as PyTorch does for the layer that has it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Init {
    /// Uniform in ±1/sqrt(fan-in).
    FanIn(i64),
    /// Standard normal.
    Normal,
    /// Normal with this standard deviation.
    Spread(f32),
    /// All the same.
    Constant(f32),
}

enum SourceKind<'a> {
    Fresh(&'a mut Stream),
    File {
        path: PathBuf,
        left: Vec<(String, Array)>,
        missing: Vec<String>,
    },
    /// The parameters of every network.
    Stacked(Vec<Vec<&'a Parameter>>),
    /// Tensors that are there already.
    Given(Vec<(String, Tensor)>),
}

impl<'a> Source<'a> {
    /// PyTorch's default distribution, uniform in ±1/sqrt(fan-in), from `stream`.
    pub fn fresh(stream: &'a mut Stream, device: Device) -> Self {
        Self::of(SourceKind::Fresh(stream), device)
    }

    /// The tensors of a file. `path` is for messages.
    pub fn file(path: &Path, tensors: Vec<(String, Array)>, device: Device) -> Source<'static> {
        Source::of(SourceKind::File { path: path.to_path_buf(), left: tensors, missing: Vec::new() }, device)
    }

    /// Copies of the parameters of `networks`, which are of one shape, along a new first axis: what
    /// is built from it computes for all of them side by side.
    pub fn stacked<M: Module>(networks: &'a [M], device: Device) -> Self {
        let all = networks.iter().map(|network| super::parameters(network)).collect();
        Self::of(SourceKind::Stacked(all), device)
    }

    /// Tensors that are there already, as they are, of any floating type: a network in float64,
    /// say.
    pub fn given(tensors: Vec<(String, Tensor)>, device: Device) -> Source<'static> {
        Source::of(SourceKind::Given(tensors), device)
    }

    fn of(kind: SourceKind<'a>, device: Device) -> Self {
        Self { kind, scope: String::new(), device }
    }

    /// What `build` makes, under names that start with `name` and a dot.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn at<T>(&mut self, name: &str, build: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outer = self.scope.len();
        self.scope.push_str(name);
        self.scope.push('.');
        let built = build(self);
        self.scope.truncate(outer);
        built
    }

    /// What the names start with at present.
    pub(crate) fn scope(&self) -> &str {
        &self.scope
    }

    /// The next parameter.
    ///
    /// # Errors
    /// From a file: another shape than `shape`, or values that are not finite. A missing name is
    /// remembered (the parameter is zeros until then) and reported by [`Source::finish`] together
    /// with all others. From networks: one that has no such parameter.
    pub(super) fn parameter(&mut self, name: &str, shape: &[i64], init: Init) -> Result<Parameter> {
        let name = format!("{}{name}", self.scope);
        let value = self.value(&name, shape, init)?;
        Ok(Parameter::new(&name, value))
    }

    /// The next value that no gradient changes, at first `value`.
    ///
    /// # Errors
    /// As [`Source::parameter`].
    pub(crate) fn buffer(&mut self, name: &str, shape: &[i64], value: f32) -> Result<Parameter> {
        let name = format!("{}{name}", self.scope);
        let value = self.value(&name, shape, Init::Constant(value))?;
        Ok(Parameter::buffer(&name, value))
    }

    fn value(&mut self, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        let numel = shape.iter().product::<i64>() as usize;
        let values = match &mut self.kind {
            SourceKind::Fresh(stream) => match init {
                // What PyTorch's defaults come to, for weights and biases alike.
                Init::FanIn(fan_in) => {
                    let bound = 1.0 / (fan_in as f32).sqrt();
                    stream.uniform(numel, -bound, bound)
                }
                Init::Normal => stream.normal(numel),
                Init::Spread(std) => stream.normal(numel).into_iter().map(|x| std * x).collect(),
                Init::Constant(value) => vec![value; numel],
            },
            SourceKind::File { path, left, missing } => {
                if let Some(at) = left.iter().position(|(n, _)| n == name) {
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
                    missing.push(name.to_owned());
                    vec![0.0; numel]
                }
            }
            SourceKind::Stacked(networks) => return stack(networks, name, shape),
            SourceKind::Given(tensors) => {
                let found = tensors.iter().find(|(known, value)| known == name && value.size() == shape);
                let found = found.map(|(_, value)| value.shallow_clone());
                return found.ok_or_else(|| {
                    Error::invalid(format!("there is no `{name}` of shape {shape:?} among the given tensors"))
                });
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

/// The parameters `name` of `networks` along a new first axis.
fn stack(networks: &[Vec<&Parameter>], name: &str, shape: &[i64]) -> Result<Tensor> {
    let values = networks
        .iter()
        .map(|network| {
            let found = network.iter().find(|parameter| parameter.name() == name);
            found.map(|parameter| parameter.value().detach()).filter(|value| value.size() == shape)
        })
        .collect::<Option<Vec<Tensor>>>()
        .filter(|values| !values.is_empty());
    let Some(values) = values else {
        return Err(Error::invalid(format!(
            "a group of networks needs a `{name}` of shape {shape:?} in each"
        )));
    };
    Ok(Tensor::f_stack(&values, 0)?)
}

fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        let _ = write!(text, " and {} more", names.len() - SHOWN);
    }
    text
}
