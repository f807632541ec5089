//! One file, told by its content.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use artifact::{FileRecord, StoredReport};
use tensorfile::Error;

use crate::arrays::ArrayInfo;
use crate::finding::{Beside, Finding, Privacy};
use crate::{architecture, folder, json, table};

/// Texts and JSON of more bytes are not read.
const MAX_TEXT: u64 = 64 << 20;

/// Looks at a file or a folder.
///
/// # Errors
/// What cannot be read, or is nothing that is known here.
pub(crate) fn inspect(path: &Path) -> Result<Finding> {
    let meta = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if meta.is_dir() {
        return folder::inspect(path);
    }
    if !meta.is_file() {
        bail!("cannot read {}: it is a pipe or a device; give a file or a folder", path.display());
    }
    let record = FileRecord::of(path)?;
    let mut finding = match tensorfile::read(path) {
        Ok(document) => arrays(document),
        Err(error @ Error::Unrecognised { .. }) => other(path, error)?,
        Err(error) => return Err(error.into()),
    };
    finding.path = path.to_path_buf();
    finding.bytes = Some(record.bytes);
    if finding.files.is_empty()
        && let Some((report, named)) = StoredReport::of_file(path, &record.sha256)
    {
        let unchanged = named.sha256 == record.sha256;
        if unchanged {
            finding.privacy = Privacy::of(&report);
        } else {
            finding.privacy = Privacy::unknown("the report beside it is of another content");
            finding.problems.push(format!("changed since {} was written", report.path.display()));
        }
        finding.report = Some(Beside { path: report.path, unchanged });
    }
    finding.sha256 = Some(record.sha256);
    Ok(finding)
}

fn arrays(document: tensorfile::Document) -> Finding {
    let arrays: Vec<ArrayInfo> =
        document.entries().into_iter().map(|(name, array)| ArrayInfo::of(name, array)).collect();
    let mut finding =
        Finding { format: document.format.to_string(), program: document.code, ..Finding::default() };
    for (key, text) in &document.metadata {
        finding.field(key, text.as_str());
    }
    let bare = document.describe();
    let n = arrays.len();
    let network = document.into_tensors().ok().and_then(|tensors| architecture::network(&tensors));
    finding.is = network.or_else(|| architecture::data(&arrays)).or_else(|| {
        Some(if n == 0 { bare } else { format!("{n} {}", if n == 1 { "array" } else { "arrays" }) })
    });
    finding.arrays = arrays;
    finding
}

/// Files without arrays; `error` is what is said of those that are nothing known either.
fn other(path: &Path, error: Error) -> Result<Finding> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(64).read_to_end(&mut start))
        .with_context(|| format!("cannot read {}", path.display()))?;
    if start.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Ok(png(&start));
    }
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let begins = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start).trim_ascii_start();
    if ending == "json" || begins.starts_with(b"{") || begins.starts_with(b"[") {
        return json::inspect(path, &text(path)?);
    }
    match ending {
        "csv" => table::inspect(path, &text(path)?),
        "md" => {
            let text = text(path)?;
            let text = String::from_utf8_lossy(&text);
            let title = text.lines().next().unwrap_or_default().trim_start_matches('#').trim().to_owned();
            let is = title.starts_with("Data card").then(|| format!("{title} (generated data)"));
            Ok(Finding { format: "Markdown".to_owned(), is, ..Finding::default() })
        }
        "fingerprint" => Ok(Finding {
            format: "text".to_owned(),
            is: Some("identity of what a teacher was made from".to_owned()),
            ..Finding::default()
        }),
        _ => Err(error.into()),
    }
}

fn text(path: &Path) -> Result<Vec<u8>> {
    let read = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(read)?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT + 1).read_to_end(&mut bytes).with_context(read)?;
    if bytes.len() as u64 > MAX_TEXT {
        bail!(
            "cannot read {}: it takes more than the {MAX_TEXT} bytes that texts may take here",
            path.display()
        );
    }
    Ok(bytes)
}

/// Width and height stand after signature, length and name of the first chunk.
fn png(start: &[u8]) -> Finding {
    let number = |from: usize| {
        let bytes = start.get(from..from + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let is =
        number(16).zip(number(20)).map(|(width, height)| format!("picture of {width} x {height} pixels"));
    Finding { format: "PNG".to_owned(), is, ..Finding::default() }
}
