//! What private training learns from: labelled images, or features of them.

use tch::{Reduction, Tensor};

use super::{PrivateLearner, PrivateTask};
use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::data::augment::Augmentation;
use crate::data::{ImageShape, Normalisation, Records};
use crate::models::Classifier;
use crate::nn::{DropoutMasks, Linear, Module, Pass, Tape};
use crate::{Error, Result};

/// The sum over the records of the mean over their views of the negative log-likelihood.
///
/// # Shapes
/// `logits` `[n views, classes]`, `labels` `[n]`.
fn loss(logits: &Tensor, labels: &Tensor, views: i64) -> Result<Tensor> {
    let labels = if views == 1 {
        labels.shallow_clone()
    } else {
        labels.f_repeat_interleave_self_int(views, 0, None)?
    };
    let log_p = logits.f_log_softmax(-1, None)?;
    let sum = log_p.f_nll_loss::<Tensor>(&labels, None, Reduction::Sum, -100)?;
    Ok(if views == 1 { sum } else { sum / views as f64 })
}

/// Rows as an index, int64.
pub(crate) fn index(rows: &[usize]) -> Tensor {
    tensor::from_i64(&rows.iter().map(|&row| row as i64).collect::<Vec<_>>())
}

/// How a record becomes several rows of a pass, each changed in its own way.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Views {
    /// How many.
    pub count: u32,
    /// What is drawn anew for each of them.
    pub augmentation: Augmentation,
    /// Seed of what is drawn. Public: views hide nothing.
    pub seed: u64,
}

/// A classifier of private images.
///
/// # Privacy
/// A record's loss is a function of the record and of the step alone: what is drawn for its views
/// follows from a hash of its content, never from its place among the others.
pub struct PrivateImages<'a> {
    network: &'a dyn Classifier,
    images: Tensor,
    labels: Tensor,
    normalisation: Normalisation,
    views: Option<Views>,
    /// The hashes; empty where nothing is drawn.
    keys_private: Vec<u64>,
}

impl<'a> PrivateImages<'a> {
    /// `records` for `network`, on the network's device.
    ///
    /// # Errors
    /// Other classes or channels than the network's, no room on the device.
    pub fn new(
        network: &'a dyn Classifier,
        records: &Records,
        normalisation: Normalisation,
        views: Option<Views>,
    ) -> Result<Self> {
        normalisation.check_channels(records.shape().channels)?;
        if network.classes() != records.classes() {
            return Err(Error::invalid(format!(
                "the network tells {} classes apart, and {} has {}; give data of the same classes",
                network.classes(),
                records.name,
                records.classes()
            )));
        }
        let keys_private = if views.is_some() { super::keys::of_records(records)? } else { Vec::new() };
        let device = network.device();
        Ok(Self {
            network,
            images: records.images.tensor().f_to_device(device)?,
            labels: records.labels.tensor().f_to_device(device)?,
            normalisation,
            views,
            keys_private,
        })
    }

    fn shape(&self) -> ImageShape {
        let size = self.images.size();
        ImageShape { channels: size[1], height: size[2], width: size[3] }
    }
}

impl PrivateTask for PrivateImages<'_> {
    fn records(&self) -> usize {
        self.labels.numel()
    }

    fn views(&self) -> i64 {
        self.views.map_or(1, |views| i64::from(views.count))
    }

    fn network(&self) -> &dyn Module {
        self.network
    }

    fn learner(&self) -> Box<dyn PrivateLearner + '_> {
        Box::new(ImageLearner {
            network: self.network.alias(),
            images: self.images.shallow_clone(),
            labels: self.labels.shallow_clone(),
            task: Shared {
                normalisation: self.normalisation.clone(),
                views: self.views,
                keys_private: &self.keys_private,
            },
        })
    }

    fn made_up(&self, records: i64, stream: &mut Stream) -> Result<Tensor> {
        let size = self.shape().batch(records * self.views());
        let pixels = stream.uniform(size.iter().product::<i64>() as usize, 0.0, 1.0);
        let images = tensor::from_f32(&pixels, &size)?.f_to_device(self.images.device())?;
        Ok(self.normalisation.apply(&images))
    }
}

struct ImageLearner<'a> {
    network: Box<dyn Classifier>,
    images: Tensor,
    labels: Tensor,
    task: Shared<'a>,
}

struct Shared<'a> {
    normalisation: Normalisation,
    views: Option<Views>,
    keys_private: &'a [u64],
}

impl ImageLearner<'_> {
    /// All views of each record, one after the other.
    fn inputs(&self, rows: &[usize], at: &Tensor, step: u64) -> Result<Tensor> {
        let images = self.images.f_index_select(0, at)?;
        let Some(views) = &self.task.views else { return Ok(images) };
        // Record by record: the numbers that are drawn, and the rounding of what is made with them,
        // are the same whoever else is there.
        let each = |(i, &row): (usize, &usize)| {
            let seed = views.seed ^ self.task.keys_private[row];
            let mut stream = Stream::new(seed, Purpose::Augmentation, step);
            let size = images.size();
            let image = images.f_narrow(0, i as i64, 1)?;
            let copies = image.f_expand([i64::from(views.count), size[1], size[2], size[3]], false)?;
            views.augmentation.apply(&copies.f_contiguous()?, &mut stream)
        };
        let all = rows.iter().enumerate().map(each).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&all, 0)?)
    }
}

impl PrivateLearner for ImageLearner<'_> {
    fn network(&self) -> &dyn Module {
        &*self.network
    }

    fn loss(&self, rows: &[usize], step: u64, tape: &mut Tape) -> Result<Tensor> {
        let at = index(rows).f_to_device(self.images.device())?;
        let inputs = self.task.normalisation.apply(&self.inputs(rows, &at, step)?);
        let mut pass = Pass::Record { tape, dropout: DropoutMasks::none() };
        let logits = self.network.logits(&inputs, &mut pass);
        let views = self.task.views.map_or(1, |views| i64::from(views.count));
        loss(&logits, &self.labels.f_index_select(0, &at)?, views)
    }

    fn outputs(&self, inputs: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        Ok(self.network.logits(inputs, pass))
    }
}

/// A linear classifier of private features, which were computed for each record on its own.
pub struct PrivateFeatures<'a> {
    head: &'a Linear,
    features: Tensor,
    labels: Tensor,
}

impl<'a> PrivateFeatures<'a> {
    /// `features` `[n, d]` and `labels` `[n]` for `head`.
    ///
    /// # Errors
    /// Other shapes, no room on the head's device.
    pub fn new(head: &'a Linear, features: &Tensor, labels: &Tensor) -> Result<Self> {
        if features.dim() != 2 || labels.size() != [features.size()[0]] {
            return Err(Error::invalid(format!(
                "features of shape {:?} and labels of shape {:?} do not go together",
                features.size(),
                labels.size()
            )));
        }
        let device = head.device();
        Ok(Self { head, features: features.f_to_device(device)?, labels: labels.f_to_device(device)? })
    }
}

impl PrivateTask for PrivateFeatures<'_> {
    fn records(&self) -> usize {
        self.labels.numel()
    }

    fn views(&self) -> i64 {
        1
    }

    fn network(&self) -> &dyn Module {
        self.head
    }

    fn learner(&self) -> Box<dyn PrivateLearner + '_> {
        Box::new(FeatureLearner {
            head: self.head.clone(),
            features: self.features.shallow_clone(),
            labels: self.labels.shallow_clone(),
        })
    }

    fn made_up(&self, records: i64, stream: &mut Stream) -> Result<Tensor> {
        Ok(stream.normal_tensor(&[records, self.features.size()[1]])?.f_to_device(self.features.device())?)
    }
}

struct FeatureLearner {
    head: Linear,
    features: Tensor,
    labels: Tensor,
}

impl PrivateLearner for FeatureLearner {
    fn network(&self) -> &dyn Module {
        &self.head
    }

    fn loss(&self, rows: &[usize], _: u64, tape: &mut Tape) -> Result<Tensor> {
        let at = index(rows).f_to_device(self.features.device())?;
        let mut pass = Pass::Record { tape, dropout: DropoutMasks::none() };
        let logits = self.head.forward(&self.features.f_index_select(0, &at)?, &mut pass);
        loss(&logits, &self.labels.f_index_select(0, &at)?, 1)
    }

    fn outputs(&self, inputs: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        Ok(self.head.forward(inputs, pass))
    }
}
