//! A teacher's word on every candidate.

use tch::Tensor;

use crate::Result;
use crate::base::progress::Progress;
use crate::base::{parallel, tensor};
use crate::data::Images;
use crate::models::Teacher;
use crate::nn::Pass;

/// What a teacher says about images, one entry per image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labelled {
    /// Most probable class (the lower one on a tie).
    pub labels: Vec<i64>,
    /// Its probability.
    pub confidences: Vec<f32>,
    /// Probabilities of all classes, row after row.
    pub probabilities: Vec<f32>,
}

impl Labelled {
    /// Adds the answers for more images.
    pub fn extend(&mut self, more: Self) {
        self.labels.extend(more.labels);
        self.confidences.extend(more.confidences);
        self.probabilities.extend(more.probabilities);
    }

    /// The answers for the images at `rows`, which must exist, in that order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let classes = self.probabilities.len() / self.labels.len().max(1);
        Self {
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
            confidences: rows.iter().map(|&row| self.confidences[row]).collect(),
            probabilities: rows
                .iter()
                .flat_map(|&row| &self.probabilities[row * classes..(row + 1) * classes])
                .copied()
                .collect(),
        }
    }
}

/// Images that one processor core takes at once.
const CPU_BATCH: i64 = 64;

/// Labels images in `[0, 1]`.
///
/// # Shapes
/// `[n, channels, height, width]`.
///
/// # Guarantee
/// None: labels and confidences are functions of the shard on which the teacher was trained.
///
/// # Errors
/// A stop, or a TorchScript program that fails.
pub fn label(
    teacher: &Teacher,
    images: &Images,
    batch_size: usize,
    progress: &dyn Progress,
) -> Result<Labelled> {
    let mut all = Labelled::default();
    let whole = |teacher| (teacher, images.tensor().shallow_clone());
    // A worker has aliases of network and images, since tensors cannot be shared between threads; a
    // teacher that runs a program has none.
    let workers: Option<Vec<_>> =
        (0..parallel::workers(teacher.device())).map(|_| teacher.alias().map(whole)).collect();
    let rows = images.len() as i64;
    // What an image gets does not depend on its batch; on the CPU small ones stay in the cache.
    let most = if teacher.device() == tch::Device::Cpu { CPU_BATCH } else { i64::MAX };
    let batch = (batch_size as i64).min(most);
    match workers {
        Some(workers) => parallel::batches(
            rows,
            batch,
            workers,
            progress,
            |(teacher, images), first, n| label_batch(teacher, &images.f_narrow(0, first, n)?),
            |_, _, part| {
                all.extend(part);
                Ok(())
            },
        )?,
        None => tensor::batches(rows, batch, |first, n| {
            progress.check()?;
            all.extend(label_batch(teacher, &images.tensor().f_narrow(0, first, n)?)?);
            progress.advance(n as u64, "");
            Ok(())
        })?,
    }
    Ok(all)
}

fn label_batch(teacher: &Teacher, images: &Tensor) -> Result<Labelled> {
    let _guard = tch::no_grad_guard();
    let probabilities =
        teacher.log_probs(&images.f_to_device(teacher.device())?, &mut Pass::Infer)?.f_exp()?;
    let (confidences, labels) = probabilities.f_max_dim(-1, false)?;
    Ok(Labelled {
        labels: tensor::to_i64(&labels)?,
        confidences: tensor::to_f32(&confidences)?,
        probabilities: tensor::to_f32(&probabilities)?,
    })
}
