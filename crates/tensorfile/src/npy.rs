//! Reading `.npy`, versions 1 to 3: a Python literal that describes the array, then its elements.

use crate::array::{Array, DType, element_count};
use crate::error::{ReadError, shown};
use crate::limits::Budget;
use crate::source::Stream;
use crate::strided::{gather, reverse_elements};

pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// The description of a simple array takes some hundred bytes; `NumPy`'s own limit is 10,000.
const LONGEST_HEADER: u32 = 1 << 16;

/// What a header says.
#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// Reads one array; `input` starts behind the [`MAGIC`].
pub(crate) fn parse(input: &mut Stream<'_>, budget: &mut Budget) -> Result<Array, ReadError> {
    let length = match version(input)? {
        1 => u16::from_le_bytes(within(input)?).into(),
        2 | 3 => u32::from_le_bytes(within(input)?),
        version => {
            let hint = "save the array again with numpy.save";
            return Err(ReadError::unsupported(format!("format version {version}"), hint));
        }
    };
    if u64::from(length) > input.left() {
        return Err(short());
    }
    if length > LONGEST_HEADER {
        return Err(ReadError::malformed(format!(
            "its header takes {length} bytes, {LONGEST_HEADER} are allowed"
        )));
    }
    let mut text = vec![0; length as usize];
    input.fill(&mut text)?;
    let text = std::str::from_utf8(&text).map_err(|_| ReadError::malformed("its header is not text"))?;
    let header = Literal { rest: text }.header().ok_or_else(|| {
        ReadError::malformed(format!("its header is not understood: `{}`", shown(text.trim_end())))
    })??;
    let (dtype, big_endian) = dtype_of(&header.descr)?;
    let needed = element_count(dtype, &header.shape)? * dtype.size();
    if input.left() != needed as u64 {
        return Err(ReadError::malformed(format!(
            "a {dtype} array of shape {:?} takes {needed} bytes, but {} follow the header",
            header.shape,
            input.left()
        )));
    }
    // In Fortran order the elements lie in memory a second time while they are put in order.
    let spent = if header.fortran_order { 2 * needed as u128 } else { needed as u128 };
    budget.spend(spent, || format!("a {dtype} array of shape {:?}", header.shape))?;
    let shape = header.shape.clone();
    let array = Array::filled(dtype, shape.clone(), |out| {
        if header.fortran_order {
            let mut elements = crate::array::zeros(needed, 0)?;
            input.fill(&mut elements)?;
            gather(&elements, dtype.size(), 0, &shape, &column_major(&shape), out)?;
        } else {
            input.fill(out)?;
        }
        if big_endian {
            reverse_elements(out, dtype.size());
        }
        Ok(())
    })?;
    budget.refund(spent as u64 - needed as u64);
    Ok(array)
}

fn short() -> ReadError {
    ReadError::malformed("it ends within its header; fetch or make it again")
}

/// The next bytes of the header.
fn within<const N: usize>(input: &mut Stream<'_>) -> Result<[u8; N], ReadError> {
    if input.left() < N as u64 { Err(short()) } else { input.array() }
}

fn version(input: &mut Stream<'_>) -> Result<u8, ReadError> {
    let [major, _minor] = within(input)?;
    Ok(major)
}

/// Strides of Fortran order; the product of `shape` is known to fit.
fn column_major(shape: &[usize]) -> Vec<usize> {
    let mut step = 1_usize;
    let mut stride_of = |length: usize| {
        let stride = step;
        step = step.saturating_mul(length);
        stride
    };
    shape.iter().map(|&length| stride_of(length)).collect()
}

/// The type behind a `descr` such as `<f4`, and whether its bytes are big-endian.
fn dtype_of(descr: &str) -> Result<(DType, bool), ReadError> {
    let (big_endian, kind) = match descr.strip_prefix(['<', '|', '=']) {
        Some(kind) => (false, kind),
        None => descr.strip_prefix('>').map_or((false, descr), |kind| (true, kind)),
    };
    let dtype = match kind {
        "f8" => DType::F64,
        "f4" => DType::F32,
        "f2" => DType::F16,
        "i8" => DType::I64,
        "i4" => DType::I32,
        "i2" => DType::I16,
        "i1" => DType::I8,
        "u1" => DType::U8,
        "b1" => DType::Bool,
        _ => {
            let what = match kind {
                "O" | "O8" => "Python objects (pickled, so reading them would run them)".to_owned(),
                _ => format!("elements of NumPy type '{}'", shown(descr)),
            };
            return Err(ReadError::unsupported(
                what,
                "convert them in Python: array.astype(\"float32\") or \"int64\"",
            ));
        }
    };
    Ok((dtype, big_endian))
}

/// A reader of the subset of Python's literals that headers use. `None` means: not such a literal.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    /// `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, its keys in any order.
    fn header(&mut self) -> Option<Result<Header, ReadError>> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.token("{")?;
        while self.token("}").is_none() {
            let key = self.quoted()?;
            self.token(":")?;
            match key {
                "descr" if self.token("[").is_some() => {
                    let hint = "save each field as an array of its own";
                    return Some(Err(ReadError::unsupported("structured elements", hint)));
                }
                "descr" => descr = Some(self.quoted()?.to_owned()),
                "fortran_order" if self.token("True").is_some() => fortran_order = Some(true),
                "fortran_order" => fortran_order = self.token("False").map(|()| false),
                "shape" => shape = Some(self.tuple()?),
                _ => return None,
            }
            if self.token(",").is_none() {
                self.token("}")?;
                break;
            }
        }
        let header = Header { descr: descr?, fortran_order: fortran_order?, shape: shape? };
        self.rest.trim().is_empty().then_some(Ok(header))
    }

    fn tuple(&mut self) -> Option<Vec<usize>> {
        let mut items = Vec::new();
        self.token("(")?;
        while self.token(")").is_none() {
            items.push(self.int()?);
            if self.token(",").is_none() {
                self.token(")")?;
                break;
            }
        }
        Some(items)
    }

    fn int(&mut self) -> Option<usize> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at_checked(end)?;
        // Python 2 marked long integers.
        self.rest = rest.strip_prefix('L').unwrap_or(rest);
        digits.parse().ok()
    }

    fn quoted(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (text, rest) = self.rest.get(1..)?.split_once(quote)?;
        self.rest = rest;
        Some(text)
    }

    fn token(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(token)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FREE_BYTES;

    fn header(text: &str) -> Option<Header> {
        Literal { rest: text }.header()?.ok()
    }

    fn file(version: u8, text: &str, elements: &[u8]) -> Vec<u8> {
        let length = (text.len() as u32).to_le_bytes();
        let length = if version == 1 { &length[..2] } else { &length[..] };
        [MAGIC, &[version, 0], length, text.as_bytes(), elements].concat()
    }

    fn parsed(version: u8, text: &str, elements: &[u8]) -> Result<Array, ReadError> {
        let file = file(version, text, elements);
        let mut behind = std::io::Cursor::new(file.get(MAGIC.len()..).unwrap());
        let left = (file.len() - MAGIC.len()) as u64;
        parse(&mut Stream::rest(&mut behind, left), &mut Budget::of_file(elements.len() as u64))
    }

    #[test]
    fn headers_as_python_writes_them() {
        let expected = Header { descr: "<f4".into(), fortran_order: false, shape: vec![2, 3] };
        assert_eq!(header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n"), Some(expected));
        let python2 = header("{'shape': (10L,), \"descr\": '|u1', 'fortran_order': True}").unwrap();
        assert_eq!(python2, Header { descr: "|u1".into(), fortran_order: true, shape: vec![10] });
        assert_eq!(header("{'descr': '<f4', 'fortran_order': False, 'shape': ()}").unwrap().shape, [0; 0]);
        for bad in [
            "",
            "{",
            "{}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3) } x",
            "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'run': exit()}",
            "{'descr': '<f4",
        ] {
            assert_eq!(header(bad), None, "{bad}");
        }
    }

    #[test]
    fn versions_orders_and_byte_orders() {
        let text = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n";
        // In Fortran order [[1, 3, 5], [2, 4, 6]] lies in memory as 1, 2, 3, ...
        let elements = [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6];
        for version in 1..=3 {
            let array = parsed(version, text, &elements).unwrap();
            assert_eq!((array.dtype(), array.shape()), (DType::I16, &[2, 3][..]));
            assert_eq!(array.to_i64().unwrap(), [1, 3, 5, 2, 4, 6]);
        }
        assert!(matches!(parsed(4, text, &elements), Err(ReadError::Unsupported { .. })));
    }

    #[test]
    fn claims_beyond_the_file_are_refused() {
        let claim = |descr: &str, shape: &str| {
            parsed(1, &format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"), &[0; 8])
        };
        assert!(claim("<f8", "(1,)").is_ok());
        assert!(claim("<f8", "()").is_ok());
        assert!(
            matches!(claim("<f8", "(2,)"), Err(ReadError::Malformed(text)) if text.contains("takes 16 bytes, but 8 follow"))
        );
        assert!(matches!(
            claim("<f8", &format!("({FREE_BYTES}, {FREE_BYTES}, {FREE_BYTES})")),
            Err(ReadError::Malformed(_))
        ));
        assert!(
            matches!(claim("|O", "(1,)"), Err(ReadError::Unsupported { what, .. }) if what.contains("Python objects"))
        );
        assert!(
            matches!(claim("<U2", "(1,)"), Err(ReadError::Unsupported { what, .. }) if what.contains("'<U2'"))
        );
        let structured = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }";
        assert!(matches!(parsed(1, structured, &[0; 8]), Err(ReadError::Unsupported { .. })));
    }
}
