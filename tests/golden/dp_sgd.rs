//! Gradients of single records, clipped sums and steps, against Opacus, torch.func and loops.

use libtest_mimic::Failed;
use pate_core::data::ImageShape;
use pate_core::dp::{Clipping, Engine, Gradients};
use pate_core::models::{Activation, Classifier as _, GnResNet, SmallCnn, UNet, UNetShape, UcStub};
use pate_core::nn::{
    Adam, Conv2d, ConvTranspose2d, DropoutMasks, Embedding, GroupNorm, LayerNorm, Linear, Module, Optimizer,
    Parameter, Pass, Sgd, Source, Tape, Window, parameters,
};
use serde_json::Value;
use tch::{Device, Kind, Tensor};
use testing::golden::{Case, fill};

use super::{Report, tensor};

const GREY: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };

/// Checks a case in a kind of numbers.
pub(super) fn check(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    match case.id() {
        "dp_steps" => steps(case, kind),
        "edge_norms" => edges(case, kind),
        "empty_batch" => empty(kind),
        _ => gradients(case, kind),
    }
}

/// How far numbers may be off: computed ones, and those that are stored in float32.
struct Tolerance {
    gradient: f64,
    stored: f64,
    loss: f64,
}

fn tolerance(kind: Kind) -> Tolerance {
    match kind {
        Kind::Double => Tolerance { gradient: 1e-10, stored: 1e-6, loss: 1e-10 },
        _ => Tolerance { gradient: 2e-5, stored: 2e-5, loss: 1e-5 },
    }
}

/// The case's weights under the names that its network here has.
pub(super) fn weights(case: &Case<'_>, kind: Kind) -> Vec<(String, Tensor)> {
    let all = case.at("/params").as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().map(|parameter| (name(parameter), by_rule(parameter, kind))).collect()
}

/// A layer by itself has no name there.
fn name(parameter: &Value) -> String {
    let name = parameter["name"].as_str().unwrap_or_default();
    if name.contains('.') { name.to_owned() } else { format!("layer.{name}") }
}

fn by_rule(parameter: &Value, kind: Kind) -> Tensor {
    let number = |name: &str| parameter[name].as_f64().unwrap_or_default();
    let shape: Vec<i64> =
        parameter["shape"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
    let values = fill(parameter["key"].as_u64().unwrap_or_default(), &shape, number("lo"), number("hi"));
    Tensor::from_slice(&values).view(shape.as_slice()).to_kind(kind)
}

/// A network and its loss for each row of its input.
struct Model {
    network: Box<dyn Module>,
    losses: Box<dyn Fn(&mut Pass<'_>) -> Tensor>,
    views: i64,
}

impl Model {
    fn record(&self) -> (Tape, Tensor) {
        let mut tape = Tape::default();
        let mut pass = Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() };
        let losses = (self.losses)(&mut pass);
        (tape, losses)
    }
}

fn squared_error(y: &Tensor, target: &Tensor) -> Tensor {
    let difference = (y - target).flatten(1, -1);
    (&difference * &difference).sum_dim_intlist(1, false, None) * 0.5
}

fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    let chosen = logits.log_softmax(-1, None).gather(1, &labels.unsqueeze(1), false);
    -chosen.squeeze_dim(1)
}

/// Two convolutions and a linear layer, with tanh.
#[derive(Clone)]
struct TinyTanh {
    conv1: Conv2d,
    conv2: Conv2d,
    fc: Linear,
}

impl Module for TinyTanh {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.conv1.visit(f);
        self.conv2.visit(f);
        self.fc.visit(f);
    }
}

impl TinyTanh {
    fn build(source: &mut Source<'_>) -> pate_core::Result<Self> {
        Ok(Self {
            conv1: Conv2d::new(source, "conv1", (1, 4), 3, (2, 1))?,
            conv2: Conv2d::new(source, "conv2", (4, 8), 3, (2, 1))?,
            fc: Linear::new(source, "fc", 72, 10)?,
        })
    }

    fn logits(&self, x: &Tensor, pass: &mut Pass<'_>) -> Tensor {
        let x = self.conv1.forward(x, pass).tanh();
        let x = self.conv2.forward(&x, pass).tanh();
        self.fc.forward(&x.flatten(1, -1), pass)
    }
}

/// Two layers, each used twice.
#[derive(Clone)]
struct Tied {
    lin: Linear,
    conv: Conv2d,
}

impl Module for Tied {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.lin.visit(f);
        self.conv.visit(f);
    }
}

/// A classifier of `x`, by cross-entropy with `y`.
fn classified<M: Module + Clone + 'static>(
    network: M,
    logits: impl Fn(&M, &Tensor, &mut Pass<'_>) -> Tensor + 'static,
    x: Tensor,
    y: Tensor,
    views: i64,
) -> Model {
    let alias = network.clone();
    let losses = move |pass: &mut Pass<'_>| cross_entropy(&logits(&alias, &x, pass), &y);
    Model { network: Box::new(network), losses: Box::new(losses), views }
}

fn layer<M: Module + Clone + 'static>(
    case: &Case<'_>,
    kind: Kind,
    network: M,
    forward: impl Fn(&M, &Tensor, &mut Pass<'_>) -> Tensor + 'static,
) -> Model {
    let x = tensor(case, "/inputs/x", kind);
    let target = tensor(case, "/inputs/r", kind);
    let alias = network.clone();
    Model {
        network: Box::new(network),
        losses: Box::new(move |pass| squared_error(&forward(&alias, &x, pass), &target)),
        views: 1,
    }
}

fn model(case: &Case<'_>, kind: Kind) -> Result<Model, Failed> {
    let mut source = Source::given(weights(case, kind), Device::Cpu);
    let source = &mut source;
    let labels = || tensor(case, "/inputs/y", Kind::Int64);
    let images = || tensor(case, "/inputs/x", kind);
    let square = Window::square;
    let conv = |source: &mut Source<'_>, channels, window, bias| {
        Conv2d::with_window(source, "layer", channels, window, bias)
            .map(|net| layer(case, kind, net, Conv2d::forward))
    };
    Ok(match case.id() {
        "mnist_opacus" => classified(
            SmallCnn::build(source, GREY, 10, Activation::Relu)?,
            SmallCnn::logits,
            images(),
            labels(),
            1,
        ),
        "ucstub" => classified(UcStub::build(source, GREY, 10)?, UcStub::logits, images(), labels(), 1),
        "gn_resnet18_w8" => {
            classified(GnResNet::build(source, GREY, 10, 8)?, GnResNet::logits, images(), labels(), 1)
        }
        "tiny_tanh" => classified(TinyTanh::build(source)?, TinyTanh::logits, images(), labels(), 1),
        "views_mean_then_clip" => {
            let network = TinyTanh::build(source)?;
            let base = tensor(case, "/inputs/x/base", kind);
            let noise = tensor(case, "/inputs/x/noise", kind);
            let x = (base.unsqueeze(1) + noise * 0.8).flatten(0, 1);
            let y = labels().repeat_interleave_self_int(4, 0, None);
            classified(network, TinyTanh::logits, x, y, 4)
        }
        "unet_edm" => unet(case, source, kind)?,
        "layer_convt_a" => {
            let window = square(3).stride(2).padding(1);
            let net = ConvTranspose2d::with_window(source, "layer", (3, 4), window, [1, 1], true)?;
            layer(case, kind, net, ConvTranspose2d::forward)
        }
        "layer_convt_groups" => {
            let window = Window { groups: 2, ..square(4).stride(2).padding(1) };
            let net = ConvTranspose2d::with_window(source, "layer", (4, 6), window, [0, 0], false)?;
            layer(case, kind, net, ConvTranspose2d::forward)
        }
        "layer_linear_seq" => {
            let net = Linear::new(source, "layer", 7, 5)?;
            layer(case, kind, net, Linear::forward)
        }
        "layer_layer_norm_seq" => {
            let net = LayerNorm::new(source, "layer", &[6], 1e-5)?;
            layer(case, kind, net, LayerNorm::forward)
        }
        "layer_layer_norm_img" => {
            let net = LayerNorm::new(source, "layer", &[3, 4, 4], 1e-5)?;
            layer(case, kind, net, LayerNorm::forward)
        }
        "layer_group_norm" => {
            let net = GroupNorm::new(source, "layer", (2, 6), 1e-5)?;
            layer(case, kind, net, GroupNorm::forward)
        }
        "layer_group_norm_instance" => {
            let net = GroupNorm::new(source, "layer", (6, 6), 1e-5)?;
            layer(case, kind, net, GroupNorm::forward)
        }
        "layer_conv_grouped" => conv(source, (4, 8), Window { groups: 2, ..square(3).padding(1) }, true)?,
        "layer_conv_depthwise" => conv(source, (4, 8), Window { groups: 4, ..square(3) }, false)?,
        "layer_conv_mixed" => {
            let window =
                Window { size: [3, 2], stride: [2, 1], padding: [2, 1], dilation: [1, 2], groups: 1 };
            conv(source, (3, 5), window, true)?
        }
        "layer_conv_uncovered" => conv(source, (2, 3), square(3).stride(2), true)?,
        "layer_conv_same" => conv(source, (2, 3), Window { dilation: [2, 2], ..square(3).padding(2) }, true)?,
        "layer_tied" => {
            let net = Tied {
                lin: Linear::new(source, "lin", 6, 6)?,
                conv: Conv2d::new(source, "conv", (2, 2), 3, (1, 1))?,
            };
            layer(case, kind, net, |net, x, pass| {
                let x = net.conv.forward(x, pass).tanh();
                let x = net.conv.forward(&x, pass).tanh();
                let x = net.lin.forward(&x, pass).tanh();
                net.lin.forward(&x, pass)
            })
        }
        "layer_embedding" => {
            let net = Embedding::new(source, "layer", 11, 6)?;
            layer(case, kind, net, |net, x, pass| net.forward(&x.to_kind(Kind::Int64), pass))
        }
        other => return Err(format!("{other} is no case that this program knows; add it to model()").into()),
    })
}

/// The loss of EDM (Karras, Aittala, Aila, Laine, "Elucidating the design space of diffusion-based
/// generative models", 2022) on two draws of noise for each record.
fn unet(case: &Case<'_>, source: &mut Source<'_>, kind: Kind) -> Result<Model, Failed> {
    let shape = UNetShape {
        size: 14,
        channels: 1,
        width: 16,
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![7],
        classes: 10,
    };
    let network = UNet::build(source, &shape)?;
    let x = tensor(case, "/inputs/x", kind).unsqueeze(1).expand([-1, 2, -1, -1, -1], false).flatten(0, 1);
    let noise = tensor(case, "/inputs/noise", kind).flatten(0, 1);
    let sigma = tensor(case, "/inputs/sigma", kind).flatten(0, 1);
    let y = tensor(case, "/inputs/y", Kind::Int64).repeat_interleave_self_int(2, 0, None);
    let alias = network.clone();
    let losses = move |pass: &mut Pass<'_>| {
        let data = 1.0 / 3.0; // the variance of the data
        let s = sigma.view([-1, 1, 1, 1]);
        let total = &s * &s + data;
        let noised = &x + &s * &noise;
        let skip = total.reciprocal() * data;
        let out = &s * total.sqrt().reciprocal() * data.sqrt();
        let level = sigma.log() * 0.25;
        let given = alias.forward(&(&noised * total.sqrt().reciprocal()), &level, &y, pass);
        let denoised = &noised * skip + given * out;
        let weight = &total / (&s * &s * data);
        ((denoised - &x).square() * weight).mean_dim([1i64, 2, 3].as_slice(), false, None)
    };
    Ok(Model { network: Box::new(network), losses: Box::new(losses), views: 2 })
}

/// Largest absolute difference of each row, over the row's scale.
fn off(found: &Tensor, expected: &Tensor, scale: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size(), "shapes");
    let (found, expected) = (found.to_kind(Kind::Double), expected.to_kind(Kind::Double));
    let rows = (found - expected).abs().flatten(1, -1).amax([1].as_slice(), false);
    let worst = (rows / scale.to_kind(Kind::Double)).max().double_value(&[]);
    if worst.is_nan() { f64::INFINITY } else { worst }
}

/// Row-major values of all tensors, side by side for each record: `[n, numel]`.
fn flat(all: &[Tensor]) -> Tensor {
    Tensor::cat(&all.iter().map(|x| x.flatten(1, -1)).collect::<Vec<_>>(), 1)
}

/// What a gradient is projected on.
pub(super) fn projection(key: u64, numel: i64) -> Tensor {
    Tensor::from_slice(&fill(key, &[numel], -1.0, 1.0)).to_kind(Kind::Double)
}

fn gradients(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let model = model(case, kind)?;
    let allowed = tolerance(kind);
    let parameters = in_order(case, model.network.as_ref())?;
    for engine in [Engine::Materialised, Engine::Ghost] {
        let mut report = Report::default();
        let (tape, losses) = model.record();
        let per_record = losses.view([-1, model.views]).mean_dim(1, false, None);
        let expected = tensor(case, "/expected/loss", Kind::Double);
        let off_loss =
            ((per_record.to_kind(Kind::Double) - &expected) / &expected).abs().max().double_value(&[]);
        report.within("the loss", off_loss, allowed.loss);

        let loss = losses.sum(None::<Kind>) / model.views as f64;
        let gradients = Gradients::of(&tape, &loss, &parameters, model.views, engine)?;
        let norms = tensor(case, "/expected/grad_norm", Kind::Double);
        let n = norms.size()[0];
        let squares = gradients.squared_norms().to_kind(Kind::Double);
        let found = squares.sum_dim_intlist(0, false, None).sqrt();
        report.within("norms", off(&found.unsqueeze(1), &norms.unsqueeze(1), &norms), allowed.gradient);
        let by_tensor = squares.sqrt().transpose(0, 1);
        let expected = tensor(case, "/expected/grad_norm_per_tensor", Kind::Double);
        report.within("norms of tensors", off(&by_tensor, &expected, &norms), allowed.gradient);

        let all = gradients.materialised();
        let key = case.at("/expected/grad_projection_per_tensor/key0").as_u64().unwrap_or_default();
        let projected: Vec<Tensor> = all
            .iter()
            .enumerate()
            .map(|(i, x)| {
                let rows = x.flatten(1, -1).to_kind(Kind::Double);
                rows.mv(&projection(key + i as u64, rows.size()[1]))
            })
            .collect();
        let expected = tensor(case, "/expected/grad_projection_per_tensor", Kind::Double);
        let off_projection = off(&Tensor::stack(&projected, 1), &expected, &norms);
        report.within("projections", off_projection, allowed.gradient);
        if has(case, "per_record_gradient") {
            let expected = tensor(case, "/expected/per_record_gradient", Kind::Double);
            report.within("gradients", off(&flat(&all), &expected, &norms), allowed.gradient);
        }
        if has(case, "per_record_gradient_of_records_0_1") {
            let expected = tensor(case, "/expected/per_record_gradient_of_records_0_1", Kind::Double);
            let two = norms.narrow(0, 0, 2);
            report.within("gradients", off(&flat(&all).narrow(0, 0, 2), &expected, &two), allowed.stored);
        }
        if has(case, "coordinates") {
            let expected = tensor(case, "/expected/coordinates", Kind::Double);
            let chosen: Vec<Tensor> = all
                .iter()
                .map(|x| {
                    let rows = x.flatten(1, -1);
                    let numel = rows.size()[1];
                    rows.index_select(1, &Tensor::from_slice(&[0, numel / 2, numel - 1]))
                })
                .collect();
            report.within(
                "coordinates",
                off(&Tensor::stack(&chosen, 1), &expected, &norms),
                allowed.gradient,
            );
        }

        let scale = norms.max().double_value(&[]) * n as f64;
        let flat_cases = case.at("/expected/flat_clipping").as_array().map_or(0, Vec::len);
        for i in 0..flat_cases {
            let at = format!("/expected/flat_clipping/{i}");
            let norm = case.numbers(&format!("{at}/C"))[0];
            let clipped = Clipping::Flat.clip(fresh(&model, &parameters, engine)?, &parameters, norm)?;
            let expected = case.numbers(&format!("{at}/clipped_records"))[0] as i64;
            let found = clipped.clipped_private.sum(Kind::Int64).int64_value(&[]);
            if found != expected {
                report.problems.push(format!("C {norm}: {found} records are clipped, not {expected}"));
            }
            compare_sum(case, &at, &clipped.sums, scale, &mut report, &allowed);
            let total = flat_sum(&clipped.sums);
            let found = total.norm().double_value(&[]);
            let expected = case.numbers(&format!("{at}/sum_norm"))[0];
            report.within("the sum's norm", (found - expected).abs() / scale, allowed.gradient * n as f64);
        }
        for (name, clipping) in [("by_tensor", Clipping::PerTensor), ("by_module", Clipping::PerLayer)] {
            let at = format!("/expected/per_layer_clipping/{name}");
            let norm = case.numbers("/expected/flat_clipping/0/C")[0];
            let clipped = clipping.clip(fresh(&model, &parameters, engine)?, &parameters, norm)?;
            compare_sum(case, &at, &clipped.sums, scale, &mut report, &allowed);
        }
        report.end().map_err(|error| named(engine, &error))?;
    }
    Ok(())
}

/// The gradients of a pass of its own.
fn fresh(model: &Model, parameters: &[&Parameter], engine: Engine) -> Result<Gradients, Failed> {
    let (tape, losses) = model.record();
    let loss = losses.sum(None::<Kind>) / model.views as f64;
    Ok(Gradients::of(&tape, &loss, parameters, model.views, engine)?)
}

fn has(case: &Case<'_>, expected: &str) -> bool {
    case.at("/expected").get(expected).is_some()
}

fn named(engine: Engine, error: &Failed) -> Failed {
    format!("{engine:?}: {}", error.message().unwrap_or_default()).into()
}

/// The network's parameters in the order of the case.
fn in_order<'a>(case: &Case<'_>, network: &'a dyn Module) -> Result<Vec<&'a Parameter>, Failed> {
    let all = parameters(network);
    let names = case.at("/params").as_array().map(Vec::as_slice).unwrap_or_default();
    if names.len() != all.len() {
        return Err(format!("{} parameters, and the case has {}", all.len(), names.len()).into());
    }
    let found = names.iter().map(|parameter| {
        let name = name(parameter);
        all.iter().find(|p| p.name() == name).copied().ok_or_else(|| format!("no parameter {name}").into())
    });
    found.collect()
}

fn flat_sum(sums: &[Tensor]) -> Tensor {
    Tensor::cat(&sums.iter().map(|x| x.flatten(0, -1).to_kind(Kind::Double)).collect::<Vec<_>>(), 0)
}

/// A sum of clipped gradients with what is expected below `at`, where something is: all of it, or
/// sum, norm and projection of each tensor.
fn compare_sum(
    case: &Case<'_>,
    at: &str,
    sums: &[Tensor],
    scale: f64,
    report: &mut Report,
    allowed: &Tolerance,
) {
    let pointer = format!("{at}/sum");
    let Some(sum) = case.at(at).get("sum") else { return };
    let expected = tensor(case, &pointer, Kind::Double);
    let scales = Tensor::from_slice(&[scale]);
    let limit = if sum["dtype"] == "float32" { allowed.stored } else { allowed.gradient };
    let found = if expected.dim() == 1 {
        flat_sum(sums)
    } else {
        let key = case.at("/expected/grad_projection_per_tensor/key0").as_u64().unwrap_or_default();
        let rows: Vec<Tensor> = sums
            .iter()
            .enumerate()
            .map(|(i, x)| {
                let x = x.flatten(0, -1).to_kind(Kind::Double);
                let projected = x.dot(&projection(key + i as u64, x.size()[0]));
                Tensor::stack(&[x.sum(None::<Kind>), x.norm(), projected], 0)
            })
            .collect();
        Tensor::stack(&rows, 0).flatten(0, -1)
    };
    let off = off(&found.unsqueeze(0), &expected.flatten(0, -1).unsqueeze(0), &scales);
    report.within(&format!("the sum {at}"), off, limit);
}

/// Steps with noise that is given, one of them on no record at all.
fn steps(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let number = |name: &str| case.numbers(&format!("/parameters/{name}"))[0];
    let (sigma, norm, expected_batch) = (number("sigma"), number("C"), number("expected_batch"));
    let key = case.at("/inputs/key0").as_u64().unwrap_or_default();
    let sizes: Vec<i64> = case.numbers("/parameters/batch_sizes").iter().map(|&n| n as i64).collect();
    let labels = case.at("/inputs/y_t/values").clone();
    for name in ["sgd", "adam"] {
        for engine in [Engine::Materialised, Engine::Ghost] {
            let network = TinyTanh::build(&mut Source::given(weights(case, kind), Device::Cpu))?;
            let parameters = in_order(case, &network)?;
            let setting = |field: &str| case.numbers(&format!("/expected/{name}/optimizer/{field}"))[0];
            let mut optimizer: Box<dyn Optimizer> = if name == "sgd" {
                Box::new(Sgd::new(setting("lr"), setting("momentum"), setting("weight_decay")))
            } else {
                Box::new(Adam::new(setting("lr"), 0.0))
            };
            let mut estimates = Vec::new();
            for (t, &rows) in sizes.iter().enumerate() {
                let step = t as u64;
                let x = fill(key + 500 + 10 * step, &[rows, 1, 12, 12], 0.0, 1.0);
                let x = Tensor::from_slice(&x).view([rows, 1, 12, 12]).to_kind(kind);
                let y: Vec<i64> =
                    labels[t].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
                let y = Tensor::from_slice(&y);
                let sums = if rows == 0 {
                    parameters.iter().map(|p| p.value().zeros_like()).collect()
                } else {
                    let mut tape = Tape::default();
                    let mut pass = Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() };
                    let loss = cross_entropy(&network.logits(&x, &mut pass), &y).sum(None::<Kind>);
                    let gradients = Gradients::of(&tape, &loss, &parameters, 1, engine)?;
                    Clipping::Flat.clip(gradients, &parameters, norm)?.sums
                };
                let root = 1.732_050_8;
                let noisy: Vec<Tensor> = sums
                    .iter()
                    .enumerate()
                    .map(|(i, sum)| {
                        let noise = fill(key + 700 + 20 * step + i as u64, &sum.size(), -root, root);
                        let noise = Tensor::from_slice(&noise).view(sum.size().as_slice()).to_kind(kind);
                        (sum + noise * (sigma * norm)) / expected_batch
                    })
                    .collect();
                estimates.push(flat_sum(&noisy));
                let mut values: Vec<Tensor> = parameters.iter().map(|p| p.value().shallow_clone()).collect();
                optimizer.step(&mut values, &noisy);
            }
            let close = |what: &str, found: &Tensor, pointer: String, allowed: f64| {
                let expected = tensor(case, &pointer, Kind::Double);
                let off = ((found - &expected).norm() / expected.norm()).double_value(&[]);
                if off <= allowed { Ok(()) } else { Err(Failed::from(format!("{name}: {what}: {off:.1e}"))) }
            };
            let allowed = match (kind, name) {
                (Kind::Double, _) => 1e-10,
                (_, "adam") => 1e-3,
                _ => 1e-4,
            };
            let final_values: Vec<Tensor> = parameters.iter().map(|p| p.value().shallow_clone()).collect();
            close(
                "estimates",
                &Tensor::stack(&estimates, 0),
                format!("/expected/{name}/gradient_estimates"),
                allowed,
            )?;
            close(
                "weights",
                &flat_sum(&final_values),
                format!("/expected/{name}/final_parameters"),
                allowed,
            )?;
        }
    }
    Ok(())
}

/// Gradients of norm zero, tiny, huge, and exactly C.
fn edges(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let network = Linear::without_bias(&mut Source::given(weights(case, kind), Device::Cpu), "layer", 4, 3)?;
    let model = layer(case, kind, network, Linear::forward);
    let parameters = in_order(case, model.network.as_ref())?;
    let norm = case.numbers("/parameters/C")[0];
    let allowed = if kind == Kind::Double { 1e-12 } else { 1e-6 };
    for engine in [Engine::Materialised, Engine::Ghost] {
        let clipped = Clipping::Flat.clip(fresh(&model, &parameters, engine)?, &parameters, norm)?;
        let mut report = Report::default();
        let expected = tensor(case, "/expected/norms", Kind::Double);
        let scale = expected.clamp_min(1e-300);
        report.within(
            "norms",
            off(&clipped.norms_private.unsqueeze(1), &expected.unsqueeze(1), &scale),
            allowed,
        );
        let expected = tensor(case, "/expected/clipped_sum", Kind::Double).flatten(0, -1).unsqueeze(0);
        let scale = Tensor::from_slice(&[expected.norm().double_value(&[])]);
        report.within("the sum", off(&flat_sum(&clipped.sums).unsqueeze(0), &expected, &scale), allowed);
        report.end().map_err(|error| named(engine, &error))?;
    }
    Ok(())
}

/// No records: the sum is zero in every coordinate.
fn empty(kind: Kind) -> Result<(), Failed> {
    let given = vec![("layer.weight".to_owned(), Tensor::ones([3, 4], (kind, Device::Cpu)))];
    let network = Linear::without_bias(&mut Source::given(given, Device::Cpu), "layer", 4, 3)?;
    let alias = network.clone();
    let x = Tensor::zeros([0, 4], (kind, Device::Cpu));
    let losses = move |pass: &mut Pass<'_>| {
        squared_error(&alias.forward(&x, pass), &Tensor::zeros([0, 3], (kind, Device::Cpu)))
    };
    let model = Model { network: Box::new(network), losses: Box::new(losses), views: 1 };
    let parameters = parameters(model.network.as_ref());
    for engine in [Engine::Materialised, Engine::Ghost] {
        let clipped = Clipping::Flat.clip(fresh(&model, &parameters, engine)?, &parameters, 2.5)?;
        let sum = flat_sum(&clipped.sums);
        if sum.size() != [12] || sum.abs().max().double_value(&[]) != 0.0 {
            return Err(format!("{engine:?}: the sum over no records is {sum:?}").into());
        }
    }
    Ok(())
}
