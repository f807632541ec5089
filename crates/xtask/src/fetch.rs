//! Downloads: to a temporary name, resumed where the server allows it, renamed when the hash is
//! right.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::context::{run, which};
use crate::python::Python;
use crate::sums;

/// How long a server may take to answer before the next source is tried.
const CONNECT_SECS: &str = "8";

/// A download gives up below 1 KiB/s for this long.
const STALL_SECS: &str = "30";

/// What curl does with `url` when Python stands in for it: fetch to a file, with the same patience.
const URLLIB: &str = "import shutil, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=30) as answer, open(sys.argv[2], 'wb') as file:
    shutil.copyfileobj(answer, file)";

/// Downloads `url` to `path` and checks it; `path` appears only when its SHA-256 is `sha256`.
pub(crate) fn download(url: &str, path: &Path, sha256: &str) -> anyhow::Result<()> {
    let partial = beside(path, ".tmp");
    let resumed = partial.exists();
    let mut outcome = transfer(url, &partial);
    if resumed && (outcome.is_err() || sums::of_file(&partial)? != sha256) {
        // The old part was of no use: the server cannot resume, or the part was not a part of this
        // file.
        remove_file(&partial)?;
        outcome = transfer(url, &partial);
    }
    outcome?;
    let found = sums::of_file(&partial)?;
    if found != sha256 {
        remove_file(&partial)?;
        bail!("{url} has SHA-256 {found}, expected {sha256}: it was thrown away");
    }
    std::fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))
}

fn transfer(url: &str, partial: &Path) -> anyhow::Result<()> {
    if let Some(curl) = which("curl") {
        let mut command = std::process::Command::new(curl);
        command.args(["--fail", "--location", "--connect-timeout", CONNECT_SECS]);
        command.args(["--speed-limit", "1024", "--speed-time", STALL_SECS, "--continue-at", "-"]);
        command.args(if std::io::stderr().is_terminal() {
            ["--progress-bar", "--show-error"]
        } else {
            ["--silent", "--show-error"]
        });
        return run(command.arg("--output").arg(partial).arg(url));
    }
    let python = Python::candidates().into_iter().find(|python| python.version().is_some());
    let Some(python) = python else {
        bail!("neither curl nor Python 3 is here to download {url}: install one of them");
    };
    run(python.command().args(["-c", URLLIB, url]).arg(partial))
}

fn remove_file(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// `path` with something more at the end of its name.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(ending);
    path.with_file_name(name)
}

/// Writes a file by way of one beside it, so that nobody ever reads half of it; its folder is made,
/// and whoever may read the files of this user may read it.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    create_dir(folder)?;
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The usual mode, from which the system takes the user's mask; a temporary file alone would
        // be the user's own.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder).with_context(cannot)?;
    std::io::Write::write_all(&mut file, bytes).with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    Ok(())
}

/// Creates a folder and those above it.
pub(crate) fn create_dir(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Removes a folder with all that is in it, if it is there.
pub(crate) fn remove_dir(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Keeps a second process out of a folder until it is dropped, or its process ends in whatever way.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until no other process holds the lock file.
    pub(crate) fn wait(path: &Path) -> anyhow::Result<Self> {
        let unlockable = || format!("cannot lock {}", path.display());
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .with_context(unlockable)?;
        if file.try_lock().is_err() {
            eprintln!("waiting for another process that holds {}", path.display());
            file.lock().with_context(unlockable)?;
        }
        Ok(Self { _file: file })
    }
}

/// The address of a file on this machine, for tests that download without a network.
#[cfg(test)]
pub(crate) fn file_url(path: &Path) -> String {
    let path = path.to_string_lossy().replace('\\', "/");
    format!("file:///{}", path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_replaces_what_was_there_and_others_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/file");
        write_file(&path, b"old").unwrap();
        write_file(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let usual =
                OpenOptions::new().write(true).create_new(true).open(dir.path().join("usual")).unwrap();
            let mode = |data: std::fs::Metadata| data.permissions().mode();
            assert_eq!(mode(std::fs::metadata(&path).unwrap()), mode(usual.metadata().unwrap()));
        }
    }

    // SHA-256 of "abc" (FIPS 180-2, appendix B.1).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn put(path: &Path, text: &str) {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }

    #[test]
    fn a_download_appears_when_it_is_right_and_never_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let (source, path) = (folder.path().join("source"), folder.path().join("file"));
        let url = file_url(&source);
        assert!(download(&url, &path, ABC).is_err(), "there is nothing to download yet");
        put(&source, "abc");
        download(&url, &path, ABC).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "abc");
        let other = folder.path().join("other");
        let error = download(&url, &other, &ABC.replace('b', "c")).unwrap_err().to_string();
        assert!(error.contains("it was thrown away"), "{error}");
        assert!(!other.exists() && !beside(&other, ".tmp").exists());
    }

    #[test]
    fn a_part_of_the_file_is_resumed_and_a_part_of_another_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        put(&source, "abc");
        for (name, part) in [("right", "ab"), ("complete", "abc"), ("wrong", "xy"), ("longer", "abcdef")] {
            let path = folder.path().join(name);
            put(&beside(&path, ".tmp"), part);
            download(&file_url(&source), &path, ABC).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "abc", "{name}");
            assert!(!beside(&path, ".tmp").exists(), "{name}");
        }
    }

    #[test]
    fn endings_are_added_to_the_whole_name() {
        assert_eq!(beside(Path::new("a/b.tar.gz"), ".tmp"), Path::new("a/b.tar.gz.tmp"));
    }

    #[test]
    fn a_lock_keeps_the_second_out_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::wait(&path).unwrap();
        let second = OpenOptions::new().write(true).open(&path).unwrap();
        assert!(second.try_lock().is_err());
        drop(first);
        assert!(second.try_lock().is_ok());
    }

    #[test]
    fn removing_what_is_not_there_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        remove_dir(&folder.path().join("none")).unwrap();
        remove_file(&folder.path().join("none")).unwrap();
    }
}
