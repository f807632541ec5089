//! `pretrain-decoder`: see [`pate_cli::steps::candidates::PretrainDecoder`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::candidates::PretrainDecoder>()
}
