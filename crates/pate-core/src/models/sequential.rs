//! Networks that are a list of layers, and the list in words, so that it can travel with the
//! weights.

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::base::rng::{Purpose, Stream};
use crate::data::ImageShape;
use crate::nn::{BatchNorm, Conv2d, ConvTranspose2d, Linear, Module, Parameter, Pass, Source, Window};
use crate::{Error, Result};

/// A layer of a [`Sequential`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "layer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LayerSpec {
    /// Affine map of rows.
    Linear {
        /// Values that it takes.
        inputs: i64,
        /// Values that it gives.
        outputs: i64,
    },
    /// 2-D convolution.
    Conv(ConvSpec),
    /// 2-D transposed convolution.
    ConvTranspose(ConvSpec),
    /// Normalisation over the batch.
    BatchNorm {
        /// Channels, or values of a row.
        channels: i64,
    },
    /// `max(x, slope x)`.
    LeakyRelu {
        /// From 0 to 1.
        slope: f64,
    },
    /// `max(x, 0)`.
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// Logistic function.
    Sigmoid,
    /// Images to rows.
    Flatten,
    /// Rows to images.
    Maps(ImageShape),
}

/// A convolution with square windows and a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvSpec {
    /// Channels that it takes.
    pub inputs: i64,
    /// Channels that it gives.
    pub outputs: i64,
    /// Side of its windows.
    pub kernel: i64,
    /// Step from window to window.
    pub stride: i64,
    /// Zeros around the image.
    pub padding: i64,
    /// Rows and columns more at the end of a transposed convolution.
    pub output_padding: i64,
}

impl ConvSpec {
    /// `kernel`, `stride`, `padding`, from `inputs` to `outputs` channels.
    pub fn new((inputs, outputs): (i64, i64), kernel: i64, stride: i64, padding: i64) -> Self {
        Self { inputs, outputs, kernel, stride, padding, output_padding: 0 }
    }

    fn window(self) -> Window {
        Window::square(self.kernel).stride(self.stride).padding(self.padding)
    }

    fn channels(self) -> (i64, i64) {
        (self.inputs, self.outputs)
    }

    fn maps(self, height: Option<i64>, width: Option<i64>) -> Option<Size> {
        let (height, width) = (height?, width?);
        let fits = |side: i64| (1..=MOST).contains(&side);
        let maps = ImageShape { channels: self.outputs, height, width };
        (fits(height) && fits(width)).then_some(Size::Maps(maps))
    }
}

/// Activations between layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Between {
    /// Leaky ReLU of slope 0.2.
    LeakyRelu,
    /// ReLU.
    Relu,
    /// Tanh.
    Tanh,
}

impl Between {
    /// The layer.
    pub fn spec(self) -> LayerSpec {
        match self {
            Self::LeakyRelu => LayerSpec::LeakyRelu { slope: 0.2 },
            Self::Relu => LayerSpec::Relu,
            Self::Tanh => LayerSpec::Tanh,
        }
    }
}

/// Largest size of a layer that a file may ask for.
const MOST: i64 = 1 << 16;
/// Most weights of a layer.
const MOST_WEIGHTS: i64 = 1 << 27;
/// Most layers.
const MOST_LAYERS: usize = 64;

/// Checks that a list of layers is one that can be built, whoever wrote it.
///
/// # Errors
/// Names the layer and the number.
pub(super) fn check(layers: &[LayerSpec]) -> Result<()> {
    if layers.is_empty() || layers.len() > MOST_LAYERS {
        return Err(Error::invalid(format!(
            "a network of {} layers; it has 1 to {MOST_LAYERS}",
            layers.len()
        )));
    }
    for (at, layer) in layers.iter().enumerate() {
        let (sizes, zeros): (Vec<i64>, Vec<i64>) = match layer {
            LayerSpec::Linear { inputs, outputs } => (vec![*inputs, *outputs], Vec::new()),
            LayerSpec::Conv(conv) | LayerSpec::ConvTranspose(conv) => (
                vec![conv.inputs, conv.outputs, conv.kernel, conv.kernel, conv.stride],
                vec![conv.padding, conv.output_padding],
            ),
            LayerSpec::BatchNorm { channels } => (vec![*channels], Vec::new()),
            LayerSpec::Maps(shape) => (vec![shape.channels, shape.height, shape.width], Vec::new()),
            LayerSpec::LeakyRelu { slope } if !(0.0..=1.0).contains(slope) => {
                return Err(Error::invalid(format!("layer {at} has a slope of {slope}; it is from 0 to 1")));
            }
            _ => continue,
        };
        let weights = sizes.iter().try_fold(1i64, |product, &size| product.checked_mul(size));
        let fits = sizes.iter().all(|size| (1..=MOST).contains(size))
            && zeros.iter().all(|zeros| (0..=MOST).contains(zeros))
            && weights.is_some_and(|weights| weights <= MOST_WEIGHTS);
        if !fits {
            return Err(Error::invalid(format!(
                "layer {at} has sizes {sizes:?}; each is from 1 to {MOST}, and all weights at most {MOST_WEIGHTS}"
            )));
        }
    }
    Ok(())
}

/// What a layer is given or gives, for one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// So many values.
    Row(i64),
    /// An image.
    Maps(ImageShape),
}

impl Size {
    /// All values.
    pub fn numel(self) -> i64 {
        match self {
            Self::Row(n) => n,
            Self::Maps(shape) => shape.numel(),
        }
    }
}

/// What layers make of a record of size `given`.
///
/// # Errors
/// Sizes that nobody can build; names the first layer that does not fit what comes before it.
pub fn output(layers: &[LayerSpec], given: Size) -> Result<Size> {
    check(layers)?;
    let mut size = given;
    for (at, layer) in layers.iter().enumerate() {
        let next = match (layer, size) {
            (LayerSpec::Linear { inputs, outputs }, Size::Row(n)) if n == *inputs => {
                Some(Size::Row(*outputs))
            }
            (LayerSpec::Conv(conv), Size::Maps(maps)) if maps.channels == conv.inputs => {
                let room = |side: i64| side + 2 * conv.padding - conv.kernel;
                let side = |side: i64| (room(side) >= 0).then(|| room(side) / conv.stride + 1);
                conv.maps(side(maps.height), side(maps.width))
            }
            (LayerSpec::ConvTranspose(conv), Size::Maps(maps)) if maps.channels == conv.inputs => {
                let side = |side: i64| {
                    Some((side - 1) * conv.stride + conv.kernel + conv.output_padding - 2 * conv.padding)
                };
                // As libtorch asks.
                let small = conv.output_padding < conv.stride;
                if small { conv.maps(side(maps.height), side(maps.width)) } else { None }
            }
            (LayerSpec::BatchNorm { channels }, Size::Row(n)) if n == *channels => Some(size),
            (LayerSpec::BatchNorm { channels }, Size::Maps(maps)) if maps.channels == *channels => Some(size),
            (LayerSpec::Flatten, _) => Some(Size::Row(size.numel())),
            (LayerSpec::Maps(shape), _) if size.numel() == shape.numel() => Some(Size::Maps(*shape)),
            (LayerSpec::LeakyRelu { .. } | LayerSpec::Relu | LayerSpec::Tanh | LayerSpec::Sigmoid, _) => {
                Some(size)
            }
            _ => None,
        };
        size = next.ok_or_else(|| {
            Error::invalid(format!("layer {at} ({layer:?}) does not fit what comes before it ({size:?})"))
        })?;
    }
    Ok(size)
}

/// Whether layers begin with rows, and not with images.
pub fn takes_rows(layers: &[LayerSpec]) -> bool {
    matches!(layers.first(), Some(LayerSpec::Linear { .. }))
}

#[derive(Clone)]
enum Built {
    Linear(Linear),
    Conv(Conv2d),
    ConvTranspose(ConvTranspose2d),
    BatchNorm(BatchNorm),
    Plain(LayerSpec),
}

/// Layers one after the other. The names of their weights start with their numbers, as those of
/// PyTorch's `nn.Sequential` do.
#[derive(Clone)]
pub struct Sequential {
    layers: Vec<Built>,
    spec: Vec<LayerSpec>,
}

impl Sequential {
    /// A fresh network, initialised as PyTorch does.
    ///
    /// # Errors
    /// As [`Sequential::build`].
    pub fn new(name: &str, spec: &[LayerSpec], seed: u64, index: u64, device: Device) -> Result<Self> {
        let mut stream = Stream::new(seed, Purpose::Weights, index);
        Self::build(&mut Source::fresh(&mut stream, device), name, spec)
    }

    /// The same with weights from `source`, under `<name>.<number>`.
    ///
    /// # Errors
    /// Layers that nobody can build, and those of the source.
    pub fn build(source: &mut Source<'_>, name: &str, spec: &[LayerSpec]) -> Result<Self> {
        check(spec)?;
        let build = |source: &mut Source<'_>| -> Result<Vec<Built>> {
            let layer = |(at, layer): (usize, &LayerSpec)| {
                let name = at.to_string();
                Ok(match layer {
                    LayerSpec::Linear { inputs, outputs } => {
                        Built::Linear(Linear::new(source, &name, *inputs, *outputs)?)
                    }
                    LayerSpec::Conv(conv) => {
                        Built::Conv(Conv2d::with_window(source, &name, conv.channels(), conv.window(), true)?)
                    }
                    LayerSpec::ConvTranspose(conv) => Built::ConvTranspose(ConvTranspose2d::with_window(
                        source,
                        &name,
                        conv.channels(),
                        conv.window(),
                        [conv.output_padding; 2],
                        true,
                    )?),
                    LayerSpec::BatchNorm { channels } => {
                        Built::BatchNorm(BatchNorm::new(source, &name, *channels)?)
                    }
                    plain => Built::Plain(plain.clone()),
                })
            };
            spec.iter().enumerate().map(layer).collect()
        };
        let layers = if name.is_empty() { build(source)? } else { source.at(name, build)? };
        Ok(Self { layers, spec: spec.to_vec() })
    }

    /// Its layers in words.
    pub fn spec(&self) -> &[LayerSpec] {
        &self.spec
    }

    /// Whether what it makes of a record depends on the others of a batch, in training.
    pub fn mixes_records(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer, Built::BatchNorm(_)))
    }

    /// What it makes of `x`, whose first axis counts records.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let mut x = x.shallow_clone();
        for (at, layer) in self.layers.iter().enumerate() {
            let _guard = pass.guard();
            x = match layer {
                Built::Linear(layer) => layer.forward(&x, pass),
                Built::Conv(layer) => layer.forward(&x, pass),
                Built::ConvTranspose(layer) => layer.forward(&x, pass),
                Built::BatchNorm(layer) => layer.forward(&x, pass),
                // What comes from outside is never written over.
                Built::Plain(LayerSpec::Relu) if at > 0 => pass.relu(x),
                Built::Plain(plain) => activate(plain, &x),
            };
        }
        x
    }
}

fn activate(layer: &LayerSpec, x: &Tensor) -> Tensor {
    match layer {
        LayerSpec::LeakyRelu { slope } => x.maximum(&(x * *slope)),
        LayerSpec::Relu => x.relu(),
        LayerSpec::Tanh => x.tanh(),
        LayerSpec::Sigmoid => x.sigmoid(),
        LayerSpec::Flatten => x.flatten(1, -1),
        LayerSpec::Maps(shape) => x.view(shape.batch(-1).as_slice()),
        _ => x.shallow_clone(),
    }
}

impl Module for Sequential {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        for layer in &self.layers {
            match layer {
                Built::Linear(layer) => layer.visit(f),
                Built::Conv(layer) => layer.visit(f),
                Built::ConvTranspose(layer) => layer.visit(f),
                Built::BatchNorm(layer) => layer.visit(f),
                Built::Plain(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_nobody_can_build_is_refused_by_its_layer() {
        let linear = |inputs, outputs| LayerSpec::Linear { inputs, outputs };
        assert!(check(&[linear(784, 100), LayerSpec::Sigmoid]).is_ok());
        for (bad, part) in [
            (vec![], "0 layers"),
            (vec![LayerSpec::Relu; 65], "65 layers"),
            (vec![LayerSpec::Relu, linear(0, 3)], "layer 1"),
            (vec![linear(i64::MAX, i64::MAX)], "layer 0"),
            (vec![linear(60_000, 60_000)], "at most"),
            (vec![LayerSpec::LeakyRelu { slope: f64::NAN }], "slope"),
            (vec![LayerSpec::Conv(ConvSpec::new((1, 1), 3, 0, 0))], "layer 0"),
            (vec![LayerSpec::Conv(ConvSpec::new((1, 1), 3, 1, -1))], "layer 0"),
        ] {
            let error = check(&bad).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn a_network_is_its_list_and_its_weights() {
        let spec = [
            LayerSpec::Conv(ConvSpec::new((1, 2), 3, 2, 1)),
            LayerSpec::BatchNorm { channels: 2 },
            Between::LeakyRelu.spec(),
            LayerSpec::Flatten,
            LayerSpec::Linear { inputs: 8, outputs: 3 },
        ];
        let json = serde_json::to_string(&spec).unwrap();
        let back: Vec<LayerSpec> = serde_json::from_str(&json).unwrap();
        assert_eq!(back, spec);
        let network = Sequential::new("enc.model", &spec, 1, 0, Device::Cpu).unwrap();
        let names: Vec<&str> = crate::nn::parameters(&network).into_iter().map(Parameter::name).collect();
        assert_eq!(names[..3], ["enc.model.0.weight", "enc.model.0.bias", "enc.model.1.weight"]);
        assert_eq!(names.last(), Some(&"enc.model.4.bias"));
        assert!(network.mixes_records() && crate::nn::learnt(&network).len() + 2 == names.len());
        let x = Tensor::rand([5, 1, 4, 4], (tch::Kind::Float, Device::Cpu));
        assert_eq!(network.forward(&x, &mut Pass::Infer).size(), [5, 3]);
        // Known without running it.
        let image = |side| Size::Maps(ImageShape { channels: 1, height: side, width: side });
        assert_eq!(output(&spec, image(4)).unwrap(), Size::Row(3));
        for (given, part) in [(image(6), "layer 4"), (Size::Row(16), "layer 0"), (image(0), "layer 0")] {
            let error = output(&spec, given).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
        // The negative side is a fifth.
        let leaky = activate(&spec[2], &Tensor::from_slice(&[-1.0f32, 2.0]));
        assert_eq!(crate::base::tensor::to_f32(&leaky).unwrap(), [-0.2, 2.0]);
    }
}
