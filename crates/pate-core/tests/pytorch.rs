//! Our networks and optimisers against PyTorch's. `golden/make.py` made the expected values and
//! says how.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

use std::path::{Path, PathBuf};

use pate_core::base::tensor::{from_f32, from_i64, gradients, to_f32};
use pate_core::data::{ImageShape, MNIST_CLASSES, Normalisation};
use pate_core::models::{Classifier, Decoder, Program, Teacher, UcStub, Vae};
use pate_core::nn::{self, Adam, Module, Optimizer, Pass, Sgd, trainable};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

fn golden(name: &str) -> Vec<f64> {
    let text = include_str!("golden/pytorch.json");
    let all: Value = serde_json::from_str(text).unwrap();
    serde_json::from_value(all[name].clone()).unwrap()
}

fn wave(shape: &[i64], k: usize, scale: f64) -> Tensor {
    let n = shape.iter().product::<i64>();
    let values: Vec<f32> = (0..n).map(|i| (scale * (0.37 * i as f64 + k as f64).sin()) as f32).collect();
    from_f32(&values, shape).unwrap()
}

fn fill(network: &dyn Module, names: &str, first: usize) {
    let _guard = tch::no_grad_guard();
    let chosen = nn::parameters(network).into_iter().filter(|p| p.name().starts_with(names));
    for (i, parameter) in chosen.enumerate() {
        let parameter = parameter.value();
        parameter.detach().copy_(&wave(&parameter.size(), first + i, 0.08));
    }
}

fn assert_close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(*found) - expected).abs();
        assert!(
            difference <= tolerance * expected.abs().max(1.0),
            "{what}[{i}]: {found}, PyTorch {expected}"
        );
    }
}

fn optimise(mut optimizer: impl Optimizer) -> Vec<f32> {
    let mut parameters = [wave(&[2, 3], 1, 0.08), wave(&[3], 2, 0.08)];
    for step in 0..5 {
        let gradients = [wave(&[2, 3], 10 + 3 * step, 1.0), wave(&[3], 11 + 3 * step, 1.0)];
        optimizer.step(&mut parameters, &gradients);
    }
    parameters.iter().flat_map(|p| to_f32(p).unwrap()).collect()
}

#[test]
fn optimisers_take_pytorchs_steps() {
    assert_close("sgd", &optimise(Sgd::new(0.1, 0.5, 0.01)), &golden("sgd"), 1e-6);
    assert_close("plain sgd", &optimise(Sgd::new(0.1, 0.0, 0.0)), &golden("sgd_plain"), 1e-6);
    assert_close("adam", &optimise(Adam::new(0.05, 0.01)), &golden("adam"), 1e-6);
}

#[test]
fn the_vae_computes_what_pytorchs_does() {
    let vae = Vae::new(ImageShape::MNIST, 8, 1, Device::Cpu).unwrap();
    fill(&vae, "encoder.", 0);
    fill(&vae, "decoder.", 8);
    let _guard = tch::no_grad_guard();
    let x: Tensor = wave(&[3, 1, 28, 28], 30, 0.5) + 0.5;
    let (mu, logvar) = vae.encoder.forward(&x, &mut Pass::Infer);
    assert_close("mu", &to_f32(&mu).unwrap(), &golden("encoder_mu"), 1e-4);
    assert_close("logvar", &to_f32(&logvar).unwrap(), &golden("encoder_logvar"), 1e-4);
    let image = to_f32(&vae.decoder.forward(&wave(&[3, 8], 31, 1.0), &mut Pass::Infer)).unwrap();
    let pixels: Vec<f32> = image.into_iter().step_by(97).collect();
    assert_close("image", &pixels, &golden("decoder_every_97th_pixel"), 1e-5);
}

#[test]
fn the_classifier_and_its_gradients_are_pytorchs() {
    let network = UcStub::new(ImageShape::MNIST, MNIST_CLASSES, 1, Device::Cpu).unwrap();
    fill(&network, "", 16);
    let x: Tensor = wave(&[3, 1, 28, 28], 30, 0.5) + 0.5;
    let parameters = trainable(&network);
    let log_p = network.log_probs(&x, &mut Pass::differentiate());
    assert_close("log p", &to_f32(&log_p).unwrap(), &golden("classifier_log_probs"), 1e-4);
    let loss = log_p.nll_loss(&from_i64(&[1, 5, 9]));
    let gradients = gradients(&loss, &parameters).unwrap();
    let norms: Vec<f32> = gradients
        .iter()
        .map(|g| g.to_kind(Kind::Double).square().sum(Kind::Double).sqrt().double_value(&[]) as f32)
        .collect();
    assert_close("gradient norms", &norms, &golden("classifier_gradient_norms"), 1e-4);
}

#[test]
fn saved_networks_load_again_under_pytorchs_names() {
    let dir = tempfile::tempdir().unwrap();
    let (vae_path, decoder_path) = (dir.path().join("vae_full.pth"), dir.path().join("decoder.pth"));
    let vae = Vae::new(ImageShape::MNIST, 8, 1, Device::Cpu).unwrap();
    let access = artifact::Access::Private;
    pate_core::models::save(&vae, &vae_path, access).unwrap();
    pate_core::models::save(&vae.decoder, &decoder_path, access).unwrap();
    let names = ["fc.weight", "fc.bias", "conv_t1.weight", "conv_t1.bias"];
    let read = tensorfile::read(&decoder_path).unwrap().into_state_dict(&names).unwrap();
    assert!(names.iter().zip(&read).all(|(name, read)| *name == read.0), "{:?}", read[0].0);
    // A whole VAE's file serves as a decoder's.
    let z = wave(&[2, 8], 3, 1.0);
    let draw = |path: &Path| {
        let _guard = tch::no_grad_guard();
        to_f32(&Decoder::load(path, ImageShape::MNIST, Device::Cpu).unwrap().forward(&z, &mut Pass::Infer))
            .unwrap()
    };
    assert_eq!(draw(&vae_path), draw(&decoder_path));
    let error = UcStub::load(&vae_path, ImageShape::MNIST, Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("vae_full.pth") && error.contains("fc2.weight"), "{error}");
}

/// What PyTorch gives for the networks of `golden/networks`; `golden/make_networks.py` wrote both.
fn written_by_pytorch(kind: &str) -> Vec<(PathBuf, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks");
    let all: Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let files = all[kind].as_object().unwrap();
    files.iter().map(|(name, expected)| (folder.join(name), expected.clone())).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn classifiers_that_pytorch_wrote_give_its_log_probabilities() {
    let files = written_by_pytorch("classifiers");
    assert_eq!(files.len(), 9);
    let _guard = tch::no_grad_guard();
    for (path, expected) in files {
        let side = expected["side"].as_i64().unwrap();
        let shape = ImageShape { height: side, width: side, ..ImageShape::MNIST };
        // PyTorch saw these images as they are.
        let plain = Normalisation::identity();
        let teacher = Teacher::load(&path, shape, plain, Program::default(), Device::Cpu).unwrap();
        let x: Tensor = wave(&[3, 1, side, side], 30, 0.5) + 0.5;
        let found = to_f32(&teacher.log_probs(&x, &mut Pass::Infer).unwrap()).unwrap();
        assert_close(&path.to_string_lossy(), &found, &numbers(&expected["log_probs"]), 1e-5);
    }
}

#[test]
fn decoders_that_pytorch_wrote_draw_its_images() {
    let files = written_by_pytorch("decoders");
    assert_eq!(files.len(), 2);
    let _guard = tch::no_grad_guard();
    for (path, expected) in files {
        let decoder = Decoder::load(&path, ImageShape::MNIST, Device::Cpu).unwrap();
        let image = to_f32(&decoder.forward(&wave(&[3, 8], 31, 1.0), &mut Pass::Infer)).unwrap();
        let pixels: Vec<f32> = image.into_iter().step_by(97).collect();
        assert_close(&path.to_string_lossy(), &pixels, &numbers(&expected["every_97th_pixel"]), 1e-5);
    }
}
