//! DPMI's steps: what they make, what that is labelled, and what is refused.

use testing::{Work, none_of};

/// Forty records, an extractor, and the latents of all records in it.
fn work() -> Work {
    let work = Work::new();
    work.mnist("mnist", 40, 20);
    work.dpmi();
    let line = "--extractor extractor/extractor.pt --data-dir mnist --out private/latents.pt";
    work.run_quiet("extract-latents", line).ok();
    work
}

const MODEL: &str = "--extractor extractor/extractor.pt --latents private/latents.pt";

/// A labeller and a latent model on one ledger: all that leaves has its budget, once.
#[test]
fn one_budget_covers_labeller_and_latent_model() {
    let work = work();
    let teacher = "--data-dir mnist --model resnet --width 2 --records 40 --train-batch-size 8 --steps 4 --block 2 --epsilon 8 \
                   --statistics-noise 4 --output-dir teacher";
    work.run_quiet("train-dp-teacher", teacher).ok();
    let line = format!("{MODEL} --ledger teacher/privacy_ledger.jsonl --output-dir model");
    work.run_quiet("train-dp-latent", &line).ok();
    let sample = "--extractor extractor/extractor.pt --model model/latent_model.pt --num-samples 23 --output-dir samples";
    work.run_quiet("sample-generator", sample).ok();
    let relabel =
        "--samples samples/synthetic_samples.pt --labels samples/labels.csv --teacher teacher/model.pth";
    work.run_quiet("relabel", &format!("{relabel} --output-dir relabelled")).ok();
    for report in
        ["model/training_report.json", "samples/sampling_report.json", "relabelled/relabel_report.json"]
    {
        let label = work.json(report)["formal_guarantee"].clone();
        assert_eq!(label["epsilon"], 8.0, "{report}: {label}");
        let mechanism = label["mechanism"].as_str().unwrap();
        assert!(mechanism.contains("Gaussian mechanism") && mechanism.contains("Poisson"), "{mechanism}");
    }
    // Images of all classes, as evenly as can be.
    assert_eq!(work.array("samples/synthetic_samples.pt").0, [23, 1, 28, 28]);
    let labels = work.label_column("samples/labels.csv");
    for class in 0..10 {
        let n = labels.iter().filter(|&&label| label == class).count();
        assert!((2..=3).contains(&n), "{n} of class {class}");
    }
    assert_eq!(work.array("relabelled/soft_labels.pt").0, [23, 10]);
    let assigned: Vec<i64> =
        work.rows("relabelled/labels.csv").iter().map(|row| row[3].parse().unwrap()).collect();
    assert_eq!(assigned, labels);

    // The same commands again find all done, and another place finds the room used.
    let tree = work.tree();
    work.run("train-dp-latent", &line).ok().says(&["released already"]);
    work.run("sample-generator", sample).ok().says(&["there already"]);
    work.run("relabel", &format!("{relabel} --output-dir relabelled")).ok().says(&["labelled already"]);
    assert_eq!(work.tree(), tree);
    work.run_quiet("train-dp-latent", &line.replace("-dir model", "-dir other"))
        .ends_with(2)
        .says(&["released already", "nothing was spent"]);

    // A model with a ledger of its own has its own budget, and joins no other's.
    let own = format!("{MODEL} --epsilon 5 --output-dir own");
    work.run_quiet("train-dp-latent", &own).ok();
    assert_eq!(work.json("own/training_report.json")["formal_guarantee"]["epsilon"], 5.0);
    work.run_quiet(
        "sample-generator",
        &sample.replace("model/", "own/").replace("-dir samples", "-dir second"),
    )
    .ok();
    let second = relabel.replace("samples/", "second/");
    work.run_quiet("relabel", &format!("{second} --output-dir third"))
        .ends_with(2)
        .says(&["together have no guarantee", "--allow-none"]);
}

/// VAE and GAN by DP-SGD, charged, with and without classes; sampled.
#[test]
fn trained_models_are_charged_and_sampled() {
    let work = work();
    let steps = "--expected-batch 8 --steps 4 --block 2 --hidden 8 --epsilon 8 --records 40";
    for (name, flags) in [
        ("vae", "--model vae --classes each --code 3"),
        ("conditional", "--model vae --activation tanh"),
        ("wgan", "--model wgan --classes unconditional --critic-steps 2"),
    ] {
        work.run_quiet("train-dp-latent", &format!("{MODEL} {flags} {steps} --output-dir {name}")).ok();
        let report = work.json(&format!("{name}/training_report.json"));
        assert_eq!(report["formal_guarantee"]["epsilon"], 8.0, "{name}");
        assert_eq!(report["steps_taken"], 4);
        let sample = format!(
            "--extractor extractor/extractor.pt --model {name}/latent_model.pt --num-samples 12 --output-dir {name}/samples"
        );
        work.run_quiet("sample-generator", &sample).ok();
        let pixels = work.array(&format!("{name}/samples/synthetic_samples.pt")).1;
        assert!(pixels.iter().all(|x| (0.0..=1.0).contains(x)));
        assert_eq!(work.path(&format!("{name}/samples/labels.csv")).exists(), name != "wgan");
    }
    // Nothing private is in what leaves: no hash and no path of the latents.
    for report in ["vae/training_report.json", "wgan/training_report.json"] {
        let text = work.text(report);
        assert!(!text.contains(&work.sha256("private/latents.pt")), "{report}");
    }
    let latents = work.json("private/latents.json");
    assert!(latents["formal_guarantee"].is_null() && latents["formal_guarantee_reason"].is_string());
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_spent() {
    let work = work();
    work.put("unknown/extractor.pt", work.bytes("extractor/extractor.pt"));
    let other = work.text("extractor/training_report.json");
    work.run_quiet(
        "train-autoencoder",
        "--dataset digits --architecture mini --latent-dim 4 --epochs 1 --output-dir another",
    )
    .ok();
    assert!(other.contains("public"));
    let before = work.tree();
    let model = |flags: &str| format!("{MODEL} {flags} --output-dir out");
    let cases: Vec<(&str, String, i32, &[&str])> = vec![
        ("train-dp-latent", model(""), 2, &["--epsilon"]),
        ("train-dp-latent", model("--epsilon 1 --steps 5"), 2, &["--steps", "--model gaussian"]),
        ("train-dp-latent", model("--epsilon 1 --weights 1,2"), 2, &["three numbers"]),
        ("train-dp-latent", model("--epsilon 1 --classes conditional"), 2, &["--model vae"]),
        (
            "train-dp-latent",
            model("--model wgan --classes each --epsilon 1 --expected-batch 8"),
            2,
            &["a GAN for each class"],
        ),
        (
            "train-dp-latent",
            model("--model wgan --ema-decay 0.9 --epsilon 1 --expected-batch 8"),
            2,
            &["--ema-decay"],
        ),
        (
            "train-dp-latent",
            model("--epsilon 1").replace("extractor/", "another/"),
            2,
            &["latents of another extractor"],
        ),
        // Without its report nobody knows what an extractor has seen.
        (
            "train-dp-latent",
            model("--epsilon 1").replace("extractor/", "unknown/"),
            2,
            &["not known to be public"],
        ),
        (
            "extract-latents",
            "--extractor extractor/extractor.pt --data-dir mnist --start random --out out/l.pt".to_owned(),
            2,
            &["of a search"],
        ),
        (
            "extract-latents",
            "--extractor extractor/extractor.pt --data-dir mnist --only-classes 10 --out out/l.pt".to_owned(),
            2,
            &["--only-classes 10", "0 to 9"],
        ),
        (
            "train-autoencoder",
            "--dataset mnist --data-root mnist --output-dir out".to_owned(),
            2,
            &["--mnist-is-public"],
        ),
        (
            "sample-generator",
            "--extractor another/extractor.pt --model latent_model.pt --output-dir out".to_owned(),
            2,
            &["another extractor"],
        ),
        (
            "sample-generator",
            "--extractor extractor/extractor.pt --model latent_model.pt --only-classes 12 --output-dir out"
                .to_owned(),
            2,
            &["classes 0 to 9"],
        ),
    ];
    none_of(
        cases
            .into_iter()
            .map(|(binary, line, code, words)| work.run_quiet(binary, &line).check(code, "error: ", words)),
    );
    assert_eq!(work.tree(), before);
}
