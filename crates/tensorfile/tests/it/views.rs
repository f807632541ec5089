//! Views of storages as PyTorch saves them: transposed, expanded, cut out, empty, scalar, of every
//! type.

use std::io::BufReader;
use std::path::Path;

use proptest::prelude::*;
use tensorfile::{DType, Error, read, read_bytes, read_from};
use zip::CompressionMethod::{Deflated, Stored};

use crate::support::zipped;

#[derive(Debug, Clone)]
struct Tensor {
    dtype: DType,
    storage: Vec<u8>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// Views that stay inside of their storage, with up to four dimensions and strides in any order, 0
/// among them; a third of them contiguous.
fn tensors() -> impl Strategy<Value = Tensor> {
    let dims = prop::collection::vec((0_usize..5, 0_usize..7), 0..5);
    (prop::sample::select(&DType::ALL[..]), dims, 0_usize..9, 0_usize..5, 0..3).prop_flat_map(
        |(dtype, dims, offset, behind, kind)| {
            let (shape, mut strides): (Vec<usize>, Vec<usize>) = dims.into_iter().unzip();
            if kind == 0 {
                let mut step = 1;
                for (stride, length) in strides.iter_mut().zip(&shape).rev() {
                    *stride = step;
                    step *= length.max(&1);
                }
            }
            let last: usize =
                shape.iter().zip(&strides).map(|(length, stride)| length.saturating_sub(1) * stride).sum();
            let bytes = (offset + last + 1 + behind) * dtype.size();
            prop::collection::vec(any::<u8>(), bytes).prop_map(move |storage| {
                let (shape, strides) = (shape.clone(), strides.clone());
                Tensor { dtype, storage, offset, shape, strides }
            })
        },
    )
}

impl Tensor {
    /// The elements, found one by one.
    fn expected(&self) -> Vec<u8> {
        let size = self.dtype.size();
        let mut out = Vec::new();
        for flat in 0..self.shape.iter().product() {
            let (mut rest, mut at): (usize, usize) = (flat, self.offset);
            for (length, stride) in self.shape.iter().zip(&self.strides).rev() {
                at += rest % length * stride;
                rest /= length;
            }
            out.extend_from_slice(&self.storage[at * size..][..size]);
        }
        if self.dtype == DType::Bool {
            for byte in &mut out {
                *byte = u8::from(*byte != 0);
            }
        }
        out
    }

    fn pickle(&self) -> Vec<u8> {
        let class = match self.dtype {
            DType::F64 => "Double",
            DType::F32 => "Float",
            DType::F16 => "Half",
            DType::BF16 => "BFloat16",
            DType::I64 => "Long",
            DType::I32 => "Int",
            DType::I16 => "Short",
            DType::I8 => "Char",
            DType::U8 => "Byte",
            DType::Bool => "Bool",
        };
        let int = |value: usize| [b"\x8a\x08", &(value as u64).to_le_bytes()[..]].concat();
        let tuple = |values: &[usize]| {
            [b"(".to_vec(), values.iter().flat_map(|value| int(*value)).collect(), b"t".to_vec()].concat()
        };
        [
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n".to_vec(),
            format!("{class}Storage\n").into_bytes(),
            b"X\x01\0\0\x000X\x03\0\0\0cpu".to_vec(),
            int(self.storage.len() / self.dtype.size()),
            b"tQ".to_vec(),
            int(self.offset),
            tuple(&self.shape),
            tuple(&self.strides),
            b"\x89ccollections\nOrderedDict\n)RtR.".to_vec(),
        ]
        .concat()
    }

    fn legacy(&self) -> Vec<u8> {
        let length = ((self.storage.len() / self.dtype.size()) as u64).to_le_bytes();
        [
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.",
            self.pickle().as_slice(),
            b"\x80\x02]X\x01\0\0\x000a.",
            &length,
            &self.storage,
        ]
        .concat()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_view_is_read_as_it_is_seen(tensor in tensors()) {
        let pickle = tensor.pickle();
        let entries: [(&str, &[u8]); 2] = [("x/data.pkl", &pickle), ("x/data/0", &tensor.storage)];
        for file in [zipped(Stored, &entries), zipped(Deflated, &entries), tensor.legacy()] {
            let array = read_bytes(Path::new("file"), &file).unwrap().into_array().unwrap();
            prop_assert_eq!((array.dtype(), array.shape()), (tensor.dtype, tensor.shape.as_slice()));
            prop_assert_eq!(array.bytes(), tensor.expected());
        }
    }

    /// Whatever a storage lacks is missed before anything is made of it.
    #[test]
    fn no_view_reaches_outside(mut tensor in tensors(), beyond in 1_usize..100) {
        prop_assume!(!tensor.shape.contains(&0));
        tensor.offset += tensor.storage.len() / tensor.dtype.size() + beyond;
        let pickle = tensor.pickle();
        for file in [zipped(Stored, &[("x/data.pkl", &pickle), ("x/data/0", &tensor.storage)]), tensor.legacy()] {
            let error = read_bytes(Path::new("file"), &file).unwrap_err();
            prop_assert!(matches!(&error, Error::Malformed { reason, .. } if reason.contains("but its storage holds")), "{}", error);
        }
    }
}

/// The same storage, seen contiguously, otherwise, and contiguously again, in every order: it is
/// checked once and read as often as needed.
#[test]
fn views_of_one_storage() {
    let storage: Vec<u8> = (0..24).collect();
    let view = |offset: usize, shape: &[usize], strides: &[usize]| {
        let (shape, strides) = (shape.to_vec(), strides.to_vec());
        Tensor { dtype: DType::U8, storage: storage.clone(), offset, shape, strides }
    };
    let views =
        [view(0, &[24], &[1]), view(5, &[2, 3], &[3, 1]), view(0, &[6, 4], &[1, 6]), view(23, &[], &[])];
    for order in [[0, 1, 2, 3], [2, 1, 0, 3], [3, 2, 1, 0], [1, 0, 3, 2]] {
        let items: Vec<u8> = order
            .iter()
            .flat_map(|index| {
                let pickle = views[*index].pickle();
                pickle[2..pickle.len() - 1].to_vec()
            })
            .collect();
        let pickle = [b"\x80\x02](", items.as_slice(), b"e."].concat();
        for method in [Stored, Deflated] {
            let file = zipped(method, &[("x/data.pkl", &pickle), ("x/data/0", &storage)]);
            let document = read_bytes(Path::new("file"), &file).unwrap();
            let read: Vec<&[u8]> = document.entries().iter().map(|(_, array)| array.bytes()).collect();
            let expected: Vec<Vec<u8>> = order.iter().map(|index| views[*index].expected()).collect();
            assert_eq!(read, expected, "{order:?} {method:?}");
        }
    }
}

/// An old file whose pickles are longer than what is tried first.
#[test]
fn long_pickles_of_old_files() {
    let tensor =
        Tensor { dtype: DType::I16, storage: vec![1, 0, 2, 0], offset: 0, shape: vec![2], strides: vec![1] };
    let note = "n".repeat(700_000);
    let file = tensor.legacy();
    let at = file.windows(8).position(|window| window == b"\x80\x02ctorch").unwrap();
    let rest = file[at + 2..].windows(2).position(|window| window == b"R.").unwrap() + at + 3;
    let dict = [
        &file[..at],
        b"\x80\x02}(X\x01\0\0\0n",
        b"X",
        &(note.len() as u32).to_le_bytes(),
        note.as_bytes(),
        b"X\x01\0\0\0t",
        &file[at + 2..rest],
        b"u",
        &file[rest..],
    ]
    .concat();
    let document = read_bytes(Path::new("file"), &dict).unwrap();
    assert_eq!(document.into_array().unwrap().to_i64().unwrap(), [1, 2]);
    for cut in [1 << 16, 1 << 19, dict.len() - 5, dict.len() - 1] {
        let error = read_bytes(Path::new("file"), &dict[..cut]).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
    }
}

#[test]
fn a_file_is_read_as_its_bytes_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for (name, bytes) in crate::support::one_of_each() {
        for length in [bytes.len(), bytes.len() / 2, bytes.len() - 1, 3] {
            let bytes = &bytes[..length];
            #[expect(clippy::disallowed_methods, reason = "a test's own folder")]
            std::fs::write(&path, bytes).unwrap();
            let text = |read: Result<tensorfile::Document, Error>| read.map_err(|error| error.to_string());
            let expected = text(read_bytes(&path, bytes));
            assert_eq!(text(read(&path)), expected, "{name}");
            // A buffer that never holds a whole header.
            let mut slow = BufReader::with_capacity(3, std::fs::File::open(&path).unwrap());
            assert_eq!(text(read_from(&path, &mut slow)), expected, "{name}");
        }
    }
}
