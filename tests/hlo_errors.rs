//! What is not HLO, or not well formed: an error that says so, with XLA's process still alive.

mod common;

use common::messages::expect_error;
use common::wire::{Field, Message, push_varint};
use expect_test::{Expect, expect};
use onetrace::ErrorKind;
use onetrace::hlo::{Module, TextOptions};
use onetrace::prelude::*;

fn golden(file: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hlo").join(file)
}

#[track_caller]
fn text_error(text: &str, expected: Expect) {
    expect_error(Module::from_text(text), ErrorKind::Hlo, expected);
}

#[track_caller]
fn bytes_error(bytes: &[u8], expected: Expect) {
    expect_error(Module::from_proto(bytes), ErrorKind::Hlo, expected);
}

/// `body` as the instructions of a module's entry computation.
fn entry(body: &str) -> String {
    format!("HloModule m\nENTRY e {{\n{body}\n}}")
}

#[test]
fn not_hlo() {
    text_error(
        "",
        expect![
            "from_text: there is nothing in it; HLO text, a HloModuleProto or a HloProto is wanted"
        ],
    );
    text_error(
        " \n\t",
        expect![
            "from_text: there is nothing in it but space; HLO text, a HloModuleProto or a HloProto is wanted"
        ],
    );
    text_error(
        "Call me Ishmael.",
        expect![
            "from_text: this is text, but not of HLO, which begins with `HloModule`; HLO text, a HloModuleProto or a HloProto is wanted"
        ],
    );
    text_error(
        "module @jit_f {\n  func.func public @main()\n}",
        expect![
            "from_text: this is MLIR; HLO text, a HloModuleProto or a HloProto is wanted: JAX writes HLO with `lower(..).as_text('hlo')`"
        ],
    );
    text_error(
        "// a comment\n%0 = stablehlo.add %arg0, %arg1",
        expect![
            "from_text: this is MLIR; HLO text, a HloModuleProto or a HloProto is wanted: JAX writes HLO with `lower(..).as_text('hlo')`"
        ],
    );
    text_error(
        "name: \"m\"",
        expect!["from_text: this is a protocol buffer, not HLO text: use `from_proto`"],
    );
    bytes_error(
        b"HloModule m",
        expect!["from_proto: this is HLO text, not a protocol buffer: use `from_text`"],
    );
    bytes_error(
        &[0x1f, 0x8b, 8, 0],
        expect![
            "from_proto: this is compressed with gzip; HLO text, a HloModuleProto or a HloProto is wanted: unpack it with gunzip"
        ],
    );
    bytes_error(
        b"ML\xefR\x0dStableHLO_v1.0",
        expect![
            "from_proto: this is MLIR bytecode; HLO text, a HloModuleProto or a HloProto is wanted: JAX writes HLO with `lower(..).as_text('hlo')`"
        ],
    );
    bytes_error(
        &[0xff; 100],
        expect![
            "from_proto: these bytes are no HLO module, or one that was cut off: failed to decode Protobuf message: invalid varint"
        ],
    );
    bytes_error(
        &[0; 100],
        expect![
            "from_proto: these bytes are no HLO module, or one that was cut off: failed to decode Protobuf message: invalid tag value: 0"
        ],
    );
    bytes_error(
        b"\x7fELF\x02\x01\x01\0\0\0\0\0",
        expect![
            "from_proto: these bytes are no HLO module, or one that was cut off: failed to decode Protobuf message: invalid wire type value: 7"
        ],
    );
    bytes_error(
        b"\x93NUMPY\x01\0v\0{'descr': '<f4'",
        expect![
            "from_proto: these bytes are no HLO module, or one that was cut off: failed to decode Protobuf message: invalid tag value: 0"
        ],
    );
    bytes_error(
        b"computations {\n  nonsense: 1\n}",
        expect![[
            r#"from_proto: line 2: Message type "xla.HloComputationProto" has no field named "nonsense"."#
        ]],
    );
}

#[test]
fn text_that_is_wrong() {
    text_error(
        &entry("ROOT x = f32[2] no-such-operation()"),
        expect![[r#"
        from_text: Syntax error when trying to parse the text as a HloModule:
        was parsing 3:17: error: expects opcode but sees: no-such-operation, error: Unknown opcode: no-such-operation
        ROOT x = f32[2] no-such-operation()
                        ^"#]],
    );
    text_error(
        &entry("x = f32[2] parameter(0)\nROOT y = f32[2] add(x, z)"),
        expect![[r#"
        from_text: Syntax error when trying to parse the text as a HloModule:
        was parsing 4:24: error: cannot parse as an instruction name or as a nested instruction:
        ROOT y = f32[2] add(x, z)
                               ^
        was parsing 4:24: error: instruction does not exist: z
        ROOT y = f32[2] add(x, z)
                               ^
        was parsing 4:24: error: expects opcode but sees: z, error: Unknown opcode: z
        ROOT y = f32[2] add(x, z)
                               ^
        was parsing 4:24: error: expects ')' at the end of operands
        ROOT y = f32[2] add(x, z)
                               ^"#]],
    );
    // The attributes that there are follow, in an order that differs from run to run.
    let text = entry("x = f32[2] parameter(0)\nROOT y = f32[2] negate(x), no_such_attribute=1");
    let error = Module::from_text(&text).err().unwrap();
    let wanted = "was parsing 4:28: error: unexpected attribute \"no_such_attribute\"";
    assert!(error.message().contains(wanted), "{error}");
    text_error(
        &entry("ROOT x = f32[2 parameter(0)"),
        expect!["from_text: line 4: `}` stands where `]` is missing, for the bracket in line 3"],
    );
    text_error(
        "HloModule m\nENTRY e {\n  ROOT x = f32[] parameter(0)",
        expect!["from_text: `}` is missing, for the bracket in line 2"],
    );
}

/// Texts on which XLA's parser ends the process.
#[test]
fn text_that_xla_does_not_survive() {
    text_error(
        &entry("ROOT x = f32[] parameter(1)"),
        expect![
            "from_text: line 4: the parameters of the computation that ends here are not numbered one by one from 0: 1 instead of 0"
        ],
    );
    text_error(
        &entry("x = f32[] parameter(0)\ny = f32[] parameter(0)\nROOT z = f32[] add(x, y)"),
        expect![
            "from_text: line 6: the parameters of the computation that ends here are not numbered one by one from 0: 0 instead of 1"
        ],
    );
    text_error(
        &entry("x = f32[2] parameter(0)\nROOT y = f32[2] tuple(x)"),
        expect!["from_text: line 4: a tuple is said to have the type f32[2]"],
    );
    text_error(
        &entry("x = f32[6] parameter(0)\nROOT y = f32[2,2] reshape(%x)"),
        expect![
            "from_text: line 4: a reshape keeps the number of elements, but x has 6 and the result 4"
        ],
    );
    text_error(
        &entry("ROOT x = token[3] after-all()"),
        expect!["from_text: line 3: a token is no array, and has no axes"],
    );
    text_error(
        &entry("ROOT x = f32[99999999999] constant({...})"),
        expect![
            "from_text: line 3: the constants up to here have 399999999996 bytes, and a module holds 2 GiB"
        ],
    );
    text_error(
        &entry(&format!("ROOT x = {} parameter(0)", "(".repeat(1_000_000))),
        expect!["from_text: line 3: brackets lie more than 200 deep"],
    );
    text_error(
        &entry(&format!("ROOT x = f32[1] constant({}1{})", "{".repeat(300), "}".repeat(300))),
        expect!["from_text: line 3: brackets lie more than 200 deep"],
    );
}

#[test]
fn files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.hlo");
    let read = |kind: ErrorKind, expected: Expect| {
        let error = Module::read(&path).err().unwrap();
        assert_eq!(error.kind(), kind, "{error}");
        let message = error.to_string().replace(&directory.path().display().to_string(), "DIR");
        expected.assert_eq(&message);
    };
    read(
        ErrorKind::Io,
        expect!["DIR/model.hlo cannot be read: No such file or directory (os error 2)"],
    );
    std::fs::create_dir(&path).unwrap();
    read(ErrorKind::Io, expect!["DIR/model.hlo cannot be read: it is a directory"]);
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    read(
        ErrorKind::Hlo,
        expect![
            "DIR/model.hlo: there is nothing in it; HLO text, a HloModuleProto or a HloProto is wanted"
        ],
    );
    // A file of 100 GiB that takes no room: it is refused before it is read.
    let sparse = std::fs::File::create(&path).unwrap();
    sparse.set_len(100 << 30).unwrap();
    read(
        ErrorKind::Io,
        expect!["DIR/model.hlo cannot be read: 107374182400 bytes; at most 1073741824 are read"],
    );
    drop(sparse);
    std::fs::write(&path, entry("ROOT x = f32[2] no-such-operation()")).unwrap();
    read(
        ErrorKind::Hlo,
        expect![[r#"
        DIR/model.hlo: Syntax error when trying to parse the text as a HloModule:
        was parsing 3:17: error: expects opcode but sees: no-such-operation, error: Unknown opcode: no-such-operation
        ROOT x = f32[2] no-such-operation()
                        ^"#]],
    );
}

// Numbers of fields, as in `hlo.proto` and `xla_data.proto`.
const COMPUTATION: u64 = 3;
const INSTRUCTION: u64 = 2;
const SHAPE: u64 = 3;

/// `sum = x + 1` for `x` of type `f32[2]`, in two computations, changed at one place.
#[track_caller]
fn changed(change: impl FnOnce(&mut Message), expected: Expect) {
    let text = "HloModule m
        plus { a = f32[2] parameter(0)
               one = f32[2] constant({1, 1})
               ROOT sum = f32[2] add(a, one) }
        ENTRY e { x = f32[2] parameter(0)
                  ROOT y = f32[2] call(x), to_apply=plus }";
    let mut module = Message::parse(Module::from_text(text).unwrap().proto());
    change(&mut module);
    bytes_error(&module.bytes(), expected);
}

/// Changes an instruction: of `plus` (0) or the entry (1), by its position.
#[track_caller]
fn changed_in(place: (usize, usize), change: impl FnOnce(&mut Message), expected: Expect) {
    changed(
        |module| {
            module.within(COMPUTATION, place.0, |computation| {
                computation.within(INSTRUCTION, place.1, change);
            });
        },
        expected,
    );
}

#[test]
fn protocol_buffers_that_are_wrong() {
    changed(
        |module| module.0.retain(|(n, _)| *n != COMPUTATION),
        expect!["from_proto: it has no computations"],
    );
    changed(
        |module| module.number(6, 77),
        expect!["from_proto: the entry computation, with id 77, is missing"],
    );
    changed(
        |module| module.0.retain(|(n, _)| *n != 4),
        expect!["from_proto: the types of arguments and results: they are missing"],
    );
    changed(
        |module| module.within(COMPUTATION, 0, |c| c.number(6, 77)),
        expect![[r#"from_proto: computation "plus": its root, with id 77, is missing"#]],
    );
    // The entry first, so that it calls what comes later.
    changed(
        |module| {
            let at: Vec<usize> =
                (0..module.0.len()).filter(|&i| module.0[i].0 == COMPUTATION).collect();
            module.0.swap(at[0], at[1]);
        },
        expect![[
            r#"from_proto: computation "e": instruction "y": it calls the computation with id 0, which does not stand before it; HLO has no recursion"#
        ]],
    );
    // Two computations with one id.
    changed(
        |module| {
            let entry = module.0.iter().rfind(|(n, _)| *n == COMPUTATION).unwrap().clone();
            module.0.push(entry);
        },
        expect!["from_proto: two computations have the id 1"],
    );
}

#[test]
fn instructions_that_are_wrong() {
    let (parameter, constant, sum, call) = ((0, 0), (0, 1), (0, 2), (1, 1));
    let ids = |ids: &[u8]| Field::Bytes(ids.to_vec());
    changed_in(
        sum,
        |i| i.set(36, ids(&[99, 98])),
        expect![[
            r#"from_proto: computation "plus": instruction "sum": it uses the instruction with id 99, which does not stand before it in the same computation"#
        ]],
    );
    changed_in(
        sum,
        |i| i.set(2, Field::Bytes(b"add-of-next-year".to_vec())),
        expect!["from_proto: Unknown opcode: add-of-next-year"],
    );
    changed_in(
        sum,
        |i| i.set(2, Field::Bytes(Vec::new())),
        expect![[
            r#"from_proto: computation "plus": instruction "sum": it has no opcode or no name"#
        ]],
    );
    changed_in(
        sum,
        |i| i.set(36, ids(&[])),
        expect![
            "from_proto: proto.operand_ids_size() == *arity add instruction should have 2 operands but sees 0"
        ],
    );
    changed_in(
        call,
        |i| i.set(38, ids(&[77])),
        expect![[
            r#"from_proto: computation "e": instruction "y": it calls the computation with id 77, which does not stand before it; HLO has no recursion"#
        ]],
    );
    changed_in(
        call,
        |i| i.set(38, ids(&[])),
        expect![[
            r#"from_proto: computation "e": instruction "y": a call has 0 computations to call instead of 1"#
        ]],
    );
    changed_in(
        parameter,
        |i| i.number(9, 5),
        expect![[
            r#"from_proto: computation "plus": its parameters are not numbered one by one from 0: 5 instead of 0"#
        ]],
    );
    changed_in(
        parameter,
        |i| i.number(9, -1),
        expect![[
            r#"from_proto: computation "plus": its parameters are not numbered one by one from 0: -1 instead of 0"#
        ]],
    );
    changed_in(
        constant,
        |i| i.0.retain(|(n, _)| *n != 8),
        expect![[
            r#"from_proto: computation "plus": instruction "one": it is a constant without a value"#
        ]],
    );
    changed_in(
        constant,
        |i| i.within(8, 0, |l| l.set(8, Field::Bytes(vec![0; 4]))),
        expect![[
            r#"from_proto: computation "plus": instruction "one": its constant: 1 elements instead of the 2 of f32[2]"#
        ]],
    );
    changed_in(
        constant,
        |i| i.within(8, 0, |l| l.within(1, 0, |s| s.number(2, 12))),
        expect![[
            r#"from_proto: computation "plus": instruction "one": its constant has type f64[2], but it has type f32[2]"#
        ]],
    );
}

#[test]
fn types_that_are_wrong() {
    let shape = |change: fn(&mut Message), expected: Expect| {
        changed_in((0, 2), |i| i.within(SHAPE, 0, change), expected);
    };
    let sizes = |sizes: &[i64]| {
        let mut bytes = Vec::new();
        sizes.iter().for_each(|&size| push_varint(&mut bytes, size as u64));
        Field::Bytes(bytes)
    };
    shape(
        |s| s.number(2, 99),
        expect![[
            r#"from_proto: computation "plus": instruction "sum": 99 is not an element type of HLO"#
        ]],
    );
    shape(
        |s| s.number(2, 13),
        expect![[
            r#"from_proto: computation "plus": instruction "sum": () has the axes of an array, but is none"#
        ]],
    );
    changed_in(
        (0, 2),
        |i| i.within(SHAPE, 0, |s| s.set(3, sizes(&[-2]))),
        expect![[
            r#"from_proto: computation "plus": instruction "sum": an axis of f32[-2] has a negative size"#
        ]],
    );
    changed_in(
        (0, 2),
        |i| i.within(SHAPE, 0, |s| s.set(3, sizes(&[i64::MAX]))),
        expect![[
            r#"from_proto: computation "plus": instruction "sum": f32[9223372036854775807] is larger than any memory"#
        ]],
    );
    changed_in(
        (0, 2),
        |i| i.within(SHAPE, 0, |s| s.set(3, sizes(&[2, 2]))),
        expect![[
            r#"from_proto: computation "plus": instruction "sum": f32[2,2] does not say of each axis whether it is dynamic"#
        ]],
    );
    changed_in(
        (0, 2),
        |i| i.0.retain(|(n, _)| *n != SHAPE),
        expect![[r#"from_proto: computation "plus": instruction "sum": it has no type"#]],
    );
}

/// Every beginning of a module is refused or is a module itself; none ends the process.
#[test]
fn modules_that_were_cut_off() {
    let bytes = std::fs::read(golden("dtypes.pb")).unwrap();
    let read = (0..bytes.len()).filter(|&end| Module::from_proto(&bytes[..end]).is_ok()).count();
    // What is cut at the end of a field behind the last computation can do without what it misses.
    assert!(read < 10, "{read}");
    let text = std::fs::read_to_string(golden("dtypes.txt")).unwrap();
    let end = text.trim_end().len();
    for end in (0..end).step_by(7) {
        assert!(Module::from_text(&text[..end]).is_err(), "{}", &text[..end]);
    }
}

#[test]
fn calls_that_are_too_deep() {
    let chain = |depth: usize| {
        let mut text = "HloModule m\nlevel0 { ROOT x = f32[] parameter(0) }\n".to_owned();
        for i in 1..=depth {
            let (callee, kind) = (i - 1, if i == depth { "ENTRY " } else { "" });
            text += &format!(
                "{kind}level{i} {{ x = f32[] parameter(0)\n ROOT y = f32[] call(x), to_apply=level{callee} }}\n"
            );
        }
        text
    };
    let deep = Module::from_text(&chain(150)).unwrap();
    assert_eq!(deep.stats().computations, 151);
    let program = deep.compile(&Device::cpu().unwrap()).unwrap();
    let x = Tensor::new(&[3.0f32], []);
    assert_eq!(program.call(&[x]).unwrap()[0].to_vec::<f32>().unwrap(), [3.0]);
    text_error(
        &chain(300),
        expect![[
            r#"from_text: computation "level201": computations call each other 201 deep; at most 200"#
        ]],
    );
}

/// A call graph whose paths cannot be walked one by one is counted all the same.
#[test]
fn figures_of_many_paths() {
    let mut text = "HloModule m
        level0 { a = f32[2,2] parameter(0)
             ROOT b = f32[2,2] dot(a, a), lhs_contracting_dims={1}, rhs_contracting_dims={0} }\n"
        .to_owned();
    for i in 1..=100 {
        let kind = if i == 100 { "ENTRY " } else { "" };
        let callee = i - 1;
        text += &format!(
            "{kind}level{i} {{ a = f32[2,2] parameter(0)
               b = f32[2,2] call(a), to_apply=level{callee}
               ROOT c = f32[2,2] call(b), to_apply=level{callee} }}\n"
        );
    }
    let stats = Module::from_text(&text).unwrap().stats();
    assert_eq!((stats.dots, stats.flops), (1, u64::MAX));
}

/// Types that do not fit are found before XLA compiles or translates.
#[test]
fn types_that_do_not_fit() {
    let module = Module::from_text(&entry(
        "x = f32[2] parameter(0)\ny = f32[3] parameter(1)\nROOT z = f32[2] add(x, y)",
    ))
    .unwrap();
    assert!(module.text(TextOptions::default()).is_ok());
    let cpu = Device::cpu().unwrap();
    expect_error(
        module.compile(&cpu),
        ErrorKind::Hlo,
        expect![
            "compile: Binary op with incompatible shapes: f32[2] and f32[3], for instruction %z = f32[2]{0} add(%x, %y)"
        ],
    );
    expect_error(
        module.stablehlo(),
        ErrorKind::Hlo,
        expect![
            "stablehlo: Binary op with incompatible shapes: f32[2] and f32[3], for instruction %z = f32[2]{0} add(%x, %y)"
        ],
    );
}
