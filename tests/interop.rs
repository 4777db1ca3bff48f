//! The dumps against JAX: jaxlib runs the HLO and the StableHLO that is written here, the HLO that JAX
//! writes is run here, and the numbers are the same.
//!
//! The tests need a Python with JAX and Flax, so that `cargo test` lists them as ignored. `cargo xtask
//! interop` makes one and runs them.

mod common;

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Tolerance, assert_close_in, for_each_in_parallel, ramp_tensor};
use onetrace::hlo::{Module, TextOptions};
use onetrace::io::{read_npy, write_npy};
use onetrace::prelude::*;
use onetrace::tree::leaves;

/// The carries and outputs are numbers around 1 that went through 12 steps.
const TOLERANCE: Tolerance = Tolerance { relative: 0.0, absolute: 2e-6 };

const FEATURES: usize = 5;
const HIDDEN: usize = 8;
const STEPS: usize = 12;

/// Runs a script of `tests/interop/` on a directory.
fn python(script: &str, directory: &Path) {
    let python = env::var_os("ONETRACE_PYTHON").expect(
        "ONETRACE_PYTHON must be a Python with JAX and Flax: run this by `cargo xtask interop`",
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(script);
    let mut command = Command::new(python);
    // Only what is in the environment counts.
    command.arg("-I").arg(&script).arg(directory).env("JAX_PLATFORMS", "cpu");
    let status = command.status().unwrap();
    assert!(status.success(), "{}: {status}", script.display());
}

fn text(module: &Module) -> String {
    module.text(TextOptions { full_constants: true, ..TextOptions::default() }).unwrap()
}

/// Writes the forward pass of a cell over a sequence in all forms, and returns its results.
fn write_forward<C: nn::RnnCell>(
    directory: &Path,
    name: &str,
    cell: &C,
    batch: &[usize],
    reverse: bool,
) -> Vec<Tensor> {
    let forward = jit(|x: Tensor| {
        let step = |carry, x| cell.step(carry, x);
        Scan::new().reverse(reverse).run(step, cell.initial_carry(batch), x)
    });
    let x = ramp_tensor(&[&[STEPS], batch, &[FEATURES]].concat(), 1);
    let module = forward.lower(&x).unwrap().module().unwrap();
    let file = |ending: &str| directory.join(format!("{name}.{ending}"));
    fs::write(file("hlo.pb"), module.proto()).unwrap();
    fs::write(file("hlo.txt"), text(&module)).unwrap();
    fs::write(file("mlir"), module.stablehlo().unwrap()).unwrap();
    write_npy(file("x.npy"), &x).unwrap();
    leaves(&forward.call(&x).unwrap())
}

#[test]
#[ignore = "needs JAX: `cargo xtask interop` runs it"]
fn jax_runs_what_onetrace_writes() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for (batch, reverse) in [(&[][..], false), (&[], true), (&[3], false), (&[3], true)] {
        macro_rules! write {
            ($Cell:ident) => {{
                let cell = nn::$Cell::new(&mut nn::Rngs::new(42), FEATURES, HIDDEN);
                let name = format!("{}-{}-{reverse}", stringify!($Cell), batch.len());
                let results = write_forward(directory.path(), &name, &cell, batch, reverse);
                expected.push((name, results));
            }};
        }
        write!(GruCell);
        write!(LstmCell);
        write!(OptimizedLstmCell);
        write!(SimpleCell);
    }
    python("run_hlo.py", directory.path());
    for (name, results) in expected {
        for form in ["proto", "text", "stablehlo"] {
            for (i, ours) in results.iter().enumerate() {
                let name = format!("{name}.{form}.{i}");
                let theirs = read_npy(directory.path().join(format!("{name}.npy"))).unwrap();
                assert_close_in(&name, ours, &theirs, TOLERANCE);
            }
            let rest = directory.path().join(format!("{name}.{form}.{}.npy", results.len()));
            assert!(!rest.exists(), "{name}.{form} has more results in JAX");
        }
    }
}

/// The arrays NAME.KIND.0.npy, NAME.KIND.1.npy and so on.
fn arrays(directory: &Path, name: &str, kind: &str) -> Vec<Tensor> {
    let files = (0..).map(|i| directory.join(format!("{name}.{kind}.{i}.npy")));
    files.take_while(|file| file.exists()).map(|file| read_npy(file).unwrap()).collect()
}

#[test]
#[ignore = "needs JAX: `cargo xtask interop` runs it"]
fn onetrace_runs_what_jax_writes() {
    let directory = tempfile::tempdir().unwrap();
    python("write_hlo.py", directory.path());
    let files = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let protos: Vec<_> = files.filter(|file| file.extension().is_some_and(|e| e == "pb")).collect();
    // Four cells, with and without a batch, both directions, parameters captured and passed.
    assert_eq!(protos.len(), 32);
    let device = Device::cpu().unwrap();
    for_each_in_parallel(&protos, |proto| {
        let name = proto.file_name().unwrap().to_str().unwrap().trim_end_matches(".hlo.pb");
        let arguments = arrays(directory.path(), name, "argument");
        let expected = arrays(directory.path(), name, "result");
        assert!(!expected.is_empty(), "{name} has no results");
        for file in [proto, &proto.with_extension("txt")] {
            let module = Module::read(file).unwrap();
            // JAX writes one loop, too, and it is told how often it runs.
            let loops = module.stats().while_loops;
            assert_eq!(loops.len(), 1, "{name}");
            assert_eq!(loops[0].trip_count, Some(STEPS as u64), "{name}");
            let program = module.compile(&device).unwrap();
            let results = program.call(&arguments).unwrap();
            assert_eq!(results.len(), expected.len(), "{name}");
            for (i, (ours, theirs)) in results.iter().zip(&expected).enumerate() {
                let what = format!("{}.{i}", file.display());
                assert_close_in(&what, ours, theirs, TOLERANCE);
            }
        }
    });
}
