//! How every program of this project meets its shell: exit codes, errors of one line, tables,
//! signals, completions.

mod exit;
mod signals;
mod table;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use clap_complete::Shell;

pub use exit::{Cause, Exit, code, of_a_file};
pub use signals::listen;
pub use table::{Align, Table};

/// Longer errors are cut: a name out of a file may be megabytes.
const LONGEST: usize = 10_000;

/// Writes a line to standard error, as [`one_line`] has it; where nobody reads it, nothing is lost.
pub fn eprint_line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", one_line(text, LONGEST));
}

/// A text that may come out of a file, on one line, cut after `longest` characters:
/// [`input_file::shown`].
pub fn one_line(text: &str, longest: usize) -> String {
    input_file::shown(text, longest)
}

/// Writes to standard output, and gives `exit` where that went well. A reader that went away is no
/// error.
pub fn print(bytes: &[u8], exit: Exit) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprint_line(&format!("error: cannot write to standard output: {error}"));
            Exit::Input.into()
        }
        _ => exit.into(),
    }
}

/// To be called first in every program: from here on a panic prints one line, and where a file may
/// not grow any further, writing to it is an error of one line.
pub fn start() {
    report_bugs();
    signals::survive_full_files();
}

/// From here on a panic, which is a bug, prints one line: libtorch's own messages run over 24 lines
/// of addresses.
fn report_bugs() {
    std::panic::set_hook(Box::new(|info| {
        // Its caller tells of the file.
        if input_file::is_guarded() {
            return;
        }
        let place = info.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
        let message = info.payload_as_str().unwrap_or("no message");
        eprint_line(&format!("bug{place}: {}", message.lines().next().unwrap_or_default()));
    }));
}

/// Prints an error on one line, and gives its code by [`code`].
pub fn fail(error: &anyhow::Error, own: impl Fn(Cause<'_>) -> Option<Exit>) -> ExitCode {
    eprint_line(&format!("error: {error:#}"));
    code(error, own).into()
}

/// The flag by which every program prints its completions; see [`matches()`].
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Run")]
pub struct CompletionsArgs {
    /// Print the completions of this program for a shell, and do nothing else
    #[arg(long, value_name = "SHELL", exclusive = true)]
    completions: Option<Shell>,
}

/// The command line of this process, read by `command`, which has [`CompletionsArgs`].
///
/// # Errors
/// Nothing is left to do: completions were asked for, and are printed.
pub fn matches(command: &mut Command) -> Result<ArgMatches, ExitCode> {
    let matches = command.get_matches_mut();
    match matches.get_one::<Shell>("completions") {
        // Read before any struct is filled, since other flags may be required.
        Some(&shell) => Err(print(&completions(command, shell), Exit::Done)),
        None => Ok(matches),
    }
}

/// The completions of a program for a shell.
fn completions(command: &mut clap::Command, shell: Shell) -> Vec<u8> {
    // To memory: the generator panics where it cannot write.
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, command, name, &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_out_of_a_file_is_harmless_and_short() {
        assert_eq!(one_line("a\u{1b}[2J\nb\u{202e}c é", 99), "a\\u{1b}[2J\\u{a}b\\u{202e}c é");
        assert_eq!(one_line("éxyz", 3), "éxy...");
        assert_eq!(one_line("éxy", 3), "éxy");
    }
}
