//! Files that PyTorch, `NumPy` and safetensors for Python wrote, and what their makers say is in
//! them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use tensorfile::{Array, DType, Document, Error, Format, Value, read};

use crate::support::conformance_folder;

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder)
}

fn json(path: &Path) -> Json {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Checks shape, type, sum and first and last elements against an entry of `expected.json`.
fn assert_as_expected(name: &str, array: &Array, expected: &Json) {
    let shape: Vec<usize> = serde_json::from_value(expected["shape"].clone()).unwrap();
    assert_eq!(array.shape(), shape, "{name}");
    assert_eq!(format!("torch.{}", array.dtype()), expected["dtype"].as_str().unwrap(), "{name}");
    let values = array.to_f64();
    assert_eq!(values.len(), array.len(), "{name}");
    let (sum, expected_sum) = (values.iter().sum::<f64>(), expected["sum"].as_f64().unwrap());
    // The maker summed double precision copies, in another order.
    assert!((sum - expected_sum).abs() <= 1e-9 * expected_sum.abs(), "{name}: {sum} for {expected_sum}");
    let first: Vec<f64> = serde_json::from_value(expected["first"].clone()).unwrap();
    // serde_json reads decimal text to within the last bit.
    let same = |one: f64, two: f64| (one - two).abs() <= f64::EPSILON * one.abs();
    assert!(values.iter().zip(&first).all(|(value, first)| same(*value, *first)), "{name}: {first:?}");
    match (values.last(), expected["last"].as_f64()) {
        (Some(last), Some(expected)) => assert!(same(*last, expected), "{name}: {last}"),
        (last, expected) => assert!(last.is_none() && expected.is_none(), "{name}"),
    }
    let singles = array.clone().into_f32();
    assert!(
        singles.iter().zip(&values).all(|(single, value)| single.to_bits() == (*value as f32).to_bits()),
        "{name}"
    );
}

/// Goes through a folder with an `expected.json`; returns how many files were compared and how many
/// refused.
fn check_folder(folder: &Path) -> (usize, usize) {
    let expected = json(&folder.join("expected.json"));
    let (mut compared, mut refused) = (0, 0);
    for (name, expected) in expected.as_object().unwrap() {
        let document = read(&folder.join(name));
        if expected["kind"] == "tensor" {
            assert_as_expected(name, &document.unwrap().into_array().unwrap(), expected);
            compared += 1;
            continue;
        }
        let refusal = |parts: &[&str]| {
            let message = document.as_ref().expect_err(name).to_string();
            assert!(message.contains(name.as_str()) && !message.contains('\n'), "{message}");
            for part in parts {
                assert!(message.contains(part), "`{part}` is not in: {message}");
            }
        };
        refused += 1;
        match name.as_str() {
            "ucstub_whole_module.pth" => {
                refusal(&["nothing was run", "`common.UC`", "torch.save(model.state_dict()"]);
            }
            "hostile_os_system.pt" => refusal(&["nothing was run", "`posix.system`"]),
            "truncated.pt" => refusal(&["broken zip archive", "cut short"]),
            "empty_file.pt" => refusal(&["the file is empty"]),
            "text.pt" => refusal(&["it starts with \"not a tensor", "torch.save(tensor, path)"]),
            "short_storage.pt" => refusal(&["storage `0` holds 100 bytes, but 18816 are claimed"]),
            "hostile_torchscript_writes.pt" => {
                let document = document.unwrap();
                assert!(document.code && document.format == Format::TorchScript);
                let message = document.into_tensors().unwrap_err().to_string();
                assert!(message.contains("no array beside a TorchScript program"), "{message}");
            }
            "ucstub_cuda_tags.pth" => {
                assert_eq!(document.unwrap().into_tensors().unwrap().len(), 8);
                refused -= 1;
            }
            "tuple_images_labels.pt"
            | "dict_images_labels.pt"
            | "legacy_nonzip.pt"
            | "deflated_storage.pt" => {
                check_container(
                    name,
                    document.unwrap(),
                    &read(&folder.join("f32.pt")).unwrap().into_array().unwrap(),
                );
                refused -= 1;
                compared += 1;
            }
            other => panic!("expected.json has a file that this test does not know: {other}"),
        }
    }
    (compared, refused)
}

/// The four files that hold the images of `f32.pt`, or the first of them, in other containers.
fn check_container(name: &str, document: Document, images: &Array) {
    match (name, &document.root) {
        ("legacy_nonzip.pt", _) => {
            assert_eq!(document.format, Format::TorchLegacy);
            assert_eq!(document.into_array().unwrap(), *images);
        }
        ("deflated_storage.pt", _) => assert_eq!(document.into_array().unwrap(), *images),
        ("tuple_images_labels.pt", Value::List(items)) => {
            let [Value::Array(first), Value::Array(labels)] = items.as_slice() else { panic!("{items:?}") };
            assert_eq!(first.shape(), [4, 1, 28, 28]);
            assert_eq!(first.bytes(), &images.bytes()[..first.bytes().len()]);
            assert_eq!((labels.dtype(), labels.shape()), (DType::I64, &[4][..]));
            let message = document.clone().into_array().unwrap_err().to_string();
            assert!(message.contains("2 arrays (0 float32 [4, 1, 28, 28], 1 int64 [4])"), "{message}");
            assert!(matches!(document.into_tensors(), Err(Error::NoTensors { .. })));
        }
        ("dict_images_labels.pt", Value::Dict(pairs)) => {
            let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
            assert_eq!(keys[..2], ["images", "labels"]);
            assert!(pairs[2..].iter().all(|(_, value)| !matches!(value, Value::Array(_))), "{pairs:?}");
            let tensors = document.into_tensors().unwrap();
            assert_eq!(
                tensors.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
                ["images", "labels"]
            );
            assert_eq!(tensors[0].1.bytes(), &images.bytes()[..tensors[0].1.bytes().len()]);
        }
        (name, root) => panic!("{name} holds {root:?}"),
    }
}

#[test]
fn fixtures_of_pytorch() {
    assert_eq!(check_folder(&fixtures("torch")), (14, 3));
}

#[test]
fn fixtures_of_numpy_and_safetensors() {
    let folder = fixtures("numpy");
    let expected = json(&folder.join("expected.json"));
    for (name, expected) in expected.as_object().unwrap() {
        let document = read(&folder.join(name)).unwrap();
        let arrays = document.entries();
        assert_eq!(arrays.len(), expected.as_object().unwrap().len(), "{name}");
        for (key, array) in arrays {
            assert_as_expected(&format!("{name} {key}"), array, &expected[key.as_str()]);
        }
    }
}

/// 64-bit sizes, sizes behind the entries, and neither: the same arrays.
#[test]
fn archives_of_python() {
    let read = |name: &str| read(&fixtures("zip").join(name)).unwrap().root;
    let Value::Dict(pairs) = read("python.npz") else { panic!("an npz is a dict") };
    let [(x, Value::Array(floats)), (y, Value::Array(integers))] = pairs.as_slice() else {
        panic!("{pairs:?}")
    };
    assert_eq!((x.as_str(), floats.to_f32()), ("x", vec![0.5, -1.0, 2.0, 0.25, 0.0, 7.25]));
    assert_eq!((y.as_str(), integers.to_i64().unwrap()), ("y", vec![3, -9]));
    for name in ["zip64.npz", "streamed.npz"] {
        assert_eq!(read(name), Value::Dict(pairs.clone()), "{name}");
    }
}

#[test]
fn the_whole_conformance_folder() {
    let Some(folder) = conformance_folder() else { return };
    let (compared, refused) = check_folder(&folder);
    assert_eq!((compared, refused), (20, 7));
}

#[test]
fn one_network_in_every_container() {
    let Some(folder) = conformance_folder() else { return };
    let tensors = |name: &str| read(&folder.join(name)).unwrap().into_tensors().unwrap();
    let names =
        |tensors: &[(String, Array)]| tensors.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let reference = tensors("ucstub_state_dict.pth");
    let in_order =
        ["conv1", "conv2", "fc1", "fc2"].map(|layer| [format!("{layer}.weight"), format!("{layer}.bias")]);
    assert_eq!(names(&reference), in_order.concat());
    assert_eq!(reference[4].1.shape(), [128, 9216]);
    for name in [
        "ucstub_cuda_tags.pth",
        "ucstub_dataparallel.pth",
        "ucstub_checkpoint_dict.pth",
        "ucstub_scripted.pt",
        "ucstub_traced.pt",
    ] {
        assert_eq!(tensors(name), reference, "{name}");
    }
    let sorted = |tensors: Vec<(String, Array)>| tensors.into_iter().collect::<BTreeMap<_, _>>();
    assert_eq!(sorted(tensors("ucstub.safetensors")), sorted(reference));
    for name in ["ucstub_scripted.pt", "ucstub_traced.pt"] {
        let document = read(&folder.join(name)).unwrap();
        assert!(document.code && document.format == Format::TorchScript, "{name}");
    }
}
