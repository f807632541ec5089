//! State dicts as other tools save them. Field cases, row 8.

use std::path::Path;

use tensorfile::{Array, Document, Error, Format, Value};

const NAMES: [&str; 2] = ["fc.weight", "fc.bias"];

fn array(shape: &[usize], first: f32) -> Value {
    let n: usize = shape.iter().product();
    let values = (0..n).map(|n| first + n as f32).collect();
    Value::Array(Array::from_f32(shape.to_vec(), values).unwrap())
}

fn count(n: i64) -> Value {
    Value::Array(Array::from_i64(vec![], vec![n]).unwrap())
}

fn dict<K: Into<String>>(pairs: impl IntoIterator<Item = (K, Value)>) -> Value {
    Value::Dict(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// A layer whose names start with `prefix` and whose values start with `first`.
fn layer(prefix: &str, first: f32) -> Vec<(String, Value)> {
    vec![
        (format!("{prefix}fc.weight"), array(&[2, 3], first)),
        (format!("{prefix}fc.bias"), array(&[2], first)),
    ]
}

fn document(root: Value) -> Document {
    Document { path: "some/file".into(), format: Format::TorchZip, root, code: false, metadata: Vec::new() }
}

fn names(tensors: &[(String, Array)]) -> Vec<&str> {
    tensors.iter().map(|(name, _)| name.as_str()).collect()
}

/// The one layer, with values from `first` on.
fn assert_layer(root: Value, first: f32, case: &str) {
    let tensors = document(root).into_state_dict(&NAMES).unwrap_or_else(|error| panic!("{case}: {error}"));
    assert_eq!(names(&tensors), NAMES, "{case}");
    assert_eq!(tensors[0].1.to_f32()[..2], [first, first + 1.0], "{case}");
    assert_eq!(tensors[1].1.to_f32(), [first, first + 1.0], "{case}");
}

/// Field cases, row 8: Opacus, Lightning, `torch.compile`, averaged models, and all of them at
/// once.
#[test]
fn any_prefix_is_found_from_the_names_that_are_wanted() {
    for prefix in
        ["", "_module.", "_module.module.", "model.", "net.", "model._orig_mod.", "a.b.c.d.e.f.", "decoder."]
    {
        assert_layer(dict(layer(prefix, 5.0)), 5.0, prefix);
        for key in
            ["state_dict", "net", "params", "weights", "model_state", "ema", "student", "whatever", "a.b"]
        {
            let checkpoint = dict([
                ("epoch", Value::Int(3)),
                ("optimizer", dict([("state", dict([("0", array(&[2, 3], 9.0))]))])),
                (key, dict(layer(prefix, 5.0))),
                ("loss", array(&[], 0.5)),
            ]);
            assert_layer(checkpoint.clone(), 5.0, &format!("{key} {prefix}"));
            assert_layer(
                dict([("outer", Value::List(vec![checkpoint]))]),
                5.0,
                &format!("outer {key} {prefix}"),
            );
        }
    }
    // A module per dict, and an optimiser beside the names themselves.
    let nested = dict([("fc", dict([("weight", array(&[2, 3], 5.0)), ("bias", array(&[2], 5.0))]))]);
    assert_layer(nested, 5.0, "nested");
    let mut beside = layer("", 5.0);
    beside.push(("optimizer".into(), dict([("state", dict([("0", array(&[2, 3], 9.0))]))])));
    assert_layer(dict(beside), 5.0, "optimizer");
}

/// Field cases, row 8: `n_averaged`, `num_batches_tracked`, what thop leaves.
#[test]
fn counters_are_left_out() {
    for prefix in ["", "module."] {
        let mut pairs = layer(prefix, 5.0);
        pairs.insert(0, ("n_averaged".into(), count(7)));
        pairs.push((format!("{prefix}num_batches_tracked"), count(7)));
        pairs.push((format!("{prefix}fc.total_ops"), array(&[1], 7.0)));
        pairs.push(("total_params".into(), array(&[1], 7.0)));
        assert_layer(dict(pairs), 5.0, prefix);
    }
    // A number that a network computes with is none.
    let mut pairs = layer("", 5.0);
    pairs.push(("temperature".into(), array(&[1], 7.0)));
    let tensors = document(dict(pairs)).into_state_dict(&NAMES).unwrap();
    assert_eq!(names(&tensors), ["fc.weight", "fc.bias", "temperature"]);
}

/// A larger network is not taken for a smaller one: what stands beside the wanted names comes with
/// them.
#[test]
fn what_is_left_over_is_not_hidden() {
    for (prefix, other, expected) in [
        ("", "head.weight", "head.weight"),
        ("model.", "model.head.weight", "head.weight"),
        ("model.", "head.weight", "head.weight"),
        ("vae.decoder.", "vae.encoder.weight", "encoder.weight"),
    ] {
        let mut pairs = layer(prefix, 5.0);
        pairs.push((other.into(), array(&[3], 0.0)));
        for root in [dict(pairs.clone()), dict([("state_dict", dict(pairs.clone()))])] {
            let tensors = document(root).into_state_dict(&NAMES).unwrap();
            assert!(names(&tensors).contains(&expected), "{prefix} {other} {:?}", names(&tensors));
            assert_eq!(tensors.len(), 3);
        }
    }
    let script = dict([
        ("fc", dict([("weight", array(&[2, 3], 5.0)), ("bias", array(&[2], 5.0))])),
        ("head", dict([("weight", array(&[3], 0.0))])),
    ]);
    let tensors =
        Document { format: Format::TorchScript, ..document(script) }.into_state_dict(&NAMES).unwrap();
    assert_eq!(names(&tensors), ["fc.weight", "fc.bias", "head.weight"]);
    let tch = dict([("fc|weight", array(&[2, 3], 5.0)), ("fc|bias", array(&[2], 5.0))]);
    let tensors = Document { format: Format::TorchScript, ..document(tch) }.into_state_dict(&NAMES).unwrap();
    assert_eq!(names(&tensors), NAMES);
}

/// Field cases, row 8: two state dicts that fit are an error that names both, unless they are the
/// same.
#[test]
fn two_that_fit_are_named() {
    let both = |second: f32| dict([("model", dict(layer("", 5.0))), ("ema", dict(layer("module.", second)))]);
    assert_layer(both(5.0), 5.0, "copies");
    let error = document(both(6.0)).into_state_dict(&NAMES).unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }));
    let text = error.to_string();
    assert!(
        text.contains("stand there twice, with different values: under `ema.module`, under `model`; save"),
        "{text}"
    );
    let mut pairs = layer("", 5.0);
    pairs.extend(layer("old.", 6.0));
    let text = document(dict(pairs)).into_state_dict(&NAMES).unwrap_err().to_string();
    assert!(text.contains("at the top, under `old`"), "{text}");
    let list = Value::List(vec![dict(layer("", 5.0)), dict(layer("", 6.0))]);
    let text = document(list).into_state_dict(&NAMES).unwrap_err().to_string();
    assert!(text.contains("under `0`, under `1`"), "{text}");
}

#[test]
fn without_the_wanted_names_the_rest_is_as_before() {
    let checkpoint = || dict([("model", dict(layer("module.", 5.0)))]);
    let tensors = document(checkpoint()).into_state_dict(&["conv.weight", "conv.bias"]).unwrap();
    assert_eq!(names(&tensors), NAMES);
    assert_eq!(document(checkpoint()).into_state_dict(&[]).unwrap(), tensors);
    // One layer is not taken for a wrapper.
    let tensors = document(dict(layer("", 5.0))).into_tensors().unwrap();
    assert_eq!(names(&tensors), NAMES);
    // A name must not start within another.
    let tensors = document(dict([("my_fc.weight", array(&[2, 3], 0.0)), ("my_fc.bias", array(&[2], 0.0))]));
    assert_eq!(names(&tensors.into_state_dict(&NAMES).unwrap()), ["my_fc.weight", "my_fc.bias"]);
    let error = document(array(&[3], 0.0)).into_state_dict(&NAMES).unwrap_err();
    assert!(matches!(error, Error::NoTensors { .. }));
}

/// Field cases, row 8: masks and weight norm give what the module of PyTorch computes with.
#[test]
fn masks_and_norms_are_worked_in() {
    let wanted = ["conv.weight", "conv.bias", "fc.weight", "fc.bias"];
    for name in ["pruned", "weight_norm", "weight_norm_old"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/field/{name}.pt"));
        let document = tensorfile::read(&path).unwrap();
        let truth =
            document.entries().into_iter().map(|(name, array)| (name, array.clone())).collect::<Vec<_>>();
        let truth = |name: &str| {
            let name = format!("truth.{}", name.replace('.', "_"));
            truth.iter().find(|(key, _)| *key == name).map(|(_, array)| array.clone()).unwrap()
        };
        for tensors in [document.clone().into_state_dict(&wanted).unwrap(), document.into_tensors().unwrap()]
        {
            let mut found = names(&tensors);
            found.sort_unstable();
            assert_eq!(found, ["conv.bias", "conv.weight", "fc.bias", "fc.weight"], "{name}");
            for (key, array) in &tensors {
                assert_eq!(array.shape(), truth(key).shape(), "{name} {key}");
                for (found, expected) in array.to_f32().iter().zip(truth(key).to_f32()) {
                    assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{name} {key}");
                }
            }
        }
    }
}

/// What only looks like the parts of a parameter stays as it is.
#[test]
fn parts_that_do_not_fit_stay() {
    let tensors = |pairs: Vec<(&str, Value)>| document(dict(pairs)).into_tensors().unwrap();
    for pairs in [
        vec![("weight_orig", array(&[2, 3], 0.0)), ("weight_mask", array(&[3, 2], 0.0))],
        vec![
            ("weight_orig", array(&[2, 3], 0.0)),
            ("weight_mask", array(&[2, 3], 0.0)),
            ("weight", array(&[2, 3], 0.0)),
        ],
        vec![("weight_v", array(&[2, 3], 0.0)), ("weight_g", array(&[3, 1], 0.0))],
        vec![("weight_v", array(&[2, 3], 0.0)), ("weight_h", array(&[2, 1], 0.0))],
        vec![("parametrizations.weight.original", array(&[2, 3], 0.0)), ("bias", array(&[2], 0.0))],
        vec![("original1", array(&[2], 0.0)), ("original0", array(&[2], 0.0))],
        vec![("weight_orig", count(1)), ("weight_mask", count(1))],
    ] {
        let expected: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
        assert_eq!(names(&tensors(pairs.clone())), expected);
    }
}

/// Field cases, row 8: what `AveragedModel.state_dict()` of PyTorch holds.
#[test]
fn averaged_models_are_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/field/averaged.pt");
    for tensors in [
        tensorfile::read(&path).unwrap().into_state_dict(&NAMES).unwrap(),
        tensorfile::read(&path).unwrap().into_tensors().unwrap(),
    ] {
        assert_eq!(names(&tensors), NAMES);
        assert_eq!(tensors[0].1.to_f32(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}
