//! What teachers say of candidates, what stays, and the combined data set.

mod batch_label_filter;
mod combine;
mod label_filter;
mod one_teacher;
mod vote_label;

pub use batch_label_filter::BatchLabelFilter;
pub use combine::Combine;
pub use label_filter::LabelFilter;
pub use vote_label::VoteLabel;
