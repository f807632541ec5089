//! `generate-candidates`: see [`pate_cli::steps::candidates::GenerateCandidates`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::candidates::GenerateCandidates>()
}
