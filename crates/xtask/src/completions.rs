//! Shell completions of all binaries, as files.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::check;
use crate::context::Context;
use crate::tidy;

/// A shell, and what stands before and after a program's name in the file where it looks for its
/// completions.
const SHELLS: [(&str, &str, &str); 5] = [
    ("bash", "", ".bash"),
    ("zsh", "_", ""),
    ("fish", "", ".fish"),
    ("powershell", "", ".ps1"),
    ("elvish", "", ".elv"),
];

/// Builds all binaries and asks each for its completions: `<out>/<shell>/<file>`.
pub(crate) fn run(ctx: &Context, out: &Path) -> anyhow::Result<()> {
    check::build(ctx)?;
    let out = ctx.root().join(out);
    let mut n = 0;
    for name in tidy::bins(ctx.root()) {
        let program = ctx.release_dir().join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        for (shell, before, after) in SHELLS {
            let output = ctx
                .program(&program)
                .args(["--completions", shell])
                .output()
                .with_context(|| format!("cannot start {}", program.display()))?;
            if !output.status.success() || output.stdout.is_empty() {
                bail!("{name} --completions {shell} gave nothing ({})", output.status);
            }
            write(&out.join(shell).join(format!("{before}{name}{after}")), &output.stdout)?;
            n += 1;
        }
    }
    println!("{n} files in {}", out.display());
    Ok(())
}

/// By way of a file beside it, so that a shell never reads half of one.
fn write(path: &PathBuf, bytes: &[u8]) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(cannot)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
    file.write_all(bytes).with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    Ok(())
}
