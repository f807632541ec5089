//! Where the bytes of a file come from: memory, or the file itself. What is read goes straight to
//! where it stays.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use crate::error::{ReadError, shown};
use crate::limits::Budget;

/// A file that is open, or bytes in memory.
pub(crate) trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

/// Bytes that are read and passed over at once.
const PIECE: usize = 1 << 14;

/// Fills `out` from the position `start`.
pub(crate) fn fill_at(source: &mut dyn Source, start: u64, out: &mut [u8]) -> Result<(), ReadError> {
    source.seek(SeekFrom::Start(start))?;
    Ok(source.read_exact(out)?)
}

/// The bytes from `start`, at most `length` of them; memory for them comes out of `budget`.
pub(crate) fn bytes_at(
    source: &mut dyn Source,
    start: u64,
    length: u64,
    budget: &mut Budget,
    what: impl FnOnce() -> String,
) -> Result<Vec<u8>, ReadError> {
    budget.spend(length.into(), what)?;
    let mut bytes = crate::array::zeros(usize::try_from(length).map_err(|_| ReadError::OutOfMemory)?, 0)?;
    fill_at(source, start, &mut bytes)?;
    Ok(bytes)
}

/// A run of bytes of known length, read front to back: the rest of a file, or the content of an
/// archive's entry.
pub(crate) struct Stream<'s> {
    input: Box<dyn Read + 's>,
    left: u64,
    entry: Option<Entry>,
}

/// What an archive says of an entry.
struct Entry {
    name: String,
    crc: u32,
    found: crc32fast::Hasher,
    inflated: bool,
}

impl<'s> Stream<'s> {
    /// The bytes from the present position of `source` on; `left` of them.
    pub(crate) fn rest(source: &'s mut dyn Source, left: u64) -> Self {
        Self { input: Box::new(source), left, entry: None }
    }

    /// The content of an entry: `input` gives it, `inflated` where it was compressed.
    pub(crate) fn entry(input: impl Read + 's, size: u64, (name, crc): (&str, u32), inflated: bool) -> Self {
        let entry = Entry { name: name.to_owned(), crc, found: crc32fast::Hasher::new(), inflated };
        Self { input: Box::new(input), left: size, entry: Some(entry) }
    }

    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes; asking for more than are [`left`](Self::left) is an error.
    pub(crate) fn fill(&mut self, out: &mut [u8]) -> Result<(), ReadError> {
        let Some(left) = self.left.checked_sub(out.len() as u64) else {
            return Err(ReadError::malformed("it ends too early; copy or save it again"));
        };
        self.left = left;
        self.input.read_exact(out).map_err(|error| self.failed(error))?;
        if let Some(entry) = &mut self.entry {
            entry.found.update(out);
        }
        Ok(())
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut array = [0; N];
        self.fill(&mut array)?;
        Ok(array)
    }

    /// Passes over `count` bytes, which the CRC covers all the same.
    pub(crate) fn skip(&mut self, mut count: u64) -> Result<(), ReadError> {
        let mut piece = [0; PIECE];
        while count > 0 {
            let length = count.min(PIECE as u64) as usize;
            self.fill(piece.get_mut(..length).unwrap_or_default())?;
            count -= length as u64;
        }
        Ok(())
    }

    /// Reads what is left, and checks that nothing follows it and that the CRC is the archive's.
    pub(crate) fn finish(mut self) -> Result<(), ReadError> {
        self.skip(self.left)?;
        let more = self.input.read(&mut [0]).map_err(|error| self.failed(error))?;
        let Some(entry) = self.entry else { return Ok(()) };
        if entry.inflated && more > 0 {
            return Err(damaged(&entry.name, "holds more than the archive says"));
        }
        if entry.found.finalize() != entry.crc {
            return Err(damaged(&entry.name, "does not have the CRC that the archive states"));
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> ReadError {
        match (&self.entry, error.kind()) {
            (Some(entry), ErrorKind::UnexpectedEof | ErrorKind::InvalidInput | ErrorKind::InvalidData)
                if entry.inflated =>
            {
                damaged(&entry.name, &format!("cannot be inflated ({error})"))
            }
            _ => ReadError::Io(error),
        }
    }
}

/// An entry of an archive that is not what the archive says.
pub(crate) fn damaged(name: &str, what: &str) -> ReadError {
    ReadError::malformed(format!("its entry `{}` {what}; copy or save the file again", shown(name)))
}
