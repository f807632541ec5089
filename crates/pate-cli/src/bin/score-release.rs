//! `score-release`: see [`pate_cli::steps::measure::ScoreRelease`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::measure::ScoreRelease>()
}
