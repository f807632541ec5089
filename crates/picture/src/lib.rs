//! The pictures that the steps write: grids, class sheets, confusion matrices, curves, bars and histograms;
//! and plots of lines over a numeric axis.
//!
//! Every function takes plain numbers and gives the bytes of a PNG, and a [`Plot`] an SVG too; the caller writes them.
//! The same input gives the same bytes: nothing depends on the clock, on installed fonts, or on the number of threads.
//! Names and titles are cut where they would not fit, so a picture never has text over text, and a picture of more
//! than [`MAX_PIXELS`] is refused before anything is allocated.
//!
//! Text of a PNG is set in Ubuntu Light, which has Latin, Greek and Cyrillic letters; others are drawn as an empty box.
//!
//! ```
//! let pixels = vec![0.5; 3 * 28 * 28];
//! let images = picture::Images { channels: 1, height: 28, width: 28, pixels: &pixels };
//! let png = picture::grid(&images, 8, 2)?;
//! assert!(png.starts_with(b"\x89PNG"));
//! # Ok::<(), picture::Error>(())
//! ```

mod axes;
mod canvas;
mod chart;
mod confusion;
mod error;
mod images;
mod plot;
mod svg;

pub use canvas::MAX_PIXELS;
pub use chart::{Curve, MAX_BINS, Panel, bars, curves, histogram};
pub use confusion::confusion;
pub use error::Error;
pub use images::{Images, Sample, class_sheet, grid};
pub use plot::{AxisScale, Line, MAX_LINES, MAX_POINTS, Plot, Reference};
