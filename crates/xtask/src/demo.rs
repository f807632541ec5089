//! `demo`: the whole pipeline on embedded data, through the binaries as a user would call them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::check;
use crate::context::{self, Context};
use crate::fetch::remove_dir;

/// Where everything goes, relative to the checkout.
const DIR: &str = "runs/demo";
/// Private data: MNIST's embedded subset plays it.
const MNIST: &str = "data/mnist-subset";
const SHARDS: &str = "data/shard_indices.json";
const CONFIG: &str = "config/demo.json";
const TEACHERS: u64 = 20;
/// What the demo promises; it fails below.
const STUDENT_PERCENT: f64 = 85.0;
/// Decoders of the seeds 1, 2, 3, 4 and 42 gave 0.619, 0.602, 0.606, 0.615 and 0.591 under one classifier: mean 0.607, deviation 0.011; this
/// is four of them below the mean. `pretrain-decoder`, `generate-candidates` and `label-filter` with the lines of the steps below, and --seed
/// for the first, measure it.
const DECODER_SHARE: f64 = 0.56;

/// Runs the demo and prints its table. Exit code 1: it ran and missed what it promises.
pub(crate) fn run(ctx: &Context) -> Result<ExitCode> {
    check::build(ctx)?;
    let start = Instant::now();
    remove_dir(&ctx.root().join(DIR))?;
    let demo = Demo { ctx };
    demo.steps()?;
    let figures = Figures::read(&ctx.root().join(DIR))?;
    let digest = digest(&ctx.root().join(DIR))?;
    println!("{}", figures.table());
    println!("{}", pictures());
    println!("{digest}");
    println!("demo: {:.0} s after the build", start.elapsed().as_secs_f64());
    Ok(match figures.missed() {
        None => ExitCode::SUCCESS,
        Some(missed) => {
            println!("missed: {missed}");
            ExitCode::FAILURE
        }
    })
}

struct Demo<'a> {
    ctx: &'a Context,
}

impl Demo<'_> {
    fn step(&self, title: &str, line: &str) -> Result<()> {
        println!("\n== {title}");
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { bail!("a step without a program") };
        let program = self.ctx.release_dir().join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        let start = Instant::now();
        context::run(self.ctx.program(program).args(words))?;
        println!("   {:.0} s", start.elapsed().as_secs_f64());
        Ok(())
    }

    fn steps(&self) -> Result<()> {
        self.step(
            "Cut private data into shards, one per teacher",
            &format!("prepare-shards --mnist-dir {MNIST} --shard-indices {SHARDS} --num-teachers {TEACHERS} --out-dir {DIR}/teachers"),
        )?;
        self.step(
            "Train a teacher on every shard",
            &format!("train-teachers --data-dir {MNIST} --shard-indices {SHARDS} --num-models {TEACHERS} --config {CONFIG} --output-dir {DIR}/trained_nets"),
        )?;
        self.step(
            "Train the decoder on public digits",
            &format!(
                "pretrain-decoder --dataset digits --config {CONFIG} --out-dir {DIR}/pretrained_decoder"
            ),
        )?;
        self.step(
            "Control: a student of public digits and their labels only, for about as many steps as the student below",
            &format!("train-student --public-control --dataset digits --config {CONFIG} --epochs 60 --output-dir {DIR}/public_control"),
        )?;
        self.step(
            "A classifier of the public digits as they are, to look at the decoder with",
            &format!("train-student --public-control --dataset digits --config {CONFIG} --epochs 50 --batch-size 32 --train-split 0.95 --augment false --output-dir {DIR}/decoder_check/classifier"),
        )?;
        self.step(
            "Candidates to look at",
            &format!("generate-candidates --decoder-path {DIR}/pretrained_decoder/decoder.pth --config {CONFIG} --latent-mixing 0 --latent-noise 0 --save-grid --out {DIR}/decoder_check/candidates.pt"),
        )?;
        self.step(
            "What that classifier makes of them",
            &format!("label-filter --candidates {DIR}/decoder_check/candidates.pt --teacher-model {DIR}/decoder_check/classifier/student_model_final.pth --config config/decoder_check.json --quota false --out-dir {DIR}/decoder_check"),
        )?;
        self.step(
            "Candidates, labels, filters and steering for every teacher",
            &format!("batch-label-filter --generate-candidates-per-teacher --decoder-path {DIR}/pretrained_decoder/decoder.pth --teachers-dir {DIR}/trained_nets --teacher-shard-base {DIR}/teachers --shard-metadata-base {DIR}/teachers --candidates-dir {DIR}/candidates --config {CONFIG} --pictures --output-dir {DIR}/teachers"),
        )?;
        for teacher in 0..TEACHERS {
            let folder = format!("{DIR}/teachers/teacher_{teacher}");
            self.step(
                &format!("Teacher {teacher}'s samples beside its shard"),
                &format!("evaluate-synthetic --samples {folder}/synthetic_samples.pt --shard {folder}/shard.pt --config {CONFIG} --quiet --out {folder}/evaluation_report.json"),
            )?;
        }
        self.step(
            "All teachers' samples in one",
            &format!("combine --teachers-dir {DIR}/teachers --output {DIR}/combined"),
        )?;
        self.step(
            "A student on the synthetic samples",
            &format!("train-student --samples {DIR}/combined/combined_synthetic_samples.pt --labels {DIR}/combined/combined_synthetic_labels.csv --config {CONFIG} --output-dir {DIR}/student"),
        )?;
        self.step(
            "Control: the same samples under the labels of the public control",
            &format!("train-student --samples {DIR}/combined/combined_synthetic_samples.pt --labels {DIR}/combined/combined_synthetic_labels.csv --relabel-with {DIR}/public_control/student_model_best.pth --config {CONFIG} --output-dir {DIR}/relabelled_control"),
        )?;
        self.step(
            "The student and its controls on the MNIST test set",
            &format!("evaluate-student --model {DIR}/student/student_model_best.pth --public-control-model {DIR}/public_control/student_model_best.pth --relabelled-control-model {DIR}/relabelled_control/student_model_best.pth --mnist-dir {MNIST} --output {DIR}/student/evaluation_report.json"),
        )
    }
}

/// What the reports say.
struct Figures {
    student: Value,
    teachers: Value,
    decoder: Value,
    combined: Value,
    evaluations: Vec<Value>,
}

impl Figures {
    fn read(dir: &Path) -> Result<Self> {
        let read = |name: &str| -> Result<Value> {
            let path = dir.join(name);
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_str(&text).with_context(|| format!("{} is no report", path.display()))
        };
        let evaluations = (0..TEACHERS)
            .map(|teacher| read(&format!("teachers/teacher_{teacher}/evaluation_report.json")))
            .collect::<Result<_>>()?;
        Ok(Self {
            student: read("student/evaluation_report.json")?,
            teachers: read("trained_nets/training_report.json")?,
            decoder: read("decoder_check/selection_report.json")?,
            combined: read("combined/combined_synthetic_metadata.json")?,
            evaluations,
        })
    }

    /// Share of the decoder's samples that the public classifier is confident about, and the classes that occur.
    fn decoder_share(&self) -> (f64, usize) {
        let count = |field: &str| self.decoder[field].as_f64().unwrap_or(0.0);
        let share = count("num_selected") / count("num_generated").max(1.0);
        (share, self.decoder["class_distribution"].as_object().map_or(0, serde_json::Map::len))
    }

    fn student_percent(&self) -> f64 {
        self.student["overall_accuracy"].as_f64().unwrap_or(0.0)
    }

    fn missed(&self) -> Option<String> {
        let (share, classes) = self.decoder_share();
        let student = self.student_percent();
        if student < STUDENT_PERCENT {
            return Some(format!("the student has {student:.2}%, at least {STUDENT_PERCENT}% expected"));
        }
        if share < DECODER_SHARE || classes < 10 {
            return Some(format!(
                "{:.1}% of the decoder's samples are confident, in {classes} classes",
                100.0 * share
            ));
        }
        None
    }

    fn table(&self) -> String {
        let mut text = String::from("\n");
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<46} {value}");
        };
        row("Student on the 10,000 MNIST test images", accuracy(&self.student));
        for control in self.student["controls"].as_array().into_iter().flatten() {
            let name = control["name"].as_str().unwrap_or_default();
            row(&format!("Control: {name}"), accuracy(control));
        }
        let mean = self.teachers["mean_test_accuracy"].as_f64().unwrap_or(0.0);
        row("Teachers, 240 images each, mean", format!("{mean:.2}% ({TEACHERS} teachers)"));
        let (share, classes) = self.decoder_share();
        row(
            "Decoder's samples with .9 from that classifier",
            format!("{:.1}% of {}, {classes} classes present", 100.0 * share, self.decoder["num_generated"]),
        );
        row("Samples of all teachers", format!("{}", self.combined["total_samples"]));
        row("Samples by class, 0 to 9", by_class(&self.combined["class_distribution"]));
        let nearest = |field: &str| self.values(|r| &r["memorization"][field]);
        let least = nearest("min_nn_distance").into_iter().fold(f64::INFINITY, f64::min);
        row(
            "Distance to the nearest private image",
            format!("min {least:.2}, mean {:.2}", average(&nearest("mean_nn_distance"))),
        );
        for (name, field, sign) in [
            ("Criterion: mean confidence", "mean_confidence", ">="),
            ("Criterion: diversity ratio", "diversity_ratio", ">="),
            ("Criterion: least distance", "min_nn_distance", ">="),
            ("Criterion: class shares, L1", "histogram_l1", "<"),
        ] {
            let criterion = |r: &Value| r["success_criteria"][field].clone();
            let met = self.evaluations.iter().filter(|r| criterion(r)["met"] == true).count();
            let values = average(&self.values(|r| &r["success_criteria"][field]["value"]));
            let target = self.evaluations.first().map(criterion).map_or(Value::Null, |c| c["target"].clone());
            row(name, format!("mean {values:.3} ({sign} {target}): met by {met} of {TEACHERS} teachers"));
        }
        row("Privacy", "no formal guarantee (the steps read private data outside any mechanism)".to_owned());
        text
    }

    fn values<'a>(&'a self, field: impl Fn(&'a Value) -> &'a Value) -> Vec<f64> {
        self.evaluations.iter().filter_map(|report| field(report).as_f64()).collect()
    }
}

fn accuracy(report: &Value) -> String {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let interval = &report["accuracy_interval_95"];
    format!(
        "{:.2}% (95% interval {:.2} to {:.2}%)",
        number(&report["overall_accuracy"]),
        number(&interval[0]),
        number(&interval[1])
    )
}

fn by_class(counts: &Value) -> String {
    let counts: Vec<String> =
        (0..10).map(|class| counts[class.to_string()].as_u64().unwrap_or(0).to_string()).collect();
    counts.join(" ")
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn pictures() -> String {
    let mut text = String::from("Pictures:");
    for (what, path) in [
        ("candidates", "decoder_check/candidates.png"),
        ("selected samples by class, teacher 0", "teachers/teacher_0/selected_samples.png"),
        ("combined samples", "combined/combined_synthetic_samples.png"),
        ("distances to private images, teacher 0", "teachers/teacher_0/evaluation_report.png"),
        ("decoder's training", "pretrained_decoder/training_curves.png"),
        ("student's training", "student/training_curves.png"),
        ("student's confusion matrix", "student/evaluation_report.png"),
    ] {
        let _ = write!(text, "\n  {what:<40} {DIR}/{path}");
    }
    text
}

/// Hashes every file under `dir` into `SHA256SUMS` there, reports without their times, and says the hash of the list: equal
/// in two runs with the same threads on the same kind of processor.
fn digest(dir: &Path) -> Result<String> {
    let mut files = Vec::new();
    collect(dir, &mut files)?;
    files.sort();
    let mut sums = String::new();
    for path in &files {
        let mut bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        if path.extension().is_some_and(|e| e == "json") {
            let mut value: Value =
                serde_json::from_slice(&bytes).with_context(|| format!("{} is no JSON", path.display()))?;
            if let Some(report) = value.as_object_mut() {
                for field in ["wall_seconds", "training_seconds"] {
                    report.remove(field);
                }
            }
            bytes = serde_json::to_vec(&value)?;
        }
        let name = path.strip_prefix(dir)?.to_string_lossy().replace('\\', "/");
        let _ = writeln!(sums, "{}  {name}", hex(&bytes));
    }
    write_sums(&dir.join("SHA256SUMS"), &sums)?;
    Ok(format!(
        "\n{} files, SHA-256 of their list (reports without times): {}\n  {DIR}/SHA256SUMS",
        files.len(),
        hex(sums.as_bytes())
    ))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the demo's own list, made again by every run; nobody else reads it"
)]
fn write_sums(path: &Path, sums: &str) -> Result<()> {
    std::fs::write(path, sums).with_context(|| format!("cannot write {}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() {
            collect(&path, files)?;
        } else if !hidden {
            files.push(path);
        }
    }
    Ok(())
}
