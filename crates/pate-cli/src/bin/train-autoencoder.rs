//! `train-autoencoder`: see [`pate_cli::steps::dpmi::TrainAutoencoder`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::dpmi::TrainAutoencoder>()
}
