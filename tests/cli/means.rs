//! Means for better students, and the controls beside them: soft labels, pools for groups of
//! teachers, merging, latents from posteriors, other labels.

use serde_json::{Value, json};

use testing::{SIDE, Work, image, number};

/// A good teacher and decoder, two teachers' folders.
fn good() -> Work {
    let work = Work::new();
    work.teacher("teacher.pth");
    work.teacher("nets/0/model.pth");
    work.teacher("nets/1/model.pth");
    work.decoder("decoder.pth");
    let images: Vec<_> = (0..12).map(|i| image(i % 4, 0.9 - 0.02 * i as f32, i)).collect();
    work.images("pool.pt", &images);
    work
}

#[test]
fn soft_labels_go_from_a_teacher_to_a_student() {
    let work = good();
    let filter = "label-filter";
    let line = "--candidates pool.pt --teacher-model teacher.pth --disable-diversity --confidence 0.5";
    work.run(filter, &format!("{line} --save-soft-labels --out-dir teachers/teacher_0")).ok();
    let (shape, values) = work.array("teachers/teacher_0/soft_labels.pt");
    let labels = work.label_column("teachers/teacher_0/labels.csv");
    assert_eq!(shape, [labels.len(), 10]);
    assert!(!labels.is_empty());
    for (row, &label) in values.chunks(10).zip(&labels) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{row:?}");
        assert!(row.iter().all(|p| *p <= row[label as usize]), "{row:?} {label}");
    }
    work.run("combine", "--teachers-dir teachers --output set --with-soft-labels").ok();
    assert_eq!(work.array("set/combined_synthetic_soft_labels.pt").1, values);
    let train =
        "--samples set/combined_synthetic_samples.pt --labels set/combined_synthetic_labels.csv --epochs 1";
    let soft = "--soft-labels set/combined_synthetic_soft_labels.pt";
    work.run("train-student", &format!("{train} {soft} --output-dir soft")).ok();
    work.run("train-student", &format!("{train} --output-dir hard")).ok();
    assert_ne!(work.bytes("soft/student_model_final.pth"), work.bytes("hard/student_model_final.pth"));
    work.run("train-student", &format!("{train} --label-smoothing 0.1 --output-dir smooth")).ok();
    assert_eq!(work.json("smooth/training_report.json")["label_smoothing"], 0.1);
    assert_ne!(work.bytes("smooth/student_model_final.pth"), work.bytes("hard/student_model_final.pth"));

    // Without the flag the file of the earlier run goes: it would be of other samples.
    work.run(filter, &format!("{line} --out-dir teachers/teacher_0")).ok();
    assert!(!work.path("teachers/teacher_0/soft_labels.pt").exists());
    work.run("combine", "--teachers-dir teachers --output again --with-soft-labels").ends_with(3).says(&[
        "error: cannot combine the soft labels",
        "teacher_0",
        "soft_labels.pt",
    ]);
    work.tensor("short.pt", &[1, 10], &[0.1; 10]);
    work.run("train-student", &format!("{train} --soft-labels short.pt --output-dir short"))
        .ends_with(3)
        .says(&["error: ", "short.pt", "1 rows"]);
    work.tensor("no_shares.pt", &[labels.len(), 10], &vec![0.2; 10 * labels.len()]);
    work.run("train-student", &format!("{train} --soft-labels no_shares.pt --output-dir short"))
        .ends_with(3)
        .says(&["error: ", "no_shares.pt", "row 0", "1 in sum"]);
}

#[test]
fn teachers_of_one_pool_are_merged_by_vote() {
    let work = good();
    work.put(
        "c.json",
        r#"{"generation": {"pool_size": 40, "teachers_per_pool": 2}, "filtering": {"rare_classes": []}}"#,
    );
    let line = "--generate-candidates-per-teacher --discard-candidates --decoder-path decoder.pth --teachers-dir nets \
                --config c.json --quota false --confidence 0 --min-per-class 0 --disable-diversity --output-dir teachers";
    work.run("batch-label-filter", line).ok();
    let samples = |id: u8| work.bytes(&format!("teachers/teacher_{id}/synthetic_samples.pt"));
    assert_eq!(samples(0), samples(1), "the same pool, and teachers alike");
    let n = work.label_column("teachers/teacher_0/labels.csv").len();
    assert!(n > 0);
    work.run("combine", "--teachers-dir teachers --output set --merge-identical --min-votes 2").ok();
    let report = work.json("set/combined_synthetic_metadata.json");
    assert_eq!(number(&report["total_samples"]), n as u64);
    assert_eq!(report["merged"]["votes"], json!(2 * n));
    assert_eq!(report["merged"]["mean_agreement"], 1.0);
    work.run("combine", "--teachers-dir teachers --output set --merge-identical --min-votes 3")
        .ends_with(2)
        .says(&["error: cannot merge the samples", "3 votes", "--min-votes"]);
    work.run("combine", "--teachers-dir teachers --output set --min-votes 3").ends_with(2);
    // A decoder per teacher draws for that teacher alone.
    let own = line.replace("--decoder-path decoder.pth", "--decoder-path vaes/{id}/decoder.pth");
    let words = ["generation.teachers_per_pool is 2", "{id}"];
    work.run_quiet("batch-label-filter", &own).check(2, "error: ", &words).unwrap();
}

#[test]
fn a_student_of_other_labels_is_that_of_a_file_of_those_labels() {
    let work = good();
    let images: Vec<_> = (0..20).map(|i| image(i % 4, 0.9, i)).collect();
    work.images("s.pt", &images);
    work.labels("right.csv", &(0..20).map(|i| i % 4).collect::<Vec<_>>());
    work.labels("wrong.csv", &[9; 20]);
    let line = "--samples s.pt --epochs 1 --output-dir";
    work.run("train-student", &format!("{line} right --labels right.csv")).ok();
    work.run("train-student", &format!("{line} again --labels wrong.csv --relabel-with teacher.pth")).ok();
    assert_eq!(work.bytes("right/student_model_final.pth"), work.bytes("again/student_model_final.pth"));
    let report = work.json("again/training_report.json");
    assert_eq!(report["relabelled_with"], "teacher.pth");
    assert!(report["formal_guarantee"].is_null());
    let inputs: Vec<&Value> = report["inputs"].as_array().unwrap().iter().map(|i| &i["path"]).collect();
    assert!(inputs.contains(&&json!("teacher.pth")), "{inputs:?}");
    let soft = "soft --labels wrong.csv --relabel-with teacher.pth --relabel-soft";
    work.run("train-student", &format!("{line} {soft}")).ok();
    assert_eq!(work.json("soft/training_report.json")["relabelled_soft"], true);
    assert_ne!(work.bytes("soft/student_model_final.pth"), work.bytes("again/student_model_final.pth"));
    work.run("train-student", &format!("{line} soft --labels wrong.csv --relabel-soft")).ends_with(2);
}

#[test]
fn controls_stand_beside_an_accuracy() {
    let work = good();
    work.mnist("mnist", 20, 20);
    let line = "--model teacher.pth --mnist-dir mnist";
    let alone = work.run("evaluate-student", line).ok();
    assert!(alone.stdout.contains("control   none given"), "{}", alone.stdout);
    let controls = "--public-control-model nets/0/model.pth --relabelled-control-model nets/1/model.pth";
    let run = work.run("evaluate-student", &format!("{line} {controls} --output report.json")).ok();
    assert!(run.stdout.contains("as many right as the strongest control"), "{}", run.stdout);
    let report = work.json("report.json");
    let names: Vec<&Value> = report["controls"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["public data and labels", "same samples, public labels"]);
    assert_eq!(report["controls"][0]["overall_accuracy"], report["overall_accuracy"]);
    work.run("evaluate-student", &format!("{line} --public-control-model decoder.pth"))
        .ends_with(3)
        .says(&["error: cannot use the control", "decoder.pth"]);
}

#[test]
fn latents_come_from_posteriors_where_they_are_named() {
    let work = good();
    work.run("pretrain-decoder", "--dataset digits --epochs 1 --latent-dim 4 --kl-weight 0.5 --out-dir dec")
        .ok();
    let (mean, log_variance) = {
        let tensors = tensorfile::read(&work.path("dec/latents.pt")).unwrap().into_tensors().unwrap();
        let shape = |name: &str| tensors.iter().find(|(n, _)| n == name).unwrap().1.shape().to_vec();
        (shape("mean"), shape("log_variance"))
    };
    assert_eq!(mean, [20 * 1797, 4]);
    assert_eq!(mean, log_variance);
    let report = work.json("dec/pretrain_report.json");
    assert_eq!(report["kl_weight"], 0.5);
    let line = "--decoder-path dec/decoder.pth --pool-size 64";
    work.run("generate-candidates", &format!("{line} --latents dec/latents.pt --out a.pt")).ok();
    work.run("generate-candidates", &format!("{line} --out b.pt")).ok();
    let (shape, values) = work.array("a.pt");
    assert_eq!(shape, [64, 1, SIDE, SIDE]);
    assert!(values != work.array("b.pt").1);
    assert_eq!(work.json("a.json")["latents_path"], "dec/latents.pt");
    work.run("generate-candidates", &format!("{line} --augmentation warp --out c.pt")).ok();
    assert!(work.array("c.pt").1 != work.array("b.pt").1);
    work.run("generate-candidates", &format!("{line} --latents dec/latents.pt --rng torch --out d.pt"))
        .ends_with(2)
        .says(&["error: ", "--rng torch", "--latents"]);
    work.run("generate-candidates", &format!("{line} --latents pool.pt --out d.pt"))
        .ends_with(3)
        .says(&["error: cannot use the latents", "pool.pt"]);
    work.run("generate-candidates", "--decoder-path decoder.pth --latents dec/latents.pt --out d.pt")
        .ends_with(2)
        .says(&["error: ", "4 latents"]);
    assert!(!work.path("d.pt").exists());
}

#[test]
fn teachers_need_not_be_tested() {
    let work = Work::new();
    work.mnist("mnist", 40, 10);
    let line = "--data-dir mnist --num-models 2 --epochs 1 --augmentation warp --lr-schedule cosine --output-dir nets";
    let run = work.run("train-teachers", &format!("{line} --skip-test")).ok();
    run.says(&["2 teachers, not tested"]);
    let report = work.json("nets/training_report.json");
    assert!(report["mean_test_accuracy"].is_null() && report["teachers"][0]["test_accuracy"].is_null());
    // A teacher that this run may write again is no control.
    work.put("control.pth", work.bytes("nets/0/model.pth"));
    let controlled = format!("{line} --public-control-model control.pth");
    let run = work.run("train-teachers", &controlled).ok();
    run.says(&["(kept)", "public data and labels", "the strongest control"]);
    assert!(work.json("nets/training_report.json")["controls"][0]["overall_accuracy"].is_number());
    let both = format!("{line} --augment true");
    work.run("train-teachers", &both).ends_with(2).says(&["--augment", "--augmentation"]);
}

#[test]
fn public_images_of_ones_own_may_be_idx_files() {
    let work = Work::new();
    work.mnist("own", 20, 5);
    work.run("pretrain-decoder", "--dataset idx --data-root own --epochs 1 --latent-dim 2 --out-dir dec")
        .ok();
    let report = work.json("dec/pretrain_report.json");
    assert_eq!((&report["dataset"], &report["formal_guarantee"]), (&json!("idx"), &json!("public")));
    assert_eq!(number(&report["dataset_size"]), 20);
    work.run("pretrain-decoder", "--dataset idx --data-root none --out-dir dec2").ends_with(3).says(&[
        "none",
        "no such folder",
        "--data-root",
    ]);
}
