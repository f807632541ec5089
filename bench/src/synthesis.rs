//! Steps on the pixels of public images, as DP-ImgSyn takes them.

use anyhow::Result;
use pate_core::base::progress::Silent;
use pate_core::data::{ImageShape, Normalisation};
use pate_core::imgsyn::statistics::{Statistics, channels};
use pate_core::imgsyn::synthesis::{SynthesisPlan, Weights, assigned, synthesise};
use pate_core::models::GnResNet;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::outputs;
use crate::parts::{Measured, Run};

/// Images that are moved, and their network.
const MOVED: usize = 5000;
const MOVED_BY: &str = "private_gn-resnet.pth";

/// Ten steps on the pixels of 5,000 images, towards made-up statistics, with the original's
/// weights.
pub(crate) fn synthesis(run: &Run<'_>) -> Result<Measured> {
    let network = GnResNet::load(&run.inputs.file(MOVED_BY), ImageShape::MNIST, Device::Cpu)?;
    let images = run.inputs.pool()?.select(&(0..MOVED as i64).collect::<Vec<_>>())?;
    let channels = channels(&network, ImageShape::MNIST)?;
    let all = channels.iter().sum::<i64>();
    let statistics = Statistics {
        mean: Tensor::zeros([all], (Kind::Float, Device::Cpu)),
        variance: Tensor::ones([all], (Kind::Float, Device::Cpu)),
        channels,
        floored: 0,
    };
    let plan = SynthesisPlan {
        steps: 10,
        batch_size: 80,
        learning_rate: 0.1,
        weights: Weights::ORIGINAL,
        roll: false,
        flip: false,
        seed: run.inputs.settings.seed,
    };
    let (normalisation, labels) = (Normalisation::mnist(), assigned(MOVED, 10));
    let (seconds, moved) = run.timed(|| {
        Ok(synthesise(&network, &normalisation, Some(&statistics), &images, &labels, &plan, &Silent)?)
    })?;
    let losses: Vec<f32> = moved.losses.iter().map(|&loss| loss as f32).collect();
    outputs::floats(run.out, "losses", &losses)?;
    Ok((seconds, json!({ "images": MOVED })))
}
