//! `privacy-budget`: what differential privacy costs, before and after.
//!
//! Reads: files of cases, ledgers. Writes: a plot where one is asked for. Privacy: spends nothing and draws nothing. Links no libtorch.

mod args;
mod case;
mod plan;
mod text;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use dp_accounting::ledger::Account;
use serde_json::{Value, json};
use shell::{Exit, complain};

use crate::args::{Cli, Command, Format};

/// Larger files of cases are refused.
const LARGEST: u64 = 1 << 28;

fn main() -> ExitCode {
    shell::start();
    let cli = Cli::parse();
    if let Some(shell) = cli.completions {
        return shell::print(&shell::completions(&mut Cli::command(), shell), Exit::Done);
    }
    let Some(command) = cli.command else {
        complain("error: give a command: cost, calibrate, table, plot or ledger (--help shows examples)");
        return Exit::Arguments.into();
    };
    match run(&command) {
        Ok(text) => shell::print(text.as_bytes(), Exit::Done),
        Err(error) => {
            complain(&format!("error: {error:#}"));
            code(&error).into()
        }
    }
}

fn run(command: &Command) -> anyhow::Result<String> {
    let (value, format) = match command {
        Command::Cost(args) => {
            let text = read(&args.cases)?;
            let costs = case::costs(&text, args.quick).with_context(|| args.cases.display().to_string())?;
            (json!({ "cases": costs }), args.format)
        }
        Command::Calibrate(args) => (plan::calibrate(args)?, args.format),
        Command::Table(args) => (plan::table(args)?, args.format),
        Command::Plot(args) => (plan::plot(args)?, args.format),
        Command::Ledger(args) => (ledger(&Account::read(&args.file)?), args.format),
    };
    Ok(match (format, command) {
        (Format::Json, _) => format!("{value:#}\n"),
        (Format::Text, Command::Cost(_)) => text::costs(&value),
        (Format::Text, Command::Table(_)) => text::table(&value),
        (Format::Text, Command::Ledger(_)) => text::ledger(&value),
        (Format::Text, _) => text::fields(&value),
    })
}

fn ledger(account: &Account) -> Value {
    let label = account.label();
    let totals: Vec<Value> = account
        .totals()
        .iter()
        .map(|(mechanism, count)| json!({"count": count, "mechanism": mechanism, "words": mechanism.to_string()}))
        .collect();
    json!({
        "dataset": account.header.dataset,
        "unit": account.header.unit,
        "adjacency": account.header.adjacency,
        "budget": account.header.budget,
        "stamp": account.stamp,
        "entries": account.entries.len(),
        "charged": totals,
        "share_spent": account.share(),
        "intents_without_result": account.open(),
        "bytes_cut_off_at_the_end": account.torn,
        "formal_guarantee": label.to_json(),
        "formal_guarantee_reason": label.reason(),
        "sentence": label.sentence(),
    })
}

fn read(path: &Path) -> anyhow::Result<String> {
    let text = || {
        let found = std::fs::metadata(path)?;
        // A pipe or a device may never end.
        if !found.is_file() {
            return Err(io::Error::other("it is no file; give a file of cases"));
        }
        let size = found.len();
        if size > LARGEST {
            return Err(io::Error::other(format!(
                "it has {size} bytes; a file of cases has at most {LARGEST}"
            )));
        }
        std::fs::read_to_string(path)
    };
    text().with_context(|| format!("cannot read {}", path.display()))
}

fn code(error: &anyhow::Error) -> Exit {
    use dp_accounting::Error;
    for cause in error.chain() {
        match cause.downcast_ref::<Error>() {
            Some(Error::Unreachable { .. }) => return Exit::No,
            Some(
                Error::Parameter { .. }
                | Error::Length { .. }
                | Error::TooLarge { .. }
                | Error::Unsupported { .. },
            ) => {
                return Exit::Arguments;
            }
            Some(_) => return Exit::Input,
            None => {}
        }
        if cause.is::<std::io::Error>() || cause.is::<serde_json::Error>() || cause.is::<artifact::Error>() {
            return Exit::Input;
        }
    }
    Exit::Arguments
}
