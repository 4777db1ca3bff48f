//! What xla-rs needs and the wheel lacks: stand-in headers, the PJRT plugin registry, and silence.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::hash;
use crate::preflight::Compiler;
use crate::progress::Stage;
use crate::unpack;

/// These are the flags of xla-rs: every compilation must see the same classes.
const FLAGS: &[&str] = &[
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-w",
    "-DNDEBUG",
    "-DLLVM_ON_UNIX=1",
    "-DLLVM_VERSION_STRING=",
];

/// xla-rs links one library, `libxla_extension.so`. A linker script of that name stands for all.
const LINKER_SCRIPT: &str =
    "INPUT(libxla_extension_shim.so libtensorflow_cc.so.2 libtensorflow_framework.so.2)\n";

/// Compiled separately, since the shim must load it as a library of its own.
const QUIET: &str = "quiet";

/// The shim's sources.
pub struct Sources {
    dir: PathBuf,
    /// Names everything that the compiled shim depends on.
    pub key: String,
}

impl Sources {
    /// Reads the sources in `dir`, to be compiled against the unpacked wheel named by `pin`.
    pub fn read(dir: &Path, pin: &str) -> Result<Self> {
        let mut files = Vec::new();
        list(dir, &mut files).with_context(|| format!("cannot read {}", dir.display()))?;
        files.sort();
        let mut parts = vec![
            pin.as_bytes().to_vec(),
            FLAGS.join(" ").into(),
            LINKER_SCRIPT.into(),
        ];
        for file in &files {
            parts.push(
                file.strip_prefix(dir)
                    .unwrap_or(file)
                    .as_os_str()
                    .as_encoded_bytes()
                    .to_vec(),
            );
            parts.push(fs::read(file).with_context(|| format!("cannot read {}", file.display()))?);
        }
        let key = hash::of_parts(parts.iter().map(Vec::as_slice));
        Ok(Sources {
            dir: dir.to_owned(),
            key,
        })
    }

    /// Where the cache holds the compiled shim.
    pub fn place(&self, cache: &Path) -> PathBuf {
        cache.join("shim").join(&self.key)
    }

    /// Compiles the shim against the unpacked wheel `xla`.
    pub fn build(
        &self,
        compiler: &Compiler,
        xla: &Path,
        partial: &Path,
        place: &Path,
    ) -> Result<()> {
        let stage = Stage::spinner("compile the shim over XLA (about 40 s)".into());
        let (tree, objects) = (partial.join("shim"), partial.join("objects"));
        let lib = tree.join("lib");
        fs::create_dir_all(&lib)?;
        fs::create_dir_all(&objects)?;
        copy_headers(&self.dir.join("include"), &tree.join("include"))?;
        fs::write(lib.join("libxla_extension.so"), LINKER_SCRIPT)?;

        let objects = self.compile(compiler, xla, &objects)?;
        let (quiet, shim): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .partition(|object| object.file_stem().is_some_and(|stem| stem == QUIET));
        run(shared(compiler, "libonetrace_quiet.so", &lib)
            .args(quiet)
            .arg("-Wl,--as-needed"))?;
        run(shared(compiler, "libxla_extension_shim.so", &lib)
            .args(shim)
            .arg("-L")
            .arg(xla.join("lib"))
            .args([
                "-l:libtensorflow_cc.so.2",
                "-l:libtensorflow_framework.so.2",
            ])
            // Libraries start in the reverse order of loading. As the last that the shim asks for,
            // this one starts before TensorFlow's, in every program that links XLA.
            .arg("-Wl,--no-as-needed")
            .arg("-L")
            .arg(&lib)
            .arg("-lonetrace_quiet")
            .args(["-Wl,-rpath,$ORIGIN", "-Wl,-z,defs"]))?;

        let mut files = Vec::new();
        list(&tree, &mut files)?;
        for file in files {
            unpack::protect(&file)?;
        }
        unpack::publish(&tree, place)?;
        stage.finish();
        Ok(())
    }

    /// Compiles the sources side by side: XLA's headers take half a minute each.
    fn compile(&self, compiler: &Compiler, xla: &Path, objects: &Path) -> Result<Vec<PathBuf>> {
        let mut sources = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "cc") {
                sources.push(path);
            }
        }
        let compile = |source: &Path| {
            let object = objects
                .join(source.file_stem().unwrap_or_default())
                .with_extension("o");
            run(compiler
                .command()
                .args(FLAGS)
                .arg("-I")
                .arg(self.dir.join("include"))
                .arg("-I")
                .arg(xla.join("include"))
                .arg("-c")
                .arg(source)
                .arg("-o")
                .arg(&object))?;
            Ok(object)
        };
        thread::scope(|scope| {
            let jobs: Vec<_> = sources
                .iter()
                .map(|source| scope.spawn(|| compile(source)))
                .collect();
            jobs.into_iter()
                .map(|job| {
                    job.join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        })
    }
}

fn shared(compiler: &Compiler, name: &str, lib: &Path) -> Command {
    let mut command = compiler.command();
    command
        .arg("-shared")
        .arg(format!("-Wl,-soname,{name}"))
        .arg("-o")
        .arg(lib.join(name));
    command
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("cannot start the C++ compiler")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first: Vec<_> = said.lines().take(20).collect();
        bail!(
            "the C++ compiler could not build the shim over XLA ({}):\n{}\n\
             GCC 10 or later and Clang 12 or later should; set CXX to one",
            output.status,
            first.join("\n"),
        );
    }
    Ok(())
}

fn copy_headers(from: &Path, to: &Path) -> Result<()> {
    let mut headers = Vec::new();
    list(from, &mut headers)?;
    for header in headers {
        let copy = to.join(header.strip_prefix(from).unwrap_or(&header));
        fs::create_dir_all(copy.parent().unwrap_or(to))?;
        fs::copy(&header, &copy)?;
    }
    Ok(())
}

/// The files under a directory.
fn list(dir: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
