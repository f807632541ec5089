//! A linear classifier of scattering features.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::{Classifier, missing, read_tensors, shape_in};
use crate::base::progress::{Progress, Silent};
use crate::base::rng::{Purpose, Stream};
use crate::data::ImageShape;
use crate::nn::scatter::{Scatter, normalise};
use crate::nn::{Linear, Module, Moments, Parameter, Pass, Source};
use crate::{Error, Result};

/// Groups of the features' normalisation, as Tramèr and Boneh have them.
const GROUPS: i64 = 27;
/// Images whose features are in memory at once.
const CHUNK: i64 = 1000;

/// A scattering transform (J = 2, L = 8), group normalisation within each image, whitening that was
/// estimated beforehand if there is one, and a linear map to classes.
///
/// F. Tramèr and D. Boneh, *Differentially Private Learning Needs Better Features* (2021). Only the
/// linear map is learnt.
///
/// # Privacy
/// Features of an image are a function of that image and of the whitening; of private images, they
/// are private. The whitening must come from public images.
#[derive(Clone)]
pub struct ScatterLinear {
    scatter: Scatter,
    whiten: Option<Linear>,
    head: Linear,
    classes: i64,
}

impl ScatterLinear {
    const NAME: &str = "a linear classifier of scattering features (head, and whiten where it whitens)";

    /// The names of its parameters; the first two are not in every file.
    pub const PARAMETERS: [&str; 4] = ["whiten.weight", "whiten.bias", "head.weight", "head.bias"];

    /// For images of `shape`, without whitening, with a linear map of zeros.
    ///
    /// # Errors
    /// Images that are too small or too large for the transform.
    pub fn new(shape: ImageShape, classes: i64, device: Device) -> Result<Self> {
        let scatter = Scatter::new([shape.height, shape.width], Kind::Float, device)?;
        let d = shape.channels * scatter.output().iter().product::<i64>();
        let head = zeros(d, classes, device)?;
        Ok(Self { scatter, whiten: None, head, classes })
    }

    /// The same with features whitened to `k` values by what `features` have: those that this
    /// network makes of public images; see [`Moments::whitening`].
    ///
    /// # Errors
    /// Features of a network that whitens already; as [`Moments::whitening`].
    pub fn whitened_by(mut self, features: &Tensor, k: i64, ridge: f64) -> Result<Self> {
        let (d, device) = (self.head.inputs(), self.head.device());
        if self.whiten.is_some() || features.dim() != 2 || features.size()[1] != d {
            return Err(Error::invalid(format!(
                "features of shape {:?} are none of this network's, which have {d} values before whitening",
                features.size()
            )));
        }
        let mut moments = Moments::new(d);
        for part in features.f_split(CHUNK, 0)? {
            moments.add(&part)?;
        }
        let (weight, bias) = moments.whitening(k, ridge, &mut Stream::new(0, Purpose::Whitening, 0))?;
        let given = vec![
            ("whiten.weight".to_owned(), weight.f_to_device(device)?),
            ("whiten.bias".to_owned(), bias.f_to_device(device)?),
        ];
        self.whiten = Some(Linear::new(&mut Source::given(given, device), "whiten", d, k)?);
        self.head = zeros(k, self.classes, device)?;
        Ok(self)
    }

    /// Features as the linear map has them, of those before whitening.
    ///
    /// # Errors
    /// Where there is no room.
    pub fn whiten(&self, features: &Tensor) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        Ok(match &self.whiten {
            Some(whiten) => whiten.forward(features, &mut Pass::Infer),
            None => features.shallow_clone(),
        })
    }

    /// The network of a weights file, for images of the shape of `shape`.
    ///
    /// # Errors
    /// Other names or shapes than this network's, values that are not finite, and whatever reading
    /// the file gives.
    pub fn load(path: &Path, shape: ImageShape, device: Device) -> Result<Self> {
        let tensors = read_tensors(path, &Self::PARAMETERS)?;
        let Some(&[classes, _]) = shape_in(&tensors, "head.weight") else {
            return Err(missing(path, "head.weight", Self::NAME, &tensors));
        };
        let whiten = shape_in(&tensors, "whiten.weight").and_then(|shape| shape.first().copied());
        let mut network = Self::new(shape, classes as i64, device)?;
        let d = network.head.inputs();
        let mut source = Source::file(path, tensors, device);
        if let Some(k) = whiten {
            network.whiten = Some(Linear::new(&mut source, "whiten", d, k as i64)?);
        }
        network.head = Linear::new(&mut source, "head", whiten.map_or(d, |k| k as i64), classes as i64)?;
        source.finish(Self::NAME)?;
        Ok(network)
    }

    /// The linear map: all that training changes.
    pub fn head(&self) -> &Linear {
        &self.head
    }

    /// The features of many images, on the CPU.
    ///
    /// # Shapes
    /// `[n, c, h, w]` to `[n, d]`.
    ///
    /// # Errors
    /// Images of another size, a stop.
    pub fn features_of(&self, images: &Tensor, progress: &dyn Progress) -> Result<Tensor> {
        let all = Tensor::f_empty([images.size()[0], self.head.inputs()], (Kind::Float, Device::Cpu))?;
        let mut first = 0;
        self.for_chunks(images, progress, |features| {
            let n = features.size()[0];
            all.f_narrow(0, first, n)?.f_copy_(features)?;
            first += n;
            Ok(())
        })?;
        Ok(all)
    }

    fn for_chunks(
        &self,
        images: &Tensor,
        progress: &dyn Progress,
        mut take: impl FnMut(&Tensor) -> Result<()>,
    ) -> Result<()> {
        let _guard = tch::no_grad_guard();
        let n = images.size()[0];
        for first in (0..n).step_by(CHUNK as usize) {
            let images = images.f_narrow(0, first, CHUNK.min(n - first))?.f_to_device(self.head.device())?;
            take(&self.batch(&images, progress)?)?;
        }
        Ok(())
    }

    /// Features with gradients for the images.
    fn differentiable(&self, images: &Tensor) -> Result<Tensor> {
        let features = normalise(&self.scatter.differentiable(images)?, GROUPS)?.f_flatten(1, -1)?;
        Ok(match &self.whiten {
            Some(whiten) => whiten.forward(&features, &mut Pass::differentiate()),
            None => features,
        })
    }

    fn batch(&self, images: &Tensor, progress: &dyn Progress) -> Result<Tensor> {
        self.whiten(&normalise(&self.scatter.forward_with(images, progress)?, GROUPS)?.f_flatten(1, -1)?)
    }
}

fn zeros(n_in: i64, n_out: i64, device: Device) -> Result<Linear> {
    let zeros = |name: &str, size: &[i64]| (name.to_owned(), Tensor::zeros(size, (Kind::Float, device)));
    let given = vec![zeros("head.weight", &[n_out, n_in]), zeros("head.bias", &[n_out])];
    Linear::new(&mut Source::given(given, device), "head", n_in, n_out)
}

impl Module for ScatterLinear {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        if let Some(whiten) = &self.whiten {
            whiten.visit(f);
        }
        self.head.visit(f);
    }
}

impl Classifier for ScatterLinear {
    fn classes(&self) -> i64 {
        self.classes
    }

    fn device(&self) -> Device {
        self.head.device()
    }

    /// The scattering features, as the linear map has them; with gradients for images that ask for
    /// them.
    ///
    /// # Panics
    /// Images of another size than the network's.
    fn features(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let gradients = x.requires_grad() && !matches!(pass, Pass::Infer);
        let features = if gradients { self.differentiable(x) } else { self.batch(x, &Silent) };
        #[expect(clippy::expect_used, reason = "libtorch's own layers panic on other shapes, too")]
        let features = features.expect("images of the network's size");
        features
    }

    fn logits(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let features = self.features(x, pass);
        self.head.forward(&features, pass)
    }

    fn alias(&self) -> Box<dyn Classifier> {
        Box::new(self.clone())
    }
}
