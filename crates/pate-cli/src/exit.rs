use std::process::ExitCode;

use pate_core::Error;

/// How a step ended, for the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It ran, and the answer is "no": nothing passed the filters, a teacher failed.
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

/// What a step that ran to its end has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// It ran, and the answer is "no", for this reason.
    No(String),
}

impl Exit {
    /// The code for an error, by its kind.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        match error.downcast_ref::<Error>() {
            Some(Error::Stopped) => Self::Stopped,
            Some(Error::Invalid(_)) => Self::Arguments,
            Some(_) => Self::Input,
            None if error.is::<artifact::Error>() || error.is::<tensorfile::Error>() => Self::Input,
            // Standard output that cannot be written to.
            None if error.is::<std::io::Error>() => Self::Input,
            None => Self::Arguments,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_kind_of_fault_decides() {
        let of = |error: Error| Exit::of(&anyhow::Error::from(error).context("while testing"));
        assert_eq!(of(Error::Stopped), Exit::Stopped);
        assert_eq!(of(Error::invalid("x")), Exit::Arguments);
        assert_eq!(of(Error::content(Path::new("a"), "b", "c")), Exit::Input);
        assert_eq!(Exit::of(&anyhow::anyhow!("two flags that do not go together")), Exit::Arguments);
        let missing = artifact::FileRecord::of(Path::new("no such file")).unwrap_err();
        assert_eq!(Exit::of(&missing.into()), Exit::Input);
    }

    #[test]
    fn codes_are_those_of_the_manual() {
        let codes =
            [Exit::Done, Exit::No, Exit::Arguments, Exit::Input, Exit::Refused, Exit::Bug, Exit::Stopped];
        assert_eq!(codes.map(|c| c as u8), [0, 1, 2, 3, 4, 101, 130]);
    }
}
