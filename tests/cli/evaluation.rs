//! `evaluate-student` and `evaluate-synthetic`: what they print and what they report.

use serde_json::json;

use testing::{Work, confidence, image, number};

#[test]
fn a_student_that_knows_everything() {
    let work = Work::new();
    work.teacher("student.pth");
    work.mnist("mnist", 10, 40);
    let run =
        work.run_quiet("evaluate-student", "--model student.pth --mnist-dir mnist --output report.json").ok();
    assert!(
        run.stdout.contains("accuracy  100.00% (40 of 40; 95% interval 91.24 to 100.00%)"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("class 7   100.00% (4 of 4)"), "{}", run.stdout);
    assert!(run.stdout.starts_with("loss      0."), "{}", run.stdout);
    let report = work.json("report.json");
    assert_eq!(report["overall_accuracy"], 100.0);
    assert_eq!(number(&report["correct_predictions"]), 40);
    assert_eq!(report["confusion_matrix"][3], json!([0, 0, 0, 4, 0, 0, 0, 0, 0, 0]));
    // -log of the confidence, mean over brightness .51, .56, .61 and .66 (in bytes).
    let brightness = [130.0, 142.0, 155.0, 168.0].map(|b| b / 255.0);
    let expected = brightness.iter().map(|&b| -f64::from(confidence(b)).ln()).sum::<f64>() / 4.0;
    let found = report["average_loss"].as_f64().unwrap();
    assert!((found - expected).abs() < 0.01, "{found}, expected {expected}");
    assert!(report["formal_guarantee"].is_null());
    let inputs: Vec<&str> =
        report["inputs"].as_array().unwrap().iter().map(|i| i["path"].as_str().unwrap()).collect();
    assert_eq!(inputs.len(), 3, "the model, the images, the labels: {inputs:?}");
    assert_eq!(report["outputs"][0]["path"], "report.png");
    assert_eq!(report["outputs"][0]["sha256"], work.sha256("report.png"));
    // Without --output nothing is written.
    let before = work.files(".");
    work.run("evaluate-student", "--model student.pth --mnist-dir mnist").ok();
    assert_eq!(work.files("."), before);
}

#[test]
fn gzipped_files_straight_in_the_folder_are_the_same_test_set() {
    let work = Work::new();
    work.teacher("student.pth");
    work.mnist("mnist", 10, 20);
    for (name, skip) in [("t10k-images-idx3-ubyte", 16), ("t10k-labels-idx1-ubyte", 8)] {
        let bytes = work.bytes(&format!("mnist/MNIST/raw/{name}"));
        let shape: &[usize] = if skip == 16 { &[20, 28, 28] } else { &[20] };
        work.put(&format!("flat/{name}.gz"), testing::idx_gz(shape, &bytes[skip..]));
    }
    let one = work.run_quiet("evaluate-student", "--model student.pth --mnist-dir mnist").ok();
    let other = work.run_quiet("evaluate-student", "--model student.pth --mnist-dir flat").ok();
    assert_eq!(one.stdout, other.stdout);
}

/// Three samples of teacher 0, and a shard with labels beside it.
fn samples() -> Work {
    let work = Work::new();
    work.samples("t/teacher_0", &[1, 2, 3]);
    work.images("shard/shard.pt", &[image(1, 0.9, 0), image(2, 0.9, 8), image(3, 0.9, 8)]);
    let mut labels = Vec::new();
    tensorfile::pt::write_array(&mut labels, tensorfile::View::i64(&[3], &[1, 2, 3]).unwrap()).unwrap();
    work.put("shard/shard_labels.pt", labels);
    work
}

#[test]
fn without_a_shard_what_needs_it_is_not_measured() {
    let work = samples();
    let run = work.run_quiet("evaluate-synthetic", "--samples t/teacher_0/synthetic_samples.pt").ok();
    for line in [
        "samples             3",
        "similarity score    not measured",
        "mean_confidence     0.9500 (>= 0.9): met",
        "diversity_ratio     not measured (>= 0.75): not measured",
        "min_nn_distance     not measured (>= 1.0): not measured",
        "histogram_l1        not measured (< 0.2): not measured",
        "No formal privacy guarantee: ",
    ] {
        assert!(run.stdout.contains(line), "{line:?} is not in:\n{}", run.stdout);
    }
    let report = work.json("t/teacher_0/evaluation_report.json");
    assert_eq!(report["success_criteria"]["mean_confidence"]["met"], true);
    for criterion in ["diversity_ratio", "min_nn_distance", "histogram_l1"] {
        assert!(report["success_criteria"][criterion]["met"].is_null(), "{criterion}");
    }
    assert!(report["memorization"].is_null() && report["similarity_score"].is_null());
    assert!(report["formal_guarantee"].is_null());
    assert!(report["formal_guarantee_reason"].as_str().is_some_and(|r| !r.is_empty()));
}

#[test]
fn with_a_shard_every_criterion_has_a_verdict() {
    let work = samples();
    let line = "--samples t/teacher_0/synthetic_samples.pt --shard shard/shard.pt --out report.json";
    let run = work.run_quiet("evaluate-synthetic", line).ok();
    // Sample 0 is a copy of a private image; distances come from inner products, so that it is not
    // exactly 0.
    assert!(run.stdout.contains("min_nn_distance     0.00"), "{}", run.stdout);
    assert!(run.stdout.contains("(>= 1.0): not met"), "{}", run.stdout);
    assert!(run.stdout.contains("histogram_l1        0.0000 (< 0.2): met"), "{}", run.stdout);
    let report = work.json("report.json");
    assert!(report["memorization"]["min_nn_distance"].as_f64().is_some_and(|d| d < 0.01));
    assert_eq!(report["class_distribution"]["histogram_l1_distance"], 0.0);
    assert_eq!(report["metadata"]["num_original_samples"], 3);
    let inputs: Vec<&str> =
        report["inputs"].as_array().unwrap().iter().map(|i| i["path"].as_str().unwrap()).collect();
    assert_eq!(
        inputs,
        [
            "t/teacher_0/synthetic_samples.pt",
            "t/teacher_0/labels.csv",
            "shard/shard.pt",
            "shard/shard_labels.pt"
        ]
    );
    assert!(work.path("report.png").is_file());
    work.put(
        "targets.json",
        r#"{"evaluation": {"min_nn_distance_target": 0, "mean_confidence_target": 0.99}}"#,
    );
    let run = work.run_quiet("evaluate-synthetic", &format!("{line} --config targets.json")).ok();
    assert!(
        run.stdout.contains("(>= 0.0): met") && run.stdout.contains("(>= 0.99): not met"),
        "{}",
        run.stdout
    );
}

#[test]
fn a_shard_by_its_indices_is_the_same_shard_and_its_sources_are_named() {
    let work = samples();
    work.mnist("mnist", 30, 10);
    work.put("i.json", r#"{"0": [0, 1, 2], "4": [11, 12, 23]}"#);
    work.run("prepare-shards", "--mnist-dir mnist --shard-indices i.json --out-dir shards").ok();
    let samples = "--samples t/teacher_0/synthetic_samples.pt";
    let by_file = format!("{samples} --shard shards/teacher_4/shard.pt --out a.json");
    let by_indices =
        format!("{samples} --teacher-id 4 --shard-indices i.json --mnist-data-dir mnist --out b.json");
    let one = work.run_quiet("evaluate-synthetic", &by_file).ok();
    let other = work.run_quiet("evaluate-synthetic", &by_indices).ok();
    assert_eq!(one.stdout, other.stdout);
    let (a, b) = (work.json("a.json"), work.json("b.json"));
    assert_eq!(a["resemblance_to_shard"], b["resemblance_to_shard"]);
    let inputs: Vec<&str> =
        b["inputs"].as_array().unwrap().iter().map(|i| i["path"].as_str().unwrap()).collect();
    assert!(
        inputs.contains(&"i.json") && inputs.iter().any(|i| i.ends_with("train-images-idx3-ubyte")),
        "{inputs:?}"
    );
    // A shard that is given beats the teacher's id.
    let both = format!("{by_file} --teacher-id 0");
    assert_eq!(work.run_quiet("evaluate-synthetic", &both).ok().stdout, one.stdout);
}

#[test]
fn labels_without_confidences_and_with_a_byte_order_mark() {
    let work = samples();
    work.put("l.csv", "\u{feff}index,label\r\n0,1\r\n1,2\r\n2,3\r\n");
    let line = "--samples t/teacher_0/synthetic_samples.pt --labels l.csv --out r.json";
    let run = work.run_quiet("evaluate-synthetic", line).ok();
    assert!(run.stdout.contains("mean_confidence     not measured"), "{}", run.stdout);
    assert_eq!(work.json("r.json")["class_distribution"]["synthetic"], json!({"1": 1, "2": 1, "3": 1}));
}

#[test]
fn an_empty_set_has_a_report_without_numbers() {
    let work = samples();
    work.samples("empty", &[]);
    let line = "--samples empty/synthetic_samples.pt --shard shard/shard.pt --out r.json";
    work.run_quiet("evaluate-synthetic", line).ok();
    let text = work.text("r.json");
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    assert!(work.json("r.json")["diversity"]["average_pairwise_distance"].is_null());
}
