//! `onetrace run`, end to end: the built command on files.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use expect_test::expect;
use onetrace::{DType, Tensor, io};
use serde_json::Value;
use tempfile::TempDir;

mod common;

use common::{command, fail, help, json_object, refusals, succeed};

/// A directory with `x.npy`, five steps of three features: (k - 7) / 8 for k = 0, 1, ..
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let numbers: Vec<f32> = (0..15).map(|k| (k as f32 - 7.0) / 8.0).collect();
    io::write_npy(directory.path().join("x.npy"), &Tensor::new(&numbers, [5, 3])).unwrap();
    directory
}

/// The numbers of a run that succeeds.
fn numbers(directory: &Path, arguments: &str) -> Vec<f32> {
    let (stdout, _) = succeed(directory, arguments);
    stdout.lines().skip(1).map(|line| line.parse().unwrap()).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    let far = found.iter().zip(expected).any(|(a, b)| (a - b).abs() > 2e-6);
    assert!(found.len() == expected.len() && !far, "{found:?}, expected {expected:?}");
}

/// What `nnx.GRUCell(3, 4, rngs=nnx.Rngs(42))` of Flax 0.12.8 makes of `x.npy` from zeros.
const FLAX: [f32; 4] = [-0.11998045, 0.36811993, -0.25199458, 0.44983414];
const FLAX_3_STEPS: [f32; 4] = [0.44023412, -0.21414854, 0.20044419, -0.15896122];
const FLAX_REVERSE: [f32; 4] = [0.71076006, -0.3174766, 0.149689, -0.3462666];

const RUN: &str = "run --seed 42 --hidden 4 --input x.npy";

#[test]
fn the_final_state_is_that_of_flax() {
    let directory = directory();
    let directory = directory.path();
    assert_close(&numbers(directory, RUN), &FLAX);
    assert_close(&numbers(directory, &format!("{RUN} --reverse")), &FLAX_REVERSE);
    // Numbers are truncated, and more steps than there are rows are all rows.
    for steps in ["5.9", "1e300"] {
        assert_close(&numbers(directory, &format!("{RUN} --steps {steps}")), &FLAX);
    }
    let fractions = "run --seed 42.7 --hidden 4.9 --steps 3.2 --input x.npy";
    assert_close(&numbers(directory, fractions), &FLAX_3_STEPS);
    assert_eq!(numbers(directory, &format!("{RUN} --steps 0")), [0.0; 4]);
    for unroll in [2, 100] {
        let arguments = format!("{RUN} --unroll {unroll}");
        assert_close(&numbers(directory, &arguments), &FLAX);
        assert_close(&numbers(directory, &format!("{arguments} --reverse")), &FLAX_REVERSE);
    }
}

#[test]
fn a_run_prints_the_state_and_where_the_time_went() {
    let directory = directory();
    let (stdout, stderr) = succeed(directory.path(), &format!("{RUN} --steps 3"));
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], "# f32[4] after 3 steps on cpu, the step traced once");
    assert_eq!(lines.len(), 5);

    // No line of TensorFlow's or XLA's comes between.
    let names: Vec<String> = stderr
        .lines()
        .map(|line| {
            let (name, time) = line.split_at(14);
            let milliseconds = time.trim().strip_suffix(" ms").unwrap();
            assert!(milliseconds.parse::<f64>().unwrap() >= 0.0);
            name.trim_end().to_owned()
        })
        .collect();
    let phases = ["device setup", "parameters", "trace", "lower", "compile", "run", "total"];
    assert_eq!(names, phases);
}

#[test]
fn json_is_one_object() {
    let directory = directory();
    let (stdout, _) = succeed(directory.path(), &format!("{RUN} --json"));
    assert_eq!(stdout.lines().count(), 1);
    let object = json_object(directory.path(), RUN);
    let carry: Vec<f32> = object["final_carry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_f64().unwrap() as f32)
        .collect();
    assert_eq!(carry, numbers(directory.path(), RUN));
    assert_eq!(object["shape"], serde_json::json!([4]));
    assert_eq!(object["steps"], 5);
    assert_eq!(object["body_traces"], 1);
    assert_eq!(object["platform"], "cpu");
    let timings = object["timings_ms"].as_object().unwrap();
    let names: Vec<&str> = timings.keys().map(String::as_str).collect();
    let mut phases = ["device_setup", "parameters", "trace", "lower", "compile", "run"];
    phases.sort();
    assert_eq!(names, phases);
    assert!(timings.values().all(|time| time.as_f64().unwrap() >= 0.0));
}

#[test]
fn the_second_process_compiles_nothing() {
    let directory = directory();
    let run = |cache: &Path| {
        let mut command = command(directory.path(), &format!("{RUN} --json"));
        command.env("ONETRACE_COMPILATION_CACHE_DIR", cache).output().unwrap()
    };
    let report = |cache: &Path| -> Value { serde_json::from_slice(&run(cache).stdout).unwrap() };
    let cache = directory.path().join("cache");
    let (first, second) = (report(&cache), report(&cache));
    let compiled = first["programs"]["compiled"].as_u64().unwrap();
    assert!(compiled > 1);
    assert_eq!(first["programs"]["loaded"], 0);
    assert_eq!(second["programs"], serde_json::json!({"compiled": 0, "loaded": compiled}));
    assert_eq!(first["final_carry"], second["final_carry"]);

    let refused = run(&directory.path().join("x.npy/cache"));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success());
    assert!(stderr.contains("ONETRACE_COMPILATION_CACHE_DIR: "), "{stderr}");
}

#[test]
fn how_much_memory_is_kept_changes_no_number() {
    let directory = directory();
    let run = |kept: &str| {
        let mut command = command(directory.path(), RUN);
        command.env("ONETRACE_CPU_KEPT_BYTES", kept).output().unwrap()
    };
    let expected = run("").stdout;
    for kept in ["0", "1", "100000", " 18446744073709551615 "] {
        let output = run(kept);
        assert!(output.status.success(), "{kept}: {output:?}");
        assert_eq!(output.stdout, expected, "{kept}");
    }
    for wrong in ["-1", "1 GB", "1e9", "18446744073709551616"] {
        let output = run(wrong);
        assert!(!output.status.success(), "{wrong}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let expected = format!("ONETRACE_CPU_KEPT_BYTES: {wrong:?} is not a number of bytes");
        assert!(stderr.contains(&expected), "{stderr}");
    }
}

#[test]
fn the_step_is_traced_once_however_often_it_runs() {
    let directory = directory();
    for more in ["--steps 0", "--random 4096x3", "--unroll 3"] {
        let arguments = match more.starts_with("--random") {
            true => format!("run --hidden 4 {more}"),
            false => format!("{RUN} {more}"),
        };
        assert_eq!(json_object(directory.path(), &arguments)["body_traces"], 1, "{more}");
    }
}

#[test]
fn repeated_runs_give_the_same_state_and_one_time() {
    let directory = directory();
    assert_eq!(
        numbers(directory.path(), &format!("{RUN} --repeat 5 --output h.npy")),
        numbers(directory.path(), RUN)
    );
    let object = json_object(directory.path(), &format!("{RUN} --repeat 5"));
    assert_eq!(object["body_traces"], 1);
    assert!(object["timings_ms"]["run"].as_f64().unwrap() >= 0.0);
}

#[test]
fn the_largest_seeds_are_taken() {
    let directory = directory();
    let run = |seed: i64| {
        numbers(directory.path(), &format!("run --seed {seed} --hidden 4 --input x.npy"))
    };
    for seed in [i64::MAX, i64::MIN] {
        assert!(run(seed).iter().all(|number| number.is_finite() && *number != 0.0));
    }
}

#[test]
fn random_sequences_depend_on_their_seed_alone() {
    let directory = tempfile::tempdir().unwrap();
    let run = |more: &str| {
        let arguments = format!("run --seed 1 --hidden 4 {more}");
        numbers(directory.path(), &arguments)
    };
    let first = run("--random 50x3 --input-seed 7");
    assert_eq!(first, run("--random 50x3 --input-seed 7"));
    assert_eq!(first, run("--random 80x3 --input-seed 7 --steps 50"), "rows do not depend on T");
    assert_ne!(first, run("--random 50x3 --input-seed 8"));
    assert_eq!(run("--random 50x3"), run("--random 50x3 --input-seed 0"));
    assert_eq!(run("--random 0x3"), [0.0; 4]);
}

#[test]
fn other_dtypes_are_converted_to_f32() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.npy");
    let run = || numbers(directory.path(), "run --seed 3 --hidden 2 --input x.npy");
    let flags = [true, false, false, true, true, true];
    io::write_npy(&path, &Tensor::new(&flags.map(f32::from), [3, 2])).unwrap();
    let expected = run();
    for dtype in [DType::Bool, DType::I64, DType::F64, DType::BF16] {
        io::write_npy(&path, &Tensor::new(&flags, [3, 2]).astype(dtype)).unwrap();
        assert_eq!(run(), expected, "{dtype}");
    }
}

#[test]
fn nan_and_infinity_in_the_sequence_propagate() {
    let directory = tempfile::tempdir().unwrap();
    let x = Tensor::new(&[1.0f32, f32::NAN, 2.0, f32::INFINITY], [2, 2]);
    io::write_npy(directory.path().join("x.npy"), &x).unwrap();
    let arguments = "run --hidden 3 --input x.npy";
    assert!(numbers(directory.path(), arguments).iter().all(|number| number.is_nan()));
    let object = json_object(directory.path(), arguments);
    assert_eq!(object["final_carry"], serde_json::json!([null, null, null]));
}

#[test]
fn the_output_file_is_the_state() {
    let directory = directory();
    let printed = numbers(directory.path(), &format!("{RUN} --output h.npy"));
    let h = io::read_npy(directory.path().join("h.npy")).unwrap();
    assert_eq!(h.aval().to_string(), "f32[4]");
    assert_eq!(h.to_vec::<f32>().unwrap(), printed);
    let names = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(names, 2, "no temporary file is left");
}

#[test]
fn a_run_that_fails_leaves_the_output_file_alone() {
    let directory = directory();
    let path = directory.path().join("h.npy");
    let bad = "run --hidden 4 --input none.npy --output h.npy";
    fail(directory.path(), bad);
    assert!(!path.exists());
    fs::write(&path, "old").unwrap();
    fail(directory.path(), bad);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
}

/// Wrong arguments are refused by name, with the value and the limit.
#[test]
fn wrong_arguments() {
    let directory = directory();
    let x = |name: &str, shape: &[usize]| {
        io::write_npy(directory.path().join(name), &Tensor::zeros(shape, DType::F32)).unwrap();
    };
    x("vector.npy", &[5]);
    x("cube.npy", &[5, 3, 1]);
    x("featureless.npy", &[5, 0]);
    fs::write(directory.path().join("text.npy"), "1 2 3\n").unwrap();
    let whole = fs::read(directory.path().join("x.npy")).unwrap();
    fs::write(directory.path().join("short.npy"), &whole[..150]).unwrap();

    let transcript = refusals(
        directory.path(),
        &[
            "run --hidden 0 --input x.npy",
            "run --hidden -3 --input x.npy",
            "run --hidden nan --input x.npy",
            "run --hidden inf --input x.npy",
            "run --hidden many --input x.npy",
            "run --hidden 4 --steps -1 --input x.npy",
            "run --hidden 4 --steps nan --input x.npy",
            "run --hidden 4 --seed -inf --input x.npy",
            "run --hidden 4 --seed 1e19 --input x.npy",
            "run --hidden 4 --unroll 0 --input x.npy",
            "run --hidden 4 --unroll 2.5 --input x.npy",
            "run --hidden 4 --repeat 0 --input x.npy",
            "run --hidden 4 --repeat -1 --input x.npy",
            "run --hidden 4 --random 5",
            "run --hidden 4 --random 5x0",
            "run --hidden 4 --random 5x3 --input x.npy",
            "run --hidden 4 --random 5x3 --input-seed -1",
            "run --hidden 4",
            "run --input x.npy",
            "run --hidden 4 --input none.npy",
            "run --hidden 4 --input .",
            "run --hidden 4 --input text.npy",
            "run --hidden 4 --input short.npy",
            "run --hidden 4 --input vector.npy",
            "run --hidden 4 --input cube.npy",
            "run --hidden 4 --input featureless.npy",
            "run --hidden 4 --input x.npy --output none/h.npy",
            "run --hidden 4 --input x.npy --output .",
            "run --hidden 4 --input x.npy --output x.npy/h.npy",
            "run --hidden 4 --input none.npy --output none/h.npy",
            "run --hidden 4 --input x.npy --device quantum",
        ],
    );
    expect![[r#"
        $ run --hidden 0 --input x.npy
        error: invalid value '0' for '--hidden <H>': must be at least 1
        $ run --hidden -3 --input x.npy
        error: invalid value '-3' for '--hidden <H>': must be at least 1
        $ run --hidden nan --input x.npy
        error: invalid value 'nan' for '--hidden <H>': must be a finite number
        $ run --hidden inf --input x.npy
        error: invalid value 'inf' for '--hidden <H>': must be a finite number
        $ run --hidden many --input x.npy
        error: invalid value 'many' for '--hidden <H>': must be a number
        $ run --hidden 4 --steps -1 --input x.npy
        error: invalid value '-1' for '--steps <T>': must be at least 0
        $ run --hidden 4 --steps nan --input x.npy
        error: invalid value 'nan' for '--steps <T>': must be a number, not NaN
        $ run --hidden 4 --seed -inf --input x.npy
        error: invalid value '-inf' for '--seed <S>': must be a finite number
        $ run --hidden 4 --seed 1e19 --input x.npy
        error: invalid value '1e19' for '--seed <S>': must be from -9223372036854775808 to 9223372036854775807
        $ run --hidden 4 --unroll 0 --input x.npy
        error: invalid value '0' for '--unroll <auto|K>': must be at least 1, or auto
        $ run --hidden 4 --unroll 2.5 --input x.npy
        error: invalid value '2.5' for '--unroll <auto|K>': must be a whole number of at least 1, or auto
        $ run --hidden 4 --repeat 0 --input x.npy
        error: invalid value '0' for '--repeat <N>': must be at least 1
        $ run --hidden 4 --repeat -1 --input x.npy
        error: invalid value '-1' for '--repeat <N>': must be a whole number of at least 1
        $ run --hidden 4 --random 5
        error: invalid value '5' for '--random <TxD>': must be time steps and features, such as 2048x32
        $ run --hidden 4 --random 5x0
        error: invalid value '5x0' for '--random <TxD>': must have at least one feature
        $ run --hidden 4 --random 5x3 --input x.npy
        error: the argument '--random <TxD>' cannot be used with '--input <X.npy>'
        $ run --hidden 4 --random 5x3 --input-seed -1
        error: invalid value '-1' for '--input-seed <N>': must be a whole number from 0 to 18446744073709551615
        $ run --hidden 4
        error: the following required arguments were not provided:
          <--input <X.npy>|--random <TxD>>
        $ run --input x.npy
        error: the following required arguments were not provided:
          --hidden <H>
        $ run --hidden 4 --input none.npy
        error: --input: none.npy: No such file or directory (os error 2)
        $ run --hidden 4 --input .
        error: --input: .: Is a directory (os error 21)
        $ run --hidden 4 --input text.npy
        error: --input: text.npy: this is not a .npy file: it does not begin with \x93NUMPY
        $ run --hidden 4 --input short.npy
        error: --input: short.npy: the file is cut short: the header says shape (5, 3) with 4 bytes an element, 60 bytes in all, but only 22 bytes of data are there
        $ run --hidden 4 --input vector.npy
        error: --input: vector.npy: the sequence must have two axes, time and features, but it is f32[5]
        $ run --hidden 4 --input cube.npy
        error: --input: cube.npy: the sequence must have two axes, time and features, but it is f32[5,3,1]
        $ run --hidden 4 --input featureless.npy
        error: --input: featureless.npy: the sequence must have at least one feature, but it is f32[5,0]
        $ run --hidden 4 --input x.npy --output none/h.npy
        error: --output: none/h.npy cannot be written: No such file or directory (os error 2)
        $ run --hidden 4 --input x.npy --output .
        error: --output: . cannot be written: is a directory
        $ run --hidden 4 --input x.npy --output x.npy/h.npy
        error: --output: x.npy/h.npy cannot be written: Not a directory (os error 20)
        $ run --hidden 4 --input none.npy --output none/h.npy
        error: --output: none/h.npy cannot be written: No such file or directory (os error 2)
        $ run --hidden 4 --input x.npy --device quantum
        error: --device: "quantum" is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the path of a PJRT plugin
    "#]].assert_eq(&transcript);
}

/// What does not fit in memory is refused before any of it is taken.
#[test]
fn what_is_larger_than_memory_is_refused() {
    let directory = directory();
    for (arguments, start) in [
        ("--hidden 1e9 --input x.npy", "error: --hidden: 1000000000 features of the state "),
        ("--hidden 1e300 --input x.npy", "error: --hidden: 18446744073709551615 features "),
        (
            "--random 1000000000000x1000 --hidden 4",
            "error: invalid value '1000000000000x1000' for '--random",
        ),
        (
            "--random 18446744073709551615x3 --hidden 4",
            "error: invalid value '18446744073709551615x3' for ",
        ),
        (
            "--random 0x18446744073709551615 --hidden 4",
            "error: invalid value '0x18446744073709551615' for ",
        ),
    ] {
        let (status, stderr) = fail(directory.path(), &format!("run {arguments}"));
        assert_eq!(status, 2, "{arguments}");
        assert!(stderr.starts_with(start), "{arguments}: {stderr}");
        let memory = format!("this machine has {} bytes of memory", onetrace::host_memory());
        assert!(stderr.contains(&memory), "{arguments}: {stderr}");
    }
}

/// A reader of standard output that stops early is no failure, and a full disk is one.
#[cfg(target_os = "linux")]
#[test]
fn standard_output_can_be_closed_or_full() {
    let directory = directory();
    let run = |stdout: Stdio| {
        let mut command = command(directory.path(), RUN);
        command.stdout(stdout).stderr(Stdio::piped()).output().unwrap()
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = run(writer.into());
    assert!(output.status.success());
    assert!(!String::from_utf8_lossy(&output.stderr).contains("error"));

    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = run(full.into());
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("error: standard output cannot be written: No space left"), "{stderr}");
}

#[test]
fn help_reads_like_a_manual() {
    expect![[r#"
        Run traced loops on XLA.

        A step is traced once and becomes the body of one HLO While loop, whatever the number of steps.
        Results go to standard output; times, warnings and errors go to standard error.

        Usage: onetrace <COMMAND>

        Commands:
          run          Run a GRU over a sequence and print its final state
          dump         Print a program: the IR, the HLO before or after XLA's passes, StableHLO, a graph
          stats        Count what a program consists of, and what it costs
          diff         Compare the figures of two programs
          report       Measure scan against the unrolled loop and write a report
          devices      List the devices that programs can run on
          completions  Print a script that completes the command's arguments in a shell
          man          Print the manual page of the command or of a subcommand
          help         Print this message or the help of the given subcommand(s)

        Options:
          -h, --help
                  Print help (see a summary with '-h')

          -V, --version
                  Print version

        Exit status:
          0  the command did what it was told to
          1  the computation failed
          2  an argument or an input file is wrong; nothing was computed or written
    "#]].assert_eq(&help("--help"));
    expect![[r#"
        Run a GRU over a sequence and print its final state

        The cell is nnx.GRUCell of Flax with the parameters that nnx.Rngs(S) gives; it starts from zeros and
        goes over the first T rows of the sequence. Its step is traced once and becomes the body of one HLO
        While loop.

        The final state goes to standard output, one number a line under a line that begins with '#' (as
        numpy.loadtxt reads it). Where the time went goes to standard error.

        Usage: onetrace run --hidden <H> {--input <X.npy> | --random <TxD>} [OPTIONS]

        Options:
              --seed <S>
                  The seed of the parameters

                  [default: 0]

              --hidden <H>
                  The number of features of the state, at least 1

              --steps <T>
                  The number of steps [default: the whole sequence]

                  More steps than the sequence has are the whole sequence; 0 steps give zeros.

              --input <X.npy>
                  The sequence: a .npy file of shape (time, features)

                  Any real dtype, C or Fortran order, either byte order; the elements are converted to
                  float32.

              --random <TxD>
                  A random sequence of T steps and D features instead of a file

                  Standard normal float32 numbers in row-major order, from the generator ChaCha8
                  (rand_chacha) seeded with --input-seed. The same seed and D give the same rows for every
                  T.

              --input-seed <N>
                  The seed of the random sequence

                  [default: 0]

              --output <H.npy>
                  Write the final state to a .npy file as well

                  The file appears whole or not at all; that it can be written is checked before the work.

              --reverse
                  Go from the last of the T rows to the first

              --unroll <auto|K>
                  Make K steps in one iteration of the loop, or as many as are fastest

                  [default: auto]

              --fission <auto|off|BYTES>
                  What may leave the loop: auto, off, or what fits in so many bytes

                  [default: auto]

              --repeat <N>
                  Run the loop N times, and report the median as the time of a run

                  [default: 1]

              [--device]

              [--xla-flag]

              --json
                  Print one JSON object instead

                  Its members are final_carry (numbers; null is NaN), shape, steps, timings_ms, body_traces
                  (how often the step was traced), programs (how many XLA compiled, and how many were loaded
                  from the directory in ONETRACE_COMPILATION_CACHE_DIR) and platform. Nothing goes to
                  standard error.

          -h, --help
                  Print help (see a summary with '-h')

        Numbers are truncated towards zero: --hidden 64.9 is 64.

        Examples:
          onetrace run --seed 42 --hidden 64 --steps 2048 --input x.npy --output h.npy
          onetrace run --seed 42 --hidden 64 --random 2048x32 --json | jq .timings_ms.run
    "#]].assert_eq(&help("run --help"));
    assert_eq!(help("--version"), format!("onetrace {}\n", env!("CARGO_PKG_VERSION")));
}
