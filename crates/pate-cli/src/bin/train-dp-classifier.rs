//! `train-dp-classifier`: see [`pate_cli::steps::private::TrainDpClassifier`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::private::TrainDpClassifier>()
}
