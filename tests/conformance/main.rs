//! The original Python program's inputs and outputs, reproduced by our binaries: one line per case.
//!
//! The whole folder comes from `PATE_CONFORMANCE_DIR` (set by `cargo xtask conformance --dir`),
//! else `../shared/conformance` beside the checkout. An [`extract`] of it is committed, and runs
//! everywhere. Without the whole folder, cases that the extract has no files for are ignored, and
//! counted so.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

mod containers;
mod extract;
mod steering;
mod steps;

/// Where the inputs and expected outputs are.
#[derive(Clone)]
struct Dir {
    folder: PathBuf,
    /// Whether this is the committed part alone.
    is_extract: bool,
}

impl Dir {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn json(&self, name: &str) -> Result<Value, Failed> {
        let path = self.path(name);
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }
}

fn workspace() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap_or(root)
}

fn find() -> Option<Dir> {
    let folder = match std::env::var_os("PATE_CONFORMANCE_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => workspace().join("../shared/conformance"),
    };
    let folder = folder.canonicalize().ok()?;
    folder.join("expected").is_dir().then_some(Dir { folder, is_extract: false })
}

/// What must hold of a case, with its files in a folder.
type Check = Box<dyn Fn(&Dir) -> Result<(), Failed> + Send>;

/// One recorded case.
struct Case {
    name: String,
    /// Whether the extract has all that it needs.
    in_extract: bool,
    check: Check,
}

impl Case {
    fn new(
        name: impl Into<String>,
        in_extract: bool,
        check: impl Fn(&Dir) -> Result<(), Failed> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), in_extract, check: Box::new(check) }
    }

    fn trial(self, prefix: &str, dir: &Dir) -> Trial {
        let dir = dir.clone();
        Trial::test(format!("{prefix}{}", self.name), move || (self.check)(&dir))
    }

    /// The case of a clone without the whole folder.
    fn ignored(self) -> Trial {
        let reason = "needs the whole folder of cases, and there is no ../shared/conformance";
        Trial::test(self.name, || Ok(())).with_kind(reason).with_ignored_flag(true)
    }
}

fn cases() -> Vec<Case> {
    let mut all = steps::cases();
    all.extend(containers::cases());
    all.push(steering::case());
    all
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let whole = find();
    if std::env::var_os("PATE_WRITE_EXTRACT").is_some() {
        let written =
            whole.as_ref().ok_or_else(|| "there is no whole folder".into()).and_then(extract::write);
        if let Err(error) = written {
            panic!("the extract could not be written: {}", error.message().unwrap_or_default());
        }
    }
    let extract = Dir { folder: extract::folder(), is_extract: true };
    let mut trials: Vec<Trial> = cases()
        .into_iter()
        .filter(|case| case.in_extract)
        .map(|case| case.trial("extract/", &extract))
        .collect();
    match &whole {
        Some(whole) => trials.extend(cases().into_iter().map(|case| case.trial("", whole))),
        None => trials.extend(cases().into_iter().filter(|case| !case.in_extract).map(Case::ignored)),
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs a binary and gives its standard output.
fn run(program: &str, args: &[&str]) -> Result<String, Failed> {
    let output = Command::new(program).args(args).args(["--device", "cpu", "--quiet"]).output()?;
    if !output.status.success() {
        return Err(format!(
            "{program} {args:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Fails unless `found` is within `relative` of `expected`.
fn close(what: &str, found: f64, expected: f64, relative: f64) -> Result<(), Failed> {
    let scale = expected.abs().max(1e-9);
    if (found - expected).abs() <= relative * scale {
        return Ok(());
    }
    Err(format!("{what} is {found}, expected {expected} within {relative} relative").into())
}

/// Compares every leaf of `expected` with `found`: numbers within `relative`, everything else
/// exactly. `skip` names fields, at any depth, that are paths, hashes or wording.
fn same(what: &str, found: &Value, expected: &Value, skip: &[&str], relative: f64) -> Result<usize, Failed> {
    match expected {
        Value::Object(map) => {
            let mut compared = 0;
            for (key, value) in map {
                if !skip.contains(&key.as_str()) {
                    compared += same(&format!("{what}.{key}"), &found[key], value, skip, relative)?;
                }
            }
            Ok(compared)
        }
        Value::Array(list) => {
            let n = found.as_array().map_or(0, Vec::len);
            if n != list.len() {
                return Err(format!("{what} has {n} entries, expected {}", list.len()).into());
            }
            let mut compared = 0;
            for (i, value) in list.iter().enumerate() {
                compared += same(&format!("{what}[{i}]"), &found[i], value, skip, relative)?;
            }
            Ok(compared)
        }
        Value::Number(number) if number.is_f64() => {
            let found = found.as_f64().ok_or_else(|| format!("{what} is {found}, expected {number}"))?;
            close(what, found, number.as_f64().unwrap_or(f64::NAN), relative)?;
            Ok(1)
        }
        _ if found == expected => Ok(1),
        _ => Err(format!("{what} is {found}, expected {expected}").into()),
    }
}
