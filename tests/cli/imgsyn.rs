//! DP-ImgSyn's four steps: what they make, what that is labelled, and what is refused.

use serde_json::json;
use testing::{Work, none_of, number};

/// Forty records, a budget that protects nobody, a network that is quick.
fn work() -> Work {
    let work = Work::new();
    work.mnist("mnist", 40, 20);
    work
}

const TEACHER: &str = "--data-dir mnist --model resnet --width 2 --records 40 --train-batch-size 8 --steps 4 --block 2 --epsilon 8 \
                       --statistics-noise 4 --output-dir teacher";
const STATISTICS: &str = "--model teacher/model.pth --data-dir mnist --records 40";
const SYNTHESIS: &str = "--teacher teacher/model.pth --statistics teacher/dp_statistics.pt --dataset digits --num-samples 40 \
                         --batch-size 20 --k 2 --output-dir synthesis";

#[test]
fn one_budget_covers_all_that_leaves() {
    let work = work();
    work.run_quiet("train-dp-teacher", TEACHER).ok();
    work.run_quiet("capture-dp-stats", STATISTICS).ok();
    work.run_quiet("synthesize-images", SYNTHESIS).ok();
    let line = "--synthesis synthesis --epochs 1";
    work.run_quiet("distill-student", &format!("{line} --k 2 --output-dir student")).ok();
    work.run_quiet("distill-student", &format!("{line} --k 0 --public-control --output-dir control")).ok();
    work.run_quiet("distill-student", &format!("{line} --k 2 --network scatter-linear --output-dir linear"))
        .ok();
    let control =
        "--model student/student_model_final.pth --public-control-model control/student_model_final.pth";
    work.run_quiet("evaluate-student", &format!("{control} --mnist-dir mnist")).ok().shows(&["control"]);

    // Each file says the same: the ledger's budget, of both mechanisms.
    for report in [
        "teacher/training_report.json",
        "teacher/dp_statistics.json",
        "synthesis/synthesis_report.json",
        "student/training_report.json",
        "linear/training_report.json",
    ] {
        let label = work.json(report)["formal_guarantee"].clone();
        assert_eq!(label["epsilon"], 8.0, "{report}: {label}");
        // What was charged until then.
        let mechanism = label["mechanism"].as_str().unwrap();
        let both = mechanism.contains("Gaussian mechanism") || report.starts_with("teacher/training");
        assert!(mechanism.contains("Poisson") && both, "{report}: {mechanism}");
    }
    work.run_quiet("distill-student", &format!("{line} --k 3 --output-dir other"))
        .ends_with(3)
        .says(&["k0, k2"]);
    work.run_quiet("distill-student", "--synthesis gone --k 0 --output-dir other")
        .ends_with(3)
        .says(&["--synthesis"]);
    work.run_quiet("capture-dp-stats", "--model gone.pth --data-dir mnist").ends_with(3).says(&["gone.pth"]);
    // The images as they were, and what became of them, with labels and soft labels of each.
    let report = work.json("synthesis/synthesis_report.json");
    for k in ["k0", "k2"] {
        assert_eq!(work.array(&format!("synthesis/{k}/synthetic_samples.pt")).0, [40, 1, 28, 28]);
        assert_eq!(work.array(&format!("synthesis/{k}/soft_labels.pt")).0, [40, 10]);
        assert_eq!(number(&report[k]["images"]), 40);
        let columns = ["index", "label", "confidence", "assigned", "public_label"];
        let labels = work.text(&format!("synthesis/{k}/labels.csv"));
        assert_eq!(labels.lines().next().unwrap().split(',').collect::<Vec<_>>(), columns);
    }
    assert_eq!(report["k2"]["mean_loss_before_each_step"].as_array().unwrap().len(), 2);
    let (before, after) = (
        work.array("synthesis/k0/synthetic_samples.pt").1,
        work.array("synthesis/k2/synthetic_samples.pt").1,
    );
    assert!(before != after && after.iter().all(|x| (0.0..=1.0).contains(x)));
    assert!(work.path("synthesis/synthesis.png").is_file());
    // Twice the same: the second run finds it done, and another seed is other work.
    let tree = work.tree();
    work.run("synthesize-images", SYNTHESIS).ok().says(&["done already"]);
    assert_eq!(work.tree(), tree);

    // Statistics that the ledger does not know, that were damaged, or whose ledger is not there.
    let plain = format!("{STATISTICS} --without-noise --out plain/stats.pt");
    work.run_quiet("capture-dp-stats", &plain).ok();
    work.put("damaged.pt", &work.bytes("teacher/dp_statistics.pt")[..400]);
    work.put("aside.pt", work.bytes("teacher/dp_statistics.pt"));
    let ledger = "--ledger teacher/privacy_ledger.jsonl";
    let cases: [(&str, &str, i32, &[&str]); 3] = [
        (
            "plain/stats.pt",
            ledger,
            2,
            &["plain/stats.pt was not released under teacher/privacy_ledger.jsonl"],
        ),
        ("damaged.pt", ledger, 3, &["damaged.pt"]),
        ("aside.pt", "", 2, &["privacy_ledger.jsonl is not there"]),
    ];
    none_of(cases.into_iter().map(|(file, ledger, code, words)| {
        let line =
            SYNTHESIS.replace("teacher/dp_statistics.pt", file).replace("-dir synthesis", "-dir other");
        work.run_quiet("synthesize-images", &format!("{line} {ledger}")).check(code, "error: ", words)
    }));

    // The budget has room for statistics once. The same command again finds them.
    let tree = work.tree();
    work.run("capture-dp-stats", STATISTICS).ok().says(&["released already"]);
    assert_eq!(work.tree(), tree);
    let again = format!("{STATISTICS} --out teacher/again.pt");
    work.run_quiet("capture-dp-stats", &again).ends_with(2).says(&["released already", "nothing was spent"]);
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_spent() {
    let work = work();
    work.run_quiet("train-dp-teacher", &TEACHER.replace("--statistics-noise 4", "--statistics-noise 0")).ok();
    work.run_quiet("train-dp-teacher", &TEACHER.replace("-dir teacher", "-dir second")).ok();
    let teacher = |flags: &str| format!("{} {flags}", TEACHER.replace("-dir teacher", "-dir third"));
    let before = work.tree();
    let cases: Vec<(&str, String, i32, &[&str])> = vec![
        // Statistics that would take the whole budget.
        (
            "train-dp-teacher",
            teacher("").replace("--statistics-noise 4", "--statistics-noise 0.1"),
            2,
            &["alone costs"],
        ),
        ("train-dp-teacher", teacher("--table fashion-1"), 2, &["--table", "--dataset"]),
        (
            "train-dp-teacher",
            teacher("").replace("--epsilon 8", "--noise-multiplier 0.01"),
            2,
            &["protects nobody"],
        ),
        (
            "train-dp-teacher",
            teacher("").replace("--epsilon 8 ", ""),
            2,
            &["--epsilon", "--noise-multiplier"],
        ),
        // A teacher whose ledger keeps no room, a ledger that is not there, or another one's.
        ("capture-dp-stats", STATISTICS.to_owned(), 2, &["no room for statistics", "--statistics-noise"]),
        ("capture-dp-stats", format!("{STATISTICS} --ledger gone.jsonl"), 2, &["gone.jsonl is not there"]),
        (
            "capture-dp-stats",
            "--model second/model.pth --data-dir mnist --dataset fashion-mnist".to_owned(),
            2,
            &["\"mnist\"", "\"fashion-mnist\"", "nothing was spent"],
        ),
        (
            "capture-dp-stats",
            format!("{STATISTICS} --ledger second/privacy_ledger.jsonl --out third.pt"),
            2,
            &["together have no guarantee", "nothing was spent"],
        ),
        (
            "synthesize-images",
            "--teacher second/model.pth --dataset mnist --data-root mnist --output-dir third".to_owned(),
            2,
            &["--mnist-is-public"],
        ),
    ];
    none_of(
        cases
            .into_iter()
            .map(|(binary, line, code, words)| work.run_quiet(binary, &line).check(code, "error: ", words)),
    );
    for (binary, line, word) in [
        ("train-dp-teacher", "--data-dir mnist --statistics-noise x", "0 for no statistics"),
        ("capture-dp-stats", "--model second/model.pth --data-dir mnist --clipping-norm 0", "above 0"),
        ("synthesize-images", "--teacher second/model.pth --variants plain,loud", "loud"),
    ] {
        work.run_quiet(binary, line).ends_with(2).says(&[word]);
    }
    assert_eq!(work.tree(), before, "a refused step leaves nothing behind, and charges nothing");
    // Without noise there is no ledger, and no guarantee.
    let line = "--model second/model.pth --data-dir mnist --records 40 --without-noise --out plain/stats.pt";
    work.run_quiet("capture-dp-stats", line).ok();
    let report = work.json("plain/stats.json");
    assert_eq!(report["formal_guarantee"], json!(null));
    assert!(report["formal_guarantee_reason"].as_str().unwrap().contains("--without-noise"));
}
