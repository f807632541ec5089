//! `generate-candidates`: which bytes a pool has, whichever program makes it, and what lies beside
//! it.

use testing::{Work, number};

/// A folder with the hand-made decoder as `decoder.pth`.
fn with_decoder() -> Work {
    let work = Work::new();
    work.decoder("decoder.pth");
    work
}

#[test]
fn the_teachers_id_is_added_to_the_seed_and_nothing_else_carries_it() {
    let work = with_decoder();
    let decoder = "--decoder-path decoder.pth --pool-size 300";
    work.run("generate-candidates", &format!("{decoder} --teacher-id 5 --seed 123 --out id.pt")).ok();
    work.run("generate-candidates", &format!("{decoder} --seed 128 --out sum.pt")).ok();
    work.run("generate-candidates", &format!("{decoder} --teacher-id 5 --out default_{{id}}.pt")).ok();
    work.run("generate-candidates", &format!("{decoder} --seed 129 --out other.pt")).ok();
    let pool = work.sha256("id.pt");
    assert_eq!(pool, work.sha256("sum.pt"), "--teacher-id 5 --seed 123 and --seed 128");
    assert_eq!(pool, work.sha256("default_5.pt"), "the default seed is 123");
    assert_ne!(pool, work.sha256("other.pt"));

    let report = work.json("id.json");
    assert_eq!(report["seed"], 128);
    assert_eq!(report["teacher_id"], 5);
    assert_eq!(report["approach"], "per_teacher_vae");
    assert_eq!(report["run_id"], "teacher_5");
    assert!(report["formal_guarantee"].is_null());
    let report = work.json("sum.json");
    assert_eq!(report["seed"], 128);
    assert_eq!(report["run_id"], "run1");
    assert!(report.get("teacher_id").is_none() && report.get("approach").is_none());
    assert_eq!(report["formal_guarantee"], "public");
}

#[test]
fn a_place_holder_makes_one_pool_per_teacher() {
    let work = Work::new();
    for id in 4..7 {
        work.decoder(&format!("vaes/teacher_{id}/decoder.pth"));
    }
    let line = "--decoder-path vaes/teacher_{id}/decoder.pth --pool-size 20 --out pools/p{id}.pt";
    work.run("generate-candidates", &format!("{line} --start-id 4 --num-teachers 3 --seed 10")).ok();
    let names: Vec<String> = work.files("pools").into_keys().collect();
    assert_eq!(
        names,
        ["p4.json", "p4.pt", "p5.json", "p5.pt", "p6.json", "p6.pt"].map(|n| format!("pools/{n}"))
    );
    let before = work.files("pools");
    // Any pool can be made again alone.
    work.run("generate-candidates", &format!("{line} --teacher-id 5 --seed 10")).ok();
    assert_eq!(work.sha256("pools/p5.pt"), before["pools/p5.pt"]);
    work.run(
        "generate-candidates",
        "--decoder-path vaes/teacher_4/decoder.pth --pool-size 20 --seed 15 --out five.pt",
    )
    .ok();
    assert_eq!(work.sha256("five.pt"), before["pools/p5.pt"], "the three decoders are equal");
    assert_eq!(work.json("pools/p6.json")["decoder_path"], "vaes/teacher_6/decoder.pth");
}

#[test]
fn the_batch_makes_the_same_pools() {
    let work = with_decoder();
    work.teacher("teachers/5/model.pth");
    work.teacher("teachers/6/model.pth");
    let line = "--generate-candidates-per-teacher --decoder-path decoder.pth --pool-size 300 --seed 123 \
                --teachers-dir teachers --output-dir out --candidates-dir pools --confidence 0.2 --min-per-class 1 \
                --min-diversity-distance 0.5";
    work.run("batch-label-filter", line).ok();
    work.run("generate-candidates", "--decoder-path decoder.pth --pool-size 300 --seed 129 --out alone.pt")
        .ok();
    assert_eq!(work.sha256("pools/candidates_teacher_6.pt"), work.sha256("alone.pt"));
    let report = work.json("pools/candidates_teacher_6.json");
    assert_eq!(report["seed"], 129);
    assert_eq!(report["run_id"], "teacher_6");
    assert_eq!(report["formal_guarantee"], "public", "one decoder for all is the public one");
    // Not written, but used: the same samples.
    let before = work.files("out");
    let discarding = line.replace("out --candidates-dir pools", "other --discard-candidates");
    work.run("batch-label-filter", &discarding).ok();
    assert_eq!(
        work.sha256("other/teacher_6/synthetic_samples.pt"),
        before["out/teacher_6/synthetic_samples.pt"]
    );
    assert!(!work.path("candidates").exists());
}

#[test]
fn a_decoder_per_teacher_makes_private_pools_in_the_batch() {
    let work = Work::new();
    work.teacher("teachers/3/model.pth");
    work.decoder("vaes/teacher_3/decoder.pth");
    work.run(
        "batch-label-filter",
        "--generate-candidates-per-teacher --decoder-path vaes/teacher_{id}/decoder.pth --pool-size 50 \
         --teachers-dir teachers --output-dir out --candidates-dir pools --confidence 0.2 --min-per-class 1",
    )
    .ok();
    let report = work.json("pools/candidates_teacher_3.json");
    assert_eq!(report["approach"], "per_teacher_vae");
    assert!(report["formal_guarantee"].is_null());
    assert!(report["formal_guarantee_reason"].as_str().is_some_and(|r| r.contains("teacher 3")));
}

#[test]
fn pools_come_with_a_report_and_on_request_a_picture() {
    let work = with_decoder();
    let run = work.run(
        "generate-candidates",
        r"--decoder-path decoder.pth --pool-size 100 --latent-dim 10 --run-id try --save-grid --out new\folder\pool.pt",
    );
    assert_eq!(run.ok().stdout, "", "standard output is for results that a pipe wants");
    let names: Vec<String> = work.files("new").into_keys().collect();
    assert_eq!(names, ["new/folder/pool.json", "new/folder/pool.png", "new/folder/pool.pt"]);
    let (shape, values) = work.array("new/folder/pool.pt");
    assert_eq!(shape, [100, 1, 28, 28]);
    assert!(values.iter().all(|x| (0.0..=1.0).contains(x)));
    let report = work.json("new/folder/pool.json");
    assert_eq!(number(&report["pool_size"]), 100);
    assert_eq!(number(&report["latent_dim"]), 10);
    assert_eq!(report["latent_mixing_ratio"], 0.3);
    assert_eq!(report["latent_noise_scale"], 0.1);
    assert_eq!(report["run_id"], "try");
    assert_eq!(report["shape"], serde_json::json!([100, 1, 28, 28]));
    assert_eq!(report["config_used"], "built-in");
    assert_eq!(report["decoder_path"], "decoder.pth");
    // Width and height stand at byte 16 of a PNG file.
    let picture = work.bytes("new/folder/pool.png");
    assert_eq!(
        picture[16..24],
        [0, 0, 0, 242, 0, 0, 0, 242],
        "8 x 8 images with 2 pixels between and around them"
    );
}

#[test]
fn settings_of_the_configuration_give_way_to_flags() {
    let work = with_decoder();
    work.put(
        "c.json",
        r#"{"generation": {"pool_size": 40, "latent_mixing_ratio": 0.0, "latent_noise_scale": 0.5, "latent_dim": 10}}"#,
    );
    work.run("generate-candidates", "--decoder-path decoder.pth --config c.json --out a.pt").ok();
    work.run(
        "generate-candidates",
        "--decoder-path decoder.pth --config c.json --pool-size 30 --latent-noise 0.1 --out b.pt",
    )
    .ok();
    work.run(
        "generate-candidates",
        "--decoder-path decoder.pth --pool-size 40 --latent-mixing 0 --latent-noise 0.5 --out c.pt",
    )
    .ok();
    assert_eq!(work.array("a.pt").0[0], 40);
    assert_eq!(work.array("b.pt").0[0], 30);
    assert_eq!(work.json("b.json")["latent_noise_scale"], 0.1);
    assert_eq!(work.json("b.json")["config_used"], "c.json");
    assert_eq!(work.sha256("a.pt"), work.sha256("c.pt"));
}

#[test]
fn the_default_configuration_is_taken_where_it_lies_and_its_absence_is_reported() {
    let work = with_decoder();
    let line = "--decoder-path decoder.pth --out a.pt --pool-size 8";
    work.run("generate-candidates", line)
        .ok()
        .says(&["built-in values (config/synthetic_generation.json is not here)"]);
    work.put("config/synthetic_generation.json", r#"{"generation": {"latent_noise_scale": 0.25}}"#);
    let run = work.run("generate-candidates", line).ok();
    assert!(!run.stderr.contains("built-in"), "{}", run.stderr);
    let report = work.json("a.json");
    assert_eq!(report["latent_noise_scale"], 0.25);
    assert_eq!(report["config_used"], "config/synthetic_generation.json");
}

#[test]
fn the_originals_order_of_random_numbers_is_another_pool_that_can_be_had_again() {
    let work = with_decoder();
    for (out, more) in [("a.pt", "--rng torch"), ("b.pt", "--rng torch --threads 2"), ("c.pt", "")] {
        let line = format!("--decoder-path decoder.pth --pool-size 300 --device cpu --out {out} {more}");
        work.run_bare("generate-candidates", &line).ok();
    }
    assert_eq!(work.sha256("a.pt"), work.sha256("b.pt"));
    assert_ne!(work.sha256("a.pt"), work.sha256("c.pt"));
    assert_eq!(work.json("a.json")["rng"], "torch");
}

#[test]
fn a_decoder_that_is_said_to_be_private_makes_private_pools() {
    let work = with_decoder();
    work.teacher("teachers/0/model.pth");
    let line = "--decoder-path decoder.pth --pool-size 30 --private-decoder";
    work.run("generate-candidates", &format!("{line} --out pool.pt")).ok();
    work.run(
        "batch-label-filter",
        &format!(
            "{line} --generate-candidates-per-teacher --teachers-dir teachers --output-dir out --candidates-dir pools \
             --confidence 0.2 --min-per-class 1"
        ),
    )
    .ok();
    for name in ["pool", "pools/candidates_teacher_0"] {
        let report = work.json(&format!("{name}.json"));
        assert!(report["formal_guarantee"].is_null(), "{name}");
        assert!(
            report["formal_guarantee_reason"].as_str().is_some_and(|r| r.contains("--private-decoder")),
            "{name}"
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(work.path(&format!("{name}.pt"))).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
    assert_eq!(number(&work.json("pool.json")["seed"]), 123);
}
