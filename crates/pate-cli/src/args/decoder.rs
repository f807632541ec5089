//! The flag that says whether a decoder has seen private data.

use artifact::Guarantee;
use clap::Args;

/// What the decoder has seen.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Decoder")]
pub struct DecoderOrigin {
    /// The decoder has seen private data: its pools get no guarantee and are readable by you alone.
    /// Taken for granted with --teacher-id and with {id} in --decoder-path; weights alone do not
    /// tell
    #[arg(long)]
    private_decoder: bool,
}

impl DecoderOrigin {
    /// The label that the user declares for the decoder. `own` is the teacher whose own decoder it
    /// is.
    pub fn guarantee(self, own: Option<u64>) -> Guarantee {
        match own {
            Some(id) => Guarantee::none(format!(
                "taken for the decoder of teacher {id}, trained on its private shard"
            )),
            None if self.private_decoder => {
                Guarantee::none("the decoder was trained on private data (--private-decoder)")
            }
            None => Guarantee::Public,
        }
    }
}
