//! `vote-label`: see [`pate_cli::steps::selection::VoteLabel`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::selection::VoteLabel>()
}
