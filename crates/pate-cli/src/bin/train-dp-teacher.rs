//! `train-dp-teacher`: see [`pate_cli::steps::private::TrainDpTeacher`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::private::TrainDpTeacher>()
}
