//! `train-gan`: see [`pate_cli::steps::dpmi::TrainGan`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::dpmi::TrainGan>()
}
