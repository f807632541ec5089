//! DP-FETA's four steps: what they make, what it is labelled and costs, and what is refused.

use dp_accounting::Mechanism;
use dp_accounting::filter::{Budget, epsilon_of_caps};
use dp_accounting::ledger::Account;
use serde_json::json;
use testing::{Work, none_of};

/// Forty records, a budget that protects nobody, a network that is quick.
fn work() -> Work {
    let work = Work::new();
    work.mnist("mnist", 40, 20);
    work
}

const QUERY: &str = "--data-dir mnist --records 40 --expected-batch 8 --steps 4 --rounds 2 --query-rate 0.5 --query-noise 4 --epsilon 8 \
                     --output-dir central";
const PRETRAIN: &str = "--images central/central_images.npz --nf 4 --ch-mult 1 --num-res-blocks 1 --steps 3 --output-dir pretrained";
const FINETUNE: &str = "--data-dir mnist --init pretrained/diffusion.safetensors --ledger central/privacy_ledger.jsonl --records 40 \
                        --expected-batch 8 --steps 4 --block 2 --noise-draws 2 --output-dir diffusion";
const SAMPLE: &str = "--model diffusion/diffusion_ema.safetensors --num-samples 12 --num-steps 3 --batch-size 5 --output-dir generated";

#[test]
fn one_budget_covers_both_mechanisms() {
    let work = work();
    work.run_quiet("query-central-images", QUERY).ok();
    work.run_quiet("pretrain-diffusion", PRETRAIN).ok();
    work.run_quiet("finetune-diffusion", FINETUNE).ok();
    work.run_quiet("sample-diffusion", SAMPLE).ok();
    for report in [
        "central/central_report.json",
        "pretrained/training_report.json",
        "diffusion/training_report.json",
        "generated/sampling_report.json",
    ] {
        let label = &work.json(report)["formal_guarantee"];
        assert_eq!(
            (&label["epsilon"], &label["dataset"]),
            (&json!(8.0), &json!("mnist")),
            "{report}: {label}"
        );
        let text = work.text(report);
        assert!(!text.contains("train-images"), "{report} names a private file");
    }
    // The list that the query fixed, as privacy-budget counts it, is the budget and no more.
    let account = Account::read(&work.path("central/privacy_ledger.jsonl")).unwrap();
    let Budget::Caps { epsilon, delta, caps } = &account.header.budget else { panic!("no list") };
    let cost = epsilon_of_caps(caps, *delta).unwrap();
    assert!(cost <= *epsilon && cost > 0.999 * epsilon, "{cost} of {epsilon}");
    let query = Mechanism::PoissonSubsampledGaussian { q: 0.5, sigma: 4.0 };
    assert!(caps.iter().any(|cap| cap.mechanism == query && cap.count == 2));
    let totals = account.totals();
    assert_eq!(totals.iter().map(|(_, count)| count).sum::<u64>(), 6);
    assert!(
        totals.iter().all(|(mechanism, count)| caps
            .iter()
            .any(|cap| cap.mechanism == *mechanism && cap.count == *count))
    );
    // What DPImageBench reads.
    let (images, labels) =
        tensorfile::read(&work.path("generated/gen.npz")).unwrap().into_images_and_labels().unwrap();
    assert_eq!(images.shape(), [12, 1, 28, 28]);
    assert!(images.to_f32().iter().all(|x| (0.0..=1.0).contains(x)));
    assert_eq!(labels.unwrap().to_i64().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
    let report = work.json("central/central_report.json");
    assert_eq!(report["sums_are_divided_by"], json!(2.0));
    // Twice the same: each finds that it is done, and nothing more is spent.
    let tree = work.tree();
    for (binary, line, words) in [
        ("query-central-images", QUERY, "released already"),
        ("pretrain-diffusion", PRETRAIN, "done already"),
        ("finetune-diffusion", FINETUNE, "done already"),
        ("sample-diffusion", SAMPLE, "made already"),
    ] {
        work.run(binary, line).ok().says(&[words]);
    }
    let after = work.tree();
    let same = |name: &&String| !name.ends_with("central_report.json");
    for name in tree.keys().filter(same) {
        assert_eq!(tree.get(name), after.get(name), "{name}");
    }
    // The images go where any others go.
    let line = "--release generated/gen.npz --test-dir mnist --classifiers mlp --seeds 1 --output-dir scores";
    work.run_quiet("score-release", line).ok();
    // The query's images were asked for once.
    let lost = QUERY.replace("-dir central", "-dir other --ledger central/privacy_ledger.jsonl");
    work.run_quiet("query-central-images", &lost).ends_with(2).says(&["once", "nothing was spent"]);
}

#[test]
fn middle_levels_and_both_samplers_work_without_central_images() {
    let work = work();
    let line = "--data-dir mnist --nf 4 --ch-mult 1,2 --num-res-blocks 1 --attn-resolutions 0 --records 40 --expected-batch 8 \
                --steps 2 --noise-draws 2 --noise-levels 0.2,2 --epsilon 8 --output-dir diffusion";
    work.run_quiet("finetune-diffusion", line).ok();
    let report = work.json("diffusion/training_report.json");
    assert_eq!(report["noise"]["levels"]["within"], json!([0.2, 2.0]));
    assert_eq!(report["network"]["multipliers"], json!([1, 2]));
    work.put("classes.csv", "label\r\n3\r\n3\r\n7\r\n");
    let line = "--model diffusion/diffusion.safetensors --labels classes.csv --sampler heun --num-steps 3 --s-churn 2 \
                --guid-scale 0.5 --output-dir generated";
    work.run_quiet("sample-diffusion", line).ok();
    let report = work.json("generated/sampling_report.json");
    assert_eq!((&report["images"], &report["formal_guarantee"]["epsilon"]), (&json!(3), &json!(8.0)));
    let mode = QUERY.replace("--epsilon 8", "--epsilon inf --query mode --bins 4");
    work.run_quiet("query-central-images", &mode).ok();
    let report = work.json("central/central_report.json");
    assert_eq!(report["formal_guarantee"], json!(null));
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_spent() {
    let work = work();
    work.run_quiet("query-central-images", QUERY).ok();
    work.run_quiet("pretrain-diffusion", PRETRAIN).ok();
    let before = work.tree();
    let query = |from: &str, to: &str| QUERY.replace("-dir central", "-dir third").replace(from, to);
    let tune = |from: &str, to: &str| FINETUNE.replace("-dir diffusion", "-dir third").replace(from, to);
    let cases: Vec<(&str, String, &[&str])> = vec![
        ("query-central-images", query("--query-noise 4", "--query-noise 0.1"), &["alone costs"]),
        ("query-central-images", query("--epsilon 8 ", ""), &["--epsilon"]),
        (
            "query-central-images",
            query("--expected-batch 8", "--expected-batch 41"),
            &["--expected-batch 41"],
        ),
        // Another length than the ledger's, another budget, a ledger that is not there.
        ("finetune-diffusion", tune("--steps 4", "--steps 5"), &["its list", "5 steps"]),
        (
            "finetune-diffusion",
            tune("--records", "--epsilon 3 --records"),
            &["epsilon 8", "nothing was spent"],
        ),
        (
            "finetune-diffusion",
            tune("central/privacy_ledger.jsonl", "gone.jsonl"),
            &["gone.jsonl is not there"],
        ),
        // The central images were charged to another ledger than the steps would be.
        (
            "finetune-diffusion",
            tune("--ledger central/privacy_ledger.jsonl", "--epsilon 8"),
            &["together have no guarantee", "nothing was spent"],
        ),
        ("finetune-diffusion", tune("--records", "--nf 8 --records"), &["--init", "--nf"]),
        (
            "finetune-diffusion",
            tune("--records", "--noise-levels 2,0.1 --records"),
            &["--noise-levels 2,0.1"],
        ),
        ("finetune-diffusion", tune("--records", "--noise-levels 70,80 --records"), &["70", "1%"]),
        (
            "sample-diffusion",
            "--model pretrained/diffusion.safetensors --s-churn 1 --output-dir third".to_owned(),
            &["heun"],
        ),
        (
            "sample-diffusion",
            "--model pretrained/diffusion.safetensors --tmin 90 --output-dir third".to_owned(),
            &["90"],
        ),
    ];
    none_of(
        cases
            .into_iter()
            .map(|(binary, line, words)| work.run_quiet(binary, &line).check(2, "error: ", words)),
    );
    assert_eq!(work.tree(), before, "a refused step leaves nothing behind, and charges nothing");
}
