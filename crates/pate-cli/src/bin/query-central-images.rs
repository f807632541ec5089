//! `query-central-images`: see [`pate_cli::steps::feta::QueryCentralImages`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::feta::QueryCentralImages>()
}
