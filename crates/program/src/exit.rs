//! Exit codes, and errors of one line.

use std::process::ExitCode;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It ran, and the answer is "no": nothing passed the filters, a teacher failed, a file does
    /// not match its report, no noise is enough.
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

/// An error, as one link of a chain of causes.
pub type Cause<'a> = &'a (dyn std::error::Error + 'static);

/// The code for an error: that of its first cause whose kind is known, and [`Exit::Arguments`]
/// where there is none.
///
/// `own` knows the kinds of the program's own library, and is asked before the shared ones.
pub fn code(error: &anyhow::Error, own: impl Fn(Cause<'_>) -> Option<Exit>) -> Exit {
    error.chain().find_map(|cause| own(cause).or_else(|| of_a_file(cause))).unwrap_or(Exit::Arguments)
}

/// The code for errors of the crates that read and write files.
pub fn of_a_file(cause: Cause<'_>) -> Option<Exit> {
    use artifact::Error;
    match cause.downcast_ref() {
        // An output in an input's place is a matter of the command line.
        Some(Error::IsInput { .. } | Error::SameOutput { .. }) => return Some(Exit::Arguments),
        Some(_) => return Some(Exit::Input),
        None => {}
    }
    let reads =
        cause.is::<tensorfile::Error>() || cause.is::<serde_json::Error>() || cause.is::<std::io::Error>();
    reads.then_some(Exit::Input)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn codes_are_those_of_the_manual() {
        let codes =
            [Exit::Done, Exit::No, Exit::Arguments, Exit::Input, Exit::Refused, Exit::Bug, Exit::Stopped];
        assert_eq!(codes.map(|c| c as u8), [0, 1, 2, 3, 4, 101, 130]);
    }

    #[test]
    fn the_first_known_cause_decides() {
        let of = |error: anyhow::Error| code(&error.context("while testing"), |_| None);
        assert_eq!(of(anyhow::anyhow!("two flags that do not go together")), Exit::Arguments);
        assert_eq!(of(std::io::Error::other("the disk").into()), Exit::Input);
        let missing = artifact::FileRecord::of(Path::new("no such file")).unwrap_err();
        assert_eq!(of(missing.into()), Exit::Input);
        let own = |cause: Cause<'_>| cause.is::<std::io::Error>().then_some(Exit::Refused);
        assert_eq!(code(&std::io::Error::other("a budget").into(), own), Exit::Refused);
    }
}
