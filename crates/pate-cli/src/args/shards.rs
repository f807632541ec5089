//! Flags of the assignment of records to teachers.

use std::path::PathBuf;

use clap::Args;

use super::{MNIST_DIR, SHARD_INDICES, ShardScaleArgs, parse_path};

/// Where shards come from that no file of their own holds.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Private data")]
pub struct IndexArgs {
    /// Rows of MNIST's training set by teacher, JSON
    #[arg(long, value_name = "FILE", value_parser = parse_path, default_value = SHARD_INDICES)]
    pub shard_indices: PathBuf,
    /// Folder of MNIST, for --shard-indices
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = MNIST_DIR)]
    pub mnist_data_dir: PathBuf,
    #[command(flatten)]
    pub(crate) scale: ShardScaleArgs,
}
