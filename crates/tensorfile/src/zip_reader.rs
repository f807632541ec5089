//! Zip archives: names, and entries that cannot be larger than the file's allowance.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, SeekFrom};

use flate2::read::DeflateDecoder;
use zip::read::{ArchiveOffset, Config};
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use crate::error::{ReadError, shown};
use crate::limits::Budget;
use crate::source::{Source, Stream, damaged, fill_at};

/// Deflate cannot shrink data further than this.
const DEFLATE_RATIO: u64 = 1032;

/// What the directory's knowledge of an entry costs of the allowance beside its name, about its
/// size in memory.
const ENTRY_BYTES: u128 = 512;

#[derive(Debug)]
pub(crate) struct Entry {
    start: u64,
    packed: u64,
    size: u64,
    crc: u32,
    deflated: bool,
}

impl Entry {
    /// Bytes of the content.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Fills `out` from the content at `start`, without looking at the CRC; `None` where the entry
    /// is compressed.
    pub(crate) fn fill_at(
        &self,
        source: &mut dyn Source,
        start: u64,
        out: &mut [u8],
    ) -> Option<Result<(), ReadError>> {
        (!self.deflated).then(|| fill_at(source, self.start.saturating_add(start), out))
    }
}

/// The directory of an archive whose entries have distinct names and do not overlap.
#[derive(Debug)]
pub(crate) struct Archive {
    names: Vec<String>,
    entries: HashMap<String, Entry>,
}

impl Archive {
    /// Reads the directory of a file of `length` bytes.
    pub(crate) fn open(source: &mut dyn Source, length: u64, budget: &mut Budget) -> Result<Self, ReadError> {
        // The archive starts where the file does. Left to itself, the crate searches for where the
        // directory may have been moved to, and takes the zip64 records that PyTorch always writes
        // for a part of it where the first name has 30 bytes.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let mut zip = ZipArchive::with_config(config, source).map_err(broken)?;
        if zip.has_duplicate_names() {
            return Err(ReadError::BrokenZip("two entries have one name".into()));
        }
        if zip.has_overlapping_entries().map_err(broken)? {
            return Err(ReadError::BrokenZip("entries overlap".into()));
        }
        let (mut names, mut entries) = (Vec::new(), HashMap::new());
        for index in 0..zip.len() {
            let file = zip.by_index_raw(index).map_err(broken)?;
            let name = file.name().map_err(broken)?.into_owned();
            budget.spend(ENTRY_BYTES + 4 * name.len() as u128, || "its directory".into())?;
            if file.is_dir() {
                continue;
            }
            let deflated = match file.compression() {
                _ if file.encrypted() => {
                    return Err(ReadError::BrokenZip(format!("`{}` is encrypted", shown(&name))));
                }
                CompressionMethod::Stored => false,
                CompressionMethod::Deflated => true,
                method => {
                    return Err(ReadError::BrokenZip(format!(
                        "`{}` is compressed with {method:?}; only stored and deflated entries are read",
                        shown(&name)
                    )));
                }
            };
            let packed = file.compressed_size();
            let start = file
                .data_start()
                .filter(|start| start.checked_add(packed).is_some_and(|end| end <= length))
                .ok_or_else(|| ReadError::BrokenZip(format!("`{}` reaches past the end", shown(&name))))?;
            let entry = Entry { start, packed, size: file.size(), crc: file.crc32(), deflated };
            names.push(name.clone());
            entries.insert(name, entry);
        }
        Ok(Self { names, entries })
    }

    /// Names of the entries, in the directory's order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    pub(crate) fn entry(&self, name: &str) -> Result<&Entry, ReadError> {
        self.entries.get(name).ok_or_else(|| damaged(name, "is missing"))
    }

    /// The content of an entry, which [`Stream::finish`] checks against its CRC. What inflates
    /// comes out of `budget`, so that the time that it takes is bounded as memory is.
    pub(crate) fn stream<'s>(
        &self,
        source: &'s mut dyn Source,
        name: &str,
        budget: &mut Budget,
    ) -> Result<Stream<'s>, ReadError> {
        let &Entry { start, packed, size, crc, deflated } = self.entry(name)?;
        source.seek(SeekFrom::Start(start))?;
        let input = source.take(packed);
        if deflated {
            if size / DEFLATE_RATIO > packed {
                let claim = format!("claims to hold {size} bytes in {packed} compressed ones");
                return Err(damaged(name, &claim));
            }
            budget.spend(size.into(), || format!("its compressed entry `{}`", shown(name)))?;
            return Ok(Stream::entry(DeflateDecoder::new(input), size, (name, crc), true));
        }
        if size != packed {
            return Err(damaged(name, &format!("has sizes {size} and {packed}")));
        }
        Ok(Stream::entry(input, size, (name, crc), false))
    }

    /// The content of an entry in memory, checked against its CRC.
    pub(crate) fn bytes(
        &self,
        source: &mut dyn Source,
        name: &str,
        budget: &mut Budget,
    ) -> Result<Vec<u8>, ReadError> {
        let mut stream = self.stream(source, name, budget)?;
        let entry = self.entry(name)?;
        if !entry.deflated {
            budget.spend(entry.size.into(), || format!("its entry `{}`", shown(name)))?;
        }
        let mut content =
            crate::array::zeros(usize::try_from(entry.size).map_err(|_| ReadError::OutOfMemory)?, 0)?;
        stream.fill(&mut content)?;
        stream.finish()?;
        Ok(content)
    }

    /// What a stream of the entry took of the budget, to be given back when the stream has ended.
    pub(crate) fn refund(&self, name: &str, budget: &mut Budget) {
        if let Some(entry) = self.entries.get(name).filter(|entry| entry.deflated) {
            budget.refund(entry.size);
        }
    }
}

fn broken(error: ZipError) -> ReadError {
    match error {
        // What the directory says led out of the file.
        ZipError::Io(error)
            if !matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidInput) =>
        {
            ReadError::Io(error)
        }
        error => ReadError::BrokenZip(error.to_string()),
    }
}
