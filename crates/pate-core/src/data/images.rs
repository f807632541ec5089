//! Images in [0, 1], and the scale of those in files.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::str::FromStr;

use artifact::{Access, AtomicFile, FileRecord};
use serde::{Serialize, Serializer};
use tch::{Device, Kind, Tensor};
use tensorfile::{Array, DType, View};

use super::{ImageShape, Labels};
use crate::base::tensor;
use crate::{Error, Result};

/// Images `[n, c, h, w]`, float32, on the CPU until moved; every value is finite.
///
/// A clone is an alias: it has the same memory.
pub struct Images(Tensor);

impl Clone for Images {
    fn clone(&self) -> Self {
        Self(self.0.shallow_clone())
    }
}

/// The values that black and white have in a file; a word on command lines, see
/// [`Scale::from_str`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    low: f32,
    high: f32,
}

impl Scale {
    /// Black is 0 and white 1.
    pub const UNIT: Self = Self { low: 0.0, high: 1.0 };
    /// Black is 0 and white 255.
    pub const BYTE: Self = Self { low: 0.0, high: 255.0 };
    /// Black is -1 and white 1.
    pub const SIGNED: Self = Self { low: -1.0, high: 1.0 };

    /// Values up to this fraction of the range beyond its ends are taken for the ends: what
    /// resizing and networks without a last sigmoid overshoot.
    const OVERSHOOT: f32 = 0.5;

    /// Values that use less than this fraction of a declared range belong to another one.
    const LEAST_USE: f32 = 0.1;

    /// A value on this scale, in `[0, 1]`.
    fn to_unit(self, x: f32) -> f32 {
        // The forms that exact tests and the original know: x itself, and x / 255.
        if self.low == 0.0 {
            return (x / self.high).clamp(0.0, 1.0);
        }
        ((x - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Values in `[0, 1]` on this scale.
    pub(crate) fn stretch(self, x: &Tensor) -> Tensor {
        x * f64::from(self.high - self.low) + f64::from(self.low)
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UNIT => f.write_str("unit"),
            Self::BYTE => f.write_str("byte"),
            Self::SIGNED => f.write_str("signed"),
            Self { high, .. } => write!(f, "0..{high}"),
        }
    }
}

impl Serialize for Scale {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Scale {
    type Err = String;

    /// `unit` (0 to 1), `byte` (0 to 255), `signed` (-1 to 1), or `0..N` with N from 1 to
    /// 4294967295.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "unit" => Ok(Self::UNIT),
            "byte" => Ok(Self::BYTE),
            "signed" => Ok(Self::SIGNED),
            _ => text
                .strip_prefix("0..")
                .and_then(|high| high.parse::<u32>().ok())
                .filter(|high| *high > 0)
                .map(|high| Self { low: 0.0, high: high as f32 })
                .ok_or_else(|| {
                    "give unit (0 to 1), byte (0 to 255), signed (-1 to 1), or 0..N, such as 0..16".to_owned()
                }),
        }
    }
}

/// How the values of a file are brought to `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RangeRule {
    /// By their scale, which is declared, or which nobody can mistake:
    ///
    /// - floats from -0.05 to 1.05, of which the largest is at least 0.02, are in `[0, 1]`, up to
    ///   rounding and overshoot;
    /// - bytes of which the largest is at least 128, and other numbers from 0 to 255 of which the
    ///   largest is at least 250, are 0..255.
    ///
    /// Anything else is an error that names the range and the hint. A wrong scale would be a silent
    /// error of the worst kind: copies of private images would be far from them.
    Scaled {
        /// The scale, where the user said it.
        declared: Option<Scale>,
        /// The step's flag that declares it, where there is one.
        #[serde(skip)]
        flag: Option<&'static str>,
        /// The step's flag for images that are normalised already, where there is one.
        #[serde(skip)]
        normalised_flag: Option<&'static str>,
    },
    /// Values as they are: images already normalised.
    AsIs,
}

impl RangeRule {
    /// For files that these programs write.
    pub const OWN: Self = Self::Scaled { declared: None, flag: None, normalised_flag: None };

    /// For files of the user's: `flag` declares their scale.
    pub const fn of_user(flag: &'static str, declared: Option<Scale>) -> Self {
        Self::Scaled { declared, flag: Some(flag), normalised_flag: None }
    }
}

/// Beyond 0 and 1 by so much, a float is still taken to be in `[0, 1]`.
const SLACK: f32 = 0.05;
/// A largest float below this is that of images divided twice, not of any in `[0, 1]`.
const LEAST_WHITE: f32 = 0.02;
/// Least largest value of bytes; that of other types.
const LEAST_BYTE: [f32; 2] = [128.0, 250.0];

/// The scale that values of type `dtype` from `low` to `high` must be on; `None` where that can be
/// mistaken.
fn unmistakable(dtype: DType, low: f32, high: f32) -> Option<Scale> {
    let floating = matches!(dtype, DType::F16 | DType::BF16 | DType::F32 | DType::F64);
    if floating && low >= -SLACK && (LEAST_WHITE..=1.0 + SLACK).contains(&high) {
        return Some(Scale::UNIT);
    }
    let least = LEAST_BYTE[usize::from(dtype != DType::U8)];
    (low >= 0.0 && (least..=255.0).contains(&high)).then_some(Scale::BYTE)
}

/// What values from `low` to `high` may be, for a hint.
fn likely(low: f32, high: f32) -> Option<Scale> {
    if low >= -Scale::OVERSHOOT && high <= 1.0 + Scale::OVERSHOOT {
        return Some(Scale::UNIT);
    }
    if low < 0.0 {
        return Some(Scale::SIGNED).filter(|_| low >= -1.0 - SLACK && high <= 1.0 + SLACK);
    }
    let known = [15.0, 16.0, 100.0, 255.0, 1023.0, 4095.0, 65535.0];
    known.into_iter().find(|white| high <= *white).map(|high| Scale { low: 0.0, high })
}

impl Images {
    /// Images of a file in any container that `tensorfile` knows; `[n, h, w]`, `[n, 1, h, w]` and
    /// `[n, h, w, 1]` are the same. Of a file with images and labels, the images.
    ///
    /// # Errors
    /// Names the file: a wrong rank or channel count, NaN or infinite values, values of which
    /// nobody knows the scale.
    pub fn load(path: &Path, rule: RangeRule) -> Result<Self> {
        let (images, _) = tensorfile::read(path)?.into_images_and_labels()?;
        Self::from_array(path, images, rule)
    }

    /// Images of a file, and their labels where it holds some, as `combine --format npz` writes
    /// them.
    ///
    /// # Errors
    /// As [`Images::load`]; also labels outside `0..classes`.
    pub fn load_with_labels(path: &Path, rule: RangeRule, classes: i64) -> Result<(Self, Option<Labels>)> {
        let (images, labels) = tensorfile::read(path)?.into_images_and_labels()?;
        let labels = labels.map(|labels| Labels::from_array(path, &labels, classes)).transpose()?;
        Ok((Self::from_array(path, images, rule)?, labels))
    }

    pub(crate) fn from_array(path: &Path, array: Array, rule: RangeRule) -> Result<Self> {
        let other = |shape: &[usize]| {
            Error::content(
                path,
                format!("it holds a tensor of shape {shape:?}"),
                "images are [n, channels, height, width] or [n, height, width, channels], with 1 or 3 channels",
            )
        };
        let stored = array.shape().to_vec();
        let array = array.into_nchw().map_err(|_| other(&stored))?;
        let shape = match *array.shape() {
            [n, h, w] => [n, 1, h, w],
            [n, c, h, w] => [n, c, h, w],
            _ => return Err(other(&stored)),
        }
        .map(|n| n as i64);
        if array.dtype() == DType::Bool {
            return Err(Error::content(path, "it holds booleans", "images are integers 0..255 or floats"));
        }
        let dtype = array.dtype();
        let mut values = array.into_f32();
        // Before the scale is told: NaN takes part in no minimum and no maximum.
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            return Err(Error::content(
                path,
                format!("value {at} is {}", values[at]),
                "images must be finite; make the file again",
            ));
        }
        if let RangeRule::Scaled { declared, flag, normalised_flag } = rule
            && !values.is_empty()
        {
            let scale = scale_of(path, dtype, &values, declared, flag, normalised_flag)?;
            for x in &mut values {
                *x = scale.to_unit(*x);
            }
        }
        Ok(Self(tensor::from_f32(&values, &shape)?))
    }

    /// Images of row-major pixels in `[0, 1]`.
    ///
    /// # Errors
    /// Pixels that are no whole number of images, or out of range.
    pub fn of_pixels(pixels: &[f32], shape: ImageShape) -> Result<Self> {
        let each = shape.batch(1).iter().product::<i64>();
        let n = if each > 0 { pixels.len() as i64 / each } else { 0 };
        if let Some(odd) = pixels.iter().find(|x| !(0.0..=1.0).contains(*x)) {
            return Err(Error::invalid(format!("a pixel is {odd}; pixels are from 0 to 1")));
        }
        Ok(Self(tensor::from_f32(pixels, &shape.batch(n))?))
    }

    /// Images that this program made itself.
    pub(crate) fn trusted(images: Tensor) -> Self {
        debug_assert_eq!(images.dim(), 4);
        debug_assert_eq!(images.kind(), Kind::Float);
        Self(images)
    }

    /// `[n, c, h, w]`.
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.0.size()[0] as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of one image.
    pub fn shape(&self) -> ImageShape {
        let size = self.0.size();
        ImageShape { channels: size[1], height: size[2], width: size[3] }
    }

    /// Checks that the images have this shape; `path` is where they came from.
    ///
    /// # Errors
    /// Both shapes.
    pub fn expect_shape(&self, path: &Path, shape: ImageShape) -> Result<()> {
        let size = self.0.size();
        if size[1..] == [shape.channels, shape.height, shape.width] {
            return Ok(());
        }
        Err(Error::content(
            path,
            format!("its images are {}x{}x{} (channels, height, width)", size[1], size[2], size[3]),
            format!("the others here are {}x{}x{}", shape.channels, shape.height, shape.width),
        ))
    }

    /// One row per image, `[n, c h w]`, for distances.
    pub fn flat(&self) -> Tensor {
        self.0.flatten(1, -1)
    }

    /// A copy on `device`; shared where they are there already.
    ///
    /// # Errors
    /// Where the device has no room.
    pub fn to_device(&self, device: Device) -> Result<Self> {
        Ok(Self(self.0.f_to_device(device)?))
    }

    /// The images of several pools, one after the other.
    ///
    /// # Errors
    /// No pool, or other shapes.
    pub fn concat(pools: &[Self]) -> Result<Self> {
        let all: Vec<&Tensor> = pools.iter().map(Self::tensor).collect();
        Ok(Self(Tensor::f_cat(&all, 0)?))
    }

    /// The images at `rows`, in that order.
    ///
    /// # Errors
    /// A row that does not exist.
    pub fn select(&self, rows: &[i64]) -> Result<Self> {
        Ok(Self(self.0.f_index_select(0, &tensor::from_i64(rows))?))
    }

    /// Minimum and maximum value.
    ///
    /// # Errors
    /// No images.
    pub fn range(&self) -> Result<(f32, f32)> {
        let end = |value: Tensor| Ok::<_, Error>(value.f_double_value(&[])? as f32);
        Ok((end(self.tensor().f_min()?)?, end(self.tensor().f_max()?)?))
    }

    /// Pixel values on the host, row-major.
    ///
    /// # Errors
    /// Where they cannot be copied.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        tensor::to_f32(&self.0)
    }

    /// SHA-256 of the pixel values, row-major float32 in little-endian order.
    ///
    /// # Errors
    /// Where they cannot be copied to the host.
    pub fn sha256(&self) -> Result<String> {
        let bytes: Vec<u8> = self.to_vec()?.into_iter().flat_map(f32::to_le_bytes).collect();
        Ok(artifact::sha256_bytes(&bytes))
    }

    /// Writes the images as a bare tensor that `torch.load` reads.
    ///
    /// # Errors
    /// Where the file cannot be written; nothing is left under its name then.
    pub fn save(&self, path: &Path, access: Access) -> Result<FileRecord> {
        let values = self.to_vec()?;
        let mut file = AtomicFile::create(path, access)?;
        tensorfile::pt::write_array(&mut file, View::f32(&tensor::shape_of(&self.0), &values)?)?;
        Ok(file.commit()?)
    }
}

/// The scale of a file's values, declared or unmistakable.
fn scale_of(
    path: &Path,
    dtype: DType,
    values: &[f32],
    declared: Option<Scale>,
    flag: Option<&'static str>,
    normalised_flag: Option<&'static str>,
) -> Result<Scale> {
    let first = values.first().copied().unwrap_or_default();
    let (low, high) = values.iter().fold((first, first), |(lo, hi), &x| (lo.min(x), hi.max(x)));
    // Nothing is guessed: without a declaration the scale is one that nobody can mistake, since a
    // wrong one would hide copies of private images.
    let Some(scale) = declared else {
        return unmistakable(dtype, low, high).ok_or_else(|| {
            let problem = if low.total_cmp(&high).is_eq() {
                format!("every value of its {dtype} pixels is {low}")
            } else {
                format!("its {dtype} pixels run from {low} to {high}, which does not tell their scale")
            };
            let Some(flag) = flag else {
                return Error::content(path, problem, "store them as float32 in [0, 1]");
            };
            let mut hint = match likely(low, high) {
                Some(scale) => {
                    format!("if black is {} and white {}, give {flag} {scale}", scale.low, scale.high)
                }
                None => "store them in [0, 1], before normalisation".to_owned(),
            };
            let _ = write!(hint, "; {flag} takes unit, byte, signed or 0..N");
            if let Some(flag) = normalised_flag {
                let _ = write!(hint, ", and {flag} is for images that are normalised already");
            }
            Error::content(path, problem, hint)
        });
    };
    let range = scale.high - scale.low;
    let beyond = range * Scale::OVERSHOOT;
    let flag = flag.unwrap_or("the declared scale");
    if low < scale.low - beyond || high > scale.high + beyond {
        return Err(Error::content(
            path,
            format!("its pixels run from {low} to {high}, far beyond {} to {}", scale.low, scale.high),
            format!("{flag} is {scale}; give the right one"),
        ));
    }
    // Images in [0, 1] that are called signed would lose their black: it would become grey.
    if scale.low < 0.0 && low >= 0.0 {
        return Err(Error::content(
            path,
            format!("its pixels run from {low} to {high}, and none is below 0, where {} is black", scale.low),
            format!("{flag} is {scale}; give the right one"),
        ));
    }
    // Images in [0, 1] that are called bytes would be black all over.
    if high - low < range * Scale::LEAST_USE {
        return Err(Error::content(
            path,
            format!(
                "its pixels run from {low} to {high}, next to nothing of {} to {}",
                scale.low, scale.high
            ),
            format!("{flag} is {scale}; give the right one"),
        ));
    }
    Ok(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: RangeRule =
        RangeRule::Scaled { declared: None, flag: Some("--scale"), normalised_flag: Some("--no-normalize") };

    fn load(array: Array, rule: RangeRule) -> Result<Vec<f32>> {
        Images::from_array(Path::new("x.pt"), array, rule)?.to_vec()
    }

    fn declared(text: &str) -> RangeRule {
        RangeRule::of_user("--scale", Some(text.parse().unwrap()))
    }

    fn floats(values: [f32; 4]) -> Array {
        Array::from_f32(vec![1, 2, 2], values.to_vec()).unwrap()
    }

    fn bytes(values: [u8; 4]) -> Array {
        Array::new(DType::U8, vec![1, 2, 2], values.to_vec()).unwrap()
    }

    fn integers(values: [i64; 4]) -> Array {
        Array::from_i64(vec![1, 2, 2], values.to_vec()).unwrap()
    }

    #[test]
    fn scales_that_nobody_can_mistake() {
        assert_eq!(load(floats([-0.01, 0.5, 1.0, 1.05]), UNIT).unwrap(), [0.0, 0.5, 1.0, 1.0]);
        assert_eq!(load(floats([0.0, 0.5, 1.0, 1.0]), UNIT).unwrap(), [0.0, 0.5, 1.0, 1.0]);
        assert_eq!(load(floats([0.0, 51.0, 255.0, 0.0]), UNIT).unwrap(), [0.0, 0.2, 1.0, 0.0]);
        assert_eq!(load(integers([0, 51, 255, 0]), UNIT).unwrap(), [0.0, 0.2, 1.0, 0.0]);
        assert_eq!(load(bytes([0, 51, 255, 1]), UNIT).unwrap()[..3], [0.0, 0.2, 1.0]);
        assert_eq!(load(floats([-0.4, 2.8, 0.0, 0.0]), RangeRule::AsIs).unwrap(), [-0.4, 2.8, 0.0, 0.0]);
        assert!(load(floats([0.0, f32::NAN, 0.0, 0.0]), RangeRule::AsIs).is_err());
    }

    /// Field cases, row 1: one pixel must not decide the scale of a file.
    #[test]
    fn a_scale_that_can_be_mistaken_is_an_error_with_the_range_and_a_hint() {
        for (array, range, hint) in [
            (floats([0.0, 0.5, 1.2, 0.1]), "0 to 1.2", "--scale unit"),
            (floats([-0.3, 0.5, 1.0, 0.1]), "-0.3 to 1", "--scale unit"),
            (floats([-1.0, 0.5, 1.0, 0.1]), "-1 to 1", "--scale signed"),
            (floats([-0.2, 0.5, 1.2, 0.1]), "-0.2 to 1.2", "--scale unit"),
            (floats([-0.4, 2.8, 0.0, 0.0]), "-0.4 to 2.8", "--no-normalize"),
            (floats([0.0, 16.0, 3.0, 0.0]), "0 to 16", "--scale 0..16"),
            (floats([0.0, 100.0, 3.0, 0.0]), "0 to 100", "--scale 0..100"),
            (floats([0.0, 200.0, 3.0, 0.0]), "0 to 200", "--scale byte"),
            (floats([0.0, 0.0039, 0.001, 0.0]), "0 to 0.0039", "--scale unit"),
            (bytes([0, 1, 1, 0]), "0 to 1", "--scale unit"),
            (bytes([0, 16, 1, 0]), "0 to 16", "--scale 0..16"),
            (integers([0, 1, 1, 0]), "0 to 1", "--scale unit"),
            (integers([0, 65535, 1, 0]), "0 to 65535", "--scale 0..65535"),
            (integers([0, 240, 1, 0]), "0 to 240", "--scale byte"),
            (integers([-1, 255, 1, 0]), "-1 to 255", "before normalisation"),
            (bytes([0; 4]), "every value of its uint8 pixels is 0", "--scale takes"),
            (floats([0.0; 4]), "every value of its float32 pixels is 0", "--scale takes"),
        ] {
            let error = load(array, UNIT).unwrap_err().to_string();
            assert!(error.contains(range) && error.contains(hint), "{error}");
        }
    }

    /// Field cases, row 1: the same images in every honest encoding.
    #[test]
    fn declared_scales_give_the_same_images() {
        let expected = [0.0, 0.25, 1.0, 0.5];
        for (array, scale) in [
            (floats(expected), "unit"),
            (floats([-1.0, -0.5, 1.0, 0.0]), "signed"),
            (floats([0.0, 4.0, 16.0, 8.0]), "0..16"),
            (floats([0.0, 63.75, 255.0, 127.5]), "byte"),
            (bytes([0, 4, 16, 8]), "0..16"),
            (integers([0, 1024, 4096, 2048]), "0..4096"),
            // Overshoot of declared images is taken for the ends.
            (floats([-0.3, 0.25, 1.4, 0.5]), "unit"),
        ] {
            assert_eq!(load(array, declared(scale)).unwrap(), expected, "{scale}");
        }
        assert_eq!(load(bytes([0, 1, 1, 0]), declared("0..1")).unwrap(), [0.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn a_declared_scale_that_cannot_be_true_is_an_error() {
        for (array, scale) in [
            (floats([0.0, 0.25, 1.0, 0.5]), "byte"),
            (floats([0.0, 51.0, 255.0, 0.0]), "unit"),
            (floats([0.0, 51.0, 255.0, 0.0]), "0..16"),
            (floats([-3.0, 0.5, 1.0, 0.0]), "signed"),
            (floats([0.0, 0.5, 1.0, 0.2]), "signed"),
            (floats([0.0, 0.5, 1.0, 0.2]), "0..16"),
            (bytes([0, 1, 1, 0]), "0..16"),
            (floats([0.0; 4]), "unit"),
        ] {
            let error = load(array, declared(scale)).unwrap_err().to_string();
            assert!(error.contains(&format!("--scale is {scale}")), "{error}");
        }
        for bad in ["", "0..0", "0..", "1..5", "0..-1", "0..1.5", "Unit", "0..4294967296"] {
            assert!(bad.parse::<Scale>().is_err(), "{bad}");
        }
        for word in ["unit", "byte", "signed", "0..16"] {
            assert_eq!(word.parse::<Scale>().unwrap().to_string(), word);
        }
    }

    /// Field cases, row 11.
    #[test]
    fn channels_may_come_last() {
        let pixels: Vec<f32> = (0..2 * 4 * 5 * 3).map(|i| i as f32 / 120.0).collect();
        let array = Array::from_f32(vec![2, 4, 5, 3], pixels.clone()).unwrap();
        let images = Images::from_array(Path::new("x.npy"), array, UNIT).unwrap();
        assert_eq!(images.tensor().size(), [2, 3, 4, 5]);
        let found = images.to_vec().unwrap();
        for (at, value) in found.into_iter().enumerate() {
            let (n, c, y, x) = (at / 60, at / 20 % 3, at / 5 % 4, at % 5);
            assert_eq!(value.to_bits(), pixels[((n * 4 + y) * 5 + x) * 3 + c].to_bits());
        }
        let array = Array::from_f32(vec![2, 4, 5, 2], vec![0.5; 80]).unwrap();
        let error = Images::from_array(Path::new("x.npy"), array, UNIT).err().unwrap().to_string();
        assert!(error.contains("[2, 4, 5, 2]") && error.contains("[n, height, width, channels]"), "{error}");
    }

    /// Field cases, row 11.
    #[test]
    fn labels_may_lie_beside_images() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gen.npz");
        let mut bytes = Vec::new();
        let pixels = View::f32(&[3, 1, 1, 1], &[0.5, 1.0, 0.0]).unwrap();
        tensorfile::npz::write(&mut bytes, &[("x", pixels), ("y", View::i64(&[3], &[2, 0, 1]).unwrap())])
            .unwrap();
        artifact::write_bytes(&path, Access::Public, &bytes).unwrap();
        let (images, labels) = Images::load_with_labels(&path, UNIT, 3).unwrap();
        assert_eq!((images.len(), labels.unwrap().values()), (3, &[2, 0, 1][..]));
        assert_eq!(Images::load(&path, UNIT).unwrap().len(), 3);
        let error = Images::load_with_labels(&path, UNIT, 2).err().unwrap().to_string();
        assert!(error.contains("label 0 is 2"), "{error}");
    }
}
