//! The one-command runs: each sets up first, then runs cargo in the repository.

use std::env;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::python::Python;
use crate::{BenchArgs, SetupArgs, places, setup};

/// A GRU over 2,048 steps.
const DEMO: &str = "run --release --package onetrace-cli --bin onetrace -- run \
                    --seed 42 --hidden 64 --steps 2048 --random 2048x32 --input-seed 0";

/// The Python that the reference is installed for, unless the user says otherwise.
pub const PYTHON: &str = "python3";

/// `cargo xtask demo`.
pub fn demo(arguments: &[String]) -> Result<()> {
    setup::run(&SetupArgs::default())?;
    run(cargo(DEMO).args(arguments))
}

/// `cargo xtask test`. The first step that fails ends it.
pub fn test() -> Result<()> {
    setup::run(&SetupArgs::default())?;
    let mut doc = cargo("doc --workspace --no-deps");
    doc.env("RUSTDOCFLAGS", "-D warnings");
    let mut steps = vec![
        ("formatting".to_owned(), cargo("fmt --all --check")),
        ("lints".to_owned(), cargo("clippy --workspace --all-targets -- -D warnings")),
        ("documentation".to_owned(), doc),
        ("tests".to_owned(), cargo("test --workspace")),
    ];
    for example in examples()? {
        let run = cargo(&format!("run --quiet --example {example}"));
        steps.push((format!("example {example}"), run));
    }
    for (heading, command) in &mut steps {
        eprintln!("\n==> {heading}");
        run(command)?;
    }
    eprintln!("\n==> exchange with JAX");
    let (passed, skipped) = match reference(PYTHON) {
        Ok(python) => {
            run(&mut exchange(&python))?;
            (steps.len() + 1, "")
        }
        Err(error) => {
            eprintln!("    skipped, there is no JAX to exchange with: {error:#}");
            (steps.len(), ", 1 skipped")
        }
    };
    eprintln!("\nOf the steps above:\n{passed} passed, 0 failed{skipped}");
    Ok(())
}

/// `cargo xtask interop`.
pub fn interop(python: &str) -> Result<()> {
    let python = reference(python)?;
    setup::run(&SetupArgs::default())?;
    run(&mut exchange(&python))
}

/// The tests that exchange programs with the JAX of an interpreter.
fn exchange(python: &Path) -> Command {
    let mut command = cargo("test --test interop -- --ignored");
    command.env("ONETRACE_PYTHON", python);
    command
}

/// The interpreter of a private environment with the reference, JAX and Flax.
fn reference(python: &str) -> Result<PathBuf> {
    let requirements = places::root().join("tests/golden/requirements.txt");
    Python::find(python)?.environment(&requirements, &places::cache()?)
}

/// `cargo xtask bench`.
pub fn bench(args: &BenchArgs) -> Result<()> {
    let root = places::root();
    let requirements = root.join("bench/requirements.txt");
    let interpreter = Python::find(&args.python)?.environment(&requirements, &places::cache()?)?;
    setup::run(&SetupArgs::default())?;
    let target = target()?;
    run(&mut cargo("build --release --package onetrace-cli --package onetrace-bench"))?;
    // What is compared is a project of its own, with settings of its own for the compiler.
    let mut peers = cargo("build --release --locked");
    peers.current_dir(root.join("bench/peers")).arg("--target-dir").arg(target.join("peers"));
    run(&mut peers)?;

    let is_partial = args.quick || !args.grid.is_empty();
    let results = if is_partial { target.join("bench") } else { root.join("bench") };
    let script = |name: &str| {
        let mut python = Command::new(&interpreter);
        // Only what is in the environment and beside the script counts.
        python.args(["-E", "-s"]).arg(name).args(args.quick.then_some("--quick"));
        python.current_dir(&root);
        python
    };
    if args.grid.is_empty() {
        let mut figures = script("bench/figures.py");
        run(figures.arg(target.join("release/onetrace")).arg(results.join("figures.json")))?;
    }
    let mut grid = script("bench/grid.py");
    grid.arg("--target").arg(&target).arg("--output").arg(results.join("results.json"));
    grid.args(args.resume.then_some("--resume")).args(args.all.then_some("--all"));
    run(grid.args(&args.grid))
}

/// Cargo's target directory, in which this program lies under the name of its profile.
fn target() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot tell where this program is")?;
    match program.ancestors().nth(2) {
        Some(target) => Ok(target.to_owned()),
        None => bail!("{} is not in a target directory of cargo", program.display()),
    }
}

/// The names of the root package's examples.
fn examples() -> Result<Vec<String>> {
    let mut names = Vec::new();
    let dir = places::root().join("examples");
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(stem) = path.file_stem()
        {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Cargo, in the repository, whose `.cargo/config.toml` says where XLA is.
fn cargo(arguments: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    command.args(arguments.split_whitespace()).current_dir(places::root());
    command
}

fn run(command: &mut Command) -> Result<()> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = iter::once(program).chain(command.get_args());
    let shown: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let shown = shown.join(" ");
    eprintln!("    {shown}");
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}
