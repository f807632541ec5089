use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use crate::{Error, create_dir};

const NAME: &str = ".pate-synth.lock";

/// Holds an output folder for one run.
///
/// The lock is the operating system's on an open file: it goes with the process, however that ends, so a killed run
/// leaves nothing to clean up. Who holds it stands in the file, for the message that a second run prints.
#[derive(Debug)]
pub struct OutputLock {
    file: File,
}

impl OutputLock {
    /// Locks `dir` (made where it is missing); `command` is what a second run is told about this one.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process holds it, [`Error::Write`] where the lock file cannot be made.
    pub fn acquire(dir: &Path, command: &str) -> Result<Self, Error> {
        create_dir(dir)?;
        let path = dir.join(NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::write(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let told = file.take(2000).read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let holder = if told { holder.trim().to_owned() } else { "another run".to_owned() };
                return Err(Error::Locked { dir: dir.to_path_buf(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(Error::write(&path)(source)),
        }
        let text = format!("process {} ({command})\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(Error::write(&path))?;
        Ok(Self { file })
    }
}

impl Drop for OutputLock {
    fn drop(&mut self) {
        // Emptied, not removed: a run that opened the file just before a removal would lock a file without a name
        // and overlap with the next one.
        let _ = self.file.set_len(0);
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
}
