//! The messages of mistakes in loops and branches: each states the rule, names the leaf and both types, and has
//! the place in the user's code.
//!
//! In the messages below, the code of a line stands in place of its number.

mod common;

use std::collections::BTreeMap;

use common::messages::{Carry, carry, expect_error, zeros};
use expect_test::expect;
use onetrace::ErrorKind::{self, Argument, Shape};
use onetrace::prelude::*;
use onetrace::{associative_scan, map};

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
