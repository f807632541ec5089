//! How near samples lie to private images, compared with images that nobody trained on.

use serde::Serialize;
use tch::{Kind, Tensor};

use crate::base::progress::Silent;
use crate::data::Images;
use crate::evaluate::{distances, wilson_95};
use crate::{Error, Result};

/// Distances of samples to the shard that their decoder or teacher has seen, beside distances to
/// other shards of the same size.
///
/// Where nothing is memorised, the own shard is one among others: of `shards` shards it holds the
/// nearest image for about one sample in `shards`, and as many near-copies as any other.
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
        // All shards are cut to the smallest: among more images the nearest is nearer by chance.
        let to =
            |shard: &Images| distances::nearest(&flat, &shard.flat().f_narrow(0, 0, size as i64)?, &Silent);
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

    /// Fraction of the samples whose nearest image is in the own shard.
    pub fn own_fraction(&self) -> f64 {
        self.nearest_is_own as f64 / self.samples as f64
    }

    /// That fraction where nothing is memorised.
    pub fn expected_fraction(&self) -> f64 {
        1.0 / self.shards as f64
    }

    /// Whether the figures show memorisation: the lower end of the fraction's 95% interval is above
    /// twice what is expected, or that of the near-copies' above twice the others'. Silence is no
    /// proof that there is none.
    pub fn is_suspicious(&self) -> bool {
        let [own, _] = wilson_95(self.nearest_is_own, self.samples);
        let [near, _] = wilson_95(self.near_own, self.samples);
        own > 2.0 * self.expected_fraction() || near > (2.0 * self.near_other / self.samples as f64).max(0.01)
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
    use crate::base::rng::{Purpose, Stream};

    fn normal(n: i64, d: i64, index: u64) -> Tensor {
        Stream::new(3, Purpose::Latents, index).normal_tensor(&[n, d]).unwrap()
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
        assert!((fresh.own_fraction() - fresh.expected_fraction()).abs() < 0.08, "{fresh:?}");
        let total = Memorisation::total(&[leak.clone(), fresh.clone()]).unwrap();
        assert_eq!(total.samples, 450);
        assert!((total.mean_own * 450.0 - leak.mean_own * 50.0 - fresh.mean_own * 400.0).abs() < 1e-6);
        assert!(Memorisation::of(&copies, &shards[0], &[], 1.0).is_err());
    }
}
