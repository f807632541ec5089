//! A student of synthetic samples, and its test on real records.

mod evaluate_student;
mod train_student;

pub use evaluate_student::EvaluateStudent;
pub use train_student::TrainStudent;
