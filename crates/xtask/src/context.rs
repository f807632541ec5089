//! Where the checkout is, and how other programs are run.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The checkout that a chore works on.
#[derive(Debug)]
pub(crate) struct Context {
    root: PathBuf,
}

impl Context {
    /// The checkout that this program was built from, or that cargo runs it for.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.join("..").join("..");
        let root =
            root.canonicalize().with_context(|| format!("the checkout {} is not there", root.display()))?;
        Ok(Self { root: without_verbatim_prefix(root) })
    }

    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo puts what it builds in the one profile that this repository uses.
    pub(crate) fn release_dir(&self) -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        self.root.join(target).join("release")
    }

    /// A program to be run in the root of the checkout.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// Cargo, the same one that runs this program.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments);
        command
    }

    /// An example of `pate-cli`, built first. Its package alone has other features of other
    /// people's libraries than the workspace, and would have everything compiled a second time.
    pub(crate) fn example(&self, name: &str) -> anyhow::Result<Command> {
        run(&mut self.cargo(&[
            "build",
            "--release",
            "--quiet",
            "--workspace",
            "--locked",
            "--example",
            name,
        ]))?;
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        Ok(self.program(self.release_dir().join("examples").join(file)))
    }
}

/// Runs a program with this terminal as its own; a non-zero exit code is an error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    announce(command);
    let name = short_name(command);
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name} ended with {status}");
    }
    Ok(())
}

/// Runs a program, prints each line of its stdout as it comes and hands it to `on_line`; says
/// whether it succeeded.
pub(crate) fn run_watched(command: &mut Command, mut on_line: impl FnMut(&str)) -> anyhow::Result<bool> {
    announce(command);
    let name = short_name(command);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {name}"))?;
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).with_context(|| format!("cannot read from {name}"))? > 0 {
            let text = String::from_utf8_lossy(&bytes);
            print!("{text}");
            on_line(text.trim_end());
            bytes.clear();
        }
    }
    Ok(child.wait().with_context(|| format!("lost {name}"))?.success())
}

/// What a program writes to stdout, without showing or announcing it; `None` where it is not there
/// or fails.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Prints a command line the way that a person would type it.
fn announce(command: &Command) {
    eprintln!("$ {}", command_line(command));
}

fn command_line(command: &Command) -> String {
    let quoted = |word: &OsStr| {
        let word = word.to_string_lossy();
        if word.is_empty() || word.contains(' ') { format!("\"{word}\"") } else { word.into_owned() }
    };
    let words = command.get_args().map(quoted);
    std::iter::once(program_name(command)).chain(words).collect::<Vec<_>>().join(" ")
}

/// The program and its first word, as in `cargo clippy`: enough for a message behind the whole
/// line.
fn short_name(command: &Command) -> String {
    let name = program_name(command);
    match command.get_args().next().and_then(OsStr::to_str) {
        Some(word) if !word.starts_with('-') => format!("{name} {word}"),
        _ => name,
    }
}

/// Where a program lies says little: `cargo` for `/somewhere/bin/cargo`.
fn program_name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = if program.is_absolute() { program.file_stem() } else { None };
    name.unwrap_or(command.get_program()).to_string_lossy().into_owned()
}

/// Windows' canonical paths start with `\\?\`, which many programs refuse.
fn without_verbatim_prefix(path: PathBuf) -> PathBuf {
    match path.to_str().and_then(|text| text.strip_prefix(r"\\?\")) {
        Some(plain) if !plain.starts_with("UNC") => PathBuf::from(plain),
        _ => path,
    }
}

/// Finds a program in the folders of `PATH`, as a shell would.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let names: &[&str] = if cfg!(windows) { &[".exe", ".cmd", ".bat"] } else { &[""] };
    std::env::split_paths(&std::env::var_os("PATH")?)
        .flat_map(|folder| names.iter().map(move |ending| folder.join(format!("{program}{ending}"))))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_shown_as_typed() {
        let program = std::path::absolute("cargo").unwrap();
        let mut command = Command::new(program);
        command.args(["test", "--", "a b", ""]);
        assert_eq!(command_line(&command), r#"cargo test -- "a b" """#);
        assert_eq!(short_name(&command), "cargo test");
        assert_eq!(short_name(Command::new("curl").arg("--fail")), "curl");
    }

    #[test]
    fn windows_verbatim_paths_become_plain() {
        assert_eq!(without_verbatim_prefix(r"\\?\C:\clone".into()), PathBuf::from(r"C:\clone"));
        assert_eq!(without_verbatim_prefix(r"\\?\UNC\host\x".into()), PathBuf::from(r"\\?\UNC\host\x"));
        assert_eq!(without_verbatim_prefix("/clone".into()), PathBuf::from("/clone"));
    }

    #[test]
    fn absent_programs_are_not_found_and_not_an_error() {
        assert_eq!(which("no-such-program-anywhere"), None);
        assert_eq!(ask(&mut Command::new("no-such-program-anywhere")), None);
    }
}
