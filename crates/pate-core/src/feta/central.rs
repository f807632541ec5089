//! Central images: what the private images of a class have in common, asked for in a few rounds.
//!
//! The original divides each class's sum by the number of its images in the sample, which is
//! private, and takes the noise for a fixed number. Here noise goes onto sums, and what they are
//! divided by is a constant that is known to everybody.

use dp_accounting::Mechanism;
use dp_accounting::draws::Lattice;
use dp_accounting::ledger::Charge;
use dp_accounting::spend::Spending;
use serde::Serialize;
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::base::progress::Progress;
use crate::base::tensor;
use crate::config::CentralKind;
use crate::data::Records;
use crate::dp::{index, shortened};
use crate::{Error, Result};

/// How central images are asked for. All of it is public and is never computed from the private
/// data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CentralPlan {
    /// What is asked.
    pub kind: CentralKind,
    /// How often; each round gives an image of every class.
    pub rounds: u64,
    /// Probability with which a record takes part in a round.
    pub sampling_rate: f64,
    /// Standard deviation of the noise, in sensitivities; 0 without protection alone.
    pub noise_multiplier: f64,
    /// Largest L2 norm of a halved image, of the mean (R).
    pub clipping_norm: f64,
    /// Brightnesses that are told apart, of the mode.
    pub bins: i64,
    /// The number of records that the data set is publicly known to have: what sums are divided by
    /// follows from it and from the number of classes.
    pub records: f64,
}

/// Records of a sample that are worked on at once.
const CHUNK: usize = 4096;

impl CentralPlan {
    /// A round, as it is charged.
    pub fn mechanism(&self) -> Mechanism {
        Mechanism::PoissonSubsampledGaussian { q: self.sampling_rate, sigma: self.noise_multiplier }
    }

    /// What the sum over a class is divided by, of `classes` that are taken to be equally large.
    pub fn divisor(&self, classes: i64) -> f64 {
        self.sampling_rate * self.records / classes as f64
    }

    /// Coordinates of a round's release, of halved images of `pixels` values.
    pub fn dimension(&self, classes: i64, pixels: i64) -> u64 {
        let each = match self.kind {
            CentralKind::Mean => pixels,
            CentralKind::Mode => pixels * self.bins,
        };
        (classes * each).unsigned_abs()
    }

    fn check(&self, protects: bool) -> Result<()> {
        let named = [
            ("sampling rate", self.sampling_rate),
            ("clipping norm", self.clipping_norm),
            ("number of records", self.records),
            ("noise multiplier", if protects { self.noise_multiplier } else { 1.0 }),
        ];
        if let Some((name, value)) = named.iter().find(|(_, x)| !x.is_finite() || *x <= 0.0) {
            return Err(Error::invalid(format!(
                "the {name} of the central images is {value}; it is a number above 0"
            )));
        }
        if self.sampling_rate > 1.0 || self.rounds == 0 || !(2..=256).contains(&self.bins) {
            return Err(Error::invalid(format!(
                "{} rounds at sampling rate {} with {} bins: give 1 round or more, a rate of at most 1, and from 2 to 256 \
                 bins",
                self.rounds, self.sampling_rate, self.bins
            )));
        }
        Ok(())
    }

    /// The lattice of sums of the vectors of records, each `pixels` values before they are counted.
    ///
    /// # Sensitivity
    /// A record takes part in the sum of its own class alone.
    /// - mean: its vector has an L2 norm of at most R, and is rounded to the lattice before it is
    ///   added: R, and half a step for each of its coordinates ([`Lattice::of_clipped`]).
    /// - mode: it counts once for each of its pixels, in one bin: the square root of the number of
    ///   pixels, whatever the bins. Counts are whole, so nothing is rounded.
    fn lattice(&self, pixels: i64, protects: bool) -> Result<Lattice> {
        let noise = if protects { self.noise_multiplier } else { 1.0 };
        Ok(match self.kind {
            CentralKind::Mean => {
                // About half a million steps: fine, and within the sampler's reach.
                let step = noise * self.clipping_norm / f64::from(1 << 19);
                Lattice::of_clipped(self.clipping_norm, step, pixels as usize)?
            }
            CentralKind::Mode => {
                let sensitivity = (pixels as f64).sqrt() * (1.0 + 4.0 * f64::EPSILON);
                // A power of two, at most 1, of which a count is a multiple.
                let wide = (noise * sensitivity).log2() - 16.0;
                Lattice::new(2f64.powi(wide.floor().clamp(-60.0, 0.0) as i32), sensitivity)?
            }
        })
    }
}

/// Images of half the height and width: every other row and column, from the first on.
///
/// # Shapes
/// `[n, c, h, w]` to `[n, c, h / 2, w / 2]`.
///
/// # Errors
/// An odd height or width.
pub fn halved(images: &Tensor) -> Result<Tensor> {
    let size = images.size();
    if size.len() != 4 || size[2] % 2 != 0 || size[3] % 2 != 0 {
        return Err(Error::invalid(format!(
            "images of shape {size:?} cannot be halved; height and width have to be even"
        )));
    }
    Ok(images.f_slice(2, 0, None, 2)?.f_slice(3, 0, None, 2)?)
}

/// The sum of halved images by class, each clipped to the L2 norm `clip`; those that are not finite
/// count as zeros.
///
/// # Shapes
/// `halved` `[n, c, h, w]`, `labels` `[n]`, to `[classes, c h w]` in float64.
///
/// # Errors
/// Where libtorch refuses.
pub fn clipped_sums(halved: &Tensor, labels: &Tensor, classes: i64, clip: f64) -> Result<Tensor> {
    let vectors = shortened(&halved.f_to_kind(Kind::Double)?.f_flatten(1, -1)?, clip)?;
    by_class(&vectors, labels, classes)
}

/// How many halved images of a class have each of `bins` brightnesses from 0 to 1, by pixel; 1 is
/// in the last bin.
///
/// # Shapes
/// `halved` `[n, c, h, w]`, `labels` `[n]`, to `[classes, c h w, bins]` in float64.
///
/// # Errors
/// Where libtorch refuses.
pub fn counts(halved: &Tensor, labels: &Tensor, classes: i64, bins: i64) -> Result<Tensor> {
    let pixels = halved.f_to_kind(Kind::Double)?.f_flatten(1, -1)?;
    // What is no number counts as black: whatever a record is, it counts once by pixel.
    let places = pixels
        .f_nan_to_num(0.0, 1.0, 0.0)?
        .f_mul_scalar(bins as f64)?
        .f_floor()?
        .f_clamp(0.0, (bins - 1) as f64)?;
    let each = places.f_to_kind(Kind::Int64)?.f_one_hot(bins)?.f_to_kind(Kind::Double)?.f_flatten(1, -1)?;
    Ok(by_class(&each, labels, classes)?.f_view([classes, -1, bins])?)
}

fn by_class(vectors: &Tensor, labels: &Tensor, classes: i64) -> Result<Tensor> {
    let total = Tensor::f_zeros([classes, vectors.size()[1]], (Kind::Double, vectors.device()))?;
    Ok(total.f_index_add(0, labels, vectors)?)
}

/// The brightness of the bin with the highest count, the lower one of two; from 0 to 1.
///
/// # Shapes
/// `[..., bins]` to `[...]`.
///
/// # Errors
/// Where libtorch refuses.
pub fn brightest(counts: &Tensor) -> Result<Tensor> {
    let bins = counts.size().last().copied().unwrap_or(2);
    // The first of those that are equal, on any device.
    let most = counts.f_amax([-1].as_slice(), true)?;
    let (_, first) = counts.f_eq_tensor(&most)?.f_to_kind(Kind::Int)?.f_max_dim(-1, false)?;
    Ok(first.f_to_kind(Kind::Double)?.f_div_scalar((bins - 1).max(1) as f64)?)
}

/// Central images as they were released.
#[derive(Debug)]
pub struct Central {
    /// Before they are finished, half as high and wide: `[rounds classes, c, h / 2, w / 2]`,
    /// float32, of any size of values.
    pub images: Tensor,
    /// Their classes.
    pub labels: Vec<i64>,
}

/// Asks for the central images of private `records`. `keep` gets them before the charge is closed,
/// and says what the ledger remembers of them.
///
/// # Privacy
/// Neighbours add or remove one record. Each round releases one sum over a Poisson sample, of all
/// classes side by side, with discrete Gaussian noise of `noise_multiplier` times the lattice's
/// sensitivity on every coordinate; classes share a round because a record is in one of them. A
/// record's own vector is computed from that record alone. What sums are divided by is a constant
/// of the plan, and so is the number of classes.
///
/// # Errors
/// A plan whose numbers mean nothing, images with odd sides, a charge for another mechanism or a
/// refused one, a stop.
pub fn release(
    records: &Records,
    plan: &CentralPlan,
    charge: Charge,
    spending: &mut dyn Spending,
    progress: &dyn Progress,
    keep: &mut dyn FnMut(&Central) -> Result<Value>,
) -> Result<Central> {
    plan.check(spending.protects())?;
    if charge.mechanism != plan.mechanism() || charge.count != plan.rounds {
        return Err(Error::invalid(format!(
            "{} of {} was to be charged for {} rounds of {}",
            charge.count,
            charge.mechanism,
            plan.rounds,
            plan.mechanism()
        )));
    }
    let halves_private = halved(records.images.tensor())?;
    let labels_private = records.labels.tensor();
    let classes = records.classes();
    let shape = halves_private.size();
    let pixels: i64 = shape[1..].iter().product();
    let lattice = plan.lattice(pixels, spending.protects())?;
    let sum = |rows: &[usize]| -> Result<Vec<i64>> {
        let numel = plan.dimension(classes, pixels) as i64;
        let mut total = Tensor::f_zeros([numel], (Kind::Int64, tch::Device::Cpu))?;
        for rows in rows.chunks(CHUNK) {
            let at = index(rows);
            let (images, labels) =
                (halves_private.f_index_select(0, &at)?, labels_private.f_index_select(0, &at)?);
            let part = match plan.kind {
                CentralKind::Mean => rounded_sums(&images, &labels, classes, plan.clipping_norm, lattice)?,
                CentralKind::Mode => {
                    counts(&images, &labels, classes, plan.bins)?.f_div_scalar(lattice.step())?.f_round()?
                }
            };
            let _ = total.f_add_(&part.f_to_kind(Kind::Int64)?.f_flatten(0, -1)?)?;
        }
        Ok(Vec::try_from(total)?)
    };
    let mut released = None;
    spending.spend(charge, &mut |mechanisms| {
        let statistic = |error: Error| dp_accounting::Error::Statistic(Box::new(error));
        let mut rounds = Vec::new();
        for _ in 0..plan.rounds {
            let noisy = mechanisms
                .sampled_sum(records.len(), lattice, &mut |sample| sum(sample.rows()).map_err(statistic))?;
            rounds.push(estimate(&noisy, plan, classes, &shape).map_err(statistic)?);
            progress.advance(1, "");
        }
        let central = Tensor::f_cat(&rounds, 0).map_err(|error| statistic(error.into()))?;
        let labels = (0..plan.rounds).flat_map(|_| 0..classes).collect();
        let central = Central { images: central, labels };
        let remembered = keep(&central).map_err(statistic)?;
        released = Some(central);
        Ok(remembered)
    })?;
    released.ok_or_else(|| Error::invalid("nothing was released"))
}

/// [`clipped_sums`] of vectors that are rounded to the lattice one by one, in its steps.
fn rounded_sums(
    halved: &Tensor,
    labels: &Tensor,
    classes: i64,
    clip: f64,
    lattice: Lattice,
) -> Result<Tensor> {
    // A billionth for the roundings of float64 on the way.
    let vectors = shortened(&halved.f_to_kind(Kind::Double)?.f_flatten(1, -1)?, clip * (1.0 - 1e-9))?;
    by_class(&vectors.f_div_scalar(lattice.step())?.f_round()?, labels, classes)
}

/// Central images of a round's release; a function of it alone.
fn estimate(noisy: &[f64], plan: &CentralPlan, classes: i64, shape: &[i64]) -> Result<Tensor> {
    let noisy = Tensor::f_from_slice(noisy)?;
    let images = match plan.kind {
        CentralKind::Mean => noisy.f_div_scalar(plan.divisor(classes))?,
        CentralKind::Mode => brightest(&noisy.f_view([-1, plan.bins])?)?,
    };
    let images = images.f_view([classes, shape[1], shape[2], shape[3]])?;
    tensor::from_f32(&tensor::to_f32(&images)?, &images.size())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: CentralPlan = CentralPlan {
        kind: CentralKind::Mean,
        rounds: 5,
        sampling_rate: 0.1,
        noise_multiplier: 5.0,
        clipping_norm: 7.0,
        bins: 2,
        records: 60_000.0,
    };

    #[test]
    fn noise_is_as_fine_as_the_sampler_wants_it() {
        for kind in [CentralKind::Mean, CentralKind::Mode] {
            for sigma in [0.3, 1.0, 5.0, 80.0, 2000.0] {
                for pixels in [1, 196, 3072] {
                    let plan = CentralPlan { kind, noise_multiplier: sigma, ..PLAN };
                    let lattice = plan.lattice(pixels, true).unwrap();
                    let width = sigma * lattice.sensitivity() / lattice.step();
                    assert!(
                        (1024.0..=f64::from(1 << 20)).contains(&width),
                        "{kind:?} {sigma} {pixels}: {width}"
                    );
                    let least = match kind {
                        CentralKind::Mean => 7.0,
                        CentralKind::Mode => (pixels as f64).sqrt(),
                    };
                    assert!(lattice.sensitivity() >= least && lattice.sensitivity() < least * 1.2);
                }
            }
        }
        assert!((PLAN.divisor(10) - 600.0).abs() < 1e-9);
    }

    #[test]
    fn whatever_a_record_is_it_counts_once_by_pixel() {
        let strange = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -3.0, 0.0, 0.999, 1.0, 1e30];
        let images = tensor::from_f32(&strange, &[2, 1, 2, 2]).unwrap();
        let counted = counts(&images, &Tensor::from_slice(&[1i64, 1]), 3, 4).unwrap();
        assert_eq!(counted.size(), [3, 4, 4]);
        let by_pixel = counted.sum_dim_intlist([2].as_slice(), false, Kind::Double);
        assert_eq!(Vec::<f64>::try_from(by_pixel.get(1)).unwrap(), [2.0; 4]);
        assert!(by_pixel.get(0).sum(Kind::Double).double_value(&[]) == 0.0);
        let sums = clipped_sums(&images, &Tensor::from_slice(&[0i64, 1]), 2, 1.0).unwrap();
        assert!(sums.get(0).abs().sum(Kind::Double).double_value(&[]) == 0.0, "no number counts as nothing");
        assert!((sums.get(1).norm().double_value(&[]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn odd_images_cannot_be_halved() {
        let error = halved(&Tensor::zeros([1, 1, 27, 28], (Kind::Float, tch::Device::Cpu))).unwrap_err();
        assert!(error.to_string().contains("even"), "{error}");
    }
}
