//! The flag that says whether unfinished work goes on.

use clap::Args;

/// Whether a training must go on.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Output")]
pub struct ResumeArgs {
    /// Refuse to start anew: go on from the checkpoint of a stopped training with the same inputs
    /// and settings. Without this, it goes on where there is one
    #[arg(long)]
    pub(crate) resume: bool,
}
