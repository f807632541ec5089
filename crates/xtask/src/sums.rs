//! SHA-256 of files, of gzip contents, and of the lists that `sha256sum` reads.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a file, in lower-case hexadecimal digits.
pub(crate) fn of_file(path: &Path) -> anyhow::Result<String> {
    of_reader(open(path)?).with_context(|| format!("cannot read {}", path.display()))
}

/// The SHA-256 of what a gzip file holds, which no compressor changes.
pub(crate) fn of_gzip_contents(path: &Path) -> anyhow::Result<String> {
    of_reader(MultiGzDecoder::new(open(path)?))
        .with_context(|| format!("{} is not a complete gzip file", path.display()))
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

fn of_reader(mut reader: impl Read) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n_bytes = reader.read(&mut buffer)?;
        if n_bytes == 0 {
            break;
        }
        hasher.update(&buffer[..n_bytes]);
    }
    Ok(hasher.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

/// The files named in `folder/SHA256SUMS` that are missing or differ, and how many there are in
/// all.
pub(crate) fn check_list(folder: &Path) -> anyhow::Result<(Vec<PathBuf>, usize)> {
    let list = folder.join("SHA256SUMS");
    let text = std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let entries: Vec<_> = text.lines().filter_map(|line| line.split_once("  ")).collect();
    let wrong = entries
        .iter()
        .map(|(sum, name)| (sum, folder.join(name)))
        .filter(|(sum, path)| of_file(path).ok().as_ref() != Some(&(**sum).to_owned()))
        .map(|(_, path)| path)
        .collect();
    Ok((wrong, entries.len()))
}

/// The sum that `folder/SHA256SUMS` has for a name; nothing where there is no list, or no such name
/// on it.
pub(crate) fn listed(folder: &Path, name: &str) -> anyhow::Result<Option<String>> {
    let list = folder.join("SHA256SUMS");
    if !list.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let mut entries = text.lines().filter_map(|line| line.split_once("  "));
    Ok(entries.find(|(_, found)| *found == name).map(|(sum, _)| sum.to_owned()))
}

/// Writes `folder/SHA256SUMS` with the sums of these files.
pub(crate) fn write_list(folder: &Path, names: &[String]) -> anyhow::Result<()> {
    let mut text = String::new();
    for name in names {
        let _ = writeln!(text, "{}  {name}", of_file(&folder.join(name))?);
    }
    crate::fetch::write_file(&folder.join("SHA256SUMS"), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    // sha256sum of the three bytes "abc" (FIPS 180-2, appendix B.1).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn files_and_gzip_contents_have_the_same_sum() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("abc");
        write_new(&plain, b"abc");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(b"abc").unwrap();
        let packed = folder.path().join("abc.gz");
        write_new(&packed, &gzip.finish().unwrap());
        assert_eq!(of_file(&plain).unwrap(), ABC);
        assert_eq!(of_gzip_contents(&packed).unwrap(), ABC);
        let error = of_gzip_contents(&plain).unwrap_err();
        assert!(error.to_string().contains("is not a complete gzip file"), "{error:#}");
    }

    #[test]
    fn a_list_names_what_is_missing_or_differs() {
        let folder = tempfile::tempdir().unwrap();
        write_new(&folder.path().join("good"), b"abc");
        write_new(&folder.path().join("bad"), b"abd");
        let list = format!("{ABC}  good\n{ABC}  bad\n{ABC}  gone\n");
        write_new(&folder.path().join("SHA256SUMS"), list.as_bytes());
        let (wrong, n_files) = check_list(folder.path()).unwrap();
        assert_eq!(wrong, [folder.path().join("bad"), folder.path().join("gone")]);
        assert_eq!(n_files, 3);
    }

    fn write_new(path: &Path, bytes: &[u8]) {
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .unwrap()
            .write_all(bytes)
            .unwrap();
    }
}
