//! `cargo xtask setup`: a libtorch for this checkout.
//!
//! The user's own comes first (`LIBTORCH_USE_PYTORCH`, then `LIBTORCH`), then one that is linked
//! already, a Python's PyTorch, the cache of this user, and last a download into that cache. All
//! but the user's own become the target of `.libtorch`, a link in the checkout that
//! `.cargo/config.toml` names.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use zip::ZipArchive;

use crate::context::{Context, ask, run as run_program};
use crate::fetch::{self, Lock, create_dir, remove_dir};
use crate::libtorch::{self, Install, Kind, System, VERSION, Wheel};
use crate::python::Python;

/// Finds or fetches libtorch and says what it found.
pub(crate) fn run(ctx: &Context, cuda: bool) -> anyhow::Result<Install> {
    let wanted = if cuda { Kind::Cuda } else { Kind::Cpu };
    let install = match users_own(ctx, wanted)? {
        Some(install) => install,
        None => linked(ctx, wanted).map_or_else(|| find_or_fetch(ctx, wanted), Ok)?,
    };
    eprintln!("ready: {install}");
    Ok(install)
}

/// The libtorch that builds use now, without changing or fetching anything.
pub(crate) fn current(ctx: &Context) -> anyhow::Result<Install> {
    match users_own(ctx, Kind::Cpu)? {
        Some(install) => Ok(install),
        None => Install::inspect(&link_path(ctx)),
    }
}

/// Puts the DLLs of libtorch beside the executables, since Windows has no run path. Nothing to do
/// elsewhere.
pub(crate) fn place_dlls(ctx: &Context, install: &Install) -> anyhow::Result<()> {
    if !cfg!(windows) {
        return Ok(());
    }
    let lib = install.home.join("lib");
    for folder in [ctx.release_dir(), ctx.release_dir().join("deps")] {
        create_dir(&folder)?;
        for entry in std::fs::read_dir(&lib).with_context(|| format!("cannot list {}", lib.display()))? {
            let dll = entry?.path();
            let Some(name) = dll.file_name().filter(|_| dll.extension().is_some_and(|ext| ext == "dll"))
            else {
                continue;
            };
            let placed = folder.join(name);
            let size = |path: &Path| path.metadata().map(|meta| meta.len()).ok();
            if size(&placed) == size(&dll) {
                continue;
            }
            // A second name costs no space; another drive wants a copy.
            let _ = std::fs::remove_file(&placed);
            if std::fs::hard_link(&dll, &placed).is_err() {
                std::fs::copy(&dll, &placed).with_context(|| format!("cannot write {}", placed.display()))?;
            }
        }
    }
    Ok(())
}

/// The link in the checkout.
fn link_path(ctx: &Context) -> PathBuf {
    ctx.root().join(".libtorch")
}

/// What the user's environment asks for, checked; torch-sys looks at the two variables in this
/// order.
fn users_own(ctx: &Context, wanted: Kind) -> anyhow::Result<Option<Install>> {
    let install = if std::env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        let python = Python::of_torch_sys();
        let pytorch = python.pytorch().ok_or_else(|| {
            anyhow!(
                "LIBTORCH_USE_PYTORCH is set and {} has no PyTorch: install torch=={VERSION} for it, or unset the variable",
                python.name()
            )
        })?;
        Install::inspect(&pytorch.home)
            .context("LIBTORCH_USE_PYTORCH is set, and the PyTorch of Python does not fit")?
    } else {
        // Cargo itself sets LIBTORCH to `.libtorch` where the user did not.
        let own = std::env::var_os("LIBTORCH").map(PathBuf::from).filter(|path| *path != link_path(ctx));
        let Some(home) = own else { return Ok(None) };
        Install::inspect(&home).context("LIBTORCH is set, and must name a libtorch 2.13.0 or be unset")?
    };
    if !install.serves(wanted) {
        bail!(
            "{install} has no CUDA: unset LIBTORCH and LIBTORCH_USE_PYTORCH, or let them name a CUDA build"
        );
    }
    Ok(Some(install))
}

/// What `.libtorch` points at, if it serves.
fn linked(ctx: &Context, wanted: Kind) -> Option<Install> {
    let home = link_path(ctx).canonicalize().ok()?;
    Install::inspect(&home).ok().filter(|install| install.serves(wanted))
}

fn find_or_fetch(ctx: &Context, wanted: Kind) -> anyhow::Result<Install> {
    if let Some((python, install)) = of_some_python(wanted) {
        eprintln!("{} has {install}", python.name());
        eprintln!(
            "hint: LIBTORCH_USE_PYTORCH=1 makes cargo ask Python each time; the link .libtorch does without"
        );
        link(ctx, &install)?;
        return Ok(install);
    }
    let cache = libtorch::cache_root()?;
    let (slot, home) = libtorch::cache_slot(&cache, wanted);
    if Install::inspect(&home).is_err() {
        require_published(wanted)?;
        create_dir(&cache)?;
        let _lock = Lock::wait(&cache.join("setup.lock"))?;
        // Another process may have brought it while this one waited.
        if Install::inspect(&home).is_err() {
            bring(&slot, wanted)?;
        }
    }
    let install = Install::inspect(&home)?;
    link(ctx, &install)?;
    Ok(install)
}

/// A Python with PyTorch 2.13.0 that works.
fn of_some_python(wanted: Kind) -> Option<(Python, Install)> {
    Python::candidates().into_iter().find_map(|python| {
        let pytorch = python.pytorch()?;
        match Install::inspect(&pytorch.home) {
            Ok(install) => install.serves(wanted).then_some((python, install)),
            Err(error) => {
                eprintln!("passed over the PyTorch {} of {}: {error:#}", pytorch.version, python.name());
                None
            }
        }
    })
}

/// Refuses the machines for which nothing can be fetched, before anything is.
fn require_published(wanted: Kind) -> anyhow::Result<()> {
    let own = format!("set LIBTORCH to the folder of a libtorch {VERSION} that you have");
    if cfg!(target_env = "musl") {
        bail!("libtorch {VERSION} is not published for musl (Alpine): use a system with glibc 2.28 or newer");
    }
    if cfg!(all(windows, target_env = "gnu")) {
        bail!("libtorch for Windows needs the MSVC toolchain: rustup default stable-x86_64-pc-windows-msvc");
    }
    if cfg!(all(target_os = "macos", target_arch = "x86_64")) {
        bail!("libtorch {VERSION} is not published for Intel Macs: {own}");
    }
    if System::this() == System::Other {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        bail!("libtorch {VERSION} is not published for {os} on {arch}: {own}");
    }
    if let Some(glibc) = glibc_version()
        && glibc < (2, 28)
    {
        bail!(
            "this system has glibc {}.{}, and libtorch {VERSION} needs 2.28 or newer: {own}",
            glibc.0,
            glibc.1
        );
    }
    if wanted == Kind::Cuda && System::this() != System::LinuxX64 {
        bail!("a CUDA build can be fetched for Linux x86-64 only: {own}, built for CUDA");
    }
    Ok(())
}

fn glibc_version() -> Option<(u32, u32)> {
    parse_glibc(&ask(std::process::Command::new("getconf").arg("GNU_LIBC_VERSION"))?)
}

fn parse_glibc(answer: &str) -> Option<(u32, u32)> {
    let mut numbers = answer.strip_prefix("glibc ")?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Fills a slot of the cache. The slot appears complete, under its name, or not at all.
fn bring(slot: &Path, wanted: Kind) -> anyhow::Result<()> {
    let staging = fetch::beside(slot, ".partial");
    let downloads = fetch::beside(slot, ".downloads");
    // What an interrupted run left of the unpacked files; an archive that it left half downloaded
    // is resumed.
    remove_dir(&staging)?;
    create_dir(&staging)?;
    create_dir(&downloads)?;
    let brought = match wanted {
        Kind::Cpu => from_archive(&downloads, &staging).or_else(|error| {
            eprintln!("the official archive cannot be had ({error:#}); taking the wheels from PyPI");
            remove_dir(&staging)?;
            from_wheels(System::this().cpu_wheels(), Kind::Cpu, &downloads, &staging)
        }),
        Kind::Cuda => from_wheels(libtorch::LINUX_X64_CUDA, Kind::Cuda, &downloads, &staging),
    };
    brought.with_context(|| {
        format!(
            "libtorch {VERSION} could not be fetched; other ways: pip install torch=={VERSION}, then this again, \
             or set LIBTORCH to an unpacked libtorch {VERSION}"
        )
    })?;
    remove_dir(slot)?;
    std::fs::rename(&staging, slot).with_context(|| format!("cannot rename to {}", slot.display()))?;
    remove_dir(&downloads)
}

fn from_archive(downloads: &Path, staging: &Path) -> anyhow::Result<()> {
    let archive = System::this().archive().context("none is published for this machine")?;
    let path = downloads.join("libtorch.zip");
    fetch::download(archive.url, &path, archive.sha256)?;
    unpack(&path, staging, part_of_archive)?;
    finish(staging, Kind::Cpu)
}

fn from_wheels(wheels: &[Wheel], kind: Kind, downloads: &Path, staging: &Path) -> anyhow::Result<()> {
    let python = Python::with_pip().context(
        "no Python 3 with pip is here to fetch them: install one (on Debian and Ubuntu: apt-get install python3-pip)",
    )?;
    for wheel in wheels {
        let path = pip_download(&python, wheel, downloads)?;
        match kind {
            Kind::Cpu => unpack(&path, staging, cpu_part_of_wheel)?,
            Kind::Cuda => unpack(&path, staging, cuda_part_of_wheel)?,
        }
        // Hundreds of megabytes each: gone as soon as they are unpacked.
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    match kind {
        Kind::Cpu => finish(staging, kind),
        Kind::Cuda => finish(&staging.join("torch"), kind),
    }
}

/// Headers, and the libraries for the processor, where they are in the archive's one folder.
fn part_of_archive(name: &str) -> Option<PathBuf> {
    let inner = name.strip_prefix("libtorch/")?;
    let wanted = match inner.strip_prefix("lib/") {
        Some(library) => System::this().needs_library(library),
        None => inner.starts_with("include/") || inner == "build-version",
    };
    wanted.then(|| inner.into())
}

/// Headers, and the libraries for the processor, all in one `lib/`.
fn cpu_part_of_wheel(name: &str) -> Option<PathBuf> {
    if let Some(header) = name.strip_prefix("torch/include/") {
        return Some(Path::new("include").join(header));
    }
    let library = ["torch/lib/", "nvidia/cu13/lib/"].iter().find_map(|folder| name.strip_prefix(folder))?;
    System::this().needs_library(library).then(|| Path::new("lib").join(library))
}

/// Everything but the Python parts, where it was.
fn cuda_part_of_wheel(name: &str) -> Option<PathBuf> {
    let in_torch = ["torch/include/", "torch/lib/"].iter().any(|folder| name.starts_with(folder));
    let in_nvidia = name.starts_with("nvidia/") && name.contains("/lib/");
    ((in_torch || in_nvidia) && !name.contains("libtorch_python")).then(|| name.into())
}

/// Lets pip fetch one wheel, whatever its Python's version and this machine are, and check its
/// hash.
fn pip_download(python: &Python, wheel: &Wheel, downloads: &Path) -> anyhow::Result<PathBuf> {
    let folder = downloads.join("wheel");
    remove_dir(&folder)?;
    create_dir(&folder)?;
    let line = format!("{} --hash=sha256:{}\n", wheel.requirement, wheel.sha256);
    let pinned = tempfile::Builder::new().suffix(".txt").tempfile_in(downloads)?;
    std::io::Write::write_all(&mut pinned.as_file(), line.as_bytes())?;
    let mut pip = python.command();
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--python-version", "3.11"]);
    pip.args([
        "--platform",
        wheel.platform,
        "--require-hashes",
        "--no-cache-dir",
        "--disable-pip-version-check",
    ]);
    pip.arg("--dest").arg(&folder).arg("--requirement").arg(pinned.path());
    pip.env("PIP_REQUIRE_VIRTUALENV", "0");
    eprintln!("fetching {} for {}", wheel.requirement, wheel.platform);
    run_program(&mut pip)?;
    let files = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut wheels = files.filter_map(|file| Some(file.ok()?.path()));
    wheels
        .find(|path| path.extension().is_some_and(|ext| ext == "whl"))
        .with_context(|| format!("pip left no wheel of {}", wheel.requirement))
}

/// Unpacks the members for which `place` names a place inside `folder`.
fn unpack(archive: &Path, folder: &Path, place: impl Fn(&str) -> Option<PathBuf>) -> anyhow::Result<()> {
    let file = File::open(archive).with_context(|| format!("cannot open {}", archive.display()))?;
    let mut zip = ZipArchive::new(std::io::BufReader::with_capacity(1 << 20, file))
        .with_context(|| format!("{} is not a zip archive", archive.display()))?;
    for index in 0..zip.len() {
        let mut member = zip.by_index(index)?;
        // An absolute path or one with `..` has no enclosed name.
        let Some(name) = member.enclosed_name().filter(|_| member.is_file()) else { continue };
        let name = name.to_string_lossy().replace('\\', "/");
        let Some(inner) = place(&name) else { continue };
        let path = folder.join(inner);
        path.parent().map_or(Ok(()), create_dir)?;
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        std::io::copy(&mut member, &mut out).with_context(|| format!("cannot unpack {}", path.display()))?;
    }
    Ok(())
}

/// Adds to the unpacked libraries what a linker asks for by other names, and the version.
fn finish(home: &Path, kind: Kind) -> anyhow::Result<()> {
    let lib = home.join("lib");
    if cfg!(target_os = "linux") {
        if kind == Kind::Cpu {
            link_library(&lib, "libtorch.so", "libtorch_cpu.so")?;
        }
        let entries = std::fs::read_dir(&lib).with_context(|| format!("cannot list {}", lib.display()))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        if let Some(gomp) = names.filter(|name| name.starts_with("libgomp")).min() {
            link_library(&lib, "libgomp.so", &gomp)?;
        }
    }
    write_version(home, if kind == Kind::Cpu { "cpu" } else { "cu130" })?;
    let install = Install::inspect(home).context("what was unpacked is not complete")?;
    if install.kind != kind {
        bail!("what was unpacked is a build for {}, not for {kind}", install.kind);
    }
    Ok(())
}

#[cfg(unix)]
fn link_library(lib: &Path, name: &str, target: &str) -> anyhow::Result<()> {
    std::os::unix::fs::symlink(target, lib.join(name))
        .with_context(|| format!("cannot link {name} in {}", lib.display()))
}

#[cfg(not(unix))]
fn link_library(_lib: &Path, name: &str, _target: &str) -> anyhow::Result<()> {
    bail!("{name} has a second name on Linux only")
}

fn write_version(home: &Path, local_version: &str) -> anyhow::Result<()> {
    let path = home.join("build-version");
    if path.exists() {
        return Ok(());
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    std::io::Write::write_all(&mut file, format!("{VERSION}+{local_version}\n").as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Lets `.libtorch` point at an installation.
fn link(ctx: &Context, install: &Install) -> anyhow::Result<()> {
    let link = link_path(ctx);
    let target =
        install.home.canonicalize().with_context(|| format!("cannot resolve {}", install.home.display()))?;
    let before = std::fs::read_link(&link).ok();
    if before.as_ref() == Some(&target) {
        return Ok(());
    }
    match link.symlink_metadata() {
        Ok(meta) if meta.is_dir() && !is_junction(&link) => bail!(
            "{} is a folder, not a link, and does not serve: remove it, then run cargo xtask setup again",
            link.display()
        ),
        Ok(_) => remove_link(&link).with_context(|| format!("cannot replace {}", link.display()))?,
        Err(_) => {}
    }
    make_link(&target, &link)?;
    eprintln!("linked {} to {}", link.display(), target.display());
    if before.is_some() {
        // torch-sys looks at the name of the folder only, and would not notice that another one is
        // behind it.
        run_program(&mut ctx.cargo(&["clean", "--release", "--package", "torch-sys"]))?;
    }
    Ok(())
}

#[cfg(unix)]
fn make_link(target: &Path, link: &Path) -> anyhow::Result<()> {
    std::os::unix::fs::symlink(target, link).with_context(|| format!("cannot create {}", link.display()))
}

/// A junction: unlike a symbolic link, it needs no privilege.
#[cfg(not(unix))]
fn make_link(target: &Path, link: &Path) -> anyhow::Result<()> {
    let target = target.to_string_lossy();
    let target = target.strip_prefix(r"\\?\").unwrap_or(&target);
    run_program(std::process::Command::new("cmd").args(["/c", "mklink", "/J"]).arg(link).arg(target))
}

#[cfg(unix)]
fn remove_link(link: &Path) -> std::io::Result<()> {
    std::fs::remove_file(link)
}

#[cfg(not(unix))]
fn remove_link(link: &Path) -> std::io::Result<()> {
    std::fs::remove_dir(link)
}

/// Whether a folder is a junction of Windows, which its own metadata does not call a link.
fn is_junction(path: &Path) -> bool {
    cfg!(windows) && std::fs::read_link(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use zip::write::SimpleFileOptions;

    #[test]
    fn the_version_of_glibc_is_two_numbers() {
        assert_eq!(parse_glibc("glibc 2.36"), Some((2, 36)));
        assert_eq!(parse_glibc("glibc 2.9.1"), Some((2, 9)));
        assert!(parse_glibc("glibc 2.17").unwrap() < (2, 28));
        assert_eq!(parse_glibc("musl libc (x86_64)"), None);
    }

    #[test]
    fn a_cpu_wheel_gives_headers_and_libraries_in_one_folder() {
        let place = |name| cpu_part_of_wheel(name).map(|path| path.to_string_lossy().replace('\\', "/"));
        assert_eq!(place("torch/include/ATen/ATen.h").as_deref(), Some("include/ATen/ATen.h"));
        assert_eq!(place("torch/nn/functional.py"), None);
        assert_eq!(place("torch/lib/libtorch_cuda.so"), None);
        if cfg!(target_os = "linux") {
            assert_eq!(place("torch/lib/libtorch_cpu.so").as_deref(), Some("lib/libtorch_cpu.so"));
            assert_eq!(place("nvidia/cu13/lib/libcudart.so.13").as_deref(), Some("lib/libcudart.so.13"));
            assert_eq!(place("nvidia/cu13/lib/libnvperf_host.so"), None);
        }
    }

    #[test]
    fn the_official_archive_gives_the_same_layout() {
        let place = |name| part_of_archive(name).map(|path| path.to_string_lossy().replace('\\', "/"));
        assert_eq!(place("libtorch/include/ATen/ATen.h").as_deref(), Some("include/ATen/ATen.h"));
        assert_eq!(place("libtorch/build-version").as_deref(), Some("build-version"));
        assert_eq!(place("libtorch/share/cmake/Torch/TorchConfig.cmake"), None);
        assert_eq!(place("libtorch/lib/libprotobuf.a"), None);
        assert_eq!(place("build-version"), None);
        let [c10, ..] = System::this().link_libraries();
        assert_eq!(place(&format!("libtorch/lib/{c10}")), Some(format!("lib/{c10}")));
    }

    /// What the finished folder of a CPU build must have, from parts as small as can be.
    #[test]
    #[cfg(target_os = "linux")]
    fn finishing_adds_second_names_and_the_version() {
        let home = tempfile::tempdir().unwrap();
        let header = "include/torch/csrc/api/include/torch/torch.h";
        for name in ["lib/libc10.so", "lib/libtorch_cpu.so", "lib/libgomp.so.1", header] {
            create_dir(home.path().join(name).parent().unwrap()).unwrap();
            OpenOptions::new().write(true).create_new(true).open(home.path().join(name)).unwrap();
        }
        finish(home.path(), Kind::Cpu).unwrap();
        let link = |name| std::fs::read_link(home.path().join("lib").join(name)).unwrap();
        assert_eq!(link("libtorch.so"), Path::new("libtorch_cpu.so"));
        assert_eq!(link("libgomp.so"), Path::new("libgomp.so.1"));
        assert_eq!(Install::inspect(home.path()).unwrap().version.as_deref(), Some("2.13.0+cpu"));
        std::fs::remove_file(home.path().join("lib/libc10.so")).unwrap();
        assert!(Install::inspect(home.path()).is_err());
    }

    #[test]
    fn a_cuda_wheel_keeps_its_layout() {
        let place = |name: &str| cuda_part_of_wheel(name).is_some_and(|path| path == Path::new(name));
        assert!(place("torch/lib/libtorch_cuda.so"));
        assert!(place("nvidia/cudnn/lib/libcudnn.so.9"));
        assert!(!place("nvidia/cu13/include/cuda.h"));
        assert!(!place("torch/lib/libtorch_python.so"));
        assert!(!place("torch/__init__.py"));
    }

    #[test]
    fn unpacking_takes_what_is_placed_and_nothing_that_climbs_out() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.zip");
        let file = OpenOptions::new().write(true).create_new(true).open(&archive).unwrap();
        let mut zip = zip::ZipWriter::new(file);
        for name in ["keep/a.txt", "drop/b.txt", "../climb.txt"] {
            zip.start_file(name, SimpleFileOptions::default()).unwrap();
            zip.write_all(name.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        let out = folder.path().join("out");
        unpack(&archive, &out, |name| (!name.starts_with("drop/")).then(|| name.into())).unwrap();
        assert_eq!(std::fs::read_to_string(out.join("keep/a.txt")).unwrap(), "keep/a.txt");
        assert!(!out.join("drop").exists());
        assert!(!folder.path().join("climb.txt").exists() && !out.join("climb.txt").exists());
    }

    #[test]
    fn a_version_is_written_once() {
        let home = tempfile::tempdir().unwrap();
        write_version(home.path(), "cpu").unwrap();
        write_version(home.path(), "cu130").unwrap();
        assert_eq!(std::fs::read_to_string(home.path().join("build-version")).unwrap(), "2.13.0+cpu\n");
    }
}
