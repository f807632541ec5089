//! `evaluate-synthetic`: see [`pate_cli::steps::measure::EvaluateSynthetic`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::measure::EvaluateSynthetic>()
}
