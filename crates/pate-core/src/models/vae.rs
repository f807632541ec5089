//! The convolutional VAE: encoder, decoder, loss.

use std::path::Path;

use tch::{Device, Tensor};
use tensorfile::Array;

use super::{missing, read_tensors, shape_in};
use crate::base::rng::{Purpose, Stream};
use crate::data::{ImageShape, ImageSize};
use crate::nn::{self, Conv2d, ConvTranspose2d, Linear, Module, Parameter, Pass, Source};
use crate::{Error, Result};

/// Images to the mean and log-variance of their latents.
#[derive(Clone)]
pub struct Encoder {
    conv1: Conv2d,
    conv2: Conv2d,
    fc_mu: Linear,
    fc_logvar: Linear,
}

impl Encoder {
    fn build(source: &mut Source<'_>, shape: ImageShape, latent_dim: i64) -> Result<Self> {
        let flat = 64 * (shape.height / 4) * (shape.width / 4);
        Ok(Self {
            conv1: Conv2d::new(source, "conv1", (shape.channels, 32), 4, (2, 1))?,
            conv2: Conv2d::new(source, "conv2", (32, 64), 4, (2, 1))?,
            fc_mu: Linear::new(source, "fc_mu", flat, latent_dim)?,
            fc_logvar: Linear::new(source, "fc_logvar", flat, latent_dim)?,
        })
    }

    /// # Shapes
    /// `[n, channels, height, width]` to mean and log-variance, each `[n, latent_dim]`.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> (Tensor, Tensor) {
        let x = self.conv1.forward(&nn::stack_channels(x), pass);
        let x = pass.relu(x); // [n, 32, h/2, w/2]
        let x = self.conv2.forward(&x, pass);
        let x = nn::flatten(&pass.relu(x), self.fc_mu.groups()); // [n, 64 h/4 w/4]
        (self.fc_mu.forward(&x, pass), self.fc_logvar.forward(&x, pass))
    }
}

impl Module for Encoder {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.conv1.visit(f);
        self.conv2.visit(f);
        self.fc_mu.visit(f);
        self.fc_logvar.visit(f);
    }
}

/// Latents to images.
#[derive(Clone)]
pub struct Decoder {
    fc: Linear,
    conv_t1: ConvTranspose2d,
    conv_t2: ConvTranspose2d,
    conv_final: Conv2d,
    shape: ImageShape,
    latent_dim: i64,
    scope: String,
}

/// The decoder's tensors, without a whole VAE's prefixes and its encoder.
fn decoder_tensors(path: &Path) -> Result<Vec<(String, Array)>> {
    let mut tensors = read_tensors(path, &Decoder::PARAMETERS)?;
    tensors.retain(|(name, _)| !name.starts_with("encoder."));
    Ok(tensors)
}

impl Decoder {
    const NAME: &str = "the VAE decoder (fc, conv_t1, conv_t2, conv_final)";

    /// The names of its parameters.
    const PARAMETERS: [&str; 8] = [
        "fc.weight",
        "fc.bias",
        "conv_t1.weight",
        "conv_t1.bias",
        "conv_t2.weight",
        "conv_t2.bias",
        "conv_final.weight",
        "conv_final.bias",
    ];

    fn build(source: &mut Source<'_>, shape: ImageShape, latent_dim: i64) -> Result<Self> {
        if shape.height % 4 != 0 || shape.width % 4 != 0 || shape.height == 0 || shape.width == 0 {
            return Err(Error::invalid(format!(
                "images of {}x{} do not fit the VAE; height and width must be multiples of 4",
                shape.height, shape.width
            )));
        }
        let flat = 128 * (shape.height / 4) * (shape.width / 4);
        Ok(Self {
            fc: Linear::new(source, "fc", latent_dim, flat)?,
            conv_t1: ConvTranspose2d::new(source, "conv_t1", (128, 64), 4, (2, 1))?,
            conv_t2: ConvTranspose2d::new(source, "conv_t2", (64, 32), 4, (2, 1))?,
            conv_final: Conv2d::new(source, "conv_final", (32, shape.channels), 3, (1, 1))?,
            shape,
            latent_dim,
            scope: source.scope().to_owned(),
        })
    }

    /// The shape of the images that a weights file draws: its channels, and the size that is given,
    /// or a square where none is.
    ///
    /// # Errors
    /// No decoder, or no square and no size; and whatever reading the file gives.
    pub fn shape_of(path: &Path, size: Option<ImageSize>) -> Result<ImageShape> {
        let (flat, channels) = Self::values_of(path)?;
        // fc makes 128 maps of a quarter of the image's sides.
        let quarters = (flat / 128).isqrt();
        let square = (quarters > 0 && quarters * quarters * 128 == flat)
            .then_some(ImageSize { height: 4 * quarters, width: 4 * quarters });
        let Some(ImageSize { height, width }) = size.or(square) else {
            return Err(Error::content(
                path,
                format!("fc.weight gives {flat} values, and no square image has that many"),
                "give the size of its images with --image-size HEIGHTxWIDTH",
            ));
        };
        // The number of classes means nothing to a decoder.
        Ok(ImageShape { channels, height, width })
    }

    /// Whether a file has a decoder's weights: the values that its first layer makes, and the
    /// channels of what it draws.
    ///
    /// # Errors
    /// A file that has not, by its name.
    pub fn values_of(path: &Path) -> Result<(i64, i64)> {
        let tensors = decoder_tensors(path)?;
        match (shape_in(&tensors, "fc.weight"), shape_in(&tensors, "conv_final.weight")) {
            (Some(&[flat, _]), Some(&[channels, ..])) => Ok((flat as i64, channels as i64)),
            (Some(_), _) => Err(missing(path, "conv_final.weight", Self::NAME, &tensors)),
            (None, _) => Err(missing(path, "fc.weight", Self::NAME, &tensors)),
        }
    }

    /// The decoder of a weights file: the decoder's keys alone, or a whole VAE's with `encoder.`
    /// and `decoder.` before them.
    ///
    /// The number of latents comes from `fc.weight`, the channels from `conv_final.weight`; height
    /// and width are those of `shape`, whose other values must agree.
    ///
    /// # Errors
    /// Other names or shapes, values that are not finite, and whatever reading the file gives.
    pub fn load(path: &Path, shape: ImageShape, device: Device) -> Result<Self> {
        let tensors = decoder_tensors(path)?;
        let Some(&[_, latent_dim]) = shape_in(&tensors, "fc.weight") else {
            return Err(missing(path, "fc.weight", Self::NAME, &tensors));
        };
        let Some(&[channels, _, _, _]) = shape_in(&tensors, "conv_final.weight") else {
            return Err(missing(path, "conv_final.weight", Self::NAME, &tensors));
        };
        if channels as i64 != shape.channels {
            return Err(Error::content(
                path,
                format!("it draws images of {channels} channels"),
                format!("the data has {}", shape.channels),
            ));
        }
        let mut source = Source::file(path, tensors, device);
        let decoder = Self::build(&mut source, shape, latent_dim as i64)?;
        source.finish(Self::NAME)?;
        Ok(decoder)
    }

    /// Number of latents.
    pub fn latent_dim(&self) -> i64 {
        self.latent_dim
    }

    /// Shape of the images that it draws.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// Where its weights are.
    pub fn device(&self) -> Device {
        self.fc.device()
    }

    /// Images before the sigmoid.
    ///
    /// # Shapes
    /// `[n, latent_dim]` to `[n, channels, height, width]`.
    pub fn logits(&self, z: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let (h, w) = (self.shape.height / 4, self.shape.width / 4);
        let x = nn::unflatten(&self.fc.forward(z, pass), (128, h, w));
        let x = self.conv_t1.forward(&x, pass);
        let x = pass.relu(x); // [n, 64, h/2, w/2]
        let x = self.conv_t2.forward(&x, pass);
        let x = pass.relu(x); // [n, 32, h, w]
        nn::unstack_channels(self.conv_final.forward(&x, pass), self.conv_final.groups())
    }

    /// Images in `[0, 1]`.
    ///
    /// # Shapes
    /// `[n, latent_dim]` to `[n, channels, height, width]`.
    pub fn forward(&self, z: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let _guard = pass.guard();
        self.logits(z, pass).sigmoid()
    }
}

impl Module for Decoder {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.fc.visit(f);
        self.conv_t1.visit(f);
        self.conv_t2.visit(f);
        self.conv_final.visit(f);
    }

    fn scope(&self) -> Option<&str> {
        Some(&self.scope)
    }
}

/// Encoder and decoder, trained together.
///
/// Kingma and Welling, "Auto-encoding variational Bayes" (2014).
#[derive(Clone)]
pub struct Vae {
    /// Images to latents.
    pub encoder: Encoder,
    /// Latents to images.
    pub decoder: Decoder,
}

impl Vae {
    /// Checks that images of the shape of `shape`, which came from `path`, can be halved twice.
    ///
    /// # Errors
    /// Names the file, their size and what fits.
    pub fn check_images(path: &Path, shape: ImageShape) -> Result<()> {
        if shape.height > 0 && shape.width > 0 && shape.height % 4 == 0 && shape.width % 4 == 0 {
            return Ok(());
        }
        Err(Error::content(
            path,
            format!("the images are {}x{}, which do not fit the VAE", shape.height, shape.width),
            "height and width must be multiples of 4",
        ))
    }

    /// A fresh VAE for images of `shape`.
    ///
    /// # Errors
    /// Height or width that is no multiple of 4, or no latents.
    pub fn new(shape: ImageShape, latent_dim: i64, seed: u64, device: Device) -> Result<Self> {
        if latent_dim < 1 {
            return Err(Error::invalid(format!("latent_dim is {latent_dim}; it must be at least 1")));
        }
        let mut stream = Stream::new(seed, Purpose::Weights, 0);
        let mut source = Source::fresh(&mut stream, device);
        Self::build(&mut source, shape, latent_dim)
    }

    fn build(source: &mut Source<'_>, shape: ImageShape, latent_dim: i64) -> Result<Self> {
        let encoder = source.at("encoder", |source| Encoder::build(source, shape, latent_dim))?;
        let decoder = source.at("decoder", |source| Decoder::build(source, shape, latent_dim))?;
        Ok(Self { encoder, decoder })
    }

    /// Images before the sigmoid, and the mean and log-variance of their latents; `noise` is
    /// standard normal.
    ///
    /// # Shapes
    /// `[n, channels, height, width]` and `[n, latent_dim]` to an image's shape and twice that of
    /// the noise; of g networks side by side with an axis of g before all of them.
    pub fn forward(&self, x: &Tensor, noise: &Tensor, pass: &mut Pass<'_>) -> (Tensor, Tensor, Tensor) {
        let (mu, logvar) = self.encoder.forward(x, pass);
        let z = &mu + (&logvar * 0.5).exp() * noise;
        (self.decoder.logits(&z, pass), mu, logvar)
    }
}

impl Module for Vae {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.encoder.visit(f);
        self.decoder.visit(f);
    }
}

/// Several VAEs of one shape side by side, each with weights of its own: the same network over
/// stacked weights.
pub struct GroupedVae {
    stacked: Vae,
}

impl GroupedVae {
    /// Copies of `networks` in one.
    ///
    /// # Errors
    /// No networks, or networks of different shapes.
    pub fn new(networks: &[Vae]) -> Result<Self> {
        let Some(Vae { decoder, .. }) = networks.first() else {
            return Err(Error::invalid("a group needs at least one network"));
        };
        let mut source = Source::stacked(networks, decoder.device());
        Ok(Self { stacked: Vae::build(&mut source, decoder.shape, decoder.latent_dim)? })
    }

    /// Aliases of the parameters of all, which ask for gradients, in the order of [`Vae`]'s.
    pub fn trainable(&self) -> Vec<Tensor> {
        nn::trainable(&self.stacked)
    }

    /// Puts the weights of network `at` into `network`.
    ///
    /// # Errors
    /// A network of another shape.
    pub fn copy_to(&self, at: i64, network: &Vae) -> Result<()> {
        let all = nn::parameters(&self.stacked);
        let own: Vec<Tensor> = all.into_iter().map(|all| all.value().detach().get(at)).collect();
        nn::restore(network, &own)
    }

    /// [`Vae::forward`] of all of them.
    ///
    /// # Shapes
    /// `[g, n, channels, height, width]` and `[g, n, latent_dim]` to an image's shape and twice
    /// that of the noise.
    pub fn forward(&self, x: &Tensor, noise: &Tensor, pass: &mut Pass<'_>) -> (Tensor, Tensor, Tensor) {
        self.stacked.forward(x, noise, pass)
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn a_group_gives_what_its_networks_give() {
        let shape = ImageShape { channels: 3, height: 8, width: 12 };
        let networks: Vec<Vae> = (0..3).map(|seed| Vae::new(shape, 5, seed, Device::Cpu).unwrap()).collect();
        let grouped = GroupedVae::new(&networks).unwrap();
        let x = Tensor::rand([3, 4, 3, 8, 12], (Kind::Float, Device::Cpu));
        let noise = Tensor::randn([3, 4, 5], (Kind::Float, Device::Cpu));
        let (logits, mu, logvar) = grouped.forward(&x, &noise, &mut Pass::Infer);
        let close = |a: &Tensor, b: &Tensor| {
            assert_eq!(a.size(), b.size());
            let difference = (a - b).abs().max().double_value(&[]);
            assert!(difference < 1e-5, "{difference}");
        };
        for (at, network) in networks.iter().enumerate() {
            let at = at as i64;
            let own = network.forward(&x.get(at), &noise.get(at), &mut Pass::Infer);
            close(&mu.get(at), &own.1);
            close(&logvar.get(at), &own.2);
            close(&logits.get(at), &own.0);
        }
        // Weights come back as they were.
        let other = Vae::new(shape, 5, 9, Device::Cpu).unwrap();
        grouped.copy_to(1, &other).unwrap();
        for (a, b) in nn::parameters(&other).into_iter().zip(nn::parameters(&networks[1])) {
            assert!(a.value().equal(b.value()), "{}", a.name());
        }
        assert!(GroupedVae::new(&[]).is_err());
    }
}
