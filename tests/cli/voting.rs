//! `vote-label`: what most teachers say, the figures of the report, and votes that are cut off.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use testing::{Work, confidence, image};

const VOTE: &str = "vote-label";

/// A teacher that takes every class for the next one.
fn shifted(work: &Work, name: &str) {
    let mut tensors: Vec<_> =
        tensorfile::read(&work.path("nets/0/model.pth")).unwrap().into_tensors().unwrap();
    let (_, weight) = tensors.iter_mut().find(|(name, _)| name == "fc2.weight").unwrap();
    let (shape, mut values) = (weight.shape().to_vec(), weight.to_f32());
    values.rotate_right(shape[1]);
    *weight = tensorfile::Array::from_f32(shape, values).unwrap();
    let views: Vec<_> = tensors.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
    let mut file = Vec::new();
    tensorfile::pt::write_dict(&mut file, &views).unwrap();
    work.put(name, file);
}

fn three_teachers() -> Work {
    let work = Work::new();
    let images: Vec<_> = (0..6).map(|i| image(i, 0.9, i)).collect();
    work.images("s.pt", &images);
    work.labels("l.csv", &[0, 1, 2, 9, 9, 5]);
    work.teacher("nets/0/model.pth");
    work.teacher("nets/3/model.pth");
    shifted(&work, "nets/12/model.pth");
    work
}

#[test]
fn two_of_three_teachers_decide() {
    let work = three_teachers();
    let run = work.run(VOTE, "--samples s.pt --labels l.csv --teachers-dir nets --output out").ok();
    run.says(&["6 samples, 3 teachers, mean agreement 0.667, 2 labels changed", "out/voted_labels.csv"]);
    assert_eq!(work.label_column("out/voted_labels.csv"), [0, 1, 2, 3, 4, 5]);
    let (shape, shares) = work.array("out/voted_soft_labels.pt");
    assert_eq!(shape, [6, 10]);
    assert!((shares[0] - 2.0 / 3.0).abs() < 1e-6 && (shares[1] - 1.0 / 3.0).abs() < 1e-6, "{shares:?}");
    let report = work.json("out/voted_report.json");
    assert_eq!(report["teacher_ids"], json!([0, 3, 12]));
    assert_eq!(report["changed_labels"], 2);
    assert_eq!(report["unanimous_samples"], 0);
    assert_eq!(report["formal_guarantee"], json!(null));
    assert!(report["formal_guarantee_reason"].to_string().contains("sensitivity"), "{report}");
    // Probabilities instead of votes.
    work.run(VOTE, "--samples s.pt --teachers-dir nets --output out --name mean --aggregate probabilities")
        .ok();
    let (_, shares) = work.array("out/mean_soft_labels.pt");
    let (sure, other) = (confidence(0.9), (1.0 - confidence(0.9)) / 9.0);
    assert!((shares[0] - (2.0 * sure + other) / 3.0).abs() < 1e-3, "{} {sure}", shares[0]);
    // Two are asked about each sample: 0 and 3, 3 and 12, 12 and 0, and so on; the lower class wins
    // a tie.
    work.run(VOTE, "--samples s.pt --teachers-dir nets --output out --panel 2").ok();
    assert_eq!(work.label_column("out/voted_labels.csv"), [0, 1, 2, 3, 4, 5]);
    let agreement: Vec<String> = work.rows("out/voted_labels.csv").iter().map(|row| row[2].clone()).collect();
    assert_eq!(agreement, ["1", "0.5", "0.5", "1", "0.5", "0.5"]);
    work.run_quiet(VOTE, "--samples s.pt --teachers-dir nets --output out --panel 4")
        .says_only("error: ", &["--panel is 4", "3 teachers"]);
    // The last one alone.
    work.run(VOTE, "--samples s.pt --teachers-dir nets --output out --start-id 4").ok();
    assert_eq!(work.label_column("out/voted_labels.csv"), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn teachers_of_other_classes_have_no_vote() {
    let work = three_teachers();
    let mut tensors: Vec<_> =
        tensorfile::read(&work.path("nets/3/model.pth")).unwrap().into_tensors().unwrap();
    for (name, array) in &mut tensors {
        let keep = match name.as_str() {
            "fc2.weight" => vec![4, array.shape()[1]],
            "fc2.bias" => vec![4],
            _ => continue,
        };
        let values = array.to_f32()[..keep.iter().product()].to_vec();
        *array = tensorfile::Array::from_f32(keep, values).unwrap();
    }
    let views: Vec<_> = tensors.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
    let mut file = Vec::new();
    tensorfile::pt::write_dict(&mut file, &views).unwrap();
    work.put("nets/3/model.pth", file);
    work.run_quiet(VOTE, "--samples s.pt --teachers-dir nets --output out")
        .ends_with(3)
        .says_only("error: ", &["nets/3/model.pth", "4 classes", "10"]);
    assert!(!work.path("out/voted_labels.csv").exists());
}

#[test]
fn a_vote_that_is_killed_goes_on() {
    let work = three_teachers();
    let images: Vec<_> = (0..300).map(|i| image(i % 10, 0.9, i)).collect();
    work.images("s.pt", &images);
    for id in 20..60 {
        work.put(&format!("nets/{id}/model.pth"), work.bytes("nets/0/model.pth"));
    }
    let line = "--samples s.pt --teachers-dir nets --output";
    work.run_quiet(VOTE, &format!("{line} whole")).ok();
    let mut child = work
        .command(VOTE, &format!("{line} out --device cpu --threads 1"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !work.path("out/voted_checkpoint.safetensors").is_file() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!work.path("out/voted_report.json").exists());
    work.run(VOTE, &format!("{line} out")).ok().says(&["have voted already", "voted_checkpoint.safetensors"]);
    for file in ["voted_labels.csv", "voted_soft_labels.pt"] {
        assert_eq!(work.sha256(&format!("out/{file}")), work.sha256(&format!("whole/{file}")), "{file}");
    }
    assert!(!work.path("out/voted_checkpoint.safetensors").exists());
}
