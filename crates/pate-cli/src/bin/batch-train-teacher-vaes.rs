//! `batch-train-teacher-vaes`: see [`pate_cli::steps::teachers::BatchTrainTeacherVaes`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::teachers::BatchTrainTeacherVaes>()
}
