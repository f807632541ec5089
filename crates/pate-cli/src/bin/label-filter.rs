//! `label-filter`: see [`pate_cli::steps::selection::LabelFilter`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::selection::LabelFilter>()
}
