//! Features of images: what the layer below the logits gives.

use tch::{Device, Tensor};

use crate::base::parallel;
use crate::base::progress::Progress;
use crate::data::{Images, Normalisation};
use crate::models::Classifier;
use crate::nn::Pass;
use crate::{Error, Result};

/// Images whose features are computed at once.
const BATCH: i64 = 64;

/// Features of images: what the classifier's last hidden layer makes of them.
///
/// # Shapes
/// `[n, channels, height, width]` in `[0, 1]` to `[n, 128]`, on the CPU.
///
/// # Errors
/// Images of another shape than the network's, or a stop.
pub fn features(
    network: &dyn Classifier,
    normalisation: &Normalisation,
    images: &Images,
    device: Device,
    progress: &dyn Progress,
) -> Result<Tensor> {
    let workers =
        (0..parallel::workers(device)).map(|_| (network.alias(), images.tensor().shallow_clone())).collect();
    let mut parts = Vec::new();
    parallel::batches(
        images.len() as i64,
        BATCH,
        workers,
        progress,
        |(network, images), first, n| {
            let _guard = tch::no_grad_guard();
            let x = normalisation.apply(&images.f_narrow(0, first, n)?.f_to_device(device)?);
            Ok(network.features(&x, &mut Pass::Infer).f_to_device(Device::Cpu)?)
        },
        |_, _, part| {
            parts.push(part);
            Ok(())
        },
    )?;
    if parts.is_empty() {
        return Err(Error::invalid("features of no images are not defined"));
    }
    Ok(Tensor::f_cat(&parts, 0)?)
}
