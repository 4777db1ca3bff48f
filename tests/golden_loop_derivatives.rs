//! Derivatives and batches of programs with loops and branches, against what JAX computes for them:
//! `tests/golden/loop_derivatives.safetensors`. The programs are those of
//! `tests/golden/gen_loop_derivatives.py`, in the same order.

mod common;

use common::derived;
use onetrace::prelude::*;
use onetrace::{
    AssociativeScan, Checkpoint, Policy, associative_scan, checkpoint, checkpoint_with, custom_jvp,
    custom_vjp, stop_gradient,
};

#[test]
fn every_case_agrees_with_jax() {
    derived::check_all("loop_derivatives", apply);
}

/// The program that the generator calls `f`.
fn apply(f: &str, xs: &[Tensor]) -> Vec<Tensor> {
    let families = [networks, carries, more_carries, nests, branches, loops, bodies];
    let found = families.iter().find_map(|family| family(f, xs));
    found.unwrap_or_else(|| panic!("no program is called {f}"))
}

fn both((carry, ys): (Tensor, Tensor)) -> Vec<Tensor> {
    vec![carry, ys]
}

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32)
}

fn i32(i: i32) -> Tensor {
    Tensor::scalar(i, DType::I32)
}

fn float(i: &Tensor) -> Tensor {
    i.astype(DType::F32)
}

fn row(x: &Tensor, i: &Tensor) -> Tensor {
    x.dynamic_index_in_dim(i, 0, false)
}

type Pair = (Tensor, Tensor);

fn networks(f: &str, xs: &[Tensor]) -> Option<Vec<Tensor>> {
    let [x, w, u, h] = xs else { return None };
    let step = |h: Tensor, x: Tensor| {
        let h = (x.dot(w) + h.dot(u)).tanh();
        (h.clone(), h * x.sum(..))
    };
    let run = |options: Scan| options.run(step, h.clone(), x.clone());
    let new = Scan::new;
    Some(match f {
        "rnn" => both(run(new())),
        "rnn_reverse" => both(run(new().reverse(true))),
        "rnn_unroll" => both(run(new().unroll(2))),
        "rnn_reverse_unroll" => both(run(new().reverse(true).unroll(3))),
        "rnn_unroll_all" => both(run(new().unroll(5))),
        "rnn_checkpoint" => both(run(new().checkpoint(Checkpoint::Every(1)))),
        "rnn_dots" => {
            let step = |(h, x): Pair| step(h, x);
            let step = checkpoint_with(Policy::Dots, step);
            both(scan(|h, x| step((h, x)), h.clone(), x.clone()))
        }
        "checkpoint_of_scan" => {
            let all = checkpoint(|(x, h): Pair| scan(step, h, x));
            both(all((x.clone(), h.clone())))
        }
        "rnn_squared" => {
            let (h, ys) = scan(step, h * h, x.clone());
            vec![&h * &h, ys]
        }
        _ => return None,
    })
}

fn carries(f: &str, xs: &[Tensor]) -> Option<Vec<Tensor>> {
    let x = &xs[0];
    Some(match f {
        "counted" => {
            let step = |(n, flag, c): (Tensor, Tensor, Tensor), x: Tensor| {
                let c = select(&flag, &c * &x, &c + x * float(&n));
                ((&n + 2, (&n % 3).eq(0), c.clone()), (&c * &c, n))
            };
            let start = (i32(1), Tensor::scalar(false, DType::Bool), xs[1].clone());
            let ((n, flag, c), (squares, counts)) = scan(step, start, x.clone());
            vec![c, n, flag, squares, counts]
        }
        "mixed_floats" => {
            let step = |c: Tensor, (x, z): Pair| {
                let c = c * 0.5 + x.astype(DType::BF16);
                (c.clone(), z * c.astype(DType::F16))
            };
            both(scan(step, xs[1].clone(), (x.clone(), xs[2].clone())))
        }
        "double_carry" => {
            let step = |(s, c): Pair, (x, z): Pair| ((x.sin() * &s, c.sin() + z), (s, c));
            let start = (x.index(0) * 2.0, xs[2].clone());
            let ((s, c), (ss, cs)) = scan(step, start, (x.clone(), xs[1].clone()));
            vec![s, c, ss, cs]
        }
        "embedded" => {
            let step = |h: Tensor, k: Tensor| ((h + row(&xs[1], &k)).tanh(), k + 1);
            both(scan(step, xs[2].clone(), x.clone()))
        }
        "constant_carry" => {
            let step = |(c, k): Pair, x: Tensor| ((&c * &k + x, k), c);
            let ((c, k), ys) = scan(step, (ones(&[2]), xs[1].clone()), x.clone());
            vec![c, k, ys]
        }
        "unreached" => {
            let step = |(c, held, lost): (Tensor, Tensor, Tensor), x: Tensor| {
                let y = &held * &x;
                let held = held + stop_gradient(c.clone());
                ((c.sin() * &x, held, lost * c + x), y)
            };
            let start = (xs[1].clone(), ones(&[2]) * 0.0, ones(&[2]));
            let ((c, held, _), ys) = scan(step, start, x.clone());
            vec![c, held, ys]
        }
        "only_ys" => {
            vec![scan(|c: Tensor, x| (&c * x, c.exp()), xs[1].clone(), x.clone()).1]
        }
        "only_carry" => {
            vec![scan(|c: Tensor, x| ((&c * x).cos(), c), xs[1].clone(), x.clone()).0]
        }
        "forwarded" => {
            let step = |c: Tensor, x: Tensor| (&c * &x, (x, c, ones(&[2])));
            let (c, (xs, before, same)) = scan(step, xs[1].clone(), x.clone());
            vec![c, xs, before, same]
        }
        _ => return None,
    })
}

fn more_carries(f: &str, xs: &[Tensor]) -> Option<Vec<Tensor>> {
    let x = &xs[0];
    Some(match f {
        "no_carry" => vec![scan(|(), x: Tensor| ((), x.sin() * x), (), x.clone()).1],
        "no_xs" => {
            let step = |c: Tensor, ()| ((&c * &xs[1]).sin(), c);
            both(Scan::new().length(4).run(step, x.clone(), ()))
        }
        "delayed" => {
            let step = |(a, b, c): (Tensor, Tensor, Tensor), x| ((b, c, &a * x), &a * &a);
            let start = (xs[1].index(0), xs[1].index(1), xs[1].index(2));
            let ((a, b, c), ys) = scan(step, start, x.clone());
            vec![a, b, c, ys]
        }
        "buffer" => {
            let step = |(rows, n): Pair, x: Tensor| {
                let new = (x + row(&rows, &n)).tanh();
                let n = n + 1;
                ((rows.dynamic_update_index_in_dim(&new, &n, 0), n), new.sum(..))
            };
            let ((rows, _), ys) = scan(step, (ones(&[6, 2]), i32(0)), x.clone());
            vec![rows, ys]
        }
        "matrices" => {
            let eye = Tensor::eye(3, DType::F32);
            let step = |m: Tensor, a: Tensor| (m.matmul(&a), (m * &eye).sum(..));
            both(scan(step, xs[1].clone(), x.clone()))
        }
        "linear_recurrence" => {
            let step = |h: Tensor, (a, x): Pair| {
                let h = a * h + x;
                (h.clone(), h)
            };
            vec![scan(step, xs[2].clone(), (xs[1].clone(), x.clone())).1]
        }
        "guarded" => {
            let step = |c: Tensor, x: Tensor| {
                let zero = x.eq(0.0);
                (&c + select(&zero, 0.0, select(&zero, 1.0, x).sqrt()), c)
            };
            both(scan(step, ones(&[2]) * 0.0, x.clone()))
        }
        "noise" => {
            let step = |(key, c): Pair, x: Tensor| {
                let [key, own] = random::split_into(&key);
                let keep = random::bernoulli(&own, 0.5, [3]);
                let c = select(&keep, c.sin() * 2.0, c * x);
                ((key, c.clone()), c * random::uniform(&own, [3], DType::F32))
            };
            let ((_, c), ys) = scan(step, (x.clone(), xs[2].clone()), xs[1].clone());
            vec![c, ys]
        }
        _ => return None,
    })
}

fn nests(f: &str, xs: &[Tensor]) -> Option<Vec<Tensor>> {
    let x = &xs[0];
    Some(match f {
        "nested" => {
            let z = &xs[1];
            let step = |c: Tensor, row: Tensor| {
                let inner = |e: Tensor, (r, z_t): Pair| {
                    ((&e * z_t + &c).sin() * r + row.index(0) * z.sum(..), e)
                };
                scan(inner, c.clone(), (row.clone(), z.clone()))
            };
            both(scan(step, xs[2].clone(), x.clone()))
        }
        "three_deep" => {
            let deepest = |c: Tensor, x: Tensor| ((&c + &x).tanh(), c * x);
            let middle = |c: Tensor, row: Tensor| scan(deepest, c, row);
            both(scan(|c: Tensor, m: Tensor| scan(middle, c, m), xs[1].clone(), x.clone()))
        }
        "while_in_scan" => {
            let step = |c: Tensor, (x, n): Pair| {
                let body = |(c, k): Pair| (c.sin() + &x, k + 1);
                let (c, _) = while_loop(|(_, k): Pair| k.lt(&n), body, (c, i32(0)));
                (c.clone(), c * &x)
            };
            both(scan(step, xs[1].clone(), (x.clone(), xs[2].clone())))
        }
        "scan_in_while" => {
            let step = |c: Tensor, x: Tensor| (c.sin() * x, ());
            let body = |(c, n): Pair| (scan(step, c, x.clone()).0, n - 1);
            both(while_loop(|(_, n): Pair| n.gt(0), body, (xs[1].clone(), xs[2].clone())))
        }
        "fori_in_scan" => {
            let step = |c: Tensor, x: Tensor| {
                let c = fori_loop(0, 3, |k, c: Tensor| c.sin() * &x + float(&k), c);
                (c.clone(), c * x)
            };
            both(scan(step, xs[1].clone(), x.clone()))
        }
        _ => return None,
    })
}

fn branches(f: &str, xs: &[Tensor]) -> Option<Vec<Tensor>> {
    let x = &xs[0];
    Some(match f {
        "cond_in_scan" => {
            let (w, v) = (xs[1].index(0), xs[1].index(1));
            let step = |c: Tensor, x: Tensor| {
                let yes = |c: Tensor| (c * &w).sin() + &x;
                let c = cond(x.gt(0.0), yes, |c: Tensor| &c * &c * &v - &x, c);
                (c.clone(), c * x)
            };
            both(scan(step, xs[2].clone(), x.clone()))
        }
        "cond_of_carry" => {
            let step = |c: Tensor, x: Tensor| {
                let no = |c: Tensor| c * 0.5 + &x + 0.5;
                (cond(c.gt(0.2), |c: Tensor| c - &x * &x, no, c.clone()), c)
            };
            both(scan(step, xs[1].clone(), x.clone()))
        }
        "cond_of_scans" => {
            let up = |c: Tensor| scan(|c: Tensor, x| ((c + x).sin(), ()), c, xs[1].clone()).0;
            let down = |c: Tensor| {
                let first = xs[1].slice_in_dim(..3, 0);
                Scan::new().reverse(true).run(|c: Tensor, x| (c * x, ()), c, first).0
            };
            vec![cond(x, up, down, xs[2].clone())]
        }
        "cond_operands" => {
            let yes = |(x, y): Pair| (x.sin(), y, i32(1));
            let no = |(x, y): Pair| (ones(&[3]), x * y, i32(2));
            let (a, b, n) = cond(x, yes, no, (xs[1].clone(), xs[2].clone()));
            vec![a, b, n]
        }
        "cond_nested" => {
            let low = |y: Tensor| cond(x.lt(-0.5), |y: Tensor| y * x, |y: Tensor| y * x * x, y);
            vec![cond(x.lt(0.0), low, |y: Tensor| y.cos() * x, xs[1].clone())]
        }
        "switched" => {
            let cube = |x: Tensor| &x * &x * &x;
            vec![switch(x, &[&|x: Tensor| x.sin(), &cube, &|_| ones(&[3])], xs[1].clone())]
        }
        "switch_in_scan" => {
            let step = |c: Tensor, (k, x): Pair| {
                let sine = |(c, x): Pair| c.sin() * x;
                let sum = |(c, x): Pair| c + x;
                (switch(k, &[&sine, &sum, &|(c, _)| &c * &c], (c.clone(), x)), c)
            };
            both(scan(step, xs[2].clone(), (x.clone(), xs[1].clone())))
        }
        _ => return None,
    })
}

fn loops(f: &str, xs: &[Tensor]) -> Option<Vec<Tensor>> {
    let x = &xs[0];
    Some(match f {
        "newton" => {
            let far = |root: Tensor| (&root * &root - x).abs().gt(1e-2).any(..);
            vec![while_loop(far, |root: Tensor| (&root + x / &root) * 0.5, ones(&[3]))]
        }
        "while_limit" => {
            let body = |(x, n): Pair| (x * 1.5 + 0.75, n + 1);
            let (x, n) = while_loop(|(x, _): Pair| x.lt(&xs[1]), body, (x * x, i32(0)));
            vec![&x * &x, n]
        }
        "while_never" => {
            vec![while_loop(|x: Tensor| x.sum(..).gt(100.0), |x| &x * &x, x.clone())]
        }
        "fori_rows" => {
            let body = |k: Tensor, c: Tensor| c.sin() * row(&xs[1], &k) + c;
            vec![fori_loop(0, 4, body, x.clone())]
        }
        "fori_dynamic" => {
            let body = |k: Tensor, c: Tensor| c.sin() + float(&k);
            vec![fori_loop(x, &xs[1], body, xs[2].clone())]
        }
        "fori_empty" => vec![fori_loop(3, 3, |_, c: Tensor| &c * &c, x * x)],
        "mapped" => {
            let row = |x: Tensor| ((&x * &xs[1]).sin().sum(..), &x / (&x + 2.0));
            both(map(row, x.clone()))
        }
        "associative_product" => vec![associative_scan(|a: Tensor, b| a * b, x.clone())],
        "associative_matmul" => {
            let product = |a: Tensor, b: Tensor| a.matmul(&b);
            vec![AssociativeScan::new().reverse(true).run(product, x.clone())]
        }
        "associative_pair" => {
            let combine = |p: Pair, q: Pair| (p.0 * &q.0, q.0 * p.1 + q.1);
            both(associative_scan(combine, (x.clone(), xs[1].clone())))
        }
        _ => return None,
    })
}

fn bodies(f: &str, xs: &[Tensor]) -> Option<Vec<Tensor>> {
    let x = &xs[0];
    let run = |step: &dyn Fn(Tensor, Tensor) -> Pair| {
        both(scan(|c, x| step(c, x), xs[1].clone(), x.clone()))
    };
    Some(match f {
        "stopped" => run(&|c, x| {
            let y = &c * stop_gradient(x.clone());
            (c.sin() * stop_gradient(c) + x, y)
        }),
        "custom_vjp_in_scan" => {
            let sine = custom_vjp(
                |x: Tensor| x.sin(),
                |x: Tensor| (x.sin(), x.cos()),
                |slope: Tensor, ct: Tensor| slope * ct * 10.0,
            );
            run(&|c, x| (sine(&c + &x), sine(x * c)))
        }
        "custom_jvp_in_scan" => {
            let rule = |x: Tensor, t: Tensor| (x.sin(), x.cos() * t * 3.0);
            let sine = custom_jvp(|x: Tensor| x.sin(), rule);
            run(&|c, x| (sine(&c + &x), sine(x * c)))
        }
        "descent" => run(&|w, x| {
            let loss = |w: Tensor| w.dot(&x).tanh().square();
            (&w - grad(loss)(w.clone()) * 0.5, loss(w))
        }),
        "jvp_in_scan" => run(&|c, x| (&c + jvp(|z: Tensor| z.sin(), &c * &x, x).1, c)),
        "vmap_in_scan" => run(&|c, x| {
            let sines = vmap(|row: Tensor| (row * &c).sin())(x);
            (sines.sum(0), c)
        }),
        "jit_in_scan" => run(&|c, x| {
            let inner = jit(|c: Tensor| (c * &x).sin() + &x);
            let once = inner.call(&c).unwrap();
            (once.clone(), inner.call(once).unwrap())
        }),
        "gradient_of_scan_in_scan" => run(&|w, row| {
            let loss = |w: Tensor| {
                let step = |c: Tensor, _: Tensor| ((&c * &w).sin(), c);
                scan(step, row.clone(), Tensor::arange(2, DType::F32)).0.sum(..)
            };
            (grad(loss)(w.clone()) + &row, w)
        }),
        _ => return None,
    })
}
