//! Hugging Face's safetensors: a JSON header, then the elements.
//!
//! The header's own consistency (offsets without gaps or overlaps, lengths that fit the shapes) is
//! checked by the `safetensors` crate. Writing is done here, because that crate orders metadata by
//! a random hash, and equal arrays must give equal bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

use ::safetensors::Dtype;
use ::safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value as Json, json};

use crate::array::{Array, DType, View};
use crate::document::{Format, Value};
use crate::error::{Error, ReadError, Result, shown};
use crate::limits::{Budget, EXPANSION};
use crate::pt::check_names;
use crate::source::{Source, bytes_at, fill_at};

/// Key of the texts beside the tensors.
const METADATA_KEY: &str = "__metadata__";

/// The header of a million tensors; the format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// Writes named arrays, and texts that describe them.
///
/// Wide elements come first, so that every array is aligned; arrays of one width keep the order
/// given.
///
/// # Errors
/// [`Error::Unwritable`] where two arrays (or two texts) have one name, or one is named
/// `__metadata__`; those of [`View::check`]; [`Error::Write`].
pub fn write(w: &mut impl Write, entries: &[(&str, View<'_>)], metadata: &[(String, String)]) -> Result<()> {
    check_names(Format::Safetensors, entries)?;
    let unwritable = |reason: String| Error::Unwritable { format: Format::Safetensors, reason };
    let mut header = Map::new();
    if !metadata.is_empty() {
        let mut texts = Map::new();
        for (key, text) in metadata {
            if texts.insert(key.clone(), Json::String(text.clone())).is_some() {
                return Err(unwritable(format!("two texts are named `{}`", shown(key))));
            }
        }
        header.insert(METADATA_KEY.into(), Json::Object(texts));
    }
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by_key(|(_, view)| std::cmp::Reverse(view.dtype.size()));
    let mut end = 0;
    for (name, view) in &sorted {
        if *name == METADATA_KEY {
            return Err(unwritable(format!("no array may be named `{METADATA_KEY}`")));
        }
        let start = end;
        end += view.bytes.len();
        let info = json!({"dtype": code_of(view.dtype), "shape": view.shape, "data_offsets": [start, end]});
        header.insert((*name).to_owned(), info);
    }
    let mut header = Json::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    w.write_all(&(header.len() as u64).to_le_bytes())?;
    w.write_all(&header)?;
    for (_, view) in sorted {
        w.write_all(view.bytes)?;
    }
    Ok(())
}

fn code_of(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "F64",
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::I64 => "I64",
        DType::I32 => "I32",
        DType::I16 => "I16",
        DType::I8 => "I8",
        DType::U8 => "U8",
        DType::Bool => "BOOL",
    }
}

fn dtype_of(code: Dtype) -> Option<DType> {
    Some(match code {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool,
        _ => return None,
    })
}

/// What a header says. The crate's own type takes up to fifty times the header's size while it is
/// read.
struct Header {
    texts: BTreeMap<String, String>,
    tensors: Vec<(String, TensorInfo)>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header { texts: BTreeMap::new(), tensors: Vec::new() };
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA_KEY {
                header.texts = map.next_value::<Option<_>>()?.unwrap_or_default();
            } else {
                header.tensors.push((name, map.next_value()?));
            }
        }
        Ok(header)
    }
}

/// Whether a file starts as safetensors do: a length, then JSON.
pub(crate) fn is_safetensors(start: &[u8]) -> bool {
    matches!(start, [_, _, _, _, _, _, 0, 0, b'{', ..])
}

/// What the header and what is made of it cost of the allowance for each of its bytes: names,
/// shapes and texts in small allocations.
const HEADER_EXPANSION: u64 = EXPANSION - 1;

/// Reads all arrays, in the order of their bytes, and the texts, sorted by key.
pub(crate) fn parse(
    source: &mut dyn Source,
    file_bytes: u64,
    budget: &mut Budget,
) -> Result<(Value, Vec<(String, String)>), ReadError> {
    let short = || ReadError::malformed("it ends within its header; fetch or save it again");
    let mut length = [0; 8];
    fill_at(source, 0, &mut length)?;
    let length = u64::from_le_bytes(length);
    let follow = file_bytes.saturating_sub(8).checked_sub(length).ok_or_else(short)?;
    if length > LONGEST_HEADER {
        return Err(ReadError::malformed(format!(
            "its header takes {length} bytes, {LONGEST_HEADER} are allowed"
        )));
    }
    budget.spend(u128::from(length * HEADER_EXPANSION), || "its header".into())?;
    let header = bytes_at(source, 8, length, budget, || "its header".into())?;
    let not_understood =
        |error: &str| ReadError::malformed(format!("its header is not understood ({})", shown(error)));
    let Header { texts, mut tensors } =
        serde_json::from_slice(&header).map_err(|error| not_understood(&error.to_string()))?;
    drop(header);
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let count = tensors.len();
    let metadata = Metadata::new(None, tensors).map_err(|error| not_understood(&error.to_string()))?;
    let names = metadata.offset_keys();
    if names.len() != count {
        return Err(ReadError::malformed("two of its tensors have one name"));
    }
    if metadata.data_len() as u64 != follow {
        return Err(ReadError::malformed(format!(
            "its header describes {} bytes of elements, but {follow} follow; fetch or save it again",
            metadata.data_len(),
        )));
    }
    let mut pairs = Vec::new();
    for name in names {
        let Some(info) = metadata.info(&name) else { continue };
        let Some(dtype) = dtype_of(info.dtype) else {
            let what = format!("a tensor of {}", info.dtype);
            pairs.push((name, Value::Other { what, array: true }));
            continue;
        };
        let (start, end) = info.data_offsets;
        let bytes = end.checked_sub(start).ok_or_else(short)?;
        budget.spend(bytes as u128, || format!("its tensor `{}`", shown(&name)))?;
        let array = Array::filled(dtype, info.shape.clone(), |out| {
            if out.len() != bytes {
                return Err(ReadError::malformed("a tensor's offsets do not fit its shape"));
            }
            fill_at(source, (8 + length).saturating_add(start as u64), out)
        })?;
        pairs.push((name, Value::Array(array)));
    }
    Ok((Value::Dict(pairs), texts.into_iter().collect()))
}
