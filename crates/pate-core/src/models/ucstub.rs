//! UCStub, the classifier of the PATE repository.

use std::path::Path;

use tch::{Device, Kind, Tensor};
use tensorfile::Array;

use super::{Classifier, missing, read_tensors, shape_in};
use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::data::ImageShape;
use crate::nn::{Conv2d, Linear, Module, Parameter, Pass, Source};
use crate::{Error, Result};

/// The classifier of teachers and students.
///
/// conv 3x3 to 32, ReLU, conv 3x3 to 64, ReLU, max-pool 2, dropout .25, linear to 128, ReLU,
/// dropout .5, linear to classes, log-softmax. Input: images already normalised by the data set's
/// mean and deviation.
#[derive(Clone)]
pub struct UcStub {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    classes: i64,
}

/// Two convolutions take two rows of pixels each, and the pool wants two.
const MIN_SIDE: i64 = 6;

impl UcStub {
    /// Shares of values that the two dropouts take away.
    const DROPOUT: [f64; 2] = [0.25, 0.5];

    const NAME: &str = "UCStub (conv1, conv2, fc1, fc2)";

    /// The names of its parameters.
    pub const PARAMETERS: [&str; 8] = [
        "conv1.weight",
        "conv1.bias",
        "conv2.weight",
        "conv2.bias",
        "fc1.weight",
        "fc1.bias",
        "fc2.weight",
        "fc2.bias",
    ];

    /// A fresh network for images of `shape`, initialised as PyTorch does.
    ///
    /// # Errors
    /// Where the images are smaller than 6x6.
    pub fn new(shape: ImageShape, classes: i64, seed: u64, device: Device) -> Result<Self> {
        let mut stream = Stream::new(seed, Purpose::Weights, 0);
        Self::build(&mut Source::fresh(&mut stream, device), shape, classes)
    }

    /// The network of a weights file, for images of the shape of `shape`. The number of classes
    /// comes from the file.
    ///
    /// # Errors
    /// Other names or shapes than this network's, values that are not finite, and whatever reading
    /// the file gives.
    pub fn load(path: &Path, shape: ImageShape, device: Device) -> Result<Self> {
        Self::from_tensors(path, read_tensors(path, &Self::PARAMETERS)?, shape, device)
    }

    /// Checks that images of the shape of `shape`, which came from `path`, are large enough.
    ///
    /// # Errors
    /// Names the file, their size and the least one.
    pub fn check_images(path: &Path, shape: ImageShape) -> Result<()> {
        if shape.height >= MIN_SIDE && shape.width >= MIN_SIDE {
            return Ok(());
        }
        Err(Error::content(
            path,
            format!("the images are {}x{}, too small for the classifier", shape.height, shape.width),
            format!("it needs at least {MIN_SIDE}x{MIN_SIDE}"),
        ))
    }

    pub(super) fn from_tensors(
        path: &Path,
        tensors: Vec<(String, Array)>,
        shape: ImageShape,
        device: Device,
    ) -> Result<Self> {
        let Some(&[classes, _]) = shape_in(&tensors, "fc2.weight") else {
            return Err(missing(path, "fc2.weight", Self::NAME, &tensors));
        };
        Self::check_images(path, shape)?;
        let mut source = Source::file(path, tensors, device);
        let network = Self::build(&mut source, shape, classes as i64)?;
        source.finish(Self::NAME)?;
        Ok(network)
    }

    /// The same with weights from `source`.
    ///
    /// # Errors
    /// As [`UcStub::new`], and those of the source.
    pub fn build(source: &mut Source<'_>, shape: ImageShape, classes: i64) -> Result<Self> {
        if shape.height < MIN_SIDE || shape.width < MIN_SIDE {
            return Err(Error::invalid(format!(
                "images of {}x{} are too small for the classifier; it needs at least {MIN_SIDE}x{MIN_SIDE}",
                shape.height, shape.width
            )));
        }
        let flat = 64 * ((shape.height - 4) / 2) * ((shape.width - 4) / 2);
        Ok(Self {
            conv1: Conv2d::new(source, "conv1", (shape.channels, 32), 3, (1, 0))?,
            conv2: Conv2d::new(source, "conv2", (32, 64), 3, (1, 0))?,
            fc1: Linear::new(source, "fc1", flat, 128)?,
            fc2: Linear::new(source, "fc2", 128, classes)?,
            classes,
        })
    }
}

impl Module for UcStub {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.conv1.visit(f);
        self.conv2.visit(f);
        self.fc1.visit(f);
        self.fc2.visit(f);
    }
}

impl Classifier for UcStub {
    fn classes(&self) -> i64 {
        self.classes
    }

    fn device(&self) -> Device {
        self.fc1.device()
    }

    /// Masks `[n, 64, (height - 4) / 2, (width - 4) / 2]`, channels-last, and `[n, 128]`.
    fn draw_dropout(&self, shape: ImageShape, n: i64) -> Result<Vec<Tensor>> {
        let draw = |shape: &[i64], p: f64| -> Result<Tensor> {
            let mut mask = Tensor::f_empty(shape, (Kind::Float, self.device()))?;
            let _ = mask.f_bernoulli_float_(1.0 - p)?;
            Ok(mask.f_div_scalar_(1.0 - p)?)
        };
        let pooled = draw(&[n, 64, (shape.height - 4) / 2, (shape.width - 4) / 2], Self::DROPOUT[0])?;
        Ok(vec![tensor::channels_last(&pooled), draw(&[n, 128], Self::DROPOUT[1])?])
    }

    /// 128 features, at least 0, before the second dropout.
    fn features(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let x = self.conv1.forward(x, pass);
        let x = pass.relu(x); // [n, 32, h-2, w-2]
        let x = self.conv2.relu_pool(&x, pass); // [n, 64, (h-4)/2, (w-4)/2]
        let x = pass.dropout(x);
        let x = self.fc1.forward(&x.flatten(1, -1), pass);
        pass.relu(x)
    }

    fn logits(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let x = self.features(x, pass);
        let x = pass.dropout(x);
        self.fc2.forward(&x, pass)
    }

    fn alias(&self) -> Box<dyn Classifier> {
        Box::new(self.clone())
    }
}
