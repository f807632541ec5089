//! Channels, height, width and classes.

use std::fmt;
use std::str::FromStr;

use crate::Result;

/// Shape of the images of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageShape {
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: i64,
    /// Rows of pixels.
    pub height: i64,
    /// Columns of pixels.
    pub width: i64,
}

/// Classes of MNIST.
pub const MNIST_CLASSES: i64 = 10;

impl ImageShape {
    /// MNIST: 28x28, grey.
    pub const MNIST: Self = Self { channels: 1, height: 28, width: 28 };

    /// `[n, channels, height, width]`.
    pub fn batch(&self, n: i64) -> [i64; 4] {
        [n, self.channels, self.height, self.width]
    }

    /// Pixel values of one image.
    pub fn numel(&self) -> i64 {
        self.channels * self.height * self.width
    }
}

/// Height and width of images, as a command line gives them: `32`, or `32x48`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    /// Rows of pixels.
    pub height: i64,
    /// Columns of pixels.
    pub width: i64,
}

impl fmt::Display for ImageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

impl FromStr for ImageSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| text.parse().ok().filter(|n| (4..=1024).contains(n));
        let (height, width) = text.split_once('x').unwrap_or((text, text));
        side(height).zip(side(width)).map(|(height, width)| Self { height, width }).ok_or_else(|| {
            "give one number of pixels for both sides, or HEIGHTxWIDTH, each in 4..=1024".to_owned()
        })
    }
}
