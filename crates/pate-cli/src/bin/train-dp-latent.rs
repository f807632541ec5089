//! `train-dp-latent`: see [`pate_cli::steps::dpmi::TrainDpLatent`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::dpmi::TrainDpLatent>()
}
