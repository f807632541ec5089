//! `interop`: Python reads what the programs write, the programs read what Python writes, and both
//! get the same numbers.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;

use crate::bench;
use crate::check;
use crate::context::{Context, run_watched};
use crate::fetch::remove_dir;
use crate::pyenv;

/// Where everything goes, relative to the checkout.
const DIR: &str = "runs/interop";

/// Builds, then lets the scripts in `tests/interop` run and look at everything. Exit code 1: an
/// item failed.
pub(crate) fn run(ctx: &Context) -> anyhow::Result<ExitCode> {
    let python = pyenv::find_or_make()?;
    check::build(ctx)?;
    let start = Instant::now();
    remove_dir(&ctx.root().join(DIR))?;
    let mut scripts = python.command();
    // -B: no compiled scripts beside those of the checkout.
    scripts.current_dir(ctx.root()).args(["-B", "tests/interop/interop.py", "--data", "data", "--dir", DIR]);
    scripts.arg("--programs").arg(ctx.release_dir()).arg("--bench-settings").arg(bench::settings());
    let mut counted = false;
    let passed = run_watched(&mut scripts, |line| counted |= is_count(line))?;
    println!("interop: {:.0} s after the build; files in {DIR}", start.elapsed().as_secs_f64());
    if !counted {
        bail!("tests/interop/interop.py ended before its count");
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `N passed, N failed, N skipped`.
fn is_count(line: &str) -> bool {
    let numbers = |word: &str| word.parse::<u32>().is_ok();
    matches!(line.split(' ').collect::<Vec<_>>()[..], [passed, "passed,", failed, "failed,", skipped, "skipped"]
        if [passed, failed, skipped].into_iter().all(numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_line_is_the_count() {
        assert!(is_count("66 passed, 3 failed, 0 skipped"));
        assert!(!is_count("ok       labels: 66 passed, 3 failed, 0 skipped"));
        assert!(!is_count("all passed, 0 failed, 0 skipped"));
    }
}
