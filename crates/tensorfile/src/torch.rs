//! What `torch.save` and `torch.jit.save` write: a pickle of containers and views, and the storages that the views refer to.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::document::{Format, Value};
use crate::error::{Fault, shown};
use crate::limits::Budget;
use crate::pickle::value::{Storages, build};
use crate::pickle::{self, Graph, Item, Node, Storage};
use crate::zip_reader::Archive;

/// Name of the pickle in the archive's one folder.
const PICKLE: &str = "data.pkl";

/// The number that starts a file of `torch.save` before version 1.6.
const LEGACY_MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;

/// The version of that format; there was only one.
const LEGACY_VERSION: i64 = 1001;

/// Folder of the archive (with its slash) if it is one of PyTorch's, and which of the two formats it is.
pub(crate) fn folder(archive: &Archive<'_>) -> Result<Option<(String, Format)>, Fault> {
    let mut folders = archive
        .names()
        .filter_map(|name| name.strip_suffix(PICKLE))
        .filter(|folder| folder.is_empty() || folder.find('/') == Some(folder.len() - 1));
    let Some(folder) = folders.next() else { return Ok(None) };
    if let Some(other) = folders.next() {
        let (folder, other) = (shown(folder), shown(other));
        return Err(Fault::BrokenZip(format!("it has two pickles, {folder}{PICKLE} and {other}{PICKLE}")));
    }
    let script = archive.contains(&format!("{folder}constants.pkl")) || has_code(archive, folder);
    Ok(Some((folder.to_owned(), if script { Format::TorchScript } else { Format::TorchZip })))
}

/// Whether the archive holds a program.
pub(crate) fn has_code(archive: &Archive<'_>, folder: &str) -> bool {
    archive.names().any(|name| name.strip_prefix(folder).is_some_and(|name| name.starts_with("code/")))
}

/// Reads the archive's pickle and all tensors that it describes.
pub(crate) fn parse_zip(
    archive: &Archive<'_>,
    folder: &str,
    format: Format,
    budget: &mut Budget,
) -> Result<Value, Fault> {
    let byte_order = format!("{folder}byteorder");
    if archive.contains(&byte_order) {
        let order = archive.entry(&byte_order, budget)?;
        if order.trim_ascii() != b"little" {
            let what = format!("the byte order `{}`", shown(&String::from_utf8_lossy(&order)));
            return Err(Fault::unsupported(what, "load and save it on a little-endian machine"));
        }
    }
    let bytes = archive.entry(&format!("{folder}{PICKLE}"), budget)?;
    let graph = pickle::run(&bytes, format == Format::TorchScript, budget)?;
    build(&graph, &mut ZipStorages { archive, folder, read: HashMap::new() }, budget)
}

/// Storages in entries of their own, each read (and checked) once.
struct ZipStorages<'a, 'b> {
    archive: &'b Archive<'a>,
    folder: &'b str,
    read: HashMap<String, Cow<'a, [u8]>>,
}

impl Storages for ZipStorages<'_, '_> {
    fn bytes(&mut self, key: &str, budget: &mut Budget) -> Result<&[u8], Fault> {
        Ok(match self.read.entry(key.to_owned()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let name = format!("{}data/{key}", self.folder);
                entry.insert(self.archive.entry(&name, budget)?)
            }
        })
    }
}

/// Whether a file starts as a pickle does.
pub(crate) fn is_pickle(start: &[u8]) -> bool {
    matches!(start, [0x80, 2..=5, ..])
}

/// Whether a file is what `torch.save` wrote before version 1.6.
pub(crate) fn is_legacy(bytes: &[u8], budget: &mut Budget) -> bool {
    pickle::run(bytes, false, budget).is_ok_and(|graph| match graph.root {
        Item::Node(index) => matches!(graph.nodes.get(index), Some(Node::Wide(LEGACY_MAGIC))),
        _ => false,
    })
}

/// Reads the old format: the pickles of a magic number, a version, the machine, the object and the keys of its storages; then for
/// each key the number of elements (8 bytes) and the elements.
pub(crate) fn parse_legacy(bytes: &[u8], budget: &mut Budget) -> Result<Value, Fault> {
    let mut rest = bytes;
    let mut next = |budget: &mut Budget| -> Result<(Graph<'_>, &[u8]), Fault> {
        let graph = pickle::run(rest, false, budget)?;
        rest = rest.get(graph.consumed..).unwrap_or_default();
        Ok((graph, rest))
    };
    next(budget)?;
    let (version, _) = next(budget)?;
    if version.root != Item::Int(LEGACY_VERSION) {
        return Err(Fault::malformed("its version is not 1001"));
    }
    let (machine, _) = next(budget)?;
    if dict_entry(&machine, "little_endian") == Some(Item::Bool(false)) {
        return Err(Fault::unsupported("big-endian elements", "load and save it on a little-endian machine"));
    }
    let (object, _) = next(budget)?;
    let (keys, elements) = next(budget)?;
    let mut storages = LegacyStorages { elements: HashMap::new() };
    storages.index(&object, &keys, elements)?;
    build(&object, &mut storages, budget)
}

fn dict_entry<'a>(graph: &Graph<'a>, key: &str) -> Option<Item<'a>> {
    let Item::Node(index) = graph.root else { return None };
    let Node::Dict(pairs) = graph.nodes.get(index)? else { return None };
    pairs.iter().find(|(name, _)| *name == Item::Text(key)).map(|(_, value)| *value)
}

/// Storages in a row behind the pickles.
struct LegacyStorages<'a> {
    elements: HashMap<&'a str, &'a [u8]>,
}

impl<'a> LegacyStorages<'a> {
    /// Finds each storage of `keys` in `elements`; the width of its elements stands in `object`.
    fn index(&mut self, object: &Graph<'a>, keys: &Graph<'a>, elements: &'a [u8]) -> Result<(), Fault> {
        let widths: HashMap<&str, usize> = object
            .nodes
            .iter()
            .filter_map(|node| match node {
                Node::Storage(Storage { key, dtype, .. }) => Some((*key, dtype.size())),
                _ => None,
            })
            .collect();
        let keys = match keys.root {
            Item::Node(index) => keys.nodes.get(index),
            _ => None,
        };
        let Some(Node::List(keys)) = keys else {
            return Err(Fault::malformed("the keys of its storages are no list"));
        };
        let mut rest = elements;
        for key in keys {
            let cut_short = || Fault::malformed("it ends within a storage; copy or save it again");
            let Item::Text(key) = key else {
                return Err(Fault::malformed("the key of a storage is no text"));
            };
            let width =
                widths.get(key).ok_or_else(|| Fault::malformed("it has a storage that no tensor uses"))?;
            let (length, after) = rest.split_first_chunk::<8>().ok_or_else(cut_short)?;
            let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut_short())?;
            let (elements, after) = length
                .checked_mul(*width)
                .and_then(|length| after.split_at_checked(length))
                .ok_or_else(cut_short)?;
            self.elements.insert(key, elements);
            rest = after;
        }
        Ok(())
    }
}

impl Storages for LegacyStorages<'_> {
    fn bytes(&mut self, key: &str, _budget: &mut Budget) -> Result<&[u8], Fault> {
        self.elements
            .get(key)
            .copied()
            .ok_or_else(|| Fault::malformed(format!("its storage `{}` is missing", shown(key))))
    }
}
