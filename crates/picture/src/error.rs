//! Why a picture could not be drawn.

/// Why a picture could not be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to draw.
    #[error("no {what} to draw; give at least one")]
    Empty {
        /// What is missing, in the plural.
        what: &'static str,
    },
    /// A size that must be at least one is zero.
    #[error("{what} is 0; it must be at least 1")]
    Zero {
        /// The name of the size.
        what: &'static str,
    },
    /// Images are neither grey nor RGB.
    #[error("images have {channels} channels; only 1 (grey) and 3 (red, green, blue) can be drawn")]
    Channels {
        /// The number of channels given.
        channels: usize,
    },
    /// The pixels do not make up whole images.
    #[error(
        "{found} pixel values are no whole number of {channels}x{height}x{width} images; give n*c*h*w values"
    )]
    Pixels {
        /// The number of values given.
        found: usize,
        /// Channels of one image.
        channels: usize,
        /// Rows of one image.
        height: usize,
        /// Columns of one image.
        width: usize,
    },
    /// A class sheet names an image that is not there.
    #[error("row '{row}' shows image {image_idx}, but there are {n_images} images (0 to {})", n_images - 1)]
    Sample {
        /// The label of the row.
        row: String,
        /// The index asked for.
        image_idx: usize,
        /// The number of images given, at least one.
        n_images: usize,
    },
    /// Two lists that belong together differ in length.
    #[error("{what} has {found} entries; it needs {expected}, one for each {per}")]
    Length {
        /// The list at fault, with its name or index.
        what: String,
        /// Its length.
        found: usize,
        /// The length that it should have.
        expected: usize,
        /// What each entry stands for.
        per: &'static str,
    },
    /// A histogram has too few or too many bins.
    #[error("{bins} bins; a histogram has 1 to {max}")]
    Bins {
        /// The number of bins asked for.
        bins: usize,
        /// The largest number allowed.
        max: usize,
    },
    /// A plot has more lines or points than it can show.
    #[error("{found} {what}; a plot has at most {max}")]
    TooMany {
        /// What there is too much of, in the plural.
        what: &'static str,
        /// The number given.
        found: usize,
        /// The largest number allowed.
        max: usize,
    },
    /// A number has no place on a logarithmic axis.
    #[error(
        "line '{line}' has {axis} = {value:?}, but a logarithmic axis takes positive numbers only, from 1e-250 up; leave the point out or make the axis linear"
    )]
    NotPositive {
        /// The name of the line.
        line: String,
        /// The axis, `x` or `y`.
        axis: &'static str,
        /// The number at fault.
        value: f64,
    },
    /// A reference line stands at no number, or at one too large to draw.
    #[error("the reference line '{line}' is at y = {value:?}; give a number of at most 1e250 in size")]
    NotFinite {
        /// The name of the line.
        line: String,
        /// The number at fault.
        value: f64,
    },
    /// The picture would be too large.
    #[error(
        "the picture would be {width:.0}x{height:.0} pixels, over the limit of {limit}; draw fewer or smaller items"
    )]
    TooLarge {
        /// Width of the picture, in pixels.
        width: f64,
        /// Height of the picture, in pixels.
        height: f64,
        /// The largest number of pixels allowed.
        limit: usize,
    },
    /// The built-in font or the drawing library failed: a fault of this program, not of its input.
    #[error("failed to draw: {reason}")]
    Draw {
        /// What the drawing library said.
        reason: String,
    },
    /// The PNG encoder failed.
    #[error("failed to encode the picture as PNG")]
    Encode {
        /// What the encoder said.
        #[from]
        source: image::ImageError,
    },
}

impl Error {
    /// A failure of the drawing library.
    pub(crate) fn draw(reason: impl std::fmt::Display) -> Error {
        Error::Draw { reason: reason.to_string() }
    }
}
