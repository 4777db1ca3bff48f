//! `onetrace stats`, end to end.

use std::fs;
use std::path::Path;

use expect_test::expect;
use serde_json::{Value, json};

mod common;

use common::{command, help, json_object, quiet, refusals, succeed};

fn stats(arguments: &str) -> Value {
    json_object(Path::new("."), &format!("stats {arguments}"))
}

#[test]
fn a_table_for_people() {
    let options = "--in-features 8 --hidden 16 --steps 1000 --no-compile";
    let table = quiet(Path::new("."), &format!("stats gru {options}"));
    expect![[r#"
        gru:in-features=8,hidden=16,steps=1000

        computations                   3
        instructions                  52
        fusions                        0
        dots                           2
        flops                  2,304,000
        parameters                     1
        parameter bytes           32,000   31.2 KiB
        constant bytes             4,636   4.5 KiB
        text bytes                 6,453   6.3 KiB
        proto bytes                9,786   9.6 KiB
        body traces                    1
        loop products                  2
        loop multiplications       1,152
        loop carried                   1
        loop stacked                   0

        while loops                    1
          scan.8                   1,000   iterations of 36 instructions

        opcodes
          constant                     9
          get-tuple-element            9
          add                          6
          slice                        6
          broadcast                    3
          multiply                     3
          parameter                    3
          tuple                        3
          dot                          2
          logistic                     2
          compare                      1
          dynamic-slice                1
          reshape                      1
          subtract                     1
          tanh                         1
          while                        1
    "#]]
    .assert_eq(&table);
}

#[test]
fn one_object_for_programs() {
    let figures = stats("gru --in-features 8 --hidden 16 --steps 1000");
    let mut keys: Vec<&str> = figures.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    expect![[r#"
        [
            "body_traces",
            "computations",
            "constant_bytes",
            "dots",
            "flops",
            "flops_are_lower_bound",
            "fusions",
            "instructions",
            "loop_work",
            "loop_work_before_fission",
            "name",
            "opcodes",
            "parameter_bytes",
            "parameters",
            "peak_bytes",
            "program",
            "proto_bytes",
            "temp_bytes",
            "text_bytes",
            "while_loops",
        ]
    "#]]
    .assert_debug_eq(&keys);
    // Two products of a vector of 8 and of 16 with a matrix of 48 columns, a thousand times.
    assert_eq!(figures["flops"], 1000 * 2 * (8 + 16) * 48);
    assert_eq!(figures["dots"], 2);
    assert_eq!(figures["parameter_bytes"], 1000 * 8 * 4);
    assert_eq!(figures["body_traces"], 1);
    let loops = figures["while_loops"].as_array().unwrap();
    assert_eq!(loops.len(), 1);
    assert_eq!((&loops[0]["trip_count"], &loops[0]["depth"]), (&json!(1000), &json!(0)));
    let body = loops[0]["body_instructions"].as_u64().unwrap();
    assert!(body > 20 && body < figures["instructions"].as_u64().unwrap());
    // The input and the weights are in memory at some time.
    assert!(figures["peak_bytes"].as_u64().unwrap() >= (1000 * 8 + 24 * 48) * 4);
    let opcodes = figures["opcodes"].as_object().unwrap();
    let sum: u64 = opcodes.values().map(|number| number.as_u64().unwrap()).sum();
    assert_eq!(figures["instructions"], sum);
    let constants = figures["constant_bytes"].as_u64().unwrap();
    // And a few small ones: zeros, ones, the bounds of the loop.
    assert!((0..300).contains(&(constants - 24 * 48 * 4)), "{constants}");
}

/// The products of a large input kernel leave the loop, unless they must not.
#[test]
fn what_left_the_loop() {
    let size = "gru --in-features 64 --hidden 128 --no-compile";
    let figures = stats(size);
    let (of_x, of_h) = (64 * 384, 128 * 384);
    let work = |products: u64, multiplications: u64| {
        json!({
            "products": products, "multiplications": multiplications, "carried": 1, "stacked": 0
        })
    };
    assert_eq!(figures["loop_work"], work(1, of_h));
    assert_eq!(figures["loop_work_before_fission"], work(2, of_x + of_h));
    let off = stats(&format!("{size} --fission off"));
    assert_eq!(off["loop_work"], figures["loop_work_before_fission"]);
    assert_eq!(off["loop_work"], off["loop_work_before_fission"]);
    let (table, _) = succeed(Path::new("."), &format!("stats {size}"));
    let lines = table.lines().filter(|line| line.starts_with("loop "));
    let lines: String = lines.map(|line| line.to_owned() + "\n").collect();
    expect![[r#"
        loop products                  1   2 before fission
        loop multiplications      49,152   73,728 before fission
        loop carried                   1
        loop stacked                   0
    "#]]
    .assert_eq(&lines);
}

/// The closure runs once, and the program has the same size, for every number of steps.
#[test]
fn a_scan_does_not_grow_with_its_steps() {
    let of =
        |options: &str| stats(&format!("lstm --in-features 4 --hidden 4 --no-compile {options}"));
    let (short, long) = (of("--steps 8"), of("--steps 8000"));
    assert_eq!(short["instructions"], long["instructions"]);
    assert_eq!((&short["body_traces"], &long["body_traces"]), (&json!(1), &json!(1)));
    let unrolled = of("--steps 8 --unrolled");
    assert_eq!(unrolled["body_traces"], 8);
    assert_eq!(unrolled["while_loops"], json!([]));
    assert_eq!(unrolled["flops"], short["flops"], "the same work");
    assert_eq!(unrolled["dots"], 64);
}

#[test]
fn memory_is_known_if_the_program_was_compiled() {
    let figures = stats("simple --no-compile");
    assert_eq!((&figures["peak_bytes"], &figures["temp_bytes"]), (&Value::Null, &Value::Null));
    let optimized = stats("simple --stage optimized");
    assert!(optimized["peak_bytes"].as_u64().unwrap() > 0);
    assert!(optimized["fusions"].as_u64().unwrap() > 0);
}

#[test]
fn a_file_has_the_figures_of_the_model_it_was_made_from() {
    let directory = tempfile::tempdir().unwrap();
    succeed(directory.path(), "dump gru --format proto --output gru.pb");
    let mut file = json_object(directory.path(), "stats gru.pb");
    let mut model = stats("gru");
    assert_eq!(file["program"], "gru.pb");
    let of_models = ["body_traces", "loop_work", "loop_work_before_fission"];
    for key in of_models {
        assert_eq!(file[key], Value::Null, "{key}");
    }
    for figures in [&mut file, &mut model] {
        let figures = figures.as_object_mut().unwrap();
        figures.remove("program");
        figures.retain(|key, _| !of_models.contains(&key.as_str()));
    }
    assert_eq!(file, model);
}

/// Text usually leaves out large constants. What is known without them is told.
#[test]
fn a_text_without_constants_is_not_compiled() {
    let directory = tempfile::tempdir().unwrap();
    succeed(directory.path(), "dump gru --output gru.hlo");
    let (stdout, stderr) = succeed(directory.path(), "stats gru.hlo --json");
    expect![[r#"
        warning: gru.hlo: the text leaves out the values of constants, `{...}`; it was not compiled, and its memory is not known
    "#]].assert_eq(&stderr);
    let figures: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(figures["peak_bytes"], Value::Null);
    assert_eq!(figures["instructions"], stats("gru --no-compile")["instructions"]);
}

#[test]
fn wrong_arguments() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("text"), "no HLO").unwrap();
    expect![[r#"
        $ stats
        error: the following required arguments were not provided:
          <MODEL|FILE>
        $ stats gri
        error: gri: there is no model and no file of this name; the models are gru, lstm, optimized-lstm, simple
        $ stats text
        error: text: this is text, but not of HLO, which begins with `HloModule`; HLO text, a HloModuleProto or a HloProto is wanted
        $ stats text --hidden 4
        error: --hidden: text is no model, and files do not take it
        $ stats gru --hidden many
        error: invalid value 'many' for '--hidden <H>': must be a whole number of at least 1
        $ stats gru --device quantum
        error: --device: "quantum" is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the path of a PJRT plugin
        $ stats gru --stage fissioned
        error: --stage: the figures are those of HLO, and this stage is one of the IR; take traced, whose HLO is made of the fissioned IR, or optimized
        $ stats text --fission off
        error: --fission: text is no model, and files do not take it
        $ stats gru --fission on
        error: invalid value 'on' for '--fission <auto|off|BYTES>': must be auto, off or a whole number of bytes
        $ stats gru --fission -1
        error: invalid value '-1' for '--fission <auto|off|BYTES>': must be auto, off or a whole number of bytes
    "#]].assert_eq(&refusals(
        directory.path(),
        &[
            "stats",
            "stats gri",
            "stats text",
            "stats text --hidden 4",
            "stats gru --hidden many",
            "stats gru --device quantum",
            "stats gru --stage fissioned",
            "stats text --fission off",
            "stats gru --fission on",
            "stats gru --fission -1",
        ],
    ));
    let output = command(directory.path(), "stats text --json").output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
}

#[test]
fn help_reads_like_a_manual() {
    expect![[r#"
        Count what a program consists of, and what it costs

        MODEL and FILE are those of `onetrace dump`. Memory is that of XLA's buffer assignment, for which
        the program is compiled, and not run.

        Usage: onetrace stats <MODEL|FILE> [OPTIONS]

        Arguments:
          <MODEL|FILE>
                  A model or a file

        Options:
              [--stage]

              --no-compile
                  Do not compile the program; the figures of its memory are not known then

              --json
                  Print one JSON object instead

              [--device]

              [--xla-flag]

          -h, --help
                  Print help (see a summary with '-h')

        [Options of a MODEL]

        Figures:
          computations     computations of the module
          instructions     instructions of all computations, each counted once
          fusions, dots    instructions of these opcodes
          flops            floating-point operations of one run in dots and convolutions, two for each
                           multiplication and addition; those in loops as often as the loop runs.
                           flops_are_lower_bound says that a loop has no known trip count
          parameters       parameters of the program, with parameter_bytes
          constant_bytes   bytes of all constants
          temp_bytes       memory that is needed while the program runs and not afterwards; null if the
                           program was not compiled, or the device does not tell
          peak_bytes       the most memory that is in use at one time; null likewise
          text_bytes       size of the module as text with short constants
          proto_bytes      size of the module as a protocol buffer
          body_traces      how often the step was called for the trace; null for files
          loop_work        what loops do: matrix products, their multiplications, tensors that are carried
                           from step to step, and tensors that are stacked of values of all steps. Each
                           counts once, however often its loop runs; null for files
          loop_work_before_fission
                           the same without fission, which computes for all steps at once what need not be
                           in a loop
          while_loops      While loops, each before those in its body: name, depth, trip_count (null if
                           the module does not tell it) and body_instructions
          opcodes          instructions by opcode

        Examples:
          onetrace stats gru
          onetrace stats gru --steps 1000 --unrolled --no-compile
          onetrace stats gru --hidden 256 --json | jq '.loop_work, .loop_work_before_fission'
          onetrace stats lstm --stage optimized --json | jq .while_loops
    "#]].assert_eq(&help("stats --help"));
}
