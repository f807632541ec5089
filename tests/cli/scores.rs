//! `score-release`: what it says of good sets and of sets that are not what they seem.

use serde_json::json;
use testing::{Work, image, number};

const LINE: &str = "--test-dir mnist --classifiers mlp,scatter-linear --seeds 2 --output-dir score";

/// A set of `n` images, whose classes are those of `class`.
fn put(work: &Work, name: &str, n: usize, class: impl Fn(usize) -> usize) {
    let images: Vec<_> = (0..n).map(|i| image(i % 10, 0.9, 1000 + i)).collect();
    work.images(&format!("{name}/synthetic_samples.pt"), &images);
    work.labels(&format!("{name}/labels.csv"), &(0..n).map(|i| class(i) as i64).collect::<Vec<_>>());
}

fn work() -> Work {
    let work = Work::new();
    work.mnist("mnist", 40, 60);
    work
}

#[test]
fn a_good_set_is_scored_beside_its_control_and_scored_again_without_training() {
    let work = work();
    put(&work, "set", 60, |i| i % 10);
    let line = format!("--release set {LINE}");
    let run = work.run_quiet("score-release", &line).ok();
    run.shows(&["Mean over the classifiers", "| epsilon | **missing** |", "FID-proxy", "two halves"]);
    let report = work.json("score/score_report.json");
    assert_eq!(report["images"], 60);
    assert_eq!(report["set"]["class_counts"], json!([6, 6, 6, 6, 6, 6, 6, 6, 6, 6]));
    assert_eq!(report["set"]["distinct"], 60);
    // No report beside the samples says what they were made from.
    assert_eq!(report["formal_guarantee"], json!(null));
    let runs = |part: &str, at: usize| report[part][at]["runs"].as_array().unwrap().len();
    assert_eq!([runs("classifiers", 0), runs("classifiers", 1)], [2, 1]);
    assert_eq!([runs("public_only_control", 0), runs("public_only_control", 1)], [2, 1]);
    let mean = report["mean_accuracy"].as_f64().unwrap();
    assert!(mean > 80.0, "{mean}");
    let strongest = report["strongest_control"]["accuracy"].as_f64().unwrap();
    assert!((report["gain"].as_f64().unwrap() - (mean - strongest)).abs() < 1e-9);
    for part in ["beside_test", "test_halves"] {
        let near = &report["fidelity"][part];
        assert!(near["frechet_distance"].as_f64().unwrap() > 0.0, "{near}");
        assert!((0.0..=1.0).contains(&near["neighbours"]["precision"].as_f64().unwrap()));
    }
    assert_eq!(report["private"], json!(null));

    // Again: not trained again. With more seeds, only those are new.
    let weights = "score/classifiers/release_mlp_42/model.pth";
    let written = std::fs::metadata(work.path(weights)).unwrap().modified().unwrap();
    let claims =
        "--epsilon 1 --delta 1e-5 --adjacency add-remove --chosen-on public --runs 3 --classifiers-tried 0";
    let more = line.replace("--seeds 2", "--seeds 3");
    let run = work.run_quiet("score-release", &format!("{more} {claims}")).ok();
    run.shows(&["| epsilon | 1 |", "| runs that were made | 3 |"]);
    assert_eq!(std::fs::metadata(work.path(weights)).unwrap().modified().unwrap(), written);
    let again = work.json("score/score_report.json");
    assert_eq!(again["classifiers"][0]["runs"][0], report["classifiers"][0]["runs"][0]);
    assert_eq!(number(&again["stated_by_its_makers"]["runs"]), 3);

    // The same set as one file, and as a folder of images per class, scores the same.
    let (shape, pixels) = work.array("set/synthetic_samples.pt");
    let labels: Vec<i64> = (0..60).map(|i| i % 10).collect();
    let views = [
        ("x", tensorfile::View::f32(&shape, &pixels).unwrap()),
        ("y", tensorfile::View::i64(&[60], &labels).unwrap()),
    ];
    let mut npz = Vec::new();
    tensorfile::npz::write(&mut npz, &views).unwrap();
    work.put("gen.npz", npz);
    let other =
        line.replace("--release set", "--release gen.npz").replace("--output-dir score", "--output-dir npz");
    work.run_quiet("score-release", &other).ok();
    assert_eq!(
        work.json("npz/score_report.json")["classifiers"][0]["mean"],
        report["classifiers"][0]["mean"]
    );

    // Private images on request alone, and then there is no guarantee.
    let asked = format!("{line} --private-dir mnist");
    work.run_quiet("score-release", &asked).ok().shows(&["PRIVATE images, no guarantee"]);
    let report = work.json("score/score_report.json");
    assert!(report["private"]["formal_guarantee"].as_str().unwrap().starts_with("none"));
    assert!(report["formal_guarantee_reason"].as_str().unwrap().contains("private images"), "{report}");
}

#[test]
fn sets_that_are_not_what_they_seem_are_told() {
    let work = work();
    let quick = LINE.replace("mlp,scatter-linear --seeds 2", "mlp --seeds 1 --public none");
    let said = |name: &str, words: &[&str]| {
        let run = work.run_quiet("score-release", &format!("--release {name} {quick}")).ok();
        run.shows(words);
        work.json("score/score_report.json")
    };
    // Labels that say nothing of the images.
    put(&work, "shuffled", 60, |i| (i / 10 + 3 * (i % 10)) % 10);
    let report = said("shuffled", &["near chance", "BELOW it"]);
    assert!(report["gain"].as_f64().unwrap() < 20.0, "{}", report["gain"]);

    // The test images themselves.
    let raw = work.bytes("mnist/MNIST/raw/t10k-images-idx3-ubyte");
    let labels = work.bytes("mnist/MNIST/raw/t10k-labels-idx1-ubyte");
    let pixels: Vec<f32> = raw[16..].iter().map(|&x| f32::from(x) / 255.0).collect();
    let images: Vec<_> = pixels.chunks(784).map(<[f32]>::to_vec).collect();
    work.images("copy/synthetic_samples.pt", &images);
    let classes: Vec<i64> = labels[8..].iter().map(|&x| i64::from(x)).collect();
    work.labels("copy/labels.csv", &classes);
    let report = said("copy", &["of a TEST image", "60 are one value by value"]);
    assert_eq!(number(&report["set"]["of_test"]["equal"]), 60);
    assert_eq!(number(&report["set"]["of_test"]["compared"]), 60);

    put(&work, "two", 60, |i| i % 2);
    let report = said("two", &["8 of 10 classes have no image: 2, 3, 4, 5, 6, 7, 8, 9."]);
    assert!((report["set"]["imbalance"].as_f64().unwrap() - 1.6).abs() < 1e-9);

    work.images("constant/synthetic_samples.pt", &vec![vec![0.5; 784]; 60]);
    work.labels("constant/labels.csv", &(0..60).map(|i| i % 10).collect::<Vec<i64>>());
    let report =
        said("constant", &["Only 1 of 60 images are different", "100.0% of the images have another"]);
    assert_eq!(number(&report["set"]["within"]["equal"]), 60);
    assert!(report["mean_accuracy"].as_f64().unwrap() < 20.0);

    // What cannot be scored is named.
    let refused = |name: &str, code: i32, words: &[&str]| {
        work.run_quiet("score-release", &format!("--release {name} {quick}")).ends_with(code).says(words);
    };
    let mut broken = vec![vec![0.5; 784]; 20];
    broken[3][100] = f32::NAN;
    work.images("nan/synthetic_samples.pt", &broken);
    work.labels("nan/labels.csv", &[0; 20]);
    refused("nan", 3, &["nan/synthetic_samples.pt", "NaN"]);
    work.tensor("small/synthetic_samples.pt", &[20, 1, 14, 14], &vec![0.5; 20 * 196]);
    work.labels("small/labels.csv", &[0; 20]);
    refused("small", 3, &["14x14", "28x28"]);
    put(&work, "few", 4, |i| i);
    refused("few", 3, &["holds 4 images"]);
    refused("gone", 3, &["gone"]);
    let line = format!("--release two {quick}");
    let other = |from: &str, to: &str| work.run_quiet("score-release", &line.replace(from, to)).ends_with(2);
    other("mlp", "mlp,mlp").says(&["mlp twice"]);
    other("mlp", "resnet").says(&["--classifiers", "resnet110"]);
    work.run_quiet("score-release", &format!("{line} --epsilon inf")).ok();
    assert_eq!(work.json("score/score_report.json")["stated_by_its_makers"]["epsilon"], "inf");
}

/// A file of `pate-core`'s tests, which Python wrote.
fn fixture(work: &Work, name: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../pate-core/tests/fixtures/");
    work.put(name, std::fs::read(format!("{path}{name}")).unwrap());
}

#[test]
fn a_parquet_file_is_scored_with_a_program_of_features_and_soft_labels() {
    let work = work();
    for name in ["rows.parquet", "jpeg.parquet", "features.pt", "features_and_logits.pt"] {
        fixture(&work, name);
    }
    let quick = "--test-dir mnist --classifiers mlp --seeds 1 --public none --output-dir score";
    let line = format!("--release rows.parquet {quick}");
    let program = "--trust-torchscript --inception-scale signed --inception-gives";
    let run =
        work.run_quiet("score-release", &format!("{line} --inception features.pt {program} features")).ok();
    run.shows(&["| Frechet distance to test images |", "features.pt (SHA-256"]);
    assert!(!run.stdout.contains("FID-proxy") && !run.stdout.contains("inception score"), "{}", run.stdout);
    let report = work.json("score/score_report.json");
    assert_eq!(report["set"]["class_counts"], json!([4, 4, 4, 4, 4, 4, 4, 4, 4, 4]));
    let fidelity = &report["fidelity"];
    assert_eq!(fidelity["measure"], "Frechet distance");
    assert_eq!(fidelity["inception_score"], json!(null));
    assert_eq!(fidelity["program"]["sha256"], artifact::sha256_bytes(&work.bytes("features.pt")));
    let distance = fidelity["beside_test"]["frechet_distance"].as_f64().unwrap();
    assert!(distance > 0.0);

    // The same features with logits beside them: the same distance, and a score.
    let both = format!("{line} --inception features_and_logits.pt {program} features-and-logits");
    work.run_quiet("score-release", &both).ok();
    let fidelity = &work.json("score/score_report.json")["fidelity"];
    assert!((fidelity["beside_test"]["frechet_distance"].as_f64().unwrap() - distance).abs() < 1e-9);
    assert!(fidelity["inception_score"]["mean"].as_f64().unwrap() >= 1.0);

    // Soft labels that say another class than the labels: they count. The network was kept under
    // the same name, and is learnt again.
    let accuracy = |report: &serde_json::Value| report["mean_accuracy"].as_f64().unwrap();
    let rows: Vec<f32> = (0..40)
        .flat_map(|i| (0..10).map(move |class| if class == (i + 1) % 10 { 0.91 } else { 0.01 }))
        .collect();
    work.tensor("soft.pt", &[40, 10], &rows);
    let soft = format!("{line} --soft-labels soft.pt --temperature 2");
    work.run_quiet("score-release", &soft).ok().shows(&["took the labels' place", "temperature of 2"]);
    let report = work.json("score/score_report.json");
    assert_eq!(report["soft_labels"], "soft.pt");
    assert_eq!(report["temperature"], 2.0);
    assert!(accuracy(&report) < 50.0, "{}", accuracy(&report));

    let refused = |line: &str, code: i32, words: &[&str]| {
        work.run_quiet("score-release", line).ends_with(code).says(words);
    };
    refused(&line.replace("rows", "jpeg"), 3, &["jpeg.parquet", "row 1", "PNG"]);
    refused(&format!("{line} --inception features.pt"), 2, &["--trust-torchscript"]);
    let other = format!("{line} --inception features.pt {program} features-and-logits");
    refused(&other, 3, &["--inception", "features.pt", "pair"]);
    refused(&format!("{line} --inception soft.pt {program} features"), 3, &["no TorchScript program"]);
    work.tensor("short.pt", &[4, 10], &rows[..40]);
    refused(&format!("{line} --soft-labels short.pt"), 3, &["4 rows for 40 samples"]);
    refused(&format!("{line} --labels l.csv"), 2, &["--labels", "rows.parquet"]);
}

/// ResNet-110 on a few tiny images.
#[test]
fn a_network_of_the_benchmark_goes_on_after_a_kill() {
    let work = Work::new();
    let pixels = |row: usize| -> Vec<f32> {
        (0..64).map(|at| if (at / 32 == row % 2) == (at % 3 == 0) { 0.2 } else { 0.8 }).collect()
    };
    let n = 16;
    work.tensor("set/synthetic_samples.pt", &[n, 1, 8, 8], &(0..n).flat_map(pixels).collect::<Vec<_>>());
    work.labels("set/labels.csv", &(0..n as i64).map(|row| row % 2).collect::<Vec<_>>());
    for row in 0..n {
        let path = work.path(&format!("test/{}/{row}.png", ["a", "b"][row % 2]));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = pixels(row).iter().map(|x| (255.0 * x).round() as u8).collect();
        image::GrayImage::from_vec(8, 8, bytes).unwrap().save(path).unwrap();
    }
    let line = "--release set --classes 2 --test-dir test --test-set folders --classifiers resnet110 \
                --public none --device cpu --threads 1 --output-dir score";
    let checkpoint = work.path("score/classifiers/release_resnet110_42/checkpoint.safetensors");
    let mut run = work.command("score-release", &format!("{line} --quiet")).spawn().unwrap();
    while !checkpoint.exists() && run.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(checkpoint.exists(), "there was nothing to go on from");
    // That the bytes are those of a training that never stopped is pate-core's test.
    let run = work.run_bare("score-release", line).ok();
    run.says(&["goes on after epoch"]);
    assert!(!run.stderr.contains("starts anew") && !checkpoint.exists(), "{}", run.stderr);
    let judged = &work.json("score/score_report.json")["classifiers"][0];
    let recipe = &judged["recipe"];
    assert_eq!(judged["classifier"], "resnet110");
    assert_eq!((number(&recipe["epochs"]), recipe["ema_decay"].as_f64()), (50, Some(0.9999)));
}
