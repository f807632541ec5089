//! `batch-label-filter`: see [`pate_cli::steps::selection::BatchLabelFilter`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::selection::BatchLabelFilter>()
}
