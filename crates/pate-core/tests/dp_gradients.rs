//! Gradients of single records against a loop over single records, in float64: every layer, every
//! network, both engines.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

use pate_core::base::rng::{Purpose, Stream};
use pate_core::base::tensor::gradients;
use pate_core::data::ImageShape;
use pate_core::dp::{Clipping, Engine, Gradients, SUM_ERROR};
use pate_core::models::{Activation, Classifier, GnResNet, SmallCnn, UNet, UNetShape};
use pate_core::nn::{
    Conv2d, ConvTranspose2d, DropoutMasks, Embedding, GroupNorm, LayerNorm, Linear, Module, Pass, Source,
    Tape, Window, parameters, trainable,
};
use tch::{Device, Kind, Tensor};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

/// A network and its loss on rows from a first one on, one value per row, without reduction.
struct Case {
    name: &'static str,
    network: Box<dyn Module>,
    losses: Box<Losses>,
    rows: i64,
    views: i64,
}

/// First row, rows and pass to a loss for each row.
type Losses = dyn Fn(i64, i64, &mut Pass<'_>) -> Tensor;

/// Values by rule, the same for the same name.
fn random(name: u64, shape: &[i64]) -> Tensor {
    let mut stream = Stream::new(name, Purpose::Probe, 0);
    stream.normal_tensor(shape).unwrap().to_kind(Kind::Double)
}

/// A network in float64 whose weights are no fresh ones: factors of 1 and shifts of 0 hide faults.
fn double<M: Module>(build: impl Fn(&mut Source<'_>) -> M) -> M {
    let mut stream = Stream::new(1, Purpose::Weights, 0);
    let fresh = build(&mut Source::fresh(&mut stream, Device::Cpu));
    let moved = parameters(&fresh)
        .into_iter()
        .enumerate()
        .map(|(i, p)| {
            let value = p.value().to_kind(Kind::Double);
            let moved = &value + random(100 + i as u64, &value.size()) * 0.05;
            (p.name().to_owned(), moved)
        })
        .collect();
    build(&mut Source::given(moved, Device::Cpu))
}

fn squared_error(y: &Tensor, target: &Tensor) -> Tensor {
    let difference = (y - target).flatten(1, -1);
    (&difference * &difference).sum_dim_intlist(1, false, None) * 0.5
}

/// A network of a few layers on rows of `input`, against random targets.
fn layer<M: Module + Clone + 'static>(
    name: &'static str,
    input: Tensor,
    build: impl Fn(&mut Source<'_>) -> M,
    forward: impl Fn(&M, &Tensor, &mut Pass<'_>) -> Tensor + 'static,
) -> Case {
    let network = double(build);
    let rows = input.size()[0];
    let target = forward(&network, &input, &mut Pass::Infer);
    let target = random(7, &target.size());
    let alias = network.clone();
    let losses = move |first, n, pass: &mut Pass<'_>| {
        squared_error(&forward(&alias, &input.narrow(0, first, n), pass), &target.narrow(0, first, n))
    };
    Case { name, network: Box::new(network), losses: Box::new(losses), rows, views: 1 }
}

fn classifier<M: Classifier + Clone + 'static>(
    name: &'static str,
    shape: ImageShape,
    rows: i64,
    build: impl Fn(&mut Source<'_>) -> M,
) -> Case {
    let network = double(build);
    let x = random(3, &shape.batch(rows));
    let labels = Tensor::arange(rows, (Kind::Int64, Device::Cpu)).remainder(network.classes());
    let alias = network.clone();
    let losses = move |first, n, pass: &mut Pass<'_>| {
        let log_p = alias.log_probs(&x.narrow(0, first, n), pass);
        log_p.f_nll_loss::<Tensor>(&labels.narrow(0, first, n), None, tch::Reduction::None, -100).unwrap()
    };
    Case { name, network: Box::new(network), losses: Box::new(losses), rows, views: 1 }
}

/// Two layers, each used twice in one pass.
#[derive(Clone)]
struct Tied {
    conv: Conv2d,
    linear: Linear,
    norm: GroupNorm,
    table: Embedding,
}

impl Module for Tied {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a pate_core::nn::Parameter)) {
        self.linear.visit(f);
        self.conv.visit(f);
        self.norm.visit(f);
        self.table.visit(f);
    }
}

fn tied() -> Case {
    let build = |source: &mut Source<'_>| Tied {
        conv: Conv2d::new(source, "conv", (2, 2), 3, (1, 1)).unwrap(),
        linear: Linear::new(source, "linear", 6, 6).unwrap(),
        norm: GroupNorm::new(source, "norm", (1, 2), 1e-5).unwrap(),
        table: Embedding::new(source, "table", 5, 6).unwrap(),
    };
    layer("tied layers", random(2, &[4, 2, 6, 6]), build, |net, x, pass| {
        let x = net.conv.forward(x, pass).tanh();
        let x = net.norm.forward(&x, pass);
        let x = net.conv.forward(&x, pass).tanh();
        let x = net.norm.forward(&x, pass);
        let x = net.linear.forward(&x, pass).tanh();
        let indices = (x.select(3, 0).select(1, 0) * 2.0).floor().remainder(5.0).to_kind(Kind::Int64);
        let added = net.table.forward(&indices, pass) + net.table.forward(&(4 - &indices), pass);
        net.linear.forward(&(x + added.unsqueeze(1)), pass)
    })
}

fn layers() -> Vec<Case> {
    let conv = |name, input: &[i64], channels, window, bias| {
        layer(
            name,
            random(2, input),
            move |source| Conv2d::with_window(source, "layer", channels, window, bias).unwrap(),
            Conv2d::forward,
        )
    };
    let transposed = |name, input: &[i64], channels, window, more, bias| {
        layer(
            name,
            random(2, input),
            move |source| {
                ConvTranspose2d::with_window(source, "layer", channels, window, more, bias).unwrap()
            },
            ConvTranspose2d::forward,
        )
    };
    let square = Window::square;
    let mixed = Window { size: [3, 2], stride: [2, 1], padding: [2, 1], dilation: [1, 2], groups: 1 };
    let groups = |window, groups| Window { groups, ..window };
    vec![
        conv("conv", &[4, 2, 6, 6], (2, 3), square(3).padding(1), true),
        conv("conv, many channels", &[4, 9, 8, 7], (9, 10), square(3), true),
        conv("conv, many channels, padded", &[4, 9, 8, 7], (9, 3), square(3).padding(1), true),
        conv("conv, one place", &[4, 9, 3, 3], (9, 30), square(3), true),
        conv("conv 5x5, few places", &[4, 8, 6, 6], (8, 12), square(5), false),
        conv("conv 1x1", &[4, 8, 5, 6], (8, 4), square(1), true),
        conv("conv, grouped", &[4, 4, 6, 6], (4, 8), groups(square(3).padding(1), 2), true),
        conv("conv, depthwise", &[4, 4, 6, 6], (4, 8), groups(square(3), 4), false),
        conv("conv, grouped, few places", &[4, 16, 3, 3], (16, 32), groups(square(3), 2), true),
        conv("conv, mixed window", &[4, 3, 9, 7], (3, 5), mixed, true),
        conv("conv, uncovered", &[4, 2, 8, 8], (2, 3), square(3).stride(2), true),
        transposed("transposed", &[4, 3, 5, 5], (3, 4), square(3).stride(2).padding(1), [1, 1], true),
        transposed(
            "transposed, grouped",
            &[4, 4, 4, 4],
            (4, 6),
            groups(square(4).stride(2), 2),
            [0, 0],
            false,
        ),
        transposed("transposed, few places", &[4, 32, 2, 2], (32, 16), square(4).stride(2), [0, 1], true),
        layer(
            "linear",
            random(2, &[4, 7]),
            |source| Linear::new(source, "layer", 7, 5).unwrap(),
            Linear::forward,
        ),
        layer(
            "linear, long sequence",
            random(2, &[4, 2, 30, 7]),
            |source| Linear::new(source, "layer", 7, 5).unwrap(),
            Linear::forward,
        ),
        layer(
            "linear, short sequence",
            random(2, &[4, 3, 20]),
            |source| Linear::without_bias(source, "layer", 20, 30).unwrap(),
            Linear::forward,
        ),
        layer(
            "layer norm",
            random(2, &[4, 5, 3, 4]),
            |source| LayerNorm::new(source, "layer", &[3, 4], 1e-5).unwrap(),
            LayerNorm::forward,
        ),
        layer(
            "group norm",
            random(2, &[4, 6, 5, 5]),
            |source| GroupNorm::new(source, "layer", (2, 6), 1e-5).unwrap(),
            GroupNorm::forward,
        ),
        layer(
            "group norm of vectors",
            random(2, &[4, 6]),
            |source| GroupNorm::new(source, "layer", (3, 6), 1e-5).unwrap(),
            GroupNorm::forward,
        ),
        layer(
            "embedding",
            Tensor::from_slice(&[9_i64, 9, 9, 9, 3, 8, 3, 1, 0, 0, 2, 2, 4, 5, 6, 7]).view([4, 4]),
            |source| Embedding::new(source, "layer", 11, 6).unwrap(),
            Embedding::forward,
        ),
        tied(),
    ]
}

fn unet() -> Case {
    let shape = UNetShape {
        size: 8,
        channels: 1,
        width: 8,
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![4],
        classes: 3,
    };
    let network = double(|source| UNet::build(source, &shape).unwrap());
    let (x, level) = (random(2, &[6, 1, 8, 8]), random(3, &[6]));
    let class = Tensor::from_slice(&[0_i64, 0, 3, 3, 1, 1]);
    let target = random(4, &[6, 1, 8, 8]);
    let alias = network.clone();
    let losses = move |first, n, pass: &mut Pass<'_>| {
        let part = |x: &Tensor| x.narrow(0, first, n);
        squared_error(&alias.forward(&part(&x), &part(&level), &part(&class), pass), &part(&target))
    };
    Case {
        name: "U-Net, two draws each",
        network: Box::new(network),
        losses: Box::new(losses),
        rows: 6,
        views: 2,
    }
}

fn networks() -> Vec<Case> {
    let grey = ImageShape { channels: 1, height: 28, width: 28 };
    let colour = ImageShape { channels: 3, height: 16, width: 20 };
    vec![
        classifier("UCStub", grey, 3, |source| pate_core::models::UcStub::build(source, grey, 10).unwrap()),
        classifier("small CNN", grey, 4, |source| {
            SmallCnn::build(source, grey, 10, Activation::Tanh).unwrap()
        }),
        classifier("ResNet, colour", colour, 3, |source| GnResNet::build(source, colour, 4, 8).unwrap()),
        Case {
            views: 2,
            ..classifier("small CNN, two views", grey, 6, |source| {
                SmallCnn::build(source, grey, 10, Activation::Relu).unwrap()
            })
        },
        unet(),
    ]
}

/// The gradients of every record by a loop: for each parameter `[n, shape]`.
fn looped(case: &Case) -> Vec<Tensor> {
    let inputs = trainable(case.network.as_ref());
    let rows = (0..case.rows / case.views).map(|record| {
        let mut pass = Pass::differentiate();
        let losses = (case.losses)(record * case.views, case.views, &mut pass);
        gradients(&losses.mean(None::<Kind>), &inputs).unwrap()
    });
    let rows: Vec<Vec<Tensor>> = rows.collect();
    (0..inputs.len())
        .map(|i| Tensor::stack(&rows.iter().map(|row| row[i].shallow_clone()).collect::<Vec<_>>(), 0))
        .collect()
}

fn recorded(case: &Case, engine: Engine) -> Gradients {
    let mut tape = Tape::default();
    let mut pass = Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() };
    let losses = (case.losses)(0, case.rows, &mut pass);
    let loss = losses.sum(None::<Kind>) / case.views as f64;
    let parameters = parameters(case.network.as_ref());
    Gradients::of(&tape, &loss, &parameters, case.views, engine).unwrap()
}

/// The largest difference, relative to the record's whole gradient.
fn error(found: &[Tensor], expected: &[Tensor]) -> f64 {
    let flat = |all: &[Tensor]| {
        let rows: Vec<Tensor> = all.iter().map(|x| x.flatten(1, -1)).collect();
        Tensor::cat(&rows, 1)
    };
    let (found, expected) = (flat(found), flat(expected));
    assert_eq!(found.size(), expected.size());
    let norms = (&expected * &expected).sum_dim_intlist(1, true, None).sqrt();
    ((found - expected).abs() / norms).max().double_value(&[])
}

#[test]
fn gradients_of_single_records_are_those_of_a_loop() {
    for case in layers().into_iter().chain(networks()) {
        let expected = looped(&case);
        for engine in [Engine::Materialised, Engine::Ghost] {
            let found = recorded(&case, engine);
            let off = error(&found.materialised(), &expected);
            assert!(off < 1e-10, "{}, {engine:?}: {off:e}", case.name);
        }
    }
}

#[test]
fn norms_and_clipped_sums_are_those_of_a_loop() {
    for case in layers().into_iter().chain(networks()) {
        let expected = looped(&case);
        let parameters = parameters(case.network.as_ref());
        let n = case.rows / case.views;
        let squares: Vec<Tensor> =
            expected.iter().map(|x| x.flatten(1, -1).square().sum_dim_intlist(1, false, None)).collect();
        let norms = Tensor::stack(&squares, 0).sum_dim_intlist(0, false, None).sqrt();
        // Between the records' norms, so that some are clipped and some are not.
        let bound = norms.median().double_value(&[]) * 1.0001;
        for clipping in [Clipping::Flat, Clipping::PerLayer, Clipping::PerTensor] {
            let part = |name: &str| match clipping {
                Clipping::Flat => String::new(),
                Clipping::PerLayer => name.rsplit_once('.').unwrap().0.to_owned(),
                Clipping::PerTensor => name.to_owned(),
            };
            let mut parts: Vec<String> = parameters.iter().map(|p| part(p.name())).collect();
            parts.sort();
            parts.dedup();
            let each = bound / (parts.len() as f64).sqrt();
            let sums: Vec<Tensor> = expected
                .iter()
                .zip(&parameters)
                .map(|(x, p)| {
                    let members =
                        parameters.iter().zip(&squares).filter(|(q, _)| part(q.name()) == part(p.name()));
                    let norm = members.fold(Tensor::zeros([n], DOUBLE), |sum, (_, s)| sum + s).sqrt();
                    let factor = (norm.reciprocal() * each).clamp_max(1.0);
                    let factor = factor.view([vec![n], vec![1; x.dim() - 1]].concat().as_slice());
                    (x * factor).sum_dim_intlist(0, false, None).unsqueeze(0)
                })
                .collect();
            for engine in [Engine::Materialised, Engine::Ghost] {
                let clipped = clipping.clip(recorded(&case, engine), &parameters, bound).unwrap();
                let found: Vec<Tensor> = clipped.sums.iter().map(|x| x.unsqueeze(0)).collect();
                let off = error(&found, &sums);
                assert!(off < 1e-10, "{}, {engine:?}, {clipping:?}: {off:e}", case.name);
                let off = ((clipped.norms_private - &norms) / &norms).abs().max().double_value(&[]);
                assert!(off < 1e-10, "{}, {engine:?}: norms {off:e}", case.name);
            }
        }
    }
}

#[test]
fn a_layer_that_the_loss_does_not_see_has_gradients_of_zero() {
    let linear = |name| move |source: &mut Source<'_>| Linear::new(source, name, 3, 2).unwrap();
    let (seen, unseen) = (double(linear("seen")), double(linear("unseen")));
    let x = random(1, &[4, 3]);
    let mut tape = Tape::default();
    let mut pass = Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() };
    let loss = seen.forward(&x, &mut pass).sum(None::<Kind>);
    let _ = unseen.forward(&x, &mut pass);
    let all = [parameters(&seen), parameters(&unseen)].concat();
    let norms = Gradients::of(&tape, &loss, &all, 1, Engine::Ghost).unwrap().squared_norms();
    assert!(norms.get(0).min().double_value(&[]) > 0.0);
    assert!(norms.narrow(0, 2, 2).equal(&norms.narrow(0, 2, 2).zeros_like()));
}

#[test]
fn what_single_gradients_cannot_be_had_of_is_refused() {
    let network = double(|source| Linear::new(source, "layer", 3, 2).unwrap());
    let other = double(|source| Linear::new(source, "other", 3, 2).unwrap());
    let x = random(1, &[4, 3]);
    let record = |views, known: &[&pate_core::nn::Parameter]| {
        let mut tape = Tape::default();
        let mut pass = Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() };
        let loss = network.forward(&x, &mut pass).sum(None::<Kind>);
        let result = Gradients::of(&tape, &loss, known, views, Engine::Ghost);
        result.map(|_| ()).map_err(|error| error.to_string())
    };
    let own = parameters(&network);
    let error = record(1, &[own.clone(), parameters(&other)].concat()).unwrap_err();
    assert!(error.contains("other.weight was used by no recorded layer"), "{error}");
    let error = record(1, &own[..1]).unwrap_err();
    assert!(error.contains("layer.bias is no parameter of the network"), "{error}");
    let error = record(3, &own).unwrap_err();
    assert!(error.contains("4 rows are no records of 3 views"), "{error}");
    for norm in [0.0, -1.0, f64::NAN] {
        let mut tape = Tape::default();
        let mut pass = Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() };
        let loss = network.forward(&x, &mut pass).sum(None::<Kind>);
        let gradients = Gradients::of(&tape, &loss, &own, 1, Engine::Ghost).unwrap();
        let error = Clipping::Flat.clip(gradients, &own, norm).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("the clipping norm is"), "{error}");
    }
    // Rows that a layer puts together are rows of nobody.
    let mut tape = Tape::default();
    let mut pass = Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() };
    let y = network.forward(&x, &mut pass);
    let joined = network.forward(&random(2, &[2, 3]), &mut pass).sum(None::<Kind>) + y.sum(None::<Kind>);
    let error = Gradients::of(&tape, &joined, &own, 1, Engine::Ghost).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("every layer has to keep the 4 records apart"), "{error}");
}

/// A record whose gradient is a small difference of large parts: in float32 its norm by Gram
/// matrices is anything, also nothing, and a norm that is too small clips too little.
#[test]
fn a_gradient_that_cancels_is_clipped_all_the_same() {
    let mut stream = Stream::new(1, Purpose::Weights, 0);
    let linear = Linear::without_bias(&mut Source::fresh(&mut stream, Device::Cpu), "layer", 20, 30).unwrap();
    let all = parameters(&linear);
    let signs = Tensor::from_slice(&[1f32, -1.0, 1.0, -1.0]).view([1, 4, 1]);
    let norm = 0.5;
    let mut tried = 0;
    for size in [1.0, 1e2, 1e3, 1e4, 1e5, 1e6] {
        for seed in 0..20 {
            let mut stream = Stream::new(seed, Purpose::Probe, 0);
            let common = stream.normal_tensor(&[8, 1, 20]).unwrap() * size;
            let x = common + stream.normal_tensor(&[8, 4, 20]).unwrap();
            for engine in [Engine::Ghost, Engine::Materialised] {
                let sum = |x: &Tensor| {
                    let mut tape = Tape::default();
                    let mut pass = Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() };
                    let loss = (linear.forward(x, &mut pass) * &signs).sum(Kind::Float);
                    let gradients = Gradients::of(&tape, &loss, &all, 1, engine).unwrap();
                    let clipped = Clipping::Flat.clip(gradients, &all, norm).unwrap();
                    clipped.sums[0].to_kind(Kind::Double)
                };
                let alone = sum(&x.narrow(0, 7, 1)).norm().double_value(&[]);
                assert!(alone <= norm * (1.0 + 1e-4), "size {size}, seed {seed}, {engine:?}: {alone}");
                let moved = (sum(&x) - sum(&x.narrow(0, 0, 7))).norm().double_value(&[]);
                assert!(moved <= norm * (1.0 + SUM_ERROR), "size {size}, seed {seed}, {engine:?}: {moved}");
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 240);
}
