//! Writing `.pt` files that `torch.load(path, weights_only=True, mmap=True)` accepts.
//!
//! The archive holds a pickle of one tensor or of a plain dict of tensors (which tch reads as well)
//! and one storage per tensor. Equal arrays give equal bytes, whenever and wherever they are
//! written.
//!
//! ```
//! use tensorfile::{View, pt};
//!
//! let mut file = Vec::new();
//! pt::write_dict(&mut file, &[("weight", View::f32(&[2, 3], &[0.5; 6])?), ("bias", View::f32(&[2], &[0.0, 1.0])?)])?;
//! assert!(file.starts_with(b"PK"));
//! # Ok::<(), tensorfile::Error>(())
//! ```

use std::collections::HashSet;
use std::io::{Seek, SeekFrom, Write};

use crate::array::{DType, View, element_count};
use crate::document::Format;
use crate::error::{Error, Result, shown};
use crate::zip_writer::{CRC_OFFSET, ZipWriter};

/// Writes one bare tensor, as `torch.save(tensor, path)` does.
///
/// # Errors
/// Those of [`View::check`], and [`Error::Write`].
pub fn write_array(w: &mut impl Write, array: View<'_>) -> Result<()> {
    array.check()?;
    let mut pickle = Pickle::new();
    pickle.tensor(array.dtype, array.shape, 0);
    let mut zip = begin(w, pickle)?;
    zip.entry(&storage_name(0), &[array.bytes])?;
    end(zip)?;
    Ok(())
}

/// Writes a dict of tensors, as `torch.save(dict, path)` does, in the order given.
///
/// # Errors
/// [`Error::Unwritable`] where two entries have one name; those of [`View::check`];
/// [`Error::Write`].
pub fn write_dict(w: &mut impl Write, entries: &[(&str, View<'_>)]) -> Result<()> {
    check_names(Format::TorchZip, entries)?;
    let mut pickle = Pickle::new();
    pickle.dict(entries);
    let mut zip = begin(w, pickle)?;
    for (index, (_, view)) in entries.iter().enumerate() {
        zip.entry(&storage_name(index), &[view.bytes])?;
    }
    end(zip)?;
    Ok(())
}

/// Writes one bare tensor whose elements come in pieces, so that it never lies in memory as a
/// whole.
///
/// The bytes are those of [`write_array`]. Wrap a file in a `BufWriter` where pieces are small. A
/// writer that is dropped before [`ArrayWriter::finish`] leaves a broken file.
#[derive(Debug)]
pub struct ArrayWriter<W: Write + Seek> {
    zip: ZipWriter<W>,
    base: u64,
    header: u64,
    crc: crc32fast::Hasher,
    dtype: DType,
    shape: Vec<usize>,
    written: usize,
    expected: usize,
}

impl<W: Write + Seek> ArrayWriter<W> {
    /// Starts a tensor of known type and shape at the present position of `w`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Dimensions`], [`Error::Write`].
    pub fn new(mut w: W, dtype: DType, shape: &[usize]) -> Result<Self> {
        let expected = element_count(dtype, shape)? * dtype.size();
        let base = w.stream_position()?;
        let mut pickle = Pickle::new();
        pickle.tensor(dtype, shape, 0);
        let mut zip = begin(w, pickle)?;
        let header = zip.begin(&storage_name(0), 0, expected as u64)?;
        let crc = crc32fast::Hasher::new();
        Ok(Self { zip, base, header, crc, dtype, shape: shape.to_vec(), written: 0, expected })
    }

    /// Appends elements: little-endian bytes, in row-major order; a piece may end anywhere.
    ///
    /// # Errors
    /// [`Error::Length`] where more comes than the shape takes; [`Error::NotBool`];
    /// [`Error::Write`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() > self.expected - self.written {
            return Err(self.wrong_length(self.written.saturating_add(bytes.len())));
        }
        if self.dtype == DType::Bool
            && let Some((index, &byte)) = bytes.iter().enumerate().find(|&(_, &byte)| byte > 1)
        {
            return Err(Error::NotBool { index: self.written + index, byte });
        }
        self.crc.update(bytes);
        self.zip.payload(bytes)?;
        self.written += bytes.len();
        Ok(())
    }

    /// Appends single precision elements.
    ///
    /// # Errors
    /// As [`ArrayWriter::write`]; the type must have been given as [`DType::F32`] for the bytes to
    /// mean these numbers.
    pub fn write_f32(&mut self, values: &[f32]) -> Result<()> {
        self.write(bytemuck::cast_slice(values))
    }

    /// Completes the file and returns the output, positioned at its end.
    ///
    /// # Errors
    /// [`Error::Length`] where elements are missing; [`Error::Write`].
    pub fn finish(mut self) -> Result<W> {
        if self.written != self.expected {
            return Err(self.wrong_length(self.written));
        }
        let crc = self.crc.clone().finalize();
        self.zip.set_crc(self.header, crc);
        let out = self.zip.out_mut();
        let position = out.stream_position()?;
        out.seek(SeekFrom::Start(self.base + self.header + CRC_OFFSET))?;
        out.write_all(&crc.to_le_bytes())?;
        out.seek(SeekFrom::Start(position))?;
        end(self.zip)
    }

    fn wrong_length(&self, got: usize) -> Error {
        Error::Length { dtype: self.dtype, shape: self.shape.clone(), expected: self.expected, got }
    }
}

/// Refuses two entries of one name, and inconsistent views.
pub(crate) fn check_names(format: Format, entries: &[(&str, View<'_>)]) -> Result<()> {
    let mut names = HashSet::new();
    for (name, view) in entries {
        view.check()?;
        if !names.insert(name) {
            return Err(Error::Unwritable {
                format,
                reason: format!("two arrays are named `{}`", shown(name)),
            });
        }
    }
    Ok(())
}

fn storage_name(index: usize) -> String {
    format!("archive/data/{index}")
}

fn begin<W: Write>(w: W, pickle: Pickle) -> Result<ZipWriter<W>> {
    let mut zip = ZipWriter::new(w);
    zip.entry("archive/data.pkl", &[&pickle.finish()])?;
    zip.entry("archive/byteorder", &[b"little"])?;
    Ok(zip)
}

fn end<W: Write>(mut zip: ZipWriter<W>) -> Result<W> {
    zip.entry("archive/version", &[b"3\n"])?;
    Ok(zip.finish()?)
}

/// PyTorch's name for the storage of a type.
fn storage_class(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "DoubleStorage",
        DType::F32 => "FloatStorage",
        DType::F16 => "HalfStorage",
        DType::BF16 => "BFloat16Storage",
        DType::I64 => "LongStorage",
        DType::I32 => "IntStorage",
        DType::I16 => "ShortStorage",
        DType::I8 => "CharStorage",
        DType::U8 => "ByteStorage",
        DType::Bool => "BoolStorage",
    }
}

/// The few opcodes of protocol 2 that tensors and dicts need.
struct Pickle(Vec<u8>);

impl Pickle {
    fn new() -> Self {
        Self(vec![0x80, 2])
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.push(b'.');
        self.0
    }

    fn dict(&mut self, entries: &[(&str, View<'_>)]) {
        self.0.push(b'}');
        if entries.is_empty() {
            return;
        }
        self.0.push(b'(');
        for (index, (name, view)) in entries.iter().enumerate() {
            self.text(name);
            self.tensor(view.dtype, view.shape, index);
        }
        self.0.push(b'u');
    }

    /// `torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`.
    fn tensor(&mut self, dtype: DType, shape: &[usize], storage: usize) {
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.0.push(b'(');
        self.storage(dtype, shape, storage);
        self.int(0);
        self.tuple(shape);
        self.tuple(&strides(shape));
        self.0.push(0x89); // False
        self.global("collections", "OrderedDict");
        self.0.extend_from_slice(b")R"); // called without arguments
        self.0.extend_from_slice(b"tR");
    }

    /// The persistent id `("storage", torch.FloatStorage, "0", "cpu", elements)`.
    fn storage(&mut self, dtype: DType, shape: &[usize], index: usize) {
        self.0.push(b'(');
        self.text("storage");
        self.global("torch", storage_class(dtype));
        self.text(&index.to_string());
        self.text("cpu");
        self.int(shape.iter().product());
        self.0.extend_from_slice(b"tQ");
    }

    fn global(&mut self, module: &str, name: &str) {
        self.0.extend_from_slice(format!("c{module}\n{name}\n").as_bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        self.0.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn tuple(&mut self, items: &[usize]) {
        self.0.push(b'(');
        for &item in items {
            self.int(item);
        }
        self.0.push(b't');
    }

    fn int(&mut self, value: usize) {
        if let Ok(byte) = u8::try_from(value) {
            self.0.extend_from_slice(&[b'K', byte]);
        } else if let Ok(short) = u16::try_from(value) {
            self.0.push(b'M');
            self.0.extend_from_slice(&short.to_le_bytes());
        } else if let Ok(int) = i32::try_from(value) {
            self.0.push(b'J');
            self.0.extend_from_slice(&int.to_le_bytes());
        } else {
            // Lengths stay below 2^63, so the eight bytes are a positive signed number.
            self.0.extend_from_slice(&[0x8a, 8]);
            self.0.extend_from_slice(&(value as u64).to_le_bytes());
        }
    }
}

/// Strides of a contiguous tensor, as PyTorch computes them: a dimension of length 0 counts as 1.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    let mut step = 1_usize;
    for (stride, &length) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step = step.saturating_mul(length.max(1));
    }
    strides
}
