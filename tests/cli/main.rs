//! The programs from the outside: command lines in, exit codes, messages and files out.
//!
//! Every test works in a temporary folder of its own, with relative paths. Networks and pools are made by hand in
//! [`support`], so that what must come out can be worked out on paper.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]
#![expect(clippy::print_stdout, reason = "skips say why, and tables of faults are there to be read")]

mod arguments;
mod batch;
mod chain;
mod combining;
mod emnist;
mod evaluation;
mod faults;
mod field;
mod filters;
mod help;
mod interrupts;
mod labels;
mod matrix;
mod means;
mod pools;
mod shapes;
mod support;
mod teacher_vaes;
mod training;
mod voting;
