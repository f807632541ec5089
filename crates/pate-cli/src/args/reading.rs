//! Flags that declare the scale of images in files.

use clap::Args;
use pate_core::data::{RangeRule, Scale};
use pate_core::models::{Program, Scores};

/// On which scale the pixels of samples or candidates are.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Reading")]
pub struct ScaleArgs {
    /// What black and white are in the files of images: unit (0 and 1), byte (0 and 255), signed
    /// (-1 and 1), or 0..N (0 and N) [default: detected from the values, if they are unambiguous]
    #[arg(long, value_name = "SCALE")]
    pub scale: Option<Scale>,
}

impl ScaleArgs {
    /// How the files are read.
    pub fn rule(self) -> RangeRule {
        RangeRule::of_user("--scale", self.scale)
    }
}

/// On which scale the pixels of private shards are.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Private data")]
pub struct ShardScaleArgs {
    /// What black and white are in the files of shards, as --scale says it of others: on a wrong
    /// scale a copy of a private image is far from it [default: detected from the values, if they
    /// are unambiguous]
    #[arg(long, value_name = "SCALE")]
    pub shard_scale: Option<Scale>,
}

impl ShardScaleArgs {
    /// How shards are read.
    pub fn rule(self) -> RangeRule {
        RangeRule::of_user("--shard-scale", self.shard_scale)
    }
}

/// What may be done with TorchScript teachers of another architecture.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Teachers' programs")]
pub struct ProgramArgs {
    /// Run the program in a TorchScript file of another architecture; it can do anything that you
    /// can
    #[arg(long)]
    trust_torchscript: bool,

    /// What such programs give: logits, log-probabilities or probabilities [default: detected from
    /// what they give for some images, if that is unambiguous]
    #[arg(long, value_name = "SCORES", requires = "trust_torchscript")]
    program_scores: Option<Scores>,
}

impl ProgramArgs {
    /// The permission.
    pub fn program(self) -> Program {
        Program { trusted: self.trust_torchscript, scores: self.program_scores }
    }
}
