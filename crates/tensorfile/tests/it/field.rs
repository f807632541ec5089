//! Files as people really have them. "Field cases" are the rows of the list that they come from.

use std::path::Path;

use tensorfile::{Array, Document, Error, Format, Value, View, npz, pt};
use zip::CompressionMethod::{Deflated, Stored};

use crate::support::{archive, read, refusal, tensor, zipped};

/// An archive as PyTorch's own writer lays it out: sizes behind the content, padding in the extra
/// field, and always the records of zip64 between the directory and its end.
fn as_pytorch(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let at = file.len() as u32;
        let crc = crc32fast::hash(content).to_le_bytes();
        let (size, length) = ((content.len() as u32).to_le_bytes(), (name.len() as u16).to_le_bytes());
        file.extend_from_slice(b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        file.extend_from_slice(&length);
        let padding =
            (file.len() + 2 + name.len() + 4).next_multiple_of(64) - (file.len() + 2 + name.len() + 4);
        file.extend_from_slice(&(padding as u16 + 4).to_le_bytes());
        file.extend_from_slice(name.as_bytes());
        file.extend_from_slice(b"FB");
        file.extend_from_slice(&(padding as u16).to_le_bytes());
        file.extend(std::iter::repeat_n(b'Z', padding));
        file.extend_from_slice(content);
        file.extend_from_slice(&[&b"PK\x07\x08"[..], &crc, &size, &size].concat());
        directory.extend_from_slice(b"PK\x01\x02\0\0\0\0\x08\x08\0\0\0\0\0\0");
        directory.extend_from_slice(&[&crc[..], &size, &size, &length, &[0; 12], &at.to_le_bytes()].concat());
        directory.extend_from_slice(name.as_bytes());
    }
    let (n, size, at) = (entries.len() as u64, directory.len() as u64, file.len() as u64);
    file.extend(directory);
    let end = file.len() as u64;
    file.extend_from_slice(b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x1e\x03\x2d\0\0\0\0\0\0\0\0\0");
    file.extend([n, n, size, at].iter().flat_map(|number| number.to_le_bytes()));
    file.extend_from_slice(
        &[&b"PK\x06\x07\0\0\0\0"[..], &end.to_le_bytes(), b"\x01\0\0\0PK\x05\x06\0\0\0\0"].concat(),
    );
    file.extend([n as u16; 2].iter().flat_map(|number| number.to_le_bytes()));
    file.extend([size as u32, at as u32].iter().flat_map(|number| number.to_le_bytes()));
    file.extend_from_slice(&[0, 0]);
    file
}

/// Field cases, row 2.
#[test]
fn archives_open_whatever_the_length_of_the_first_name() {
    let pickle =
        [b"\x80\x02", tensor(b"K\x02", b"K\0", b"K\x02\x85", b"K\x01\x85").as_slice(), b"."].concat();
    let storage = [1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat();
    for length in 1..=80 {
        // A folder needs ten bytes; before that, something else comes first.
        let first = "n".repeat(length);
        let folder = if length < 10 { "f".to_owned() } else { "f".repeat(length - "/data.pkl".len()) };
        let (data, zero) = (format!("{folder}/data.pkl"), format!("{folder}/data/0"));
        let mut entries: Vec<(&str, &[u8])> = vec![(&data, &pickle), (&zero, &storage)];
        if length < 10 {
            entries.insert(0, (&first, b""));
        }
        assert_eq!(entries[0].0.len(), length);
        for file in [as_pytorch(&entries), zipped(Stored, &entries), zipped(Deflated, &entries)] {
            let array = read(&file).unwrap_or_else(|error| panic!("{length}: {error}")).into_array().unwrap();
            assert_eq!(array.to_f32(), [1.5, -2.0], "{length}");
        }
        let values = View::i64(&[2], &[3, 4]).unwrap();
        let (mut named, mut dict) = (Vec::new(), Vec::new());
        npz::write(&mut named, &[(&first, values)]).unwrap();
        pt::write_dict(&mut dict, &[(&first, values)]).unwrap();
        let npy = {
            let mut npy = Vec::new();
            npz::write_npy(&mut npy, values).unwrap();
            npy
        };
        let by_hand = as_pytorch(&[(&format!("{first}.npy"), npy.as_slice())]);
        for file in [named, dict, by_hand] {
            let tensors = read(&file).unwrap().into_tensors().unwrap();
            assert_eq!((tensors[0].0.as_str(), tensors[0].1.to_i64().unwrap()), (first.as_str(), vec![3, 4]));
        }
    }
}

/// Field cases, row 2: files that `torch.save` and `torch.jit.save` wrote.
#[test]
fn archives_of_pytorch_with_a_first_name_of_30_bytes() {
    let candidates = fixture("candidates_teacher_00.pt");
    assert_eq!(candidates.into_array().unwrap().to_f32(), [0.0, 1.0, 2.0, 3.0]);
    let script = fixture("scripted_teacher_seed9.pt");
    assert!(script.code);
    let tensors = script.into_tensors().unwrap();
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["fc2.weight", "fc2.bias"]);
}

/// An archive that does not start where the file does is refused, as before: nothing of these steps
/// writes one.
#[test]
fn archives_behind_other_bytes_are_refused() {
    let mut file = Vec::new();
    pt::write_array(&mut file, View::u8(&[2], &[1, 2]).unwrap()).unwrap();
    for prefix in [&b"#!/bin/sh\n"[..], b"PK", b"PK\x03\x04", b"\0"] {
        let moved = [prefix, &file].concat();
        let error = read(&moved).unwrap_err();
        assert!(matches!(error, Error::Unrecognised { .. } | Error::BrokenZip { .. }), "{error}");
        refusal(&moved);
    }
}

fn fixture(name: &str) -> Document {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/field");
    tensorfile::read(&folder.join(name)).unwrap()
}

/// What stands beside the weights under a key of `beside`: in words where it is not read.
fn beside(document: &Document) -> Vec<(&str, &Value)> {
    let Value::Dict(pairs) = &document.root else { panic!("a checkpoint is a dict") };
    let Some((_, Value::Dict(beside))) = pairs.iter().find(|(key, _)| key == "beside") else {
        panic!("it has no `beside`")
    };
    beside.iter().map(|(key, value)| (key.as_str(), value)).collect()
}

fn assert_weights(document: Document, name: &str) {
    for tensors in [document.clone().into_tensors(), document.into_state_dict(&["fc.weight", "fc.bias"])] {
        let tensors = tensors.unwrap();
        let [(weight, first), (bias, second)] = tensors.as_slice() else { panic!("{name}: {tensors:?}") };
        assert_eq!((weight.as_str(), bias.as_str()), ("fc.weight", "fc.bias"), "{name}");
        assert_eq!(first.shape(), [2, 3], "{name}");
        assert_eq!(first.to_f32(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "{name}");
        assert_eq!(second.to_f32(), [1.0, 2.0], "{name}");
    }
}

/// Field cases, row 7: all that PyTorch's own `weights_only=True` reads beside the weights.
#[test]
fn what_stands_beside_the_weights_decides_nothing() {
    let arrays = [
        ("complex_tensor", "a tensor of complex64"),
        ("sparse", "a sparse tensor"),
        ("csr", "a sparse tensor"),
        ("quantised", "a quantised tensor"),
        ("by_channel", "a quantised tensor"),
        ("meta", "a tensor without values (meta)"),
        ("negated", "a tensor whose values are still to be negated or conjugated"),
        ("storage", "a bare storage"),
        ("fp8", "a tensor of float8_e4m3fn"),
        ("uint16", "a tensor of uint16"),
        ("uint64", "a tensor of uint64"),
        ("nested", "a nested tensor"),
    ];
    let plain = [
        ("set", "a set"),
        ("bytes", "bytes"),
        ("bytearray", "bytes"),
        ("complex", "a complex number"),
        ("alike", "a dict two of whose keys read `1`"),
        ("wide", "an integer of more than 128 bits"),
        ("surrogate", "a text that is no UTF-8"),
        ("class", "a class or function"),
    ];
    let texts = [
        ("dtype", "torch.float8_e4m3fn"),
        ("layout", "torch.strided"),
        ("scheme", "torch.per_tensor_affine"),
        ("device", "cuda:1"),
    ];
    for (name, expected) in [("beside.pt", 27), ("beside_legacy.pt", 23)] {
        let document = fixture(name);
        let beside = beside(&document);
        assert_eq!(beside.len(), expected, "{name}");
        for (key, value) in beside {
            let other = |what: &&str, array| Value::Other { what: (*what).to_owned(), array };
            let find =
                |table: &[(&str, &'static str)]| table.iter().find(|(name, _)| *name == key).map(|x| x.1);
            if let Some(what) = find(&arrays) {
                assert_eq!(value, &other(&what, true), "{name} {key}");
            } else if let Some(what) = find(&plain) {
                assert_eq!(value, &other(&what, false), "{name} {key}");
            } else if let Some(text) = find(&texts) {
                assert_eq!(value, &Value::Text(text.into()), "{name} {key}");
            } else {
                let int = |key: &str, value| (key.to_owned(), Value::Int(value));
                let keys = ["('a', 1)", "1.5", "None", "True", "<bytes>", "(1, (2, 'x'))"];
                let expected = match key {
                    "counter" => Value::Dict(vec![int("10", 1), int("20", 2)]),
                    "size" => Value::List(vec![Value::Int(1), Value::Int(2)]),
                    "keys" => Value::Dict(
                        keys.into_iter().zip([2, 3, 1, 2, 4, 5]).map(|(key, n)| int(key, n)).collect(),
                    ),
                    key => panic!("{key} {value:?}"),
                };
                assert_eq!(value, &expected, "{name} {key}");
            }
        }
        assert_weights(document, name);
    }
}

/// Field cases, row 7: what `weights_only=True` refuses, though nothing of it has to be made.
#[test]
fn harmless_classes_beside_the_weights_decide_nothing_either() {
    let expected = [
        ("frozenset", "a set", false),
        ("no_bytes", "bytes", false),
        ("scalar", "a NumPy scalar", false),
        ("array", "a NumPy array", true),
        ("time", "a date or time", false),
        ("path", "a path", false),
        ("namespace", "an argparse.Namespace", false),
        ("set", "a set", false),
        ("bytes", "bytes", false),
        ("bytearray", "bytes", false),
        ("complex", "a complex number", false),
        ("wide", "an integer of more than 128 bits", false),
        ("long", "bytes", false),
    ];
    for (name, n) in [("besides.pt", 8), ("beside_protocol5.pt", 14)] {
        let document = fixture(name);
        assert_eq!(beside(&document).len(), n, "{name}");
        for (key, value) in beside(&document) {
            let list = Value::Dict(vec![("a".into(), Value::List(vec![Value::Int(1)]))]);
            let wanted =
                expected.iter().find(|(name, ..)| *name == key).map(|&(_, what, array)| (what, array));
            let wanted = wanted.map_or(list, |(what, array)| Value::Other { what: what.into(), array });
            assert_eq!(value, &wanted, "{name} {key}");
        }
        assert_weights(document, name);
    }
}

/// An unknown class stays a refusal, wherever it stands: only its own code says what it does. The
/// error says where.
#[test]
fn unknown_classes_beside_the_weights_are_named_with_their_key() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/field");
    let error = tensorfile::read(&folder.join("class_beside.pt")).unwrap_err();
    assert!(
        error.to_string().contains("asks for `__main__.Net` under the key `args.hook`, which"),
        "{error}"
    );
    // os.system as the value of a key, and before all.
    let call = b"cposix\nsystem\nX\x02\0\0\0ls\x85R";
    let text = refusal(&archive(&[b"}X\x01\0\0\0a".as_slice(), call, b"s"].concat(), b""));
    assert!(text.contains("asks for `posix.system` under the key `a`, which"), "{text}");
    let text = refusal(&archive(call, b""));
    assert!(text.contains("asks for `posix.system`, which"), "{text}");
}

/// Field cases, row 7: what is not read is an error where it is asked for, and it is never passed
/// over for another array.
#[test]
fn what_is_not_read_is_named_where_it_is_wanted() {
    let other = |what: &str| Value::Other { what: what.into(), array: true };
    let of = |pairs: Vec<(&str, Value)>| {
        let pairs = pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Document {
            path: "some/file.pt".into(),
            format: Format::TorchZip,
            root: Value::Dict(pairs),
            code: false,
            metadata: Vec::new(),
        }
    };
    let array = || Value::Array(Array::from_i64(vec![2], vec![3, 4]).unwrap());
    let one = of(vec![("x", other("a sparse tensor"))]);
    for error in [
        one.clone().into_array().unwrap_err(),
        one.clone().into_tensors().unwrap_err(),
        one.clone().into_state_dict(&["x"]).unwrap_err(),
        one.into_images_and_labels().unwrap_err(),
        of(vec![("x", other("a sparse tensor")), ("y", array())]).into_images_and_labels().unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(
            text.contains("PyTorch file with a sparse tensor (`x`), which is not read here; convert it"),
            "{text}"
        );
    }
    let two = of(vec![("uint16", other("a tensor of uint16")), ("mask", array())]);
    assert_eq!(
        two.describe(),
        "1 array (mask int64 [2]) and what is not read here (uint16 is a tensor of uint16)"
    );
    assert!(matches!(two.into_array(), Err(Error::NotOneArray { .. })));
    let labels = of(vec![("images", array()), ("labels", other("a tensor of uint16"))]);
    assert!(matches!(labels.into_images_and_labels(), Err(Error::Unsupported { .. })));
    let pair = of(vec![("a", array()), ("b", other("a tensor of uint16"))]);
    assert!(matches!(pair.into_images_and_labels(), Err(Error::NotLabelled { .. })));
}

/// Field cases, row 7, in the other containers: texts and objects beside arrays.
#[test]
fn arrays_of_other_types_beside_the_wanted_ones() {
    let npy = |descr: &str, shape: &str, bytes: &[u8]| {
        let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), bytes].concat()
    };
    let files = [
        ("y.npy", npy("<i8", "(1,)", &7_i64.to_le_bytes())),
        ("names.npy", npy("<U3", "(1,)", &[0; 12])),
        ("objects.npy", npy("|O", "(1,)", b"\x80\x04.")),
        ("complex.npy", npy("<c8", "(1,)", &[0; 8])),
    ];
    let entries: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    for file in [zipped(Stored, &entries), zipped(Deflated, &entries)] {
        let document = read(&file).unwrap();
        assert_eq!(document.unread().len(), 3);
        let entries = document.entries();
        assert_eq!((entries[0].0.as_str(), entries[0].1.to_i64().unwrap()), ("y", vec![7]));
        assert!(document.into_tensors().unwrap_err().to_string().contains("of NumPy type '<U3' (`names`)"));
    }
    let header = br#"{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header, &[1, 2, 3, 4]].concat();
    let document = read(&file).unwrap();
    assert_eq!(document.unread(), [("a".to_owned(), "a tensor of F8_E4M3")]);
    assert_eq!(document.entries()[0].1.bytes(), [3, 4]);
}
