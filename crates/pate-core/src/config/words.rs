//! Settings that are one of some words.

use serde::{Deserialize, Serialize};

/// A setting that is one of some words.
pub trait Word: Copy + PartialEq + Send + Sync + 'static {
    /// Every value.
    const ALL: &'static [Self];
    /// The word of every value, and what it means.
    const WORDS: &'static [(&'static str, &'static str)];

    /// The word of this value.
    fn word(self) -> &'static str {
        let at = Self::ALL.iter().position(|value| *value == self);
        at.and_then(|at| Self::WORDS.get(at)).map_or("", |(word, _)| word)
    }

    /// The value of a word.
    fn of(text: &str) -> Option<Self> {
        Self::WORDS.iter().position(|(word, _)| *word == text).map(|at| Self::ALL[at])
    }
}

macro_rules! words {
    ($(
        $(#[doc = $about:literal])+
        $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident = $word:literal, )+ }
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $( $(#[doc = $doc])+ #[serde(rename = $word)] $variant, )+
        }

        impl Word for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];
            const WORDS: &'static [(&'static str, &'static str)] =
                &[$(($word, concat!($($doc),+).trim_ascii_start())),+];
        }
    )+};
}

words! {
    /// Random changes to images.
    AugmentationKind {
        /// The images as they are
        None = "none",
        /// Rotation by up to 10 degrees and a shift
        Basic = "basic",
        /// Rotation, slant, widths, elastic bending, stroke width
        Warp = "warp",
        /// warp, then placed and sized as MNIST's digits are
        Handwriting = "handwriting",
    }
    /// How the learning rate falls.
    ScheduleKind {
        /// The learning rate stays (for teachers: but for --lr-decay-epoch)
        Constant = "constant",
        /// It rises for a twentieth of the training, then falls to 0 as half a cosine
        Cosine = "cosine",
        /// A tenth of it from 60% of the training on, a hundredth from 80% on
        Drops = "drops",
    }
    /// Which optimiser.
    OptimizerKind {
        /// Stochastic gradient descent with momentum
        Sgd = "sgd",
        /// Adam
        Adam = "adam",
    }
    /// A classifier's architecture.
    NetworkKind {
        /// UCStub, the teachers' own network, without its dropouts
        UcStub = "ucstub",
        /// Two convolutions, two linear maps, tanh between them: the small network of the
        /// literature on private training
        SmallCnn = "small-cnn",
        /// ResNet-18 with group normalisation; see --width
        ResNet = "resnet",
        /// A linear map of scattering features, which nobody had to train
        ScatterLinear = "scatter-linear",
        /// A perceptron with two hidden layers of 256
        Mlp = "mlp",
        /// ResNet-110 for small images, with batch normalisation
        ResNet110 = "resnet110",
        /// WRN-40-4, wide, with batch normalisation and dropout
        Wrn40 = "wrn40-4",
        /// ResNeXt-29 of 8 groups, with batch normalisation
        ResNext29 = "resnext29",
    }
    /// What a TorchScript program gives for images.
    FeatureKind {
        /// Features alone, [n, d]
        Features = "features",
        /// A pair: features [n, d], and logits of the program's own classes
        FeaturesAndLogits = "features-and-logits",
    }
    /// How public images are changed before a private classifier labels them.
    VariantKind {
        /// As they are
        Plain = "plain",
        /// Rotated, slanted, stretched, bent, with wider or thinner strokes
        Warped = "warped",
        /// Warped, of a handwritten digit's size and place, and then their outlines alone
        Edges = "edges",
        /// Warped, and mixed with another one
        Mixed = "mixed",
        /// Warped, widened, half of them made symmetric, with a coarse texture: made knowing that
        /// clothes look so
        Textured = "textured",
    }
    /// What a record's gradient is measured by.
    ClippingKind {
        /// The whole gradient
        Flat = "flat",
        /// Each layer by itself, against C / sqrt(layers)
        PerLayer = "per-layer",
        /// Each tensor by itself, against C / sqrt(tensors)
        PerTensor = "per-tensor",
    }
    /// What is asked of private images of a class.
    CentralKind {
        /// Their mean
        Mean = "mean",
        /// The most frequent brightness of each pixel
        Mode = "mode",
    }
    /// How a diffusion model's images come about.
    SamplerKind {
        /// Euler's steps along the deterministic flow
        Ddim = "ddim",
        /// Heun's steps, with fresh noise where --s-churn says so
        Heun = "heun",
    }
    /// Where steered latents start.
    StartKind {
        /// At z ~ N(0, I)
        Random = "random",
        /// At latents of candidates that were not confident enough, those that the teacher finds
        /// most like the class first; at random where there are too few
        Pool = "pool",
    }
}

impl NetworkKind {
    /// Networks that see each record by itself: those that private training can protect.
    pub const OF_RECORDS: [Self; 5] =
        [Self::UcStub, Self::SmallCnn, Self::ResNet, Self::ScatterLinear, Self::Mlp];

    /// Networks that sets of images are judged by (`train::recipes`).
    pub const JUDGES: [Self; 7] = [
        Self::ScatterLinear,
        Self::Mlp,
        Self::SmallCnn,
        Self::UcStub,
        Self::ResNet110,
        Self::Wrn40,
        Self::ResNext29,
    ];
}
