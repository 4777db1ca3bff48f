//! What is not HLO, or not well formed: an error that says so, with XLA's process still alive.

mod common;

use common::messages::expect_error;
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
    text_error("", expect![[""]]);
    text_error(" \n\t", expect![[""]]);
    text_error("Call me Ishmael.", expect![[""]]);
    text_error("module @jit_f {\n  func.func public @main()\n}", expect![[""]]);
    text_error("// a comment\n%0 = stablehlo.add %arg0, %arg1", expect![[""]]);
    text_error("name: \"m\"", expect![[""]]);
    bytes_error(b"HloModule m", expect![[""]]);
    bytes_error(&[0x1f, 0x8b, 8, 0], expect![[""]]);
    bytes_error(b"ML\xefR\x0dStableHLO_v1.0", expect![[""]]);
    bytes_error(&[0xff; 100], expect![[""]]);
    bytes_error(&[0; 100], expect![[""]]);
    bytes_error(b"\x7fELF\x02\x01\x01\0\0\0\0\0", expect![[""]]);
    bytes_error(b"\x93NUMPY\x01\0v\0{'descr': '<f4'", expect![[""]]);
    bytes_error(b"computations {\n  nonsense: 1\n}", expect![[""]]);
}

#[test]
fn text_that_is_wrong() {
    text_error(&entry("ROOT x = f32[2] no-such-operation()"), expect![[""]]);
    text_error(&entry("x = f32[2] parameter(0)\nROOT y = f32[2] add(x, z)"), expect![[""]]);
    text_error(
        &entry("x = f32[2] parameter(0)\nROOT y = f32[2] negate(x), no_such_attribute=1"),
        expect![[""]],
    );
    text_error(&entry("ROOT x = f32[2 parameter(0)"), expect![[""]]);
    text_error("HloModule m\nENTRY e {\n  ROOT x = f32[] parameter(0)", expect![[""]]);
}

/// Texts on which XLA's parser ends the process.
#[test]
fn text_that_xla_does_not_survive() {
    text_error(&entry("ROOT x = f32[] parameter(1)"), expect![[""]]);
    text_error(
        &entry("x = f32[] parameter(0)\ny = f32[] parameter(0)\nROOT z = f32[] add(x, y)"),
        expect![[""]],
    );
    text_error(&entry("x = f32[2] parameter(0)\nROOT y = f32[2] tuple(x)"), expect![[""]]);
    text_error(&entry("x = f32[6] parameter(0)\nROOT y = f32[2,2] reshape(%x)"), expect![[""]]);
    text_error(&entry("ROOT x = token[3] after-all()"), expect![[""]]);
    text_error(&entry("ROOT x = f32[99999999999] constant({...})"), expect![[""]]);
    text_error(&entry(&format!("ROOT x = {} parameter(0)", "(".repeat(1_000_000))), expect![[""]]);
    text_error(
        &entry(&format!("ROOT x = f32[1] constant({}1{})", "{".repeat(300), "}".repeat(300))),
        expect![[""]],
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
    read(ErrorKind::Io, expect![[""]]);
    std::fs::create_dir(&path).unwrap();
    read(ErrorKind::Io, expect![[""]]);
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    read(ErrorKind::Hlo, expect![[""]]);
    // A file of 100 GiB that takes no room: it is refused before it is read.
    let sparse = std::fs::File::create(&path).unwrap();
    sparse.set_len(100 << 30).unwrap();
    read(ErrorKind::Io, expect![[""]]);
    drop(sparse);
    std::fs::write(&path, entry("ROOT x = f32[2] no-such-operation()")).unwrap();
    read(ErrorKind::Hlo, expect![[""]]);
}

/// A protocol buffer, taken apart and put together again by hand: a field is its number, its wire
/// type and what it holds.
#[derive(Clone)]
struct Message(Vec<(u64, Field)>);

#[derive(Clone)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
    Fixed(Vec<u8>),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            break;
        }
    }
    value
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
}

impl Message {
    fn parse(mut bytes: &[u8]) -> Message {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let field = match tag & 7 {
                0 => Field::Number(varint(&mut bytes)),
                2 => {
                    let length = varint(&mut bytes) as usize;
                    let (value, rest) = bytes.split_at(length);
                    bytes = rest;
                    Field::Bytes(value.to_vec())
                }
                wire => {
                    let (value, rest) = bytes.split_at(if wire == 1 { 8 } else { 4 });
                    bytes = rest;
                    Field::Fixed(value.to_vec())
                }
            };
            fields.push((tag >> 3, field));
        }
        Message(fields)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, field) in &self.0 {
            match field {
                Field::Number(value) => {
                    push_varint(&mut bytes, number << 3);
                    push_varint(&mut bytes, *value);
                }
                Field::Bytes(value) => {
                    push_varint(&mut bytes, number << 3 | 2);
                    push_varint(&mut bytes, value.len() as u64);
                    bytes.extend(value);
                }
                Field::Fixed(value) => {
                    push_varint(&mut bytes, number << 3 | if value.len() == 8 { 1 } else { 5 });
                    bytes.extend(value);
                }
            }
        }
        bytes
    }

    /// Replaces a field, or adds it.
    fn set(&mut self, number: u64, field: Field) {
        self.0.retain(|(n, _)| *n != number);
        self.0.push((number, field));
    }

    fn number(&mut self, number: u64, value: i64) {
        self.set(number, Field::Number(value as u64));
    }

    /// Changes the message that is the `index`-th field with this number.
    fn within(&mut self, number: u64, index: usize, change: impl FnOnce(&mut Message)) {
        let (_, field) = self.0.iter_mut().filter(|(n, _)| *n == number).nth(index).unwrap();
        let Field::Bytes(bytes) = field else { panic!("field {number} is no message") };
        let mut message = Message::parse(bytes);
        change(&mut message);
        *bytes = message.bytes();
    }
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
    changed(|module| module.0.retain(|(n, _)| *n != COMPUTATION), expect![[""]]);
    changed(|module| module.number(6, 77), expect![[""]]);
    changed(|module| module.0.retain(|(n, _)| *n != 4), expect![[""]]);
    changed(|module| module.within(COMPUTATION, 0, |c| c.number(6, 77)), expect![[""]]);
    // The entry first, so that it calls what comes later.
    changed(
        |module| {
            let at: Vec<usize> =
                (0..module.0.len()).filter(|&i| module.0[i].0 == COMPUTATION).collect();
            module.0.swap(at[0], at[1]);
        },
        expect![[""]],
    );
    // Two computations with one id.
    changed(
        |module| {
            let entry = module.0.iter().rfind(|(n, _)| *n == COMPUTATION).unwrap().clone();
            module.0.push(entry);
        },
        expect![[""]],
    );
}

#[test]
fn instructions_that_are_wrong() {
    let (parameter, constant, sum, call) = ((0, 0), (0, 1), (0, 2), (1, 1));
    let ids = |ids: &[u8]| Field::Bytes(ids.to_vec());
    changed_in(sum, |i| i.set(36, ids(&[99, 98])), expect![[""]]);
    changed_in(sum, |i| i.set(2, Field::Bytes(b"add-of-next-year".to_vec())), expect![[""]]);
    changed_in(sum, |i| i.set(2, Field::Bytes(Vec::new())), expect![[""]]);
    changed_in(sum, |i| i.set(36, ids(&[])), expect![[""]]);
    changed_in(call, |i| i.set(38, ids(&[77])), expect![[""]]);
    changed_in(call, |i| i.set(38, ids(&[])), expect![[""]]);
    changed_in(parameter, |i| i.number(9, 5), expect![[""]]);
    changed_in(parameter, |i| i.number(9, -1), expect![[""]]);
    changed_in(constant, |i| i.0.retain(|(n, _)| *n != 8), expect![[""]]);
    changed_in(constant, |i| i.within(8, 0, |l| l.set(8, Field::Bytes(vec![0; 4]))), expect![[""]]);
    changed_in(constant, |i| i.within(8, 0, |l| l.within(1, 0, |s| s.number(2, 12))), expect![[""]]);
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
    shape(|s| s.number(2, 99), expect![[""]]);
    shape(|s| s.number(2, 13), expect![[""]]);
    shape(|s| s.0.retain(|(n, _)| *n != 5 && *n != 6), expect![[""]]);
    changed_in((0, 2), |i| i.within(SHAPE, 0, |s| s.set(3, sizes(&[-2]))), expect![[""]]);
    changed_in((0, 2), |i| i.within(SHAPE, 0, |s| s.set(3, sizes(&[i64::MAX]))), expect![[""]]);
    changed_in((0, 2), |i| i.within(SHAPE, 0, |s| s.set(3, sizes(&[2, 2]))), expect![[""]]);
    changed_in((0, 2), |i| i.0.retain(|(n, _)| *n != SHAPE), expect![[""]]);
}

/// Every beginning of a module is refused or is a module itself; none ends the process.
#[test]
fn modules_that_were_cut_off() {
    let bytes = std::fs::read(golden("dtypes.pb")).unwrap();
    let read = (0..bytes.len()).filter(|&end| Module::from_proto(&bytes[..end]).is_ok()).count();
    // What is cut at the end of a field behind the last computation misses only what it can do without.
    assert!(read < 4, "{read}");
    let text = std::fs::read_to_string(golden("dtypes.txt")).unwrap();
    let end = text.trim_end().len();
    for end in (0..end).step_by(7) {
        assert!(Module::from_text(&text[..end]).is_err(), "{}", &text[..end]);
    }
}

#[test]
fn calls_that_are_too_deep() {
    let chain = |depth: usize| {
        let mut text = "HloModule m\nf0 { ROOT x = f32[] parameter(0) }\n".to_owned();
        for i in 1..=depth {
            let (callee, kind) = (i - 1, if i == depth { "ENTRY " } else { "" });
            text += &format!(
                "{kind}f{i} {{ x = f32[] parameter(0)\n ROOT y = f32[] call(x), to_apply=f{callee} }}\n"
            );
        }
        text
    };
    let deep = Module::from_text(&chain(150)).unwrap();
    assert_eq!(deep.stats().computations, 151);
    let program = deep.compile(&Device::cpu().unwrap()).unwrap();
    let x = Tensor::new(&[3.0f32], []);
    assert_eq!(program.call(&[x]).unwrap()[0].to_vec::<f32>().unwrap(), [3.0]);
    text_error(&chain(300), expect![[""]]);
}

/// A call graph whose paths cannot be walked one by one is counted all the same.
#[test]
fn figures_of_many_paths() {
    let mut text = "HloModule m
        f0 { a = f32[2,2] parameter(0)
             ROOT b = f32[2,2] dot(a, a), lhs_contracting_dims={1}, rhs_contracting_dims={0} }\n"
        .to_owned();
    for i in 1..=100 {
        let kind = if i == 100 { "ENTRY " } else { "" };
        let callee = i - 1;
        text += &format!(
            "{kind}f{i} {{ a = f32[2,2] parameter(0)
               b = f32[2,2] call(a), to_apply=f{callee}
               ROOT c = f32[2,2] call(b), to_apply=f{callee} }}\n"
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
    expect_error(module.compile(&cpu), ErrorKind::Hlo, expect![[""]]);
    expect_error(module.stablehlo(), ErrorKind::Hlo, expect![[""]]);
}
