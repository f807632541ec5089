//! The U-Net of diffusion models, with attention.

use std::f64::consts::FRAC_1_SQRT_2;
use std::path::Path;

use artifact::{Access, AtomicFile, FileRecord};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::nn::{self, Conv2d, Embedding, GroupNorm, Linear, Module, Parameter, Pass, Source, Window};
use crate::{Error, Result};

/// Sizes of a [`UNet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetShape {
    /// Side of the images, in pixels.
    pub size: i64,
    /// Channels of the images.
    pub channels: i64,
    /// Channels of the first convolution.
    pub width: i64,
    /// Factors of the width, one for each level; each level has half the size of the one before.
    pub multipliers: Vec<i64>,
    /// Residual blocks of a level on the way down; one more on the way up.
    pub blocks: i64,
    /// Sides at which there is attention.
    pub attention: Vec<i64>,
    /// Classes; the index after the last one stands for "no class".
    pub classes: i64,
}

impl UNetShape {
    /// Checks that there is such a network.
    ///
    /// # Errors
    /// Sizes that cannot be halved often enough, a width that is no multiple of 4, numbers that are
    /// too large for any use.
    fn check(&self) -> Result<()> {
        let levels = self.multipliers.len();
        let halves = (1..=8).contains(&levels) && self.size % (1 << (levels - 1)) == 0;
        if !halves || self.width < 4 || self.width % 4 != 0 {
            return Err(Error::invalid(format!(
                "a U-Net of width {} with {levels} levels for images of side {}; the width is a multiple of 4, \
                 and the side can be halved {} times",
                self.width,
                self.size,
                levels.saturating_sub(1)
            )));
        }
        let bounded = [
            ("side", self.size, 1, 1024),
            ("number of channels", self.channels, 1, 64),
            ("width", self.width, 4, 512),
            ("number of blocks", self.blocks, 1, 16),
            ("number of classes", self.classes, 1, 100_000),
        ];
        let factors =
            self.multipliers.iter().map(|&factor| ("factor of the width", factor, 1, 2048 / self.width));
        if let Some((name, value, low, high)) =
            bounded.into_iter().chain(factors).find(|&(_, value, low, high)| value < low || value > high)
        {
            return Err(Error::invalid(format!(
                "the {name} of a U-Net is {value}; it is from {low} to {high}"
            )));
        }
        Ok(())
    }
}

/// A U-Net in the manner of NCSN++ (Song et al., "Score-based generative modeling through
/// stochastic differential equations", 2021, appendix H, with its options switched off that DP-FETA
/// does not use): what noise there is in images, given its level and a class.
///
/// No layer mixes records: normalisation is in groups of channels, attention between the positions
/// of one image.
#[derive(Clone)]
pub struct UNet {
    label: Embedding,
    dense0: Linear,
    dense1: Linear,
    conv_in: Conv2d,
    down: Vec<Level>,
    mid: (ResBlock, Attention, ResBlock),
    up: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    shape: UNetShape,
}

/// The blocks of one size of maps.
#[derive(Clone)]
struct Level {
    blocks: Vec<ResBlock>,
    /// After each block on the way down, after the last one on the way up.
    attention: Vec<Attention>,
    /// To the next size.
    resample: Option<ResBlock>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Resample {
    Keep,
    Halve,
    Double,
}

#[derive(Clone)]
struct ResBlock {
    norm0: GroupNorm,
    conv0: Conv2d,
    dense0: Linear,
    norm1: GroupNorm,
    conv1: Conv2d,
    conv2: Option<Conv2d>,
    resample: Resample,
}

#[derive(Clone)]
struct Attention {
    norm0: GroupNorm,
    q: Conv2d,
    k: Conv2d,
    v: Conv2d,
    proj: Conv2d,
}

fn norm(source: &mut Source<'_>, name: &str, channels: i64) -> Result<GroupNorm> {
    GroupNorm::new(source, name, ((channels / 4).clamp(1, 32), channels), 1e-6)
}

fn conv(source: &mut Source<'_>, name: &str, channels: (i64, i64), k: i64) -> Result<Conv2d> {
    Conv2d::with_window(source, name, channels, Window::square(k).padding(k / 2), true)
}

fn silu(x: &Tensor, pass: &Pass<'_>) -> Tensor {
    let _guard = pass.guard();
    x.silu()
}

impl UNet {
    /// A fresh one, with NCSN++'s distribution of weights: uniform, with a variance of 2 over the
    /// sum of a layer's inputs and outputs (Glorot and Bengio, 2010); a tenth of that for queries,
    /// keys and values; next to nothing for the last layer of every block and of the network.
    /// Classes have standard normal vectors; biases are 0.
    ///
    /// # Errors
    /// As [`UNet::build`].
    pub fn new(shape: &UNetShape, seed: u64, device: Device) -> Result<Self> {
        let mut stream = Stream::new(seed, Purpose::Weights, 0);
        let network = Self::build(&mut Source::fresh(&mut stream, device), shape)?;
        let _guard = tch::no_grad_guard();
        for parameter in nn::parameters(&network) {
            let (name, value) = (parameter.name(), parameter.value());
            let Some((layer, what)) = name.rsplit_once('.') else { continue };
            let own = layer.rsplit('.').next().unwrap_or(layer);
            if own.starts_with("norm") || own == "label" {
                continue;
            }
            if what == "bias" {
                let _ = value.detach().f_zero_()?;
                continue;
            }
            let size = value.size();
            let window: i64 = size[2..].iter().product();
            let fans = (size[0] + size[1]) * window;
            let bound = (variance_scale(own) * 6.0 / fans as f64).sqrt();
            let values = stream.uniform(value.numel(), -1.0, 1.0);
            let values = tensor::from_f32(&values, &size)?.f_mul_scalar(bound)?;
            value.detach().f_copy_(&values)?;
        }
        Ok(network)
    }

    /// Where its weights are.
    pub fn device(&self) -> Device {
        self.conv_in.device()
    }

    /// Its sizes.
    pub fn shape(&self) -> &UNetShape {
        &self.shape
    }

    /// Writes its weights with its sizes beside them, as safetensors.
    ///
    /// # Errors
    /// Where the file cannot be written; nothing is left under its name then.
    pub fn save(&self, path: &Path, access: Access) -> Result<FileRecord> {
        let tensors = super::host_tensors(self)?;
        let sizes = serde_json::to_string(&self.shape)
            .map_err(|e| Error::invalid(format!("the sizes of the network cannot be stored: {e}")))?;
        let mut file = AtomicFile::create(path, access)?;
        tensorfile::safetensors::write(&mut file, &tensors.views()?, &[(ARCHITECTURE.to_owned(), sizes)])?;
        Ok(file.commit()?)
    }

    /// Reads what [`UNet::save`] wrote.
    ///
    /// # Errors
    /// Names the file: one without sizes, sizes that no network has, other weights than these.
    pub fn load(path: &Path, device: Device) -> Result<Self> {
        const HINT: &str = "give the weights that pretrain-diffusion or finetune-diffusion wrote";
        let document = tensorfile::read(path)?;
        let sizes = document.metadata.iter().find(|(key, _)| key == ARCHITECTURE).map(|(_, text)| text);
        let Some(sizes) = sizes else {
            return Err(Error::content(path, format!("there is no `{ARCHITECTURE}` in its metadata"), HINT));
        };
        let shape: UNetShape = serde_json::from_str(sizes)
            .map_err(|e| Error::content(path, format!("its `{ARCHITECTURE}` is no U-Net's ({e})"), HINT))?;
        let tensors = document.into_state_dict(&["label.weight"])?;
        let mut source = Source::file(path, tensors, device);
        let network = Self::build(&mut source, &shape)
            .map_err(|error| Error::content(path, error.to_string(), HINT))?;
        source.finish("a U-Net of its sizes")?;
        Ok(network)
    }

    /// With weights from `source`.
    ///
    /// # Errors
    /// Sizes that cannot be halved often enough, and those of the source.
    pub fn build(source: &mut Source<'_>, shape: &UNetShape) -> Result<Self> {
        shape.check()?;
        let levels = shape.multipliers.len();
        let (width, time) = (shape.width, 4 * shape.width);
        let label = Embedding::new(source, "label", shape.classes + 1, width)?;
        let dense0 = Linear::new(source, "dense0", width, time)?;
        let dense1 = Linear::new(source, "dense1", time, time)?;
        let conv_in = conv(source, "conv_in", (shape.channels, width), 3)?;
        let has_attention = |level: usize| shape.attention.contains(&(shape.size >> level));
        let res = |source: &mut Source<'_>, name: &str, channels, resample| {
            source.at(name, |source| ResBlock::build(source, channels, time, resample))
        };
        let attend = |source: &mut Source<'_>, name: &str, channels| {
            source.at(name, |source| Attention::build(source, channels))
        };
        let mut skips = vec![width];
        let mut channels = width;
        let mut down = Vec::new();
        for (level, multiplier) in shape.multipliers.iter().enumerate() {
            let mut built = Level { blocks: Vec::new(), attention: Vec::new(), resample: None };
            let wide = width * multiplier;
            for i in 0..shape.blocks {
                built.blocks.push(res(
                    source,
                    &format!("down{level}_res{i}"),
                    (channels, wide),
                    Resample::Keep,
                )?);
                channels = wide;
                if has_attention(level) {
                    built.attention.push(attend(source, &format!("down{level}_attn{i}"), channels)?);
                }
                skips.push(channels);
            }
            if level + 1 < levels {
                let name = format!("down{level}_pool");
                built.resample = Some(res(source, &name, (channels, channels), Resample::Halve)?);
                skips.push(channels);
            }
            down.push(built);
        }
        let mid = (
            res(source, "mid_res0", (channels, channels), Resample::Keep)?,
            attend(source, "mid_attn", channels)?,
            res(source, "mid_res1", (channels, channels), Resample::Keep)?,
        );
        let mut up = Vec::new();
        for (level, multiplier) in shape.multipliers.iter().enumerate().rev() {
            let mut built = Level { blocks: Vec::new(), attention: Vec::new(), resample: None };
            let wide = width * multiplier;
            for i in 0..=shape.blocks {
                let skip = skips.pop().unwrap_or_default();
                let name = format!("up{level}_res{i}");
                built.blocks.push(res(source, &name, (channels + skip, wide), Resample::Keep)?);
                channels = wide;
            }
            if has_attention(level) {
                built.attention.push(attend(source, &format!("up{level}_attn"), channels)?);
            }
            if level > 0 {
                let name = format!("up{level}_pool");
                built.resample = Some(res(source, &name, (channels, channels), Resample::Double)?);
            }
            up.push(built);
        }
        let norm_out = norm(source, "norm_out", channels)?;
        let conv_out = conv(source, "conv_out", (channels, shape.channels), 3)?;
        let shape = shape.clone();
        Ok(Self { label, dense0, dense1, conv_in, down, mid, up, norm_out, conv_out, shape })
    }

    /// Images `[n, channels, size, size]`, noise levels `[n]` (a quarter of the logarithm of sigma)
    /// and classes `[n]`, int64, to the images' shape.
    pub fn forward(&self, x: &Tensor, level: &Tensor, class: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let label = self.label.forward(class, pass);
        let embedded = {
            let _guard = pass.guard();
            sinusoids(level, self.shape.width) + label
        };
        let embedded = self.dense0.forward(&embedded, pass);
        let embedded = self.dense1.forward(&silu(&embedded, pass), pass);
        let embedded = silu(&embedded, pass);
        let mut x = self.conv_in.forward(x, pass);
        let mut skips = vec![x.shallow_clone()];
        for level in &self.down {
            for (i, block) in level.blocks.iter().enumerate() {
                x = block.forward(&x, &embedded, pass);
                if let Some(attention) = level.attention.get(i) {
                    x = attention.forward(&x, pass);
                }
                skips.push(x.shallow_clone());
            }
            if let Some(block) = &level.resample {
                x = block.forward(&x, &embedded, pass);
                skips.push(x.shallow_clone());
            }
        }
        x = self.mid.0.forward(&x, &embedded, pass);
        x = self.mid.1.forward(&x, pass);
        x = self.mid.2.forward(&x, &embedded, pass);
        for level in &self.up {
            for block in &level.blocks {
                if let Some(skip) = skips.pop() {
                    let _guard = pass.guard();
                    x = Tensor::cat(&[x, skip], 1);
                }
                x = block.forward(&x, &embedded, pass);
            }
            for attention in &level.attention {
                x = attention.forward(&x, pass);
            }
            if let Some(block) = &level.resample {
                x = block.forward(&x, &embedded, pass);
            }
        }
        let x = self.norm_out.forward(&x, pass);
        self.conv_out.forward(&silu(&x, pass), pass)
    }
}

/// The name of the metadata with a network's sizes.
const ARCHITECTURE: &str = "architecture";

/// What the variance of a layer's weights is multiplied by.
fn variance_scale(layer: &str) -> f64 {
    match layer {
        "conv1" | "proj" | "conv_out" => 1e-10,
        "q" | "k" | "v" => 0.1,
        _ => 1.0,
    }
}

/// Sines, then cosines, of the levels `[n]` times `width / 2` frequencies from 1 down to 1/10000,
/// as `[n, width]`.
pub fn sinusoids(level: &Tensor, width: i64) -> Tensor {
    let half = width / 2;
    let steps = Tensor::arange(half, (Kind::Double, level.device()));
    let rate = -(10_000f64.ln()) / (half - 1).max(1) as f64;
    let angles = level.to_kind(Kind::Double).unsqueeze(1) * (steps * rate).exp();
    Tensor::cat(&[angles.sin(), angles.cos()], 1).to_kind(level.kind())
}

impl ResBlock {
    fn build(
        source: &mut Source<'_>,
        (n_in, n_out): (i64, i64),
        time: i64,
        resample: Resample,
    ) -> Result<Self> {
        let norm0 = norm(source, "norm0", n_in)?;
        let conv0 = conv(source, "conv0", (n_in, n_out), 3)?;
        let dense0 = Linear::new(source, "dense0", time, n_out)?;
        let norm1 = norm(source, "norm1", n_out)?;
        let conv1 = conv(source, "conv1", (n_out, n_out), 3)?;
        let conv2 = if n_in != n_out || resample != Resample::Keep {
            Some(conv(source, "conv2", (n_in, n_out), 1)?)
        } else {
            None
        };
        Ok(Self { norm0, conv0, dense0, norm1, conv1, conv2, resample })
    }

    fn forward(&self, x: &Tensor, embedded: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let h = self.norm0.forward(x, pass);
        let h = silu(&h, pass);
        let (h, x) = {
            let _guard = pass.guard();
            (self.resample.apply(&h), self.resample.apply(x))
        };
        let h = self.conv0.forward(&h, pass);
        let shift = self.dense0.forward(embedded, pass);
        let h = {
            let _guard = pass.guard();
            h + shift.unsqueeze(-1).unsqueeze(-1)
        };
        let h = self.norm1.forward(&h, pass);
        let h = self.conv1.forward(&silu(&h, pass), pass);
        let x = match &self.conv2 {
            Some(conv) => conv.forward(&x, pass),
            None => x,
        };
        let _guard = pass.guard();
        (x + h) * FRAC_1_SQRT_2
    }
}

impl Resample {
    fn apply(self, x: &Tensor) -> Tensor {
        match self {
            Self::Keep => x.shallow_clone(),
            Self::Halve => x.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None),
            Self::Double => {
                let size = x.size();
                x.upsample_nearest2d([2 * size[2], 2 * size[3]], None, None)
            }
        }
    }
}

impl Attention {
    fn build(source: &mut Source<'_>, channels: i64) -> Result<Self> {
        let norm0 = norm(source, "norm0", channels)?;
        let mut one = |name| conv(source, name, (channels, channels), 1);
        Ok(Self { norm0, q: one("q")?, k: one("k")?, v: one("v")?, proj: one("proj")? })
    }

    /// Between all positions of an image, with one head.
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let h = self.norm0.forward(x, pass);
        let (q, k, v) = (self.q.forward(&h, pass), self.k.forward(&h, pass), self.v.forward(&h, pass));
        let h = {
            let _guard = pass.guard();
            let size = x.size();
            let scale = 1.0 / (size[1] as f64).sqrt();
            let flat = |x: &Tensor| x.flatten(2, -1); // [n, c, positions]
            let weights = (flat(&q).transpose(1, 2).bmm(&flat(&k)) * scale).softmax(-1, None);
            flat(&v).bmm(&weights.transpose(1, 2)).reshape(size)
        };
        let h = self.proj.forward(&h, pass);
        let _guard = pass.guard();
        (x + h) * FRAC_1_SQRT_2
    }
}

impl Module for ResBlock {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.norm0.visit(f);
        self.conv0.visit(f);
        self.dense0.visit(f);
        self.norm1.visit(f);
        self.conv1.visit(f);
        if let Some(conv) = &self.conv2 {
            conv.visit(f);
        }
    }
}

impl Module for Attention {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.norm0.visit(f);
        for conv in [&self.q, &self.k, &self.v, &self.proj] {
            conv.visit(f);
        }
    }
}

impl Module for Level {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        let one_each = self.attention.len() == self.blocks.len();
        for (i, block) in self.blocks.iter().enumerate() {
            block.visit(f);
            if let Some(attention) = self.attention.get(i).filter(|_| one_each) {
                attention.visit(f);
            }
        }
        for attention in self.attention.iter().filter(|_| !one_each) {
            attention.visit(f);
        }
        if let Some(block) = &self.resample {
            block.visit(f);
        }
    }
}

impl Module for UNet {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.label.visit(f);
        self.dense0.visit(f);
        self.dense1.visit(f);
        self.conv_in.visit(f);
        for level in &self.down {
            level.visit(f);
        }
        self.mid.0.visit(f);
        self.mid.1.visit(f);
        self.mid.2.visit(f);
        for level in &self.up {
            level.visit(f);
        }
        self.norm_out.visit(f);
        self.conv_out.visit(f);
    }
}
