//! Scattering against its definition by Fourier transforms, written here a second time; kymatio's
//! values are in `tests/golden`.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

use pate_core::base::tensor::from_f32;
use pate_core::nn::scatter::{Filters, Scatter, at_resolution, normalise};
use tch::{Device, Kind, Tensor};
use testing::golden::{fill, relative_error};

fn noise(key: u64, shape: &[i64]) -> Tensor {
    from_f32(&fill(key, shape, 0.0, 1.0), shape).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_kind(Kind::Double).contiguous().flatten(0, -1).try_into().unwrap()
}

/// The same transform by Fourier transforms, from its definition.
struct Fourier {
    filters: Filters,
    scales: u32,
    padding: [i64; 4],
}

/// Means of the blocks that subsampling by `step` folds together, for the last two axes.
fn fold(x: &Tensor, step: i64) -> Tensor {
    let size = x.size();
    let (front, last) = size.split_at(size.len() - 2);
    let blocks = [front, &[step, last[0] / step, step, last[1] / step]].concat();
    let axes = [-4i64, -2].as_slice();
    x.view(&blocks[..]).sum_dim_intlist(axes, false, x.kind()) / (step * step) as f64
}

const AXES: [i64; 2] = [-2, -1];

impl Fourier {
    fn new([height, width]: [i64; 2], scales: u32, angles: i64, kind: Kind) -> Self {
        let pad = |length: i64| {
            let step = 1 << scales;
            let padded = ((length + step) / step + 1) * step;
            let before = (padded - length) / 2;
            [before, padded - length - before]
        };
        let ([left, right], [top, bottom]) = (pad(width), pad(height));
        let (rows, columns) = (height + top + bottom, width + left + right);
        let mut filters = Filters::new(rows, columns, scales, angles).unwrap();
        let convert = |filter: &mut Tensor| *filter = filter.to_kind(kind);
        convert(&mut filters.low_pass);
        filters.wavelets.iter_mut().flatten().for_each(convert);
        Self { filters, scales, padding: [left, right, top, bottom] }
    }

    fn transform(x: &Tensor) -> Tensor {
        x.fft_fft2(None::<i64>, AXES.as_slice(), "backward")
    }

    fn average(&self, spectrum: &Tensor, resolution: u32) -> Tensor {
        let filter = at_resolution(&self.filters.low_pass, resolution);
        let low = fold(&(spectrum * filter), 1 << (self.scales - resolution));
        let low = low.fft_ifft2(None::<i64>, AXES.as_slice(), "backward").real();
        let size = low.size();
        low.narrow(-2, 1, size[size.len() - 2] - 2).narrow(-1, 1, size[size.len() - 1] - 2)
    }

    /// The convolution with the wavelets of `scale`, subsampled, with an axis of angles.
    fn waves(&self, spectrum: &Tensor, scale: u32, resolution: u32) -> Tensor {
        let filters: Vec<_> =
            self.filters.wavelets[scale as usize].iter().map(|f| at_resolution(f, resolution)).collect();
        let waves = spectrum.unsqueeze(-3) * Tensor::stack(&filters, 0);
        fold(&waves, 1 << (scale - resolution)).fft_ifft2(None::<i64>, AXES.as_slice(), "backward")
    }

    fn padded(&self, planes: &Tensor) -> Tensor {
        planes.unsqueeze(1).pad(self.padding.as_slice(), "reflect", None).squeeze_dim(1)
    }

    /// Planes `[n, h, w]` to `[n, channels, ..]`.
    fn features(&self, planes: &Tensor) -> Tensor {
        let spectrum = Self::transform(&self.padded(planes));
        let (mut first, mut second) = (vec![self.average(&spectrum, 0).unsqueeze(1)], Vec::new());
        for scale in 0..self.scales {
            let moduli = Self::transform(&self.waves(&spectrum, scale, 0).abs());
            first.push(self.average(&moduli, scale));
            let coarser: Vec<_> = (scale + 1..self.scales)
                .map(|next| self.average(&Self::transform(&self.waves(&moduli, next, scale).abs()), next))
                .collect();
            if !coarser.is_empty() {
                second.push(Tensor::stack(&coarser, 2).flatten(1, 3)); // [n, angle, scale, angle, ..]
            }
        }
        first.append(&mut second);
        Tensor::cat(&first, 1)
    }
}

#[test]
fn every_size_and_number_of_scales_and_angles_follows_the_definition() {
    for (colours, height, width, scales, angles) in [
        (1, 28, 28, 2, 8),
        (3, 20, 33, 2, 8),
        (2, 7, 5, 2, 4),
        (1, 24, 17, 3, 3),
        (1, 9, 12, 1, 5),
        (1, 40, 36, 3, 6),
    ] {
        let size = [height, width];
        let x = noise(5, &[2, colours, height, width]);
        let fourier = Fourier::new(size, scales, angles, Kind::Double);
        let expected = fourier.features(&x.to_kind(Kind::Double).view([-1, height, width]));
        for (kind, tolerance) in [(Kind::Float, 2e-6), (Kind::Double, 1e-13)] {
            let scatter = Scatter::with(size, scales, angles, kind, Device::Cpu).unwrap();
            let found = scatter.forward(&x).unwrap();
            assert_eq!(found.size(), [&[2, colours], &scatter.output()[..]].concat());
            assert_eq!(expected.size(), [&[2 * colours], &scatter.output()[..]].concat());
            let error = relative_error(&numbers(&found), &numbers(&expected));
            println!("{colours}x{height}x{width}, {scales} scales, {angles} angles, {kind:?}: {error:.2e}");
            assert!(error < tolerance, "{size:?} {scales} {angles} {kind:?}: {error:.2e}");
        }
    }
}

#[test]
fn features_depend_on_the_image_alone_and_not_on_threads() {
    const RECORDS: i64 = 150; // several batches, the last of them smaller
    let scatter = Scatter::new([28, 28], Kind::Float, Device::Cpu).unwrap();
    let x = noise(6, &[RECORDS, 1, 28, 28]);
    let before = tch::get_num_threads();
    tch::set_num_threads(1);
    let features = scatter.forward(&x).unwrap();
    for threads in 2..5 {
        tch::set_num_threads(threads);
        assert!(scatter.forward(&x).unwrap().equal(&features), "{threads} threads");
    }
    tch::set_num_threads(before);
    // Another record's values, even such that are no numbers, change no bit of the others.
    let y = x.copy();
    let _ = y.get(7).fill_(f64::NAN);
    let changed = scatter.forward(&y).unwrap();
    assert!(changed.get(7).isnan().all().int64_value(&[]) == 1);
    for record in (0..RECORDS).filter(|&record| record != 7) {
        assert!(changed.get(record).equal(&features.get(record)), "record {record}");
    }
    // Without it, the others move to other places of their batches.
    let fewer = Tensor::cat(&[x.narrow(0, 0, 7), x.narrow(0, 8, RECORDS - 8)], 0);
    let rest = Tensor::cat(&[features.narrow(0, 0, 7), features.narrow(0, 8, RECORDS - 8)], 0);
    let error = relative_error(&numbers(&scatter.forward(&fewer).unwrap()), &numbers(&rest));
    assert!(error < 1e-6, "{error:.2e}");
}

#[test]
fn the_maps_are_small_and_too_large_ones_are_refused() {
    let bytes = |side| Scatter::new([side, side], Kind::Float, Device::Cpu).unwrap().bytes();
    println!("bytes of maps: {} for 28x28, {} for 32x32, {} for 64x64", bytes(28), bytes(32), bytes(64));
    assert!(bytes(28) < 12_000_000 && bytes(32) < 16_000_000);
    let error = Scatter::new([1024, 1024], Kind::Float, Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("1024x1024") && error.contains("300 MB"), "{error}");
}

#[test]
fn what_cannot_be_scattered_is_refused() {
    let new = |height, scales, angles, kind| {
        Scatter::with([height, 28], scales, angles, kind, Device::Cpu).err().map(|e| e.to_string())
    };
    assert!(new(28, 2, 8, Kind::Half).unwrap().contains("Half"));
    assert!(new(4, 2, 8, Kind::Float).unwrap().contains("4x28"));
    assert!(new(5, 2, 8, Kind::Float).is_none());
    assert!(new(28, 0, 8, Kind::Float).unwrap().contains("0 scales"));
    assert!(new(28, 2, 0, Kind::Float).unwrap().contains("0 angles"));
    assert!(new(28, 70, 8, Kind::Float).unwrap().contains("70 octaves"));
    assert!(new(-3, 2, 8, Kind::Float).is_some());
    let scatter = Scatter::new([28, 28], Kind::Float, Device::Cpu).unwrap();
    assert!(scatter.forward(&noise(1, &[2, 1, 28, 27])).is_err());
    assert!(scatter.forward(&noise(1, &[28, 28])).is_err());
    assert!(scatter.forward(&Tensor::zeros([2, 1, 28, 28], (Kind::Uint8, Device::Cpu))).is_err());
    assert_eq!(scatter.forward(&noise(1, &[0, 1, 28, 28])).unwrap().size(), [0, 1, 81, 7, 7]);
}

#[test]
fn normalised_groups_have_mean_0_and_variance_1() {
    let features = noise(8, &[3, 1, 81, 7, 7]) * 3.0 + 1.0;
    let normal = normalise(&features, 27).unwrap();
    assert_eq!(normal.size(), features.size());
    let groups = |x: &Tensor| x.to_kind(Kind::Double).reshape([3, 27, -1]);
    let x = groups(&features);
    let mean = x.mean_dim(2, true, Kind::Double);
    let variance = (&x - &mean).square().mean_dim(2, true, Kind::Double);
    let expected: Tensor = (x - mean) / (variance + 1e-5).sqrt();
    let error = relative_error(&numbers(&groups(&normal)), &numbers(&expected));
    assert!(error < 1e-6, "{error:.2e}");
    // One record at a time gives the same.
    assert!(normalise(&features.narrow(0, 1, 1), 27).unwrap().get(0).equal(&normal.get(1)));
    assert!(normalise(&features, 26).is_err() && normalise(&features, 0).is_err());
    assert!(normalise(&features.view([3, 81, 49]), 27).is_err());
    assert_eq!(normalise(&noise(9, &[2, 3, 81, 8, 8]), 27).unwrap().size(), [2, 3, 81, 8, 8]);
}

/// Seconds that this thread has had a processor for (on Linux; elsewhere, since the epoch).
fn seconds() -> f64 {
    let on_processor = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = on_processor.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(
        || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64(),
        |nanoseconds| nanoseconds * 1e-9,
    )
}

/// With `SCATTER_IMAGES=1000` and `--nocapture` a measurement: milliseconds of processor time an
/// image, on one thread.
#[test]
fn three_ways_give_the_same_features() {
    let _guard = tch::no_grad_guard();
    tch::set_num_threads(1);
    let best = |what: &str, images: i64, rounds: usize, f: &dyn Fn() -> Tensor| {
        let time = |_| {
            let start = seconds();
            let features = f();
            ((seconds() - start) * 1e3 / images as f64, features)
        };
        let times: Vec<_> = (0..rounds).map(time).collect();
        let fastest = times.iter().map(|(time, _)| *time).fold(f64::INFINITY, f64::min);
        println!("{what}: {fastest:.3} ms an image, the first round {:.3}", times[0].0);
        times.into_iter().next().unwrap().1
    };
    let images = std::env::var("SCATTER_IMAGES").ok().map(|n| n.parse::<i64>().unwrap());
    let rounds = if images.is_some() { 5 } else { 1 };
    for side in [28, 32] {
        let n = images.unwrap_or(16);
        let x = noise(1, &[n, 1, side, side]);
        let scatter = Scatter::new([side, side], Kind::Float, Device::Cpu).unwrap();
        let ours =
            best(&format!("{side}x{side} maps along axes"), n, rounds, &|| scatter.forward(&x).unwrap());
        let fourier = Fourier::new([side, side], 2, 8, Kind::Float);
        let n = n.min(96);
        let planes = x.narrow(0, 0, n).view([-1, side, side]);
        let batched = |f: &dyn Fn(&Tensor) -> Tensor| {
            let parts: Vec<_> = planes.split(16, 0).iter().map(f).collect();
            Tensor::cat(&parts, 0)
        };
        let theirs =
            best(&format!("{side}x{side} Fourier"), n, rounds, &|| batched(&|x| fourier.features(x)));
        let dense = Dense::new(&fourier, side);
        println!("{side}x{side} dense maps take {:.0} MB", dense.megabytes());
        let third =
            best(&format!("{side}x{side} dense maps"), n, rounds, &|| batched(&|x| dense.features(x)));
        for other in [theirs, third] {
            let error = relative_error(&numbers(&ours.narrow(0, 0, n)), &numbers(&other));
            assert!(error < 1e-4, "{error:.2e}");
        }
    }
}

/// Two scales by one matrix for each order, from whole images to whole images.
struct Dense {
    average: [Tensor; 3],
    first: [Tensor; 2],
    second: Tensor,
}

impl Dense {
    fn new(fourier: &Fourier, side: i64) -> Self {
        let unit = |side: i64| Tensor::eye(side * side, (Kind::Float, Device::Cpu)).view([-1, side, side]);
        let padded = side + fourier.padding[0] + fourier.padding[1];
        let pixels = Fourier::transform(&fourier.padded(&unit(side)));
        let [fine, coarse] = [padded, padded / 2].map(|side| Fourier::transform(&unit(side)));
        let flat = |x: &Tensor| x.flatten(1, -1).contiguous();
        let waves = |spectrum: &Tensor, scale: u32| {
            let waves = fourier.waves(spectrum, scale, 0);
            flat(&Tensor::stack(&[waves.real(), waves.imag()], 1))
        };
        Self {
            average: [(&pixels, 0), (&fine, 0), (&coarse, 1)].map(|(x, j)| flat(&fourier.average(x, j))),
            first: [0, 1].map(|scale| waves(&pixels, scale)),
            second: waves(&fine, 1),
        }
    }

    fn megabytes(&self) -> f64 {
        let all = self.average.iter().chain(&self.first).chain([&self.second]);
        all.map(|map| map.numel() as f64 * 4e-6).sum()
    }

    fn features(&self, planes: &Tensor) -> Tensor {
        let n = planes.size()[0];
        let modulus = |waves: Tensor| {
            let waves = waves.view([waves.size()[0], 2, 8, -1]);
            let (re, im) = (waves.select(1, 0), waves.select(1, 1));
            (&re * &re + &im * &im).sqrt().flatten(0, 1)
        };
        let x = planes.flatten(1, 2);
        let side = ((self.average[0].size()[1]) as f64).sqrt() as i64;
        let average = |x: &Tensor, by: usize| x.mm(&self.average[by]).view([n, -1, side, side]);
        let [fine, coarse] = [0, 1].map(|scale: usize| modulus(x.mm(&self.first[scale])));
        let second = modulus(fine.mm(&self.second));
        Tensor::cat(&[average(&x, 0), average(&fine, 1), average(&coarse, 2), average(&second, 2)], 1)
    }
}
