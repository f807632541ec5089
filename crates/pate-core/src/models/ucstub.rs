use std::path::Path;

use tch::{Device, Kind, Tensor};
use tensorfile::Array;

use super::{missing, read_tensors, shape_in};
use crate::data::ImageSpec;
use crate::nn::{Conv2d, Linear, Network, Source};
use crate::rng::{Purpose, Stream};
use crate::{Error, Result, tensor};

/// The classifier of teachers and students.
///
/// conv 3x3 to 32, ReLU, conv 3x3 to 64, ReLU, max-pool 2, dropout .25, linear to 128, ReLU, dropout .5, linear to classes,
/// log-softmax. Input: images already normalised by the data set's mean and deviation.
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

    /// A fresh network for images of `spec`, initialised as PyTorch does.
    ///
    /// # Errors
    /// Where the images are smaller than 6x6.
    pub fn new(spec: ImageSpec, seed: u64, device: Device) -> Result<Self> {
        let mut stream = Stream::new(seed, Purpose::Weights, 0);
        Self::build(&mut Source::fresh(&mut stream, device), spec)
    }

    /// The network of a weights file, for images of the shape of `spec`. The number of classes comes from the file.
    ///
    /// # Errors
    /// Other names or shapes than this network's, values that are not finite, and whatever reading the file gives.
    pub fn load(path: &Path, spec: ImageSpec, device: Device) -> Result<Self> {
        Self::from_tensors(path, read_tensors(path, &Self::PARAMETERS)?, spec, device)
    }

    /// Checks that images of the shape of `spec`, which came from `path`, are large enough.
    ///
    /// # Errors
    /// Names the file, their size and the least one.
    pub fn check_images(path: &Path, spec: ImageSpec) -> Result<()> {
        if spec.height >= MIN_SIDE && spec.width >= MIN_SIDE {
            return Ok(());
        }
        Err(Error::content(
            path,
            format!("the images are {}x{}, too small for the classifier", spec.height, spec.width),
            format!("it needs at least {MIN_SIDE}x{MIN_SIDE}"),
        ))
    }

    pub(super) fn from_tensors(
        path: &Path,
        tensors: Vec<(String, Array)>,
        spec: ImageSpec,
        device: Device,
    ) -> Result<Self> {
        let Some(&[classes, _]) = shape_in(&tensors, "fc2.weight") else {
            return Err(missing(path, "fc2.weight", Self::NAME, &tensors));
        };
        Self::check_images(path, spec)?;
        let spec = ImageSpec { classes: classes as i64, ..spec };
        let mut source = Source::file(path, tensors, device);
        let network = Self::build(&mut source, spec)?;
        source.finish(Self::NAME)?;
        Ok(network)
    }

    fn build(source: &mut Source<'_>, spec: ImageSpec) -> Result<Self> {
        if spec.height < MIN_SIDE || spec.width < MIN_SIDE {
            return Err(Error::invalid(format!(
                "images of {}x{} are too small for the classifier; it needs at least {MIN_SIDE}x{MIN_SIDE}",
                spec.height, spec.width
            )));
        }
        let flat = 64 * ((spec.height - 4) / 2) * ((spec.width - 4) / 2);
        Ok(Self {
            conv1: Conv2d::new(source, "conv1", (spec.channels, 32), 3, (1, 0))?,
            conv2: Conv2d::new(source, "conv2", (32, 64), 3, (1, 0))?,
            fc1: Linear::new(source, "fc1", flat, 128)?,
            fc2: Linear::new(source, "fc2", 128, spec.classes)?,
            classes: spec.classes,
        })
    }

    /// The same network for another thread: its weights are these, not copies.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            conv1: self.conv1.share(),
            conv2: self.conv2.share(),
            fc1: self.fc1.share(),
            fc2: self.fc2.share(),
            classes: self.classes,
        }
    }

    /// Number of classes that it tells apart.
    pub fn classes(&self) -> i64 {
        self.classes
    }

    /// Factors of the two dropouts for `n` images, drawn from libtorch's generator as its own dropout draws them: 0 for what is
    /// dropped, `1 / (1 - p)` for the rest. See [`crate::rng::TorchGenerator`].
    ///
    /// # Shapes
    /// `[n, 64, (height - 4) / 2, (width - 4) / 2]`, channels-last, and `[n, 128]`, for images of `spec`.
    ///
    /// # Errors
    /// Where the device has no room.
    pub fn dropout_masks(&self, spec: ImageSpec, n: i64) -> Result<[Tensor; 2]> {
        let device = self.fc1.device();
        let draw = |shape: &[i64], p: f64| -> Result<Tensor> {
            let mut mask = Tensor::f_empty(shape, (Kind::Float, device))?;
            let _ = mask.f_bernoulli_float_(1.0 - p)?;
            Ok(mask.f_div_scalar_(1.0 - p)?)
        };
        let pooled = draw(&[n, 64, (spec.height - 4) / 2, (spec.width - 4) / 2], Self::DROPOUT[0])?;
        Ok([tensor::channels_last(&pooled), draw(&[n, 128], Self::DROPOUT[1])?])
    }

    /// Log-probabilities.
    ///
    /// With `dropout` (training) values are multiplied by factors of [`UcStub::dropout_masks`].
    ///
    /// # Shapes
    /// `[n, channels, height, width]` normalised, float32, to `[n, classes]`.
    pub fn forward(&self, x: &Tensor, dropout: Option<&[Tensor; 2]>) -> Tensor {
        let x = self.hidden(x, dropout);
        let x = match dropout {
            Some([_, mask]) => x * mask,
            None => x,
        };
        self.fc2.forward(&x).log_softmax(-1, None)
    }

    /// What the last hidden layer makes of images, before the second dropout.
    ///
    /// # Shapes
    /// `[n, channels, height, width]` normalised, float32, to `[n, 128]`, at least 0.
    pub fn hidden(&self, x: &Tensor, dropout: Option<&[Tensor; 2]>) -> Tensor {
        // In place: no convolution's gradient needs its own result.
        let x = self.conv1.forward(x).relu_(); // [n, 32, h-2, w-2]
        let x = self.conv2.relu_pool(&x); // [n, 64, (h-4)/2, (w-4)/2]
        let x = match dropout {
            Some([mask, _]) => x * mask,
            None => x,
        };
        self.fc1.forward(&x.flatten(1, -1)).relu_()
    }
}

impl Network for UcStub {
    fn parameters(&self) -> Vec<(String, &Tensor)> {
        let mut all = Vec::with_capacity(8);
        self.conv1.push_parameters("conv1", &mut all);
        self.conv2.push_parameters("conv2", &mut all);
        self.fc1.push_parameters("fc1", &mut all);
        self.fc2.push_parameters("fc2", &mut all);
        all
    }

    fn architecture(&self) -> &'static str {
        Self::NAME
    }
}
