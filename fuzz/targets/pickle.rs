//! Any bytes as the pickle of an archive whose directory and CRCs are right, which mutation alone
//! hardly ever meets.
//!
//! The first byte says how the archive is made, the second how many bytes are the storage, at the
//! end.
#![no_main]

use std::io::{Cursor, Write};

use libfuzzer_sys::fuzz_target;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fuzz_target!(|bytes: &[u8]| {
    let [kind, storage_bytes, rest @ ..] = bytes else { return };
    let (pickle, storage) = rest.split_at(rest.len().saturating_sub(usize::from(*storage_bytes)));
    if let Some(archive) = archive(*kind, pickle, storage) {
        tensorfile_fuzz::check(&archive);
    }
});

fn archive(kind: u8, pickle: &[u8], storage: &[u8]) -> Option<Vec<u8>> {
    let method = if kind & 1 == 0 { CompressionMethod::Stored } else { CompressionMethod::Deflated };
    let options = SimpleFileOptions::default().compression_method(method);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut entry = |name: &str, content: &[u8]| -> Option<()> {
        zip.start_file(name, options).ok()?;
        zip.write_all(content).ok()
    };
    entry("x/data.pkl", pickle)?;
    entry("x/data/0", storage)?;
    if kind & 2 != 0 {
        entry("x/data/1", storage)?;
    }
    if kind & 4 != 0 {
        entry("x/code/__torch__.py", b"")?;
    }
    Some(zip.finish().ok()?.into_inner())
}
