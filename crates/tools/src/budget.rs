//! `privacy-budget`: what differential privacy costs, before and after.
//!
//! Reads: files of cases, ledgers. Writes: a plot where one is asked for. Privacy: spends nothing
//! and draws nothing. Links no libtorch.

mod args;
mod case;
mod mixed;
mod plan;
mod text;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _};
use dp_accounting::ledger::Account;
use program::{Cause, Exit, eprint_line};
use serde_json::{Value, json};

use self::args::{Cli, Command, Format};

/// Its command line.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The program.
pub fn run() -> ExitCode {
    program::start();
    let mut command = command();
    let cli = match program::matches(&mut command) {
        Ok(matches) => Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()),
        Err(done) => return done,
    };
    let Some(command) = cli.command else {
        eprint_line("error: give a command: cost, calibrate, table, plot or ledger (--help shows examples)");
        return Exit::Arguments.into();
    };
    match answer(&command) {
        Ok(text) => program::print(text.as_bytes(), Exit::Done),
        Err(error) => program::fail(&error, exit_of),
    }
}

fn answer(command: &Command) -> anyhow::Result<String> {
    let (value, format) = match command {
        Command::Cost(args) => {
            let costs = match (&args.cases, &args.ledger) {
                (Some(path), _) => {
                    let text = input_file::read_text(path, input_file::JSON)
                        .with_context(|| format!("cannot read {}", path.display()))?;
                    case::costs(&text, args.delta, args.quick).with_context(|| path.display().to_string())?
                }
                (None, Some(path)) => vec![
                    of_ledger(&Account::read(path)?, args.delta, args.quick)
                        .with_context(|| path.display().to_string())?,
                ],
                (None, None) => anyhow::bail!("give a file of cases with --cases, or a ledger with --ledger"),
            };
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

/// What was charged to a ledger, as a case.
fn of_ledger(account: &Account, delta: Option<f64>, quick: bool) -> anyhow::Result<Value> {
    let delta = delta.unwrap_or(account.header.budget.epsilon_delta().1);
    let mut all = serde_json::Map::new();
    all.insert("id".to_owned(), json!(account.header.dataset));
    all.insert("mechanism".to_owned(), json!("composition"));
    all.insert("delta".to_owned(), json!(delta));
    all.extend(mixed::Mixed::of_ledger(account).figures(delta, quick)?);
    let note = "what was charged so far; the guarantee is the ledger's budget, since what happens to be spent may depend on the data";
    all.insert("note".to_owned(), json!(note));
    Ok(Value::Object(all))
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
        "fraction_spent": account.fraction_spent(),
        "intents_without_result": account.open(),
        "bytes_cut_off_at_the_end": account.torn,
        "formal_guarantee": label.to_json(),
        "formal_guarantee_reason": label.reason(),
        "sentence": label.sentence(),
    })
}

/// The code for errors of the accounting.
fn exit_of(cause: Cause<'_>) -> Option<Exit> {
    use dp_accounting::Error;
    Some(match cause.downcast_ref()? {
        Error::Unreachable { .. } | Error::Reached { .. } => Exit::No,
        Error::Parameter { .. }
        | Error::Length { .. }
        | Error::TooLarge { .. }
        | Error::Unsupported { .. } => Exit::Arguments,
        _ => Exit::Input,
    })
}
