//! One VAE per teacher: `batch-train-teacher-vaes` and `compare-approaches`.

use serde_json::Value;

use testing::{Image, Work, image, number};

/// Three shards of MNIST, the last one larger.
fn shards() -> Work {
    let work = Work::new();
    work.mnist("mnist", 32, 10);
    work.run("prepare-shards", "--mnist-dir mnist --num-teachers 3 --out-dir shards").ok();
    work
}

const TRAINING: &str = "--epochs 3 --latent-dim 4 --batch-size 4";

fn teachers(work: &Work, report: &str) -> Vec<Value> {
    work.json(report)["teachers"].as_array().unwrap().clone()
}

fn statuses(work: &Work, report: &str) -> Vec<String> {
    teachers(work, report).iter().map(|t| t["status"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_teachers_vae_is_the_one_that_it_would_have_got_alone() {
    let work = shards();
    for threads in [1, 2, 3] {
        let line = format!(
            "--num-teachers 3 --shard-base shards {TRAINING} --out-dir t{threads} --threads {threads} --device cpu"
        );
        let run = work.run_bare("batch-train-teacher-vaes", &line).ok();
        assert_eq!(run.stdout.lines().count(), 4, "{}", run.stdout);
        run.says(&["teacher 3/3: teacher 2: loss"]);
    }
    let mut losses = Vec::new();
    for id in 0..3 {
        let shard = format!("--shard-path shards/teacher_{id}/shard.pt --out-dir alone");
        let line = format!("--teacher-id {id} --seed {} {TRAINING} {shard}", 42 + id);
        work.run("train-teacher-vae", &line).ok();
        let alone = work.sha256(&format!("alone/teacher_{id}/vae_full.pth"));
        for threads in [1, 2, 3] {
            assert_eq!(
                work.sha256(&format!("t{threads}/teacher_{id}/vae_full.pth")),
                alone,
                "{id}, {threads} threads"
            );
        }
        let report = work.json(&format!("t2/teacher_{id}/training_report.json"));
        assert_eq!(number(&report["seed"]), 42 + id);
        assert!(report["formal_guarantee"].is_null() && report["formal_guarantee_reason"].is_string());
        losses.push(report["final_loss"].as_f64().unwrap());
        for picture in ["reconstructions.png", "samples.png", "training_curves.png"] {
            assert!(work.bytes(&format!("t2/teacher_{id}/{picture}")).starts_with(b"\x89PNG"), "{picture}");
        }
    }
    assert!(work.json("t2/batch_report_0-2.json")["formal_guarantee"].is_null());
    // As one network, but for the last teacher, whose shard is larger.
    let line = format!("--num-teachers 3 --group-size 3 --shard-base shards {TRAINING} --out-dir grouped");
    work.run("batch-train-teacher-vaes", &line).ok();
    for (id, alone) in losses.iter().enumerate() {
        let report = work.json(&format!("grouped/teacher_{id}/training_report.json"));
        assert_eq!(number(&report["group_size"]), [2, 2, 1][id]);
        let grouped = report["final_loss"].as_f64().unwrap();
        assert!((grouped - alone).abs() < 1e-3 * alone, "teacher {id}: {grouped} and {alone}");
    }
    let hash = |folder: &str| work.sha256(&format!("{folder}/teacher_2/vae_full.pth"));
    assert_eq!(hash("grouped"), hash("alone"));
}

#[test]
fn what_is_done_is_skipped_and_what_is_broken_leaves_the_others_alone() {
    let work = shards();
    let line = format!("--num-teachers 3 --shard-base shards {TRAINING} --out-dir out");
    let report = "out/batch_report_0-2.json";
    let good = work.bytes("shards/teacher_1/shard.pt");
    work.put("shards/teacher_1/shard.pt", "no tensor");
    work.run("batch-train-teacher-vaes", &line).ends_with(1).says(&["teacher 1", "failed", "shard.pt"]);
    assert_eq!(statuses(&work, report), ["done", "failed", "done"]);
    assert!(!work.path("out/teacher_1/decoder.pth").exists());
    let before = work.files("out");
    // Mended: it alone is trained.
    work.put("shards/teacher_1/shard.pt", &good);
    work.run("batch-train-teacher-vaes", &line).ok();
    assert_eq!(statuses(&work, report), ["skipped", "done", "skipped"]);
    for id in [0, 2] {
        let name = format!("out/teacher_{id}/training_report.json");
        assert_eq!(Some(&work.sha256(&name)), before.get(&name), "{name} is untouched");
    }
    // A file that was changed, other settings, another seed, --force.
    work.put("out/teacher_2/decoder.pth", "damaged");
    work.run("batch-train-teacher-vaes", &line).ok();
    assert_eq!(statuses(&work, report), ["skipped", "skipped", "done"]);
    work.run("batch-train-teacher-vaes", &format!("{line} --seed 7")).ok();
    assert_eq!(statuses(&work, report), ["done", "done", "done"]);
    work.run("batch-train-teacher-vaes", &format!("{line} --seed 7 --force")).ok();
    assert_eq!(statuses(&work, report), ["done", "done", "done"]);
    // A range of them; a shard that is not there comes from the indices, which is said.
    std::fs::remove_file(work.path("shards/teacher_1/shard.pt")).unwrap();
    let line = format!(
        "--start-id 1 --num-teachers 2 --shard-base shards --shard-indices shards/shard_indices.json --mnist-data-dir mnist {TRAINING} \
         --seed 7 --out-dir out"
    );
    let run = work.run("batch-train-teacher-vaes", &line).ok();
    run.says(&["1 teachers have no teacher_<id>/shard.pt in shards"]);
    // The same images, wherever they come from.
    assert_eq!(statuses(&work, "out/batch_report_1-2.json"), ["skipped", "skipped"]);
    // A folder that is not there at all is a mistake.
    let line = line.replace("--shard-base shards", "--shard-base gone");
    work.run("batch-train-teacher-vaes", &line).ends_with(3).says(&[
        "gone",
        "no such folder",
        "--shard-base",
    ]);
}

/// Teachers with shards of ten images each, no two alike.
fn ten_teachers(work: &Work) {
    for id in 0..10 {
        work.teacher(&format!("nets/{id}/model.pth"));
        work.images(&format!("shards/teacher_{id}/shard.pt"), &shard(id));
    }
}

fn shard(id: usize) -> Vec<Image> {
    (0..10).map(|class| image(class, 0.8, 100 * id + class + 1)).collect()
}

#[test]
fn a_decoder_that_returns_shard_images_is_seen() {
    let work = Work::new();
    ten_teachers(&work);
    work.decoder("public.pth");
    for id in 0..10 {
        work.copying_decoder(&format!("leak/vaes/teacher_{id}/decoder.pth"), &shard(id)[id]);
    }
    let filter = "--generate-candidates-per-teacher --discard-candidates --teachers-dir nets --quota false --min-nn-distance 0 \
                  --disable-diversity --confidence 0.3 --min-per-class 0 --target-samples 12 --pool-size 60";
    for (decoder, out) in
        [("leak/vaes/teacher_{id}/decoder.pth", "leak/teachers"), ("public.pth", "public/teachers")]
    {
        work.run("batch-label-filter", &format!("{filter} --decoder-path {decoder} --output-dir {out}")).ok();
    }
    let line = "--approach public=public --approach leak=leak --teacher-shard-base shards --feature-model nets/0/model.pth \
                --output-dir out";
    let run = work.run("compare-approaches", line).ok();
    let report = work.json("out/comparison.json");
    assert!(report["formal_guarantee"].is_null() && report["formal_guarantee_reason"].is_string());
    let [public, leak] = [0, 1].map(|at| report["approaches"][at].clone());
    assert_eq!(public["memorisation_suspected"], false, "{public}");
    assert_eq!(leak["memorisation_suspected"], true, "{leak}");
    // Every copy is nearest to its own shard, and a near-copy of nothing else.
    let memory = &leak["memorisation"];
    assert_eq!((number(&memory["samples"]), number(&memory["nearest_is_own"])), (120, 120), "{memory}");
    assert_eq!((number(&memory["near_own"]), memory["near_other"].as_f64()), (120, Some(0.0)), "{memory}");
    assert!(
        memory["mean_own"].as_f64().unwrap() < 0.1 && memory["mean_other"].as_f64().unwrap() > 3.0,
        "{memory}"
    );
    assert_eq!((number(&public["num_teachers"]), number(&public["num_samples"])), (10, 120));
    assert!(leak["student"].is_null() && leak["teacher_confidence"].as_f64().unwrap() > 0.5);
    let table = work.text("out/comparison.md");
    assert!(run.stdout.starts_with("# Comparison") && table.contains("| public "), "{table}");
    let row = table.lines().find(|line| line.starts_with("| Memorisation")).unwrap();
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    assert_eq!(cells, ["", "Memorisation", "not seen", "**SUSPECTED**", "", ""]);
    assert!(table.contains("No formal privacy guarantee") && table.contains("10.0% by chance"), "{table}");
    assert!(work.bytes("out/comparison.png").starts_with(b"\x89PNG"));
}

#[test]
fn a_comparison_takes_the_teachers_that_all_have_and_the_reports_that_are_there() {
    let work = Work::new();
    ten_teachers(&work);
    for id in 0..4 {
        work.samples(&format!("a/teacher_{id}"), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
    for id in 2..7 {
        work.samples(&format!("b/teachers/teacher_{id}"), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
    work.mnist("mnist", 10, 20);
    work.run(
        "evaluate-student",
        "--model nets/0/model.pth --mnist-dir mnist --output b/student/evaluation_report.json",
    )
    .ok();
    let common = "--teacher-shard-base shards --feature-model nets/0/model.pth --output-dir out";
    let run = work.run("compare-approaches", &format!("--approach a=a --approach b=b {common}")).ok();
    run.says(&["\"a\": 2 teachers are left out", "\"b\": 3 teachers are left out"]);
    let report = work.json("out/comparison.json");
    assert_eq!(report["teacher_ids"], serde_json::json!([2, 3]));
    let student = &report["approaches"][1]["student"];
    let tested = work.json("b/student/evaluation_report.json");
    assert_eq!(student["overall_accuracy"], tested["overall_accuracy"]);
    assert!(report["approaches"][0]["student"].is_null());
    // Nothing in common, one approach, the same name twice.
    for id in 2..4 {
        std::fs::remove_dir_all(work.path(&format!("a/teacher_{id}"))).unwrap();
    }
    for (approaches, words) in [
        ("--approach a=a --approach b=b", "no teacher in common"),
        ("--approach a=a", "at least two --approach"),
        ("--approach a=a --approach a=b", "the same name"),
    ] {
        work.run("compare-approaches", &format!("{approaches} {common}")).ends_with(2).says(&[words]);
    }
}

#[test]
fn decoders_are_counted_and_their_trainings_timed_by_their_reports() {
    let work = shards();
    let decoder =
        "--dataset mnist --data-root mnist --epochs 1 --batch-size 16 --latent-dim 4 --out-dir decoder";
    work.run("pretrain-decoder", decoder).ok();
    work.run(
        "batch-train-teacher-vaes",
        &format!("--num-teachers 3 --shard-base shards {TRAINING} --out-dir vaes"),
    )
    .ok();
    for id in 0..3 {
        work.teacher(&format!("nets/{id}/model.pth"));
    }
    // Every candidate passes; steering is off, and the pools are not kept.
    work.put("c.json", r#"{"latent_steering": {"enabled": false}}"#);
    let filter = "--generate-candidates-per-teacher --discard-candidates --teachers-dir nets --quota false --min-nn-distance 0 \
                  --disable-diversity --confidence 0 --min-per-class 0 --pool-size 12 --config c.json";
    for (decoder, out) in [("decoder/decoder.pth", "public"), ("vaes/teacher_{id}/decoder.pth", "own")] {
        work.run("batch-label-filter", &format!("{filter} --decoder-path {decoder} --output-dir {out}")).ok();
    }
    let line = "--approach public=public --approach own=own --teacher-shard-base shards --feature-model nets/0/model.pth \
                --output-dir out";
    work.run("compare-approaches", line).ok();
    let report = work.json("out/comparison.json");
    let [public, own] = [0, 1].map(|at| report["approaches"][at].clone());
    assert_eq!((number(&public["num_models"]), number(&own["num_models"])), (1, 3));
    assert_eq!(own["training_data"], serde_json::json!([["a teacher's private shard", [10, 12]]]));
    assert_eq!(public["training_data"][0][1], serde_json::json!([32, 32]));
    for approach in [&public, &own] {
        assert!(approach["training_core_seconds"].as_f64().unwrap() > 0.0, "{approach}");
        assert!(
            approach["histogram_l1"].is_number() && approach["frechet_distance"].is_number(),
            "{approach}"
        );
    }
    let seconds: f64 = (0..3)
        .map(|id| work.json(&format!("vaes/teacher_{id}/training_report.json")))
        .map(|report| {
            report["training_seconds"].as_f64().unwrap() * number(&report["training_threads"]) as f64
        })
        .sum();
    assert!((own["training_core_seconds"].as_f64().unwrap() - seconds).abs() < 1e-9);
}
