//! Command lines that cannot be used end with code 2 before anything is read or written; the
//! message names the flag, the value, and what would be right. Command lines of the seeds are
//! understood.

use testing::{Work, none_of};

/// A command line, and words of the message.
type Case = (&'static str, &'static str, &'static [&'static str]);

/// Found while the words are parsed, so that no file is needed.
const REFUSED_BY_THE_PARSER: &[Case] = &[
    (
        "label-filter",
        "--candidates a.pt --teacher-model m.pth --quota maybe",
        &["--quota", "maybe", "give true, false, 1 or 0"],
    ),
    ("label-filter", "--teacher-model m.pth", &["--candidates <FILE>", "required"]),
    (
        "label-filter",
        "--candidates a.pt --teacher-model m.pth --target-samples 0",
        &["--target-samples", "0 is not in 1.."],
    ),
    (
        "label-filter",
        "--candidates a.pt --teacher-model m.pth --confidnce 0.9",
        &["--confidnce", "'--confidence'"],
    ),
    (
        "label-filter",
        "--candidates a.pt --teacher-model m.pth --disable-diversity --min-diversity-distance 3",
        &["--disable-diversity", "--min-diversity-distance", "cannot be used with"],
    ),
    (
        "label-filter",
        "--candidates a.pt --teacher-model m.pth --device cpu --no-cuda",
        &["--device", "--no-cuda"],
    ),
    ("label-filter", "--candidates a.pt --teacher-model m.pth --threads 0", &["--threads", "1..=1024"]),
    (
        "batch-label-filter",
        "--generate-candidates-per-teacher yes",
        &["--generate-candidates-per-teacher", "yes"],
    ),
    ("generate-candidates", "--decoder-path d.pth --pool-size 0", &["--pool-size", "1..=1000000000"]),
    ("generate-candidates", "--decoder-path d.pth --rng numpy", &["--rng", "numpy", "chacha, torch"]),
    (
        "generate-candidates",
        "--decoder-path d.pth --teacher-id 1 --start-id 0",
        &["--teacher-id", "--start-id"],
    ),
    ("generate-candidates", "--decoder-path= ", &["--decoder-path"]),
    (
        "pretrain-decoder",
        "--dataset emist",
        &["--dataset", "emist", "emnist, kmnist, fashion-mnist, mnist, digits"],
    ),
    ("pretrain-decoder", "--dataset digits --use-kmnist", &["--dataset", "--use-kmnist"]),
    ("pretrain-decoder", "--orientation left", &["--orientation", "upright, raw"]),
    ("pretrain-decoder", "--lr nan", &["--lr", "give a number above 0"]),
    ("pretrain-decoder", "--weight-decay=-0.1", &["--weight-decay", "give a number, at least 0"]),
    ("train-student", "--output-dir out", &["--samples <FILE>", "required"]),
    (
        "train-student",
        "--public-control --samples s.pt --labels l.csv",
        &["--public-control", "--samples <FILE>"],
    ),
    ("train-student", "--samples s.pt --labels l.csv --augment perhaps", &["--augment", "perhaps"]),
    ("train-student", "--samples s.pt --labels l.csv --classes 1", &["--classes", "2..=10000"]),
    ("train-teachers", "--optimizer rmsprop", &["--optimizer", "rmsprop", "sgd, adam"]),
    ("train-teacher-vae", "--shard-path s.pt", &["--teacher-id <ID>", "required"]),
    ("batch-train-teacher-vaes", "--group-size 0", &["--group-size", "1..=1000"]),
    ("compare-approaches", "--approach vae --teacher-shard-base s", &["--approach", "NAME=FOLDER"]),
    ("combine", "--teachers-dir t", &["--output <DIR>", "required"]),
    (
        "vote-label",
        "--samples s.pt --output o --aggregate mean",
        &["--aggregate", "mean", "votes, probabilities"],
    ),
    ("combine", "--output o --percentage half", &["--percentage", "half"]),
    ("evaluate-synthetic", "--samples s.pt --shard-labels l.pt", &["--shard", "required"]),
    ("evaluate-student", "--output r.json", &["--model <FILE>", "required"]),
    ("prepare-shards", "--assignment random", &["--assignment", "random", "index, keyed-hash"]),
    ("prepare-shards", "--shard-indices i.json --shard-size 10", &["--shard-indices", "--shard-size"]),
];

/// Found where flags, configuration and each other are put together: one line.
const REFUSED: &[Case] = &[
    (
        "label-filter",
        "--candidates a.pt --teacher-model m.pth --confidence 90",
        &["--confidence is 90", "0 to 1"],
    ),
    (
        "label-filter",
        "--candidates a.pt --teacher-model m.pth --min-per-class 50 --max-per-class 40",
        &["min_per_class is 50", "max_per_class 40", "minimum must not be above the maximum"],
    ),
    (
        "label-filter",
        "--candidates a.pt --teacher-model m.pth --min-nn-distance=-1",
        &["--min-nn-distance", "-1"],
    ),
    (
        "label-filter",
        "--candidates a.pt --teacher-model m.pth --min-diversity-distance nan",
        &["--min-diversity-distance", "NaN"],
    ),
    (
        "label-filter",
        "--candidates a.pt --teacher-model m.pth --device tpu",
        &["--device is `tpu`", "auto, cpu, cuda or cuda:N"],
    ),
    (
        "batch-label-filter",
        "--candidates a.pt --generate-candidates-per-teacher --decoder-path d.pth",
        &["--candidates and --generate-candidates-per-teacher", "give one"],
    ),
    ("batch-label-filter", "--generate-candidates-per-teacher", &["needs --decoder-path"]),
    ("batch-label-filter", "--teachers-dir t", &["--candidates FILE", "--generate-candidates-per-teacher"]),
    (
        "batch-label-filter",
        "--candidates a.pt --teachers-dir t --min-per-class 2 --max-per-class 1",
        &["is 2", "1;"],
    ),
    (
        "generate-candidates",
        "--decoder-path d.pth --out pool_{id}.pt",
        &["{id} stands for a teacher", "--teacher-id"],
    ),
    ("generate-candidates", "--decoder-path d_{id}.pth --num-teachers 2 --out pool.pt", &["{id} into --out"]),
    ("generate-candidates", "--decoder-path d.pth --start-id 3", &["{id} into --out"]),
    (
        "generate-candidates",
        "--decoder-path decoder.pth --latent-mixing 1.01",
        &["--latent-mixing is 1.01", "0 to 1"],
    ),
    (
        "generate-candidates",
        "--decoder-path decoder.pth --latent-noise=-0.1",
        &["--latent-noise is -0.1", "at least 0"],
    ),
    (
        "generate-candidates",
        "--decoder-path decoder.pth --latent-dim 32",
        &["--latent-dim is 32", "the decoder has 10 latents", "give 10"],
    ),
    ("generate-candidates", "--decoder-path decoder.pth --image-size 30", &["30x30", "multiples of 4"]),
    ("generate-candidates", "--decoder-path decoder.pth --out pool.json", &["--out", "pool.json", ".pt"]),
    (
        "generate-candidates",
        "--decoder-path decoder.pth --out pool.png --save-grid",
        &["--out", "pool.png", ".pt"],
    ),
    (
        "pretrain-decoder",
        "--dataset digits --data-root data",
        &["--data-root", "--dataset digits", "leave one out"],
    ),
    (
        "combine",
        "--teachers-dir teachers --output new --percentage 0",
        &["--percentage is 0", "above 0 and at most 1"],
    ),
    ("combine", "--teachers-dir teachers --output new --percentage nan", &["--percentage is NaN"]),
    ("combine", "--teachers-dir teachers --output new --percentage 0.01", &["--percentage", "0.01", "6"]),
    (
        "combine",
        "--teachers-dir teachers --output new --name a/b",
        &["--name is `a/b`", "no slashes", "--output"],
    ),
    (
        "train-student",
        "--samples s.pt --labels l.csv --output-dir new --train-split 1",
        &["--train-split of 1 leaves 6 of 6", "0 for validation"],
    ),
    (
        "train-student",
        "--samples s.pt --labels l.csv --output-dir new --train-split nan",
        &["--train-split", "NaN"],
    ),
    ("train-teachers", "--data-dir mnist --output-dir new --lr-gamma 2", &["--lr-gamma is 2", "0 to 1"]),
    (
        "train-teachers",
        "--data-dir mnist --output-dir new --num-models 31",
        &["--num-models", "teacher 30", "30 records"],
    ),
    (
        "train-teachers",
        "--data-dir mnist --output-dir new --start-id 18446744073709551615",
        &["--start-id", "18446744073709551615"],
    ),
    (
        "prepare-shards",
        "--mnist-dir mnist --out-dir new --num-teachers 31",
        &["--num-teachers is 31", "30 records", "1..30"],
    ),
    (
        "prepare-shards",
        "--mnist-dir mnist --out-dir new --num-teachers 4 --shard-size 8",
        &["--shard-size is 8", "1..7"],
    ),
    (
        "prepare-shards",
        "--mnist-dir mnist --out-dir new --num-teachers 3 --shard-size 8 --assignment keyed-hash",
        &["--shard-size does not go with", "keyed-hash"],
    ),
    (
        "prepare-shards",
        "--mnist-dir mnist --out-dir new --shard-indices i.json --num-teachers 3",
        &["--num-teachers is 3", "the indices have 2 teachers"],
    ),
    (
        "evaluate-synthetic",
        "--samples s.pt --labels l.csv --out report.png",
        &["--out", "report.png", ".json"],
    ),
    (
        "evaluate-student",
        "--model m.pth --mnist-dir mnist --output report.png",
        &["--output", "report.png", ".json"],
    ),
];

/// Small inputs of every kind.
fn inputs() -> Work {
    let work = Work::new();
    work.decoder("decoder.pth");
    work.mnist("mnist", 30, 10);
    work.put("i.json", r#"{"0": [0, 1, 2], "1": [3, 4, 5]}"#);
    work.samples("teachers/teacher_0", &[0, 1, 2, 3, 4, 5]);
    for (from, to) in [("synthetic_samples.pt", "s.pt"), ("labels.csv", "l.csv")] {
        work.put(to, work.bytes(&format!("teachers/teacher_0/{from}")));
    }
    work
}

#[test]
fn words_that_cannot_be_parsed() {
    let work = Work::new();
    for (binary, line, words) in REFUSED_BY_THE_PARSER {
        let run = work.run_bare(binary, line).ends_with(2);
        assert!(run.stderr.starts_with("error: "), "{}: {}", run.line, run.stderr);
        run.says(words);
    }
    assert!(work.files(".").is_empty(), "{:?}", work.files("."));
}

#[test]
fn values_and_combinations_that_cannot_be_met() {
    let work = inputs();
    let before = work.files(".");
    none_of(REFUSED.iter().map(|(binary, line, words)| {
        let device = if line.contains("--device") { "" } else { "--device cpu --threads 1" };
        work.run_bare(binary, &format!("{line} {device} --quiet")).check(2, "error: ", words)
    }));
    assert_eq!(work.files("."), before, "nothing is left behind");
}

#[test]
fn a_device_that_is_not_there() {
    let work = inputs();
    for (device, named) in
        [("cuda:99", "--device cuda:99 is not there"), ("cuda:1000000000000", "--device cuda:1000000000000")]
    {
        let line = format!("--decoder-path decoder.pth --pool-size 4 --out p.pt --quiet --device {device}");
        work.run_bare("generate-candidates", &line)
            .ends_with(2)
            .says_only("error: ", &[named, "--device cpu"]);
    }
    if tch::Cuda::is_available() {
        println!("skipped: `--device cuda` without a GPU: there is one here");
        return;
    }
    let line = "--decoder-path decoder.pth --pool-size 4 --out p.pt";
    work.run_bare("generate-candidates", &format!("{line} --device cuda --quiet")).ends_with(2).says_only(
        "error: ",
        &["--device cuda is not there", "0 CUDA devices", "--device cpu", "cargo xtask doctor"],
    );
    assert!(!work.path("p.pt").exists());
    // Not asked for by name, a GPU is not missed; but it is said.
    work.run_bare("generate-candidates", line).ok().says(&["device: cpu (no CUDA device can be used)"]);
    let run = work.run_bare("generate-candidates", &format!("{line} --no-cuda")).ok();
    assert!(!run.stderr.contains("device:"), "{}", run.stderr);
}

/// Understood: the step goes on and misses a file, code 3.
const UNDERSTOOD: &[(&str, &str, &str)] = &[
    ("label-filter", "--candidates none.pt --teacher-model m.pth --quota False", "none.pt"),
    (
        "label-filter",
        "--candidates none.pt --teacher-model m.pth --quota=0 --min-per-class 0 --max-per-class 0",
        "none.pt",
    ),
    (
        "label-filter",
        r"--candidates folder\none.pt --teacher-model m.pth --out-dir teachers\teacher_7 --min-nn-distance 0",
        "folder/none.pt",
    ),
    (
        "generate-candidates",
        "--decoder-path none.pth --pool-size 20000 --latent-dim 32 --out c.pt --seed 123 --save-grid",
        "none.pth",
    ),
    (
        "batch-label-filter",
        "--generate-candidates-per-teacher True --decoder-path d.pth --teachers-dir none --force",
        "none",
    ),
    (
        "pretrain-decoder",
        "--data-root none --latent-dim 32 --epochs 50 --out-dir pretrained_decoder --seed 42",
        "none",
    ),
    (
        "train-student",
        "--samples none.pt --labels l.csv --output-dir o --epochs 20 --batch-size 64 --learning-rate 0.01",
        "none.pt",
    ),
    ("train-student", "--samples none.pt --labels l.csv --lr 0.01 --augment", "none.pt"),
    (
        "train-teachers",
        "--data-dir none --lr 0.01 --momentum 0.5 --augment false --optimizer adam --lr-decay-epoch 0",
        "none",
    ),
    ("vote-label", "--samples none.pt --labels l.csv --teachers-dir nets --output o --seed 42", "nets"),
    ("combine", "--teachers-dir none --output o --percentage 0.1 --seed 42", "none"),
    ("evaluate-student", "--model m.pth --mnist-dir none --output r.json", "none"),
    (
        "evaluate-synthetic",
        "--samples none.pt --teacher-id 0 --shard-indices i.json --mnist-data-dir m --out r.json",
        "none.pt",
    ),
    ("train-teacher-vae", "--teacher-id 0 --shard-path none.pt --epochs 100 --no-augmentation", "none.pt"),
    (
        "batch-train-teacher-vaes",
        "--num-teachers 250 --start-id 0 --shard-indices none.json --mnist-data-dir m --latent-dim 32 --epochs 100 --batch-size 32 \
         --out-dir teacher_vaes --seed 42",
        "m",
    ),
    ("compare-approaches", "--approach a=none --approach b=none --teacher-shard-base s", "none"),
    ("prepare-shards", "--mnist-dir none --num-teachers 250 --assignment keyed-hash", "none"),
];

#[test]
fn command_lines_of_the_seeds_are_understood() {
    let work = Work::new();
    none_of(
        UNDERSTOOD
            .iter()
            .map(|(binary, line, missing)| work.run_quiet(binary, line).check(3, "error: ", &[missing])),
    );
}
