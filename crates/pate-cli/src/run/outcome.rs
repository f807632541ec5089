use pate_core::Error;
use shell::Exit;

/// What a step that ran to its end has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// It ran, and the answer is "no", for this reason.
    No(String),
}

/// The code for an error, by its kind.
pub(crate) fn code(error: &anyhow::Error) -> Exit {
    let artifact = match error.downcast_ref::<Error>() {
        Some(Error::Artifact(error)) => Some(error),
        _ => error.downcast_ref::<artifact::Error>(),
    };
    // An output in an input's place is a matter of the command line.
    if let Some(artifact::Error::IsInput { .. } | artifact::Error::SameOutput { .. }) = artifact {
        return Exit::Arguments;
    }
    match error.downcast_ref::<Error>() {
        Some(Error::Stopped) => Exit::Stopped,
        Some(Error::Invalid(_)) => Exit::Arguments,
        Some(_) => Exit::Input,
        None if error.is::<artifact::Error>() || error.is::<tensorfile::Error>() => Exit::Input,
        // Standard output that cannot be written to.
        None if error.is::<std::io::Error>() => Exit::Input,
        None => Exit::Arguments,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_kind_of_fault_decides() {
        let of = |error: Error| code(&anyhow::Error::from(error).context("while testing"));
        assert_eq!(of(Error::Stopped), Exit::Stopped);
        assert_eq!(of(Error::invalid("x")), Exit::Arguments);
        assert_eq!(of(Error::content(Path::new("a"), "b", "c")), Exit::Input);
        assert_eq!(code(&anyhow::anyhow!("two flags that do not go together")), Exit::Arguments);
        let missing = artifact::FileRecord::of(Path::new("no such file")).unwrap_err();
        assert_eq!(code(&missing.into()), Exit::Input);
    }
}
