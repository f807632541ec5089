//! What is generated in the repository: pages and tables of the book and the README, out of the
//! programs' own definitions and the modules' first lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::context::{Context, ask, run as run_command};
use crate::rooms;

/// The configuration of the book, which stands beside its sources.
const BOOK: &str = "docs";

/// Builds the book as a web site.
pub(crate) fn docs(ctx: &Context) -> Result<()> {
    if ask(ctx.program("mdbook").arg("--version")).is_none() {
        bail!("mdbook is not installed: cargo install mdbook --locked (once, three minutes)");
    }
    run(ctx, false)?;
    run_command(ctx.program("mdbook").args(["build", BOOK]))?;
    println!("the book: {}", ctx.root().join("target/book/index.html").display());
    Ok(())
}

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
    // Their heading stands in the block as well: what comes between them would end the list.
    let mut listed = vec!["- [Programs](programs.md)".to_owned()];
    listed.extend(names.iter().map(|name| format!("  - [{name}](programs/{name}.md)")));
    put("docs/src/SUMMARY.md", "programs", &listed.join("\n"))?;
    put("CONTRIBUTING.md", "map", &map(root)?)?;
    wanted.insert(book.join("map.md"), source_map(root)?);
    for (file, page) in [("CONTRIBUTING.md", "contributing.md"), ("CHANGELOG.md", "changelog.md")] {
        let path = PathBuf::from(file);
        let text = match wanted.get(&path) {
            Some(text) => text.clone(),
            None => read(&root.join(&path))?,
        };
        wanted.insert(book.join(page), as_page(file, &text));
    }

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
    let parts = page.split_once(&open).and_then(|(before, rest)| Some((before, rest.split_once(close)?.1)));
    let Some((before, after)) = parts else {
        bail!("there is no block between {open} and {close}");
    };
    Ok(format!("{before}{open}\n\n{}\n\n{close}{after}", text.trim()))
}

/// A file of the root as a page of the book, whose links start in another folder.
fn as_page(file: &str, text: &str) -> String {
    format!(
        "<!-- generated by cargo xtask generate out of {file} -->\n\n{}",
        text.replace("](docs/src/", "](")
    )
}

/// The crates, and the rooms of the two large ones, each with the first sentence of its source.
fn map(root: &Path) -> Result<String> {
    let mut text = "| crate | |\n|---|---|\n".to_owned();
    for (name, source) in crates(root)? {
        let _ = writeln!(text, "| `{name}` | {} |", first_sentence(&read(&source)?));
    }
    for (name, order) in [("pate-core", rooms::core()), ("pate-cli", rooms::CLI.to_vec())] {
        let _ = write!(text, "\n| room of `{name}` | |\n|---|---|\n");
        let declared = modules(&root.join("crates").join(name).join("src/lib.rs"))?;
        for room in order {
            for Declared { name, sentence, .. } in declared.iter().filter(|module| module.name == *room) {
                let _ = writeln!(text, "| `{name}` | {sentence} |");
            }
        }
    }
    Ok(text)
}

/// Every module of every crate, with the first sentence of its source.
fn source_map(root: &Path) -> Result<String> {
    let mut text =
        "<!-- generated by cargo xtask generate out of the modules' first lines -->\n\n# Source map\n\n\
                    A module's own words. [Contributing](contributing.md) says how they hang together.\n"
            .to_owned();
    for (name, source) in crates(root)? {
        let _ = write!(text, "\n## {name}\n\n{}\n", first_sentence(&read(&source)?));
        let mut rows = String::new();
        module_rows(&source, "", &mut rows)?;
        if !rows.is_empty() {
            let _ = write!(text, "\n| module | |\n|---|---|\n{rows}");
        }
    }
    Ok(text)
}

/// Rows for the modules that a file declares and for those inside them.
fn module_rows(file: &Path, inside: &str, rows: &mut String) -> Result<()> {
    for Declared { name, source, sentence } in modules(file)? {
        let path = format!("{inside}{name}");
        let _ = writeln!(rows, "| `{path}` | {sentence} |");
        module_rows(&source, &format!("{path}/"), rows)?;
    }
    Ok(())
}

/// Names of the crates, each with the file in which its modules are declared.
fn crates(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join("crates"))? {
        let path = entry?.path();
        let sources = ["lib.rs", "main.rs"].map(|file| path.join("src").join(file));
        if let Some(source) = sources.into_iter().find(|source| source.is_file()) {
            found.push((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), source));
        }
    }
    found.sort();
    Ok(found)
}

/// A module as the file above it declares it.
struct Declared {
    name: String,
    source: PathBuf,
    /// The first sentence of its head.
    sentence: String,
}

/// The modules that a file declares, in its order, but those of tests.
fn modules(file: &Path) -> Result<Vec<Declared>> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = match stem.as_str() {
        "lib" | "main" => file.with_file_name(""),
        _ => file.with_extension(""),
    };
    let mut found = Vec::new();
    for line in read(file)?.lines() {
        let line = line.strip_prefix("pub ").or(line.strip_prefix("pub(crate) ")).unwrap_or(line);
        let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) else { continue };
        let source = folder.join(format!("{name}.rs"));
        if source.is_file() {
            let sentence = first_sentence(&read(&source)?);
            if sentence.is_empty() {
                bail!("{}: its first line says what it is for: //! and a sentence", source.display());
            }
            found.push(Declared { name: name.to_owned(), source, sentence });
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
    let mut sentence = paragraph[..end].replace("[`", "`");
    // Links of rustdoc lead nowhere in a book.
    while let Some((before, after)) = sentence.split_once("`](") {
        let after = after.split_once(')').map_or("", |(_, after)| after);
        sentence = format!("{before}`{after}");
    }
    sentence.replace("`]", "`")
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
    fn links_of_a_page_start_in_the_book() {
        let page = as_page("A.md", "# A\n[b](docs/src/b.md#c) [d](https://d)\n");
        assert_eq!(
            page,
            "<!-- generated by cargo xtask generate out of A.md -->\n\n# A\n[b](b.md#c) [d](https://d)\n"
        );
    }

    #[test]
    fn the_first_sentence_is_that_of_the_head() {
        let text = "//! Candidates: images\n//! of a decoder. More.\n//!\n//! Else.\nuse x;\n";
        assert_eq!(first_sentence(text), "Candidates: images of a decoder.");
        assert_eq!(first_sentence("//! See [`a`]: b\n"), "See `a`: b");
        assert_eq!(first_sentence("//! See [`a`](crate::a), b.\n"), "See `a`, b.");
        assert_eq!(first_sentence("use x;"), "");
    }
}
