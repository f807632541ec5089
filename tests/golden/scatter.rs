//! The scattering transform, against kymatio 0.3.0.

use libtest_mimic::Failed;
use pate_core::nn::scatter::{Filters, Scatter, at_resolution};
use tch::{Device, Kind, Tensor};
use testing::golden::{Case, relative_error};

use super::{Report, tensor};

/// Checks a case in a kind of numbers.
pub(super) fn check(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    match case.id() {
        "mnist_J2_L8" => features(case, 1, kind),
        "colour_32" => features(case, 3, kind),
        // The filters themselves are made in float64 alone.
        _ => filters(case),
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>, Failed> {
    Ok(tensor.to_kind(Kind::Double).contiguous().flatten(0, -1).try_into()?)
}

fn features(case: &Case<'_>, colours: i64, kind: Kind) -> Result<(), Failed> {
    let images = tensor(case, "/inputs/images", kind);
    let size = images.size();
    let (height, width) = (size[size.len() - 2], size[size.len() - 1]);
    let images = images.view([-1, colours, height, width]);
    let features = Scatter::new([height, width], kind, Device::Cpu)?.forward(&images)?;
    let flat = numbers(&features)?;
    let at = case.numbers("/expected/coordinates/index_tensor");
    let chosen: Vec<f64> = at.iter().map(|&index| flat[index as usize]).collect();
    let wide = features.to_kind(Kind::Double);
    let space = [-2i64, -1];
    let mean = wide.mean_dim(space.as_slice(), false, Kind::Double);
    let norm = wide.square().sum_dim_intlist(space.as_slice(), false, Kind::Double).sqrt();
    let mut compared = vec![
        ("coordinates", chosen, "/expected/coordinates/value"),
        ("means of channels", numbers(&mean)?, "/expected/mean_per_channel"),
        ("norms of channels", numbers(&norm)?, "/expected/norm_per_channel"),
    ];
    if case.at("/expected").get("whole_output_of_image_0").is_some() {
        compared.push(("image 0", numbers(&wide.get(0))?, "/expected/whole_output_of_image_0"));
        let total = norm.square().sum_dim_intlist(space.as_slice(), false, Kind::Double).sqrt();
        compared.push(("norms of images", numbers(&total)?, "/expected/total_norm_per_image"));
    }
    let mut report = Report::default();
    // In float64 what differs are kymatio's own filters, which it keeps in complex64.
    let allowed = if kind == Kind::Double { 1e-6 } else { 1e-5 };
    for (what, found, expected) in compared {
        report.within(what, relative_error(&found, &case.numbers(expected)), allowed);
    }
    report.end()
}

fn filters(case: &Case<'_>) -> Result<(), Failed> {
    let size = case.numbers("/expected/padded_shape");
    let filters = Filters::new(size[0] as i64, size[1] as i64, 2, 8)?;
    let sum = |filter: &Tensor| filter.sum(Kind::Double).double_value(&[]);
    let mut report = Report::default();
    let mut close = |found: f64, pointer: &str| {
        report.within(pointer, relative_error(&[found], &case.numbers(pointer)), 1e-10);
    };
    close(sum(&filters.low_pass), "/expected/phi_hat/sum");
    close(filters.low_pass.double_value(&[0, 0]), "/expected/phi_hat/dc");
    close(sum(&at_resolution(&filters.low_pass, 1)), "/expected/phi_hat/sum_at_resolution_1");
    let wavelets: Vec<_> = filters.wavelets.iter().flatten().collect();
    let expected = case.at("/expected/psi_hat").as_array().map_or(0, Vec::len);
    if wavelets.len() != expected {
        return Err(format!("{} wavelets, not {expected}", wavelets.len()).into());
    }
    for (i, wavelet) in wavelets.into_iter().enumerate() {
        let pointer = |name: &str| format!("/expected/psi_hat/{i}/{name}");
        close(sum(&wavelet.square()).sqrt(), &pointer("norm"));
        close(wavelet.max().double_value(&[]), &pointer("max"));
        // Of two equal maxima either may be the larger by a rounding.
        let at = case.numbers(&pointer("argmax"));
        close(wavelet.double_value(&[at[0] as i64, at[1] as i64]), &pointer("max"));
        if wavelet.double_value(&[0, 0]).abs() > 1e-12 {
            return Err(format!("wavelet {i} has a mean").into());
        }
    }
    report.end()
}
