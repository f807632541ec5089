//! `finetune-diffusion`: see [`pate_cli::steps::feta::FinetuneDiffusion`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::feta::FinetuneDiffusion>()
}
