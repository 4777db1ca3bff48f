//! `While::max_steps`: a while loop with a bound on its steps, and its reverse mode.

mod common;

use std::collections::BTreeSet;

use common::{Tolerance, all_avals, all_equations, assert_close, error_of};
use onetrace::hessian;
use onetrace::prelude::*;

fn close(actual: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_close(actual, expected, Tolerance { relative: tolerance, absolute: tolerance });
}

fn f64(x: f64) -> Tensor {
    Tensor::scalar(x, DType::F64)
}

/// One step of something that is not linear, in which `w` and `x` both take part.
fn step(w: &Tensor, x: &Tensor) -> Tensor {
    (w * x).sin() + x * 0.5
}

/// As many steps as `count` says, and at most `bound`.
fn looped(bound: usize, count: i32) -> impl Fn((Tensor, Tensor)) -> Tensor {
    move |(w, x)| {
        let goes_on = |(i, _): (Tensor, Tensor)| i.lt(count);
        let body = |(i, x): (Tensor, Tensor)| (i + 1, step(&w, &x));
        let init = (Tensor::scalar(0, DType::I32), x);
        While::new().max_steps(bound).run(goes_on, body, init).1.sum(..)
    }
}

fn unrolled(count: i32) -> impl Fn((Tensor, Tensor)) -> Tensor {
    move |(w, x)| (0..count).fold(x, |x, _| step(&w, &x)).sum(..)
}

fn start() -> (Tensor, Tensor) {
    (Tensor::new(&[0.7f64, -1.3], [2]), Tensor::new(&[0.4f64, 0.9], [2]))
}

#[test]
fn values_and_derivatives_are_those_of_the_unrolled_loop() {
    // The condition ends it, the bound does, or both at once; in the middle of a chunk or at its end.
    for (bound, count) in [(1, 0), (1, 1), (10, 0), (10, 1), (10, 4), (10, 10), (10, 12), (17, 16)]
    {
        let made = count.min(bound as i32);
        let (value, (by_w, by_x)) = value_and_grad(looped(bound, count))(start());
        let (expected, (of_w, of_x)) = value_and_grad(unrolled(made))(start());
        close(&value, &expected, 1e-14);
        close(&by_w, &of_w, 1e-13);
        close(&by_x, &of_x, 1e-13);
        close(&looped(bound, count)(start()), &expected, 1e-14);
    }
}

#[test]
fn second_derivatives_are_those_of_the_unrolled_loop() {
    for (bound, count) in [(9, 5), (4, 9)] {
        let by_x = |f: &dyn Fn((Tensor, Tensor)) -> Tensor| {
            let (w, x) = start();
            hessian(|x: Tensor| f((w.clone(), x)))(x)
        };
        let made = count.min(bound as i32);
        close(&by_x(&looped(bound, count)), &by_x(&unrolled(made)), 1e-12);
        let twice = |f: &dyn Fn((Tensor, Tensor)) -> Tensor| {
            let (w, x) = start();
            let slope = |w: Tensor| grad(|x: Tensor| f((w.clone(), x)))(x.clone()).square().sum(..);
            grad(slope)(w)
        };
        close(&twice(&looped(bound, count)), &twice(&unrolled(made)), 1e-12);
    }
}

#[test]
fn a_bound_that_cannot_be_counted_to() {
    let x = Tensor::scalar(1.0, DType::F32);
    let last = While::new().max_steps(usize::MAX).run(|x: Tensor| x.lt(9.0), |x| x * 3.0, x);
    let error = last.check().unwrap_err().to_string();
    assert!(error.contains("max_steps must be less than 2^63"), "{error}");
    assert!(error.contains("tests/bounded_loops.rs"), "{error}");
}

#[test]
fn a_bound_of_no_step_gives_what_it_began_with() {
    let f = |x: Tensor| While::new().max_steps(0).run(|x: Tensor| x.gt(0.0), |x| x * 3.0, x);
    let (value, slope) = value_and_grad(f)(f64(2.0));
    assert_eq!((value.item::<f64>().unwrap(), slope.item::<f64>().unwrap()), (2.0, 1.0));
    assert_eq!(jit(f).call(f64(2.0)).unwrap().item::<f64>().unwrap(), 2.0);
}

/// Divides by how much is left, which is nothing when the loop is done, and takes a root and a
/// logarithm there.
fn until_nothing_is_left((w, x): (Tensor, Tensor)) -> Tensor {
    let left = |(n, _): (Tensor, Tensor)| n.gt(0.0);
    let body = |(n, y): (Tensor, Tensor)| {
        let next = (&y * &w + n.sqrt()) / &n + &w * n.log();
        (n - 1.0, next)
    };
    let (_, y) = While::new().max_steps(20).run(left, body, (stop(&x), x.clone()));
    y
}

fn stop(x: &Tensor) -> Tensor {
    onetrace::stop_gradient(x.round())
}

#[test]
fn what_is_infinite_after_the_end_does_not_reach_the_gradient() {
    let expected = |(w, x): (Tensor, Tensor), count: u32| {
        let f = |(w, x): (Tensor, Tensor)| {
            (0..count).fold(x, |y, i| {
                let n = f64(f64::from(count - i));
                (&y * &w + n.sqrt()) / &n + &w * n.log()
            })
        };
        value_and_grad(f)((w, x))
    };
    for count in [0, 1, 3, 7] {
        let arguments = (f64(0.8), f64(f64::from(count)));
        let (value, slopes) = value_and_grad(until_nothing_is_left)(arguments.clone());
        let (wanted, wanted_slopes) = expected(arguments.clone(), count);
        close(&value, &wanted, 1e-13);
        close(&slopes.0, &wanted_slopes.0, 1e-12);
        close(&slopes.1, &wanted_slopes.1, 1e-12);
        // Second order, too.
        let (w, x) = arguments;
        let twice = grad(grad(|w: Tensor| until_nothing_is_left((w, x.clone()))))(w);
        assert!(twice.item::<f64>().unwrap().is_finite(), "{count}");
    }
}

#[test]
fn members_of_a_batch_make_steps_of_their_own() {
    let xs = Tensor::new(&[3.0f64, 0.0, 7.0, 1.0], [4]);
    let ws = Tensor::new(&[0.8f64, 0.3, -0.4, 1.1], [4]);
    let one = value_and_grad(until_nothing_is_left);
    let each: Vec<(Tensor, (Tensor, Tensor))> =
        (0..4).map(|i| one((ws.index(i), xs.index(i)))).collect();
    let column = |part: fn(&(Tensor, (Tensor, Tensor))) -> &Tensor| {
        stack(&each.iter().map(part).collect::<Vec<_>>(), 0)
    };
    // The gradient of each member, and the gradient of what the members are added up to.
    let (value, (by_w, by_x)) = vmap(one)((ws.clone(), xs.clone()));
    let sum = |arguments: (Tensor, Tensor)| vmap(until_nothing_is_left)(arguments).sum(..);
    let (total, (sum_by_w, sum_by_x)) = value_and_grad(sum)((ws.clone(), xs.clone()));
    for (found, wanted) in [
        (value, column(|v| &v.0)),
        (by_w, column(|v| &v.1.0)),
        (by_x, column(|v| &v.1.1)),
        (total, column(|v| &v.0).sum(..)),
        (sum_by_w, column(|v| &v.1.0)),
        (sum_by_x, column(|v| &v.1.1)),
    ] {
        close(&found, &wanted, 1e-12);
    }
    // With one `w` for all of them.
    let shared =
        |w: Tensor| vmap(|x: Tensor| until_nothing_is_left((w.clone(), x)))(xs.clone()).sum(..);
    let each: Vec<Tensor> = (0..4)
        .map(|i| grad(|w: Tensor| until_nothing_is_left((w, xs.index(i))))(f64(0.8)))
        .collect();
    close(&grad(shared)(f64(0.8)), &stack(&each, 0).sum(..), 1e-12);
    let none = vmap(grad(|x: Tensor| until_nothing_is_left((f64(0.8), x))));
    assert_eq!(none(Tensor::zeros([0], DType::F64)).shape(), [0]);
}

#[test]
fn a_fori_loop_of_a_bound_has_reverse_mode() {
    let (w, x) = start();
    let f = |(n, w): (Tensor, Tensor)| {
        let body = |_: Tensor, x: Tensor| step(&w, &x);
        While::new().max_steps(12).fori_loop(0, n, body, x.clone()).sum(..)
    };
    for count in [0, 5, 12, 13] {
        let n = Tensor::scalar(count, DType::I32);
        let slope = jit(|(n, w): (Tensor, Tensor)| grad(|w: Tensor| f((n.clone(), w)))(w));
        let expected = grad(|w: Tensor| unrolled(count.min(12))((w, x.clone())))(w.clone());
        close(&slope.call((n, w.clone())).unwrap(), &expected, 1e-13);
        let known = |w: Tensor| {
            let body = |_: Tensor, x: Tensor| step(&w, &x);
            While::new().max_steps(12).fori_loop(0, count, body, x.clone()).sum(..)
        };
        close(&grad(known)(w.clone()), &expected, 1e-13);
    }
}

#[test]
fn without_a_derivative_it_is_one_while() {
    let lowered = jit(looped(1_000_000, 100)).lower(start()).unwrap();
    assert_eq!(lowered.hlo().unwrap().matches(" while(").count(), 1);
    let equations = all_equations(lowered.simplified());
    assert_eq!(equations.iter().filter(|(_, equation)| equation.name() == "while").count(), 1);
    let batched = jit(vmap(looped(1_000_000, 100)))
        .lower((Tensor::ones([3, 2], DType::F64), Tensor::ones([3, 2], DType::F64)));
    assert_eq!(batched.unwrap().hlo().unwrap().matches(" while(").count(), 1);
}

#[test]
fn what_is_kept_is_the_root_of_the_bound() {
    let lowered = jit(grad(looped(10_000, 7))).lower(start()).unwrap();
    let shapes = all_avals(lowered.simplified()).map(|aval| &aval.shape);
    let sizes: BTreeSet<usize> = shapes.flatten().copied().collect();
    assert_eq!(sizes, [2, 100].into());
    // Weights that a step uses are not kept for every chunk.
    let w = Tensor::ones([3, 3], DType::F64);
    let f = |(w, x): (Tensor, Tensor)| {
        let body = |x: Tensor| w.dot(&x).tanh();
        While::new().max_steps(100).run(|x: Tensor| x.sum(..).gt(0.5), body, x).sum(..)
    };
    let lowered = jit(grad(f)).lower((w, Tensor::ones([3], DType::F64))).unwrap();
    assert!(!lowered.simplified().to_string().contains("f64[10,3,3]"), "{}", lowered.simplified());
}

#[test]
fn the_size_of_the_program_does_not_depend_on_the_bound() {
    let size = |bound| {
        let lowered = jit(value_and_grad(looped(bound, 7))).lower(start()).unwrap();
        (lowered.simplified().equation_count(), lowered.stats().unwrap().instructions)
    };
    let small = size(10);
    assert_eq!(size(2_048), small);
    assert_eq!(size(1_000_000), small);
}

#[test]
fn without_a_bound_the_message_says_how_to_state_one() {
    let f = |x: Tensor| while_loop(|x: Tensor| x.lt(10.0), |x| &x * &x, x);
    let error = error_of(&grad(f)(f64(2.0)));
    let message = "while_loop: its number of steps is not known when it is traced, so there is no \
                   reverse mode through it: state a bound with `While::new().max_steps(n)`, or use \
                   `scan`, or `fori_loop` with bounds that are numbers of the host, or forward mode \
                   (`jvp`)";
    assert_eq!(error.message(), message);
}

/// A mistake in the step of a loop with a bound is told as in one without.
#[test]
fn the_counter_is_not_seen() {
    let bad =
        While::new().max_steps(3).run(|x: Tensor| x.lt(1.0), |x| x.astype(DType::F32), f64(0.0));
    let message = error_of(&bad).message().to_owned();
    assert!(message.contains("carry: f64[] before, f32[] after"), "{message}");
    let bad = While::new().max_steps(3).run(|x: Tensor| x, |x| x, f64(0.0));
    let message = error_of(&bad).message().to_owned();
    assert!(
        message.contains("the condition must return bool[], but it returns f64[]"),
        "{message}"
    );
}
