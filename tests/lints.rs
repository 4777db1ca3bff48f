//! Lints: what they find, how they are silenced, and how they are captured.

use std::process::Command;

use onetrace::lint::{self, Lint, Warning};
use onetrace::prelude::*;

fn sequence() -> Tensor {
    Tensor::zeros([5, 3], DType::F32)
}

/// A scan whose step builds its cell: the mistake that the lint is for.
fn cell_in_the_step() -> u32 {
    let line = line!() + 2;
    let step = |h: Tensor, x: Tensor| {
        let cell = nn::GruCell::new(&mut nn::Rngs::new(0), 3, 4);
        cell.step(h, x)
    };
    let (h, _) = scan(step, Tensor::zeros([4], DType::F32), sequence());
    h.check().unwrap();
    line
}

fn check(warnings: &[Warning], module: &str, line: u32) {
    let [warning] = warnings else { panic!("{} warnings: {warnings:?}", warnings.len()) };
    assert_eq!(warning.lint, Lint::ModuleInLoop);
    assert!(warning.message.starts_with(&format!("a {module} is built inside")), "{warning}");
    assert_eq!((warning.location.file(), warning.location.line()), (file!(), line));
    let text = warning.to_string();
    assert!(text.starts_with("warning[module-in-loop]: "), "{text}");
    assert!(text.contains(&format!("at {}:{line}:", file!())), "{text}");
    assert!(text.contains("lint::allow(Lint::ModuleInLoop, "), "{text}");
}

#[test]
fn a_module_that_is_built_in_the_step_of_a_scan() {
    let (line, warnings) = lint::capture(cell_in_the_step);
    check(&warnings, "GruCell", line);
}

#[test]
fn a_module_that_is_built_deeper_in_a_loop() {
    let line = line!() + 5;
    let ((), warnings) = lint::capture(|| {
        let run = jit(|xs: Tensor| {
            let step = |c: Tensor, x: Tensor| {
                let layer = |x: Tensor| {
                    let linear = nn::Linear::new(&mut nn::Rngs::new(0), 3, 3);
                    linear.call(&x)
                };
                (cond(true, layer, |x| x, x), c)
            };
            scan(step, Tensor::zeros([3], DType::F32), xs)
        });
        run.lower(sequence()).unwrap();
    });
    check(&warnings, "Linear", line);
}

#[test]
fn a_module_that_is_built_in_a_while_loop() {
    let (_, warnings) = lint::capture(|| {
        let body = |x: Tensor| nn::Linear::new(&mut nn::Rngs::new(0), 3, 3).call(&x);
        while_loop(|x: Tensor| x.sum(..).lt(0.0), body, Tensor::zeros([3], DType::F32))
    });
    check(&warnings, "Linear", line!() - 3);
}

#[test]
fn modules_that_are_built_outside_of_loops() {
    let (_, warnings) = lint::capture(|| {
        let cell = nn::GruCell::new(&mut nn::Rngs::new(0), 3, 4);
        let run = jit(|x: Tensor| {
            let head = nn::Linear::new(&mut nn::Rngs::new(1), 4, 2);
            let (h, _) = scan(|h, x| cell.step(h, x), Tensor::zeros([4], DType::F32), x);
            head.call(&h)
        });
        run.call(sequence()).unwrap()
    });
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn a_lint_that_is_allowed_is_silent() {
    let (line, warnings) = lint::capture(|| {
        lint::allow(Lint::ModuleInLoop, cell_in_the_step);
        // Only there.
        cell_in_the_step()
    });
    check(&warnings, "GruCell", line);
}

#[test]
fn what_is_captured_ends_with_a_panic() {
    let panicked = std::panic::catch_unwind(|| {
        lint::capture(|| lint::allow(Lint::ModuleInLoop, || panic!("on purpose")))
    });
    assert!(panicked.is_err());
    let (line, warnings) = lint::capture(cell_in_the_step);
    check(&warnings, "GruCell", line);
}

#[test]
fn captures_nest() {
    let ((line, inner), outer) = lint::capture(|| lint::capture(cell_in_the_step));
    check(&inner, "GruCell", line);
    assert!(outer.is_empty(), "{outer:?}");
}

/// What the child process of the test below runs.
#[test]
#[ignore = "a child process: `cargo test --test lints` runs it, from the test of warnings"]
fn child() {
    cell_in_the_step();
}

/// What a process that runs the step prints on standard error.
fn printed(allowed: Option<&str>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture"]).env_remove("ONETRACE_ALLOW");
    if let Some(allowed) = allowed {
        command.env("ONETRACE_ALLOW", allowed);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn warnings_go_to_standard_error_unless_a_variable_silences_them() {
    for allowed in [None, Some(""), Some("another-lint"), Some("module-in-loops")] {
        let text = printed(allowed);
        assert_eq!(text.matches("warning[module-in-loop]").count(), 1, "{allowed:?}: {text}");
        assert!(text.contains(&format!("at {}:", file!())), "{text}");
    }
    for allowed in ["module-in-loop", "another-lint, module-in-loop"] {
        assert!(!printed(Some(allowed)).contains("warning"), "{allowed}");
    }
}
