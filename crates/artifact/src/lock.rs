//! One run at a time in an output folder.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::file::check_replaceable;
use crate::under_way::{Kind, MadeDirs, UnderWay, within};

const NAME: &str = ".pate-synth.lock";

/// How a lock begins, so that nothing else is taken for one. Empty files are locks, too: their
/// makers had no time to sign.
const SIGN: &str = "pate-synth lock: ";

/// Bytes of a lock, at most.
const LONGEST: u64 = 1000;

/// Holds an output folder, or one output file, for one run.
///
/// The lock is the operating system's on an open file: it goes with the process, however that ends,
/// so a killed run leaves nothing that stands in the way. Which process holds it, and of which
/// program, stands in the file, for the message that a second run prints; it is for the owner
/// alone, and goes when the run ends. So do folders that were made for it, where nothing was
/// written into them.
///
/// What stands at the lock's name is taken for a lock only where it is a regular file with one name
/// that is empty or signed: links are not followed, and nothing else is written to.
#[derive(Debug)]
pub struct OutputLock {
    file: File,
    path: PathBuf,
    _under_way: UnderWay,
    /// Go after the lock, where they are empty then.
    _made: MadeDirs,
}

impl OutputLock {
    /// Locks `dir` (made where it is missing) for `program`, whose name a second run reports.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process holds it, [`Error::NoLock`] where something else
    /// stands at the lock's name, [`Error::Write`] where the lock cannot be made.
    pub fn acquire(dir: &Path, program: &str) -> Result<Self, Error> {
        Self::at(dir, dir.join(NAME), dir, program)
    }

    /// Locks the one file `path`, which need not exist, so that other files of its folder stay free
    /// for other runs.
    ///
    /// # Errors
    /// As [`OutputLock::acquire`]; also a `path` that is a folder or a device.
    pub fn acquire_file(path: &Path, program: &str) -> Result<Self, Error> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A step's other files should not be written before this one is refused.
        check_replaceable(path)?;
        let mut name = OsString::from(".pate-synth.");
        name.push(path.file_name().unwrap_or_default());
        name.push(".lock");
        Self::at(dir, dir.join(name), path, program)
    }

    /// The lock at `path` in `dir`; `what` is what a refusal names.
    fn at(dir: &Path, path: PathBuf, what: &Path, program: &str) -> Result<Self, Error> {
        loop {
            // Before it is opened: opening some devices does something.
            check(&path, fs::symlink_metadata(&path).ok().as_ref())?;
            let ((file, new), made) = within(dir, &path, || open(&path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    check(&path, file.metadata().ok().as_ref())?;
                    return Err(Error::Locked { path: what.to_path_buf(), holder: holder(file) });
                }
                Err(TryLockError::Error(source)) => return Err(Error::write(&path)(source)),
            }
            // The run before may have removed the file between its opening and its locking here.
            if is_still(&path, &file) {
                check(&path, file.metadata().ok().as_ref())?;
                return Self::sign(file, path, new, made, program);
            }
        }
    }

    /// Writes the holder of the lock.
    fn sign(
        mut file: File,
        path: PathBuf,
        under_way: UnderWay,
        made: MadeDirs,
        program: &str,
    ) -> Result<Self, Error> {
        let mut found = Vec::new();
        (&file).take(LONGEST + 1).read_to_end(&mut found).map_err(Error::write(&path))?;
        if !found.is_empty() && (!found.starts_with(SIGN.as_bytes()) || found.len() as u64 > LONGEST) {
            return Err(Error::NoLock { path, found: "a file that holds something else" });
        }
        let text: String = format!("{SIGN}process {} ({program})", std::process::id());
        let text: String = text.chars().take(LONGEST as usize / 4).chain(['\n']).collect();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(Error::write(&path))?;
        Ok(Self { file, path, _under_way: under_way, _made: made })
    }
}

/// Opens the lock, or makes it; a link is an error.
fn open(path: &Path) -> io::Result<(File, UnderWay)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    }
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = file.metadata()?;
        // Only on one that is new: an umask may have left its owner nothing.
        if metadata.len() == 0 && metadata.permissions().mode() & 0o600 != 0o600 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
    }
    let under_way = UnderWay::new(Kind::File, path);
    Ok((file, under_way))
}

/// Refuses what is certainly no lock.
fn check(path: &Path, found: Option<&fs::Metadata>) -> Result<(), Error> {
    let no_lock = |found| Err(Error::NoLock { path: path.to_path_buf(), found });
    let Some(found) = found else { return Ok(()) };
    if found.is_symlink() {
        return no_lock("a link");
    }
    if found.is_dir() {
        return no_lock("a folder");
    }
    if !found.is_file() {
        return no_lock("a pipe, a socket or a device");
    }
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(found) > 1 {
        return no_lock("a file with another name besides");
    }
    if found.len() > LONGEST {
        return no_lock("a file that holds something else");
    }
    Ok(())
}

/// The holder of a lock, as its file says.
fn holder(file: File) -> String {
    let mut text = String::new();
    let told = file.take(LONGEST).read_to_string(&mut text).is_ok();
    let holder = text.strip_prefix(SIGN).map(str::trim).filter(|holder| told && !holder.is_empty());
    holder.unwrap_or("another run").to_owned()
}

/// Whether `path` is still the name of `file`.
#[cfg(unix)]
fn is_still(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    file.metadata().is_ok_and(|held| fs::symlink_metadata(path).is_ok_and(|named| same(&held, &named)))
}

/// Elsewhere lock files are not removed.
#[cfg(not(unix))]
fn is_still(_: &Path, _: &File) -> bool {
    true
}

impl Drop for OutputLock {
    fn drop(&mut self) {
        // Removed while it is held. A run that opened it before will find that it holds a file
        // without a name, and make a new one. Where the system does not tell that, the file stays,
        // empty.
        if cfg!(unix) {
            if is_still(&self.path, &self.file) {
                let _ = fs::remove_file(&self.path);
            }
        } else {
            let _ = self.file.set_len(0);
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
        let first = OutputLock::acquire(dir.path(), "label-filter").unwrap();
        let error = OutputLock::acquire(dir.path(), "another").unwrap_err().to_string();
        let holder = format!("is in use by process {} (label-filter);", std::process::id());
        assert!(error.contains(&holder), "{error}");
        drop(first);
        drop(OutputLock::acquire(dir.path(), "another").unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), usize::from(!cfg!(unix)));
    }

    /// Attacks, row 2: also what other users may read of it.
    #[test]
    #[cfg(unix)]
    fn a_lock_is_for_its_owner_and_goes_with_the_folders_that_were_made_for_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let work = tempfile::tempdir().unwrap();
        let dir = work.path().join("a/b");
        for file in [false, true] {
            let lock = if file {
                OutputLock::acquire_file(&dir.join("pool.pt"), "a-program").unwrap()
            } else {
                OutputLock::acquire(&dir, "a-program").unwrap()
            };
            let name = if file { ".pate-synth.pool.pt.lock" } else { NAME };
            assert_eq!(fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
            let text = fs::read_to_string(dir.join(name)).unwrap();
            assert_eq!(text, format!("pate-synth lock: process {} (a-program)\n", std::process::id()));
            // A refused second run takes neither the lock nor the folder away.
            OutputLock::acquire(&dir, "another").map(drop).unwrap_or_default();
            assert!(dir.join(name).is_file());
            drop(lock);
            assert_eq!(fs::read_dir(work.path()).unwrap().count(), 0);
        }
        let lock = OutputLock::acquire(&dir, "a-program").unwrap();
        crate::write_bytes(&dir.join("result"), crate::Access::Public, b"x").unwrap();
        drop(lock);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "what was written stays");
    }

    /// Attacks, row 2: links, hard links and files at the lock's name, of folders and of single
    /// files.
    #[test]
    #[cfg(unix)]
    fn what_stands_at_the_name_of_a_lock_is_not_written_to() {
        let work = tempfile::tempdir().unwrap();
        let (dir, precious) = (work.path().join("out"), work.path().join("precious"));
        let names = [dir.join(NAME), dir.join(".pate-synth.pool.pt.lock")];
        let acquire = |at: usize| match at {
            0 => OutputLock::acquire(&dir, "a-program"),
            _ => OutputLock::acquire_file(&dir.join("pool.pt"), "a-program"),
        };
        for (at, name) in names.iter().enumerate() {
            for content in [&b"precious"[..], b""] {
                crate::write_bytes(&precious, crate::Access::Public, content).unwrap();
                let refused = |found: &str| {
                    let error = acquire(at).unwrap_err().to_string();
                    assert!(error.contains(found) && error.contains("move it away"), "{error}");
                    assert!(error.contains(&name.display().to_string()), "{error}");
                    assert_eq!(fs::read(&precious).unwrap(), content);
                    assert!(fs::symlink_metadata(name).is_ok(), "it is still there");
                };
                fs::create_dir_all(&dir).unwrap();
                std::os::unix::fs::symlink(&precious, name).unwrap();
                refused("a link");
                fs::remove_file(name).unwrap();
                std::os::unix::fs::symlink(work.path().join("nowhere"), name).unwrap();
                refused("a link");
                assert!(!work.path().join("nowhere").exists());
                fs::remove_file(name).unwrap();
                fs::hard_link(&precious, name).unwrap();
                refused("another name");
                fs::remove_file(name).unwrap();
                fs::create_dir(name).unwrap();
                refused("a folder");
                fs::remove_dir(name).unwrap();
                assert!(std::process::Command::new("mkfifo").arg(name).status().unwrap().success());
                refused("a pipe");
                fs::remove_file(name).unwrap();
            }
            for text in ["a user's own note", &"pate-synth lock: ".repeat(100), "process 12 (label-filter)\n"]
            {
                crate::write_bytes(name, crate::Access::Public, text.as_bytes()).unwrap();
                let error = acquire(at).unwrap_err().to_string();
                assert!(error.contains("something else"), "{error}");
                assert_eq!(fs::read_to_string(name).unwrap(), text);
                fs::remove_file(name).unwrap();
            }
            // What a killed run left is taken over.
            for text in ["", "pate-synth lock: process 12 (label-filter)\n"] {
                crate::write_bytes(name, crate::Access::Private, text.as_bytes()).unwrap();
                drop(acquire(at).unwrap());
                assert!(!name.exists());
            }
            fs::remove_dir(&dir).unwrap();
        }
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
        // Folders come and go as well.
        let path = dir.path().join("a/b/pool.pt");
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
