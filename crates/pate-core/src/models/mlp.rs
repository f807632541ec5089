//! A perceptron with two hidden layers.

use std::path::Path;

use tch::{Device, Tensor};

use super::{Classifier, missing, read_tensors, shape_in};
use crate::Result;
use crate::base::rng::{Purpose, Stream};
use crate::data::ImageShape;
use crate::nn::{Linear, Module, Parameter, Pass, Source};

const NAME: &str = "the perceptron (fc1, fc2, fc3)";

/// Values of each hidden layer.
const HIDDEN: i64 = 256;

/// Pixels to 256, ReLU, to 256, ReLU, to classes: 269,322 parameters for 28x28x1 and ten classes.
///
/// It knows nothing of neighbouring pixels, and so tells how far a set of images serves a learner
/// that is not made for images.
#[derive(Clone)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
    classes: i64,
}

impl Mlp {
    /// A fresh network for images of `shape`, initialised as PyTorch does.
    ///
    /// # Errors
    /// Where the device has no room.
    pub fn new(shape: ImageShape, classes: i64, seed: u64, device: Device) -> Result<Self> {
        let mut stream = Stream::new(seed, Purpose::Weights, 0);
        Self::build(&mut Source::fresh(&mut stream, device), shape, classes)
    }

    /// The network of a weights file, for images of the shape of `shape`.
    ///
    /// # Errors
    /// Other names or shapes than this network's, values that are not finite, and whatever reading
    /// the file gives.
    pub fn load(path: &Path, shape: ImageShape, device: Device) -> Result<Self> {
        let tensors = read_tensors(path, &["fc1.weight", "fc3.weight"])?;
        let Some(&[classes, _]) = shape_in(&tensors, "fc3.weight") else {
            return Err(missing(path, "fc3.weight", NAME, &tensors));
        };
        let mut source = Source::file(path, tensors, device);
        let network = Self::build(&mut source, shape, classes as i64)?;
        source.finish(NAME)?;
        Ok(network)
    }

    /// The same with weights from `source`.
    ///
    /// # Errors
    /// Those of the source.
    pub fn build(source: &mut Source<'_>, shape: ImageShape, classes: i64) -> Result<Self> {
        Ok(Self {
            fc1: Linear::new(source, "fc1", shape.numel(), HIDDEN)?,
            fc2: Linear::new(source, "fc2", HIDDEN, HIDDEN)?,
            fc3: Linear::new(source, "fc3", HIDDEN, classes)?,
            classes,
        })
    }
}

impl Module for Mlp {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.fc1.visit(f);
        self.fc2.visit(f);
        self.fc3.visit(f);
    }
}

impl Classifier for Mlp {
    fn classes(&self) -> i64 {
        self.classes
    }

    fn device(&self) -> Device {
        self.fc1.device()
    }

    /// 256 features.
    fn features(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let x = self.fc1.forward(&x.flatten(1, -1), pass);
        let x = pass.relu(x);
        let x = self.fc2.forward(&x, pass);
        pass.relu(x)
    }

    fn logits(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let x = self.features(x, pass);
        self.fc3.forward(&x, pass)
    }

    fn alias(&self) -> Box<dyn Classifier> {
        Box::new(self.clone())
    }
}
