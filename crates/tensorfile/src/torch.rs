//! What `torch.save` and `torch.jit.save` write: a pickle of containers and views, and the storages
//! that the views refer to.

use std::collections::HashMap;
use std::io::SeekFrom;

use crate::document::{Format, Value};
use crate::error::{ReadError, shown};
use crate::limits::Budget;
use crate::pickle::value::{Storages, build};
use crate::pickle::{self, Graph, Item, Node, Storage};
use crate::source::{Source, bytes_at, fill_at};
use crate::zip_reader::Archive;

/// Name of the pickle in the archive's one folder.
const PICKLE: &str = "data.pkl";

/// The number that starts a file of `torch.save` before version 1.6.
const LEGACY_MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;

/// The version of that format; there was only one.
const LEGACY_VERSION: i64 = 1001;

/// Enough of an old file to hold the pickles of most models.
const PICKLES_BYTES: u64 = 1 << 16;

/// Folder of the archive (with its slash) if it is one of PyTorch's, and which of the two formats
/// it is.
pub(crate) fn folder(archive: &Archive) -> Result<Option<(String, Format)>, ReadError> {
    let mut folders = archive
        .names()
        .filter_map(|name| name.strip_suffix(PICKLE))
        .filter(|folder| folder.is_empty() || folder.find('/') == Some(folder.len() - 1));
    let Some(folder) = folders.next() else { return Ok(None) };
    if let Some(other) = folders.next() {
        let (folder, other) = (shown(folder), shown(other));
        return Err(ReadError::BrokenZip(format!(
            "it has two pickles, {folder}{PICKLE} and {other}{PICKLE}"
        )));
    }
    let script = archive.contains(&format!("{folder}constants.pkl")) || has_code(archive, folder);
    Ok(Some((folder.to_owned(), if script { Format::TorchScript } else { Format::TorchZip })))
}

/// Whether the archive holds a program.
pub(crate) fn has_code(archive: &Archive, folder: &str) -> bool {
    archive.names().any(|name| name.strip_prefix(folder).is_some_and(|name| name.starts_with("code/")))
}

/// Reads the archive's pickle and all tensors that it describes.
pub(crate) fn parse_zip(
    source: &mut dyn Source,
    archive: &Archive,
    folder: &str,
    format: Format,
    budget: &mut Budget,
) -> Result<Value, ReadError> {
    let byte_order = format!("{folder}byteorder");
    if archive.contains(&byte_order) {
        let order = archive.bytes(source, &byte_order, budget)?;
        if order.trim_ascii() != b"little" {
            let what = format!("the byte order `{}`", shown(&String::from_utf8_lossy(&order)));
            return Err(ReadError::unsupported(what, "load and save it on a little-endian machine"));
        }
    }
    let bytes = archive.bytes(source, &format!("{folder}{PICKLE}"), budget)?;
    let graph = pickle::run(&bytes, format == Format::TorchScript, budget)?;
    build(&graph, &mut ZipStorages { source, archive, folder, held: HashMap::new() }, budget)
}

/// Storages in entries of their own. Each is checked as a whole when it is first used.
struct ZipStorages<'a> {
    source: &'a mut dyn Source,
    archive: &'a Archive,
    folder: &'a str,
    /// The bytes of those that are needed in memory; `None` for those that were only checked.
    held: HashMap<String, Option<Vec<u8>>>,
}

impl ZipStorages<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}data/{key}", self.folder)
    }
}

impl Storages for ZipStorages<'_> {
    fn size(&self, key: &str) -> Result<u64, ReadError> {
        Ok(self.archive.entry(&self.name(key))?.size())
    }

    fn fill(&mut self, key: &str, start: u64, out: &mut [u8], budget: &mut Budget) -> Result<(), ReadError> {
        let name = self.name(key);
        match self.held.get(key) {
            None => {
                let mut stream = self.archive.stream(self.source, &name, budget)?;
                stream.skip(start)?;
                stream.fill(out)?;
                stream.finish()?;
                self.held.insert(key.to_owned(), None);
                return Ok(());
            }
            Some(None) => {
                if let Some(filled) = self.archive.entry(&name)?.fill_at(self.source, start, out) {
                    return filled;
                }
            }
            Some(Some(_)) => {}
        }
        copy_from(self.bytes(key, budget)?, start, out)
    }

    fn bytes(&mut self, key: &str, budget: &mut Budget) -> Result<&[u8], ReadError> {
        let name = self.name(key);
        let held = self.held.entry(key.to_owned()).or_default();
        if held.is_none() {
            *held = Some(self.archive.bytes(self.source, &name, budget)?);
        }
        Ok(held.as_deref().unwrap_or_default())
    }
}

fn copy_from(bytes: &[u8], start: u64, out: &mut [u8]) -> Result<(), ReadError> {
    let from = usize::try_from(start).ok().and_then(|start| bytes.get(start..)?.get(..out.len()));
    out.copy_from_slice(from.ok_or_else(|| ReadError::malformed("a tensor reaches outside of its storage"))?);
    Ok(())
}

/// Whether a file starts as a pickle does.
pub(crate) fn is_pickle(start: &[u8]) -> bool {
    matches!(start, [0x80, 2..=5, ..])
}

/// Whether a file that starts so is what `torch.save` wrote before version 1.6.
pub(crate) fn is_legacy(start: &[u8], budget: &Budget) -> bool {
    pickle::run(start, false, &mut budget.clone()).is_ok_and(|graph| match graph.root {
        Item::Node(index) => matches!(graph.nodes.get(index), Some(Node::Wide(LEGACY_MAGIC))),
        _ => false,
    })
}

/// Reads the old format: the pickles of a magic number, a version, the machine, the object and the
/// keys of its storages; then for each key the number of elements (8 bytes) and the elements.
///
/// Where the pickles end only running them tells, so they are run on longer and longer starts of
/// the file.
pub(crate) fn parse_legacy(
    source: &mut dyn Source,
    file_bytes: u64,
    budget: &mut Budget,
) -> Result<Value, ReadError> {
    let mut length = PICKLES_BYTES;
    loop {
        let mut left = budget.clone();
        let start = bytes_at(source, 0, length.min(file_bytes), &mut left, || "its pickles".into())?;
        match parse_pickles(&start, source, file_bytes, &mut left) {
            Err(ReadError::PickleEnds) if length < file_bytes => length = length.saturating_mul(8),
            other => return other,
        }
    }
}

fn parse_pickles(
    bytes: &[u8],
    source: &mut dyn Source,
    file_bytes: u64,
    budget: &mut Budget,
) -> Result<Value, ReadError> {
    let mut rest = bytes;
    let mut next = |budget: &mut Budget| -> Result<(Graph<'_>, &[u8]), ReadError> {
        let graph = pickle::run(rest, false, budget)?;
        rest = rest.get(graph.consumed..).unwrap_or_default();
        Ok((graph, rest))
    };
    next(budget)?;
    let (version, _) = next(budget)?;
    if version.root != Item::Int(LEGACY_VERSION) {
        return Err(ReadError::malformed("its version is not 1001"));
    }
    let (machine, _) = next(budget)?;
    if dict_entry(&machine, "little_endian") == Some(Item::Bool(false)) {
        return Err(ReadError::unsupported(
            "big-endian elements",
            "load and save it on a little-endian machine",
        ));
    }
    let (object, _) = next(budget)?;
    let (keys, after) = next(budget)?;
    let start = (bytes.len() - after.len()) as u64;
    let mut storages = LegacyStorages { source, places: HashMap::new(), held: HashMap::new() };
    storages.index(&object, &keys, start, file_bytes)?;
    build(&object, &mut storages, budget)
}

fn dict_entry<'a>(graph: &Graph<'a>, key: &str) -> Option<Item<'a>> {
    let Item::Node(index) = graph.root else { return None };
    let Node::Dict(pairs) = graph.nodes.get(index)? else { return None };
    pairs.iter().find(|(name, _)| *name == Item::Text(key)).map(|(_, value)| *value)
}

/// Storages in a row behind the pickles.
struct LegacyStorages<'a> {
    source: &'a mut dyn Source,
    /// Start and length of each.
    places: HashMap<&'a str, (u64, u64)>,
    held: HashMap<&'a str, Vec<u8>>,
}

impl<'a> LegacyStorages<'a> {
    /// Finds each storage of `keys` in the file from `position` on; the width of its elements
    /// stands in `object`.
    fn index(
        &mut self,
        object: &Graph<'a>,
        keys: &Graph<'a>,
        mut position: u64,
        file_bytes: u64,
    ) -> Result<(), ReadError> {
        let widths: HashMap<&str, usize> = object
            .nodes
            .iter()
            .filter_map(|node| match node {
                Node::Storage(Storage { key, elements, .. }) => Some((*key, elements.size())),
                _ => None,
            })
            .collect();
        let keys = match keys.root {
            Item::Node(index) => keys.nodes.get(index),
            _ => None,
        };
        let Some(Node::List(keys)) = keys else {
            return Err(ReadError::malformed("the keys of its storages are no list"));
        };
        self.source.seek(SeekFrom::Start(position))?;
        for key in keys {
            let cut_short = || ReadError::malformed("it ends within a storage; copy or save it again");
            let Item::Text(key) = key else {
                return Err(ReadError::malformed("the key of a storage is no text"));
            };
            let width = widths
                .get(key)
                .ok_or_else(|| ReadError::malformed("it has a storage that no tensor uses"))?;
            let start = position.checked_add(8).filter(|start| *start <= file_bytes).ok_or_else(cut_short)?;
            let mut length = [0; 8];
            self.source.read_exact(&mut length)?;
            let length = u64::from_le_bytes(length).checked_mul(*width as u64).ok_or_else(cut_short)?;
            position = start.checked_add(length).filter(|end| *end <= file_bytes).ok_or_else(cut_short)?;
            // Keeps what is buffered, where the next storage lies within it.
            self.source.seek_relative(i64::try_from(length).map_err(|_| cut_short())?)?;
            self.places.insert(key, (start, length));
        }
        Ok(())
    }

    fn place(&self, key: &str) -> Result<(&'a str, u64, u64), ReadError> {
        match self.places.get_key_value(key) {
            Some((key, (start, length))) => Ok((key, *start, *length)),
            None => Err(ReadError::malformed(format!("its storage `{}` is missing", shown(key)))),
        }
    }
}

impl Storages for LegacyStorages<'_> {
    fn size(&self, key: &str) -> Result<u64, ReadError> {
        Ok(self.place(key)?.2)
    }

    fn fill(&mut self, key: &str, start: u64, out: &mut [u8], _budget: &mut Budget) -> Result<(), ReadError> {
        let (_, place, _) = self.place(key)?;
        fill_at(self.source, place.saturating_add(start), out)
    }

    fn bytes(&mut self, key: &str, budget: &mut Budget) -> Result<&[u8], ReadError> {
        let (key, start, length) = self.place(key)?;
        if !self.held.contains_key(key) {
            let what = || format!("its storage `{}`", shown(key));
            self.held.insert(key, bytes_at(self.source, start, length, budget, what)?);
        }
        Ok(self.held.get(key).map(Vec::as_slice).unwrap_or_default())
    }
}
