//! The small CNN of the literature on private training.

use std::path::Path;

use tch::{Device, Tensor};

use super::{Classifier, UcStub, missing, read_tensors, shape_in};
use crate::base::rng::{Purpose, Stream};
use crate::data::ImageShape;
use crate::nn::{Conv2d, Linear, Module, Parameter, Pass, Source};
use crate::{Error, Result};

const NAME: &str = "the small CNN (conv1, conv2, fc1, fc2)";

/// What stands between the layers of a [`SmallCnn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// Bounded activations keep gradients short, so that clipping takes less from them (Papernot,
    /// Thakurta, Song, Chien, Erlingsson, "Tempered sigmoid activations for deep learning with
    /// differential privacy", 2021).
    Tanh,
}

/// conv 8x8 to 16 with stride 2, max-pool 2 with stride 1, conv 4x4 to 32 with stride 2, max-pool 2
/// with stride 1, linear to 32, linear to classes: 26,010 parameters for 28x28x1 and ten classes.
///
/// It is the network of TensorFlow Privacy's tutorial and of Opacus' MNIST example.
#[derive(Clone)]
pub struct SmallCnn {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
    classes: i64,
}

impl SmallCnn {
    /// Sides of an image at least.
    pub const LEAST_SIDE: i64 = 14;

    /// A fresh network for images of `shape`, initialised as PyTorch does.
    ///
    /// # Errors
    /// Where the images are smaller than 14x14.
    pub fn new(
        shape: ImageShape,
        classes: i64,
        activation: Activation,
        seed: u64,
        device: Device,
    ) -> Result<Self> {
        let mut stream = Stream::new(seed, Purpose::Weights, 0);
        Self::build(&mut Source::fresh(&mut stream, device), shape, classes, activation)
    }

    /// The network of a weights file, for images of the shape of `shape`; what stands between the
    /// layers is in no file.
    ///
    /// # Errors
    /// Other names or shapes than this network's, values that are not finite, and whatever reading
    /// the file gives.
    pub fn load(path: &Path, shape: ImageShape, activation: Activation, device: Device) -> Result<Self> {
        let tensors = read_tensors(path, &UcStub::PARAMETERS)?;
        let Some(&[classes, _]) = shape_in(&tensors, "fc2.weight") else {
            return Err(missing(path, "fc2.weight", NAME, &tensors));
        };
        let mut source = Source::file(path, tensors, device);
        let network = Self::build(&mut source, shape, classes as i64, activation)?;
        source.finish(NAME)?;
        Ok(network)
    }

    /// The same with weights from `source`.
    ///
    /// # Errors
    /// As [`SmallCnn::new`], and those of the source.
    pub fn build(
        source: &mut Source<'_>,
        shape: ImageShape,
        classes: i64,
        activation: Activation,
    ) -> Result<Self> {
        // Each convolution halves, each pool takes one row, and something has to be left.
        let left = |side: i64| ((((side + 6 - 8) / 2 + 1) - 1) - 4) / 2 + 1 - 1;
        if shape.height < Self::LEAST_SIDE || shape.width < Self::LEAST_SIDE {
            return Err(Error::invalid(format!(
                "images of {}x{} are too small for the small CNN; it needs at least 14x14",
                shape.height, shape.width
            )));
        }
        let flat = 32 * left(shape.height) * left(shape.width);
        Ok(Self {
            conv1: Conv2d::new(source, "conv1", (shape.channels, 16), 8, (2, 3))?,
            conv2: Conv2d::new(source, "conv2", (16, 32), 4, (2, 0))?,
            fc1: Linear::new(source, "fc1", flat, 32)?,
            fc2: Linear::new(source, "fc2", 32, classes)?,
            activation,
            classes,
        })
    }

    fn activate(&self, x: Tensor, pass: &Pass<'_>) -> Tensor {
        match self.activation {
            Activation::Relu => pass.relu(x),
            Activation::Tanh => {
                let _guard = pass.guard();
                x.tanh()
            }
        }
    }
}

impl Module for SmallCnn {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.conv1.visit(f);
        self.conv2.visit(f);
        self.fc1.visit(f);
        self.fc2.visit(f);
    }
}

impl Classifier for SmallCnn {
    fn classes(&self) -> i64 {
        self.classes
    }

    fn device(&self) -> Device {
        self.fc1.device()
    }

    /// 32 features.
    fn features(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let pool = |x: Tensor, pass: &Pass<'_>| {
            let _guard = pass.guard();
            x.max_pool2d([2, 2], [1, 1], [0, 0], [1, 1], false)
        };
        let x = self.conv1.forward(x, pass);
        let x = pool(self.activate(x, pass), pass);
        let x = self.conv2.forward(&x, pass);
        let x = pool(self.activate(x, pass), pass);
        let x = self.fc1.forward(&x.flatten(1, -1), pass);
        self.activate(x, pass)
    }

    fn logits(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let x = self.features(x, pass);
        self.fc2.forward(&x, pass)
    }

    fn alias(&self) -> Box<dyn Classifier> {
        Box::new(self.clone())
    }
}
