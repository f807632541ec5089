//! What can go wrong, in one line with the hint.

use std::path::{Path, PathBuf};

use tch::TchError;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a step could not be done. Messages are one line and say how to fix it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be written, hashed or locked.
    #[error(transparent)]
    Artifact(#[from] artifact::Error),
    /// A tensor file could not be read or written.
    #[error(transparent)]
    TensorFile(#[from] tensorfile::Error),
    /// What a file holds is not what the step needs.
    #[error("{}: {problem}; {hint}", path.display())]
    Content {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, with the offending value.
        problem: String,
        /// What would be right, and how to get there.
        hint: String,
    },
    /// An option or a combination of options that cannot be met.
    #[error("{0}")]
    Invalid(String),
    /// libtorch refused an operation.
    #[error("libtorch: {summary}")]
    Torch {
        /// The first line of libtorch's message.
        summary: String,
        /// All of it, with its backtrace.
        full: String,
    },
    /// A budget, or noise.
    #[error(transparent)]
    Accounting(dp_accounting::Error),
    /// The run was asked to stop (Ctrl-C).
    #[error("stopped on request; files that were finished are complete, and the same command again goes on")]
    Stopped,
}

impl Error {
    /// [`Error::Content`] from its three parts.
    pub fn content(path: &Path, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Content { path: path.to_path_buf(), problem: problem.into(), hint: hint.into() }
    }

    /// [`Error::Invalid`] from a message.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }
}

impl From<dp_accounting::Error> for Error {
    fn from(error: dp_accounting::Error) -> Self {
        match error {
            // Our own error on its way back through the accountant.
            dp_accounting::Error::Statistic(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(other) => Self::Accounting(dp_accounting::Error::Statistic(other)),
            },
            other => Self::Accounting(other),
        }
    }
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        let full = error.to_string();
        let summary = full.lines().next().unwrap_or_default().to_owned();
        Self::Torch { summary, full }
    }
}
