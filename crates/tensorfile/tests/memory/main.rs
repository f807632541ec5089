//! What reading really allocates: never more than the stated limit, whatever the file says.
//!
//! A binary and a single test of its own, because the peak is that of the whole process.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "as in the other test binary")]

#[path = "../it/support.rs"]
#[expect(dead_code, reason = "the other test binary uses the rest")]
mod support;

use std::path::Path;

use peak_alloc::PeakAlloc;
use support::{archive, one_of_each, tensor, zipped};
use tensorfile::{DType, View, idx, limits, npz, pt, read, read_bytes, safetensors};
use zip::CompressionMethod::{Deflated, Stored};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Buffers of fixed size (a file's, the inflater's, the checksum's), which no file can make larger.
const BUFFERS: usize = 512 << 10;

/// What `work` allocates at most beyond what was there before.
fn peak_of<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let made = work();
    (MEMORY.peak_usage().saturating_sub(before), made)
}

fn assert_within(name: &str, bytes: &[u8]) {
    let limit = limits::EXPANSION as usize * bytes.len() + limits::FREE_BYTES as usize + BUFFERS;
    let (peak, read) = peak_of(|| read_bytes(Path::new("some/file.pt"), bytes).is_ok());
    assert!(
        peak <= limit,
        "{name}: {peak} bytes for a file of {}, {limit} are allowed (read: {read})",
        bytes.len()
    );
}

/// Files of about `size` bytes that spend memory on other things than elements, as much as each of
/// their bytes can.
fn spenders(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let pickle = |start: &[u8], repeated: &[u8], end: &[u8]| {
        archive(&[start, &repeated.repeat(size / repeated.len()), end].concat(), &[0; 4])
    };
    let json = |text: String| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let numbered = |from: &str, to: &str| -> String {
        (0..size / (from.len() + to.len() + 5))
            .flat_map(|index| [from.to_owned(), format!("{index:05x}"), to.to_owned()])
            .collect()
    };
    let many = |content: &[u8], count: usize| {
        let names: Vec<String> = (0..count).map(|index| format!("{index:x}.npy")).collect();
        let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), content)).collect();
        zipped(Stored, &entries)
    };
    let memoised: Vec<u8> =
        (0..size as u32 / 5).flat_map(|index| [b"r", &index.to_le_bytes()[..]].concat()).collect();
    let keys: Vec<u8> =
        (0..size as u32 / 6).flat_map(|index| [b"J", &index.to_le_bytes()[..], b"N"].concat()).collect();
    let one = tensor(b"K\x01", b"K\0", b")", b")");
    vec![
        ("nothings", pickle(b"", b"N", b"")),
        ("a list of nothings", pickle(b"](", b"N", b"e")),
        ("a tuple of nothings", pickle(b"(", b"N", b"t")),
        ("marks", pickle(b"", b"(", b"")),
        ("empty lists", pickle(b"](", b"]", b"e")),
        ("empty tuples", pickle(b"](", b")", b"e")),
        ("lists of one", pickle(b"](", b"]Na", b"e")),
        ("appended one by one", pickle(b"]", b"Na", b"")),
        ("set one by one", pickle(b"}", b"NNs", b"")),
        ("memoised", archive(&[b"N", memoised.as_slice()].concat(), &[])),
        ("memoised in order", pickle(b"N", b"\x94", b"")),
        ("recalled", pickle(b"](Nq\0", b"h\0", b"e")),
        ("a dict of integers", archive(&[b"}(", keys.as_slice(), b"u"].concat(), &[])),
        ("texts of one letter", pickle(b"](", b"\x8c\x01a", b"e")),
        ("wide integers", pickle(b"](", b"\x8a\x09aaaaaaaaa", b"e")),
        ("devices", pickle(b"](ctorch\ndevice\nq\0", b"h\0X\0\0\0\0K\x01\x86R", b"e")),
        ("tensors of one element", pickle(b"](", &one, b"e")),
        ("tensors of no element", pickle(b"](", &tensor(b"K\x01", b"K\0", b"K\0\x85", b"K\0\x85"), b"e")),
        ("header: numbers", json(format!("{{\"a\":[{}0]}}", "0,".repeat(size / 2)))),
        ("header: lists", json(format!("{{\"a\":[{}0]}}", "[],".repeat(size / 3)))),
        ("header: objects", json(format!("{{\"a\":{{{}\"\":0}}}}", "\"\":0,".repeat(size / 5)))),
        (
            "header: a long shape",
            json(format!(
                "{{\"a\":{{\"dtype\":\"U8\",\"data_offsets\":[0,0],\"shape\":[{}0]}}}}",
                "0,".repeat(size / 2)
            )),
        ),
        (
            "header: tensors",
            json(format!(
                "{{{}\"b\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}}}",
                numbered("\"", "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},")
            )),
        ),
        ("header: texts", json(format!("{{\"__metadata__\":{{{}\"b\":\"\"}}}}", numbered("\"", "\":\"\",")))),
        ("directory", many(b"", size / 150)),
        ("directory of arrays", {
            let mut npy = Vec::new();
            npz::write_npy(&mut npy, View::u8(&[0], &[]).unwrap()).unwrap();
            many(&npy, size / 250)
        }),
    ]
}

/// Every fixture of the other test binary.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let listed = ["torch", "numpy"].map(|folder| std::fs::read_dir(root.join(folder)).unwrap());
    let paths = listed.into_iter().flatten().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

fn no_bytes_take_more_than_their_limit() {
    for (name, bytes) in one_of_each() {
        assert_within(name, &bytes);
        for length in 0..bytes.len() {
            assert_within(name, &bytes[..length]);
        }
        let mut changed = bytes.clone();
        for at in 0..bytes.len() {
            for byte in [bytes[at] ^ 1, bytes[at] ^ 0x80, 0, 0xff] {
                changed[at] = byte;
                assert_within(name, &changed);
            }
            changed[at] = bytes[at];
        }
    }
    let fixtures = fixtures();
    assert!(fixtures.len() > 25, "{}", fixtures.len());
    for (name, mut bytes) in fixtures {
        assert_within(&name, &bytes);
        for at in (0..bytes.len()).step_by(11) {
            assert_within(&name, &bytes[..at]);
            bytes[at] ^= 0xff;
            assert_within(&name, &bytes);
            bytes[at] ^= 0xff;
        }
    }
    // The smaller size is where most are still read, the larger where the free allowance counts for
    // little.
    for size in [400 << 10, 6 << 20] {
        for (name, bytes) in spenders(size) {
            assert_within(name, &bytes);
        }
    }
}

/// Elements are read from the file to where they stay: nothing else of their size is ever in
/// memory.
fn an_array_takes_its_own_size() {
    let values: Vec<f32> = (0..1_000_000).map(|value| value as f32).collect();
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|value| value as u8).collect();
    let (floats, elements) =
        (View::f32(&[1000, 1000], &values).unwrap(), View::u8(&[4_000_000], &bytes).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut npy = Vec::new();
    npz::write_npy(&mut npy, floats).unwrap();
    let mut files: Vec<(&str, Vec<u8>)> =
        vec![("a.npy", npy.clone()), ("deflated.npz", zipped(Deflated, &[("a.npy", &npy)]))];
    for name in ["a.pt", "a.safetensors", "a.npz", "a-ubyte", "a-ubyte.gz"] {
        let mut file = Vec::new();
        match name {
            "a.pt" => pt::write_dict(&mut file, &[("a", floats)]),
            "a.safetensors" => safetensors::write(&mut file, &[("a", floats)], &[]),
            "a.npz" => npz::write(&mut file, &[("a", floats)]),
            "a-ubyte" => idx::write(&mut file, elements),
            _ => idx::write_gz(&mut file, elements),
        }
        .unwrap();
        files.push((name, file));
    }
    for (name, file) in files {
        let path = folder.path().join(name);
        #[expect(clippy::disallowed_methods, reason = "a test's own folder")]
        std::fs::write(&path, file).unwrap();
        let (peak, array) = peak_of(|| read(&path).unwrap().into_array().unwrap());
        let expected = if array.dtype() == DType::F32 { floats } else { elements };
        assert_eq!((array.shape(), array.bytes()), (expected.shape, expected.bytes), "{name}");
        assert!(
            peak < array.bytes().len() + BUFFERS,
            "{name}: {peak} bytes for an array of {}",
            array.bytes().len()
        );
    }
}

#[test]
fn memory() {
    no_bytes_take_more_than_their_limit();
    an_array_takes_its_own_size();
}
