//! `inspect`: see [`tools::inspect`].

fn main() -> std::process::ExitCode {
    tools::inspect::run()
}
