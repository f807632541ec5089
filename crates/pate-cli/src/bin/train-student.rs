//! `train-student`: see [`pate_cli::steps::student::TrainStudent`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::student::TrainStudent>()
}
