//! Files made by hand.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use tensorfile::{Document, Error, View, idx, npz, pt, read_bytes, safetensors};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Reads bytes under a name.
pub(crate) fn read(bytes: &[u8]) -> Result<Document, Error> {
    read_bytes(Path::new("some/file.pt"), bytes)
}

/// The one-line message of what must be refused.
pub(crate) fn refusal(bytes: &[u8]) -> String {
    let message = read(bytes).expect_err("must be refused").to_string();
    assert!(message.starts_with("some/file.pt: ") && !message.contains('\n'), "{message}");
    message
}

/// A zip of the given entries, made by the `zip` crate rather than by our own writer.
pub(crate) fn zipped(method: CompressionMethod, entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A `.pt` archive with this pickle (`PROTO` and `STOP` are added) and one storage, `0`.
pub(crate) fn archive(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    let pickle = [b"\x80\x02", pickle, b"."].concat();
    zipped(CompressionMethod::Stored, &[("x/data.pkl", &pickle), ("x/data/0", storage)])
}

/// The instructions for `_rebuild_tensor_v2` of single precision; the arguments are pickled
/// already.
pub(crate) fn tensor(elements: &[u8], offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu",
        elements,
        b"tQ",
        offset,
        shape,
        strides,
        b"\x89ccollections\nOrderedDict\n)RtR",
    ]
    .concat()
}

/// A TorchScript archive: a module with a weight and a submodule with a bias, and code beside it.
pub(crate) fn script() -> Vec<u8> {
    let weight = tensor(b"K\x06", b"K\0", b"K\x02K\x02\x86", b"K\x02K\x01\x86");
    let bias = tensor(b"K\x06", b"K\x04", b"K\x02\x85", b"K\x01\x85");
    let pickle = [
        b"\x80\x02c__torch__.net\nNet\n)\x81}(X\x08\0\0\0training\x89X\x06\0\0\0weight",
        weight.as_slice(),
        b"X\x03\0\0\0padctorch.jit._pickle\nbuild_intlist\n](K\0K\0e\x85R",
        b"X\x02\0\0\0fcc__torch__.net\nLinear\n)\x81}X\x04\0\0\0bias",
        bias.as_slice(),
        b"sbub.",
    ]
    .concat();
    let storage: Vec<u8> = (0..6_u8).flat_map(|value| f32::from(value).to_le_bytes()).collect();
    zipped(
        CompressionMethod::Stored,
        &[
            ("net/data.pkl", &pickle),
            ("net/data/0", &storage),
            ("net/code/__torch__/net.py", b"class Net(Module): ..."),
            ("net/constants.pkl", b"\x80\x02)."),
        ],
    )
}

/// A small file of every format, made by our writers or by hand.
pub(crate) fn one_of_each() -> Vec<(&'static str, Vec<u8>)> {
    let values = [0.5_f32, -1.0, 2.0, f32::NAN, 0.0, 7.25];
    let view = View::f32(&[2, 3], &values).unwrap();
    let labels = View::i64(&[2], &[3, -9]).unwrap();
    let bytes = View::u8(&[2, 2], &[1, 2, 3, 4]).unwrap();
    let entries = [("x", view), ("y", labels)];
    let mut files: Vec<(&str, Vec<u8>)> =
        ["tensor.pt", "dict.pt", "a.safetensors", "a.npy", "a.npz", "a-ubyte", "a-ubyte.gz"]
            .map(|name| (name, Vec::new()))
            .into();
    for (name, out) in &mut files {
        match *name {
            "tensor.pt" => pt::write_array(out, view),
            "dict.pt" => pt::write_dict(out, &entries),
            "a.safetensors" => safetensors::write(out, &entries, &[("made".into(), "here".into())]),
            "a.npy" => npz::write_npy(out, view),
            "a.npz" => npz::write(out, &entries),
            "a-ubyte" => idx::write(out, bytes),
            _ => idx::write_gz(out, bytes),
        }
        .unwrap();
    }
    let storage: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let pickle =
        [b"\x80\x02".to_vec(), tensor(b"K\x06", b"K\0", b"K\x02K\x03\x86", b"K\x03K\x01\x86"), b".".to_vec()]
            .concat();
    files.push((
        "deflated.pt",
        zipped(CompressionMethod::Deflated, &[("x/data.pkl", &pickle), ("x/data/0", &storage)]),
    ));
    files.push(("script.pt", script()));
    let header: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    let keys: &[u8] = b"\x80\x02]X\x01\0\0\x000a.\x06\0\0\0\0\0\0\0";
    files.push(("legacy.pt", [header, &pickle, keys, &storage].concat()));
    files
}

/// The conformance folder beside the checkout, if it is there.
pub(crate) fn conformance_folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/pt");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no ../shared/conformance beside the workspace");
    None
}
