//! What the layers of a classifier see of private images: means and variances by channel, released
//! once.
//!
//! The original records running statistics of batches, of which it pays for thousands and whose
//! noise it leaves out; a batch's mean of clamped activations moves by the clamp times the square
//! root of their number when one record changes, not by the clamp. Here each record gives one
//! vector of bounded norm, and their sum is released once.

use std::path::Path;

use artifact::{Access, AtomicFile, FileRecord};
use dp_accounting::Mechanism;
use dp_accounting::ledger::Charge;
use dp_accounting::spend::Spending;
use serde::Serialize;
use serde_json::Value;
use tch::{Kind, Tensor};
use tensorfile::View;

use crate::base::parallel;
use crate::base::progress::Progress;
use crate::base::tensor;
use crate::data::{ImageShape, Images, Normalisation};
use crate::dp::{UnitLattice, UnitSum, shortened};
use crate::models::Classifier;
use crate::nn::{DropoutMasks, Layer, Pass, Tape};
use crate::{Error, Result};

/// The inputs whose statistics count: those of the group normalisations, in the order of execution;
/// of a network without any, those of all layers with parameters that see something else than the
/// image, which is told by its shape.
///
/// # Shapes
/// `[n, channels, ...]` each.
pub fn inputs(tape: &Tape, image: &Tensor) -> Vec<Tensor> {
    let norms = |layer: &Layer| matches!(layer, Layer::GroupNorm(_));
    let of = |chosen: &dyn Fn(&Layer) -> bool| -> Vec<Tensor> {
        let uses = tape.uses.iter().filter(|used| chosen(&used.layer));
        uses.map(|used| used.input.shallow_clone()).filter(|input| input.size() != image.size()).collect()
    };
    match of(&norms) {
        found if found.is_empty() => of(&|_| true),
        found => found,
    }
}

/// A layer's mean and biased variance over the batch and the places, by channel.
///
/// # Shapes
/// `x` `[n, channels, ...]`, to `[channels]` each.
pub fn of_batch(x: &Tensor) -> (Tensor, Tensor) {
    let axes: Vec<i64> = (0..x.dim() as i64).filter(|axis| *axis != 1).collect();
    let mean = x.mean_dim(axes.as_slice(), true, None);
    let centred = x - &mean;
    let variance = (&centred * &centred).mean_dim(axes.as_slice(), false, None);
    (mean.flatten(0, -1), variance)
}

/// Each record's mean and mean of squares over the places, by channel, of all layers behind one
/// another; and each layer's channels.
///
/// # Shapes
/// `[n, channels of all layers]` each.
///
/// # Errors
/// A network without such layers.
pub fn of_records(inputs: &[Tensor]) -> Result<(Tensor, Tensor, Vec<i64>)> {
    if inputs.is_empty() {
        return Err(Error::invalid(
            "the network has no layer behind its first one, so there are no statistics of it; leave them out",
        ));
    }
    let by_record = |x: &Tensor| {
        let flat = x.reshape([x.size()[0], x.size()[1], -1]);
        (flat.mean_dim(2, false, None), (&flat * &flat).mean_dim(2, false, None))
    };
    let (means, squares): (Vec<_>, Vec<_>) = inputs.iter().map(by_record).unzip();
    let channels = inputs.iter().map(|x| x.size()[1]).collect();
    Ok((Tensor::f_cat(&means, 1)?, Tensor::f_cat(&squares, 1)?, channels))
}

/// How statistics are released. All of it is public and is never computed from the private data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StatisticsPlan {
    /// Standard deviation of the noise, in sensitivities; 0 without protection alone.
    pub noise_multiplier: f64,
    /// Largest L2 norm of a record's vector (S).
    pub clipping_norm: f64,
    /// Means are clamped to this on both sides, means of squares to its square (b).
    pub bound: f64,
    /// What sums are divided by: the number of records that the data set is publicly known to have.
    pub records: f64,
    /// Least variance: noise can leave less than 0.
    pub variance_floor: f64,
}

impl StatisticsPlan {
    /// The release: a sum of vectors in units of S.
    fn unit_sum(&self) -> UnitSum {
        UnitSum { noise_multiplier: self.noise_multiplier }
    }

    /// The release, as it is charged.
    pub fn mechanism(&self) -> Mechanism {
        self.unit_sum().mechanism()
    }

    fn check(&self) -> Result<()> {
        let named = [
            ("clipping norm", self.clipping_norm),
            ("bound", self.bound),
            ("number of records", self.records),
            ("least variance", self.variance_floor),
        ];
        match named.iter().find(|(_, x)| !x.is_finite() || *x <= 0.0) {
            Some((name, value)) => Err(Error::invalid(format!(
                "the {name} of the statistics is {value}; it is a number above 0"
            ))),
            None => Ok(()),
        }
    }
}

/// A record's vector before clipping: its clamped means, then its clamped means of squares, each
/// layer's divided by the square root of its channels, so that layers count alike.
///
/// # Shapes
/// `mean` and `squares` `[n, channels of all layers]`, to `[n, 2 channels]` in float64.
///
/// # Errors
/// Other shapes.
pub fn vectors(mean: &Tensor, squares: &Tensor, channels: &[i64], bound: f64) -> Result<Tensor> {
    let scale = scales(channels)?;
    let mean = mean.f_to_kind(Kind::Double)?.f_clamp(-bound, bound)?;
    let squares = squares.f_to_kind(Kind::Double)?.f_clamp(0.0, bound * bound)?;
    Ok(Tensor::f_cat(&[mean.f_div(&scale)?, squares.f_div(&scale)?], 1)?)
}

/// The square root of the channels of each channel's layer.
fn scales(channels: &[i64]) -> Result<Tensor> {
    let roots = channels.iter().flat_map(|&n| std::iter::repeat_n((n as f64).sqrt(), n as usize));
    Ok(Tensor::f_from_slice(&roots.collect::<Vec<f64>>())?)
}

/// Means and variances of what the layers of a classifier see, by channel.
#[derive(Debug)]
pub struct Statistics {
    /// `[channels of all layers]`, float32.
    pub mean: Tensor,
    /// The same.
    pub variance: Tensor,
    /// Channels of each layer.
    pub channels: Vec<i64>,
    /// Variances that noise had left below the floor.
    pub floored: usize,
}

impl Statistics {
    /// What a sum of records' vectors, in the vectors' units, says; a function of the sum alone.
    ///
    /// # Shapes
    /// `sum` `[2 channels of all layers]`.
    ///
    /// # Errors
    /// Another length.
    pub fn of_sum(sum: &[f64], channels: &[i64], plan: &StatisticsPlan) -> Result<Self> {
        let n: i64 = channels.iter().sum();
        if sum.len() as i64 != 2 * n {
            return Err(Error::invalid(format!("{} numbers are no statistics of {n} channels", sum.len())));
        }
        let expected = Tensor::f_from_slice(sum)?.f_div_scalar(plan.records)?.f_view([2, n])?;
        let expected = expected.f_mul(&scales(channels)?)?;
        let (mean, squares) = (expected.get(0), expected.get(1));
        let variance = squares - &mean * &mean;
        let floored = variance.f_lt(plan.variance_floor)?.f_sum(Kind::Int64)?.f_int64_value(&[])? as usize;
        Ok(Self {
            mean: mean.f_to_kind(Kind::Float)?,
            variance: variance.f_clamp_min(plan.variance_floor)?.f_to_kind(Kind::Float)?,
            channels: channels.to_vec(),
            floored,
        })
    }

    /// The same memory for another thread.
    pub(super) fn alias(&self) -> Self {
        let channels = self.channels.clone();
        let (mean, variance) = (self.mean.shallow_clone(), self.variance.shallow_clone());
        Self { mean, variance, channels, floored: self.floored }
    }

    /// Each layer's mean and variance.
    pub fn layers(&self) -> impl Iterator<Item = (Tensor, Tensor)> {
        let mut first = 0;
        self.channels.iter().map(move |&n| {
            let part = (self.mean.narrow(0, first, n), self.variance.narrow(0, first, n));
            first += n;
            part
        })
    }

    /// Writes them as `torch.save({"mean": ..., "variance": ..., "channels": ...})` would.
    ///
    /// # Errors
    /// Where the file cannot be written; nothing is left under its name then.
    pub fn save(&self, path: &Path, access: Access) -> Result<FileRecord> {
        let (mean, variance) = (tensor::to_f32(&self.mean)?, tensor::to_f32(&self.variance)?);
        let (n, layers) = ([mean.len()], [self.channels.len()]);
        let mut file = AtomicFile::create(path, access)?;
        let views = [
            ("mean", View::f32(&n, &mean)?),
            ("variance", View::f32(&n, &variance)?),
            ("channels", View::i64(&layers, &self.channels)?),
        ];
        tensorfile::pt::write_dict(&mut file, &views)?;
        Ok(file.commit()?)
    }

    /// Reads what [`Statistics::save`] wrote.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self> {
        let bad = |found: String| Error::content(path, found, "give a file of capture-dp-stats");
        let mut named = tensorfile::read(path)?.into_state_dict(&["mean", "variance", "channels"])?;
        let mut take = |name: &str| {
            let at = named.iter().position(|(found, _)| found == name);
            at.map(|at| named.swap_remove(at).1).ok_or_else(|| bad(format!("there is no `{name}` in it")))
        };
        let (mean, variance, channels) =
            (take("mean")?.into_f32(), take("variance")?.into_f32(), take("channels")?);
        let channels: Vec<i64> = channels.into_f32().into_iter().map(|n| n as i64).collect();
        let total = channels.iter().try_fold(0i64, |sum, &n| if n > 0 { sum.checked_add(n) } else { None });
        let finite = mean.iter().chain(&variance).all(|x| x.is_finite()) && variance.iter().all(|v| *v > 0.0);
        if total != Some(mean.len() as i64) || mean.len() != variance.len() || !finite {
            return Err(bad(format!(
                "it has {} means and {} variances for layers of {channels:?} channels, or some are no numbers",
                mean.len(),
                variance.len()
            )));
        }
        let n = [mean.len() as i64];
        Ok(Self {
            mean: tensor::from_f32(&mean, &n)?,
            variance: tensor::from_f32(&variance, &n)?,
            channels,
            floored: 0,
        })
    }
}

/// Records whose sums a thread hands over together.
const CHUNK: i64 = 64;

/// What is looked at: private images by a network.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Public, or released under the ledger that pays for the statistics.
    pub network: &'a dyn Classifier,
    /// As the network was trained.
    pub normalisation: &'a Normalisation,
    /// Private.
    pub images: &'a Images,
}

/// Releases the statistics of what a network sees of private `images`. `keep` gets them before the
/// charge is closed, and says what the ledger remembers of them.
///
/// # Privacy
/// Neighbours add or remove one record. Every record's vector ([`vectors`]) is computed by itself,
/// in a batch of one, so that it is a function of that record and of the network alone; it is
/// clipped to an L2 norm of S less what rounding can add, and rounded to a lattice. The sum is one
/// of whole numbers. One record therefore moves it by S at most in L2: its clipped vector has a
/// norm of at most S - h sqrt(d) / 2 for a lattice of step h in d coordinates, rounding to the
/// nearest multiples moves each coordinate by h / 2 at most, and nothing else changes. Discrete
/// Gaussian noise of `noise_multiplier` times S is added once; what is divided by is a constant.
/// The network must be public, or itself released under the same ledger.
///
/// # Errors
/// A plan whose numbers mean nothing, a charge for another mechanism or a refused one, a stop.
pub fn release(
    seen: Seen<'_>,
    plan: &StatisticsPlan,
    charge: Charge,
    spending: &mut dyn Spending,
    progress: &dyn Progress,
    keep: &mut dyn FnMut(&Statistics) -> Result<Value>,
) -> Result<Statistics> {
    let Seen { network, normalisation, images } = seen;
    let shape = images.shape();
    normalisation.check_channels(shape.channels)?;
    plan.check()?;
    plan.unit_sum().check(&charge)?;
    let channels = channels(network, shape)?;
    let dimension = 2 * channels.iter().sum::<i64>() as usize;
    let on = plan.unit_sum().lattice(dimension, spending.protects())?;
    // Before the charge: minutes of work that can be stopped, and then have cost nothing.
    let sum_private = sum(seen, plan, on, dimension, progress)?;
    plan.unit_sum().release(&sum_private, on.lattice, charge, spending, &mut |noisy| {
        let noisy: Vec<f64> = noisy.into_iter().map(|x| x * plan.clipping_norm).collect();
        let statistics = Statistics::of_sum(&noisy, &channels, plan)?;
        let remembered = keep(&statistics)?;
        Ok((statistics, remembered))
    })
}

/// The sum of the records' vectors, in steps of the lattice.
fn sum(
    seen: Seen<'_>,
    plan: &StatisticsPlan,
    UnitLattice { lattice, clip }: UnitLattice,
    dimension: usize,
    progress: &dyn Progress,
) -> Result<Vec<i64>> {
    let Seen { network, normalisation, images } = seen;
    let mut total = Tensor::f_zeros([dimension as i64], (Kind::Int64, tch::Device::Cpu))?;
    let device = network.device();
    let workers = (0..parallel::workers(device))
        .map(|_| Alone { network: network.alias(), images: images.tensor().shallow_clone() });
    parallel::batches(
        images.len() as i64,
        CHUNK,
        workers.collect(),
        progress,
        |worker, first, n| {
            let _guard = tch::no_grad_guard();
            let mut part = Tensor::f_zeros([dimension as i64], (Kind::Int64, tch::Device::Cpu))?;
            for row in first..first + n {
                let image = worker.images.f_narrow(0, row, 1)?.f_to_device(device)?;
                let (mean, squares, channels) = moments(&*worker.network, &normalisation.apply(&image))?;
                let (mean, squares) =
                    (mean.f_to_device(tch::Device::Cpu)?, squares.f_to_device(tch::Device::Cpu)?);
                let vector = vectors(&mean, &squares, &channels, plan.bound)? / plan.clipping_norm;
                let rounded = shortened(&vector, clip)?.f_div_scalar(lattice.step())?.f_round()?;
                let _ = part.f_add_(&rounded.f_to_kind(Kind::Int64)?.f_flatten(0, -1)?)?;
            }
            Ok(part)
        },
        |_, _, part| {
            let _ = total.f_add_(&part)?;
            Ok(())
        },
    )?;
    Ok(Vec::try_from(total)?)
}

struct Alone {
    network: Box<dyn Classifier>,
    images: Tensor,
}

/// Channels of each layer whose statistics count, of a network for images of `shape`: known from an
/// image that nobody took.
///
/// # Errors
/// A network without such layers.
pub fn channels(network: &dyn Classifier, shape: ImageShape) -> Result<Vec<i64>> {
    let blank = Tensor::f_zeros(shape.batch(1), (Kind::Float, network.device()))?;
    let (_, _, channels) = moments(network, &blank)?;
    Ok(channels)
}

/// Moments of what the layers see of images as the network sees them.
fn moments(network: &dyn Classifier, x: &Tensor) -> Result<(Tensor, Tensor, Vec<i64>)> {
    let _guard = tch::no_grad_guard();
    let mut tape = Tape::default();
    let _ = network.logits(x, &mut Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() });
    of_records(&inputs(&tape, x))
}
