//! Records: images, labels, what shape they have, and whether they are private.

pub mod augment;
mod digits;
mod folders;
mod images;
mod labels;
mod normalisation;
mod numbered;
mod parquet;
mod picture;
mod public;
mod records;
mod shape;
mod shard;
mod soft_labels;

pub use digits::{digits, enlarge_digits};
pub use folders::{folders, has_splits};
pub use images::{Images, RangeRule, Scale};
pub use labels::{LabelColumn, LabelRow, Labels, read_label_csv, read_labels_of, write_csv};
pub use normalisation::Normalisation;
pub use numbered::{InPlace, numbered_folders};
pub use parquet::{is_parquet, parquet};
pub use public::{Dataset, Orientation, Split, Wanted, mnist};
pub use records::{Privacy, Records};
pub use shape::{ImageShape, ImageSize, MNIST_CLASSES};
pub use shard::{Assignment, Shard, ShardIndices, ShardMetadata, class_counts};
pub use soft_labels::SoftLabels;
