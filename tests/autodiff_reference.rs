//! Derivatives and batches of functions, against what JAX computes for them:
//! `tests/golden/autodiff.safetensors`. The functions are those of `tests/golden/gen_autodiff.py`.

mod common;

use common::derived;
use onetrace::prelude::*;
use onetrace::{
    associative_scan, concatenate, einsum, keepdims, random, select, sort, stop_gradient,
};

#[test]
fn every_case_agrees_with_jax() {
    derived::check_all("autodiff", apply);
}

/// The function that the generator calls `f`.
fn apply(f: &str, xs: &[Tensor]) -> Vec<Tensor> {
    let families = [probabilities, folds, places, products, elements, shapes];
    let found = families.iter().find_map(|family| family(f, xs));
    found.unwrap_or_else(|| panic!("no function is called {f}"))
}

fn probabilities(f: &str, xs: &[Tensor]) -> Option<Vec<Tensor>> {
    let x = &xs[0];
    Some(match f {
        "cross_entropy" => {
            let labels = xs[1].expand_dims(1);
            vec![-x.log_softmax(-1).take_along_axis(&labels, 1).mean(..)]
        }
        "softmax" => vec![x.softmax(-1)],
        "softmax_first" => vec![x.softmax(0)],
        "log_softmax" => vec![x.log_softmax(-1)],
        "layer_norm" => {
            let (mean, var) = (x.mean(keepdims(-1)), x.var(keepdims(-1), 0));
            vec![(x - mean) * (var + 1e-5).rsqrt() * &xs[1] + &xs[2]]
        }
        "logsumexp" | "logsumexp_of_nothing" => vec![x.logsumexp(1)],
        "standardized" => {
            let axes = || keepdims([0, 2]);
            vec![(x - x.mean(axes())) / x.std(axes(), 1)]
        }
        "safe_norm" => {
            let square = (x * x).sum(-1);
            let zero = square.eq(0.0);
            vec![select(&zero, 0.0, select(&zero, 1.0, square).sqrt())]
        }
        "naive_norm" => vec![(x * x).sum(-1).sqrt()],
        "normal" => vec![&xs[1] + &xs[2] * random::normal(x, [5], DType::F32)],
        "uniform" => {
            let (low, high) = (&xs[1], &xs[2]);
            vec![low + (high - low) * random::uniform(x, [4, 3], DType::F32)]
        }
        "gumbel_softmax" => {
            let gumbel = random::gumbel(x, [4], DType::F32);
            vec![((&xs[1] + gumbel) / 0.5).softmax(-1)]
        }
        _ => return None,
    })
}

fn folds(f: &str, xs: &[Tensor]) -> Option<Vec<Tensor>> {
    let x = &xs[0];
    Some(match f {
        "max_pool" => vec![x.reshape([2, 3, 2, 2, 2]).max([2, 4])],
        "maxima" => vec![x.max(1), x.min(0), x.max(..)],
        "at_argmax" => vec![x.take_along_axis(&x.argmax(keepdims(1)), 1)],
        "prod" => vec![x.prod(1)],
        "prod_axes" => vec![x.prod([0, 2])],
        "cumsum" => vec![x.cumsum(1, false), x.cumsum(0, true)],
        "cumprod" => vec![x.cumprod(1, false), x.cumprod(0, true)],
        "cummax" => vec![x.cummax(1, false), x.cummin(1, true)],
        "cumlogsumexp" => vec![x.cumlogsumexp(1, false), x.cumlogsumexp(0, true)],
        "recurrence" => {
            type Pair = (Tensor, Tensor);
            let combine = |p: Pair, q: Pair| (p.0 * &q.0, &q.0 * p.1 + q.1);
            vec![associative_scan(combine, (x.clone(), xs[1].clone())).1]
        }
        "recurrent" => {
            let (w, u) = (&xs[1], &xs[2]);
            let step = |h: Tensor, x: Tensor| {
                let h = (x.dot(w) + h.dot(u)).tanh();
                (h.clone(), h)
            };
            let (h, ys) = scan(step, xs[3].clone(), x.clone());
            vec![h, ys]
        }
        "sort" => vec![x.sort(1), x.sort(0), x.sort_descending(1)],
        "sort_together" => sort(&[x, &xs[1], &xs[2]], 0, 2),
        "sort_by" => {
            let order = x.argsort(1);
            vec![xs[1].take_along_axis(&order, 1) * Tensor::arange(5, DType::F32)]
        }
        "top_k" => {
            let (values, indices) = x.top_k(2);
            vec![values, indices]
        }
        "median" => vec![x.sort(1).index_in_dim(2, 1, false)],
        _ => return None,
    })
}

fn places(f: &str, xs: &[Tensor]) -> Option<Vec<Tensor>> {
    let x = &xs[0];
    Some(match f {
        "take" => vec![x.take(&xs[1], 0)],
        "take_clip" => vec![x.take_clip(&xs[1], 1).square()],
        "take_along" => vec![x.take_along_axis(&xs[1], 1)],
        "windows" => {
            let starts = Tensor::arange(4, DType::I32).expand_dims(1);
            vec![x.take(&(starts + Tensor::arange(3, DType::I32)), 0).sum(1).square()]
        }
        "scatter_add" => vec![x.scatter_add(&xs[1], &xs[2]).square()],
        "scatter_set" | "scatter_set_one" => vec![x.scatter_set(&xs[1], &xs[2]).square()],
        "scatter_extremes" => {
            vec![x.scatter_max(&xs[1], &xs[2]), x.scatter_min(&xs[1], &xs[2])]
        }
        "segment_softmax" => {
            let (segments, lowest) = (&xs[1], Tensor::full([3], f64::NEG_INFINITY, DType::F32));
            let largest = lowest.scatter_max(segments, stop_gradient(x.clone()));
            let e = (x - largest.take(segments, 0)).exp();
            let sums = Tensor::zeros([3], DType::F32).scatter_add(segments, &e);
            vec![&e / sums.take(segments, 0)]
        }
        "dynamic" => {
            let (start, update) = (&xs[1], &xs[2]);
            let sliced = x.dynamic_slice_in_dim(start, 3, 0);
            let updated = x.dynamic_update_slice_in_dim(update, start, 0);
            vec![sliced.square(), updated.square()]
        }
        _ => return None,
    })
}

fn products(f: &str, xs: &[Tensor]) -> Option<Vec<Tensor>> {
    let operands: Vec<&Tensor> = xs.iter().collect();
    Some(match f {
        "dot" => vec![xs[0].dot(&xs[1]).square()],
        "matmul" => vec![xs[0].matmul(&xs[1]).tanh()],
        "dot_general" => vec![xs[0].dot_general(&xs[1], (&[3, 2], &[0, 3]), (&[0], &[1]))],
        "einsum_chain" => vec![einsum("ij,jk,kl->il", &operands)],
        "einsum_batched" => vec![einsum("bij,bjk,k->bi", &operands)],
        "einsum_traces" => vec![
            einsum("ii->i", &operands[..1]),
            einsum("ii,i,j->j", &operands),
            einsum("i,j->ij", &operands[1..]),
        ],
        "attention" => {
            let scores = einsum("btd,bsd->bts", &operands[..2]) / 2.0;
            let visible = Tensor::tri(3, 5, 1, DType::Bool);
            vec![select(&visible, scores, f64::NEG_INFINITY).softmax(-1).matmul(&xs[2])]
        }
        "perceptron" => {
            let hidden = (xs[0].matmul(&xs[1]) + &xs[2]).tanh();
            vec![hidden.matmul(&xs[3]).square().mean(..)]
        }
        _ => return None,
    })
}

fn elements(f: &str, xs: &[Tensor]) -> Option<Vec<Tensor>> {
    let x = &xs[0];
    Some(match f {
        "power" => vec![x.pow(&xs[1])],
        "powers" => vec![x.powi(2) + x.powi(3), x.powi(0), x.square()],
        "activations" => {
            vec![x.softplus() + x.silu() + x.gelu(), x.log_sigmoid(), x.gelu_exact()]
        }
        "kinks" => {
            vec![x.relu(), x.leaky_relu(0.01), x.elu(1.0), x.abs(), x.clamp(-1.0, 1.0)]
        }
        "extremes" => vec![x.maximum(&xs[1]), x.minimum(&xs[1])],
        "logaddexp" => vec![x.logaddexp(&xs[1])],
        "held_fixed" => vec![stop_gradient(x.clone()) * x * &xs[1]],
        "choice" => vec![select(x, xs[1].square(), &xs[2])],
        "mixed" => {
            let (y, z) = (&xs[1], &xs[2]);
            let sum = ((x.astype(DType::F32) * y).astype(DType::F64) * z).sum(..);
            vec![sum, (y.astype(DType::F16) * x).max(1)]
        }
        "mixed_brain" => {
            let y = &xs[1];
            let sum = (x * y.astype(DType::BF16)).sum(1);
            vec![sum, (x.astype(DType::F32) * y).astype(DType::BF16)]
        }
        "double" => vec![x.sin().matmul(&xs[1]).log_softmax(-1)],
        "through_integers" => {
            let whole = (x * 4.0).astype(DType::I32);
            vec![whole.astype(DType::F32) * &xs[1], whole]
        }
        _ => return None,
    })
}

fn shapes(f: &str, xs: &[Tensor]) -> Option<Vec<Tensor>> {
    let x = &xs[0];
    Some(match f {
        "shapes" => {
            let y = &xs[1];
            let z = concatenate(&[x, y], 1).flip(1).strided_slice_in_dim(.., 2, 1);
            vec![z.t().reshape([9]) * 2.0, y.tile([1, 2]), x.roll(1, 1), y.repeat(2, 0)]
        }
        "padded" => vec![x.pad(&xs[1], &[(1, -1, 1), (-1, 2, 0)])],
        _ => return None,
    })
}
