//! A pickle machine that can build containers and describe tensors, and nothing else.
//!
//! Pickle is a program for a stack machine whose `GLOBAL` and `REDUCE` instructions call any Python
//! function. Here a `GLOBAL` outside of the short list in [`global`] is an error, and those on it
//! are names for what this module does itself: nothing is looked up, imported or called. The result
//! is a graph ([`Graph`]), which [`value`] turns into a tree within the file's allowance.

pub(crate) mod global;
pub(crate) mod value;

use std::collections::HashMap;

use crate::array::DType;
use crate::error::{ReadError, shown};
use crate::limits::{Budget, MAX_DIMS, grown};
use global::{Elements, Global, Kind};

/// What an item on the stack or in a container, a remembered one, and an object cost of the
/// allowance.
const ITEM_BYTES: u128 = grown(size_of::<Item<'_>>());
const MEMO_BYTES: u128 = grown(size_of::<(u32, Item<'_>)>());
const NODE_BYTES: u128 = grown(size_of::<Node<'_>>());

/// The longest call that PyTorch writes has 8.
const MAX_ARGUMENTS: usize = 16;

const SET: Kind = Kind::plain("a set");
const BYTES: Kind = Kind::plain("bytes");

/// The name of the type follows.
const TENSOR_OF: Kind = Kind { what: "a tensor of", array: true };

/// A value on the stack: plain, or the index of a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Item<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    Global(Global<'a>),
    Node(usize),
}

/// What can be changed after it was put on the stack, or is larger than an [`Item`].
#[derive(Debug)]
pub(crate) enum Node<'a> {
    /// An integer beyond 64 bits.
    Wide(i128),
    /// A text that was put together here.
    Owned(String),
    List(Vec<Item<'a>>),
    Tuple(Vec<Item<'a>>),
    Dict(Vec<(Item<'a>, Item<'a>)>),
    /// A TorchScript object: its attributes, once set.
    Object(Option<Item<'a>>),
    Storage(Storage<'a>),
    Tensor(Tensor<'a>),
    /// What is neither an array nor a plain value, and the name of its type where the kind does not
    /// say it.
    Other(Kind, &'a str),
}

/// A storage that lies elsewhere in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storage<'a> {
    pub(crate) key: &'a str,
    pub(crate) elements: Elements,
    /// Elements that the pickle says it has.
    pub(crate) len: usize,
}

/// A strided view of a storage; offset and strides count elements.
#[derive(Debug)]
pub(crate) struct Tensor<'a> {
    pub(crate) storage: Storage<'a>,
    pub(crate) dtype: DType,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
}

/// What a pickle built.
#[derive(Debug)]
pub(crate) struct Graph<'a> {
    pub(crate) nodes: Vec<Node<'a>>,
    pub(crate) root: Item<'a>,
    /// Bytes of the pickle; more may follow in the file.
    pub(crate) consumed: usize,
}

/// Runs one pickle. `script`: the archive is TorchScript, whose objects (`__torch__...`) become
/// dicts of their attributes.
pub(crate) fn run<'a>(bytes: &'a [u8], script: bool, budget: &mut Budget) -> Result<Graph<'a>, ReadError> {
    Machine {
        bytes,
        position: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        nodes: Vec::new(),
        script,
        budget,
    }
    .run()
}

struct Machine<'a, 'b> {
    bytes: &'a [u8],
    position: usize,
    stack: Vec<Item<'a>>,
    /// Heights of the stack at which marks were set.
    marks: Vec<usize>,
    memo: HashMap<u32, Item<'a>>,
    nodes: Vec<Node<'a>>,
    script: bool,
    budget: &'b mut Budget,
}

impl<'a> Machine<'a, '_> {
    fn run(mut self) -> Result<Graph<'a>, ReadError> {
        loop {
            let at = self.position;
            let [opcode] = self.array()?;
            match opcode {
                // PROTO, FRAME: 4 and 5 add framing, which a reader of the whole file can skip.
                0x80 => {
                    let [version] = self.array()?;
                    if !(2..=5).contains(&version) {
                        return Err(ReadError::malformed(format!(
                            "its pickle is of protocol {version}; 2 to 5 are read"
                        )));
                    }
                }
                0x95 => _ = self.array::<8>()?,
                b'.' => {
                    let root = self.pop()?;
                    return Ok(Graph { nodes: self.nodes, root, consumed: self.position });
                }

                // Plain values.
                b'N' => self.push(Item::None)?,
                0x88 => self.push(Item::Bool(true))?,
                0x89 => self.push(Item::Bool(false))?,
                b'K' => {
                    let value = u8::from_le_bytes(self.array()?);
                    self.push(Item::Int(value.into()))?;
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.array()?);
                    self.push(Item::Int(value.into()))?;
                }
                b'J' => {
                    let value = i32::from_le_bytes(self.array()?);
                    self.push(Item::Int(value.into()))?;
                }
                0x8a => {
                    let [length] = self.array()?;
                    self.long(length.into())?;
                }
                0x8b => {
                    let length = u32::from_le_bytes(self.array()?);
                    self.long(length as usize)?;
                }
                b'G' => {
                    let value = f64::from_be_bytes(self.array()?);
                    self.push(Item::Float(value))?;
                }
                // SHORT_BINUNICODE, SHORT_BINSTRING.
                0x8c | b'U' => {
                    let [length] = self.array()?;
                    self.text(length.into())?;
                }
                // BINUNICODE, BINSTRING (texts of Python 2).
                b'X' | b'T' => {
                    let length = u32::from_le_bytes(self.array()?);
                    self.text(length as usize)?;
                }
                0x8d => {
                    let length = u64::from_le_bytes(self.array()?);
                    self.text(usize::try_from(length).unwrap_or(usize::MAX))?;
                }

                // BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8: passed over.
                b'B' => {
                    let length = u32::from_le_bytes(self.array()?);
                    self.bytes(length.into())?;
                }
                b'C' => {
                    let [length] = self.array()?;
                    self.bytes(length.into())?;
                }
                0x8e | 0x96 => {
                    let length = u64::from_le_bytes(self.array()?);
                    self.bytes(length)?;
                }

                // Sets: EMPTY_SET, ADDITEMS, FROZENSET.
                0x8f => self.push_node(Node::Other(SET, ""))?,
                0x90 => {
                    self.pop_marked()?;
                    match self.top_node()? {
                        Some(Node::Other(..)) => {}
                        _ => return Err(ReadError::malformed("its pickle adds to something that is no set")),
                    }
                }
                0x91 => {
                    self.pop_marked()?;
                    self.push_node(Node::Other(SET, ""))?;
                }

                // Containers.
                b'(' => {
                    self.budget.spend(ITEM_BYTES, || "its pickle".into())?;
                    self.marks.push(self.stack.len());
                }
                b')' => self.push_node(Node::Tuple(Vec::new()))?,
                0x85..=0x87 => {
                    let items = self.pop_many(usize::from(opcode - 0x84))?;
                    self.spend_items(items.len())?;
                    self.push_node(Node::Tuple(items))?;
                }
                b't' => {
                    let items = self.pop_marked()?;
                    self.spend_items(items.len())?;
                    self.push_node(Node::Tuple(items))?;
                }
                b']' => self.push_node(Node::List(Vec::new()))?,
                b'l' => {
                    let items = self.pop_marked()?;
                    self.spend_items(items.len())?;
                    self.push_node(Node::List(items))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.pop_marked()?;
                    self.append(items)?;
                }
                b'}' => self.push_node(Node::Dict(Vec::new()))?,
                b'd' => {
                    let items = self.pop_marked()?;
                    self.spend_items(items.len())?;
                    let pairs = pairs_of(&items)?;
                    self.push_node(Node::Dict(pairs))?;
                }
                b's' => {
                    let items = self.pop_many(2)?;
                    self.set_items(&items)?;
                }
                b'u' => {
                    let items = self.pop_marked()?;
                    self.set_items(&items)?;
                }

                // The stack and the memo.
                b'0' => _ = self.pop()?,
                b'1' => _ = self.pop_marked()?,
                b'2' => {
                    let top = self.top()?;
                    self.push(top)?;
                }
                b'q' => {
                    let [index] = self.array()?;
                    self.memoise(index.into())?;
                }
                b'r' => {
                    let index = u32::from_le_bytes(self.array()?);
                    self.memoise(index)?;
                }
                0x94 => self.memoise(self.memo.len() as u32)?,
                b'h' => {
                    let [index] = self.array()?;
                    self.recall(index.into())?;
                }
                b'j' => {
                    let index = u32::from_le_bytes(self.array()?);
                    self.recall(index)?;
                }

                // What would look things up and call them in Python.
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(module, name)?;
                }
                0x93 => match *self.pop_many(2)?.as_slice() {
                    [Item::Text(module), Item::Text(name)] => {
                        self.global(module, name)?;
                    }
                    _ => {
                        return Err(ReadError::malformed(
                            "its pickle names a class by something that is no text",
                        ));
                    }
                },
                b'R' => {
                    let (function, arguments) = (self.pop_below_top()?, self.pop_tuple()?);
                    let result = self.call(function, &arguments, true)?;
                    self.push(result)?;
                }
                0x81 => {
                    let (class, _arguments) = (self.pop_below_top()?, self.pop_tuple()?);
                    match class {
                        Item::Global(Global::Object) => self.push_node(Node::Object(None))?,
                        Item::Global(Global::OrderedDict | Global::Counter | Global::DefaultDict) => {
                            self.push_node(Node::Dict(Vec::new()))?;
                        }
                        Item::Global(Global::Other(kind)) => self.push_node(Node::Other(kind, ""))?,
                        _ => {
                            return Err(ReadError::malformed(
                                "its pickle makes an object of something that is no class",
                            ));
                        }
                    }
                }
                b'b' => {
                    let state = self.pop()?;
                    self.build(state)?;
                }
                b'Q' => {
                    let storage = self.storage()?;
                    self.push_node(Node::Storage(storage))?;
                }
                _ => {
                    return Err(ReadError::malformed(format!(
                        "byte {at} of its pickle is the instruction {opcode:#04x}, which no file of tensors needs; \
                         save it again with torch.save"
                    )));
                }
            }
        }
    }

    // Bytes.

    fn take(&mut self, length: usize) -> Result<&'a [u8], ReadError> {
        let taken = self.bytes.get(self.position..).and_then(|rest| rest.get(..length));
        let taken = taken.ok_or(ReadError::PickleEnds)?;
        self.position += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn line(&mut self) -> Result<&'a str, ReadError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        let line = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(line)
            .map_err(|_| ReadError::malformed("its pickle holds a name that is no UTF-8"))
    }

    fn text(&mut self, length: usize) -> Result<(), ReadError> {
        match std::str::from_utf8(self.take(length)?) {
            Ok(text) => self.push(Item::Text(text)),
            // Python has such texts where a file's name was no text.
            Err(_) => self.push_node(Node::Other(Kind::plain("a text that is no UTF-8"), "")),
        }
    }

    fn bytes(&mut self, length: u64) -> Result<(), ReadError> {
        self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        self.push_node(Node::Other(BYTES, ""))
    }

    /// A class or function by name.
    fn global(&mut self, module: &'a str, name: &'a str) -> Result<(), ReadError> {
        let found = global::resolve(module, name, self.script).map_err(|error| match error {
            ReadError::Refused { global, .. } => ReadError::Refused { global, key: self.place() },
            other => other,
        })?;
        self.push(found)
    }

    /// The dotted keys of the dicts that are being filled, for an error.
    fn place(&self) -> String {
        let is_dict = |at: usize| {
            self.stack.get(at).is_some_and(|item| matches!(self.node(*item), Some(Node::Dict(_))))
        };
        let mut keys = Vec::new();
        let mut frames = self.marks.iter().rev().copied().chain([0]);
        let mut start = frames.next().unwrap_or(0);
        let mut at = self.stack.len();
        // From the innermost key to its dict, and to the key of that.
        while let Some(key) = at.checked_sub(1).filter(|key| *key >= start)
            && let Some(Item::Text(text)) = self.stack.get(key)
        {
            at = match (start.checked_sub(1), key.checked_sub(1)) {
                // Keys and values lie above a mark, and below it the dict.
                (Some(dict), _) if (key - start).is_multiple_of(2) && is_dict(dict) => {
                    start = frames.next().unwrap_or(0);
                    dict
                }
                (_, Some(dict)) if dict >= start && is_dict(dict) => dict,
                _ => break,
            };
            keys.push(shown(text));
        }
        keys.reverse();
        shown(&keys.join("."))
    }

    /// A little-endian two's complement integer of any length.
    fn long(&mut self, length: usize) -> Result<(), ReadError> {
        let bytes = self.take(length)?;
        let sign = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
        let mut wide = [sign; 16];
        let Some(low) = wide.get_mut(..length) else {
            return self.push_node(Node::Other(Kind::plain("an integer of more than 128 bits"), ""));
        };
        low.copy_from_slice(bytes);
        let value = i128::from_le_bytes(wide);
        match i64::try_from(value) {
            Ok(value) => self.push(Item::Int(value)),
            Err(_) => self.push_node(Node::Wide(value)),
        }
    }

    // The stack. What lies below the last mark is out of reach until the mark is taken.

    fn push(&mut self, item: Item<'a>) -> Result<(), ReadError> {
        self.budget.spend(ITEM_BYTES, || "its pickle".into())?;
        self.stack.push(item);
        Ok(())
    }

    fn push_node(&mut self, node: Node<'a>) -> Result<(), ReadError> {
        let node = self.add(node)?;
        self.push(node)
    }

    fn add(&mut self, node: Node<'a>) -> Result<Item<'a>, ReadError> {
        self.budget.spend(NODE_BYTES, || "its pickle".into())?;
        self.nodes.push(node);
        Ok(Item::Node(self.nodes.len() - 1))
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Item<'a>, ReadError> {
        self.stack.get(self.floor()..).and_then(<[_]>::last).copied().ok_or_else(underflow)
    }

    fn pop(&mut self) -> Result<Item<'a>, ReadError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Item<'a>>, ReadError> {
        let start = self
            .stack
            .len()
            .checked_sub(count)
            .filter(|&start| start >= self.floor())
            .ok_or_else(underflow)?;
        Ok(self.stack.split_off(start))
    }

    fn pop_marked(&mut self) -> Result<Vec<Item<'a>>, ReadError> {
        let mark = self
            .marks
            .pop()
            .ok_or_else(|| ReadError::malformed("its pickle closes a container that it never opened"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn pop_below_top(&mut self) -> Result<Item<'a>, ReadError> {
        let top = self.pop()?;
        let below = self.pop()?;
        self.stack.push(top);
        Ok(below)
    }

    fn pop_tuple(&mut self) -> Result<Vec<Item<'a>>, ReadError> {
        let top = self.pop()?;
        match self.node(top) {
            // Bounded, because one long tuple could be passed again and again.
            Some(Node::Tuple(items)) if items.len() > MAX_ARGUMENTS => {
                let got = items.len();
                Err(ReadError::malformed(format!(
                    "its pickle calls a function with {got} arguments, {MAX_ARGUMENTS} are allowed"
                )))
            }
            Some(Node::Tuple(items)) => Ok(items.clone()),
            _ => Err(ReadError::malformed("its pickle calls a function with something that is no tuple")),
        }
    }

    fn memoise(&mut self, index: u32) -> Result<(), ReadError> {
        self.budget.spend(MEMO_BYTES, || "its pickle".into())?;
        self.memo.insert(index, self.top()?);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), ReadError> {
        let item = self.memo.get(&index).copied();
        self.push(item.ok_or_else(|| {
            ReadError::malformed(format!("its pickle recalls value {index}, which it never kept"))
        })?)
    }

    // Objects.

    fn node(&self, item: Item<'a>) -> Option<&Node<'a>> {
        match item {
            Item::Node(index) => self.nodes.get(index),
            _ => None,
        }
    }

    fn top_node(&mut self) -> Result<Option<&mut Node<'a>>, ReadError> {
        let Item::Node(index) = self.top()? else { return Ok(None) };
        Ok(self.nodes.get_mut(index))
    }

    /// Items in a container lie there beside their places on the stack.
    fn spend_items(&mut self, count: usize) -> Result<(), ReadError> {
        self.budget.spend(ITEM_BYTES * count as u128, || "its pickle".into())
    }

    fn append(&mut self, items: Vec<Item<'a>>) -> Result<(), ReadError> {
        self.spend_items(items.len())?;
        match self.top_node()? {
            Some(Node::List(list)) => {
                list.extend(items);
                Ok(())
            }
            Some(Node::Other(..)) => Ok(()),
            _ => Err(ReadError::malformed("its pickle appends to something that is no list")),
        }
    }

    fn set_items(&mut self, items: &[Item<'a>]) -> Result<(), ReadError> {
        self.spend_items(items.len())?;
        let added = pairs_of(items)?;
        match self.top_node()? {
            Some(Node::Dict(pairs)) => {
                pairs.extend(added);
                Ok(())
            }
            Some(Node::Other(..)) => Ok(()),
            _ => Err(ReadError::malformed("its pickle sets items of something that is no dict")),
        }
    }

    /// `object.__setstate__(state)`: the attributes of a TorchScript object; those of others (a
    /// `state_dict`'s `_metadata`) are dropped.
    fn build(&mut self, state: Item<'a>) -> Result<(), ReadError> {
        match self.top_node()? {
            Some(Node::Object(attributes)) => {
                *attributes = Some(state);
                Ok(())
            }
            Some(Node::Dict(_) | Node::Tensor(_) | Node::Other(..)) => Ok(()),
            _ => Err(ReadError::malformed("its pickle sets attributes of something that has none")),
        }
    }

    /// What the named function would return. `outermost` is false where the call comes out of
    /// another one.
    fn call(
        &mut self,
        function: Item<'a>,
        arguments: &[Item<'a>],
        outermost: bool,
    ) -> Result<Item<'a>, ReadError> {
        let Item::Global(function) = function else {
            return Err(ReadError::malformed("its pickle calls something that is no function"));
        };
        match (function, arguments) {
            (Global::RebuildTensor, [storage, offset, shape, strides, rest @ ..]) => {
                let Some(&Node::Storage(storage)) = self.node(*storage) else {
                    return Err(ReadError::malformed(
                        "its pickle makes a tensor of something that is no storage",
                    ));
                };
                let dtype = match storage.elements {
                    Elements::Read(dtype) => dtype,
                    Elements::Other(name, _) => return self.add(Node::Other(TENSOR_OF, name)),
                };
                if self.is_transformed(rest) {
                    let what = "a tensor whose values are still to be negated or conjugated";
                    return self.add(Node::Other(Kind { what, array: true }, ""));
                }
                let tensor = self.tensor((storage, dtype), *offset, *shape, *strides)?;
                self.add(Node::Tensor(tensor))
            }
            (Global::RebuildOfType, [_, _, _, _, _, _, Item::Global(Global::DTypeName(name)), ..]) => {
                self.add(Node::Other(TENSOR_OF, name))
            }
            (Global::RebuildFromCpu, [tensor, Item::Global(Global::DTypeName(name)), ..]) => {
                match self.node(*tensor) {
                    Some(Node::Tensor(found)) if found.dtype.name() == *name => Ok(*tensor),
                    _ => self.add(Node::Other(TENSOR_OF, name)),
                }
            }
            // The tensor itself: a parameter differs only in that gradients flow to it.
            (Global::RebuildParameter, [tensor, ..])
                if matches!(self.node(*tensor), Some(Node::Tensor(_) | Node::Other(..))) =>
            {
                Ok(*tensor)
            }
            (Global::RebuildFromType, [function, _class, inner, ..]) if outermost => {
                match self.node(*inner) {
                    Some(Node::Tuple(inner)) if inner.len() <= MAX_ARGUMENTS => {
                        let inner = inner.clone();
                        self.call(*function, &inner, false)
                    }
                    _ => Err(ReadError::malformed(
                        "its pickle rebuilds a tensor of something that is no tuple",
                    )),
                }
            }
            (Global::OrderedDict | Global::Counter, []) | (Global::DefaultDict, [] | [_]) => {
                self.add(Node::Dict(Vec::new()))
            }
            (Global::Counter, [counts]) if matches!(self.node(*counts), Some(Node::Dict(_))) => Ok(*counts),
            (Global::Other(kind), _) => self.add(Node::Other(kind, "")),
            // What Python 2 wrote: a list of [key, value].
            (Global::OrderedDict, [pairs]) => {
                let pairs: Option<Vec<_>> = match self.node(*pairs) {
                    Some(Node::List(pairs)) => pairs.iter().map(|pair| self.pair(*pair)).collect(),
                    _ => None,
                };
                let pairs = pairs.ok_or_else(|| {
                    ReadError::malformed("its pickle makes a dict of something that is no list of pairs")
                })?;
                self.budget.spend(2 * ITEM_BYTES * pairs.len() as u128, || "its pickle".into())?;
                self.add(Node::Dict(pairs))
            }
            // `torch.Size(tuple)` and TorchScript's typed lists are what they are made of.
            (Global::Same, [value, ..]) => Ok(*value),
            (Global::Device, [Item::Text(name)]) => Ok(Item::Text(name)),
            (Global::Device, [Item::Text(name), Item::Int(index)]) => {
                self.budget.spend(name.len() as u128, || "its pickle".into())?;
                self.add(Node::Owned(format!("{name}:{index}")))
            }
            (function, arguments) => Err(ReadError::malformed(format!(
                "its pickle calls {function:?} with {} arguments that do not fit",
                arguments.len()
            ))),
        }
    }

    fn pair(&self, item: Item<'a>) -> Option<(Item<'a>, Item<'a>)> {
        match self.node(item)? {
            Node::List(pair) | Node::Tuple(pair) => match **pair {
                [key, value] => Some((key, value)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the last argument of `_rebuild_tensor_v2` asks for a change of the values
    /// (`{"neg": True}`).
    fn is_transformed(&self, arguments: &[Item<'a>]) -> bool {
        let [_, _, metadata, ..] = arguments else { return false };
        match self.node(*metadata) {
            Some(Node::Dict(pairs)) => pairs.iter().any(|(_, value)| *value == Item::Bool(true)),
            _ => false,
        }
    }

    fn tensor(
        &mut self,
        (storage, dtype): (Storage<'a>, DType),
        offset: Item<'a>,
        shape: Item<'a>,
        strides: Item<'a>,
    ) -> Result<Tensor<'a>, ReadError> {
        let offset = length(offset, "an offset")?;
        let (shape, strides) = (self.lengths(shape, "a shape")?, self.lengths(strides, "strides")?);
        if shape.len() != strides.len() {
            return Err(ReadError::malformed(format!(
                "a tensor has the shape {shape:?} and the strides {strides:?}"
            )));
        }
        self.budget.spend(16 * shape.len() as u128, || "its pickle".into())?;
        Ok(Tensor { storage, dtype, offset, shape, strides })
    }

    fn lengths(&self, item: Item<'a>, what: &str) -> Result<Vec<usize>, ReadError> {
        match self.node(item) {
            Some(Node::Tuple(items) | Node::List(items)) if items.len() <= MAX_DIMS => {
                items.iter().map(|item| length(*item, what)).collect()
            }
            Some(Node::Tuple(items) | Node::List(items)) => Err(ReadError::malformed(format!(
                "a tensor has {} dimensions, {MAX_DIMS} are allowed",
                items.len()
            ))),
            _ => Err(ReadError::malformed(format!("{what} of a tensor is no tuple"))),
        }
    }

    /// The persistent id `("storage", class, key, location, elements[, view])`; the location
    /// (`cpu`, `cuda:0`) does not matter here.
    fn storage(&mut self) -> Result<Storage<'a>, ReadError> {
        match *self.pop_tuple()?.as_slice() {
            [
                Item::Text("storage"),
                Item::Global(Global::Storage(elements)),
                Item::Text(key),
                Item::Text(_),
                len,
            ]
            | [
                Item::Text("storage"),
                Item::Global(Global::Storage(elements)),
                Item::Text(key),
                Item::Text(_),
                len,
                Item::None,
            ] => Ok(Storage { key, elements, len: length(len, "the length of a storage")? }),
            [Item::Text("storage"), Item::Global(Global::Storage(_)), .., Item::Node(_)] => {
                Err(ReadError::unsupported("a view of a storage", "save it again with PyTorch 1.6 or later"))
            }
            [Item::Text(kind), ..] => {
                Err(ReadError::malformed(format!("its pickle refers to a `{}`", shown(kind))))
            }
            _ => Err(ReadError::malformed("its pickle refers to something that is no storage")),
        }
    }
}

fn underflow() -> ReadError {
    ReadError::malformed("its pickle takes more values than it made")
}

fn pairs_of<'a>(items: &[Item<'a>]) -> Result<Vec<(Item<'a>, Item<'a>)>, ReadError> {
    match items.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err(ReadError::malformed("its pickle has a key without a value")),
    }
}

fn length(item: Item<'_>, what: &str) -> Result<usize, ReadError> {
    match item {
        Item::Int(value) => {
            usize::try_from(value).map_err(|_| ReadError::malformed(format!("{what} is {value}")))
        }
        _ => Err(ReadError::malformed(format!("{what} is no integer"))),
    }
}
