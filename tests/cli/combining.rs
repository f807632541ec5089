//! `combine`: the order of teachers, class proportions, and teachers that are not complete.

use std::collections::BTreeMap;

use serde_json::json;

use testing::{SIDE, Work, image, number};

const LABELS: &str = "out/combined_synthetic_labels.csv";
const OWNERS: &str = "out/combined_synthetic_teacher_ids.csv";
const SAMPLES: &str = "out/combined_synthetic_samples.pt";
const METADATA: &str = "out/combined_synthetic_metadata.json";

fn counts(values: &[i64]) -> BTreeMap<i64, u64> {
    let mut counts = BTreeMap::new();
    for &value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts
}

#[test]
fn teachers_come_in_the_order_of_their_ids_and_incomplete_ones_are_named() {
    let work = Work::new();
    work.samples("teachers/teacher_10", &[7, 3]);
    work.samples("teachers/teacher_2", &[1]);
    work.samples("teachers/teacher_0", &[]);
    work.samples("teachers/teacher_30", &[9]);
    work.labels("teachers/teacher_4/labels.csv", &[1]);
    work.put("teachers/teacher_x/labels.csv", "");
    work.put("teachers/batch_report.json", "{}");
    let run = work.run("combine", "--teachers-dir teachers --output out --end-id 30").ok();
    run.says(&["skipped: ", "teacher_4", "no synthetic_samples.pt"]);
    assert_eq!(run.stdout, "");
    assert_eq!(work.text(LABELS), "index,label\r\n0,1\r\n1,7\r\n2,3\r\n");
    assert_eq!(work.text(OWNERS), "index,teacher_id\r\n0,2\r\n1,10\r\n2,10\r\n");
    let (shape, values) = work.array(SAMPLES);
    assert_eq!(shape, [3, 1, 28, 28]);
    assert_eq!(values[2 * SIDE * SIDE..], image(3, 0.9, 1)[..]);
    let metadata = work.json(METADATA);
    assert_eq!(metadata["teacher_ids"], json!([0, 2, 10]), "an empty teacher is a teacher");
    assert_eq!(metadata["teacher_distribution"], json!({"2": 1, "10": 2}));
    assert_eq!(metadata["class_distribution"], json!({"1": 1, "3": 1, "7": 1}));
    assert_eq!(number(&metadata["total_samples"]), 3);
    assert_eq!(metadata["samples_hash"], work.sha256(SAMPLES));
    assert_eq!(metadata["skipped"].as_array().map(Vec::len), Some(1));
    assert!(work.path("out/combined_synthetic_samples.png").is_file());
    work.run("combine", "--teachers-dir teachers --output out --start-id 11 --name late").ok();
    assert_eq!(work.json("out/late_metadata.json")["teacher_ids"], json!([30]));
}

/// 60 samples of class 0, 30 of class 3, 10 of class 9, by two teachers.
fn hundred() -> Work {
    let work = Work::new();
    let labels = |n: usize| [vec![0; 6 * n], vec![3; 3 * n], vec![9; n]].concat();
    work.samples("teachers/teacher_1", &labels(4));
    work.samples("teachers/teacher_3", &labels(6));
    work
}

#[test]
fn a_share_keeps_the_shares_of_the_classes_or_is_drawn_at_random() {
    let work = hundred();
    work.run("combine", "--teachers-dir teachers --output out --percentage 0.5").ok();
    let labels = work.label_column(LABELS);
    assert_eq!(counts(&labels), BTreeMap::from([(0, 30), (3, 15), (9, 5)]));
    assert!(labels.is_sorted(), "rows stand in class blocks");
    let metadata = work.json(METADATA);
    assert_eq!(metadata["percentage_used"], 0.5);
    assert_eq!(metadata["stratified_sampling"], true);
    let owners = counts(&work.label_column(OWNERS));
    assert_eq!(json!({"1": owners[&1], "3": owners[&3]}), metadata["teacher_distribution"]);
    let stratified = work.sha256(SAMPLES);
    work.run("combine", "--teachers-dir teachers --output out --percentage 0.5 --seed 42").ok();
    assert_eq!(work.sha256(SAMPLES), stratified, "the default seed is 42");
    work.run("combine", "--teachers-dir teachers --output out --percentage 0.5 --seed 43").ok();
    assert_ne!(work.sha256(SAMPLES), stratified);

    work.run("combine", "--teachers-dir teachers --output out --percentage 0.5 --no-stratify").ok();
    assert_eq!(work.label_column(LABELS).len(), 50);
    assert_eq!(work.json(METADATA)["stratified_sampling"], false);
    assert_ne!(work.sha256(SAMPLES), stratified);

    // 33 samples: 19, 9 and 3 by class, and 2 more at random.
    work.run("combine", "--teachers-dir teachers --output out --percentage 0.33").ok();
    let labels = work.label_column(LABELS);
    assert_eq!(labels.len(), 33);
    assert!(labels[..31].is_sorted());
    let counts = counts(&labels[..31]);
    assert_eq!(counts, BTreeMap::from([(0, 19), (3, 9), (9, 3)]));
}

#[test]
fn every_row_is_the_teachers_own() {
    let work = hundred();
    work.run("combine", "--teachers-dir teachers --output out --percentage 0.4").ok();
    let (_, values) = work.array(SAMPLES);
    let labels = work.label_column(LABELS);
    let owners = work.label_column(OWNERS);
    let mut seen = Vec::new();
    for (row, pixels) in values.chunks_exact(SIDE * SIDE).enumerate() {
        // A teacher's image number t has the tag t.
        let n = if owners[row] == 1 { 40 } else { 60 };
        let tag = (0..n).find(|&tag| image(labels[row] as usize, 0.9, tag) == pixels);
        let tag = tag.unwrap_or_else(|| panic!("row {row} is no image of class {}", labels[row]));
        assert!(!seen.contains(&(owners[row], tag)), "row {row} stands twice");
        seen.push((owners[row], tag));
    }
    assert_eq!(seen.len(), 40);
}

#[test]
fn label_files_of_other_programs_are_read() {
    let work = Work::new();
    work.samples("teachers/teacher_0", &[4, 2]);
    work.put("teachers/teacher_0/labels.csv", "\u{feff}confidence,label\r\n0.5,4\r\n0.25,2\r\n");
    work.samples("teachers/teacher_1", &[5]);
    work.put("teachers/teacher_1/labels.csv", "label\n5\n");
    work.run("combine", "--teachers-dir teachers --output out").ok();
    assert_eq!(work.label_column(LABELS), [4, 2, 5]);
}

#[test]
fn numpy_gets_samples_and_labels_in_one_file() {
    let work = hundred();
    let line = "--teachers-dir teachers --output out --percentage 0.1 --name small";
    work.run("combine", &format!("{line} --format npz")).ok();
    let arrays = tensorfile::read(&work.path("out/small.npz")).unwrap().into_tensors().unwrap();
    let named = |name: &str| arrays.iter().find(|(n, _)| n == name).map(|(_, array)| array).unwrap();
    assert_eq!(arrays.len(), 2);
    let (shape, values) = work.array("out/small_samples.pt");
    assert_eq!((named("x").shape(), named("x").to_f32()), (&shape[..], values));
    assert_eq!(named("y").to_i64().unwrap(), work.label_column("out/small_labels.csv"));
    let outputs = work.json("out/small_metadata.json")["outputs"].clone();
    let archive = outputs.as_array().unwrap().iter().find(|o| o["path"] == "out/small.npz").unwrap();
    assert_eq!(archive["sha256"], work.sha256("out/small.npz"));
    work.run("combine", &line.replace("small", "bare")).ok();
    assert!(!work.path("out/bare.npz").exists());
}

#[test]
fn several_formats_hold_the_same_samples() {
    let work = hundred();
    let line = "--teachers-dir teachers --output out --percentage 0.1 --name small";
    work.run("combine", &format!("{line} --format npz,folders --format safetensors")).ok();
    let (shape, values) = work.array("out/small_samples.pt");
    let labels = work.label_column("out/small_labels.csv");
    let owners = work.label_column("out/small_teacher_ids.csv");

    let document = tensorfile::read(&work.path("out/small.safetensors")).unwrap();
    let guarantee = document.metadata.iter().find(|(key, _)| key == "guarantee").unwrap();
    assert!(guarantee.1.starts_with("No formal privacy guarantee: "), "{guarantee:?}");
    let arrays = document.into_tensors().unwrap();
    let named = |name: &str| arrays.iter().find(|(n, _)| n == name).map(|(_, array)| array).unwrap();
    assert_eq!((named("images").shape(), named("images").to_f32()), (&shape[..], values.clone()));
    assert_eq!(named("labels").to_i64().unwrap(), labels);
    assert_eq!(named("teacher_ids").to_i64().unwrap(), owners);

    let rows = work.rows("out/small_folders/metadata.csv");
    assert_eq!(rows.len(), labels.len());
    for (index, row) in rows.iter().enumerate() {
        let [file, ..] = &row[..] else { panic!("{row:?}") };
        assert_eq!(*file, format!("{}/{index:06}.png", labels[index]));
        assert_eq!(row[1..4], [index.to_string(), labels[index].to_string(), owners[index].to_string()]);
        let file = format!("out/small_folders/{file}");
        assert_eq!(row[4], work.sha256(&file));
        // Exactly the picture of this row, without a frame.
        let pixels = &values[index * SIDE * SIDE..][..SIDE * SIDE];
        let images = picture::Images { channels: 1, height: SIDE, width: SIDE, pixels };
        assert_eq!(work.bytes(&file), picture::grid(&images, 1, 0).unwrap());
    }
    #[cfg(unix)]
    for name in ["out/small_folders/metadata.csv", "out/small.safetensors", "out/small_card.md"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(work.path(name)), 0o600, "{name}");
        assert_eq!(mode(work.path("out/small_folders/0")), 0o700);
    }
    let outputs = work.json("out/small_metadata.json")["outputs"].clone();
    let paths: Vec<&str> = outputs.as_array().unwrap().iter().map(|o| o["path"].as_str().unwrap()).collect();
    for name in ["small.npz", "small.safetensors", "small_folders/metadata.csv", "small_card.md"] {
        assert!(paths.contains(&format!("out/{name}").as_str()), "{name}: {paths:?}");
    }
    work.run("combine", &format!("{line} --format png")).ends_with(2);
}

#[test]
fn a_second_export_replaces_the_folder_as_a_whole_and_spares_what_is_not_its_own() {
    let work = hundred();
    let line = "--teachers-dir teachers --output out --format folders";
    work.run("combine", line).ok();
    assert_eq!(work.files("out/combined_synthetic_folders").len(), 101);
    work.run("combine", &format!("{line} --percentage 0.1")).ok();
    let few = work.files("out/combined_synthetic_folders");
    assert_eq!(few.len(), 11, "none of the first run is left");
    work.put("out/combined_synthetic_folders/0/notes.txt", "mine");
    work.run_quiet("combine", line)
        .ends_with(3)
        .says_only("error: ", &["combined_synthetic_folders", "0/notes.txt"]);
    assert_eq!(work.files("out/combined_synthetic_folders").len(), 12);
    let hidden = |name: &String| name.contains("/.");
    assert!(!work.files("out").keys().any(hidden), "nothing unfinished stays");
}

#[test]
fn the_card_tells_what_the_data_and_the_reports_tell_and_no_more() {
    let work = hundred();
    work.run("combine", "--teachers-dir teachers --output out --percentage 0.5 --format npz").ok();
    let card = work.text("out/combined_synthetic_card.md");
    for words in [
        "# Data card: combined_synthetic",
        "**Generated data.** 50 labelled images",
        "No formal privacy guarantee: ",
        "(combined_synthetic_samples.png)",
        "50 images of 1 x 28 x 28",
        "| 0 | 30 |\n| 3 | 15 |\n| 9 | 5 |\n",
        "no sample of classes 1, 2, 4, 5, 6, 7, 8",
        "a fraction of 0.5 (seed 42)",
        "The reports beside the samples do not say what it was trained on",
        "No report of that was found",
        "numpy.load(\"combined_synthetic.npz\")",
        "## Licence\n\nNot set.",
        &work.sha256(SAMPLES),
        &work.sha256("out/combined_synthetic.npz"),
    ] {
        assert!(card.contains(words), "{words:?} is not in:\n{card}");
    }
    assert!(!card.contains("ImageFolder"), "a format that is not there");

    // With reports: counts and the decoder's data set, where hashes agree.
    let work = Work::new();
    work.teacher("nets/0/model.pth");
    work.decoder("dec/decoder.pth");
    work.run(
        "batch-label-filter",
        "--generate-candidates-per-teacher --decoder-path dec/decoder.pth --teachers-dir nets --pool-size 300 --output-dir teachers \
         --confidence 0.2 --min-per-class 0",
    )
    .ok();
    let report = work.json("teachers/teacher_0/selection_report.json");
    let told = format!(
        "1 teachers, each trained on a private shard, labelled 300 candidates and selected {}.",
        report["num_selected"]
    );
    work.run("combine", "--teachers-dir teachers --output out").ok();
    let card = work.text("out/combined_synthetic_card.md");
    assert!(card.contains(&told), "{told}\n{card}");
    assert!(
        card.contains("labelled public on this basis: the decoder is taken to have seen public data only"),
        "{card}"
    );
    let decoder = work.sha256("dec/decoder.pth");
    let pretrain = |hash: &str| {
        let output = json!({"path": "dec/decoder.pth", "bytes": 1, "sha256": hash});
        json!({
            "dataset": "emnist-balanced", "dataset_size": 112_800, "decoder_hash": hash, "formal_guarantee": "public",
            "formal_guarantee_reason": null, "inputs": [], "outputs": [output],
        })
    };
    work.put("dec/pretrain_report.json", pretrain(&decoder).to_string());
    work.run("combine", "--teachers-dir teachers --output out").ok();
    let card = work.text("out/combined_synthetic_card.md");
    assert!(card.contains("emnist-balanced, 112800 images (public data, as its report says)"), "{card}");
    work.put("dec/pretrain_report.json", pretrain("of another decoder").to_string());
    work.run("combine", "--teachers-dir teachers --output out").ok();
    let card = work.text("out/combined_synthetic_card.md");
    assert!(!card.contains("emnist"), "{card}");
}
