//! `extract-latents`: see [`pate_cli::steps::dpmi::ExtractLatents`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::dpmi::ExtractLatents>()
}
