//! What must hold for any bytes whatever: what the targets have in common.

use std::path::Path;

use peak_alloc::PeakAlloc;
use tensorfile::{Document, Error, View, limits, npz, pt, read_bytes, safetensors};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Buffers of fixed size (inflating, errors), which a file cannot make larger.
const BUFFERS: u64 = 1 << 20;

/// Reads the bytes and writes what was read: no panic, no memory beyond the stated limit, one line
/// for an error, and the same arrays back.
pub fn check(bytes: &[u8]) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let read = read_bytes(Path::new("fuzzed"), bytes);
    let peak = MEMORY.peak_usage().saturating_sub(before) as u64;
    let limit = limits::EXPANSION * bytes.len() as u64 + limits::FREE_BYTES + BUFFERS;
    assert!(peak <= limit, "{peak} bytes of memory for a file of {} bytes", bytes.len());
    match read {
        Ok(document) => written_again(document),
        Err(error) => _ = said_in_one_line::<()>(Err(error)),
    }
}

fn said_in_one_line<T>(result: tensorfile::Result<T>) -> Option<T> {
    let Err(error) = result else { return result.ok() };
    let message = error.to_string();
    assert!(message.starts_with("fuzzed: ") || message.contains("fuzzed"), "{message}");
    assert!(!message.chars().any(char::is_control), "{message:?}");
    None
}

fn written_again(document: Document) {
    let _ = (document.describe(), document.unread());
    for names in [&["fc.weight", "fc.bias"][..], &["a"], &["model.a", "model.b"]] {
        said_in_one_line(document.clone().into_state_dict(names));
    }
    if let Some((images, labels)) = said_in_one_line(document.clone().into_images_and_labels()) {
        let n = images.shape().first().copied().unwrap_or(1);
        assert!(labels.is_none_or(|labels| labels.shape() == [n]));
        let n = images.len();
        if let Ok(images) = images.into_nchw() {
            assert_eq!(images.len(), n);
        }
    }
    if let Ok(array) = document.clone().into_array() {
        let mut file = Vec::new();
        pt::write_array(&mut file, array.view()).expect("a consistent array");
        let back = read_bytes(Path::new("again"), &file).and_then(Document::into_array);
        assert_eq!(back.expect("our own file"), array);
    }
    let Ok(tensors) = document.into_tensors() else { return };
    let views: Vec<(&str, View<'_>)> =
        tensors.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
    let mut file = Vec::new();
    pt::write_dict(&mut file, &views).expect("distinct names");
    let back = read_bytes(Path::new("again"), &file).and_then(dotted);
    assert_eq!(back.expect("our own file"), tensors);

    file.clear();
    match safetensors::write(&mut file, &views, &[]) {
        Ok(()) => {
            let mut back = read_bytes(Path::new("again"), &file).and_then(dotted).expect("our own file");
            back.sort_by(|one, two| one.0.cmp(&two.0));
            let mut sorted = tensors.clone();
            sorted.sort_by(|one, two| one.0.cmp(&two.0));
            assert_eq!(back, sorted);
        }
        Err(Error::Unwritable { .. }) => {}
        Err(error) => panic!("{error}"),
    }

    file.clear();
    match npz::write(&mut file, &views) {
        Ok(()) => {
            let back = read_bytes(Path::new("again"), &file).and_then(dotted);
            assert_eq!(back.expect("our own file"), tensors);
        }
        Err(Error::Unwritable { .. } | Error::Write { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

/// All arrays by name, without cutting off wrappers' names.
fn dotted(document: Document) -> tensorfile::Result<Vec<(String, tensorfile::Array)>> {
    Ok(document.entries().into_iter().map(|(name, array)| (name, array.clone())).collect())
}
