//! `onetrace dump`, end to end: every model in every format. `dump_files.rs` has files.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use expect_test::expect;
use onetrace::ir::parse;

mod common;

use common::{command, dump, fail, golden, help, refusals, succeed};

const MODELS: [&str; 4] = ["gru", "lstm", "optimized-lstm", "simple"];

/// A small model whose constants are short.
const SMALL: &str = "dump simple --in-features 2 --hidden 2 --steps 3";

/// The text with `N` for numbers that follow one of the words: lines of this program's source.
fn masked(text: &str, word: &str) -> String {
    let mut parts = text.split(word);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
        out += &format!("{word}N{rest}");
    }
    out
}

#[test]
fn every_model_has_every_format_at_every_stage() {
    let size = "--in-features 3 --hidden 4 --steps 2";
    for model in MODELS {
        for stage in ["traced", "optimized"] {
            for (format, start) in [
                ("hlo", "HloModule "),
                ("stablehlo", "module @"),
                ("pbtxt", "name: \""),
                ("dot", "digraph "),
                ("html", "<!"),
            ] {
                let options = format!("{model} {size} --stage {stage} --format {format}");
                let metadata = if format == "stablehlo" { "--no-metadata" } else { "" };
                let text = dump(&format!("{options} {metadata}"));
                let (found, name) = (text.starts_with(start), model.replace('-', "_"));
                assert!(found && text.contains(&name), "{options}: {text:.300}");
            }
        }
        let ir = dump(&format!("{model} {size} --format ir --full-constants"));
        let func = parse::parse(&ir).unwrap();
        assert_eq!(func.name(), model.replace('-', "_"));
    }
}

#[test]
fn the_ir() {
    expect![[r#"
        func @simple(%0 "arg": f32[3,2]) -> (f32[2]) {
          %1: f32[] = constant {value=f32[](0.0), name=""}
          %2: f32[2] = broadcast {shape=[2], axes=[]} %1
          %3: f32[2] = scan {length=3, reverse=false, constants=0, carry=1, body=func @scan_body(%0 "carry": f32[2], %1 "x": f32[2]) -> (f32[2]) {
            %2: f32[2,2] = constant {value=f32[2,2](-1.5153329, -1.3828852, 0.15761372, -0.27076438), name="dense_i.kernel"}
            %3: f32[2] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %1 %2
            %4: f32[2] = constant {value=f32[2](0.0, 0.0), name="dense_i.bias"}
            %5: f32[2] = add %3 %4
            %6: f32[2,2] = constant {value=f32[2,2](0.801851, -0.59752405, -0.59752405, -0.801851), name="dense_h.kernel"}
            %7: f32[2] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %0 %6
            %8: f32[2] = add %5 %7
            %9: f32[2] = tanh %8
            return %9
          }} %2 %0
          return %3
        }
    "#]].assert_eq(&dump("simple --in-features 2 --hidden 2 --steps 3 --format ir"));
    let located = dump("simple --in-features 2 --hidden 2 --steps 3 --format ir --locations");
    let lines = located.lines().filter(|line| line.contains("  // "));
    let lines: String = lines.map(|line| line.trim_start().to_owned() + "\n").collect();
    expect![[r#"
        %2: f32[2] = broadcast {shape=[2], axes=[]} %1  // cli/src/model.rs:N
        %3: f32[2] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %1 %2  // cli/src/model.rs:N in SimpleCell
        %5: f32[2] = add %3 %4  // cli/src/model.rs:N in SimpleCell
        %7: f32[2] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %0 %6  // cli/src/model.rs:N in SimpleCell
        %8: f32[2] = add %5 %7  // cli/src/model.rs:N in SimpleCell
        %9: f32[2] = tanh %8  // cli/src/model.rs:N in SimpleCell
        }} %2 %0  // cli/src/model.rs:N
    "#]].assert_eq(&masked(&lines, "model.rs:"));
}

#[test]
fn the_hlo() {
    let (hlo, _) = succeed(Path::new("."), &format!("{SMALL} --no-metadata"));
    expect![[r#"
        HloModule simple.3, entry_computation_layout={(f32[3,2]{1,0})->(f32[2]{0})}

        %scan_body.2 (state.0: (s32[], f32[2], f32[3,2])) -> (s32[], f32[2], f32[3,2]) {
          %state.0 = (s32[], f32[2]{0}, f32[3,2]{1,0}) parameter(0)
          %get-tuple-element.0 = s32[] get-tuple-element(%state.0), index=0
          %constant.11 = s32[] constant(1)
          %add.5 = s32[] add(%get-tuple-element.0, %constant.11)
          %constant.7 = f32[2,2]{1,0} constant({ { -1.51533294, -1.38288522 }, { 0.157613724, -0.270764381 } })
          %get-tuple-element.2 = f32[3,2]{1,0} get-tuple-element(%state.0), index=2
          %constant.6 = s32[] constant(0)
          %dynamic-slice.1 = f32[1,2]{1,0} dynamic-slice(%get-tuple-element.2, %get-tuple-element.0, %constant.6), dynamic_slice_sizes={1,2}
          %reshape.1 = f32[2]{0} reshape(%dynamic-slice.1)
          %dot.2 = f32[2]{0} dot(%constant.7, %reshape.1), lhs_contracting_dims={0}, rhs_contracting_dims={0}
          %constant.8 = f32[] constant(0)
          %constant.9 = f32[2]{0} broadcast(%constant.8), dimensions={}
          %add.3 = f32[2]{0} add(%dot.2, %constant.9)
          %constant.10 = f32[2,2]{1,0} constant({ { 0.801851, -0.597524047 }, { -0.597524047, -0.801851 } })
          %get-tuple-element.1 = f32[2]{0} get-tuple-element(%state.0), index=1
          %dot.3 = f32[2]{0} dot(%constant.10, %get-tuple-element.1), lhs_contracting_dims={0}, rhs_contracting_dims={0}
          %add.4 = f32[2]{0} add(%add.3, %dot.3)
          %tanh.1 = f32[2]{0} tanh(%add.4)
          ROOT %tuple.1 = (s32[], f32[2]{0}, f32[3,2]{1,0}) tuple(%add.5, %tanh.1, %get-tuple-element.2)
        }

        %scan_condition.1 (state.1: (s32[], f32[2], f32[3,2])) -> pred[] {
          %state.1 = (s32[], f32[2]{0}, f32[3,2]{1,0}) parameter(0)
          %get-tuple-element.4 = f32[2]{0} get-tuple-element(%state.1), index=1
          %get-tuple-element.5 = f32[3,2]{1,0} get-tuple-element(%state.1), index=2
          %get-tuple-element.3 = s32[] get-tuple-element(%state.1), index=0
          %constant.1 = s32[] constant(3)
          ROOT %compare.1 = pred[] compare(%get-tuple-element.3, %constant.1), direction=LT
        }

        ENTRY %simple.3 (arg.1: f32[3,2]) -> (f32[2]) {
          %scan.6 = s32[] constant(0)
          %constant.2 = f32[] constant(0)
          %broadcast.1 = f32[2]{0} broadcast(%constant.2), dimensions={}
          %arg.1 = f32[3,2]{1,0} parameter(0)
          %scan.7 = (s32[], f32[2]{0}, f32[3,2]{1,0}) tuple(%scan.6, %broadcast.1, %arg.1)
          %scan.8 = (s32[], f32[2]{0}, f32[3,2]{1,0}) while(%scan.7), condition=%scan_condition.1, body=%scan_body.2
          %scan.9 = s32[] get-tuple-element(%scan.8), index=0
          %scan.11 = f32[3,2]{1,0} get-tuple-element(%scan.8), index=2
          %scan.10 = f32[2]{0} get-tuple-element(%scan.8), index=1
          ROOT %tuple.2 = (f32[2]{0}) tuple(%scan.10)
        }

    "#]].assert_eq(&hlo);
    let (hlo, _) = succeed(Path::new("."), SMALL);
    let dot = hlo.lines().find(|line| line.contains(" dot(")).unwrap();
    expect![[r#"%dot.2 = f32[2]{0} dot(%constant.7, %reshape.1), lhs_contracting_dims={0}, rhs_contracting_dims={0}, metadata={op_type="dot" op_name="SimpleCell/dot" source_file="cli/src/model.rs" source_line=N}"#]].assert_eq(&masked(dot.trim(), "source_line="));
}

#[test]
fn the_stablehlo() {
    let options = "--in-features 8 --hidden 16 --steps 3 --format stablehlo --no-metadata";
    expect![[r#"
        module @simple.3 attributes {mhlo.cross_program_prefetches = [], mhlo.input_output_alias = [], mhlo.is_dynamic = false, mhlo.use_auto_spmd_partitioning = false} {
          func.func private @scan_condition.1(%arg0: tensor<i32>, %arg1: tensor<16xf32>, %arg2: tensor<3x8xf32>) -> tensor<i1> {
            %c = stablehlo.constant dense<3> : tensor<i32>
            %0 = stablehlo.compare  LT, %arg0, %c : (tensor<i32>, tensor<i32>) -> tensor<i1>
            return %0 : tensor<i1>
          }
          func.func private @scan_body.2(%arg0: tensor<i32>, %arg1: tensor<16xf32>, %arg2: tensor<3x8xf32>) -> (tensor<i32>, tensor<16xf32>, tensor<3x8xf32>) {
            %c = stablehlo.constant dense<1> : tensor<i32>
            %0 = stablehlo.add %arg0, %c : tensor<i32>
            %cst = stablehlo.constant dense_resource<__elided__> : tensor<8x16xf32>
            %c_0 = stablehlo.constant dense<0> : tensor<i32>
            %1 = stablehlo.dynamic_slice %arg2, %arg0, %c_0, sizes = [1, 8] : (tensor<3x8xf32>, tensor<i32>, tensor<i32>) -> tensor<1x8xf32>
            %2 = stablehlo.reshape %1 : (tensor<1x8xf32>) -> tensor<8xf32>
            %3 = stablehlo.dot_general %cst, %2, contracting_dims = [0] x [0], precision = [DEFAULT, DEFAULT] : (tensor<8x16xf32>, tensor<8xf32>) -> tensor<16xf32>
            %cst_1 = stablehlo.constant dense<0.000000e+00> : tensor<f32>
            %4 = stablehlo.broadcast_in_dim %cst_1, dims = [] : (tensor<f32>) -> tensor<16xf32>
            %5 = stablehlo.add %3, %4 : tensor<16xf32>
            %cst_2 = stablehlo.constant dense_resource<__elided__> : tensor<16x16xf32>
            %6 = stablehlo.dot_general %cst_2, %arg1, contracting_dims = [0] x [0], precision = [DEFAULT, DEFAULT] : (tensor<16x16xf32>, tensor<16xf32>) -> tensor<16xf32>
            %7 = stablehlo.add %5, %6 : tensor<16xf32>
            %8 = stablehlo.tanh %7 : tensor<16xf32>
            return %0, %8, %arg2 : tensor<i32>, tensor<16xf32>, tensor<3x8xf32>
          }
          func.func @main(%arg0: tensor<3x8xf32>) -> tensor<16xf32> {
            %c = stablehlo.constant dense<0> : tensor<i32>
            %cst = stablehlo.constant dense<0.000000e+00> : tensor<f32>
            %0 = stablehlo.broadcast_in_dim %cst, dims = [] : (tensor<f32>) -> tensor<16xf32>
            %1:3 = stablehlo.while(%iterArg = %c, %iterArg_0 = %0, %iterArg_1 = %arg0) : tensor<i32>, tensor<16xf32>, tensor<3x8xf32>
            cond {
              %c_2 = stablehlo.constant dense<3> : tensor<i32>
              %2 = stablehlo.compare  LT, %iterArg, %c_2 : (tensor<i32>, tensor<i32>) -> tensor<i1>
              stablehlo.return %2 : tensor<i1>
            } do {
              %c_2 = stablehlo.constant dense<1> : tensor<i32>
              %2 = stablehlo.add %iterArg, %c_2 : tensor<i32>
              %cst_3 = stablehlo.constant dense_resource<__elided__> : tensor<8x16xf32>
              %c_4 = stablehlo.constant dense<0> : tensor<i32>
              %3 = stablehlo.dynamic_slice %iterArg_1, %iterArg, %c_4, sizes = [1, 8] : (tensor<3x8xf32>, tensor<i32>, tensor<i32>) -> tensor<1x8xf32>
              %4 = stablehlo.reshape %3 : (tensor<1x8xf32>) -> tensor<8xf32>
              %5 = stablehlo.dot_general %cst_3, %4, contracting_dims = [0] x [0], precision = [DEFAULT, DEFAULT] : (tensor<8x16xf32>, tensor<8xf32>) -> tensor<16xf32>
              %cst_5 = stablehlo.constant dense<0.000000e+00> : tensor<f32>
              %6 = stablehlo.broadcast_in_dim %cst_5, dims = [] : (tensor<f32>) -> tensor<16xf32>
              %7 = stablehlo.add %5, %6 : tensor<16xf32>
              %cst_6 = stablehlo.constant dense_resource<__elided__> : tensor<16x16xf32>
              %8 = stablehlo.dot_general %cst_6, %iterArg_0, contracting_dims = [0] x [0], precision = [DEFAULT, DEFAULT] : (tensor<16x16xf32>, tensor<16xf32>) -> tensor<16xf32>
              %9 = stablehlo.add %7, %8 : tensor<16xf32>
              %10 = stablehlo.tanh %9 : tensor<16xf32>
              stablehlo.return %2, %10, %iterArg_1 : tensor<i32>, tensor<16xf32>, tensor<3x8xf32>
            }
            return %1#1 : tensor<16xf32>
          }
        }
    "#]].assert_eq(&dump(&format!("simple {options}")));
    let full = dump(&format!("simple {options} --full-constants"));
    assert!(full.contains("dense<\"0x") && !full.contains("elided"));
}

/// The kernel of the input is large enough to be multiplied with before the loop.
#[test]
fn the_ir_before_and_after_fission() {
    let size = "simple --in-features 192 --hidden 128";
    let ir = |options: &str| dump(&format!("{size} {options}"));
    expect![[r#"
        func @simple(%0 "arg": f32[16,192]) -> (f32[128]) {
          %1: f32[] = constant {value=f32[](0.0), name=""}
          %2: f32[128] = broadcast {shape=[128], axes=[]} %1
          %3: f32[128] = scan {length=16, reverse=false, constants=0, carry=1, body=func @scan_body(%0 "carry": f32[128], %1 "x": f32[192]) -> (f32[128]) {
            %2: f32[192,128] = constant {value=f32[192,128](...), name="dense_i.kernel"}
            %3: f32[128] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %1 %2
            %4: f32[128] = constant {value=f32[128](...), name="dense_i.bias"}
            %5: f32[128] = add %3 %4
            %6: f32[128,128] = constant {value=f32[128,128](...), name="dense_h.kernel"}
            %7: f32[128] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %0 %6
            %8: f32[128] = add %5 %7
            %9: f32[128] = tanh %8
            return %9
          }} %2 %0
          return %3
        }
    "#]].assert_eq(&ir("--stage simplified"));
    expect![[r#"
        func @simple(%0 "arg": f32[16,192]) -> (f32[128]) {
          %1: f32[] = constant {value=f32[](0.0), name=""}
          %2: f32[128] = broadcast {shape=[128], axes=[]} %1
          %3: f32[192,128] = constant {value=f32[192,128](...), name="dense_i.kernel"}
          %4: f32[16,128] = dot {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %0 %3
          %5: f32[128] = constant {value=f32[128](...), name="dense_i.bias"}
          %6: f32[16,128] = broadcast {shape=[16, 128], axes=[1]} %5
          %7: f32[16,128] = add %4 %6
          %8: f32[128] = scan {length=16, reverse=false, constants=0, carry=1, body=func @scan_body(%0 "carry": f32[128], %1: f32[128]) -> (f32[128]) {
            %2: f32[128,128] = constant {value=f32[128,128](...), name="dense_h.kernel"}
            %3: f32[128] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %0 %2
            %4: f32[128] = add %1 %3
            %5: f32[128] = tanh %4
            return %5
          }} %2 %7
          return %8
        }
    "#]].assert_eq(&ir("--stage fissioned"));
    let off = ir("--stage fissioned --fission off");
    assert_eq!(off, ir("--stage simplified --fission off --format ir"));
    assert!(dump(&format!("{size} --fission off")).contains("f32[128]{0} dot("));
    let located = ir("--stage fissioned --locations");
    let dots = located.lines().filter(|line| line.contains("= dot"));
    assert!(dots.clone().count() == 2 && dots.clone().all(|line| line.contains("model.rs")));
    let text = ir("--stage fissioned --full-constants");
    assert_eq!(parse::parse(&text).unwrap().name(), "simple");
}

/// A loop in Rust leaves no While behind, and several steps in an iteration leave one.
#[test]
fn the_loop_is_as_it_was_asked_for() {
    let count = |options: &str, what: &str| dump(options).matches(what).count();
    let tanh = " tanh(";
    assert_eq!((count("simple", " while("), count("simple", tanh)), (1, 1));
    assert_eq!((count("simple --unrolled", " while("), count("simple --unrolled", tanh)), (0, 16));
    let unroll = "simple --unroll 4";
    assert_eq!((count(unroll, " while("), count(unroll, tanh)), (1, 4));
    let steps = |options: &str| dump(&format!("simple --format ir {options}"));
    assert!(steps("--steps 2048").contains("length=2048, reverse=false, constants=0"));
    assert!(steps("--reverse --unroll 2").contains("length=16, reverse=true, unroll=2"));
    assert!(
        steps("--batch 5").starts_with("func @simple(%0 \"arg\": f32[16,5,32]) -> (f32[5,64])")
    );
    assert_ne!(dump("simple --format pbtxt"), dump("simple --format pbtxt --seed 1"));
}

#[test]
fn the_optimized_stage_is_what_the_backend_runs() {
    let optimized = dump("gru --stage optimized");
    assert!(optimized.contains("is_scheduled=true"));
    assert!(optimized.contains(" fusion(") && optimized.contains(" while("));
}

#[test]
fn options_that_make_no_sense() {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(golden("nested.txt"), directory.path().join("module.hlo")).unwrap();
    let transcript = refusals(
        directory.path(),
        &[
            "dump",
            "dump gri",
            "dump module.hlo --hidden 4",
            "dump module.hlo --unrolled",
            "dump module.hlo --format ir",
            "dump gru --format ir --stage optimized",
            "dump gru --format hlo --stage fissioned",
            "dump module.hlo --stage simplified",
            "dump gru --stage fissioned --no-metadata",
            "dump gru --unrolled --fission off",
            "dump gru --locations",
            "dump gru --format dot --no-metadata",
            "dump gru --format proto --full-constants",
            "dump gru --unrolled --unroll 2",
            "dump gru --hidden 0",
            "dump gru --steps 2.5",
            "dump gru --batch -1",
            "dump gru --seed 1e19",
            "dump gru --stage final",
            "dump gru --format text",
            "dump gru --stage optimized --device quantum",
            "dump gru --output none/gru.hlo",
            "dump module.hlo --output .",
            "dump gru --hidden 9223372036854775807",
        ],
    );
    let transcript = transcript.replace(&onetrace::host_memory().to_string(), "[MEMORY]");
    expect![[r#"
        $ dump
        error: the following required arguments were not provided:
          <MODEL|FILE>
        $ dump gri
        error: gri: there is no model and no file of this name; the models are gru, lstm, optimized-lstm, simple
        $ dump module.hlo --hidden 4
        error: --hidden: module.hlo is no model, and files do not take it
        $ dump module.hlo --unrolled
        error: --unrolled: module.hlo is no model, and files do not take it
        $ dump module.hlo --format ir
        error: --format: the IR is what this library traces, and a file has HLO; take hlo or stablehlo
        $ dump gru --format ir --stage optimized
        error: --format: the IR is what was traced, and XLA's passes work on HLO; take hlo, or leave --stage out
        $ dump gru --format hlo --stage fissioned
        error: --format: at the stages simplified and fissioned there is the IR, and HLO is made of the latter; take ir, or leave --stage out
        $ dump module.hlo --stage simplified
        error: --stage: this stage is one of the IR, and a file has HLO; take traced or optimized
        $ dump gru --stage fissioned --no-metadata
        error: --no-metadata: take --format hlo or stablehlo, whose text has them
        $ dump gru --unrolled --fission off
        error: the argument '--unrolled' cannot be used with '--fission <auto|off|BYTES>'
        $ dump gru --locations
        error: --locations: they are printed in the IR; add --format ir
        $ dump gru --format dot --no-metadata
        error: --no-metadata: take --format hlo or stablehlo, whose text has them
        $ dump gru --format proto --full-constants
        error: --full-constants: constants are shortened in --format ir, hlo and stablehlo only
        $ dump gru --unrolled --unroll 2
        error: the argument '--unrolled' cannot be used with '--unroll <auto|K>'
        $ dump gru --hidden 0
        error: invalid value '0' for '--hidden <H>': must be at least 1
        $ dump gru --steps 2.5
        error: invalid value '2.5' for '--steps <T>': must be a whole number of at least 1
        $ dump gru --batch -1
        error: invalid value '-1' for '--batch <B>': must be a whole number of at least 1
        $ dump gru --seed 1e19
        error: invalid value '1e19' for '--seed <S>': must be from -9223372036854775808 to 9223372036854775807
        $ dump gru --stage final
        error: invalid value 'final' for '--stage <STAGE>'
          [possible values: traced, simplified, fissioned, optimized]
        $ dump gru --format text
        error: invalid value 'text' for '--format <FORMAT>'
          [possible values: ir, hlo, stablehlo, proto, pbtxt, dot, html]
        $ dump gru --stage optimized --device quantum
        error: --device: "quantum" is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the path of a PJRT plugin
        $ dump gru --output none/gru.hlo
        error: --output: none/gru.hlo cannot be written: No such file or directory (os error 2)
        $ dump module.hlo --output .
        error: --output: . cannot be written: is a directory
        $ dump gru --hidden 9223372036854775807
        error: gru: 32 features to 9223372036854775807 over a sequence [16, 32] are too many: to draw a kernel of type f32[32,18446744073709551615] takes up to 18446744073709551615 bytes, but this machine has [MEMORY] bytes of memory
    "#]].assert_eq(&transcript);
}

#[cfg(target_os = "linux")]
#[test]
fn binary_formats_do_not_go_to_a_terminal() {
    let dump = |arguments: &str| {
        // The master of a new pseudo-terminal is one itself.
        let terminal = fs::OpenOptions::new().read(true).write(true).open("/dev/ptmx").unwrap();
        let mut command = command(Path::new("."), arguments);
        let output = command.stdout(terminal).stderr(Stdio::piped()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    expect![[r#"
        (
            Some(
                2,
            ),
            "error: --format: proto is binary, and standard output is a terminal; name a file with --output, or pipe it\n",
        )
    "#]].assert_debug_eq(&dump("dump gru --format proto"));
    assert_eq!(dump("dump simple --steps 1").0, Some(0));
}

#[test]
fn an_output_file_appears_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    fs::write(&path, "old").unwrap();
    fail(directory.path(), "dump none/none --output out");
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    succeed(directory.path(), "dump simple --output out");
    assert_eq!(fs::read_to_string(&path).unwrap(), dump("simple"));

    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut to_full_disk = command(directory.path(), "dump simple");
    let output = to_full_disk.stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn help_reads_like_a_manual() {
    expect![[r#"
        Print a program: the IR, the HLO before or after XLA's passes, StableHLO, a graph

        MODEL is a recurrent cell that goes over a sequence of T steps from a state of zeros, with the
        parameters that nnx.Rngs(S) of Flax gives: gru, lstm, optimized-lstm or simple. The program takes
        the sequence, f32[T,D] or f32[T,B,D], and returns the final carry.

        FILE is an HLO module from elsewhere: HLO text, as `lower(..).as_text('hlo')` of JAX gives it, or a
        protocol buffer, HloModuleProto or HloProto, binary or text, as --xla_dump_to leaves it. What it is
        is told by its content. A name that is also that of a model is written ./gru, and - is standard
        input. XLA reads it in a process of its own: what it cannot cope with is an error like others.

        Usage: onetrace dump <MODEL|FILE> [OPTIONS]

        Arguments:
          <MODEL|FILE>
                  A model or a file

        Options:
              --format <FORMAT>
                  The format [default: hlo, and ir at the stages simplified and fissioned]

                  Possible values:
                  - ir:        The IR; of models only
                  - hlo:       HLO text
                  - stablehlo: StableHLO in the text form of MLIR
                  - proto:     A serialized HloModuleProto
                  - pbtxt:     The HloModuleProto in the text form of protocol buffers
                  - dot:       A graph for Graphviz
                  - html:      A page for a browser that needs no network

              [--stage]

              --output <FILE>
                  Write to a file instead of standard output

                  The file appears whole or not at all; that it can be written is checked before the work.

              --full-constants
                  Print every element of large constants, so that the text can be read back and run

              --locations
                  Print the user's file and line behind each equation of the IR

              --no-metadata
                  Leave out of HLO and StableHLO where each instruction comes from

              [--device]

              [--xla-flag]

          -h, --help
                  Print help (see a summary with '-h')

        [Options of a MODEL]

        Examples:
          onetrace dump gru | less -S
          onetrace dump gru --hidden 128 --steps 1000 --format ir --locations
          onetrace dump gru --hidden 256 --stage fissioned
          onetrace dump lstm --stage optimized --no-metadata
          onetrace dump simple --format dot | dot -Tsvg > simple.svg
          onetrace dump gru --stage optimized --format html --output gru.html
          onetrace dump module_0000.jit_step.before_optimizations.hlo.pb --format stablehlo
          diff <(onetrace dump gru) <(onetrace dump gru --unroll 2)
    "#]].assert_eq(&help("dump --help"));
}
