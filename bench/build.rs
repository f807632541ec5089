//! Puts libtorch's folder into the run path of this package's binaries and tests, so that they
//! start without any environment variable, wherever they are copied to on this machine.

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // As in the programs that are measured.
    let malloc = "../crates/pate-cli/src/malloc.c";
    println!("cargo::rerun-if-changed={malloc}");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        for object in cc::Build::new().file(malloc).compile_intermediates() {
            println!("cargo::rustc-link-arg-bins={}", object.display());
        }
    }
    // torch-sys says where libtorch is on Linux and macOS only. Windows has no run path: there the
    // libraries lie beside the executables.
    let Some(lib) = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else { return };
    // `.libtorch` is a link inside the checkout; what it points at outlives the checkout.
    let lib = lib.canonicalize().unwrap_or(lib);
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
