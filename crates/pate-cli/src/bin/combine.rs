//! `combine`: see [`pate_cli::steps::selection::Combine`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::selection::Combine>()
}
