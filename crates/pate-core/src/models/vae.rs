use std::path::Path;

use tch::{Device, Tensor};
use tensorfile::Array;

use super::{missing, read_tensors, shape_in};
use crate::data::{ImageSize, ImageSpec};
use crate::nn::{self, Conv2d, ConvTranspose2d, Linear, Network, Source, grouped};
use crate::rng::{Purpose, Stream};
use crate::{Error, Result};

/// Images to the mean and log-variance of their latents.
pub struct Encoder {
    conv1: Conv2d,
    conv2: Conv2d,
    fc_mu: Linear,
    fc_logvar: Linear,
}

impl Encoder {
    fn build(source: &mut Source<'_>, spec: ImageSpec, latent_dim: i64) -> Result<Self> {
        let flat = 64 * (spec.height / 4) * (spec.width / 4);
        Ok(Self {
            conv1: Conv2d::new(source, "conv1", (spec.channels, 32), 4, (2, 1))?,
            conv2: Conv2d::new(source, "conv2", (32, 64), 4, (2, 1))?,
            fc_mu: Linear::new(source, "fc_mu", flat, latent_dim)?,
            fc_logvar: Linear::new(source, "fc_logvar", flat, latent_dim)?,
        })
    }

    /// The same network for another thread: its weights are these, not copies.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            conv1: self.conv1.share(),
            conv2: self.conv2.share(),
            fc_mu: self.fc_mu.share(),
            fc_logvar: self.fc_logvar.share(),
        }
    }

    /// # Shapes
    /// `[n, channels, height, width]` to mean and log-variance, each `[n, latent_dim]`.
    pub fn forward(&self, x: &Tensor) -> (Tensor, Tensor) {
        let x = self.conv1.forward(x).relu_(); // [n, 32, h/2, w/2]
        let x = self.conv2.forward(&x).relu_().flatten(1, -1); // [n, 64 h/4 w/4]
        (self.fc_mu.forward(&x), self.fc_logvar.forward(&x))
    }

    fn push_parameters<'a>(&'a self, out: &mut Vec<(String, &'a Tensor)>) {
        self.conv1.push_parameters("encoder.conv1", out);
        self.conv2.push_parameters("encoder.conv2", out);
        self.fc_mu.push_parameters("encoder.fc_mu", out);
        self.fc_logvar.push_parameters("encoder.fc_logvar", out);
    }
}

/// Latents to images.
pub struct Decoder {
    fc: Linear,
    conv_t1: ConvTranspose2d,
    conv_t2: ConvTranspose2d,
    conv_final: Conv2d,
    spec: ImageSpec,
    latent_dim: i64,
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

    fn build(source: &mut Source<'_>, spec: ImageSpec, latent_dim: i64) -> Result<Self> {
        if spec.height % 4 != 0 || spec.width % 4 != 0 || spec.height == 0 || spec.width == 0 {
            return Err(Error::invalid(format!(
                "images of {}x{} do not fit the VAE; height and width must be multiples of 4",
                spec.height, spec.width
            )));
        }
        let flat = 128 * (spec.height / 4) * (spec.width / 4);
        Ok(Self {
            fc: Linear::new(source, "fc", latent_dim, flat)?,
            conv_t1: ConvTranspose2d::new(source, "conv_t1", (128, 64), 4, (2, 1))?,
            conv_t2: ConvTranspose2d::new(source, "conv_t2", (64, 32), 4, (2, 1))?,
            conv_final: Conv2d::new(source, "conv_final", (32, spec.channels), 3, (1, 1))?,
            spec,
            latent_dim,
        })
    }

    /// The shape of the images that a weights file draws: its channels, and the size that is given, or a square where none is.
    ///
    /// # Errors
    /// No decoder, or no square and no size; and whatever reading the file gives.
    pub fn spec_of(path: &Path, size: Option<ImageSize>) -> Result<ImageSpec> {
        let tensors = decoder_tensors(path)?;
        let (flat, channels) =
            match (shape_in(&tensors, "fc.weight"), shape_in(&tensors, "conv_final.weight")) {
                (Some(&[flat, _]), Some(&[channels, ..])) => (flat as i64, channels as i64),
                (Some(_), _) => return Err(missing(path, "conv_final.weight", Self::NAME, &tensors)),
                (None, _) => return Err(missing(path, "fc.weight", Self::NAME, &tensors)),
            };
        // fc makes 128 maps of a quarter of the image's sides.
        let quarters = (flat / 128).isqrt();
        let square = (quarters > 0 && quarters * quarters * 128 == flat)
            .then_some(ImageSize { height: 4 * quarters, width: 4 * quarters });
        let Some(ImageSize { height, width }) = size.or(square) else {
            return Err(Error::content(
                path,
                format!("fc.weight gives {flat} values, and no square image has so many"),
                "give the size of its images with --image-size HEIGHTxWIDTH",
            ));
        };
        // The number of classes means nothing to a decoder.
        Ok(ImageSpec { channels, height, width, classes: 1 })
    }

    /// The decoder of a weights file: the decoder's keys alone, or a whole VAE's with `encoder.` and `decoder.` before them.
    ///
    /// The number of latents comes from `fc.weight`, the channels from `conv_final.weight`; height and width are those of
    /// `spec`, whose other values must agree.
    ///
    /// # Errors
    /// Other names or shapes, values that are not finite, and whatever reading the file gives.
    pub fn load(path: &Path, spec: ImageSpec, device: Device) -> Result<Self> {
        let tensors = decoder_tensors(path)?;
        let Some(&[_, latent_dim]) = shape_in(&tensors, "fc.weight") else {
            return Err(missing(path, "fc.weight", Self::NAME, &tensors));
        };
        let Some(&[channels, _, _, _]) = shape_in(&tensors, "conv_final.weight") else {
            return Err(missing(path, "conv_final.weight", Self::NAME, &tensors));
        };
        if channels as i64 != spec.channels {
            return Err(Error::content(
                path,
                format!("it draws images of {channels} channels"),
                format!("the data has {}", spec.channels),
            ));
        }
        let mut source = Source::file(path, tensors, device);
        let decoder = Self::build(&mut source, spec, latent_dim as i64)?;
        source.finish(Self::NAME)?;
        Ok(decoder)
    }

    /// The same network for another thread: its weights are these, not copies.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            fc: self.fc.share(),
            conv_t1: self.conv_t1.share(),
            conv_t2: self.conv_t2.share(),
            conv_final: self.conv_final.share(),
            spec: self.spec,
            latent_dim: self.latent_dim,
        }
    }

    /// Number of latents.
    pub fn latent_dim(&self) -> i64 {
        self.latent_dim
    }

    /// Shape of the images that it draws.
    pub fn spec(&self) -> ImageSpec {
        self.spec
    }

    /// Where its weights are.
    pub fn device(&self) -> Device {
        self.fc.device()
    }

    /// Images before the sigmoid.
    ///
    /// # Shapes
    /// `[n, latent_dim]` to `[n, channels, height, width]`.
    pub fn logits(&self, z: &Tensor) -> Tensor {
        let (h, w) = (self.spec.height / 4, self.spec.width / 4);
        let x = self.fc.forward(z).view([-1, 128, h, w]);
        let x = self.conv_t1.forward(&x).relu_(); // [n, 64, h/2, w/2]
        let x = self.conv_t2.forward(&x).relu_(); // [n, 32, h, w]
        self.conv_final.forward(&x)
    }

    /// Images in `[0, 1]`.
    ///
    /// # Shapes
    /// `[n, latent_dim]` to `[n, channels, height, width]`.
    pub fn forward(&self, z: &Tensor) -> Tensor {
        self.logits(z).sigmoid()
    }

    fn push_parameters<'a>(&'a self, prefix: &str, out: &mut Vec<(String, &'a Tensor)>) {
        self.fc.push_parameters(&format!("{prefix}fc"), out);
        self.conv_t1.push_parameters(&format!("{prefix}conv_t1"), out);
        self.conv_t2.push_parameters(&format!("{prefix}conv_t2"), out);
        self.conv_final.push_parameters(&format!("{prefix}conv_final"), out);
    }
}

impl Network for Decoder {
    fn parameters(&self) -> Vec<(String, &Tensor)> {
        let mut all = Vec::with_capacity(8);
        self.push_parameters("", &mut all);
        all
    }

    fn architecture(&self) -> &'static str {
        Self::NAME
    }
}

/// Encoder and decoder, trained together.
///
/// Kingma and Welling, "Auto-encoding variational Bayes" (2014).
pub struct Vae {
    /// Images to latents.
    pub encoder: Encoder,
    /// Latents to images.
    pub decoder: Decoder,
}

impl Vae {
    /// Checks that images of the shape of `spec`, which came from `path`, can be halved twice.
    ///
    /// # Errors
    /// Names the file, their size and what fits.
    pub fn check_images(path: &Path, spec: ImageSpec) -> Result<()> {
        if spec.height > 0 && spec.width > 0 && spec.height % 4 == 0 && spec.width % 4 == 0 {
            return Ok(());
        }
        Err(Error::content(
            path,
            format!("the images are {}x{}, which do not fit the VAE", spec.height, spec.width),
            "height and width must be multiples of 4",
        ))
    }

    /// A fresh VAE for images of `spec`.
    ///
    /// # Errors
    /// Height or width that is no multiple of 4, or no latents.
    pub fn new(spec: ImageSpec, latent_dim: i64, seed: u64, device: Device) -> Result<Self> {
        if latent_dim < 1 {
            return Err(Error::invalid(format!("latent_dim is {latent_dim}; it must be at least 1")));
        }
        let mut stream = Stream::new(seed, Purpose::Weights, 0);
        let mut source = Source::fresh(&mut stream, device);
        let encoder = Encoder::build(&mut source, spec, latent_dim)?;
        let decoder = Decoder::build(&mut source, spec, latent_dim)?;
        Ok(Self { encoder, decoder })
    }

    /// The same network for another thread: its weights are these, not copies.
    #[must_use]
    pub fn share(&self) -> Self {
        Self { encoder: self.encoder.share(), decoder: self.decoder.share() }
    }
}

impl Network for Vae {
    fn parameters(&self) -> Vec<(String, &Tensor)> {
        let mut all = Vec::with_capacity(16);
        self.encoder.push_parameters(&mut all);
        self.decoder.push_parameters("decoder.", &mut all);
        all
    }

    fn architecture(&self) -> &'static str {
        "the VAE (encoder, decoder)"
    }
}

/// Several VAEs of one shape side by side, each with weights of its own.
pub struct GroupedVae {
    /// One tensor per parameter of a VAE, in its order, network after network: `[networks, ...]`.
    parameters: Vec<Tensor>,
    spec: ImageSpec,
}

impl GroupedVae {
    /// Copies of `networks` in one.
    ///
    /// # Errors
    /// No networks, or networks of different shapes.
    pub fn new(networks: &[Vae]) -> Result<Self> {
        let Some(first) = networks.first() else {
            return Err(Error::invalid("a group needs at least one network"));
        };
        let all: Vec<Vec<Tensor>> = networks.iter().map(nn::snapshot).collect();
        let parameters = (0..first.parameters().len())
            .map(|at| {
                let same: Vec<&Tensor> = all.iter().map(|one| &one[at]).collect();
                Ok(Tensor::f_stack(&same, 0)?.set_requires_grad(true))
            })
            .collect::<Result<_>>()?;
        Ok(Self { parameters, spec: first.decoder.spec })
    }

    /// Shallow clones of the parameters of all, in the order of [`Vae`]'s.
    pub fn parameters(&self) -> Vec<Tensor> {
        self.parameters.iter().map(Tensor::shallow_clone).collect()
    }

    /// Puts the weights of network `at` into `network`.
    ///
    /// # Errors
    /// A network of another shape.
    pub fn copy_to(&self, at: i64, network: &Vae) -> Result<()> {
        let own: Vec<Tensor> = self.parameters.iter().map(|all| all.detach().get(at)).collect();
        nn::restore(network, &own)
    }

    /// Images before the sigmoid, and the mean and log-variance of their latents, by network; `noise` is standard normal.
    ///
    /// # Shapes
    /// `[g, n, channels, height, width]` and `[g, n, latent_dim]` to an image's shape and twice that of the noise.
    pub fn forward(&self, x: &Tensor, noise: &Tensor) -> (Tensor, Tensor, Tensor) {
        let groups = x.size()[0];
        let layer = |at: usize| (&self.parameters[2 * at], &self.parameters[2 * at + 1]);
        let conv = |x: &Tensor, at, geometry| {
            let (weight, bias) = layer(at);
            grouped::conv2d(x, weight, bias, geometry)
        };
        let deconv = |x: &Tensor, at, geometry| {
            let (weight, bias) = layer(at);
            grouped::conv_transpose2d(x, weight, bias, geometry)
        };
        let linear = |x: &Tensor, at| {
            let (weight, bias) = layer(at);
            grouped::linear(x, weight, bias)
        };
        let ImageSpec { channels, height, width, .. } = self.spec;
        // The order of Vae's parameters: the encoder's conv1, conv2, fc_mu and fc_logvar, the decoder's fc, conv_t1, conv_t2 and
        // conv_final.
        let images = grouped::to_channels(x, (channels, height, width));
        let hidden = conv(&conv(&images, 0, (2, 1)).relu_(), 1, (2, 1)).relu_();
        let hidden = grouped::to_rows(&hidden, groups);
        let (mu, logvar) = (linear(&hidden, 2), linear(&hidden, 3));
        let z = &mu + (&logvar * 0.5).exp() * noise;
        let hidden = grouped::to_channels(&linear(&z, 4), (128, height / 4, width / 4));
        let hidden = deconv(&hidden, 5, (2, 1)).relu_();
        let hidden = deconv(&hidden, 6, (2, 1)).relu_();
        let logits = grouped::to_rows(&conv(&hidden, 7, (1, 1)), groups);
        (logits.reshape(x.size()), mu, logvar)
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn a_group_gives_what_its_networks_give() {
        let spec = ImageSpec { channels: 3, height: 8, width: 12, classes: 2 };
        let networks: Vec<Vae> = (0..3).map(|seed| Vae::new(spec, 5, seed, Device::Cpu).unwrap()).collect();
        let grouped = GroupedVae::new(&networks).unwrap();
        let x = Tensor::rand([3, 4, 3, 8, 12], (Kind::Float, Device::Cpu));
        let noise = Tensor::randn([3, 4, 5], (Kind::Float, Device::Cpu));
        let (logits, mu, logvar) = grouped.forward(&x, &noise);
        let close = |a: &Tensor, b: &Tensor| {
            assert_eq!(a.size(), b.size());
            let difference = (a - b).abs().max().double_value(&[]);
            assert!(difference < 1e-5, "{difference}");
        };
        for (at, network) in networks.iter().enumerate() {
            let at = at as i64;
            let (own_mu, own_logvar) = network.encoder.forward(&x.get(at));
            let z = &own_mu + (&own_logvar * 0.5).exp() * noise.get(at);
            close(&mu.get(at), &own_mu);
            close(&logvar.get(at), &own_logvar);
            close(&logits.get(at), &network.decoder.logits(&z));
        }
        // Weights come back as they were.
        let other = Vae::new(spec, 5, 9, Device::Cpu).unwrap();
        grouped.copy_to(1, &other).unwrap();
        for ((name, a), (_, b)) in other.parameters().iter().zip(networks[1].parameters()) {
            assert!(a.equal(b), "{name}");
        }
        assert!(GroupedVae::new(&[]).is_err());
    }
}
