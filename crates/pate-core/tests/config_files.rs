//! The shipped schema and the reader agree, on files of `config/valid` and `config/invalid`. The
//! validator is another project's.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

use std::path::{Path, PathBuf};

use pate_core::config::{Config, KEYS};
use serde_json::{Value, json};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn shipped() -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/synthetic_generation.schema.json");
    jsonschema::draft202012::new(&json(&path)).unwrap()
}

#[test]
fn the_schema_and_the_reader_accept_and_refuse_the_same_files() {
    let schema = shipped();
    for (folder, is_valid, at_least) in
        [("tests/config/valid", true, 12), ("tests/config/invalid", false, 26), ("../../config", true, 6)]
    {
        let files = files(folder);
        assert!(files.len() >= at_least, "{} files in {folder}", files.len());
        for path in files.iter().filter(|path| !path.to_string_lossy().ends_with(".schema.json")) {
            let name = path.display();
            assert_eq!(schema.is_valid(&json(path)), is_valid, "the schema on {name}");
            assert_eq!(
                Config::load(path).is_ok(),
                is_valid,
                "the reader on {name}: {:?}",
                Config::load(path).err()
            );
        }
    }
}

/// Values of many kinds for every key there is.
#[test]
fn the_schema_and_the_reader_agree_about_every_key() {
    let schema = shipped();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(2),
        json!(5000),
        json!(1_000_001),
        json!(2_000_000_000),
        json!(-0.5),
        json!(0.5),
        json!(1.5),
        json!(4.5),
        json!(150.5),
        json!(""),
        json!("none"),
        json!("basic"),
        json!("cosine"),
        json!("sgd"),
        json!("pool"),
        json!([]),
        json!([0]),
        json!([1, 1]),
        json!([0.5]),
        json!([-1]),
        json!(["a"]),
        json!({}),
    ];
    let mut accepted = 0;
    for key in KEYS {
        for name in std::iter::once(key.name).chain(key.alias) {
            for value in &values {
                let config = json!({ key.section: { name: value } });
                artifact::write_bytes(&path, artifact::Access::Public, config.to_string().as_bytes())
                    .unwrap();
                let read = Config::load(&path);
                assert_eq!(schema.is_valid(&config), read.is_ok(), "{config}: {:?}", read.err());
                accepted += usize::from(read.is_ok());
            }
        }
    }
    assert!(accepted > 250, "{accepted}");
}
