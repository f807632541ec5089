//! `relabel`: see [`pate_cli::steps::dpmi::Relabel`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::dpmi::Relabel>()
}
