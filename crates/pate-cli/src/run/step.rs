//! The interface of a step, and its life from arguments to exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, Parser};
use pate_core::Error;
use program::{Exit, eprint_line};

use super::help::command;
use super::{Context, Outcome, RunArgs, outcome};

/// A step of the pipeline: its command line, and what it does.
pub trait Step: Parser {
    /// The seed where none is given.
    const DEFAULT_SEED: u64 = 42;

    /// Flags of shared groups, by their id, and the key of the configuration that each beats; a
    /// flag of one step alone has `[config: section.key]` in its help instead. The help shows the
    /// key and its built-in value.
    const KEYS: &[(&str, &str)] = &[];

    /// Defaults, by id, that the flags' own help cannot have because other steps have others.
    const DEFAULTS: &[(&str, &str)] = &[];

    /// Whether a run reads nothing private where its report is public. Where one may, a public
    /// report says neither the command line, which names private files, nor the time, which private
    /// work takes a part of.
    const PUBLIC_WHERE_ITS_REPORT_IS: bool = false;

    /// The group that every binary has.
    fn run_args(&self) -> &RunArgs;

    /// Does the step: opens the inputs, calls the method, writes the outputs.
    ///
    /// # Errors
    /// Whatever keeps it from its end; the kind of the error decides the exit code.
    fn run(&self, ctx: &Context) -> Result<Outcome>;
}

/// Parses the arguments, sets up the run, does the step, prints the error if there is one, and
/// gives the exit code.
pub fn run<S: Step>() -> ExitCode {
    program::start();
    // Before anything is read: from here on no output takes the place of an input.
    artifact::keep_inputs();
    let mut command = command::<S>();
    let matches = match program::matches(&mut command) {
        Ok(matches) => matches,
        Err(done) => return done,
    };
    // Before the step's code, whose first lock holds its outputs against these.
    name_inputs(&command, &matches);
    let args = S::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit());
    let verbose = args.run_args().verbose;
    let result = Context::new::<S>(args.run_args()).and_then(|context| args.run(&context));
    match result {
        Ok(Outcome::Done) => Exit::Done.into(),
        Ok(Outcome::No(reason)) => {
            eprint_line(&format!("result: {reason}"));
            Exit::No.into()
        }
        Err(error) => {
            // The work that was interrupted is not the cause of the stop.
            let stopped = error.downcast_ref::<Error>().filter(|error| matches!(error, Error::Stopped));
            let code = match stopped {
                Some(stopped) => {
                    eprint_line(&format!("error: {stopped}"));
                    Exit::Stopped.into()
                }
                None => program::fail(&error, outcome::exit_of),
            };
            if verbose && let Some(Error::Torch { full, .. }) = error.downcast_ref() {
                full.lines().for_each(eprint_line);
            }
            code
        }
    }
}

/// Every path that was given on the command line and is no output is an input: no output takes its
/// place.
fn name_inputs(command: &Command, matches: &ArgMatches) {
    for arg in command.get_arguments().filter(|arg| arg.get_help_heading() != Some(OUTPUT)) {
        let id = arg.get_id().as_str();
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let flag = format!("--{}", arg.get_long().unwrap_or(id));
        // An argument of another type names no file by itself.
        for path in matches.try_get_many::<PathBuf>(id).ok().flatten().into_iter().flatten() {
            artifact::name_input(&flag, path);
        }
    }
}

/// The help's heading over flags that name outputs.
const OUTPUT: &str = "Output";
