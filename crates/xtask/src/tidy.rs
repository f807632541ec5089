//! `cargo xtask tidy`: the rules of this repository that no compiler knows.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::context::{Context, ask};
use crate::{links, rooms, sums};

/// Larger files belong into one of [`DATA`], or not into the repository.
const MAX_BYTES: u64 = 1_500_000;

/// Folders of data.
const DATA: [&str; 2] = ["data/", "tests/conformance/extract/"];

/// Prints every breach; one is enough for an error.
pub(crate) fn check(ctx: &Context) -> anyhow::Result<()> {
    let root = ctx.root();
    let files = repository_files(ctx)?;
    let mut breaches = Vec::new();
    for file in &files {
        let path = root.join(file);
        let name = file.to_string_lossy().replace('\\', "/");
        let Ok(meta) = path.metadata() else { continue };
        if meta.len() > MAX_BYTES && !DATA.iter().any(|folder| name.starts_with(folder)) {
            let places = DATA.join(" and ");
            breaches.push(format!(
                "{name}: {} bytes, and only {places} may hold more than {MAX_BYTES}",
                meta.len()
            ));
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        breaches.extend(text_breaches(&name, &text));
        if name == "justfile" {
            breaches.extend(justfile_breaches(&text));
        }
        if name.ends_with("/Cargo.toml") {
            breaches.extend(
                TEST_CRATES.iter().filter_map(|(made, why)| test_crate_breach(&name, &text, made, why)),
            );
        }
        breaches.extend(rooms::breaches(&name, &text));
        if path.extension().is_some_and(|ending| ending == "rs") {
            breaches.extend(wide_comments(&name, &text));
            breaches.extend(unseen_tests(&name, &text));
        }
    }
    breaches.extend(unnamed_bins(root));
    breaches.extend(links::breaches(root, &files)?);
    let (wrong, n_data) = sums::check_list(&root.join("data"))?;
    breaches.extend(
        wrong.iter().map(|path| format!("{}: is missing or differs from SHA256SUMS", path.display())),
    );
    for breach in &breaches {
        println!("{breach}");
    }
    if !breaches.is_empty() {
        bail!("{} breaches of the rules of this repository", breaches.len());
    }
    println!("tidy: {} files, {n_data} of them data with the right hashes", files.len());
    Ok(())
}

/// The widest line of a comment.
const COMMENT_WIDTH: usize = 100;

/// Comments that are wider than people read them; tables and examples of code may be.
fn wide_comments(name: &str, text: &str) -> Vec<String> {
    let mut in_code = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(comment) = line.trim_start().strip_prefix("//") else {
            in_code = false;
            continue;
        };
        let comment = comment.trim_start_matches(['/', '!']).trim_start();
        if comment.starts_with("```") {
            in_code = !in_code;
        }
        let may = in_code || comment.starts_with('|') || !comment.contains(' ');
        if !may && line.chars().count() > COMMENT_WIDTH {
            found.push(format!("{name}:{}: a comment is wider than {COMMENT_WIDTH} columns", index + 1));
        }
    }
    found
}

/// Crates that no program may link, and what they are.
const TEST_CRATES: [(&str, &str); 2] =
    [("dp-noise-testing", "noise with a seed hides nothing"), ("testing", "it is for tests")];

/// A crate that is for `[dev-dependencies]` alone, in another section.
fn test_crate_breach(name: &str, manifest: &str, made: &str, why: &str) -> Option<String> {
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let key = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let is_table = section.trim_end_matches(']').ends_with(&format!("dependencies.{made}"));
        let depends = section.contains("dependencies") && key == made || is_table;
        if depends && !section.starts_with("[dev-dependencies") {
            return Some(format!(
                "{name}: {made} is for [dev-dependencies] alone ({why}), and stands in {section}"
            ));
        }
    }
    None
}

/// Files that are or could be committed: what git knows, or all that no ignored folder holds where
/// git is not there.
fn repository_files(ctx: &Context) -> anyhow::Result<Vec<PathBuf>> {
    let listed =
        ask(ctx.program("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]));
    if let Some(listed) = listed.filter(|listed| !listed.is_empty()) {
        return Ok(listed.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect());
    }
    let mut files = Vec::new();
    walk(ctx.root(), Path::new(""), &mut files)?;
    Ok(files)
}

fn walk(root: &Path, inner: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    const LEFT_OUT: [&str; 6] = [".git", "target", ".libtorch", "runs", "datasets", "completions"];
    let folder = root.join(inner);
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let path = inner.join(&name);
        match entry.file_type()? {
            kind if kind.is_dir() && !LEFT_OUT.iter().any(|left_out| name == *left_out) => {
                walk(root, &path, files)?;
            }
            kind if kind.is_file() => files.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// Words that no file may hold, each with the reason. Written in two parts, so that this file does
/// not hold them.
fn forbidden_words(name: &str) -> Vec<(String, &'static str)> {
    let word = |a: &str, b: &str| format!("{a}{b}");
    let mut words = vec![
        (word("/wo", "rk/"), "a path of one machine"),
        (word("/ro", "ot/"), "a path of one machine"),
        (word("/ho", "me/"), "a path of one machine"),
        (word("/Us", "ers/"), "a path of one machine"),
        (word(r"C:\Us", r"ers\"), "a path of one machine"),
    ];
    if Path::new(name).extension().is_some_and(|ext| ext == "rs") {
        words.extend([
            (word("#[ig", "nore"), "a test that does not run"),
            (word("tod", "o!("), "code that is not there"),
            (word("unimple", "mented!("), "code that is not there"),
            (word("TO", "DO"), "code that is not there"),
        ]);
    }
    words
}

fn text_breaches(name: &str, text: &str) -> Vec<String> {
    let words = forbidden_words(name);
    let lines = text.lines().enumerate();
    lines
        .flat_map(|(index, line)| {
            let found = words.iter().filter(|(word, _)| line.contains(word.as_str()));
            found.map(move |(word, reason)| format!("{name}:{}: {word} is {reason}", index + 1))
        })
        .collect()
}

/// Tests of programs under `src/bin` are not run: what is worth a test belongs to the library.
fn unseen_tests(name: &str, text: &str) -> Option<String> {
    let has_tests = name.contains("/src/bin/") && text.lines().any(|line| line.trim() == "#[test]");
    has_tests
        .then(|| format!("{name}: tests of programs under src/bin are not run; move them into the library"))
}

/// A recipe line must mean the same to sh and to PowerShell: one program with plain arguments.
fn justfile_breaches(text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut in_recipe = false;
    for (index, line) in text.lines().enumerate() {
        let indented = line.starts_with([' ', '\t']);
        if !indented && !line.is_empty() {
            in_recipe = opens_recipe(line);
        } else if indented
            && in_recipe
            && let Some(reason) = recipe_line_breach(line.trim())
        {
            breaches.push(format!("justfile:{}: {reason}: {}", index + 1, line.trim()));
        }
    }
    breaches
}

/// `name args: dependencies`, but not `name := value`, `set ...`, a comment or an attribute.
fn opens_recipe(line: &str) -> bool {
    let settings = ["#", "[", "set ", "alias ", "import ", "mod ", "export "];
    line.contains(':') && !line.contains(":=") && !settings.iter().any(|word| line.starts_with(word))
}

/// Why a line of a recipe is not one program with plain arguments; `None` if it is.
fn recipe_line_breach(line: &str) -> Option<String> {
    if line.starts_with("#!") {
        return Some("a script in another language".into());
    }
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let words = without_interpolations(line.trim_start_matches(['@', '-']));
    let mut in_quotes = false;
    for symbol in words.chars() {
        match symbol {
            '"' => in_quotes = !in_quotes,
            // Both shells expand these inside double quotes too.
            '$' | '`' => return Some(format!("{symbol} means different things to the shells")),
            '\'' | '\\' => return Some(format!("{symbol} quotes differently in the shells")),
            '&' | '|' | '<' | '>' | ';' | '(' | ')' | '{' | '}' if !in_quotes => {
                return Some(format!("{symbol} asks for more than one program with arguments"));
            }
            '*' | '?' | '[' | ']' | '~' if !in_quotes => {
                return Some(format!("{symbol} is expanded by one shell and not by the other"));
            }
            ',' | '@' | '%' | '#' | '!' | '^' if !in_quotes => {
                return Some(format!("{symbol} outside of double quotes is syntax to one of the shells"));
            }
            _ => {}
        }
    }
    if in_quotes {
        return Some("a double quote is not closed".into());
    }
    if words.starts_with('"') {
        return Some("PowerShell prints a quoted word instead of running it".into());
    }
    let split = |word: &&str| word.starts_with('-') && !word.starts_with("--") && word.contains(['.', ':']);
    if let Some(word) = words.split(' ').find(split) {
        return Some(format!("PowerShell splits {word} in two"));
    }
    let first = words.split(' ').next().unwrap_or_default();
    if first.contains('=') {
        return Some("a variable set for one command is not known to PowerShell".into());
    }
    let builtins = ["cd", "mkdir", "rm", "cp", "mv", "export", "source", "echo", "cat", "test", "set"];
    builtins.contains(&first).then(|| format!("{first} is another program in PowerShell"))
}

/// Puts one plain word where just puts the value of an expression.
fn without_interpolations(line: &str) -> String {
    let mut rest = line;
    let mut plain = String::new();
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((_, behind)) = after.split_once("}}") else { break };
        plain.push_str(before);
        plain.push('x');
        rest = behind;
    }
    plain + rest
}

/// Names of all binaries that users run, sorted.
pub(crate) fn bins(root: &Path) -> Vec<String> {
    let of = |package: &str| std::fs::read_dir(root.join("crates").join(package).join("src").join("bin"));
    let mut names: Vec<_> = [of("pate-cli"), of("tools")]
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir() || path.extension().is_some_and(|ext| ext == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

/// Every binary is in the README and has a recipe.
fn unnamed_bins(root: &Path) -> Vec<String> {
    let names = bins(root);
    let mut breaches = Vec::new();
    for page in ["README.md", "justfile"] {
        // A page that is not there names nothing.
        let text = std::fs::read_to_string(root.join(page)).unwrap_or_default();
        let missing = names.iter().filter(|name| !names_word(&text, name));
        breaches.extend(missing.map(|name| format!("{page}: does not name the binary {name}")));
    }
    breaches
}

/// Whether `word` stands in `text` by itself, not as a part of a longer name.
fn names_word(text: &str, word: &str) -> bool {
    let part_of_name = |symbol: char| symbol.is_alphanumeric() || symbol == '-' || symbol == '_';
    text.match_indices(word).any(|(start, _)| {
        !text[..start].ends_with(part_of_name) && !text[start + word.len()..].starts_with(part_of_name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_recipe_lines_pass() {
        for line in [
            "cargo xtask demo",
            "@cargo run --release --bin label-filter -- --out-dir {{out}}/teacher_0",
            "-cargo xtask doctor",
            "{{bin}}/pretrain-decoder --config {{config}} --learning-rate 0.001",
            "cargo xtask data mnist --root \"my data, all of it\"",
            "# a comment; with && anything | in it",
            "x --text {{ if os() == 'windows' { '$a' } else { 'b;' } }}",
        ] {
            assert_eq!(recipe_line_breach(line), None, "{line}");
        }
    }

    #[test]
    fn lines_that_only_one_shell_understands_are_breaches() {
        for line in [
            "a && b",
            "a | b",
            "a > file",
            "a < file",
            "a; b",
            "a $HOME",
            "a \"$HOME\"",
            "a `b`",
            "a *.pt",
            "a teacher_?",
            "a 'b'",
            "a b\\c",
            "a \\",
            "a --list 1,2",
            "a --x \"open",
            "\"a program\" b",
            "RUST_LOG=info a",
            "mkdir -p out",
            "a -x:1",
            "(a)",
            "#!/usr/bin/env python3",
        ] {
            assert!(recipe_line_breach(line).is_some(), "{line}");
        }
    }

    #[test]
    fn only_recipe_lines_of_a_justfile_are_looked_at() {
        let text = "set windows-shell := [\"pwsh.exe\", \"-Command\"]
out := \"runs\" / 'a' # $
# Makes it; then | stops.
make name=\"x\": setup
    cargo make > out

list := [
    'a;b'
]
";
        let breaches = justfile_breaches(text);
        assert_eq!(breaches.len(), 1, "{breaches:?}");
        assert!(breaches[0].starts_with("justfile:5: > asks for more"), "{}", breaches[0]);
    }

    #[test]
    fn forbidden_words_are_found_with_their_lines() {
        let text = format!("fine\nsee {}someone/x\n{})]\n", concat!("/ho", "me/"), concat!("#[ig", "nore"));
        let in_rust = text_breaches("a.rs", &text);
        assert_eq!(in_rust.len(), 2, "{in_rust:?}");
        assert!(in_rust[0].starts_with("a.rs:2: ") && in_rust[1].starts_with("a.rs:3: "), "{in_rust:?}");
        assert_eq!(text_breaches("a.md", &text).len(), 1);
        assert!(text_breaches("tidy.rs", include_str!("tidy.rs")).is_empty());
    }

    #[test]
    fn comments_are_narrow_but_for_tables_and_code() {
        let long = "word ".repeat(22);
        let found = wide_comments(
            "a.rs",
            &format!("/// {long}\n/// | {long} |\n//! ```\n//! {long}\n//! ```\nlet x = \"{long}\";"),
        );
        assert_eq!(found, ["a.rs:1: a comment is wider than 100 columns"]);
    }

    #[test]
    fn tests_that_would_not_be_run_are_named() {
        let text = "fn main() {}\n    #[test]\n    fn it_works() {}\n";
        assert!(unseen_tests("crates/a/src/bin/b.rs", text).is_some());
        assert!(unseen_tests("crates/a/src/b.rs", text).is_none());
        assert!(unseen_tests("crates/a/src/bin/b.rs", "fn main() {}\n").is_none());
    }

    #[test]
    fn noise_with_a_seed_is_for_tests_alone() {
        let breach =
            |manifest: &str| test_crate_breach("a/Cargo.toml", manifest, "dp-noise-testing", "it has a seed");
        let line = "dp-noise-testing.workspace = true";
        let good = format!("[dependencies]\ndp-noise.workspace = true\n[dev-dependencies]\n{line}\n");
        assert_eq!(breach(&good), None);
        for bad in [
            format!("[dev-dependencies]\nx = 1\n[dependencies]\n{line}\n"),
            format!("[build-dependencies]\n{line}\n"),
            "[dependencies.dp-noise-testing]\nworkspace = true\n".to_owned(),
            format!("[target.'cfg(unix)'.dependencies]\n{line}\n"),
        ] {
            assert!(breach(&bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_name_inside_a_longer_name_does_not_count() {
        assert!(names_word("run `label-filter`, then", "label-filter"));
        assert!(!names_word("run batch-label-filter", "label-filter"));
        assert!(!names_word("combined", "combine"));
        assert!(names_word("combined, combine.", "combine"));
    }

    #[test]
    fn binaries_must_be_named_on_both_pages() {
        let root = tempfile::tempdir().unwrap();
        let bins = root.path().join("crates/pate-cli/src/bin");
        std::fs::create_dir_all(&bins).unwrap();
        for path in [bins.join("combine.rs"), bins.join("label-filter.rs")] {
            put(&path, "");
        }
        put(&root.path().join("README.md"), "combine and label-filter");
        put(&root.path().join("justfile"), "x:\n    combine");
        assert_eq!(unnamed_bins(root.path()), ["justfile: does not name the binary label-filter"]);
    }

    #[test]
    fn without_git_ignored_folders_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("target/release")).unwrap();
        std::fs::create_dir_all(root.path().join("crates/a")).unwrap();
        put(&root.path().join("target/release/x"), "");
        put(&root.path().join("crates/a/y"), "");
        let mut files = Vec::new();
        walk(root.path(), Path::new(""), &mut files).unwrap();
        assert_eq!(files, [Path::new("crates/a/y")]);
    }

    fn put(path: &Path, text: &str) {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}
