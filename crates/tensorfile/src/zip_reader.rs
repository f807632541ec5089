//! Zip archives in memory: names, and entries that cannot be larger than the file's allowance.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Cursor, Read};

use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use crate::error::{Fault, shown};
use crate::limits::Budget;

/// Deflate cannot shrink data further than this.
const DEFLATE_RATIO: u64 = 1032;

#[derive(Debug)]
struct Entry {
    start: usize,
    packed: usize,
    size: u64,
    crc: u32,
    deflated: bool,
}

/// An archive whose entries have distinct names and do not overlap.
#[derive(Debug)]
pub(crate) struct Archive<'a> {
    bytes: &'a [u8],
    names: Vec<String>,
    entries: HashMap<String, Entry>,
}

impl<'a> Archive<'a> {
    /// Reads the directory.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, Fault> {
        let broken = |error: zip::result::ZipError| Fault::BrokenZip(error.to_string());
        let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
        if zip.has_duplicate_names() {
            return Err(Fault::BrokenZip("two entries have one name".into()));
        }
        if zip.has_overlapping_entries().map_err(broken)? {
            return Err(Fault::BrokenZip("entries overlap".into()));
        }
        let (mut names, mut entries) = (Vec::new(), HashMap::new());
        for index in 0..zip.len() {
            let file = zip.by_index_raw(index).map_err(broken)?;
            let name = file.name().map_err(broken)?.into_owned();
            if file.is_dir() {
                continue;
            }
            let deflated = match file.compression() {
                _ if file.encrypted() => {
                    return Err(Fault::BrokenZip(format!("`{}` is encrypted", shown(&name))));
                }
                CompressionMethod::Stored => false,
                CompressionMethod::Deflated => true,
                method => {
                    return Err(Fault::BrokenZip(format!(
                        "`{}` is compressed with {method:?}; only stored and deflated entries are read",
                        shown(&name)
                    )));
                }
            };
            let range = || {
                let start = usize::try_from(file.data_start()?).ok()?;
                let packed = usize::try_from(file.compressed_size()).ok()?;
                (start.checked_add(packed)? <= bytes.len()).then_some((start, packed))
            };
            let (start, packed) = range()
                .ok_or_else(|| Fault::BrokenZip(format!("`{}` reaches past the end", shown(&name))))?;
            let entry = Entry { start, packed, size: file.size(), crc: file.crc32(), deflated };
            names.push(name.clone());
            entries.insert(name, entry);
        }
        Ok(Self { bytes, names, entries })
    }

    /// Names of the entries, in the directory's order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The content of an entry, checked against its CRC; memory for inflation comes out of `budget`.
    pub(crate) fn entry(&self, name: &str, budget: &mut Budget) -> Result<Cow<'a, [u8]>, Fault> {
        let damaged = |what: String| {
            Fault::malformed(format!("its entry `{}` {what}; copy or save the file again", shown(name)))
        };
        let entry = self.entries.get(name).ok_or_else(|| damaged("is missing".into()))?;
        let packed = self
            .bytes
            .get(entry.start..entry.start + entry.packed)
            .ok_or_else(|| damaged("reaches past the end".into()))?;
        let content = if entry.deflated {
            if entry.size / DEFLATE_RATIO > packed.len() as u64 {
                let (size, packed) = (entry.size, packed.len());
                return Err(damaged(format!("claims to hold {size} bytes in {packed} compressed ones")));
            }
            budget.spend(u128::from(entry.size), || format!("its compressed entry `{}`", shown(name)))?;
            let mut content = crate::array::zeros(entry.size as usize, 0)?;
            let mut inflater = DeflateDecoder::new(packed);
            inflater
                .read_exact(&mut content)
                .map_err(|error| damaged(format!("cannot be inflated ({error})")))?;
            if !matches!(inflater.read(&mut [0]), Ok(0)) {
                return Err(damaged(format!("holds more than its {} bytes", entry.size)));
            }
            Cow::Owned(content)
        } else {
            if entry.size != packed.len() as u64 {
                return Err(damaged(format!("has sizes {} and {}", entry.size, packed.len())));
            }
            Cow::Borrowed(packed)
        };
        if crc32fast::hash(&content) != entry.crc {
            return Err(damaged("does not have the CRC that the archive states".into()));
        }
        Ok(content)
    }
}
