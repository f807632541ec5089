//! Builds, tests, and the list of checks that a change must pass.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::context::{Context, ask, run, run_watched};
use crate::fetch::remove_dir;
use crate::generate;
use crate::libtorch::Install;
use crate::setup;
use crate::tests_report::Report;
use crate::tidy;

/// Sets up libtorch if need be and builds every binary.
pub(crate) fn build(ctx: &Context) -> anyhow::Result<()> {
    let install = setup::run(ctx, false)?;
    build_bins(ctx, &install)
}

fn build_bins(ctx: &Context, install: &Install) -> anyhow::Result<()> {
    setup::place_dlls(ctx, install)?;
    run(&mut ctx.cargo(&["build", "--release", "--workspace", "--bins", "--locked"]))
}

/// Builds, then runs all tests: with nextest where it is, a process each, else with cargo's own
/// runner.
pub(crate) fn test(ctx: &Context) -> anyhow::Result<Report> {
    build(ctx)?;
    let nextest = ask(&mut ctx.cargo(&["nextest", "--version"])).is_some();
    let mut report = if nextest { with_nextest(ctx)? } else { with_cargo(ctx)? };
    report.add(watched(&mut ctx.cargo(&["test", "--doc", "--release", "--workspace", "--locked"]))?);
    report.print();
    Ok(report)
}

/// What has tests. The programs under `src/bin` have none (`tidy` sees to it), and a test program
/// of each would be linked for nothing.
const WITH_TESTS: [&str; 7] = ["--lib", "--test", "*", "--bin", "xtask", "--bin", "pate-bench"];

fn with_nextest(ctx: &Context) -> anyhow::Result<Report> {
    // nextest keeps its reports here even where CARGO_TARGET_DIR names another folder.
    let junit = ctx.root().join("target").join("nextest").join("default").join("junit.xml");
    // A report of an earlier run would be taken for this one's if the build failed.
    let _ = std::fs::remove_file(&junit);
    let config = format!("xtask:{}", ctx.root().join("crates").join("xtask").join("nextest.toml").display());
    let mut nextest =
        ctx.cargo(&["nextest", "run", "--release", "--workspace", "--locked", "--no-fail-fast"]);
    let outcome = run(nextest.args(WITH_TESTS).args(["--tool-config-file", &config]));
    let report = std::fs::read_to_string(&junit).map(|xml| Report::from_junit(&xml));
    match (outcome, report) {
        // Failed tests are counted; whatever else made nextest fail is an error of its own.
        (Ok(()), Ok(report)) => Ok(report),
        (Err(_), Ok(report)) if report.failed > 0 => Ok(report),
        (Err(error), _) => Err(error),
        (Ok(()), Err(error)) => Err(error).with_context(|| format!("cannot read {}", junit.display())),
    }
}

fn with_cargo(ctx: &Context) -> anyhow::Result<Report> {
    let mut test = ctx.cargo(&["test", "--release", "--workspace", "--locked", "--no-fail-fast"]);
    watched(test.args(WITH_TESTS).args(["--", "--show-output"]))
}

/// Runs a test program and counts what its lines say.
fn watched(command: &mut Command) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let success = run_watched(command, |line| report.read_line(line))?;
    if !success && report.failed == 0 {
        bail!("the tests could not be built or did not finish");
    }
    Ok(report)
}

/// Cases that other programs recorded: a test program, and where the whole folder of them is.
struct Recorded {
    /// Name of the test program and of the usual folder in `../shared`.
    name: &'static str,
    /// What tells the test program where the folder is.
    variable: &'static str,
    /// What the folder has.
    sign: &'static str,
}

/// The original pipeline's inputs and outputs.
const CONFORMANCE: Recorded =
    Recorded { name: "conformance", variable: "PATE_CONFORMANCE_DIR", sign: "expected" };

/// Values from the original programs of related systems and from public libraries.
const GOLDEN: Recorded = Recorded { name: "golden", variable: "PATE_GOLDEN_DIR", sign: "dp_sgd.json" };

impl Recorded {
    /// Runs all cases, one line for each.
    fn run(&self, ctx: &Context, dir: Option<&Path>) -> anyhow::Result<Report> {
        let usual = ctx.root().join("..").join("shared").join(self.name);
        let dir = match dir {
            Some(dir) if dir.join(self.sign).exists() => Some(dir.canonicalize()?),
            Some(dir) => {
                bail!("{} is no folder of cases: --dir takes the one with {} in it", dir.display(), self.sign)
            }
            // Without the whole folder there is the extract of it that is committed.
            None => usual.is_dir().then(|| usual.canonicalize()).transpose()?,
        };
        build(ctx)?;
        // Of the whole workspace: the features of a package alone are others, and everything would
        // be built again for them.
        let mut cargo = ctx.cargo(&["test", "--release", "--locked", "--workspace", "--test", self.name]);
        if let Some(dir) = dir {
            eprintln!("{}={}", self.variable, dir.display());
            cargo.env(self.variable, dir);
        }
        watched(cargo.args(["--", "--nocapture"]))
    }
}

/// Runs the recorded cases of the original pipeline, one line for each.
pub(crate) fn conformance(ctx: &Context, dir: Option<&Path>) -> anyhow::Result<Report> {
    let report = CONFORMANCE.run(ctx, dir)?;
    report.print();
    Ok(report)
}

/// Runs the golden values of the private methods, one line for each case.
pub(crate) fn golden(ctx: &Context, dir: Option<&Path>) -> anyhow::Result<Report> {
    let report = GOLDEN.run(ctx, dir)?;
    report.print();
    Ok(report)
}

/// Everything that a change must pass, the quick ones first; stops at the first that fails.
pub(crate) fn ci(ctx: &Context) -> anyhow::Result<ExitCode> {
    let mut stages = Stages::default();
    let mut report = Report::default();
    let outcome = all_stages(ctx, &mut stages, &mut report);
    stages.print();
    outcome?;
    report.print();
    Ok(report.exit_code())
}

fn all_stages(ctx: &Context, stages: &mut Stages, report: &mut Report) -> anyhow::Result<()> {
    stages.time("format", || run(&mut ctx.cargo(&["fmt", "--all", "--check"])))?;
    stages.time("tidy", || tidy::check(ctx))?;
    stages.time("setup", || setup::run(ctx, false))?;
    stages.time("lints", || {
        let arguments =
            ["clippy", "--release", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        run(&mut ctx.cargo(&arguments))
    })?;
    stages.time("documentation", || {
        let arguments = ["doc", "--release", "--workspace", "--no-deps", "--locked"];
        run(ctx.cargo(&arguments).env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    stages.time("generated", || generate::run(ctx, true))?;
    // The golden values are among the tests, of the whole folder where it is there.
    let tests = stages.time("tests", || test(ctx))?;
    let tests_failed = tests.failed;
    report.add(tests);
    if tests_failed == 0 {
        report.add(stages.time("conformance", || conformance(ctx, None))?);
    }
    Ok(())
}

/// How long each stage took.
#[derive(Debug, Default)]
struct Stages(Vec<(&'static str, f64)>);

impl Stages {
    fn time<T>(
        &mut self,
        name: &'static str,
        stage: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        println!("== {name}");
        let start = Instant::now();
        let outcome = stage();
        self.0.push((name, start.elapsed().as_secs_f64()));
        outcome.map_err(|error| error.context(format!("stage {name} failed")))
    }

    fn print(&self) {
        println!("== time");
        for (name, secs) in &self.0 {
            println!("{name:<14} {secs:8.1} s");
        }
    }
}

/// Removes what runs wrote; builds and data sets stay.
pub(crate) fn clean(ctx: &Context) -> anyhow::Result<()> {
    let runs = ctx.root().join("runs");
    if runs.exists() {
        remove_dir(&runs)?;
        eprintln!("removed {}", runs.display());
    } else {
        eprintln!("nothing to remove: there is no {}", runs.display());
    }
    Ok(())
}
