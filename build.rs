//! Compiles our C++ functions over XLA and tells the linker where XLA lives.

use std::env;
use std::path::{Path, PathBuf};

/// The C++ sources, beside the headers they are compiled against.
const SOURCES: &str = "shim";

fn main() {
    println!("cargo::rerun-if-env-changed=XLA_EXTENSION_DIR");
    let xla = PathBuf::from(env::var_os("XLA_EXTENSION_DIR").unwrap_or("xla_extension".into()));
    compile(&xla);
    link(&xla);
}

/// The flags are those with which xla-rs compiles its own C++: both must see the same classes.
fn compile(xla: &Path) {
    println!("cargo::rerun-if-changed={SOURCES}");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(xla.join("include"))
        .define("NDEBUG", None)
        .define("LLVM_ON_UNIX", "1")
        .define("LLVM_VERSION_STRING", "")
        .file(Path::new(SOURCES).join("onetrace_ops.cc"))
        .compile("onetrace_ops");
}

/// The run path that xla-rs emits reaches only its own binaries. Ours are covered here; a dependent
/// crate reads the directory from `DEP_ONETRACE_LIB` in its own build script.
fn link(xla: &Path) {
    let lib = xla.join("lib");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo::metadata=lib={}", lib.display());
}
