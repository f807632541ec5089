//! `synthesize-images`: see [`pate_cli::steps::imgsyn::SynthesizeImages`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::imgsyn::SynthesizeImages>()
}
