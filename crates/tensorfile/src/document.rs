//! [`Document`]: what a file holds, and the two views of it that the pipeline needs.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use crate::array::Array;
use crate::error::{Error, Result, shown};

/// Container of a file, told by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// What `torch.save` writes since version 1.6: a zip with a pickle and raw storages.
    TorchZip,
    /// What `torch.jit.save` writes, and tch's `VarStore::save` to names other than `.safetensors`: the same with code.
    TorchScript,
    /// What `torch.save` wrote before version 1.6: pickles and raw storages in a row.
    TorchLegacy,
    /// Hugging Face's safetensors.
    Safetensors,
    /// One `NumPy` array.
    Npy,
    /// Named `NumPy` arrays in a zip.
    Npz,
    /// The IDX files of MNIST, gzipped or not.
    Idx,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::TorchZip => "PyTorch",
            Self::TorchScript => "TorchScript",
            Self::TorchLegacy => "legacy PyTorch",
            Self::Safetensors => "safetensors",
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Idx => "IDX",
        })
    }
}

/// A value of a file. Only containers of arrays and plain values exist; everything else was refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A tensor or array.
    Array(Array),
    /// A list, a tuple, or a `torch.Size`.
    List(Vec<Value>),
    /// A dict or `OrderedDict`, in its order; or the attributes of a TorchScript object. Integer keys became decimal text.
    Dict(Vec<(String, Value)>),
    /// An integer; wider ones became [`Value::Text`].
    Int(i64),
    /// A number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text; also the name of a `torch.dtype` or `torch.device`.
    Text(String),
    /// Python's `None`.
    None,
}

/// All that a file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Where it was read from; the errors name it.
    pub path: PathBuf,
    /// Its container.
    pub format: Format,
    /// Its content.
    pub root: Value,
    /// Whether the archive also holds a program (TorchScript). It is never run here, and what it would compute from the
    /// arrays is unknown.
    pub code: bool,
    /// Texts that describe the file: the `__metadata__` of safetensors, sorted by key; empty for other formats.
    pub metadata: Vec<(String, String)>,
}

/// Keys under which training scripts keep the `state_dict` of a checkpoint, the likeliest first.
const STATE_DICT_KEYS: [&str; 3] = ["model_state_dict", "state_dict", "model"];

/// What wrappers put before every name: `DataParallel`, `torch.compile`.
const WRAPPER_PREFIXES: [&str; 2] = ["module.", "_orig_mod."];

/// Wrappers around wrappers, at most.
const MAX_WRAPPERS: usize = 4;

/// An error lists at most this many entries.
const LISTED: usize = 8;

impl Document {
    /// The one array of the file: bare, or the only one in its containers.
    ///
    /// # Errors
    /// [`Error::NotOneArray`], which lists what is there instead.
    pub fn into_array(self) -> Result<Array> {
        if self.entries().len() != 1 {
            return Err(Error::NotOneArray { found: self.describe(), path: self.path });
        }
        let found = self.describe();
        let mut arrays = Vec::new();
        flatten(self.root, String::new(), &mut arrays);
        arrays.pop().map(|(_, array)| array).ok_or(Error::NotOneArray { path: self.path, found })
    }

    /// The file as a `state_dict`: arrays under dotted names, in the file's order.
    ///
    /// - A checkpoint's `model_state_dict`, `state_dict` or `model` is looked into (the first of them that holds arrays), however
    ///   deep they nest; what lies beside it is left out, as is every entry that is no array.
    /// - `module.` (from `DataParallel`) and `_orig_mod.` (from `torch.compile`) are cut off where all names start with it.
    /// - TorchScript gives every tensor attribute under its dotted path; tch writes `|` for the dot, which is put back.
    ///
    /// # Errors
    /// [`Error::NoTensors`] for a bare array, a list, or nothing at all; [`Error::Malformed`] if two entries get one name.
    pub fn into_tensors(self) -> Result<Vec<(String, Array)>> {
        if !matches!(self.root, Value::Dict(_)) || self.entries().is_empty() {
            return Err(Error::NoTensors { found: self.describe(), path: self.path });
        }
        let script = self.format == Format::TorchScript;
        let state = if script { self.root } else { state_dict_of(self.root) };
        let mut tensors = Vec::new();
        flatten(state, String::new(), &mut tensors);
        if script {
            for (name, _) in &mut tensors {
                *name = name.replace('|', ".");
            }
        }
        for _ in 0..MAX_WRAPPERS {
            let wraps = |prefix: &str| {
                tensors.iter().all(|(name, _)| name.len() > prefix.len() && name.starts_with(prefix))
            };
            let Some(prefix) = WRAPPER_PREFIXES.into_iter().find(|prefix| wraps(prefix)) else { break };
            for (name, _) in &mut tensors {
                name.drain(..prefix.len());
            }
        }
        let mut names = HashSet::new();
        if let Some((name, _)) = tensors.iter().find(|(name, _)| !names.insert(name.as_str())) {
            let reason = format!("two tensors are named `{}`", shown(name));
            return Err(Error::Malformed { path: self.path, format: self.format, reason });
        }
        Ok(tensors)
    }

    /// [`Document::entries`] for good.
    pub(crate) fn into_arrays(self) -> Vec<(String, Array)> {
        let mut arrays = Vec::new();
        flatten(self.root, String::new(), &mut arrays);
        arrays
    }

    /// Every array with its dotted path, in the file's order; a bare array has the path "".
    pub fn entries(&self) -> Vec<(String, &Array)> {
        let mut entries = Vec::new();
        collect(&self.root, String::new(), &mut entries);
        entries
    }

    /// What is there, for an error or a listing: `2 arrays (images float32 [4, 1, 28, 28], labels int64 [4])`.
    pub fn describe(&self) -> String {
        let entries = self.entries();
        let program = if self.code { " beside a TorchScript program" } else { "" };
        let listed: Vec<String> =
            entries.iter().take(LISTED).map(|(name, array)| format!("{} {array}", shown(name))).collect();
        let more = if entries.len() > LISTED { ", ..." } else { "" };
        match (entries.as_slice(), &self.root) {
            ([], Value::Dict(pairs)) if !pairs.is_empty() => {
                let keys: Vec<String> = pairs.iter().take(LISTED).map(|(key, _)| shown(key)).collect();
                let more = if pairs.len() > LISTED { ", ..." } else { "" };
                format!("no array{program} (its entries are {}{more})", keys.join(", "))
            }
            ([], _) => format!("no array{program}"),
            ([(name, array)], _) if name.is_empty() => format!("one bare array{program} ({array})"),
            ([_], _) => format!("1 array{program} ({})", listed.concat()),
            (several, _) => {
                format!("{} arrays{program} ({}{more})", several.len(), listed.join(", "))
            }
        }
    }
}

fn state_dict_of(root: Value) -> Value {
    let Value::Dict(mut pairs) = root else { return root };
    for key in STATE_DICT_KEYS {
        let nested = pairs
            .iter()
            .position(|(name, value)| name == key && matches!(value, Value::Dict(_)) && has_array(value));
        if let Some(index) = nested {
            return state_dict_of(pairs.swap_remove(index).1);
        }
    }
    Value::Dict(pairs)
}

fn has_array(value: &Value) -> bool {
    match value {
        Value::Array(_) => true,
        Value::List(items) => items.iter().any(has_array),
        Value::Dict(pairs) => pairs.iter().any(|(_, value)| has_array(value)),
        _ => false,
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn collect<'a>(value: &'a Value, path: String, out: &mut Vec<(String, &'a Array)>) {
    match value {
        Value::Array(array) => out.push((path, array)),
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, joined(&path, &index.to_string()), out);
            }
        }
        Value::Dict(pairs) => {
            for (name, item) in pairs {
                collect(item, joined(&path, name), out);
            }
        }
        _ => {}
    }
}

fn flatten(value: Value, path: String, out: &mut Vec<(String, Array)>) {
    match value {
        Value::Array(array) => out.push((path, array)),
        Value::List(items) => {
            for (index, item) in items.into_iter().enumerate() {
                flatten(item, joined(&path, &index.to_string()), out);
            }
        }
        Value::Dict(pairs) => {
            for (name, item) in pairs {
                flatten(item, joined(&path, &name), out);
            }
        }
        _ => {}
    }
}
