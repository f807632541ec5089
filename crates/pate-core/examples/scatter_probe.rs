#![expect(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a measurement")]
use std::path::Path;
use std::time::Instant;
use dp_accounting::calibrate::{Accountant, DpSgd};
use dp_accounting::ledger::Charge;
use dp_accounting::Adjacency;
use pate_core::base::progress::Silent;
use pate_core::base::rng::{Purpose, Stream};
use pate_core::config::{AugmentationKind, OptimizerKind};
use pate_core::data::augment::{Augmentation, Geometry};
use pate_core::data::*;
use pate_core::dp::*;
use pate_core::models::ScatterLinear;
use pate_core::nn::Schedule;
use pate_core::train::{LogisticPlan, NoCheckpoint, logistic};
use pate_core::nn::Module;
use tch::{Device, Kind, Tensor};

fn main() {
    tch::set_num_threads(2);
    let args: Vec<String> = std::env::args().collect();
    let get = |k: &str, d: &str| args.iter().position(|a| a == k).map_or(d.to_owned(), |i| args[i + 1].clone());
    let num = |k: &str, d: &str| get(k, d).parse::<f64>().unwrap();
    let t0 = Instant::now();
    let say = |w: &str| println!("{:6.1} s  {w}", t0.elapsed().as_secs_f64());
    let root = get("--root", "datasets");
    let ds = |name: &str, split| {
        let d: Dataset = name.parse().unwrap();
        d.load(Path::new(&root), split, Orientation::Upright, None, Wanted::Labelled).unwrap()
    };
    let standin = get("--private", "mnist") == "standin";
    let half = |odd: i64| {
        let d = ds("digits", Split::Train);
        let rows: Vec<i64> = (0..d.len() as i64).filter(|i| i % 2 == odd).collect();
        d.select(&rows).unwrap()
    };
    let augmented = |n: i64, index: u64| {
        let d = half(1);
        let at: Vec<i64> = (0..n).map(|i| i % d.len() as i64).collect();
        let mut all = d.select(&at).unwrap();
        let a = Augmentation::of(AugmentationKind::Handwriting, 1.4, Geometry::DECODER).unwrap();
        let mut stream = Stream::new(99, Purpose::Augmentation, index);
        let x = Tensor::cat(&all.images.tensor().chunk(20, 0).iter().map(|x| a.apply(x, &mut stream).unwrap()).collect::<Vec<_>>(), 0);
        let path = std::env::temp_dir().join(format!("standin_{index}.npy"));
        x.write_npy(&path).unwrap();
        all.images = Images::load(&path, RangeRule::OWN).unwrap();
        all
    };
    let (private, test) = if standin { (augmented(60000, 0), augmented(10000, 1)) } else {
        (ds(&get("--private", "mnist"), Split::Train), ds(&get("--private", "mnist"), Split::Test)) };
    let raw = get("--norm", "mnist") == "raw";
    let norm = if raw { Normalisation::identity() } else { Normalisation::mnist() };
    // train on all or hold out the last 10,000
    let holdout = get("--holdout", "yes") == "yes";
    let n = private.len() as i64;
    let k = num("--k", "1000") as i64;
    let public = get("--public", "digits");
    let mut net = ScatterLinear::new(private.shape(), 10, Device::Cpu).unwrap();
    let mut start: Option<(Tensor, Tensor)> = None;
    if public != "none" {
        let p = if standin { half(0) } else { ds(&public, Split::Train) };
        let want = num("--public-n", "20000") as i64;
        let kind = if public == "digits" { AugmentationKind::Handwriting } else { AugmentationKind::Warp };
        let kind = if get("--aug", "yes") == "no" { AugmentationKind::None } else { kind };
        let rows = p.len() as i64;
        let at = Tensor::arange(want, (Kind::Int64, Device::Cpu)).remainder(rows);
        let images = p.images.tensor().index_select(0, &at);
        let labels = p.labels.tensor().index_select(0, &at);
        let mut stream = Stream::new(7, Purpose::Augmentation, 0);
        let images = match Augmentation::of(kind, num("--strength", "1"), Geometry::DECODER) {
            Some(a) => Tensor::cat(&images.chunk(20, 0).iter().map(|x| a.apply(x, &mut stream).unwrap()).collect::<Vec<_>>(), 0),
            None => images,
        };
        let images = norm.apply(&images);
        say("public images");
        net = net.whitened(&images, k, num("--ridge", "0.02"), &Silent).unwrap();
        say("whitening");
        if get("--start", "public") == "public" {
            let f = net.features_of(&images, &Silent).unwrap();
            say("public features");
            start = Some(logistic(&f, &labels, 10, &LogisticPlan { ridge: num("--l2", "1e-3"), iterations: num("--iters", "200") as u64 }, &Silent).unwrap());
            say("logistic");
        }
    }
    let features = net.features_of(&norm.apply(private.images.tensor()), &Silent).unwrap();
    say("features");
    let labels = private.labels.tensor();
    let (ef, el) = if holdout {
        (features.narrow(0, n - 10000, 10000), labels.narrow(0, n - 10000, 10000))
    } else {
        (net.features_of(&norm.apply(test.images.tensor()), &Silent).unwrap(), test.labels.tensor())
    };
    let m = if holdout { n - 10000 } else { n };
    let (features, labels) = (features.narrow(0, 0, m), labels.narrow(0, 0, m));
    say("test features");
    let acc = || {
        let right = net.head().forward(&ef, &mut pate_core::nn::Pass::Infer).argmax(-1, false).eq_tensor(&el);
        100.0 * right.to_kind(Kind::Double).mean(Kind::Double).double_value(&[])
    };
    let eps = num("--eps", "1");
    for run in get("--grid", "0.4:150:const").split(',') {
        let mut it = run.split(':');
        let lr: f64 = it.next().unwrap().parse().unwrap();
        let steps: u64 = it.next().unwrap().parse().unwrap();
        let schedule = match it.next().unwrap() { "cos" => Schedule::Cosine, _ => Schedule::Constant };
        let ema: Option<f64> = it.next().and_then(|x| x.parse().ok()).filter(|x| *x > 0.0);
        let bsz: f64 = num("--batch", "8192");
        let q = bsz / 60000.0;
        let clip = num("--clip", "0.1");
        let sigma = DpSgd { q, steps, delta: 1e-5 }.sigma(eps, Accountant::Pld, 1e-4).unwrap().sigma;
        let mut accs = Vec::new();
        let t = Instant::now();
        for seed in 0..num("--seeds", "1") as u64 {
            tch::no_grad(|| {
                let mut ps = Vec::new();
                net.head().visit(&mut |p| ps.push(p.value().shallow_clone()));
                match &start {
                    Some((w, b)) => { ps[0].copy_(w); ps[1].copy_(b); }
                    None => { let _ = ps[0].zero_(); let _ = ps[1].zero_(); }
                }
            });
            if seed == 0 && start.is_some() { println!("public start: {:.2}", acc()); }
            let plan = PrivatePlan { steps, sampling_rate: q, expected_batch: bsz, noise_multiplier: sigma, clipping_norm: clip, clipping: Clipping::Flat, engine: Engine::Ghost, optimizer: OptimizerKind::Sgd, learning_rate: lr / clip, momentum: num("--momentum", "0.9"), schedule, ema_decay: ema, block: 50, micro_batch: None };
            let charge = Charge { mechanism: plan.mechanism(), count: 1, adjacency: Adjacency::AddOrRemoveOne, run: "x".into(), purpose: "x".into(), converted_from: None };
            let task = PrivateFeatures::new(net.head(), &features, &labels).unwrap();
            let mut none = Unprotected::with_float_noise(seed * 77 + 5, sigma * clip);
            let trained = train(&task, &plan, &charge, &mut none, &NoCheckpoint, None, &Silent).unwrap();
            if let Some(avg) = trained.average {
                accs.push(format!("last {:.2}", acc()));
                pate_core::nn::restore(net.head(), &avg).unwrap();
            }
            accs.push(format!("{:.2}", acc()));
        }
        println!("{run}: sigma {sigma:.4}: {} ({:.1} s)", accs.join(" "), t.elapsed().as_secs_f64());
    }
}
