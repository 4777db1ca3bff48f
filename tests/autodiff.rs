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
