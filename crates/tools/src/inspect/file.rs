//! One file, recognised by its content.

use std::fs::Metadata;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};
use tensorfile::Error;

use super::arrays::ArrayInfo;
use super::finding::{Beside, Finding, Privacy};
use super::known::Known;
use super::{architecture, json, table};

/// Arrays of kinds that are not read of which the names are shown.
const MAX_UNREAD: usize = 100;

/// Looks at a file.
///
/// # Errors
/// What cannot be read, or is nothing that is known here.
pub(crate) fn inspect(path: &Path, meta: &Metadata, known: &mut Known) -> Result<Finding> {
    if !meta.is_file() {
        bail!("cannot read {}: it is a pipe or a device; give a file or a folder", path.display());
    }
    let record = known.record(path)?;
    let mut finding = match tensorfile::read(path) {
        Ok(document) => arrays(document),
        Err(error @ Error::Unrecognised { .. }) => other(path, error, known)?,
        Err(error) => return Err(error.into()),
    };
    finding.path = path.to_path_buf();
    finding.bytes = Some(record.bytes);
    if finding.files.is_empty()
        && let Some((report, named)) = known.report_of(path, &record.sha256)
    {
        let unchanged = named.sha256 == record.sha256;
        if unchanged {
            finding.privacy = Privacy::of(&report);
        } else {
            finding.privacy = Privacy::unknown("the report beside it is of another content");
            finding.problems.push(format!("changed since {} was written", report.path.display()));
        }
        finding.report = Some(Beside { path: report.path.clone(), unchanged });
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
    let unread = document.unread();
    if !unread.is_empty() {
        let shown = unread.iter().map(|(name, what)| (name.clone(), Value::from(*what)));
        finding.field("not_read", shown.take(MAX_UNREAD).collect::<Map<_, _>>());
    }
    let bare = document.describe();
    let n = arrays.len();
    let network = architecture::tensors(document).and_then(|tensors| architecture::network(&tensors));
    finding.is = network.or_else(|| architecture::data(&arrays)).or_else(|| {
        Some(if n == 0 { bare } else { format!("{n} {}", if n == 1 { "array" } else { "arrays" }) })
    });
    finding.arrays = arrays;
    finding
}

/// Files without arrays; `error` is what is said of those that are nothing known either.
fn other(path: &Path, error: Error, known: &mut Known) -> Result<Finding> {
    let cannot_read = || format!("cannot read {}", path.display());
    let mut start = Vec::new();
    input_file::open(path)
        .and_then(|(file, _)| file.take(64).read_to_end(&mut start))
        .with_context(cannot_read)?;
    if start.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Ok(png(&start));
    }
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let begins = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start).trim_ascii_start();
    let text = |limit| input_file::read_text(path, limit).with_context(cannot_read);
    if ending == "json" || begins.starts_with(b"{") || begins.starts_with(b"[") {
        return json::inspect(path, &text(input_file::JSON)?, known);
    }
    match ending {
        "csv" => table::inspect(path, &text(input_file::CSV)?),
        "md" => {
            let text = text(input_file::JSON)?;
            let title = text.lines().next().unwrap_or_default().trim_start_matches('#').trim().to_owned();
            let is = title.starts_with("Data card").then(|| format!("{title} (generated data)"));
            Ok(Finding { format: "Markdown".to_owned(), is, ..Finding::default() })
        }
        _ => Err(error.into()),
    }
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
