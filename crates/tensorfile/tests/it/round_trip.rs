//! What our writers write, read back; and that equal arrays give equal bytes.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;

use proptest::prelude::*;
use tensorfile::{Array, DType, Format, Value, View, idx, limits, npz, pt, read, read_from, safetensors};

use crate::support::{one_of_each, read as read_memory, tensor};

/// Arrays of every type, with up to four dimensions, some of them of length 0, or with up to 64 of
/// length 1; any bits.
fn arrays() -> impl Strategy<Value = Array> {
    let dtype = proptest::sample::select(&DType::ALL[..]);
    let shape = prop_oneof![
        6 => prop::collection::vec(0_usize..6, 0..5),
        1 => prop::collection::vec(1_usize..2, 0..=limits::MAX_DIMS),
    ];
    (dtype, shape).prop_flat_map(|(dtype, shape)| {
        let bytes = shape.iter().product::<usize>() * dtype.size();
        prop::collection::vec(any::<u8>(), bytes)
            .prop_map(move |bytes| Array::new(dtype, shape.clone(), bytes).expect("of this length"))
    })
}

const ODD_NAMES: [&str; 19] = [
    "",
    " ",
    "\0",
    "a\nb",
    "\"",
    "'",
    "\\",
    "..",
    "../a",
    "/",
    "a/",
    "/a",
    "C:\\a",
    "a.npy",
    "\u{feff}",
    "🦀",
    "__metadata_",
    "\u{202e}b",
    "module.",
];

/// Any text is a name: empty, with control characters, of several lines, like a path that leads out
/// of the folder.
fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zé./0-9_ ]{1,12}",
        2 => any::<String>(),
        1 => prop::sample::select(&ODD_NAMES[..]).prop_map(str::to_owned),
        1 => "[a-z]{1000,2000}",
    ]
}

/// Up to five arrays under distinct names.
fn named_arrays() -> impl Strategy<Value = BTreeMap<String, Array>> {
    prop::collection::btree_map(names(), arrays(), 0..6)
}

fn views(arrays: &BTreeMap<String, Array>) -> Vec<(&str, View<'_>)> {
    arrays.iter().map(|(name, array)| (name.as_str(), array.view())).collect()
}

fn pairs(root: Value) -> Vec<(String, Array)> {
    let Value::Dict(pairs) = root else { panic!("{root:?}") };
    pairs
        .into_iter()
        .map(|(name, value)| match value {
            Value::Array(array) => (name, array),
            other => panic!("{other:?}"),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_array(array in arrays(), cuts in prop::collection::vec(0.0..1.0_f64, 0..5), prefix in 0_usize..100) {
        let mut whole = Vec::new();
        pt::write_array(&mut whole, array.view()).unwrap();
        let document = read_memory(&whole).unwrap();
        prop_assert_eq!(document.format, Format::TorchZip);
        prop_assert_eq!(document.into_array().unwrap(), array.clone());

        // In pieces, and behind other bytes: the same file.
        let mut out = Cursor::new(vec![9; prefix]);
        out.set_position(prefix as u64);
        let mut writer = pt::ArrayWriter::new(out, array.dtype(), array.shape()).unwrap();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| (cut * array.bytes().len() as f64) as usize).collect();
        cuts.extend([0, array.bytes().len()]);
        cuts.sort_unstable();
        for piece in cuts.windows(2) {
            writer.write(&array.bytes()[piece[0]..piece[1]]).unwrap();
        }
        let out = writer.finish().unwrap();
        prop_assert_eq!(out.position() as usize, out.get_ref().len());
        prop_assert_eq!(&out.get_ref()[prefix..], &whole);

        let mut npy = Vec::new();
        let written = npz::write_npy(&mut npy, array.view());
        if array.dtype() == DType::BF16 {
            prop_assert!(written.unwrap_err().to_string().contains("convert the array to float32"));
        } else {
            prop_assert_eq!((npy.len() - array.bytes().len()) % 64, 0);
            prop_assert_eq!(read_memory(&npy).unwrap().into_array().unwrap(), array.clone());
        }

        let (mut plain, mut gzipped) = (Vec::new(), Vec::new());
        let written = idx::write(&mut plain, array.view()).and_then(|()| idx::write_gz(&mut gzipped, array.view()));
        if array.dtype() == DType::U8 && !array.shape().is_empty() {
            written.unwrap();
            prop_assert_eq!(read_memory(&plain).unwrap().into_array().unwrap(), array.clone());
            prop_assert_eq!(read_memory(&gzipped).unwrap().into_array().unwrap(), array);
        } else {
            prop_assert!(written.is_err());
        }
    }

    #[test]
    fn named(arrays in named_arrays(), texts in prop::collection::btree_map("[a-z]{1,5}", ".{0,20}", 0..4)) {
        let in_order: Vec<(String, Array)> = arrays.clone().into_iter().collect();
        let views = views(&arrays);
        let mut file = Vec::new();
        pt::write_dict(&mut file, &views).unwrap();
        prop_assert_eq!(pairs(read_memory(&file).unwrap().root), in_order.clone());

        let texts: Vec<(String, String)> = texts.into_iter().collect();
        file.clear();
        safetensors::write(&mut file, &views, &texts).unwrap();
        let document = read_memory(&file).unwrap();
        prop_assert_eq!(&document.metadata, &texts);
        prop_assert_eq!(pairs(document.root).into_iter().collect::<BTreeMap<_, _>>(), arrays.clone());
        // The crate that made the format agrees, and every array is aligned.
        let theirs = ::safetensors::SafeTensors::deserialize(&file).unwrap();
        for (name, array) in &arrays {
            let tensor = theirs.tensor(name).unwrap();
            prop_assert_eq!((tensor.shape(), tensor.data()), (array.shape(), array.bytes()));
            prop_assert_eq!((tensor.data().as_ptr() as usize - file.as_ptr() as usize) % array.dtype().size(), 0);
        }

        file.clear();
        let written = npz::write(&mut file, &views);
        if arrays.values().any(|array| array.dtype() == DType::BF16) {
            prop_assert!(written.is_err());
        } else {
            written.unwrap();
            prop_assert_eq!(pairs(read_memory(&file).unwrap().root), in_order);
        }
    }
}

#[test]
fn every_odd_name_comes_back() {
    let view = View::u8(&[1], &[7]).unwrap();
    let entries = ODD_NAMES.map(|name| (name, view));
    let (mut pt, mut npz, mut safe) = (Vec::new(), Vec::new(), Vec::new());
    pt::write_dict(&mut pt, &entries).unwrap();
    npz::write(&mut npz, &entries).unwrap();
    safetensors::write(&mut safe, &entries, &[]).unwrap();
    for file in [pt, npz, safe] {
        let names: Vec<String> =
            pairs(read_memory(&file).unwrap().root).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ODD_NAMES);
    }
    let long = "n".repeat(70_000);
    let message = npz::write(&mut Vec::new(), &[(&long, view)]).unwrap_err();
    assert!(
        std::error::Error::source(&message).is_some_and(|source| source.to_string().contains("65535")),
        "{message}"
    );
}

#[test]
fn the_same_bytes_every_time() {
    assert_eq!(one_of_each(), one_of_each());
    // A change of these numbers changes every file that was ever hashed: only on purpose.
    let crcs: Vec<(&str, u32)> =
        one_of_each().iter().take(6).map(|(name, bytes)| (*name, crc32fast::hash(bytes))).collect();
    assert_eq!(
        crcs,
        [
            ("tensor.pt", 0x4739_4c24),
            ("dict.pt", 0x02f0_a5b5),
            ("a.safetensors", 0xe9a9_c2f1),
            ("a.npy", 0x69db_1523),
            ("a.npz", 0xba85_42d4),
            ("a-ubyte", 0x7cf0_bf1f),
        ]
    );
}

#[test]
fn payloads_are_aligned_and_checked_by_another_reader() {
    let values: Vec<f32> = (0..100).map(|value| value as f32).collect();
    let entries = [("a", View::f32(&[100], &values).unwrap()), ("b", View::u8(&[3], &[1, 2, 3]).unwrap())];
    let mut file = Vec::new();
    pt::write_dict(&mut file, &entries).unwrap();
    let mut zip = zip::ZipArchive::new(Cursor::new(file)).unwrap();
    let names: Vec<String> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
    assert_eq!(
        names,
        ["data.pkl", "byteorder", "data/0", "data/1", "version"].map(|name| format!("archive/{name}"))
    );
    for name in names {
        let mut entry = zip.by_name(&name).unwrap();
        assert_eq!(entry.data_start().unwrap() % 64, 0, "{name}");
        io::copy(&mut entry, &mut io::sink()).unwrap();
    }
    zip.validate_header_consistency().unwrap();
}

#[test]
fn writers_refuse_what_no_reader_could_use() {
    let view = View::f32(&[1], &[1.0]).unwrap();
    let (out, twice) = (&mut Vec::new(), [("a", view), ("a", view)]);
    for error in [
        pt::write_dict(out, &twice),
        npz::write(out, &twice),
        safetensors::write(out, &twice, &[]),
        safetensors::write(out, &[("__metadata__", view)], &[]),
        safetensors::write(out, &[], &[("k".into(), "1".into()), ("k".into(), "2".into())]),
        pt::write_array(out, View { dtype: DType::F32, shape: &[2], bytes: &[0; 4] }),
        pt::write_array(out, View { dtype: DType::U8, shape: &[usize::MAX, 2], bytes: &[] }),
        pt::write_array(out, View { dtype: DType::Bool, shape: &[1], bytes: &[2] }),
        npz::write_npy(out, View { dtype: DType::U8, shape: &[1; 65], bytes: &[0] }),
    ] {
        assert!(error.is_err());
    }
    assert!(out.is_empty(), "nothing is written before the checks");

    let mut writer = pt::ArrayWriter::new(Cursor::new(Vec::new()), DType::F32, &[3]).unwrap();
    writer.write_f32(&[1.0, 2.0]).unwrap();
    let message = writer.write_f32(&[3.0, 4.0]).unwrap_err().to_string();
    assert_eq!(message, "a float32 array of shape [3] takes 12 bytes, but 16 were given");
    assert!(writer.finish().unwrap_err().to_string().contains("but 8 were given"));
}

#[test]
fn files_are_read_by_content_not_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in one_of_each() {
        let path = folder.path().join(format!("{name}.txt"));
        #[expect(clippy::disallowed_methods, reason = "a test's own folder")]
        std::fs::write(&path, bytes).unwrap();
        let document = read(&path).unwrap();
        let expected = match name {
            "a.safetensors" => Format::Safetensors,
            "a.npy" => Format::Npy,
            "a.npz" => Format::Npz,
            "a-ubyte" | "a-ubyte.gz" => Format::Idx,
            "script.pt" => Format::TorchScript,
            "legacy.pt" => Format::TorchLegacy,
            _ => Format::TorchZip,
        };
        assert_eq!((document.format, document.path), (expected, path), "{name}");
    }
}

/// A file whose long runs of zeros take no memory.
#[derive(Default)]
struct Sparse {
    pieces: BTreeMap<u64, Vec<u8>>,
    position: u64,
    length: u64,
}

/// Pieces of this length are zeros in the test below.
const ZEROS: usize = 1 << 24;

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() < ZEROS {
            for (at, byte) in (self.position..).zip(bytes) {
                self.pieces.insert(at, vec![*byte]);
            }
        }
        self.position += bytes.len() as u64;
        self.length = self.length.max(self.position);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(by) => self.length.saturating_add_signed(by),
            SeekFrom::Current(by) => self.position.saturating_add_signed(by),
        };
        Ok(self.position)
    }
}

impl Read for Sparse {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = out.len().min((self.length.saturating_sub(self.position)) as usize);
        let end = self.position + count as u64;
        out[..count].fill(0);
        for (at, piece) in self.pieces.range(self.position..end) {
            out[(at - self.position) as usize] = piece[0];
        }
        self.position = end;
        Ok(count)
    }
}

#[test]
fn more_than_four_gigabytes() {
    let pieces = 257;
    let zeros = vec![0; ZEROS];
    let mut writer = pt::ArrayWriter::new(Sparse::default(), DType::U8, &[pieces, ZEROS]).unwrap();
    for _ in 0..pieces {
        writer.write(&zeros).unwrap();
    }
    let mut zip = zip::ZipArchive::new(writer.finish().unwrap()).unwrap();
    zip.validate_header_consistency().unwrap();
    let mut storage = zip.by_name("archive/data/0").unwrap();
    assert_eq!((storage.size(), storage.data_start().unwrap() % 64), ((pieces * ZEROS) as u64, 0));
    // The reader compares the CRC at the end.
    assert_eq!(io::copy(&mut storage, &mut io::sink()).unwrap(), (pieces * ZEROS) as u64);
    drop(storage);
    let mut version = String::new();
    zip.by_name("archive/version").unwrap().read_to_string(&mut version).unwrap();
    assert_eq!(version, "3\n");
}

/// Four elements at the end of a storage of more than 4 GiB, described by a pickle that lies behind
/// it.
#[test]
fn a_view_beyond_four_gigabytes() {
    let pieces = 257_usize;
    let length = pieces * ZEROS + 16;
    let int = |value: usize| [b"\x8a\x08", &(value as u64).to_le_bytes()[..]].concat();
    let one = tensor(&int(length / 4), &int(length / 4 - 4), b"K\x04\x85", b"K\x01\x85");
    let mut zip = zip::ZipWriter::new(Sparse::default());
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("x/data/0", stored.large_file(true)).unwrap();
    let zeros = vec![0; ZEROS];
    for _ in 0..pieces {
        zip.write_all(&zeros).unwrap();
    }
    zip.write_all(&[1.0_f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat()).unwrap();
    zip.start_file("x/data.pkl", stored).unwrap();
    zip.write_all(&[b"\x80\x02", one.as_slice(), b"."].concat()).unwrap();
    let mut file = zip.finish().unwrap();
    let array = read_from(Path::new("large"), &mut file).unwrap().into_array().unwrap();
    assert_eq!(array.to_f32(), [1.0, 2.0, 3.0, 4.0]);
    // The CRC is that of the whole storage.
    let (&at, _) = file.pieces.iter().find(|(_, piece)| piece.as_slice() == [0x80]).unwrap();
    file.pieces.insert(at - 1, vec![1]);
    let message = read_from(Path::new("large"), &mut file).unwrap_err().to_string();
    assert!(message.contains("does not have the CRC"), "{message}");
}

#[test]
fn more_than_65535_entries() {
    let count = 66_000;
    let names: Vec<String> = (0..count).map(|index| index.to_string()).collect();
    let view = View::u8(&[0], &[]).unwrap();
    let entries: Vec<(&str, View<'_>)> = names.iter().map(|name| (name.as_str(), view)).collect();
    let mut file = Vec::new();
    npz::write(&mut file, &entries).unwrap();
    let read = pairs(read_memory(&file).unwrap().root);
    assert!(read.iter().map(|(name, _)| name).eq(&names));
}
