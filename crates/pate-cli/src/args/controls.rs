//! Flags of the controls that stand beside an accuracy.

use std::path::PathBuf;

use clap::Args;

use super::parse_path;

/// Students to compare with.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Controls")]
pub struct ControlArgs {
    /// Weights of a student of the public data set and its own labels (train-student
    /// --public-control)
    #[arg(long, value_name = "FILE", value_parser = parse_path)]
    pub(crate) public_control_model: Option<PathBuf>,

    /// Weights of a student of the same samples under that control's labels (train-student
    /// --relabel-with)
    #[arg(long, value_name = "FILE", value_parser = parse_path)]
    pub(crate) relabelled_control_model: Option<PathBuf>,
}
