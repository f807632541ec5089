//! `prepare-shards`, `train-teachers`, `train-teacher-vae`, `pretrain-decoder` and `train-student`
//! on a few images.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use testing::{Work, image, number};

/// The rows of each teacher in a file of shard indices.
fn indices(work: &Work, name: &str) -> Vec<Vec<u64>> {
    let json = work.json(name);
    let rows = |value: &Value| value.as_array().unwrap().iter().map(number).collect();
    json.as_object().unwrap().values().map(rows).collect()
}

#[test]
fn shards_are_disjoint_complete_and_never_looked_into() {
    let work = Work::new();
    work.mnist("mnist", 32, 10);
    for assignment in ["", "--assignment index", "--assignment keyed-hash"] {
        let line = format!("--mnist-dir mnist --num-teachers 3 --out-dir shards {assignment}");
        work.run("prepare-shards", &line).ok();
        let shards = indices(&work, "shards/shard_indices.json");
        let all: BTreeSet<u64> = shards.iter().flatten().copied().collect();
        assert_eq!(all, (0..32).collect(), "{assignment}");
        assert_eq!(shards.iter().map(Vec::len).sum::<usize>(), 32, "{assignment}");
        if !assignment.contains("keyed-hash") {
            assert_eq!(
                shards.iter().map(Vec::len).collect::<Vec<_>>(),
                [10, 10, 12],
                "the last takes the rest"
            );
        }
        for (id, rows) in shards.iter().enumerate() {
            assert!(rows.is_sorted());
            let metadata = work.json(&format!("shards/teacher_{id}/metadata.json"));
            assert_eq!(number(&metadata["teacher_id"]), id as u64);
            assert_eq!(number(&metadata["shard_size"]), rows.len() as u64);
            let name = if assignment.contains("keyed-hash") { "keyed-hash" } else { "index" };
            assert_eq!(metadata["assignment"], name);
            for (class, count) in metadata["class_distribution"].as_object().unwrap() {
                let class: u64 = class.parse().unwrap();
                assert_eq!(number(count), rows.iter().filter(|&row| row % 10 == class).count() as u64);
            }
            assert_eq!(work.array(&format!("shards/teacher_{id}/shard.pt")).0, [rows.len(), 1, 28, 28]);
            let labels = work.array(&format!("shards/teacher_{id}/shard_labels.pt")).1;
            assert!(labels.iter().zip(rows).all(|(&label, &row)| label as u64 == row % 10));
        }
        assert!(work.json("shards/shards_report.json")["formal_guarantee"].is_null());
    }
    let line = "--mnist-dir mnist --num-teachers 3 --shard-size 4 --out-dir small --seed 1";
    work.run("prepare-shards", line).ok();
    assert!(indices(&work, "small/shard_indices.json").iter().all(|rows| rows.len() == 4));
    // Indices that are given are followed, and not written again.
    work.run(
        "prepare-shards",
        "--mnist-dir mnist --shard-indices small/shard_indices.json --num-teachers 2 --out-dir given",
    )
    .ok();
    assert!(!work.path("given/shard_indices.json").exists() && !work.path("given/teacher_2").exists());
    assert_eq!(work.sha256("given/teacher_1/shard.pt"), work.sha256("small/teacher_1/shard.pt"));
    assert_eq!(work.json("given/teacher_1/metadata.json")["assignment"], "as given");
}

#[test]
fn finished_teachers_are_kept() {
    let work = Work::new();
    work.mnist("mnist", 30, 10);
    let line = "--data-dir mnist --num-models 2 --epochs 1 --lr 0.05 --output-dir nets";
    let first = work.run("train-teachers", line).ok();
    assert!(!first.stderr.contains("(kept)"), "{}", first.stderr);
    assert_eq!(first.stdout, "");
    let before = work.files("nets");
    assert!(before.contains_key("nets/0/model.pth") && before.contains_key("nets/1/model.pth"), "{before:?}");
    assert!(work.path("shard_indices.json").is_file());
    let report = work.json("nets/training_report.json");
    assert_eq!(number(&report["num_models"]), 2);
    let teachers = report["teachers"].as_array().unwrap();
    assert_eq!(teachers.iter().map(|t| number(&t["shard_size"])).collect::<Vec<_>>(), [15, 15]);
    assert_eq!(teachers.iter().map(|t| number(&t["seed"])).collect::<Vec<_>>(), [42, 43], "seed + id");
    assert!(teachers.iter().all(|t| t["test_accuracy"].as_f64().is_some_and(|a| (0.0..=100.0).contains(&a))));

    let again = work.run("train-teachers", line).ok();
    assert_eq!(again.stderr.matches("(kept)").count(), 2, "{}", again.stderr);
    for name in ["nets/0/model.pth", "nets/1/model.pth"] {
        assert_eq!(work.sha256(name), before[name]);
    }
    // A damaged one is trained again, to the same bytes.
    work.put("nets/1/model.pth", "cut off");
    let mended = work.run("train-teachers", line).ok();
    assert_eq!(mended.stderr.matches("(kept)").count(), 1, "{}", mended.stderr);
    assert_eq!(work.sha256("nets/1/model.pth"), before["nets/1/model.pth"]);
    // One more setting, and all are.
    let other = work.run("train-teachers", &line.replace("0.05", "0.04")).ok();
    assert_eq!(other.stderr.matches("(kept)").count(), 0, "{}", other.stderr);
    assert_ne!(work.sha256("nets/1/model.pth"), before["nets/1/model.pth"]);
    // Any of them can be made again alone.
    work.put("two.json", work.bytes("shard_indices.json"));
    let alone = line
        .replace("--num-models 2", "--num-models 1 --start-id 1 --shard-indices two.json")
        .replace("nets", "alone");
    work.run("train-teachers", &alone).ok();
    assert_eq!(work.sha256("alone/1/model.pth"), before["nets/1/model.pth"]);
    assert!(!work.path("alone/0").exists());
    // A range alone does not say where the shards are cut; two of them would overlap.
    let range = line.replace("--num-models 2", "--num-models 1 --start-id 1").replace("nets", "range");
    let words = ["--start-id is 1", "--shard-indices"];
    work.run_quiet("train-teachers", &range).check(2, "error: ", &words).unwrap();
    assert!(!work.path("range").exists());
}

#[test]
fn a_teachers_vae_is_trained_on_its_shard_and_its_decoder_draws() {
    let work = Work::new();
    work.mnist("mnist", 30, 10);
    work.run("prepare-shards", "--mnist-dir mnist --num-teachers 3 --out-dir shards").ok();
    let line = "--teacher-id 2 --epochs 2 --latent-dim 4";
    let run = work
        .run("train-teacher-vae", &format!("{line} --shard-path shards/teacher_2/shard.pt --out-dir a"))
        .ok();
    run.says(&["the shard has 10 images: batches of 32 become 10"]);
    let report = work.json("a/teacher_2/training_report.json");
    for (field, value) in [
        ("teacher_id", json!(2)),
        ("latent_dim", json!(4)),
        ("epochs", json!(2)),
        ("batch_size", json!(10)),
        ("seed", json!(42)),
        ("shard_size", json!(10)),
        ("shard_source", json!("shards/teacher_2/shard.pt")),
        ("use_augmentation", json!(true)),
        ("decoder_path", json!("a/teacher_2/decoder.pth")),
        ("full_vae_path", json!("a/teacher_2/vae_full.pth")),
        ("decoder_hash", json!(work.sha256("a/teacher_2/decoder.pth"))),
        ("config_used", json!("built-in")),
    ] {
        assert_eq!(report[field], value, "{field}");
    }
    assert_eq!(report["training_history"].as_array().map(Vec::len), Some(2));
    // The seed is used as given, for every teacher; the shard by its indices is the same shard.
    let by_indices = format!(
        "{line} --shard-indices shards/shard_indices.json --mnist-data-dir mnist --out-dir b --batch-size 10"
    );
    let run = work.run("train-teacher-vae", &by_indices).ok();
    assert!(!run.stderr.contains("become"), "{}", run.stderr);
    assert_eq!(work.sha256("b/teacher_2/vae_full.pth"), work.sha256("a/teacher_2/vae_full.pth"));
    let inputs = work.json("b/teacher_2/training_report.json")["inputs"].clone();
    assert_eq!(inputs.as_array().map(Vec::len), Some(3), "{inputs}");
    // Either file has the decoder in it.
    for (file, out) in [("decoder.pth", "x.pt"), ("vae_full.pth", "y.pt")] {
        let line = format!("--decoder-path a/teacher_2/{file} --teacher-id 2 --pool-size 8 --out {out}");
        work.run("generate-candidates", &line).ok();
    }
    assert_eq!(work.sha256("x.pt"), work.sha256("y.pt"));
    let plain = format!("{line} --shard-path shards/teacher_2/shard.pt --out-dir c --no-augmentation");
    work.run("train-teacher-vae", &plain).ok();
    assert_eq!(work.json("c/teacher_2/training_report.json")["use_augmentation"], false);
    assert_ne!(work.sha256("c/teacher_2/decoder.pth"), work.sha256("a/teacher_2/decoder.pth"));
}

/// 40 samples of two classes, with labels as Windows programs write them.
fn samples(work: &Work) {
    let pool: Vec<_> = (0..40).map(|i| image(i % 2 * 5, 0.9, i)).collect();
    work.images("s.pt", &pool);
    let rows: Vec<String> = (0..40).map(|i| format!("{i},{}\r\n", i % 2 * 5)).collect();
    work.put("l.csv", format!("\u{feff}index,label\r\n{}", rows.concat()));
}

const STUDENT: &str = "--samples s.pt --labels l.csv --batch-size 8 --lr 0.05";

#[test]
fn the_best_student_is_the_earliest_of_the_best_epochs() {
    let work = Work::new();
    samples(&work);
    work.run("train-student", &format!("{STUDENT} --output-dir out --epochs 5")).ok();
    let names: Vec<String> = work.files("out").into_keys().collect();
    assert_eq!(
        names,
        ["student_model_best.pth", "student_model_final.pth", "training_curves.png", "training_report.json"]
            .map(|name| format!("out/{name}"))
    );
    let report = work.json("out/training_report.json");
    assert_eq!((number(&report["train_samples"]), number(&report["validation_samples"])), (32, 8));
    let accuracies: Vec<f64> = report["training_history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|epoch| epoch["validation_accuracy"].as_f64().unwrap())
        .collect();
    assert_eq!(accuracies.len(), 5);
    let best = accuracies.iter().copied().fold(0.0, f64::max);
    let earliest = accuracies.iter().position(|&a| a >= best).unwrap() + 1;
    assert_eq!(number(&report["best_epoch"]), earliest as u64, "{accuracies:?}");
    assert_eq!(report["best_validation_accuracy"], best);
    // Two classes in different places are easy: the student has learnt something.
    assert!(best > 90.0, "{accuracies:?}");
    // Training that ends with the best epoch ends with the best student.
    work.run("train-student", &format!("{STUDENT} --output-dir short --epochs {earliest}")).ok();
    assert_eq!(work.sha256("short/student_model_final.pth"), work.sha256("out/student_model_best.pth"));
    assert!(report["formal_guarantee"].is_null());
}

#[test]
fn settings_of_a_student() {
    let work = Work::new();
    samples(&work);
    work.put(
        "c.json",
        r#"{"student": {"epochs": 1, "batch_size": 20, "learning_rate": 0.02, "train_split": 0.5, "augmentation": "basic"}}"#,
    );
    let line = "--samples s.pt --labels l.csv --config c.json";
    work.run("train-student", &format!("{line} --output-dir a")).ok();
    let report = work.json("a/training_report.json");
    assert_eq!(report["learning_rate"], 0.02);
    assert_eq!(report["augment"], true);
    assert_eq!(number(&report["train_samples"]), 20);
    work.run(
        "train-student",
        &format!("{line} --output-dir b --augment false --train-split 0.9 --no-normalize"),
    )
    .ok();
    let report = work.json("b/training_report.json");
    assert_eq!(report["augment"], false);
    assert_eq!(report["normalize"], false);
    assert_eq!(number(&report["train_samples"]), 36);
    let inputs: Vec<&Value> = report["inputs"].as_array().unwrap().iter().map(|i| &i["path"]).collect();
    assert_eq!(inputs, ["s.pt", "l.csv", "c.json"]);
}

#[test]
fn a_public_control_reads_nothing_private() {
    let work = Work::new();
    work.mnist("data", 40, 10);
    let line = "--public-control --epochs 1 --batch-size 16 --data-root data --output-dir";
    std::fs::rename(work.path("data/MNIST"), work.path("data/KMNIST")).unwrap();
    work.run("train-student", &format!("{line} public --use-kmnist")).ok();
    let report = work.json("public/training_report.json");
    assert_eq!(report["formal_guarantee"], "public");
    assert!(report["formal_guarantee_reason"].is_null());
    assert_eq!(report["data"], "kmnist");
    // MNIST stands for private data here, whatever the flag is called.
    std::fs::rename(work.path("data/KMNIST"), work.path("data/MNIST")).unwrap();
    work.run("train-student", &format!("{line} mnist --dataset mnist")).ok();
    assert!(work.json("mnist/training_report.json")["formal_guarantee"].is_null());
    work.run("pretrain-decoder", "--dataset mnist --data-root data --epochs 1 --out-dir decoder").ok();
    assert!(work.json("decoder/pretrain_report.json")["formal_guarantee"].is_null());
}

#[test]
fn pretraining_reports_what_it_did() {
    let work = Work::new();
    work.mnist("data", 20, 10);
    work.put(
        "c.json",
        r#"{"decoder": {"pretrain_epochs": 3, "latent_dim": 6, "batch_size": 10, "kl_annealing_epochs": 2}}"#,
    );
    let line = "--dataset mnist --data-root data --config c.json --out-dir out --lr 0.002";
    let run = work.run("pretrain-decoder", line).ok();
    assert_eq!(run.stderr.matches("epoch ").count(), 3, "one line per epoch: {}", run.stderr);
    let report = work.json("out/pretrain_report.json");
    for (field, value) in [
        ("latent_dim", json!(6)),
        ("epochs", json!(3)),
        ("batch_size", json!(10)),
        ("learning_rate", json!(0.002)),
        ("weight_decay", json!(1e-5)),
        ("kl_annealing_epochs", json!(2)),
        ("dataset", json!("mnist")),
        ("dataset_size", json!(20)),
        ("decoder_hash", json!(work.sha256("out/decoder.pth"))),
    ] {
        assert_eq!(report[field], value, "{field}");
    }
    let history = report["training_history"].as_array().unwrap();
    assert_eq!(history.iter().map(|e| e["kl_weight"].as_f64().unwrap()).collect::<Vec<_>>(), [0.0, 0.5, 1.0]);
    for epoch in history {
        let of = |name: &str| epoch[name].as_f64().unwrap();
        let sum = of("recon_loss") + of("kl_weight") * of("kl_loss");
        assert!((of("loss") - sum).abs() < 1e-6 * sum, "{epoch}");
    }
    assert_eq!(report["final_loss"], history[2]["loss"]);
    // The decoder that was written is one that generate-candidates reads, with six latents.
    work.run("generate-candidates", "--decoder-path out/decoder.pth --latent-dim 6 --pool-size 3 --out p.pt")
        .ok();
}

/// Starts a training, and kills it as soon as it has kept the state of an epoch.
fn killed_after_an_epoch(work: &Work, binary: &str, line: &str, out: &str) {
    let mut child = work
        .command(binary, &format!("{line} --device cpu --threads 1"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !work.path(&format!("{out}/checkpoint.safetensors")).is_file() {
        assert!(child.try_wait().unwrap().is_none(), "{binary} ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_training_that_is_killed_goes_on_as_if_it_had_never_stopped() {
    let work = Work::new();
    samples(&work);
    work.mnist("mnist", 40, 10);
    let student = "--samples s.pt --labels l.csv --epochs 40 --batch-size 8 --momentum 0.5 --augment --seed 5 --output-dir";
    let decoder =
        "--dataset mnist --data-root mnist --epochs 30 --batch-size 8 --latent-dim 4 --seed 5 --out-dir";
    for (binary, line, report, files) in [
        (
            "train-student",
            student,
            "training_report.json",
            &["student_model_best.pth", "student_model_final.pth"][..],
        ),
        ("pretrain-decoder", decoder, "pretrain_report.json", &["decoder.pth", "latents.pt"]),
    ] {
        work.run_quiet(binary, &format!("{line} whole")).ok();
        let cut = format!("{line} cut");
        work.run_quiet(binary, &format!("{cut} --resume"))
            .ends_with(2)
            .says_only("error: ", &["cut/checkpoint.safetensors is not there", "--resume"]);
        killed_after_an_epoch(&work, binary, &cut, "cut");
        assert!(!work.path(&format!("cut/{report}")).exists());
        work.run_quiet(binary, &format!("{} --resume", cut.replace("--seed 5", "--seed 6")))
            .ends_with(2)
            .says_only("error: ", &["cut/checkpoint.safetensors", "other inputs, settings"]);
        let run = work.run(binary, &format!("{cut} --resume")).ok();
        run.says(&["goes on after epoch", "checkpoint"]);
        // It went on indeed: an epoch that there is, and not another beginning with the same end.
        let epoch = run.stderr.split("goes on after epoch ").nth(1).and_then(|rest| rest.split(':').next());
        let epoch: usize = epoch.and_then(|epoch| epoch.parse().ok()).unwrap();
        assert!((1..40).contains(&epoch) && !run.stderr.contains("starts anew"), "{}", run.stderr);
        for file in files {
            let (whole, cut) = (format!("whole/{file}"), format!("cut/{file}"));
            assert_eq!(work.sha256(&whole), work.sha256(&cut), "{binary}: {file}");
        }
        let history = |folder: &str| work.json(&format!("{folder}/{report}"))["training_history"].clone();
        assert_eq!(history("whole"), history("cut"), "{binary}");
        assert!(!work.path("cut/checkpoint.safetensors").exists());
        std::fs::remove_dir_all(work.path("whole")).unwrap();
        std::fs::remove_dir_all(work.path("cut")).unwrap();
    }
}

#[test]
fn weights_do_not_depend_on_the_number_of_threads() {
    let work = Work::new();
    samples(&work);
    work.mnist("mnist", 40, 10);
    for (binary, line, file) in [
        (
            "train-student",
            "--samples s.pt --labels l.csv --epochs 3 --batch-size 20 --augment --output-dir",
            "student_model_final.pth",
        ),
        (
            "pretrain-decoder",
            "--dataset mnist --data-root mnist --epochs 3 --batch-size 40 --latent-dim 4 --out-dir",
            "decoder.pth",
        ),
    ] {
        for threads in [1, 2, 3] {
            let line = format!("{line} t{threads} --device cpu --quiet --threads {threads}");
            work.run_bare(binary, &line).ok();
        }
        let hash = |threads| work.sha256(&format!("t{threads}/{file}"));
        assert_eq!(hash(1), hash(2), "{binary}");
        assert_eq!(hash(1), hash(3), "{binary}");
    }
}
