//! The Pythons of this machine: one may own a PyTorch, and pip is the way to the wheels.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

use crate::context::ask;

/// A Python interpreter, as the words that start it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Python(Vec<OsString>);

/// The PyTorch of a Python.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PyTorch {
    /// As in `2.13.0+cpu`.
    pub(crate) version: String,
    /// The package's folder, which has libtorch in `lib/` and `include/`.
    pub(crate) home: PathBuf,
}

impl Python {
    /// The interpreter of this name or path.
    pub(crate) fn named(program: impl AsRef<OsStr>) -> Self {
        Self(vec![program.as_ref().to_owned()])
    }

    /// The interpreter that torch-sys asks when `LIBTORCH_USE_PYTORCH` is set.
    pub(crate) fn of_torch_sys() -> Self {
        let name = match (cfg!(windows), std::env::var_os("VIRTUAL_ENV").is_some()) {
            (true, _) => "python.exe",
            (false, true) => "python",
            (false, false) => "python3",
        };
        Self::named(name)
    }

    /// All interpreters worth asking, torch-sys's own first.
    pub(crate) fn candidates() -> Vec<Self> {
        let mut found = vec![Self::of_torch_sys()];
        let others: &[&[&'static str]] =
            if cfg!(windows) { &[&["py", "-3"]] } else { &[&["python3"], &["python"]] };
        for words in others {
            let python = Self(words.iter().map(OsString::from).collect());
            if !found.contains(&python) {
                found.push(python);
            }
        }
        found
    }

    /// The first interpreter that is a Python 3 and has pip.
    pub(crate) fn with_pip() -> Option<Self> {
        Self::candidates().into_iter().find(|python| python.pip_version().is_some())
    }

    /// A command that starts this interpreter.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.0[0]);
        command.args(&self.0[1..]);
        command
    }

    /// As in `Python 3.11.7`.
    pub(crate) fn version(&self) -> Option<String> {
        ask(self.command().args([
            "-c",
            "import sys; assert sys.version_info >= (3,); print('Python', sys.version.split()[0])",
        ]))
    }

    /// As in `pip 23.2.1`.
    pub(crate) fn pip_version(&self) -> Option<String> {
        self.version()?;
        let line = ask(self.command().args(["-m", "pip", "--version"]))?;
        Some(line.split(" from ").next().unwrap_or(&line).to_owned())
    }

    /// The PyTorch that this interpreter imports; an installation that is broken counts as none.
    pub(crate) fn pytorch(&self) -> Option<PyTorch> {
        parse_pytorch(&ask(self
            .command()
            .args(["-c", "import torch; print(torch.__version__); print(torch.__path__[0])"]))?)
    }

    /// The interpreter as a person would type it.
    pub(crate) fn name(&self) -> String {
        self.0.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }
}

fn parse_pytorch(answer: &str) -> Option<PyTorch> {
    let mut lines = answer.lines().rev();
    let home = PathBuf::from(lines.next()?.trim());
    let version = lines.next()?.trim().to_owned();
    version.starts_with(|first: char| first.is_ascii_digit()).then_some(PyTorch { version, home })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_lines_are_the_answer() {
        let answer = "some warning\n2.13.0+cu130\n/venv/lib/python3.11/site-packages/torch";
        let home = PathBuf::from("/venv/lib/python3.11/site-packages/torch");
        assert_eq!(parse_pytorch(answer), Some(PyTorch { version: "2.13.0+cu130".into(), home }));
        assert_eq!(parse_pytorch("only one line"), None);
        assert_eq!(parse_pytorch("a\nb"), None);
    }

    #[test]
    fn torch_sys_is_asked_first_and_nobody_twice() {
        let candidates = Python::candidates();
        assert_eq!(candidates[0], Python::of_torch_sys());
        let names: std::collections::BTreeSet<_> = candidates.iter().map(Python::name).collect();
        assert_eq!(names.len(), candidates.len());
    }
}
