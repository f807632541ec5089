//! The classes and functions that a file of tensors may name.

use super::Item;
use crate::array::DType;
use crate::error::{ReadError, shown};

/// What an allowed name stands for here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global<'a> {
    /// `_rebuild_tensor(storage, offset, shape, strides)`; `_v2` adds arguments, of which only the
    /// last, what is to be done with the values, matters here.
    RebuildTensor,
    /// `_rebuild_tensor_v3(storage, offset, shape, strides, requires_grad, hooks, dtype)`: of types
    /// without storages.
    RebuildOfType,
    /// `_rebuild_parameter(tensor, requires_grad, hooks)`.
    RebuildParameter,
    /// `_rebuild_from_type_v2(function, class, arguments, attributes)`.
    RebuildFromType,
    /// `_rebuild_device_tensor_from_cpu_tensor(tensor, dtype, device, requires_grad)`.
    RebuildFromCpu,
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `collections.Counter`, which is a dict of the numbers.
    Counter,
    /// `collections.defaultdict(factory)`, which is a dict.
    DefaultDict,
    /// A function that returns its first argument, as far as this crate can tell.
    Same,
    /// `torch.device`.
    Device,
    /// A class of storages.
    Storage(Elements),
    /// A class of tensors, as an argument.
    TensorClass,
    /// A class of a TorchScript program.
    Object,
    /// `torch.float32` and its like.
    DTypeName(&'a str),
    /// What makes something harmless that is not read here; in words.
    Other(Kind),
}

/// What stands beside arrays and plain values: it takes its place in the tree, and has no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) what: &'static str,
    /// Whether Python would have an array there.
    pub(crate) array: bool,
}

impl Kind {
    pub(crate) const fn plain(what: &'static str) -> Self {
        Self { what, array: false }
    }

    const fn array(what: &'static str) -> Self {
        Self { what, array: true }
    }
}

/// Type of the elements of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elements {
    Read(DType),
    /// A type that [`DType`] has not: its name, and bytes of one element.
    Other(&'static str, usize),
}

impl Elements {
    /// Bytes of one.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Read(dtype) => dtype.size(),
            Self::Other(_, size) => size,
        }
    }
}

/// The meaning of `module.name`, if it is allowed: what PyTorch's own `weights_only=True` allows,
/// and besides a few classes of Python and `NumPy` whose objects stand in checkpoints beside the
/// weights. Nothing of these is made; a name that is not here is refused wherever it stands,
/// because only its own code says what it would do.
pub(crate) fn resolve<'a>(module: &'a str, name: &'a str, script: bool) -> Result<Item<'a>, ReadError> {
    let global = match (module, name) {
        ("torch._utils", _) => match rebuilder(name) {
            Some(global) => global,
            None => return Err(refused(module, name)),
        },
        ("torch._tensor", "_rebuild_from_type_v2") => Global::RebuildFromType,
        ("torch", "Tensor") | ("torch.nn.parameter", "Parameter") => Global::TensorClass,
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("collections", "Counter") => Global::Counter,
        ("collections", "defaultdict") => Global::DefaultDict,
        ("torch", "Size")
        | ("torch.serialization", "_get_layout")
        | (
            "torch.jit._pickle",
            "build_intlist" | "build_doublelist" | "build_boollist" | "build_tensorlist" | "restore_type_tag",
        ) => Global::Same,
        ("torch", "device") => Global::Device,
        ("torch" | "torch.cuda" | "torch.storage", _) if name.ends_with("Storage") => match storage(name) {
            Some(elements) => Global::Storage(elements),
            None => return Err(refused(module, name)),
        },
        ("torch", _) if is_type_name(name) => Global::DTypeName(name),
        _ if script && (module == "__torch__" || module.starts_with("__torch__.")) => Global::Object,
        _ => match other(module, name) {
            Some(kind) => Global::Other(kind),
            None => return Err(refused(module, name)),
        },
    };
    Ok(Item::Global(global))
}

fn rebuilder(name: &str) -> Option<Global<'static>> {
    Some(match name {
        "_rebuild_tensor" | "_rebuild_tensor_v2" => Global::RebuildTensor,
        "_rebuild_tensor_v3" => Global::RebuildOfType,
        "_rebuild_parameter" | "_rebuild_parameter_with_state" => Global::RebuildParameter,
        "_rebuild_device_tensor_from_cpu_tensor" => Global::RebuildFromCpu,
        "_rebuild_qtensor" => Global::Other(Kind::array("a quantised tensor")),
        "_rebuild_sparse_tensor" => Global::Other(Kind::array("a sparse tensor")),
        "_rebuild_nested_tensor" => Global::Other(Kind::array("a nested tensor")),
        "_rebuild_meta_tensor_no_storage" => Global::Other(Kind::array("a tensor without values (meta)")),
        "_rebuild_wrapper_subclass" | "_rebuild_device_tensor_from_numpy" => {
            Global::Other(Kind::array("a tensor of another device or class"))
        }
        _ => return None,
    })
}

/// Classes whose objects are plain values that nobody asks this crate for.
fn other(module: &str, name: &str) -> Option<Kind> {
    Some(match (module, name) {
        // Protocol 2 writes the names of Python 2.
        ("builtins" | "__builtin__", "set" | "frozenset") => Kind::plain("a set"),
        ("builtins" | "__builtin__", "complex") => Kind::plain("a complex number"),
        ("builtins" | "__builtin__", "bytearray" | "bytes") | ("_codecs", "encode") => Kind::plain("bytes"),
        // Types themselves, as the factories of defaultdicts.
        (
            "builtins" | "__builtin__",
            "list" | "dict" | "int" | "float" | "bool" | "str" | "unicode" | "long" | "tuple",
        ) => Kind::plain("a type of Python"),
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Kind::plain("a NumPy scalar"),
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct")
        | ("numpy._core.numeric" | "numpy.core.numeric", "_frombuffer") => Kind::array("a NumPy array"),
        ("numpy", "dtype" | "ndarray") => Kind::plain("a type of NumPy"),
        ("argparse", "Namespace") => Kind::plain("an argparse.Namespace"),
        ("datetime", "datetime" | "date" | "time" | "timedelta" | "timezone") => {
            Kind::plain("a date or time")
        }
        ("pathlib" | "pathlib._local", "PosixPath" | "WindowsPath" | "PurePosixPath" | "PureWindowsPath") => {
            Kind::plain("a path")
        }
        _ => return None,
    })
}

fn storage(name: &str) -> Option<Elements> {
    let dtype = match name {
        "DoubleStorage" => DType::F64,
        "FloatStorage" => DType::F32,
        "HalfStorage" => DType::F16,
        "BFloat16Storage" => DType::BF16,
        "LongStorage" => DType::I64,
        "IntStorage" => DType::I32,
        "ShortStorage" => DType::I16,
        "CharStorage" => DType::I8,
        "ByteStorage" => DType::U8,
        "BoolStorage" => DType::Bool,
        other => {
            return Some(match other {
                "ComplexFloatStorage" => Elements::Other("complex64", 8),
                "ComplexDoubleStorage" => Elements::Other("complex128", 16),
                "QInt8Storage" => Elements::Other("qint8", 1),
                "QUInt8Storage" => Elements::Other("quint8", 1),
                "QInt32Storage" => Elements::Other("qint32", 4),
                "QUInt4x2Storage" => Elements::Other("quint4x2", 1),
                "QUInt2x4Storage" => Elements::Other("quint2x4", 1),
                "UntypedStorage" => Elements::Other("bytes", 1),
                "UInt16Storage" => Elements::Other("uint16", 2),
                "UInt32Storage" => Elements::Other("uint32", 4),
                _ => return None,
            });
        }
    };
    Some(Elements::Read(dtype))
}

/// The names of types of elements, and of ways of quantising.
fn is_type_name(name: &str) -> bool {
    let number_follows = |kind: &str| {
        name.strip_prefix(kind).is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    let known = |rest: &str| rest.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'));
    name == "bool"
        || matches!(
            name,
            "per_tensor_affine"
                | "per_tensor_symmetric"
                | "per_channel_affine"
                | "per_channel_symmetric"
                | "per_channel_affine_float_qparams"
        )
        || known(name)
            && ["float", "bfloat", "int", "uint", "complex", "bits", "qint", "quint"]
                .into_iter()
                .any(number_follows)
}

fn refused(module: &str, name: &str) -> ReadError {
    ReadError::Refused { global: format!("{}.{}", shown(module), shown(name)), key: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tensors_and_containers_are_named() {
        for (module, name) in [
            ("posix", "system"),
            ("builtins", "eval"),
            ("__builtin__", "getattr"),
            ("torch", "load"),
            ("torch", "PickleStorage"),
            ("torch.nn.modules.conv", "Conv2d"),
            ("os", "system"),
            ("subprocess", "Popen"),
            ("builtins", "exec"),
            ("builtins", "__import__"),
            ("builtins", "object"),
            ("torch", "float"),
            ("torch", "float32.__class__"),
            ("torch", "set_default_dtype"),
            ("torch._utils", "_import_dotted_name"),
            ("torch._utils", "__builtins__"),
            ("torch.storage", "_load_from_bytes"),
            ("numpy", "load"),
            ("numpy.core.multiarray", "fromfile"),
            ("functools", "partial"),
            ("__torch__.common", "UC"),
            ("__torch__evil", "UC"),
        ] {
            let error = resolve(module, name, false).unwrap_err();
            assert!(
                matches!(error, ReadError::Refused { global, .. } if global == format!("{module}.{name}"))
            );
        }
        assert_eq!(resolve("__torch__.common", "UC", true).unwrap(), Item::Global(Global::Object));
        assert!(resolve("__torch__evil", "UC", true).is_err());
        assert!(resolve("posix", "system", true).is_err());
        for name in
            ["uint16", "float8_e4m3fn", "float4_e2m1fn_x2", "bits1x8", "complex32", "quint4x2", "bfloat16"]
        {
            assert_eq!(resolve("torch", name, false).unwrap(), Item::Global(Global::DTypeName(name)));
        }
    }
}
