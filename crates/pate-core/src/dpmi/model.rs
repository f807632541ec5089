//! A released latent model of any kind, and its file.

use std::path::Path;

use artifact::{Access, FileRecord};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::gaussian::GaussianModel;
use super::latents::Bounds;
use super::rows::Classes;
use super::vae::{LatentVae, VaeShape};
use super::wgan::{GanShape, LatentGan};
use crate::base::rng::Stream;
use crate::models::{Described, Extractor, LayerSpec, project};
use crate::nn::Module;
use crate::{Error, Result};

/// What kind of model a file has, and its shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model", rename_all = "kebab-case")]
pub enum Kind {
    /// Gaussians, in closed form.
    Gaussian {
        /// Classes, components of each, latents.
        size: [i64; 3],
    },
    /// A variational autoencoder.
    Vae(VaeShape),
    /// A generator that was trained against a critic.
    Wgan(GanShape),
}

/// What travels with the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The model.
    pub kind: Kind,
    /// How latents were bounded: samples are, too.
    pub bounds: Bounds,
    /// SHA-256 of the extractor's file.
    pub extractor: String,
    /// Name of the private data set, as its ledger has it.
    pub dataset: String,
}

/// The model itself.
pub enum Network {
    /// Gaussians.
    Gaussian(GaussianModel),
    /// A variational autoencoder.
    Vae(LatentVae),
    /// A generator.
    Wgan(LatentGan),
}

/// A released latent model.
pub struct LatentModel {
    /// What travels with it.
    pub about: About,
    /// The model.
    pub network: Network,
}

/// Checks that layers lead from rows of `inputs` values to rows of `outputs`.
pub(super) fn check_rows(layers: &[LayerSpec], inputs: i64, outputs: i64) -> Result<()> {
    use crate::models::Size;
    let found = crate::models::layers_output(layers, Size::Row(inputs))?;
    if found.numel() == outputs {
        return Ok(());
    }
    Err(Error::invalid(format!("layers for {inputs} values give {found:?}, and {outputs} are needed")))
}

/// Writes the model `network` with what travels with it.
///
/// # Errors
/// Where the file cannot be written; nothing is left under its name then.
pub fn save(about: &About, network: &dyn Module, path: &Path, access: Access) -> Result<FileRecord> {
    Described::save(about, &[network], path, access)
}

impl LatentModel {
    /// Writes it, with its architecture.
    ///
    /// # Errors
    /// Where the file cannot be written; nothing is left under its name then.
    pub fn save(&self, path: &Path, access: Access) -> Result<FileRecord> {
        let network: &dyn Module = match &self.network {
            Network::Gaussian(network) => network,
            Network::Vae(network) => network,
            Network::Wgan(network) => network,
        };
        save(&self.about, network, path, access)
    }

    /// Reads what [`LatentModel::save`] wrote.
    ///
    /// # Errors
    /// Another file, an architecture that cannot be built, weights that do not fit it or are not
    /// finite.
    pub fn load(path: &Path, device: Device) -> Result<Self> {
        const STEP: &str = "train-dp-latent";
        /// Largest sizes of a model in closed form.
        const MOST: i64 = 4096;
        let bad = |found: String| Error::content(path, found, format!("give a latent model of {STEP}"));
        let (about, mut source) = Described::<About>::load(path, "a latent model", STEP)?.into_source(device);
        let shape_error = |error: Error| bad(error.to_string());
        let network = match &about.kind {
            Kind::Gaussian { size } => {
                let [classes, components, d] = *size;
                let fits = [classes, components, d].iter().all(|n| (1..=MOST).contains(n))
                    && classes * components * d * d <= 1 << 28;
                if !fits {
                    return Err(bad(format!("its size is {size:?}")));
                }
                Network::Gaussian(GaussianModel::build(&mut source, *size)?)
            }
            Kind::Vae(shape) => {
                shape.check().map_err(shape_error)?;
                if !(1..=MOST).contains(&shape.classes) || !(1..=MOST).contains(&shape.code) {
                    return Err(bad(format!(
                        "it has {} classes and a code of {}",
                        shape.classes, shape.code
                    )));
                }
                Network::Vae(LatentVae::build(&mut source, shape)?)
            }
            Kind::Wgan(shape) => {
                shape.check().map_err(shape_error)?;
                if !(1..=MOST).contains(&shape.classes) || !(1..=MOST).contains(&shape.noise) {
                    return Err(bad(format!(
                        "it has {} classes and {} values of noise",
                        shape.classes, shape.noise
                    )));
                }
                Network::Wgan(LatentGan::build(&mut source, shape)?)
            }
        };
        source.finish("a latent model")?;
        if !(about.bounds.radius > 0.0 && about.bounds.radius.is_finite()) {
            return Err(bad(format!("its radius is {}", about.bounds.radius)));
        }
        Ok(Self { about, network })
    }

    /// Number of classes that samples can be asked for; none where they have no classes.
    pub fn classes(&self) -> Option<i64> {
        let of =
            |classes: i64, conditioning: Classes| (conditioning != Classes::Unconditional).then_some(classes);
        match &self.about.kind {
            Kind::Gaussian { size } => Some(size[0]),
            Kind::Vae(shape) => of(shape.classes, shape.conditioning),
            Kind::Wgan(shape) => of(shape.classes, shape.conditioning),
        }
    }

    /// Number of latents of a sample.
    pub fn latent_dim(&self) -> i64 {
        match &self.about.kind {
            Kind::Gaussian { size } => size[2],
            Kind::Vae(shape) => shape.latents,
            Kind::Wgan(shape) => shape.latents,
        }
    }

    /// Shares of the classes, where the model was released with them.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn class_shares(&self) -> Result<Option<Vec<f32>>> {
        match &self.network {
            Network::Gaussian(network) => network.class_shares().map(Some),
            _ => Ok(None),
        }
    }

    /// The extractor's latents of samples of the classes `labels`, `[n, d]`, no farther out than
    /// the latents that the model learnt.
    ///
    /// # Errors
    /// A class that it has not, another extractor.
    pub fn sample(&self, labels: &[i64], extractor: &Extractor, stream: &mut Stream) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        let Some(standard) = extractor.standard() else {
            return Err(Error::invalid("the extractor has no statistics of public latents"));
        };
        if extractor.latent_dim() != self.latent_dim() {
            return Err(Error::invalid(format!(
                "the model is of {} latents, and the extractor of {}; give the extractor that the latents are of",
                self.latent_dim(),
                extractor.latent_dim()
            )));
        }
        let rows = match &self.network {
            Network::Gaussian(network) => network.sample(labels, stream)?,
            Network::Vae(network) => network.sample(labels, stream)?,
            Network::Wgan(network) => network.sample(labels, stream)?,
        };
        let rows = project(&rows, &Tensor::from(self.about.bounds.radius).f_to_kind(rows.kind())?)?;
        Ok(standard.revert(&rows.f_to_device(standard.mean.device())?))
    }
}
