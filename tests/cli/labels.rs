//! Privacy labels flow from inputs to outputs: no step makes one up, and none gets better on the
//! way.

use artifact::{DpGuarantee, FileRecord, Guarantee, Input, LedgerMark, Report};
use serde_json::{Map, Value};

use testing::Work;

fn dp() -> Guarantee {
    Guarantee::Dp(DpGuarantee {
        epsilon: 2.5,
        delta: 1e-5,
        unit: "all records of one shard".into(),
        adjacency: "replacing all records of one shard".into(),
        mechanism: "GNMax, sigma 40".into(),
        accountant: "RDP".into(),
        dataset: "5e1f".into(),
        ledger: Some(LedgerMark { id: "a1".into(), entries: 3, head: "b2".into() }),
    })
}

/// 40 samples in `folder` with a report that gives them `label`.
fn samples(work: &Work, folder: &str, label: Option<Guarantee>) {
    work.samples(folder, &(0..40).map(|i| i % 10).collect::<Vec<_>>());
    let Some(guarantee) = label else { return };
    let mut report = Report::new();
    for name in ["synthetic_samples.pt", "labels.csv"] {
        let path = format!("{folder}/{name}");
        let mut record = FileRecord::of(&work.path(&path)).unwrap();
        record.path = path.into();
        report.input(Input { record: record.clone(), guarantee: guarantee.clone() }).output(record);
    }
    report.write(&work.path(&format!("{folder}/selection_report.json")), &Map::new()).unwrap();
}

/// Trains a student on the samples of a folder with the labels of another.
fn train(work: &Work, samples: &str, labels: &str, student: &str) -> Value {
    let line = format!(
        "--samples {samples}/synthetic_samples.pt --labels {labels}/labels.csv --output-dir {student} --epochs 1"
    );
    work.run_quiet("train-student", &line).ok();
    work.json(&format!("{student}/training_report.json"))
}

fn evaluate(work: &Work, student: &str, more: &str) -> Value {
    let line = format!(
        "--model {student}/student_model_final.pth --mnist-dir mnist --output {student}/evaluation.json {more}"
    );
    work.run_quiet("evaluate-student", &line).ok();
    work.json(&format!("{student}/evaluation.json"))
}

#[track_caller]
fn has_none(report: &Value, words: &str) {
    assert!(report["formal_guarantee"].is_null(), "{report}");
    let reason = report["formal_guarantee_reason"].as_str().unwrap();
    assert!(reason.contains(words), "{reason}");
}

#[cfg(unix)]
fn is_private(work: &Work, name: &str) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(work.path(name)).unwrap().permissions().mode() & 0o777 == 0o600
}

#[test]
fn a_formal_guarantee_survives_training_and_evaluation_and_none_poisons_both() {
    let work = Work::new();
    work.mnist("mnist", 60, 20);
    samples(&work, "formal", Some(dp()));
    samples(&work, "poison", Some(Guarantee::none("a shard was read as it is")));
    samples(&work, "unknown", None);

    let trained = train(&work, "formal", "formal", "student");
    assert_eq!(trained["formal_guarantee"], dp().to_json());
    assert!(trained["formal_guarantee_reason"].is_null());
    let tested = evaluate(&work, "student", "");
    assert_eq!(tested["formal_guarantee"], dp().to_json());
    assert!(tested["formal_guarantee_scope"].as_str().unwrap().contains("test records"));

    // One input without a guarantee is enough, whichever it is.
    has_none(&train(&work, "poison", "formal", "a"), "a shard was read as it is");
    has_none(&train(&work, "formal", "poison", "b"), "a shard was read as it is");
    has_none(&train(&work, "formal", "unknown", "c"), "no report");
    has_none(&evaluate(&work, "a", ""), "a shard was read as it is");
    has_none(&evaluate(&work, "c", ""), "no report");
    let control = "--relabelled-control-model b/student_model_final.pth";
    has_none(&evaluate(&work, "student", control), "a shard was read as it is");

    #[cfg(unix)]
    {
        assert!(!is_private(&work, "student/student_model_final.pth"));
        assert!(is_private(&work, "a/student_model_final.pth"));
    }
}

#[test]
fn a_decoder_that_saw_private_data_makes_private_pools_whatever_is_declared() {
    let work = Work::new();
    work.decoder("vae/decoder.pth");
    let line = "--decoder-path vae/decoder.pth --pool-size 20 --out";
    work.run_quiet("generate-candidates", &format!("{line} a.pt")).ok();
    assert_eq!(work.json("a.json")["formal_guarantee"], "public", "nobody says otherwise");
    let mut record = FileRecord::of(&work.path("vae/decoder.pth")).unwrap();
    record.path = "vae/decoder.pth".into();
    let mut report = Report::new();
    report.reads_private("the VAE was trained on a private shard").output(record);
    report.write(&work.path("vae/training_report.json"), &Map::new()).unwrap();
    work.run_quiet("generate-candidates", &format!("{line} b.pt")).ok();
    has_none(&work.json("b.json"), "the VAE was trained on a private shard");
    #[cfg(unix)]
    assert!(is_private(&work, "b.pt") && !is_private(&work, "a.pt"));
}
