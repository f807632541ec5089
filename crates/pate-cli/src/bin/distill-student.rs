//! `distill-student`: see [`pate_cli::steps::imgsyn::DistillStudent`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::imgsyn::DistillStudent>()
}
