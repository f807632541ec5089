//! The flags that all steps have.

use std::thread::available_parallelism;

use anyhow::{Result, bail};
use clap::Args;
use pate_core::base::progress::Progress;
use tch::{Cuda, Device};

/// How the step runs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Seed of everything random in this step
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Where to compute: auto (a GPU if there is one, else the CPU), cpu, cuda, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,

    /// The same as --device cpu
    #[arg(long, conflicts_with = "device")]
    no_cuda: bool,

    /// Threads of one operation; results are the same bytes only for the same number [default: all
    /// cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Print errors and results only, no progress and no notes
    #[arg(short, long)]
    pub quiet: bool,

    /// With an error of libtorch, print all that it says
    #[arg(short, long)]
    pub verbose: bool,

    #[command(flatten)]
    completions: program::CompletionsArgs,
}

impl RunArgs {
    /// The device that was asked for.
    ///
    /// # Errors
    /// One that is not there, or no device at all by that name.
    pub(crate) fn device(&self, progress: &dyn Progress) -> Result<Device> {
        if self.no_cuda {
            return Ok(Device::Cpu);
        }
        let gpus = if Cuda::is_available() { Cuda::device_count().max(0) as usize } else { 0 };
        // A device that is asked for by name is never replaced in silence.
        let gpu = |n: usize| {
            if n < gpus {
                return Ok(Device::Cuda(n));
            }
            bail!(
                "--device {} is not there: {gpus} CUDA devices can be used; take --device cpu, or see `cargo xtask doctor`",
                self.device
            )
        };
        match self.device.as_str() {
            "cpu" => Ok(Device::Cpu),
            "cuda" => gpu(0),
            "auto" if gpus > 0 => Ok(Device::Cuda(0)),
            "auto" => {
                progress.say("device: cpu (no CUDA device can be used)");
                Ok(Device::Cpu)
            }
            other => match other.strip_prefix("cuda:").and_then(|n| n.parse().ok()) {
                Some(n) => gpu(n),
                None => bail!("--device is `{other}`; it must be auto, cpu, cuda or cuda:N"),
            },
        }
    }

    /// Threads of one operation.
    pub(crate) fn threads(&self) -> usize {
        self.threads.map_or_else(|| available_parallelism().map_or(1, usize::from), usize::from)
    }
}
