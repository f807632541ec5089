//! `bench`: this project's programs and PyTorch do the same work by turns, and a table shows how
//! long each takes.
//!
//! The peer, in `bench/peer`, does the job the way that the original program does it, and once more
//! in PyTorch tuned as well as we can. Ours is the real programs, and `pate-bench` for single
//! functions.

mod compare;
mod figures;
mod inputs;
mod parts;
mod private;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use self::compare::Check;
use self::figures::{Bar, Verdict, median, ratio};
use self::inputs::{Job, Sizes, program};
use self::parts::{How, Part};
use crate::check;
use crate::context::Context;
use crate::fetch::{create_dir, remove_dir};
use crate::pyenv;
use crate::python::Python;

/// What `pate-bench` asks for beside its inputs, where nothing is timed.
pub(crate) fn settings() -> String {
    Sizes { quick: true, teachers: 0 }.settings().to_string()
}

/// Seed of pools and trainings.
const POOL_SEED: u64 = 123;
/// Maximum number of rounds of the batch step, which is long.
const BATCH_ROUNDS: usize = 2;
/// The peer's scripts, relative to the checkout.
const PEER: &str = "bench/peer";
/// Seconds that the original program took for one teacher on 2 idle cores, and by how much the peer
/// may differ.
const ORIGINAL_SECONDS: [(Job, f64); 2] = [(Job::Default, 46.0), (Job::NineK, 128.0)];
const ORIGINAL_SPREAD: f64 = 0.2;
/// Matrix rate of the 2 cores that took those seconds, in GFLOP/s.
const ORIGINAL_SGEMM: f64 = 330.0;
/// What one process of ours may take in all, in bytes.
const MEMORY_LIMIT: f64 = 600e6;
/// Fraction of the machine's own rate that the teacher network is to reach.
const TEACHER_SHARE: Bar = Some((0.60, 0.75));

/// What is measured, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Small sizes, one round: shows that everything runs, not how fast.
    #[arg(long)]
    quick: bool,
    /// Parts to measure, as in a1,b,g: a batch step, b labelling, c decoding, d steering, e
    /// diversity, f memorisation, g training, h start-up, i pool files, j memory, k privacy
    /// accounting, l private steps, m steps on pixels, n measures of features. [default: all]
    #[arg(long = "part", value_name = "PART", value_delimiter = ',')]
    parts: Vec<String>,
    /// Rounds of every part, but at most 2 of the batch step. [default: 3, with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    rounds: Option<u8>,
    /// Also write everything that was measured into this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Threads of both sides.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Teachers of the batch step; its seconds are those of one of them.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    teachers: u32,
}

/// The implementation that does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Ours,
    Original,
    Tuned,
    /// Opacus with the gradients of all records, and with their norms alone.
    Hooks,
    Ghost,
    /// Ours without privacy.
    Plain,
}

impl Side {
    const ALL: [Self; 3] = [Self::Ours, Self::Original, Self::Tuned];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Original => "original",
            Self::Tuned => "tuned",
            Self::Hooks => "hooks",
            Self::Ghost => "ghost",
            Self::Plain => "plain",
        }
    }
}

/// One side of one part.
#[derive(Clone, Debug, Default)]
struct Measured {
    /// Seconds of each round.
    seconds: Vec<f64>,
    /// Figures of the last round.
    result: Value,
    /// The most memory of any round, in bytes.
    peak: f64,
}

/// Runs the parts and prints the table. Exit code 1: results differ, or something did not run.
pub(crate) fn run(ctx: &Context, options: &Options) -> Result<ExitCode> {
    let parts = parts::select(&options.parts)?;
    let python = pyenv::find_or_make()?;
    check::build(ctx)?;
    let sizes = Sizes { quick: options.quick, teachers: options.teachers };
    let inputs = inputs::make(ctx, sizes, options.threads)?;
    let mut bench = Bench {
        ctx,
        options,
        sizes,
        python,
        inputs,
        measured: BTreeMap::new(),
        checks: Vec::new(),
        skipped: Vec::new(),
        sgemm: BTreeMap::new(),
    };
    bench.sgemm()?;
    for part in &parts {
        bench.part(part)?;
    }
    bench.sgemm()?;
    bench.report(&parts)
}

struct Bench<'a> {
    ctx: &'a Context,
    options: &'a Options,
    sizes: Sizes,
    python: Python,
    inputs: PathBuf,
    measured: BTreeMap<(&'static str, Side), Measured>,
    checks: Vec<(&'static str, Check)>,
    skipped: Vec<String>,
    /// The best rate of each side, in GFLOP/s.
    sgemm: BTreeMap<Side, f64>,
}

impl Bench<'_> {
    fn rounds(&self, how: How) -> usize {
        let rounds = self.options.rounds.map_or(if self.options.quick { 1 } else { 3 }, usize::from);
        match how {
            How::Batch(_) => rounds.min(BATCH_ROUNDS),
            // Memory hardly differs from run to run.
            How::Memory => 1,
            How::Inside(_) | How::StartUp | How::Private => rounds,
        }
    }

    /// Measures the machine; the best of all times counts.
    fn sgemm(&mut self) -> Result<()> {
        for side in [Side::Ours, Side::Original] {
            let rate = self.inside("sgemm", side)?.result["gflops"].as_f64().unwrap_or(0.0);
            let best = self.sgemm.entry(side).or_default();
            *best = best.max(rate);
        }
        Ok(())
    }

    fn part(&mut self, part: &Part) -> Result<()> {
        if let How::Batch(job) = part.how
            && let Some(reason) = job.missing(self.ctx)?
        {
            self.skip(part, &reason);
            return Ok(());
        }
        if part.how == How::Private {
            self.private(part);
            return Ok(());
        }
        if part.how == How::Memory && self.measured.contains_key(&("a1", Side::Ours)) {
            return Ok(());
        }
        for round in 0..self.rounds(part.how) {
            for side in Side::ALL {
                eprintln!("{} {}, round {}: {}", part.id, part.what, round + 1, side.name());
                let once = match part.how {
                    How::Inside(name) => self.inside(name, side),
                    // What the original takes does not depend on our options.
                    How::Batch(Job::NineKEarly)
                        if side != Side::Ours && self.measured.contains_key(&("a2", side)) =>
                    {
                        continue;
                    }
                    How::Batch(job) => self.batch(job, side),
                    How::Memory => self.batch(Job::Default, side),
                    How::Private => continue,
                    How::StartUp if side == Side::Tuned => continue,
                    How::StartUp => self.start_up(side),
                };
                match once {
                    Ok(once) => self.add(part.id, side, once),
                    Err(error) => {
                        let what = format!("{} did not run: {error:#}", side.name());
                        self.checks.push((part.id, Check { what, ok: false }));
                        return Ok(());
                    }
                }
            }
            if round == 0 {
                self.compare(part);
            }
        }
        if part.how == How::Batch(Job::NineKEarly) {
            for side in [Side::Original, Side::Tuned] {
                if let Some(same) = self.measured.get(&("a2", side)).cloned() {
                    self.measured.entry(("a3", side)).or_insert(same);
                }
            }
        }
        Ok(())
    }

    fn skip(&mut self, part: &Part, reason: &str) {
        let line = format!("skipped: {} {}: {reason}", part.id, part.what);
        println!("{line}");
        self.skipped.push(line);
    }

    fn add(&mut self, id: &'static str, side: Side, once: Measured) {
        let all = self.measured.entry((id, side)).or_default();
        all.seconds.extend(once.seconds);
        all.peak = all.peak.max(once.peak);
        all.result = once.result;
    }

    fn compare(&mut self, part: &Part) {
        for side in [Side::Original, Side::Tuned] {
            let (Some(ours), Some(theirs)) =
                (self.measured.get(&(part.id, Side::Ours)), self.measured.get(&(part.id, side)))
            else {
                continue;
            };
            let checks = match part.how {
                How::Inside(name) => compare::part(
                    name,
                    (&self.out(name, Side::Ours), &ours.result),
                    (&self.out(name, side), &theirs.result),
                ),
                // Samples that stop early are others than the original's.
                How::Batch(Job::NineKEarly) | How::StartUp | How::Private => continue,
                How::Batch(_) | How::Memory => Ok(compare::batch(&ours.result, &theirs.result)),
            };
            match checks {
                Ok(checks) => self.checks.extend(checks.into_iter().map(|check| {
                    let what = format!("ours and {}: {}", side.name(), check.what);
                    (part.id, Check { what, ..check })
                })),
                Err(error) => self.checks.push((part.id, Check { what: format!("{error:#}"), ok: false })),
            }
        }
    }

    /// Where a side of a part writes.
    fn out(&self, name: &str, side: Side) -> PathBuf {
        self.inputs.join("out").join(name).join(side.name())
    }

    fn peer(&self, script: &str) -> Command {
        let mut command = self.python.command();
        // -B: no compiled scripts beside those of the checkout.
        command.current_dir(self.ctx.root()).arg("-B").arg(Path::new(PEER).join(script));
        command
    }

    /// One function in a process of its own; the median of its runs.
    fn inside(&self, name: &str, side: Side) -> Result<Measured> {
        let mut command = if side == Side::Ours {
            self.ctx.program(program(self.ctx, "pate-bench"))
        } else {
            let mut command = self.peer("part.py");
            command.arg(side.name());
            command
        };
        command.arg(name).arg("--inputs").arg(&self.inputs).arg("--out").arg(self.out(name, side));
        self.timed(&mut command)
    }

    /// What a process that times one thing says; the median of its runs.
    fn timed(&self, command: &mut Command) -> Result<Measured> {
        command.args(["--threads", &self.options.threads.to_string()]);
        if self.options.quick {
            command.args(["--repeat-for", "0.2"]);
        }
        let line = json_line(command)?;
        let seconds: Vec<f64> =
            line["seconds"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        Ok(Measured {
            seconds: median(&seconds).into_iter().collect(),
            result: line["result"].clone(),
            peak: line["peak_rss"].as_f64().unwrap_or(0.0),
        })
    }

    /// A program from start to end, with its memory.
    fn watched(&self, command: &Command) -> Result<Measured> {
        let mut watch = self.peer("measure.py");
        watch.arg(command.get_program()).args(command.get_args());
        let line = json_line(&mut watch)?;
        let (Some(seconds), Some(peak)) = (line["seconds"].as_f64(), line["peak_rss"].as_f64()) else {
            bail!("measure.py gave {line}");
        };
        if line["code"] != 0 {
            bail!("{} ended with {}", command.get_program().display(), line["code"]);
        }
        Ok(Measured { seconds: vec![seconds], result: Value::Null, peak })
    }

    fn start_up(&self, side: Side) -> Result<Measured> {
        if side == Side::Ours {
            let mut command = self.ctx.program(program(self.ctx, "label-filter"));
            return self.watched(command.arg("--version"));
        }
        let mut command = self.python.command();
        self.watched(command.args(["-c", "import torch"]))
    }

    /// Pools, labels, filters and steering for all teachers; seconds for one of them.
    fn batch(&self, job: Job, side: Side) -> Result<Measured> {
        let name = match job {
            Job::Default => "batch",
            Job::NineK => "batch_36",
            Job::NineKEarly => "batch_36_early",
        };
        let out = self.out(name, side);
        remove_dir(&out)?;
        create_dir(&out)?;
        let config = out.with_extension("json");
        write(&config, &serde_json::to_vec_pretty(&job.config(self.ctx, self.sizes)?)?)?;
        let mut all = match side {
            Side::Ours => self.watched(&self.our_batch(job, &config, &out))?,
            Side::Tuned => self.watched(&self.tuned_batch(job, &config, &out))?,
            Side::Original => {
                let mut all = Measured { seconds: vec![0.0], ..Measured::default() };
                for id in 0..self.sizes.teachers {
                    for command in self.original_steps(job, u64::from(id), &config, &out) {
                        let step = self.watched(&command)?;
                        all.seconds[0] += step.seconds[0];
                        all.peak = all.peak.max(step.peak);
                    }
                }
                all
            }
            Side::Hooks | Side::Ghost | Side::Plain => bail!("{} has no batch step", side.name()),
        };
        all.seconds[0] /= f64::from(self.sizes.teachers);
        let report = match side {
            Side::Ours => out.join("teachers"),
            _ => out.clone(),
        }
        .join("teacher_0/selection_report.json");
        let text =
            std::fs::read_to_string(&report).with_context(|| format!("cannot read {}", report.display()))?;
        all.result =
            serde_json::from_str(&text).with_context(|| format!("{} is no report", report.display()))?;
        Ok(all)
    }

    /// The settings that all sides take alike.
    fn common(&self, command: &mut Command, job: Job, seed: u64, config: &Path) {
        command.args(["--seed", &seed.to_string(), "--threads", &self.options.threads.to_string()]);
        command.arg("--config").arg(config);
        if let Some(target) = job.target() {
            command.args(["--target-samples", &target.to_string()]);
        }
    }

    fn our_batch(&self, job: Job, config: &Path, out: &Path) -> Command {
        let shards = self.inputs.join("shards");
        let mut command = self.ctx.program(program(self.ctx, "batch-label-filter"));
        self.common(&mut command, job, POOL_SEED, config);
        // PyTorch's random numbers, so that the pools are the peer's.
        command.args(["--generate-candidates-per-teacher", "--rng", "torch", "--device", "cpu", "--quiet"]);
        command.args(["--pool-size", &job.pool_size(self.sizes).to_string()]);
        command.args(["--quota", if job == Job::Default { "true" } else { "false" }]);
        command.arg("--decoder-path").arg(self.inputs.join("decoder/decoder.pth"));
        command.arg("--teachers-dir").arg(self.inputs.join("nets"));
        command.arg("--teacher-shard-base").arg(&shards).arg("--shard-metadata-base").arg(&shards);
        command.args(["--num-teachers", &self.sizes.teachers.to_string()]);
        command.arg("--candidates-dir").arg(out.join("candidates"));
        command.arg("--output-dir").arg(out.join("teachers"));
        command
    }

    fn original_steps(&self, job: Job, id: u64, config: &Path, out: &Path) -> [Command; 2] {
        let decoder = self.inputs.join("decoder/decoder.pth");
        let shard = self.inputs.join(format!("shards/teacher_{id}"));
        let pool = out.join(format!("candidates_teacher_{id}.pt"));
        let seed = POOL_SEED + id;
        let mut generate = self.peer("generate_candidates.py");
        generate.arg("--decoder-path").arg(&decoder).arg("--config").arg(config).arg("--out").arg(&pool);
        generate.args(["--pool-size", &job.pool_size(self.sizes).to_string(), "--seed", &seed.to_string()]);
        generate.args(["--threads", &self.options.threads.to_string()]);
        let mut filter = self.peer("label_filter.py");
        self.common(&mut filter, job, seed, config);
        filter.arg("--candidates").arg(&pool).arg("--decoder-path").arg(&decoder);
        filter.arg("--teacher-model").arg(self.inputs.join(format!("nets/{id}/model.pth")));
        filter.arg("--teacher-shard-path").arg(shard.join("shard.pt"));
        if job == Job::Default {
            filter.arg("--shard-metadata").arg(shard.join("metadata.json"));
        }
        filter.arg("--out-dir").arg(out.join(format!("teacher_{id}")));
        [generate, filter]
    }

    fn tuned_batch(&self, job: Job, config: &Path, out: &Path) -> Command {
        let mut command = self.peer("tuned_batch.py");
        self.common(&mut command, job, POOL_SEED, config);
        command.args(["--teachers", &self.sizes.teachers.to_string()]);
        command.args(["--pool-size", &job.pool_size(self.sizes).to_string()]);
        command.arg("--inputs").arg(&self.inputs).arg("--out-dir").arg(out);
        if job == Job::Default {
            command.arg("--quota");
        }
        command
    }

    fn seconds(&self, id: &'static str, side: Side) -> &[f64] {
        self.measured.get(&(id, side)).map_or(&[], |measured| &measured.seconds)
    }

    fn report(&self, parts: &[Part]) -> Result<ExitCode> {
        let (table, mut json_parts) = self.parts_table(parts);
        println!("\n{table}");
        if let Some(table) = self.private_table(parts) {
            println!("{table}");
        }
        let machine = self.sgemm.values().copied().fold(0.0, f64::max);
        println!(
            "SGEMM with {} threads: {:.0} GFLOP/s through tch, {:.0} in Python",
            self.options.threads,
            self.sgemm.get(&Side::Ours).copied().unwrap_or(0.0),
            self.sgemm.get(&Side::Original).copied().unwrap_or(0.0)
        );
        let fractions = self.fractions(machine);
        if !fractions.is_empty() {
            println!("{}", fractions_table(&fractions));
        }
        self.pace_of_the_original();
        for (id, check) in &self.checks {
            println!("{} {id}: {}", if check.ok { "same   " } else { "DIFFERS" }, check.what);
        }
        for line in &self.skipped {
            println!("{line}");
        }
        let differ = self.checks.iter().filter(|(_, check)| !check.ok).count();
        println!(
            "{} comparisons, {differ} of them out of tolerance; {} parts skipped{}",
            self.checks.len(),
            self.skipped.len(),
            if self.options.quick { "; --quick: times mean nothing" } else { "" }
        );
        if let Some(path) = &self.options.json {
            for part in &mut json_parts {
                let id = part["part"].clone();
                let checks = self.checks.iter().filter(|(of, _)| id == **of);
                part["checks"] =
                    checks.map(|(_, check)| json!({ "ok": check.ok, "what": check.what })).collect();
            }
            let fractions: Vec<Value> = fractions.iter().map(Fraction::json).collect();
            let all = json!({
                "quick": self.options.quick,
                "threads": self.options.threads,
                "teachers": self.options.teachers,
                "sgemm_gflops": {
                    "tch": self.sgemm.get(&Side::Ours),
                    "python": self.sgemm.get(&Side::Original),
                },
                "parts": json_parts,
                "fractions": fractions,
                "skipped": self.skipped,
            });
            write(path, &serde_json::to_vec_pretty(&all)?)?;
        }
        Ok(if differ == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn parts_table(&self, parts: &[Part]) -> (String, Vec<Value>) {
        let head =
            ["part", "ours", "original", "tuned", "original/ours", "tuned/ours", "bar", "stretch", "verdict"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        let mut all = Vec::new();
        for part in parts {
            let name = format!("{} {}", part.id, part.what);
            if part.how == How::Private {
                all.push(self.private_json(part));
                continue;
            }
            if part.how == How::Memory {
                rows.push(self.memory_row(name));
                all.push(self.memory_json(part));
                continue;
            }
            let seconds = Side::ALL.map(|side| self.seconds(part.id, side));
            let [ours, original, tuned] = seconds;
            let (slower, tuned_slower) = (ratio(original, ours), ratio(tuned, ours));
            let verdict = Verdict::of(slower.map(|ratio| ratio.median), part.bar);
            let bars = part
                .bar
                .map_or(["-".into(), "-".into()], |(bar, stretch)| [bar, stretch].map(|x| format!("{x}x")));
            let mut row = vec![name];
            row.extend(seconds.map(|seconds| figures::seconds(median(seconds))));
            row.extend([figures::times(slower), figures::times(tuned_slower)]);
            row.extend(bars);
            row.push(verdict.word().to_owned());
            rows.push(row);
            let spread = |ratio: Option<figures::Ratio>| {
                ratio.map(|r| json!({ "median": r.median, "least": r.least, "most": r.most }))
            };
            all.push(json!({
                "part": part.id,
                "what": part.what,
                "seconds": { "ours": ours, "original": original, "tuned": tuned },
                "original_over_ours": spread(slower),
                "tuned_over_ours": spread(tuned_slower),
                "bar": part.bar.map(|bar| bar.0),
                "stretch": part.bar.map(|bar| bar.1),
                "verdict": verdict.word(),
                "peak_rss": self.peaks(part.id),
            }));
        }
        (figures::table(&rows), all)
    }

    fn peaks(&self, id: &'static str) -> Value {
        let peak = |side| self.measured.get(&(id, side)).map(|measured| measured.peak);
        json!({ "ours": peak(Side::Ours), "original": peak(Side::Original), "tuned": peak(Side::Tuned) })
    }

    /// The batch step that memory is read from: that of its own part, or one for this.
    fn memory_of(&self) -> &'static str {
        if self.measured.contains_key(&("a1", Side::Ours)) { "a1" } else { "j" }
    }

    fn memory(&self, side: Side) -> Option<f64> {
        self.measured.get(&(self.memory_of(), side)).map(|measured| measured.peak)
    }

    fn memory_verdict(&self) -> &'static str {
        match self.memory(Side::Ours) {
            None => Verdict::NotMeasured.word(),
            Some(peak) if peak <= MEMORY_LIMIT => Verdict::Met.word(),
            Some(_) => Verdict::Missed.word(),
        }
    }

    fn memory_row(&self, name: String) -> Vec<String> {
        let peaks = Side::ALL.map(|side| self.memory(side));
        let mut row = vec![name];
        row.extend(peaks.map(|peak| peak.map_or("-".to_owned(), |peak| format!("{:.0} MB", peak / 1e6))));
        let times = |theirs: Option<f64>| {
            theirs.zip(peaks[0]).map_or("-".to_owned(), |(theirs, ours)| format!("{:.2}x", theirs / ours))
        };
        row.extend([times(peaks[1]), times(peaks[2])]);
        row.extend([format!("<= {:.0} MB", MEMORY_LIMIT / 1e6), "-".to_owned()]);
        row.push(self.memory_verdict().to_owned());
        row
    }

    fn memory_json(&self, part: &Part) -> Value {
        json!({
            "part": part.id,
            "what": part.what,
            "peak_rss": self.peaks(self.memory_of()),
            "limit": MEMORY_LIMIT,
            "verdict": self.memory_verdict(),
        })
    }

    /// Which fraction of the machine's own rate the networks reach.
    fn fractions(&self, machine: f64) -> Vec<Fraction> {
        let steps = Sizes::steps() as f64;
        let number = |id, field: &str| {
            self.measured.get(&(id, Side::Ours)).and_then(|measured| measured.result[field].as_f64())
        };
        let teacher = figures::TEACHER;
        let work = [
            ("b", "teacher network", number("b", "images").map(|n| n * teacher.forward()), TEACHER_SHARE),
            ("c", "decoder", number("c", "images").map(|n| n * figures::DECODER.forward()), None),
            ("d", "steering", number("d", "samples").map(|n| n * figures::steering(steps)), None),
            ("g1", "training a teacher", number("g1", "images").map(|n| n * teacher.training()), None),
            ("g2", "a decoder epoch", number("g2", "images").map(|n| n * figures::vae_training()), None),
            (
                "g3",
                "a student epoch",
                number("g3", "images")
                    .zip(number("g3", "validation"))
                    .map(|(n, validation)| n * teacher.training() + validation * teacher.forward()),
                None,
            ),
        ];
        work.into_iter()
            .filter_map(|(id, what, operations, bar)| {
                let rate =
                    |side| median(self.seconds(id, side)).zip(operations).map(|(s, work)| work / s / 1e9);
                let rates = Side::ALL.map(rate);
                rates[0].map(|_| Fraction { what, rates, machine, bar })
            })
            .collect()
    }

    /// The peer is to be neither slower nor faster than the program that it stands for.
    fn pace_of_the_original(&self) {
        if self.options.quick || self.options.threads != 2 {
            return;
        }
        for (job, expected) in ORIGINAL_SECONDS {
            let id = if job == Job::Default { "a1" } else { "a2" };
            if let Some(seconds) = median(self.seconds(id, Side::Original)) {
                let near = |seconds: f64| {
                    let near = (seconds / expected - 1.0).abs() <= ORIGINAL_SPREAD;
                    if near { "within 20%" } else { "NOT within 20%" }
                };
                let own = self.sgemm.values().copied().fold(0.0, f64::max);
                let scaled = seconds * own / ORIGINAL_SGEMM;
                println!(
                    "{id}: the original program took {expected:.0} s for a teacher on 2 idle cores of {ORIGINAL_SGEMM:.0} GFLOP/s; the peer \
                     {seconds:.1} s here ({}), which is {scaled:.1} s at that rate ({})",
                    near(seconds),
                    near(scaled)
                );
            }
        }
    }
}

/// Work per second of one network.
struct Fraction {
    what: &'static str,
    /// GFLOP/s of each side.
    rates: [Option<f64>; 3],
    /// The machine's own.
    machine: f64,
    bar: Bar,
}

impl Fraction {
    fn of(&self, side: usize) -> Option<f64> {
        self.rates[side].map(|rate| rate / self.machine)
    }

    fn verdict(&self) -> &'static str {
        Verdict::of(self.of(0), self.bar).word()
    }

    fn json(&self) -> Value {
        let [ours, original, tuned] = self.rates;
        json!({
            "what": self.what,
            "gflops": { "ours": ours, "original": original, "tuned": tuned },
            "share_of_sgemm": { "ours": self.of(0), "original": self.of(1), "tuned": self.of(2) },
            "bar": self.bar.map(|bar| bar.0),
            "stretch": self.bar.map(|bar| bar.1),
            "verdict": self.verdict(),
        })
    }
}

fn fractions_table(fractions: &[Fraction]) -> String {
    let head = ["fraction of SGEMM", "ours", "original", "tuned", "bar", "stretch", "verdict"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for fraction in fractions {
        let mut row = vec![fraction.what.to_owned()];
        row.extend([0, 1, 2].map(|side| match (fraction.rates[side], fraction.of(side)) {
            (Some(rate), Some(part)) => format!("{rate:.0} GFLOP/s, {:.0}%", 100.0 * part),
            _ => "-".to_owned(),
        }));
        row.extend(fraction.bar.map_or(["-".into(), "-".into()], |(bar, stretch)| {
            [bar, stretch].map(|x| format!("{:.0}%", 100.0 * x))
        }));
        row.push(fraction.verdict().to_owned());
        rows.push(row);
    }
    figures::table(&rows)
}

/// Runs a program and reads the last line of its stdout; its stderr is this terminal's.
fn json_line(command: &mut Command) -> Result<Value> {
    let name = command.get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line)
        .with_context(|| format!("{name} gave `{line}` where a line of JSON was expected"))
}

/// A file of the bench's own, which every run makes again.
#[expect(
    clippy::disallowed_methods,
    reason = "nobody else reads them, and a run that stops makes them again"
)]
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(dir) = path.parent() {
        create_dir(dir)?;
    }
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_machine() {
        let fraction = Fraction {
            what: "x",
            rates: [Some(200.0), Some(80.0), None],
            machine: 320.0,
            bar: TEACHER_SHARE,
        };
        assert_eq!(fraction.verdict(), "met");
        let text = fractions_table(&[fraction]);
        assert!(text.contains("200 GFLOP/s, 62%") && text.contains("60%") && text.contains("75%"), "{text}");
    }

    #[test]
    fn the_last_line_is_the_answer() {
        let echo = |text: &str| json_line(Command::new("printf").arg(text));
        if cfg!(unix) {
            assert_eq!(echo("noise\n{\"seconds\": 1}\n").unwrap()["seconds"], 1);
            assert!(echo("noise").unwrap_err().to_string().contains("noise"));
        }
        assert!(json_line(&mut Command::new("no-such-program-anywhere")).is_err());
    }
}
