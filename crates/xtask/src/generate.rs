//! What is generated in the repository: pages and tables of the book and the README, out of the
//! programs' own definitions and the modules' first lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::context::{Context, run as run_command};

/// Writes all that is generated; with `check` nothing is written, and a difference is an error.
pub(crate) fn run(ctx: &Context, check: bool) -> Result<()> {
    let root = ctx.root();
    let pages = tempfile::tempdir()?;
    let arguments =
        ["run", "--release", "--quiet", "--locked", "--package", "pate-cli", "--example", "pages", "--"];
    run_command(ctx.cargo(&arguments).arg(pages.path()))?;
    let mut wanted: BTreeMap<PathBuf, String> = BTreeMap::new();
    let book = Path::new("docs/src");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(pages.path().join("programs"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !matches!(name.as_str(), "table.md" | "keys.md") {
            wanted.insert(book.join("programs").join(&name), read(&path)?);
            names.push(name.trim_end_matches(".md").to_owned());
        }
    }
    names.sort();
    let table = read(&pages.path().join("programs/table.md"))?;
    let mut put = |file: &str, block: &str, text: &str| -> Result<()> {
        let path = PathBuf::from(file);
        let before = match wanted.remove(&path) {
            Some(text) => text,
            None => read(&root.join(&path))?,
        };
        wanted.insert(path, with_block(&before, block, text).with_context(|| file.to_owned())?);
        Ok(())
    };
    put("README.md", "programs", &table.replace("](programs/", "](docs/src/programs/"))?;
    put("docs/src/programs.md", "programs", &table)?;
    put("docs/src/configuration.md", "keys", &read(&pages.path().join("programs/keys.md"))?)?;
    let listed: String = names.iter().map(|name| format!("  - [{name}](programs/{name}.md)\n")).collect();
    put("docs/src/SUMMARY.md", "programs", &listed)?;
    put("docs/src/contributing.md", "map", &map(root)?)?;

    let mut stale = Vec::new();
    for (path, text) in &wanted {
        let place = root.join(path);
        if std::fs::read_to_string(&place).is_ok_and(|found| found == *text) {
            continue;
        }
        stale.push(path.display().to_string());
        if !check {
            write(&place, text)?;
        }
    }
    if !check {
        println!("generate: {} of {} files written", stale.len(), wanted.len());
        return Ok(());
    }
    if !stale.is_empty() {
        bail!("not as generated: {}; run cargo xtask generate", stale.join(", "));
    }
    println!("generate: {} files are as generated", wanted.len());
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// By way of a file beside it, so that a reader never sees half of one.
fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let cannot = || format!("cannot write {}", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(cannot)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
    file.write_all(text.as_bytes()).with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    Ok(())
}

/// Puts a text between the marks of a block.
fn with_block(page: &str, block: &str, text: &str) -> Result<String> {
    let (open, close) = (format!("<!-- generated: {block} -->"), "<!-- /generated -->");
    let parts = page
        .split_once(&open)
        .and_then(|(before, rest)| Some((before, rest.split_once(close)?.1)));
    let Some((before, after)) = parts else {
        bail!("there is no block between {open} and {close}");
    };
    Ok(format!("{before}{open}\n\n{}\n\n{close}{after}", text.trim()))
}

/// The crates and the rooms of the two large ones, each with the first sentence of its source.
fn map(root: &Path) -> Result<String> {
    let mut text = "| crate | |\n|---|---|\n".to_owned();
    let mut crates: Vec<PathBuf> = std::fs::read_dir(root.join("crates"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    crates.sort();
    for path in &crates {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let source = ["lib.rs", "main.rs"].map(|file| path.join("src").join(file));
        let Some(source) = source.iter().find(|source| source.is_file()) else { continue };
        let _ = writeln!(text, "| `{name}` | {} |", first_sentence(&read(source)?));
    }
    for name in ["pate-core", "pate-cli"] {
        let _ = write!(text, "\n| room of `{name}` | |\n|---|---|\n");
        let src = root.join("crates").join(name).join("src");
        for (room, sentence) in rooms(&src)? {
            let _ = writeln!(text, "| `{room}` | {sentence} |");
        }
    }
    Ok(text)
}

/// The public modules of a library, in the order in which its head lists them.
fn rooms(src: &Path) -> Result<Vec<(String, String)>> {
    let lib = read(&src.join("lib.rs"))?;
    let mut found = Vec::new();
    for line in lib.lines().filter_map(|line| line.strip_prefix("//! - [")) {
        let name = line.split(']').next().unwrap_or_default().trim_matches('`').trim_start_matches("mod@");
        let file = src.join(format!("{name}.rs"));
        if file.is_file() {
            found.push((name.to_owned(), first_sentence(&read(&file)?)));
        }
    }
    Ok(found)
}

/// The first sentence of a file's head comment.
fn first_sentence(text: &str) -> String {
    let head: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let paragraph: Vec<&str> = head.into_iter().take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    let end = paragraph.find(". ").map_or(paragraph.len(), |at| at + 1);
    paragraph[..end].replace("[`", "`").replace("`]", "`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_replaced_and_the_rest_stays() {
        let page = "a\n<!-- generated: x -->\nold\n<!-- /generated -->\nb\n";
        let new = with_block(page, "x", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- generated: x -->\n\nnew\n\n<!-- /generated -->\nb\n");
        assert_eq!(with_block(&new, "x", "new").unwrap(), new);
        assert!(with_block(page, "y", "new").is_err());
    }

    #[test]
    fn the_first_sentence_is_that_of_the_head() {
        let text = "//! Candidates: images\n//! of a decoder. More.\n//!\n//! Else.\nuse x;\n";
        assert_eq!(first_sentence(text), "Candidates: images of a decoder.");
        assert_eq!(first_sentence("//! See [`a`]: b\n"), "See `a`: b");
        assert_eq!(first_sentence("use x;"), "");
    }
}
