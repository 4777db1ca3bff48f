//! The messages of mistakes: each states the rule, names the leaf and both types, and has the place
//! in the user's code.
//!
//! In the messages below, the code of a line stands in place of its number.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use expect_test::{Expect, expect};
use onetrace::ErrorKind::{self, Argument, Escaped, Shape};
use onetrace::prelude::*;
use onetrace::{associative_scan, map};

/// `text` with each place in this file told by the code that stands there.
fn with_code(text: &str) -> String {
    let lines: Vec<&str> = include_str!("errors.rs").lines().map(str::trim).collect();
    let mut parts = text.split(concat!(file!(), ":"));
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_once(':').unwrap();
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        out += &format!("`{}`{rest}", lines[number.parse::<usize>().unwrap() - 1]);
    }
    out
}

#[track_caller]
fn expect_error<T>(result: Result<T>, kind: ErrorKind, expected: Expect) {
    let Err(error) = result else { panic!("there is no error") };
    assert_eq!(error.kind(), kind, "{error}");
    expected.assert_eq(&with_code(&error.to_string()));
}

fn zeros<const N: usize>(shape: [usize; N]) -> Tensor {
    Tensor::zeros(shape, DType::F32)
}

#[derive(Clone, Debug, Tree)]
struct Carry {
    h: Tensor,
    memory: Vec<Tensor>,
    last: Option<Tensor>,
    #[tree(static)]
    steps: usize,
}

fn carry() -> Carry {
    Carry { h: zeros([64]), memory: vec![zeros([2, 3])], last: None, steps: 0 }
}

/// The error of a scan with this step over three slices of type `f32[64]`.
#[track_caller]
fn scan_error(step: impl FnOnce(Carry, Tensor) -> Carry + Clone) -> Result<()> {
    let (last, ()) = scan(|c, x| (step(c, x), ()), carry(), zeros([3, 64]));
    tree::check(&last)
}

// Carries.

#[test]
fn a_carry_that_gets_an_axis() {
    let result = scan_error(|carry, x| {
        let h = (carry.h + x).reshape([64, 1]);
        Carry { h, ..carry }
    });
    let expected = expect![[r#"
        scan: the carry must have the same type before and after a step, but it changes:
          carry.h: f32[64] before, f32[64,1] after — different rank; drop the last axis
            (value after made at `let h = (carry.h + x).reshape([64, 1]);`)
          at `let result = scan_error(|carry, x| {`"#]];
    expect_error(result, ErrorKind::Tree, expected);
}

#[test]
fn a_carry_that_changes_in_several_leaves() {
    let result = scan_error(|carry, _| Carry {
        h: carry.h.reshape([2, 32]),
        memory: vec![carry.memory[0].astype(DType::BF16), zeros([1])],
        last: Some(zeros([])),
        steps: 0,
    });
    expect_error(
        result,
        ErrorKind::Tree,
        expect![[r#"
            scan: the carry must have the same type before and after a step, but it changes:
              carry.h: f32[64] before, f32[2,32] after — different rank
                (value after made at `h: carry.h.reshape([2, 32]),`)
              carry.memory.0: f32[2,3] before, bf16[2,3] after — different dtype; convert the value after with `.astype(DType::F32)`
                (value after made at `memory: vec![carry.memory[0].astype(DType::BF16), zeros([1])],`)
              carry.memory.1: missing before, f32[1] after
              carry.last: missing before, f32[] after
              at `let result = scan_error(|carry, _| Carry {`"#]],
    );
}

#[test]
fn a_carry_that_loses_a_leaf() {
    let result = scan_error(|carry, _| Carry { memory: vec![], ..carry });
    expect_error(
        result,
        ErrorKind::Tree,
        expect![[r#"
            scan: the carry must have the same type before and after a step, but it changes:
              carry.memory.0: f32[2,3] before, missing after
              at `let result = scan_error(|carry, _| Carry { memory: vec![], ..carry });`"#]],
    );
}

#[test]
fn a_carry_whose_static_field_changes() {
    let result = scan_error(|carry, _| Carry { steps: carry.steps + 1, ..carry });
    expect_error(
        result,
        ErrorKind::Tree,
        expect![[r#"
            scan: the carry must have the same type before and after a step, but it changes:
              carry: the static fields differ
              at `let result = scan_error(|carry, _| Carry { steps: carry.steps + 1, ..carry });`"#]],
    );
}

#[test]
fn a_carry_of_one_tensor() {
    let (last, ()) = scan(|c: Tensor, x: Tensor| (c + x.sum(..), ()), zeros([]), zeros([3, 2]));
    last.check().unwrap();
    let (last, ()) = scan(|c: Tensor, x: Tensor| (c + x, ()), zeros([]), zeros([3, 2]));
    expect_error(
        last.check(),
        ErrorKind::Tree,
        expect![[r#"
            scan: the carry must have the same type before and after a step, but it changes:
              carry: f32[] before, f32[2] after — different rank
                (value after made at `let (last, ()) = scan(|c: Tensor, x: Tensor| (c + x, ()), zeros([]), zeros([3, 2]));`)
              at `let (last, ()) = scan(|c: Tensor, x: Tensor| (c + x, ()), zeros([]), zeros([3, 2]));`"#]],
    );
}

#[test]
fn a_carry_with_named_parts() {
    let named = |dtype| BTreeMap::from([("running mean".to_owned(), Tensor::zeros([2], dtype))]);
    let step = |_, ()| (named(DType::I32), ());
    let (last, ()) = Scan::new().length(2).run(step, named(DType::F32), ());
    expect_error(
        tree::check(&last),
        ErrorKind::Tree,
        expect![[r#"
            scan: the carry must have the same type before and after a step, but it changes:
              carry.running mean: f32[2] before, i32[2] after — different dtype; convert the value after with `.astype(DType::F32)`
                (value after made at `let named = |dtype| BTreeMap::from([("running mean".to_owned(), Tensor::zeros([2], dtype))]);`)
              at `let (last, ()) = Scan::new().length(2).run(step, named(DType::F32), ());`"#]],
    );
}

#[test]
fn the_carry_of_a_while_loop() {
    let last = while_loop(|c: Tensor| c.sum(..).lt(9.0), |c| c.sum(..), zeros([2]));
    expect_error(
        last.check(),
        ErrorKind::Tree,
        expect![[r#"
            while_loop: the carry must have the same type before and after the body, but it changes:
              carry: f32[2] before, f32[] after — different rank
                (value after made at `let last = while_loop(|c: Tensor| c.sum(..).lt(9.0), |c| c.sum(..), zeros([2]));`)
              at `let last = while_loop(|c: Tensor| c.sum(..).lt(9.0), |c| c.sum(..), zeros([2]));`"#]],
    );
}

#[test]
fn the_carry_of_a_fori_loop() {
    let bound = Tensor::scalar(3, DType::I32);
    let last =
        fori_loop(0, 3, |i, (a, b): (Tensor, Tensor)| (a + &i, b * i), (zeros([]), zeros([2])));
    expect_error(
        tree::check(&last),
        ErrorKind::DType,
        expect![[r#"
            add: the operands must have the same dtype, but they are f32[] and i32[]: convert one of them with `astype`
              at `fori_loop(0, 3, |i, (a, b): (Tensor, Tensor)| (a + &i, b * i), (zeros([]), zeros([2])));`
              in the fori_loop at `fori_loop(0, 3, |i, (a, b): (Tensor, Tensor)| (a + &i, b * i), (zeros([]), zeros([2])));`"#]],
    );

    let last = fori_loop(0, 3, |_, (a, b): (Tensor, Tensor)| (b, a), (zeros([]), zeros([2])));
    expect_error(
        tree::check(&last),
        ErrorKind::Tree,
        expect![[r#"
            fori_loop: the carry must have the same type before and after a step, but it changes:
              carry.0: f32[] before, f32[2] after — different rank
                (value after made at `let last = fori_loop(0, 3, |_, (a, b): (Tensor, Tensor)| (b, a), (zeros([]), zeros([2])));`)
              carry.1: f32[2] before, f32[] after — different rank
                (value after made at `let last = fori_loop(0, 3, |_, (a, b): (Tensor, Tensor)| (b, a), (zeros([]), zeros([2])));`)
              at `let last = fori_loop(0, 3, |_, (a, b): (Tensor, Tensor)| (b, a), (zeros([]), zeros([2])));`"#]],
    );

    let run = jit(|end: Tensor| fori_loop(0, end, |_, c: Tensor| c.sum(..), zeros([2])));
    expect_error(
        run.call(bound),
        ErrorKind::Tree,
        expect![[r#"
            fori_loop: the carry must have the same type before and after a step, but it changes:
              carry: f32[2] before, f32[] after — different rank
                (value after made at `let run = jit(|end: Tensor| fori_loop(0, end, |_, c: Tensor| c.sum(..), zeros([2])));`)
              at `let run = jit(|end: Tensor| fori_loop(0, end, |_, c: Tensor| c.sum(..), zeros([2])));`"#]],
    );
}

// What a loop goes over.

#[test]
fn xs_with_different_leading_axes() {
    let xs = BTreeMap::from([("p".to_owned(), zeros([5, 2])), ("q".to_owned(), zeros([4, 2]))]);
    let (last, ys) = scan(|c: Tensor, x: BTreeMap<_, Tensor>| (c, x["p"].clone()), zeros([]), xs);
    expect_error(
        last.check(),
        Shape,
        expect![[r#"
            scan: the leading axes of all leaves of xs must be the same, but they are:
              xs.p: f32[5,2]
              xs.q: f32[4,2]
              at `let (last, ys) = scan(|c: Tensor, x: BTreeMap<_, Tensor>| (c, x["p"].clone()), zeros([]), xs);`"#]],
    );
    assert_eq!(ys.shape(), [5, 2], "the type is still that of the results");
}

#[test]
fn a_length_that_disagrees() {
    let scan = Scan::new().length(6);
    let (last, ()) = scan.run(|c: Tensor, _| (c, ()), zeros([]), zeros([5, 2]));
    expect_error(
        last.check(),
        Shape,
        expect![[r#"
            scan: the leading axis of every leaf of xs must be the length, 6, but they are:
              xs: f32[5,2]
              at `let (last, ()) = scan.run(|c: Tensor, _| (c, ()), zeros([]), zeros([5, 2]));`"#]],
    );
}

#[test]
fn no_length() {
    let (last, ()) = scan(|c: Tensor, ()| (c, ()), zeros([]), ());
    expect_error(
        last.check(),
        Argument,
        expect![[r#"
            scan: xs has no leaf, so the number of steps must be given: Scan::new().length(n)
              at `let (last, ()) = scan(|c: Tensor, ()| (c, ()), zeros([]), ());`"#]],
    );
}

#[test]
fn xs_with_a_scalar() {
    let (last, ()) = scan(|c: Tensor, _| (c, ()), zeros([]), (zeros([5]), zeros([])));
    expect_error(
        last.check(),
        Shape,
        expect![[r#"
            scan: xs must have a leading axis to go over, but xs.1 is the scalar f32[]; close over what is the same at every step instead
              at `let (last, ()) = scan(|c: Tensor, _| (c, ()), zeros([]), (zeros([5]), zeros([])));`"#]],
    );
    let ys = map(|x: Tensor| x, zeros([]));
    expect_error(
        ys.check(),
        Shape,
        expect![[r#"
            map: xs must have a leading axis to go over, but xs is the scalar f32[]; close over what is the same at every step instead
              at `let ys = map(|x: Tensor| x, zeros([]));`"#]],
    );
}

#[test]
fn an_unroll_of_zero() {
    let (last, ()) = Scan::new().unroll(0).run(|c: Tensor, _| (c, ()), zeros([]), zeros([5]));
    expect_error(
        last.check(),
        Argument,
        expect![[r#"
            scan: unroll must be at least 1 (the number of steps in one iteration), but it is 0
              at `let (last, ()) = Scan::new().unroll(0).run(|c: Tensor, _| (c, ()), zeros([]), zeros([5]));`"#]],
    );
}

#[test]
fn a_length_beyond_what_can_be_counted() {
    let scan = Scan::new().length(usize::MAX);
    let (last, ()) = scan.run(|c: Tensor, ()| (c, ()), zeros([]), ());
    expect_error(
        last.check(),
        Argument,
        expect![[r#"
            scan: the length must be less than 2^63, but it is 18446744073709551615
              at `let (last, ()) = scan.run(|c: Tensor, ()| (c, ()), zeros([]), ());`"#]],
    );
    let (_, ys) = Scan::new().length(1 << 61).run(|c: Tensor, ()| (c.clone(), c), zeros([]), ());
    expect_error(
        ys.check(),
        Shape,
        expect![[r#"
            scan: the result would be f32[2305843009213693952], which no memory can hold
              at `let (_, ys) = Scan::new().length(1 << 61).run(|c: Tensor, ()| (c.clone(), c), zeros([]), ());`"#]],
    );
}

#[test]
fn a_sequence_that_is_passed_as_features_and_time() {
    let cell = nn::GruCell::new(&mut nn::Rngs::new(0), 3, 4);
    let (last, _) = scan(|h, x| cell.step(h, x), zeros([4]), zeros([3, 100]));
    expect_error(
        last.check(),
        Shape,
        expect![[r#"
            GruCell: the input must have 3 features on its last axis, but it is f32[100]; if this is the step of a scan: it goes over axis 0 of the sequence and hands the rest to the step, so a sequence is (time, .., features); transpose one that is (features, time)
              at `let (last, _) = scan(|h, x| cell.step(h, x), zeros([4]), zeros([3, 100]));`
              in the scan at `let (last, _) = scan(|h, x| cell.step(h, x), zeros([4]), zeros([3, 100]));`"#]],
    );
    let forward = jit(|x: Tensor| scan(|h, x| cell.step(h, x), zeros([4]), x).0);
    expect_error(
        forward.call(zeros([3, 100])),
        Shape,
        expect![[r#"
            GruCell: the input must have 3 features on its last axis, but it is f32[100]; if this is the step of a scan: it goes over axis 0 of the sequence and hands the rest to the step, so a sequence is (time, .., features); transpose one that is (features, time)
              at `let forward = jit(|x: Tensor| scan(|h, x| cell.step(h, x), zeros([4]), x).0);`
              in the scan at `let forward = jit(|x: Tensor| scan(|h, x| cell.step(h, x), zeros([4]), x).0);`"#]],
    );
}

// Branches and bounds.

#[test]
fn branches_of_different_types() {
    let y =
        cond(true, |x: Tensor| (x.clone(), x), |x| (x.sum(..), x.astype(DType::F64)), zeros([2]));
    expect_error(
        tree::check(&y),
        ErrorKind::Tree,
        expect![[r#"
            cond: the branches must return the same type, but they do not:
              result.0: f32[2] from on_true, f32[] from on_false — different rank
                (value from on_false made at `cond(true, |x: Tensor| (x.clone(), x), |x| (x.sum(..), x.astype(DType::F64)), zeros([2]));`)
              result.1: f32[2] from on_true, f64[2] from on_false — different dtype; convert the value from on_false with `.astype(DType::F32)`
                (value from on_false made at `cond(true, |x: Tensor| (x.clone(), x), |x| (x.sum(..), x.astype(DType::F64)), zeros([2]));`)
              at `cond(true, |x: Tensor| (x.clone(), x), |x| (x.sum(..), x.astype(DType::F64)), zeros([2]));`"#]],
    );
    let y = switch(0, &[&|x: Tensor| vec![x], &|x| vec![x.clone(), x]], zeros([2]));
    expect_error(
        tree::check(&y),
        ErrorKind::Tree,
        expect![[r#"
            switch: the branches must return the same type, but they do not:
              result.1: missing from branch 0, f32[2] from a later branch
              at `let y = switch(0, &[&|x: Tensor| vec![x], &|x| vec![x.clone(), x]], zeros([2]));`"#]],
    );
}

#[test]
fn choices_of_the_wrong_type() {
    let y = cond(zeros([2]).gt(0.0), |x: Tensor| x, |x| x, zeros([2]));
    expect_error(
        y.check(),
        Shape,
        expect![[r#"
            cond: pred must be bool[], but it is bool[2]
              at `let y = cond(zeros([2]).gt(0.0), |x: Tensor| x, |x| x, zeros([2]));`"#]],
    );
    let y = switch(zeros([]), &[&|x: Tensor| x], zeros([2]));
    expect_error(
        y.check(),
        Shape,
        expect![[r#"
            switch: index must be i32[], but it is f32[]
              at `let y = switch(zeros([]), &[&|x: Tensor| x], zeros([2]));`"#]],
    );
    let y = while_loop(|c: Tensor| c.lt(1.0), |c| c, zeros([2]));
    expect_error(
        y.check(),
        Shape,
        expect![[r#"
            while_loop: the condition must return bool[], but it returns bool[2]: reduce it with `all` or `any`, or compare
              at `let y = while_loop(|c: Tensor| c.lt(1.0), |c| c, zeros([2]));`"#]],
    );
    let y = fori_loop(zeros([]), 4, |_, c| c, zeros([2]));
    expect_error(
        y.check(),
        Argument,
        expect![[r#"
            fori_loop: lower must be i32[], but it is f32[]
              at `let y = fori_loop(zeros([]), 4, |_, c| c, zeros([2]));`"#]],
    );
}

#[test]
fn an_associative_scan_of_a_function_that_changes_the_type() {
    let y = associative_scan(|a: Tensor, b: Tensor| (a + b).sum(..), zeros([8, 2]));
    expect_error(
        y.check(),
        ErrorKind::Tree,
        expect![[r#"
            associative_scan: f must return the type that it takes, but it does not:
              tree: f32[4,2] taken, f32[] returned — different rank
                (value returned made at `let y = associative_scan(|a: Tensor, b: Tensor| (a + b).sum(..), zeros([8, 2]));`)
              at `let y = associative_scan(|a: Tensor, b: Tensor| (a + b).sum(..), zeros([8, 2]));`
              in associative_scan"#]],
    );
    let y = associative_scan(|a: Tensor, _| a + zeros([3]), zeros([8, 2]));
    expect_error(
        y.check(),
        Shape,
        expect![[r#"
            add: the shapes of f32[4,2] and f32[3] cannot be broadcast together: aligned at the last axis, sizes must be equal or one
              at `let y = associative_scan(|a: Tensor, _| a + zeros([3]), zeros([8, 2]));`
              in associative_scan"#]],
    );
}

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
