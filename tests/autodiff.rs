//! Derivatives and batches of programs with loops and branches: against the unrolled program, finite
//! differences, and each other.

use onetrace::prelude::*;
use onetrace::{SAME, Vmap, hvp, jacfwd, jacrev};

fn close(a: &Tensor, b: &Tensor, tolerance: f64) {
    assert_eq!(a.aval(), b.aval());
    let (a, b) = (a.to_vec::<f64>().unwrap(), b.to_vec::<f64>().unwrap());
    for (x, y) in a.iter().zip(&b) {
        assert!((x - y).abs() <= tolerance * (1.0 + y.abs()), "{a:?}\n{b:?}");
    }
}

fn random(seed: i64, shape: &[usize]) -> Tensor {
    random::normal(&random::key(seed), shape, DType::F64)
}

/// An RNN with a constant, a carry of two and ys.
fn rnn(scanned: bool, w: &Tensor, h: &Tensor, xs: &Tensor, reverse: bool, unroll: usize) -> Tensor {
    let step = |(h, n): (Tensor, Tensor), x: Tensor| {
        let next = (h.dot(w) + &x).tanh();
        let n = &n * 0.9 + &next * &x;
        ((next.clone(), n), next * x.sin())
    };
    let zero = Tensor::zeros(h.shape(), h.dtype());
    let ((h, n), ys) = if scanned {
        Scan::new().reverse(reverse).unroll(unroll).run(step, (h.clone(), zero), xs.clone())
    } else {
        let length = xs.shape()[0];
        let mut carry = (h.clone(), zero);
        let mut ys = vec![None; length];
        for t in 0..length {
            let t = if reverse { length - 1 - t } else { t };
            let (next, y) = step(carry, xs.index(t as isize));
            carry = next;
            ys[t] = Some(y);
        }
        let ys: Vec<Tensor> = ys.into_iter().flatten().collect();
        (carry, stack(&ys, 0))
    };
    h.sum(..) + (n * 2.0).sin().sum(..) + ys.square().sum(..)
}

#[test]
fn a_scan_has_the_derivatives_of_the_unrolled_loop() {
    let (w, h, xs) = (random(1, &[3, 3]), random(2, &[3]), random(3, &[5, 3]));
    for (reverse, unroll) in [(false, 1), (true, 1), (false, 2), (true, 5)] {
        let f = |scanned| {
            move |(w, h, xs): (Tensor, Tensor, Tensor)| rnn(scanned, &w, &h, &xs, reverse, unroll)
        };
        let arguments = (w.clone(), h.clone(), xs.clone());
        let (a, b) = (grad(f(true))(arguments.clone()), grad(f(false))(arguments.clone()));
        close(&a.0, &b.0, 1e-12);
        close(&a.1, &b.1, 1e-12);
        close(&a.2, &b.2, 1e-12);
        let along = (random(4, &[3, 3]), random(5, &[3]), random(6, &[5, 3]));
        let (a, b) = (
            hvp(f(true), arguments.clone(), along.clone()),
            hvp(f(false), arguments.clone(), along.clone()),
        );
        close(&a.0, &b.0, 1e-11);
        close(&a.1, &b.1, 1e-11);
        close(&a.2, &b.2, 1e-11);
        let batch = (stack(&[&w, &(&w * 0.5)], 0), h.clone(), stack(&[&xs, &(&xs * 2.0)], 1));
        let vmapped = |scanned| {
            let g = grad(f(scanned));
            Vmap::new().in_axes((0, SAME, 1)).out_axes((0, 0, 2)).run(g, batch.clone())
        };
        let (a, b) = (vmapped(true), vmapped(false));
        close(&a.0, &b.0, 1e-12);
        close(&a.1, &b.1, 1e-12);
        close(&a.2, &b.2, 1e-12);
    }
}

#[test]
fn jacobians() {
    let (w, x) = (random(1, &[3, 2]), random(2, &[3]));
    let f = |x: Tensor| x.dot(&w).tanh();
    close(&jacfwd(f)(x.clone()), &jacrev(f)(x.clone()), 1e-13);
}

#[test]
fn a_checkpointed_scan_has_the_same_derivatives() {
    use onetrace::Checkpoint;
    let (w, xs) = (random(1, &[3, 3]), random(3, &[11, 3]));
    let f = |checkpoint: Checkpoint, reverse: bool| {
        move |(w, xs): (Tensor, Tensor)| {
            let step = |h: Tensor, x: Tensor| {
                let next = (h.dot(&w) + &x).tanh();
                (next.clone(), next * x)
            };
            let scan = Scan::new().reverse(reverse).checkpoint(checkpoint);
            let (h, ys) = scan.run(step, Tensor::ones([3], DType::F64), xs);
            h.sum(..) + (ys * Tensor::arange(11, DType::F64).reshape([11, 1])).sum(..)
        }
    };
    for reverse in [false, true] {
        let plain = value_and_grad(f(Checkpoint::None, reverse))((w.clone(), xs.clone()));
        let ways = [1, 2, 3, 4, 11, 20].map(Checkpoint::Every);
        for checkpoint in ways.into_iter().chain([Checkpoint::Sqrt]) {
            let other = value_and_grad(f(checkpoint, reverse))((w.clone(), xs.clone()));
            close(&other.0, &plain.0, 1e-13);
            close(&other.1.0, &plain.1.0, 1e-12);
            close(&other.1.1, &plain.1.1, 1e-12);
        }
    }
}

#[test]
fn a_chunk_of_more_steps_than_there_are_is_one_of_all() {
    use onetrace::Checkpoint;
    let run = |x: Tensor| {
        let scan = Scan::new().checkpoint(Checkpoint::Every(usize::MAX));
        scan.run(|s: Tensor, x: Tensor| (&s * 0.5 + x, s), Tensor::zeros([], DType::F64), x).0
    };
    let slope = grad(run)(Tensor::ones([3], DType::F64));
    assert_eq!(slope.to_vec::<f64>().unwrap(), [0.25, 0.5, 1.0]);
    let none = grad(run)(Tensor::ones([0], DType::F64));
    assert_eq!(none.shape(), [0]);
}

#[test]
fn a_while_loop_has_forward_mode_and_batches() {
    // Newton's method for the square root, as many steps as it takes.
    let root = |a: Tensor| {
        let far = |(x, a): (Tensor, Tensor)| (&x * &x - a).abs().gt(1e-12);
        let step = |(x, a): (Tensor, Tensor)| ((&x + &a / &x) * 0.5, a);
        while_loop(far, step, (Tensor::ones([], DType::F64), a)).0
    };
    let a = Tensor::new(&[2.0f64, 9.0, 0.25], [3]);
    close(&vmap(root)(a.clone()), &a.sqrt(), 1e-12);
    let slope = |a: Tensor| jvp(root, a, Tensor::ones([], DType::F64)).1;
    close(&vmap(slope)(a.clone()), &(0.5 / a.sqrt()), 1e-6);
    let error = grad(root)(Tensor::scalar(2.0, DType::F64)).check().unwrap_err();
    assert!(error.message().contains("no reverse mode"), "{error}");
}

#[test]
fn branches_have_derivatives_and_batches() {
    let (w, v) = (random(1, &[2]), random(2, &[2]));
    let f = |x: Tensor| {
        let positive = x.sum(..).gt(0.0);
        cond(positive, |x: Tensor| (&x * &w).sin().sum(..), |x| (x * &v).square().sum(..), x)
    };
    let one = |x: &[f64; 2]| Tensor::new(x, [2]);
    let (a, b) = (one(&[0.5, 1.0]), one(&[-0.5, -2.0]));
    let (slope_a, slope_b) = ((&a * &w).cos() * &w, &b * &v * &v * 2.0);
    close(&grad(f)(a.clone()), &slope_a, 1e-13);
    close(&grad(f)(b.clone()), &slope_b, 1e-13);
    let both = vmap(grad(f))(stack(&[&a, &b], 0));
    close(&both, &stack(&[&slope_a, &slope_b], 0), 1e-13);
    // The derivative by what the branches captured.
    let by_w = grad(|(w, v): (Tensor, Tensor)| {
        let no = |x: Tensor| (x * &v).square().sum(..);
        cond(a.sum(..).gt(0.0), |x: Tensor| (&x * &w).sin().sum(..), no, a.clone())
    })((w.clone(), v.clone()));
    close(&by_w.0, &((&a * &w).cos() * &a), 1e-13);
    close(&by_w.1, &Tensor::zeros([2], DType::F64), 0.0);
}

#[test]
fn custom_rules_compose_with_loops_and_batches() {
    use onetrace::{custom_jvp, custom_vjp};
    let cube = custom_vjp(
        |x: Tensor| &x * &x * &x,
        |x: Tensor| (&x * &x * &x, x.clone()),
        |x: Tensor, ct: Tensor| ct * x.square() * 30.0, // ten times too much, to be told apart
    );
    let square =
        custom_jvp(|x: Tensor| x.square(), |x: Tensor, t: Tensor| (x.square(), t * x * 20.0));
    let x = random(1, &[4]);
    close(&vmap(grad(&cube))(x.clone()), &(x.square() * 30.0), 1e-13);
    close(&vmap(grad(&square))(x.clone()), &(&x * 20.0), 1e-13);
    close(&vmap(grad(grad(&square)))(x.clone()), &Tensor::full([4], 20.0, DType::F64), 1e-13);
    let summed = |x: Tensor| {
        scan(|s: Tensor, x: Tensor| (s + square(cube(x)), ()), Tensor::zeros([], DType::F64), x).0
    };
    close(&grad(summed)(x.clone()), &(x.powi(5) * 600.0), 1e-12);
    let error = jvp(&cube, x.clone(), x.clone()).1.check().unwrap_err();
    assert!(error.message().contains("no forward mode"), "{error}");
}
