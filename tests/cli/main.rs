//! The programs from the outside: command lines in, exit codes, messages and files out.
//!
//! Every test works in a temporary folder of its own, with relative paths. Networks and pools are
//! made by hand in the crate `testing`, so that what must come out can be worked out on paper.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]
#![expect(clippy::print_stdout, reason = "skips say why, and tables of faults are there to be read")]

mod arguments;
mod batch;
mod book;
mod chain;
mod combining;
mod dpmi;
mod emnist;
mod evaluation;
mod faults;
mod feta;
mod field;
mod filters;
mod help;
mod imgsyn;
mod interrupts;
mod labels;
mod matrix;
mod means;
mod pools;
mod private;
mod scores;
mod shapes;
mod teacher_vaes;
mod training;
mod voting;

use std::sync::LazyLock;

/// The names of all steps.
fn steps() -> &'static [&'static str] {
    static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let name = |entry: &pate_cli::steps::Entry| &*entry.name().leak();
        pate_cli::STEPS.iter().map(name).collect()
    });
    &NAMES
}
