//! The method: teachers of private shards label candidates; what a filter keeps becomes a data set
//! that can be shared.
//!
//! [`generate`] decodes candidates; [`label`] asks one teacher, [`vote`] all of them;
//! [`label_filter`] keeps some by the filters of [`select`] and fills rare classes by [`steer`];
//! [`combine`] joins the sets of all teachers.

pub mod combine;
pub mod generate;
pub mod label;
pub mod label_filter;
pub mod select;
pub mod steer;
pub mod vote;
