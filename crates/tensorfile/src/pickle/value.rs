//! From the graph of a pickle to a tree of values, within the file's allowance.
//!
//! A pickle may refer to one object many times (and so describe a tree that is exponentially larger
//! than itself) or let an object contain itself. Every node of the tree is therefore paid for, and
//! its depth is bounded.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::global::{Global, Kind};
use super::{Graph, Item, Node, Tensor};
use crate::array::{Array, element_count};
use crate::document::Value;
use crate::error::{ReadError, shown};
use crate::limits::{Budget, MAX_DEPTH, grown};
use crate::strided::{check_within, gather, is_contiguous};

/// What a value and the entry of a dict cost of the allowance beside elements and texts.
const VALUE_BYTES: u128 = grown(size_of::<Value>());
const ENTRY_BYTES: u128 = grown(size_of::<(String, (usize, Item<'_>))>() + size_of::<(String, Value)>());

/// What an index adds to a path at most: its digits and a dot.
const INDEX_BYTES: usize = 21;

/// Keys that are no texts are cut after about this many bytes and this depth of nesting.
const LONGEST_KEY: usize = 80;
const DEEPEST_KEY: usize = 4;

/// Where the bytes of storages lie.
pub(crate) trait Storages {
    /// How many bytes a storage has.
    fn size(&self, key: &str) -> Result<u64, ReadError>;

    /// Fills `out` with the bytes of a storage from `start` on.
    fn fill(&mut self, key: &str, start: u64, out: &mut [u8], budget: &mut Budget) -> Result<(), ReadError>;

    /// All bytes of a storage, for views that jump in it; they stay in memory.
    fn bytes(&mut self, key: &str, budget: &mut Budget) -> Result<&[u8], ReadError>;
}

/// The tree that the graph describes.
pub(crate) fn build(
    graph: &Graph<'_>,
    storages: &mut dyn Storages,
    budget: &mut Budget,
) -> Result<Value, ReadError> {
    Builder { graph, storages, budget }.value(graph.root, 0, 0)
}

struct Builder<'a, 'b> {
    graph: &'b Graph<'a>,
    storages: &'b mut dyn Storages,
    budget: &'b mut Budget,
}

impl<'a> Builder<'a, '_> {
    /// `path_bytes`: length of the dotted path to this value, which
    /// [`Document::entries`](crate::Document::entries) spells out.
    fn value(&mut self, item: Item<'a>, depth: usize, path_bytes: usize) -> Result<Value, ReadError> {
        self.budget.spend(VALUE_BYTES + path_bytes as u128, || "its nested containers".into())?;
        let graph = self.graph;
        Ok(match item {
            Item::None => Value::None,
            Item::Bool(value) => Value::Bool(value),
            Item::Int(value) => Value::Int(value),
            Item::Float(value) => Value::Float(value),
            Item::Text(text) => Value::Text(self.copied(text)?),
            Item::Global(Global::DTypeName(name)) => Value::Text(format!("torch.{name}")),
            Item::Global(_) => self.other(Kind::plain("a class or function"), "")?,
            Item::Node(index) => match graph.nodes.get(index) {
                _ if depth >= MAX_DEPTH => {
                    return Err(ReadError::malformed(format!(
                        "its containers nest deeper than {MAX_DEPTH} levels, or one contains itself"
                    )));
                }
                None => return Err(ReadError::malformed("its pickle refers to nothing")),
                Some(Node::Wide(value)) => Value::Text(value.to_string()),
                Some(Node::Owned(text)) => Value::Text(self.copied(text)?),
                Some(Node::List(items) | Node::Tuple(items)) => {
                    let path_bytes = path_bytes + INDEX_BYTES;
                    let items = items.iter().map(|item| self.value(*item, depth + 1, path_bytes));
                    Value::List(items.collect::<Result<_, _>>()?)
                }
                Some(Node::Dict(pairs)) => self.dict(pairs, depth, path_bytes)?,
                Some(Node::Object(None)) => Value::Dict(Vec::new()),
                Some(Node::Object(Some(attributes))) => self.value(*attributes, depth + 1, path_bytes)?,
                Some(Node::Storage(_)) => self.other(Kind { what: "a bare storage", array: true }, "")?,
                Some(Node::Other(kind, name)) => self.other(*kind, name)?,
                Some(Node::Tensor(tensor)) => Value::Array(self.array(tensor)?),
            },
        })
    }

    fn other(&mut self, kind: Kind, name: &str) -> Result<Value, ReadError> {
        let what =
            if name.is_empty() { kind.what.to_owned() } else { format!("{} {}", kind.what, shown(name)) };
        self.budget.spend(what.len() as u128, || "its texts".into())?;
        Ok(Value::Other { what, array: kind.array })
    }

    /// As in Python, a later value of a key replaces the earlier one, at the earlier one's place.
    /// Where two keys read alike (1 and "1"), which is which would be lost, so the dict is not
    /// read.
    fn dict(
        &mut self,
        pairs: &[(Item<'a>, Item<'a>)],
        depth: usize,
        path_bytes: usize,
    ) -> Result<Value, ReadError> {
        let mut positions: HashMap<String, (usize, Item<'a>)> = HashMap::new();
        let mut out: Vec<(String, Value)> = Vec::new();
        let mut alike = None;
        for (key, item) in pairs {
            let name = match *key {
                Item::Text(text) => self.copied(text)?,
                key => {
                    let mut name = String::new();
                    self.spell(key, 0, &mut name);
                    self.copied(&name)?
                }
            };
            let value = self.value(*item, depth + 1, path_bytes + name.len() + 1)?;
            match positions.get(&name) {
                Some((position, earlier)) if earlier == key => {
                    if let Some(slot) = out.get_mut(*position) {
                        slot.1 = value;
                    }
                }
                Some(_) => {
                    let array = value.has_array();
                    alike.get_or_insert((name, array)).1 |= array;
                }
                None => {
                    self.budget.spend(ENTRY_BYTES, || "its nested containers".into())?;
                    positions.insert(self.copied(&name)?, (out.len(), *key));
                    out.push((name, value));
                }
            }
        }
        let Some((name, array)) = alike else { return Ok(Value::Dict(out)) };
        let array = array || out.iter().any(|(_, value)| value.has_array());
        Ok(Value::Other { what: format!("a dict two of whose keys read `{}`", shown(&name)), array })
    }

    /// A key that is no text, as Python would show it, cut where it is long.
    fn spell(&self, key: Item<'a>, depth: usize, out: &mut String) {
        if depth > DEEPEST_KEY || out.len() > LONGEST_KEY {
            out.push_str("...");
            return;
        }
        let node = match key {
            Item::Node(index) => self.graph.nodes.get(index),
            _ => None,
        };
        // Writing to a text cannot fail.
        let _ = match (key, node) {
            (Item::Text(text), _) if depth == 0 => write!(out, "{text}"),
            (Item::Text(text), _) => write!(out, "'{}'", shown(text)),
            (Item::Int(value), _) => write!(out, "{value}"),
            (Item::Float(value), _) => write!(out, "{value:?}"),
            (Item::Bool(true), _) => write!(out, "True"),
            (Item::Bool(false), _) => write!(out, "False"),
            (Item::None, _) => write!(out, "None"),
            (Item::Global(Global::DTypeName(name)), _) => write!(out, "torch.{}", shown(name)),
            (_, Some(Node::Wide(value))) => write!(out, "{value}"),
            (_, Some(Node::Owned(text))) => write!(out, "{}", shown(text)),
            (_, Some(Node::Tuple(items))) => {
                out.push('(');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    self.spell(*item, depth + 1, out);
                    if out.len() > LONGEST_KEY {
                        break;
                    }
                }
                write!(out, ")")
            }
            (_, Some(Node::Other(kind, _))) => write!(out, "<{}>", kind.what),
            _ => write!(out, "<an object>"),
        };
    }

    fn array(&mut self, tensor: &Tensor<'_>) -> Result<Array, ReadError> {
        let &Tensor { storage, dtype, offset, ref shape, ref strides } = tensor;
        let size = dtype.size();
        let needed = element_count(dtype, shape)? * size;
        self.budget.spend(needed as u128, || format!("a {dtype} tensor of shape {shape:?}"))?;
        let found = self.storages.size(storage.key)?;
        let claimed = storage.len as u128 * size as u128;
        if claimed > found.into() {
            return Err(ReadError::malformed(format!(
                "its storage `{}` holds {found} bytes, but {claimed} are claimed for it; copy or save it again",
                shown(storage.key),
            )));
        }
        check_within(storage.len as u64, offset, shape, strides)?;
        let (storages, budget) = (&mut *self.storages, &mut *self.budget);
        Array::filled(dtype, shape.clone(), |out| {
            if is_contiguous(shape, strides) {
                // What is empty may start anywhere.
                let start = if out.is_empty() { 0 } else { offset as u64 * size as u64 };
                return storages.fill(storage.key, start, out, budget);
            }
            let bytes = storages.bytes(storage.key, budget)?.get(..claimed as usize).unwrap_or_default();
            gather(bytes, size, offset, shape, strides, out)
        })
    }

    fn copied(&mut self, text: &str) -> Result<String, ReadError> {
        self.budget.spend(text.len() as u128, || "its texts".into())?;
        Ok(text.to_owned())
    }
}
