//! Operations that move elements: every one gives what a loop over indices gives, eagerly and
//! compiled, for every dtype.

mod common;

use common::host::{Host, assert_is, ints, sample};
use common::{eager_and_jitted, numbers};
use onetrace::prelude::*;

/// What `jnp.take` gives for an index out of range.
fn fill(dtype: DType) -> f64 {
    match dtype {
        DType::Bool => 1.0,
        DType::U8 => u8::MAX.into(),
        DType::U32 => u32::MAX.into(),
        DType::I32 => i32::MIN.into(),
        DType::I64 => i64::MIN as f64,
        _ => f64::NAN,
    }
}

/// An operation, and the loop that says what it does.
struct Case {
    name: &'static str,
    apply: fn(&Inputs<Tensor>) -> Tensor,
    expected: fn(&Inputs<Host>) -> Host,
}

/// What the cases work on.
struct Inputs<T> {
    dtype: DType,
    /// Shape `[2, 3, 4]`.
    x: T,
    /// Shape `[2, 1, 4]`.
    y: T,
    /// Shape `[0, 3]`.
    empty: T,
    /// Shape `[]`.
    scalar: T,
    /// Shape `[3, 1]`, `bool`.
    pred: T,
}

const SHAPES: [&[usize]; 5] = [&[2, 3, 4], &[2, 1, 4], &[0, 3], &[], &[3, 1]];

macro_rules! cases {
    ($($name:literal: |$t:pat_param| $apply:expr, |$h:pat_param| $expected:expr;)*) => {
        &[$(Case { name: $name, apply: |$t| $apply, expected: |$h| $expected }),*]
    };
}

#[allow(clippy::reversed_empty_ranges, reason = "negative bounds count from the back")]
const CASES: &[Case] = cases! {
    "slice": |t| t.x.slice(&[1, 0, 1], &[2, 3, 4], &[1, 2, 2]),
        |h| Host::build(&[1, 2, 2], |i| h.x.at(&[i[0] + 1, i[1] * 2, i[2] * 2 + 1]));
    "a slice of everything": |t| t.x.slice(&[0; 3], &[2, 3, 4], &[1; 3]), |h| h.x.clone();
    "a slice of nothing": |t| t.x.slice(&[0, 3, 0], &[2, 3, 4], &[1, 5, 1]),
        |_| Host::build(&[2, 0, 4], |_| unreachable!());
    "a slice with the largest stride": |t| t.x.slice(&[0; 3], &[2, 3, 4], &[usize::MAX, 1, 1]),
        |h| Host::build(&[1, 3, 4], |i| h.x.at(i));
    "a slice of an empty tensor": |t| t.empty.slice(&[0, 1], &[0, 3], &[7, 1]),
        |_| Host::build(&[0, 2], |_| unreachable!());
    "a slice of a scalar": |t| t.scalar.slice(&[], &[], &[]), |h| h.scalar.clone();
    "slice_in_dim from the back": |t| t.x.slice_in_dim(-3..-1i32, -1),
        |h| Host::build(&[2, 3, 2], |i| h.x.at(&[i[0], i[1], i[2] + 1]));
    "slice_in_dim up to and with the last": |t| t.x.slice_in_dim(1..=-1, 1),
        |h| Host::build(&[2, 2, 4], |i| h.x.at(&[i[0], i[1] + 1, i[2]]));
    "slice_in_dim up to": |t| t.x.slice_in_dim(..=1, 2),
        |h| Host::build(&[2, 3, 2], |i| h.x.at(i));
    "slice_in_dim of everything": |t| t.x.slice_in_dim(.., 1), |h| h.x.clone();
    "slice_in_dim of sizes": |t| t.x.slice_in_dim(t.x.shape()[1]..t.x.shape()[2], 2),
        |h| Host::build(&[2, 3, 1], |i| h.x.at(&[i[0], i[1], 3]));
    "strided_slice_in_dim": |t| t.x.strided_slice_in_dim(1.., 2, 2),
        |h| Host::build(&[2, 3, 2], |i| h.x.at(&[i[0], i[1], i[2] * 2 + 1]));
    "index": |t| t.x.index(1), |h| Host::build(&[3, 4], |i| h.x.at(&[1, i[0], i[1]]));
    "index from the back": |t| t.x.index(-2), |h| Host::build(&[3, 4], |i| h.x.at(&[0, i[0], i[1]]));
    "index_in_dim": |t| t.x.index_in_dim(2, -2, false),
        |h| Host::build(&[2, 4], |i| h.x.at(&[i[0], 2, i[1]]));
    "index_in_dim that keeps the axis": |t| t.x.index_in_dim(-1, 2, true),
        |h| Host::build(&[2, 3, 1], |i| h.x.at(&[i[0], i[1], 3]));
    "split": |t| t.x.split(2, -1).swap_remove(1),
        |h| Host::build(&[2, 3, 2], |i| h.x.at(&[i[0], i[1], i[2] + 2]));
    "split of nothing": |t| t.empty.split(3, 0).swap_remove(2),
        |_| Host::build(&[0, 3], |_| unreachable!());
    "split_at": |t| t.x.split_at(&[1, 1, 3], 2).swap_remove(2),
        |h| Host::build(&[2, 3, 2], |i| h.x.at(&[i[0], i[1], i[2] + 1]));
    "an empty part of split_at": |t| t.x.split_at(&[1, 1, 3], 2).swap_remove(1),
        |_| Host::build(&[2, 3, 0], |_| unreachable!());
    "flip": |t| t.x.flip([0, -1]),
        |h| Host::build(&[2, 3, 4], |i| h.x.at(&[1 - i[0], i[1], 3 - i[2]]));
    "flip of all": |t| t.x.flip(..),
        |h| Host::build(&[2, 3, 4], |i| h.x.at(&[1 - i[0], 2 - i[1], 3 - i[2]]));
    "flip of an empty tensor": |t| t.empty.flip(0), |h| h.empty.clone();
    "concatenate": |t| concatenate(&[&t.x, &t.y, &t.x], 1),
        |h| Host::build(&[2, 7, 4], |i| match i[1] {
            3 => h.y.at(&[i[0], 0, i[2]]),
            j => h.x.at(&[i[0], j % 4, i[2]]),
        });
    "concatenate with nothing": |t| concatenate(&[t.empty.clone(), t.x.index(0).slice_in_dim(..3, 1)], 0),
        |h| Host::build(&[3, 3], |i| h.x.at(&[0, i[0], i[1]]));
    "concatenate one": |t| concatenate(&[&t.x], -3), |h| h.x.clone();
    "stack in front": |t| stack(&[&t.y, &t.y], 0),
        |h| Host::build(&[2, 2, 1, 4], |i| h.y.at(&i[1..]));
    "stack at the back": |t| stack(&[t.scalar.clone(), t.scalar.clone()], -1),
        |h| Host::build(&[2], |_| h.scalar.at(&[]));
    "tile": |t| t.y.tile([2, 3]),
        |h| Host::build(&[2, 2, 12], |i| h.y.at(&[i[0], 0, i[2] % 4]));
    "tile with new axes": |t| t.scalar.tile([2, 3]),
        |h| Host::build(&[2, 3], |_| h.scalar.at(&[]));
    "tile zero times": |t| t.x.tile([1, 0, 1]), |_| Host::build(&[2, 0, 4], |_| unreachable!());
    "repeat": |t| t.x.repeat(3, 1), |h| Host::build(&[2, 9, 4], |i| h.x.at(&[i[0], i[1] / 3, i[2]]));
    "repeat of the last axis": |t| t.x.repeat(2, -1),
        |h| Host::build(&[2, 3, 8], |i| h.x.at(&[i[0], i[1], i[2] / 2]));
    "roll": |t| t.x.roll(1, 2), |h| Host::build(&[2, 3, 4], |i| h.x.at(&[i[0], i[1], (i[2] + 3) % 4]));
    "roll back by more than the size": |t| t.x.roll(-4, 1),
        |h| Host::build(&[2, 3, 4], |i| h.x.at(&[i[0], (i[1] + 1) % 3, i[2]]));
    "roll of an empty tensor": |t| t.empty.roll(isize::MIN, 0), |h| h.empty.clone();
    "pad": |t| t.x.pad(&t.scalar, &[(1, 0, 0), (0, 2, 1), (0, 0, 2)]),
        |h| Host::build(&[3, 7, 10], |i| match i {
            [i @ (1 | 2), j @ (0 | 2 | 4), k] if k % 3 == 0 => h.x.at(&[i - 1, j / 2, k / 3]),
            _ => h.scalar.at(&[]),
        });
    "pad that cuts off": |t| t.x.pad(&t.scalar, &[(-1, 1, 0), (0, -3, 0), (-2, 3, 1)]),
        |h| Host::build(&[2, 0, 8], |_| h.scalar.at(&[]));
    "pad that cuts off between": |t| t.x.pad(&t.scalar, &[(-1, 1, 0), (0, -1, 0), (-2, 3, 1)]),
        |h| Host::build(&[2, 2, 8], |i| match i {
            [0, j, k @ (0 | 2 | 4)] => h.x.at(&[1, *j, k / 2 + 1]),
            _ => h.scalar.at(&[]),
        });
    "pad of nothing": |t| t.empty.pad(&t.scalar, &[(1, 1, usize::MAX), (0, 0, 0)]),
        |h| Host::build(&[2, 3], |_| h.scalar.at(&[]));
    "squeeze": |t| t.y.squeeze(1), |h| Host::build(&[2, 4], |i| h.y.at(&[i[0], 0, i[1]]));
    "squeeze of what can be": |t| t.y.squeeze(..), |h| Host::build(&[2, 4], |i| h.y.at(&[i[0], 0, i[1]]));
    "expand_dims": |t| t.x.expand_dims([-1, 1]),
        |h| Host::build(&[2, 1, 3, 4, 1], |i| h.x.at(&[i[0], i[2], i[3]]));
    "swapaxes": |t| t.x.swapaxes(0, -1), |h| Host::build(&[4, 3, 2], |i| h.x.at(&[i[2], i[1], i[0]]));
    "moveaxis": |t| t.x.moveaxis(0, 1), |h| Host::build(&[3, 2, 4], |i| h.x.at(&[i[1], i[0], i[2]]));
    "moveaxis of several": |t| t.x.moveaxis([2, 0], [0, 1]),
        |h| Host::build(&[4, 2, 3], |i| h.x.at(&[i[1], i[2], i[0]]));
    "ravel": |t| t.x.ravel(), |h| Host { shape: vec![24], data: h.x.data.clone() };
    "ravel of a scalar": |t| t.scalar.ravel(), |h| Host { shape: vec![1], data: h.scalar.data.clone() };
    "select": |t| select(&t.pred, &t.x, &t.y),
        |h| Host::build(&[2, 3, 4], |i| match h.pred.at(&[i[1], 0]) {
            0.0 => h.y.at(&[i[0], 0, i[2]]),
            _ => h.x.at(i),
        });
    "select of a scalar": |t| select(&t.pred, &t.scalar, &t.x),
        |h| Host::build(&[2, 3, 4], |i| match h.pred.at(&[i[1], 0]) {
            0.0 => h.x.at(i),
            _ => h.scalar.at(&[]),
        });
    "clamp": |t| t.x.clamp(&t.y, &t.scalar),
        |h| Host::build(&[2, 3, 4], |i| {
            h.x.at(i).max(h.y.at(&[i[0], 0, i[2]])).min(h.scalar.at(&[]))
        });
    "tril": |t| t.x.tril(0),
        |h| Host::build(&[2, 3, 4], |i| if i[2] <= i[1] { h.x.at(i) } else { 0.0 });
    "tril above the diagonal": |t| t.x.tril(1),
        |h| Host::build(&[2, 3, 4], |i| if i[2] <= i[1] + 1 { h.x.at(i) } else { 0.0 });
    "tril far above": |t| t.x.tril(isize::MAX), |h| h.x.clone();
    "tril far below": |t| t.x.tril(isize::MIN), |_| Host::build(&[2, 3, 4], |_| 0.0);
    "triu": |t| t.x.triu(0),
        |h| Host::build(&[2, 3, 4], |i| if i[2] >= i[1] { h.x.at(i) } else { 0.0 });
    "triu below the diagonal": |t| t.x.triu(-1),
        |h| Host::build(&[2, 3, 4], |i| if i[2] + 1 >= i[1] { h.x.at(i) } else { 0.0 });
    "triu far below": |t| t.x.triu(isize::MIN), |h| h.x.clone();
    "triu of an empty tensor": |t| t.empty.triu(0), |h| h.empty.clone();
    "take": |t| t.x.take(&ints(&[2, 0, -1, 2], &[2, 2]), 1),
        |h| Host::build(&[2, 2, 2, 4], |i| h.x.at(&[i[0], [[2, 0], [2, 2]][i[1]][i[2]], i[3]]));
    "take one": |t| t.x.take(&ints(&[-4], &[]), -1),
        |h| Host::build(&[2, 3], |i| h.x.at(&[i[0], i[1], 0]));
    "take out of range": |t| t.x.take(&ints(&[4, 3, -4, -5, i32::MAX, i32::MIN], &[6]), 2),
        |h| Host::build(&[2, 3, 6], |i| match i[2] {
            1 => h.x.at(&[i[0], i[1], 3]),
            2 => h.x.at(&[i[0], i[1], 0]),
            _ => fill(h.dtype),
        });
    "take nothing": |t| t.empty.take(&ints(&[], &[0, 2]), 0),
        |_| Host::build(&[0, 2, 3], |_| unreachable!());
    "take from an empty tensor": |t| t.empty.take(&ints(&[0, 5], &[2]), 1),
        |_| Host::build(&[0, 2], |_| unreachable!());
    "take_clip": |t| t.x.take_clip(&ints(&[4, 3, -1, i32::MIN], &[4]), 2),
        |h| Host::build(&[2, 3, 4], |i| h.x.at(&[i[0], i[1], [3, 3, 0, 0][i[2]]]));
    "take_along_axis": |t| t.x.take_along_axis(&ints(&[2, -1, 0, 1, 3, 0], &[2, 3, 1]), 2),
        |h| Host::build(&[2, 3, 1], |i| match [[2, 3, 0], [1, 3, 0]][i[0]][i[1]] {
            3 => h.x.at(&[i[0], i[1], 3]),
            k => h.x.at(&[i[0], i[1], k]),
        });
    "take_along_axis that stretches both": |t| t.y.take_along_axis(&ints(&[1, 0, 2, -3], &[4, 1, 1]), 0)
        .take_along_axis(&ints(&[0, 0, 0], &[1, 3, 1]), 1),
        |h| Host::build(&[4, 3, 4], |i| match i[0] {
            0 => h.y.at(&[1, 0, i[2]]),
            1 => h.y.at(&[0, 0, i[2]]),
            _ => fill(h.dtype),
        });
    "take_along_axis of nothing": |t| t.empty.take_along_axis(&ints(&[0, 1], &[1, 2]), 1),
        |_| Host::build(&[0, 2], |_| unreachable!());
    "scatter_set": |t| t.x.scatter_set(&ints(&[-1, 7, -3], &[3]), &t.scalar),
        |h| Host::build(&[2, 3, 4], |i| if i[0] == 1 { h.scalar.at(&[]) } else { h.x.at(i) });
    "scatter_max": |t| t.x.scatter_max(&ints(&[1, 1], &[2]), t.y.index(0)),
        |h| Host::build(&[2, 3, 4], |i| match i[0] {
            1 => h.x.at(i).max(h.y.at(&[0, 0, i[2]])),
            _ => h.x.at(i),
        });
    "scatter_min": |t| t.x.scatter_min(&ints(&[0], &[]), t.y.index(0)),
        |h| Host::build(&[2, 3, 4], |i| match i[0] {
            0 => h.x.at(i).min(h.y.at(&[0, 0, i[2]])),
            _ => h.x.at(i),
        });
    "scatter_add of nothing": |t| t.x.scatter_add(&ints(&[], &[0]), &t.scalar), |h| h.x.clone();
    "scatter_add into nothing": |t| t.empty.scatter_add(&ints(&[0, 1], &[2]), &t.scalar),
        |h| h.empty.clone();
};

#[test]
fn operations_do_what_loops_over_indices_do() {
    for dtype in DType::ALL {
        let mut hosts: Vec<Host> =
            SHAPES.iter().enumerate().map(|(i, shape)| sample(shape, 10 * i, dtype)).collect();
        hosts[4].data = vec![1.0, 0.0, 1.0];
        let tensors: Vec<Tensor> =
            (0..5).map(|i| hosts[i].tensor(if i == 4 { DType::Bool } else { dtype })).collect();
        let [x, y, empty, scalar, pred] = <[Host; 5]>::try_from(hosts).unwrap();
        let host = Inputs { dtype, x, y, empty, scalar, pred };

        let all = |tensors: &[Tensor]| -> Vec<Tensor> {
            let [x, y, empty, scalar, pred] = <[Tensor; 5]>::try_from(tensors.to_vec()).unwrap();
            let inputs = Inputs { dtype, x, y, empty, scalar, pred };
            CASES.iter().map(|case| (case.apply)(&inputs)).collect()
        };
        let check = |results: Vec<Tensor>, how: &str| {
            for (case, result) in CASES.iter().zip(results) {
                assert_is(
                    &result,
                    &(case.expected)(&host),
                    dtype,
                    &format!("{}, {how}", case.name),
                );
            }
        };
        // One by one, what is compiled takes long; it depends on the dtype no more than the whole.
        if matches!(dtype, DType::Bool | DType::F32) {
            let (eager, jitted) = eager_and_jitted(&tensors, all).unwrap();
            check(eager, "eager");
            check(jitted, "jitted");
        } else {
            check(jit(|tensors: Vec<Tensor>| all(&tensors)).call(tensors).unwrap(), "jitted");
        }
    }
}

#[test]
fn tensors_made_by_counting() {
    for dtype in DType::ALL.into_iter().filter(|&dtype| dtype != DType::Bool) {
        let (eager, jitted) = eager_and_jitted(&[], |_| {
            vec![
                Tensor::arange(5, dtype),
                Tensor::arange(0, dtype),
                Tensor::broadcasted_iota([2, 3, 2], -2, dtype),
                Tensor::eye(3, dtype),
                Tensor::tri(2, 4, 1, dtype),
                Tensor::tri(3, 2, isize::MIN, dtype),
                Tensor::tri(0, 2, isize::MAX, dtype),
                ints(&[2, 0, 3, -1], &[2, 2]).one_hot(3, dtype),
            ]
        })
        .unwrap();
        let expected = [
            Host::build(&[5], |i| i[0] as f64),
            Host::build(&[0], |_| unreachable!()),
            Host::build(&[2, 3, 2], |i| i[1] as f64),
            Host::build(&[3, 3], |i| f64::from(i[0] == i[1])),
            Host::build(&[2, 4], |i| f64::from(i[1] <= i[0] + 1)),
            Host::build(&[3, 2], |_| 0.0),
            Host::build(&[0, 2], |_| unreachable!()),
            Host::build(&[2, 2, 3], |i| f64::from([[2, 0], [3, -1]][i[0]][i[1]] == i[2] as i32)),
        ];
        for (k, expected) in expected.iter().enumerate() {
            assert_is(&eager[k], expected, dtype, &format!("result {k}, eager"));
            assert_is(&jitted[k], expected, dtype, &format!("result {k}, jitted"));
        }
    }
    assert_eq!(Tensor::eye(2, DType::Bool).to_vec::<bool>().unwrap(), [true, false, false, true]);
    let wrapped = Tensor::arange(300, DType::U8).to_vec::<u8>().unwrap();
    assert_eq!((wrapped[255], wrapped[256]), (255, 0));
}

#[test]
fn linspace_has_both_ends_and_even_steps() {
    for (first, last, num) in
        [(0.0, 1.0, 5), (-3.0, 7.5, 22), (2.0, -2.0, 2), (1.5, 9.0, 1), (0.0, 1.0, 0)]
    {
        let (eager, jitted) =
            eager_and_jitted(&[], |_| vec![Tensor::linspace(first, last, num, DType::F64)])
                .unwrap();
        let step = if num > 1 { (last - first) / (num - 1) as f64 } else { 0.0 };
        for result in [&eager[0], &jitted[0]] {
            let numbers = result.to_vec::<f64>().unwrap();
            assert_eq!(numbers.len(), num);
            for (i, &number) in numbers.iter().enumerate() {
                assert!((number - (first + i as f64 * step)).abs() < 1e-14, "{numbers:?}");
            }
            if num > 1 {
                assert_eq!((numbers[0], numbers[num - 1]), (first, last));
            }
        }
    }
    // As `jnp.linspace(0, 1, 8, dtype=bfloat16)`.
    let eighths = numbers(&Tensor::linspace(0.0, 1.0, 8, DType::BF16));
    assert_eq!(
        eighths,
        [0.0, 0.142578125, 0.28515625, 0.427734375, 0.5703125, 0.71484375, 0.85546875, 1.0]
    );
}

/// A start that is known is no part of the program, and a slice of a whole tensor is no copy.
#[test]
fn what_is_known_is_not_computed() {
    let x = Tensor::zeros([4, 2], DType::F32);
    let i = ints(&[-1], &[]);
    let known = jit(|x: Tensor| x.dynamic_index_in_dim(&i, 0, false)).lower(&x).unwrap();
    assert!(!known.func().to_string().contains("select"), "{}", known.func());
    let whole = jit(|x: Tensor| x.slice_in_dim(.., 0)).lower(&x).unwrap();
    assert!(!whole.hlo().unwrap().contains(" slice("));
}
