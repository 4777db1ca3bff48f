//! `onetrace dump` of files: what it wrote itself, what others wrote, and what is no HLO.

use std::fs;
use std::path::Path;

use expect_test::expect;
use onetrace::hlo::Module;
use tempfile::TempDir;

mod common;

use common::{command, dump, fail, golden, refusals, succeed};

/// The module that each format carries is the same.
#[test]
fn what_was_dumped_can_be_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let gru = "gru --in-features 3 --hidden 4";
    let (expected, _) = succeed(directory, &format!("dump {gru} --full-constants"));
    for format in ["hlo", "proto", "pbtxt"] {
        for stage in ["traced", "optimized"] {
            let full = if format == "hlo" { "--full-constants" } else { "" };
            let to = format!("--format {format} --stage {stage} --output {stage}.{format} {full}");
            let (stdout, stderr) = succeed(directory, &format!("dump {gru} {to}"));
            assert_eq!((&*stdout, &*stderr), ("", ""));
        }
        let (again, _) = succeed(directory, &format!("dump traced.{format} --full-constants"));
        assert_eq!(again, expected, "{format}");
    }
    // A compiled file has the instructions of the compiled model. XLA may order some otherwise.
    let (compiled, _) = succeed(directory, "dump traced.proto --stage optimized --no-metadata");
    let (model, _) = succeed(directory, &format!("dump {gru} --stage optimized --no-metadata"));
    assert_eq!(sorted(&compiled), sorted(&model));
    for format in ["stablehlo", "dot", "html", "pbtxt"] {
        let (file, _) = succeed(directory, &format!("dump traced.proto --format {format}"));
        let (model, _) = succeed(directory, &format!("dump {gru} --format {format}"));
        assert_eq!(file, model, "{format}");
    }
    assert!(Module::read(directory.join("optimized.proto")).is_ok());
    let files = fs::read_dir(directory).unwrap().count();
    assert_eq!(files, 6, "no temporary file is left");
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn modules_of_jax_have_every_format() {
    for name in ["gru.txt", "gru.pb", "gru.dump.pb", "nested.txt", "convolution.pb"] {
        let path = golden(name);
        let path = path.display();
        for format in ["hlo", "stablehlo", "dot", "html"] {
            // JAX's text leaves out large constants, which StableHLO has to have.
            if !(name == "gru.txt" && format == "stablehlo") {
                assert!(dump(&format!("{path} --format {format}")).len() > 1000, "{name} {format}");
            }
        }
    }
    let optimized = dump(&format!("{} --stage optimized", golden("gru_constants.pb").display()));
    assert!(optimized.contains("is_scheduled=true"));
}

#[test]
fn a_file_is_also_read_from_standard_input() {
    let file = fs::File::open(golden("nested.txt")).unwrap();
    let output = command(Path::new("."), "dump -").stdin(file).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, dump(&golden("nested.txt").display().to_string()));
}

/// A name in front of which there is a directory is that of a file.
#[test]
fn names_of_models_win_over_files() {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(golden("nested.txt"), directory.path().join("gru")).unwrap();
    let (model, _) = succeed(directory.path(), "dump gru");
    assert!(model.starts_with("HloModule gru"));
    let (file, _) = succeed(directory.path(), "dump ./gru");
    assert!(!file.starts_with("HloModule gru"));
}

/// Files of which XLA cannot make a module: an error, exit status 2, and no output.
#[test]
fn files_that_are_no_hlo() {
    let directory = bad_files();
    let names = [
        "empty",
        "space",
        "text",
        "mlir",
        "bytecode",
        "gzip",
        "truncated.pb",
        "random",
        "zeros",
        "opcode.hlo",
        "unclosed.hlo",
        "deep.hlo",
        "cycle.hlo",
        "huge.hlo",
        "directory",
        "none/none",
        "huge",
    ];
    let mut transcript = String::new();
    for name in names {
        let arguments = format!("dump {name} --output out");
        let (status, stderr) = fail(directory.path(), &arguments);
        assert_eq!(status, 2, "{name}: {stderr}");
        assert!(!directory.path().join("out").exists(), "{name}");
        assert!(stderr.starts_with("error: ") && stderr.contains(name), "{stderr}");
        transcript += &format!("$ {arguments}\n{stderr}");
    }
    expect![[r#"
        $ dump empty --output out
        error: empty: there is nothing in it; HLO text, a HloModuleProto or a HloProto is wanted
        $ dump space --output out
        error: space: there is nothing in it but space; HLO text, a HloModuleProto or a HloProto is wanted
        $ dump text --output out
        error: text: this is text, but not of HLO, which begins with `HloModule`; HLO text, a HloModuleProto or a HloProto is wanted
        $ dump mlir --output out
        error: mlir: this is MLIR; HLO text, a HloModuleProto or a HloProto is wanted: JAX writes HLO with `lower(..).as_text('hlo')`
        $ dump bytecode --output out
        error: bytecode: this is MLIR bytecode; HLO text, a HloModuleProto or a HloProto is wanted: JAX writes HLO with `lower(..).as_text('hlo')`
        $ dump gzip --output out
        error: gzip: this is compressed with gzip; HLO text, a HloModuleProto or a HloProto is wanted: unpack it with gunzip
        $ dump truncated.pb --output out
        error: truncated.pb: these bytes are no HLO module, or one that was cut off: failed to decode Protobuf message: HloModuleProto.computations: buffer underflow
        $ dump random --output out
        error: random: these bytes are no HLO module, or one that was cut off: failed to decode Protobuf message: invalid tag value: 0
        $ dump zeros --output out
        error: zeros: these bytes are no HLO module, or one that was cut off: failed to decode Protobuf message: invalid tag value: 0
        $ dump opcode.hlo --output out
        error: opcode.hlo: Syntax error when trying to parse the text as a HloModule:
        was parsing 4:19: error: expects opcode but sees: frobnicate, error: Unknown opcode: frobnicate
          ROOT y = f32[2] frobnicate(x)
                          ^
        $ dump unclosed.hlo --output out
        error: unclosed.hlo: `}` is missing, for the bracket in line 2
        $ dump deep.hlo --output out
        error: deep.hlo: line 4: brackets lie more than 200 deep
        $ dump cycle.hlo --output out
        error: cycle.hlo: Syntax error when trying to parse the text as a HloModule:
        was parsing 4:21: error: cannot parse as an instruction name or as a nested instruction:
          a = f32[2] add(x, b)
                            ^
        was parsing 4:21: error: instruction does not exist: b
          a = f32[2] add(x, b)
                            ^
        was parsing 4:21: error: expects opcode but sees: b, error: Unknown opcode: b
          a = f32[2] add(x, b)
                            ^
        was parsing 4:21: error: expects ')' at the end of operands
          a = f32[2] add(x, b)
                            ^
        $ dump huge.hlo --output out
        error: huge.hlo: line 4: the constants up to here have 4000000000000 bytes, and a module holds 2 GiB
        $ dump directory --output out
        error: directory cannot be read: it is a directory
        $ dump none/none --output out
        error: none/none cannot be read: No such file or directory (os error 2)
        $ dump huge --output out
        error: huge cannot be read: 3221225472 bytes; at most 1073741824 are read
    "#]].assert_eq(&transcript);
    // Types are compared where it matters: this can be looked at, and no more.
    let wrong = "HloModule m\nENTRY e {\n x = f32[2] parameter(0)\n ROOT y = f32[3] add(x, x)\n}\n";
    fs::write(directory.path().join("types.hlo"), wrong).unwrap();
    succeed(directory.path(), "dump types.hlo");
    for options in ["--format stablehlo", "--stage optimized"] {
        let (status, stderr) = fail(directory.path(), &format!("dump types.hlo {options}"));
        assert_eq!(status, 2, "{options}");
        assert!(stderr.starts_with("error: types.hlo: "), "{stderr}");
    }
    // A file that cannot be opened, unless the user may open everything.
    let path = directory.path().join("secret");
    fs::write(&path, "HloModule m").unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    if fs::read(&path).is_err() {
        let (status, stderr) = fail(directory.path(), "dump secret");
        assert_eq!(status, 2);
        assert!(stderr.contains("secret cannot be read: Permission denied"), "{stderr}");
    }
}

fn bad_files() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    let entry =
        |body: &str| format!("HloModule m\nENTRY e {{\n  x = f32[2] parameter(0)\n{body}\n}}\n");
    write("empty", b"");
    write("space", b" \n\t\n");
    write("text", b"hello, world\n");
    write("mlir", b"module @m {\n  func.func @main() {\n    return\n  }\n}\n");
    write("bytecode", b"ML\xefR\x0dStableHLO_v1.0\0");
    write("gzip", b"\x1f\x8b\x08\0\0\0\0\0");
    let whole = fs::read(golden("gru.pb")).unwrap();
    write("truncated.pb", &whole[..whole.len() / 2]);
    // A multiplicative generator: the same bytes everywhere.
    let bytes = std::iter::successors(Some(1u32), |x| Some(x.wrapping_mul(1_664_525) + 1));
    write("random", &bytes.map(|x| (x >> 24) as u8).take(4096).collect::<Vec<_>>());
    write("zeros", &[0; 4096]);
    write("opcode.hlo", entry("  ROOT y = f32[2] frobnicate(x)").as_bytes());
    write("unclosed.hlo", b"HloModule m\nENTRY e {\n  x = f32[2] parameter(0)\n");
    write("deep.hlo", entry(&format!("  ROOT t = {}", "(".repeat(100_000))).as_bytes());
    write("cycle.hlo", entry("  a = f32[2] add(x, b)\n  ROOT b = f32[2] add(x, a)").as_bytes());
    write("huge.hlo", entry("  ROOT y = f32[1000000000000] constant({...})").as_bytes());
    fs::create_dir(directory.path().join("directory")).unwrap();
    // Three gibibytes that take no space on the disk, and of which nothing is read.
    let sparse = fs::File::create(directory.path().join("huge")).unwrap();
    sparse.set_len(3 << 30).unwrap();
    directory
}

/// What would need the constants that a text leaves out is refused.
#[test]
fn constants_that_a_text_leaves_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    succeed(path, "dump gru --output gru.hlo");
    succeed(path, "dump gru.hlo");
    expect![[r#"
        $ dump gru.hlo --full-constants
        error: gru.hlo: the text that this module was read from leaves out the values of constants, `{...}`; print it with all of them, or take the protocol buffer
        $ dump gru.hlo --format proto
        error: gru.hlo: the text leaves out the values of constants, `{...}`, and a protocol buffer has them; start from text with all of them
        $ dump gru.hlo --format pbtxt
        error: gru.hlo: the text that this module was read from leaves out the values of constants, `{...}`; print it with all of them, or take the protocol buffer
        $ dump gru.hlo --format stablehlo
        error: gru.hlo: the text that this module was read from leaves out the values of constants, `{...}`; print it with all of them, or take the protocol buffer
        $ dump gru.hlo --stage optimized
        error: gru.hlo: the text that this module was read from leaves out the values of constants, `{...}`; print it with all of them, or take the protocol buffer
    "#]].assert_eq(&refusals(
        path,
        &[
            "dump gru.hlo --full-constants",
            "dump gru.hlo --format proto",
            "dump gru.hlo --format pbtxt",
            "dump gru.hlo --format stablehlo",
            "dump gru.hlo --stage optimized",
        ],
    ));
}
