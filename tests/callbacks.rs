//! What programs print while they run: `debug_print`, and the progress of a scan.

mod common;

use std::process::Command;

use common::messages::expect_error;
use expect_test::expect;
use onetrace::prelude::*;
use onetrace::{Checkpoint, ErrorKind, checkpoint, compilation_cache, debug_print, hlo};

/// Stands before every line that a program prints here, to tell it from what the test harness says.
const MARK: &str = "# ";

fn f32(x: f32) -> Tensor {
    Tensor::scalar(x, DType::F32)
}

/// 0, 1, 2 and so on.
fn count(n: usize) -> Tensor {
    Tensor::arange(n, DType::F32)
}

/// A step that prints what it gets and then what it makes of it.
fn step(c: Tensor, x: Tensor) -> (Tensor, Tensor) {
    debug_print("# {} {:.2}", &[&c, &x]);
    let next = &c * 2.0 + x;
    debug_print("# -> {}", &[&next]);
    (next.clone(), next)
}

type Program = fn() -> Result<()>;

/// What a child process runs, by name.
const PROGRAMS: &[(&str, Program)] = &[
    ("scan", || jit(|xs| scan(step, f32(0.0), xs).0).call(count(3)).map(drop)),
    ("eager scan", || scan(step, f32(0.0), count(3)).0.check()),
    ("nothing is used", || jit(|xs| _ = scan(step, f32(0.0), xs)).call(count(3))),
    ("gradient", || {
        let last = |xs: Tensor| scan(step, f32(0.0), xs).0.square();
        jit(move |xs| grad(last)(xs)).call(count(3)).map(drop)
    }),
    ("gradient with checkpoints", || {
        let run = Scan::new().checkpoint(Checkpoint::Every(2));
        let last = move |xs: Tensor| run.clone().run(step, f32(0.0), xs).0.square();
        jit(move |xs| grad(&last)(xs)).call(count(3)).map(drop)
    }),
    ("tangent of a while loop", || {
        let body = |x: Tensor| {
            debug_print("# {}", &[&x]);
            x * 3.0
        };
        let power = move |x: Tensor| while_loop(|x: Tensor| x.lt(10.0), body, x);
        jit(move |x: Tensor| onetrace::jvp(power, x.clone(), x)).call(f32(1.0)).map(drop)
    }),
    ("gradient of a bounded while loop", || {
        let body = |x: Tensor| {
            debug_print("# {}", &[&x]);
            x * 3.0
        };
        let power =
            move |x: Tensor| While::new().max_steps(100).run(|x: Tensor| x.lt(10.0), body, x);
        let slope = jit(move |x: Tensor| grad(power)(x)).call(f32(1.0))?;
        assert_eq!(slope.item::<f32>()?, 27.0);
        Ok(())
    }),
    ("checkpoint", || {
        let f = |x: Tensor| {
            debug_print("# once {}", &[&x]);
            x.sin().exp()
        };
        jit(move |x| grad(checkpoint(f))(x)).call(f32(0.0)).map(drop)
    }),
    ("members", || {
        let last = |xs: Tensor| scan(step, f32(0.0), xs).0;
        jit(move |xs| vmap(last)(xs)).call(count(4).reshape([2, 2])).map(drop)
    }),
    ("members of members", || {
        let tell = |(x, y): (Tensor, Tensor)| {
            debug_print("# {} {}", &[&x, &y]);
            x
        };
        let rows = move |(x, y): (Tensor, Tensor)| vmap(tell)((x, y));
        vmap(rows)((count(4).reshape([2, 2]), count(4).reshape([2, 2]) * 10.0)).check()
    }),
    ("branches", || {
        let branch = |x: Tensor| {
            debug_print("# taken {}", &[&x]);
            x
        };
        let other = |x: Tensor| {
            debug_print("# not taken", &[]);
            x
        };
        jit(move |x: Tensor| cond(x.lt(1.0), branch, other, x)).call(f32(0.5)).map(drop)
    }),
    ("while", || {
        let body = |x: Tensor| {
            debug_print("# {}", &[&x]);
            x * 3
        };
        jit(move |x: Tensor| while_loop(|x: Tensor| x.lt(10), body, x))
            .call(Tensor::scalar(1, DType::I32))
            .map(drop)
    }),
    ("types", || {
        let x = Tensor::new(&[1.5f32, f32::NAN, -2.25, 4.0], [2, 2]);
        let all = |x: Tensor| {
            debug_print("# {} {:.1}", &[&x, &x]);
            debug_print("# {{{}}} {:.3}", &[&x.gt(0.0), &Tensor::arange(2, DType::I32)]);
            debug_print("# {}", &[&Tensor::zeros([0, 2], DType::F32)]);
            debug_print("# {}", &[&x.astype(DType::BF16).index(0)]);
            debug_print("# {}", &[&Tensor::arange(1001, DType::U32)]);
            debug_print("# \"\\ü\t%s{}", &[&x.max(..)]);
        };
        all(x.clone());
        jit(all).call(x)
    }),
    ("no text", || {
        debug_print("# {} {}", &[&f32(0.0)]);
        Ok(())
    }),
    ("another process", || {
        let lowered = jit(|xs| scan(step, f32(0.0), xs).0).lower(count(2))?;
        let module = hlo::Module::from_text(&lowered.hlo()?)?;
        module.compile(&Device::cpu()?)?.call(&[count(2)]).map(drop)
    }),
    ("kept on disk", || {
        let directory = tempfile::tempdir().unwrap();
        compilation_cache::set_dir(directory.path())?;
        let before = compilation_cache::stats();
        // Two programs that know nothing of each other: the second one is loaded.
        for _ in 0..2 {
            jit(|xs| scan(step, f32(0.0), xs).0).call(count(3))?;
        }
        assert_eq!(compilation_cache::stats().loaded, before.loaded + 1);
        Ok(())
    }),
    ("progress", || {
        let sum = |sum: Tensor, x: Tensor| (sum + x, ());
        let run = Scan::new().progress("# adding");
        assert_eq!(run.run(sum, f32(0.0), count(100)).0.item::<f32>()?, 4950.0);
        Ok(())
    }),
    ("progress of few steps, backwards", || {
        let sum = |sum: Tensor, x: Tensor| (sum + x, ());
        let last = move |xs: Tensor| {
            Scan::new().reverse(true).progress("# adding").run(sum, f32(0.0), xs).0.square()
        };
        let slopes = jit(move |xs| grad(last)(xs)).call(count(3))?;
        assert_eq!(slopes.to_vec::<f32>()?, [6.0; 3]);
        Ok(())
    }),
    ("progress of a batch", || {
        let sum = |sum: Tensor, x: Tensor| (sum + x, ());
        let last = move |xs: Tensor| Scan::new().progress("# adding").run(sum, f32(0.0), xs).0;
        vmap(last)(count(6).reshape([2, 3])).check()
    }),
    ("progress of no step", || {
        let sum = |sum: Tensor, x: Tensor| (sum + x, ());
        Scan::new().progress("# adding").run(sum, f32(0.0), count(0)).0.check()
    }),
];

/// What the child process of the tests below runs.
#[test]
#[ignore = "a child process: `cargo test --test callbacks` runs it, from the tests that call `lines`"]
fn child() {
    let name = std::env::var("ONETRACE_TEST_PROGRAM").unwrap();
    let (_, program) = PROGRAMS.iter().find(|(known, _)| *known == name).unwrap();
    program().unwrap();
}

/// The lines that a process prints on standard output, or else on standard error, and runs a program.
fn lines(program: &str) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture"]);
    let output = command.env("ONETRACE_TEST_PROGRAM", program).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let marked = |bytes: &[u8]| -> Vec<String> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.lines().filter_map(|line| Some(line.split_once(MARK)?.1.to_owned())).collect()
    };
    let (out, err) = (marked(&output.stdout), marked(&output.stderr));
    assert!(out.is_empty() || err.is_empty(), "{out:?} {err:?}");
    if out.is_empty() { err } else { out }
}

const STEPS: [&str; 6] = ["0.0 0.00", "-> 0.0", "0.0 1.00", "-> 1.0", "1.0 2.00", "-> 4.0"];

#[test]
fn every_step_prints_once_and_in_order() {
    let all = ["scan", "eager scan", "nothing is used", "gradient", "gradient with checkpoints"];
    for program in all {
        assert_eq!(lines(program), STEPS, "{program}");
    }
    assert_eq!(lines("another process"), STEPS[..4]);
    assert_eq!(lines("kept on disk"), [STEPS, STEPS].concat());
    assert_eq!(lines("checkpoint"), ["once 0.0"]);
    assert_eq!(lines("while"), ["1", "3", "9"]);
    assert_eq!(lines("tangent of a while loop"), ["1.0", "3.0", "9.0"]);
    assert_eq!(lines("gradient of a bounded while loop"), ["1.0", "3.0", "9.0"]);
}

#[test]
fn only_the_branch_that_is_taken_prints() {
    assert_eq!(lines("branches"), ["taken 0.5"]);
}

#[test]
fn each_member_of_a_batch_has_a_line() {
    let all =
        ["0.0 0.00", "0.0 2.00", "-> 0.0", "-> 2.0", "0.0 1.00", "2.0 3.00", "-> 1.0", "-> 7.0"];
    assert_eq!(lines("members"), all);
    assert_eq!(lines("members of members"), ["0.0 0.0", "1.0 10.0", "2.0 20.0", "3.0 30.0"]);
}

#[test]
fn values_print_the_same_inside_and_outside_of_programs() {
    let all = [
        "[[1.5, NaN], [-2.25, 4.0]] [[1.5, NaN], [-2.2, 4.0]]",
        "{[[true, false], [false, true]]} [0, 1]",
        "[]",
        "[1.5, NaN]",
        "[0, 1, 2, ..., 998, 999, 1000]",
        "\"\\ü\t%sNaN",
    ];
    assert_eq!(lines("types"), [all, all].concat());
}

#[test]
fn progress_is_told_from_the_first_step_to_the_last() {
    let tenths = (0..=10).map(|i| format!("adding: {}% ({}/100)", 10 * i, 10 * i));
    assert_eq!(lines("progress"), tenths.collect::<Vec<_>>());
    let few = ["adding: 0% (0/3)", "adding: 33% (1/3)", "adding: 66% (2/3)", "adding: 100% (3/3)"];
    assert_eq!(lines("progress of few steps, backwards"), few);
    assert_eq!(lines("progress of a batch"), few);
    assert_eq!(lines("progress of no step"), ["adding: 0% (0/0)"]);
}

#[test]
fn a_format_that_does_not_fit() {
    let run = |format: &'static str| {
        let f = move |x: Tensor| {
            debug_print(format, &[&x]);
            x
        };
        jit(f).call(f32(0.0))
    };
    expect_error(
        run("h: {} {}"),
        ErrorKind::Argument,
        expect![[r#"
        debug_print: the number of values must be that of the places in the format "h: {} {}", 2, but it is 1
          at `debug_print(format, &[&x]);`"#]],
    );
    expect_error(
        run("h: {"),
        ErrorKind::Argument,
        expect![[r#"
        debug_print: the format "h: {" has a { alone: a place for a value is {} or {:.3} (digits behind the point), and a brace is {{ or }}
          at `debug_print(format, &[&x]);`"#]],
    );
    expect_error(
        run("h: {:.70000}"),
        ErrorKind::Argument,
        expect![[r#"
        debug_print: the format "h: {:.70000}" has the place {:.70000}: a place for a value is {} or {:.3} (digits behind the point), and a brace is {{ or }}
          at `debug_print(format, &[&x]);`"#]],
    );
    expect_error(
        run("h: {h}"),
        ErrorKind::Argument,
        expect![[r#"
        debug_print: the format "h: {h}" has the place {h}: a place for a value is {} or {:.3} (digits behind the point), and a brace is {{ or }}
          at `debug_print(format, &[&x]);`"#]],
    );
    assert!(lines("no text")[0].contains("{} {}"));
}

#[test]
fn calls_from_elsewhere_that_mean_nothing_are_errors() {
    let lowered = jit(|x: Tensor| debug_print("h: {}", &[&x])).lower(f32(1.0)).unwrap();
    let text = lowered.hlo().unwrap();
    for (known, other) in [
        ("debug_print", "debug_paint"),
        ("h: {}", "h: {} {}"),
        ("batch=[]", "batch=[7]"),
        ("call = ", "fall = "),
    ] {
        assert!(text.contains(known), "{text}");
        let module = hlo::Module::from_text(&text.replace(known, other)).unwrap();
        let program = module.compile(&Device::cpu().unwrap()).unwrap();
        let error = program.call(&[f32(1.0)]).unwrap_err();
        assert!(error.to_string().contains("callback"), "{other}: {error}");
    }
}

#[test]
fn a_printing_scan_is_one_loop_of_any_length() {
    // What nobody uses goes, and what prints stays.
    let f = |xs: Tensor| {
        scan(step, f32(0.0), xs.clone());
        xs
    };
    let lowered = jit(f).lower(count(2)).unwrap();
    assert_eq!(lowered.simplified().to_string().matches("debug_print").count(), 2);
    let size = |n: usize| {
        let run = jit(|xs| Scan::new().progress("adding").run(step, f32(0.0), xs).0);
        let lowered = run.lower(count(n)).unwrap();
        assert_eq!(onetrace::ir::parse::parse(&lowered.ir()).unwrap(), *lowered.func());
        let stats = lowered.stats().unwrap();
        (stats.instructions, stats.while_loops.len())
    };
    assert_eq!(size(8).1, 1);
    assert_eq!(size(8), size(2048));
}
