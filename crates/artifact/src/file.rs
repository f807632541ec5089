//! A file that is complete under its final name, or not there; its hash, and who may read it.

use std::fs;
use std::io::{self, BufWriter, Read as _, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::under_way::{Kind, MadeDirs, UnderWay, allow_owner, begin, within};
use crate::{Error, outputs};

/// The users that may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Readable as the user's umask says: 0666 less the umask, and always for the owner.
    Public,
    /// Content from private data: owner only (0600 where the system has file modes).
    Private,
}

/// Path, size and SHA-256 of a file, as reports list it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileRecord {
    /// The path as the user gave it.
    pub path: PathBuf,
    /// Size in bytes.
    pub bytes: u64,
    /// Lower-case hexadecimal SHA-256 of the content.
    pub sha256: String,
}

impl FileRecord {
    /// Hashes a file, streaming.
    ///
    /// # Errors
    /// [`Error::Read`] where the file cannot be opened or read.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let (mut file, _) = input_file::open(path).map_err(Error::read(path))?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        let mut bytes = 0;
        loop {
            let n = file.read(&mut buffer).map_err(Error::read(path))?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            bytes += n as u64;
        }
        Ok(Self { path: path.to_path_buf(), bytes, sha256: hex(&hasher.finalize()) })
    }

    /// [`FileRecord::of`] for a file that this program wrote, now or in an earlier run: it is no
    /// input, and may be written again.
    ///
    /// # Errors
    /// As [`FileRecord::of`].
    pub fn of_output(path: &Path) -> Result<Self, Error> {
        let _own = input_file::own();
        Self::of(path)
    }
}

/// Lower-case hexadecimal text of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// SHA-256 of `bytes`.
pub fn sha256_raw(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal SHA-256 of several parts, each with its length, so that other parts of
/// the same bytes have another one.
pub fn sha256_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

/// Lower-case hexadecimal SHA-256 of `bytes`.
pub fn sha256_bytes(bytes: &[u8]) -> String {
    hex(&sha256_raw(bytes))
}

/// Makes a folder and its parents; an existing one is fine.
///
/// # Errors
/// [`Error::Write`] with the folder's path.
pub fn create_dir(path: &Path) -> Result<(), Error> {
    MadeDirs::make(path)?.keep();
    Ok(())
}

/// Writes a whole file at once, atomically.
///
/// # Errors
/// [`Error::Write`]; nothing is left under `path` then.
pub fn write_bytes(path: &Path, access: Access, bytes: &[u8]) -> Result<FileRecord, Error> {
    let mut file = AtomicFile::create(path, access)?;
    file.write_all(bytes).map_err(Error::write(path))?;
    file.commit()
}

/// Checks that `path` is free or a regular file. Renaming over a device or a pipe would replace it:
/// as root, even /dev/null.
pub(crate) fn check_replaceable(path: &Path) -> Result<(), Error> {
    let (kind, reason) = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            (io::ErrorKind::IsADirectory, "it is a folder; give a file name")
        }
        Ok(metadata) if !metadata.is_file() => {
            (io::ErrorKind::InvalidInput, "it is no regular file; give another name")
        }
        _ => return Ok(()),
    };
    Err(Error::write(path)(io::Error::new(kind, reason)))
}

/// A file that appears under its final name complete, or never.
///
/// Bytes go to a temporary file in the same folder (which is made where it is missing);
/// [`AtomicFile::commit`] flushes it to the disk and renames it over the final name. Dropped
/// without a commit, by an error, a panic or Ctrl-C's orderly exit, the temporary file is removed,
/// and with it folders that were made for it; [`abandon`](crate::abandon) does the same where the
/// process ends at once. A file that this process has read is never replaced. It seeks, so that a
/// writer can go back and fill in a header.
pub struct AtomicFile {
    path: PathBuf,
    out: BufWriter<NamedTempFile>,
    under_way: UnderWay,
    /// Go with an abandoned file.
    made: MadeDirs,
}

impl AtomicFile {
    /// Starts a file that will stand at `path`.
    ///
    /// # Errors
    /// [`Error::Write`] where the folder cannot be made or written to, or `path` is a folder or a
    /// device; [`Error::IsInput`] where it is a file that this process has read.
    pub fn create(path: &Path, access: Access) -> Result<Self, Error> {
        let dir = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        check_replaceable(path)?;
        outputs::check(path)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".").suffix(".tmp");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = match access {
                Access::Public => 0o666,
                Access::Private => 0o600,
            };
            builder.permissions(fs::Permissions::from_mode(mode));
        }
        #[cfg(not(unix))]
        let _ = access;
        let ((temp, under_way), made) = within(dir, path, || {
            let temp = builder.tempfile_in(dir)?;
            let under_way = UnderWay::new(Kind::File, temp.path());
            allow_owner(temp.path(), 0o600)?;
            Ok((temp, under_way))
        })?;
        let out = BufWriter::with_capacity(1 << 16, temp);
        Ok(Self { path: path.to_path_buf(), out, under_way, made })
    }

    /// Flushes to the disk, renames to the final name, and returns the file's record (hashed as it
    /// stands on disk).
    ///
    /// # Errors
    /// [`Error::Write`]; a file that stood under the name before stays as it was.
    pub fn commit(self) -> Result<FileRecord, Error> {
        let Self { path, out, under_way, made } = self;
        let temp = out.into_inner().map_err(|e| Error::write(&path)(e.into_error()))?;
        temp.as_file().sync_all().map_err(Error::write(&path))?;
        let mut record = FileRecord::of_output(temp.path())?;
        begin(|| {
            let done = temp.persist(&path).map_err(|e| Error::write(&path)(e.error));
            drop(under_way);
            done
        })?;
        made.keep();
        input_file::forget(&path);
        record.path = path;
        Ok(record)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.out.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_abandoned_file_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::create(&dir.path().join("a.pt"), Access::Public).unwrap();
        file.write_all(&vec![1; 100_000]).unwrap();
        drop(file);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn an_old_file_stays_until_the_new_one_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/a.txt");
        write_bytes(&path, Access::Public, b"old").unwrap();
        let mut file = AtomicFile::create(&path, Access::Public).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let record = file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(record.sha256, sha256_bytes(b"new"));
        assert_eq!(names(path.parent().unwrap()), ["a.txt"]);
    }

    #[test]
    fn a_folder_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_bytes(dir.path(), Access::Public, b"x").unwrap_err().to_string();
        assert!(error.contains(&dir.path().display().to_string()), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn private_files_are_for_the_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.pth");
        write_bytes(&path, Access::Private, b"w").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        write_bytes(&path, Access::Public, b"w").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o600, 0o600);
    }

    #[test]
    fn parts_are_told_apart() {
        let of = |parts: &[&[u8]]| sha256_parts(parts.iter().copied());
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        // The eight bytes of the length, then the text: printf '\3\0\0\0\0\0\0\0abc' | sha256sum
        assert_eq!(of(&[b"abc"]), sha256_bytes(b"\x03\0\0\0\0\0\0\0abc"));
    }

    // FIPS 180-2, appendix B.1.
    #[test]
    fn hash_of_abc() {
        assert_eq!(sha256_bytes(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
