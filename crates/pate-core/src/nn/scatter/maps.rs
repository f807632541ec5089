//! The linear parts of the transform as matrix products.
//!
//! A convolution with all wavelets of a scale and the subsampling after it are three products: a
//! Fourier transform along the columns; at every frequency of these a product that convolves the
//! rows, for all angles at once, and leaves out the rows that nobody wants; the way back along the
//! columns. The middle one is as dense as it can be, where libtorch's products are fastest, and the
//! maps still take a tenth of the memory that dense maps of whole images would. Padding is part of
//! the first maps.
//!
//! Images lie with their columns outermost, then rows, and the index of the image (or of image and
//! angle) innermost: each product then reads and writes the layout of the next, and nothing is
//! rearranged between them.

use std::f64::consts::TAU;

use tch::{Device, Kind, Tensor};

use super::filters::{Filters, at_resolution};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

/// Memory that one step of the work writes to, again for every batch, so that it stays in cache.
pub(super) struct Buffer(Tensor);

impl Buffer {
    pub(super) fn new(kind: Kind, device: Device) -> Self {
        Self(Tensor::empty([0], (kind, device)))
    }

    /// Uninitialised values of `shape`; what had this buffer before is written over.
    pub(super) fn shaped(&mut self, shape: &[i64]) -> Tensor {
        let numel = shape.iter().product::<i64>();
        if (self.0.numel() as i64) < numel {
            self.0 = Tensor::empty([numel], (self.0.kind(), self.0.device()));
        }
        self.0.narrow(0, 0, numel).view(shape)
    }
}

/// What the products of one worker write to.
pub(super) struct Buffers {
    waves: Buffer,
    values: Buffer,
    rows: Buffer,
}

impl Buffers {
    pub(super) fn new(kind: Kind, device: Device) -> Self {
        let [waves, values, rows] = [0; 3].map(|_| Buffer::new(kind, device));
        Self { waves, values, rows }
    }
}

/// One axis of an image: how long it is, and how it is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// Values that an image has.
    pub(super) length: i64,
    /// Values before the first, by reflection about it.
    pub(super) before: i64,
    /// Values with the padding on both sides: the period of the filters.
    pub(super) padded: i64,
}

impl Axis {
    /// An axis of pixels for `scales` octaves, padded as kymatio pads; none where it is too short
    /// to be reflected that far.
    pub(super) fn of_pixels(length: i64, scales: u32) -> Option<Self> {
        let step = 1i64.checked_shl(scales)?;
        let padded = (length.checked_add(step)? / step + 1).checked_mul(step)?;
        let before = (padded - length) / 2;
        (padded - length - before < length).then_some(Self { length, before, padded })
    }

    /// The padded axis subsampled by 2^`resolution`, periodic.
    pub(super) fn subsampled(self, resolution: u32) -> Self {
        let length = self.padded >> resolution;
        Self { length, before: 0, padded: length }
    }

    /// The map that pads, `[padded, length]`.
    fn padding(self) -> Tensor {
        let last = self.length - 1;
        let sources: Vec<i64> = (0..self.padded)
            .map(|at| {
                let at = (at - self.before).abs();
                if at > last { 2 * last - at } else { at }
            })
            .collect();
        Tensor::eye(self.length, DOUBLE).index_select(0, &Tensor::from_slice(&sources))
    }

    /// Which value of a periodic kernel takes input `i` to output `o` of every `step`-th, from
    /// `first` on: `[outputs * padded]`.
    fn offsets(self, outputs: i64, step: i64, first: i64) -> Tensor {
        let offset = |o: i64, i: i64| ((o + first) * step - i).rem_euclid(self.padded);
        let offsets: Vec<i64> =
            (0..outputs).flat_map(|o| (0..self.padded).map(move |i| offset(o, i))).collect();
        Tensor::from_slice(&offsets)
    }
}

/// Images of one size, pixels or moduli: what is computed from them.
pub(super) struct Level {
    /// Fourier transform of the columns: real parts, then imaginary ones, `[2 * padded, length]`.
    pub(super) transform: Tensor,
    low_pass: LowPass,
    /// Wavelets of this level, finest first.
    pub(super) wavelets: Vec<Wavelets>,
}

impl Level {
    /// Maps from images of `axes` (rows, columns) at `resolution` to the scales from `finest` on.
    pub(super) fn new(filters: &Filters, axes: [Axis; 2], resolution: u32, finest: u32) -> Self {
        let [_, columns] = axes;
        let scales = filters.wavelets.len() as u32;
        let (cos, sin) = turns(columns.padded, columns.padded);
        let transform = Tensor::cat(&[cos, -sin], 0).mm(&columns.padding());
        let wavelets =
            filters.wavelets.iter().zip(0..).filter(|(_, scale)| *scale >= finest).map(|(turned, scale)| {
                let turned: Vec<_> = turned.iter().map(|filter| at_resolution(filter, resolution)).collect();
                Wavelets::new(&turned, axes, scale - resolution)
            });
        let low_pass = LowPass::new(&at_resolution(&filters.low_pass, resolution), axes, scales - resolution);
        Self { transform, low_pass, wavelets: wavelets.collect() }
    }

    /// Values of all maps of such a level, without making them.
    pub(super) fn numel(axes: [Axis; 2], resolution: u32, finest: u32, scales: u32, angles: i64) -> f64 {
        let [rows, columns] = axes.map(|axis| axis.padded as f64);
        let of = |scale: u32| {
            let step = f64::from(scale - resolution).exp2();
            let middle = rows / step * 2.0 * angles as f64 * axes[0].length as f64 * 2.0 * columns;
            middle + 4.0 * (columns / step).powi(2)
        };
        let low = f64::from(scales - resolution).exp2();
        (finest..scales).map(of).sum::<f64>()
            + 2.0 * columns * columns
            + (rows * rows + columns * columns) / low
    }

    /// The maps of the averages, along columns and rows.
    pub(super) fn averages(&self) -> (&Tensor, &Tensor) {
        (&self.low_pass.columns, &self.low_pass.rows)
    }

    /// The same maps for another thread, or as another kind of number elsewhere.
    pub(super) fn map(&self, f: &dyn Fn(&Tensor) -> Tensor) -> Self {
        Self {
            transform: f(&self.transform),
            low_pass: LowPass { columns: f(&self.low_pass.columns), rows: f(&self.low_pass.rows) },
            wavelets: self
                .wavelets
                .iter()
                .map(|w| Wavelets { rows: f(&w.rows), columns: f(&w.columns), ..*w })
                .collect(),
        }
    }

    /// The Fourier transform along the columns.
    ///
    /// # Shapes
    /// `x` `[columns, rows, m]`, to `[rows, 2, frequencies, m]`.
    pub(super) fn spectrum(&self, x: &Tensor, out: &mut Buffer) -> Tensor {
        let size = x.size();
        let (rows, m, n_out) = (size[1], size[2], self.transform.size()[0]);
        let out = out.shaped(&[rows, n_out, m]);
        let transform = self.transform.unsqueeze(0).expand([rows, -1, -1], false);
        let _ = transform.bmm_out(&out, &x.transpose(0, 1));
        out.view([rows, 2, n_out / 2, m])
    }

    /// The Gaussian's averages.
    ///
    /// # Shapes
    /// `x` `[columns, rows, m]`, to `[columns, rows, m]` at the widest scale, without the borders
    /// that padding made.
    pub(super) fn low_pass(&self, x: &Tensor, buffers: &mut Buffers) -> Tensor {
        let LowPass { columns, rows } = &self.low_pass;
        let size = x.size();
        let (n_columns, n_rows, m) = (columns.size()[0], size[1], size[2]);
        let half = buffers.rows.shaped(&[n_columns, n_rows * m]);
        let _ = columns.mm_out(&half, &x.view([size[0], -1]));
        rows.unsqueeze(0).expand([n_columns, -1, -1], false).bmm(&half.view([n_columns, n_rows, m]))
    }
}

/// Convolution with the Gaussian along one axis each, which it is a product of, and subsampling.
struct LowPass {
    /// `[columns after, columns]`.
    columns: Tensor,
    /// `[rows after, rows]`.
    rows: Tensor,
}

impl LowPass {
    fn new(filter: &Tensor, [rows, columns]: [Axis; 2], octaves: u32) -> Self {
        let along = |line: &Tensor, axis: Axis| {
            let step = 1 << octaves;
            let kernel = line.fft_ifft(None::<i64>, 0, "backward").real();
            // The first and the last value lie in the padding, and kymatio leaves them out.
            let outputs = axis.padded / step - 2;
            let map = kernel.index_select(0, &axis.offsets(outputs, step, 1)).view([outputs, axis.padded]);
            map.mm(&axis.padding())
        };
        Self {
            columns: along(&(filter.get(0) / filter.get(0).get(0)), columns),
            rows: along(&filter.select(1, 0), rows),
        }
    }
}

/// Convolution with the wavelets of one scale, and subsampling to it.
pub(super) struct Wavelets {
    /// A map for every frequency that the subsampled columns have, from rows (with the real and
    /// the imaginary part, and all frequencies that fold onto this one) to rows:
    /// `[frequencies, 2 * rows after * angles, rows * 2 * step]`.
    rows: Tensor,
    /// The way back along the columns, `[2 * columns after, frequencies * 2]`.
    columns: Tensor,
    angles: i64,
}

impl Wavelets {
    fn new(filters: &[Tensor], [rows, columns]: [Axis; 2], octaves: u32) -> Self {
        let (angles, step) = (filters.len() as i64, 1 << octaves);
        let (n_rows, n_columns) = (rows.padded / step, columns.padded / step);
        // Subsampling takes the means of frequencies that it cannot tell apart; that is every
        // step-th row of the convolution, and for columns a sum over the frequencies.
        let kernels =
            Tensor::stack(filters, 0).fft_ifft(None::<i64>, 1, "backward").resolve_conj().view_as_real();
        let maps = kernels
            .index_select(1, &rows.offsets(n_rows, step, 0))
            .view([angles, n_rows, rows.padded, step, n_columns, 2])
            .permute([5, 4, 1, 0, 3, 2]) // [2, frequency, row after, angle, step, row]
            .matmul(&rows.padding())
            .transpose(4, 5); // [.., row, step]
        let (re, im) = (maps.get(0), maps.get(1));
        let to_re = Tensor::stack(&[&re, &-&im], 4); // [frequency, row after, angle, row, 2, step]
        let to_im = Tensor::stack(&[&im, &re], 4);
        let maps = Tensor::stack(&[to_re, to_im], 1);
        let (cos, sin) = turns(n_columns, n_columns);
        let to_re = Tensor::stack(&[&cos, &-&sin], 2); // [column, frequency, 2]
        let to_im = Tensor::stack(&[&sin, &cos], 2);
        let back = Tensor::stack(&[to_re, to_im], 0) / columns.padded as f64;
        Self {
            rows: maps.reshape([n_columns, 2 * n_rows * angles, rows.length * 2 * step]),
            columns: back.reshape([2 * n_columns, 2 * n_columns]),
            angles,
        }
    }

    /// The moduli of the convolutions.
    ///
    /// # Shapes
    /// `spectrum` `[rows, 2, frequencies, m]`, to `[columns after, rows after, angles * m]`.
    pub(super) fn moduli(&self, spectrum: &Tensor, buffers: &mut Buffers, out: &mut Buffer) -> Tensor {
        let m = spectrum.size()[3];
        let (shape, n_columns) = (self.rows.size(), self.columns.size()[0] / 2);
        let n_rows = shape[1] / (2 * self.angles);
        // Frequencies that fold onto one another lie as far apart as there are in the result.
        let folded = spectrum.view([shape[2], n_columns, m]).transpose(0, 1);
        let waves = buffers.waves.shaped(&[n_columns, shape[1], m]);
        let _ = self.rows.bmm_out(&waves, &folded);
        let values = buffers.values.shaped(&[2 * n_columns, n_rows * self.angles * m]);
        let _ = self.columns.mm_out(&values, &waves.view([2 * n_columns, -1]));
        let (re, im) = (values.narrow(0, 0, n_columns), values.narrow(0, n_columns, n_columns));
        let mut moduli = out.shaped(&[n_columns, n_rows * self.angles * m]);
        let _ = re.mul_out(&moduli, &re);
        let _ = moduli.addcmul_(&im, &im).sqrt_();
        moduli.view([n_columns, n_rows, self.angles * m])
    }
}

/// Without buffers, for gradients.
impl Wavelets {
    /// [`Wavelets::moduli`] as new memory, with `even` under the root.
    pub(super) fn moduli_of(&self, spectrum: &Tensor, even: f64) -> Tensor {
        let m = spectrum.size()[3];
        let (shape, n_columns) = (self.rows.size(), self.columns.size()[0] / 2);
        let n_rows = shape[1] / (2 * self.angles);
        let folded = spectrum.view([shape[2], n_columns, m]).transpose(0, 1);
        let waves = self.rows.bmm(&folded).view([2 * n_columns, -1]);
        let values = self.columns.mm(&waves);
        let (re, im) = (values.narrow(0, 0, n_columns), values.narrow(0, n_columns, n_columns));
        (&re * &re + &im * &im + even).sqrt().view([n_columns, n_rows, self.angles * m])
    }
}

/// Cosines and sines of the angles of a Fourier transform of `n` values, `[n, frequencies]`.
fn turns(n: i64, frequencies: i64) -> (Tensor, Tensor) {
    let count = Tensor::arange(n, DOUBLE).unsqueeze(1) * Tensor::arange(frequencies, DOUBLE);
    // Whole turns go before the multiplication, which would round them.
    let angles = count.remainder(n as f64) * (TAU / n as f64);
    (angles.cos(), angles.sin())
}
