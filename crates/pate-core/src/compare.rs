//! How synthetic data sets compare with the private data that they stand for: resemblance in a feature space, coverage, and
//! memorisation measured against shards that a decoder has not seen.

use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::data::{Images, Normalisation};
use crate::evaluate::wilson_95;
use crate::models::Classifier;
use crate::nn::Pass;
use crate::parallel::OneThread;
use crate::progress::Progress;
use crate::{Error, Result, distance, parallel, tensor};

/// Images whose features are computed at once.
const BATCH: i64 = 64;

/// Rows of a block of distances.
const BLOCK: i64 = 1024;

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

/// Mean and covariance (unbiased), in double precision.
fn moments(x: &Tensor) -> (Tensor, Tensor) {
    let x = x.to_kind(Kind::Double);
    let mean = x.mean_dim([0i64].as_slice(), false, Kind::Double);
    let centred = x - &mean;
    let covariance = centred.transpose(0, 1).matmul(&centred) / (centred.size()[0] - 1) as f64;
    (mean, covariance)
}

/// Frechet distance of the normal distributions with the moments of two sets of features:
/// `|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))`.
///
/// Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium" (2017), there with the
/// features of an Inception network. Figures compare only within one feature space and for like numbers of rows.
///
/// # Shapes
/// `[n, d]` and `[m, d]`.
///
/// # Errors
/// Fewer than two rows, or different widths.
pub fn frechet_distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    let (size_a, size_b) = (a.size(), b.size());
    if size_a.len() != 2 || size_b.len() != 2 || size_a[1] != size_b[1] || size_a[0] < 2 || size_b[0] < 2 {
        return Err(Error::invalid(format!(
            "a Frechet distance of {size_a:?} and {size_b:?} is not defined; both must be [rows, values] with two rows or more"
        )));
    }
    let _guard = tch::no_grad_guard();
    let _threads = OneThread::hold();
    let ((mean_a, cov_a), (mean_b, cov_b)) = (moments(a), moments(b));
    // The trace of (C_a C_b)^(1/2) is that of (R C_b R)^(1/2) with R the symmetric root of C_a, whose matrix is symmetric too.
    let (values, vectors) = cov_a.f_linalg_eigh("L")?;
    let root = (&vectors * values.clamp_min(0.0).sqrt()).matmul(&vectors.transpose(0, 1));
    let product = root.matmul(&cov_b).matmul(&root);
    let (values, _) = ((&product + product.transpose(0, 1)) * 0.5).f_linalg_eigh("L")?;
    let cross = values.clamp_min(0.0).sqrt().sum(Kind::Double);
    let distance = (mean_a - mean_b).square().sum(Kind::Double) + cov_a.trace() + cov_b.trace() - cross * 2.0;
    Ok(distance.f_double_value(&[])?.max(0.0))
}

/// Precision and recall of `generated` with respect to `real`, as shares.
///
/// Precision: generated rows inside the ball around some real row that reaches to its k-th nearest real neighbour. Recall: the
/// same with the roles exchanged. Kynkaanniemi et al., "Improved precision and recall metric for assessing generative models" (2019).
///
/// # Shapes
/// `[n, d]` and `[m, d]`, n and m above k.
///
/// # Errors
/// Too few rows, or different widths.
pub fn precision_recall(real: &Tensor, generated: &Tensor, k: i64) -> Result<[f64; 2]> {
    let (size, other) = (real.size(), generated.size());
    if size.len() != 2 || other.len() != 2 || size[1] != other[1] || k < 1 || size[0] <= k || other[0] <= k {
        return Err(Error::invalid(format!(
            "precision and recall of {size:?} and {other:?} with {k} neighbours are not defined; both must be [rows, values] with \
             more rows than neighbours"
        )));
    }
    let _guard = tch::no_grad_guard();
    let _threads = OneThread::hold();
    Ok([inside(generated, real, k)?, inside(real, generated, k)?])
}

/// Share of the rows of `x` inside a ball around a row of `centres`.
fn inside(x: &Tensor, centres: &Tensor, k: i64) -> Result<f64> {
    let mut radii = Vec::new();
    tensor::batches(centres.size()[0], BLOCK, |first, n| {
        let squared = distance::squared(&centres.f_narrow(0, first, n)?, centres);
        // The nearest is the row itself.
        radii.push(squared.f_topk(k + 1, 1, false, true)?.0.f_select(1, k)?);
        Ok(())
    })?;
    let radii = Tensor::f_cat(&radii, 0)?;
    let mut hits = 0;
    tensor::batches(x.size()[0], BLOCK, |first, n| {
        let squared = distance::squared(&x.f_narrow(0, first, n)?, centres);
        let hit = squared.f_le_tensor(&radii)?.f_any_dim(1, false)?;
        hits += hit.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        Ok(())
    })?;
    Ok(hits as f64 / x.size()[0] as f64)
}

/// Distances of samples to the shard that their decoder or teacher has seen, beside distances to other shards of the same size.
///
/// Where nothing is memorised, the own shard is one among others: of `shards` shards it holds the nearest image for about one sample in
/// `shards`, and as many near-copies as any other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Memorisation {
    /// Samples.
    pub samples: u64,
    /// Shards that were compared, the own one among them.
    pub shards: usize,
    /// Images of each that were compared with: all of the smallest.
    pub shard_size: usize,
    /// Mean distance of a sample to its nearest image in the own shard.
    pub mean_own: f64,
    /// The same for the other shards, on average.
    pub mean_other: f64,
    /// Samples whose nearest image of all is in the own shard.
    pub nearest_is_own: u64,
    /// The distance below which a sample counts as a near-copy.
    pub near: f64,
    /// Near-copies of images of the own shard.
    pub near_own: u64,
    /// Near-copies of images of another shard, on average.
    pub near_other: f64,
}

impl Memorisation {
    /// Measures the samples of one teacher.
    ///
    /// # Guarantee
    /// None: every figure is a function of private data.
    ///
    /// # Errors
    /// No samples, no other shard, images of different sizes.
    pub fn of(samples: &Images, own: &Images, others: &[&Images], near: f64) -> Result<Self> {
        let size = others.iter().map(|shard| shard.len()).fold(own.len(), usize::min);
        if samples.is_empty() || others.is_empty() || size == 0 {
            return Err(Error::invalid(format!(
                "memorisation of {} samples against {} other shards of {size} images cannot be measured",
                samples.len(),
                others.len()
            )));
        }
        let flat = samples.flat();
        let to = |shard: &Images| distance::nearest(&flat, &shard.flat().f_narrow(0, 0, size as i64)?);
        let to_own = to(own)?;
        let to_others = others.iter().map(|shard| to(shard)).collect::<Result<Vec<_>>>()?;
        let mean = |all: &[f32]| all.iter().map(|&d| f64::from(d)).sum::<f64>() / all.len() as f64;
        let close = |all: &[f32]| all.iter().filter(|&&d| f64::from(d) < near).count() as u64;
        let n_others = others.len() as f64;
        let is_own = |at: &usize| to_others.iter().all(|other| to_own[*at] < other[*at]);
        Ok(Self {
            samples: to_own.len() as u64,
            shards: others.len() + 1,
            shard_size: size,
            mean_own: mean(&to_own),
            mean_other: to_others.iter().map(|all| mean(all)).sum::<f64>() / n_others,
            nearest_is_own: (0..to_own.len()).filter(is_own).count() as u64,
            near,
            near_own: close(&to_own),
            near_other: to_others.iter().map(|all| close(all) as f64).sum::<f64>() / n_others,
        })
    }

    /// Several teachers' together; `None` for none.
    pub fn total(all: &[Self]) -> Option<Self> {
        let first = all.first()?;
        let samples: u64 = all.iter().map(|one| one.samples).sum();
        let mean = |of: fn(&Self) -> f64| {
            all.iter().map(|one| of(one) * one.samples as f64).sum::<f64>() / samples as f64
        };
        Some(Self {
            samples,
            shards: all.iter().map(|one| one.shards).min()?,
            shard_size: all.iter().map(|one| one.shard_size).min()?,
            mean_own: mean(|one| one.mean_own),
            mean_other: mean(|one| one.mean_other),
            nearest_is_own: all.iter().map(|one| one.nearest_is_own).sum(),
            near: first.near,
            near_own: all.iter().map(|one| one.near_own).sum(),
            near_other: all.iter().map(|one| one.near_other).sum(),
        })
    }

    /// Share of the samples whose nearest image is in the own shard.
    pub fn own_share(&self) -> f64 {
        self.nearest_is_own as f64 / self.samples as f64
    }

    /// That share where nothing is memorised.
    pub fn expected_share(&self) -> f64 {
        1.0 / self.shards as f64
    }

    /// Whether the figures show memorisation: the lower end of the share's 95% interval is above twice what is expected, or that of
    /// the near-copies' above twice the others'. Silence is no proof that there is none.
    pub fn is_suspicious(&self) -> bool {
        let [own, _] = wilson_95(self.nearest_is_own, self.samples);
        let [near, _] = wilson_95(self.near_own, self.samples);
        own > 2.0 * self.expected_share() || near > (2.0 * self.near_other / self.samples as f64).max(0.01)
    }
}

/// Row and distance of the shard's image that is nearest to `sample`.
///
/// # Shapes
/// `sample` is one row of [`Images::flat`], `[1, d]`.
///
/// # Errors
/// Images of another size.
pub fn nearest_image(sample: &Tensor, shard: &Images) -> Result<(i64, f64)> {
    let _guard = tch::no_grad_guard();
    let difference = shard.flat().f_sub(sample)?;
    let distances = difference.square().f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?.f_sqrt()?;
    let (distance, row) = distances.f_min_dim(0, false)?;
    Ok((row.f_int64_value(&[])?, distance.f_double_value(&[])?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    fn normal(n: i64, d: i64, index: u64) -> Tensor {
        Stream::new(3, Purpose::Latents, index).normal_tensor(&[n, d]).unwrap()
    }

    #[test]
    fn the_frechet_distance_of_normal_distributions() {
        // Independent coordinates: sum of (m_a - m_b)^2 + (s_a - s_b)^2.
        let (n, scale) = (40_000, Tensor::from_slice(&[1.0f32, 2.0, 0.5]));
        let a = normal(n, 3, 0);
        let b = normal(n, 3, 1) * &scale + Tensor::from_slice(&[0.0f32, 1.0, -2.0]);
        let expected = (1.0 + 1.0) + (4.0 + 0.25);
        let found = frechet_distance(&a, &b).unwrap();
        assert!((found - expected).abs() < 0.1, "{found}");
        assert!(frechet_distance(&a, &a).unwrap() < 1e-9);
        // A rotation of both changes nothing; that of one does.
        let (rotation, _) = Tensor::linalg_qr(&normal(3, 3, 2), "reduced");
        let turned = frechet_distance(&a.matmul(&rotation), &b.matmul(&rotation)).unwrap();
        assert!((turned - found).abs() < 1e-3, "{turned} {found}");
        assert!(frechet_distance(&a, &normal(5, 4, 3)).is_err());
        assert!(frechet_distance(&a.narrow(0, 0, 1), &b).is_err());
    }

    #[test]
    fn precision_sees_strays_and_recall_sees_gaps() {
        let real = normal(500, 2, 0);
        let [precision, recall] = precision_recall(&real, &normal(500, 2, 1), 3).unwrap();
        assert!(precision > 0.85 && recall > 0.85, "{precision} {recall}");
        // Half of them far away.
        let strays = Tensor::cat(&[normal(250, 2, 1), normal(250, 2, 2) + 100.0], 0);
        let [precision, _] = precision_recall(&real, &strays, 3).unwrap();
        assert!((precision - 0.47).abs() < 0.06, "{precision}");
        // All in one corner.
        let [precision, recall] = precision_recall(&real, &(normal(500, 2, 1) * 0.05), 3).unwrap();
        assert!(precision > 0.95 && recall < 0.1, "{precision} {recall}");
        // By hand, k = 1: balls of radius 1 around 0 and 1, and of radius 9 around 10.
        let line = |values: &[f32]| Tensor::from_slice(values).view([-1, 1]);
        let found = precision_recall(&line(&[0.0, 1.0, 10.0]), &line(&[-1.5, 1.9, 18.9, 19.1]), 1).unwrap();
        assert!((found[0] - 0.5).abs() < 1e-12, "{found:?}");
        assert!(precision_recall(&real, &line(&[0.0, 1.0]), 3).is_err());
    }

    #[test]
    fn copies_of_the_own_shard_are_seen_and_those_of_nobody_are_not() {
        let images = |n, index| Images::trusted(normal(n, 16, index).view([n, 1, 4, 4]));
        let shards: Vec<Images> = (0..10).map(|index| images(50 + index, index as u64)).collect();
        let others: Vec<&Images> = shards[1..].iter().collect();
        let copies = Images::trusted(shards[0].tensor() + normal(50, 16, 99).view([50, 1, 4, 4]) * 0.1);
        let leak = Memorisation::of(&copies, &shards[0], &others, 1.0).unwrap();
        assert_eq!((leak.nearest_is_own, leak.near_own, leak.shards, leak.shard_size), (50, 50, 10, 50));
        assert!(leak.is_suspicious() && leak.mean_own < 0.6 && leak.mean_other > 2.0, "{leak:?}");
        let fresh = Memorisation::of(&images(400, 77), &shards[0], &others, 1.0).unwrap();
        assert!(!fresh.is_suspicious(), "{fresh:?}");
        assert!((fresh.own_share() - fresh.expected_share()).abs() < 0.08, "{fresh:?}");
        let total = Memorisation::total(&[leak.clone(), fresh.clone()]).unwrap();
        assert_eq!(total.samples, 450);
        assert!((total.mean_own * 450.0 - leak.mean_own * 50.0 - fresh.mean_own * 400.0).abs() < 1e-6);
        assert!(Memorisation::of(&copies, &shards[0], &[], 1.0).is_err());
    }
}
