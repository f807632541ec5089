//! `sample-generator`: see [`pate_cli::steps::dpmi::SampleGenerator`].

fn main() -> std::process::ExitCode {
    pate_cli::run::<pate_cli::steps::dpmi::SampleGenerator>()
}
