//! The classes and functions that a file of tensors may name.

use super::Item;
use crate::array::DType;
use crate::error::{Fault, shown};

/// What an allowed name stands for here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global<'a> {
    /// `_rebuild_tensor(storage, offset, shape, strides)`; `_v2` adds arguments that do not matter here.
    RebuildTensor,
    /// `_rebuild_parameter(tensor, requires_grad, hooks)`.
    RebuildParameter,
    /// `_rebuild_from_type_v2(function, class, arguments, attributes)`.
    RebuildFromType,
    /// `collections.OrderedDict`.
    OrderedDict,
    /// A function that returns its first argument, as far as this crate can tell.
    Same,
    /// `torch.device`.
    Device,
    /// A class of storages.
    Storage(DType),
    /// A class of tensors, as an argument.
    TensorClass,
    /// A class of a TorchScript program.
    Object,
    /// `torch.float32` and its like.
    DTypeName(&'a str),
}

/// Storages of elements that [`DType`] has not.
const OTHER_STORAGES: [&str; 10] = [
    "ComplexFloatStorage",
    "ComplexDoubleStorage",
    "QInt8Storage",
    "QInt32Storage",
    "QUInt8Storage",
    "QUInt4x2Storage",
    "QUInt2x4Storage",
    "UntypedStorage",
    "UInt16Storage",
    "UInt32Storage",
];

/// The meaning of `module.name`, if it is allowed.
pub(crate) fn resolve<'a>(module: &'a str, name: &'a str, script: bool) -> Result<Item<'a>, Fault> {
    let global = match (module, name) {
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::RebuildParameter,
        ("torch._tensor", "_rebuild_from_type_v2") => Global::RebuildFromType,
        ("torch", "Tensor") | ("torch.nn.parameter", "Parameter") => Global::TensorClass,
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch", "Size")
        | (
            "torch.jit._pickle",
            "build_intlist" | "build_doublelist" | "build_boollist" | "build_tensorlist" | "restore_type_tag",
        ) => Global::Same,
        ("torch", "device") => Global::Device,
        ("torch" | "torch.cuda", _) if name.ends_with("Storage") => match storage(name) {
            Some(dtype) => Global::Storage(dtype),
            None if OTHER_STORAGES.contains(&name) => return Err(other_elements(name)),
            None => return Err(refused(module, name)),
        },
        ("torch", _) if is_dtype(name) => Global::DTypeName(name),
        ("torch._utils", "_rebuild_tensor_v3" | "_rebuild_qtensor" | "_rebuild_sparse_tensor") => {
            return Err(other_elements(name));
        }
        _ if script && (module == "__torch__" || module.starts_with("__torch__.")) => Global::Object,
        _ => return Err(refused(module, name)),
    };
    Ok(Item::Global(global))
}

fn storage(name: &str) -> Option<DType> {
    Some(match name {
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
        _ => return None,
    })
}

fn is_dtype(name: &str) -> bool {
    DType::ALL.iter().any(|dtype| dtype.name() == name)
        || matches!(
            name,
            "uint16" | "uint32" | "uint64" | "complex64" | "complex128" | "qint8" | "quint8" | "qint32"
        )
}

fn refused(module: &str, name: &str) -> Fault {
    Fault::Refused { global: format!("{}.{}", shown(module), shown(name)) }
}

fn other_elements(name: &str) -> Fault {
    let what = format!("tensors that are sparse, quantized, complex or of an uncommon type (`{name}`)");
    Fault::unsupported(what, "convert them in Python: tensor.to_dense(), .dequantize() or .to(torch.float32)")
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
            ("collections", "defaultdict"),
            ("__torch__.common", "UC"),
            ("__torch__evil", "UC"),
        ] {
            let error = resolve(module, name, false).unwrap_err();
            assert!(matches!(error, Fault::Refused { global } if global == format!("{module}.{name}")));
        }
        assert_eq!(resolve("__torch__.common", "UC", true).unwrap(), Item::Global(Global::Object));
        assert!(resolve("__torch__evil", "UC", true).is_err());
        assert!(resolve("posix", "system", true).is_err());
        assert!(matches!(resolve("torch", "QInt8Storage", false), Err(Fault::Unsupported { .. })));
    }
}
