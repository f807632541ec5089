//! `train-teachers`: see [`pate_cli::steps::teachers::TrainTeachers`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::teachers::TrainTeachers>()
}
