//! One forward function for all contexts: results only, gradients, and a tape of every layer.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

use pate_core::base::rng::{Purpose, Stream};
use pate_core::base::tensor::gradients;
use pate_core::data::ImageShape;
use pate_core::models::{Activation, Classifier as _, GnResNet, SmallCnn, UNet, UNetShape, UcStub, Vae};
use pate_core::nn::{DropoutMasks, Layer, Module, Pass, Source, Tape, parameters, trainable};
use tch::{Device, Kind, Tensor};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

/// A network's output with all the layers that a forward pass goes through.
struct Case {
    name: &'static str,
    parameters: Vec<Tensor>,
    layers: usize,
    forward: Box<dyn Fn(&mut Pass<'_>) -> Tensor>,
}

fn case<M: Module + 'static>(
    name: &'static str,
    network: M,
    forward: impl Fn(&M, &mut Pass<'_>) -> Tensor + 'static,
) -> Case {
    let layers = parameters(&network).iter().filter(|p| p.name().ends_with(".weight")).count();
    let parameters = trainable(&network);
    Case { name, parameters, layers, forward: Box::new(move |pass| forward(&network, pass)) }
}

/// Every network that there is.
fn cases() -> Vec<Case> {
    let shape = ImageShape { channels: 1, height: 28, width: 28 };
    let colour = ImageShape { channels: 3, height: 12, width: 16 };
    let images = |shape: ImageShape| Tensor::rand(shape.batch(5), CPU);
    let noise = || Tensor::randn([5, 6], CPU);
    let vae = |shape| Vae::new(shape, 6, 3, Device::Cpu).unwrap();
    let small = |activation| SmallCnn::new(shape, 10, activation, 4, Device::Cpu).unwrap();
    let unet = || {
        let multipliers = vec![1, 2];
        let shape = UNetShape {
            size: 8,
            channels: 1,
            width: 8,
            multipliers,
            blocks: 1,
            attention: vec![4],
            classes: 3,
        };
        let mut stream = Stream::new(5, Purpose::Weights, 0);
        UNet::build(&mut Source::fresh(&mut stream, Device::Cpu), &shape).unwrap()
    };
    let (x, y, z, e, f) = (images(shape), images(colour), noise(), noise(), noise());
    let (a, b) = (images(shape), images(colour));
    let (c, d, g) = (images(shape), images(shape), images(colour));
    let (drawn, level) = (images(ImageShape { channels: 1, height: 8, width: 8 }), Tensor::randn([5], CPU));
    let class = Tensor::from_slice(&[0_i64, 1, 2, 3, 1]);
    vec![
        case("UCStub", UcStub::new(shape, 7, 1, Device::Cpu).unwrap(), move |net, pass| {
            net.log_probs(&x, pass)
        }),
        case("UCStub, colour", UcStub::new(colour, 4, 2, Device::Cpu).unwrap(), move |net, pass| {
            net.logits(&y, pass)
        }),
        case("decoder", vae(shape).decoder, move |net, pass| net.forward(&z, pass)),
        case("VAE", vae(shape), move |net, pass| {
            let (logits, mu, logvar) = net.forward(&a, &e, pass);
            Tensor::cat(&[logits.flatten(1, -1), mu, logvar], 1)
        }),
        case("small CNN, tanh", small(Activation::Tanh), move |net, pass| net.logits(&c, pass)),
        case("small CNN, ReLU", small(Activation::Relu), move |net, pass| net.logits(&d, pass)),
        case("ResNet", GnResNet::new(colour, 4, 8, 3, Device::Cpu).unwrap(), move |net, pass| {
            net.logits(&g, pass)
        }),
        case("U-Net", unet(), move |net, pass| net.forward(&drawn, &level, &class, pass)),
        case("VAE, colour", vae(colour), move |net, pass| {
            let (logits, mu, logvar) = net.forward(&b, &f, pass);
            Tensor::cat(&[logits.flatten(1, -1), mu, logvar], 1)
        }),
    ]
}

fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

/// What a recorded layer gives for its recorded input.
fn again(layer: &Layer, input: &Tensor) -> Tensor {
    let pass = &mut Pass::differentiate();
    match layer {
        Layer::Conv2d(layer) => layer.forward(input, pass),
        Layer::ConvTranspose2d(layer) => layer.forward(input, pass),
        Layer::Linear(layer) => layer.forward(input, pass),
        Layer::Embedding(layer) => layer.forward(input, pass),
        Layer::GroupNorm(layer) => layer.forward(input, pass),
        Layer::LayerNorm(layer) => layer.forward(input, pass),
    }
}

#[test]
fn a_network_gives_the_same_in_every_pass() {
    for Case { name, parameters, layers, forward } in cases() {
        let plain = forward(&mut Pass::Infer);
        let trained = forward(&mut Pass::differentiate());
        let mut tape = Tape::default();
        let recorded = forward(&mut Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() });
        assert!(difference(&plain, &trained) < 2e-5, "{name}: {}", difference(&plain, &trained));
        assert!(recorded.equal(&trained), "{name}");
        assert!(!plain.requires_grad() && trained.requires_grad(), "{name}");
        let of = |y: &Tensor| gradients(&y.sin().sum(Kind::Float), &parameters).unwrap();
        for (a, b) in of(&trained).iter().zip(of(&recorded)) {
            assert!(a.equal(&b), "{name}");
        }
        assert_eq!(tape.uses.len(), layers, "{name}");
    }
}

#[test]
fn what_is_recorded_is_a_layers_input_and_its_output_before_any_activation() {
    for Case { name, forward, .. } in cases() {
        let mut tape = Tape::default();
        let y = forward(&mut Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() });
        tape.check_intact().unwrap();
        let outputs: Vec<&Tensor> = tape.uses.iter().map(|used| &used.output).collect();
        // A backward pass must find its way to every one of them.
        let found = gradients(&y.sin().sum(Kind::Float), &outputs).unwrap();
        assert!(found.iter().all(|g| g.abs().max().double_value(&[]) > 0.0), "{name}");
        tape.check_intact().unwrap();
        for used in &tape.uses {
            let layer = used.layer.name();
            assert!(again(&used.layer, &used.input).equal(&used.output), "{name}: {layer}");
            assert!(used.output.min().double_value(&[]) < 0.0, "{name}: {layer} looks like after a ReLU");
        }
    }
}

#[test]
fn a_recorded_tensor_that_was_written_over_is_found() {
    for Case { name, forward, .. } in cases() {
        for at in 0..2 {
            let mut tape = Tape::default();
            let _ = forward(&mut Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() });
            let used = &tape.uses[1];
            {
                let _guard = tch::no_grad_guard();
                let _ = [&used.input, &used.output][at].shallow_clone().relu_();
            }
            let error = tape.check_intact().unwrap_err().to_string();
            // A layer whose output is only reshaped into this input has the same memory, and may be
            // named first.
            let layers = tape.uses[..2].iter().map(|used| used.layer.name());
            assert!(
                layers.into_iter().any(|layer| error.contains(layer)) && error.contains("written over"),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn a_clone_is_an_alias_and_names_are_whole() {
    let shape = ImageShape { channels: 1, height: 8, width: 8 };
    let vae = Vae::new(shape, 5, 1, Device::Cpu).unwrap();
    let other = vae.clone();
    {
        let _guard = tch::no_grad_guard();
        let _ = parameters(&other)[9].value().shallow_clone().fill_(7.0);
    }
    assert!((parameters(&vae)[9].value().mean(Kind::Float).double_value(&[]) - 7.0).abs() < 1e-6);
    let names: Vec<&str> = parameters(&vae).iter().map(|p| p.name()).collect();
    assert_eq!(names[..2], ["encoder.conv1.weight", "encoder.conv1.bias"]);
    assert_eq!(names[9], "decoder.fc.bias");
}

#[test]
fn dropout_masks_are_used_in_their_order() {
    let shape = ImageShape { channels: 1, height: 8, width: 8 };
    let network = UcStub::new(shape, 3, 1, Device::Cpu).unwrap();
    let x = Tensor::rand(shape.batch(4), CPU);
    let ones = [Tensor::ones([4, 64, 2, 2], CPU), Tensor::ones([4, 128], CPU)];
    let with = |masks: &[Tensor]| network.logits(&x, &mut Pass::Train { dropout: DropoutMasks::new(masks) });
    let plain = network.logits(&x, &mut Pass::differentiate());
    assert!(with(&ones).equal(&plain));
    // Nothing of the last hidden layer: what is left is the bias of the last layer, the same for
    // all images.
    let nothing = [ones[0].shallow_clone(), ones[1].zeros_like()];
    let bias = with(&nothing);
    assert!(bias.get(0).equal(&bias.get(3)) && !plain.get(0).equal(&plain.get(3)));
}

/// oneDNN's gradients of weights with windows of one pixel wrote past the end of their memory where
/// channels do not come in eights: widths that have such layers give the gradients of float64.
#[test]
fn narrow_networks_have_gradients_of_all_weights() {
    let shape = ImageShape { channels: 3, height: 16, width: 16 };
    for width in [2, 4, 6, 8] {
        let of = |kind: Kind| {
            let network = GnResNet::new(shape, 4, width, 1, Device::Cpu).unwrap();
            let named: Vec<_> = parameters(&network)
                .into_iter()
                .map(|p| (p.name().to_owned(), p.value().detach().to_kind(kind)))
                .collect();
            let network = GnResNet::build(&mut Source::given(named, Device::Cpu), shape, 4, width).unwrap();
            let weights = trainable(&network);
            let x = Tensor::arange(8 * 768, (kind, Device::Cpu)).sin().view([8, 3, 16, 16]);
            let loss = network.log_probs(&x, &mut Pass::differentiate()).get(0).get(1);
            gradients(&loss, &weights).unwrap()
        };
        for (a, b) in of(Kind::Float).iter().zip(of(Kind::Double)) {
            let scale = b.abs().max().double_value(&[]).max(1e-6);
            let off = difference(&a.to_kind(Kind::Double), &b) / scale;
            assert!(off < 1e-2, "width {width}: {off}");
        }
    }
}
