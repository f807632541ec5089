//! An array in short: shape, type, range.

use serde::Serialize;
use tensorfile::Array;

/// Elements that are looked at in one go.
const CHUNK: usize = 1 << 16;

/// An array and its values in short.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ArrayInfo {
    /// Dotted path in the file; empty for a bare array.
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: &'static str,
    /// Of the elements that are numbers; `None` where there is none.
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    /// Of the finite elements.
    pub(crate) mean: Option<f64>,
    pub(crate) nan: u64,
    pub(crate) infinite: u64,
}

impl ArrayInfo {
    pub(crate) fn of(name: String, array: &Array) -> Self {
        let mut info = Self {
            name,
            shape: array.shape().to_vec(),
            dtype: array.dtype().name(),
            min: None,
            max: None,
            mean: None,
            nan: 0,
            infinite: 0,
        };
        let (mut sum, mut finite) = (0.0, 0u64);
        // In pieces, so that a large array of bytes is not copied as doubles.
        for bytes in array.bytes().chunks(CHUNK * array.dtype().size()) {
            let n = bytes.len() / array.dtype().size();
            let Ok(piece) = Array::new(array.dtype(), vec![n], bytes.to_vec()) else { continue };
            for x in piece.to_f64() {
                if x.is_nan() {
                    info.nan += 1;
                    continue;
                }
                if x.is_finite() {
                    sum += x;
                    finite += 1;
                    info.min = Some(info.min.map_or(x, |min| min.min(x)));
                    info.max = Some(info.max.map_or(x, |max| max.max(x)));
                } else {
                    info.infinite += 1;
                }
            }
        }
        if finite > 0 {
            info.mean = Some(sum / finite as f64).filter(|mean| mean.is_finite());
        }
        info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_no_numbers_are_counted_apart() {
        let array =
            Array::from_f32(vec![5], vec![1.0, f32::NAN, -3.0, f32::INFINITY, f32::NEG_INFINITY]).unwrap();
        let info = ArrayInfo::of(String::new(), &array);
        assert_eq!((info.min, info.max, info.mean), (Some(-3.0), Some(1.0), Some(-1.0)));
        assert_eq!((info.nan, info.infinite), (1, 2));
        let nothing = Array::from_f32(vec![0, 3], vec![]).unwrap();
        assert_eq!(ArrayInfo::of(String::new(), &nothing).mean, None);
    }

    #[test]
    fn pieces_add_up() {
        let n = 2 * CHUNK + 3;
        let array = Array::from_i64(vec![n], (0..n as i64).collect()).unwrap();
        let info = ArrayInfo::of(String::new(), &array);
        assert_eq!((info.min, info.max), (Some(0.0), Some((n - 1) as f64)));
        assert_eq!(info.mean, Some((n - 1) as f64 / 2.0));
    }
}
