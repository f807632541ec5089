//! Flags of diffusion models: their network, and the noise that they learn from.

use clap::Args;

use super::fraction;

/// Sizes of a diffusion model's network.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Network")]
pub struct UNetArgs {
    /// Channels of the first convolution, a multiple of 4 [default: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(4..=512))]
    pub(crate) nf: Option<i64>,

    /// Factors of the channels, one for each size of maps, each half as large as the one before
    /// [default: 2,2]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(i64).range(1..=16))]
    pub(crate) ch_mult: Option<Vec<i64>>,

    /// Residual blocks of each size on the way down; one more on the way up [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=16))]
    pub(crate) num_res_blocks: Option<i64>,

    /// Sides of maps, in pixels, that have attention; 0: none but in the middle [default: half of
    /// the images' side]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(i64).range(0..=1024))]
    pub(crate) attn_resolutions: Option<Vec<i64>>,
}

/// What is drawn for an image while a diffusion model learns.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Noise")]
pub struct NoiseArgs {
    /// Draws of noise for an image in a step, whose losses are averaged [default: 1; of
    /// finetune-diffusion 32]
    #[arg(long, visible_alias = "n-noise-samples", value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) noise_draws: Option<u32>,

    /// Probability with which an image has no label in a step: what guidance needs
    #[arg(long, visible_alias = "label-unconditioning-prob", value_name = "P", value_parser = fraction, default_value_t = 0.1)]
    pub(crate) label_dropout: f64,

    /// Noise levels to learn, from the least to the largest, such as 0.1,2: the middle ones alone
    /// on private images leave what is coarse and what is fine to central images [default: all]
    #[arg(long, value_name = "RANGE", value_delimiter = ',', num_args = 1, value_parser = super::positive)]
    pub(crate) noise_levels: Option<Vec<f64>>,
}
