//! Compiled programs on disk: what is found again, and what is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use onetrace::compilation_cache::{self, Stats};
use onetrace::prelude::*;
use onetrace::{Compiled, ErrorKind, XlaOptions};
use tempfile::TempDir;

/// The directory is one for the process, and so are the counters: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A new cache. Tests end by a panic where they fail, which leaves nothing half done.
fn cache() -> (MutexGuard<'static, ()>, TempDir) {
    let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Two devices, for the test that needs them; it is too late in all tests but the first.
    _ = XlaOptions::new().cpu_devices(2).apply();
    let directory = tempfile::tempdir().unwrap();
    compilation_cache::set_dir(directory.path()).unwrap();
    (alone, directory)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// What was compiled and loaded while `f` ran.
fn counted<R>(f: impl FnOnce() -> R) -> (R, (u64, u64)) {
    let before = compilation_cache::stats();
    let result = f();
    let Stats { compiled, loaded } = compilation_cache::stats();
    (result, (compiled - before.compiled, loaded - before.loaded))
}

fn xs() -> Tensor {
    Tensor::new(&[0.5f32, -1.0, 2.0, 0.25], [4])
}

/// A loop and its gradient, traced anew.
fn compile(options: &XlaOptions) -> Compiled<Tensor, (Tensor, Tensor)> {
    let last = |xs: Tensor| {
        let step = |h: Tensor, x: Tensor| ((h * 0.5 + x).tanh(), ());
        scan(step, Tensor::scalar(0.0, DType::F32), xs).0
    };
    let both = jit(value_and_grad(last));
    both.lower(xs()).unwrap().compile_with(&Device::cpu().unwrap(), options).unwrap()
}

fn run(program: &Compiled<Tensor, (Tensor, Tensor)>) -> (f32, Vec<f32>) {
    let (value, slopes) = program.call(xs()).unwrap();
    (value.item().unwrap(), slopes.to_vec().unwrap())
}

/// The file of the one program that is kept, and what the program gives.
fn kept(directory: &Path) -> (PathBuf, (f32, Vec<f32>)) {
    let expected = run(&compile(&XlaOptions::new()));
    let [path] = &files(directory)[..] else { panic!("one program is kept") };
    (path.clone(), expected)
}

#[test]
fn a_program_that_is_there_is_not_compiled() {
    let (_alone, directory) = cache();
    let none = XlaOptions::new();
    let (first, counts) = counted(|| compile(&none));
    assert_eq!(counts, (1, 0));
    assert_eq!(files(directory.path()).len(), 1);
    let (second, counts) = counted(|| compile(&none));
    assert_eq!(counts, (0, 1));
    assert_eq!(run(&first), run(&second));
    assert_eq!(first.optimized_hlo().unwrap(), second.optimized_hlo().unwrap());
    let (one, two) = (first.memory().unwrap(), second.memory().unwrap());
    assert_eq!((one.temp_bytes, one.peak_bytes), (two.temp_bytes, two.peak_bytes));
}

#[test]
fn operations_that_run_at_once_are_kept() {
    let (_alone, directory) = cache();
    // No other test computes with this shape.
    assert_eq!((Tensor::ones([17], DType::F32) + 1.0).to_vec::<f32>().unwrap(), [2.0; 17]);
    assert!(!files(directory.path()).is_empty());
}

#[test]
fn the_place_in_the_source_is_no_part_of_a_program() {
    let (_alone, _directory) = cache();
    let one = |x: Tensor| x.sin() + 1.0;
    let other = |x: Tensor| x.sin() + 1.0;
    let different = |x: Tensor| x.sin() + 2.0;
    assert_eq!(counted(|| jit(one).call(xs()).unwrap()).1, (1, 0));
    assert_eq!(counted(|| jit(other).call(xs()).unwrap()).1, (0, 1));
    assert_eq!(counted(|| jit(different).call(xs()).unwrap()).1, (1, 0));
    let other_shape = Tensor::new(&[0.5f32; 4], [2, 2]);
    assert_eq!(counted(|| jit(one).call(&other_shape).unwrap()).1, (1, 0));
}

#[test]
fn other_options_make_another_program() {
    let (_alone, directory) = cache();
    let strict = XlaOptions::new();
    let fast = XlaOptions::new().flag("xla_cpu_enable_fast_math", true);
    for expected in [(1, 0), (0, 1)] {
        assert_eq!(counted(|| compile(&strict)).1, expected);
        assert_eq!(counted(|| compile(&fast)).1, expected);
    }
    assert_eq!(files(directory.path()).len(), 2);
}

#[test]
fn devices_have_programs_of_their_own() {
    let (_alone, _directory) = cache();
    for expected in [(1, 0), (0, 1)] {
        for device in Device::cpus().unwrap() {
            let double = jit(|x: Tensor| x * 2.0);
            let make = || double.lower(xs()).unwrap().compile_for(&device).unwrap();
            let (program, counts) = counted(make);
            assert_eq!(counts, expected, "{device}");
            let result = program.call(xs()).unwrap();
            assert_eq!(result.to_vec::<f32>().unwrap(), [1.0, -2.0, 4.0, 0.5]);
            assert_eq!(result.device().unwrap(), device);
        }
    }
    let sum = |x: Tensor| onetrace::psum(x);
    let (devices, rows) = (Device::cpus().unwrap(), xs().reshape([2, 2]));
    rows.check().unwrap();
    for expected in [(1, 0), (0, 1)] {
        let all = onetrace::pmap(sum).devices(&devices);
        let (result, counts) = counted(|| all.call(&rows).unwrap());
        assert_eq!(counts, expected);
        assert_eq!(result.to_vec::<f32>().unwrap(), [2.5, -0.75, 2.5, -0.75]);
    }
}

#[test]
fn damaged_files_are_compiled_again_and_replaced() {
    let (_alone, directory) = cache();
    let none = XlaOptions::new();
    let (path, expected) = kept(directory.path());
    let whole = fs::read(&path).unwrap();
    let flipped = |position: usize| {
        let mut bytes = whole.clone();
        bytes[position] ^= 1;
        bytes
    };
    let mut damaged: Vec<Vec<u8>> = vec![Vec::new(), b"onetrace program 1\n".to_vec()];
    damaged.extend([1, 20, 60, whole.len() / 2].map(|size| whole[..size].to_vec()));
    damaged.extend([0, 25, 51, whole.len() / 2, whole.len() - 1].map(flipped));
    damaged.push([&whole[..], b"more"].concat());
    for bytes in damaged {
        fs::write(&path, &bytes).unwrap();
        let (program, counts) = counted(|| compile(&none));
        assert_eq!(counts, (1, 0), "{} bytes", bytes.len());
        assert_eq!(run(&program), expected);
        assert_eq!(counted(|| compile(&none)).1, (0, 1), "{} bytes", bytes.len());
    }
}

#[test]
fn a_whole_file_that_xla_does_not_take_is_replaced() {
    use sha2::{Digest, Sha256};
    let (_alone, directory) = cache();
    let none = XlaOptions::new();
    let (path, expected) = kept(directory.path());
    for program in [&b""[..], b"not a program"] {
        let file = [b"onetrace program 1\n", &Sha256::digest(program)[..], program].concat();
        fs::write(&path, file).unwrap();
        let (program, counts) = counted(|| compile(&none));
        assert_eq!(counts, (1, 0));
        assert_eq!(run(&program), expected);
    }
}

#[test]
fn a_directory_that_takes_no_file_is_no_error() {
    let (_alone, directory) = cache();
    // Permissions stop not everybody; a directory that is gone does.
    fs::remove_dir(directory.path()).unwrap();
    let (program, counts) = counted(|| compile(&XlaOptions::new()));
    assert_eq!(counts, (1, 0));
    assert!(run(&program).0 > 0.0);
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = compilation_cache::set_dir(file.path().join("programs")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let start = format!("compilation_cache::set_dir: {}", file.path().display());
    assert!(error.message().starts_with(&start), "{error}");
    assert!(error.location().unwrap().file().ends_with("compilation_cache.rs"));
}

#[test]
fn threads_share_a_cache() {
    let (_alone, directory) = cache();
    let none = XlaOptions::new();
    let expected = run(&compile(&none));
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| run(&compile(&XlaOptions::new())))).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), expected);
        }
    });
    assert_eq!(files(directory.path()).len(), 1);
}
