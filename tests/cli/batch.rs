//! `batch-label-filter`: many teachers in one run, which goes on where it was.

use serde_json::{Value, json};

use testing::{Image, Run, Work, image, number};

const LINE: &str = "--candidates pool.pt --teachers-dir nets --teacher-shard-base shards --shard-metadata-base shards \
                    --output-dir out --min-per-class 0 --max-per-class 4";

/// Teachers 0, 2 and 10, each with a shard and its metadata, and one pool.
fn three_teachers() -> Work {
    let work = Work::new();
    let pool: Vec<Image> = (0..30).map(|i| image(i % 3, 0.9, i)).collect();
    work.images("pool.pt", &pool);
    for (id, class) in [(0, 0), (2, 1), (10, 2)] {
        work.teacher(&format!("nets/{id}/model.pth"));
        work.images(&format!("shards/teacher_{id}/shard.pt"), &[image(class, 0.9, class)]);
        let counts =
            json!({"teacher_id": id, "shard_size": 4, "class_distribution": {"0": 1, "1": 1, "2": 2}});
        work.put(&format!("shards/teacher_{id}/metadata.json"), counts.to_string());
    }
    work
}

fn batch(work: &Work, more: &str) -> Run {
    work.run("batch-label-filter", &format!("{LINE} {more}"))
}

/// The status of every teacher, in the report's order.
fn statuses(work: &Work) -> Vec<(u64, String)> {
    let report = work.json("out/batch_report.json");
    let of = |t: &Value| (number(&t["teacher_id"]), t["status"].as_str().unwrap().to_owned());
    report["teachers"].as_array().unwrap().iter().map(of).collect()
}

#[track_caller]
fn all_are(work: &Work, status: [&str; 3]) {
    assert_eq!(statuses(work), [(0, status[0].into()), (2, status[1].into()), (10, status[2].into())]);
}

/// What every teacher's folder holds.
fn outputs(work: &Work) -> Vec<(String, String)> {
    work.files("out").into_iter().filter(|(name, _)| name.contains("/teacher_")).collect()
}

#[test]
fn every_teacher_is_as_label_filter_would_have_done_it() {
    let work = three_teachers();
    let run = batch(&work, "").ok();
    all_are(&work, ["done", "done", "done"]);
    let table: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(table.len(), 4, "{}", run.stdout);
    assert!(
        table[0].contains("teacher  status") && table[3].trim_start().starts_with("10  done"),
        "{}",
        run.stdout
    );
    for id in [0, 2, 10] {
        work.run(
            "label-filter",
            &format!(
                "--candidates pool.pt --teacher-model nets/{id}/model.pth --teacher-shard-path shards/teacher_{id}/shard.pt \
                 --shard-metadata shards/teacher_{id}/metadata.json --out-dir alone --min-per-class 0 --max-per-class 4"
            ),
        )
        .ok();
        for file in ["synthetic_samples.pt", "labels.csv"] {
            let (one, other) =
                (work.sha256(&format!("out/teacher_{id}/{file}")), work.sha256(&format!("alone/{file}")));
            assert_eq!(one, other, "teacher {id}: {file}");
        }
        let (mut one, mut other) = (
            work.json(&format!("out/teacher_{id}/selection_report.json")),
            work.json("alone/selection_report.json"),
        );
        // One is resumed by a fingerprint, the other is drawn; paths, commands and times differ.
        for report in [&mut one, &mut other] {
            for field in ["fingerprint", "outputs", "command", "wall_seconds", "samples_path", "labels_path"]
            {
                report.as_object_mut().unwrap().remove(field);
            }
        }
        assert_eq!(one, other);
    }
    let report = work.json("out/batch_report.json");
    assert_eq!(number(&report["done"]), 3);
    let total: u64 = report["teachers"].as_array().unwrap().iter().map(|t| number(&t["num_selected"])).sum();
    assert_eq!(number(&report["total_samples"]), total);
}

#[test]
fn a_second_run_skips_what_is_done_and_touches_nothing() {
    let work = three_teachers();
    batch(&work, "").ok();
    let before = outputs(&work);
    let written = std::fs::metadata(work.path("out/teacher_2/labels.csv")).unwrap().modified().unwrap();
    let run = batch(&work, "").ok();
    all_are(&work, ["skipped", "skipped", "skipped"]);
    assert!(run.stdout.contains("skipped"), "{}", run.stdout);
    assert_eq!(outputs(&work), before, "not even a report");
    let now = std::fs::metadata(work.path("out/teacher_2/labels.csv")).unwrap().modified().unwrap();
    assert_eq!(now, written);
    // The counts of skipped teachers are in the batch's report all the same.
    assert_eq!(number(&work.json("out/batch_report.json")["teachers"][0]["num_generated"]), 30);
    batch(&work, "--force").ok();
    all_are(&work, ["done", "done", "done"]);
    assert_ne!(outputs(&work), before, "reports tell the time of the run");
}

#[test]
fn whatever_changes_is_done_again_and_nothing_else() {
    let work = three_teachers();
    batch(&work, "").ok();
    let samples = |id: u64| format!("out/teacher_{id}/synthetic_samples.pt");
    let first = work.sha256(&samples(2));

    // An output is gone.
    std::fs::remove_file(work.path(&samples(2))).unwrap();
    batch(&work, "").ok();
    all_are(&work, ["skipped", "done", "skipped"]);
    assert_eq!(work.sha256(&samples(2)), first);

    // An output is damaged.
    work.put("out/teacher_10/labels.csv", "index,label,confidence\r\n");
    batch(&work, "").ok();
    all_are(&work, ["skipped", "skipped", "done"]);

    // A report that was cut off.
    let report = work.text("out/teacher_0/selection_report.json");
    work.put("out/teacher_0/selection_report.json", &report[..report.len() / 2]);
    batch(&work, "").ok();
    all_are(&work, ["done", "skipped", "skipped"]);

    // Another flag, for all.
    batch(&work, "--confidence 0.95").ok();
    all_are(&work, ["done", "done", "done"]);
    batch(&work, "--confidence 0.95").ok();
    all_are(&work, ["skipped", "skipped", "skipped"]);

    // Another shard, for one teacher.
    work.images("shards/teacher_2/shard.pt", &[image(7, 0.9, 0)]);
    batch(&work, "--confidence 0.95").ok();
    all_are(&work, ["skipped", "done", "skipped"]);

    // Other candidates, for all.
    work.images("pool.pt", &(0..31).map(|i| image(i % 3, 0.9, i)).collect::<Vec<_>>());
    batch(&work, "--confidence 0.95").ok();
    all_are(&work, ["done", "done", "done"]);

    // Another configuration, where it matters.
    work.put("c.json", r#"{"filtering": {"rare_classes": [2]}}"#);
    batch(&work, "--confidence 0.95 --config c.json").ok();
    all_are(&work, ["done", "done", "done"]);
    work.put("c.json", r#"{"filtering": {"rare_classes": [2]}, "student": {"epochs": 3}}"#);
    batch(&work, "--confidence 0.95 --config c.json").ok();
    all_are(&work, ["skipped", "skipped", "skipped"]);

    // What was not drawn is drawn.
    batch(&work, "--confidence 0.95 --config c.json --pictures").ok();
    all_are(&work, ["done", "done", "done"]);
    assert!(work.path("out/teacher_10/selected_samples.png").is_file());
}

#[test]
fn a_teacher_that_fails_does_not_stop_the_others() {
    let work = three_teachers();
    work.put("nets/2/model.pth", "no network");
    let run = batch(&work, "").ends_with(1);
    run.says(&["error: teacher 2", "nets/2/model.pth", "result: 1 of 3 teachers failed or came out empty"]);
    all_are(&work, ["done", "failed", "done"]);
    assert!(run.stdout.contains("failed") && run.stdout.contains("nets/2/model.pth"), "{}", run.stdout);
    let report = work.json("out/batch_report.json");
    assert!(report["teachers"][1]["reason"].as_str().is_some_and(|r| r.contains("nets/2/model.pth")));
    assert_eq!(number(&report["failed"]), 1);
    assert!(work.files("out/teacher_2").is_empty());
    // Mended, only it is done.
    work.teacher("nets/2/model.pth");
    batch(&work, "").ok();
    all_are(&work, ["skipped", "done", "skipped"]);
    // A shard that is missing is an error of that teacher alone.
    std::fs::remove_file(work.path("shards/teacher_10/shard.pt")).unwrap();
    batch(&work, "").ends_with(1).says(&["error: teacher 10", "shards/teacher_10/shard.pt"]);
    all_are(&work, ["skipped", "skipped", "failed"]);
}

#[test]
fn an_empty_teacher_is_a_result_that_is_remembered() {
    let work = three_teachers();
    // All candidates of class 1 are copies of what teacher 2 saw; the pool has nothing else.
    work.images("pool.pt", &(0..4).map(|_| image(1, 0.9, 1)).collect::<Vec<_>>());
    let run = batch(&work, "").ends_with(1);
    all_are(&work, ["done", "empty", "done"]);
    assert!(run.stdout.contains("too near to the shard"), "{}", run.stdout);
    assert_eq!(work.text("out/teacher_2/labels.csv"), "index,label,confidence\r\n");
    batch(&work, "").ends_with(1).says(&["result: 1 of 3"]);
    all_are(&work, ["skipped", "skipped", "skipped"]);
    assert_eq!(work.json("out/batch_report.json")["teachers"][1]["was_empty"], true);
}

#[test]
fn which_teachers_take_part() {
    let work = three_teachers();
    work.put("nets/notes.txt", "");
    work.put("nets/5/weights.pth", "no model.pth");
    for (more, ids) in [
        ("--num-teachers 2", vec![0, 2]),
        ("--start-id 1", vec![2, 10]),
        ("--start-id 1 --num-teachers 1", vec![2]),
    ] {
        batch(&work, more).ok();
        let found: Vec<u64> = statuses(&work).into_iter().map(|(id, _)| id).collect();
        assert_eq!(found, ids, "{more}");
    }
}

#[test]
fn one_pool_per_teacher() {
    let work = three_teachers();
    for id in [0, 2, 10] {
        work.images(&format!("pools/p{id}.pt"), &[image(4, 0.9, id), image(5, 0.9, id)]);
    }
    let line = LINE.replace("pool.pt", "pools/p{id}.pt");
    work.run("batch-label-filter", &line).ok();
    assert_eq!(work.json("out/teacher_10/selection_report.json")["candidate_pool_path"], "pools/p10.pt");
    let (_, values) = work.array("out/teacher_2/synthetic_samples.pt");
    assert_eq!(values, [image(4, 0.9, 2), image(5, 0.9, 2)].concat());
    // Only the teacher whose pool changes is done again.
    work.images("pools/p2.pt", &[image(4, 0.9, 3)]);
    work.run("batch-label-filter", &line).ok();
    all_are(&work, ["skipped", "done", "skipped"]);
    std::fs::remove_file(work.path("pools/p0.pt")).unwrap();
    work.run("batch-label-filter", &line).ends_with(1).says(&["error: teacher 0", "pools/p0.pt"]);
}

#[test]
fn metadata_in_the_output_folder_serves_the_quota() {
    let work = three_teachers();
    let line = LINE.replace(" --shard-metadata-base shards", "");
    work.put("out/teacher_2/metadata.json", work.bytes("shards/teacher_2/metadata.json"));
    work.run("batch-label-filter", &line).ok().says(&["no metadata is given"]);
    for (id, applied) in [(0, false), (2, true)] {
        assert_eq!(work.json(&format!("out/teacher_{id}/selection_report.json"))["quota_applied"], applied);
    }
    work.run("batch-label-filter", &format!("{line} --quota False")).ok();
    assert_eq!(work.json("out/teacher_2/selection_report.json")["quota_applied"], false);
}

#[test]
fn pools_are_made_until_every_class_has_its_minimum() {
    let work = Work::new();
    work.teacher("nets/0/model.pth");
    work.decoder("decoder.pth");
    let line = "--generate-candidates-per-teacher --decoder-path decoder.pth --pool-size 256 --teachers-dir nets \
                --output-dir out --candidates-dir pools --confidence 0.5 --min-per-class 30 --max-per-class 30";
    work.put("one.json", r#"{"latent_steering": {"enabled": false}}"#);
    work.put(
        "more.json",
        r#"{"latent_steering": {"enabled": false}, "generation": {"generate_until_target_per_class": true, "max_pools": 9}}"#,
    );
    work.run("batch-label-filter", &format!("{line} --config one.json")).ok();
    let first = work.array("pools/candidates_teacher_0.pt");
    assert_eq!(first.0[0], 256);
    work.run("batch-label-filter", &format!("{line} --config more.json")).ok();
    let all = work.array("pools/candidates_teacher_0.pt");
    let report = work.json("pools/candidates_teacher_0.json");
    let rounds = number(&report["rounds"]) as usize;
    assert!((2..=9).contains(&rounds), "{rounds}");
    assert_eq!(all.0[0], 256 * rounds);
    assert_eq!(all.1[..first.1.len()], first.1[..], "the first pool is the pool");
    // How many there are tells something about the teacher.
    assert!(report["formal_guarantee"].is_null());
    work.run("batch-label-filter", &format!("{line} --config more.json --rng torch"))
        .ends_with(2)
        .says(&["--rng torch makes one pool", "generate_until_target_per_class"]);
}

#[test]
fn a_dry_run_says_what_would_run_and_writes_nothing() {
    let work = three_teachers();
    let before = work.files("");
    let run = batch(&work, "--dry-run").ok();
    for line in [
        "teachers found       3 (0, 2, 10)",
        "complete, skipped    none",
        "to be made           3 (0, 2, 10)",
        "inputs missing       none",
        "candidates           30 a teacher, 90 in all",
        // 30 candidates of 28x28 and a line of labels each, and three reports.
        "disk for samples     303.8 kB at most (90 samples)",
        "disk for pools       none",
    ] {
        assert!(run.stdout.contains(line), "{line}\n{}", run.stdout);
    }
    assert_eq!(work.files(""), before);
    assert!(!work.path("out").exists());

    batch(&work, "").ok();
    let before = work.files("");
    std::fs::remove_file(work.path("shards/teacher_2/shard.pt")).unwrap();
    let run = batch(&work, "--dry-run").ends_with(1);
    assert!(run.stdout.contains("complete, skipped    2 (0, 10)"), "{}", run.stdout);
    assert!(run.stdout.contains("  teacher 2          shards/teacher_2/shard.pt"), "{}", run.stdout);
    run.says(&["result: inputs of 1 of 3 teachers are missing"]);
    let run = batch(&work, "--dry-run --force").ends_with(1);
    assert!(run.stdout.contains("to be made           2 (0, 10)"), "{}", run.stdout);
    let mut after = work.files("");
    after.extend(before.clone().into_iter().filter(|(name, _)| name == "shards/teacher_2/shard.pt"));
    assert_eq!(after, before);
    std::fs::remove_file(work.path("pool.pt")).unwrap();
    batch(&work, "--dry-run").ends_with(3);
}

#[test]
fn pools_that_do_not_fit_on_the_disk_are_refused_before_anything_is_written() {
    let work = Work::new();
    work.teacher("nets/0/model.pth");
    work.decoder("decoder.pth");
    let before = work.files("");
    // 3 PB a pool: more than the disk of any machine that runs this.
    let pools = "--decoder-path decoder.pth --pool-size 1000000000 --image-size 1024";
    let line = format!("--generate-candidates-per-teacher {pools} --teachers-dir nets --output-dir out");
    let words = &["candidates has", "free", "at least 4.2 PB", "--discard-candidates"];
    work.run_quiet("batch-label-filter", &line).ends_with(3).says_only("error: ", words);
    let dry = work.run_quiet("batch-label-filter", &format!("{line} --dry-run")).ends_with(3);
    dry.says_only("error: ", words);
    assert!(dry.stdout.contains("disk for pools       4.2 PB"), "{}", dry.stdout);
    let dry = work.run_quiet("batch-label-filter", &format!("{line} --dry-run --discard-candidates")).ok();
    assert!(dry.stdout.contains("disk for pools       none: no pool is written"), "{}", dry.stdout);
    work.run_quiet("generate-candidates", &format!("{pools} --out pools/a.pt"))
        .ends_with(3)
        .says_only("error: ", &["pools has", "at least 4.2 PB", "--pool-size"]);
    assert_eq!(work.files(""), before);
    assert!(!work.path("out").exists() && !work.path("pools").exists() && !work.path("candidates").exists());
}
