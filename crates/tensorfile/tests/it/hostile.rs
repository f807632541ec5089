//! Files that were made to do harm, or were damaged: an error each time, soon, and without much
//! memory.

use std::io::{Cursor, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use tensorfile::{Array, Document, Error, Format, Value, View, limits, npz, read as read_path};
use zip::CompressionMethod::{Deflated, Stored};

use crate::support::{archive, one_of_each, read, refusal, script, tensor, zipped};

/// What one test may take; the slowest takes a tenth of it.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn every_truncation_and_every_changed_byte() {
    let start = Instant::now();
    for (name, bytes) in one_of_each() {
        let intact = read(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        for length in 0..bytes.len() {
            // Only what follows the elements can be missing without notice.
            if let Ok(document) = read(&bytes[..length]) {
                assert_eq!(document.root, intact.root, "{name} cut to {length}");
            }
        }
        let mut changed = bytes.clone();
        for at in 0..bytes.len() {
            for byte in [bytes[at] ^ 1, bytes[at] ^ 0x80, !bytes[at], 0, 0x7f, 0xff] {
                changed[at] = byte;
                if let Err(error) = read(&changed) {
                    assert!(!error.to_string().contains('\n'), "{name}: {error}");
                }
            }
            changed[at] = bytes[at];
        }
    }
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever it answers, it answers.
    #[test]
    fn several_changed_bytes(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let files = one_of_each();
        let mut bytes = which.get(&files).1.clone();
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        let _ = read(&bytes);
    }

    #[test]
    fn any_program(pickle in prop::collection::vec(instruction(), 0..60)) {
        let _ = read(&archive(&pickle.concat(), &[0; 32]));
    }

    #[test]
    fn any_bytes(start in prop::sample::select(vec![&b"\x93NUMPY\x01\0"[..], b"PK\x03\x04", b"\0\0\x08\x03", b"\x1f\x8b\x08", b"\x80\x02", b""]),
                 rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&[start, &rest].concat());
    }
}

/// One instruction of a pickle with arguments, so that random programs get somewhere.
fn instruction() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"(",
        b")",
        b"t",
        b"]",
        b"l",
        b"a",
        b"e",
        b"}",
        b"d",
        b"s",
        b"u",
        b"0",
        b"1",
        b"2",
        b"N",
        b"\x88",
        b"\x85",
        b"\x86",
        b"\x87",
        b"q\0",
        b"q\x01",
        b"h\0",
        b"h\x01",
        b"\x94",
        b"R",
        b"\x81",
        b"b",
        b"Q",
        b"\x93",
        b"K\x02",
        b"K\0",
        b"J\xff\xff\xff\xff",
        b"\x8a\x01\x05",
        b"G@\x08\0\0\0\0\0\0",
        b"X\x01\0\0\x000",
        b"X\x07\0\0\0storage",
        b"ctorch\nFloatStorage\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch._utils\n_rebuild_parameter\n",
        b"ccollections\nOrderedDict\n",
        b"ctorch\nSize\n",
        b"ctorch\ndevice\n",
        b"ctorch._tensor\n_rebuild_from_type_v2\n",
        b"\x8f",
        b"\x90",
        b"\x91",
        b"C\x01a",
        b"\x96\x01\0\0\0\0\0\0\0a",
        b"X\x01\0\0\0\xff",
        b"\x8a\x1100000000000000000",
        b"c__builtin__\nset\n",
        b"ccollections\nCounter\n",
        b"ccollections\ndefaultdict\n",
        b"ctorch\nuint16\n",
        b"ctorch\nComplexFloatStorage\n",
        b"ctorch._utils\n_rebuild_tensor_v3\n",
        b"ctorch._utils\n_rebuild_sparse_tensor\n",
        b"ctorch._utils\n_rebuild_device_tensor_from_cpu_tensor\n",
        b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x08tQ",
    ];
    prop::sample::select(pieces).prop_map(<[u8]>::to_vec)
}

/// A pickled integer.
fn int(value: i64) -> Vec<u8> {
    [b"\x8a\x08", &value.to_le_bytes()[..]].concat()
}

fn tuple(values: &[i64]) -> Vec<u8> {
    [b"(".to_vec(), values.iter().flat_map(|value| int(*value)).collect(), b"t".to_vec()].concat()
}

fn refused_tensor(elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> String {
    refusal(&archive(&tensor(&int(elements), &int(offset), &tuple(shape), &tuple(strides)), &[0; 32]))
}

#[test]
fn views_outside_of_their_storage() {
    let read = |shape, strides| {
        read(&archive(&tensor(&int(8), &int(2), &tuple(shape), &tuple(strides)), &[0; 32]))
            .unwrap()
            .into_array()
            .unwrap()
    };
    assert_eq!(read(&[3, 2], &[2, 1]).shape(), [3, 2]);
    assert_eq!(read(&[1000, 2], &[0, 1]).len(), 2000);
    assert!(
        refused_tensor(8, 3, &[3, 2], &[2, 1])
            .contains("ends at element 8, but its storage holds 8 elements")
    );
    assert!(refused_tensor(9, 0, &[1], &[1]).contains("holds 32 bytes, but 36 are claimed"));
    assert!(refused_tensor(i64::MAX, 0, &[1], &[1]).contains("holds 32 bytes"));
    assert!(refused_tensor(8, -1, &[1], &[1]).contains("an offset is -1"));
    assert!(refused_tensor(8, 0, &[-1], &[1]).contains("a shape is -1"));
    assert!(refused_tensor(8, 7, &[2], &[-1]).contains("strides is -1"));
    assert!(refused_tensor(8, 0, &[2], &[i64::MAX]).contains("ends at element 9223372036854775807"));
    assert!(refused_tensor(8, i64::MAX, &[3], &[i64::MAX]).contains("ends beyond any memory"));
    assert!(refused_tensor(8, 0, &[i64::MAX, i64::MAX], &[0, 0]).contains("larger than the address space"));
    assert!(
        refused_tensor(8, 0, &[0, i64::MAX, i64::MAX], &[0, 0, 0]).contains("larger than the address space")
    );
    assert!(refused_tensor(8, 0, &[2, 2], &[1]).contains("the strides [1]"));
    assert!(refused_tensor(8, 0, &[1; 65], &[1; 65]).contains("65 dimensions, 64 are allowed"));
}

#[test]
fn little_files_do_not_grow_large() {
    let start = Instant::now();
    // One number, seen as 10^12.
    let message = refused_tensor(8, 0, &[1_000_000, 1_000_000], &[0, 0]);
    assert!(
        message.contains("a float32 tensor of shape [1000000, 1000000] would take 40000000"),
        "{message}"
    );
    // A thousand views of one storage, each within the limits.
    let view = [tensor(&int(8), &int(0), &tuple(&[1 << 20]), &tuple(&[0])), b"0".to_vec()].concat();
    let many = [b"](".to_vec(), view[..view.len() - 1].repeat(1000), b"e".to_vec()].concat();
    assert!(matches!(read(&archive(&many, &[0; 32])), Err(Error::TooLarge { .. })));
    // A tuple of two, each a tuple of two, ...: 2^60 nothings.
    let doubling = [b"Nq\0".to_vec(), b"h\0h\0\x86q\0".repeat(60)].concat();
    assert!(matches!(read(&archive(&doubling, &[])), Err(Error::TooLarge { .. })));
    // The same with long texts.
    let text = [b"X\0\0\x01\0".to_vec(), vec![b'a'; 1 << 16], b"q\0".to_vec()].concat();
    let texts = [b"](".to_vec(), text, b"h\0".repeat(100_000), b"e".to_vec()].concat();
    assert!(matches!(read(&archive(&texts, &[])), Err(Error::TooLarge { .. })));
    // A long tuple handed to a function again and again.
    let calls = [
        b"(".to_vec(),
        b"N".repeat(100_000),
        b"tq\0".to_vec(),
        b"ctorch\nSize\nq\x01".to_vec(),
        b"h\x01h\0R".repeat(100_000),
    ];
    assert!(refusal(&archive(&calls.concat(), &[])).contains("100000 arguments, 16 are allowed"));
    let pairs = [
        b"](".to_vec(),
        b"]q\x02(NNe".repeat(10_000),
        b"e\x85q\0ccollections\nOrderedDict\nq\x010".to_vec(),
        b"h\x01h\0R".repeat(100_000),
    ];
    assert!(matches!(read(&archive(&pairs.concat(), &[])), Err(Error::TooLarge { .. })));
    // A long key above many values, so that their paths would be long.
    let key = [b"}X\0\0\x10\0".to_vec(), vec![b'a'; 1 << 20]].concat();
    let paths = [key, b"](".to_vec(), b"N".repeat(100_000), b"es".to_vec()].concat();
    assert!(matches!(read(&archive(&paths, &[])), Err(Error::TooLarge { .. })));
    // A name of wrappers only.
    let name = "module.".repeat(100_000);
    let one = tensor(b"K\x01", b"K\0", b")", b")");
    let wrapped = [b"}X", &(name.len() as u32).to_le_bytes()[..], name.as_bytes(), &one, b"s"].concat();
    assert_eq!(
        read(&archive(&wrapped, &[0; 4])).unwrap().into_tensors().unwrap()[0].0.len(),
        name.len() - 4 * 7
    );
    // Zeros deflate to a thousandth.
    let zeros = vec![0; 200 << 20];
    let bomb = zipped(
        Deflated,
        &[
            (
                "x/data.pkl",
                &[b"\x80\x02".to_vec(), tensor(&int(8), &int(0), &tuple(&[1]), &tuple(&[1])), b".".to_vec()]
                    .concat(),
            ),
            ("x/data/0", &zeros),
        ],
    );
    assert!(bomb.len() < 1 << 20);
    assert!(refusal(&bomb).contains("its compressed entry `x/data/0` would take"));
    assert!(
        refusal(&zipped(Deflated, &[("a.npy", &zeros)])).contains("its compressed entry `a.npy` would take")
    );
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    gz.write_all(b"\0\0\x08\x01\x0c\x80\0\0").unwrap();
    gz.write_all(&zeros).unwrap();
    assert!(
        refusal(&gz.finish().unwrap())
            .contains("a uint8 array of shape [209715200] would take 209715200 bytes")
    );
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert!((zeros.len() as u64) > limits::FREE_BYTES);
}

#[test]
fn inflated_entries_are_paid_for_only_while_they_live() {
    let zeros = vec![0; 20 << 20];
    let mut npy = Vec::new();
    npz::write_npy(&mut npy, View::u8(&[zeros.len()], &zeros).unwrap()).unwrap();
    let file = zipped(Deflated, &[("a.npy", &npy), ("b.npy", &npy)]);
    assert!(4 * zeros.len() as u64 > limits::FREE_BYTES + limits::EXPANSION * file.len() as u64);
    assert_eq!(read(&file).unwrap().entries().len(), 2);
}

/// Many places that fit, names of many parts, and keys that read alike: found in one pass each.
#[test]
fn names_that_repeat_without_end_come_to_an_end() {
    let dict = |pairs: Vec<(String, Value)>| Document {
        path: "some/file.pt".into(),
        format: Format::TorchZip,
        root: Value::Dict(pairs),
        code: false,
        metadata: Vec::new(),
    };
    let empty = || Value::Array(Array::from_f32(vec![0], vec![]).unwrap());
    let names = ["fc.weight", "fc.bias"];
    let many = (0..100_000).flat_map(|n| names.map(|name| (format!("{n}.{name}"), empty())));
    let tensors = dict(many.collect()).into_state_dict(&names).unwrap();
    assert_eq!(tensors.len(), 200_000);
    let long = "a.".repeat(5_000);
    let many = names.map(|name| (format!("{long}{name}"), empty())).into_iter();
    let many = many.chain((0..1000).map(|n| (format!("{long}{n}"), empty())));
    assert_eq!(dict(many.collect()).into_state_dict(&names).unwrap()[2].0, "0");
    // {1: x, "1": x} again and again, each x a large tree.
    let tree = [b"](".to_vec(), b"N".repeat(2_000), b"eq\0".to_vec()].concat();
    let pairs = [&b"K\x01h\0X\x01\0\0\x001h\0"[..]].concat().repeat(500);
    let pickle = [tree, b"0}(".to_vec(), pairs, b"u".to_vec()].concat();
    match read(&archive(&pickle, b"")) {
        Ok(document) => assert!(matches!(document.root, Value::Other { array: false, .. })),
        Err(error) => assert!(matches!(error, Error::TooLarge { .. }), "{error}"),
    }
}

#[test]
fn containers_in_themselves_and_in_each_other() {
    assert!(refusal(&archive(b"]q\0h\0a", &[])).contains("deeper than 64 levels, or one contains itself"));
    assert!(refusal(&archive(b"}q\0Nh\0s", &[])).contains("contains itself"));
    let nested = |depth: usize| archive(&[b"]".repeat(depth), b"a".repeat(depth - 1)].concat(), &[]);
    assert!(read(&nested(limits::MAX_DEPTH)).is_ok());
    assert!(refusal(&nested(limits::MAX_DEPTH + 1)).contains("deeper than 64"));
    assert!(refusal(&nested(100_000)).contains("deeper than 64"));
}

#[test]
fn programs_that_do_more_than_describe() {
    for (pickle, part) in [
        (&b"cos\nsystem\nX\x02\0\0\0ls\x85R"[..], "asks for `os.system`"),
        (b"X\x02\0\0\0osX\x06\0\0\0system\x93", "asks for `os.system`"),
        (b"c__torch__\nNet\n)\x81", "asks for `__torch__.Net`"),
        (b"cevil\n\xff\n", "no UTF-8"),
        (b"c\x1b[2J\nx\n", "\\u{1b}[2J.x"),
        (b"ctorch\nQInt8Storage\n", ""),
        (b"ctorch\nPickleStorage\n", "asks for `torch.PickleStorage`"),
        (b"c__builtin__\neval\nX\x02\0\0\0ls\x85R", "asks for `__builtin__.eval`"),
        (b"\x8f(c__builtin__\neval\n\x90", "asks for `__builtin__.eval`"),
        (b"c__builtin__\nset\n(cbuiltins\nexec\ntR", "asks for `builtins.exec`"),
        (b"}(X\x01\0\0\0aNX\x01\0\0\0b}(X\x01\0\0\0cNX\x01\0\0\0dcos\nsystem\n", "under the key `b.d`"),
        (b"]cos\nsystem\n", "asks for `os.system`, which"),
        (b"N(N\x90", "adds to something that is no set"),
        (b"(N\x91", ""),
        (b"C\x05abc", "ends too early"),
        (b"\x96\xff\xff\xff\xff\xff\xff\xff\xff", "ends too early"),
        (b"ccollections\nCounter\nN\x85R", "calls Counter with 1 arguments"),
        (b"ctorch._utils\n_rebuild_tensor_v3\n)R", "calls RebuildOfType with 0 arguments"),
        (b"ccollections\nOrderedDict\n)\x81}b", ""),
        (b"ctorch._utils\n_rebuild_parameter\n(Nt R", ""),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R", "calls RebuildTensor with 0 arguments"),
        (b"NN\x85R", "calls something that is no function"),
        (b"ccollections\nOrderedDict\nNR", "something that is no tuple"),
        (b"NNb", "sets attributes"),
        (b"N)\x81", "something that is no class"),
        (b"NQ", "no tuple"),
        (b"X\x06\0\0\0module\x85Q", "refers to a `module`"),
        (b"ccollections\nOrderedDict\n", ""),
        (b"", "takes more values than it made"),
        (b"0", "takes more values"),
        (b"N(0", "takes more values"),
        (b"t", "never opened"),
        (b"h\x07", "recalls value 7"),
        (b"j\xff\xff\xff\xff", "recalls value 4294967295"),
        (b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xffNa", "appends to something that is no list"),
        (b"}(Nu", "a key without a value"),
        (b"})Ns", ""),
        (b"}K\x01NsX\x01\0\0\x001Ns", ""),
        (b"X\xff\xff\xff\xff", "ends too early"),
        (b"\x8b\xff\xff\xff\xff", "ends too early"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "ends too early"),
        (b"\x8a\x1100000000000000000", ""),
        (b"\x80\x06", "protocol 6"),
        (b"I7\n", "instruction 0x49"),
        (b"\x82\x01", "instruction 0x82"),
    ] {
        match read(&archive(pickle, &[])) {
            Ok(document) => assert!(part.is_empty(), "{part}: {document:?}"),
            Err(error) => assert!(error.to_string().contains(part), "`{part}` is not in: {error}"),
        }
    }
}

#[test]
fn plain_values_are_kept() {
    let pickle = b"}(K\x07\x8a\x01\xfeX\x01\0\0\0fG?\xe0\0\0\0\0\0\0X\x01\0\0\0b\x88X\x01\0\0\0nNX\x01\0\0\0wX\x01\0\0\0vX\x01\0\0\0t\
        ctorch\nfloat32\nX\x01\0\0\0dctorch\ndevice\nX\x04\0\0\0cudaK\x01\x86RX\x01\0\0\0sctorch\nSize\nK\x02\x85\x85R\
        X\x01\0\0\0l\x8a\x09\0\0\0\0\0\0\0\0\x01u";
    let text = |text: &str| Value::Text(text.into());
    let expected = [
        ("7", Value::Int(-2)),
        ("f", Value::Float(0.5)),
        ("b", Value::Bool(true)),
        ("n", Value::None),
        ("w", text("v")),
        ("t", text("torch.float32")),
        ("d", text("cuda:1")),
        ("s", Value::List(vec![Value::Int(2)])),
        ("l", text("18446744073709551616")),
    ];
    let document = read(&archive(pickle, &[])).unwrap();
    assert_eq!(document.root, Value::Dict(expected.map(|(key, value)| (key.to_owned(), value)).into()));
    let message = document.into_tensors().unwrap_err().to_string();
    assert!(
        message.contains("the file holds no array (its entries are 7, f, b, n, w, t, d, s, ...)"),
        "{message}"
    );
}

#[test]
fn a_later_value_of_a_key_wins() {
    let document = read(&archive(b"}(X\x01\0\0\0aK\x01X\x01\0\0\0bK\x02X\x01\0\0\0aK\x03u", &[])).unwrap();
    assert_eq!(document.root, Value::Dict(vec![("a".into(), Value::Int(3)), ("b".into(), Value::Int(2))]));
}

#[test]
fn tensors_of_a_script_and_of_checkpoints() {
    let document = read(&script()).unwrap();
    assert!(document.code);
    let tensors = document.into_tensors().unwrap();
    let listed: Vec<(&str, Vec<f32>)> =
        tensors.iter().map(|(name, array)| (name.as_str(), array.to_f32())).collect();
    assert_eq!(listed, [("weight", vec![0.0, 1.0, 2.0, 3.0]), ("fc.bias", vec![4.0, 5.0])]);

    let one = tensor(b"K\x01", b"K\0", b")", b")");
    let key = |name: &str| [b"X", &(name.len() as u32).to_le_bytes()[..], name.as_bytes()].concat();
    let dict = |pairs: &[(&str, Vec<u8>)]| {
        let pairs: Vec<u8> = pairs
            .iter()
            .flat_map(|(name, value)| [key(name), value.clone(), b"s".to_vec()].concat())
            .collect();
        [b"}".to_vec(), pairs].concat()
    };
    let names = |pickle: Vec<u8>| -> Vec<String> {
        let tensors = read(&archive(&pickle, &[0; 4])).unwrap().into_tensors().unwrap();
        tensors.into_iter().map(|(name, _)| name).collect()
    };
    let wrapped = dict(&[("module.a", one.clone()), ("module.b", one.clone())]);
    let checkpoint =
        dict(&[("epoch", b"K\x03".to_vec()), ("rng", one.clone()), ("state_dict", wrapped.clone())]);
    assert_eq!(names(checkpoint.clone()), ["a", "b"]);
    assert_eq!(names(dict(&[("model", checkpoint)])), ["a", "b"]);
    assert_eq!(names(dict(&[("_orig_mod.module.a", one.clone())])), ["a"]);
    assert_eq!(names(dict(&[("module.a", one.clone()), ("b", one.clone())])), ["module.a", "b"]);
    assert_eq!(
        names(dict(&[("encoder", wrapped), ("scale", one.clone())])),
        ["encoder.module.a", "encoder.module.b", "scale"]
    );
    // An empty or plain `model` is not where the tensors are.
    assert_eq!(names(dict(&[("model", b"}".to_vec()), ("a", one.clone())])), ["a"]);
    let clash = dict(&[("a.b", one.clone()), ("a", dict(&[("b", one)]))]);
    let message = read(&archive(&clash, &[0; 4])).unwrap().into_tensors().unwrap_err().to_string();
    assert!(message.contains("two tensors are named `a.b`"), "{message}");
}

#[test]
fn archives_that_lie() {
    let good = archive(&tensor(b"K\x02", b"K\0", b"K\x02\x85", b"K\x01\x85"), &[1; 8]);
    assert_eq!(read(&good).unwrap().into_array().unwrap().len(), 2);
    let find =
        |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).position(|window| window == part).unwrap();
    let mut changed = good.clone();
    changed[find(&good, &[1; 8])] = 2;
    assert!(refusal(&changed).contains("entry `x/data/0` does not have the CRC"));

    let named = |one: &str, two: &str| zipped(Stored, &[(one, b"\x80\x02N."), (two, b"\x80\x02N.")]);
    let text = String::from_utf8_lossy(&named("x/data.pkl", "y/data.pkl")).into_owned();
    assert!(
        refusal(&named("x/data.pkl", "y/data.pkl")).contains("two pickles, x/data.pkl and y/data.pkl"),
        "{text}"
    );
    let mut same = named("x/data.pkl", "y/data.pkl");
    while let Some(at) = same.windows(10).position(|window| window == b"y/data.pkl") {
        same[at] = b'x';
    }
    assert!(refusal(&same).contains("two entries have one name"));
    // The pickle of a deeper folder is not the archive's.
    assert!(read(&named("x/data.pkl", "x/y/data.pkl")).is_ok());

    assert!(
        refusal(&zipped(Stored, &[("x/data.pkl", b"\x80\x02N."), ("x/byteorder", b"big")]))
            .contains("byte order `big`")
    );
    assert!(
        refusal(&archive(&tensor(b"K\x02", b"K\0", b"K\x02\x85", b"K\x01\x85").repeat(1), &[]))
            .contains("holds 0 bytes")
    );
    assert!(
        refusal(&zipped(Stored, &[("readme.txt", b"hello")]))
            .contains("neither data.pkl nor only .npy entries, but readme.txt")
    );
    assert!(refusal(&zipped(Stored, &[("a.npy", b"hello")])).contains("`a.npy` is no NumPy array"));
    assert!(refusal(b"PK\x03\x04 and then nothing").contains("broken zip archive"));
}

#[test]
fn headers_that_lie() {
    let safetensors = |header: &str, elements: usize| {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; elements]].concat()
    };
    let one = |dtype: &str, shape: &str, offsets: &str, elements| {
        refusal(&safetensors(
            &format!("{{\"a\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}"),
            elements,
        ))
    };
    assert!(one("F32", "[2]", "[0,8]", 7).contains("describes 8 bytes of elements, but 7 follow"));
    assert!(one("F32", "[3]", "[0,8]", 8).contains("header is not understood"));
    assert!(one("U8", "[1152921504606846976]", "[0,1152921504606846976]", 8).contains("but 8 follow"));
    assert!(
        one("U8", "[18446744073709551615]", "[0,18446744073709551615]", 8)
            .contains("header is not understood")
    );
    assert!(one("U8", "[8]", "[8,0]", 8).contains("header is not understood"));
    assert!(refusal(&safetensors("{", 0)).contains("header is not understood"));
    assert!(refusal(&[&(1_u64 << 40).to_le_bytes()[..], b"{}"].concat()).contains("ends within its header"));

    assert!(refusal(b"\0\0\x08\x01\xff\xff\xff\xff").contains("would take 4294967295 bytes"));
    assert!(refusal(b"\0\0\x08\x01\0\0\0\x02\x01").contains("it ends within a uint8 array of shape [2]"));
    assert!(refusal(b"\0\0\x08\x01\0\0\0\x02\x01\x02\x03").contains("more bytes follow"));
    assert!(
        refusal(b"\0\0\x0e\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
            .contains("address space")
    );
    assert!(refusal(b"\0\0\x08\x41\0\0").contains("ends within the lengths"));
}

#[test]
fn files_of_other_kinds() {
    let other = |bytes: &[u8]| refusal(bytes);
    assert!(other(b"<!DOCTYPE html>").contains("a web page"));
    assert!(other(b"version https://git-lfs.github.com/spec/v1").contains("git lfs pull"));
    assert!(other(b"\x80\x04\x95\x02\0\0\0\0\0\0\0].").contains("it is a pickle, but not one of torch.save"));
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    gz.write_all(b"hello").unwrap();
    assert!(other(&gz.finish().unwrap()).contains("unpack it first"));
    assert!(other(b"\n\n").contains("it starts with \"\\n\\n\""));

    let folder = tempfile::tempdir().unwrap();
    let is_refused = |path: &Path, what: &str| {
        let error = read_path(path).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(source.contains(what), "{error}: {source}");
    };
    is_refused(folder.path(), "it is a folder; give a file");
    let missing = folder.path().join("missing.pt");
    let error = read_path(&missing).unwrap_err();
    assert!(error.to_string().contains("missing.pt"), "{error}");
    assert!(std::error::Error::source(&error).is_some(), "{error:?}");
    #[cfg(unix)]
    is_refused(Path::new("/dev/zero"), "give a regular file");
}

#[test]
fn overlapping_entries() {
    // The second entry's local header is moved into the first one's payload: a quine of headers.
    let inner = zipped(Stored, &[("x/data/0", &[7; 16])]);
    let outer =
        zipped(Stored, &[("x/data.pkl", b"\x80\x02N."), ("x/payload", &inner), ("x/data/0", &[7; 16])]);
    let mut zip = zip::ZipArchive::new(Cursor::new(&outer)).unwrap();
    let inside = zip.by_name("x/payload").unwrap().data_start().unwrap() as u32;
    let own = zip.by_name("x/data/0").unwrap().header_start() as u32;
    let mut bytes = outer.clone();
    let directory = bytes.windows(4).rposition(|window| window == own.to_le_bytes()).unwrap();
    bytes[directory..directory + 4].copy_from_slice(&inside.to_le_bytes());
    assert!(read(&outer).is_ok());
    assert!(refusal(&bytes).contains("entries overlap"));
}
