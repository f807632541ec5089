//! Telling the format by its content, and reading it.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::document::{Document, Format, Value};
use crate::error::{Error, Fault, Result, shown};
use crate::limits::Budget;
use crate::zip_reader::Archive;
use crate::{idx, npy, safetensors, torch};

/// Reads a file of any known format, told by its content and never by its name.
///
/// The whole file is read into memory, then its arrays are copied out of it; what that may take at most is said in
/// [`limits`](crate::limits). Nothing in the file is run, whatever it claims to be.
///
/// # Errors
/// Each names the file, the reason, and where there is one the cure: see [`Error`].
pub fn read(path: &Path) -> Result<Document> {
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    // Asked first: opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(Error::NotAFile { path: path.to_path_buf() });
    }
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut bytes = Vec::new();
    let capacity = usize::try_from(length).unwrap_or(usize::MAX);
    bytes.try_reserve_exact(capacity).map_err(|_| io(std::io::ErrorKind::OutOfMemory.into()))?;
    Read::by_ref(&mut file).take(length).read_to_end(&mut bytes).map_err(io)?;
    read_bytes(path, &bytes)
}

/// [`read`] for a file that lies in memory already; `path` only names it in errors and in the document.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(path: &Path, bytes: &[u8]) -> Result<Document> {
    if bytes.is_empty() {
        return Err(Error::Empty { path: path.to_path_buf() });
    }
    let mut budget = Budget::of_file(bytes.len());
    let (format, content) = if bytes.starts_with(b"PK") {
        // Only the directory tells which format it is.
        let unknown = |fault: Fault| fault.at(path, Format::TorchZip);
        let archive = Archive::open(bytes).map_err(unknown)?;
        match torch::folder(&archive).map_err(unknown)? {
            Some((folder, format)) => {
                let code = torch::has_code(&archive, &folder);
                let root = torch::parse_zip(&archive, &folder, format, &mut budget);
                (format, root.map(|root| Content { code, ..root.into() }))
            }
            None if archive.names().all(|name| name.strip_suffix(".npy").is_some()) => {
                (Format::Npz, parse_npz(&archive, &mut budget).map(Content::from))
            }
            None => return Err(unrecognised(path, bytes, Some(&archive))),
        }
    } else if bytes.starts_with(npy::MAGIC) {
        (Format::Npy, npy::parse(bytes, &mut budget).map(|array| Value::Array(array).into()))
    } else if safetensors::is_safetensors(bytes) {
        let parsed = safetensors::parse(bytes, &mut budget);
        (Format::Safetensors, parsed.map(|(root, metadata)| Content { metadata, ..root.into() }))
    } else if torch::is_pickle(bytes) && torch::is_legacy(bytes, &mut budget) {
        (Format::TorchLegacy, torch::parse_legacy(bytes, &mut budget).map(Content::from))
    } else if idx::is_idx(bytes) {
        (Format::Idx, idx::parse(bytes, &mut budget).map(|array| Value::Array(array).into()))
    } else if bytes.starts_with(b"\x1f\x8b") && idx::is_gzipped_idx(bytes) {
        (Format::Idx, idx::parse_gz(bytes, &mut budget).map(|array| Value::Array(array).into()))
    } else {
        return Err(unrecognised(path, bytes, None));
    };
    let Content { root, code, metadata } = content.map_err(|fault| fault.at(path, format))?;
    Ok(Document { path: path.to_path_buf(), format, root, code, metadata })
}

/// Content of a file, and what the format says about it.
struct Content {
    root: Value,
    code: bool,
    metadata: Vec<(String, String)>,
}

impl From<Value> for Content {
    fn from(root: Value) -> Self {
        Self { root, code: false, metadata: Vec::new() }
    }
}

fn parse_npz(archive: &Archive<'_>, budget: &mut Budget) -> Result<Value, Fault> {
    let mut pairs = Vec::new();
    for name in archive.names() {
        let content = archive.entry(name, budget)?;
        let array = if content.starts_with(npy::MAGIC) {
            npy::parse(&content, budget).map_err(|fault| in_entry(name, fault))?
        } else {
            return Err(Fault::malformed(format!("its entry `{}` is no NumPy array", shown(name))));
        };
        if let Cow::Owned(inflated) = content {
            budget.refund(inflated.len() as u64);
        }
        budget.spend(name.len() as u128, || "its names".into())?;
        pairs.push((name.strip_suffix(".npy").unwrap_or(name).to_owned(), Value::Array(array)));
    }
    Ok(Value::Dict(pairs))
}

fn in_entry(name: &str, fault: Fault) -> Fault {
    match fault {
        Fault::Malformed(reason) => Fault::malformed(format!("in its array `{}`: {reason}", shown(name))),
        Fault::Unsupported { what, cure } => {
            Fault::Unsupported { what: format!("{what} in `{}`", shown(name)), cure }
        }
        other => other,
    }
}

/// What the content may be instead, and what to do about it.
fn unrecognised(path: &Path, bytes: &[u8], archive: Option<&Archive<'_>>) -> Error {
    const SHOWN: usize = 16;
    let start = bytes.get(..SHOWN).unwrap_or(bytes);
    let hint = if let Some(archive) = archive {
        let names: Vec<String> = archive.names().take(4).map(shown).collect();
        format!("it is a zip archive with neither data.pkl nor only .npy entries, but {}", names.join(", "))
    } else if bytes.starts_with(b"version https://git-lfs") {
        "it is a pointer of Git LFS: fetch the file itself with `git lfs pull`".to_owned()
    } else if bytes.trim_ascii_start().starts_with(b"<") {
        "it looks like a web page: download the file again".to_owned()
    } else if bytes.starts_with(b"\x1f\x8b") {
        "it is gzipped, but no IDX file: unpack it first with `gzip -d`".to_owned()
    } else if torch::is_pickle(bytes) {
        "it is a pickle, but not one of torch.save; such files can run anything, so save the arrays in Python with torch.save"
            .to_owned()
    } else if bytes.get(257..262) == Some(b"ustar") {
        "it is a tar archive: unpack it, or if PyTorch 0.1 wrote it, load and save it in Python".to_owned()
    } else {
        "save it in Python with torch.save(tensor, path) or numpy.save(path, array)".to_owned()
    };
    Error::Unrecognised { path: path.to_path_buf(), start: format!("\"{}\"", start.escape_ascii()), hint }
}
