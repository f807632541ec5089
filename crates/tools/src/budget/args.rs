//! What is typed.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use dp_accounting::calibrate;

/// Say what differential privacy costs, before and after
///
/// Exact where that can be had, rounded towards more spent elsewhere. Nothing here reads private
/// data, but figures of data-dependent cases, which are marked, and the ledger, which holds what
/// was released.
#[derive(Parser)]
#[command(
    name = "privacy-budget",
    version,
    after_help = "\
Examples:
  privacy-budget cost --cases cases.json --format json
  privacy-budget cost --ledger private/ledger.jsonl
  privacy-budget calibrate --epsilon 1 --delta 1e-5 --q 0.00427 --steps 3516
  privacy-budget calibrate --epsilon 2 --delta 1e-5 --answers 115 --screens 400 --sigma1 63
  privacy-budget table --q 0.01 --delta 1e-5 --sigma 0.8 --sigma 1.0 --steps 1000 --steps 10000
  privacy-budget plot --q 0.01 --delta 1e-5 --sigma 0.8 --sigma 1.2 --steps 10000 --out epsilon.svg
  privacy-budget ledger private/ledger.jsonl

Exit codes: 0 done, 1 no noise meets the target, 2 arguments, 3 a file could not be read or written."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    completions: program::CompletionsArgs,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// What the mechanisms of a file cost, under every accountant that applies
    Cost(CostArgs),
    /// The smallest noise that meets a target, rounded up
    Calibrate(Calibrate),
    /// What if: a table over noise and steps, or over answers
    Table(TableArgs),
    /// Draw epsilon, or sigma, against the number of steps
    Plot(PlotArgs),
    /// What a ledger says: whose it is, what was spent, which guarantee holds
    Ledger(LedgerArgs),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccountantName {
    /// Privacy loss distributions: tight, what a certificate needs
    #[default]
    Pld,
    /// Renyi divergences: quick, 3 to 10% more noise
    Rdp,
}

impl AccountantName {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pld => "pld",
            Self::Rdp => "rdp",
        }
    }
}

impl From<AccountantName> for calibrate::Accountant {
    fn from(name: AccountantName) -> Self {
        match name {
            AccountantName::Pld => Self::Pld,
            AccountantName::Rdp => Self::Rdp,
        }
    }
}

#[derive(Args)]
#[command(group = ArgGroup::new("input").required(true).multiple(false), after_help = "\
A case of any mechanisms together, which may be ledgers' entries as they stand:
  [{\"id\": \"all\", \"delta\": 1e-5, \"adjacency\": \"add_or_remove_one\", \"parts\": [
    {\"mechanism\": \"gaussian\", \"parameters\": {\"sigma\": 8, \"sensitivity_l2\": 1}},
    {\"mechanism\": \"gnmax_screen\", \"parameters\": {\"sigma\": 150}, \"count\": 400,
     \"converted_from\": \"replace_one_shard\"},
    {\"q\": 0.01, \"sigma\": 1.1, \"steps\": 1000},
    {\"intent\": {\"mechanism\": {\"mechanism\": \"pure\", \"epsilon\": 0.1}, \"count\": 1,
     \"adjacency\": \"add_or_remove_one\", \"run\": \"only\", \"purpose\": \"a choice\"}}]}]

Mechanisms of parts, and their parameters:
  gaussian                     sigma, sensitivity_l2
  discrete_gaussian            sigma, sensitivity
  poisson_subsampled_gaussian  q, sigma
  laplace                      scale, sensitivity_l1
  pure                         epsilon
  gnmax_screen, gnmax_answer   sigma
  lnmax_answer                 lambda

Votes hide a whole shard (replace_one_shard); a part may count them under another relation by
saying what they are converted from. Sampled steps count under add_or_remove_one alone.")]
pub(crate) struct CostArgs {
    /// JSON: an array of {id, mechanism, parameters, delta} or of {id, parts, delta}, or an object
    /// with that under `cases` and counts under `vote_sets`
    #[arg(long, value_name = "FILE", group = "input")]
    pub(crate) cases: Option<PathBuf>,
    /// A data set's ledger, for everything that was charged to it; it is only read
    #[arg(long, value_name = "FILE", group = "input")]
    pub(crate) ledger: Option<PathBuf>,
    /// For what has none of its own: ledgers' entries; for a ledger, another one than its budget's
    #[arg(long)]
    pub(crate) delta: Option<f64>,
    /// Leave out what takes longest, the checks of epsilon_pld: epsilon_pld_fine and epsilon_prv
    #[arg(long)]
    pub(crate) quick: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args, Default)]
pub(crate) struct Calibrate {
    /// The target, above 0
    #[arg(long)]
    pub(crate) epsilon: f64,
    /// Above 0 and below 1; 1e-5 is usual for 60,000 records
    #[arg(long)]
    pub(crate) delta: f64,
    /// DP-SGD: probability with which a record takes part in a step [default: 1]
    #[arg(long, conflicts_with = "answers")]
    pub(crate) q: Option<f64>,
    /// DP-SGD: number of steps [default: 1]
    #[arg(long, conflicts_with = "answers")]
    pub(crate) steps: Option<u64>,
    /// DP-SGD: the accountant
    #[arg(long, value_enum, default_value_t)]
    pub(crate) accountant: AccountantName,
    /// DP-SGD: how far above the smallest sigma the answer may lie
    #[arg(long, default_value_t = 1e-5)]
    pub(crate) tolerance: f64,
    /// Votes: answers of GNMax, at most
    #[arg(long)]
    pub(crate) answers: Option<u64>,
    /// Votes: screens of Confident-GNMax, at most
    #[arg(long, requires_all = ["answers", "sigma1"])]
    pub(crate) screens: Option<u64>,
    /// Votes: noise of the screens
    #[arg(long, requires = "screens")]
    pub(crate) sigma1: Option<f64>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args)]
pub(crate) struct TableArgs {
    /// Above 0 and below 1
    #[arg(long)]
    pub(crate) delta: f64,
    /// DP-SGD: probability with which a record takes part in a step
    #[arg(long, default_value_t = 1.0)]
    pub(crate) q: f64,
    /// DP-SGD: a row's noise multiplier; repeat for more
    #[arg(long)]
    pub(crate) sigma: Vec<f64>,
    /// DP-SGD: a column's number of steps; repeat for more
    #[arg(long)]
    pub(crate) steps: Vec<u64>,
    /// DP-SGD: the accountant
    #[arg(long, value_enum, default_value_t)]
    pub(crate) accountant: AccountantName,
    /// Votes: a column's number of answers; repeat for more
    #[arg(long, conflicts_with_all = ["sigma", "steps"])]
    pub(crate) answers: Vec<u64>,
    /// Votes: a row's target; repeat for more
    #[arg(long, conflicts_with_all = ["sigma", "steps"])]
    pub(crate) epsilon: Vec<f64>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args)]
pub(crate) struct PlotArgs {
    /// Above 0 and below 1
    #[arg(long)]
    pub(crate) delta: f64,
    /// Probability with which a record takes part in a step
    #[arg(long, default_value_t = 1.0)]
    pub(crate) q: f64,
    /// A curve of epsilon for this noise multiplier; repeat for more
    #[arg(long, conflicts_with = "epsilon")]
    pub(crate) sigma: Vec<f64>,
    /// A curve of sigma for this epsilon; repeat for more
    #[arg(long)]
    pub(crate) epsilon: Vec<f64>,
    /// The largest number of steps
    #[arg(long)]
    pub(crate) steps: u64,
    /// Points on each curve
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) points: u64,
    /// The accountant
    #[arg(long, value_enum, default_value_t)]
    pub(crate) accountant: AccountantName,
    /// The picture, .png or .svg
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Args)]
pub(crate) struct LedgerArgs {
    /// A data set's ledger; it is only read
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Field cases, row 10: hints to options that do not exist. Every option that any text of this
    /// program, or of the accounting that it prints, names is one that a command has; and what the
    /// accounting would have changed, a user can change.
    #[test]
    fn hints_name_options_that_exist() {
        let command = Cli::command();
        let known: Vec<String> = command
            .get_subcommands()
            .chain([&command])
            .flat_map(clap::Command::get_arguments)
            .filter_map(|argument| argument.get_long().map(str::to_owned))
            .chain(["help".to_owned(), "version".to_owned()])
            .collect();
        let mut named = 0;
        for text in [
            include_str!("args.rs"),
            include_str!("case.rs"),
            include_str!("../budget.rs"),
            include_str!("mixed.rs"),
            include_str!("plan.rs"),
            include_str!("text.rs"),
            include_str!("../../../dp-accounting/src/calibrate.rs"),
            include_str!("../../../dp-accounting/src/error.rs"),
            include_str!("../../../dp-accounting/src/pld.rs"),
        ] {
            for hint in text.split("--").skip(1) {
                let end = hint.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
                let name = hint.get(..end.unwrap_or(hint.len())).unwrap_or_default().trim_end_matches('-');
                if !name.is_empty() {
                    assert!(known.iter().any(|option| option == name), "--{name} is no option");
                    named += 1;
                }
            }
        }
        assert!(named > 20, "{named}");
    }
}
