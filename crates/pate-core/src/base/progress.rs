//! How a long step tells where it is, and learns that it should stop.

use crate::{Error, Result};

/// Receives a step's progress. Implementations draw bars, print lines, or do nothing.
pub trait Progress {
    /// A phase of `total` units begins.
    fn start(&self, what: &str, total: u64);

    /// `n` more units are done; `note` is the current loss or count, or empty.
    fn advance(&self, n: u64, note: &str);

    /// The phase is over.
    fn finish(&self);

    /// Something that the user should read.
    fn say(&self, text: &str);

    /// Whether the user asked to stop.
    fn stop_requested(&self) -> bool;

    /// [`Error::Stopped`] where the user asked to stop.
    ///
    /// # Errors
    /// Exactly then.
    fn check(&self) -> Result<()> {
        if self.stop_requested() { Err(Error::Stopped) } else { Ok(()) }
    }
}

/// Says nothing and never stops.
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64, _: &str) {}
    fn finish(&self) {}
    fn say(&self, _: &str) {}
    fn stop_requested(&self) -> bool {
        false
    }
}
