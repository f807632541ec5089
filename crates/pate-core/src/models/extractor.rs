//! Images to latents and back: the public half of DPMI.

use std::path::Path;

use artifact::{Access, FileRecord};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::sequential::{Between, ConvSpec, LayerSpec, Sequential, Size, takes_rows};
use super::{Described, sequential};
use crate::base::parallel;
use crate::base::progress::Progress;
use crate::base::rng::{Purpose, Stream};
use crate::data::{ImageShape, Images};
use crate::nn::{self, Module, Parameter, Pass, Source};
use crate::{Error, Result};

/// How images and latents belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Latent {
    /// The encoder gives latents.
    Encoded,
    /// The encoder gives means and log-variances of latents, one after the other.
    Posterior,
    /// There is no encoder: latents are standard normal, and those of an image are searched for.
    Prior,
}

/// Architectures of encoders and decoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtractorKind {
    /// Perceptrons with 128 hidden values: those that the original used.
    Mini,
    /// Small convolutions with batch normalisation: those that the original defines and never used.
    Conv,
    /// Wider convolutions without batch normalisation, whose decoder draws sharper images.
    Wide,
}

/// Mean and deviation of each latent of public images.
#[derive(Debug)]
pub struct Standard {
    /// `[d]`, float32.
    pub mean: Tensor,
    /// `[d]`, above 0.
    pub deviation: Tensor,
}

/// What travels with the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    shape: ImageShape,
    latent_dim: i64,
    latent: Latent,
    encoder: Option<Vec<LayerSpec>>,
    decoder: Vec<LayerSpec>,
}

/// A decoder of latents, and an encoder where there is one.
///
/// # Privacy
/// It must be trained on public data. What it makes of a private image is private.
#[derive(Clone)]
pub struct Extractor {
    encoder: Option<Sequential>,
    decoder: Sequential,
    /// Buffers, so that they travel with the weights.
    standard: Option<[Parameter; 2]>,
    description: Description,
}

const ENCODER: &str = "enc.model";
const DECODER: &str = "dec.model";
const STANDARD: [&str; 2] = ["latent_mean", "latent_deviation"];
/// Images that a thread encodes or decodes at once.
const ROWS: i64 = 64;
/// Least deviation of a latent: one that says nothing is not blown up.
const LEAST_DEVIATION: f64 = 1e-3;

fn linear(inputs: i64, outputs: i64) -> LayerSpec {
    LayerSpec::Linear { inputs, outputs }
}

impl ExtractorKind {
    /// The layers of encoder and decoder; the encoder ends in `outputs` values.
    ///
    /// # Errors
    /// Images of a size that it is not made for.
    pub fn layers(
        self,
        shape: ImageShape,
        latent_dim: i64,
        outputs: i64,
    ) -> Result<(Vec<LayerSpec>, Vec<LayerSpec>)> {
        let pixels = shape.numel();
        let quarter = ImageShape { channels: 64, height: shape.height / 4, width: shape.width / 4 };
        let fits = match self {
            Self::Mini => true,
            Self::Conv => [shape.height, shape.width] == [28, 28],
            Self::Wide => shape.height % 4 == 0 && shape.width % 4 == 0 && shape.height.min(shape.width) >= 8,
        };
        if !fits {
            let wanted =
                if self == Self::Conv { "of 28x28" } else { "whose sides are multiples of 4, from 8 on" };
            return Err(Error::invalid(format!(
                "images of {}x{} do not fit this architecture, which is for images {wanted}; take another",
                shape.height, shape.width
            )));
        }
        let leaky = || Between::LeakyRelu.spec();
        let conv = |channels, kernel, stride, padding| {
            LayerSpec::Conv(ConvSpec::new(channels, kernel, stride, padding))
        };
        let back = |channels, kernel, stride, padding, output_padding| {
            let spec = ConvSpec { output_padding, ..ConvSpec::new(channels, kernel, stride, padding) };
            LayerSpec::ConvTranspose(spec)
        };
        let norm = |channels| LayerSpec::BatchNorm { channels };
        Ok(match self {
            Self::Mini => (
                vec![linear(pixels, 128), leaky(), linear(128, outputs)],
                vec![linear(latent_dim, 128), LayerSpec::Relu, linear(128, pixels), LayerSpec::Sigmoid],
            ),
            Self::Conv => (
                vec![
                    conv((shape.channels, 8), 3, 2, 1),
                    norm(8),
                    leaky(),
                    conv((8, 16), 3, 2, 1),
                    norm(16),
                    leaky(),
                    conv((16, 32), 3, 2, 0),
                    norm(32),
                    LayerSpec::Flatten,
                    linear(288, 100),
                    leaky(),
                    linear(100, outputs),
                ],
                vec![
                    linear(latent_dim, 96),
                    LayerSpec::Relu,
                    linear(96, 288),
                    LayerSpec::Relu,
                    LayerSpec::Maps(ImageShape { channels: 32, height: 3, width: 3 }),
                    back((32, 16), 3, 2, 0, 0),
                    norm(16),
                    LayerSpec::Relu,
                    back((16, 8), 3, 2, 0, 0),
                    norm(8),
                    LayerSpec::Relu,
                    back((8, shape.channels), 3, 2, 2, 1),
                    LayerSpec::Sigmoid,
                ],
            ),
            Self::Wide => (
                vec![
                    conv((shape.channels, 32), 4, 2, 1),
                    leaky(),
                    conv((32, 64), 4, 2, 1),
                    leaky(),
                    LayerSpec::Flatten,
                    linear(quarter.numel(), 256),
                    leaky(),
                    linear(256, outputs),
                ],
                vec![
                    linear(latent_dim, 256),
                    leaky(),
                    linear(256, quarter.numel()),
                    leaky(),
                    LayerSpec::Maps(quarter),
                    back((64, 32), 4, 2, 1, 0),
                    leaky(),
                    back((32, 16), 4, 2, 1, 0),
                    leaky(),
                    conv((16, shape.channels), 3, 1, 1),
                    LayerSpec::Sigmoid,
                ],
            ),
        })
    }
}

/// The layers of a critic of latents: one score, with nothing behind it.
pub fn critic(inputs: i64, hidden: &[i64], between: Between) -> Vec<LayerSpec> {
    let mut layers = Vec::new();
    let mut width = inputs;
    for &next in hidden {
        layers.extend([linear(width, next), between.spec()]);
        width = next;
    }
    layers.push(linear(width, 1));
    layers
}

/// The layers of a generator of rows: ReLU and batch normalisation behind every hidden layer, a
/// logistic function at the end where `pixels` are what it makes.
pub fn latent_generator(noise: i64, hidden: &[i64], outputs: i64, pixels: bool) -> Vec<LayerSpec> {
    let mut layers = Vec::new();
    let mut width = noise;
    for &next in hidden {
        layers.extend([linear(width, next), LayerSpec::Relu, LayerSpec::BatchNorm { channels: next }]);
        width = next;
    }
    layers.push(linear(width, outputs));
    layers.extend(pixels.then_some(LayerSpec::Sigmoid));
    layers
}

/// The layers of a convolutional critic of 28x28 images with `channels` channels.
pub fn image_critic(channels: i64, width: i64) -> Vec<LayerSpec> {
    let conv =
        |channels, kernel, stride, padding| LayerSpec::Conv(ConvSpec::new(channels, kernel, stride, padding));
    vec![
        conv((channels, width), 4, 2, 1),
        Between::LeakyRelu.spec(),
        conv((width, 2 * width), 4, 2, 1),
        Between::LeakyRelu.spec(),
        conv((2 * width, 1), 7, 1, 0),
        LayerSpec::Flatten,
    ]
}

/// The layers of a convolutional generator of 28x28 images with `channels` channels, from rows of
/// `noise` values.
pub fn image_generator(noise: i64, channels: i64, width: i64) -> Vec<LayerSpec> {
    let back =
        |channels, stride, padding| LayerSpec::ConvTranspose(ConvSpec::new(channels, 4, stride, padding));
    let mut layers = vec![
        LayerSpec::Maps(ImageShape { channels: noise, height: 1, width: 1 }),
        back((noise, 8 * width), 1, 0),
    ];
    for (at, factor) in [8, 4, 2].into_iter().enumerate() {
        layers.extend([LayerSpec::BatchNorm { channels: factor * width }, LayerSpec::Relu]);
        layers.push(back((factor * width, (4 >> at) * width), 2, 1));
    }
    layers.extend([LayerSpec::BatchNorm { channels: width }, LayerSpec::Relu]);
    layers.push(LayerSpec::Conv(ConvSpec::new((width, channels), 5, 1, 0)));
    layers.push(LayerSpec::Sigmoid);
    layers
}

impl Description {
    /// Whether its layers lead from images to latents and back, known without running them.
    fn check(&self) -> Result<()> {
        let (shape, d) = (self.shape, self.latent_dim);
        let sides = [shape.channels, shape.height, shape.width, d];
        if sides.iter().any(|side| !(1..=1 << 16).contains(side)) {
            return Err(Error::invalid(format!("it has images of {shape:?} and {d} latents")));
        }
        let images = sequential::output(&self.decoder, Size::Row(d))?;
        if images.numel() != shape.numel() {
            return Err(Error::invalid(format!(
                "its decoder gives {images:?}, and its images are {shape:?}"
            )));
        }
        let Some(encoder) = &self.encoder else { return Ok(()) };
        let wanted = if self.latent == Latent::Posterior { 2 * d } else { d };
        let given = if takes_rows(encoder) { Size::Row(shape.numel()) } else { Size::Maps(shape) };
        let latents = sequential::output(encoder, given)?;
        if latents != Size::Row(wanted) || self.latent == Latent::Prior {
            return Err(Error::invalid(format!(
                "its encoder gives {latents:?} for {d} latents ({:?})",
                self.latent
            )));
        }
        Ok(())
    }
}

impl Extractor {
    /// A fresh encoder and decoder for images of `shape`.
    ///
    /// # Errors
    /// Images that do not fit the architecture.
    pub fn new(
        kind: ExtractorKind,
        shape: ImageShape,
        latent_dim: i64,
        latent: Latent,
        seed: u64,
        device: Device,
    ) -> Result<Self> {
        let mut stream = Stream::new(seed, Purpose::Weights, 0);
        Self::build(&mut Source::fresh(&mut stream, device), kind, shape, latent_dim, latent)
    }

    /// An encoder and a decoder with weights from `source`, under `enc.model` and `dec.model`.
    ///
    /// # Errors
    /// As [`Extractor::new`], and those of the source.
    pub fn build(
        source: &mut Source<'_>,
        kind: ExtractorKind,
        shape: ImageShape,
        latent_dim: i64,
        latent: Latent,
    ) -> Result<Self> {
        let outputs = if latent == Latent::Posterior { 2 * latent_dim } else { latent_dim };
        let (encoder, decoder) = kind.layers(shape, latent_dim, outputs)?;
        Ok(Self {
            encoder: Some(Sequential::build(source, ENCODER, &encoder)?),
            decoder: Sequential::build(source, DECODER, &decoder)?,
            standard: None,
            description: Description { shape, latent_dim, latent, encoder: Some(encoder), decoder },
        })
    }

    /// A decoder alone with weights from `source`, under `dec.model`.
    ///
    /// # Errors
    /// Layers that do not lead from so many latents to such images, and those of the source.
    pub fn of_decoder(
        source: &mut Source<'_>,
        layers: Vec<LayerSpec>,
        shape: ImageShape,
        latent_dim: i64,
    ) -> Result<Self> {
        let decoder = Sequential::build(source, DECODER, &layers)?;
        let description =
            Description { shape, latent_dim, latent: Latent::Prior, encoder: None, decoder: layers };
        description.check()?;
        // Its latents are standard normal by construction.
        let zeros = Tensor::f_zeros([latent_dim], (Kind::Float, Device::Cpu))?;
        let standard = Some(buffers(zeros.shallow_clone(), zeros + 1.0));
        Ok(Self { encoder: None, decoder, standard, description })
    }

    /// A fresh generator of images, without an encoder.
    ///
    /// # Errors
    /// Layers that do not lead from so many latents to such images.
    pub fn generator(
        layers: Vec<LayerSpec>,
        shape: ImageShape,
        latent_dim: i64,
        seed: u64,
        device: Device,
    ) -> Result<Self> {
        let mut stream = Stream::new(seed, Purpose::Weights, 0);
        Self::of_decoder(&mut Source::fresh(&mut stream, device), layers, shape, latent_dim)
    }

    /// Writes it, with its architecture.
    ///
    /// # Errors
    /// Where the file cannot be written; nothing is left under its name then.
    pub fn save(&self, path: &Path, access: Access) -> Result<FileRecord> {
        Described::save(&self.description, &[self], path, access)
    }

    /// Reads what [`Extractor::save`] wrote.
    ///
    /// # Errors
    /// Another file, an architecture that cannot be built, weights that do not fit it or are not
    /// finite.
    pub fn load(path: &Path, device: Device) -> Result<Self> {
        const STEP: &str = "train-autoencoder or train-gan";
        let file = Described::<Description>::load(path, "an extractor", STEP)?;
        let bad = |found: String| Error::content(path, found, format!("give an extractor of {STEP}"));
        let (description, mut source) = file.into_source(device);
        description.check().map_err(|e| bad(e.to_string()))?;
        let encoder = description.encoder.as_ref();
        let encoder = encoder.map(|layers| Sequential::build(&mut source, ENCODER, layers)).transpose()?;
        let decoder = Sequential::build(&mut source, DECODER, &description.decoder)?;
        let mut standard = |name: &str| source.buffer(name, &[description.latent_dim], 1.0);
        let standard = [standard(STANDARD[0])?, standard(STANDARD[1])?];
        source.finish("an extractor (enc, dec, latent_mean, latent_deviation)")?;
        Ok(Self { encoder, decoder, standard: Some(standard), description })
    }

    /// Where its weights are.
    pub fn device(&self) -> Device {
        nn::device_of(self)
    }

    /// Shape of its images.
    pub fn shape(&self) -> ImageShape {
        self.description.shape
    }

    /// Number of latents.
    pub fn latent_dim(&self) -> i64 {
        self.description.latent_dim
    }

    /// How images and latents belong together.
    pub fn latent(&self) -> Latent {
        self.description.latent
    }

    /// Whether what it makes of a record depends on the others of a batch, in training.
    pub fn mixes_records(&self) -> bool {
        self.decoder.mixes_records() || self.encoder.as_ref().is_some_and(Sequential::mixes_records)
    }

    /// The decoder.
    pub fn decoder(&self) -> &Sequential {
        &self.decoder
    }

    /// The statistics of public images' latents; none before they are taken.
    pub fn standard(&self) -> Option<Standard> {
        let [mean, deviation] = self.standard.as_ref()?;
        Some(Standard { mean: mean.value().shallow_clone(), deviation: deviation.value().shallow_clone() })
    }

    /// The same with the mean and deviation of `latents` `[n, d]`, which must be public.
    ///
    /// # Errors
    /// Other latents than its own.
    pub fn with_standard(mut self, latents: &Tensor) -> Result<Self> {
        let size = latents.size();
        if size.len() != 2 || size[1] != self.latent_dim() || size[0] < 2 {
            return Err(Error::invalid(format!(
                "latents of shape {size:?} are none of an extractor of {}",
                self.latent_dim()
            )));
        }
        let deviation = latents.f_std_dim([0i64].as_slice(), true, false)?.f_clamp_min(LEAST_DEVIATION)?;
        let mean = latents.f_mean_dim([0i64].as_slice(), false, Kind::Float)?;
        self.standard = Some(buffers(mean, deviation));
        Ok(self)
    }

    /// What the encoder makes of images: latents, or means and log-variances.
    ///
    /// # Errors
    /// None, where there is no encoder.
    pub fn encoded(&self, images: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let Some(encoder) = &self.encoder else {
            return Err(Error::invalid(
                "the extractor has no encoder; search for latents with --method adam or gradient-descent",
            ));
        };
        let rows = takes_rows(encoder.spec()).then(|| images.flatten(1, -1));
        Ok(encoder.forward(rows.as_ref().unwrap_or(images), pass))
    }

    /// Images of latents, in the shape of images.
    pub fn decoded(&self, latents: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let shape = self.shape().batch(latents.size()[0]);
        self.decoder.forward(latents, pass).reshape(shape.as_slice())
    }

    /// The latents of many public images (the means, where the encoder gives a distribution):
    /// `[n, d]` on the CPU. They are computed in batches; private images go through
    /// `dpmi::inversion`, one by one.
    ///
    /// # Errors
    /// No encoder, images of another shape, a stop.
    pub fn encode(&self, images: &Images, progress: &dyn Progress) -> Result<Tensor> {
        images.expect_shape(Path::new("the images"), self.shape())?;
        let (n, d) = (images.len() as i64, self.latent_dim());
        let all = Tensor::f_empty([n, d], (Kind::Float, Device::Cpu))?;
        self.in_batches(images.tensor(), &all, progress, |extractor, part| {
            let encoded = extractor.encoded(part, &mut Pass::Infer)?;
            Ok(encoded.f_narrow(1, 0, d)?)
        })?;
        Ok(all)
    }

    /// The images of many latents, on the CPU.
    ///
    /// # Errors
    /// Other latents than its own, a stop.
    pub fn decode(&self, latents: &Tensor, progress: &dyn Progress) -> Result<Images> {
        if latents.dim() != 2 || latents.size()[1] != self.latent_dim() {
            return Err(Error::invalid(format!(
                "latents of shape {:?} are none of an extractor of {}",
                latents.size(),
                self.latent_dim()
            )));
        }
        let n = latents.size()[0];
        let all = Tensor::f_empty(self.shape().batch(n), (Kind::Float, Device::Cpu))?;
        self.in_batches(latents, &all, progress, |extractor, part| {
            Ok(extractor.decoded(part, &mut Pass::Infer).f_clamp(0.0, 1.0)?)
        })?;
        Ok(Images::trusted(all))
    }

    fn in_batches(
        &self,
        given: &Tensor,
        made: &Tensor,
        progress: &dyn Progress,
        make: impl Fn(&Self, &Tensor) -> Result<Tensor> + Sync,
    ) -> Result<()> {
        let worker = |_| (self.clone(), given.shallow_clone(), made.shallow_clone());
        let workers = (0..parallel::workers(self.device())).map(worker).collect();
        parallel::batches(
            given.size()[0],
            ROWS,
            workers,
            progress,
            |(extractor, given, made), first, n| {
                let _guard = tch::no_grad_guard();
                let part = given.f_narrow(0, first, n)?.f_to_device(extractor.device())?;
                made.f_narrow(0, first, n)?.f_copy_(&make(extractor, &part)?)?;
                Ok(())
            },
            |_, _, ()| Ok(()),
        )
    }
}

fn buffers(mean: Tensor, deviation: Tensor) -> [Parameter; 2] {
    [Parameter::buffer(STANDARD[0], mean), Parameter::buffer(STANDARD[1], deviation)]
}

impl Standard {
    /// Latents in units of their public deviation, around their public mean.
    pub fn apply(&self, latents: &Tensor) -> Tensor {
        (latents - &self.mean) / &self.deviation
    }

    /// The way back.
    pub fn revert(&self, standardised: &Tensor) -> Tensor {
        standardised * &self.deviation + &self.mean
    }
}

impl Module for Extractor {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        if let Some(encoder) = &self.encoder {
            encoder.visit(f);
        }
        self.decoder.visit(f);
        for parameter in self.standard.iter().flatten() {
            f(parameter);
        }
    }
}

/// Rows of `z` shortened to the norm `r` of each: `z / max(1, |z| / r)`.
///
/// # Shapes
/// `z` `[n, d]`, `r` `[n, 1]` or one number.
///
/// # Errors
/// Other shapes.
pub fn project(z: &Tensor, r: &Tensor) -> Result<Tensor> {
    let norm = (z * z).f_sum_dim_intlist([1i64].as_slice(), true, z.kind())?.f_sqrt()?;
    let factor = norm.f_div(r)?.f_clamp_min(1.0)?;
    Ok(z.f_div(&factor)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::progress::Silent;

    #[test]
    fn an_extractor_comes_back_from_its_file_with_its_architecture() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("extractor.pt");
        let shape = ImageShape { channels: 1, height: 8, width: 12 };
        let images = Images::trusted(Tensor::rand([7, 1, 8, 12], (Kind::Float, Device::Cpu)));
        for (kind, latent) in
            [(ExtractorKind::Mini, Latent::Encoded), (ExtractorKind::Wide, Latent::Posterior)]
        {
            let extractor = Extractor::new(kind, shape, 5, latent, 3, Device::Cpu).unwrap();
            let latents = extractor.encode(&images, &Silent).unwrap();
            let extractor = extractor.with_standard(&latents).unwrap();
            extractor.save(&path, Access::Public).unwrap();
            let back = Extractor::load(&path, Device::Cpu).unwrap();
            assert_eq!((back.shape(), back.latent_dim(), back.latent()), (shape, 5, latent));
            assert!(back.encode(&images, &Silent).unwrap().equal(&latents));
            let (a, b) = (extractor.standard().unwrap(), back.standard().unwrap());
            assert!(a.mean.equal(&b.mean) && a.deviation.equal(&b.deviation));
            let standardised = a.apply(&latents);
            assert!((a.revert(&standardised) - &latents).abs().max().double_value(&[]) < 1e-5);
            assert!(
                back.decode(&latents, &Silent)
                    .unwrap()
                    .tensor()
                    .equal(extractor.decode(&latents, &Silent).unwrap().tensor())
            );
        }
        // Layers that lead nowhere, from somebody's file.
        let mut wrong =
            Extractor::new(ExtractorKind::Mini, shape, 5, Latent::Encoded, 3, Device::Cpu).unwrap();
        wrong = wrong.with_standard(&Tensor::rand([3, 5], (Kind::Float, Device::Cpu))).unwrap();
        wrong.description.latent_dim = 6;
        wrong.save(&path, Access::Public).unwrap();
        let error = Extractor::load(&path, Device::Cpu).err().unwrap().to_string();
        assert!(error.contains("does not fit"), "{error}");
        artifact::write_bytes(&path, Access::Public, b"nothing").unwrap();
        assert!(Extractor::load(&path, Device::Cpu).is_err());
    }
}
