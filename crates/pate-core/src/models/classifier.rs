//! What evaluation, votes and trainings need of a classifier.

use tch::{Device, Tensor};

use crate::Result;
use crate::data::ImageShape;
use crate::nn::{Module, Parameter, Pass};

/// A network that tells classes apart: teachers, students, and whatever gives features.
///
/// Images are `[n, channels, height, width]`, float32, normalised as the network was trained.
pub trait Classifier: Module {
    /// Number of classes that it tells apart.
    fn classes(&self) -> i64;

    /// Where its weights are.
    fn device(&self) -> Device;

    /// What the last hidden layer makes of images, `[n, d]`.
    fn features(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor;

    /// Scores before the softmax, `[n, classes]`.
    fn logits(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor;

    /// Log-probabilities, `[n, classes]`.
    fn log_probs(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let _guard = pass.guard();
        self.logits(x, pass).log_softmax(-1, None)
    }

    /// Factors of its dropouts for `n` images of `shape`, in the order of their use, drawn from
    /// libtorch's generator as libtorch's own dropout draws them (see
    /// [`crate::base::rng::TorchGenerator`]): 0 for what is dropped, `1 / (1 - p)` for the rest.
    /// None: a network without dropout.
    ///
    /// # Shapes
    /// The first axis counts the images.
    ///
    /// # Errors
    /// Where the device has no room.
    fn draw_dropout(&self, _shape: ImageShape, _n: i64) -> Result<Vec<Tensor>> {
        Ok(Vec::new())
    }

    /// Whether, in training, what it makes of an image depends on the others of the batch.
    fn mixes_records(&self) -> bool {
        false
    }

    /// The same network for another thread: its weights are these, not copies.
    fn alias(&self) -> Box<dyn Classifier>;
}

/// A network of any architecture is one.
impl Module for Box<dyn Classifier> {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        (**self).visit(f);
    }
}

impl Classifier for Box<dyn Classifier> {
    fn classes(&self) -> i64 {
        (**self).classes()
    }

    fn device(&self) -> Device {
        (**self).device()
    }

    fn features(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        (**self).features(x, pass)
    }

    fn logits(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        (**self).logits(x, pass)
    }

    fn draw_dropout(&self, shape: ImageShape, n: i64) -> Result<Vec<Tensor>> {
        (**self).draw_dropout(shape, n)
    }

    fn mixes_records(&self) -> bool {
        (**self).mixes_records()
    }

    fn alias(&self) -> Box<dyn Classifier> {
        (**self).alias()
    }
}

impl Clone for Box<dyn Classifier> {
    fn clone(&self) -> Self {
        self.alias()
    }
}
