//! Flags that declare the scale of images in files.

use std::path::{Path, PathBuf};

use clap::Args;
use pate_core::config::FeatureKind;
use pate_core::data::{RangeRule, Scale};
use pate_core::models::{Declared, Program, Scores};

use super::{parse_path, word};

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

/// A TorchScript program of features, and what it is trusted with.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Inception network")]
pub struct InceptionArgs {
    /// A TorchScript program whose features take the place of the proxy's, such as an Inception
    /// network: it takes images [n, 3, 299, 299], to which these are enlarged
    #[arg(long, value_name = "FILE", value_parser = parse_path, requires_all = ["trust_torchscript", "inception_gives", "inception_scale"])]
    inception: Option<PathBuf>,

    /// Run the program in that file; it can do anything that you can
    #[arg(long, requires = "inception")]
    trust_torchscript: bool,

    /// What it gives: features, or features-and-logits (a pair, for the inception score)
    #[arg(long, value_name = "WHAT", value_parser = word::<FeatureKind>(), hide_possible_values = true, requires = "inception")]
    inception_gives: Option<FeatureKind>,

    /// What black and white are for it: unit (0 and 1), byte (0 and 255), signed (-1 and 1), or
    /// 0..N
    #[arg(long, value_name = "SCALE", requires = "inception")]
    inception_scale: Option<Scale>,
}

impl InceptionArgs {
    /// The program's file, and what is declared of it.
    pub fn given(&self) -> Option<(&Path, Declared)> {
        let path = self.inception.as_deref().filter(|_| self.trust_torchscript)?;
        let (gives, scale) = self.inception_gives.zip(self.inception_scale)?;
        Some((path, Declared { gives, scale }))
    }
}
