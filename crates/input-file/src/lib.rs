//! The one way to open and read files that somebody else made.
//!
//! A path on a command line, or in a folder that a step looks through, may be a pipe that nobody
//! writes to, a device that never ends, or a kernel file that waits for the next message. [`open`]
//! lets regular files through and nothing else, without waiting for what it refuses; [`read`] and
//! [`read_text`] also hold a limit on the size, which each kind of file states. `/proc` and `/sys`
//! show regular files of size 0 that have a content, or wait for one: an empty file there is
//! refused as well.
//!
//! What such a file says is shown through [`shown()`] alone, so that it cannot write to a terminal
//! what nobody sees. What was opened is remembered for the process ([`was_read`]), so that no
//! output takes the place of an input.
//!
//! Errors are [`std::io::Error`]s whose text says what is there instead and what to do; callers add
//! the path.

mod guarded;
mod seen;
mod shown;

pub use guarded::{guarded, is_guarded};
pub use shown::{is_hidden, shown, shown_json};

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::path::Path;

pub use seen::{Identity, Own, forget, identity, note, own, read_since, was_read};

/// What a JSON file may take: 64 MiB.
pub const JSON: u64 = 64 << 20;

/// What a CSV file may take: 256 MiB, some ten million rows of labels.
pub const CSV: u64 = 256 << 20;

/// What one picture file may take: 64 MiB.
pub const PICTURE: u64 = 64 << 20;

/// Opens a regular file for reading; links are followed.
///
/// # Errors
/// The operating system's; a folder, pipe, socket or device, named as what it is.
pub fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // Asked first: opening some devices does something.
    check(&std::fs::metadata(path)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        // A pipe that was put there since would make the opening wait.
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY);
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    check(&metadata)?;
    if metadata.len() == 0 && is_of_the_kernel(path) {
        return Err(refused("it is a file of the running system, not of a disk; give a regular file"));
    }
    seen::note_open(path, &metadata);
    Ok((file, metadata))
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open`]; also a larger file, with both sizes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let (file, metadata) = open(path)?;
    if metadata.len() > limit {
        return Err(too_large(metadata.len(), limit));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // It may grow meanwhile.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64, limit));
    }
    Ok(bytes)
}

/// [`read`] for text: UTF-8, or UTF-16 with a byte order mark, as Windows PowerShell 5 writes it. A
/// mark is taken off.
///
/// # Errors
/// As [`read`]; also text in no such encoding.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    text(read(path, limit)?)
}

/// The text of a file that was read: see [`read_text`].
///
/// # Errors
/// Bytes that are no text in these encodings, with a hint.
pub fn text(bytes: Vec<u8>) -> io::Result<String> {
    let unit: fn([u8; 2]) -> u16 = match bytes.get(..2) {
        Some(b"\xff\xfe") => u16::from_le_bytes,
        Some(b"\xfe\xff") => u16::from_be_bytes,
        _ => {
            let mut text = String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                if error.as_bytes().contains(&0) {
                    refused(
                        "it holds bytes that are no text, perhaps UTF-16 without a mark; save it as UTF-8",
                    )
                } else {
                    refused(&format!("byte {at} is no UTF-8; save the file as UTF-8"))
                }
            })?;
            if text.starts_with('\u{feff}') {
                text.drain(..'\u{feff}'.len_utf8());
            }
            return Ok(text);
        }
    };
    let (pairs, rest) = bytes[2..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(refused("it is UTF-16 that ends within a character; save it as UTF-8"));
    }
    char::decode_utf16(pairs.iter().map(|pair| unit(*pair)))
        .collect::<Result<_, _>>()
        .map_err(|_| refused("it starts as UTF-16 and goes on as something else; save it as UTF-8"))
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn too_large(found: u64, limit: u64) -> io::Error {
    refused(&format!("it takes {found} bytes, and files of this kind may take {limit}"))
}

fn check(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder; give a file"));
    }
    Err(refused("it is a pipe, a socket or a device; give a regular file"))
}

/// Whether the path leads to what the kernel shows as files.
fn is_of_the_kernel(path: &Path) -> bool {
    cfg!(target_os = "linux")
        && std::fs::canonicalize(path).is_ok_and(|path| path.starts_with("/proc") || path.starts_with("/sys"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attacks, row 9.
    #[test]
    #[cfg(unix)]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.as_path(), Path::new("/dev/zero"), Path::new("/dev/null"), dir.path()] {
            let error = read(path, 100).unwrap_err().to_string();
            assert!(error.contains("give a"), "{}: {error}", path.display());
        }
    }

    /// Attacks, row 9.
    #[test]
    #[cfg(target_os = "linux")]
    fn files_of_the_kernel_are_refused() {
        for path in ["/proc/kmsg", "/proc/self/status", "/proc/cpuinfo"] {
            let Err(error) = read(Path::new(path), 1 << 20) else { panic!("{path} was read") };
            let known = error.to_string().contains("running system")
                || matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound);
            assert!(known, "{path}: {error}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "inputs of the test")]
    fn sizes_are_bounded_and_links_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        let error = read(&path, 4).unwrap_err().to_string();
        assert!(error.contains("5 bytes") && error.contains("may take 4"), "{error}");
        #[cfg(unix)]
        {
            let link = dir.path().join("link");
            std::os::unix::fs::symlink(&path, &link).unwrap();
            assert_eq!(read(&link, 5).unwrap(), b"12345");
        }
    }

    /// Field cases, row 13.
    #[test]
    fn text_of_both_shells_is_read() {
        let utf16 = |order: fn(u16) -> [u8; 2], mark: [u8; 2]| {
            let units = "{\"é\": 1}".encode_utf16().flat_map(order);
            mark.into_iter().chain(units).collect::<Vec<u8>>()
        };
        let expected = "{\"é\": 1}";
        assert_eq!(text(expected.as_bytes().to_vec()).unwrap(), expected);
        assert_eq!(text([b"\xef\xbb\xbf", expected.as_bytes()].concat()).unwrap(), expected);
        assert_eq!(text(utf16(u16::to_le_bytes, [0xff, 0xfe])).unwrap(), expected);
        assert_eq!(text(utf16(u16::to_be_bytes, [0xfe, 0xff])).unwrap(), expected);
        for bad in [&b"\xff\xfea"[..], b"\xff\xfe\x00\xdc", b"a\xe9b", b"a\0\xe9"] {
            let error = text(bad.to_vec()).unwrap_err().to_string();
            assert!(error.contains("save"), "{error}");
        }
    }
}
