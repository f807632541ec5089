//! How every program of this project meets its shell: exit codes, faults of one line, signals, completions.

mod signals;

use std::io::Write as _;
use std::process::ExitCode;

use clap_complete::Shell;

pub use signals::listen;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It ran, and the answer is "no": nothing passed the filters, a teacher failed, a file does not match its report, no noise is enough.
    No = 1,
    /// The arguments cannot be used (the same code as clap's own).
    Arguments = 2,
    /// A file could not be read, used or written.
    Input = 3,
    /// A privacy budget does not allow it.
    Refused = 4,
    /// A bug in this program.
    Bug = 101,
    /// Stopped on request.
    Stopped = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Longer faults are cut: a name out of a file may be megabytes.
const LONGEST: usize = 10_000;

/// Writes a line to standard error, as [`one_line`] has it; an error that is closed is no fault.
pub fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", one_line(text, LONGEST));
}

/// A text that may come out of a file, on one line, cut after `longest` characters: [`input_file::shown`].
pub fn one_line(text: &str, longest: usize) -> String {
    input_file::shown(text, longest)
}

/// Writes to standard output, and gives `exit` where that went well. A reader that went away is no fault.
pub fn print(bytes: &[u8], exit: Exit) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            complain(&format!("error: cannot write to standard output: {error}"));
            Exit::Input.into()
        }
        _ => exit.into(),
    }
}

/// To be called first in every program: from here on a panic prints one line, and where a file may not grow any further, writing to it is an error of one line.
pub fn start() {
    report_bugs();
    signals::survive_full_files();
}

/// From here on a panic, which is a bug, prints one line: libtorch's own messages run over 24 lines of addresses.
fn report_bugs() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
        let message = info.payload_as_str().unwrap_or("no message");
        complain(&format!("bug{place}: {}", message.lines().next().unwrap_or_default()));
    }));
}

/// The completions of a program for a shell.
pub fn completions(command: &mut clap::Command, shell: Shell) -> Vec<u8> {
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

    #[test]
    fn codes_are_those_of_the_manual() {
        let codes =
            [Exit::Done, Exit::No, Exit::Arguments, Exit::Input, Exit::Refused, Exit::Bug, Exit::Stopped];
        assert_eq!(codes.map(|c| c as u8), [0, 1, 2, 3, 4, 101, 130]);
    }
}
