//! Work that goes on after a stop.

pub mod charged;
pub mod checkpoint;
mod each_teacher;

pub use each_teacher::{
    COUNTS_NOTE, Details, OnFailure, Status, TeacherLine, cell, count, each_teacher, table,
};
