//! DP-ImgSyn: statistics, losses, images after some steps, the release, distillation.

use libtest_mimic::Failed;
use pate_core::base::tensor::gradients;
use pate_core::data::{ImageShape, Normalisation};
use pate_core::imgsyn::statistics::{self, Statistics, StatisticsPlan};
use pate_core::imgsyn::synthesis::{self, Loss, Moved, Weights};
use pate_core::models::{Classifier as _, GnResNet};
use pate_core::nn::{DropoutMasks, Pass, Source, Tape, parameters};
use pate_core::train::classifier::distillation;
use tch::{Device, Kind, Tensor};
use testing::golden::{Case, fill, relative_error};

use super::dp_sgd::weights;
use super::{Report, tensor};

/// A term of a loss.
type Term = fn(Loss) -> Option<Tensor>;

/// Checks a case in a kind of numbers.
pub(super) fn check(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    match case.id() {
        "release" => release(case),
        "kd" => kd(case, kind),
        "constants" => constants(case),
        id if id.ends_with("_statistics") => of_layers(case, kind),
        id if id.ends_with("_loss") => losses(case, kind),
        _ => images(case, kind),
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>, Failed> {
    Ok(tensor.to_kind(Kind::Double).contiguous().flatten(0, -1).try_into()?)
}

/// The two networks of the group, and the images that they see.
struct Setting {
    network: GnResNet,
    x: Tensor,
    labels: Tensor,
}

/// The seeds of images and classes by network: those that the statistics' case states.
fn setting(case: &Case<'_>, kind: Kind) -> Result<Setting, Failed> {
    let id = case.id().split('_').next().unwrap_or_default().to_owned();
    let first = case.sibling(&format!("{id}_statistics"));
    let colour = id == "net3";
    let (key, size, blocks): (u64, [i64; 4], usize) =
        if colour { (1_001_500, [4, 3, 16, 16], 1) } else { (1_002_500, [5, 1, 28, 28], 2) };
    let shape = ImageShape { channels: size[1], height: size[2], width: size[3] };
    let mut source = Source::given(weights(&first, kind), Device::Cpu);
    let network = GnResNet::with_blocks(&mut source, shape, 10, 8, blocks)?;
    let labels: Vec<i64> = first.numbers("/inputs/y").into_iter().map(|y| y as i64).collect();
    Ok(Setting { network, x: seen(key, &size, kind), labels: Tensor::from_slice(&labels) })
}

/// Normalised images of a key, rounded to float32.
fn seen(key: u64, size: &[i64], kind: Kind) -> Tensor {
    let pixels = fill(key, size, 0.0, 1.0);
    let x: Vec<f32> = pixels.into_iter().map(|x| ((f64::from(x) - 0.1307) / 0.3081) as f32).collect();
    Tensor::from_slice(&x).view(size).to_kind(kind)
}

fn inputs(network: &GnResNet, x: &Tensor) -> (Vec<Tensor>, Tensor) {
    let mut tape = Tape::default();
    let logits = network.logits(x, &mut Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() });
    (statistics::inputs(&tape, x), logits)
}

fn of_layers(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let Setting { network, x, .. } = setting(case, kind)?;
    let allowed = if kind == Kind::Double { 1e-9 } else { 1e-4 };
    let mut report = Report::default();
    let mut close = |what: &str, found: &Tensor, pointer: &str| -> Result<(), Failed> {
        report.within(what, relative_error(&numbers(found)?, &case.numbers(pointer)), allowed);
        Ok(())
    };
    let (layers, logits) = inputs(&network, &x);
    close("logits", &logits, "/expected/logits")?;
    let (means, variances): (Vec<_>, Vec<_>) = layers.iter().map(statistics::of_batch).unzip();
    close("batch means", &Tensor::cat(&means, 0), "/expected/batch_mean")?;
    close("batch variances", &Tensor::cat(&variances, 0), "/expected/batch_var_biased")?;
    let (mean, squares, channels) = statistics::of_records(&layers)?;
    close("record means", &mean, "/expected/record_mean")?;
    close("record squares", &squares, "/expected/record_mean_of_squares")?;
    let expected: Vec<i64> = case.numbers("/expected/channels").into_iter().map(|n| n as i64).collect();
    if channels != expected {
        return Err(format!("layers of {channels:?} channels, not {expected:?}").into());
    }
    // The original's running statistics, which are not private, follow from those of its batches.
    let colour = x.size()[1] == 3;
    let key = if colour { 1_001_510 } else { 1_002_510 };
    let batches: [i64; 3] = if colour { [4, 3, 2] } else { [5, 4, 2] };
    let all: i64 = channels.iter().sum();
    let (mut mean, mut variance) =
        (Tensor::zeros([all], (kind, Device::Cpu)), Tensor::ones([all], (kind, Device::Cpu)));
    for (t, n) in batches.into_iter().enumerate() {
        let size = [n, x.size()[1], x.size()[2], x.size()[3]];
        let (layers, _) = inputs(&network, &seen(key + t as u64, &size, kind));
        let mut now = (Vec::new(), Vec::new());
        for layer in &layers {
            let (mean, variance) = statistics::of_batch(layer);
            let values = (layer.numel() as i64 / layer.size()[1]) as f64;
            now.0.push(mean);
            now.1.push(variance * (values / (values - 1.0)));
        }
        mean = mean * 0.9 + Tensor::cat(&now.0, 0) * 0.1;
        variance = variance * 0.9 + Tensor::cat(&now.1, 0) * 0.1;
    }
    close("running means", &mean, "/expected/original_running_statistics/mean")?;
    close("running variances", &variance, "/expected/original_running_statistics/var")?;
    report.end()
}

fn targets(case: &Case<'_>, network: &GnResNet, x: &Tensor, kind: Kind) -> Statistics {
    let id = case.id().split('_').next().unwrap_or_default().to_owned();
    let loss = case.sibling(&format!("{id}_loss"));
    let channels = inputs(network, x).0.iter().map(|input| input.size()[1]).collect();
    Statistics {
        mean: tensor(&loss, "/inputs/target_mean", kind),
        variance: tensor(&loss, "/inputs/target_var", kind),
        channels,
        floored: 0,
    }
}

fn losses(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let Setting { network, x, labels } = setting(case, kind)?;
    let statistics = targets(case, &network, &x, kind);
    let x = x.set_requires_grad(true);
    let made =
        || synthesis::loss(&network, Some(&statistics), &x, &labels, &Weights::ORIGINAL, (0, 0, false));
    let loss = made()?;
    let Some(features) = &loss.features else { return Err("no features".into()) };
    let mut report = Report::default();
    let allowed = if kind == Kind::Double { 1e-9 } else { 2e-4 };
    let gradient = |of: Term| -> Result<Tensor, Failed> {
        let Some(value) = of(made()?) else { return Err("no such term".into()) };
        Ok(gradients(&value, std::slice::from_ref(&x))?.remove(0))
    };
    let values = [
        ("features", features),
        ("ce", &loss.cross_entropy),
        ("tv_l1", &loss.total_variation),
        ("l2", &loss.l2),
        ("total", &loss.total),
    ];
    for (name, value) in values {
        let pointer = format!("/expected/{}", if name == "features" { "feature" } else { name });
        report.within(name, relative_error(&numbers(value)?, &case.numbers(&pointer)), allowed);
    }
    let whole: [(&str, Term); 3] = [
        ("/expected/gradient_total", |loss| Some(loss.total)),
        ("/expected/gradient_feature", |loss| loss.features),
        ("/expected/gradient_ce", |loss| Some(loss.cross_entropy)),
    ];
    for (pointer, of) in whole {
        report.within(pointer, relative_error(&numbers(&gradient(of)?)?, &case.numbers(pointer)), allowed);
    }
    let norms: [(&str, Term); 2] =
        [("tv_l1", |loss| Some(loss.total_variation)), ("l2", |loss| Some(loss.l2))];
    for (name, of) in norms {
        let norm = gradient(of)?.norm();
        let pointer = format!("/expected/gradient_norms/{name}");
        report.within(&pointer, relative_error(&numbers(&norm)?, &case.numbers(&pointer)), allowed);
    }
    report.end()
}

fn images(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let Setting { network, x, labels } = setting(case, kind)?;
    let statistics = targets(case, &network, &x, kind);
    let normalisation = Normalisation::mnist();
    let mut report = Report::default();
    let runs = case.at("/expected").as_object().map(|runs| runs.keys().cloned().collect::<Vec<_>>());
    for run in runs.unwrap_or_default() {
        let at = |what: &str| format!("/expected/{run}/{what}");
        let changes = case.at(&at("augmentation (roll rows, roll columns, flip)"));
        let changes: Vec<Vec<i64>> = serde_json::from_value(changes.clone())?;
        let expected = case.numbers(&at("loss_before_each_step"));
        let mut moved = Moved::new(&x, &normalisation, 0.1);
        for (change, expected) in changes.iter().zip(&expected) {
            let change = (change[0], change[1], change[2] == 1);
            let loss = moved.step(&network, Some(&statistics), &labels, &Weights::ORIGINAL, change)?;
            let allowed = if kind == Kind::Double { 1e-7 } else { 1e-3 };
            report.within(&run, (loss - expected).abs() / expected, allowed);
        }
        let (found, expected) = (numbers(moved.images())?, case.numbers(&at("images")));
        let off = |&(a, b): &(&f64, &f64)| (a - b).abs();
        let differences: Vec<f64> = found.iter().zip(&expected).map(|pair| off(&pair)).collect();
        if kind == Kind::Double {
            report.within(&run, differences.iter().copied().fold(0.0, f64::max), 1e-5);
        } else {
            // Adam's first steps follow the signs of gradients: near zero they may turn.
            let far = differences.iter().filter(|x| **x > 1e-3).count() as f64;
            let allowed = 3.0 * case.numbers(&at("float32_run/pixels_off_by_more_than_1e-3"))[0];
            report.within(&format!("pixels of {run}"), far, allowed);
        }
    }
    report.end()
}

fn release(case: &Case<'_>) -> Result<(), Failed> {
    let channels = case.sibling("net1_statistics").numbers("/expected/channels");
    let channels: Vec<i64> = channels.into_iter().map(|n| n as i64).collect();
    let first = case.sibling("net1_statistics");
    let mean = tensor(&first, "/expected/record_mean", Kind::Double);
    let squares = tensor(&first, "/expected/record_mean_of_squares", Kind::Double);
    let parameter = |name: &str| case.numbers(&format!("/parameters/{name}"))[0];
    let (clip, bound) = (parameter("S"), parameter("bound_b"));
    let u = statistics::vectors(&mean, &squares, &channels, bound)?;
    let mut report = Report::default();
    report.within("u", relative_error(&numbers(&u)?, &case.numbers("/expected/u")), 1e-10);
    let clipped = pate_core::dp::shortened(&u, clip)?;
    let norms = |x: &Tensor| (x * x).sum_dim_intlist(1, false, Kind::Double).sqrt();
    report.within("norms", relative_error(&numbers(&norms(&u))?, &case.numbers("/expected/u_norm")), 1e-10);
    let factors = norms(&clipped) / norms(&u);
    report.within("factors", relative_error(&numbers(&factors)?, &case.numbers("/expected/factor")), 1e-10);
    let sum = clipped.sum_dim_intlist(0, false, Kind::Double);
    report.within("sum", relative_error(&numbers(&sum)?, &case.numbers("/expected/sum")), 1e-10);
    // The bound that the noise is made for.
    let moved = numbers(&norms(&clipped))?;
    let expected = case.numbers("/expected/sensitivity/change of the sum when record i is left out");
    report.within("sensitivity", relative_error(&moved, &expected), 1e-10);
    if moved.iter().any(|&x| x > clip) {
        return Err("a record moves the sum by more than S".into());
    }
    let xi = fill(1_002_900, &[2 * channels.iter().sum::<i64>()], -1.732_050_8, 1.732_050_8);
    let xi = Tensor::from_slice(&xi).to_kind(Kind::Double);
    for run in ["without_noise", "with_noise", "with_sigma_20"] {
        let at = |what: &str| format!("/expected/results/{run}/{what}");
        let sigma = case.numbers(&at("sigma_bn"))[0];
        let plan = StatisticsPlan {
            noise_multiplier: sigma.max(1e-9),
            clipping_norm: clip,
            bound,
            records: parameter("N_bar"),
            variance_floor: parameter("var_floor"),
        };
        let noisy = numbers(&(&sum + &xi * (sigma * clip)))?;
        let found = Statistics::of_sum(&noisy, &channels, &plan)?;
        // They are kept in float32.
        report.within(run, relative_error(&numbers(&found.mean)?, &case.numbers(&at("mean"))), 1e-7);
        report.within(run, relative_error(&numbers(&found.variance)?, &case.numbers(&at("var"))), 1e-7);
        report.within(
            "floored",
            (found.floored as f64 - case.numbers(&at("floored_channels"))[0]).abs(),
            0.0,
        );
    }
    report.end()
}

fn kd(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let logits = |key: u64| Tensor::from_slice(&fill(key, &[5, 10], -8.0, 8.0)).view([5, 10]).to_kind(kind);
    let teacher = logits(1_030_001);
    let mut report = Report::default();
    for temperature in [1.0, 20.0, 100.0] {
        let student = logits(1_030_000).set_requires_grad(true);
        let soft = (&teacher / temperature).softmax(-1, None);
        let loss = distillation(&student, &soft, temperature)? / 5.0;
        let gradient = gradients(&loss, std::slice::from_ref(&student))?.remove(0);
        let at = |what: &str| format!("/expected/T={temperature}/{what}");
        let allowed = match kind {
            Kind::Double => 1e-10,
            _ => (5.0 * case.numbers(&at("float32_relative_error"))[0]).max(1e-4),
        };
        report.within(&at("loss"), relative_error(&numbers(&loss)?, &case.numbers(&at("loss"))), allowed);
        report.within(
            &at("gradient"),
            relative_error(&numbers(&gradient)?, &case.numbers(&at("gradient"))),
            allowed,
        );
    }
    report.end()
}

fn constants(case: &Case<'_>) -> Result<(), Failed> {
    let shape = ImageShape { channels: 3, height: 32, width: 32 };
    let network = GnResNet::new(shape, 10, 64, 1, Device::Cpu)?;
    let parameters: usize = parameters(&network).iter().map(|parameter| parameter.value().numel()).sum();
    let x = Tensor::zeros(shape.batch(1), (Kind::Float, Device::Cpu));
    let (layers, _) = inputs(&network, &x);
    let found = [
        ("parameters", parameters as i64),
        ("norm_layers", layers.len() as i64),
        ("recorded_channels", layers.iter().map(|layer| layer.size()[1]).sum()),
        ("recorded_activations_per_record", layers.iter().map(|layer| layer.numel() as i64).sum()),
    ];
    for (name, found) in found {
        let expected = case.numbers(&format!("/expected/{name}"))[0] as i64;
        if found != expected {
            return Err(format!("{name}: {found}, not {expected}").into());
        }
    }
    Ok(())
}
