//! The messages of mistakes about traces and compiled functions: each states the rule, names the leaf and both types, and has
//! the place in the user's code.
//!
//! In the messages below, the code of a line stands in place of its number.

mod common;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use common::messages::{Carry, carry, expect_error, with_code, zeros};
use expect_test::expect;
use onetrace::ErrorKind::{self, Argument, Escaped, Shape};
use onetrace::associative_scan;
use onetrace::prelude::*;

// Tensors where they do not belong.

#[test]
fn a_tensor_that_leaks_out_of_a_step() {
    let leaked = RefCell::new(zeros([]));
    let step = |c: Tensor, x: Tensor| {
        *leaked.borrow_mut() = &c + &x;
        (c, ())
    };
    let (last, ()) = scan(step, zeros([2]), zeros([3, 2]));
    last.check().unwrap();
    let leaked = leaked.into_inner();
    expect_error(
        (&leaked * 2.0).check(),
        Escaped,
        expect![[r#"
            a traced tensor of type f32[2] was used outside of its trace: it stands for a value of every step or call, and has none of its own
              made at `*leaked.borrow_mut() = &c + &x;`
              return it from the traced function instead (from a scan: in the carry to keep the last one, as a `y` to keep all)
              at `(&leaked * 2.0).check(),`"#]],
    );

    // In another trace, as a result of it, and where the data is asked for.
    let run = jit(|x: Tensor| x + &leaked);
    expect_error(
        run.call(zeros([2])),
        Escaped,
        expect![[r#"
            a traced tensor of type f32[2] was used outside of its trace: it stands for a value of every step or call, and has none of its own
              made at `*leaked.borrow_mut() = &c + &x;`
              return it from the traced function instead (from a scan: in the carry to keep the last one, as a `y` to keep all)
              at `let run = jit(|x: Tensor| x + &leaked);`"#]],
    );
    let run = jit(|_: Tensor| leaked.clone());
    expect_error(
        run.call(zeros([2])),
        Escaped,
        expect![[r#"
            a traced tensor of type f32[2] was used outside of its trace: it stands for a value of every step or call, and has none of its own
              made at `*leaked.borrow_mut() = &c + &x;`
              return it from the traced function instead (from a scan: in the carry to keep the last one, as a `y` to keep all)
              at `run.call(zeros([2])),`"#]],
    );
    expect_error(
        leaked.to_vec::<f32>(),
        Escaped,
        expect![[r#"
            the data of a traced tensor of type f32[2] cannot be read: it has none until the traced function runs
              made at `*leaked.borrow_mut() = &c + &x;`
              at `leaked.to_vec::<f32>(),`"#]],
    );
    expect_error(
        jit(|x: Tensor| x).call(&leaked),
        Escaped,
        expect![[r#"
            a traced tensor of type f32[2] was used outside of its trace: it stands for a value of every step or call, and has none of its own
              made at `*leaked.borrow_mut() = &c + &x;`
              return it from the traced function instead (from a scan: in the carry to keep the last one, as a `y` to keep all)
              at `jit(|x: Tensor| x).call(&leaked),`"#]],
    );
    let (last, ()) = scan(|c: Tensor, _| (c, ()), leaked, zeros([3, 2]));
    expect_error(
        last.check(),
        Escaped,
        expect![[r#"
            a traced tensor of type f32[2] was used outside of its trace: it stands for a value of every step or call, and has none of its own
              made at `*leaked.borrow_mut() = &c + &x;`
              return it from the traced function instead (from a scan: in the carry to keep the last one, as a `y` to keep all)
              at `let (last, ()) = scan(|c: Tensor, _| (c, ()), leaked, zeros([3, 2]));`"#]],
    );
}

#[test]
fn a_tensor_that_leaks_out_of_a_step_into_the_trace_around_it() {
    let leaked = Mutex::new(None);
    let run = jit(|x: Tensor| {
        let step = |c: Tensor, x: Tensor| {
            let next = c + x;
            *leaked.lock().unwrap() = Some(next.clone());
            (next, ())
        };
        let (last, ()) = scan(step, zeros([2]), x);
        let leaked = leaked.lock().unwrap().take().unwrap();
        last + leaked
    });
    expect_error(
        run.call(zeros([3, 2])),
        Escaped,
        expect![[r#"
            a traced tensor of type f32[2] was used outside of its trace: it stands for a value of every step or call, and has none of its own
              made at `let next = c + x;`
              return it from the traced function instead (from a scan: in the carry to keep the last one, as a `y` to keep all)
              at `last + leaked`"#]],
    );
}

#[test]
fn a_tensor_that_goes_to_another_thread_inside_a_trace() {
    let run = jit(|x: Tensor| std::thread::scope(|s| s.spawn(|| x.tanh()).join().unwrap()));
    expect_error(
        run.call(zeros([2])),
        Escaped,
        expect![[r#"
            a traced tensor of type f32[2] was used outside of its trace: it stands for a value of every step or call, and has none of its own
              made at `run.call(zeros([2])),`
              return it from the traced function instead (from a scan: in the carry to keep the last one, as a `y` to keep all)
              at `let run = jit(|x: Tensor| std::thread::scope(|s| s.spawn(|| x.tanh()).join().unwrap()));`"#]],
    );
    // The same from a thread that traces something itself.
    let run = jit(|x: Tensor| {
        let other = || jit(|y: Tensor| y + &x).call(zeros([2]));
        let error = std::thread::scope(|s| s.spawn(other).join().unwrap()).unwrap_err();
        assert_eq!(error.kind(), Escaped);
        x
    });
    run.call(zeros([2])).unwrap();
}

#[test]
fn data_that_is_read_while_it_is_traced() {
    let found = RefCell::new(Vec::new());
    let run = jit(|x: Tensor| {
        found.borrow_mut().push(x.to_vec::<f32>().map(drop));
        found.borrow_mut().push(x.sum(..).item::<f32>().map(drop));
        x
    });
    run.lower(zeros([2])).unwrap();
    let [to_vec, item] = found.take().try_into().unwrap();
    expect_error(
        to_vec,
        Escaped,
        expect![[r#"
            the data of a traced tensor of type f32[2] cannot be read: it has none until the traced function runs
              made at `run.lower(zeros([2])).unwrap();`
              at `found.borrow_mut().push(x.to_vec::<f32>().map(drop));`"#]],
    );
    expect_error(
        item,
        Escaped,
        expect![[r#"
            the data of a traced tensor of type f32[] cannot be read: it has none until the traced function runs
              made at `found.borrow_mut().push(x.sum(..).item::<f32>().map(drop));`
              at `found.borrow_mut().push(x.sum(..).item::<f32>().map(drop));`"#]],
    );
}

#[test]
fn data_that_is_read_as_another_type() {
    expect_error(
        zeros([2]).to_vec::<f64>(),
        ErrorKind::DType,
        expect![[r#"
            to_vec: the elements of f32[2] cannot be read as f64: convert it with `astype`
              at `zeros([2]).to_vec::<f64>(),`"#]],
    );
    expect_error(
        zeros([2]).item::<f32>(),
        Shape,
        expect![[r#"
            item: f32[2] has not exactly one element
              at `zeros([2]).item::<f32>(),`"#]],
    );
}

// Arguments of compiled functions.

#[test]
fn the_wrong_arguments_for_a_compiled_function() {
    let arguments = || (zeros([2]), carry());
    let lowered = jit(|(x, c): (Tensor, Carry)| (x * 2.0, c.h)).lower(arguments()).unwrap();
    let compiled = lowered.compile().unwrap();
    compiled.call(arguments()).unwrap();

    let wrong = (zeros([3]), Carry { h: Tensor::zeros([64], DType::F64), ..carry() });
    expect_error(
        compiled.call(wrong),
        Argument,
        expect![[r#"
            a compiled function takes the types it was compiled for, but:
              arg.0: f32[2] compiled, f32[3] given
              arg.1.h: f32[64] compiled, f64[64] given
              call the `Jit` instead: it compiles for new types
              at `compiled.call(wrong),`"#]],
    );
    let wrong = (zeros([2]), Carry { steps: 1, ..carry() });
    expect_error(
        compiled.call(wrong),
        Argument,
        expect![[r#"
            a compiled function takes the types it was compiled for, but:
              arg: the static fields differ
              call the `Jit` instead: it compiles for new types
              at `compiled.call(wrong),`"#]],
    );
    let wrong = (zeros([2]), Carry { last: Some(zeros([])), ..carry() });
    expect_error(
        compiled.call(wrong),
        Argument,
        expect![[r#"
            a compiled function takes the types it was compiled for, but:
              arg.1.last: nothing compiled, f32[] given
              call the `Jit` instead: it compiles for new types
              at `compiled.call(wrong),`"#]],
    );
    let wrong = (zeros([2]) + zeros([3]), carry());
    expect_error(
        compiled.call(wrong),
        Shape,
        expect![[r#"
            add: the shapes of f32[2] and f32[3] cannot be broadcast together: aligned at the last axis, sizes must be equal or one
              at `let wrong = (zeros([2]) + zeros([3]), carry());`"#]],
    );

    let compiled = jit(|x: Tensor| x).lower(zeros([2])).unwrap().compile().unwrap();
    expect_error(
        compiled.call(zeros([])),
        Argument,
        expect![[r#"
            a compiled function takes the types it was compiled for, but:
              arg: f32[2] compiled, f32[] given
              call the `Jit` instead: it compiles for new types
              at `compiled.call(zeros([])),`"#]],
    );
    let run = jit(|x: Tensor| {
        expect_error(
            compiled.call(x.clone()),
            Argument,
            expect![[r#"
                a compiled function runs at once, but a traced tensor of type f32[2] was given: call the `Jit` where something is traced
                  at `compiled.call(x.clone()),`"#]],
        );
        x
    });
    run.call(zeros([2])).unwrap();
}

#[test]
fn a_tensor_that_was_donated() {
    let step = jit(|(w, g): (Tensor, Tensor)| w - g).donate(&[0]);
    let (w, g) = (zeros([2]), zeros([2]));
    let next = step.call((w.clone(), g.clone())).unwrap();
    expect_error(
        w.to_vec::<f32>(),
        Argument,
        expect![[r#"
            a tensor of type f32[2] was used after its memory was donated to the call at `let next = step.call((w.clone(), g.clone())).unwrap();`: use what that call returned, or do not donate this argument
              at `w.to_vec::<f32>(),`"#]],
    );
    expect_error(
        (&w + 1.0).check(),
        Argument,
        expect![[r#"
            a tensor of type f32[2] was used after its memory was donated to the call at `let next = step.call((w.clone(), g.clone())).unwrap();`: use what that call returned, or do not donate this argument
              at `(&w + 1.0).check(),`"#]],
    );
    expect_error(
        step.call((w.clone(), g.clone())),
        Argument,
        expect![[r#"
            a tensor of type f32[2] was used after its memory was donated to the call at `let next = step.call((w.clone(), g.clone())).unwrap();`: use what that call returned, or do not donate this argument
              at `step.call((w.clone(), g.clone())),`"#]],
    );
    expect_error(
        jit(|x: Tensor| x + &w).call(&g),
        Argument,
        expect![[r#"
            a tensor of type f32[2] was used after its memory was donated to the call at `let next = step.call((w.clone(), g.clone())).unwrap();`: use what that call returned, or do not donate this argument
              at `jit(|x: Tensor| x + &w).call(&g),`"#]],
    );
    assert_eq!(next.to_vec::<f32>().unwrap(), [0.0, 0.0]);
    g.to_vec::<f32>().unwrap();
}

#[test]
fn a_tensor_that_is_donated_and_given_again_in_one_call() {
    let step = jit(|(w, g): (Tensor, Tensor)| w - g).donate(&[0]);
    let both = jit(|(w, g): (Tensor, Tensor)| (w - &g, g)).donate(&[0, 1]);
    let host = zeros([2]);
    let computed = &host + 1.0;
    expect_error(
        step.call((host.clone(), host.clone())),
        Argument,
        expect![[r#"
            a tensor of type f32[2] is donated to this call and is another argument of it too: pass a copy, or do not donate it
              at `step.call((host.clone(), host.clone())),`"#]],
    );
    for w in [host, computed] {
        assert_eq!(step.call((w.clone(), w.clone())).unwrap_err().kind(), Argument);
        assert_eq!(both.call((w.clone(), w.clone())).unwrap_err().kind(), Argument);
        assert_eq!(step.call((w.clone(), w.clone().named("w"))).unwrap_err().kind(), Argument);
        // Nothing was given away.
        w.to_vec::<f32>().unwrap();
    }
}

#[test]
fn a_position_to_donate_that_is_none() {
    let run = jit(|(x, ()): (Tensor, ())| x).donate(&[1]);
    expect_error(
        run.call((zeros([2]), ())),
        Argument,
        expect![[r#"
            donate: there is no argument at position 1 that has tensors
              at `run.call((zeros([2]), ())),`"#]],
    );
}

// The first mistake is the one that is reported.

#[test]
fn the_first_mistake_in_a_step_and_its_line() {
    let ran = Cell::new(false);
    let w = zeros([4, 3]);
    let step = |h: Tensor, x: Tensor| {
        let z = h.dot(&w);
        let h = (z + &x).tanh();
        let h = h.reshape([7]) + x.astype(DType::F64);
        ran.set(true);
        (h, ())
    };
    let (last, ()) = scan(step, zeros([4]), zeros([5, 4]));
    assert!(ran.get(), "the step goes on after a mistake");
    expect_error(
        last.check(),
        Shape,
        expect![[r#"
            add: the shapes of f32[3] and f32[4] cannot be broadcast together: aligned at the last axis, sizes must be equal or one
              at `let h = (z + &x).tanh();`
              in the scan at `let (last, ()) = scan(step, zeros([4]), zeros([5, 4]));`"#]],
    );
    assert_eq!(last.shape(), [4], "the type is still that of the carry");
}

#[test]
fn a_mistake_whose_result_is_not_used() {
    let run = jit(|x: Tensor| {
        let _unused = &x + zeros([3]);
        x * 2.0
    });
    expect_error(
        run.call(zeros([2])),
        Shape,
        expect![[r#"
            add: the shapes of f32[2] and f32[3] cannot be broadcast together: aligned at the last axis, sizes must be equal or one
              at `let _unused = &x + zeros([3]);`"#]],
    );
    expect_error(
        run.lower(zeros([2])),
        Shape,
        expect![[r#"
            add: the shapes of f32[2] and f32[3] cannot be broadcast together: aligned at the last axis, sizes must be equal or one
              at `let _unused = &x + zeros([3]);`"#]],
    );
    expect_error(
        run.trace(zeros([2])),
        Shape,
        expect![[r#"
            add: the shapes of f32[2] and f32[3] cannot be broadcast together: aligned at the last axis, sizes must be equal or one
              at `let _unused = &x + zeros([3]);`"#]],
    );
}

#[test]
fn what_is_computed_from_a_mistake_does_nothing() {
    let bad = zeros([2]) + zeros([3]);
    let expected = "add: the shapes of f32[2] and f32[3] cannot be broadcast together: aligned at \
                    the last axis, sizes must be equal or one\n  at `let bad = zeros([2]) + zeros([3]);`";
    let check = |what: &str, result: Result<()>| {
        let error = with_code(&result.unwrap_err().to_string());
        assert!(error.starts_with(expected), "{what}: {error}");
    };
    let others = [zeros([5, 5]), Tensor::zeros([2], DType::I32), zeros([])];
    for other in &others {
        check("mul", (&bad * other).check());
        check("dot", other.dot(&bad).check());
        check("select", select(&bad, other, 1).check());
        check("concatenate", concatenate(&[other.clone(), bad.clone()], 3).check());
        let step = |c: Tensor, x: Tensor| (c.dot(&x), x);
        check("a step", scan(step, bad.clone(), other.clone()).0.check());
        check("a slice", scan(step, other.clone(), bad.clone()).1.check());
        check("a condition", while_loop(|c| c.dot(other), |c| c, bad.clone()).check());
        check("a body", while_loop(|_| other.lt(0), |c| c.dot(other), bad.clone()).check());
        check("a branch", cond(true, |x| x.dot(other), |x| x, bad.clone()).check());
        check("pred", cond(&bad, |x| x, |x| x, other.clone()).check());
        check("index", switch(&bad, &[&|x| x], other.clone()).check());
        check("lower", fori_loop(&bad, 5, |_, c| c, other.clone()).check());
        check("upper", fori_loop(0, &bad, |_, c| c, other.clone()).check());
        check("init", fori_loop(0, 5, |i, c| c.dot(other) * i, bad.clone()).check());
    }
    check("reshape", bad.reshape([17]).astype(DType::U8).index(9).check());
    check("associative_scan", associative_scan(|a: Tensor, b| a.dot(&b), bad.clone()).check());
    check("to_vec", bad.to_vec::<i64>().map(drop));
    check("call", jit(|x: Tensor| x).call(&bad).map(drop));
    check("lower", jit(|x: Tensor| x).lower(&bad).map(drop));
    check("capture", jit(|x: Tensor| x * &bad).call(&others[0]).map(drop));
}

#[test]
fn a_mistake_that_a_step_captures() {
    let bad = zeros([2]) + zeros([3]);
    let (last, ys) = scan(|c: Tensor, x: Tensor| (c + &x, x * &bad), zeros([2]), zeros([4, 2]));
    expect_error(
        last.check(),
        Shape,
        expect![[r#"
            add: the shapes of f32[2] and f32[3] cannot be broadcast together: aligned at the last axis, sizes must be equal or one
              at `let bad = zeros([2]) + zeros([3]);`
              in the scan at `let (last, ys) = scan(|c: Tensor, x: Tensor| (c + &x, x * &bad), zeros([2]), zeros([4, 2]));`"#]],
    );
    expect_error(
        ys.check(),
        Shape,
        expect![[r#"
            add: the shapes of f32[2] and f32[3] cannot be broadcast together: aligned at the last axis, sizes must be equal or one
              at `let bad = zeros([2]) + zeros([3]);`
              in the scan at `let (last, ys) = scan(|c: Tensor, x: Tensor| (c + &x, x * &bad), zeros([2]), zeros([4, 2]));`"#]],
    );
    assert_eq!((last.shape(), ys.shape()), (&[2][..], &[4, 2][..]));
}

#[test]
fn a_mistake_deep_in_nested_regions() {
    let run = jit(|x: Tensor| {
        let step = |c: Tensor, x: Tensor| {
            let inner = |c: Tensor| {
                let step = |c: Tensor, x: Tensor| {
                    let bad = &c + x.astype(DType::I32);
                    (c + bad, ())
                };
                scan(step, c, x.clone()).0
            };
            (cond(c.sum(..).gt(0.0), inner, |c| c, c.clone()), ())
        };
        let (last, ()) = scan(step, zeros([]), x);
        last.tanh()
    });
    expect_error(
        run.call(zeros([3, 2])),
        ErrorKind::DType,
        expect![[r#"
            add: the operands must have the same dtype, but they are f32[] and i32[]: convert one of them with `astype`
              at `let bad = &c + x.astype(DType::I32);`
              in the scan at `scan(step, c, x.clone()).0`
              in the cond at `(cond(c.sum(..).gt(0.0), inner, |c| c, c.clone()), ())`
              in the scan at `let (last, ()) = scan(step, zeros([]), x);`"#]],
    );
}

// Panics.

#[test]
fn a_panic_that_follows_a_mistake_is_reported_as_the_mistake() {
    let run = jit(|x: Tensor| {
        let step = |c: Tensor, x: Tensor| {
            let bad = &c + x.reshape([9]);
            (c * bad.shape()[7] as f32, ())
        };
        scan(step, zeros([2]), x).0
    });
    expect_error(
        run.call(zeros([3, 2])),
        Shape,
        expect![[r#"
            reshape: f32[2] has 2 elements, but shape [9] holds 9
              at `let bad = &c + x.reshape([9]);`
              the closure panicked after this"#]],
    );
}

#[test]
fn after_a_panic_the_thread_can_trace_again() {
    let run = jit(|x: Tensor| {
        let step = |c: Tensor, x: Tensor| {
            onetrace::named_scope("inner", || assert_eq!(c.shape(), x.shape(), "the user's own"));
            (c + x, ())
        };
        scan(step, zeros([2]), x).0
    });
    let payload = catch_unwind(AssertUnwindSafe(|| run.call(zeros([3, 4])))).unwrap_err();
    assert!(payload.downcast_ref::<String>().unwrap().contains("the user's own"));
    assert_eq!((zeros([2]) + 1.0).to_vec::<f32>().unwrap(), [1.0, 1.0], "nothing is traced");
    assert_eq!(run.call(zeros([3, 2])).unwrap().to_vec::<f32>().unwrap(), [0.0, 0.0]);
    let ir = jit(|x: Tensor| x.tanh()).lower(zeros([])).unwrap();
    let options = onetrace::ir::print::Options { locations: true, ..Default::default() };
    assert!(!ir.ir_with(options).contains("inner"), "no scope is left open");
}

// Sizes.

#[test]
fn shapes_larger_than_any_memory() {
    expect_error(
        Tensor::zeros([1 << 62], DType::F64).check(),
        Shape,
        expect![[r#"
            a tensor of type f64[4611686018427387904] does not fit in memory
              at `Tensor::zeros([1 << 62], DType::F64).check(),`"#]],
    );
    expect_error(
        Tensor::new::<f32>(&[], [usize::MAX, 0]).check(),
        Shape,
        expect![[r#"
            Tensor::new: f32[18446744073709551615,0] is larger than any memory
              at `Tensor::new::<f32>(&[], [usize::MAX, 0]).check(),`"#]],
    );
    expect_error(
        Tensor::new(&[1.0f32], [usize::MAX, 2]).check(),
        Shape,
        expect![[r#"
            Tensor::new: shape [18446744073709551615, 2] does not hold the 1 values given
              at `Tensor::new(&[1.0f32], [usize::MAX, 2]).check(),`"#]],
    );
    let big = zeros([1, 1]).broadcast_to(&[usize::MAX / 2, 3]);
    expect_error(
        big.check(),
        Shape,
        expect![[r#"
            broadcast: the result would be f32[9223372036854775807,3], which no memory can hold
              at `let big = zeros([1, 1]).broadcast_to(&[usize::MAX / 2, 3]);`"#]],
    );
    let run = jit(|x: Tensor| x.broadcast_to(&[1 << 40, 1 << 40]));
    expect_error(
        run.lower(zeros([1])),
        Shape,
        expect![[r#"
            broadcast: the result would be f32[1099511627776,1099511627776], which no memory can hold
              at `let run = jit(|x: Tensor| x.broadcast_to(&[1 << 40, 1 << 40]));`"#]],
    );
    expect_error(
        run.call(zeros([1])),
        Shape,
        expect![[r#"
            broadcast: the result would be f32[1099511627776,1099511627776], which no memory can hold
              at `let run = jit(|x: Tensor| x.broadcast_to(&[1 << 40, 1 << 40]));`"#]],
    );
}
