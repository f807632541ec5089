//! A named weight, and the modules that own weights.

use std::fmt;
use std::sync::Arc;

use tch::{Device, Tensor};

use crate::Result;

/// A tensor of weights under its `state_dict` name.
///
/// A clone is an alias: it has the same memory, so that a network's clone in another thread
/// computes with the same weights.
pub struct Parameter {
    name: Arc<str>,
    value: Tensor,
    learnt: bool,
}

impl Parameter {
    pub(super) fn new(name: &str, value: Tensor) -> Self {
        Self { name: name.into(), value, learnt: true }
    }

    /// A value that travels with the weights and that no gradient changes.
    pub(crate) fn buffer(name: &str, value: Tensor) -> Self {
        Self { name: name.into(), value, learnt: false }
    }

    /// An alias that counts as a value which no gradient changes.
    pub(crate) fn kept(&self) -> Self {
        Self { learnt: false, ..self.clone() }
    }

    /// Whether training changes it by its gradient; what a layer only keeps account of, such as
    /// running statistics, has none.
    pub fn is_learnt(&self) -> bool {
        self.learnt
    }

    /// The name within the whole network that it was built for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The weights.
    pub fn value(&self) -> &Tensor {
        &self.value
    }
}

impl Clone for Parameter {
    fn clone(&self) -> Self {
        Self { name: Arc::clone(&self.name), value: self.value.shallow_clone(), learnt: self.learnt }
    }
}

impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.value.size())
    }
}

/// Something with parameters: a layer, a block of layers, or a network.
///
/// The clone of a module is an alias, as that of its [`Parameter`]s is.
pub trait Module: Send {
    /// Calls `f` with every parameter, in PyTorch's order.
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter));

    /// What all its parameters' names start with where it is a part of another network; a file of
    /// its own leaves this out.
    fn scope(&self) -> Option<&str> {
        None
    }
}

/// The parameters of `module`, in PyTorch's order.
pub fn parameters(module: &dyn Module) -> Vec<&Parameter> {
    let mut all = Vec::new();
    module.visit(&mut |parameter| all.push(parameter));
    all
}

/// The parameters of `module` that gradients change, in PyTorch's order.
pub fn learnt(module: &dyn Module) -> Vec<&Parameter> {
    parameters(module).into_iter().filter(|parameter| parameter.is_learnt()).collect()
}

/// Aliases of the parameters that gradients change, asking for them, in order.
pub fn trainable(module: &dyn Module) -> Vec<Tensor> {
    learnt(module).into_iter().map(|p| p.value().set_requires_grad(true)).collect()
}

/// Where the parameters of `module` are; the CPU where it has none.
pub fn device_of(module: &dyn Module) -> Device {
    parameters(module).first().map_or(Device::Cpu, |parameter| parameter.value().device())
}

/// A copy of all parameters' values, to come back to with [`restore`].
pub fn snapshot(module: &dyn Module) -> Vec<Tensor> {
    parameters(module).into_iter().map(|p| p.value().detach().copy()).collect()
}

/// Puts the values of a [`snapshot`] back.
///
/// # Errors
/// Where the snapshot is another network's.
pub fn restore(module: &dyn Module, values: &[Tensor]) -> Result<()> {
    let _guard = tch::no_grad_guard();
    for (parameter, value) in parameters(module).into_iter().zip(values) {
        parameter.value().detach().f_copy_(value)?;
    }
    Ok(())
}
