//! What DP-SGD learns from: private images under noise.

use tch::{Device, Tensor};

use super::edm;
use super::noise::NoisePlan;
use super::signed;
use crate::base::rng::{Purpose, Stream};
use crate::data::{ImageShape, Records};
use crate::dp::{self, PrivateLearner, PrivateTask};
use crate::models::UNet;
use crate::nn::{DropoutMasks, Module, Pass, Tape};
use crate::{Error, Result};

/// A diffusion model of private images.
///
/// # Privacy
/// A record's loss is the mean over its draws of noise, so that its gradient is one vector, which
/// is clipped as one. It is a function of the record and of the step alone: what is drawn follows
/// from a hash of the record's content, never from its place among the others.
pub struct PrivateDiffusion<'a> {
    network: &'a UNet,
    images: Tensor,
    labels: Vec<i64>,
    plan: NoisePlan,
    keys_private: Vec<u64>,
}

impl<'a> PrivateDiffusion<'a> {
    /// `records` for `network`, on the network's device.
    ///
    /// # Errors
    /// Other classes or another shape than the network's, a plan whose numbers mean nothing, no
    /// room on the device.
    pub fn new(network: &'a UNet, records: &Records, plan: NoisePlan) -> Result<Self> {
        plan.check()?;
        fits(network, records.shape(), records.classes(), &records.name)?;
        Ok(Self {
            network,
            images: signed(records.images.tensor()).f_to_device(network.device())?,
            labels: records.labels.values().to_vec(),
            plan,
            keys_private: dp::keys::of_records(records)?,
        })
    }
}

/// # Errors
/// Images or classes that the network is not for.
pub(super) fn fits(network: &UNet, shape: ImageShape, classes: i64, name: &str) -> Result<()> {
    let own = network.shape();
    let given = [shape.channels, shape.height, shape.width];
    if given == [own.channels, own.size, own.size] && classes == own.classes {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the network is for {}x{}x{} images of {} classes, and {name} has {}x{}x{} images of {classes}; give data of the \
         same shape and classes, or train another network",
        own.channels, own.size, own.size, own.classes, given[0], given[1], given[2]
    )))
}

impl PrivateTask for PrivateDiffusion<'_> {
    fn records(&self) -> usize {
        self.labels.len()
    }

    fn views(&self) -> i64 {
        i64::from(self.plan.draws)
    }

    fn network(&self) -> &dyn Module {
        self.network
    }

    fn learner(&self) -> Box<dyn PrivateLearner + '_> {
        Box::new(Learner {
            network: self.network.clone(),
            images: self.images.shallow_clone(),
            task: Shared { labels: &self.labels, keys_private: &self.keys_private, plan: self.plan },
        })
    }

    fn made_up(&self, records: i64, stream: &mut Stream) -> Result<Tensor> {
        let mut size = self.images.size();
        size[0] = records * self.views();
        Ok(stream.normal_tensor(&size)?.f_to_device(self.images.device())?)
    }
}

struct Learner<'a> {
    network: UNet,
    images: Tensor,
    task: Shared<'a>,
}

struct Shared<'a> {
    labels: &'a [i64],
    keys_private: &'a [u64],
    plan: NoisePlan,
}

impl PrivateLearner for Learner<'_> {
    fn network(&self) -> &dyn Module {
        &self.network
    }

    fn loss(&self, rows: &[usize], step: u64, tape: &mut Tape) -> Result<Tensor> {
        let Shared { labels, keys_private, plan } = &self.task;
        let device = self.images.device();
        let images = self.images.f_index_select(0, &dp::index(rows).f_to_device(device)?)?;
        let size = images.size();
        let classes: Vec<i64> = rows.iter().map(|&row| labels[row]).collect();
        let stream =
            |at: usize| Stream::new(plan.seed ^ keys_private[rows[at]], Purpose::DiffusionNoise, step);
        // A GPU's one thread would wait for the noise of thousands of records.
        let threads = if device == Device::Cpu {
            1
        } else {
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
        };
        let drawn =
            plan.draw(&classes, self.network.shape().classes, [size[1], size[2], size[3]], stream, threads)?;
        let draws = i64::from(plan.draws);
        let images = images.f_repeat_interleave_self_int(draws, 0, None)?;
        let mut pass = Pass::Record { tape, dropout: DropoutMasks::none() };
        let losses = edm::losses(
            &mut |x, level, class| Ok(self.network.forward(x, level, class, &mut pass)),
            &images,
            &drawn.noise.f_to_device(device)?,
            &drawn.sigma.f_to_device(device)?,
            &drawn.classes.f_to_device(device)?,
        )?;
        Ok(losses.f_sum(None::<tch::Kind>)?.f_div_scalar(draws as f64)?)
    }

    /// Each row's level and class are functions of that row.
    fn outputs(&self, inputs: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let level = inputs.f_mean_dim([1i64, 2, 3].as_slice(), false, None::<tch::Kind>)?;
        let class = level.f_gt(0.0)?.f_to_kind(tch::Kind::Int64)?;
        Ok(self.network.forward(inputs, &level, &class, pass))
    }
}
