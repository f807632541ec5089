//! `train-teacher-vae`: see [`pate_cli::steps::teachers::TrainTeacherVae`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::teachers::TrainTeacherVae>()
}
