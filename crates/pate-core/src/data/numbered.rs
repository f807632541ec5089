//! Folders named by a number, such as those of teachers.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The folders of `dir` that are called `prefix` and a number, by number, as they are spelt: `7`,
/// `007` and `+7` are teacher 7.
///
/// # Errors
/// A folder that cannot be read; two folders of one number, which would be one teacher fewer in
/// silence.
pub fn numbered_folders(dir: &Path, prefix: &str) -> Result<BTreeMap<u64, PathBuf>> {
    let read = |source| artifact::Error::Read { path: dir.to_path_buf(), source };
    let mut folders: BTreeMap<u64, PathBuf> = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_prefix(prefix)?.parse().ok());
        let Some(number) = number.filter(|_| path.is_dir()) else { continue };
        if let Some(other) = folders.insert(number, path.clone()) {
            let (first, second) = if other < path { (other, path) } else { (path, other) };
            return Err(Error::content(
                dir,
                format!("{} and {} are both teacher {number}", first.display(), second.display()),
                "keep one of them, or give the other its own number",
            ));
        }
    }
    Ok(folders)
}

/// What a folder holds where the file `name` is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InPlace {
    /// The same name in other letters, which another system would take for it.
    OtherCase(String),
    /// A file with the same stem, such as `model.pt`, or else the first of the others.
    Other(String),
    /// Nothing that is not hidden.
    Nothing,
    /// It cannot be read.
    Unread,
}

impl InPlace {
    /// Looks into `folder`.
    pub fn of(folder: &Path, name: &str) -> Self {
        let Ok(entries) = fs::read_dir(folder) else { return Self::Unread };
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        if let Some(same) = names.iter().find(|other| other.eq_ignore_ascii_case(name)) {
            return Self::OtherCase(same.clone());
        }
        let stem = |name: &str| Path::new(name).file_stem().map(|stem| stem.to_string_lossy().to_lowercase());
        let like = names.iter().find(|other| stem(other) == stem(name));
        like.or(names.first()).map_or(Self::Nothing, |other| Self::Other(other.clone()))
    }
}

impl fmt::Display for InPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherCase(name) | Self::Other(name) => {
                write!(f, "it holds {}", input_file::shown(name, 80))
            }
            Self::Nothing => f.write_str("it is empty"),
            Self::Unread => f.write_str("it cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Field cases, row 5.
    #[test]
    #[cfg(unix)]
    fn two_folders_of_one_number_are_an_error_that_names_both() {
        for other in ["01", "+1", "001"] {
            let dir = tempfile::tempdir().unwrap();
            for name in
                ["t_1", "t_03", "t_x", "1"].iter().map(ToString::to_string).chain([format!("t_{other}")])
            {
                fs::create_dir(dir.path().join(name)).unwrap();
            }
            let error = numbered_folders(dir.path(), "t_").unwrap_err().to_string();
            assert!(error.contains("both teacher 1"), "{error}");
            assert!(error.contains("t_1") && error.contains(&format!("t_{other}")), "{error}");
            fs::remove_dir(dir.path().join("t_1")).unwrap();
            let found = numbered_folders(dir.path(), "t_").unwrap();
            let names: Vec<_> =
                found.into_values().map(|path| path.file_name().unwrap().to_owned()).collect();
            assert_eq!(names, [format!("t_{other}").as_str(), "t_03"]);
        }
    }

    /// Field cases, rows 5 and 13.
    #[test]
    fn what_stands_in_a_models_place_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            artifact::write_bytes(&dir.path().join(name), artifact::Access::Public, b"").unwrap()
        };
        let found = || InPlace::of(dir.path(), "model.pth");
        assert_eq!(found(), InPlace::Nothing);
        assert_eq!(InPlace::of(&dir.path().join("gone"), "model.pth"), InPlace::Unread);
        put("best.pth");
        assert_eq!(found().to_string(), "it holds best.pth");
        put("MODEL.PT");
        assert_eq!(found(), InPlace::Other("MODEL.PT".to_owned()));
        put("Model.pth");
        assert_eq!(found(), InPlace::OtherCase("Model.pth".to_owned()));
    }
}
