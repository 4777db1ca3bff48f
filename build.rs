//! Compiles our C++ functions over XLA, and tells the linker where XLA is.

use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

/// The C++ sources of this crate.
const SOURCES: &str = "xla_extension/shim";

fn main() {
    println!("cargo::rerun-if-env-changed=XLA_EXTENSION_DIR");
    // The documentation is built where there is no XLA.
    if env::var_os("DOCS_RS").is_some() {
        return;
    }
    let xla = env::var_os("XLA_EXTENSION_DIR").map_or("xla_extension/dist".into(), PathBuf::from);
    if !xla.join("include/xla").is_dir() {
        println!("cargo::error=there is no XLA in {}: run `cargo xtask setup`", xla.display());
        process::exit(1);
    }
    compile(&xla);
    link(&xla);
}

/// The flags are those of xla-rs: every compilation must see the same classes.
fn compile(xla: &Path) {
    println!("cargo::rerun-if-changed={SOURCES}");
    let mut build = cc::Build::new();
    match mended_headers(xla) {
        Ok(Some(mended)) => _ = build.include(mended),
        Ok(None) => (),
        Err(error) => println!("cargo::warning=XLA's headers are used as they are: {error}"),
    }
    build
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(xla.join("include"))
        .define("NDEBUG", None)
        .define("LLVM_ON_UNIX", "1")
        .define("LLVM_VERSION_STRING", "")
        .debug(false);
    let source = |file| Path::new(SOURCES).join(file);
    let kernels = ["panel_dot.cc", "panels.cc", "tall_dot.cc"];
    build.clone().opt_level(3).files(kernels.map(source)).compile("onetrace_kernels");
    // Thin functions, which take their time in XLA.
    let thin = ["memory_pool.cc", "onetrace_callback.cc", "onetrace_ops.cc", "onetrace_runtime.cc"];
    build.opt_level(1).files(thin.map(source)).compile("onetrace_shim");
}

/// A header of the official archives that GCC refuses, mended as xla-rs's own build script does it:
/// `Future<T>::Flatten` is declared under `!is_move_only` and defined under
/// `!Future<T>::is_move_only`, which GCC does not take for the same condition.
fn mended_headers(xla: &Path) -> io::Result<Option<PathBuf>> {
    const HEADER: &str = "xla/tsl/concurrency/future.h";
    const BEFORE: &str = "IsFuture<U>::value &&";
    let text = fs::read_to_string(xla.join("include").join(HEADER))?;
    let mut mended = String::new();
    for piece in text.split_inclusive(BEFORE) {
        let condition = ["!is_move_only>*", "!Future<T>::is_move_only>*"]
            .into_iter()
            .find(|condition| piece.trim_start().starts_with(condition));
        mended += &match condition {
            Some(condition) => piece.replacen(condition, "!internal::IsMoveOnly<T>::value>*", 1),
            None => piece.to_owned(),
        };
    }
    if mended == text {
        return Ok(None);
    }
    let include = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("include");
    let copy = include.join(HEADER);
    fs::create_dir_all(copy.parent().unwrap_or(&include))?;
    fs::write(copy, mended)?;
    Ok(Some(include))
}

/// The run path that xla-rs emits reaches only its own binaries. Ours are covered here; a dependent
/// crate reads the directory from `DEP_ONETRACE_LIB` in its own build script.
fn link(xla: &Path) {
    let lib = xla.join("lib");
    // Programs are linked again when another set-up has put other libraries in place.
    let library = lib.join("libxla_extension.so");
    println!("cargo::rerun-if-changed={}", library.display());
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo::metadata=lib={}", lib.display());
}
