//! Scattering: features of an image that nobody had to train.
//!
//! Averages of the moduli of wavelet coefficients, and of the moduli of the wavelet coefficients of
//! those (S. Mallat, *Group Invariant Scattering*, 2012; J. Bruna and S. Mallat, *Invariant
//! Scattering Convolution Networks*, 2013; E. Oyallon et al., *Scattering Networks for Hybrid
//! Representation Learning*, 2018). The values are kymatio 0.3.0's, with its subsampling before the
//! modulus, which aliases: a transform at full resolution differs by half a percent.
//!
//! # Privacy
//! There are no parameters and nothing is estimated: the features of an image are a function of
//! that image alone, so features of private images are as private as these, and one record changes
//! its own row of them and no other.

mod filters;
mod gradient;
mod maps;

use tch::{Device, Kind, Tensor};

pub use filters::{Filters, at_resolution};
use maps::{Axis, Buffer, Buffers, Level};

use crate::base::parallel;
use crate::base::progress::{Progress, Silent};
use crate::{Error, Result};

/// Planes that are computed at once on the CPU: of 8, 16, 32 and 48 the fastest. Fewer read the
/// maps too often; what lies between two products takes half a megabyte for each.
const PLANES: i64 = 48;
/// The same elsewhere.
const PLANES_ELSEWHERE: i64 = 512;

/// Maps beyond this are refused, in bytes.
const MAX_BYTES: f64 = 300e6;

/// Added to variances by [`normalise`]: PyTorch's `GroupNorm`.
const EPSILON: f64 = 1e-5;

/// The transform for images of one size: scattering of order 2.
///
/// Every colour is transformed on its own. The channels are, in this order: the average; for each
/// scale j, for each angle, the average of the first modulus; for each scale j1, for each angle,
/// for each scale j2 > j1, for each angle, the average of the second.
pub struct Scatter {
    /// Rows and columns of pixels.
    size: [i64; 2],
    scales: u32,
    angles: i64,
    /// Pixels, then moduli of each scale.
    levels: Vec<Level>,
    kind: Kind,
    device: Device,
    after: [i64; 2],
}

/// An alias: the maps are the same memory.
impl Clone for Scatter {
    fn clone(&self) -> Self {
        let levels = self.levels.iter().map(|level| level.map(&|map| map.shallow_clone())).collect();
        Self { levels, ..*self }
    }
}

impl Scatter {
    /// The usual transform of images of `size`, rows and columns: 2 octaves and 8 angles, 81
    /// channels of a quarter of the image's sides.
    ///
    /// # Errors
    /// As [`Scatter::with`].
    pub fn new(size: [i64; 2], kind: Kind, device: Device) -> Result<Self> {
        Self::with(size, 2, 8, kind, device)
    }

    /// The transform of `scales` octaves (J) and `angles` directions (L) for images of `size`, rows
    /// and columns, computed in `kind`, float32 or float64, on `device`.
    ///
    /// The maps take 10 MB for 28x28 pixels in float32 and 14 MB for 32x32 ([`Scatter::bytes`]),
    /// and grow with the third power of the side; while they are made they take a few times that.
    ///
    /// # Errors
    /// A number that is not positive, another kind, images that are too small to be reflected by
    /// the padding (for two octaves: below 5 pixels), maps of more than 300 MB.
    pub fn with(size: [i64; 2], scales: u32, angles: i64, kind: Kind, device: Device) -> Result<Self> {
        let [height, width] = size;
        if scales < 1 || angles < 1 {
            return Err(Error::invalid(format!(
                "a scattering of {scales} scales and {angles} angles is not defined; both are at least 1"
            )));
        }
        if !matches!(kind, Kind::Float | Kind::Double) {
            return Err(Error::invalid(format!(
                "scattering is computed in float32 or float64, not in {kind:?}"
            )));
        }
        let axes = Axis::of_pixels(height, scales).zip(Axis::of_pixels(width, scales));
        let Some(axes) = axes.map(|(rows, columns)| [rows, columns]) else {
            return Err(Error::invalid(format!(
                "images of {height}x{width} pixels are too small to be scattered over {scales} octaves; \
                 take larger images or fewer octaves"
            )));
        };
        let moduli = |scale: u32| axes.map(|axis| axis.subsampled(scale));
        let numel = Level::numel(axes, 0, 0, scales, angles)
            + (0..scales).map(|j| Level::numel(moduli(j), j, j + 1, scales, angles)).sum::<f64>();
        let bytes = numel * kind.elt_size_in_bytes() as f64;
        if bytes > MAX_BYTES {
            return Err(Error::invalid(format!(
                "scattering images of {height}x{width} pixels takes {:.0} MB of maps, {:.0} MB are allowed; \
                 take smaller images",
                bytes / 1e6,
                MAX_BYTES / 1e6
            )));
        }
        let _guard = tch::no_grad_guard();
        let filters = Filters::new(axes[0].padded, axes[1].padded, scales, angles)?;
        let mut levels = vec![Level::new(&filters, axes, 0, 0)];
        levels.extend((0..scales).map(|j| Level::new(&filters, moduli(j), j, j + 1)));
        let levels =
            levels.iter().map(|level| level.map(&|map| map.to_kind(kind).to_device(device))).collect();
        let after = size.map(|length| length >> scales);
        Ok(Self { size, scales, angles, levels, kind, device, after })
    }

    /// Channels that each colour gives: 1 + J L + L^2 J (J - 1) / 2.
    pub fn channels(&self) -> i64 {
        let scales = i64::from(self.scales);
        1 + scales * self.angles + self.angles * self.angles * scales * (scales - 1) / 2
    }

    /// Shape of the features of one colour of one image: `[channels, rows, columns]`.
    pub fn output(&self) -> [i64; 3] {
        [self.channels(), self.after[0], self.after[1]]
    }

    /// Bytes that the maps take.
    pub fn bytes(&self) -> usize {
        let numel = std::cell::Cell::new(0);
        for level in &self.levels {
            level.map(&|map| {
                numel.set(numel.get() + map.numel());
                map.shallow_clone()
            });
        }
        numel.get() * self.kind.elt_size_in_bytes()
    }

    /// The features of images, without gradients.
    ///
    /// # Shapes
    /// `x` `[n, c, h, w]`, floating-point, to `[n, c, channels, h / 2^J, w / 2^J]` in this
    /// transform's kind, on its device.
    ///
    /// # Errors
    /// Images of another size, whole numbers.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, &Silent)
    }

    /// [`Scatter::forward`], which tells `progress` of every plane (one colour of one image) that
    /// is done.
    ///
    /// Batches of planes go to as many threads as libtorch has; each is of the same size, so that
    /// the same operations give a plane's features whatever the number of threads.
    ///
    /// # Errors
    /// As [`Scatter::forward`], and a stop.
    pub fn forward_with(&self, x: &Tensor, progress: &dyn Progress) -> Result<Tensor> {
        let [height, width] = self.size;
        let (n, colours) = self.check(x)?;
        let _guard = tch::no_grad_guard();
        let planes = x.f_detach()?.f_reshape([n * colours, height, width])?;
        let total = n * colours;
        let [n_out, rows, columns] = self.output();
        let features = Tensor::f_empty([total, n_out, rows, columns], (self.kind, self.device))?;
        let batch = match self.device {
            // A plane alone is computed alone.
            Device::Cpu if total == 1 => 1,
            Device::Cpu => PLANES,
            _ => PLANES_ELSEWHERE,
        };
        let workers = (0..parallel::workers(self.device)).map(|_| self.worker(&planes, batch)).collect();
        parallel::batches(
            total,
            batch,
            workers,
            progress,
            |worker, first, n| {
                let _guard = tch::no_grad_guard();
                worker.features(first, n)
            },
            |first, n, part| Ok(features.f_narrow(0, first, n)?.f_copy_(&part)?),
        )?;
        Ok(features.f_view([n, colours, n_out, rows, columns])?)
    }

    /// Images and colours of `x`.
    fn check(&self, x: &Tensor) -> Result<(i64, i64)> {
        let ([height, width], shape) = (self.size, x.size());
        match shape[..] {
            [n, colours, h, w] if [h, w] == self.size && x.is_floating_point() => Ok((n, colours)),
            _ => Err(Error::invalid(format!(
                "images of shape {shape:?} ({:?}) cannot be scattered; [n, c, {height}, {width}] of floats can",
                x.kind()
            ))),
        }
    }

    fn worker(&self, planes: &Tensor, batch: i64) -> Worker {
        let buffer = || Buffer::new(self.kind, self.device);
        Worker {
            levels: self.levels.iter().map(|level| level.map(&|map| map.shallow_clone())).collect(),
            angles: self.angles,
            output: self.output(),
            planes: planes.shallow_clone(),
            batch,
            pixels: Tensor::zeros([planes.size()[2], planes.size()[1], batch], (self.kind, self.device)),
            spectra: [buffer(), buffer()],
            moduli: [buffer(), buffer()],
            buffers: Buffers::new(self.kind, self.device),
        }
    }
}

/// What one thread computes with.
struct Worker {
    levels: Vec<Level>,
    angles: i64,
    output: [i64; 3],
    planes: Tensor,
    batch: i64,
    /// The planes of this batch, `[columns, rows, batch]`.
    pixels: Tensor,
    spectra: [Buffer; 2],
    moduli: [Buffer; 2],
    buffers: Buffers,
}

impl Worker {
    /// Features `[n, channels, rows, columns]` of `n` planes from `first` on.
    fn features(&mut self, first: i64, n: i64) -> Result<Tensor> {
        let Self { levels, angles, output, pixels, buffers, .. } = self;
        let [[spectrum, second_spectrum], [moduli, second_moduli]] =
            [&mut self.spectra, &mut self.moduli].map(|[first, second]| [first, second]);
        let (angles, batch, [n_out, rows, columns]) = (*angles, self.batch, *output);
        // What a last, smaller batch does not fill stays as it was, and is left out below.
        pixels.narrow(2, 0, n).f_copy_(&self.planes.f_narrow(0, first, n)?.permute([2, 1, 0]))?;

        let features = Tensor::empty([batch, n_out, rows, columns], (pixels.kind(), pixels.device()));
        let mut channel = 0;
        let mut next = |count: i64| {
            let part = features.narrow(1, channel, count);
            channel += count;
            part
        };
        let Some((level, levels)) = levels.split_first() else {
            return Err(Error::invalid("a scattering has no maps"));
        };
        next(1).copy_(&level.low_pass(pixels, buffers).unsqueeze(0).permute([3, 0, 2, 1]));
        let scales = levels.len() as i64;
        let mut first_order = next(scales * angles).chunk(scales, 1).into_iter();
        let spectrum = level.spectrum(pixels, spectrum);
        for (wavelets, level) in level.wavelets.iter().zip(levels) {
            let x = wavelets.moduli(&spectrum, buffers, moduli);
            let low = level.low_pass(&x, buffers).view([columns, rows, angles, batch]);
            if let Some(mut part) = first_order.next() {
                part.copy_(&low.permute([3, 2, 1, 0]));
            }
            let coarser = level.wavelets.len() as i64;
            if coarser == 0 {
                continue;
            }
            let part = next(angles * coarser * angles).view([batch, angles, coarser, angles, rows, columns]);
            let spectrum = level.spectrum(&x, second_spectrum);
            let levels = &levels[levels.len() - level.wavelets.len()..];
            for ((wavelets, level), at) in level.wavelets.iter().zip(levels).zip(0..) {
                let x = wavelets.moduli(&spectrum, buffers, second_moduli);
                let low = level.low_pass(&x, buffers).view([columns, rows, angles, angles, batch]);
                part.select(2, at).copy_(&low.permute([4, 3, 2, 1, 0]));
            }
        }
        Ok(features.narrow(0, 0, n))
    }
}

/// Group normalisation of features, each image by itself: within each of `groups` runs of channels,
/// mean 0 and variance 1 (with 1e-5 added to it), and nothing learnt. A function of one record, as
/// the features are.
///
/// F. Tramèr and D. Boneh, *Differentially Private Learning Needs Better Features* (2021), take 27
/// groups for 81 channels.
///
/// # Shapes
/// `[n, c, channels, h, w]` in and out; the channels of all colours are counted together.
///
/// # Errors
/// Other shapes, and groups that do not divide the channels.
pub fn normalise(features: &Tensor, groups: i64) -> Result<Tensor> {
    let size = features.size();
    let &[n, colours, channels, rows, columns] = &size[..] else {
        return Err(Error::invalid(format!(
            "features of shape {size:?} cannot be normalised; [n, c, channels, h, w] can"
        )));
    };
    let channels = colours * channels;
    if groups < 1 || channels % groups != 0 {
        return Err(Error::invalid(format!("{channels} channels do not come in {groups} groups")));
    }
    let together = features.f_reshape([n, channels, rows, columns])?;
    Ok(together.f_group_norm::<Tensor>(groups, None, None, EPSILON, false)?.f_view(&size[..])?)
}
