//! What a forward pass is for: results, gradients, or a record of every layer.

use tch::Tensor;

use super::Layer;
use crate::{Error, Result};

/// In which context a network computes.
///
/// The values are the same in all contexts, but for the rounding of the kernels that serve
/// [`Pass::Infer`] alone.
pub enum Pass<'a> {
    /// Results only. No gradients are recorded, kernels for this case alone may be used, and
    /// activations replace their inputs in memory.
    Infer,
    /// libtorch records what it needs for gradients. Nothing is written over.
    Train {
        /// Factors of the dropouts.
        dropout: DropoutMasks<'a>,
    },
    /// As `Train`, of a network that is not trained itself: running statistics count, and nothing
    /// is dropped. For gradients in its inputs.
    Frozen,
    /// As `Train`, and the tape gets the input and the output of every layer with parameters: what
    /// gradients of single samples are computed from.
    Record {
        /// Where they go.
        tape: &'a mut Tape,
        /// Factors of the dropouts.
        dropout: DropoutMasks<'a>,
    },
}

impl Pass<'_> {
    /// [`Pass::Train`] without dropout.
    pub fn differentiate() -> Pass<'static> {
        Pass::Train { dropout: DropoutMasks::none() }
    }

    /// Held while something computes: libtorch records nothing in [`Pass::Infer`].
    pub(crate) fn guard(&self) -> Option<tch::NoGradGuard> {
        matches!(self, Pass::Infer).then(tch::no_grad_guard)
    }

    /// Puts one use of a layer on the tape, if there is one; gives the output back.
    ///
    /// Gradients of the outputs are all that is needed afterwards, so the weights need not ask for
    /// any: the first output then starts the graph.
    pub(super) fn record(&mut self, layer: impl FnOnce() -> Layer, input: &Tensor, output: Tensor) -> Tensor {
        let Pass::Record { tape, .. } = self else { return output };
        let output = if output.requires_grad() { output } else { output.set_requires_grad(true) };
        tape.uses.push(Recorded::new(layer(), input, &output));
        output
    }

    /// `max(x, 0)`; in the memory of `x` where nobody needs it any more.
    pub(crate) fn relu(&self, mut x: Tensor) -> Tensor {
        match self.guard() {
            Some(_guard) => x.relu_(),
            None => x.relu(),
        }
    }

    /// `x` times the factors of the next dropout, where there are any.
    ///
    /// # Shapes
    /// Those that the network's `draw_dropout` gives.
    pub(crate) fn dropout(&mut self, x: Tensor) -> Tensor {
        let (Pass::Train { dropout } | Pass::Record { dropout, .. }) = self else { return x };
        match dropout.next() {
            Some(mask) => x * mask,
            None => x,
        }
    }
}

/// The factors of a network's dropouts in the order of their use: 0 for what is dropped,
/// `1 / (1 - p)` for the rest.
///
/// They are drawn before the pass, so that parts of a batch can be computed on any thread in any
/// order.
pub struct DropoutMasks<'a>(Option<std::slice::Iter<'a, Tensor>>);

impl<'a> DropoutMasks<'a> {
    /// No dropout.
    pub fn none() -> Self {
        Self(None)
    }

    /// One tensor per dropout.
    pub fn new(masks: &'a [Tensor]) -> Self {
        Self(Some(masks.iter()))
    }

    fn next(&mut self) -> Option<&'a Tensor> {
        let mask = self.0.as_mut()?.next();
        debug_assert!(mask.is_some(), "fewer masks than dropouts");
        mask
    }
}

/// The uses of a network's layers in one forward pass, in order.
#[derive(Default)]
pub struct Tape {
    /// One entry for every use: a layer that is used twice has two.
    pub uses: Vec<Recorded>,
}

impl Tape {
    /// Checks that all recorded tensors still hold what they held when they were recorded.
    ///
    /// # Errors
    /// Names the first layer whose input or output was written over since.
    pub fn check_intact(&self) -> Result<()> {
        match self.uses.iter().find_map(|used| Some((used, used.written_over()?))) {
            None => Ok(()),
            Some((used, what)) => {
                let name = used.layer.name();
                Err(Error::invalid(format!(
                    "the recorded {what} of {name} was written over after it was recorded"
                )))
            }
        }
    }
}

/// One use of a layer.
pub struct Recorded {
    /// An alias of the layer.
    pub layer: Layer,
    /// What it was given.
    pub input: Tensor,
    /// What it gave, before any activation.
    pub output: Tensor,
    /// libtorch counts every write to a tensor's memory.
    versions: [i64; 2],
}

impl Recorded {
    fn new(layer: Layer, input: &Tensor, output: &Tensor) -> Self {
        Self {
            layer,
            input: input.shallow_clone(),
            output: output.shallow_clone(),
            versions: [input, output].map(Tensor::internal_version),
        }
    }

    fn written_over(&self) -> Option<&'static str> {
        let now = [&self.input, &self.output].map(Tensor::internal_version);
        let names = ["input", "output"];
        (0..2).find(|&at| now[at] != self.versions[at]).map(|at| names[at])
    }
}
