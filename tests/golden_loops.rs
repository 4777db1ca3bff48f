//! Control flow against what JAX computes: every case of `tests/golden/loops.safetensors`.
//!
//! A case restates its formula (the metadata of the file, and `tests/golden/gen_loops.py`), and is
//! run twice: outside of any trace and as one compiled program.

mod common;

use std::collections::BTreeMap;

use common::{EXACT, Golden, Tolerance, difference, ramp_tensor as r};
use onetrace::prelude::*;
use onetrace::{AssociativeScan, associative_scan, map};

type Outputs = BTreeMap<String, Tensor>;

/// Both sides round each operation to `f32`, but may fuse, contract and vectorise differently.
const CLOSE: Tolerance = Tolerance { relative: 1e-6, absolute: 1e-6 };

fn outputs<const N: usize>(pairs: [(&str, Tensor); N]) -> Outputs {
    pairs.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect()
}

fn carry_and_ys((carry, ys): (Tensor, Tensor)) -> Outputs {
    outputs([("carry", carry), ("ys", ys)])
}

fn f32(x: f32) -> Tensor {
    Tensor::scalar(x, DType::F32)
}

fn i32(i: i32) -> Tensor {
    Tensor::scalar(i, DType::I32)
}

/// The step most scans here use.
fn decay(c: Tensor, x: Tensor) -> (Tensor, Tensor) {
    let c = c * 0.5 + x;
    (c.clone(), c * 2.0)
}

fn scan_decay(options: Scan, length: usize) -> (Tensor, Tensor) {
    options.run(decay, r(&[3], 2), r(&[length, 3], 1))
}

#[derive(Clone, Tree)]
struct Carry {
    a: Tensor,
    n: Tensor,
}

#[derive(Clone, Tree)]
struct Xs {
    p: Tensor,
    q: Tensor,
}

fn scan_tree() -> Outputs {
    let step = |c: Carry, x: Xs| {
        let a = &c.a * 0.5 + x.p * &x.q;
        let y = (a.clone(), (c.a.sum(..) - x.q, c.n.clone()));
        (Carry { a, n: c.n + 1 }, y)
    };
    let init = Carry { a: r(&[2], 3), n: i32(0) };
    let (c, (a, (d, n))) = scan(step, init, Xs { p: r(&[6, 2], 1), q: r(&[6], 2) });
    outputs([("carry.a", c.a), ("carry.n", c.n), ("ys.a", a), ("ys.d", d), ("ys.n", n)])
}

fn scan_rnn() -> Outputs {
    let (w, u) = (r(&[3, 4], 2), r(&[4, 4], 3) * 0.5);
    let step = |h: Tensor, x: Tensor| {
        let h = (x.dot(&w) + h.dot(&u)).tanh();
        (h.clone(), h)
    };
    carry_and_ys(scan(step, Tensor::zeros([4], DType::F32), r(&[20, 3], 1)))
}

fn scan_matrices() -> Outputs {
    let eye = Tensor::eye(3, DType::F32);
    let step = |m: Tensor, a: Tensor| {
        let m = m.dot(&a);
        (m.clone(), (m * &eye).sum(..))
    };
    carry_and_ys(scan(step, eye.clone(), r(&[7, 3, 3], 1)))
}

fn scan_types() -> Outputs {
    let step = |(u, odd): (Tensor, Tensor), ()| {
        let bit = u.shift_right_logical(16) & 1;
        let odd = odd ^ bit.astype(DType::Bool);
        ((u * 1_664_525 + 1_013_904_223, odd.clone()), odd)
    };
    let init = (Tensor::scalar(1, DType::U32), Tensor::scalar(false, DType::Bool));
    let ((u, odd), ys) = Scan::new().length(9).run(step, init, ());
    outputs([("u", u), ("odd", odd), ("ys", ys)])
}

fn scan_buffer() -> Outputs {
    let step = |(buffer, i): (Tensor, Tensor), x: Tensor| {
        let buffer = buffer.dynamic_update_slice(&x.reshape([1]), &[&i]);
        let sum = buffer.sum(..);
        ((buffer, i + 1), sum)
    };
    let ((buffer, i), ys) = scan(step, (Tensor::zeros([8], DType::F32), i32(1)), r(&[6], 1));
    outputs([("buffer", buffer), ("i", i), ("ys", ys)])
}

fn scan_nan() -> Outputs {
    let x = r(&[6], 1);
    let nan = Tensor::full([1], f32::NAN, DType::F32);
    let x = concatenate(&[x.slice_in_dim(0..3, 0), nan, x.slice_in_dim(4..6, 0)], 0);
    carry_and_ys(scan(decay, f32(0.0), x))
}

fn scan_cond() -> Outputs {
    let step = |c: Tensor, x: Tensor| {
        let next = cond(x.gt(0.0), |c: Tensor| c + &x, |c| c * 0.5, c.clone());
        (next, c)
    };
    carry_and_ys(scan(step, f32(1.0), r(&[12], 1)))
}

fn scan_nested_capture() -> Outputs {
    let z = r(&[5], 2);
    let step = |c: Tensor, x: Tensor| {
        let inner = |e: Tensor, z: Tensor| (e * &x + z * &c, ());
        let (e, ()) = scan(inner, c.clone(), z.clone());
        (e.clone(), e)
    };
    carry_and_ys(scan(step, f32(1.0), r(&[4], 1)))
}

fn scan_in_while() -> Outputs {
    let body = |(c, n): (Tensor, Tensor)| (scan(decay, c, r(&[5], 1)).0, n + 1);
    let (c, n) = while_loop(|(_, n): (Tensor, Tensor)| n.lt(4), body, (f32(1.0), i32(0)));
    outputs([("c", c), ("n", n)])
}

fn while_in_scan() -> Outputs {
    let step = |c: Tensor, x: Tensor| {
        let body = |(n, k): (Tensor, Tensor)| {
            let next = select(&(&n % 2).eq(0), &n / 2, &n * 3 + 1);
            (next, k + 1)
        };
        let (_, k) = while_loop(|(n, _): (Tensor, Tensor)| n.ne(1), body, (x, i32(0)));
        (c + &k, k)
    };
    carry_and_ys(scan(step, i32(0), Tensor::arange(10, DType::I32) + 1))
}

fn fori_dynamic() -> Outputs {
    let body = |i: Tensor, c: Tensor| c * 0.5 + i.astype(DType::F32);
    let run = jit(|(lo, hi): (Tensor, Tensor)| fori_loop(lo, hi, body, f32(1.0)));
    outputs([("c", run.call((i32(3), i32(17))).unwrap())])
}

fn fori_array() -> Outputs {
    let body = |i: Tensor, x: Tensor| {
        let row = |i: Tensor| x.dynamic_slice_in_dim(&i, 1, 0);
        let sum = row(i.clone()) + row((&i + 1) % 4);
        x.dynamic_update_slice_in_dim(&sum, &i, 0)
    };
    outputs([("x", fori_loop(0, 4, body, r(&[4, 3], 1)))])
}

fn while_gcd() -> Outputs {
    let body = |(a, b): (Tensor, Tensor)| (b.clone(), a % b);
    let (a, b) = while_loop(|(_, b): (Tensor, Tensor)| b.ne(0), body, (i32(1071), i32(462)));
    outputs([("a", a), ("b", b)])
}

fn cond_both() -> Outputs {
    let run = |p: bool| {
        let yes = |x: Tensor| (&x + 1.0, x.sum(..));
        cond(p, yes, |x| (&x * 2.0, -x.sum(..)), r(&[4], 1))
    };
    let ((a, s), (b, q)) = (run(true), run(false));
    outputs([("true.x", a), ("true.s", s), ("false.x", b), ("false.s", q)])
}

fn cond_nested() -> Outputs {
    let run = |x: f64| {
        let low = |x: Tensor| cond(x.lt(-1.0), |_| f32(-1.0), |x: Tensor| &x * &x * x, x);
        let high = |x: Tensor| cond(x.gt(1.0), |_| f32(1.0), |x: Tensor| &x * &x, x);
        let x = Tensor::scalar(x, DType::F32);
        cond(x.lt(0.0), low, high, x)
    };
    outputs([("out", stack(&[-2.0, -0.5, 0.5, 2.0].map(run), 0))])
}

fn switch_clamp() -> Outputs {
    let x = r(&[3], 1);
    let run = |i: i32| switch(i, &[&|x: Tensor| x + 1.0, &|x| x * 2.0, &|x| &x * &x], x.clone());
    outputs([("out", stack(&[-5, 0, 1, 2, 7].map(run), 0))])
}

fn affine((a1, b1): (Tensor, Tensor), (a2, b2): (Tensor, Tensor)) -> (Tensor, Tensor) {
    (a1 * &a2, b1 * a2 + b2)
}

/// The outputs of a case, or nothing if there is none of this name.
fn run(name: &str) -> Option<Outputs> {
    let out = |tensor: Tensor| outputs([("out", tensor)]);
    let linear = || (r(&[12, 2], 1), r(&[12, 2], 2));
    Some(match name {
        "scan_sum" => {
            let step = |c: Tensor, x: Tensor| (&c + &x, c + x);
            carry_and_ys(scan(step, f32(0.0), r(&[10], 1)))
        }
        "scan_decay" => carry_and_ys(scan_decay(Scan::new(), 10)),
        "scan_decay_reverse" => carry_and_ys(scan_decay(Scan::new().reverse(true), 10)),
        "scan_decay_unroll" => carry_and_ys(scan_decay(Scan::new().unroll(3), 10)),
        "scan_decay_reverse_unroll" => {
            carry_and_ys(scan_decay(Scan::new().reverse(true).unroll(3), 10))
        }
        "scan_decay_unroll_all" => carry_and_ys(scan_decay(Scan::new().unroll(10), 10)),
        "scan_decay_one" => carry_and_ys(scan_decay(Scan::new(), 1)),
        "scan_decay_zero" => carry_and_ys(scan_decay(Scan::new(), 0)),
        "scan_decay_long" => {
            let (carry, ys) = scan_decay(Scan::new(), 1000);
            outputs([("carry", carry), ("last", ys.index(999))])
        }
        "scan_length" => {
            let step = |(a, b): (Tensor, Tensor), ()| ((b.clone(), &a + b), a);
            let ((a, b), ys) = Scan::new().length(8).run(step, (i32(0), i32(1)), ());
            outputs([("a", a), ("b", b), ("ys", ys)])
        }
        "scan_no_ys" => {
            let (carry, ()) = scan(|c, x: Tensor| (c * (x + 1.0), ()), f32(1.0), r(&[10], 1));
            outputs([("carry", carry)])
        }
        "scan_no_carry" => {
            let ((), ys) = scan(|(), x: Tensor| ((), &x * &x), (), r(&[4, 3], 1));
            outputs([("ys", ys)])
        }
        "scan_tree" => scan_tree(),
        "scan_rnn" => scan_rnn(),
        "scan_matrices" => scan_matrices(),
        "scan_types" => scan_types(),
        "scan_buffer" => scan_buffer(),
        "scan_nan" => scan_nan(),
        "scan_cond" => scan_cond(),
        "scan_nested" => {
            carry_and_ys(scan(|c, row: Tensor| scan(decay, c, row), f32(0.0), r(&[4, 5], 1)))
        }
        "scan_nested_capture" => scan_nested_capture(),
        "scan_in_while" => scan_in_while(),
        "while_in_scan" => while_in_scan(),
        "fori_sum" => outputs([("s", fori_loop(0, 10, |i, s| s + &i * &i, i32(0)))]),
        "fori_negative" => {
            let body = |i: Tensor, c: Tensor| c * 0.5 + i.astype(DType::F32);
            outputs([("c", fori_loop(-5, 5, body, f32(1.0)))])
        }
        "fori_empty" => outputs([("c", fori_loop(5, 2, |_, c: Tensor| c + 1.0, r(&[3], 1)))]),
        "fori_dynamic" => fori_dynamic(),
        "fori_array" => fori_array(),
        "while_halve" => {
            let body = |(x, n): (Tensor, Tensor)| (x / 2.0, n + 1);
            let test = |(x, _): (Tensor, Tensor)| x.gt(1.0);
            let (x, n) = while_loop(test, body, (f32(1000.0), i32(0)));
            outputs([("x", x), ("n", n)])
        }
        "while_never" => {
            let test = |x: Tensor| x.sum(..).gt(100.0);
            outputs([("x", while_loop(test, |x| x * 2.0, r(&[3], 1)))])
        }
        "while_gcd" => while_gcd(),
        "cond_both" => cond_both(),
        "cond_nested" => cond_nested(),
        "switch_clamp" => switch_clamp(),
        "map_rows" => {
            let row = |x: Tensor| ((&x * &x).sum(..), &x - x.max(..));
            let (a, b) = map(row, r(&[5, 3], 1));
            outputs([("a", a), ("b", b)])
        }
        // JAX makes these in batches of 4, which changes nothing in the result.
        "map_batches" => out(map(|x: Tensor| (&x * &x).sum(..), r(&[10, 3], 1))),
        "associative_add" => out(associative_scan(|a: Tensor, b| a + b, r(&[7, 3], 1))),
        "associative_add_one" => out(associative_scan(|a: Tensor, b| a + b, r(&[1, 3], 1))),
        "associative_mul" => out(associative_scan(|a: Tensor, b| a * b, r(&[16], 1) + 1.5)),
        "associative_max" => out(associative_scan(|a: Tensor, b| a.maximum(b), r(&[33], 1))),
        "associative_axis" => {
            out(AssociativeScan::new().axis(1).run(|a: Tensor, b| a + b, r(&[3, 10], 1)))
        }
        "associative_reverse" => {
            out(AssociativeScan::new().reverse(true).run(|a: Tensor, b| a + b, r(&[9, 2], 1)))
        }
        "associative_matmul" => {
            out(associative_scan(|a: Tensor, b| a.matmul(&b), r(&[6, 3, 3], 1)))
        }
        "associative_linear" => {
            let (a, b) = associative_scan(affine, linear());
            outputs([("a", a), ("b", b)])
        }
        "associative_linear_reverse" => {
            let (a, b) = AssociativeScan::new().reverse(true).run(affine, linear());
            outputs([("a", a), ("b", b)])
        }
        "grad_scan" => {
            let (loss, (w, u, h, x)) = value_and_grad(rnn_loss)(rnn_arguments());
            let grads = outputs([("grad.w", w), ("grad.u", u), ("grad.h0", h), ("grad.x", x)]);
            outputs([("loss", loss)]).into_iter().chain(grads).collect()
        }
        "jvp_scan" => {
            let (w, u, h, x) = rnn_arguments();
            let loss = |(w, x): (Tensor, Tensor)| rnn_loss((w, u.clone(), h.clone(), x));
            let along = (r(&[3, 4], 5), r(&[20, 3], 6));
            outputs([("tangent", jvp(loss, (w, x), along).1)])
        }
        "vmap_scan" => {
            let run = |x: Tensor| scan(decay, r(&[3], 2), x);
            carry_and_ys(vmap(run)(r(&[4, 10, 3], 1)))
        }
        "vmap_while" => {
            let halve = |(x, n): (Tensor, Tensor)| (x / 2.0, n + 1);
            let run = |x: Tensor| while_loop(|(x, _)| x.gt(1.0), halve, (x, i32(0)));
            let (x, n) = vmap(run)(Tensor::new(&[1000.0f32, 0.5, 8.0, 3.0], [4]));
            outputs([("x", x), ("n", n)])
        }
        _ => return None,
    })
}

fn rnn_arguments() -> (Tensor, Tensor, Tensor, Tensor) {
    (r(&[3, 4], 2), r(&[4, 4], 3) * 0.5, r(&[4], 4), r(&[20, 3], 1))
}

fn rnn_loss((w, u, h, x): (Tensor, Tensor, Tensor, Tensor)) -> Tensor {
    let step = |h: Tensor, x: Tensor| {
        let h = (x.dot(&w) + h.dot(&u)).tanh();
        (h.clone(), h)
    };
    let (h, ys) = scan(step, h, x);
    h.square().sum(..) + ys.index_in_dim(0, 1, false).sum(..)
}

/// What is wrong with the outputs of a case, if anything is.
fn differences(golden: &Golden, name: &str, how: &str, actual: &Outputs) -> Vec<String> {
    let compare = |(key, tensor): (&String, &Tensor)| {
        let expected = golden.find(name, key);
        let tolerance = if tensor.dtype().is_float() { CLOSE } else { EXACT };
        let found = match (tensor.check(), expected) {
            (Err(error), _) => Some(error.to_string()),
            (Ok(()), None) => Some("JAX has no such output".to_owned()),
            (Ok(()), Some(expected)) => difference(tensor, &expected, tolerance),
        };
        found.map(|found| format!("{name}/{key}, {how}: {found}"))
    };
    actual.iter().filter_map(compare).collect()
}

#[test]
fn control_flow_gives_what_jax_gives() {
    let golden = Golden::read("loops");
    let mut wrong = Vec::new();
    for case in &golden.cases {
        let name = case["name"].as_str().unwrap();
        let Some(eager) = run(name) else {
            wrong.push(format!("{name}: the test has no such case: {}", case["formula"]));
            continue;
        };
        let wanted = golden.keys(name);
        assert!(eager.keys().eq(&wanted), "{name}: outputs {:?}, not {wanted:?}", eager.keys());
        wrong.extend(differences(&golden, name, "eager", &eager));
        match jit(|()| run(name).unwrap()).call(()) {
            Ok(jitted) => wrong.extend(differences(&golden, name, "jitted", &jitted)),
            Err(error) => wrong.push(format!("{name}, jitted: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(golden.cases.len(), 49, "the file and this test are of different versions");
}
