//! The environment in which a crate that depends on onetrace is built and run.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{archive, places};

/// Prints it on standard output: shell commands, or a table for `.cargo/config.toml`.
pub fn print(dir: Option<PathBuf>, cargo: bool) -> Result<()> {
    let dir = dir.or_else(places::extension_of_the_user).unwrap_or_else(places::extension);
    let dir = std::path::absolute(&dir).with_context(|| format!("no such path: {dir:?}"))?;
    archive::check_layout(&dir).with_context(|| {
        format!("there is no XLA in {0} (get it with `cargo xtask setup --dir {0}`)", dir.display())
    })?;

    let mut variables = vec![(places::XLA_EXTENSION_DIR, dir.clone())];
    // An extension of the user's own comes without libclang: bindgen looks for the system's.
    let libclang = dir.join("libclang");
    if libclang.exists() {
        variables.push(("LIBCLANG_PATH", libclang.join("lib")));
        variables.push(("CLANG_PATH", libclang.join("bin/clang")));
    }
    let lib = dir.join("lib");
    if cargo {
        println!("[env]");
        for (name, value) in variables {
            println!("{name} = {:?}", value.display().to_string());
        }
        println!(
            "# Programs find the libraries through the run path that a build script gives them:"
        );
        println!(
            "#     println!(\"cargo::rustc-link-arg=-Wl,-rpath,{{}}\", env::var(\"DEP_ONETRACE_LIB\")?);"
        );
    } else {
        for (name, value) in variables {
            println!("export {name}={}", quoted(&value.display().to_string()));
        }
        println!(
            "export LD_LIBRARY_PATH={}\"${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\"",
            quoted(&lib.display().to_string())
        );
    }
    Ok(())
}

/// A word that a shell takes as it stands.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
