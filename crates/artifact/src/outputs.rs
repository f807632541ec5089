//! What a run writes beside what it reads, so that no output takes the place of an input, or of
//! another output.
//!
//! A step names the files that it will write with [`claim`], before it works. From then on each
//! file that it reads is held against them, at the latest before its first file is written. Below
//! that there is a net for every file: in a program's run ([`keep_inputs`])
//! [`AtomicFile`](crate::AtomicFile) and [`AtomicDir`](crate::AtomicDir) replace nothing that the
//! process has read ([`input_file::was_read`]), claimed or not.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Error;

/// Files that a flag makes a step write.
struct Claim {
    flag: String,
    dir: PathBuf,
    /// Inside the folder, `/` between parts; `*` stands for any text within a part.
    name: String,
    /// The folder without links, and the name's parts.
    parts: Vec<OsString>,
}

#[derive(Default)]
struct Run {
    claims: Vec<Claim>,
    inputs: Vec<(String, PathBuf)>,
    /// Files that were held against the claims, in the order of reading.
    checked: usize,
    /// Whether what stands where files will be written was held against all that was read before
    /// the first write.
    begun: bool,
}

static RUN: Mutex<Option<Run>> = Mutex::new(None);

fn run() -> MutexGuard<'static, Option<Run>> {
    RUN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on this process replaces nothing that it has read: for programs, whose process is one
/// run. [`claim`] says it, too.
pub fn keep_inputs() {
    run().get_or_insert_default();
}

/// Says that `flag` names a file or folder to read. A folder is named for messages; its files count
/// as inputs once they are read.
pub fn name_input(flag: &str, path: &Path) {
    if path.is_file() {
        input_file::note(path);
    }
    run().get_or_insert_default().inputs.push((flag.to_owned(), path.to_path_buf()));
}

/// Says which files `flag` makes this run write in `dir`: `*` in a name stands for any text without
/// `/`.
///
/// # Errors
/// [`Error::IsInput`] where a file that stands there is one that this run reads, by whatever name;
/// [`Error::SameOutput`] where another flag leads to the same file.
pub fn claim(flag: &str, dir: &Path, names: &[impl AsRef<str>]) -> Result<(), Error> {
    let mut run = run();
    let run = run.get_or_insert_default();
    let resolved = resolved(dir);
    for name in names {
        let name = name.as_ref();
        let parts = resolved.iter().map(OsString::from).chain(name.split('/').map(OsString::from)).collect();
        let claim = Claim { flag: flag.to_owned(), dir: dir.to_path_buf(), name: name.to_owned(), parts };
        if let Some(other) = run.claims.iter().find(|other| other.flag != flag && other.meets(&claim)) {
            return Err(Error::SameOutput {
                path: claim.dir.join(&claim.name),
                flag: claim.flag,
                other: other.flag.clone(),
            });
        }
        run.check_places(&claim)?;
        run.claims.push(claim);
    }
    run.check_new()
}

/// Holds all claims against all that was read so far. The first file that is written brings it
/// about, too; a step that goes on where one of its parts fails calls it once its inputs are
/// loaded, so that the whole run is refused.
///
/// # Errors
/// [`Error::IsInput`].
pub fn check_claims() -> Result<(), Error> {
    let mut run = run();
    let Some(run) = run.as_mut() else { return Ok(()) };
    run.claims.iter().try_for_each(|claim| run.check_places(claim))?;
    run.check_new()
}

/// Refuses to replace what was read, in a program's run.
pub(crate) fn check(path: &Path) -> Result<(), Error> {
    let mut run = run();
    let Some(run) = run.as_mut() else { return Ok(()) };
    if let Some(read) = input_file::identity(path).and_then(|file| input_file::was_read(&file)) {
        let place = path.file_name().map(|name| resolved(path.parent().unwrap_or(Path::new(""))).join(name));
        let claim = place.and_then(|place| run.claims.iter().find(|claim| claim.covers(&place)));
        let flag = claim.map(|claim| claim.flag.clone());
        return Err(run.is_input(flag.as_deref(), path, read));
    }
    if !run.begun && !run.claims.is_empty() {
        run.begun = true;
        run.claims.iter().try_for_each(|claim| run.check_places(claim))?;
    }
    run.check_new()
}

impl Run {
    /// Holds what stands where a claim's files will be against what was read.
    fn check_places(&self, claim: &Claim) -> Result<(), Error> {
        let parts: Vec<&str> = claim.name.split('/').collect();
        let mut there = vec![claim.dir.clone()];
        for part in parts {
            there = there.into_iter().flat_map(|folder| children(folder, part)).collect();
        }
        for path in there {
            if let Some(read) = input_file::identity(&path).and_then(|file| input_file::was_read(&file)) {
                return Err(self.is_input(Some(&claim.flag), &path, read));
            }
        }
        Ok(())
    }

    /// Holds what was read since the last time against all claims.
    fn check_new(&mut self) -> Result<(), Error> {
        if self.claims.is_empty() {
            return Ok(());
        }
        let (read, checked) = input_file::read_since(self.checked);
        for path in read {
            let Ok(place) = std::fs::canonicalize(&path) else { continue };
            if let Some(claim) = self.claims.iter().find(|claim| claim.covers(&place)) {
                let output = claim.dir.join(place.strip_prefix(resolved(&claim.dir)).unwrap_or(&place));
                return Err(self.is_input(Some(&claim.flag), &output, path));
            }
        }
        self.checked = checked;
        Ok(())
    }

    fn is_input(&self, flag: Option<&str>, output: &Path, read: PathBuf) -> Error {
        let exact = self.inputs.iter().find(|(_, named)| *named == read);
        let around = || self.inputs.iter().filter(|(_, named)| read.starts_with(named));
        let named = exact.or_else(|| around().max_by_key(|(_, named)| named.as_os_str().len()));
        Error::IsInput {
            path: output.to_path_buf(),
            writer: flag.map(str::to_owned),
            reader: named.map(|(flag, _)| flag.clone()),
            input: read,
        }
    }
}

impl Claim {
    /// Whether one of its files would stand at a place, named without links.
    fn covers(&self, place: &Path) -> bool {
        place.iter().count() == self.parts.len()
            && place.iter().zip(&self.parts).all(|(part, pattern)| {
                part == pattern
                    || matches(&folded(&pattern.to_string_lossy()), &folded(&part.to_string_lossy()))
            })
    }

    fn meets(&self, other: &Self) -> bool {
        self.parts.len() == other.parts.len()
            && self
                .parts
                .iter()
                .zip(&other.parts)
                .all(|(a, b)| both_match(&folded(&a.to_string_lossy()), &folded(&b.to_string_lossy())))
    }
}

/// File systems that take `A` and `a` for one name are usual there.
fn folded(part: &str) -> String {
    if cfg!(any(windows, target_os = "macos")) { part.to_lowercase() } else { part.to_owned() }
}

/// Whether a text fits a pattern with at most one `*`.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}

/// Whether a text may fit both patterns.
fn both_match(a: &str, b: &str) -> bool {
    match (a.split_once('*'), b.split_once('*')) {
        (None, _) => matches(b, a),
        (_, None) => matches(a, b),
        (Some((start, end)), Some((other_start, other_end))) => {
            (start.starts_with(other_start) || other_start.starts_with(start))
                && (end.ends_with(other_end) || other_end.ends_with(end))
        }
    }
}

/// What is in a folder under a name, or under all names of a pattern.
fn children(folder: PathBuf, pattern: &str) -> Vec<PathBuf> {
    if !pattern.contains('*') {
        return vec![folder.join(pattern)];
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let fits = |path: &PathBuf| {
        path.file_name().is_some_and(|name| matches(&folded(pattern), &folded(&name.to_string_lossy())))
    };
    entries.flatten().map(|entry| entry.path()).filter(fits).collect()
}

/// A path without links, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    let Ok(path) = std::path::absolute(path) else { return path.to_path_buf() };
    for above in path.ancestors() {
        if let Ok(mut real) = std::fs::canonicalize(above) {
            // Of folders that will be made, none is a link.
            for part in path.strip_prefix(above).unwrap_or(Path::new("")).components() {
                match part {
                    Component::ParentDir => real.pop(),
                    part => {
                        real.push(part);
                        true
                    }
                };
            }
            return real;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_one_star() {
        assert!(matches("a_*.pt", "a_7.pt") && matches("*", "") && matches("a", "a"));
        assert!(!matches("a_*.pt", "a_7.png") && !matches("ab*ba", "aba"));
        assert!(both_match("teacher_*", "*_7") && !both_match("teacher_*", "candidates_*"));
    }
}
