//! `compare-approaches`: see [`pate_cli::steps::measure::CompareApproaches`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::measure::CompareApproaches>()
}
