//! The original Python program's inputs and outputs, reproduced by our binaries: one line per case.
//!
//! The folder comes from `PATE_CONFORMANCE_DIR` (set by `cargo xtask conformance --dir`), else `../shared/conformance` beside the
//! checkout. Where there is none, the cases are counted as skipped, with the reason.

#![expect(clippy::print_stdout, reason = "the runner's counts of skips read this")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

mod containers;
mod steering;
mod steps;

/// Where the inputs and expected outputs are.
#[derive(Clone)]
struct Dir(PathBuf);

impl Dir {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
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
    let dir = match std::env::var_os("PATE_CONFORMANCE_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => workspace().join("../shared/conformance"),
    };
    let dir = dir.canonicalize().ok()?;
    dir.join("expected").is_dir().then_some(Dir(dir))
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let Some(dir) = find() else {
        let skipped = Trial::test("skipped_without_the_folder_of_cases", || {
            println!(
                "skipped: conformance: no folder of cases (PATE_CONFORMANCE_DIR, or ../shared/conformance)"
            );
            Ok(())
        });
        return libtest_mimic::run(&arguments, vec![skipped]).exit_code();
    };
    let mut trials: Vec<Trial> = Vec::new();
    trials.extend(steps::trials(&dir));
    trials.extend(containers::trials(&dir));
    trials.push(steering::trial(&dir));
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

/// Compares every leaf of `expected` with `found`: numbers within `relative`, everything else exactly. `skip` names
/// fields, at any depth, that are paths, hashes or wording.
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
