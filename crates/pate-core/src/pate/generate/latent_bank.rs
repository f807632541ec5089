//! Posteriors of public images: latents from them decode to images that look like the public ones.

use std::path::Path;

use artifact::{Access, AtomicFile, FileRecord};
use tch::{Device, Kind, Tensor};
use tensorfile::View;

use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::data::augment::Augmentation;
use crate::data::{Images, Normalisation};
use crate::models::Encoder;
use crate::nn::Pass;
use crate::pate::generate::Draw;
use crate::{Error, Result};

/// Means and log-variances of latents, one row per encoded image.
///
/// Random latents from N(0, I) also fall where no image's posterior lies, and decode to strokes
/// that are no character; latents drawn from posteriors do not (the "aggregate posterior" of
/// Makhzani et al., "Adversarial autoencoders", 2016).
pub struct LatentBank {
    /// `[n, latent_dim]`.
    mean: Tensor,
    /// `[n, latent_dim]`.
    log_variance: Tensor,
}

/// Images encoded at once.
const ROWS: i64 = 256;

impl LatentBank {
    /// Encodes every image `copies` times, each time changed anew.
    ///
    /// # Guarantee
    /// That of the images: their posteriors are functions of them.
    ///
    /// # Errors
    /// No images, or where libtorch refuses.
    pub fn encode(
        encoder: &Encoder,
        images: &Images,
        copies: usize,
        augmentation: Option<&Augmentation>,
        normalisation: &Normalisation,
        seed: u64,
        device: Device,
    ) -> Result<Self> {
        let _guard = tch::no_grad_guard();
        let (mut means, mut log_variances) = (Vec::new(), Vec::new());
        for copy in 0..copies {
            // Each copy of the images has a stream of its own, so that more copies leave the first
            // ones as they are.
            let mut stream = Stream::new(seed, Purpose::LatentBank, copy as u64);
            tensor::batches(images.len() as i64, ROWS, |first, n| {
                let mut x = images.tensor().f_narrow(0, first, n)?.f_to_device(device)?;
                if let Some(augmentation) = augmentation {
                    x = augmentation.apply(&x, &mut stream)?;
                }
                let (mean, log_variance) = encoder.forward(&normalisation.apply(&x), &mut Pass::Infer);
                means.push(mean.f_to_device(Device::Cpu)?);
                log_variances.push(log_variance.f_to_device(Device::Cpu)?);
                Ok(())
            })?;
        }
        if means.is_empty() {
            return Err(Error::invalid("there are no images to encode"));
        }
        Ok(Self { mean: Tensor::f_cat(&means, 0)?, log_variance: Tensor::f_cat(&log_variances, 0)? })
    }

    /// Number of latents.
    pub fn latent_dim(&self) -> i64 {
        self.mean.size()[1]
    }

    /// One latent from each of `n` random posteriors: `[n, latent_dim]`.
    pub(super) fn draw(&self, n: i64, draw: &mut dyn Draw) -> Result<Tensor> {
        let rows = self.mean.size()[0];
        let chosen = (draw.uniform(n)? * rows as f64).floor().clamp(0.0, (rows - 1) as f64);
        let chosen = chosen.f_flatten(0, -1)?.f_to_kind(Kind::Int64)?;
        let deviation = (self.log_variance.f_index_select(0, &chosen)? * 0.5).exp();
        Ok(self.mean.f_index_select(0, &chosen)? + deviation * draw.normal(&[n, self.latent_dim()])?)
    }

    /// Writes `mean` and `log_variance` as `torch.save` of a dict would.
    ///
    /// # Errors
    /// Where the file cannot be written; nothing is left under its name then.
    pub fn save(&self, path: &Path, access: Access) -> Result<FileRecord> {
        let shape = tensor::shape_of(&self.mean);
        let (mean, log_variance) = (tensor::to_f32(&self.mean)?, tensor::to_f32(&self.log_variance)?);
        let entries =
            [("mean", View::f32(&shape, &mean)?), ("log_variance", View::f32(&shape, &log_variance)?)];
        let mut file = AtomicFile::create(path, access)?;
        tensorfile::pt::write_dict(&mut file, &entries)?;
        Ok(file.commit()?)
    }

    /// Reads what [`Self::save`] wrote.
    ///
    /// # Errors
    /// Names the file: other names, shapes that do not fit, values that are not finite.
    pub fn load(path: &Path) -> Result<Self> {
        let wrong = |problem: String| {
            Error::content(
                path,
                problem,
                "give the latents.pt that pretrain-decoder wrote beside the decoder",
            )
        };
        let mut found = tensorfile::read(path)?.into_tensors()?;
        let mut take = |name: &str| {
            let at = found.iter().position(|(n, _)| n == name);
            at.map(|at| found.swap_remove(at).1).ok_or_else(|| wrong(format!("there is no `{name}` in it")))
        };
        let (mean, log_variance) = (take("mean")?, take("log_variance")?);
        if mean.shape().len() != 2 || mean.shape() != log_variance.shape() || mean.shape().contains(&0) {
            return Err(wrong(format!(
                "its arrays are {:?} and {:?}; both must be [n, latents]",
                mean.shape(),
                log_variance.shape()
            )));
        }
        let bank = Self { mean: tensor::from_array(mean)?, log_variance: tensor::from_array(log_variance)? };
        // exp(88 / 2) is the largest deviation whose square float32 can hold.
        let usable = bank.mean.isfinite().all().int64_value(&[]) == 1
            && bank.log_variance.isfinite().all().int64_value(&[]) == 1
            && bank.log_variance.max().double_value(&[]) < 88.0;
        if usable { Ok(bank) } else { Err(wrong("it has values that are not finite, or too large".into())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bank(mean: &[f32], log_variance: &[f32]) -> LatentBank {
        let shape = [mean.len() as i64 / 2, 2];
        LatentBank {
            mean: tensor::from_f32(mean, &shape).unwrap(),
            log_variance: tensor::from_f32(log_variance, &shape).unwrap(),
        }
    }

    #[test]
    fn latents_come_from_all_posteriors_and_from_nowhere_else() {
        let bank = bank(&[5.0, -5.0, -50.0, 50.0], &[-20.0; 4]);
        let mut stream = Stream::new(1, Purpose::Latents, 0);
        let z = tensor::to_f32(&bank.draw(200, &mut stream).unwrap()).unwrap();
        let first = z.chunks(2).filter(|z| (z[0] - 5.0).abs() < 0.01 && (z[1] + 5.0).abs() < 0.01).count();
        let second = z.chunks(2).filter(|z| (z[0] + 50.0).abs() < 0.01 && (z[1] - 50.0).abs() < 0.01).count();
        assert_eq!(first + second, 200);
        assert!((60..140).contains(&first), "{first}");
    }

    #[test]
    fn files_go_both_ways_and_wrong_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("latents.pt");
        bank(&[1.0, 2.0], &[0.5, 0.25]).save(&path, Access::Public).unwrap();
        let back = LatentBank::load(&path).unwrap();
        assert_eq!(tensor::to_f32(&back.mean).unwrap(), [1.0, 2.0]);
        assert_eq!(tensor::to_f32(&back.log_variance).unwrap(), [0.5, 0.25]);
        for bad in [bank(&[f32::NAN, 2.0], &[0.0; 2]), bank(&[1.0, 2.0], &[0.0, 100.0])] {
            bad.save(&path, Access::Public).unwrap();
            let error = LatentBank::load(&path).err().unwrap().to_string();
            assert!(error.contains("latents.pt") && error.contains("pretrain-decoder"), "{error}");
        }
    }
}
