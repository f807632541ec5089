use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::file::check_replaceable;
use crate::{Error, create_dir};

const NAME: &str = ".pate-synth.lock";

/// Holds an output folder, or one output file, for one run.
///
/// The lock is the operating system's on an open file: it goes with the process, however that ends, so a killed run
/// leaves nothing to clean up. Who holds it stands in the file, for the message that a second run prints.
#[derive(Debug)]
pub struct OutputLock {
    file: File,
    /// To be removed at the end.
    path: Option<PathBuf>,
}

impl OutputLock {
    /// Locks `dir` (made where it is missing); `command` is what a second run is told about this one.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process holds it, [`Error::Write`] where the lock file cannot be made.
    pub fn acquire(dir: &Path, command: &str) -> Result<Self, Error> {
        create_dir(dir)?;
        let path = dir.join(NAME);
        let file = hold(&path, dir)?;
        Self::sign(file, &path, None, command)
    }

    /// Locks the one file `path`, which need not exist, so that other files of its folder stay free for other runs. The lock is
    /// a file beside it that goes at the end.
    ///
    /// # Errors
    /// As [`OutputLock::acquire`]; also a `path` that is a folder or a device.
    pub fn acquire_file(path: &Path, command: &str) -> Result<Self, Error> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        create_dir(dir)?;
        // A step's other files should not be written before this one is refused.
        check_replaceable(path)?;
        let mut name = OsString::from(".pate-synth.");
        name.push(path.file_name().unwrap_or_default());
        name.push(".lock");
        let lock = dir.join(name);
        loop {
            let file = hold(&lock, path)?;
            // The run before may have removed the file between its opening and its locking here.
            if is_still(&lock, &file) {
                return Self::sign(file, &lock, Some(lock.clone()), command);
            }
        }
    }

    /// Writes who holds the lock.
    fn sign(mut file: File, path: &Path, remove: Option<PathBuf>, command: &str) -> Result<Self, Error> {
        let text = format!("process {} ({command})\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(Error::write(path))?;
        Ok(Self { file, path: remove })
    }
}

/// The lock file, locked; `what` is what a refusal names.
fn hold(path: &Path, what: &Path) -> Result<File, Error> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(Error::write(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let told = file.take(2000).read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let holder = if told { holder.trim().to_owned() } else { "another run".to_owned() };
            Err(Error::Locked { path: what.to_path_buf(), holder })
        }
        Err(TryLockError::Error(source)) => Err(Error::write(path)(source)),
    }
}

/// Whether `path` is still the name of `file`.
#[cfg(unix)]
fn is_still(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let same = |a: &std::fs::Metadata, b: &std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    file.metadata().is_ok_and(|held| std::fs::metadata(path).is_ok_and(|named| same(&held, &named)))
}

/// Elsewhere lock files are not removed.
#[cfg(not(unix))]
fn is_still(_: &Path, _: &File) -> bool {
    true
}

impl Drop for OutputLock {
    fn drop(&mut self) {
        // A folder's lock is emptied, not removed: a run that opened the file just before a removal would lock a file
        // without a name and overlap with the next one. A file's lock is checked for that, where the system can tell.
        let _ = self.file.set_len(0);
        if let Some(path) = self.path.as_ref().filter(|_| cfg!(unix)) {
            let _ = std::fs::remove_file(path);
        }
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_refused_and_told_who_was_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = OutputLock::acquire(dir.path(), "label-filter --out-dir x").unwrap();
        let error = OutputLock::acquire(dir.path(), "another").unwrap_err().to_string();
        assert!(error.contains("label-filter --out-dir x"), "{error}");
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        OutputLock::acquire(dir.path(), "another").unwrap();
    }

    #[test]
    fn one_file_of_a_folder_is_held_and_its_lock_goes_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool.pt");
        let first = OutputLock::acquire_file(&path, "generate-candidates").unwrap();
        let error = OutputLock::acquire_file(&path, "another").unwrap_err().to_string();
        assert!(error.contains("pool.pt is in use by process"), "{error}");
        OutputLock::acquire_file(&dir.path().join("other.pt"), "another").unwrap();
        drop(first);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), if cfg!(unix) { 0 } else { 2 });
        OutputLock::acquire_file(&path, "another").unwrap();
    }

    #[test]
    fn holders_of_one_file_never_overlap() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pool.pt");
        let (inside, held) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Ok(_lock) = OutputLock::acquire_file(&path, "a thread") {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            held.fetch_add(1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert!(held.into_inner() > 0);
    }
}
