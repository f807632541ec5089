//! `capture-dp-stats`: see [`pate_cli::steps::private::CaptureDpStats`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::private::CaptureDpStats>()
}
