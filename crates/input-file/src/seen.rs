//! Which files this process has read, so that none of them is replaced by one that it writes.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which file a path leads to, whatever the path is called: two names of one file have the same
/// one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity(Inner);

#[cfg(unix)]
type Inner = (u64, u64);
/// Where files have no numbers that std tells: the path after all links.
#[cfg(not(unix))]
type Inner = PathBuf;

/// The file that `path` leads to, after links; nothing where there is none.
pub fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).and_then(|metadata| of(path, &metadata)).ok()
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
fn of(_: &Path, metadata: &Metadata) -> std::io::Result<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(Identity((metadata.dev(), metadata.ino())))
}

#[cfg(not(unix))]
fn of(path: &Path, _: &Metadata) -> std::io::Result<Identity> {
    std::fs::canonicalize(path).map(Identity)
}

/// The files that were read, by what they are, in the order of their first reading.
#[derive(Default)]
struct Seen {
    places: HashMap<Identity, usize>,
    paths: Vec<(Identity, PathBuf)>,
}

static SEEN: Mutex<Option<Seen>> = Mutex::new(None);

fn seen() -> MutexGuard<'static, Option<Seen>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static OWN: Cell<usize> = const { Cell::new(0) };
}

/// While one lives, its thread reads files that this program wrote itself and may write again: the
/// state of unfinished work, a report that says whether a result is there already. They are not
/// remembered as inputs.
#[derive(Debug)]
#[must_use = "what is read after it is dropped counts as an input"]
pub struct Own(());

/// See [`Own`].
pub fn own() -> Own {
    OWN.set(OWN.get() + 1);
    Own(())
}

impl Drop for Own {
    fn drop(&mut self) {
        OWN.set(OWN.get().saturating_sub(1));
    }
}

/// Remembers a file as one that this run reads, before it is opened; a path that leads nowhere is
/// nothing.
pub fn note(path: &Path) {
    if let Some(identity) = identity(path) {
        remember(path, identity);
    }
}

pub(crate) fn note_open(path: &Path, metadata: &Metadata) {
    if OWN.get() == 0
        && let Ok(identity) = of(path, metadata)
    {
        remember(path, identity);
    }
}

fn remember(path: &Path, identity: Identity) {
    let mut seen = seen();
    let seen = seen.get_or_insert_default();
    let at = seen.paths.len();
    seen.places.entry(identity.clone()).or_insert_with(|| {
        seen.paths.push((identity, path.to_path_buf()));
        at
    });
}

/// The path by which a file was read first, where it was.
pub fn was_read(identity: &Identity) -> Option<PathBuf> {
    let seen = seen();
    let seen = seen.as_ref()?;
    let at = *seen.places.get(identity)?;
    seen.paths.get(at).map(|(_, path)| path.clone())
}

/// The files that were read after the first `from`, and how many there are now.
pub fn read_since(from: usize) -> (Vec<PathBuf>, usize) {
    let seen = seen();
    let Some(seen) = seen.as_ref() else { return (Vec::new(), 0) };
    let still = |(identity, _): &&(Identity, PathBuf)| seen.places.contains_key(identity);
    let paths = seen.paths.iter().skip(from).filter(still).map(|(_, path)| path.clone());
    (paths.collect(), seen.paths.len())
}

/// Forgets what was read of a file that this run has just made: a system gives the number of a file
/// that is gone to the next one.
pub fn forget(path: &Path) {
    if let Some(identity) = identity(path)
        && let Some(seen) = seen().as_mut()
    {
        seen.places.remove(&identity);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "inputs of the test")]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_file_is_known_by_every_name_once_it_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let [path, hard, soft] = ["a", "hard", "soft"].map(|name| dir.path().join(name));
        std::fs::write(&path, b"x").unwrap();
        std::fs::hard_link(&path, &hard).unwrap();
        std::os::unix::fs::symlink(&path, &soft).unwrap();
        let read_as = |path: &Path| was_read(&identity(path).unwrap());
        assert_eq!(read_as(&path), None);
        let (_, before) = read_since(0);
        crate::read(&soft, 5).unwrap();
        for name in [&path, &hard, &soft] {
            assert_eq!(read_as(name), Some(soft.clone()));
        }
        assert!(read_since(before).0.contains(&soft));
        forget(&path);
        assert_eq!(read_as(&path), None);
        assert!(!read_since(before).0.contains(&soft));
    }

    #[test]
    fn what_a_program_reads_back_of_its_own_is_no_input() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        std::fs::write(&path, b"x").unwrap();
        {
            let _own = own();
            crate::read(&path, 5).unwrap();
        }
        assert_eq!(was_read(&identity(&path).unwrap()), None);
        crate::read(&path, 5).unwrap();
        assert_eq!(was_read(&identity(&path).unwrap()), Some(path.clone()));
    }
}
