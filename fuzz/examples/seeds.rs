//! Writes the first corpus of both targets, out of the committed fixtures and of small files of
//! every writer: `cargo run --release --example seeds` in `fuzz/`.

use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;

use tensorfile::{Array, DType, View, idx, npz, pt, safetensors};

type Failure = Box<dyn std::error::Error>;

/// Larger fixtures differ from smaller ones only in their elements.
const LARGEST: usize = 12_000;

/// Of a storage, so much is kept beside its pickle.
const STORAGE_BYTES: usize = 64;

fn main() -> Result<(), Failure> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (files, pickles) = (home.join("corpus/read_bytes"), home.join("corpus/pickle"));
    fs::create_dir_all(&files)?;
    fs::create_dir_all(&pickles)?;
    let mut total = 0;
    let mut seeds = written()?;
    for folder in ["torch", "numpy", "field", "zip"] {
        for entry in fs::read_dir(home.join("../crates/tensorfile/tests/fixtures").join(folder))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let known = path.extension().is_some_and(|extension| extension != "json" && extension != "py");
            if known {
                seeds.push((name, fs::read(&path)?));
            }
        }
    }
    for (name, bytes) in seeds {
        if let Some(pickle) = pickle_of(&bytes) {
            total += pickle.len();
            fs::write(pickles.join(&name), pickle)?;
        }
        if bytes.len() <= LARGEST {
            total += bytes.len();
            fs::write(files.join(&name), bytes)?;
        }
    }
    println!("{total} bytes of seeds in {}", home.join("corpus").display());
    Ok(())
}

/// A small array of every type in every format that has it.
fn written() -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut seeds = Vec::new();
    for dtype in DType::ALL {
        let array = Array::new(dtype, vec![2, 2], vec![1; 4 * dtype.size()])?;
        let entries: [(&str, View<'_>); 2] = [("model.a", array.view()), ("model.b", array.view())];
        for format in ["array.pt", "dict.pt", "safetensors", "npy", "npz", "idx", "gz"] {
            let mut file = Vec::new();
            let made = match format {
                "array.pt" => pt::write_array(&mut file, array.view()),
                "dict.pt" => pt::write_dict(&mut file, &entries),
                "safetensors" => safetensors::write(&mut file, &entries, &[("made".into(), "here".into())]),
                "npy" => npz::write_npy(&mut file, array.view()),
                "npz" => npz::write(&mut file, &entries),
                "idx" => idx::write(&mut file, array.view()),
                _ => idx::write_gz(&mut file, array.view()),
            };
            // Not every format has every type.
            if made.is_ok() {
                seeds.push((format!("{dtype}.{format}"), file));
            }
        }
    }
    Ok(seeds)
}

/// The input of the target `pickle` that makes an archive like this one.
fn pickle_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).ok()?;
    let names: Vec<String> = zip.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let mut content = |end: &str| -> Option<Vec<u8>> {
        let name = names.iter().find(|name| name.ends_with(end))?;
        let mut content = Vec::new();
        zip.by_name(name).ok()?.read_to_end(&mut content).ok()?;
        Some(content)
    };
    let (pickle, mut storage) = (content("/data.pkl")?, content("/data/0").unwrap_or_default());
    storage.truncate(STORAGE_BYTES);
    let kind = if names.iter().any(|name| name.contains("/code/")) { 4 } else { 0 };
    Some([&[kind, storage.len() as u8], pickle.as_slice(), &storage].concat())
}
