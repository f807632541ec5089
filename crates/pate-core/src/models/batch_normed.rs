//! Networks with batch normalisation that data sets are judged by elsewhere: ResNet-110, WRN-40-4
//! and ResNeXt-29, for small images.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::{Classifier, missing, read_tensors, shape_in};
use crate::Result;
use crate::base::rng::{Purpose, Stream};
use crate::data::ImageShape;
use crate::nn::{BatchNorm, Conv2d, Linear, Module, Parameter, Pass, Source, Window};

/// Which blocks a network is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Two 3x3 convolutions, each normalised after it (He, Zhang, Ren, Sun, "Deep residual
    /// learning", 2016, section 4.2).
    Basic,
    /// Two 3x3 convolutions, each normalised before it, a dropout between them (Zagoruyko and
    /// Komodakis, "Wide residual networks", 2016).
    Wide,
    /// 1x1, 3x3 in groups, 1x1 (Xie, Girshick, Dollar, Tu, He, "Aggregated residual
    /// transformations", 2017, figure 3c).
    Grouped,
}

/// The size of a network of three stages, the second and the third with twice the channels of the
/// one before, at half its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Its blocks.
    pub kind: BlockKind,
    /// Channels of the first convolution.
    pub stem: i64,
    /// Channels that a block of the first stage gives.
    pub width: i64,
    /// Blocks of each stage.
    pub blocks: usize,
}

impl Form {
    /// ResNet-110: 1,730,714 learnt values for colour images and ten classes.
    pub const RESNET_110: Self = Self { kind: BlockKind::Basic, stem: 16, width: 16, blocks: 18 };
    /// WRN-40-4, with a dropout of .3: 8,949,210 learnt values.
    pub const WRN_40_4: Self = Self { kind: BlockKind::Wide, stem: 16, width: 64, blocks: 6 };
    /// ResNeXt-29 of 8 groups, 64 channels each in the first stage: 34,426,698 learnt values.
    pub const RESNEXT_29: Self = Self { kind: BlockKind::Grouped, stem: 64, width: 256, blocks: 3 };

    fn names(self) -> &'static Names {
        match self.kind {
            BlockKind::Basic => &BASIC,
            BlockKind::Wide => &WIDE,
            BlockKind::Grouped => &GROUPED,
        }
    }
}

/// What published code calls the parts, so that files go both ways.
struct Names {
    network: &'static str,
    conv: &'static str,
    norm: &'static str,
    head: &'static str,
    block: fn(usize, usize) -> String,
}

const BASIC: Names = Names {
    network: "ResNet-110 with batch normalisation (conv1, bn1, layer1.0 to layer3.17, fc)",
    conv: "conv1",
    norm: "bn1",
    head: "fc",
    block: |stage, block| format!("layer{stage}.{block}"),
};

const WIDE: Names = Names {
    network: "WRN-40-4 (conv1, block1.layer.0 to block3.layer.5, bn1, fc)",
    conv: "conv1",
    norm: "bn1",
    head: "fc",
    block: |stage, block| format!("block{stage}.layer.{block}"),
};

const GROUPED: Names = Names {
    network: "ResNeXt-29 of 8 groups (conv_1_3x3, bn_1, stage_1 to stage_3, classifier)",
    conv: "conv_1_3x3",
    norm: "bn_1",
    head: "classifier",
    block: |stage, block| format!("stage_{stage}.stage_{stage}_bottleneck_{block}"),
};

/// Groups of the 3x3 convolutions of [`BlockKind::Grouped`].
const GROUPS: i64 = 8;
/// Share of the values that a [`BlockKind::Wide`] drops.
const DROPPED: f64 = 0.3;

/// A network of three stages with batch normalisation: 3x3 convolution, the stages, mean over
/// space, linear to classes.
///
/// Batch normalisation mixes the records of a batch: this is for data that need no protection.
#[derive(Clone)]
pub struct BatchNormed {
    form: Form,
    conv: Conv2d,
    norm: BatchNorm,
    blocks: Vec<Block>,
    fc: Linear,
    classes: i64,
}

#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "all blocks of a network are of one kind")]
enum Block {
    Basic {
        first: Normed,
        second: Normed,
        shortcut: Option<Normed>,
    },
    Wide {
        norm1: BatchNorm,
        conv1: Conv2d,
        norm2: BatchNorm,
        conv2: Conv2d,
        shortcut: Option<Conv2d>,
        /// What its dropout looks at: channels, and by how much sides are shorter than the image's.
        dropped: (i64, u32),
    },
    Grouped {
        reduce: Normed,
        conv: Normed,
        expand: Normed,
        shortcut: Option<Normed>,
    },
}

/// A convolution and the normalisation after it.
#[derive(Clone)]
struct Normed {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Normed {
    fn build(
        source: &mut Source<'_>,
        [conv, norm]: [&str; 2],
        (n_in, n_out): (i64, i64),
        window: Window,
    ) -> Result<Self> {
        Ok(Self {
            conv: Conv2d::he(source, conv, (n_in, n_out), window)?,
            norm: BatchNorm::new(source, norm, n_out)?,
        })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        self.norm.forward(&self.conv.forward(x, pass), pass)
    }
}

impl Module for Normed {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.conv.visit(f);
        self.norm.visit(f);
    }
}

fn window(size: i64, stride: i64) -> Window {
    Window::square(size).stride(stride).padding(size / 2)
}

impl BatchNormed {
    /// A fresh network for images of `shape`, its convolutions normal with variances of
    /// `2 / (k k n_out)`.
    ///
    /// # Errors
    /// Where the device has no room.
    pub fn new(form: Form, shape: ImageShape, classes: i64, seed: u64, device: Device) -> Result<Self> {
        let mut stream = Stream::new(seed, Purpose::Weights, 0);
        Self::build(&mut Source::fresh(&mut stream, device), form, shape, classes)
    }

    /// The network of a weights file, for images of the shape of `shape`. The number of classes
    /// comes from the file.
    ///
    /// # Errors
    /// Other names or shapes than this network's, values that are not finite, and whatever reading
    /// the file gives.
    pub fn load(path: &Path, form: Form, shape: ImageShape, device: Device) -> Result<Self> {
        let names = form.names();
        let (conv, head) = (format!("{}.weight", names.conv), format!("{}.weight", names.head));
        let tensors = read_tensors(path, &[&conv, &head])?;
        let Some(&[classes, _]) = shape_in(&tensors, &head) else {
            return Err(missing(path, &head, names.network, &tensors));
        };
        let mut source = Source::file(path, tensors, device);
        let network = Self::build(&mut source, form, shape, classes as i64)?;
        source.finish(names.network)?;
        Ok(network)
    }

    /// The same with weights from `source`.
    ///
    /// # Errors
    /// Those of the source; channels that the groups do not divide.
    pub fn build(source: &mut Source<'_>, form: Form, shape: ImageShape, classes: i64) -> Result<Self> {
        let names = form.names();
        let last = form.width << 2;
        let conv = Conv2d::he(source, names.conv, (shape.channels, form.stem), window(3, 1))?;
        // Where blocks normalise before they convolve, the network does so after the last of them.
        let before = form.kind != BlockKind::Wide;
        let own = |source: &mut Source<'_>, channels| BatchNorm::new(source, names.norm, channels);
        let first = if before { Some(own(source, form.stem)?) } else { None };
        let mut blocks = Vec::new();
        let mut channels = form.stem;
        for stage in 0..3u32 {
            for block in 0..form.blocks {
                let wide = form.width << stage;
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = (names.block)(stage as usize + 1, block);
                let build = |source: &mut Source<'_>| {
                    Block::build(source, form.kind, (channels, wide), (stride, stage))
                };
                blocks.push(source.at(&name, build)?);
                channels = wide;
            }
        }
        let norm = match first {
            Some(norm) => norm,
            None => own(source, last)?,
        };
        let fc = match form.kind {
            BlockKind::Basic => Linear::new(source, names.head, last, classes)?,
            BlockKind::Wide => Linear::with_spread(source, names.head, last, classes, None)?,
            BlockKind::Grouped => {
                let spread = Some((2.0 / last as f32).sqrt());
                Linear::with_spread(source, names.head, last, classes, spread)?
            }
        };
        Ok(Self { form, conv, norm, blocks, fc, classes })
    }
}

impl Block {
    fn build(
        source: &mut Source<'_>,
        kind: BlockKind,
        (n_in, n_out): (i64, i64),
        (stride, stage): (i64, u32),
    ) -> Result<Self> {
        let changes = n_in != n_out || stride != 1;
        Ok(match kind {
            BlockKind::Basic => Self::Basic {
                first: Normed::build(source, ["conv1", "bn1"], (n_in, n_out), window(3, stride))?,
                second: Normed::build(source, ["conv2", "bn2"], (n_out, n_out), window(3, 1))?,
                shortcut: Self::shortcut(
                    source,
                    ["downsample.0", "downsample.1"],
                    changes,
                    (n_in, n_out),
                    stride,
                )?,
            },
            BlockKind::Wide => Self::Wide {
                norm1: BatchNorm::new(source, "bn1", n_in)?,
                conv1: Conv2d::he(source, "conv1", (n_in, n_out), window(3, stride))?,
                norm2: BatchNorm::new(source, "bn2", n_out)?,
                conv2: Conv2d::he(source, "conv2", (n_out, n_out), window(3, 1))?,
                shortcut: if changes {
                    Some(Conv2d::he(source, "convShortcut", (n_in, n_out), window(1, stride))?)
                } else {
                    None
                },
                dropped: (n_out, stage),
            },
            BlockKind::Grouped => {
                let inner = 2 * n_out;
                let grouped = Window { groups: GROUPS, ..window(3, stride) };
                Self::Grouped {
                    reduce: Normed::build(source, ["conv_reduce", "bn_reduce"], (n_in, inner), window(1, 1))?,
                    conv: Normed::build(source, ["conv_conv", "bn"], (inner, inner), grouped)?,
                    expand: Normed::build(
                        source,
                        ["conv_expand", "bn_expand"],
                        (inner, n_out),
                        window(1, 1),
                    )?,
                    shortcut: Self::shortcut(
                        source,
                        ["shortcut.shortcut_conv", "shortcut.shortcut_bn"],
                        changes,
                        (n_in, n_out),
                        stride,
                    )?,
                }
            }
        })
    }

    fn shortcut(
        source: &mut Source<'_>,
        names: [&str; 2],
        there: bool,
        channels: (i64, i64),
        stride: i64,
    ) -> Result<Option<Normed>> {
        there.then(|| Normed::build(source, names, channels, window(1, stride))).transpose()
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let aside = |shortcut: &Option<Normed>, pass: &mut Pass<'_>| match shortcut {
            Some(shortcut) => shortcut.forward(x, pass),
            None => x.shallow_clone(),
        };
        match self {
            Self::Basic { first, second, shortcut } => {
                let y = first.forward(x, pass);
                let y = pass.relu(y);
                let y = second.forward(&y, pass);
                let sum = add(&aside(shortcut, pass), &y, pass);
                pass.relu(sum)
            }
            Self::Grouped { reduce, conv, expand, shortcut } => {
                let y = reduce.forward(x, pass);
                let y = pass.relu(y);
                let y = conv.forward(&y, pass);
                let y = pass.relu(y);
                let y = expand.forward(&y, pass);
                let sum = add(&aside(shortcut, pass), &y, pass);
                pass.relu(sum)
            }
            Self::Wide { norm1, conv1, norm2, conv2, shortcut, .. } => {
                let seen = norm1.forward(x, pass);
                let seen = pass.relu(seen);
                let y = norm2.forward(&conv1.forward(&seen, pass), pass);
                let y = pass.relu(y);
                let y = pass.dropout(y);
                let y = conv2.forward(&y, pass);
                // A block that changes the shape hands on what it normalised.
                match shortcut {
                    Some(shortcut) => {
                        let aside = shortcut.forward(&seen, pass);
                        add(&aside, &y, pass)
                    }
                    None => add(x, &y, pass),
                }
            }
        }
    }
}

fn add(a: &Tensor, b: &Tensor, pass: &Pass<'_>) -> Tensor {
    let _guard = pass.guard();
    a + b
}

impl Module for Block {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        let shortcut = match self {
            Self::Basic { first, second, shortcut } => {
                first.visit(f);
                second.visit(f);
                shortcut
            }
            Self::Grouped { reduce, conv, expand, shortcut } => {
                reduce.visit(f);
                conv.visit(f);
                expand.visit(f);
                shortcut
            }
            Self::Wide { norm1, conv1, norm2, conv2, shortcut, .. } => {
                norm1.visit(f);
                conv1.visit(f);
                norm2.visit(f);
                conv2.visit(f);
                if let Some(shortcut) = shortcut {
                    shortcut.visit(f);
                }
                return;
            }
        };
        if let Some(shortcut) = shortcut {
            shortcut.visit(f);
        }
    }
}

impl Module for BatchNormed {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        let before = self.form.kind != BlockKind::Wide;
        self.conv.visit(f);
        if before {
            self.norm.visit(f);
        }
        for block in &self.blocks {
            block.visit(f);
        }
        if !before {
            self.norm.visit(f);
        }
        self.fc.visit(f);
    }
}

impl Classifier for BatchNormed {
    fn classes(&self) -> i64 {
        self.classes
    }

    fn device(&self) -> Device {
        self.fc.device()
    }

    /// Of [`BlockKind::Wide`] alone: what each block's first convolution gives, channels-last.
    fn draw_dropout(&self, shape: ImageShape, n: i64) -> Result<Vec<Tensor>> {
        let mut masks = Vec::new();
        for block in &self.blocks {
            let Block::Wide { dropped: (channels, stage), .. } = block else { continue };
            let side = |side: i64| (0..*stage).fold(side, |side, _| (side + 1) / 2);
            let size = [n, side(shape.height), side(shape.width), *channels];
            let mut mask = Tensor::f_empty(size, (Kind::Float, self.device()))?;
            let _ = mask.f_bernoulli_float_(1.0 - DROPPED)?;
            masks.push(mask.f_div_scalar_(1.0 - DROPPED)?.f_permute([0, 3, 1, 2])?);
        }
        Ok(masks)
    }

    /// Means over space of the last stage's channels.
    fn features(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let before = self.form.kind != BlockKind::Wide;
        let mut x = self.conv.forward(x, pass);
        if before {
            x = self.norm.forward(&x, pass);
            x = pass.relu(x);
        }
        for block in &self.blocks {
            x = block.forward(&x, pass);
        }
        if !before {
            x = self.norm.forward(&x, pass);
            x = pass.relu(x);
        }
        let _guard = pass.guard();
        x.mean_dim([2, 3].as_slice(), false, None::<Kind>)
    }

    fn logits(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let x = self.features(x, pass);
        self.fc.forward(&x, pass)
    }

    fn mixes_records(&self) -> bool {
        true
    }

    fn alias(&self) -> Box<dyn Classifier> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{DropoutMasks, learnt};

    const COLOUR: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };

    // bearpaw/pytorch-classification, README: 1.70 M (ResNet-110) and 34.43 M (ResNeXt-29, 8x64),
    // counted on CIFAR-10; Zagoruyko and Komodakis (2016), table 4: 8.9 M (WRN-40-4). The digits
    // behind those are sums of the layers' sizes, by hand.
    #[test]
    fn they_have_the_sizes_of_their_papers() {
        for (form, expected) in
            [(Form::RESNET_110, 1_730_714), (Form::WRN_40_4, 8_949_210), (Form::RESNEXT_29, 34_426_698)]
        {
            let network = BatchNormed::new(form, COLOUR, 10, 1, Device::Cpu).unwrap();
            let n: usize = learnt(&network).iter().map(|parameter| parameter.value().numel()).sum();
            assert_eq!(n, expected, "{form:?}");
        }
    }

    #[test]
    fn batches_count_in_training_alone() {
        for kind in [BlockKind::Basic, BlockKind::Wide, BlockKind::Grouped] {
            let form = Form { kind, stem: 4, width: 8, blocks: 2 };
            let shape = ImageShape { channels: 1, height: 10, width: 7 };
            let network = BatchNormed::new(form, shape, 5, 1, Device::Cpu).unwrap();
            assert!(network.mixes_records());
            let images = Stream::new(1, Purpose::Probe, 0).normal_tensor(&shape.batch(6)).unwrap();
            let alone = images.narrow(0, 0, 1);
            let row = |logits: Tensor| logits.narrow(0, 0, 1).detach();
            let differ = |pass: &mut dyn FnMut() -> Pass<'static>| {
                let of = |x: &Tensor, pass: &mut Pass<'_>| row(network.logits(x, pass));
                let change = of(&images, &mut pass()) - of(&alone, &mut pass());
                change.abs().max().double_value(&[])
            };
            assert!(differ(&mut || Pass::Infer) < 1e-5, "{kind:?}");
            assert!(differ(&mut Pass::differentiate) > 1e-3, "{kind:?}");
            // Running statistics moved.
            let moved =
                crate::nn::parameters(&network).into_iter().find(|p| p.name().ends_with("running_mean"));
            assert!(moved.unwrap().value().abs().max().double_value(&[]) > 0.0);
            // Dropout: a mask for each block of the wide one, and none elsewhere.
            let masks = network.draw_dropout(shape, 6).unwrap();
            assert_eq!(masks.len(), if kind == BlockKind::Wide { 6 } else { 0 });
            let mut pass = Pass::Train { dropout: DropoutMasks::new(&masks) };
            assert_eq!(network.logits(&images, &mut pass).size(), [6, 5]);
        }
    }
}
