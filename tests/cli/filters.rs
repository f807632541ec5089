//! `label-filter` on pools whose answer is known: counts that add up, orders, limits, steering,
//! pools put together.

use serde_json::{Value, json};
use tensorfile::View;

use testing::{Image, SIDE, Work, confidence, image, number};

/// A folder with the teacher as `teacher.pth`.
fn with_teacher() -> Work {
    let work = Work::new();
    work.teacher("teacher.pth");
    work
}

/// `label-filter` of `pool.pt` into `out`, and its report.
fn filter(work: &Work, more: &str) -> Value {
    work.run(
        "label-filter",
        &format!("--candidates pool.pt --teacher-model teacher.pth --out-dir out {more}"),
    )
    .ok();
    work.json("out/selection_report.json")
}

/// Every candidate is either in the result or rejected for one reason; steered samples are counted
/// apart.
#[track_caller]
fn adds_up(report: &Value) {
    let count = |name: &str| number(&report[name]);
    let steered = |name: &str| number(&report["steered"][name]);
    let kept = count("num_selected") - steered("kept");
    let rejected: u64 = ["low_confidence", "memorization", "quota", "diversity", "target"]
        .iter()
        .map(|reason| count(&format!("rejected_{reason}")))
        .sum();
    assert_eq!(count("num_generated"), kept + rejected, "{report:#}");
    let rejected: u64 = ["low_confidence", "memorization", "diversity", "target"]
        .iter()
        .map(|reason| steered(&format!("rejected_{reason}")))
        .sum();
    assert_eq!(steered("generated"), steered("kept") + rejected, "{report:#}");
    assert_eq!(count("rejected_steered"), rejected);
    let by_class: u64 = report["class_distribution"].as_object().unwrap().values().map(number).sum();
    assert_eq!(by_class, count("num_selected"));
}

/// The counts of rejected candidates: confidence, memorisation, quota, diversity, target.
fn rejections(report: &Value) -> [u64; 5] {
    ["low_confidence", "memorization", "quota", "diversity", "target"]
        .map(|reason| number(&report[format!("rejected_{reason}")]))
}

#[test]
fn the_teachers_word_is_written_with_its_confidence() {
    let work = with_teacher();
    let brightness = [0.75, 0.95, 0.85];
    work.images("pool.pt", &[image(4, 0.75, 0), image(9, 0.95, 1), image(0, 0.85, 2)]);
    let report = filter(&work, "--max-per-class 0 --min-per-class 0");
    adds_up(&report);
    assert_eq!(report["class_distribution"], json!({"0": 1, "4": 1, "9": 1}));
    let text = work.text("out/labels.csv");
    assert!(text.starts_with("index,label,confidence\r\n0,9,0.98"), "{text}");
    assert_eq!(text.matches("\r\n").count(), 4);
    // Diversity comes last, so rows stand by confidence.
    for (row, (class, candidate)) in work.rows("out/labels.csv").iter().zip([(9, 1), (0, 2), (4, 0)]) {
        assert_eq!(row[1], class.to_string());
        let written: f32 = row[2].parse().unwrap();
        assert!((written - confidence(brightness[candidate])).abs() < 1e-5, "{row:?}");
    }
    let (shape, values) = work.array("out/synthetic_samples.pt");
    assert_eq!(shape, [3, 1, 28, 28]);
    assert_eq!(values[..SIDE * SIDE], image(9, 0.95, 1)[..], "index is the row in the samples");
    assert_eq!(report["samples_hash"], work.sha256("out/synthetic_samples.pt"));
    assert!(work.path("out/selected_samples.png").is_file());
}

#[test]
fn each_filter_takes_its_own() {
    let work = with_teacher();
    work.images("shard.pt", &[image(2, 0.9, 0)]);
    work.put(
        "metadata.json",
        r#"{"teacher_id": 0, "shard_size": 3, "class_distribution": {"2": 1, "6": 2}}"#,
    );
    let mut pool = vec![
        image(2, 0.3, 1),  // too faint
        image(1, 0.60, 1), // rare: .7 is enough
        image(2, 0.60, 1), // the same, not rare
        image(2, 0.85, 0), // .35 from the shard
    ];
    pool.extend((1..5).map(|tag| image(2, 0.9, tag))); // four of class 2
    pool.extend((1..7).map(|tag| image(6, 0.9, tag))); // six of class 6
    pool.push(image(6, 0.95, 1)); // .35 from an image of class 6, and more confident than it
    work.images("pool.pt", &pool);
    assert!(confidence(0.6) > 0.7 && confidence(0.6) < 0.9);

    // 12 of 15 pass confidence and memorisation: 1 of class 1, 4 of class 2, 7 of class 6. Targets
    // 4 and 8; class 1 is not in the metadata and has no target, so all of it stays.
    let shard =
        "--teacher-shard-path shard.pt --shard-metadata metadata.json --min-per-class 0 --max-per-class 0";
    let report = filter(&work, shard);
    adds_up(&report);
    assert_eq!(rejections(&report), [2, 1, 0, 1, 0]);
    assert_eq!(report["class_distribution"], json!({"1": 1, "2": 4, "6": 6}));
    assert_eq!(report["quota_applied"], true);
    assert_eq!(report["filters_applied"]["memorization_check"], true);
    let first: &[String] = &work.rows("out/labels.csv")[0];
    assert_eq!(first[1], "6", "the most confident");

    // At most 3 of a class: one of class 2 and four of class 6 go before diversity sees them.
    let report = filter(&work, &shard.replace("--max-per-class 0", "--max-per-class 3"));
    adds_up(&report);
    assert_eq!(rejections(&report), [2, 1, 5, 1, 0]);
    assert_eq!(report["class_distribution"], json!({"1": 1, "2": 3, "6": 2}));

    // Without metadata's proportions, diversity and the shard.
    let report = filter(&work, "--min-per-class 0 --max-per-class 0 --quota False --disable-diversity");
    adds_up(&report);
    assert_eq!(rejections(&report), [2, 0, 0, 0, 0]);
    assert_eq!(report["filters_applied"]["diversity_enforcement"], false);
    assert_eq!(report["filters_applied"]["memorization_check"], false);
    let labels = work.label_column("out/labels.csv");
    assert!(labels.is_sorted(), "without diversity, rows stand by class: {labels:?}");
    filter(&work, "--min-per-class 0 --max-per-class 0 --quota False --min-diversity-distance 0");
    assert_eq!(work.label_column("out/labels.csv"), labels, "0 is the same as off");

    // A wanted number: the most confident stay, in order of confidence.
    let report = filter(&work, "--min-per-class 0 --max-per-class 0 --disable-diversity --target-samples 5");
    adds_up(&report);
    assert_eq!(rejections(&report), [2, 0, 0, 0, 8]);
    assert_eq!(work.label_column("out/labels.csv"), [6, 2, 2, 2, 2], "ties go to the earlier candidate");
    let report =
        filter(&work, "--min-per-class 0 --max-per-class 0 --disable-diversity --target-samples 500");
    assert_eq!(rejections(&report)[4], 0);
}

#[test]
fn what_is_switched_off_for_want_of_a_file_is_said() {
    let work = with_teacher();
    work.images("pool.pt", &[image(4, 0.9, 0)]);
    let line = "--candidates pool.pt --teacher-model teacher.pth --out-dir out";
    work.run("label-filter", line).ok().says(&[
        "no shard is given: distances to private images are not checked",
        "no metadata is given",
        "no decoder is given: latent steering is off",
    ]);
    let run = work.run("label-filter", &format!("{line} --min-nn-distance 0 --quota 0")).ok();
    assert!(!run.stderr.contains("no shard") && !run.stderr.contains("no metadata"), "{}", run.stderr);
    let run = work.run_quiet("label-filter", line).ok();
    assert_eq!((run.stdout, run.stderr), (String::new(), String::new()), "quiet");
}

#[test]
fn a_maximum_below_the_configured_minimum_lowers_it_and_the_report_says_so() {
    let work = with_teacher();
    work.images("pool.pt", &(0..4).map(|tag| image(4, 0.9, tag)).collect::<Vec<_>>());
    let report = filter(&work, "--max-per-class 2");
    assert_eq!(number(&report["min_per_class_lowered_to"]), 2);
    assert_eq!(number(&report["filters_applied"]["min_per_class"]), 2);
    assert_eq!(report["class_distribution"], json!({"4": 2}));
    assert!(filter(&work, "--max-per-class 200")["min_per_class_lowered_to"].is_null());
}

/// The class whose region, as far as the teacher looks, is brightest.
fn brightest(sample: &[f32]) -> usize {
    let mean = |class: usize| {
        let (sum, n) = sample.iter().zip(image(class, 1.0, 0)).fold((0.0, 0), |(sum, n), (pixel, mask)| {
            if mask > 0.5 { (sum + pixel, n + 1) } else { (sum, n) }
        });
        sum / n as f32
    };
    (0..10).max_by(|&a, &b| mean(a).total_cmp(&mean(b))).unwrap()
}

#[test]
fn classes_that_are_short_are_steered() {
    let work = with_teacher();
    work.decoder("decoder.pth");
    work.images("shard.pt", &[image(2, 0.9, 0)]);
    let mut pool: Vec<Image> = (0..4).map(|tag| image(3, 0.9, tag)).collect();
    pool.push(image(7, 0.9, 0));
    pool.push(image(7, 0.2, 0));
    work.images("pool.pt", &pool);
    let line = "--decoder-path decoder.pth --teacher-shard-path shard.pt --min-per-class 3 --max-per-class 10 \
                --min-diversity-distance 0.1";
    let report = filter(&work, line);
    adds_up(&report);
    // Without metadata and with a minimum, a class gives its minimum: 3 of the 4, and 1 of class 7.
    assert_eq!(rejections(&report), [1, 0, 1, 0, 0]);
    assert_eq!(report["latent_steering_ran"], true);
    // 3 for each of eight empty classes, 2 for class 7.
    assert_eq!(number(&report["steered"]["generated"]), 26);
    let used = report["used_latent_steering"].as_object().unwrap();
    let classes: Vec<&str> = used.keys().map(String::as_str).collect();
    assert_eq!(classes, ["0", "1", "2", "4", "5", "6", "7", "8", "9"], "every class below the minimum");
    let passed: u64 = used.values().map(number).sum();
    let early = |reason: &str| number(&report["steered"][format!("rejected_{reason}")]);
    assert_eq!(passed, 26 - early("low_confidence") - early("memorization"));
    // Latents below 0 draw nothing in the hand-made decoder, so about half of all starts can be
    // steered.
    assert!(number(&report["steered"]["kept"]) >= 8, "{report:#}");
    // A sample stays under the label that the teacher gives it.
    let (_, pixels) = work.array("out/synthetic_samples.pt");
    let labels = work.label_column("out/labels.csv");
    for (sample, &label) in pixels.chunks_exact(SIDE * SIDE).zip(&labels) {
        assert_eq!(brightest(sample), label as usize);
    }
    assert!(report["inputs"].as_array().unwrap().iter().any(|input| input["path"] == "decoder.pth"));

    let steered = work.sha256("out/synthetic_samples.pt");
    filter(&work, line);
    assert_eq!(work.sha256("out/synthetic_samples.pt"), steered, "same seed, same samples");
    filter(&work, &format!("{line} --seed 7"));
    assert_ne!(work.sha256("out/synthetic_samples.pt"), steered);

    work.put("off.json", r#"{"latent_steering": {"enabled": false}}"#);
    let report = filter(&work, &format!("{line} --config off.json"));
    adds_up(&report);
    assert_eq!(report["latent_steering_ran"], false);
    assert_eq!(number(&report["steered"]["generated"]), 0);
    assert_eq!(report["used_latent_steering"]["7"], 0, "listed, but nothing was made");
    assert_eq!(number(&report["num_selected"]), 4);
}

#[test]
fn several_pools_are_one_after_the_other() {
    let work = with_teacher();
    let (first, second) =
        ([image(3, 0.9, 0), image(5, 0.8, 1)], [image(5, 0.8, 2), image(3, 0.9, 3), image(1, 0.7, 4)]);
    work.images("a.pt", &first);
    work.images("b.pt", &second);
    work.images("pool.pt", &[first.to_vec(), second.to_vec()].concat());
    let limits = "--min-per-class 0 --max-per-class 0";
    filter(&work, limits);
    let one = work.files("out");
    work.run(
        "label-filter",
        &format!("--candidates a.pt --candidates b.pt --teacher-model teacher.pth --out-dir out {limits}"),
    )
    .ok();
    let merged = work.files("out");
    for file in ["out/synthetic_samples.pt", "out/labels.csv"] {
        assert_eq!(one[file], merged[file], "{file}");
    }
    let report = work.json("out/selection_report.json");
    assert_eq!(report["candidate_pool_path"], "a.pt, b.pt");
    let inputs: Vec<&Value> = report["inputs"].as_array().unwrap().iter().map(|i| &i["path"]).collect();
    assert_eq!(inputs, ["a.pt", "b.pt", "teacher.pth"]);
}

#[test]
fn pools_of_bytes_floats_and_other_containers_are_the_same_pool() {
    let work = with_teacher();
    let pool = [image(3, 0.8, 1), image(5, 1.0, 2)].concat();
    let bytes: Vec<u8> = pool.iter().map(|x| (x * 255.0).round() as u8).collect();
    let as_floats: Vec<f32> = bytes.iter().map(|&b| f32::from(b)).collect();
    let in_unit: Vec<f32> = as_floats.iter().map(|x| x / 255.0).collect();
    let mut pt = Vec::new();
    tensorfile::pt::write_array(&mut pt, View::u8(&[2, SIDE, SIDE], &bytes).unwrap()).unwrap();
    work.put("bytes.pt", pt);
    let mut npy = Vec::new();
    tensorfile::npz::write_npy(&mut npy, View::f32(&[2, 1, SIDE, SIDE], &in_unit).unwrap()).unwrap();
    work.put("unit.npy", npy);
    work.tensor("to_255.pt", &[2, 1, SIDE, SIDE], &as_floats);
    work.put("idx3-ubyte.gz", testing::idx_gz(&[2, SIDE, SIDE], &bytes));
    let mut hashes = Vec::new();
    for pool in ["bytes.pt", "unit.npy", "to_255.pt", "idx3-ubyte.gz"] {
        work.run("label-filter", &format!("--candidates {pool} --teacher-model teacher.pth --out-dir out"))
            .ok();
        hashes.push(work.sha256("out/synthetic_samples.pt"));
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[test]
fn paths_with_backslashes_are_paths() {
    let work = with_teacher();
    work.images("pools/a.pt", &[image(4, 0.9, 0)]);
    work.run(
        "label-filter",
        r"--candidates pools\a.pt --teacher-model .\teacher.pth --out-dir teachers\teacher_0",
    )
    .ok();
    assert!(work.path("teachers/teacher_0/labels.csv").is_file());
    assert!(!work.files(".").keys().any(|name| name.contains('\\')), "{:?}", work.files("."));
}

#[test]
fn flags_beat_the_configuration_and_both_its_dialects_mean_the_same() {
    let work = with_teacher();
    work.images("pool.pt", &[image(4, 0.5, 0), image(4, 0.7, 1), image(4, 0.9, 2)]);
    work.put(
        "a.json",
        r#"{"filtering": {"default_confidence_threshold": 0.5, "diversity_threshold": 0, "max_per_class": null}}"#,
    );
    work.put(
        "b.json",
        r#"{"filtering": {"confidence_threshold": 0.5, "min_diversity_distance": null, "max_per_class": 0}}"#,
    );
    let a = filter(&work, "--config a.json");
    let samples = work.sha256("out/synthetic_samples.pt");
    let b = filter(&work, "--config b.json");
    assert_eq!(a["filters_applied"], b["filters_applied"]);
    assert_eq!(work.sha256("out/synthetic_samples.pt"), samples);
    assert_eq!(number(&b["num_selected"]), 3);
    assert_eq!(b["config_used"], "b.json");
    assert!(b["inputs"].as_array().unwrap().iter().any(|input| input["path"] == "b.json"));
    let flag = filter(&work, "--config b.json --confidence 0.97");
    assert_eq!(number(&flag["num_selected"]), 1);
    assert_eq!(flag["filters_applied"]["default_confidence_threshold"], 0.97);
    assert!(flag["filters_applied"]["diversity_threshold"].is_null());
}
