//! `sample-diffusion`: see [`pate_cli::steps::feta::SampleDiffusion`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::feta::SampleDiffusion>()
}
