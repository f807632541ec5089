//! The whole chain on colour images of one's own: 32x32x3, four classes, from folders named after
//! them. The images are generated here: a shape in a colour of its own kind on a noisy ground.

use image::{Rgb, RgbImage};
use serde_json::json;

use testing::{Work, none_of, number};

const SIDE: u32 = 32;
const CLASSES: [&str; 4] = ["circle", "cross", "square", "stripes"];

/// The next of a row of numbers in 0..n that looks random (Knuth's 64-bit linear congruential
/// generator).
fn draw(state: &mut u64, n: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % n
}

/// One image of a class.
fn shape(class: usize, seed: u64) -> RgbImage {
    let mut state = seed * 4 + class as u64 + 1;
    let (x0, y0) = (14 + draw(&mut state, 5) as i64, 14 + draw(&mut state, 5) as i64);
    let radius = 8 + draw(&mut state, 4) as i64;
    let strong = 180 + draw(&mut state, 70) as u8;
    let colour = [[strong, 40, 60], [60, strong, 50], [40, 70, strong], [strong, strong, 40]][class];
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let (dx, dy) = ((i64::from(x) - x0).abs(), (i64::from(y) - y0).abs());
        let inside = match class {
            0 => dx * dx + dy * dy <= radius * radius,
            1 => dx.max(dy) <= radius && dx.min(dy) <= 2,
            2 => dx.max(dy) <= radius,
            _ => dx.max(dy) <= radius && y / 3 % 2 == 0,
        };
        let ground = if inside { colour } else { [25; 3] };
        Rgb(ground.map(|value| value.saturating_add(draw(&mut state, 30) as u8)))
    })
}

/// `n` images of every class below `root`.
fn shapes(work: &Work, root: &str, n: u64, first_seed: u64) {
    for (class, name) in CLASSES.iter().enumerate() {
        std::fs::create_dir_all(work.path(&format!("{root}/{name}"))).unwrap();
        for i in 0..n {
            let path = work.path(&format!("{root}/{name}/{i:03}.png"));
            shape(class, first_seed + i).save(path).unwrap();
        }
    }
}

const CONFIG: &str = r#"{
    "preprocessing": {"normalize_mean": [0.25, 0.24, 0.22], "normalize_std": [0.3, 0.28, 0.26]},
    "filtering": {"confidence_threshold": 0.6, "rare_class_threshold": 0.4, "min_nn_distance": 1.0,
                  "min_diversity_distance": 0.5, "min_per_class": 30, "max_per_class": 40},
    "latent_steering": {"steps": 10, "learning_rate": 0.2}}"#;

const STEPS: &[(&str, &str)] = &[
    ("prepare-shards", "--dataset folders --mnist-dir private --num-teachers 2 --out-dir shards"),
    (
        "train-teachers",
        "--dataset folders --data-dir private --num-models 2 --epochs 8 --lr 0.02 --momentum 0.9 --batch-size 16 \
         --shard-indices shards/shard_indices.json --output-dir nets --config c.json",
    ),
    (
        "pretrain-decoder",
        "--dataset folders --data-root public --epochs 20 --batch-size 16 --lr 0.003 --latent-dim 12 --no-augmentation \
         --out-dir decoder --config c.json",
    ),
    (
        "generate-candidates",
        "--decoder-path decoder/decoder.pth --pool-size 64 --out pool.pt --save-grid --config c.json",
    ),
    (
        "batch-label-filter",
        "--generate-candidates-per-teacher --decoder-path decoder/decoder.pth --pool-size 150 --candidates-dir pools \
         --teachers-dir nets --teacher-shard-base shards --shard-metadata-base shards --output-dir teachers --pictures \
         --config c.json",
    ),
    ("combine", "--teachers-dir teachers --classes 4 --output combined --format npz"),
    (
        "train-student",
        "--samples combined/combined_synthetic_samples.pt --labels combined/combined_synthetic_labels.csv --classes 4 \
         --epochs 12 --lr 0.02 --momentum 0.9 --batch-size 16 --output-dir student --config c.json",
    ),
    (
        "evaluate-student",
        "--model student/student_model_best.pth --dataset folders --mnist-dir private --output student/report.json \
         --config c.json",
    ),
    (
        "evaluate-synthetic",
        "--samples teachers/teacher_0/synthetic_samples.pt --shard shards/teacher_0/shard.pt --classes 4 --out eval.json \
         --config c.json",
    ),
];

/// Four folders of images each for private training, private tests and the public decoder.
fn four_classes(private: u64, public: u64) -> Work {
    let work = Work::new();
    work.put("c.json", CONFIG);
    shapes(&work, "private/train", private, 0);
    shapes(&work, "private/test", private / 2, 1000);
    shapes(&work, "public", public, 2000);
    work
}

#[test]
fn the_whole_chain_on_colour_images_in_class_folders() {
    let work = four_classes(40, 40);
    let mut said = String::new();
    for (binary, line) in STEPS {
        said.push_str(&work.run_quiet(binary, line).ok().stdout);
    }

    let shape = |name: &str| work.array(name).0;
    assert_eq!(shape("shards/teacher_1/shard.pt"), [80, 3, 32, 32]);
    assert_eq!(shape("pool.pt"), [64, 3, 32, 32]);
    assert_eq!(shape("pools/candidates_teacher_1.pt"), [150, 3, 32, 32]);
    let total = work.json("combined/combined_synthetic_metadata.json")["total_samples"].clone();
    assert_eq!(shape("combined/combined_synthetic_samples.pt"), [number(&total) as usize, 3, 32, 32]);
    let labels = work.label_column("combined/combined_synthetic_labels.csv");
    for class in 0..4 {
        assert!(labels.iter().filter(|&&label| label == class).count() >= 20, "class {class} in {labels:?}");
    }

    // Each filter had its files, and steering something to do.
    for id in [0, 1] {
        let report = work.json(&format!("teachers/teacher_{id}/selection_report.json"));
        assert_eq!(report["quota_applied"], true);
        assert_eq!(report["filters_applied"]["memorization_check"], true);
        assert_eq!(report["latent_steering_ran"], true);
        assert!(number(&report["steered"]["kept"]) > 0, "{}", report["steered"]);
        assert_eq!(report["class_names"], json!(CLASSES));
        let distribution = report["class_distribution"].as_object().unwrap();
        assert!(distribution.keys().all(|class| class.parse::<usize>().is_ok_and(|class| class < 4)));
    }

    // Chance is 25%; the student has learnt shapes that it never saw an original of.
    let report = work.json("student/report.json");
    assert_eq!(number(&report["total_samples"]), 80);
    assert!(report["overall_accuracy"].as_f64().is_some_and(|a| a > 75.0), "{said}");
    assert_eq!(report["confusion_matrix"].as_array().map(Vec::len), Some(4));
    assert!(CLASSES.iter().all(|name| said.contains(&format!(" {name}\n"))), "{said}");
    for name in [
        "shards/teacher_0/metadata.json",
        "shards/shards_report.json",
        "nets/training_report.json",
        "decoder/pretrain_report.json",
        "student/report.json",
    ] {
        assert_eq!(work.json(name)["class_names"], json!(CLASSES), "{name}");
    }

    // 8 x 32 pixels and 9 x 2 between them are the grid; the others are larger than their images.
    for (name, least) in [
        ("pool.png", 274),
        ("decoder/samples.png", 274),
        ("teachers/teacher_0/selected_samples.png", 300),
        ("combined/combined_synthetic_samples.png", 300),
        ("student/report.png", 300),
        ("eval.png", 300),
    ] {
        let picture = image::open(work.path(name)).unwrap();
        assert!(picture.width() >= least && picture.height() >= least.min(290), "{name}");
        assert!(picture.color().has_color(), "{name}");
    }
    assert_eq!(image::open(work.path("pool.png")).unwrap().width(), 274);

    // The public folder counts as public unless the user says otherwise.
    let report = work.json("decoder/pretrain_report.json");
    assert_eq!(report["formal_guarantee"], "public");
    assert!(report["formal_guarantee_basis"].as_str().is_some_and(|basis| basis.contains("--private-data")));
    assert_eq!(report["inputs"][0]["path"], "public");
    let line =
        "--dataset folders --data-root public --epochs 1 --out-dir secret --private-data --config c.json";
    work.run_quiet("pretrain-decoder", line).ok();
    let report = work.json("secret/pretrain_report.json");
    assert!(report["formal_guarantee"].is_null() && report["formal_guarantee_basis"].is_null());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |name: &str| std::fs::metadata(work.path(name)).unwrap().permissions().mode() & 0o777;
        let private = work.files(".").into_keys().filter(|name| {
            let public = ["private/", "public/", "decoder/", "pool", "c.json"];
            !public.iter().any(|prefix| name.starts_with(prefix))
        });
        for name in private {
            assert_eq!(mode(&name), 0o600, "{name}");
        }
        assert_ne!(mode("decoder/decoder.pth"), 0o600);
    }
}

#[test]
fn other_sizes_grey_images_and_a_control() {
    let work = four_classes(4, 4);
    // Larger, not square, and grey: brought to one size.
    let large = image::DynamicImage::ImageRgb8(shape(2, 1)).resize_exact(
        48,
        40,
        image::imageops::FilterType::Nearest,
    );
    large.save(work.path("public/square/large.png")).unwrap();
    large.to_luma8().save(work.path("public/square/grey.png")).unwrap();
    work.put("c1.json", r#"{"decoder": {"latent_dim": 4, "pretrain_epochs": 1}, "student": {"epochs": 1}}"#);
    let line = "--dataset folders --data-root public --image-size 24x16 --config c1.json";
    work.run_quiet("pretrain-decoder", &format!("{line} --out-dir decoder")).ok();
    assert_eq!(number(&work.json("decoder/pretrain_report.json")["dataset_size"]), 18);
    let pool = "--decoder-path decoder/decoder.pth --pool-size 5 --out pool.pt";
    work.run_quiet("generate-candidates", &format!("{pool} --image-size 24x16")).ok();
    assert_eq!(work.array("pool.pt").0, [5, 3, 24, 16]);
    // 24 x 16 has as many quarters as no square.
    work.run_quiet("generate-candidates", pool)
        .check(3, "error: ", &["decoder.pth", "no square image", "--image-size HEIGHTxWIDTH"])
        .unwrap();
    work.run_quiet("train-student", &format!("--public-control {line} --output-dir control")).ok();
    let report = work.json("control/training_report.json");
    assert_eq!(report["formal_guarantee"], "public");
    assert_eq!(report["class_names"], json!(CLASSES));
    let test = "--model control/student_model_best.pth --dataset folders --mnist-dir private/test --image-size 24x16";
    work.run_quiet("evaluate-student", test).ok();

    let words: Vec<(&str, String, i32, &[&str])> = vec![
        (
            "pretrain-decoder",
            "--dataset folders --data-root public --out-dir new".into(),
            3,
            &["40x48", "32x32", "--image-size"],
        ),
        (
            "pretrain-decoder",
            "--dataset folders --out-dir new".into(),
            2,
            &["--dataset folders needs --data-root"],
        ),
        (
            "pretrain-decoder",
            "--dataset digits --image-size 8 --out-dir new".into(),
            2,
            &["--image-size 8x8", "--dataset folders"],
        ),
        (
            "prepare-shards",
            "--mnist-dir private --image-size 8 --out-dir new".into(),
            2,
            &["--image-size 8x8", "--dataset folders"],
        ),
        (
            "prepare-shards",
            "--dataset folders --mnist-dir none --out-dir new".into(),
            3,
            &["none", "no such folder"],
        ),
        (
            "prepare-shards",
            "--dataset folders --mnist-dir private --num-teachers 2 --assignment keyed-hash --out-dir new"
                .into(),
            2,
            &["keyed-hash", "--dataset folders", "take index"],
        ),
        (
            "train-teachers",
            "--dataset folders --data-dir public --output-dir new".into(),
            3,
            &["public", "no folders train and test"],
        ),
        (
            "evaluate-student",
            test.replace("--image-size 24x16", ""),
            3,
            &["cannot use the student", "student_model_best.pth", "fc1.weight"],
        ),
        ("evaluate-student", test.replace("private/test", "decoder"), 3, &["decoder", "0 class folders"]),
    ];
    let before = work.files(".");
    none_of(
        words
            .iter()
            .map(|(binary, line, code, words)| work.run_quiet(binary, line).check(*code, "error: ", words)),
    );
    assert_eq!(work.files("."), before, "nothing is left behind");
}

#[test]
fn private_training_on_colour_images_in_class_folders() {
    let work = four_classes(40, 4);
    // A budget that protects nobody: 160 records allow no smaller one that learns.
    let line = "--dataset folders --data-dir private --records 160 --expected-batch 80 --epsilon 20 \
                --config c.json";
    let networks = [
        ("resnet", "--network resnet --width 4 --steps 3 --clipping-norm 1"),
        ("scatter", "--network scatter-linear --steps 40 --learning-rate 2 --clipping-norm 0.5"),
    ];
    for (out, flags) in networks {
        work.run_quiet("train-dp-classifier", &format!("{line} {flags} --output-dir {out}")).ok();
        let report = work.json(&format!("{out}/training_report.json"));
        assert_eq!(report["class_names"], json!(CLASSES));
        let line = format!(
            "--model {out}/model.pth --dataset folders --mnist-dir private --output {out}/report.json --config c.json"
        );
        work.run_quiet("evaluate-student", &line).ok();
        assert_eq!(number(&work.json(&format!("{out}/report.json"))["total_samples"]), 80);
    }
    // Chance is 25%; three steps of the residual network show nothing.
    let accuracy = work.json("scatter/report.json")["overall_accuracy"].as_f64().unwrap();
    assert!(accuracy >= 60.0, "{accuracy}");
}

#[test]
fn private_synthesis_on_colour_images_in_class_folders() {
    let work = four_classes(40, 20);
    let data = "--dataset folders --data-dir private --records 160 --config c.json";
    let steps = [
        (
            "train-dp-teacher",
            format!("{data} --width 4 --epsilon 20 --train-batch-size 40 --steps 3 --statistics-noise 2 --output-dir teacher"),
        ),
        ("capture-dp-stats", format!("{data} --model teacher/model.pth")),
        (
            "synthesize-images",
            "--teacher teacher/model.pth --statistics teacher/dp_statistics.pt --dataset folders --data-root public --num-samples 40 \
             --batch-size 20 --variants plain,warped,edges,mixed,textured --roll --flip --k 2 --output-dir synthesis --config c.json"
                .to_owned(),
        ),
        (
            "distill-student",
            "--synthesis synthesis --k 2 --network resnet --width 4 --epochs 1 --output-dir student --config c.json".to_owned(),
        ),
        (
            "evaluate-student",
            "--model student/student_model_final.pth --dataset folders --mnist-dir private --output student/report.json \
             --config c.json"
                .to_owned(),
        ),
    ];
    for (binary, line) in steps {
        work.run_quiet(binary, &line).ok();
    }
    assert_eq!(work.array("synthesis/k2/synthetic_samples.pt").0, [40, 3, 32, 32]);
    assert_eq!(work.array("synthesis/k2/soft_labels.pt").0, [40, 4]);
    assert_eq!(number(&work.json("student/report.json")["total_samples"]), 80);
}
