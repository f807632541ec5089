//! DPMI: networks, losses, gradients of single records, the penalty, searches for latents.

use libtest_mimic::Failed;
use pate_core::base::tensor::gradients;
use pate_core::data::ImageShape;
use pate_core::dpmi::inversion::{Halving, Method, Search};
use pate_core::dpmi::rows::Classes;
use pate_core::dpmi::vae::{LatentVae, VaeShape};
use pate_core::dpmi::wgan::{GanShape, LatentGan};
use pate_core::models::{
    self, Between, Extractor, ExtractorKind, Latent, LayerSpec, Sequential, critic, image_critic,
    image_generator, latent_generator,
};
use pate_core::nn::{Module, Pass, Source, learnt, parameters};
use pate_core::train::autoencoder;
use pate_core::train::gan::{clip_weights, critic_loss, penalty};
use tch::{Device, Kind, Tensor};
use testing::golden::{Case, fill, relative_error};

use super::dp_sgd::{projection, weights};
use super::{Report, tensor};

/// Checks a case in a kind of numbers.
pub(super) fn check(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    match case.id() {
        "parameter_counts" => counts(case),
        "ae_mini" => mini(case, kind),
        "ae_conv" => conv(case, kind),
        "vae_leaky" => vae(case, kind, Between::LeakyRelu),
        "vae_tanh" => vae(case, kind, Between::Tanh),
        "wgan_latent" => wgan(case, kind),
        "gp_latent" => of_penalty(case, kind, &[100], 96),
        "gp_image" => of_penalty(case, kind, &[1, 28, 28], 16),
        "image_cnn_critic" => image_scores(case, kind),
        "image_conv_generator" => drawn_images(case, kind),
        "inversion_original_coupled" => coupled(case, kind),
        "inversion_projected" => projected(case, kind),
        "norm_projection" => projection_alone(case, kind),
        id if id.starts_with("inversion") => search(case, kind),
        _ => super::evaluate::check(case, kind),
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>, Failed> {
    Ok(tensor.detach().to_kind(Kind::Double).contiguous().flatten(0, -1).try_into()?)
}

fn allowed(kind: Kind, double: f64, single: f64) -> f64 {
    if kind == Kind::Double { double } else { single }
}

/// Values of a rule in the shape that it is given.
fn filled(key: u64, shape: &[i64], lo: f64, hi: f64, kind: Kind) -> Tensor {
    Tensor::from_slice(&fill(key, shape, lo, hi)).view(shape).to_kind(kind)
}

impl Report {
    fn close(
        &mut self,
        what: &str,
        found: &Tensor,
        case: &Case<'_>,
        pointer: &str,
        allowed: f64,
    ) -> Result<(), Failed> {
        self.within(what, relative_error(&numbers(found)?, &case.numbers(pointer)), allowed);
        Ok(())
    }

    /// The norms of gradients and their projections, tensor by tensor, relative to the largest
    /// norm. Their keys are behind that of the case's first tensor: 600, and for a generator 620.
    fn tensors(&mut self, what: &str, found: &[Tensor], case: &Case<'_>, pointer: &str, allowed: f64) {
        let expected = case.at(pointer).as_array().cloned().unwrap_or_default();
        if expected.len() != found.len() {
            return self.within(what, f64::INFINITY, allowed);
        }
        let behind = if pointer.contains("generator") { 620 } else { 600 };
        let key = case.at("/params/0/key").as_u64().unwrap_or_default() + behind;
        let of = |name: &str| -> Vec<f64> {
            expected.iter().map(|one| one[name].as_f64().unwrap_or(f64::NAN)).collect()
        };
        let (norms, projections) = (of("norm"), of("projection"));
        let largest = norms.iter().copied().fold(0.0, f64::max);
        for (i, (x, key)) in found.iter().zip(key..).enumerate() {
            let x = x.to_kind(Kind::Double).contiguous().flatten(0, -1);
            let projected = x.dot(&projection(key, x.size()[0])).double_value(&[]);
            let off = (x.norm().double_value(&[]) - norms[i]).abs().max((projected - projections[i]).abs());
            self.within(&format!("{what}, tensor {i}"), off / largest, allowed);
        }
    }
}

fn asking(module: &dyn Module) -> Vec<Tensor> {
    learnt(module).into_iter().map(|parameter| parameter.value().set_requires_grad(true)).collect()
}

fn number(case: &Case<'_>, pointer: &str) -> f64 {
    case.at(pointer).as_f64().unwrap_or(f64::NAN)
}

/// The norms of `records` records' gradients, and the sum of the gradients clipped to `norm`.
fn clipped(
    records: i64,
    norm: f64,
    one: impl Fn(i64) -> Result<Vec<Tensor>, Failed>,
) -> Result<(Vec<f64>, Vec<Tensor>), Failed> {
    let (mut norms, mut sums) = (Vec::new(), Vec::new());
    for record in 0..records {
        let all: Vec<Tensor> = one(record)?.iter().map(|g| g.to_kind(Kind::Double)).collect();
        let own = all.iter().map(|g| g.square().sum(Kind::Double).double_value(&[])).sum::<f64>().sqrt();
        let factor = (norm / own).min(1.0);
        let short = all.iter().map(|g| g * factor);
        sums = if sums.is_empty() {
            short.collect()
        } else {
            sums.iter().zip(short).map(|(sum, g)| sum + g).collect::<Vec<Tensor>>()
        };
        norms.push(own);
    }
    Ok((norms, sums))
}

fn counts(case: &Case<'_>) -> Result<(), Failed> {
    let (mnist, leaky) = (ImageShape::MNIST, Between::LeakyRelu);
    let (mini, conv) =
        (ExtractorKind::Mini.layers(mnist, 100, 100)?, ExtractorKind::Conv.layers(mnist, 100, 100)?);
    let vae = VaeShape::new(100, 10, Classes::Unconditional, (64, 32), leaky);
    let all: [(&str, Vec<LayerSpec>); 16] = [
        ("AE mini encoder (784-128-100)", mini.0),
        ("AE mini decoder", mini.1),
        ("AE conv encoder, latent 100 (with 112 BN)", conv.0),
        ("AE conv decoder, latent 100 (with 48 BN)", conv.1),
        ("public WGAN generator 100-256-784 (with 512 BN)", latent_generator(100, &[256], 784, true)),
        ("public WGAN critic 784-256-1", critic(784, &[256], leaky)),
        ("VAE encoder 100-64-(32+32)", vae.encoder),
        ("VAE decoder 32-64-100", vae.decoder),
        ("latent critic 100-32-1", critic(100, &[32], leaky)),
        ("latent critic 100-96-1", critic(100, &[96], leaky)),
        ("latent critic 100-128-1", critic(100, &[128], leaky)),
        ("latent generator 64-32-100 (with 64 BN)", latent_generator(64, &[32], 100, false)),
        ("latent generator 64-96-100 (with 192 BN)", latent_generator(64, &[96], 100, false)),
        ("latent generator 64-128-100 (with 256 BN)", latent_generator(64, &[128], 100, false)),
        ("image CNN critic, ndf 16", image_critic(1, 16)),
        ("image conv generator, nz 100, ngf 32", image_generator(100, 1, 32)),
    ];
    let mut report = Report::default();
    for (name, layers) in all {
        let network = Sequential::new("", &layers, 1, 0, Device::Cpu)?;
        let count: usize = learnt(&network).iter().map(|p| p.value().numel()).sum();
        let expected = case.at("/expected")[name].as_f64().unwrap_or(f64::NAN);
        report.within(name, (count as f64 - expected).abs(), 0.0);
    }
    report.end()
}

/// Encoder and decoder of a case whose tensors start with enc. and dec.
fn autoencoder_of(
    case: &Case<'_>,
    kind: Kind,
    layers: ExtractorKind,
    d: i64,
    beside: Vec<(String, Tensor)>,
) -> Result<Extractor, Failed> {
    let mut given = weights(case, kind);
    given.extend(beside);
    let mut source = Source::given(given, Device::Cpu);
    Ok(Extractor::build(&mut source, layers, ImageShape::MNIST, d, Latent::Encoded)?)
}

fn mini(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let network = autoencoder_of(case, kind, ExtractorKind::Mini, 100, Vec::new())?;
    let x = tensor(case, "/inputs/x", kind);
    let trained = asking(&network);
    let mut report = Report::default();
    let pass = &mut Pass::differentiate();
    let z = network.encoded(&x, pass)?;
    let drawn = network.decoded(&z, pass);
    let (loss, _) = autoencoder::loss(&x, &drawn, None, 0.0, 3)?;
    let near = allowed(kind, 1e-9, 2e-5);
    report.close("latents", &z, case, "/expected/z", near)?;
    report.close("images", &drawn, case, "/expected/reconstruction", near.max(1e-7))?;
    report.close("loss", &loss, case, "/expected/loss", near)?;
    let found = gradients(&loss, &trained)?;
    report.tensors("gradients", &found, case, "/expected/gradient_per_tensor", allowed(kind, 1e-9, 2e-4));
    report.end()
}

fn conv(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let norms = [
        ("enc.model.1", 8),
        ("enc.model.4", 16),
        ("enc.model.7", 32),
        ("dec.model.6", 16),
        ("dec.model.9", 8),
    ];
    let running = norms.iter().zip(0u64..).flat_map(|((name, n), i)| {
        let of = |what: &str, key, lo, hi| (format!("{name}.{what}"), filled(key, &[*n], lo, hi, kind));
        [of("running_mean", 1_002_520 + 2 * i, -0.3, 0.3), of("running_var", 1_002_521 + 2 * i, 0.4, 1.5)]
    });
    let network = autoencoder_of(case, kind, ExtractorKind::Conv, 20, running.collect())?;
    let x = tensor(case, "/inputs/x", kind);
    let near = allowed(kind, 1e-9, 2e-5);
    let mut report = Report::default();
    let z = network.encoded(&x, &mut Pass::Infer)?;
    report.close("latents in service", &z, case, "/expected/eval_z", near)?;
    report.close(
        "images in service",
        &network.decoded(&z, &mut Pass::Infer),
        case,
        "/expected/eval_r",
        near.max(1e-7),
    )?;
    let trained = asking(&network);
    let pass = &mut Pass::differentiate();
    let z = network.encoded(&x, pass)?;
    let (loss, _) = autoencoder::loss(&x, &network.decoded(&z, pass), None, 0.0, 4)?;
    report.close("latents in training", &z, case, "/expected/train_z", near)?;
    report.close("loss in training", &loss, case, "/expected/train_loss", near)?;
    let found = gradients(&loss, &trained)?;
    report.tensors(
        "gradients",
        &found,
        case,
        "/expected/train_gradient_per_tensor",
        allowed(kind, 1e-9, 2e-4),
    );
    report.end()
}

fn vae(case: &Case<'_>, kind: Kind, between: Between) -> Result<(), Failed> {
    let shape = VaeShape::new(100, 2, Classes::Unconditional, (64, 32), between);
    let network = LatentVae::build(&mut Source::given(weights(case, kind), Device::Cpu), &shape)?;
    let (z, e) = (tensor(case, "/inputs/z (data)", kind), tensor(case, "/inputs/e", kind));
    let trained = asking(&network);
    let none = z.zeros_like();
    let near = allowed(kind, 1e-9, 2e-5);
    let mut report = Report::default();
    let passed = network.forward(&z, &none, &e, &mut Pass::differentiate())?;
    report.close("mean", &passed.mu, case, "/expected/mu", near)?;
    report.close("log-variance", &passed.logvar, case, "/expected/logvar", near)?;
    report.close("output", &passed.output, case, "/expected/output", near)?;
    for (weight, pointer) in
        [(1.0, "/expected/per_record_loss"), (0.005, "/expected/per_record_loss_with_beta_kl_0.005")]
    {
        let losses = network.losses(&z, &none, &e, weight, &mut Pass::differentiate())?;
        report.close(pointer, &losses, case, pointer, near)?;
    }
    let one = |row: i64| -> Result<Vec<Tensor>, Failed> {
        let at = |x: &Tensor| x.narrow(0, row, 1);
        let loss = network.losses(&at(&z), &at(&none), &at(&e), 1.0, &mut Pass::differentiate())?;
        Ok(gradients(&loss.sum(kind), &trained)?)
    };
    let (norms, sums) = clipped(5, number(case, "/expected/C"), one)?;
    let off = relative_error(&norms, &case.numbers("/expected/per_record_grad_norm"));
    report.within("gradients", off, allowed(kind, 1e-9, 2e-4));
    let pointer = "/expected/clipped_sum_per_tensor";
    report.tensors("clipped sums", &sums, case, pointer, allowed(kind, 1e-9, 2e-4));
    report.end()
}

fn wgan(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let mut given = weights(case, kind);
    for (what, name) in [("BN running_mean", "running_mean"), ("BN running_var", "running_var")] {
        given.push((format!("gen.model.2.{name}"), tensor(case, &format!("/inputs/{what}"), kind)));
    }
    let mut source = Source::given(given, Device::Cpu);
    let shape = GanShape {
        latents: 100,
        classes: 2,
        conditioning: Classes::Unconditional,
        noise: 64,
        generator: latent_generator(64, &[96], 100, false),
        critic: critic(100, &[96], Between::LeakyRelu),
    };
    let generator = LatentGan::build(&mut source, &shape)?;
    let critic = Sequential::build(&mut source, "critic.model", &shape.critic)?;
    let (x, z) = (tensor(case, "/inputs/x", kind), tensor(case, "/inputs/z", kind));
    let none = z.zeros_like();
    let near = allowed(kind, 1e-9, 2e-5);
    let of_gradient = allowed(kind, 1e-9, 2e-4);
    let mut report = Report::default();
    let drawn = generator.forward(&z, &none, &mut Pass::Infer)?;
    report.close("rows in service", &drawn, case, "/expected/generator_eval", near)?;
    let trained = asking(&critic);
    let score = |x: &Tensor| critic.forward(x, &mut Pass::differentiate());
    report.close("scores", &score(&x), case, "/expected/linear/f(x)", near)?;
    let loss = critic_loss(&score(&x), &score(&drawn))?;
    report.close("the critic's loss", &loss, case, "/expected/linear/critic_loss", near)?;
    report.tensors(
        "its gradients",
        &gradients(&loss, &trained)?,
        case,
        "/expected/linear/critic_gradient",
        of_gradient,
    );
    let pair = |row: i64| -> Result<Vec<Tensor>, Failed> {
        let loss = score(&drawn.narrow(0, row, 1)).sum(kind) - score(&x.narrow(0, row, 1)).sum(kind);
        Ok(gradients(&loss, &trained)?)
    };
    let (pairs, sums) = clipped(4, number(case, "/expected/linear/C"), pair)?;
    let off = relative_error(&pairs, &case.numbers("/expected/linear/pair_gradient_norms"));
    report.within("pairs", off, of_gradient);
    report.tensors("clipped pairs", &sums, case, "/expected/linear/clipped_pair_sum", of_gradient);
    let of_generator = asking(&generator);
    let drawn = generator.forward(&z, &none, &mut Pass::differentiate())?;
    report.close("rows in training", &drawn, case, "/expected/generator_train", near)?;
    let loss = score(&drawn).mean(kind).neg();
    report.close("the generator's loss", &loss, case, "/expected/linear/generator_loss_train_mode", near)?;
    report.tensors(
        "its gradients",
        &gradients(&loss, &of_generator)?,
        case,
        "/expected/linear/generator_gradient",
        of_gradient,
    );
    let running = parameters(&generator).into_iter().filter(|p| p.name().contains("running"));
    let running = Tensor::cat(&running.map(|p| p.value().shallow_clone()).collect::<Vec<_>>(), 0);
    report.close("running statistics", &running, case, "/expected/running_after_training_forward", near)?;
    clip_weights(&critic, 0.01)?;
    let sums = learnt(&critic).into_iter().filter(|p| p.name().ends_with("weight"));
    let sums: Vec<f64> = sums.map(|p| p.value().abs().sum(Kind::Double).double_value(&[])).collect();
    report.within(
        "clipped weights",
        relative_error(&sums, &case.numbers("/expected/weight_clip_.01/sum_of_abs_weights")),
        near,
    );
    report.close(
        "their scores",
        &critic.forward(&x, &mut Pass::Infer),
        case,
        "/expected/weight_clip_.01/critic_linear_output",
        near,
    )?;
    report.end()
}

fn of_penalty(case: &Case<'_>, kind: Kind, size: &[i64], hidden: i64) -> Result<(), Failed> {
    let (x, y) = (tensor(case, "/inputs/x", kind), tensor(case, "/inputs/y", kind));
    let share = tensor(case, "/inputs/a", kind);
    let mut report = Report::default();
    for (between, name) in [(Between::LeakyRelu, "leaky"), (Between::Tanh, "tanh")] {
        let linear = |inputs, outputs| LayerSpec::Linear { inputs, outputs };
        // Numbered as the case has it: rows first, then 1 and 3.
        let layers =
            [LayerSpec::Flatten, linear(size.iter().product(), hidden), between.spec(), linear(hidden, 1)];
        let critic = Sequential::build(&mut Source::given(weights(case, kind), Device::Cpu), "", &layers)?;
        let trained = asking(&critic);
        let penalty = penalty(&critic, &x, &y, &share, 10.0)?;
        let at = |what: &str| format!("/expected/{name}/{what}");
        report.close(name, &penalty, case, &at("penalty"), allowed(kind, 1e-9, 2e-5))?;
        // The last bias moves no gradient, and is not in the graph; others may be without one, too.
        let mut found = gradients(&penalty, &trained[..3])?;
        for (at, parameter) in trained.iter().enumerate() {
            match found.get_mut(at) {
                Some(gradient) if gradient.defined() => {}
                Some(gradient) => *gradient = parameter.zeros_like(),
                None => found.push(parameter.zeros_like()),
            }
        }
        let near = allowed(kind, 1e-9, 2e-4);
        report.tensors("its gradients", &found, case, &at("gradient_per_tensor"), near);
    }
    report.end()
}

fn image_scores(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let source = &mut Source::given(weights(case, kind), Device::Cpu);
    let critic = Sequential::build(source, "model", &image_critic(1, 16))?;
    let x = tensor(case, "/inputs/x", kind);
    let trained = asking(&critic);
    let scores = critic.forward(&x, &mut Pass::differentiate());
    let mut report = Report::default();
    report.close("scores", &scores, case, "/expected/f", allowed(kind, 1e-9, 2e-5))?;
    let mut norms = Vec::new();
    for row in 0..3 {
        let loss = critic.forward(&x.narrow(0, row, 1), &mut Pass::differentiate()).sum(kind);
        let all = gradients(&loss, &trained)?;
        norms.push(all.iter().map(|g| g.square().sum(Kind::Double).double_value(&[])).sum::<f64>().sqrt());
    }
    report.within(
        "gradients",
        relative_error(&norms, &case.numbers("/expected/grad_norm")),
        allowed(kind, 1e-9, 2e-4),
    );
    report.end()
}

/// Numbered from the first convolution on, as the original's, which makes maps of the noise
/// outside.
fn drawn_images(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let layers = &image_generator(100, 1, 4)[1..];
    let mut given = weights(case, kind);
    for (at, n) in [(1, 32), (4, 16), (7, 8), (10, 4)] {
        given.push((format!("model.{at}.running_mean"), Tensor::zeros([n], (kind, Device::Cpu))));
        given.push((format!("model.{at}.running_var"), Tensor::ones([n], (kind, Device::Cpu))));
    }
    let network = Sequential::build(&mut Source::given(given, Device::Cpu), "model", layers)?;
    let z = tensor(case, "/inputs/z", kind).view([2, 100, 1, 1]);
    let images = network.forward(&z, &mut Pass::differentiate());
    let mut report = Report::default();
    let near = allowed(kind, 1e-7, 2e-5);
    report.close("images", &images, case, "/expected/image", near)?;
    report.close("their mean", &images.mean(kind), case, "/expected/mean", near)?;
    report.end()
}

/// The decoder of the searches, and what they look for.
fn searched(case: &Case<'_>, kind: Kind) -> Result<(Extractor, Tensor, Tensor), Failed> {
    let first = case.sibling("inversion_gd");
    let linear = |inputs, outputs| LayerSpec::Linear { inputs, outputs };
    let layers = vec![linear(12, 128), LayerSpec::Relu, linear(128, 784), LayerSpec::Sigmoid];
    let given =
        weights(&first, kind).into_iter().map(|(name, value)| (format!("dec.{name}"), value)).collect();
    let extractor =
        Extractor::of_decoder(&mut Source::given(given, Device::Cpu), layers, ImageShape::MNIST, 12)?;
    let target = tensor(&first, "/inputs/target/tensor", kind).view([4, 1, 28, 28]);
    Ok((extractor, target, tensor(&first, "/inputs/z0", kind)))
}

fn search(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let (extractor, target, start) = searched(case, kind)?;
    let number = |name: &str| case.at(&format!("/parameters/{name}")).as_f64().unwrap_or(f64::NAN);
    let mut report = Report::default();
    let run =
        |method, steps| Search { extractor: &extractor, method, radius: None }.run(&target, &start, steps);
    if case.id() == "inversion_halving_per_record" {
        let halving = Halving { every: 10, tolerance: number("tol"), least: number("stop") };
        let method = Method::GradientDescent { step: number("start_step"), halving: Some(halving) };
        let found = run(method, number("max_iterations") as u64)?;
        report.close("latents", &found.latents, case, "/expected/z", allowed(kind, 1e-7, 1e-2))?;
        if kind == Kind::Double {
            let expected = case.numbers("/expected/iterations_done");
            let taken: Vec<f64> = found.steps.iter().map(|&n| n as f64).collect();
            report.within("steps of each record", relative_error(&taken, &expected), 0.0);
        }
        return report.end();
    }
    let adam = case.id() == "inversion_adam";
    let method = if adam {
        Method::Adam { learning_rate: number("lr") }
    } else {
        Method::GradientDescent { step: number("step"), halving: None }
    };
    let near = if adam { allowed(kind, 1e-7, 1e-3) } else { allowed(kind, 1e-9, 1e-4) };
    for steps in [1, 2, 5, 10, 50] {
        let found = run(method, steps)?;
        report.close(
            &format!("{steps} steps"),
            &found.latents,
            case,
            &format!("/expected/z_after_{steps}"),
            near,
        )?;
        if steps == 50 {
            report.close("losses", &found.losses, case, "/expected/loss_before_step", near)?;
        }
    }
    report.end()
}

/// The original's way: one mean loss and one step size for all. Made here to show what is not done.
fn coupled(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let (extractor, target, start) = searched(case, kind)?;
    let (mut z, mut rate, mut before) = (start.copy(), 32.0, f64::INFINITY);
    for t in 0..1200 {
        let at = z.detach().set_requires_grad(true);
        let drawn = extractor.decoded(&at, &mut Pass::Frozen);
        let loss = (drawn - &target).square().mean(kind);
        let now = loss.double_value(&[]);
        z = &z - gradients(&loss, &[&at])?.remove(0) * rate;
        if t % 100 == 0 {
            if t > 0 && before - now <= 1e-6 {
                rate /= 2.0;
                if rate < 1.0 {
                    break;
                }
            }
            before = now;
        }
    }
    let mut report = Report::default();
    report.close("latents", &z, case, "/expected/z", allowed(kind, 1e-6, 1e-2))?;
    report.end()
}

fn projected(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let mut given = weights(case, kind);
    for (what, name) in [("BN running_mean", "running_mean"), ("BN running_var", "running_var")] {
        given.push((format!("model.2.{name}"), tensor(case, &format!("/inputs/{what}"), kind)));
    }
    let given = given.into_iter().map(|(name, value)| (format!("dec.{name}"), value)).collect();
    let layers = latent_generator(12, &[32], 784, true);
    let extractor =
        Extractor::of_decoder(&mut Source::given(given, Device::Cpu), layers, ImageShape::MNIST, 12)?;
    let target = tensor(case, "/inputs/target/tensor", kind).view([4, 1, 28, 28]);
    let radius = tensor(case, "/inputs/r", kind).view([4, 1]);
    let method = Method::GradientDescent { step: 3.0, halving: None };
    let search = Search { extractor: &extractor, method, radius: Some(&radius) };
    let found = search.run(&target, &tensor(case, "/inputs/z0", kind), 40)?;
    let near = allowed(kind, 1e-9, 1e-4);
    let mut report = Report::default();
    report.close("latents", &found.latents, case, "/expected/z", near)?;
    let norms = found.latents.square().sum_dim_intlist([1i64].as_slice(), false, kind).sqrt();
    report.close("their norms", &norms, case, "/expected/final_norms", near)?;
    report.end()
}

fn projection_alone(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let radius = tensor(case, "/inputs/r", kind).view([-1, 1]);
    let found = models::project(&tensor(case, "/inputs/z", kind), &radius)?;
    let mut report = Report::default();
    report.close("rows", &found, case, "/expected/z", allowed(kind, 1e-12, 1e-6))?;
    report.end()
}
