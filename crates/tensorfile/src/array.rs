//! [`Array`]: owned elements with a shape; [`View`]: the same, borrowed; [`DType`]: what an element
//! is.

use std::fmt;

use half::{bf16, f16};

use crate::error::{Error, ReadError, Result};
use crate::limits::MAX_DIMS;
use crate::strided::gather;

/// Type of the elements of an array, named as PyTorch and `NumPy` name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE 754 double precision.
    F64,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of a single precision number.
    BF16,
    /// Signed, 64 bits.
    I64,
    /// Signed, 32 bits.
    I32,
    /// Signed, 16 bits.
    I16,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 8 bits.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

impl DType {
    /// Every type, widest first.
    pub const ALL: [Self; 10] = [
        Self::F64,
        Self::I64,
        Self::F32,
        Self::I32,
        Self::F16,
        Self::BF16,
        Self::I16,
        Self::I8,
        Self::U8,
        Self::Bool,
    ];

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether elements can be fractions.
    pub fn is_floating(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }

    /// PyTorch's name without `torch.`, such as `float32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "float64",
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
            Self::I64 => "int64",
            Self::I32 => "int32",
            Self::I16 => "int16",
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::Bool => "bool",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Number of elements of `shape`, if they and every partial product fit in memory.
///
/// Dimensions of length 0 are left out of the check's product, so that strides can be computed from
/// the shape without overflow.
pub(crate) fn element_count(dtype: DType, shape: &[usize]) -> Result<usize> {
    if shape.len() > MAX_DIMS {
        return Err(Error::Dimensions { got: shape.len(), max: MAX_DIMS });
    }
    let too_large = || Error::Shape { dtype, shape: shape.to_vec() };
    let product = shape
        .iter()
        .filter(|&&n| n != 0)
        .try_fold(1_usize, |product, &n| product.checked_mul(n))
        .ok_or_else(too_large)?;
    if product > isize::MAX as usize / dtype.size() {
        return Err(too_large());
    }
    Ok(if shape.contains(&0) { 0 } else { product })
}

/// Elements with a shape: contiguous, row-major, little-endian.
#[derive(Clone)]
pub struct Array {
    dtype: DType,
    shape: Vec<usize>,
    len: usize,
    data: Data,
}

/// Single precision has its own allocation, so that [`Array::into_f32`] need not copy it; the rest
/// are bytes.
#[derive(Clone)]
enum Data {
    F32(Vec<f32>),
    Bytes(Vec<u8>),
}

impl Data {
    fn zeros(dtype: DType, len: usize) -> Result<Self, ReadError> {
        match dtype {
            DType::F32 => zeros(len, 0.0).map(Self::F32),
            _ => zeros(len * dtype.size(), 0).map(Self::Bytes),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(values) => bytemuck::cast_slice(values),
            Self::Bytes(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::F32(values) => bytemuck::cast_slice_mut(values),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// `len` zeros, or an error where the system has no memory for them.
pub(crate) fn zeros<T: Clone>(len: usize, zero: T) -> Result<Vec<T>, ReadError> {
    let mut zeros = Vec::new();
    zeros.try_reserve_exact(len).map_err(|_| ReadError::OutOfMemory)?;
    zeros.resize(len, zero);
    Ok(zeros)
}

impl Array {
    /// An array from its bytes: row-major, little-endian, `shape`'s product times [`DType::size`]
    /// of them.
    ///
    /// Bytes of a `bool` array other than 0 become 1.
    ///
    /// # Errors
    /// [`Error::Length`] where the number of bytes is another, [`Error::Shape`] where it exceeds
    /// the address space, [`Error::Dimensions`] where there are more than [`MAX_DIMS`].
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Result<Self> {
        let len = check(dtype, &shape, bytes.len())?;
        let mut data = match dtype {
            DType::F32 => Data::F32(decoded(&bytes, f32::from_le_bytes, |v| v)),
            _ => Data::Bytes(bytes),
        };
        if dtype == DType::Bool {
            normalise_bools(data.bytes_mut());
        }
        Ok(Self { dtype, shape, len, data })
    }

    /// A single precision array, without copying.
    ///
    /// # Errors
    /// As [`Array::new`].
    pub fn from_f32(shape: Vec<usize>, values: Vec<f32>) -> Result<Self> {
        let len = check(DType::F32, &shape, size_of_val(values.as_slice()))?;
        Ok(Self { dtype: DType::F32, shape, len, data: Data::F32(values) })
    }

    /// A 64-bit integer array.
    ///
    /// # Errors
    /// As [`Array::new`].
    #[expect(clippy::needless_pass_by_value, reason = "the twin of from_f32, which keeps the allocation")]
    pub fn from_i64(shape: Vec<usize>, values: Vec<i64>) -> Result<Self> {
        Self::new(DType::I64, shape, bytemuck::cast_slice(&values).to_vec())
    }

    /// An array whose zeroed bytes `fill` writes; for readers, which have paid for the memory
    /// already.
    pub(crate) fn filled(
        dtype: DType,
        shape: Vec<usize>,
        fill: impl FnOnce(&mut [u8]) -> Result<(), ReadError>,
    ) -> Result<Self, ReadError> {
        let len = element_count(dtype, &shape)?;
        let mut data = Data::zeros(dtype, len)?;
        fill(data.bytes_mut())?;
        if dtype == DType::Bool {
            normalise_bools(data.bytes_mut());
        }
        Ok(Self { dtype, shape, len, data })
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Length of each dimension; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether elements can be fractions.
    pub fn is_floating(&self) -> bool {
        self.dtype.is_floating()
    }

    /// Whether elements are integers; truth values are none.
    pub fn is_integer(&self) -> bool {
        !self.is_floating() && self.dtype != DType::Bool
    }

    /// The elements as bytes: row-major, little-endian.
    pub fn bytes(&self) -> &[u8] {
        self.data.bytes()
    }

    /// The same elements in another shape; where it does not take as many, the array as it was.
    pub(crate) fn reshaped(mut self, shape: Vec<usize>) -> Result<Self, Self> {
        match element_count(self.dtype, &shape) {
            Ok(len) if len == self.len => {
                self.shape = shape;
                Ok(self)
            }
            _ => Err(self),
        }
    }

    /// Images as `[n, channels, height, width]`, where they may lie as
    /// `[n, height, width, channels]`, as Keras and most image libraries have them.
    ///
    /// With 1 or 3 channels and more than 3 pixels each way, the shape tells the two apart.
    /// `[n, height, width]` stays as it is.
    ///
    /// # Errors
    /// [`Error::Layout`] for every other shape.
    pub fn into_nchw(self) -> Result<Self> {
        match self.shape[..] {
            [_, _, _] | [_, 1 | 3, _, _] => Ok(self),
            [n, height, width, channels @ (1 | 3)] if height > 3 && width > 3 => {
                let shape = vec![n, channels, height, width];
                // The product of the lengths is known to fit.
                let strides = [height * width * channels, 1, width * channels, channels];
                let size = self.dtype.size();
                Self::filled(self.dtype, shape.clone(), |out| {
                    gather(self.bytes(), size, 0, &shape, &strides, out)
                })
                .map_err(|_| Error::Layout { shape: self.shape })
            }
            _ => Err(Error::Layout { shape: self.shape }),
        }
    }

    /// The same elements, borrowed.
    pub fn view(&self) -> View<'_> {
        View { dtype: self.dtype, shape: &self.shape, bytes: self.bytes() }
    }

    /// The elements as single precision numbers, rounded where they are wider; `bool` gives 0 and
    /// 1.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.dtype {
            DType::F64 => self.elements(f64::from_le_bytes, |v| v as f32),
            DType::F32 => self.elements(f32::from_le_bytes, |v| v),
            DType::F16 => self.elements(f16::from_le_bytes, f16::to_f32),
            DType::BF16 => self.elements(bf16::from_le_bytes, bf16::to_f32),
            DType::I64 => self.elements(i64::from_le_bytes, |v| v as f32),
            DType::I32 => self.elements(i32::from_le_bytes, |v| v as f32),
            DType::I16 => self.elements(i16::from_le_bytes, f32::from),
            DType::I8 => self.elements(i8::from_le_bytes, f32::from),
            DType::U8 | DType::Bool => self.elements(u8::from_le_bytes, f32::from),
        }
    }

    /// [`Array::to_f32`] that keeps the allocation of an array that is single precision already.
    pub fn into_f32(self) -> Vec<f32> {
        match self.data {
            Data::F32(values) => values,
            Data::Bytes(_) => self.to_f32(),
        }
    }

    /// The elements as double precision numbers; only `int64` beyond 2^53 is rounded.
    pub fn to_f64(&self) -> Vec<f64> {
        match self.dtype {
            DType::F64 => self.elements(f64::from_le_bytes, |v| v),
            DType::F32 => self.elements(f32::from_le_bytes, f64::from),
            DType::F16 => self.elements(f16::from_le_bytes, f16::to_f64),
            DType::BF16 => self.elements(bf16::from_le_bytes, bf16::to_f64),
            DType::I64 => self.elements(i64::from_le_bytes, |v| v as f64),
            DType::I32 => self.elements(i32::from_le_bytes, f64::from),
            DType::I16 => self.elements(i16::from_le_bytes, f64::from),
            DType::I8 => self.elements(i8::from_le_bytes, f64::from),
            DType::U8 | DType::Bool => self.elements(u8::from_le_bytes, f64::from),
        }
    }

    /// The elements as integers; floating elements must be whole.
    ///
    /// # Errors
    /// [`Error::NotInteger`] for the first fraction, NaN, infinity or number beyond 64 bits.
    pub fn to_i64(&self) -> Result<Vec<i64>> {
        // 2^63 is the first double that no i64 holds; -2^63 is the last that one does.
        const BOUND: f64 = 9_223_372_036_854_775_808.0;
        Ok(match self.dtype {
            DType::I64 => self.elements(i64::from_le_bytes, |v| v),
            DType::I32 => self.elements(i32::from_le_bytes, i64::from),
            DType::I16 => self.elements(i16::from_le_bytes, i64::from),
            DType::I8 => self.elements(i8::from_le_bytes, i64::from),
            DType::U8 | DType::Bool => self.elements(u8::from_le_bytes, i64::from),
            DType::F64 | DType::F32 | DType::F16 | DType::BF16 => self
                .to_f64()
                .into_iter()
                .enumerate()
                .map(|(index, value)| {
                    if value.fract() == 0.0 && (-BOUND..BOUND).contains(&value) {
                        Ok(value as i64)
                    } else {
                        Err(Error::NotInteger { dtype: self.dtype, index, value })
                    }
                })
                .collect::<Result<_>>()?,
        })
    }

    fn elements<const N: usize, T, U>(&self, decode: fn([u8; N]) -> T, convert: impl Fn(T) -> U) -> Vec<U> {
        decoded(self.bytes(), decode, convert)
    }
}

fn decoded<const N: usize, T, U>(bytes: &[u8], decode: fn([u8; N]) -> T, convert: impl Fn(T) -> U) -> Vec<U> {
    let (elements, _) = bytes.as_chunks::<N>();
    elements.iter().map(|element| convert(decode(*element))).collect()
}

impl PartialEq for Array {
    /// Bit for bit, so that NaN equals itself and 0 differs from -0.
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.bytes() == other.bytes()
    }
}

impl Eq for Array {}

impl fmt::Display for Array {
    /// Type and shape, such as `float32 [10, 1, 28, 28]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.dtype, self.shape)
    }
}

impl fmt::Debug for Array {
    /// Type and shape; the elements are often millions, and private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array({self})")
    }
}

/// Borrowed elements with a shape, for writing without a copy: contiguous, row-major,
/// little-endian.
///
/// The fields are open, so a view can be inconsistent; every writer checks it first
/// ([`View::check`]).
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Type of the elements.
    pub dtype: DType,
    /// Length of each dimension; empty for a scalar.
    pub shape: &'a [usize],
    /// The elements.
    pub bytes: &'a [u8],
}

impl<'a> View<'a> {
    /// A checked view of bytes.
    ///
    /// # Errors
    /// As [`View::check`].
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> Result<Self> {
        let view = Self { dtype, shape, bytes };
        view.check()?;
        Ok(view)
    }

    /// A view of single precision numbers.
    ///
    /// # Errors
    /// As [`View::check`].
    pub fn f32(shape: &'a [usize], values: &'a [f32]) -> Result<Self> {
        Self::new(DType::F32, shape, bytemuck::cast_slice(values))
    }

    /// A view of 64-bit integers.
    ///
    /// # Errors
    /// As [`View::check`].
    pub fn i64(shape: &'a [usize], values: &'a [i64]) -> Result<Self> {
        Self::new(DType::I64, shape, bytemuck::cast_slice(values))
    }

    /// A view of unsigned bytes.
    ///
    /// # Errors
    /// As [`View::check`].
    pub fn u8(shape: &'a [usize], values: &'a [u8]) -> Result<Self> {
        Self::new(DType::U8, shape, values)
    }

    /// Checks that the bytes fill the shape, and that each `bool` is 0 or 1; returns the number of
    /// elements.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Shape`], [`Error::Dimensions`] or [`Error::NotBool`].
    pub fn check(&self) -> Result<usize> {
        if self.dtype == DType::Bool
            && let Some(index) = self.bytes.iter().position(|&byte| byte > 1)
        {
            return Err(Error::NotBool { index, byte: self.bytes[index] });
        }
        check(self.dtype, self.shape, self.bytes.len())
    }
}

fn check(dtype: DType, shape: &[usize], got: usize) -> Result<usize> {
    let len = element_count(dtype, shape)?;
    let expected = len * dtype.size();
    if got != expected {
        return Err(Error::Length { dtype, shape: shape.to_vec(), expected, got });
    }
    Ok(len)
}

/// Any byte but 0 becomes 1: C++ may misbehave on a `bool` that is neither.
fn normalise_bools(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = u8::from(*byte != 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        let error = Array::new(DType::F32, vec![2, 3], vec![0; 23]).unwrap_err();
        assert_eq!(error.to_string(), "a float32 array of shape [2, 3] takes 24 bytes, but 23 were given");
        assert!(Array::new(DType::F32, vec![], vec![0; 4]).is_ok());
        assert!(Array::new(DType::F32, vec![0, 5], vec![]).unwrap().is_empty());
        for shape in [vec![usize::MAX, 2], vec![0, usize::MAX, usize::MAX], vec![usize::MAX / 8]] {
            assert!(matches!(Array::new(DType::I64, shape, vec![]), Err(Error::Shape { .. })));
        }
        assert!(View::f32(&[3], &[1.0, 2.0]).is_err());
    }

    #[test]
    fn every_type_converts() {
        for dtype in DType::ALL {
            // 0 and 1 in every type; 1.0 is 0x3c00 in float16, 0x3f80 in bfloat16.
            let one: Vec<u8> = match dtype {
                DType::F64 => 1.0_f64.to_le_bytes().to_vec(),
                DType::F32 => 1.0_f32.to_le_bytes().to_vec(),
                DType::F16 => vec![0x00, 0x3c],
                DType::BF16 => vec![0x80, 0x3f],
                _ => std::iter::once(1).chain(vec![0; dtype.size() - 1]).collect(),
            };
            let array = Array::new(dtype, vec![2], [vec![0; dtype.size()], one].concat()).unwrap();
            assert_eq!(array.to_f32(), [0.0, 1.0], "{dtype}");
            assert_eq!(array.to_f64(), [0.0, 1.0], "{dtype}");
            assert_eq!(array.to_i64().unwrap(), [0, 1], "{dtype}");
            assert_eq!(array.clone().into_f32(), [0.0, 1.0], "{dtype}");
        }
    }

    #[test]
    fn only_whole_numbers_become_integers() {
        let integers = |values: Vec<f64>| {
            let bytes = bytemuck::cast_slice(&values).to_vec();
            Array::new(DType::F64, vec![values.len()], bytes).unwrap().to_i64()
        };
        assert_eq!(integers(vec![-3.0, -0.0, i64::MIN as f64]).unwrap(), [-3, 0, i64::MIN]);
        for bad in [0.5, f64::NAN, f64::INFINITY, i64::MAX as f64] {
            assert!(matches!(integers(vec![1.0, bad]), Err(Error::NotInteger { index: 1, .. })), "{bad}");
        }
    }

    #[test]
    fn single_precision_keeps_its_allocation() {
        let values = vec![1.0_f32; 1000];
        let address = values.as_ptr();
        let back = Array::from_f32(vec![1000], values).unwrap().into_f32();
        assert_eq!(back.as_ptr(), address);
    }

    #[test]
    fn bools_are_zero_or_one() {
        let array = Array::new(DType::Bool, vec![3], vec![0, 1, 255]).unwrap();
        assert_eq!(array.bytes(), [0, 1, 1]);
    }
}
