use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The folders of `dir` that are called `prefix` and a number, by number, as they are spelt: `7`, `007` and `+7` are teacher 7.
///
/// # Errors
/// A folder that cannot be read; two folders of one number, which would be one teacher fewer in silence.
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

/// What a folder holds in place of the file `name`, in words: another spelling of it, other files, or nothing.
pub fn in_place_of(folder: &Path, name: &str) -> String {
    let Ok(entries) = fs::read_dir(folder) else { return "it cannot be read".to_owned() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    let stem = |name: &str| Path::new(name).file_stem().map(|stem| stem.to_string_lossy().to_lowercase());
    if let Some(like) = names.iter().find(|other| stem(other) == stem(name)) {
        return format!("it holds {}", input_file::shown(like, 80));
    }
    match &names[..] {
        [] => "it is empty".to_owned(),
        [first, ..] => format!("it holds {} and no {name}", input_file::shown(first, 80)),
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
        assert_eq!(in_place_of(dir.path(), "model.pth"), "it is empty");
        artifact::write_bytes(&dir.path().join("best.pth"), artifact::Access::Public, b"").unwrap();
        assert_eq!(in_place_of(dir.path(), "model.pth"), "it holds best.pth and no model.pth");
        artifact::write_bytes(&dir.path().join("MODEL.PT"), artifact::Access::Public, b"").unwrap();
        assert_eq!(in_place_of(dir.path(), "model.pth"), "it holds MODEL.PT");
    }
}
