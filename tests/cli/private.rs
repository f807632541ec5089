//! `train-dp-classifier`: what a run costs, what it says, what a crash and bad input cost.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use dp_accounting::ledger::Account;
use serde_json::Value;
use testing::{Work, none_of};

const TRAIN: &str = "train-dp-classifier";
const QUICK: &str = "--data-dir mnist --network ucstub --records 40 --expected-batch 8 --steps 12 --block 3 \
    --quiet --device cpu --threads 1";

fn work() -> Work {
    let work = Work::new();
    work.mnist("mnist", 40, 20);
    work
}

fn charged(path: &Path) -> u64 {
    Account::read(path).unwrap().totals().iter().map(|(_, count)| count).sum()
}

#[test]
fn a_run_costs_its_budget_once_and_says_so() {
    let work = work();
    let line = format!("{QUICK} --epsilon 4 --output-dir out --diagnostics out/figures.json");
    work.run_bare(TRAIN, &line).ok();
    let ledger = work.path("out/privacy_ledger.jsonl");
    assert_eq!(charged(&ledger), 12);
    let report = work.json("out/training_report.json");
    let guarantee = &report["formal_guarantee"];
    assert_eq!((guarantee["epsilon"].as_f64(), guarantee["delta"].as_f64()), (Some(4.0), Some(1e-5)));
    assert_eq!(guarantee["dataset"], "mnist");
    assert_eq!((report["steps_taken"].as_u64(), report["steps_lost"].as_u64()), (Some(12), Some(0)));
    // Nothing of the private data: no file, no hash, no time, no path.
    assert_eq!((&report["inputs"], &report["wall_seconds"]), (&serde_json::json!([]), &Value::Null));
    assert!(!report.to_string().contains("mnist/"), "{report}");
    assert_eq!(report["command"], TRAIN);
    // The figures are private, and say so.
    let figures = work.json("out/figures.json");
    assert!(figures["formal_guarantee"].is_null());
    assert_eq!(figures["steps"].as_array().unwrap().len(), 12);
    assert!(figures["steps"][3]["loss"].as_f64().is_some());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(work.path("out/figures.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
    // Again: it is done, and costs nothing more.
    let bytes = work.bytes("out/model.pth");
    let again = work.run_bare(TRAIN, &line.replace("--quiet", "")).ok();
    again.says(&["done already"]);
    assert_eq!((charged(&ledger), work.bytes("out/model.pth")), (12, bytes));
    // Where the model is gone, the budget is, too.
    std::fs::remove_file(work.path("out/model.pth")).unwrap();
    work.run_bare(TRAIN, &line).ends_with(2).says(&["privacy_ledger.jsonl", "used up"]);
    assert_eq!(charged(&ledger), 12);
    // The weights are told by any program that tests classifiers.
    work.run_bare(TRAIN, &format!("{QUICK} --epsilon 4 --output-dir other")).ok();
    work.run_quiet("evaluate-student", "--model other/model.pth --mnist-dir mnist").ok().shows(&["accuracy"]);
}

#[test]
fn every_network_trains_and_is_told_from_its_file() {
    let work = work();
    let networks = [
        "small-cnn --augmentation warp --views 2 --ema-decay 0.9",
        "resnet --width 2 --clipping per-layer --optimizer adam",
        "scatter-linear --public digits --start public --public-images 100 --whiten 20",
        "scatter-linear --lr-schedule cosine --materialise",
    ];
    for (i, network) in networks.into_iter().enumerate() {
        let line = QUICK.replace("--network ucstub", &format!("--network {network}"));
        work.run_bare(TRAIN, &format!("{line} --epsilon 4 --output-dir out{i}")).ok();
        let line = format!("--model out{i}/model.pth --mnist-dir mnist");
        work.run_quiet("evaluate-student", &line).ok().shows(&["accuracy"]);
    }
    let control = "--model out2/model.pth --public-control-model out2/public_control.pth --mnist-dir mnist";
    work.run_quiet("evaluate-student", control).ok().shows(&["control", "public data and labels"]);
}

#[test]
fn controls_have_no_ledger_and_no_guarantee() {
    let work = work();
    for (i, flags) in
        ["--epsilon inf --clip-only", "--epsilon inf", "--epsilon 4 --float-noise"].iter().enumerate()
    {
        work.run_bare(TRAIN, &format!("{QUICK} {flags} --output-dir out{i}")).ok();
        let report = work.json(&format!("out{i}/training_report.json"));
        assert!(report["formal_guarantee"].is_null());
        let reason = report["formal_guarantee_reason"].as_str().unwrap();
        assert!(reason.contains(if i == 2 { "--float-noise" } else { "--epsilon inf" }), "{reason}");
        assert!(!work.path(&format!("out{i}/privacy_ledger.jsonl")).exists());
    }
}

/// Bad input: a clear error, and nothing is spent.
#[test]
fn what_cannot_be_is_refused_and_nothing_is_spent() {
    let work = work();
    let six = QUICK.replace("--steps 12", "--steps 6");
    work.run_bare(TRAIN, &format!("{six} --epsilon 4 --ledger book.jsonl --output-dir first")).ok();
    let before = work.tree();
    let cases: [(&str, i32, &[&str]); 20] = [
        ("--epsilon 0", 2, &["--epsilon", "above 0"]),
        ("--epsilon=-1", 2, &["--epsilon", "above 0"]),
        ("--epsilon nan", 2, &["--epsilon", "above 0"]),
        ("", 2, &["--epsilon"]),
        ("--epsilon 1 --delta 0", 2, &["--delta", "above 0"]),
        ("--epsilon 1 --delta 1", 2, &["--delta", "below 1"]),
        ("--epsilon 1e-9", 3, &["the budget cannot be met", "choose a smaller sigma"]),
        ("--epsilon 1 --delta 1e-30", 2, &["the budget cannot be met", "--delta 1e-30"]),
        ("--mu 1e-9", 2, &["--mu"]),
        ("--epsilon 1 --clipping-norm 0", 2, &["--clipping-norm", "above 0"]),
        ("--epsilon 1 --steps 0", 2, &["--steps"]),
        ("--epsilon 1 --expected-batch 41", 2, &["--expected-batch 41", "--records 40", "at most 40"]),
        ("--epsilon 1 --views 2", 2, &["--views 2", "--augmentation"]),
        ("--epsilon 1 --clip-only", 2, &["--clip-only", "--epsilon inf"]),
        ("--epsilon 1 --ema-decay 1", 2, &["--ema-decay", "below 1"]),
        // The ledger of another data set, with another budget, and one that is used up.
        (
            "--epsilon 4 --ledger book.jsonl --dataset-name other",
            2,
            &["book.jsonl", "\"mnist\"", "\"other\"", "nothing was spent"],
        ),
        ("--epsilon 2 --ledger book.jsonl", 2, &["book.jsonl", "epsilon 4", "2 at"]),
        ("--epsilon 4 --ledger book.jsonl", 2, &["book.jsonl", "6 of", "12 steps", "nothing was spent"]),
        (
            "--epsilon 4 --steps 6 --diagnostics book.jsonl --ledger book.jsonl",
            2,
            &["--diagnostics", "book.jsonl"],
        ),
        ("--epsilon 4 --ledger book.jsonl --steps 6", 2, &["book.jsonl", "used up"]),
    ];
    none_of(cases.into_iter().map(|(flags, code, words)| {
        // A later flag of the same name would be a second one.
        let given: Vec<&str> = flags.split_whitespace().filter(|word| word.starts_with("--")).collect();
        let mut line = String::new();
        let mut words_of = QUICK.split_whitespace().peekable();
        while let Some(word) = words_of.next() {
            if given.contains(&word) {
                words_of.next();
            } else {
                line = format!("{line} {word}");
            }
        }
        let run = work.run_bare(TRAIN, &format!("{line} {flags} --output-dir out"));
        let of_clap = run.stderr.contains("For more information");
        if of_clap && run.code == Some(code) && words.iter().all(|word| run.stderr.contains(word)) {
            return Ok(());
        }
        run.check(code, "error: ", words)
    }));
    let _ = std::fs::remove_dir(work.path("out"));
    assert_eq!(work.tree(), before);
    let folders =
        QUICK.replace("--records 40", "--dataset folders").replace("--data-dir mnist", "--data-dir first");
    work.run_bare(TRAIN, &format!("{folders} --epsilon 1 --output-dir out"))
        .ends_with(2)
        .says(&["--records is missing", "publicly known"]);
}

/// A state with other settings is neither gone on from nor written over.
#[test]
fn a_stopped_run_goes_on_with_its_own_settings_alone() {
    let work = work();
    let line = format!("{QUICK} --epsilon 4 --output-dir out").replace("--steps 12", "--steps 3000");
    let mut child = work.command(TRAIN, &line).stderr(Stdio::null()).spawn().unwrap();
    while !work.path("out/checkpoint.safetensors").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let spent = charged(&work.path("out/privacy_ledger.jsonl"));
    for other in ["--learning-rate 0.1", "--seed 5"] {
        work.run_bare(TRAIN, &format!("{line} {other}")).ends_with(2).says(&[
            "out/checkpoint.safetensors",
            "other settings",
            "nothing was spent",
        ]);
    }
    // Without its ledger nobody knows what it has cost.
    std::fs::rename(work.path("out/privacy_ledger.jsonl"), work.path("aside")).unwrap();
    work.run_bare(TRAIN, &line).ends_with(2).says(&["privacy_ledger.jsonl", "bring the ledger back"]);
    std::fs::rename(work.path("aside"), work.path("out/privacy_ledger.jsonl")).unwrap();
    let mut bytes = work.bytes("out/checkpoint.safetensors");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    work.put("out/checkpoint.safetensors", bytes);
    work.run_bare(TRAIN, &line).ends_with(2).says(&["is damaged", "its steps are charged"]);
    assert_eq!(charged(&work.path("out/privacy_ledger.jsonl")), spent);
}

/// Killed at moments all over its run: whatever was drawn is in the ledger, and the run ends.
#[test]
fn a_run_that_is_killed_again_and_again_ends_within_its_budget() {
    let work = work();
    let line = format!("{QUICK} --epsilon 4 --output-dir out").replace("--steps 12", "--steps 120");
    let ledger = work.path("out/privacy_ledger.jsonl");
    let state = |work: &Work| -> u64 {
        let path = work.path("out/checkpoint.safetensors");
        let Ok(document) = tensorfile::read(&path) else { return 0 };
        let steps = document.metadata.iter().find(|(name, _)| name == "epochs").map(|(_, text)| text.clone());
        steps.unwrap().parse().unwrap()
    };
    let mut kills = 0;
    // Moments that spread over the run whatever the machine: a state that was there, and some more.
    for extra in [0, 3, 11, 2, 7, 1, 5, 13, 4, 9] {
        let before = (state(&work), ledger.exists());
        let mut child = work.command(TRAIN, &line).stderr(Stdio::null()).spawn().unwrap();
        let ended = loop {
            if child.try_wait().unwrap().is_some() {
                break true;
            }
            if state(&work) > before.0 || (!before.1 && ledger.exists()) {
                break false;
            }
            std::thread::sleep(Duration::from_micros(500));
        };
        std::thread::sleep(Duration::from_millis(extra));
        let _ = child.kill();
        child.wait().unwrap();
        if ended {
            break;
        }
        kills += 1;
        let (spent, done) = (charged(&ledger), state(&work));
        assert!(spent >= done && spent <= 120, "{done} steps are done, and {spent} were charged");
    }
    assert!(kills >= 3, "{kills}");
    work.run_bare(TRAIN, &line).ok();
    let report = work.json("out/training_report.json");
    let [taken, lost] = ["steps_taken", "steps_lost"].map(|name| report[name].as_u64().unwrap());
    assert_eq!((taken + lost, charged(&ledger)), (120, 120));
    let open = Account::read(&ledger).unwrap().open().len() as u64;
    // A block of three for each intent that has no result, and blocks that a stop cut short.
    println!("{kills} kills: {taken} steps taken, {lost} lost, {open} blocks without a result");
    assert!(lost <= 3 * kills + 3 && lost <= 3 * (open + kills), "{lost}");
}
