//! How a step ended, and its exit code.

use pate_core::Error;
use program::{Cause, Exit, of_a_file};

/// What a step that ran to its end has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// It ran, and the answer is "no", for this reason.
    No(String),
}

/// The code for errors of the method, by their kind.
pub(super) fn exit_of(cause: Cause<'_>) -> Option<Exit> {
    Some(match cause.downcast_ref::<Error>()? {
        Error::Stopped => Exit::Stopped,
        Error::Invalid(_) => Exit::Arguments,
        Error::Artifact(error) => of_a_file(error)?,
        _ => Exit::Input,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_kind_of_error_decides() {
        let of = |error: Error| program::code(&anyhow::Error::from(error).context("while testing"), exit_of);
        assert_eq!(of(Error::Stopped), Exit::Stopped);
        assert_eq!(of(Error::invalid("x")), Exit::Arguments);
        assert_eq!(of(Error::content(Path::new("a"), "b", "c")), Exit::Input);
        let missing = artifact::FileRecord::of(Path::new("no such file")).unwrap_err();
        assert_eq!(of(missing.into()), Exit::Input);
    }
}
