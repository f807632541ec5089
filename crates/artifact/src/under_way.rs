//! What this process has under way on the disk, so that it can end at any moment without leaving
//! any of it.
//!
//! Names come and go through [`begin`] alone: temporary files and folders, locks, folders that are
//! made on the way, and the renaming to a final name. [`abandon`] shuts that door for good and
//! removes what is still under way; threads that work on wait at the door.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use crate::Error;

static DOOR: RwLock<()> = RwLock::new(());
static UNDER_WAY: Mutex<BTreeMap<u64, (Kind, PathBuf)>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

/// How something is removed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A file.
    File,
    /// A folder with all that is in it.
    Folder,
    /// A folder that was made on the way to a file: only where nothing is in it.
    Empty,
}

fn all() -> MutexGuard<'static, BTreeMap<u64, (Kind, PathBuf)>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something to names on the disk that [`abandon`] must not meet half done. Not to be called
/// within itself.
pub(crate) fn begin<T>(work: impl FnOnce() -> T) -> T {
    let _open = DOOR.read().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// A name that is to go should the process end now. Dropped, it is no longer; the name itself
/// stays.
#[derive(Debug)]
pub(crate) struct UnderWay(u64);

impl UnderWay {
    /// To be called within [`begin`], with the making of what stands under the name.
    pub(crate) fn new(kind: Kind, path: &Path) -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        all().insert(id, (kind, path.to_path_buf()));
        Self(id)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        all().remove(&self.0);
    }
}

/// Removes all that is under way: temporary files, locks, and folders that were made for them and
/// hold nothing. From here on no file of this process gets a final name, whatever its threads do:
/// one that tries waits for the end. To be followed by the end of the process at once.
pub fn abandon() {
    std::mem::forget(DOOR.write().unwrap_or_else(PoisonError::into_inner));
    let left = std::mem::take(&mut *all());
    // The last first: a folder's content before the folder.
    for (kind, path) in left.into_values().rev() {
        let _ = match kind {
            Kind::File => fs::remove_file(path),
            Kind::Folder => fs::remove_dir_all(path),
            Kind::Empty => fs::remove_dir(path),
        };
    }
}

/// Folders that were made on the way to a file. Dropped, those that hold nothing go again: a step
/// that is refused leaves no folder behind, and one that wrote something keeps it.
#[derive(Debug, Default)]
pub(crate) struct MadeDirs(Vec<(PathBuf, UnderWay)>);

impl Drop for MadeDirs {
    fn drop(&mut self) {
        while let Some((path, _under_way)) = self.0.pop() {
            let _ = fs::remove_dir(path);
        }
    }
}

impl MadeDirs {
    /// Makes `path` and the folders above it that are missing.
    ///
    /// # Errors
    /// [`Error::Write`] with `path`.
    pub(crate) fn make(path: &Path) -> Result<Self, Error> {
        let mut made = Self::default();
        made.add(path).map_err(Error::write(path))?;
        Ok(made)
    }

    /// The folders stay, whatever is in them.
    pub(crate) fn keep(mut self) {
        self.0.clear();
    }

    fn add(&mut self, path: &Path) -> std::io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        if let Some(above) = path.parent() {
            self.add(above)?;
        }
        let made = begin(|| {
            fs::create_dir(path)?;
            allow_owner(path, 0o700)?;
            Ok(UnderWay::new(Kind::Empty, path))
        });
        match made {
            Ok(under_way) => self.0.push((path.to_path_buf(), under_way)),
            // Another run was faster.
            Err(_) if path.is_dir() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Does something in `dir`, which is made where it is missing, again where another run that ended
/// removed it meanwhile.
pub(crate) fn within<T>(
    dir: &Path,
    what: &Path,
    mut work: impl FnMut() -> std::io::Result<T>,
) -> Result<(T, MadeDirs), Error> {
    for _ in 0..100 {
        let made = MadeDirs::make(dir).map_err(|error| match error {
            Error::Write { source, .. } => Error::write(what)(source),
            error => error,
        })?;
        match begin(&mut work) {
            Ok(value) => return Ok((value, made)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !dir.is_dir() => {}
            Err(error) => return Err(Error::write(what)(error)),
        }
    }
    Err(Error::write(what)(std::io::Error::other(
        "its folder is removed again and again; choose another output",
    )))
}

/// Gives the owner's rights in `bits`, whatever the umask took: this user's own programs must be
/// able to read what they wrote.
#[cfg(unix)]
pub(crate) fn allow_owner(path: &Path, bits: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & bits == bits {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode((mode & 0o7777) | bits))
}

#[cfg(not(unix))]
pub(crate) fn allow_owner(_: &Path, _: u32) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_on_the_way_go_where_nothing_came_of_it_and_stay_otherwise() {
        let work = tempfile::tempdir().unwrap();
        let path = work.path().join("a/b/c");
        drop(MadeDirs::make(&path).unwrap());
        assert!(!work.path().join("a").exists());

        fs::create_dir(work.path().join("a")).unwrap();
        let made = MadeDirs::make(&path).unwrap();
        drop(MadeDirs::make(&path).unwrap());
        assert!(path.is_dir(), "those that another one made are not this one's");
        drop(made);
        assert!(work.path().join("a").is_dir() && !work.path().join("a/b").exists());

        let made = MadeDirs::make(&path).unwrap();
        fs::create_dir(work.path().join("a/b/of another run")).unwrap();
        drop(made);
        assert!(work.path().join("a/b").is_dir() && !path.exists());
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let work = tempfile::tempdir().unwrap();
        let file = work.path().join("file");
        crate::write_bytes(&file, crate::Access::Public, b"x").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = MadeDirs::make(&path).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
        assert!(file.is_file());
    }
}
