//! The whole chain on a few images, twice: the same bytes, complete reports, and private files for
//! the owner alone.

use std::collections::BTreeMap;
use std::path::Path;

use artifact::FileRecord;
use serde_json::Value;

use testing::Work;

/// Every step in its order. Networks that learn for an epoch know nothing, so that thresholds are
/// low.
const STEPS: &[(&str, &str)] = &[
    ("prepare-shards", "--mnist-dir mnist --num-teachers 2 --out-dir shards"),
    (
        "train-teachers",
        "--data-dir mnist --num-models 2 --epochs 1 --shard-indices shards/shard_indices.json --output-dir nets --augment",
    ),
    ("pretrain-decoder", "--dataset digits --epochs 1 --batch-size 256 --out-dir decoder"),
    (
        "generate-candidates",
        "--decoder-path decoder/decoder.pth --pool-size 40 --out pools/candidates_one.pt --save-grid",
    ),
    (
        "batch-label-filter",
        "--generate-candidates-per-teacher --decoder-path decoder/decoder.pth --teachers-dir nets --pool-size 300 \
         --candidates-dir pools --teacher-shard-base shards --shard-metadata-base shards --output-dir teachers \
         --config config.json --pictures",
    ),
    ("train-teacher-vae", "--teacher-id 1 --shard-path shards/teacher_1/shard.pt --epochs 1 --out-dir vaes"),
    (
        "batch-train-teacher-vaes",
        "--num-teachers 2 --shard-base shards --epochs 1 --seed 41 --out-dir batch_vaes",
    ),
    (
        "generate-candidates",
        "--decoder-path vaes/teacher_{id}/decoder.pth --teacher-id 1 --pool-size 40 --out own/candidates_{id}.pt",
    ),
    (
        "label-filter",
        "--candidates own/candidates_1.pt --candidates pools/candidates_one.pt --teacher-model nets/1/model.pth --out-dir own/teacher_1 \
         --config config.json --teacher-shard-path shards/teacher_1/shard.pt \
         --shard-metadata shards/teacher_1/metadata.json --decoder-path vaes/teacher_1/decoder.pth",
    ),
    ("combine", "--teachers-dir teachers --output combined --percentage 0.9"),
    (
        "vote-label",
        "--samples combined/combined_synthetic_samples.pt --labels combined/combined_synthetic_labels.csv \
         --teachers-dir nets --output combined",
    ),
    (
        "train-student",
        "--samples combined/combined_synthetic_samples.pt --labels combined/combined_synthetic_labels.csv \
         --output-dir student --epochs 2 --batch-size 4",
    ),
    (
        "evaluate-student",
        "--model student/student_model_best.pth --mnist-dir mnist --output student/evaluation_report.json",
    ),
    (
        "evaluate-synthetic",
        "--samples teachers/teacher_0/synthetic_samples.pt --shard shards/teacher_0/shard.pt --out teachers/teacher_0/evaluation_report.json",
    ),
];

/// Files that anybody may have: what was made from public data, or given.
const PUBLIC: &[&str] = &["decoder/", "pools/", "mnist/", "config.json"];

fn chain() -> Work {
    let work = Work::new();
    work.mnist("mnist", 60, 20);
    work.put(
        "config.json",
        r#"{"filtering": {"confidence_threshold": 0.05, "rare_class_threshold": 0.05, "min_memorization_distance": 0.5,
            "min_diversity_distance": 0.2, "min_per_class": 3, "max_per_class": 6}, "latent_steering": {"steps": 3}}"#,
    );
    for (binary, line) in STEPS {
        work.run_quiet(binary, line).ok();
    }
    work
}

/// The content of a file, where it is a step's report.
fn report(work: &Work, name: &str) -> Option<Value> {
    let is_json = Path::new(name).extension().is_some_and(|extension| extension == "json");
    is_json.then(|| work.json(name)).filter(|value| value.get("schema_version").is_some())
}

/// Removes the times of trainings.
fn forget_times(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("training_seconds");
            map.values_mut().for_each(forget_times);
        }
        Value::Array(all) => all.iter_mut().for_each(forget_times),
        _ => {}
    }
}

/// Every file's hash; of reports, the text without the times that the run took.
fn fingerprints(work: &Work) -> BTreeMap<String, String> {
    let mut all = work.files(".");
    for (name, hash) in &mut all {
        let Some(mut report) = report(work, name) else { continue };
        let seconds = report.as_object_mut().unwrap().remove("wall_seconds");
        // A public pool of a run that reads private data does not say how long that took.
        let is_public_part =
            report["formal_guarantee"] == "public" && report["command"] == "batch-label-filter";
        let seconds = seconds.unwrap();
        assert!(
            if is_public_part { seconds.is_null() } else { seconds.as_f64().is_some_and(|s| s >= 0.0) },
            "{name}"
        );
        forget_times(&mut report);
        *hash = report.to_string();
    }
    all
}

#[test]
fn same_seed_same_bytes_and_reports_that_can_be_checked() {
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(chain);
        (chain(), other.join().unwrap())
    });
    let (a, b) = (fingerprints(&first), fingerprints(&second));
    let names: Vec<&String> = a.keys().collect();
    assert_eq!(names, b.keys().collect::<Vec<_>>());
    assert!(names.len() > 50, "{names:?}");
    let different: Vec<&&String> = names.iter().filter(|name| a[**name] != b[**name]).collect();
    assert!(different.is_empty(), "other bytes: {different:?}");
    drop(second);
    reports_can_be_checked(&first);
    private_files_are_the_owners(&first);
}

fn reports_can_be_checked(work: &Work) {
    let mut listed: BTreeMap<String, String> = BTreeMap::new();
    let mut reports = Vec::new();
    for name in work.files(".").into_keys() {
        let Some(report) = report(work, &name) else { continue };
        let public = PUBLIC.iter().any(|prefix| name.starts_with(prefix));
        if public {
            assert_eq!(report["formal_guarantee"], "public", "{name}");
            assert!(report["formal_guarantee_reason"].is_null(), "{name}");
        } else {
            assert!(report["formal_guarantee"].is_null(), "{name}");
            assert!(report["formal_guarantee_reason"].as_str().is_some_and(|r| r.len() > 20), "{name}");
        }
        assert_eq!(report["tool_version"], env!("CARGO_PKG_VERSION"));
        let command = report["command"].as_str().unwrap();
        let step = STEPS.iter().find(|(binary, line)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            command.starts_with(&format!("{binary} {} ", words.join(" ")))
        });
        let is_public_part = report["formal_guarantee"] == "public" && command == "batch-label-filter";
        assert!(step.is_some() || is_public_part, "{name} has the command {command}");
        for list in ["inputs", "outputs"] {
            for entry in report[list].as_array().unwrap() {
                let path = entry["path"].as_str().unwrap();
                let record = FileRecord::of(&work.path(path)).unwrap();
                assert_eq!(entry["sha256"], record.sha256.as_str(), "{name}: {path}");
                assert_eq!(entry["bytes"], record.bytes, "{name}: {path}");
                if list == "outputs" {
                    listed.insert(path.replace('\\', "/"), name.clone());
                }
            }
        }
        assert!(!report["outputs"].as_array().unwrap().is_empty(), "{name}");
        assert!(!report.to_string().contains("NaN"), "{name}");
        reports.push(name);
    }
    // Every step wrote one; batches and train-teachers one per pool and per teacher besides their
    // own.
    assert_eq!(reports.len(), STEPS.len() + 8, "{reports:?}");
    let unlisted: Vec<String> = work
        .files(".")
        .into_keys()
        .filter(|name| !listed.contains_key(name) && !reports.contains(name))
        .filter(|name| !name.starts_with("mnist/") && name != "config.json")
        .collect();
    assert!(unlisted.is_empty(), "no report lists {unlisted:?}");
}

/// The table of the book's page "Files": patterns of names, and what it says about their readers.
fn table_of_files() -> Vec<(Vec<String>, String)> {
    let page = include_str!("../../docs/src/files.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let mut names: Vec<String> = Vec::new();
        for name in cells[0].split('`').skip(1).step_by(2) {
            // An ending alone is the name before with another ending.
            let whole = match (name.strip_prefix('.'), names.first()) {
                (Some(_), Some(first)) => first.rsplit_once('.').unwrap().0.to_owned() + name,
                _ => name.rsplit('/').next().unwrap().replace("<id>", "*").replace("<name>", "*"),
            };
            names.push(whole);
        }
        (names, cells[cells.len() - 1].to_owned())
    })
    .collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
        None => pattern == name,
    }
}

#[cfg(unix)]
fn private_files_are_the_owners(work: &Work) {
    use std::os::unix::fs::PermissionsExt as _;
    let table = table_of_files();
    // What the umask leaves of a new file of anybody's.
    let touched = tempfile::tempdir().unwrap();
    let path = touched.path().join("touched");
    assert!(std::process::Command::new("touch").arg(&path).status().unwrap().success());
    let given = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert!(table.len() > 15, "{table:?}");
    for name in work.files(".").into_keys().filter(|n| !n.starts_with("mnist/") && n != "config.json") {
        let mode = std::fs::metadata(work.path(&name)).unwrap().permissions().mode() & 0o777;
        let file = name.rsplit('/').next().unwrap();
        let rows: Vec<&str> = table
            .iter()
            .filter(|(patterns, _)| patterns.iter().any(|pattern| matches(pattern, file)))
            .map(|(_, who)| who.as_str())
            .collect();
        assert!(!rows.is_empty(), "the table of files has no row for {name}");
        if rows.iter().all(|who| *who == "private") {
            assert_eq!(mode, 0o600, "{name} is private in the table of files, and {mode:o}");
        } else if PUBLIC.iter().any(|prefix| name.starts_with(prefix)) {
            assert_eq!(mode, given, "{name} is public: its mode is the umask's");
        }
    }
    for name in work.files(".").into_keys() {
        let mode = std::fs::metadata(work.path(&name)).unwrap().permissions().mode() & 0o777;
        if !PUBLIC.iter().any(|prefix| name.starts_with(prefix)) {
            assert_eq!(mode, 0o600, "{name} is {mode:o}");
        }
    }
}

#[cfg(not(unix))]
fn private_files_are_the_owners(_: &Work) {}
