//! How much longer a private step takes than a plain one: `cargo run --release --example dp_speed`.
#![expect(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a measurement")]
use std::time::Instant;

use pate_core::base::tensor::gradients;
use pate_core::data::ImageShape;
use pate_core::dp::{Clipping, Engine, Gradients};
use pate_core::models::{Activation, Classifier, GnResNet, SmallCnn, UcStub};
use pate_core::nn::{DropoutMasks, Pass, Tape, parameters, trainable};
use tch::{Device, Kind, Tensor};

fn median(mut body: impl FnMut()) -> f64 {
    for _ in 0..3 {
        body();
    }
    let mut t: Vec<f64> = (0..15)
        .map(|_| {
            let s = Instant::now();
            body();
            s.elapsed().as_secs_f64()
        })
        .collect();
    t.sort_by(f64::total_cmp);
    t[2] * 1e3
}

fn run<N: Classifier>(name: &str, net: N, rows: i64) {
    let shape = ImageShape { channels: 1, height: 28, width: 28 };
    let x = Tensor::rand(shape.batch(rows), (Kind::Float, Device::Cpu));
    let y = Tensor::arange(rows, (Kind::Int64, Device::Cpu)).remainder(10);
    let weights = trainable(&net);
    let loss = |pass: &mut Pass<'_>| {
        net.log_probs(&x, pass).f_nll_loss::<Tensor>(&y, None, tch::Reduction::Sum, -100).unwrap()
    };
    let plain = median(|| {
        let l = loss(&mut Pass::differentiate());
        let _ = gradients(&l, &weights).unwrap();
    });
    let ps = parameters(&net);
    let mut line = format!("{name} {rows} rows: plain {plain:.2} ms");
    for engine in [Engine::Ghost, Engine::Materialised] {
        let mut phases = [0.0; 3];
        let private = median(|| {
            let s = Instant::now();
            let mut tape = Tape::default();
            let l = loss(&mut Pass::Record { tape: &mut tape, dropout: DropoutMasks::none() });
            phases[0] = s.elapsed().as_secs_f64() * 1e3;
            let g = Gradients::of(&tape, &l, &ps, 1, engine).unwrap();
            phases[1] = s.elapsed().as_secs_f64() * 1e3;
            let _ = Clipping::Flat.clip(g, &ps, 1.0).unwrap();
            phases[2] = s.elapsed().as_secs_f64() * 1e3;
        });
        line += &format!(
            ", {engine:?} {private:.2} ms = {:.2}x (fwd {:.2} bwd+shares {:.2} clip {:.2})",
            private / plain,
            phases[0],
            phases[1] - phases[0],
            phases[2] - phases[1]
        );
    }
    println!("{line}");
}

fn main() {
    tch::set_num_threads(1);
    let shape = ImageShape { channels: 1, height: 28, width: 28 };
    for rows in [32, 64] {
        run("small CNN", SmallCnn::new(shape, 10, Activation::Relu, 1, Device::Cpu).unwrap(), rows);
        run("UCStub", UcStub::new(shape, 10, 1, Device::Cpu).unwrap(), rows);
        run("ResNet w16", GnResNet::new(shape, 10, 16, 1, Device::Cpu).unwrap(), rows);
    }
}
