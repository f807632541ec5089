//! A variational autoencoder of latents, trained with DP-SGD ("VaeGM").

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::rows::{Classes, PrivateRows};
use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::dp::{PrivateLearner, PrivateTask};
use crate::models::{Between, LayerSpec, Sequential};
use crate::nn::{self, DropoutMasks, Module, Parameter, Pass, Source, Tape};
use crate::{Error, Result};

/// The shape of a [`LatentVae`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeShape {
    /// Values of a record.
    pub latents: i64,
    /// Number of classes.
    pub classes: i64,
    /// How they come in.
    pub conditioning: Classes,
    /// Values of the hidden code.
    pub code: i64,
    /// Layers of an encoder, which ends in mean and log-variance of the code.
    pub encoder: Vec<LayerSpec>,
    /// Layers of a decoder.
    pub decoder: Vec<LayerSpec>,
}

impl VaeShape {
    /// One hidden layer on each side, as the original has.
    pub fn new(
        latents: i64,
        classes: i64,
        conditioning: Classes,
        (hidden, code): (i64, i64),
        between: Between,
    ) -> Self {
        let beside = conditioning.beside(classes);
        let linear = |inputs, outputs| LayerSpec::Linear { inputs, outputs };
        Self {
            latents,
            classes,
            conditioning,
            code,
            encoder: vec![linear(latents + beside, hidden), between.spec(), linear(hidden, 2 * code)],
            decoder: vec![linear(code + beside, hidden), between.spec(), linear(hidden, latents)],
        }
    }

    fn copies(&self) -> i64 {
        if self.conditioning == Classes::Each { self.classes } else { 1 }
    }

    /// Whether its layers fit each other.
    ///
    /// # Errors
    /// Names what does not.
    pub fn check(&self) -> Result<()> {
        let beside = self.conditioning.beside(self.classes);
        super::model::check_rows(&self.encoder, self.latents + beside, 2 * self.code)?;
        super::model::check_rows(&self.decoder, self.code + beside, self.latents)
    }
}

#[derive(Clone)]
struct Pair {
    encoder: Sequential,
    decoder: Sequential,
}

/// An encoder of latents to a code, and a decoder back; or one of each for every class.
#[derive(Clone)]
pub struct LatentVae {
    pairs: Vec<Pair>,
    shape: VaeShape,
}

/// What it makes of records.
pub struct Passed {
    /// Mean of the code, `[n, code]`.
    pub mu: Tensor,
    /// Its log-variance.
    pub logvar: Tensor,
    /// The records again, `[n, latents]`.
    pub output: Tensor,
}

impl LatentVae {
    /// A fresh one, initialised as PyTorch does.
    ///
    /// # Errors
    /// As [`LatentVae::build`].
    pub fn new(shape: &VaeShape, seed: u64, device: Device) -> Result<Self> {
        let mut stream = Stream::new(seed, Purpose::Weights, 0);
        Self::build(&mut Source::fresh(&mut stream, device), shape)
    }

    /// The same with weights from `source`.
    ///
    /// # Errors
    /// Layers that do not fit each other, and those of the source.
    pub fn build(source: &mut Source<'_>, shape: &VaeShape) -> Result<Self> {
        shape.check()?;
        let mut pair = |prefix: String| -> Result<Pair> {
            Ok(Pair {
                encoder: Sequential::build(source, &format!("{prefix}encoder.model"), &shape.encoder)?,
                decoder: Sequential::build(source, &format!("{prefix}decoder.model"), &shape.decoder)?,
            })
        };
        let pairs = match shape.copies() {
            1 => vec![pair(String::new())?],
            copies => (0..copies).map(|class| pair(format!("class{class}."))).collect::<Result<_>>()?,
        };
        Ok(Self { pairs, shape: shape.clone() })
    }

    /// Its shape.
    pub fn shape(&self) -> &VaeShape {
        &self.shape
    }

    /// The pair of a class, or the only one, on records.
    ///
    /// # Shapes
    /// `rows` `[n, latents]`, `classes` `[n, classes]` (one of each row 1, else 0), `noise`
    /// `[n, code]`.
    ///
    /// # Errors
    /// Other shapes.
    fn pair(
        &self,
        pair: &Pair,
        rows: &Tensor,
        classes: &Tensor,
        noise: &Tensor,
        pass: &mut Pass<'_>,
    ) -> Result<Passed> {
        let code = self.shape.code;
        let encoded = pair.encoder.forward(&self.shape.conditioning.join(rows, classes)?, pass);
        let (mu, logvar) = (encoded.f_narrow(1, 0, code)?, encoded.f_narrow(1, code, code)?);
        let h = &mu + (&logvar * 0.5).f_exp()? * noise;
        let output = pair.decoder.forward(&self.shape.conditioning.join(&h, classes)?, pass);
        Ok(Passed { mu, logvar, output })
    }

    /// Each record's loss: mean squared error of its values, and the KL divergence of its code from
    /// a standard normal, times `kl_weight`.
    ///
    /// # Shapes
    /// As above; gives `[n]`.
    ///
    /// # Errors
    /// Other shapes.
    pub fn losses(
        &self,
        rows: &Tensor,
        classes: &Tensor,
        noise: &Tensor,
        kl_weight: f64,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor> {
        let mut total: Option<Tensor> = None;
        for (at, pair) in self.pairs.iter().enumerate() {
            let Passed { mu, logvar, output } = self.pair(pair, rows, classes, noise, pass)?;
            let error = (output - rows).f_square()?.f_mean_dim([1i64].as_slice(), false, None)?;
            let kl = (mu.square() + logvar.exp() - 1.0 - &logvar).f_sum_dim_intlist(
                [1i64].as_slice(),
                false,
                None,
            )?;
            let mut loss = error + kl * (0.5 * kl_weight);
            if self.pairs.len() > 1 {
                loss *= classes.f_select(1, at as i64)?;
            }
            total = Some(match total {
                Some(total) => total + loss,
                None => loss,
            });
        }
        total.ok_or_else(|| Error::invalid("a latent model without a network"))
    }

    /// What it makes of records, where there is one network alone.
    ///
    /// # Errors
    /// As [`LatentVae::losses`].
    pub fn forward(
        &self,
        rows: &Tensor,
        classes: &Tensor,
        noise: &Tensor,
        pass: &mut Pass<'_>,
    ) -> Result<Passed> {
        let Some(first) = self.pairs.first() else {
            return Err(Error::invalid("a latent model without a network"));
        };
        self.pair(first, rows, classes, noise, pass)
    }

    /// Latents of the classes `labels`, `[n, latents]`; without classes, of none.
    ///
    /// # Errors
    /// A class that it has not.
    pub fn sample(&self, labels: &[i64], stream: &mut Stream) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        let device = nn::device_of(self);
        let h = stream.normal_tensor(&[labels.len() as i64, self.shape.code])?.f_to_device(device)?;
        let at = tensor::from_i64(labels).f_to_device(device)?;
        let classes = self.shape.conditioning.of_labels(labels, self.shape.classes, device)?;
        let mut all: Option<Tensor> = None;
        for (class, pair) in self.pairs.iter().enumerate() {
            let drawn = pair.decoder.forward(&self.shape.conditioning.join(&h, &classes)?, &mut Pass::Infer);
            all = Some(match all {
                Some(all) => drawn.f_where_self(&at.f_eq(class as i64)?.f_unsqueeze(1)?, &all)?,
                None => drawn,
            });
        }
        all.ok_or_else(|| Error::invalid("a latent model without a network"))
    }
}

impl Module for LatentVae {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        for pair in &self.pairs {
            pair.encoder.visit(f);
            pair.decoder.visit(f);
        }
    }
}

/// A latent VAE that learns private rows.
///
/// # Privacy
/// A record's loss is a function of the record and of the step alone.
pub struct PrivateVae<'a> {
    network: &'a LatentVae,
    data: PrivateRows,
    kl_weight: f64,
}

impl<'a> PrivateVae<'a> {
    /// `data` for `network`.
    pub fn new(network: &'a LatentVae, data: PrivateRows, kl_weight: f64) -> Self {
        Self { network, data, kl_weight }
    }
}

impl PrivateTask for PrivateVae<'_> {
    fn records(&self) -> usize {
        self.data.len()
    }

    fn views(&self) -> i64 {
        1
    }

    fn network(&self) -> &dyn Module {
        self.network
    }

    fn learner(&self) -> Box<dyn PrivateLearner + '_> {
        Box::new(VaeLearner {
            network: self.network.clone(),
            data: self.data.alias(),
            kl_weight: self.kl_weight,
        })
    }

    fn made_up(&self, records: i64, stream: &mut Stream) -> Result<Tensor> {
        let rows = stream.normal_tensor(&[records, self.network.shape.latents])?;
        Ok(rows.f_to_device(self.data.device())?)
    }
}

struct VaeLearner {
    network: LatentVae,
    data: PrivateRows,
    kl_weight: f64,
}

impl PrivateLearner for VaeLearner {
    fn network(&self) -> &dyn Module {
        &self.network
    }

    fn loss(&self, rows: &[usize], step: u64, tape: &mut Tape) -> Result<Tensor> {
        let (latents, classes) = self.data.at(rows)?;
        let noise = self.data.noise(rows, step, self.network.shape.code)?;
        let mut pass = Pass::Record { tape, dropout: DropoutMasks::none() };
        Ok(self.network.losses(&latents, &classes, &noise, self.kl_weight, &mut pass)?.f_sum(None)?)
    }

    fn outputs(&self, inputs: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let n = inputs.size()[0];
        let options = (inputs.kind(), inputs.device());
        let classes = Tensor::f_zeros([n, self.network.shape.classes], options)?;
        let noise = Tensor::f_zeros([n, self.network.shape.code], options)?;
        let mut all = Vec::new();
        for pair in &self.network.pairs {
            all.push(self.network.pair(pair, inputs, &classes, &noise, pass)?.output);
        }
        Ok(Tensor::f_cat(&all, 1)?)
    }
}
