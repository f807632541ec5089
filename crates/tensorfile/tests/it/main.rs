//! What files of other programs hold, what hostile ones do, and what comes back of our own.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it skips"
)]

mod conformance;
mod field;
mod hostile;
mod labelled;
mod round_trip;
mod state_dicts;
mod support;
mod views;
