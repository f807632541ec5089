//! Shell completions of all binaries, as files.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::check;
use crate::context::Context;
use crate::fetch::write_file;
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
            write_file(&out.join(shell).join(format!("{before}{name}{after}")), &output.stdout)?;
            n += 1;
        }
    }
    println!("{n} files in {}", out.display());
    Ok(())
}
