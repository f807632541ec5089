//! A Python with PyTorch 2.13.0, NumPy, safetensors, dp-accounting and Opacus, to compare this
//! project's programs with: the user's own, or one that is made once in this user's cache. No build
//! and no CI needs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::context::{ask, run};
use crate::fetch::{Lock, beside, create_dir, remove_dir};
use crate::libtorch::{self, LINUX_X64_CUDA, System, VERSION, release};
use crate::python::Python;

/// Names a Python of the user's own.
pub(crate) const VARIABLE: &str = "PATE_PYTHON";

/// What the comparisons import besides PyTorch, and what PyTorch imports, pinned to what they were
/// written with, with the hashes of their wheels for Python 3.11.
const REQUIREMENTS: &str = include_str!("pyenv-requirements.txt");

/// The Python whose wheels have hashes here.
const HASHED: &str = "3.11";

/// Prints PyTorch's version where everything that is compared with can be imported.
const PROBE: &str =
    "import dp_accounting, numpy, opacus, prdc, safetensors.torch, torch; print(torch.__version__)";

/// The same where PyTorch alone can be: of several gigabytes.
const PROBE_PYTORCH: &str = "import torch; print(torch.__version__)";

/// The Python to compare with, made if need be. PyPI's PyTorch for Linux x86-64 does not start
/// without its CUDA libraries: 2 GB of downloads, where PyTorch's own index is out of reach.
pub(crate) fn find_or_make() -> anyhow::Result<Python> {
    if let Some(python) = users_own()? {
        return Ok(python);
    }
    let hint = || {
        format!(
            "no Python with torch {VERSION} could be made (Python 3.11 or newer and pip are needed); or let {VARIABLE} name an \
             interpreter that has torch=={VERSION}, numpy, safetensors, dp-accounting, opacus, pytorch-fid and prdc"
        )
    };
    let slot = slot()?;
    let python = interpreter(&slot);
    if !works(&python) {
        create_dir(slot.parent().unwrap_or(&slot))?;
        let _lock = Lock::wait(&beside(&slot, ".lock"))?;
        // Another process may have made it while this one waited.
        if !works(&python) {
            complete_or_make(&slot).with_context(hint)?;
        }
    }
    eprintln!("Python with torch {VERSION}: {}", slot.display());
    Ok(python)
}

/// The Python to compare with, if it is there already.
pub(crate) fn find() -> anyhow::Result<Option<PathBuf>> {
    if users_own()?.is_some() {
        return Ok(std::env::var_os(VARIABLE).map(PathBuf::from));
    }
    let slot = slot()?;
    Ok(works(&interpreter(&slot)).then_some(slot))
}

/// The Python that the environment names, which must serve.
fn users_own() -> anyhow::Result<Option<Python>> {
    let Some(program) = std::env::var_os(VARIABLE).filter(|program| !program.is_empty()) else {
        return Ok(None);
    };
    let python = Python::named(program);
    if !works(&python) {
        bail!(
            "{VARIABLE} is {}, which is no Python with torch {VERSION}, numpy, safetensors, dp-accounting, opacus, pytorch-fid and prdc: install them for it \
             (pip install torch=={VERSION} numpy safetensors dp-accounting==0.6.0 opacus==1.6.0 pytorch-fid==0.3.0 prdc==0.2), or unset the variable",
            python.name()
        );
    }
    Ok(Some(python))
}

fn works(python: &Python) -> bool {
    answers(python, PROBE)
}

fn answers(python: &Python, probe: &str) -> bool {
    ask(python.command().args(["-c", probe]))
        .is_some_and(|answer| answer.lines().last().is_some_and(|version| release(version) == VERSION))
}

fn slot() -> anyhow::Result<PathBuf> {
    Ok(libtorch::cache_root()?.join(format!("python-torch-{VERSION}")))
}

/// A virtual environment's own interpreter.
fn interpreter(slot: &Path) -> Python {
    Python::named(if cfg!(windows) {
        slot.join("Scripts").join("python.exe")
    } else {
        slot.join("bin").join("python")
    })
}

/// An environment that was made when less was compared gets what it lacks, and keeps its PyTorch.
fn complete_or_make(slot: &Path) -> anyhow::Result<()> {
    let python = interpreter(slot);
    if answers(&python, PROBE_PYTORCH)
        && install(&python, REQUIREMENTS, has_hashes(&python)).is_ok()
        && works(&python)
    {
        return Ok(());
    }
    make(slot)
}

/// Makes the environment beside its place and moves it there when it works, so that it is complete
/// or absent.
fn make(slot: &Path) -> anyhow::Result<()> {
    let Some(base) = Python::with_pip() else {
        bail!(
            "no Python 3 with pip is here: install one (on Debian and Ubuntu: apt-get install python3-pip)"
        );
    };
    let staging = beside(slot, ".partial");
    // What a run that was killed left.
    remove_dir(&staging)?;
    run(base.command().args(["-m", "venv"]).arg(&staging)).with_context(|| {
        format!(
            "{} cannot make virtual environments (on Debian and Ubuntu: apt-get install python3-venv)",
            base.name()
        )
    })?;
    let python = interpreter(&staging);
    let hashed = has_hashes(&python);
    if !hashed {
        eprintln!(
            "hashes of wheels are known for Python {HASHED} on the systems that PyTorch is published for, and this is another one: its packages are \
             not verified"
        );
    }
    install(&python, REQUIREMENTS, hashed)?;
    if !(cfg!(target_os = "linux") && install_from_pytorch(&python)) {
        let system = System::this();
        let wheels = if system == System::LinuxX64 { LINUX_X64_CUDA } else { system.cpu_wheels() };
        if wheels.is_empty() {
            bail!("torch {VERSION} is not published for this machine");
        }
        let lines =
            wheels.iter().map(|wheel| format!("{} --hash=sha256:{}\n", wheel.requirement, wheel.sha256));
        install(&python, &lines.collect::<String>(), hashed)?;
    }
    if !works(&python) {
        // Once more, with the reason on the terminal.
        run(python.command().args(["-c", PROBE]))?;
        bail!("pip installed another version of torch than {VERSION}");
    }
    remove_dir(slot)?;
    std::fs::rename(&staging, slot).with_context(|| format!("cannot rename to {}", slot.display()))
}

/// PyTorch's own index has builds for the processor alone; PyPI has CUDA builds, ten times as
/// large.
fn install_from_pytorch(python: &Python) -> bool {
    let index = ["--index-url", "https://download.pytorch.org/whl/cpu", "--retries", "0", "--timeout", "8"];
    let outcome = run(pip(python).args(index).arg(format!("torch=={VERSION}+cpu")));
    match &outcome {
        Err(error) => {
            eprintln!("PyTorch's own index cannot be had ({error:#}); taking the CUDA build from PyPI");
        }
        Ok(()) => eprintln!(
            "torch {VERSION}+cpu came from PyTorch's own index, of whose wheels no hash is known here"
        ),
    }
    outcome.is_ok()
}

/// Installs what stands in the lines of a requirements file; `hashed`: nothing whose hash is not
/// among them.
fn install(python: &Python, requirements: &str, hashed: bool) -> anyhow::Result<()> {
    if !hashed {
        return run(pip(python).args(pins(requirements)));
    }
    let mut file = tempfile::Builder::new().suffix(".txt").tempfile()?;
    std::io::Write::write_all(&mut file, requirements.as_bytes())?;
    run(pip(python).arg("--require-hashes").arg("--requirement").arg(file.path()))
}

/// The `name==version` of a requirements file.
fn pins(requirements: &str) -> Vec<&str> {
    let words = requirements.lines().filter_map(|line| line.split_whitespace().next());
    words.filter(|word| word.contains("==") && !word.starts_with("--")).collect()
}

/// Whether all wheels that this Python takes have hashes here.
fn has_hashes(python: &Python) -> bool {
    System::this() != System::Other && python.version().is_some_and(|version| is_hashed(&version))
}

/// Whether the wheels that a Python of this version takes have hashes here.
fn is_hashed(version: &str) -> bool {
    let number = version.strip_prefix("Python ").unwrap_or(version);
    number.strip_prefix(HASHED).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Dependencies are named one by one: PyTorch's own list has a compiler for GPUs on it.
fn pip(python: &Python) -> Command {
    let mut pip = python.command();
    pip.args([
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--only-binary=:all:",
        "--no-cache-dir",
        "--progress-bar=off",
    ]);
    pip.args(["--disable-pip-version-check", "--quiet"]);
    pip.env("PIP_REQUIRE_VIRTUALENV", "0");
    pip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned() {
        let pins = pins(REQUIREMENTS);
        assert!(pins.len() >= 18, "{pins:?}");
        for requirement in pins.into_iter().chain(LINUX_X64_CUDA.iter().map(|wheel| wheel.requirement)) {
            assert!(
                requirement.split_once("==").is_some_and(|(_, version)| !version.is_empty()),
                "{requirement}"
            );
        }
    }

    /// Attacks, row 17: the environments were installed without hashes.
    #[test]
    fn every_package_has_the_hash_of_a_wheel() {
        let mut lines =
            REQUIREMENTS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).peekable();
        while let Some(pin) = lines.next() {
            assert!(pin.contains("==") && pin.ends_with(" \\"), "{pin}");
            let mut n_hashes = 0;
            while let Some(line) = lines.next_if(|line| line.starts_with(' ')) {
                let hash = line.trim().trim_end_matches(" \\").strip_prefix("--hash=sha256:").unwrap();
                assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
                n_hashes += 1;
            }
            assert!(n_hashes > 0, "{pin}");
        }
        assert!(
            is_hashed("3.11") && is_hashed("Python 3.11.7") && !is_hashed("3.1") && !is_hashed("3.110.2")
        );
    }

    #[test]
    fn a_program_that_is_no_python_does_not_serve() {
        assert!(!works(&Python::named("no-such-program-anywhere")));
        assert!(!works(&interpreter(tempfile::tempdir().unwrap().path())));
    }
}
