//! Images that are others again, or nearly so.

use std::collections::HashSet;

use serde::Serialize;

use crate::base::progress::Progress;
use crate::data::Images;
use crate::evaluate::{NearestDistances, distances};
use crate::{Error, Result};

/// Images of a set that have another near them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Copies {
    /// Images whose neighbours were looked for: all, or some drawn at random.
    pub compared: usize,
    /// Images that they were compared with.
    pub others: usize,
    /// Those that are another image again, value by value.
    pub equal: usize,
    /// Those within `near` of another.
    pub near: usize,
    /// Euclidean distance of pixels in `[0, 1]` below which two images are near-copies.
    pub distance: f64,
    /// Distances to the nearest other image.
    pub nearest: NearestDistances,
}

/// Images whose neighbours are looked for at most, among all.
const COMPARED: usize = 10_000;

/// How many different images there are, and near-copies among them: images whose nearest other one
/// is within `distance`.
///
/// # Errors
/// Fewer than two images, a stop.
pub fn copies_within(
    images: &Images,
    distance: f64,
    seed: u64,
    progress: &dyn Progress,
) -> Result<(usize, Copies)> {
    let chosen = some(images, seed);
    let nearest = distances::nearest_other(&images.flat(), &chosen, progress)?;
    let pixels = images.to_vec()?;
    let all: Vec<String> = hashes(images, &pixels).collect();
    let mut seen = HashSet::new();
    // What stands more than once.
    let again: HashSet<&str> = all.iter().map(String::as_str).filter(|hash| !seen.insert(*hash)).collect();
    let equal = chosen.iter().filter(|&&row| again.contains(all[row as usize].as_str())).count();
    Ok((seen.len(), count(&nearest, equal, images.len(), distance)?))
}

/// Near-copies of another set's images: those within `distance` of one of `others`.
///
/// # Errors
/// Another shape, no images in either, a stop.
pub fn copies_of(
    images: &Images,
    others: &Images,
    distance: f64,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Copies> {
    if images.shape() != others.shape() {
        return Err(Error::invalid("images of different shapes have no distance"));
    }
    let some = images.select(&some(images, seed))?;
    let nearest = distances::nearest(&some.flat(), &others.flat(), progress)?;
    let (pixels, other_pixels) = (some.to_vec()?, others.to_vec()?);
    let there: HashSet<String> = hashes(others, &other_pixels).collect();
    let equal = hashes(&some, &pixels).filter(|row| there.contains(row)).count();
    count(&nearest, equal, others.len(), distance)
}

fn some(images: &Images, seed: u64) -> Vec<i64> {
    super::some_rows(images.len(), COMPARED, seed, 4)
}

/// A hash of every image's values.
fn hashes<'a>(images: &Images, pixels: &'a [f32]) -> impl Iterator<Item = String> + use<'a> {
    // -0 is 0.
    let bits = |x: &f32| (x + 0.0).to_le_bytes();
    let width = images.shape().numel().max(1) as usize;
    pixels
        .chunks(width)
        .map(move |row| artifact::sha256_bytes(&row.iter().flat_map(bits).collect::<Vec<u8>>()))
}

fn count(nearest: &[f32], equal: usize, others: usize, distance: f64) -> Result<Copies> {
    let near = nearest.iter().filter(|&&apart| f64::from(apart) <= distance).count();
    Ok(Copies {
        compared: nearest.len(),
        others,
        equal,
        near,
        distance,
        nearest: NearestDistances::of(nearest)
            .ok_or_else(|| Error::invalid("no images have no neighbours"))?,
    })
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;
    use crate::base::progress::Silent;
    use crate::base::rng::{Purpose, Stream};

    fn images(values: &Tensor) -> Images {
        Images::trusted(values.shallow_clone())
    }

    #[test]
    fn copies_are_counted() {
        let random = Stream::new(1, Purpose::Latents, 0).normal_tensor(&[50, 1, 8, 8]).unwrap();
        let set = images(&random);
        let (distinct, found) = copies_within(&set, 1.0, 3, &Silent).unwrap();
        assert_eq!(distinct, 50);
        assert_eq!((found.compared, found.others, found.equal, found.near), (50, 50, 0, 0));
        // Three images twice, one of them moved a little.
        let again = random.narrow(0, 0, 3);
        let moved = random.narrow(0, 3, 1) + 0.01;
        let more = images(&Tensor::cat(&[&random, &again, &moved], 0));
        let (distinct, found) = copies_within(&more, 1.0, 3, &Silent).unwrap();
        assert_eq!(distinct, 51);
        assert_eq!((found.equal, found.near), (6, 8), "{found:?}");
        let found = copies_of(&images(&Tensor::cat(&[again, moved], 0)), &set, 1.0, 3, &Silent).unwrap();
        assert_eq!((found.compared, found.others, found.equal, found.near), (4, 50, 3, 4));
        let one = images(&random.narrow(0, 0, 1));
        assert!(copies_within(&one, 1.0, 3, &Silent).is_err());
        let other = images(&Tensor::zeros([3, 1, 4, 4], (tch::Kind::Float, tch::Device::Cpu)));
        assert!(copies_of(&set, &other, 1.0, 3, &Silent).is_err());
    }
}
