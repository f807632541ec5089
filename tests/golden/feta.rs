//! DP-FETA: central images to the byte, preconditioning, loss, samplers, the average, the network.

use libtest_mimic::Failed;
use pate_core::base::tensor;
use pate_core::feta::sample::{Churn, Grid, ddim, guided, heun, to_bytes};
use pate_core::feta::{central, edm, finish};
use pate_core::models::{UNet, UNetShape, sinusoids};
use pate_core::nn::{Average, Embedding, Module, Parameter, Pass, Source, parameters};
use tch::{Device, Kind, Tensor};
use testing::golden::{Case, fill, relative_error};

use super::dp_sgd::weights;
use super::{Report, tensor as golden};

/// Checks a case in a kind of numbers.
pub(super) fn check(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    match case.id() {
        "central_mean" => mean(case),
        "postprocess" => stages(case),
        "central_mode" => mode(case),
        "edm_coefficients" => coefficients(case, kind),
        "edm_loss" => loss(case, kind),
        "noise_grid" => grids(case),
        "to_u8" => bytes(case),
        "ema" => average(case, kind),
        "noise_embedding" => embedding(case, kind),
        id if id.starts_with("sampler_") => sampler(case, kind),
        _ => network(case, kind),
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>, Failed> {
    Ok(tensor.to_kind(Kind::Double).contiguous().flatten(0, -1).try_into()?)
}

fn number(case: &Case<'_>, pointer: &str) -> f64 {
    case.at(pointer).as_f64().unwrap_or(f64::NAN)
}

fn largest_difference(found: &Tensor, case: &Case<'_>, pointer: &str) -> f64 {
    let expected = golden(case, pointer, Kind::Double).flatten(0, -1);
    let off = found.to_kind(Kind::Double).flatten(0, -1) - expected;
    off.abs().max().double_value(&[])
}

/// The bytes that differ.
fn different(found: &Tensor, case: &Case<'_>, pointer: &str) -> Result<f64, Failed> {
    let (found, expected) = (numbers(found)?, case.numbers(pointer));
    assert_eq!(found.len(), expected.len(), "{pointer}");
    Ok(found.iter().zip(&expected).filter(|(a, b)| (*a - *b).abs() > 0.5).count() as f64)
}

/// The images and labels of a sample, halved.
fn sampled(case: &Case<'_>) -> Result<(Tensor, Tensor), Failed> {
    let first = case.sibling("central_mean");
    let mask = golden(&first, "/inputs/mask", Kind::Bool);
    let rows = mask.nonzero().flatten(0, -1);
    let images = golden(&first, "/inputs/images", Kind::Float).index_select(0, &rows) / 255.0;
    let labels = golden(&first, "/inputs/labels", Kind::Int64).index_select(0, &rows);
    let images = if images.dim() == 3 { images.unsqueeze(1) } else { images };
    Ok((central::halved(&images)?, labels))
}

fn mean(case: &Case<'_>) -> Result<(), Failed> {
    const CLASSES: i64 = 10;
    let (images, labels) = sampled(case)?;
    let mut report = Report::default();
    let xi: Vec<f32> =
        (0..10).flat_map(|class| fill(1_001_001 + class, &[14, 14], -1.732_050_8, 1.732_050_8)).collect();
    let xi = Tensor::from_slice(&xi).to_kind(Kind::Double).view([CLASSES, 196]);
    for clip in [3.0, 7.0, 14.0] {
        let sums = central::clipped_sums(&images, &labels, CLASSES, clip)?;
        let at = |what: &str| format!("/expected/corrected_sum_query/R={clip}/{what}");
        report.within(&at("sum"), largest_difference(&sums, case, &at("sum")), 1e-6);
        let noisy = &sums + &xi * (5.0 * clip);
        report.within(&at("noisy_sum"), largest_difference(&noisy, case, &at("noisy_sum")), 1e-5);
    }
    // The original's form: it divides by the sample's own counts.
    let norms =
        images.flatten(1, -1).to_kind(Kind::Double).square().sum_dim_intlist(1, false, Kind::Double).sqrt();
    let pointer = "/expected/record_norms_after_downsampling";
    report.within("norms", largest_difference(&norms, case, pointer), 1e-5);
    let sums = central::clipped_sums(&images, &labels, CLASSES, 14.0)?;
    let each = labels.one_hot(CLASSES).sum_dim_intlist(0, false, Kind::Double).unsqueeze(1);
    let mean = (sums / each).to_kind(Kind::Float);
    let off = largest_difference(&mean, case, "/expected/mean_14x14_without_noise");
    report.within("the mean", off, 1e-6);
    let deviation = number(case, "/parameters/sigma_m") * number(case, "/parameters/sensitivity_original");
    let noisy = mean + xi.to_kind(Kind::Float) * deviation;
    let made = finish(&noisy.view([CLASSES, 1, 14, 14]))?;
    let off = different(&made.sharpened, case, "/expected/original_u8_with_noise")?;
    report.within("pixels of the original's images", off, 0.0);
    report.end()
}

fn stages(case: &Case<'_>) -> Result<(), Failed> {
    let made = finish(&golden(case, "/inputs/noisy", Kind::Float).unsqueeze(1))?;
    let mut report = Report::default();
    for (stage, found) in [("u8", &made.bytes), ("median", &made.median), ("sharpen", &made.sharpened)] {
        report.within(stage, different(found, case, &format!("/expected/after_{stage}"))?, 0.0);
    }
    report.end()
}

fn mode(case: &Case<'_>) -> Result<(), Failed> {
    let (images, labels) = sampled(case)?;
    let counts = central::counts(&images, &labels, 10, 2)?;
    let mut report = Report::default();
    report.within("counts", different(&counts, case, "/expected/counts")?, 0.0);
    let noise = golden(case, "/inputs/noise", Kind::Double);
    let deviation = number(case, "/parameters/sigma_m") * number(case, "/parameters/sensitivity");
    let images = |counts: &Tensor| -> Result<(Tensor, Tensor), Failed> {
        let brightness = central::brightest(counts)?;
        let made = finish(&brightness.to_kind(Kind::Float).view([10, 1, 14, 14]))?;
        Ok((brightness, made.sharpened))
    };
    let (brightness, made) = images(&(&counts + noise * deviation))?;
    report.within("brightness", different(&brightness, case, "/expected/argmax")?, 0.0);
    report.within("images", different(&made, case, "/expected/u8")?, 0.0);
    let (_, made) = images(&counts)?;
    report.within("images without noise", different(&made, case, "/expected/u8_without_noise")?, 0.0);
    report.end()
}

fn coefficients(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let found = edm::coefficients(&golden(case, "/inputs/sigma", kind));
    let mut report = Report::default();
    for (name, values) in [
        ("c_skip", &found.skip),
        ("c_out", &found.out),
        ("c_in", &found.input),
        ("c_noise", &found.level),
        ("loss_weight", &found.weight),
    ] {
        let expected = case.numbers(&format!("/expected/{name}"));
        for (found, expected) in numbers(values)?.iter().zip(expected) {
            let off = (found - expected).abs();
            let allowed = if kind == Kind::Double {
                1e-12 * expected.abs().max(1.0)
            } else {
                2e-6 * expected.abs().max(0.1)
            };
            report.within(name, off, allowed);
        }
    }
    report.end()
}

fn loss(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let x = golden(case, "/inputs/x", kind).repeat_interleave_self_int(3, 0, None);
    let noise = golden(case, "/inputs/noise", kind).flatten(0, 1);
    let sigma = (golden(case, "/inputs/e", kind) * 1.2 - 1.2).exp().flatten(0, 1);
    let dropped = golden(case, "/inputs/dropped", Kind::Bool);
    let labels = golden(case, "/inputs/labels", Kind::Int64).masked_fill(&dropped, 10);
    let labels = labels.repeat_interleave_self_int(3, 0, None);
    let losses = edm::losses(
        &mut |u, level, class| Ok(u * 0.3 + (level * 0.1 + class.to_kind(kind) * 0.05).view([-1, 1, 1, 1])),
        &x,
        &noise,
        &sigma,
        &labels,
    )?;
    let losses = losses.view([4, 3]).mean_dim([1i64].as_slice(), false, None::<Kind>);
    let (levels, losses) = (numbers(&sigma)?, numbers(&losses)?);
    let mut report = Report::default();
    let allowed = if kind == Kind::Double { 1e-10 } else { 1e-5 };
    report.within("levels", relative_error(&levels, &case.numbers("/expected/sigma")), allowed);
    report.within("losses", relative_error(&losses, &case.numbers("/expected/loss_per_image")), allowed);
    report.end()
}

fn grids(case: &Case<'_>) -> Result<(), Failed> {
    let mut report = Report::default();
    for steps in [18, 50, 1000] {
        let levels = Grid::original(steps).levels()?;
        let at = |what: &str| case.numbers(&format!("/expected/{steps}/{what}"));
        for (index, expected) in at("index").into_iter().zip(at("t")) {
            report.within("a level", (levels[index as usize] / expected - 1.0).abs(), 1e-10);
        }
        report.within("their sum", (levels.iter().sum::<f64>() / at("sum")[0] - 1.0).abs(), 1e-10);
    }
    report.end()
}

fn sampler(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let parameter = |name: &str| case.at("/parameters").get(name).and_then(serde_json::Value::as_f64);
    let labelled = case.id().contains("labelled");
    let labels = golden(case, "/inputs/labels", kind).view([-1, 1, 1, 1]);
    let weight = parameter("guidance_w").unwrap_or_default();
    let of = |x: &Tensor, t: f64, mean: &Tensor| {
        let square = t * t;
        (x * 0.25 + mean * square) / (0.25 + square) + x.tanh() * (0.1 / (1.0 + square))
    };
    let mut denoiser = |x: &Tensor, t: f64| {
        if !labelled {
            return Ok(x * (0.25 / (0.25 + t * t)));
        }
        let of_class = of(x, t, &(&labels * 0.05 + 0.2));
        let of_none = of(x, t, &labels.full_like(0.5));
        Ok(guided(&of_class, &of_none, weight))
    };
    let noise = golden(case, "/inputs/x0", kind);
    let steps = parameter("num_steps").unwrap_or_default() as u32;
    let levels = Grid::original(steps).levels()?;
    let mut churned = Vec::new();
    let made = if case.id().contains("ddim") {
        ddim(&mut denoiser, &noise, &levels)?
    } else {
        let fresh =
            case.at("/inputs/churn_noise").is_object().then(|| golden(case, "/inputs/churn_noise", kind));
        let churn = parameter("s_churn").map_or(Churn::NONE, |amount| Churn {
            amount,
            least: parameter("s_min").unwrap_or_default(),
            most: parameter("s_max").unwrap_or_default(),
        });
        let mut given = |step: usize| {
            churned.push(step);
            fresh
                .as_ref()
                .map(|all| all.get(step as i64))
                .ok_or_else(|| pate_core::Error::invalid("no noise"))
        };
        heun(&mut denoiser, &noise, &levels, &churn, &mut given)?
    };
    let mut report = Report::default();
    let allowed = match kind {
        Kind::Double => 1e-9,
        _ => (3.0 * number(case, "/expected/float32_run_differs_by")).max(1e-5),
    };
    report.within("images", relative_error(&numbers(&made)?, &case.numbers("/expected/output")), allowed);
    if let Some([first, last]) =
        case.at("/expected").get("steps_with_churn").and_then(serde_json::Value::as_array).map(Vec::as_slice)
    {
        let expected = [first, last].map(|step| step.as_u64().unwrap_or_default() as usize);
        let found = churned.first().zip(churned.last()).map(|(first, last)| [*first, *last]);
        if found != Some(expected) {
            return Err(format!("fresh noise from {found:?}, not {expected:?}").into());
        }
    }
    report.end()
}

fn bytes(case: &Case<'_>) -> Result<(), Failed> {
    let mut report = Report::default();
    let found = to_bytes(&golden(case, "/inputs/x", Kind::Float))?;
    report.within("bytes", different(&found, case, "/expected/u8")?, 0.0);
    report.end()
}

struct Two(Embedding, Embedding);

impl Module for Two {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.0.visit(f);
        self.1.visit(f);
    }
}

fn average(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    const KEY: u64 = 1_030_000;
    let of = |key: u64, shape: [i64; 2]| {
        Tensor::from_slice(&fill(key, &shape, -1.0, 1.0)).view(shape).to_kind(kind)
    };
    let given = vec![("a.weight".to_owned(), of(KEY, [3, 4])), ("b.weight".to_owned(), of(KEY + 1, [5, 1]))];
    let source = &mut Source::given(given, Device::Cpu);
    let both = Two(Embedding::new(source, "a", 3, 4)?, Embedding::new(source, "b", 5, 1)?);
    let parameters = parameters(&both);
    let mut average = Average::new(number(case, "/parameters/decay"), &parameters);
    let mut found = Vec::new();
    for t in 1..=12 {
        for (i, parameter) in (0..).zip(&parameters) {
            let size = parameter.value().size();
            parameter.value().shallow_clone().copy_(&of(KEY + 10 * t + i, [size[0], size[1]]));
        }
        average.update(&parameters);
        for value in average.values() {
            found.extend(numbers(value)?);
        }
    }
    let mut report = Report::default();
    let allowed = if kind == Kind::Double { 1e-12 } else { 1e-6 };
    report.within("averages", relative_error(&found, &case.numbers("/expected/shadow")), allowed);
    report.end()
}

fn embedding(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let levels = golden(case, "/inputs/c", kind);
    let mut report = Report::default();
    for width in [8, 16, 32] {
        let found = sinusoids(&levels, width);
        let off = largest_difference(&found, case, &format!("/expected/{width}"));
        report.within("waves", off, if kind == Kind::Double { 1e-12 } else { 2e-6 });
    }
    report.end()
}

fn network(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let integers = |pointer: &str| case.numbers(pointer).into_iter().map(|x| x as i64).collect::<Vec<_>>();
    let one = |name: &str| integers(&format!("/config/{name}")).first().copied().unwrap_or_default();
    let shape = UNetShape {
        size: one("size"),
        channels: 1,
        width: one("nf"),
        multipliers: integers("/config/mult"),
        blocks: one("blocks"),
        attention: integers("/config/attn"),
        classes: 10,
    };
    let network = UNet::build(&mut Source::given(weights(case, kind), Device::Cpu), &shape)?;
    let count: usize = parameters(&network).iter().map(|parameter| parameter.value().numel()).sum();
    let mut report = Report::default();
    report.within("weights", (count as f64 - number(case, "/parameter_count")).abs(), 0.0);
    let (x, sigma) = (golden(case, "/inputs/x", kind), golden(case, "/inputs/sigma", kind));
    let labels = golden(case, "/inputs/labels", Kind::Int64);
    let given = network.forward(&x, &(sigma.log() * 0.25), &labels, &mut Pass::Infer);
    let seen = edm::denoised(
        &mut |x, level, class| Ok(network.forward(x, level, class, &mut Pass::Infer)),
        &x,
        &sigma,
        &labels,
    )?;
    let allowed = if kind == Kind::Double { 2e-7 } else { 2e-5 };
    // A slash within a name is ~1 in a pointer.
    for (name, pointer, found) in
        [("F", "/expected/F(x, ln(sigma)~14, y)", &given), ("D", "/expected/D(x; sigma, y)", &seen)]
    {
        report.within(name, relative_error(&numbers(found)?, &case.numbers(pointer)), allowed);
    }
    // Fresh ones have the same sizes, and start as nearly nothing.
    let fresh = UNet::new(&shape, 1, Device::Cpu)?;
    let nothing = fresh.forward(
        &tensor::from_f32(&fill(1, &x.size(), -1.0, 1.0), &x.size())?,
        &Tensor::from_slice(&[0.1f32, 0.2]),
        &labels,
        &mut Pass::Infer,
    );
    report.within("a fresh network", nothing.abs().max().double_value(&[]), 1e-3);
    report.end()
}
