//! Links and anchors of the Markdown pages: each names a file or a heading that is there.
//!
//! Links to the web are not followed, since a check must give the same answer without a network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// The folder of the book's sources. What it links to must lie in it, or the built book has a dead
/// link.
const BOOK: &str = "docs/src";

/// What a page links to and what can be linked to in it.
#[derive(Debug, Default)]
struct Page {
    /// Destinations, images among them, each with its line.
    links: Vec<(usize, String)>,
    anchors: BTreeSet<String>,
}

/// Every link of these pages that leads nowhere, and every page of the book that its summary does
/// not name.
pub(crate) fn breaches(root: &Path, files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut pages = BTreeMap::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "md")) {
        let path = root.join(file);
        // A page that was removed stands in git's list until the removal is committed.
        if path.is_file() {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            pages.insert(file.clone(), Page::of(&text));
        }
    }
    let mut found = Vec::new();
    for (file, page) in &pages {
        for (line, link) in &page.links {
            if let Some(reason) = breach(root, file, link, &pages) {
                found.push(format!("{}:{line}: {link}: {reason}", file.display()));
            }
        }
    }
    found.extend(unnamed_pages(&pages));
    Ok(found)
}

impl Page {
    fn of(text: &str) -> Self {
        let mut page = Self::default();
        let mut heading: Option<String> = None;
        let options = Options::ENABLE_TABLES;
        for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    let line = 1 + text[..range.start].matches('\n').count();
                    page.links.push((line, dest_url.into_string()));
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => page.add_anchor(&heading.take().unwrap_or_default()),
                Event::Text(words) | Event::Code(words) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&words);
                    }
                }
                _ => {}
            }
        }
        page
    }

    /// The name that forges and mdBook both give a heading; one that comes again gets a number.
    fn add_anchor(&mut self, heading: &str) {
        let kept = heading.chars().filter_map(|symbol| match symbol {
            ' ' => Some('-'),
            '-' | '_' => Some(symbol),
            _ if symbol.is_alphanumeric() => Some(symbol.to_ascii_lowercase()),
            _ => None,
        });
        let name: String = kept.collect();
        let numbered = (1..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| !self.anchors.contains(name));
        self.anchors.extend(free);
    }
}

/// Why a link leads nowhere.
fn breach(root: &Path, from: &Path, link: &str, pages: &BTreeMap<PathBuf, Page>) -> Option<String> {
    if ["https://", "http://", "mailto:"].iter().any(|start| link.starts_with(start)) {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = if path.is_empty() {
        from.to_path_buf()
    } else {
        normal(&from.parent().unwrap_or(Path::new("")).join(path))
    };
    if !root.join(&target).exists() {
        return Some("there is no such file".to_owned());
    }
    if from.starts_with(BOOK) && !target.starts_with(BOOK) {
        return Some(format!("the built book holds nothing from outside of {BOOK}"));
    }
    let anchor = anchor?;
    let known = pages.get(&target).is_some_and(|page| page.anchors.contains(anchor));
    (!known).then(|| format!("{} has no heading of that name", target.display()))
}

/// Pages that nobody who turns the book's leaves comes to.
fn unnamed_pages(pages: &BTreeMap<PathBuf, Page>) -> Vec<String> {
    let book = Path::new(BOOK);
    let summary = book.join("SUMMARY.md");
    let Some(named) = pages.get(&summary) else { return Vec::new() };
    let named: BTreeSet<PathBuf> = named.links.iter().map(|(_, link)| book.join(link)).collect();
    let unnamed =
        pages.keys().filter(|page| page.starts_with(book) && **page != summary && !named.contains(*page));
    unnamed.map(|page| format!("{}: {} does not name it", page.display(), summary.display())).collect()
}

/// A path without `.` and `..`, by its text alone.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            _ => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_and_headings_are_named() {
        let root = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        };
        put("LICENSE", "");
        put(
            "README.md",
            "# A `b`: c\n[x](docs/src/p.md#two-words) [y](docs/src/p.md#no) [z](#a-b-c)\n![p](q.png)\n```\n[i](n)\n```\n",
        );
        put("docs/src/SUMMARY.md", "- [p](p.md)\n");
        put(
            "docs/src/p.md",
            "## Two words\n## Two words\n[r](../../LICENSE)\n[s](#two-words-1)\n[h](https://a)",
        );
        put("docs/src/q.md", "");
        let files = ["README.md", "docs/src/SUMMARY.md", "docs/src/p.md", "docs/src/q.md", "gone.md"];
        let found = breaches(root.path(), &files.map(PathBuf::from)).unwrap();
        assert_eq!(
            found,
            [
                "README.md:2: docs/src/p.md#no: docs/src/p.md has no heading of that name",
                "README.md:3: q.png: there is no such file",
                "docs/src/p.md:3: ../../LICENSE: the built book holds nothing from outside of docs/src",
                "docs/src/q.md: docs/src/SUMMARY.md does not name it",
            ]
        );
    }
}
