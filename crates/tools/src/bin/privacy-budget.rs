//! `privacy-budget`: see [`tools::budget`].

fn main() -> std::process::ExitCode {
    tools::budget::run()
}
