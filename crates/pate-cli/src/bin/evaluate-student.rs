//! `evaluate-student`: see [`pate_cli::steps::student::EvaluateStudent`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::student::EvaluateStudent>()
}
