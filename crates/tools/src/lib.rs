//! The programs without libtorch. Each is a module with a `run`; its binary is five lines.

pub mod budget;
pub mod inspect;
