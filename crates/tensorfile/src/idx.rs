//! The IDX files of MNIST: a type, the lengths, then big-endian elements; often gzipped.

use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::{Compression, GzBuilder};

use crate::array::{Array, DType, View};
use crate::document::Format;
use crate::error::{Error, ReadError, Result};
use crate::limits::Budget;
use crate::strided::reverse_elements;

/// Writes unsigned bytes, as MNIST's images `[n, 28, 28]` and labels `[n]` are.
///
/// # Errors
/// [`Error::Unwritable`] for other types, for scalars, and for lengths beyond 32 bits; those of
/// [`View::check`]; [`Error::Write`].
pub fn write(w: &mut impl Write, array: View<'_>) -> Result<()> {
    array.check()?;
    let unwritable = |reason: String| Error::Unwritable { format: Format::Idx, reason };
    if array.dtype != DType::U8 {
        return Err(unwritable(format!("the array is {}; convert it to uint8", array.dtype)));
    }
    if array.shape.is_empty() {
        return Err(unwritable("the array is a scalar; give it a dimension".into()));
    }
    // A shape has at most 64 dimensions.
    let mut header = vec![0, 0, 0x08, array.shape.len() as u8];
    for &length in array.shape {
        let length = u32::try_from(length)
            .map_err(|_| unwritable(format!("a length of {length} takes more than 32 bits")))?;
        header.extend_from_slice(&length.to_be_bytes());
    }
    w.write_all(&header)?;
    w.write_all(array.bytes)?;
    Ok(())
}

/// [`write()`], gzipped without a time stamp or name, so that equal arrays give equal bytes.
///
/// # Errors
/// As [`write()`].
pub fn write_gz(w: &mut impl Write, array: View<'_>) -> Result<()> {
    let mut gz = GzBuilder::new().mtime(0).write(w, Compression::default());
    write(&mut gz, array)?;
    gz.finish()?;
    Ok(())
}

/// Whether a (gunzipped) file starts as an IDX file does.
pub(crate) fn is_idx(start: &[u8]) -> bool {
    matches!(start, [0, 0, code, dims, ..] if dtype_of(*code).is_some() && *dims > 0)
}

fn dtype_of(code: u8) -> Option<DType> {
    Some(match code {
        0x08 => DType::U8,
        0x09 => DType::I8,
        0x0b => DType::I16,
        0x0c => DType::I32,
        0x0d => DType::F32,
        0x0e => DType::F64,
        _ => return None,
    })
}

/// Whether the gzipped file holds an IDX file.
pub(crate) fn is_gzipped_idx(file: impl Read) -> bool {
    let mut start = [0; 4];
    MultiGzDecoder::new(file).read_exact(&mut start).is_ok() && is_idx(&start)
}

/// Reads an IDX file.
pub(crate) fn parse(file: impl Read, budget: &mut Budget) -> Result<Array, ReadError> {
    parse_from(file, budget)
}

/// Reads a gzipped IDX file, inflating no more than its header promises.
pub(crate) fn parse_gz(file: impl Read, budget: &mut Budget) -> Result<Array, ReadError> {
    parse_from(MultiGzDecoder::new(file), budget)
}

fn parse_from(mut input: impl Read, budget: &mut Budget) -> Result<Array, ReadError> {
    let mut magic = [0; 4];
    input.read_exact(&mut magic).map_err(|error| broken("the magic number", error))?;
    let [_, _, code, dims] = magic;
    let dtype = dtype_of(code)
        .filter(|_| is_idx(&magic))
        .ok_or_else(|| ReadError::malformed(format!("its magic number is {magic:02x?}")))?;
    let mut shape = Vec::new();
    for _ in 0..dims {
        let mut length = [0; 4];
        input.read_exact(&mut length).map_err(|error| broken("the lengths of the dimensions", error))?;
        shape.push(u32::from_be_bytes(length) as usize);
    }
    let needed = crate::array::element_count(dtype, &shape)? * dtype.size();
    let what = format!("a {dtype} array of shape {shape:?}");
    budget.spend(needed as u128, || what.clone())?;
    let array = Array::filled(dtype, shape, |out| {
        input.read_exact(out).map_err(|error| broken(&what, error))?;
        reverse_elements(out, dtype.size());
        Ok(())
    })?;
    match input.read(&mut [0]) {
        Ok(0) => Ok(array),
        Ok(_) => Err(ReadError::malformed(format!("more bytes follow after {what}"))),
        Err(error) => Err(broken("the end", error)),
    }
}

fn broken(what: &str, error: io::Error) -> ReadError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            ReadError::malformed(format!("it ends within {what}; fetch or make it again"))
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => ReadError::malformed(format!(
            "its gzip data is damaged in {what} ({error}); fetch or make it again"
        )),
        _ => ReadError::Io(error),
    }
}
