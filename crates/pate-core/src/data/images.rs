use std::path::Path;

use artifact::{Access, AtomicFile, FileRecord};
use tch::{Device, Kind, Tensor};
use tensorfile::{Array, DType, View};

use super::ImageSpec;
use crate::{Error, Result, tensor};

/// Images `[n, c, h, w]`, float32, on the CPU until moved; every value is finite.
pub struct Images(Tensor);

/// How the values of a file are brought to `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeRule {
    /// Integers and floats above 1.1 are 0..255 and divided by 255; then clamped to `[0, 1]`. Floats above 1.1
    /// with negatives are an error whose cure names this flag, where the step has one.
    Unit {
        /// The step's flag for images that are normalised already.
        normalised_flag: Option<&'static str>,
    },
    /// Values as they are: images already normalised.
    AsIs,
}

impl Images {
    /// Images of a file in any container that `tensorfile` knows; `[n, h, w]` and `[n, 1, h, w]` are the same.
    ///
    /// # Errors
    /// Names the file: a wrong rank or channel count, NaN or infinite values, a range that is not an image's.
    pub fn load(path: &Path, rule: RangeRule) -> Result<Self> {
        let array = tensorfile::read(path)?.into_array()?;
        Self::from_array(path, array, rule)
    }

    pub(crate) fn from_array(path: &Path, array: Array, rule: RangeRule) -> Result<Self> {
        let shape: Vec<i64> = array.shape().iter().map(|&n| n as i64).collect();
        let shape = match shape[..] {
            [n, h, w] => [n, 1, h, w],
            [n, c @ (1 | 3), h, w] => [n, c, h, w],
            _ => {
                return Err(Error::content(
                    path,
                    format!("it holds a tensor of shape {shape:?}"),
                    "images are [n, channels, height, width] with 1 or 3 channels",
                ));
            }
        };
        if array.dtype() == DType::Bool {
            return Err(Error::content(path, "it holds booleans", "images are integers 0..255 or floats"));
        }
        let integers = !array.is_floating();
        let mut values = array.into_f32();
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            return Err(Error::content(
                path,
                format!("value {at} is {}", values[at]),
                "images must be finite; make the file again",
            ));
        }
        if let RangeRule::Unit { normalised_flag } = rule {
            let (low, high) = values.iter().fold((0.0f32, 0.0f32), |(lo, hi), &x| (lo.min(x), hi.max(x)));
            if !integers && high > 1.1 && low < 0.0 {
                let cure = match normalised_flag {
                    Some(flag) => {
                        format!("give {flag} if they are normalised already, else store them in [0, 1]")
                    }
                    None => "store them in [0, 1], before normalisation".to_owned(),
                };
                return Err(Error::content(path, format!("values run from {low} to {high}"), cure));
            }
            if integers && (low < 0.0 || high > 255.0) {
                return Err(Error::content(
                    path,
                    format!("integers run from {low} to {high}"),
                    "integer images are 0..255",
                ));
            }
            let divisor = if integers || high > 1.1 { 255.0 } else { 1.0 };
            if high / divisor > 1.1 {
                return Err(Error::content(
                    path,
                    format!("values run up to {high}"),
                    "images are in [0, 1] or in 0..255",
                ));
            }
            for x in &mut values {
                *x = (*x / divisor).clamp(0.0, 1.0);
            }
        }
        Ok(Self(tensor::from_f32(&values, &shape)?))
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

    /// Shape, with the number of classes that the caller knows of.
    pub fn spec(&self, classes: i64) -> ImageSpec {
        let size = self.0.size();
        ImageSpec { channels: size[1], height: size[2], width: size[3], classes }
    }

    /// Checks that the images have the shape of `spec`; `path` is where they came from.
    ///
    /// # Errors
    /// Both shapes.
    pub fn expect_spec(&self, path: &Path, spec: ImageSpec) -> Result<()> {
        let size = self.0.size();
        if size[1..] == [spec.channels, spec.height, spec.width] {
            return Ok(());
        }
        Err(Error::content(
            path,
            format!("its images are {}x{}x{} (channels, height, width)", size[1], size[2], size[3]),
            format!("the others here are {}x{}x{}", spec.channels, spec.height, spec.width),
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

    /// Pixel values on the host, row-major.
    ///
    /// # Errors
    /// Where they cannot be copied.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        tensor::to_f32(&self.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: RangeRule = RangeRule::Unit { normalised_flag: Some("--no-normalize") };

    fn load(array: Array, rule: RangeRule) -> Result<Vec<f32>> {
        Images::from_array(Path::new("x.pt"), array, rule)?.to_vec()
    }

    fn floats(values: [f32; 4]) -> Array {
        Array::from_f32(vec![1, 2, 2], values.to_vec()).unwrap()
    }

    #[test]
    fn ranges_are_told_apart() {
        assert_eq!(load(floats([-0.01, 0.5, 1.0, 1.05]), UNIT).unwrap(), [0.0, 0.5, 1.0, 1.0]);
        assert_eq!(load(floats([0.0, 0.5, 1.0, 1.0]), UNIT).unwrap(), [0.0, 0.5, 1.0, 1.0]);
        assert_eq!(load(floats([0.0, 51.0, 255.0, 0.0]), UNIT).unwrap(), [0.0, 0.2, 1.0, 0.0]);
        let bytes = Array::new(DType::U8, vec![1, 2, 2], vec![0, 51, 255, 1]).unwrap();
        assert_eq!(load(bytes, UNIT).unwrap()[..3], [0.0, 0.2, 1.0]);
        let error = load(floats([-0.4, 2.8, 0.0, 0.0]), UNIT).unwrap_err().to_string();
        assert!(error.contains("--no-normalize") && error.contains("2.8"), "{error}");
        assert_eq!(load(floats([-0.4, 2.8, 0.0, 0.0]), RangeRule::AsIs).unwrap(), [-0.4, 2.8, 0.0, 0.0]);
        assert!(load(floats([0.0, f32::NAN, 0.0, 0.0]), RangeRule::AsIs).is_err());
    }
}
