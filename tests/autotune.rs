//! `Jit::autotune`: whatever is fastest computes the same, and is remembered.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use onetrace::prelude::*;
use onetrace::{compilation_cache, debug_print};

/// The variable that tells a test that it is the process which another one started.
const CHILD: &str = "ONETRACE_TEST_CHILD";

fn cell() -> nn::GruCell {
    nn::GruCell::new(&mut nn::Rngs::new(5), 8, 16)
}

fn xs() -> Tensor {
    random::normal(&random::key(1), [30, 8], DType::F32)
}

fn last(cell: &nn::GruCell, xs: Tensor) -> Tensor {
    scan(|h, x| (cell.step(h, x).0, ()), cell.initial_carry(&[]), xs).0
}

fn assert_near(actual: &Tensor, expected: &Tensor) {
    let (actual, expected) = (actual.to_vec::<f32>().unwrap(), expected.to_vec::<f32>().unwrap());
    assert_eq!(actual.len(), expected.len());
    for (actual, expected) in actual.iter().zip(&expected) {
        assert!((actual - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{actual} {expected}");
    }
}

#[test]
fn values_are_those_of_the_model() {
    let forward = |xs: Tensor| last(&cell(), xs);
    let cell = cell();
    let constants = |xs: Tensor| last(&cell, xs);
    let expected = jit(forward).call(xs()).unwrap();
    for _ in 0..2 {
        assert_near(&jit(constants).autotune().call(xs()).unwrap(), &expected);
    }
    let captured = jit(constants).captures_as_arguments().autotune();
    assert_near(&captured.call(xs()).unwrap(), &expected);
    assert_near(&captured.call(xs()).unwrap(), &expected);
    let slopes = |(cell, xs): (nn::GruCell, Tensor)| {
        grad(|cell: nn::GruCell| last(&cell, xs.clone()).square().sum(..))(cell)
    };
    let actual = jit(slopes).autotune().call((cell.clone(), xs())).unwrap();
    let expected = jit(slopes).call((cell.clone(), xs())).unwrap();
    for (actual, expected) in tree::leaves(&actual).iter().zip(tree::leaves(&expected)) {
        assert_near(actual, &expected);
    }
    let nothing = jit(|_: Tensor| ()).autotune();
    nothing.call(xs()).unwrap();
}

#[test]
fn donated_arguments_are_there_until_the_call() {
    let step = |(h, x): (Tensor, Tensor)| fori_loop(0, 5, |_, h: Tensor| h * 0.5 + &x, h);
    let tuned = jit(step).donate(&[0]).autotune();
    let x = Tensor::ones([4], DType::F32);
    for _ in 0..2 {
        let h = Tensor::ones([4], DType::F32) * 3.0;
        tuned.compiled((h.clone(), x.clone())).unwrap();
        assert_eq!(h.to_vec::<f32>().unwrap(), [3.0; 4]);
        let next = tuned.call((h.clone(), x.clone())).unwrap();
        assert_eq!(next.to_vec::<f32>().unwrap(), [3.0 / 32.0 + 31.0 / 16.0; 4]);
        assert!(h.to_vec::<f32>().unwrap_err().message().contains("donated"));
    }
    let gone = Tensor::ones([4], DType::F32);
    tuned.call((gone.clone(), x.clone())).unwrap();
    let error = jit(step).donate(&[0]).autotune().call((gone, x)).unwrap_err();
    assert!(error.message().contains("donated"), "{error}");
}

#[test]
fn in_a_trace_it_is_a_call() {
    let inner = jit(|x: Tensor| x.sin()).autotune();
    let outer = |x: Tensor| inner.call(x).unwrap() * 2.0;
    let (value, slope) =
        value_and_grad(|x: Tensor| outer(x).sum(..))(Tensor::zeros([3], DType::F32));
    assert_eq!(value.item::<f32>().unwrap(), 0.0);
    assert_eq!(slope.to_vec::<f32>().unwrap(), [2.0; 3]);
}

/// Runs one of the tests below in a process of its own: what it prints between two lines of stars.
fn child(test: &str, directory: &Path) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(CHILD, "1");
    command.env("ONETRACE_COMPILATION_CACHE_DIR", directory);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text.split("***").nth(1).expect("what the child has to say").to_owned()
}

#[test]
fn the_choice_is_there_in_the_next_process() {
    if env::var_os(CHILD).is_some() {
        let (cell, xs) = (cell(), xs());
        let f = jit(|xs: Tensor| last(&cell, xs)).autotune();
        let before = compilation_cache::stats();
        let program = f.compiled(&xs).unwrap();
        let after = compilation_cache::stats();
        f.call(&xs).unwrap();
        let compiled = after.compiled - before.compiled;
        let loaded = after.loaded - before.loaded;
        println!("***{compiled};{loaded};{}***", program.tuning());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let test = "the_choice_is_there_in_the_next_process";
    let run = || {
        let text = child(test, directory.path());
        let [compiled, loaded, tuning] = text.split(';').collect::<Vec<_>>()[..] else {
            panic!("{text}")
        };
        (compiled.parse::<u64>().unwrap(), loaded.parse::<u64>().unwrap(), tuning.to_owned())
    };
    let (compiled, loaded, tuning) = run();
    assert!(compiled >= 2 && loaded == 0, "{compiled} compiled, {loaded} loaded");
    let file = tuning_file(directory.path());
    let text = fs::read(&file).unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
    assert_eq!(run(), (0, 1, tuning));

    let text = String::from_utf8(text).unwrap();
    let other = text.replace("\"tasks\"", "\"cogs\"").replace("\"functions\"", "\"cogs\"");
    let foreign = text.replace("\"tasks\"", "null").replace("\"functions\"", "null");
    for damaged in ["", "{", "[]", "\0\u{1}", &text[..text.len() / 2], &other, &foreign] {
        assert_ne!(damaged, text);
        fs::write(&file, damaged).unwrap();
        let (compiled, loaded, _) = run();
        // All candidates are there already.
        assert!(compiled <= 1 && loaded >= 2, "{compiled} compiled, {loaded} loaded, {damaged:?}");
        let text = fs::read(&file).unwrap();
        assert!(
            serde_json::from_slice::<serde_json::Value>(&text).unwrap().get("tuning").is_some()
        );
    }
}

fn tuning_file(directory: &Path) -> PathBuf {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let is_tuning = |path: &PathBuf| path.to_string_lossy().ends_with(".tuning.json");
    let found: Vec<PathBuf> = paths.filter(is_tuning).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn what_prints_is_run_once() {
    if env::var_os(CHILD).is_some() {
        let f = |xs: Tensor| {
            let step = |h: Tensor, x: Tensor| {
                debug_print("printed", &[]);
                (h + x, ())
            };
            scan(step, Tensor::scalar(0.0, DType::F32), xs).0
        };
        let xs = Tensor::ones([3], DType::F32);
        print!("***");
        let sum = jit(f).autotune().call(xs).unwrap();
        assert_eq!(sum.item::<f32>().unwrap(), 3.0);
        print!("***");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let text = child("what_prints_is_run_once", directory.path());
    assert_eq!(text.matches("printed").count(), 3, "{text}");
    let kept = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    assert!(kept.into_iter().all(|path| path.extension().unwrap() != "json"));
}
