//! Whether a disk has room for what a step will write.

use std::path::{Path, PathBuf, absolute};

use crate::Error;

/// Bytes that this user can still write in `dir`, or in the nearest folder above it that is there;
/// `None` where the system does not say.
pub fn free_bytes(dir: &Path) -> Option<u64> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let dir = absolute(dir).ok()?;
    let there = dir.ancestors().find(|folder| folder.is_dir())?;
    fs4::available_space(there).ok()
}

/// Refuses a run that writes at least `need` bytes into `dir` where `have` are free. Where that is
/// not known, the run may try.
///
/// # Errors
/// [`Error::Space`] with both figures and `hint`.
pub fn check_space(dir: &Path, need: u64, have: Option<u64>, hint: &str) -> Result<(), Error> {
    match have {
        Some(have) if have < need => {
            Err(Error::Space { dir: dir.to_path_buf(), need, have, hint: hint.to_owned() })
        }
        _ => Ok(()),
    }
}

/// By how much the use of a disk grows at its peak, at least, where files of these sizes are
/// written one after the other, each beside an older one of its name before it takes its place.
pub fn min_growth(files: impl IntoIterator<Item = (PathBuf, u64)>) -> u64 {
    let (mut used, mut peak) = (0i128, 0i128);
    for (path, bytes) in files {
        let older = path.metadata().map_or(0, |meta| meta.len());
        peak = peak.max(used + i128::from(bytes));
        used += i128::from(bytes) - i128::from(older);
    }
    u64::try_from(peak).unwrap_or(u64::MAX)
}

/// A number of bytes for a person, in powers of 1000: `15.7 GB`.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    // 999.95 would be printed as 1000.0.
    while value >= 999.95
        && let Some(next) = units.next()
    {
        value /= 1000.0;
        unit = Some(next);
    }
    format!("{value:.1} {}", unit.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_too_small_is_refused_with_figures_and_hint() {
        let dir = Path::new("candidates");
        let error = check_space(dir, 15_680_000_000, Some(2_000_000_000), "give --discard-candidates");
        let error = error.unwrap_err().to_string();
        assert_eq!(
            error,
            "candidates has 2.0 GB free, and this run writes at least 15.7 GB; give --discard-candidates"
        );
        for have in [Some(15_680_000_000), Some(u64::MAX), None] {
            check_space(dir, 15_680_000_000, have, "").unwrap();
        }
        assert!(check_space(dir, 1, Some(0), "").is_err());
        check_space(dir, 0, Some(0), "").unwrap();
    }

    #[test]
    fn free_space_is_that_of_the_nearest_folder() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(dir.path()).is_some_and(|free| free > 0));
        assert!(free_bytes(&dir.path().join("not/there/yet")).is_some_and(|free| free > 0));
    }

    #[test]
    fn files_that_are_replaced_make_room_for_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let older = dir.path().join("a");
        crate::write_bytes(&older, crate::Access::Public, &[0; 100]).unwrap();
        let new = |name: &str| dir.path().join(name);
        assert_eq!(min_growth([(new("b"), 70), (new("c"), 30)]), 100);
        assert_eq!(min_growth([(older.clone(), 100)]), 100, "both are there for a moment");
        assert_eq!(min_growth([(older, 100), (new("b"), 70)]), 100);
        assert_eq!(min_growth([]), 0);
    }

    #[test]
    fn sizes_have_three_digits_or_four() {
        let cases = [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (15_680_000_000, "15.7 GB"),
            (u64::MAX, "18446.7 PB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(format_bytes(bytes), text);
        }
    }
}
