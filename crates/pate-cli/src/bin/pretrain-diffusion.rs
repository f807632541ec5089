//! `pretrain-diffusion`: see [`pate_cli::steps::feta::PretrainDiffusion`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::feta::PretrainDiffusion>()
}
