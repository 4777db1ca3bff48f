//! The one-command runs: each sets up first, then runs cargo in the repository.

use std::env;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{SetupArgs, places, setup};

/// The main job: a GRU over 2,048 steps.
const DEMO: &str = "run --release --package onetrace-cli --bin onetrace -- run \
                    --seed 42 --hidden 64 --steps 2048 --random 2048x32 --input-seed 0";

/// `cargo xtask demo`.
pub fn demo(arguments: &[String]) -> Result<()> {
    setup::run(&SetupArgs::default())?;
    run(cargo(DEMO).args(arguments))
}

/// `cargo xtask test`.
pub fn test() -> Result<()> {
    setup::run(&SetupArgs::default())?;
    step("formatting", &mut cargo("fmt --all --check"))?;
    step("lints", &mut cargo("clippy --workspace --all-targets -- -D warnings"))?;
    let mut doc = cargo("doc --workspace --no-deps");
    step("documentation", doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    step("tests", &mut cargo("test --workspace"))?;
    for example in examples()? {
        step(
            &format!("example {example}"),
            &mut cargo(&format!("run --quiet --example {example}")),
        )?;
    }
    eprintln!("\nAll passed.");
    Ok(())
}

fn step(heading: &str, command: &mut Command) -> Result<()> {
    eprintln!("\n==> {heading}");
    run(command)
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
    let shown: Vec<_> =
        command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let shown = format!("cargo {}", shown.join(" "));
    eprintln!("    {shown}");
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}
