//! Operations that move elements: every one gives what a loop over indices gives, eagerly and
//! compiled, for every dtype; and mistakes are errors that say what is wrong.

mod common;

use common::{EXACT, assert_close, eager_and_jitted, error_of, numbers};
use half::{bf16, f16};
use onetrace::prelude::*;
use onetrace::{ErrorKind, keepdims};

/// An array of the host. `f64` holds every number used here.
#[derive(Clone, Debug, PartialEq)]
struct Host {
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl Host {
    /// The array whose element at each index is what `f` says.
    fn build(shape: &[usize], mut f: impl FnMut(&[usize]) -> f64) -> Host {
        let size = shape.iter().product();
        let mut index = vec![0; shape.len()];
        let mut data = Vec::new();
        for flat in 0..size {
            let mut rest: usize = flat;
            for (place, &d) in index.iter_mut().zip(shape).rev() {
                *place = rest % d;
                rest /= d;
            }
            data.push(f(&index));
        }
        Host { shape: shape.to_vec(), data }
    }

    fn flat(&self, index: &[usize]) -> usize {
        assert_eq!(index.len(), self.shape.len());
        index.iter().zip(&self.shape).fold(0, |flat, (&i, &d)| {
            assert!(i < d, "{index:?} is not in {:?}", self.shape);
            flat * d + i
        })
    }

    fn at(&self, index: &[usize]) -> f64 {
        self.data[self.flat(index)]
    }

    fn tensor(&self, dtype: DType) -> Tensor {
        let data = &self.data;
        macro_rules! tensor {
            ($f:expr) => {
                Tensor::new(&data.iter().copied().map($f).collect::<Vec<_>>(), &self.shape)
            };
        }
        match dtype {
            DType::Bool => tensor!(|x| x != 0.0),
            DType::U8 => tensor!(|x| x as u8),
            DType::U32 => tensor!(|x| x as u32),
            DType::I32 => tensor!(|x| x as i32),
            DType::I64 => tensor!(|x| x as i64),
            DType::F16 => tensor!(f16::from_f64),
            DType::BF16 => tensor!(bf16::from_f64),
            DType::F32 => tensor!(|x| x as f32),
            DType::F64 => tensor!(|x| x),
        }
    }
}

/// Distinct small numbers that every dtype but `bool` holds.
fn sample(shape: &[usize], first: usize, dtype: DType) -> Host {
    let mut k = first;
    Host::build(shape, |_| {
        k += 1;
        let number = ((k * 37) % 101) as f64;
        if dtype == DType::Bool { f64::from(k % 3 == 0) } else { number }
    })
}

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

/// The place that a start index means in an axis of this size for a slice of that one.
fn start(index: i64, size: usize, slice: usize) -> usize {
    let from_front = if index < 0 { index + size as i64 } else { index };
    from_front.clamp(0, (size - slice) as i64) as usize
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
    "scatter_max": |t| t.x.scatter_max(&ints(&[1, 1], &[2]), &t.y.index(0)),
        |h| Host::build(&[2, 3, 4], |i| match i[0] {
            1 => h.x.at(i).max(h.y.at(&[0, 0, i[2]])),
            _ => h.x.at(i),
        });
    "scatter_min": |t| t.x.scatter_min(&ints(&[0], &[]), &t.y.index(0)),
        |h| Host::build(&[2, 3, 4], |i| match i[0] {
            0 => h.x.at(i).min(h.y.at(&[0, 0, i[2]])),
            _ => h.x.at(i),
        });
    "scatter_add of nothing": |t| t.x.scatter_add(&ints(&[], &[0]), &t.scalar), |h| h.x.clone();
    "scatter_add into nothing": |t| t.empty.scatter_add(&ints(&[0, 1], &[2]), &t.scalar),
        |h| h.empty.clone();
};

fn ints(values: &[i32], shape: &[usize]) -> Tensor {
    Tensor::new(values, shape)
}

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

#[track_caller]
fn assert_is(tensor: &Tensor, expected: &Host, dtype: DType, what: &str) {
    assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &expected.shape[..]), "{what}");
    let same = |(a, e): (f64, &f64)| a == *e || a.is_nan() && e.is_nan();
    let actual = numbers(tensor);
    assert!(
        actual.iter().copied().zip(&expected.data).all(same),
        "{what}: {dtype}: {actual:?} instead of {:?}",
        expected.data,
    );
}

/// The dtypes that indices may have.
const INDEX_DTYPES: [DType; 4] = [DType::I32, DType::I64, DType::U32, DType::U8];

#[test]
fn dynamic_slices_start_where_they_fit() {
    for dtype in INDEX_DTYPES {
        let signed = matches!(dtype, DType::I32 | DType::I64);
        let x = sample(&[300, 3], 0, DType::F32);
        let update = sample(&[20, 2], 50, DType::F32);
        let row = sample(&[3], 70, DType::F32);
        let mut starts = vec![(0, 0), (255, 1), (100, 2), (17, 255)];
        if signed {
            starts.extend([(-1, -3), (-300, 0), (-301, -100), (1 << 30, -(1 << 30))]);
        }
        for (i, j) in starts {
            let index = |i: i64| Host { shape: vec![], data: vec![i as f64] }.tensor(dtype);
            let inputs = [
                x.tensor(DType::F32),
                update.tensor(DType::F32),
                row.tensor(DType::F32),
                index(i),
                index(j),
            ];
            let (eager, jitted) = eager_and_jitted(&inputs, |inputs| {
                let [x, update, row, i, j] = inputs else { unreachable!() };
                vec![
                    x.dynamic_slice(&[i, j], &[20, 2]),
                    x.dynamic_slice_in_dim(i, 2, 0),
                    x.dynamic_index_in_dim(i, 0, false),
                    x.dynamic_index_in_dim(j, -1, true),
                    x.dynamic_update_slice(update, &[i, j]),
                    x.dynamic_update_slice_in_dim(
                        &update.slice_in_dim(..3, 0).repeat(2, 1).slice_in_dim(1.., 1),
                        i,
                        0,
                    ),
                    x.dynamic_update_index_in_dim(row, i, 0),
                    x.dynamic_update_index_in_dim(&row.expand_dims(0), i, 0),
                ]
            })
            .unwrap();
            let corner = [start(i, 300, 20), start(j, 3, 2)];
            let three = start(i, 300, 3);
            let at = start(i, 300, 1);
            let with_row =
                Host::build(&[300, 3], |k| if k[0] == at { row.at(&k[1..]) } else { x.at(k) });
            let inside = |k: usize, first: usize, size: usize| (first..first + size).contains(&k);
            let expected = [
                Host::build(&[20, 2], |k| x.at(&[k[0] + corner[0], k[1] + corner[1]])),
                Host::build(&[2, 3], |k| x.at(&[k[0] + start(i, 300, 2), k[1]])),
                Host::build(&[3], |k| x.at(&[at, k[0]])),
                Host::build(&[300, 1], |k| x.at(&[k[0], start(j, 3, 1)])),
                Host::build(&[300, 3], |k| {
                    match inside(k[0], corner[0], 20) && inside(k[1], corner[1], 2) {
                        true => update.at(&[k[0] - corner[0], k[1] - corner[1]]),
                        false => x.at(k),
                    }
                }),
                Host::build(&[300, 3], |k| match inside(k[0], three, 3) {
                    true => update.at(&[k[0] - three, [0, 1, 1][k[1]]]),
                    false => x.at(k),
                }),
                with_row.clone(),
                with_row,
            ];
            for (k, expected) in expected.iter().enumerate() {
                let what = format!("{dtype} ({i}, {j}), result {k}");
                assert_is(&eager[k], expected, DType::F32, &what);
                assert_is(&jitted[k], expected, DType::F32, &what);
            }
        }
    }
}

#[test]
fn indices_of_every_dtype_name_the_same_places() {
    let x = sample(&[300], 0, DType::F64);
    for dtype in INDEX_DTYPES {
        let places = Host { shape: vec![5], data: vec![0.0, 3.0, 255.0, 200.0, 3.0] };
        let inputs = [x.tensor(DType::F64), places.tensor(dtype), places.tensor(DType::F64)];
        let (eager, jitted) = eager_and_jitted(&inputs, |inputs| {
            let [x, indices, updates] = inputs else { unreachable!() };
            vec![
                x.take(indices, 0),
                x.take_clip(indices, 0),
                x.take_along_axis(indices, 0),
                x.scatter_add(indices, updates),
                x.slice_in_dim(..100, 0).take_clip(indices, 0),
                x.slice_in_dim(..200, 0).take(indices, 0),
                indices.one_hot(256, DType::F64).sum(0),
            ]
        })
        .unwrap();
        let taken = Host::build(&[5], |k| x.at(&[places.data[k[0]] as usize]));
        let times = |k: &[usize]| places.data.iter().filter(|&&p| p == k[0] as f64).count() as f64;
        let expected = [
            taken.clone(),
            taken.clone(),
            taken,
            Host::build(&[300], |k| x.at(k) + times(k) * k[0] as f64),
            Host::build(&[5], |k| x.at(&[places.data[k[0]].min(99.0) as usize])),
            Host::build(&[5], |k| match places.data[k[0]] as usize {
                k if k < 200 => x.at(&[k]),
                _ => f64::NAN,
            }),
            Host::build(&[256], times),
        ];
        for (k, expected) in expected.iter().enumerate() {
            assert_is(&eager[k], expected, DType::F64, &format!("{dtype}, result {k}"));
            assert_is(&jitted[k], expected, DType::F64, &format!("{dtype}, result {k}"));
        }
    }
}

#[test]
fn scatter_add_adds_all_updates_of_an_index() {
    let places: [i32; 6] = [2, 0, 2, -1, 5, -6];
    for dtype in DType::ALL {
        let small = |shape: &[usize]| {
            let mut k = 0;
            Host::build(shape, |_| {
                k += 1;
                f64::from(if dtype == DType::Bool { i32::from(k % 5 == 0) } else { k % 4 })
            })
        };
        let (x, updates) = (small(&[5, 2]), small(&[3, 2, 2]));
        let inputs = [x.tensor(dtype), ints(&places, &[3, 2]), updates.tensor(dtype)];
        let (eager, jitted) =
            eager_and_jitted(&inputs, |inputs| vec![inputs[0].scatter_add(&inputs[1], &inputs[2])])
                .unwrap();
        let mut expected = x.clone();
        for (k, &place) in places.iter().enumerate() {
            let row = if place < 0 { place + 5 } else { place };
            if !(0..5).contains(&row) {
                continue;
            }
            for j in 0..2 {
                let flat = expected.flat(&[row as usize, j]);
                let sum = expected.data[flat] + updates.at(&[k / 2, k % 2, j]);
                expected.data[flat] = if dtype == DType::Bool { sum.min(1.0) } else { sum };
            }
        }
        assert_is(&eager[0], &expected, dtype, "scatter_add, eager");
        assert_is(&jitted[0], &expected, dtype, "scatter_add, jitted");
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

/// A number as the host converts it.
#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Float(f64),
}

/// What Rust's `as` makes of a number. It is what XLA makes of it too.
fn converted(number: Number, dtype: DType) -> Number {
    use Number::{Float, Int};
    macro_rules! cast {
        ($ty:ty) => {
            Int(match number {
                Int(i) => i as $ty as i64,
                Float(x) => x as $ty as i64,
            })
        };
    }
    let real = match number {
        Int(i) => i as f64,
        Float(x) => x,
    };
    match dtype {
        DType::Bool => Int(i64::from(real != 0.0)),
        DType::U8 => cast!(u8),
        DType::U32 => cast!(u32),
        DType::I32 => cast!(i32),
        DType::I64 => cast!(i64),
        DType::F16 => Float(f16::from_f64(real).into()),
        DType::BF16 => Float(bf16::from_f64(real).into()),
        DType::F32 => Float(match number {
            Int(i) => (i as f32).into(),
            Float(x) => (x as f32).into(),
        }),
        DType::F64 => Float(real),
    }
}

#[test]
fn astype_converts_as_rust_does() {
    let floats = [0.0, -0.0, 1.0, -1.0, 1.75, -1.75, 2.5, 300.0, -300.0, 65504.0, f64::NAN];
    let large = [f64::INFINITY, f64::NEG_INFINITY, 1e10, -1e10, 3e9, 1e19, -1e19, 0.3, 1e-300];
    let ints =
        [0, 1, -1, 2, 127, 128, 255, 256, -256, 1000, i64::from(i32::MAX), i64::MIN, i64::MAX];
    for from in DType::ALL {
        let numbers: Vec<Number> = match from.is_float() {
            true => floats.iter().chain(&large).map(|&x| Number::Float(x)).collect(),
            false => ints.iter().map(|&i| Number::Int(i)).collect(),
        };
        let numbers: Vec<Number> = numbers.into_iter().map(|x| converted(x, from)).collect();
        let x = tensor_of(&numbers, from);
        let (eager, jitted) =
            eager_and_jitted(&[x], |x| DType::ALL.map(|to| x[0].astype(to)).to_vec()).unwrap();
        for ((to, eager), jitted) in DType::ALL.into_iter().zip(eager).zip(jitted) {
            let expected: Vec<Number> = numbers.iter().map(|&x| converted(x, to)).collect();
            let expected = tensor_of(&expected, to);
            assert_same_elements(&eager, &expected);
            assert_same_elements(&jitted, &expected);
        }
    }
}

/// The tensor of numbers that are values of the dtype.
fn tensor_of(numbers: &[Number], dtype: DType) -> Tensor {
    let ints = || {
        numbers.iter().map(|&x| match x {
            Number::Int(i) => i,
            Number::Float(_) => unreachable!("the numbers are of this dtype"),
        })
    };
    let reals = numbers.iter().map(|&x| match x {
        Number::Int(i) => i as f64,
        Number::Float(x) => x,
    });
    match dtype {
        DType::I64 => Tensor::new(&ints().collect::<Vec<_>>(), [numbers.len()]),
        _ => Host { shape: vec![numbers.len()], data: reals.collect() }.tensor(dtype),
    }
}

#[track_caller]
fn assert_same_elements(actual: &Tensor, expected: &Tensor) {
    match expected.dtype() {
        DType::I64 => {
            assert_eq!(actual.to_vec::<i64>().unwrap(), expected.to_vec::<i64>().unwrap());
        }
        _ => assert_close(actual, expected, EXACT),
    }
}

#[test]
fn bitcast_keeps_the_bits() {
    let bits = [0u32, 1, 0x3f80_0000, 0x8000_0000, 0xffff_ffff, 0x7f80_0001, 0x1234_5678];
    let x = Tensor::new(&bits, [7]);
    let (eager, jitted) = eager_and_jitted(&[x], |x| {
        let floats = x[0].bitcast(DType::F32);
        vec![floats.clone(), x[0].bitcast(DType::I32), floats.bitcast(DType::U32)]
    })
    .unwrap();
    for result in [eager, jitted] {
        let floats = result[0].to_vec::<f32>().unwrap();
        assert_eq!(floats.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), bits);
        assert_eq!(result[1].to_vec::<i32>().unwrap(), bits.map(|x| x as i32));
        assert_eq!(result[2].to_vec::<u32>().unwrap(), bits);
    }
    let halves = [f16::from_bits(0x3c00), f16::from_bits(0x7bff), f16::from_bits(0x8001)];
    let cast = Tensor::new(&halves, [3]).bitcast(DType::BF16).to_vec::<bf16>().unwrap();
    assert_eq!(cast.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), halves.map(f16::to_bits));
    let wide = Tensor::new(&[1.0f64, -0.0], [2]).bitcast(DType::I64).to_vec::<i64>().unwrap();
    assert_eq!(wide, [1.0f64.to_bits() as i64, i64::MIN]);
}

/// Start indices of a matrix.
fn origin() -> [Tensor; 2] {
    [ints(&[0], &[]), ints(&[0], &[])]
}

/// Mistakes, the kind of error and what its message must say.
#[test]
fn mistakes_are_errors_that_say_what_is_wrong() {
    use ErrorKind::{Argument, DType as Dtype, Shape};
    type Mistake = (fn(&Tensor) -> Tensor, ErrorKind, &'static [&'static str]);
    let mistakes: &[Mistake] = &[
        (|x| x.bitcast(DType::F64), Dtype, &["bitcast: ", "f32[2,3]", "32 bits", "f64 has 64"]),
        (
            |_| Tensor::zeros([2], DType::Bool).bitcast(DType::U8),
            Dtype,
            &["bitcast: bool[2]", "u8", "astype"],
        ),
        (|x| select(x, x, x), Dtype, &["select: the condition must be bool", "f32[2,3]"]),
        (|x| select(&x.gt(0.0), 1.0, 2.0), Dtype, &["select: ", "must be a tensor"]),
        (
            |x| select(&x.gt(0.0), x, x.astype(DType::F64)),
            Dtype,
            &["select: ", "f32[2,3] and f64[2,3]"],
        ),
        (|x| select(&x.gt(0.0), x, Tensor::zeros([4], DType::F32)), Shape, &["select: ", "f32[4]"]),
        (
            |x| concatenate(&[x, &x.t()], 0),
            Shape,
            &["concatenate: ", "axis 0", "tensor 0 is f32[2,3]", "tensor 1 is f32[3,2]"],
        ),
        (
            |x| concatenate(&[x, &x.astype(DType::I32)], 0),
            Dtype,
            &["concatenate: ", "tensor 1 is i32[2,3]"],
        ),
        (|x| concatenate(&[x], 2), Shape, &["concatenate: axis 2", "-2..2"]),
        (|_| concatenate::<Tensor>(&[], 0), Argument, &["concatenate: there must be at least one"]),
        (|x| concatenate(&[x.index(0).index(0)], 0), Shape, &["concatenate: axis 0", "rank 0"]),
        (|x| stack(&[x, &x.t()], 0), Shape, &["stack: ", "tensor 1 is f32[3,2]"]),
        (|_| stack::<Tensor>(&[], 0), Argument, &["stack: there must be at least one"]),
        (|x| stack(&[x], 3), Shape, &["stack: axis 3 is out of range"]),
        (|x| x.tile([usize::MAX, 2]), Shape, &["tile: the result would be f32["]),
        (|x| x.repeat(usize::MAX, 0), Shape, &["repeat: the result would be f32["]),
        (|x| x.repeat(2, 2), Shape, &["repeat: axis 2 is out of range"]),
        (|x| x.roll(1, -3), Shape, &["roll: axis -3 is out of range"]),
        (|x| x.slice(&[0], &[1], &[1]), Shape, &["slice: f32[2,3]", "2 axes", "[0], [1] and [1]"]),
        (
            |x| x.slice(&[0, 2], &[2, 4], &[1, 1]),
            Shape,
            &["slice: 2..4", "axis 1", "f32[2,3]", "size 3"],
        ),
        (|x| x.slice(&[0, 2], &[2, 1], &[1, 1]), Shape, &["slice: 2..1"]),
        (|x| x.slice(&[0, 0], &[2, 3], &[1, 0]), Argument, &["slice: the stride of axis 1"]),
        (|x| x.slice(&[0, usize::MAX], &[2, usize::MAX], &[1, 1]), Shape, &["slice: "]),
        (
            |x| x.slice_in_dim(1..4, 1),
            Shape,
            &["slice_in_dim: 1..4", "axis 1 of f32[2,3]", "size 3"],
        ),
        (|x| x.slice_in_dim(-4.., 1), Shape, &["slice_in_dim: -4.. is no range"]),
        (|x| x.slice_in_dim(isize::MIN..=isize::MAX, 1), Shape, &["slice_in_dim: "]),
        (|x| x.slice_in_dim(.., 2), Shape, &["slice_in_dim: axis 2 is out of range"]),
        (|x| x.strided_slice_in_dim(.., 0, 1), Argument, &["strided_slice_in_dim: the stride"]),
        (|x| x.index(2), Shape, &["index: index 2 is out of range for axis 0 of f32[2,3]"]),
        (|x| x.index(isize::MIN), Shape, &["index: index -9223372036854775808"]),
        (|x| x.index(0).index(0).index(0), Shape, &["index: axis 0 is out of range", "rank 0"]),
        (|x| x.index_in_dim(-4, -1, false), Shape, &["index_in_dim: index -4", "axis 1"]),
        (
            |x| x.split(2, 1).swap_remove(1),
            Shape,
            &["split: axis 1 of f32[2,3]", "2 parts", "split_at"],
        ),
        (|x| x.split(0, 1).swap_remove(0), Shape, &["split: ", "0 parts"]),
        (|x| x.split(usize::MAX, 1).swap_remove(9), Shape, &["split: "]),
        (|x| x.split_at(&[2, 1], 1).swap_remove(2), Shape, &["split_at: ", "[2, 1]", "at most 3"]),
        (|x| x.split_at(&[4], 1).swap_remove(1), Shape, &["split_at: ", "[4]"]),
        (|x| x.flip(2), Shape, &["flip: axis 2 is out of range"]),
        (|x| x.flip([0, -2]), Shape, &["flip: axis 0", "twice"]),
        (|x| x.flip(keepdims(0)), Argument, &["flip: only reductions take `keepdims`"]),
        (|x| x.pad(0.0, &[(0, 0, 0)]), Shape, &["pad: f32[2,3]", "2 axes", "there are 1"]),
        (
            |x| x.pad(0.0, &[(-1, -2, 0), (0, 0, 0)]),
            Shape,
            &["pad: axis 0 of f32[2,3]", "size -1", "(-1, -2, 0)"],
        ),
        (
            |x| x.pad(0.0, &[(isize::MAX, isize::MAX, usize::MAX), (0, 0, 0)]),
            Shape,
            &["pad: axis 0"],
        ),
        (
            |x| x.pad(x, &[(0, 0, 0), (0, 0, 0)]),
            Shape,
            &["pad: the value must be a scalar", "f32[2,3]"],
        ),
        (
            |x| x.pad(Tensor::zeros([], DType::I32), &[(0, 0, 0); 2]),
            Dtype,
            &["pad: ", "i32[] and f32[2,3]"],
        ),
        (|x| x.pad(0.0, &[(1 << 40, 0, 0), (1 << 40, 0, 0)]), Shape, &["pad: the result would be"]),
        (|x| x.squeeze(1), Shape, &["squeeze: ", "axis 1 of f32[2,3] has size 3"]),
        (|x| x.squeeze([0, 0]), Shape, &["squeeze: axis 0", "twice"]),
        (|x| x.expand_dims(3), Shape, &["expand_dims: axis 3 is out of range"]),
        (|x| x.expand_dims([0, -4]), Shape, &["expand_dims: axis 0", "twice"]),
        (|x| x.expand_dims(..), Argument, &["expand_dims: `..`"]),
        (|x| x.swapaxes(0, 2), Shape, &["swapaxes: axis 2 is out of range"]),
        (|x| x.moveaxis([0, 1], [0]), Argument, &["moveaxis: ", "[0, 1]", "[0]"]),
        (|x| x.moveaxis(0, 5), Shape, &["moveaxis: axis 5 is out of range"]),
        (
            |x| x.dynamic_slice(&[ints(&[0], &[])], &[1, 1]),
            Argument,
            &["dynamic_slice: f32[2,3]", "2 axes", "there are 1"],
        ),
        (|x| x.dynamic_slice(&origin(), &[1]), Shape, &["dynamic_slice: ", "[1]"]),
        (|x| x.dynamic_slice(&origin(), &[1, 4]), Shape, &["dynamic_slice: ", "size 4", "axis 1"]),
        (
            |x| x.dynamic_slice(&[ints(&[0], &[1]), ints(&[0], &[1])], &[1, 1]),
            Dtype,
            &["dynamic_slice: ", "i32[1], i32[1]"],
        ),
        (
            |x| x.dynamic_slice(&[ints(&[0], &[]), Tensor::zeros([], DType::U32)], &[1, 1]),
            Dtype,
            &["dynamic_slice: ", "i32[], u32[]"],
        ),
        (
            |x| x.dynamic_slice_in_dim(&x.index(0).index(0), 1, 0),
            Dtype,
            &["dynamic_slice: ", "f32[], f32[]"],
        ),
        (
            |x| x.dynamic_index_in_dim(&x.index(0).index(0).gt(0.0), 0, false),
            Dtype,
            &["dynamic_slice: ", "bool[], bool[]"],
        ),
        (
            |x| x.dynamic_index_in_dim(&ints(&[0], &[]), 2, false),
            Shape,
            &["axis 2 is out of range"],
        ),
        (
            |x| x.slice_in_dim(..0, 0).dynamic_index_in_dim(&ints(&[0], &[]), 0, false),
            Shape,
            &["dynamic_slice: ", "size 1", "f32[0,3]"],
        ),
        (
            |x| x.dynamic_update_slice(&Tensor::zeros([3, 1], DType::F32), &origin()),
            Shape,
            &["dynamic_update_slice: ", "f32[3,1]", "f32[2,3]"],
        ),
        (
            |x| x.dynamic_update_slice(&Tensor::zeros([1, 1], DType::I32), &origin()),
            Dtype,
            &["dynamic_update_slice: ", "i32[1,1]"],
        ),
        (
            |x| x.dynamic_update_index_in_dim(x, &ints(&[0], &[]), 0),
            Shape,
            &["dynamic_update_index_in_dim: ", "axis 0"],
        ),
        (
            |x| x.dynamic_update_index_in_dim(&x.index(0).index(0), &ints(&[0], &[]), 1),
            Shape,
            &["dynamic_update_index_in_dim: ", "f32[]"],
        ),
        (|x| x.take(&x.index(0), 0), Dtype, &["take: the indices must be integers", "f32[3]"]),
        (|x| x.take(&ints(&[0], &[]), 2), Shape, &["take: axis 2 is out of range"]),
        (
            |x| x.slice_in_dim(..0, 0).take(&ints(&[0], &[1]), 0),
            Shape,
            &["take: axis 0 of f32[0,3] has no elements"],
        ),
        (|x| x.take_clip(&x.index(0), 0), Dtype, &["take_clip: "]),
        (
            |x| x.take_along_axis(&ints(&[0], &[1]), 0),
            Shape,
            &["take_along_axis: ", "i32[1] and f32[2,3]"],
        ),
        (
            |x| x.take_along_axis(&ints(&[0, 1], &[1, 2]), 0),
            Shape,
            &["take_along_axis: ", "i32[1,2]", "except along axis 0"],
        ),
        (
            |x| x.scatter_add(&ints(&[0], &[1]), Tensor::zeros([2, 3], DType::F32)),
            Shape,
            &["scatter_add: ", "broadcast to f32[1,3]", "f32[2,3]"],
        ),
        (
            |x| x.scatter_add(&ints(&[0], &[1]), Tensor::zeros([3], DType::I32)),
            Dtype,
            &["scatter_add: ", "i32[3]"],
        ),
        (|x| x.scatter_max(x, 0.0), Dtype, &["scatter_max: the indices must be integers"]),
        (
            |x| x.index(0).index(0).scatter_set(&ints(&[0], &[]), 0.0),
            Shape,
            &["scatter_set: f32[] has no axis"],
        ),
        (|_| Tensor::arange(3, DType::Bool), Dtype, &["iota: ", "bool[3]"]),
        (
            |_| Tensor::arange(usize::MAX, DType::I32),
            Shape,
            &["iota: the result would be i32[18446744073709551615]"],
        ),
        (
            |_| Tensor::broadcasted_iota([2, 3], 2, DType::I32),
            Shape,
            &["broadcasted_iota: axis 2 is out of range"],
        ),
        (|_| Tensor::linspace(0.0, 1.0, 3, DType::I32), Dtype, &["linspace: ", "i32"]),
        (
            |_| Tensor::linspace(0.0, 1.0, usize::MAX, DType::F32),
            Shape,
            &["linspace: the result would be"],
        ),
        (|_| Tensor::eye(usize::MAX, DType::F32), Shape, &["eye: the result would be"]),
        (
            |_| Tensor::tri(usize::MAX, usize::MAX, isize::MIN, DType::F32),
            Shape,
            &["tri: the result would be"],
        ),
        (|x| x.index(0).tril(0), Shape, &["tril: ", "f32[3]"]),
        (|x| x.index(0).triu(0), Shape, &["triu: ", "f32[3]"]),
        (
            |x| x.one_hot(3, DType::F32),
            Dtype,
            &["one_hot: the indices must be integers", "f32[2,3]"],
        ),
        (
            |_| ints(&[0], &[1]).one_hot(usize::MAX, DType::F32),
            Shape,
            &["one_hot: the result would be"],
        ),
    ];
    let x = sample(&[2, 3], 0, DType::F32).tensor(DType::F32);
    for (mistake, kind, parts) in mistakes {
        let traced = jit(|x: Tensor| mistake(&x)).lower(&x).err().unwrap_or_else(|| {
            panic!("{parts:?} is no mistake when it is traced");
        });
        for error in [error_of(&mistake(&x)), traced] {
            assert_eq!(error.kind(), *kind, "{error}");
            for part in *parts {
                assert!(error.message().contains(part), "{part:?} is not in the message:\n{error}");
            }
            let location = error.location().map(|l| l.file()).unwrap_or_default();
            assert!(location.ends_with("ops_shapes.rs"), "the place is {location}: {error}");
        }
    }
}

/// Equations that are not well formed are refused, whatever their attributes are.
#[test]
fn the_parser_refuses_operations_that_do_not_fit() {
    let equations = [
        ("f32[]", "convert {dtype=f32} %0 %0", "1 inputs, but 2"),
        ("f64[2,3]", "bitcast {dtype=f64} %0", "bitcast: "),
        ("f32[2,3]", "select %0 %0 %0", "select: the condition must be bool"),
        ("f32[2,3]", "concatenate {axis=2} %0", "concatenate: axis 2"),
        ("f32[2,3]", "concatenate {axis=0}", "at least one tensor"),
        ("f32[4]", "iota {dtype=f32, shape=[4], axis=1}", "iota: axis 1"),
        ("bool[4]", "iota {dtype=bool, shape=[4], axis=0}", "iota: "),
        ("f32[2,3]", "slice {starts=[0], limits=[2, 3], strides=[1, 1]} %0", "slice: "),
        ("f32[2,3]", "slice {starts=[0, 0], limits=[2, 4], strides=[1, 1]} %0", "slice: 0..4"),
        ("f32[2,3]", "reverse {axes=[0, 0]} %0", "reverse: "),
        ("f32[2,3]", "reverse {axes=[2]} %0", "reverse: "),
        ("f32[2,3]", "pad {config=[(0, 0, 0)]} %0 %1", "pad: "),
        (
            "f32[2,3]",
            "pad {config=[(-9223372036854775808, -9223372036854775808, 0), (0, 0, 0)]} %0 %1",
            "pad: axis 0",
        ),
        (
            "f32[2,3]",
            "pad {config=[(0, 0, 18446744073709551615), (9223372036854775807, 0, 1)]} %0 %1",
            "pad: axis 0",
        ),
        ("f32[1,1]", "dynamic_slice {sizes=[1, 1]} %0 %2", "a start index for each"),
        ("f32[1,1]", "dynamic_slice {sizes=[1, 1]}", "no tensor"),
        ("f32[1,1]", "dynamic_slice {sizes=[1, 1]} %0 %2 %1", "start indices must be"),
        ("f32[2,3]", "dynamic_update_slice %0", "is missing"),
        ("f32[2,3]", "dynamic_update_slice %0 %1 %2 %2", "does not fit"),
        (
            "f32[3]",
            "gather {offset_axes=[0], collapsed_axes=[0], start_index_map=[0], slice_sizes=[1, 3]} %0 %2",
            "gather: the last axis of the indices",
        ),
        (
            "f32[5,3]",
            "gather {offset_axes=[1], collapsed_axes=[0], start_index_map=[2], slice_sizes=[1, 3]} %0 %3",
            "gather: the index vectors",
        ),
        (
            "f32[5,3]",
            "gather {offset_axes=[1], collapsed_axes=[0], start_index_map=[0], slice_sizes=[1, 4]} %0 %3",
            "do not fit",
        ),
        (
            "f32[5,3]",
            "gather {offset_axes=[1], collapsed_axes=[9], start_index_map=[0], slice_sizes=[1, 3]} %0 %3",
            "collapsed axes must ascend",
        ),
        (
            "f32[5,3]",
            "gather {offset_axes=[1], collapsed_axes=[0], start_index_map=[0], slice_sizes=[2, 3]} %0 %3",
            "must have size 1 in the slice",
        ),
        (
            "f32[5,3]",
            "gather {offset_axes=[], collapsed_axes=[0], start_index_map=[0], slice_sizes=[1, 3]} %0 %3",
            "one offset axis for each",
        ),
        (
            "f32[5,3]",
            "gather {offset_axes=[2], collapsed_axes=[0], start_index_map=[0], slice_sizes=[1, 3]} %0 %3",
            "offset axes must ascend",
        ),
        (
            "f32[2,3]",
            "scatter {combine=mul, window_axes=[1], inserted_axes=[0], scatter_axes=[0]} %0 %3 %4",
            "add, max, min or replace",
        ),
        (
            "f32[2,3]",
            "scatter {combine=add, window_axes=[1], inserted_axes=[7], scatter_axes=[0]} %0 %3 %4",
            "inserted axes must ascend",
        ),
        (
            "f32[2,3]",
            "scatter {combine=add, window_axes=[5], inserted_axes=[0], scatter_axes=[0]} %0 %3 %4",
            "window axes must ascend",
        ),
        (
            "f32[2,3]",
            "scatter {combine=add, window_axes=[0], inserted_axes=[0], scatter_axes=[0]} %0 %3 %4",
            "scatter: slices of sizes [5]",
        ),
        (
            "f32[2,3]",
            "scatter {combine=add, window_axes=[1], inserted_axes=[0], scatter_axes=[0]} %0 %3 %0",
            "must be those of the indices",
        ),
    ];
    for (aval, equation, part) in equations {
        let text = format!(
            "func @main(%0: f32[2,3], %1: f32[], %2: i32[], %3: i32[5,1], %4: f32[5,3]) -> () {{\n  \
             %5: {aval} = {equation}\n  return\n}}\n"
        );
        let error = onetrace::ir::parse::parse(&text).unwrap_err().to_string();
        assert!(error.contains(part), "{part:?} is not in the message for {equation}:\n{error}");
    }
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
