//! The optical digits that are inside the program.

use std::path::Path;

use tch::Tensor;

use super::{ImageShape, Images, Labels, MNIST_CLASSES, Privacy, Records};
use crate::base::tensor;
use crate::{Error, Result};

const IMAGES: &[u8] = include_bytes!("../../../../data/digits/digits-images-idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../../../../data/digits/digits-labels-idx1-ubyte.gz");

/// Side of a stored digit.
const RAW: i64 = 8;
/// Side of the box that a digit fills, as MNIST's digits fill theirs.
const BOX: i64 = 20;
/// Brightest value of the stored digits.
const RAW_MAX: f64 = 16.0;
/// Where the contrast curve is steepest, and how steep.
const CONTRAST: (f64, f64) = (0.45, 9.0);

/// The optical digits that come inside the program: 1,797 real handwritten digits from UCI, as
/// scikit-learn ships them.
///
/// Public: collected in Turkey, without overlap with NIST's forms. Each 8x8 image is enlarged to
/// 20x20 (bicubic), put through a logistic contrast curve, and centred in 28x28, so that it looks
/// like MNIST's digits do.
///
/// # Shapes
/// Images `[1797, 1, 28, 28]` in `[0, 1]`.
///
/// # Errors
/// Never for an intact program.
pub fn digits() -> Result<Records> {
    let origin = Path::new("the embedded digits");
    let parse =
        |bytes: &[u8]| tensorfile::read_bytes(origin, bytes).and_then(tensorfile::Document::into_array);
    let raw = parse(IMAGES)?;
    let labels =
        parse(LABELS)?.to_i64().map_err(|e| Error::content(origin, e.to_string(), "rebuild the program"))?;
    let raw = tensor::from_array(raw)?.f_view([-1, 1, RAW, RAW])? / RAW_MAX;
    let labels = Labels::new(origin, labels, MNIST_CLASSES)?;
    Ok(Records {
        images: Images::trusted(enlarge_digits(&raw)),
        labels,
        name: "digits (UCI optical digits, embedded)".to_owned(),
        privacy: Privacy::Public,
        class_names: Vec::new(),
        files: Vec::new(),
        listing: None,
    })
}

/// What [`digits`] does to its 8x8 images.
///
/// # Shapes
/// `[n, 1, 8, 8]` in `[0, 1]` to `[n, 1, 28, 28]` in `[0, 1]`.
pub fn enlarge_digits(raw: &Tensor) -> Tensor {
    let x = raw.upsample_bicubic2d([BOX, BOX], false, None, None);
    let (middle, slope) = CONTRAST;
    let curve = |x: &Tensor| ((x - middle) * slope).sigmoid();
    // Stretched so that 0 stays 0 and 1 stays 1.
    let (low, high) = (logistic(-middle * slope), logistic((1.0 - middle) * slope));
    let x = ((curve(&x) - low) / (high - low)).clamp(0.0, 1.0);
    let margin = (ImageShape::MNIST.height - BOX) / 2;
    x.constant_pad_nd([margin; 4])
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_digits_are_all_there() {
        let digits = digits().unwrap();
        assert_eq!(digits.images.tensor().size(), [1797, 1, 28, 28]);
        // Counts by class as scikit-learn's documentation of load_digits gives them (about 180
        // each).
        assert_eq!(digits.labels.counts(), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        let x = digits.images.tensor();
        assert!(x.min().double_value(&[]) >= 0.0 && x.max().double_value(&[]) <= 1.0);
        let ink = x.mean(tch::Kind::Float).double_value(&[]);
        // MNIST's mean is .1307; the enlarged digits should be as bright, within a third.
        assert!((0.09..0.18).contains(&ink), "{ink}");
    }
}
