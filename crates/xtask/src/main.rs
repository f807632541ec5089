//! Chores of this repository: libtorch, builds, checks, data. `cargo xtask --help` lists them.
//!
//! It links no libtorch, so that it can fetch one, and every program that it starts is printed
//! before it runs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal of a developer")]

mod bench;
mod check;
mod completions;
mod context;
mod data;
mod demo;
mod doctor;
mod fetch;
mod generate;
mod interop;
mod libtorch;
mod links;
mod pyenv;
mod python;
mod results;
mod rooms;
mod setup;
mod sums;
mod tests_report;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::context::Context;

/// Chores of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find libtorch 2.13.0 on this machine, or fetch it once into a cache folder of this user.
    Setup {
        /// Take a build with CUDA (Linux x86-64; 2 GB of downloads where Python has none).
        #[arg(long)]
        cuda: bool,
    },
    /// Say what this machine has and lacks, and how to fix it. Exit code 1: a build cannot work.
    Doctor,
    /// Set up libtorch if need be, then build all binaries.
    Build,
    /// Build, then run the whole pipeline on embedded data into `runs/demo/`: about twelve minutes
    /// on 2 cores.
    Demo(demo::Options),
    /// Build, then run all tests and the examples in the documentation.
    Test,
    /// Everything that a change must pass: format, lints, documentation, tidy, tests, conformance,
    /// golden values.
    Ci,
    /// Check the rules of this repository that no compiler knows.
    Tidy,
    /// Write what is generated: pages of the programs, tables of the book and the README.
    Generate {
        /// Write nothing; fail where a file is not as generated.
        #[arg(long)]
        check: bool,
    },
    /// Write what is generated, then build the book into `target/book` with mdBook.
    Docs,
    /// Compare with what the original Python pipeline gave for the same inputs.
    Conformance {
        /// Folder with the recorded cases. [default: ../shared/conformance, where it exists]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Compare private methods with what their original programs and public libraries gave.
    Golden {
        /// Folder with the recorded cases. [default: ../shared/golden, where it exists]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Build, then let Python's PyTorch check files and numbers in both directions, in
    /// `runs/interop/`.
    ///
    /// The Python is the one that `PATE_PYTHON` names (torch 2.13.0, numpy, safetensors), or one
    /// that is made once in this user's cache folder: from PyTorch's own index 1 GB on disk, from
    /// PyPI on Linux x86-64 4 GB, elsewhere less.
    Interop,
    /// Build, then measure this project's programs against PyTorch, by turns on the same inputs, in
    /// `runs/bench/`.
    ///
    /// One column does the job the way of the original program, another is PyTorch tuned as well as
    /// we can. It takes the Python of `interop`, about half an hour, and an idle machine.
    Bench(bench::Options),
    /// Fetch full data sets, in the layout that torchvision uses.
    Data {
        #[arg(value_enum, required = true, value_name = "SET")]
        sets: Vec<data::Choice>,
        /// Folder that gets one folder for each data set.
        #[arg(long, value_name = "DIR", default_value = "datasets")]
        root: PathBuf,
    },
    /// Print the accuracies of `just full` (every seed, mean, range, controls), or all scores of
    /// score-release below a folder.
    Results {
        /// Folder with the seed_<seed> folders, or with scores.
        #[arg(value_name = "DIR", default_value = "runs/full")]
        dir: PathBuf,
    },
    /// Build, then write the shell completions of all binaries: bash, zsh, fish, powershell,
    /// elvish.
    Completions {
        /// Folder that gets one folder for each shell.
        #[arg(long, value_name = "DIR", default_value = "completions")]
        out: PathBuf,
    },
    /// Remove `runs/`, the outputs of the demo and of the recipes in the justfile.
    Clean,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match Context::new().and_then(|ctx| dispatch(args.command, &ctx)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command, ctx: &Context) -> anyhow::Result<ExitCode> {
    match command {
        Command::Setup { cuda } => setup::run(ctx, cuda).map(|_| ExitCode::SUCCESS),
        Command::Doctor => Ok(doctor::run(ctx)),
        Command::Build => check::build(ctx).map(|()| ExitCode::SUCCESS),
        Command::Demo(options) => demo::run(ctx, &options),
        Command::Test => check::test(ctx).map(|report| report.exit_code()),
        Command::Ci => check::ci(ctx),
        Command::Tidy => tidy::check(ctx).map(|()| ExitCode::SUCCESS),
        Command::Generate { check } => generate::run(ctx, check).map(|()| ExitCode::SUCCESS),
        Command::Docs => generate::docs(ctx).map(|()| ExitCode::SUCCESS),
        Command::Conformance { dir } => {
            check::conformance(ctx, dir.as_deref()).map(|report| report.exit_code())
        }
        Command::Golden { dir } => check::golden(ctx, dir.as_deref()).map(|report| report.exit_code()),
        Command::Interop => interop::run(ctx),
        Command::Bench(options) => bench::run(ctx, &options),
        Command::Data { sets, root } => data::run(ctx, &sets, &root).map(|()| ExitCode::SUCCESS),
        Command::Results { dir } => results::run(&dir).map(|()| ExitCode::SUCCESS),
        Command::Completions { out } => completions::run(ctx, &out).map(|()| ExitCode::SUCCESS),
        Command::Clean => check::clean(ctx).map(|()| ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Args::command().debug_assert();
    }

    /// The README and the book call this program by command lines that it understands.
    #[test]
    fn pages_name_chores_that_are_there() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut found = 0;
        let mut left = vec![root.join("README.md"), root.join("CONTRIBUTING.md"), root.join("docs/src")];
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            for (at, _) in text.match_indices("cargo xtask ") {
                // Words as they may stand in prose; arguments follow only in a block of code.
                let in_block = text[..at].ends_with('\n') || text[..at].ends_with("&& ");
                let ends: &[char] =
                    if in_block { &['\n', '&', '#'] } else { &['`', '\n', '|', ';', ':', '.', ','] };
                let line = text[at + "cargo ".len()..].split(ends).next().unwrap_or_default();
                let n_words = if in_block { usize::MAX } else { 2 };
                let line: Vec<&str> = line.split_whitespace().take(n_words).collect();
                let line = line.join(" ");
                let parsed = Args::try_parse_from(line.split_whitespace());
                let understood = parsed
                    .as_ref()
                    .err()
                    .is_none_or(|error| error.kind() == clap::error::ErrorKind::MissingRequiredArgument);
                assert!(understood, "{}: cargo {line}", path.display());
                found += 1;
            }
        }
        assert!(found > 20, "{found}");
    }

    #[test]
    fn command_lines_parse_or_are_refused() {
        let parses = |line: &str| Args::try_parse_from(line.split(' ')).is_ok();
        for line in [
            "xtask setup",
            "xtask setup --cuda",
            "xtask data mnist fashion --root d",
            "xtask completions --out c",
            "xtask demo",
            "xtask demo --seed 7",
            "xtask demo --seeds 42,142",
            "xtask bench --quick --part a1,b --rounds 2 --threads 1",
        ] {
            assert!(parses(line), "{line}");
        }
        for line in [
            "xtask",
            "xtask bench --rounds 0",
            "xtask data",
            "xtask data cifar",
            "xtask setup --cpu",
            "xtask demo --seed 1 --seeds 2",
            "xtask help",
        ] {
            assert!(!parses(line), "{line}");
        }
    }
}
