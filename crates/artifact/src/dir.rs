//! A folder that is complete under its final name, or not there.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::file::hex;
use crate::under_way::{Kind, MadeDirs, UnderWay, allow_owner, begin, within};
use crate::{Access, Error, FileRecord, outputs};

/// A folder that appears under its final name with all its files, or never.
///
/// Files go to a hidden folder beside it; [`AtomicDir::commit`] flushes them to the disk and
/// renames. Dropped without a commit, it leaves nothing. An older folder of the name is replaced
/// where all in it is of this program's making.
pub struct AtomicDir {
    path: PathBuf,
    access: Access,
    holding: TempDir,
    files: Vec<PathBuf>,
    under_way: UnderWay,
    /// Go with an abandoned folder.
    made: MadeDirs,
}

impl AtomicDir {
    /// Starts a folder that will stand at `path`. `is_own` is asked for every file, by its path
    /// inside the folder, of an older one that stands there.
    ///
    /// # Errors
    /// [`Error::Foreign`] where the older one holds something else, [`Error::IsInput`] where it
    /// holds a file that this process has read, [`Error::Write`] where the folder above cannot be
    /// written to or `path` is a file.
    pub fn create(path: &Path, access: Access, is_own: impl Fn(&Path) -> bool) -> Result<Self, Error> {
        let above = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        outputs::check(path)?;
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => {
                let mut found = Vec::new();
                walk(path, Path::new(""), &mut found)?;
                found.iter().try_for_each(|inner| outputs::check(&path.join(inner)))?;
                if let Some(found) = found.into_iter().find(|inner| !is_own(inner)) {
                    return Err(Error::Foreign { dir: path.to_path_buf(), found });
                }
            }
            Ok(_) => {
                let reason =
                    std::io::Error::new(std::io::ErrorKind::NotADirectory, "it is no folder; move it away");
                return Err(Error::write(path)(reason));
            }
            Err(_) => {}
        }
        // Its mode is 0700 until it is complete.
        let ((holding, under_way), made) = within(above, path, || {
            let holding = tempfile::Builder::new().prefix(".").suffix(".tmp").tempdir_in(above)?;
            let under_way = UnderWay::new(Kind::Folder, holding.path());
            allow_owner(holding.path(), 0o700)?;
            Ok((holding, under_way))
        })?;
        let dir = Self { path: path.to_path_buf(), access, holding, files: Vec::new(), under_way, made };
        dir.make(&dir.inner())?;
        Ok(dir)
    }

    fn inner(&self) -> PathBuf {
        self.holding.path().join("new")
    }

    fn make(&self, folder: &Path) -> Result<(), Error> {
        #[cfg_attr(not(unix), expect(unused_mut, reason = "modes are unix's"))]
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        if self.access == Access::Private {
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        }
        begin(|| builder.create(folder).and_then(|()| allow_owner(folder, 0o700)))
            .map_err(Error::write(&self.path))
    }

    /// Writes one file; `inner` is its path inside the folder, of one or two parts. The record
    /// names its final place.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&mut self, inner: &Path, bytes: &[u8]) -> Result<FileRecord, Error> {
        use std::io::Write as _;
        let target = self.inner().join(inner);
        if let Some(folder) = target.parent().filter(|folder| !folder.is_dir()) {
            self.make(folder)?;
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if self.access == Access::Private {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        let path = self.path.join(inner);
        let open = || {
            let file = options.open(&target)?;
            allow_owner(&target, 0o600)?;
            Ok(file)
        };
        let mut file = begin(open).map_err(Error::write(&path))?;
        file.write_all(bytes).map_err(Error::write(&path))?;
        self.files.push(target);
        Ok(FileRecord { path, bytes: bytes.len() as u64, sha256: hex(&Sha256::digest(bytes)) })
    }

    /// Flushes all files to the disk and renames the folder to its final name.
    ///
    /// # Errors
    /// [`Error::Write`]; an older folder stays as it was then.
    pub fn commit(self) -> Result<(), Error> {
        // After the last write, not one by one: the first flush takes the others with it.
        for file in &self.files {
            fs::OpenOptions::new()
                .write(true)
                .open(file)
                .and_then(|file| file.sync_all())
                .map_err(Error::write(&self.path))?;
        }
        let (new, old) = (self.inner(), self.holding.path().join("old"));
        let Self { path, holding, under_way, made, .. } = self;
        let placed = begin(|| {
            let replaces = path.is_dir();
            if replaces {
                fs::rename(&path, &old).map_err(|error| (error, false))?;
            }
            let Err(error) = fs::rename(&new, &path) else { return Ok(()) };
            Err((error, replaces && fs::rename(&old, &path).is_err()))
        });
        match placed {
            Ok(()) => made.keep(),
            Err((error, displaced)) => {
                if displaced {
                    // Then the old one stays where it is: hidden, but there.
                    drop(under_way);
                    let _ = holding.keep();
                }
                return Err(Error::write(&path)(error));
            }
        }
        // With the old one in it.
        let _ = holding.close();
        drop(under_way);
        Ok(())
    }
}

/// Every file below `root`, by its path inside it. Links are not followed.
fn walk(root: &Path, inner: &Path, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let folder = root.join(inner);
    for entry in fs::read_dir(&folder).map_err(Error::read(&folder))? {
        let entry = entry.map_err(Error::read(&folder))?;
        let inner = inner.join(entry.file_name());
        if entry.file_type().map_err(Error::read(&folder))?.is_dir() {
            walk(root, &inner, found)?;
        } else {
            found.push(inner);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_png(inner: &Path) -> bool {
        inner.extension().is_some_and(|ending| ending == "png")
    }

    fn listed(dir: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(dir, Path::new(""), &mut found).unwrap();
        found.sort();
        found
    }

    #[test]
    fn a_folder_is_there_with_all_its_files_or_not_at_all() {
        let work = tempfile::tempdir().unwrap();
        let path = work.path().join("out/images");
        let mut dir = AtomicDir::create(&path, Access::Private, is_png).unwrap();
        dir.write(Path::new("0/a.png"), b"one").unwrap();
        assert!(!path.exists());
        drop(dir);
        assert!(listed(work.path()).is_empty(), "an abandoned one leaves nothing");

        let mut dir = AtomicDir::create(&path, Access::Private, is_png).unwrap();
        let record = dir.write(Path::new("0/a.png"), b"one").unwrap();
        dir.write(Path::new("b.png"), b"two").unwrap();
        dir.commit().unwrap();
        assert_eq!(record, FileRecord::of(&path.join("0/a.png")).unwrap());
        assert_eq!(listed(work.path()), [Path::new("out/images/0/a.png"), Path::new("out/images/b.png")]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |inner: &str| fs::metadata(path.join(inner)).unwrap().permissions().mode() & 0o777;
            assert_eq!([mode(""), mode("0"), mode("0/a.png")], [0o700, 0o700, 0o600]);
        }
    }

    #[test]
    fn an_older_folder_is_replaced_as_a_whole_and_anything_else_is_left_alone() {
        let work = tempfile::tempdir().unwrap();
        let path = work.path().join("images");
        for name in ["1/a.png", "2/b.png"] {
            let mut dir = AtomicDir::create(&path, Access::Public, is_png).unwrap();
            dir.write(Path::new(name), b"x").unwrap();
            dir.commit().unwrap();
            assert_eq!(listed(work.path()), [Path::new("images").join(name)]);
        }
        crate::write_bytes(&path.join("2/notes.txt"), Access::Public, b"mine").unwrap();
        let error = AtomicDir::create(&path, Access::Public, is_png).err().unwrap().to_string();
        assert!(error.contains("notes.txt") && error.contains("move it away"), "{error}");
        assert_eq!(listed(&path).len(), 2);
        let file = path.join("2/b.png");
        assert!(AtomicDir::create(&file, Access::Public, is_png).is_err(), "a file is in the way");
    }
}
