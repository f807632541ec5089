//! ResNet-18 with group normalisation.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::{Classifier, missing, read_tensors, shape_in};
use crate::Result;
use crate::base::rng::{Purpose, Stream};
use crate::data::ImageShape;
use crate::nn::{Conv2d, GroupNorm, Linear, Module, Parameter, Pass, Source, Window};

const NAME: &str = "ResNet-18 with group normalisation (conv1, norm1, layer1_0 to layer4_1, fc)";

/// ResNet-18 for small images (He, Zhang, Ren, Sun, "Deep residual learning", 2016) with group
/// normalisation in the place of batch normalisation, which mixes the records of a batch.
///
/// conv 3x3 to `width`; four stages of two blocks, of `width`, `2 width`, `4 width`, `8 width`
/// channels, the last three at half the size of the one before; mean over space; linear to classes.
/// Groups of two channels each.
#[derive(Clone)]
pub struct GnResNet {
    conv1: Conv2d,
    norm1: GroupNorm,
    blocks: Vec<Block>,
    fc: Linear,
    classes: i64,
}

#[derive(Clone)]
struct Block {
    conv1: Conv2d,
    norm1: GroupNorm,
    conv2: Conv2d,
    norm2: GroupNorm,
    shortcut: Option<(Conv2d, GroupNorm)>,
}

fn conv(source: &mut Source<'_>, name: &str, channels: (i64, i64), k: i64, stride: i64) -> Result<Conv2d> {
    let window = Window::square(k).stride(stride).padding(k / 2);
    Conv2d::with_window(source, name, channels, window, false)
}

fn norm(source: &mut Source<'_>, name: &str, channels: i64) -> Result<GroupNorm> {
    GroupNorm::new(source, name, ((channels / 2).max(1), channels), 1e-5)
}

impl GnResNet {
    /// A fresh network for images of `shape`, initialised as PyTorch does.
    ///
    /// # Errors
    /// A `width` that is odd or below 2.
    pub fn new(shape: ImageShape, classes: i64, width: i64, seed: u64, device: Device) -> Result<Self> {
        let mut stream = Stream::new(seed, Purpose::Weights, 0);
        Self::build(&mut Source::fresh(&mut stream, device), shape, classes, width)
    }

    /// The network of a weights file, for images of the shape of `shape`. Width and number of
    /// classes come from the file.
    ///
    /// # Errors
    /// Other names or shapes than this network's, values that are not finite, and whatever reading
    /// the file gives.
    pub fn load(path: &Path, shape: ImageShape, device: Device) -> Result<Self> {
        let tensors = read_tensors(path, &["conv1.weight", "fc.weight"])?;
        let Some(&[width, ..]) = shape_in(&tensors, "conv1.weight") else {
            return Err(missing(path, "conv1.weight", NAME, &tensors));
        };
        let Some(&[classes, _]) = shape_in(&tensors, "fc.weight") else {
            return Err(missing(path, "fc.weight", NAME, &tensors));
        };
        let mut source = Source::file(path, tensors, device);
        let network = Self::build(&mut source, shape, classes as i64, width as i64)?;
        source.finish(NAME)?;
        Ok(network)
    }

    /// The same with weights from `source`.
    ///
    /// # Errors
    /// As [`GnResNet::new`], and those of the source.
    pub fn build(source: &mut Source<'_>, shape: ImageShape, classes: i64, width: i64) -> Result<Self> {
        Self::with_blocks(source, shape, classes, width, 2)
    }

    /// The same with another number of blocks in each stage: 1 gives ResNet-10.
    ///
    /// # Errors
    /// As [`GnResNet::build`].
    pub fn with_blocks(
        source: &mut Source<'_>,
        shape: ImageShape,
        classes: i64,
        width: i64,
        blocks_per_stage: usize,
    ) -> Result<Self> {
        if width < 2 || width % 2 != 0 {
            return Err(crate::Error::invalid(format!(
                "the width is {width}; it is an even number from 2 on"
            )));
        }
        let conv1 = conv(source, "conv1", (shape.channels, width), 3, 1)?;
        let norm1 = norm(source, "norm1", width)?;
        let mut blocks = Vec::new();
        let mut channels = width;
        for stage in 0..4 {
            for block in 0..blocks_per_stage {
                let wide = width << stage;
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("layer{}_{block}", stage + 1);
                blocks.push(source.at(&name, |source| Block::build(source, (channels, wide), stride))?);
                channels = wide;
            }
        }
        let fc = Linear::new(source, "fc", channels, classes)?;
        Ok(Self { conv1, norm1, blocks, fc, classes })
    }
}

impl Block {
    fn build(source: &mut Source<'_>, (n_in, n_out): (i64, i64), stride: i64) -> Result<Self> {
        let conv1 = conv(source, "conv1", (n_in, n_out), 3, stride)?;
        let norm1 = norm(source, "norm1", n_out)?;
        let conv2 = conv(source, "conv2", (n_out, n_out), 3, 1)?;
        let norm2 = norm(source, "norm2", n_out)?;
        let shortcut = if stride != 1 || n_in != n_out {
            Some((conv(source, "conv_s", (n_in, n_out), 1, stride)?, norm(source, "norm_s", n_out)?))
        } else {
            None
        };
        Ok(Self { conv1, norm1, conv2, norm2, shortcut })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let y = self.norm1.forward(&self.conv1.forward(x, pass), pass);
        let y = pass.relu(y);
        let y = self.norm2.forward(&self.conv2.forward(&y, pass), pass);
        let x = match &self.shortcut {
            Some((conv, norm)) => norm.forward(&conv.forward(x, pass), pass),
            None => x.shallow_clone(),
        };
        let sum = {
            let _guard = pass.guard();
            x + y
        };
        pass.relu(sum)
    }
}

impl Module for Block {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.conv1.visit(f);
        self.norm1.visit(f);
        self.conv2.visit(f);
        self.norm2.visit(f);
        if let Some((conv, norm)) = &self.shortcut {
            conv.visit(f);
            norm.visit(f);
        }
    }
}

impl Module for GnResNet {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.conv1.visit(f);
        self.norm1.visit(f);
        for block in &self.blocks {
            block.visit(f);
        }
        self.fc.visit(f);
    }
}

impl Classifier for GnResNet {
    fn classes(&self) -> i64 {
        self.classes
    }

    fn device(&self) -> Device {
        self.fc.device()
    }

    /// Means over space of the last stage's channels.
    fn features(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let x = self.norm1.forward(&self.conv1.forward(x, pass), pass);
        let mut x = pass.relu(x);
        for block in &self.blocks {
            x = block.forward(&x, pass);
        }
        let _guard = pass.guard();
        x.mean_dim([2, 3].as_slice(), false, None::<Kind>)
    }

    fn logits(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let x = self.features(x, pass);
        self.fc.forward(&x, pass)
    }

    fn alias(&self) -> Box<dyn Classifier> {
        Box::new(self.clone())
    }
}
