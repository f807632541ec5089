//! `prepare-shards`: see [`pate_cli::steps::teachers::PrepareShards`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::teachers::PrepareShards>()
}
