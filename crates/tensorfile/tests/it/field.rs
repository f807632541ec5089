//! Files as people really have them. "Field cases" are the rows of the list that they come from.

use std::path::Path;

use tensorfile::{Error, View, npz, pt};
use zip::CompressionMethod::{Deflated, Stored};

use crate::support::{read, refusal, tensor, zipped};

/// An archive as PyTorch's own writer lays it out: sizes behind the content, padding in the extra field, and always the records of
/// zip64 between the directory and its end.
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/field");
    let candidates = tensorfile::read(&folder.join("candidates_teacher_00.pt")).unwrap();
    assert_eq!(candidates.into_array().unwrap().to_f32(), [0.0, 1.0, 2.0, 3.0]);
    let script = tensorfile::read(&folder.join("scripted_teacher_seed9.pt")).unwrap();
    assert!(script.code);
    let tensors = script.into_tensors().unwrap();
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["fc2.weight", "fc2.bias"]);
}

/// An archive that does not start where the file does is refused, as before: nothing of these steps writes one.
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
