//! The laws of the transformations for every operation; see `common::laws`.

mod common;

use std::collections::BTreeSet;

use common::for_each_in_parallel;
use common::laws::{Case, bools, ints, real};
use onetrace::ir::operation_names;
use onetrace::prelude::*;
use onetrace::{associative_scan, checkpoint, custom_jvp, custom_vjp, random, stop_gradient};

/// Cases: a name, the arguments, and the function of them. A word behind it says what is special.
macro_rules! cases {
    ($(
        $name:literal: [$($argument:expr),*] => |$x:ident| $body:expr $(; $special:ident)*
    ),* $(,)?) => {
        vec![$(Case::new($name, vec![$($argument),*], |$x: &[Tensor]| $body)$(.$special())*),*]
    };
}

/// Functions of one tensor, between two limits: methods of `Tensor`.
macro_rules! unary {
    ($($name:ident: $low:literal, $high:literal;)*) => {
        vec![$(Case::new(
            stringify!($name),
            vec![real(&[2, 3]).within($low.into(), $high.into())],
            |x| x[0].$name(),
        )),*]
    };
}

fn unary() -> Vec<Case> {
    let floats = unary! {
        neg: -1, 1;
        abs: -2, 2;
        sign: -2, 2;
        floor: -2, 2;
        ceil: -2, 2;
        round: -2, 2;
        exp: -2, 2;
        exp2: -2, 2;
        expm1: -1, 1;
        log: 0.3, 3;
        log1p: -0.6, 2;
        sqrt: 0.3, 3;
        rsqrt: 0.3, 3;
        cbrt: 0.3, 3;
        sin: -3, 3;
        cos: -3, 3;
        tan: -1, 1;
        asin: -0.8, 0.8;
        acos: -0.8, 0.8;
        atan: -3, 3;
        sinh: -2, 2;
        cosh: -2, 2;
        tanh: -2, 2;
        asinh: -2, 2;
        acosh: 1.2, 3;
        atanh: -0.8, 0.8;
        sigmoid: -3, 3;
        erf: -2, 2;
        erfc: -2, 2;
        erf_inv: -0.8, 0.8;
        lgamma: 0.5, 4;
        digamma: 0.5, 4;
        is_finite: -1, 1;
    };
    let others = cases! {
        "cbrt of negative numbers": [real(&[3]).within(-3.0, -0.3)] => |x| x[0].cbrt(),
        "lgamma of negative numbers": [real(&[3]).within(-0.7, -0.3)] => |x| x[0].lgamma(),
        "tanh of a scalar": [real(&[])] => |x| x[0].tanh(),
        "tanh of nothing": [real(&[0, 2])] => |x| x[0].tanh(),
        "neg of integers": [ints(&[3], -9, 9)] => |x| -&x[0],
        "not of bool": [bools(&[3])] => |x| !&x[0],
        "not of integers": [ints(&[3], -9, 9)] => |x| !&x[0],
        "count_leading_zeros": [ints(&[3], -9, 9)] => |x| x[0].count_leading_zeros(),
        "population_count": [ints(&[3], -9, 9)] => |x| x[0].population_count(),
    };
    [floats, others].into_iter().flatten().collect()
}

fn binary() -> Vec<Case> {
    cases! {
        "add": [real(&[2, 3]), real(&[2, 3])] => |x| &x[0] + &x[1],
        "add with itself": [real(&[2])] => |x| &x[0] + &x[0],
        "add, broadcast": [real(&[2, 1]), real(&[3])] => |x| &x[0] + &x[1],
        "add of scalars": [real(&[]), real(&[])] => |x| &x[0] + &x[1],
        "sub": [real(&[2, 3]), real(&[3])] => |x| &x[0] - &x[1],
        "mul": [real(&[2, 3]), real(&[2, 3])] => |x| &x[0] * &x[1],
        "mul with itself": [real(&[2])] => |x| &x[0] * &x[0],
        "mul by a constant": [real(&[2])] => |x| &x[0] * 3.0,
        "div": [real(&[2, 3]), real(&[2, 3]).within(0.5, 2.0)] => |x| &x[0] / &x[1],
        "rem": [real(&[6]).within(-9.0, 9.0), real(&[6]).within(1.0, 3.0)] => |x| &x[0] % &x[1],
        "pow": [real(&[4]).within(0.3, 3.0), real(&[4]).within(-2.0, 2.0)] => |x| x[0].pow(&x[1]),
        "pow of negative numbers": [real(&[3]).within(-2.0, -0.5)] => |x| x[0].pow(3.0),
        "pow of integers": [ints(&[3], -3, 4), ints(&[3], 0, 5)] => |x| x[0].pow(&x[1]),
        "maximum": [real(&[6]), real(&[6])] => |x| x[0].maximum(&x[1]),
        "maximum of equal numbers": [real(&[6]).tied(2), real(&[6]).tied(2)]
            => |x| x[0].maximum(&x[1]); at_a_kink,
        "minimum": [real(&[6]), real(&[6])] => |x| x[0].minimum(&x[1]),
        "minimum of equal numbers": [real(&[6]).tied(2), real(&[6]).tied(2)]
            => |x| x[0].minimum(&x[1]); at_a_kink,
        "atan2": [real(&[6]).within(0.2, 1.0), real(&[6])] => |x| x[0].atan2(&x[1]),
        "nextafter": [real(&[2]), real(&[2])] => |x| x[0].nextafter(&x[1]),
        "polygamma": [real(&[3]).within(0.8, 4.0)]
            => |x| Tensor::full([3], 2, DType::F64).polygamma(&x[0]),
        "logical_and": [bools(&[4]), bools(&[4])] => |x| &x[0] & &x[1],
        "logical_or": [ints(&[4], 0, 9), ints(&[4], 0, 9)] => |x| &x[0] | &x[1],
        "logical_xor": [ints(&[4], 0, 9), ints(&[4], 0, 9)] => |x| &x[0] ^ &x[1],
        "shift_left": [ints(&[4], -9, 9), ints(&[4], 0, 40)] => |x| &x[0] << &x[1],
        "shift_right": [ints(&[4], -9, 9), ints(&[4], 0, 40)] => |x| &x[0] >> &x[1],
        "shift_right_logical": [ints(&[4], -9, 9), ints(&[4], 0, 40)]
            => |x| x[0].shift_right_logical(&x[1]),
        "comparisons": [real(&[5]).tied(3), real(&[5]).tied(3)] => |x| {
            let (x, y) = (&x[0], &x[1]);
            vec![x.eq(y), x.ne(y), x.lt(y), x.le(y), x.gt(y), x.ge(y)]
        },
    }
}

fn shapes() -> Vec<Case> {
    cases! {
        "broadcast to a new axis": [real(&[3])] => |x| x[0].broadcast_to(&[2, 3]),
        "broadcast along an axis": [real(&[2, 1, 3])] => |x| x[0].broadcast_to(&[2, 4, 3]),
        "broadcast both ways": [real(&[1, 2, 1])] => |x| x[0].broadcast_to(&[3, 1, 2, 2]),
        "broadcast of a scalar": [real(&[])] => |x| x[0].broadcast_to(&[2, 3]),
        "broadcast to nothing": [real(&[1, 2])] => |x| x[0].broadcast_to(&[0, 2]),
        "reshape": [real(&[2, 6])] => |x| x[0].reshape([3, 4]),
        "reshape within axes": [real(&[2, 6])] => |x| x[0].reshape([2, 1, 3, 2]),
        "reshape of a scalar": [real(&[])] => |x| x[0].reshape([1, 1]),
        "reshape of nothing": [real(&[0, 3])] => |x| x[0].reshape([2, 0]),
        "expand_dims and squeeze": [real(&[2, 1])] => |x| x[0].expand_dims(1).squeeze(2),
        "transpose": [real(&[2, 3, 4])] => |x| x[0].transpose([2, 0, 1]),
        "transpose of a scalar": [real(&[])] => |x| x[0].t(),
        "concatenate": [real(&[2, 1]), real(&[2, 0]), real(&[2, 3])] => |x| concatenate(x, 1),
        "concatenate on the first axis": [real(&[1, 2]), real(&[2, 2])] => |x| concatenate(x, 0),
        "concatenate with itself": [real(&[2])] => |x| concatenate(&[&x[0], &x[0]], 0),
        "concatenate with a constant": [real(&[2])]
            => |x| concatenate(&[&x[0], &Tensor::ones([1], DType::F64)], 0),
        "concatenate of integers": [ints(&[2], 0, 9), ints(&[1], 0, 9)] => |x| concatenate(x, 0),
        "roll": [real(&[5])] => |x| x[0].roll(2, 0),
        "tile": [real(&[2, 1])] => |x| x[0].tile([2, 3]),
        "flip": [real(&[2, 3, 2])] => |x| x[0].flip([0, 2]),
        "flip of nothing": [real(&[0, 2])] => |x| x[0].flip(..),
        "slice": [real(&[5, 4])] => |x| x[0].slice(&[1, 0], &[4, 3], &[1, 1]),
        "slice with strides": [real(&[7, 5])] => |x| x[0].slice(&[1, 0], &[6, 5], &[2, 3]),
        "slice with strides beyond the axis": [real(&[3])] => |x| x[0].slice(&[1], &[3], &[9]),
        "slice of nothing": [real(&[3, 0])] => |x| x[0].slice(&[2, 0], &[2, 0], &[1, 2]),
        "slice of a scalar": [real(&[])] => |x| x[0].slice(&[], &[], &[]),
        "index": [real(&[3, 2])] => |x| x[0].index(-1),
        "split": [real(&[2, 6])] => |x| x[0].split(3, 1),
        "pad": [real(&[2, 3]), real(&[])] => |x| x[0].pad(&x[1], &[(1, 2, 0), (0, 1, 0)]),
        "pad between": [real(&[3]), real(&[])] => |x| x[0].pad(&x[1], &[(1, 0, 2)]),
        "pad by negative numbers": [real(&[4, 3]), real(&[])]
            => |x| x[0].pad(&x[1], &[(-1, 2, 0), (1, -2, 0)]),
        "pad between, cut off": [real(&[4]), real(&[])] => |x| x[0].pad(&x[1], &[(-2, -1, 2)]),
        "pad with all cut off": [real(&[2]), real(&[])] => |x| x[0].pad(&x[1], &[(-5, 6, 0)]),
        "pad to nothing": [real(&[2]), real(&[])] => |x| x[0].pad(&x[1], &[(-1, -1, 0)]),
        "pad of nothing": [real(&[0]), real(&[])] => |x| x[0].pad(&x[1], &[(2, 1, 3)]),
        "pad of a scalar": [real(&[]), real(&[])] => |x| x[0].pad(&x[1], &[]),
        "pad with zeros": [real(&[2])] => |x| x[0].pad(0, &[(1, 1, 1)]),
        "pad a constant": [real(&[])] => |x| Tensor::ones([2], DType::F64).pad(&x[0], &[(1, 1, 1)]),
        "select": [bools(&[4]), real(&[4]), real(&[4])] => |x| select(&x[0], &x[1], &x[2]),
        "select, broadcast": [bools(&[3, 1]), real(&[4]), real(&[])]
            => |x| select(&x[0], &x[1], &x[2]),
        "select or a number": [bools(&[4]), real(&[4])] => |x| select(&x[0], &x[1], 2.0),
        "select, by itself": [real(&[4])] => |x| select(&x[0].gt(0), 1.5, &x[0]),
        "select of scalars": [bools(&[]), real(&[]), real(&[])] => |x| select(&x[0], &x[1], &x[2]),
        "clamp": [real(&[5]), real(&[]).within(-0.5, -0.2)] => |x| x[0].clamp(&x[1], 0.4),
        "iota": [real(&[4])] => |x| Tensor::arange(4, DType::F64) * &x[0],
        "iota alone": [real(&[])] => |x| (&x[0] + 1.0, Tensor::eye(2, DType::F64)),
        "constant": [real(&[2])] => |x| &x[0] * Tensor::new(&[3.0, -1.0], [2]),
        "convert": [real(&[4])] => |x| x[0].astype(DType::F32).astype(DType::F64); rounded,
        "convert to integers": [real(&[4]).within(-5.0, 5.0)]
            => |x| (x[0].astype(DType::I32), &x[0] * 1.0),
        "convert to bool": [real(&[4])] => |x| x[0].astype(DType::Bool),
        "convert of integers": [ints(&[4], -5, 5), real(&[4])]
            => |x| x[0].astype(DType::F64) * &x[1],
        "bitcast": [real(&[2])] => |x| x[0].bitcast(DType::I64),
        "bitcast of integers": [ints(&[2], 0, 9)] => |x| x[0].bitcast(DType::F32),
    }
}

fn indexing() -> Vec<Case> {
    cases! {
        "dynamic_slice": [real(&[5, 4]), ints(&[], -9, 9), ints(&[], 0, 3)]
            => |x| x[0].dynamic_slice(&x[1..], &[2, 2]),
        "dynamic_slice of whole axes": [real(&[3, 5, 2]), ints(&[], 0, 6)] => |x| {
            let zero = Tensor::scalar(0, DType::I32);
            x[0].dynamic_slice(&[&zero, &x[1], &zero], &[3, 2, 2])
        },
        "dynamic_slice of all": [real(&[3]), ints(&[], 0, 3)]
            => |x| x[0].dynamic_slice(&x[1..], &[3]),
        "dynamic_slice of nothing": [real(&[3]), ints(&[], 0, 9)]
            => |x| x[0].dynamic_slice(&x[1..], &[0]),
        "dynamic_slice of a scalar": [real(&[])] => |x| x[0].dynamic_slice::<Tensor>(&[], &[]),
        "dynamic_slice at unsigned places": [real(&[6]), ints(&[], 0, 9).dtype(DType::U32)]
            => |x| x[0].dynamic_slice(&x[1..], &[2]),
        "dynamic_slice of integers": [ints(&[6], -9, 9), ints(&[], 0, 9)]
            => |x| x[0].dynamic_slice(&x[1..], &[2]),
        "dynamic_index_in_dim": [real(&[3, 4]), ints(&[], -5, 5)]
            => |x| x[0].dynamic_index_in_dim(&x[1], 1, false),
        "dynamic_update_slice": [real(&[5, 4]), real(&[2, 3]), ints(&[], -9, 9), ints(&[], 0, 3)]
            => |x| x[0].dynamic_update_slice(&x[1], &x[2..]),
        "dynamic_update_slice of a whole axis": [real(&[3, 5]), real(&[3, 2]), ints(&[], 0, 6)]
            => |x| x[0].dynamic_update_slice_in_dim(&x[1], &x[2], 1),
        "dynamic_update_slice of all": [real(&[3]), real(&[3]), ints(&[], 0, 3)]
            => |x| x[0].dynamic_update_slice(&x[1], &x[2..]),
        "dynamic_update_slice of nothing": [real(&[3]), real(&[0]), ints(&[], 0, 3)]
            => |x| x[0].dynamic_update_slice(&x[1], &x[2..]),
        "dynamic_update_slice of a scalar": [real(&[]), real(&[])]
            => |x| x[0].dynamic_update_slice::<Tensor>(&x[1], &[]),
        "dynamic_update_slice of a constant": [real(&[2]), ints(&[], 0, 9)]
            => |x| Tensor::ones([4], DType::F64).dynamic_update_slice(&x[0], &x[1..]),
        "take": [real(&[5]), ints(&[4], -5, 5)] => |x| x[0].take(&x[1], 0),
        "take along a middle axis": [real(&[2, 3, 2]), ints(&[2, 2], 0, 3)]
            => |x| x[0].take(&x[1], 1),
        "take of the same": [real(&[3, 2]), ints(&[5], 1, 2)] => |x| x[0].take(&x[1], 0),
        "take out of range": [real(&[3]), ints(&[8], -9, 9)] => |x| x[0].take(&x[1], 0); at_a_kink,
        "take one": [real(&[3, 2]), ints(&[], 0, 3)] => |x| x[0].take(&x[1], 0),
        "take nothing": [real(&[3, 2]), ints(&[0], 0, 3)] => |x| x[0].take(&x[1], 0),
        "take_clip out of range": [real(&[3, 2]), ints(&[6], -9, 9)]
            => |x| x[0].take_clip(&x[1], 0),
        "take_along_axis": [real(&[3, 4]), ints(&[3, 5], 0, 4)]
            => |x| x[0].take_along_axis(&x[1], 1),
        "take_along_axis, broadcast": [real(&[1, 4]), ints(&[3, 1], 0, 4)]
            => |x| x[0].take_along_axis(&x[1], 1),
        "scatter_add": [real(&[4, 2]), ints(&[3], 0, 4), real(&[3, 2])]
            => |x| x[0].scatter_add(&x[1], &x[2]),
        "scatter_add to the same": [real(&[3]), ints(&[5], 1, 2), real(&[5])]
            => |x| x[0].scatter_add(&x[1], &x[2]),
        "scatter_add out of range": [real(&[3]), ints(&[6], -9, 9), real(&[6])]
            => |x| x[0].scatter_add(&x[1], &x[2]),
        "scatter_add of a scalar": [real(&[3]), ints(&[2, 2], 0, 3), real(&[])]
            => |x| x[0].scatter_add(&x[1], &x[2]),
        "scatter_add of nothing": [real(&[3]), ints(&[0], 0, 3), real(&[0])]
            => |x| x[0].scatter_add(&x[1], &x[2]),
        "scatter_max": [real(&[3]), ints(&[5], 0, 3), real(&[5])]
            => |x| x[0].scatter_max(&x[1], &x[2]),
        "scatter_max of equal numbers": [real(&[3]).tied(2), ints(&[5], 0, 3), real(&[5]).tied(2)]
            => |x| x[0].scatter_max(&x[1], &x[2]); at_a_kink,
        "scatter_min": [real(&[3, 2]), ints(&[4], 0, 3), real(&[4, 2])]
            => |x| x[0].scatter_min(&x[1], &x[2]),
        "scatter_set": [real(&[4, 2]), ints(&[1], 0, 4), real(&[1, 2])]
            => |x| x[0].scatter_set(&x[1], &x[2]),
        "scatter_set of the same": [real(&[3]), ints(&[5], 0, 3), real(&[5])]
            => |x| x[0].scatter_set(&x[1], &x[2]),
        "scatter_set out of range": [real(&[3]), ints(&[2], 3, 9), real(&[2])]
            => |x| x[0].scatter_set(&x[1], &x[2]),
    }
}

fn reductions() -> Vec<Case> {
    cases! {
        "sum": [real(&[2, 3, 2])] => |x| x[0].sum([0, 2]),
        "sum of all": [real(&[2, 3])] => |x| x[0].sum(..),
        "sum over nothing": [real(&[2, 0])] => |x| x[0].sum(1),
        "sum with keepdims": [real(&[2, 3])] => |x| x[0].sum(keepdims(0)),
        "sum of integers": [ints(&[2, 3], -9, 9)] => |x| x[0].sum(1),
        "prod": [real(&[3, 5])] => |x| x[0].prod(1),
        "prod of all": [real(&[2, 3])] => |x| x[0].prod(..),
        "prod with zeros": [real(&[4, 3]).tied(2)] => |x| x[0].prod(1),
        "prod over nothing": [real(&[2, 0])] => |x| x[0].prod(1),
        "max": [real(&[2, 5])] => |x| x[0].max(1),
        "max of equal numbers": [real(&[4, 5]).tied(3)] => |x| x[0].max(1); at_a_kink,
        "min of all": [real(&[2, 3])] => |x| x[0].min(..),
        "min of equal numbers": [real(&[3, 4]).tied(2)] => |x| x[0].min(0); at_a_kink,
        "any and all": [bools(&[3, 4])] => |x| (x[0].any(0), x[0].all(1)),
        "argmax": [real(&[3, 4])] => |x| (x[0].argmax(1), x[0].argmin(0)),
        "logsumexp": [real(&[3, 4])] => |x| x[0].logsumexp(1),
        "softmax": [real(&[3, 4])] => |x| x[0].softmax(1),
        "std": [real(&[3, 4])] => |x| x[0].std(0, 1),
        "cumsum": [real(&[3, 4])] => |x| (x[0].cumsum(0, false), x[0].cumsum(1, true)),
        "cumprod": [real(&[2, 5])] => |x| (x[0].cumprod(0, true), x[0].cumprod(1, false)),
        "cumprod with zeros": [real(&[3, 4]).tied(2)] => |x| x[0].cumprod(1, false),
        "cummax": [real(&[2, 5])] => |x| (x[0].cummax(1, false), x[0].cummax(1, true)),
        "cummax of equal numbers": [real(&[6]).tied(3)] => |x| x[0].cummax(0, false); at_a_kink,
        "cummin": [real(&[2, 5])] => |x| (x[0].cummin(1, false), x[0].cummin(0, true)),
        "cumlogsumexp": [real(&[5])]
            => |x| (x[0].cumlogsumexp(0, false), x[0].cumlogsumexp(0, true)),
        "cumsum of one": [real(&[1])] => |x| x[0].cumsum(0, false),
        "cumsum of nothing": [real(&[2, 0])] => |x| x[0].cumsum(1, false),
        "cumprod of nothing": [real(&[0])] => |x| x[0].cumprod(0, true),
        "associative_scan": [real(&[6, 2])] => |x| associative_scan(|a, b| a * b, x[0].clone()),
        "sort": [real(&[3, 4])] => |x| (x[0].sort(0), x[0].sort(1)),
        "sort, descending": [real(&[5])] => |x| x[0].sort_descending(0),
        "sort of equal numbers": [real(&[6]).tied(3)] => |x| x[0].sort(0); at_a_kink,
        "sort together": [ints(&[6], 0, 3), real(&[6]), real(&[6])]
            => |x| onetrace::sort(&[&x[0], &x[1], &x[2]], 0, 1),
        "sort of nothing": [real(&[0])] => |x| x[0].sort(0),
        "argsort": [real(&[3, 4])] => |x| x[0].argsort(1),
        "top_k": [real(&[3, 5])] => |x| x[0].top_k(2),
        "top_k of equal numbers": [real(&[6]).tied(3)] => |x| x[0].top_k(4); at_a_kink,
        "top_k, none": [real(&[3])] => |x| x[0].top_k(0),
    }
}

fn products() -> Vec<Case> {
    cases! {
        "dot of vectors": [real(&[3]), real(&[3])] => |x| x[0].dot(&x[1]),
        "dot with itself": [real(&[3])] => |x| x[0].dot(&x[0]),
        "dot of a matrix and a vector": [real(&[2, 3]), real(&[3])] => |x| x[0].dot(&x[1]),
        "dot of a vector and a matrix": [real(&[2]), real(&[2, 3])] => |x| x[0].dot(&x[1]),
        "dot of matrices": [real(&[2, 3]), real(&[3, 4])] => |x| x[0].dot(&x[1]),
        "dot over nothing": [real(&[2, 0]), real(&[0, 3])] => |x| x[0].dot(&x[1]),
        "dot of nothing": [real(&[0, 2]), real(&[2, 3])] => |x| x[0].dot(&x[1]),
        "matmul of batches": [real(&[2, 3, 4]), real(&[2, 4, 2])] => |x| x[0].matmul(&x[1]),
        "outer product": [real(&[2]), real(&[3])]
            => |x| x[0].dot_general(&x[1], (&[], &[]), (&[], &[])),
        "dot over two axes": [real(&[2, 3, 4]), real(&[4, 2, 5])]
            => |x| x[0].dot_general(&x[1], (&[0, 2], &[1, 0]), (&[], &[])),
        "dot of batches behind": [real(&[3, 2, 4]), real(&[5, 4, 2])]
            => |x| x[0].dot_general(&x[1], (&[2], &[1]), (&[1], &[2])),
        "dot of two batch axes": [real(&[2, 3, 4]), real(&[3, 4, 2])]
            => |x| x[0].dot_general(&x[1], (&[2], &[1]), (&[0, 1], &[2, 0])),
        "dot of integers": [ints(&[2, 3], -9, 9), ints(&[3], -9, 9)] => |x| x[0].dot(&x[1]),
    }
}

fn control() -> Vec<Case> {
    cases! {
        "random bits": [ints(&[2], 0, 1 << 31).dtype(DType::U32)]
            => |x| random::bits(&x[0], [3], DType::U32),
        "random numbers": [ints(&[2], 0, 1 << 31).dtype(DType::U32), real(&[3])]
            => |x| random::normal(&x[0], [3], DType::F64) * &x[1],
        "call": [real(&[2]), real(&[2])] => |x| {
            let f = jit(|(x, y): (Tensor, Tensor)| (x.tanh() * &y, y.eq(0)));
            f.call((x[0].clone(), x[1].clone())).unwrap()
        },
        "checkpoint": [real(&[2]), real(&[2])] => |x| {
            let captured = &x[1];
            checkpoint(|x: Tensor| (x * captured).sin().exp())(x[0].clone())
        },
        "custom_jvp": [real(&[2])] => |x| {
            let rule = |x: Tensor, t: Tensor| (x.sin(), t * x.cos());
            custom_jvp(|x: Tensor| x.sin(), rule)(x[0].clone())
        },
        "custom_vjp": [real(&[2]), real(&[2])] => |x| {
            let f = |(x, y): (Tensor, Tensor)| x.sin() * y;
            let forward = |(x, y): (Tensor, Tensor)| (x.sin() * &y, (x, y));
            let backward = |(x, y): (Tensor, Tensor), ct: Tensor| (&ct * x.cos() * y, ct * x.sin());
            custom_vjp(f, forward, backward)((x[0].clone(), x[1].clone()))
        }; reverse_only,
        "stop_gradient": [real(&[2])] => |x| stop_gradient(&x[0] * 2.0) * &x[0]; at_a_kink,
        "scan": [real(&[2]), real(&[4, 2]), real(&[2])] => |x| {
            let step = |c: Tensor, t: Tensor| {
                let c = (c * &x[2] + t).tanh();
                (c.clone(), (c.sum(..), c.gt(0)))
            };
            scan(step, x[0].clone(), x[1].clone())
        },
        "scan backwards": [real(&[]), real(&[5])] => |x| {
            let step = |c: Tensor, t: Tensor| (&c * t + 0.5, c);
            Scan::new().reverse(true).unroll(2).run(step, x[0].clone(), x[1].clone())
        },
        "scan of nothing": [real(&[]), real(&[0])] => |x| {
            scan(|c: Tensor, t: Tensor| (&c * t, c), x[0].clone(), x[1].clone())
        },
        "cond": [bools(&[]), real(&[2])] => |x| {
            cond(&x[0], |x: Tensor| x.sin(), |x| x * 2.0, x[1].clone())
        },
        "switch": [ints(&[], -1, 4), real(&[2]), real(&[2])] => |x| {
            let captured = &x[2];
            let branch = |x: Tensor| (x * captured, Tensor::zeros([2], DType::F64));
            let other = |x: Tensor| (captured.cos(), x);
            switch(&x[0], &[&branch, &other, &branch], x[1].clone())
        },
        "while_loop": [real(&[]).within(1.0, 2.0), real(&[]).within(1.1, 2.0)] => |x| {
            let factor = &x[1];
            while_loop(|x: Tensor| x.lt(40.0), |x| x * factor, x[0].clone())
        }; forward_only,
        "fori_loop": [real(&[2])] => |x| fori_loop(0, 3, |_, x: Tensor| x.sin(), x[0].clone()),
    }
}

/// Checks all cases, and names those that fail.
fn check(cases: Vec<Case>) {
    let failed = std::sync::Mutex::new(BTreeSet::new());
    for_each_in_parallel(&cases, |case| {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.check())).is_err() {
            failed.lock().unwrap().insert(case.name.clone());
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "the laws do not hold for {failed:?}");
}

#[test]
fn laws_of_functions_of_one_tensor() {
    check(unary());
}

#[test]
fn laws_of_functions_of_two_tensors() {
    check(binary());
}

#[test]
fn laws_of_shapes() {
    check(shapes());
}

#[test]
fn laws_of_indexing() {
    check(indexing());
}

#[test]
fn laws_of_reductions() {
    check(reductions());
}

#[test]
fn laws_of_products() {
    check(products());
}

#[test]
fn laws_of_loops_and_branches() {
    check(control());
}

/// What an operation says of itself is true: that XLA:CPU can have it in a loop that is one function.
#[test]
fn loops_are_the_same_as_one_function() {
    let families = [unary, binary, shapes, indexing, reductions, products, control];
    let cases: Vec<Case> = families.iter().flat_map(|family| family()).collect();
    let functions = std::sync::Mutex::new(BTreeSet::new());
    for_each_in_parallel(&cases, |case| {
        if case.check_loops() {
            functions.lock().unwrap().extend(case.operations());
        }
    });
    let functions = functions.into_inner().unwrap();
    for operation in ["tanh", "add", "dot", "reduce", "select", "pad", "concatenate"] {
        assert!(functions.contains(operation), "{operation}: no loop of it was one function");
    }
}

#[test]
#[should_panic(expected = "jvp, result 0")]
fn a_wrong_tangent_is_found() {
    let wrong = custom_jvp(|x: Tensor| x.sin(), |x: Tensor, t: Tensor| (x.sin(), t * 0.9));
    Case::new("wrong", vec![real(&[2])], move |x| wrong(x[0].clone())).check();
}

#[test]
#[should_panic(expected = "<v, J' w>")]
fn a_wrong_cotangent_is_found() {
    let backward = |x: Tensor, ct: Tensor| ct * x.cos() * 0.9;
    let wrong = custom_vjp(|x: Tensor| x.sin(), |x: Tensor| (x.sin(), x), backward);
    Case::new("wrong", vec![real(&[2])], move |x| wrong(x[0].clone())).reverse_only().check();
}

/// Operations for which there is no case, since they stand elsewhere only.
const ELSEWHERE: [&str; 7] = [
    "all_reduce",    // In programs for several devices; see tests/pmap.rs.
    "custom_linear", // Between the two halves of reverse mode.
    "debug_print",   // It has no outputs; see tests/callbacks.rs.
    "panel_dot",     // Made when a function is compiled; see tests/packed.rs.
    "panels",        // As "panel_dot".
    "progress",      // As "debug_print".
    "tall_dot",      // As "panel_dot".
];

#[test]
fn every_operation_is_in_the_table() {
    let families = [unary, binary, shapes, indexing, reductions, products, control];
    let cases = families.iter().flat_map(|family| family());
    let seen: BTreeSet<&str> = cases.flat_map(|case| case.operations()).collect();
    let all: BTreeSet<&str> = operation_names().into_iter().collect();
    let missing: Vec<&str> = all.difference(&seen).copied().collect();
    assert_eq!(missing, ELSEWHERE, "operations that no case has");
}
