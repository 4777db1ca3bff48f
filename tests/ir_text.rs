//! The IR as text: the printer, the parser and the checker.

use std::collections::BTreeMap;

use expect_test::expect;
use half::{bf16, f16};
use onetrace::ir::print::Options;
use onetrace::ir::{Func, check, parse, print};
use onetrace::prelude::*;
use onetrace::{ErrorKind, named_scope};
use proptest::prelude::*;

/// The text with all constants.
fn full(func: &Func) -> String {
    print::print(func, Options { full_constants: true, locations: false })
}

/// Checks that the text of a function reads back as the same function, and gives the text.
#[track_caller]
fn round_trip(func: &Func) -> String {
    let text = full(func);
    let parsed = match parse::parse(&text) {
        Ok(parsed) => parsed,
        Err(error) => panic!("{error}\n{text}"),
    };
    assert_eq!(&parsed, func, "{text}");
    assert_eq!(full(&parsed), text);
    check::check(&parsed).unwrap();
    let located = print::print(func, Options { full_constants: true, locations: true });
    assert_eq!(&parse::parse(&located).unwrap(), func, "{located}");
    text
}

fn trace<A: Tree, R: Tree>(arguments: A, f: impl Fn(A) -> R) -> Func {
    jit(f).trace(arguments).unwrap().func().clone()
}

fn zeros<const N: usize>(shape: [usize; N]) -> Tensor {
    Tensor::zeros(shape, DType::F32)
}

// Text out.

#[test]
fn a_scan_prints_with_its_body() {
    let w = Tensor::new(&[0.5f32, -1.0], [2]).named("w");
    let func = trace((zeros([3, 2]), zeros([2])), |(xs, outer)| {
        let step = |c: Tensor, x: Tensor| (c * &w + x, outer.tanh());
        Scan::new().reverse(true).unroll(2).run(step, zeros([2]), xs)
    });
    let expected = expect![[r#"
        func @main(%0 "arg.0": f32[3,2], %1 "arg.1": f32[2]) -> (f32[2], f32[3,2]) {
          %2: f32[] = constant {value=f32[](0.0), name=""}
          %3: f32[2] = broadcast {shape=[2], axes=[]} %2
          %4: f32[2], %5: f32[3,2] = scan {length=3, reverse=true, unroll=2, constants=1, carry=1, body=func @scan_body(%0: f32[2], %1 "carry": f32[2], %2 "x": f32[2]) -> (f32[2], f32[2]) {
            %3: f32[2] = constant {value=f32[2](0.5, -1.0), name="w"}
            %4: f32[2] = mul %1 %3
            %5: f32[2] = add %4 %2
            %6: f32[2] = tanh %0
            return %5, %6
          }} %1 %3 %0
          return %4, %5
        }
    "#]];
    expected.assert_eq(&round_trip(&func));
}

#[test]
fn a_while_loop_prints_with_its_condition_and_body() {
    let func = trace((zeros([]), zeros([])), |(limit, x)| {
        while_loop(|x: Tensor| x.lt(&limit), |x| x + 1.0, x)
    });
    expect![[r#"
        func @main(%0 "arg.0": f32[], %1 "arg.1": f32[]) -> (f32[]) {
          %2: f32[] = while {max_steps=none, condition_captures=1, body_captures=0, condition=func @while_condition(%0: f32[], %1 "carry": f32[]) -> (bool[]) {
            %2: bool[] = lt %1 %0
            return %2
          }, body=func @while_body(%0 "carry": f32[]) -> (f32[]) {
            %1: f32[] = constant {value=f32[](1.0), name=""}
            %2: f32[] = add %0 %1
            return %2
          }} %0 %1
          return %2
        }
    "#]]
    .assert_eq(&round_trip(&func));
}

#[test]
fn branches_print_with_what_each_captures() {
    let func = trace((zeros([]), zeros([2])), |(p, x)| {
        let yes = |y: Tensor| y * &x;
        cond(p.gt(0.0), yes, |y| y + &p, zeros([2]))
    });
    expect![[r#"
        func @main(%0 "arg.0": f32[], %1 "arg.1": f32[2]) -> (f32[2]) {
          %2: f32[] = constant {value=f32[](0.0), name=""}
          %3: bool[] = gt %0 %2
          %4: f32[] = constant {value=f32[](0.0), name=""}
          %5: f32[2] = broadcast {shape=[2], axes=[]} %4
          %6: i32[] = convert {dtype=i32} %3
          %7: f32[2] = switch {captures=[1, 1], branches=[func @on_false(%0: f32[], %1 "operand": f32[2]) -> (f32[2]) {
            %2: f32[2] = broadcast {shape=[2], axes=[]} %0
            %3: f32[2] = add %1 %2
            return %3
          }, func @on_true(%0: f32[2], %1 "operand": f32[2]) -> (f32[2]) {
            %2: f32[2] = mul %1 %0
            return %2
          }]} %6 %0 %1 %5
          return %7
        }
    "#]]
    .assert_eq(&round_trip(&func));
}

#[test]
fn a_call_prints_with_its_function() {
    let inner = jit(|x: Tensor| (x.tanh(), ())).name("inner");
    let func = trace(zeros([2]), |x| inner.call(x).unwrap());
    expect![[r#"
        func @main(%0 "arg": f32[2]) -> (f32[2]) {
          %1: f32[2] = call {function=func @inner(%0 "arg": f32[2]) -> (f32[2]) {
            %1: f32[2] = tanh %0
            return %1
          }} %0
          return %1
        }
    "#]]
    .assert_eq(&round_trip(&func));
}

#[test]
fn functions_without_parameters_or_results() {
    expect![[r#"
        func @main() -> () {
          return
        }
    "#]]
    .assert_eq(&round_trip(&trace((), |()| ())));
    expect![[r#"
        func @main(%0 "arg.0": f32[0,3], %1 "arg.1": f32[]) -> () {
          return
        }
    "#]]
    .assert_eq(&round_trip(&trace((zeros([0, 3]), zeros([])), |_| ())));
}

#[test]
fn large_constants_are_left_out_and_said_to_be() {
    let constant = Tensor::ones([17], DType::I32).named("k");
    let func = trace((), |()| &constant + 1);
    let text = func.to_string();
    expect![[r#"
        func @main() -> (i32[17]) {
          %0: i32[] = constant {value=i32[](1), name=""}
          %1: i32[17] = broadcast {shape=[17], axes=[]} %0
          %2: i32[17] = constant {value=i32[17](...), name="k"}
          %3: i32[17] = add %2 %1
          return %3
        }
    "#]]
    .assert_eq(&text);
    let error = parse::parse(&text).unwrap_err();
    expect![[r#"line 4, column 41: expected the elements of the constant (print with `full_constants`), found "...), name=\"k\"}""#]].assert_eq(&error.to_string());
    round_trip(&func);
}

#[test]
fn places_are_comments() {
    let func = trace(zeros([]), |x| named_scope("a\nb \u{1b}", || x.tanh()));
    let text = print::print(&func, Options { locations: true, ..Options::default() });
    let comment = text.lines().nth(1).unwrap();
    assert!(comment.contains("  // tests/ir_text.rs:"), "{text}");
    assert!(comment.ends_with(r" in a\nb \u{1b}"), "{text}");
    round_trip(&func);
}

// Text in and out.

#[test]
fn names_of_any_characters_round_trip() {
    let names = [
        "plain",
        "with space",
        "quote\"",
        "back\\slash",
        "new\nline",
        "tab\t",
        "cr\r",
        "nul\0",
        "single'",
        "ünïcödé",
        "日本語",
        "\u{7f}",
        "\u{1b}[0m",
        "\u{200b}",
        "// no comment",
        "\u{301}",
        "%1: f32[]",
        "}",
        "\u{10ffff}",
        "{\"x\": 1}",
        "\\u{41}",
        "",
    ];
    let map: BTreeMap<String, Tensor> =
        names.iter().map(|name| (name.to_string(), Tensor::scalar(1, DType::I32))).collect();
    let func = trace(map, |map| {
        let named = |(i, name): (usize, &&str)| Tensor::full([i], 1, DType::I32).named(name);
        (map, names.iter().enumerate().map(named).collect::<Vec<_>>())
    });
    round_trip(&func);
    let params: Vec<String> = func.params().map(|(_, name)| name.to_owned()).collect();
    assert!(params.contains(&"arg.new\nline".to_owned()), "{params:?}");
}

#[test]
fn elements_of_every_dtype_round_trip() {
    let f32s = [
        0x7fc0_0000,
        0xffc0_0000,
        0x7f80_0001,
        0x7fff_ffff,
        0xffff_ffff,
        0x7f80_0000,
        0xff80_0000,
        0x8000_0000,
        0,
        1,
        0x8000_0001,
        0x007f_ffff,
        0x0080_0000,
        0x7f7f_ffff,
        0x3dcc_cccd,
        0x4b80_0001,
    ];
    let f64s = [
        0x7ff8_0000_0000_0000,
        0xfff8_0000_0000_0000,
        0x7ff0_0000_0000_0001,
        u64::MAX,
        0x7ff0_0000_0000_0000,
        0xfff0_0000_0000_0000,
        1 << 63,
        0,
        1,
        0x7fef_ffff_ffff_ffff,
        0x3fb9_9999_9999_999a,
    ];
    let every_u16: Vec<u16> = (0..=u16::MAX).collect();
    let constants = vec![
        Tensor::new(&f32s.map(f32::from_bits), [f32s.len()]),
        Tensor::new(&f64s.map(f64::from_bits), [f64s.len()]),
        Tensor::new(&every_u16.iter().map(|&b| f16::from_bits(b)).collect::<Vec<_>>(), [1 << 16]),
        Tensor::new(&every_u16.iter().map(|&b| bf16::from_bits(b)).collect::<Vec<_>>(), [1 << 16]),
        Tensor::new(&[i64::MIN, -1, 0, i64::MAX], [2, 2]),
        Tensor::new(&[i32::MIN, -1, 0, i32::MAX], [2, 1, 2]),
        Tensor::new(&[0u32, u32::MAX], [2]),
        Tensor::new(&[0u8, 255], [2]),
        Tensor::new(&[true, false], [2]),
        Tensor::new::<f32>(&[], [0, 4]),
        Tensor::scalar(f64::NEG_INFINITY, DType::BF16),
    ];
    let text = round_trip(&trace((), |()| constants.clone()));
    for element in ["NaN,", "NaN_ffc00000", "-inf", "-0.0", "NaN_7ff0000000000001", "1e-45"] {
        assert!(text.contains(element), "{element} is missing");
    }
}

#[test]
fn operations_with_regions_round_trip_when_they_nest() {
    let func = trace((zeros([2, 3, 4]), zeros([4])), |(xs, outer)| {
        let row = |c: Tensor, x: Tensor| {
            let inner = |c: Tensor, x: Tensor| {
                let grow = |c: Tensor| while_loop(|c: Tensor| c.sum(..).lt(9.0), |c| c + 1.0, c);
                let next = cond(c.max(..).gt(0.0), grow, |c| c * &outer, c + x);
                (next.clone(), (next, vec![outer.clone()]))
            };
            Scan::new().unroll(2).run(inner, c, x)
        };
        let (c, ys) = scan(row, zeros([4]), xs);
        (switch(2, &[&|c: Tensor| c, &|c| c.tanh(), &|c| c * 2.0], c), ys)
    });
    let text = round_trip(&func);
    for name in ["= scan {", "= while {", "= switch {"] {
        assert!(text.contains(name), "{text}");
    }
    assert!(func.equation_count() > func.equations().len());
}

#[test]
fn spaces_comments_and_numbers_do_not_matter() {
    let plain =
        "func @f(%0: f32[2], %1: f32[2]) -> (f32[2]) {\n  %2: f32[2] = mul %0 %1\n  return %2\n}\n";
    let other = "// A comment.\n func@ f ( %7:f32[ 2 ] ,%3 \"\" : f32[2])->(f32[2]){ // more
        %900 : f32[2]=mul   %7 %3 // and more\n\n return%900}  // the end";
    let (plain_func, other_func) = (parse::parse(plain).unwrap(), parse::parse(other).unwrap());
    assert_eq!(plain_func, other_func);
    assert_eq!(other_func.to_string(), plain);
}

#[test]
fn a_text_runs_through_the_parser_to_the_same_text() {
    let texts = [
        "func @main(%0 \"x\": f32[4]) -> (f32[4]) {\n  %1: f32[4] = tanh %0\n  return %1\n}\n",
        "func @main(%0: bool[]) -> (bool[], bool[]) {\n  return %0, %0\n}\n",
        "func @main() -> (f64[2]) {\n  %0: f64[2] = constant {value=f64[2](-0.0, NaN), name=\"\"}\n  return %0\n}\n",
    ];
    for text in texts {
        assert_eq!(parse::parse(text).unwrap().to_string(), text);
    }
}

// Text that is not the IR.

#[test]
fn malformed_texts_are_refused_with_the_place() {
    let body = |equations: &str| format!("func @f(%0: f32[2]) -> (f32[2]) {{\n{equations}\n}}");
    let texts = [
        String::new(),
        "fun @f".into(),
        "func @f(%0: f32[2]".into(),
        "func @f(%x: f32[2]) -> () { return }".into(),
        "func @f(%0: f33[2]) -> () { return }".into(),
        "func @f(%0: f32[-2]) -> () { return }".into(),
        "func @f(%0: f32[99999999999999999999]) -> () { return }".into(),
        "func @f(%0: f64[4611686018427387904]) -> () { return }".into(),
        "func @f(%0 \"x: f32[2]) -> () { return }".into(),
        "func @f(%0 \"\\q\": f32[2]) -> () { return }".into(),
        "func @f(%0 \"\\u{d800}\": f32[2]) -> () { return }".into(),
        "func @f(%0: f32[2], %0: f32[2]) -> () { return }".into(),
        "func @f(%0: f32[2]) -> (f32[3]) { return %0 }".into(),
        "func @f(%0: f32[2]) -> (f32[2]) { return %0 } func".into(),
        body("  return"),
        body("  return %1"),
        body("  %1: f32[2] = tanh %1\n  return %1"),
        body("  %1: f32[2] = sing %0\n  return %1"),
        body("  %1: f32[2] = tanh %0 %0\n  return %1"),
        body("  %1: f32[2] = tanh\n  return %1"),
        body("  %1: f32[3] = tanh %0\n  return %0"),
        body("  %1: f32[2], %2: f32[2] = tanh %0\n  return %1"),
        body("  %0: f32[2] = tanh %0\n  return %0"),
        body("  %1: f32[2] = tanh {axis=1} %0\n  return %1"),
        body("  %1: i32[] = constant {value=i32[](1.5), name=\"\"}\n  return %0"),
        body("  %1: i32[2] = constant {value=i32[2](1), name=\"\"}\n  return %0"),
        body("  %1: u8[] = constant {value=u8[](256), name=\"\"}\n  return %0"),
        body("  %1: f32[] = constant {value=f32[](NaN_3f800000), name=\"\"}\n  return %0"),
        body("  %1: f32[] = constant {name=\"\", value=f32[](1)}\n  return %0"),
        body("  %1: f32[1,2] = reshape {shape=[1, 3]} %0\n  return %0"),
    ];
    let mut found = String::new();
    for text in &texts {
        let error = parse::parse(text).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Ir, "{text}: {error}");
        found += &format!("{}\n    {error}\n", text.replace('\n', "⏎"));
    }
    expect![[r#"

            line 1, column 1: expected `func`, found the end of the line
        fun @f
            line 1, column 1: expected `func`, found "fun @f"
        func @f(%0: f32[2]
            line 1, column 19: expected `,`, found the end of the line
        func @f(%x: f32[2]) -> () { return }
            line 1, column 10: expected a value number, found "x: f32[2]) -> () { r"
        func @f(%0: f33[2]) -> () { return }
            line 1, column 13: expected a dtype, found "f33[2]) -> () { retu"
        func @f(%0: f32[-2]) -> () { return }
            line 1, column 17: expected a value of type usize, found "-2]) -> () { return "
        func @f(%0: f32[99999999999999999999]) -> () { return }
            line 1, column 17: expected a value of type usize, found "99999999999999999999"
        func @f(%0: f64[4611686018427387904]) -> () { return }
            line 1, column 13: expected a type of fewer than 2^63 bytes, found "f64[4611686018427387"
        func @f(%0 "x: f32[2]) -> () { return }
            line 1, column 13: expected the closing quote of a string, found "x: f32[2]) -> () { r"
        func @f(%0 "\q": f32[2]) -> () { return }
            line 1, column 13: expected a string with the escapes of Rust, found "\\q\": f32[2]) -> () {"
        func @f(%0 "\u{d800}": f32[2]) -> () { return }
            line 1, column 13: expected a string with the escapes of Rust, found "\\u{d800}\": f32[2]) -"
        func @f(%0: f32[2], %0: f32[2]) -> () { return }
            line 1, column 21: expected a value that is not defined before, found "%0: f32[2]) -> () { "
        func @f(%0: f32[2]) -> (f32[3]) { return %0 }
            line 1, column 42: expected results of type (f32[3]), found "%0 }"
        func @f(%0: f32[2]) -> (f32[2]) { return %0 } func
            line 1, column 47: expected the end of the text, found "func"
        func @f(%0: f32[2]) -> (f32[2]) {⏎  return⏎}
            line 3, column 1: expected results of type (f32[2]), found "}"
        func @f(%0: f32[2]) -> (f32[2]) {⏎  return %1⏎}
            line 2, column 10: expected a value that is defined before, found "%1"
        func @f(%0: f32[2]) -> (f32[2]) {⏎  %1: f32[2] = tanh %1⏎  return %1⏎}
            line 2, column 21: expected a value that is defined before, found "%1"
        func @f(%0: f32[2]) -> (f32[2]) {⏎  %1: f32[2] = sing %0⏎  return %1⏎}
            line 2, column 16: expected the name of an operation, found "sing %0"
        func @f(%0: f32[2]) -> (f32[2]) {⏎  %1: f32[2] = tanh %0 %0⏎  return %1⏎}
            line 2, column 16: tanh: the number of inputs must be 1, but it is 2
        func @f(%0: f32[2]) -> (f32[2]) {⏎  %1: f32[2] = tanh⏎  return %1⏎}
            line 2, column 16: tanh: the number of inputs must be 1, but it is 0
        func @f(%0: f32[2]) -> (f32[2]) {⏎  %1: f32[3] = tanh %0⏎  return %0⏎}
            line 2, column 3: expected outputs of type (f32[2]), found "%1: f32[3] = tanh %0"
        func @f(%0: f32[2]) -> (f32[2]) {⏎  %1: f32[2], %2: f32[2] = tanh %0⏎  return %1⏎}
            line 2, column 3: expected outputs of type (f32[2]), found "%1: f32[2], %2: f32["
        func @f(%0: f32[2]) -> (f32[2]) {⏎  %0: f32[2] = tanh %0⏎  return %0⏎}
            line 2, column 3: expected a value that is not defined before, found "%0: f32[2] = tanh %0"
        func @f(%0: f32[2]) -> (f32[2]) {⏎  %1: f32[2] = tanh {axis=1} %0⏎  return %1⏎}
            line 2, column 16: tanh: the number of inputs must be 1, but it is 0
        func @f(%0: f32[2]) -> (f32[2]) {⏎  %1: i32[] = constant {value=i32[](1.5), name=""}⏎  return %0⏎}
            line 2, column 37: expected an element of dtype i32, found "1.5), name=\"\"}"
        func @f(%0: f32[2]) -> (f32[2]) {⏎  %1: i32[2] = constant {value=i32[2](1), name=""}⏎  return %0⏎}
            line 2, column 39: expected the 2 elements of i32[2], found "1), name=\"\"}"
        func @f(%0: f32[2]) -> (f32[2]) {⏎  %1: u8[] = constant {value=u8[](256), name=""}⏎  return %0⏎}
            line 2, column 35: expected an element of dtype u8, found "256), name=\"\"}"
        func @f(%0: f32[2]) -> (f32[2]) {⏎  %1: f32[] = constant {value=f32[](NaN_3f800000), name=""}⏎  return %0⏎}
            line 2, column 37: expected an element of dtype f32, found "NaN_3f800000), name="
        func @f(%0: f32[2]) -> (f32[2]) {⏎  %1: f32[] = constant {name="", value=f32[](1)}⏎  return %0⏎}
            line 2, column 25: expected `value`, found "name=\"\", value=f32[]"
        func @f(%0: f32[2]) -> (f32[2]) {⏎  %1: f32[1,2] = reshape {shape=[1, 3]} %0⏎  return %0⏎}
            line 2, column 18: reshape: f32[2] has 2 elements, but shape [1, 3] holds 3
    "#]]
    .assert_eq(&found);
}

#[test]
fn a_scan_whose_parts_do_not_fit_is_refused() {
    let scan = |attributes: &str, body: &str, inputs: &str| {
        format!(
            "func @f(%0: f32[], %1: f32[3]) -> () {{\n  %2: f32[], %3: f32[3] = scan {{{attributes}, \
             body={body}}} {inputs}\n  return\n}}"
        )
    };
    let attributes = "length=3, reverse=false, unroll=1, constants=0, carry=1";
    let body = "func @b(%0: f32[], %1: f32[]) -> (f32[], f32[]) { return %0, %1 }";
    parse::parse(&scan(attributes, body, "%0 %1")).unwrap();
    let mut found = String::new();
    let mut refuse = |attributes: &str, body: &str, inputs: &str| {
        let error = parse::parse(&scan(attributes, body, inputs)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ir);
        found += &format!("{error}\n");
    };
    refuse("length=4, reverse=false, unroll=1, constants=0, carry=1", body, "%0 %1");
    refuse("length=3, reverse=false, unroll=0, constants=0, carry=1", body, "%0 %1");
    refuse("length=3, reverse=false, unroll=1, constants=3, carry=1", body, "%0 %1");
    refuse("length=3, reverse=perhaps, unroll=1, constants=0, carry=1", body, "%0 %1");
    let most = usize::MAX;
    refuse(&format!("length={most}, reverse=false, unroll=1, constants=0, carry=1"), body, "%0 %1");
    refuse(&format!("length=3, reverse=false, unroll=1, constants={most}, carry=1"), body, "%0 %1");
    refuse(&format!("length=3, reverse=false, unroll=1, constants=1, carry={most}"), body, "%0 %1");
    refuse(attributes, body, "%0");
    refuse(attributes, body, "%1 %1");
    let changes = "func @b(%0: f32[], %1: f32[]) -> (i32[], f32[]) {\n    %2: i32[] = convert \
                   {dtype=i32} %0\n    return %2, %1\n  }";
    refuse(attributes, changes, "%0 %1");
    expect![[r#"
        line 2, column 27: scan: the inputs must have the types (f32[], f32[4]), but they have (f32[], f32[3])
        line 2, column 27: scan: unroll must be at least 1, but it is 0
        line 2, column 27: scan: the body has 2 parameters and 2 results, too few for 3 constants and a carry of 1
        line 2, column 51: expected a value of type bool, found "perhaps, unroll=1, c"
        line 2, column 27: scan: the length must be less than 2^63, but it is 18446744073709551615
        line 2, column 27: scan: the body has 2 parameters and 2 results, too few for 18446744073709551615 constants and a carry of 1
        line 2, column 27: scan: the body has 2 parameters and 2 results, too few for 1 constants and a carry of 18446744073709551615
        line 2, column 27: scan: the inputs must have the types (f32[], f32[3]), but they have (f32[])
        line 2, column 27: scan: the inputs must have the types (f32[], f32[3]), but they have (f32[3], f32[3])
        line 2, column 27: scan: the body changes the type of the carry
    "#]]
    .assert_eq(&found);
}

#[test]
fn functions_nested_too_deep_are_refused() {
    let nested = |depth: usize| {
        let mut text = String::from("func @f(%0: f32[]) -> (f32[]) { return %0 }");
        for _ in 1..depth {
            text = format!(
                "func @f(%0: f32[]) -> (f32[]) {{ %1: f32[] = call {{function={text}}} %0\nreturn %1 }}"
            );
        }
        text
    };
    round_trip(&parse::parse(&nested(64)).unwrap());
    let error = parse::parse(&nested(65)).unwrap_err();
    assert!(error.to_string().contains("functions nested at most 64 deep"), "{error}");
    // What is far deeper than any stack is refused in the same way.
    let open = "func @f(%0: f32[]) -> (f32[]) { %1: f32[] = call {function=".repeat(100_000);
    assert!(parse::parse(&open).is_err());
}

// The checker.

#[test]
fn what_is_well_formed_passes_the_checker() {
    let step = |c: Tensor, x: Tensor| (c + x, ());
    check::check(&trace(zeros([3, 2]), |xs| scan(step, zeros([2]), xs).0)).unwrap();
}

// Texts that nobody wrote.

/// The text of a function with most of what the grammar knows.
fn sample() -> String {
    let func = trace((zeros([2, 3]), Tensor::ones([], DType::I32)), |(xs, n)| {
        let w = Tensor::new(&[1.5f32, f32::NAN, -0.0], [3]).named("w \"quoted\" \u{301}");
        let step = |c: Tensor, x: Tensor| {
            let next = cond(c.sum(..).gt(0.0), |c: Tensor| c * &w, |c| c.tanh(), c + &x);
            (next, x.max(0))
        };
        let (c, ys) = Scan::new().reverse(true).unroll(2).run(step, zeros([3]), xs);
        let n = while_loop(|n: Tensor| n.lt(10), |n| n * 3 + 1, n);
        (c.dot(&w), ys.reshape([2, 1]), n.astype(DType::BF16), stack(&[c.clone(), c], -1))
    });
    full(&func)
}

/// The text of a function with an operation of each family.
fn sample_operations() -> String {
    let f = |shape: &[usize]| Tensor::zeros(shape, DType::F32);
    let i = Tensor::zeros([2], DType::I32);
    let func = trace((f(&[4, 5]), f(&[5, 3]), i), |(x, y, i)| {
        let start = i.index(0);
        let sums =
            (x.sum([1]), x.argmax(1), x.cumsum(0, true), x.pad(1.0, &[(1, -1, 0), (0, 2, 1)]));
        let parts = (x.slice(&[1, 0], &[4, 5], &[2, 1]), x.flip([1]), x.t(), x.top_k(2));
        let moving = x.dynamic_slice(&[&start, &start], &[2, 3]);
        let moved = x.dynamic_update_slice(&moving, &[&start, &start]);
        let rows = (x.take(&i, 0), x.scatter_add(&i, 1.0));
        let bits = (x.bitcast(DType::U32), onetrace::sort(&[&x, &moved], 1, 1));
        let made = (Tensor::arange(3, DType::U8), concatenate(&[x.clone(), moved], 0));
        let chosen = select(&x.gt(0.0), &x, 2.0).broadcast_to(&[2, 4, 5]);
        (x.dot(&y), sums, parts, (moving, rows), (bits, made), chosen.reshape([8, -1]))
    });
    full(&func)
}

#[test]
fn no_wrong_number_in_a_text_makes_the_parser_panic() {
    let numbers = [
        "",
        "0",
        "1",
        "2",
        "3",
        "7",
        "-1",
        "4294967296",
        "9223372036854775807",
        "18446744073709551615",
    ];
    for text in [sample(), sample_operations()] {
        round_trip(&parse::parse(&text).unwrap());
        let bytes = text.as_bytes();
        let starts = |&i: &usize| bytes[i].is_ascii_digit() && !bytes[i - 1].is_ascii_digit();
        let mut accepted = 0;
        for start in (1..bytes.len()).filter(starts) {
            let end = start + bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
            for number in numbers {
                let changed = [&text[..start], number, &text[end..]].concat();
                if let Ok(func) = parse::parse(&changed) {
                    accepted += 1;
                    check::check(&func).unwrap();
                }
            }
        }
        assert!(accepted > 50, "most numbers of a type are wrong, but not all: {accepted}");
    }
}

/// Whatever the text is, the parser does not panic; what it accepts, it prints and reads back.
fn parses_or_not(text: &str) {
    if let Ok(func) = parse::parse(text) {
        round_trip(&func);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_text_makes_the_parser_panic(text: String) {
        parses_or_not(&text);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
        parses_or_not(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_sequence_of_tokens_makes_the_parser_panic(
        tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..60),
    ) {
        parses_or_not(&tokens.concat());
        parses_or_not(&format!("func @f(%0: f32[2,3], %1: i32[]) -> () {{ {}", tokens.join(" ")));
    }

    #[test]
    fn no_damage_to_a_text_makes_the_parser_panic(
        operations: bool,
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let mut text = if operations { sample_operations() } else { sample() };
        for (place, kind, token, length) in damages {
            let places: Vec<usize> = text.char_indices().map(|(i, _)| i).collect();
            let Some(at) = (!places.is_empty()).then(|| place.index(places.len())) else { break };
            let start = places[at];
            let end = places.get(at + length).copied().unwrap_or(text.len());
            match kind {
                0 => text.replace_range(start..end, ""),
                1 => text.insert_str(start, token),
                2 => text.replace_range(start..end, token),
                3 => text.truncate(start),
                _ => {
                    let piece = text[start..end].to_owned();
                    text.insert_str(start, &piece);
                }
            }
        }
        parses_or_not(&text);
    }
}

fn damage() -> impl Strategy<Value = (prop::sample::Index, usize, &'static str, usize)> {
    (any::<prop::sample::Index>(), 0..5usize, prop::sample::select(TOKENS), 0..9usize)
}

const TOKENS: &[&str] = &[
    "func",
    "@",
    "f",
    "(",
    ")",
    "->",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "=",
    "%",
    "0",
    "1",
    "2",
    "3",
    "\"",
    "\"x\"",
    "//",
    "\n",
    " ",
    "return",
    "f32",
    "i32",
    "bool",
    "f32[2,3]",
    "f32[]",
    "i32[]",
    "%0",
    "%1",
    "%2: f32[2,3] =",
    "tanh %0",
    "add %0 %0",
    "reshape",
    "{shape=[",
    "transpose {permutation=[1, 0]} %0",
    "scan",
    "{length=",
    "while",
    "switch",
    "call {function=",
    "constant {value=",
    "name=\"\"}",
    "true",
    "NaN",
    "-",
    "...",
    "é",
    "18446744073709551615",
];
