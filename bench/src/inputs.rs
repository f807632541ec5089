//! The inputs of all parts that no program of the pipeline writes by itself.

use std::path::Path;

use anyhow::Result;
use artifact::{Access, AtomicFile};
use pate_core::base::progress::Silent;
use pate_core::base::rng::{Purpose, Stream};
use pate_core::base::tensor;
use pate_core::data::{ImageShape, MNIST_CLASSES, digits};
use pate_core::models::{self, UcStub, Vae};
use pate_core::pate::label::{self, Labelled};
use pate_core::pate::select::sort_by_confidence;
use tch::Device;
use tensorfile::{Array, View};

use crate::parts::{Inputs, SHARD};
use crate::private::{self, Network};

/// Writes `survivors.pt`, `student.pt` with its labels, `digits.pt`, start points of steering,
/// images of private steps, and initial weights.
pub(crate) fn make(inputs: &Inputs) -> Result<()> {
    let settings = &inputs.settings;
    let pool = inputs.pool()?;
    let labelled = label::label(&inputs.teacher()?, &pool, settings.batch_size, &Silent)?;

    let chosen = survivors(&labelled, settings.survivors, settings.max_per_class);
    pool.select(&chosen)?.save(&inputs.file("survivors.pt"), Access::Private)?;

    let rows: Vec<i64> = (0..pool.len().min(settings.student.samples) as i64).collect();
    pool.select(&rows)?.save(&inputs.file("student.pt"), Access::Private)?;
    save_labels(&inputs.file("student_labels.pt"), &labelled.labels[..rows.len()])?;
    digits()?.images.save(&inputs.file("digits.pt"), Access::Public)?;

    let shape = [settings.steering.exact_samples, settings.decoder.latent_dim];
    let z0 = Stream::new(settings.seed, Purpose::SteeringStart, 0).normal_tensor(&shape)?;
    let file = inputs.file("z0.pt");
    save(&file, &[shape[0] as usize, shape[1] as usize], &tensor::to_f32(&z0)?)?;

    let classifier = UcStub::new(ImageShape::MNIST, MNIST_CLASSES, settings.seed, Device::Cpu)?;
    models::save(&classifier, &inputs.file("initial_classifier.pth"), Access::Public)?;
    let vae = Vae::new(ImageShape::MNIST, settings.decoder.latent_dim, settings.seed, Device::Cpu)?;
    models::save(&vae, &inputs.file("initial_vae.pth"), Access::Public)?;
    let shape = [private::RECORDS, 1, 28, 28];
    save(&inputs.file(private::IMAGES), &shape, &private::pixels(settings.seed))?;
    let labels: Vec<i64> = (0..private::RECORDS as i64).map(|i| i % MNIST_CLASSES).collect();
    save_labels(&inputs.file(private::LABELS), &labels)?;
    for (network, file) in Network::ALL {
        models::save(&*network.build(settings.seed)?, &inputs.file(file), Access::Public)?;
    }
    features(inputs)?;
    // Absent shards are better found here than in the middle of a run.
    anyhow::ensure!(
        inputs.file(SHARD).is_file(),
        "{} is not there; run prepare-shards first",
        inputs.file(SHARD).display()
    );
    Ok(())
}

/// Values of a row of features: as many as an Inception network's.
const FEATURES: i64 = 2048;
/// Directions in which features vary together.
const DIRECTIONS: i64 = 64;

/// `features_real.pt` and `features_generated.pt`: made-up features of two sets that overlap.
fn features(inputs: &Inputs) -> Result<()> {
    let n = (inputs.settings.pool_size / 2).max(10) as i64;
    let mut stream = Stream::new(inputs.settings.seed, Purpose::Probe, 1);
    let directions = stream.normal_tensor(&[DIRECTIONS, FEATURES])?;
    for (file, moved) in [("features_real.pt", 0.0), ("features_generated.pt", 0.3)] {
        let place = stream.normal_tensor(&[n, DIRECTIONS])? + moved;
        let values = place.matmul(&directions) + stream.normal_tensor(&[n, FEATURES])? * 0.5;
        save(&inputs.file(file), &[n as usize, FEATURES as usize], &tensor::to_f32(&values.relu())?)?;
    }
    Ok(())
}

/// The most confident candidates, at most `max_per_class` of a class and then the next ones in
/// order of confidence.
fn survivors(labelled: &Labelled, wanted: usize, max_per_class: usize) -> Vec<i64> {
    let mut order: Vec<usize> = (0..labelled.labels.len()).collect();
    sort_by_confidence(&mut order, &labelled.confidences);
    let mut taken = std::collections::BTreeMap::<i64, usize>::new();
    let (mut chosen, others): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|&row| {
        let n = taken.entry(labelled.labels[row]).or_default();
        *n += 1;
        *n <= max_per_class
    });
    chosen.extend(others);
    chosen.truncate(wanted);
    sort_by_confidence(&mut chosen, &labelled.confidences);
    chosen.into_iter().map(|row| row as i64).collect()
}

fn save(path: &Path, shape: &[usize], values: &[f32]) -> Result<()> {
    let mut file = AtomicFile::create(path, Access::Public)?;
    tensorfile::pt::write_array(&mut file, View::f32(shape, values)?)?;
    file.commit()?;
    Ok(())
}

fn save_labels(path: &Path, labels: &[i64]) -> Result<()> {
    let shape = [labels.len()];
    let labels = Array::from_i64(shape.to_vec(), labels.to_vec())?;
    let mut file = AtomicFile::create(path, Access::Private)?;
    tensorfile::pt::write_array(
        &mut file,
        View { dtype: labels.dtype(), shape: &shape, bytes: labels.bytes() },
    )?;
    file.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survivors_are_balanced_first_and_filled_up_then() {
        let labelled = Labelled {
            labels: vec![0, 0, 0, 1, 1],
            confidences: vec![0.9, 0.8, 0.7, 0.6, 0.5],
            ..Labelled::default()
        };
        assert_eq!(survivors(&labelled, 3, 2), [0, 1, 3]);
        assert_eq!(survivors(&labelled, 5, 1), [0, 1, 2, 3, 4]);
        assert_eq!(survivors(&labelled, 2, 1), [0, 3]);
    }
}
