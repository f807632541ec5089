//! The pictures that the steps write: grids, class sheets, confusion matrices, line charts and
//! histograms.
//!
//! Every function takes plain numbers and gives the bytes of a PNG; a [`Chart`], a histogram and a
//! confusion matrix give an SVG too. The caller writes them. The same input gives the same bytes:
//! nothing depends on the clock, on installed fonts, or on the number of threads. Names and titles
//! are cut where they would not fit, so a picture never has text over text, and a picture of more
//! than [`MAX_PIXELS`] is refused before it is allocated.
//!
//! Text of a PNG is set in Ubuntu Light, which has Latin, Greek and Cyrillic letters; others are
//! drawn as an empty box. An SVG is set in the reader's own font without serifs.
//!
//! ```
//! let pixels = vec![0.5; 3 * 28 * 28];
//! let images = picture::Images { channels: 1, height: 28, width: 28, pixels: &pixels };
//! let png = picture::grid(&images, 8, 2)?;
//! assert!(png.starts_with(b"\x89PNG"));
//! # Ok::<(), picture::Error>(())
//! ```

mod charts;
mod class_sheet;
mod confusion;
mod error;
mod grid;
mod page;
mod raster;
mod text;

pub use charts::{AxisScale, Chart, Line, MAX_BINS, MAX_LINES, MAX_POINTS, Panel, Reference, histogram};
pub use class_sheet::{Sample, class_sheet};
pub use confusion::confusion;
pub use error::Error;
pub use grid::{Images, grid};
pub use page::{Drawing, MAX_PIXELS};
