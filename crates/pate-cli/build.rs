//! Puts libtorch's folder into the run path of this package's binaries and tests, so that they
//! start without any environment variable, wherever they are copied to on this machine; and has
//! glibc keep freed memory in the binaries, and check the working folder before libtorch is loaded.

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/malloc.c");
    println!("cargo::rerun-if-changed=src/folder.c");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        // Objects of their own: a library's would be left out, since nothing calls it.
        for object in cc::Build::new().files(["src/malloc.c", "src/folder.c"]).compile_intermediates() {
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
