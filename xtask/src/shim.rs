//! What xla-rs needs and the wheel lacks: stand-in headers, the PJRT plugin registry, the
//! conversion to StableHLO; the rule by which the tasks of loops run in order; and what keeps
//! TensorFlow quiet.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::hash;
use crate::preflight::Compiler;
use crate::progress::Stage;
use crate::unpack;

/// These are the flags of xla-rs: every compilation must see the same classes.
const FLAGS: &[&str] =
    &["-std=c++17", "-O2", "-fPIC", "-w", "-DNDEBUG", "-DLLVM_ON_UNIX=1", "-DLLVM_VERSION_STRING="];

/// xla-rs links one library, `libxla_extension.so`; a linker script of that name stands for all.
///
/// Libraries start in the reverse order of loading: the last one here starts before TensorFlow's.
/// Functions are looked for in the order of loading: those of the shim stand before XLA's. Nothing in
/// a program need call either, so the object file refers to them lest the linker leave them out.
const LINKER_SCRIPT: &str = "INPUT(onetrace_references.o libxla_extension_shim.so \
     libtensorflow_cc.so.2 libtensorflow_framework.so.2 libonetrace_quiet.so)\n";

/// The C++ sources, each compiled on its own.
pub const SOURCES: [&str; 5] =
    ["plugin_registry", "quiet", "references", "stablehlo", "tasks_in_order"];

/// The directory of the shim's sources.
pub struct Sources {
    dir: PathBuf,
    /// Names everything that the compiled shim depends on.
    pub key: String,
}

impl Sources {
    /// Reads the sources in `dir`, to be compiled against the unpacked wheel named by `pin`.
    pub fn read(dir: &Path, pin: &str) -> Result<Self> {
        let read = || {
            let mut parts = vec![pin.into(), FLAGS.join(" ").into(), LINKER_SCRIPT.into()];
            for file in files(dir, Path::new(""))? {
                parts.push(fs::read(dir.join(&file))?);
                parts.push(file.into_os_string().into_encoded_bytes());
            }
            io::Result::Ok(parts)
        };
        let parts = read().with_context(|| format!("cannot read {}", dir.display()))?;
        Ok(Sources { dir: dir.to_owned(), key: hash::of_parts(parts.iter().map(Vec::as_slice)) })
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
        let tree = partial.join("shim");
        self.copy_headers(&tree.join("include"))?;
        self.compile(compiler, xla, &partial.join("objects"), &tree.join("lib")).context(
            "cannot build the shim over XLA; \
                 GCC 10 or later and Clang 12 or later should: set CXX to one",
        )?;
        for file in files(&tree, Path::new(""))? {
            unpack::protect(&tree.join(file))?;
        }
        unpack::publish(&tree, place)?;
        stage.finish();
        Ok(())
    }

    fn copy_headers(&self, to: &Path) -> Result<()> {
        let headers = self.dir.join("include");
        for header in files(&headers, Path::new(""))? {
            let copy = to.join(&header);
            fs::create_dir_all(copy.parent().unwrap_or(to))?;
            fs::copy(headers.join(header), copy)?;
        }
        Ok(())
    }

    fn compile(&self, compiler: &Compiler, xla: &Path, objects: &Path, lib: &Path) -> Result<()> {
        fs::create_dir_all(objects)?;
        fs::create_dir_all(lib)?;
        let object = |name| objects.join(name).with_extension("o");
        // Side by side, since XLA's headers alone take half a minute.
        run_all(SOURCES.map(|name| {
            let mut command = compiler.command();
            command.args(FLAGS).arg("-c");
            command.arg(self.dir.join(name).with_extension("cc"));
            command.arg("-o").arg(object(name));
            // The stand-ins come first: one has the name of a header of XLA's.
            command.arg("-I").arg(self.dir.join("include"));
            command.arg("-I").arg(xla.join("include"));
            command
        }))?;

        run(library(compiler, lib, "libonetrace_quiet.so")
            .arg(object("quiet"))
            // Otherwise the C++ library would have to start before it.
            .arg("-Wl,--as-needed"))?;
        run(library(compiler, lib, "libxla_extension_shim.so")
            .args(["plugin_registry", "stablehlo", "tasks_in_order"].map(object))
            .arg("-L")
            .arg(xla.join("lib"))
            .args(["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"])
            .args(["-Wl,-rpath,$ORIGIN", "-Wl,-z,defs"]))?;
        fs::copy(object("references"), lib.join("onetrace_references.o"))?;
        fs::write(lib.join("libxla_extension.so"), LINKER_SCRIPT)?;
        Ok(())
    }
}

/// The command that links a library, but for its inputs.
fn library(compiler: &Compiler, dir: &Path, name: &str) -> Command {
    let mut command = compiler.command();
    command.arg("-shared").arg(format!("-Wl,-soname,{name}"));
    command.arg("-o").arg(dir.join(name));
    command
}

/// Runs commands side by side; the first error counts.
fn run_all(commands: impl IntoIterator<Item = Command>) -> Result<()> {
    thread::scope(|scope| {
        let jobs: Vec<_> = commands
            .into_iter()
            .map(|mut command| scope.spawn(move || run(&mut command)))
            .collect();
        jobs.into_iter()
            .try_for_each(|job| job.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("cannot start the C++ compiler")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        // C++ errors go on for pages; the first lines tell.
        let first: Vec<_> = said.lines().take(20).collect();
        bail!("the C++ compiler failed ({}):\n{}", output.status, first.join("\n"));
    }
    Ok(())
}

/// The files under `root`, in order, as paths relative to it.
fn files(root: &Path, under: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(under))? {
        let entry = entry?;
        let path = under.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            found.extend(files(root, &path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
