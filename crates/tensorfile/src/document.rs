//! [`Document`]: what a file holds, and the two views of it that the pipeline needs.

use std::fmt;
use std::path::PathBuf;

use crate::array::Array;
use crate::error::{Error, Result, shown};

/// Format of a file, detected from its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// What `torch.save` writes since version 1.6: a zip with a pickle and raw storages.
    TorchZip,
    /// What `torch.jit.save` writes, and tch's `VarStore::save` to names other than `.safetensors`:
    /// the same with code.
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

/// A value of a file. Only containers of arrays and plain values exist; what is harmless and
/// neither is named ([`Value::Other`]), and everything else was refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A tensor or array.
    Array(Array),
    /// A list, a tuple, or a `torch.Size`.
    List(Vec<Value>),
    /// A dict or `OrderedDict`, in its order; or the attributes of a TorchScript object. Integer
    /// keys became decimal text.
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
    /// What PyTorch or `NumPy` would read and this crate does not: a set, a complex number, a
    /// sparse tensor, a type of elements that [`DType`](crate::DType) has not. It decides nothing
    /// where nobody asks for it.
    Other {
        /// What it is, in words: `a tensor of float8_e4m3fn`.
        what: String,
        /// Whether it stands for an array.
        array: bool,
    },
}

impl Value {
    /// Whether there is an array in it, read or not.
    pub(crate) fn has_array(&self) -> bool {
        match self {
            Self::Array(_) | Self::Other { array: true, .. } => true,
            Self::List(items) => items.iter().any(Self::has_array),
            Self::Dict(pairs) => pairs.iter().any(|(_, value)| value.has_array()),
            _ => false,
        }
    }
}

/// An array, or in words what stands in its place.
pub(crate) type Found = Result<Array, String>;

/// All that a file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Where it was read from; the errors name it.
    pub path: PathBuf,
    /// Its container.
    pub format: Format,
    /// Its content.
    pub root: Value,
    /// Whether the archive also holds a program (TorchScript). It is never run here, and what it
    /// would compute from the arrays is unknown.
    pub code: bool,
    /// Texts that describe the file: the `__metadata__` of safetensors, sorted by key; empty for
    /// other formats.
    pub metadata: Vec<(String, String)>,
}

/// An error lists at most this many entries.
const LISTED: usize = 8;

impl Document {
    /// The one array of the file: bare, or the only one in its containers.
    ///
    /// # Errors
    /// [`Error::NotOneArray`], which lists what is there instead; [`Error::Unsupported`] where the
    /// one is of a kind that is not read.
    pub fn into_array(self) -> Result<Array> {
        let (path, format, found) = (self.path.clone(), self.format, self.describe());
        let mut arrays = self.into_found();
        match (arrays.pop(), arrays.is_empty()) {
            (Some((name, array)), true) => array.map_err(|what| unread(path, format, &name, &what)),
            _ => Err(Error::NotOneArray { path, found }),
        }
    }

    /// [`Document::entries`] for good, and with them what stands for arrays that are not read.
    pub(crate) fn into_found(self) -> Vec<(String, Found)> {
        let mut found = Vec::new();
        flatten(self.root, String::new(), 0, &mut |path, _, array| found.push((path, array)));
        found
    }

    /// Every array with its dotted path, in the file's order; a bare array has the path "".
    pub fn entries(&self) -> Vec<(String, &Array)> {
        let mut entries = Vec::new();
        walk(&self.root, String::new(), &mut |path, value| {
            if let Value::Array(array) = value {
                entries.push((path, array));
            }
        });
        entries
    }

    /// What stands for arrays and is not read, with its dotted path and what it is.
    pub fn unread(&self) -> Vec<(String, &str)> {
        let mut out = Vec::new();
        walk(&self.root, String::new(), &mut |path, value| {
            if let Value::Other { what, array: true } = value {
                out.push((path, what.as_str()));
            }
        });
        out
    }

    /// What is there, for an error or a listing:
    /// `2 arrays (images float32 [4, 1, 28, 28], labels int64 [4])`.
    pub fn describe(&self) -> String {
        let entries = self.entries();
        let program = if self.code { " beside a TorchScript program" } else { "" };
        let listed: Vec<String> =
            entries.iter().take(LISTED).map(|(name, array)| format!("{} {array}", shown(name))).collect();
        let more = if entries.len() > LISTED { ", ..." } else { "" };
        let unread = self.unread();
        let beside = match unread.as_slice() {
            [] => String::new(),
            several => {
                let named = several.iter().take(LISTED).map(|(name, what)| match name.as_str() {
                    "" => (*what).to_owned(),
                    name => format!("{} is {what}", shown(name)),
                });
                let more = if several.len() > LISTED { ", ..." } else { "" };
                format!(" and what is not read here ({}{more})", named.collect::<Vec<_>>().join(", "))
            }
        };
        match (entries.as_slice(), &self.root) {
            ([], Value::Dict(pairs)) if !pairs.is_empty() && unread.is_empty() => {
                let keys: Vec<String> = pairs.iter().take(LISTED).map(|(key, _)| shown(key)).collect();
                let more = if pairs.len() > LISTED { ", ..." } else { "" };
                format!("no array{program} (its entries are {}{more})", keys.join(", "))
            }
            ([], _) => format!("no array{program}{beside}"),
            ([(name, array)], _) if name.is_empty() => format!("one bare array{program} ({array})"),
            ([_], _) => format!("1 array{program} ({}){beside}", listed.concat()),
            (several, _) => {
                format!("{} arrays{program} ({}{more}){beside}", several.len(), listed.join(", "))
            }
        }
    }
}

/// The error about an array that was asked for and is of a kind that is not read.
pub(crate) fn unread(path: PathBuf, format: Format, name: &str, what: &str) -> Error {
    let what = if name.is_empty() { what.to_owned() } else { format!("{what} (`{}`)", shown(name)) };
    let hint = "convert it in Python: tensor.to(torch.float32) or torch.int64, .to_dense(), .dequantize()";
    Error::Unsupported { path, format, what, hint: hint.into() }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Every value that is no container, with its dotted path.
fn walk<'a>(value: &'a Value, path: String, visit: &mut impl FnMut(String, &'a Value)) {
    match value {
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, joined(&path, &index.to_string()), visit);
            }
        }
        Value::Dict(pairs) => {
            for (name, item) in pairs {
                walk(item, joined(&path, name), visit);
            }
        }
        value => visit(path, value),
    }
}

/// Every array, with its dotted path and the length of the path of the container in which it
/// stands.
pub(crate) fn flatten(
    value: Value,
    path: String,
    container: usize,
    out: &mut impl FnMut(String, usize, Found),
) {
    let inner = path.len();
    match value {
        Value::Array(array) => out(path, container, Ok(array)),
        Value::Other { what, array: true } => out(path, container, Err(what)),
        Value::List(items) => {
            for (index, item) in items.into_iter().enumerate() {
                flatten(item, joined(&path, &index.to_string()), inner, out);
            }
        }
        Value::Dict(pairs) => {
            for (name, item) in pairs {
                flatten(item, joined(&path, &name), inner, out);
            }
        }
        _ => {}
    }
}
