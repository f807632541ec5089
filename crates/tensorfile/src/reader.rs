//! Telling the format by its content, and reading it.

use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use crate::array::Array;
use crate::document::{Document, Format, Value};
use crate::error::{Error, ReadError, Result, shown};
use crate::limits::Budget;
use crate::source::{Source, Stream};
use crate::zip_reader::Archive;
use crate::{idx, npy, safetensors, torch};

/// Bytes of the file from which its format is detected.
const START_BYTES: u64 = 512;

/// What saying of an array that it is not read takes at most.
const OTHER_BYTES: u128 = 256;

/// Reads a file of any known format, detected from its content and never from its name.
///
/// Arrays are read from the file straight to where they stay, so that reading takes about the
/// arrays' own memory; views that jump in their storage need the storage beside them. What reading
/// may take at most is said in [`limits`](crate::limits). Nothing in the file is run, whatever it
/// claims to be.
///
/// # Errors
/// Each names the file, the reason, and where there is one the hint: see [`Error`].
pub fn read(path: &Path) -> Result<Document> {
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    let (file, _) = input_file::open(path).map_err(io)?;
    read_from(path, &mut BufReader::new(file))
}

/// [`read`] for a file that lies in memory already; `path` only names it in errors and in the
/// document.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(path: &Path, bytes: &[u8]) -> Result<Document> {
    read_from(path, &mut Cursor::new(bytes))
}

/// [`read`] for anything that can be read and sought in, from its first byte to its last; give a
/// file within a [`BufReader`]. `path` only names it in errors and in the document.
///
/// # Errors
/// As [`read`].
pub fn read_from(path: &Path, source: &mut (impl Read + Seek)) -> Result<Document> {
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    let length = source.seek(SeekFrom::End(0)).map_err(io)?;
    if length == 0 {
        return Err(Error::Empty { path: path.to_path_buf() });
    }
    source.rewind().map_err(io)?;
    let mut start = Vec::new();
    Read::by_ref(source).take(START_BYTES).read_to_end(&mut start).map_err(io)?;
    read_started(path, source, length, &start)
}

/// The rest of [`read_from`]: `start` are the first bytes.
fn read_started(path: &Path, source: &mut dyn Source, length: u64, start: &[u8]) -> Result<Document> {
    let mut budget = Budget::of_file(length);
    let rewind = |source: &mut dyn Source| source.rewind().map_err(ReadError::from);
    let (format, content) = if start.starts_with(b"PK") {
        // Only the directory tells which format it is.
        let unknown = |error: ReadError| error.at(path, Format::TorchZip);
        let archive = Archive::open(source, length, &mut budget).map_err(unknown)?;
        match torch::folder(&archive).map_err(unknown)? {
            Some((folder, format)) => {
                let code = torch::has_code(&archive, &folder);
                let root = torch::parse_zip(source, &archive, &folder, format, &mut budget);
                (format, root.map(|root| Content { code, ..root.into() }))
            }
            None if archive.names().all(|name| name.strip_suffix(".npy").is_some()) => {
                (Format::Npz, parse_npz(source, &archive, &mut budget).map(Content::from))
            }
            None => return Err(unrecognised(path, start, Some(&archive))),
        }
    } else if start.starts_with(npy::MAGIC) {
        let array = parse_npy(source, length, &mut budget);
        (Format::Npy, array.map(|array| Value::Array(array).into()))
    } else if safetensors::is_safetensors(start) {
        let parsed = safetensors::parse(source, length, &mut budget);
        (Format::Safetensors, parsed.map(|(root, metadata)| Content { metadata, ..root.into() }))
    } else if torch::is_pickle(start) && torch::is_legacy(start, &budget) {
        (Format::TorchLegacy, torch::parse_legacy(source, length, &mut budget).map(Content::from))
    } else if idx::is_idx(start) {
        let array = rewind(source).and_then(|()| idx::parse(source, &mut budget));
        (Format::Idx, array.map(|array| Value::Array(array).into()))
    } else if start.starts_with(b"\x1f\x8b") && rewind(source).is_ok() && idx::is_gzipped_idx(&mut *source) {
        let array = rewind(source).and_then(|()| idx::parse_gz(source, &mut budget));
        (Format::Idx, array.map(|array| Value::Array(array).into()))
    } else {
        return Err(unrecognised(path, start, None));
    };
    let Content { root, code, metadata } = content.map_err(|error| error.at(path, format))?;
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

fn parse_npy(source: &mut dyn Source, length: u64, budget: &mut Budget) -> Result<Array, ReadError> {
    let behind = npy::MAGIC.len() as u64;
    source.seek(SeekFrom::Start(behind))?;
    npy::parse(&mut Stream::rest(source, length.saturating_sub(behind)), budget)
}

fn parse_npz(source: &mut dyn Source, archive: &Archive, budget: &mut Budget) -> Result<Value, ReadError> {
    let mut pairs = Vec::new();
    for name in archive.names() {
        let mut stream = archive.stream(source, name, budget)?;
        let mut magic = vec![0; npy::MAGIC.len().min(stream.left() as usize)];
        stream.fill(&mut magic)?;
        if magic != npy::MAGIC {
            return Err(ReadError::malformed(format!("its entry `{}` is no NumPy array", shown(name))));
        }
        let value = match npy::parse(&mut stream, budget) {
            Ok(array) => Value::Array(array),
            // One among others, which may well be what is wanted.
            Err(ReadError::Unsupported { what, .. }) => Value::Other { what, array: true },
            Err(error) => return Err(in_entry(name, error)),
        };
        stream.finish()?;
        archive.refund(name, budget);
        budget.spend(name.len() as u128 + OTHER_BYTES, || "its names".into())?;
        pairs.push((name.strip_suffix(".npy").unwrap_or(name).to_owned(), value));
    }
    Ok(Value::Dict(pairs))
}

fn in_entry(name: &str, error: ReadError) -> ReadError {
    match error {
        ReadError::Malformed(reason) => {
            ReadError::malformed(format!("in its array `{}`: {reason}", shown(name)))
        }
        other => other,
    }
}

/// What the content may be instead, and what to do about it.
fn unrecognised(path: &Path, bytes: &[u8], archive: Option<&Archive>) -> Error {
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
