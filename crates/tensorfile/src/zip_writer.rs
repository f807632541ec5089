//! Zip archives of stored entries, written front to back: what `.pt` and `.npz` files are.
//!
//! Sizes and CRCs stand in the local headers (no data descriptors), and payloads start at multiples
//! of [`ALIGNMENT`], both of which PyTorch needs to map a file into memory. Nothing but the entries
//! goes in, so equal entries give equal bytes.

use std::io::{self, Write};

/// Payloads start at multiples of this many bytes, as PyTorch's own do.
pub(crate) const ALIGNMENT: u64 = 64;

/// Where the CRC stands in a local header.
pub(crate) const CRC_OFFSET: u64 = 14;

const LOCAL_HEADER_BYTES: u64 = 30;
const ZIP64_EXTRA_ID: u16 = 0x0001;
/// PyTorch's id for padding ("FB").
const PADDING_EXTRA_ID: u16 = 0x4246;
/// 1 January 1980, the first date that the format knows.
const DATE: u16 = 0x0021;
const UTF8_FLAG: u16 = 1 << 11;
/// Without it, names are taken for those of MS-DOS.
const MADE_ON_UNIX: u16 = 3 << 8;
/// Versions of the format that an entry needs: plain, and with 64-bit fields.
const VERSION: u16 = 20;
const ZIP64_VERSION: u16 = 45;
/// An extracted entry is a file with the permissions `rw-r--r--`.
const FILE_MODE: u64 = 0o100_644 << 16;
/// 32-bit fields that hold this value refer to the 64-bit fields of the extra data.
const IN_ZIP64: u64 = u32::MAX as u64;

#[derive(Debug)]
struct Entry {
    name: String,
    crc: u32,
    size: u64,
    offset: u64,
}

#[derive(Debug)]
pub(crate) struct ZipWriter<W> {
    out: W,
    position: u64,
    entries: Vec<Entry>,
}

impl<W: Write> ZipWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, position: 0, entries: Vec::new() }
    }

    /// A whole entry.
    pub(crate) fn entry(&mut self, name: &str, payload: &[&[u8]]) -> io::Result<()> {
        let mut crc = crc32fast::Hasher::new();
        let mut size = 0;
        for part in payload {
            crc.update(part);
            size += part.len() as u64;
        }
        self.begin(name, crc.finalize(), size)?;
        payload.iter().try_for_each(|part| self.payload(part))
    }

    /// The header of an entry whose `size` bytes follow through [`ZipWriter::payload`]; returns
    /// where the header starts.
    pub(crate) fn begin(&mut self, name: &str, crc: u32, size: u64) -> io::Result<u64> {
        let offset = self.position;
        let name_bytes = u16::try_from(name.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a name of more than 65535 bytes"))?;
        let mut extra = Vec::new();
        if size >= IN_ZIP64 {
            put16(&mut extra, &[ZIP64_EXTRA_ID, 16]);
            put64(&mut extra, &[size, size]);
        }
        let unpadded = offset + LOCAL_HEADER_BYTES + name.len() as u64 + extra.len() as u64 + 4;
        let padding = (unpadded.next_multiple_of(ALIGNMENT) - unpadded) as u16;
        put16(&mut extra, &[PADDING_EXTRA_ID, padding]);
        extra.resize(extra.len() + usize::from(padding), 0);

        let mut header = b"PK\x03\x04".to_vec();
        put16(&mut header, &[version(size), flags(name), 0, 0, DATE]);
        put32(&mut header, &[u64::from(crc), size, size]);
        put16(&mut header, &[name_bytes, extra.len() as u16]);
        header.extend_from_slice(name.as_bytes());
        header.extend_from_slice(&extra);
        self.payload(&header)?;
        self.entries.push(Entry { name: name.to_owned(), crc, size, offset });
        Ok(offset)
    }

    /// The next bytes of the entry that was begun.
    pub(crate) fn payload(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Corrects the CRC of the entry whose header starts at `offset`, for the directory; the local
    /// header is the caller's.
    pub(crate) fn set_crc(&mut self, offset: u64, crc: u32) {
        for entry in self.entries.iter_mut().filter(|entry| entry.offset == offset) {
            entry.crc = crc;
        }
    }

    /// Writes the directory.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        let start = self.position;
        for entry in std::mem::take(&mut self.entries) {
            let mut extra = Vec::new();
            if entry.size >= IN_ZIP64 {
                put64(&mut extra, &[entry.size, entry.size]);
            }
            if entry.offset >= IN_ZIP64 {
                put64(&mut extra, &[entry.offset]);
            }
            let mut header = b"PK\x01\x02".to_vec();
            let needed = version(entry.size.max(entry.offset));
            put16(&mut header, &[MADE_ON_UNIX | needed, needed, flags(&entry.name), 0, 0, DATE]);
            put32(&mut header, &[u64::from(entry.crc), entry.size, entry.size]);
            let extra_bytes = if extra.is_empty() { 0 } else { extra.len() as u16 + 4 };
            put16(&mut header, &[entry.name.len() as u16, extra_bytes, 0, 0, 0]);
            put32(&mut header, &[FILE_MODE, entry.offset]);
            header.extend_from_slice(entry.name.as_bytes());
            if !extra.is_empty() {
                put16(&mut header, &[ZIP64_EXTRA_ID, extra.len() as u16]);
                header.extend_from_slice(&extra);
            }
            self.payload(&header)?;
            self.entries.push(entry);
        }
        let end = self.position;
        let (count, size) = (self.entries.len() as u64, end - start);

        let mut tail = Vec::new();
        if start >= IN_ZIP64 || size >= IN_ZIP64 || count >= u64::from(u16::MAX) {
            tail.extend_from_slice(b"PK\x06\x06");
            put64(&mut tail, &[44]);
            put16(&mut tail, &[MADE_ON_UNIX | ZIP64_VERSION, ZIP64_VERSION]);
            put32(&mut tail, &[0, 0]);
            put64(&mut tail, &[count, count, size, start]);
            tail.extend_from_slice(b"PK\x06\x07");
            put32(&mut tail, &[0]);
            put64(&mut tail, &[end]);
            put32(&mut tail, &[1]);
        }
        let short_count = count.min(u64::from(u16::MAX)) as u16;
        tail.extend_from_slice(b"PK\x05\x06");
        put16(&mut tail, &[0, 0, short_count, short_count]);
        put32(&mut tail, &[size, start]);
        put16(&mut tail, &[0]);
        self.payload(&tail)?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// The output, for patching what was written.
    pub(crate) fn out_mut(&mut self) -> &mut W {
        &mut self.out
    }
}

fn version(largest: u64) -> u16 {
    if largest >= IN_ZIP64 { ZIP64_VERSION } else { VERSION }
}

fn flags(name: &str) -> u16 {
    if name.is_ascii() { 0 } else { UTF8_FLAG }
}

fn put16(out: &mut Vec<u8>, values: &[u16]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

/// 32-bit fields; what does not fit is marked as standing in the 64-bit fields.
fn put32(out: &mut Vec<u8>, values: &[u64]) {
    out.extend(values.iter().flat_map(|value| (value.min(&IN_ZIP64).to_owned() as u32).to_le_bytes()));
}

fn put64(out: &mut Vec<u8>, values: &[u64]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}
