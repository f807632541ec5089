//! Writing `NumPy`'s files: one array (`.npy`), or several by name in a zip (`.npz`).

use std::io::Write;

use crate::array::{DType, View};
use crate::document::Format;
use crate::error::{Error, Result};
use crate::pt::check_names;
use crate::zip_writer::{ALIGNMENT, ZipWriter};

/// Writes one array, as `numpy.save` does.
///
/// # Errors
/// [`Error::Unwritable`] for bfloat16, which `NumPy` has not; those of [`View::check`];
/// [`Error::Write`].
pub fn write_npy(w: &mut impl Write, array: View<'_>) -> Result<()> {
    w.write_all(&header(Format::Npy, array)?)?;
    w.write_all(array.bytes)?;
    Ok(())
}

/// Writes named arrays uncompressed, as `numpy.savez` does, in the order given.
///
/// # Errors
/// [`Error::Unwritable`] for bfloat16 and where two arrays have one name; those of [`View::check`];
/// [`Error::Write`].
pub fn write(w: &mut impl Write, entries: &[(&str, View<'_>)]) -> Result<()> {
    check_names(Format::Npz, entries)?;
    let headers: Vec<_> =
        entries.iter().map(|(_, view)| header(Format::Npz, *view)).collect::<Result<_>>()?;
    let mut zip = ZipWriter::new(w);
    for ((name, view), header) in entries.iter().zip(&headers) {
        zip.entry(&format!("{name}.npy"), &[header, view.bytes])?;
    }
    zip.finish()?;
    Ok(())
}

/// The magic, the version and the description, padded so that the elements start at a multiple of
/// 64.
fn header(format: Format, array: View<'_>) -> Result<Vec<u8>> {
    array.check()?;
    let descr = match array.dtype {
        DType::F64 => "<f8",
        DType::F32 => "<f4",
        DType::F16 => "<f2",
        DType::BF16 => {
            let reason = "NumPy has no bfloat16; convert the array to float32".into();
            return Err(Error::Unwritable { format, reason });
        }
        DType::I64 => "<i8",
        DType::I32 => "<i4",
        DType::I16 => "<i2",
        DType::I8 => "|i1",
        DType::U8 => "|u1",
        DType::Bool => "|b1",
    };
    let lengths: Vec<String> = array.shape.iter().map(usize::to_string).collect();
    // Python writes a tuple of one with a comma.
    let comma = if lengths.len() == 1 { "," } else { "" };
    let shape = format!("({}{comma})", lengths.join(", "));
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let preamble = b"\x93NUMPY\x01\x00".len() + 2;
    let unpadded = preamble + text.len() + 1;
    let padding = unpadded.next_multiple_of(ALIGNMENT as usize) - unpadded;
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');

    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    // At most 64 dimensions of 20 digits each, so two bytes are always enough.
    header.extend_from_slice(&(text.len() as u16).to_le_bytes());
    header.extend_from_slice(text.as_bytes());
    Ok(header)
}
