//! Reductions and cumulative functions where the golden data does not reach: every dtype, all forms
//! of axes, tensors without elements, and mistakes.

mod common;

use common::{EXACT, assert_close, check_refused, eager_and_jitted, error_of, numbers};
use onetrace::{Axes, ErrorKind, keepdims, prelude::*};

/// A function of one tensor, and what it gives for a tensor.
type Case = (&'static str, fn(&Tensor) -> Tensor, &'static [f64]);

/// What the cases give for this tensor of any dtype but `bool`.
const NUMBERS: [i32; 6] = [3, 1, 0, 2, 3, 1];

const CASES: &[Case] = &[
    ("sum", |x| x.sum(1), &[4.0, 6.0]),
    ("prod", |x| x.prod(0), &[6.0, 3.0, 0.0]),
    ("max", |x| x.max(..), &[3.0]),
    ("min", |x| x.min(1), &[0.0, 1.0]),
    ("any", |x| x.any(0), &[1.0, 1.0, 1.0]),
    ("all", |x| x.all(0), &[1.0, 1.0, 0.0]),
    ("mean", |x| x.mean(1) * 3.0, &[4.0, 6.0]),
    ("var", |x| x.var(0, 0) * 4.0, &[1.0, 4.0, 1.0]),
    ("std", |x| x.std(0, 0) * 2.0, &[1.0, 2.0, 1.0]),
    ("argmax", |x| x.argmax(1), &[0.0, 1.0]),
    ("argmax of all", |x| x.argmax(..), &[0.0]),
    ("argmin", |x| x.argmin(0), &[1.0, 0.0, 0.0]),
];

const CUMULATIVE: &[Case] = &[
    ("cumsum", |x| x.cumsum(1, false), &[3.0, 4.0, 4.0, 2.0, 5.0, 6.0]),
    ("cumsum reversed", |x| x.cumsum(-1, true), &[4.0, 1.0, 0.0, 6.0, 4.0, 1.0]),
    ("cumprod", |x| x.cumprod(0, false), &[3.0, 1.0, 0.0, 6.0, 3.0, 0.0]),
    ("cummax", |x| x.cummax(1, false), &[3.0, 3.0, 3.0, 2.0, 3.0, 3.0]),
    ("cummin", |x| x.cummin(1, true), &[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]),
];

/// What a case gives, operation by operation and compiled, which must be the same.
fn both_ways(x: &Tensor, f: fn(&Tensor) -> Tensor) -> Tensor {
    let (eager, jitted) = eager_and_jitted(std::slice::from_ref(x), |xs| vec![f(&xs[0])]).unwrap();
    assert_close(&jitted[0], &eager[0], EXACT);
    eager[0].clone()
}

#[test]
fn every_dtype_of_numbers() {
    for dtype in DType::ALL.into_iter().filter(|&dtype| dtype != DType::Bool) {
        let x = Tensor::new(&NUMBERS, [2, 3]).astype(dtype);
        for (name, f, expected) in CASES.iter().chain(CUMULATIVE) {
            let given = numbers(&both_ways(&x, *f));
            let near = given.iter().zip(*expected).all(|(g, e)| (g - e).abs() < 0.02);
            assert!(near && given.len() == expected.len(), "{name} of {dtype}: {given:?}");
        }
    }
}

#[test]
fn bool_is_summed_as_numbers_and_compared_as_truth() {
    let x = Tensor::new(&[true, false, true, true, false, true], [2, 3]);
    let cases: [Case; 9] = [
        ("sum", |x| x.sum(1), &[2.0, 2.0]),
        ("prod", |x| x.prod(0), &[1.0, 0.0, 1.0]),
        ("max", |x| x.max(0), &[1.0, 0.0, 1.0]),
        ("min", |x| x.min(1), &[0.0, 0.0]),
        ("any", |x| x.any(0), &[1.0, 0.0, 1.0]),
        ("all", |x| x.all(0), &[1.0, 0.0, 1.0]),
        ("mean", |x| x.mean(..) * 3.0, &[2.0]),
        ("argmax", |x| x.argmax(1), &[0.0, 0.0]),
        ("argmin", |x| x.argmin(1), &[1.0, 1.0]),
    ];
    for (name, f, expected) in cases {
        assert_eq!(numbers(&both_ways(&x, f)), expected, "{name}");
    }
}

#[test]
fn the_dtype_of_a_result_is_that_of_jnp() {
    let dtypes = |f: fn(&Tensor) -> Tensor| DType::ALL.map(|d| f(&Tensor::ones([2], d)).dtype());
    use DType::*;
    let sums = [I32, U32, U32, I32, I64, F16, BF16, F32, F64];
    let means = [F32, F32, F32, F32, F64, F16, BF16, F32, F64];
    assert_eq!(dtypes(|x| x.sum(0)), sums);
    assert_eq!(dtypes(|x| x.prod(0)), sums);
    assert_eq!(dtypes(|x| x.max(0)), DType::ALL);
    assert_eq!(dtypes(|x| x.mean(0)), means);
    assert_eq!(dtypes(|x| x.var(0, 0)), means);
    assert_eq!(dtypes(|x| x.std(0, 0)), means);
    assert_eq!(dtypes(|x| x.any(0)), [Bool; 9]);
    assert_eq!(dtypes(|x| x.argmax(0)), [I32; 9]);
}

#[test]
fn sums_do_not_overflow_or_stall_in_narrow_dtypes() {
    assert_eq!(Tensor::full([3], 255, DType::U8).sum(0).item::<u32>().unwrap(), 765);
    for dtype in [DType::F16, DType::BF16] {
        // In half precision itself a sum of ones ends at 2048 or 256.
        let ones = Tensor::ones([4096], dtype);
        assert_eq!(numbers(&ones.sum(0)), [4096.0]);
        assert_eq!(numbers(&ones.mean(0)), [1.0]);
        assert_eq!(numbers(&ones.softmax(0).sum(0)), [1.0]);
    }
}

#[test]
fn axes_in_every_form() {
    let x = Tensor::ones([2, 3, 4], DType::F32);
    let cases: [(Axes, &[usize]); 11] = [
        (0.into(), &[3, 4]),
        ((-1).into(), &[2, 3]),
        ([2, 0].into(), &[3]),
        ([-1, -3].into(), &[3]),
        (vec![1].into(), &[2, 4]),
        ((&[0isize, 1][..]).into(), &[4]),
        ((..).into(), &[]),
        ([].into(), &[2, 3, 4]),
        (keepdims(1), &[2, 1, 4]),
        (keepdims([0, -1]), &[1, 3, 1]),
        (keepdims(..), &[1, 1, 1]),
    ];
    for (axes, shape) in cases {
        let kept: usize = shape.iter().product();
        assert_eq!(x.max(axes.clone()).shape(), shape, "{axes:?}");
        assert_eq!(x.logsumexp(axes.clone()).shape(), shape, "{axes:?}");
        assert_eq!(x.std(axes.clone(), 0).shape(), shape, "{axes:?}");
        assert_eq!(x.softmax(axes.clone()).shape(), x.shape(), "{axes:?}");
        let sum = x.sum(axes.clone());
        assert_eq!(sum.shape(), shape, "{axes:?}");
        assert_eq!(sum.to_vec::<f32>().unwrap(), vec![(24 / kept) as f32; kept], "{axes:?}");
    }
    assert_eq!(x.argmax(keepdims(..)).shape(), [1, 1, 1]);
    assert_eq!(x.argmin(keepdims(-2)).shape(), [2, 1, 4]);
    assert_eq!(x.argmin(..).shape(), [0; 0]);
}

#[test]
fn no_axes_of_a_scalar() {
    let x = Tensor::scalar(2.0, DType::F32);
    assert_eq!(x.sum(..).item::<f32>().unwrap(), 2.0);
    assert_eq!(x.max([]).item::<f32>().unwrap(), 2.0);
    assert_eq!(x.var(.., 0).item::<f32>().unwrap(), 0.0);
    assert_eq!(x.softmax(..).item::<f32>().unwrap(), 1.0);
    assert_eq!(x.argmax(..).item::<i32>().unwrap(), 0);
}

#[test]
fn nothing_to_reduce() {
    let x = Tensor::zeros([0, 2], DType::F32);
    let cases: [Case; 8] = [
        ("sum", |x| x.sum(0), &[0.0, 0.0]),
        ("prod", |x| x.prod(0), &[1.0, 1.0]),
        ("any", |x| x.any(0), &[0.0, 0.0]),
        ("all", |x| x.all(0), &[1.0, 1.0]),
        ("logsumexp", |x| x.logsumexp(0), &[f64::NEG_INFINITY; 2]),
        ("sum along the other axis", |x| x.sum(1), &[]),
        ("max along the other axis", |x| x.max(1), &[]),
        ("argmax along the other axis", |x| x.argmax(1), &[]),
    ];
    for (name, f, expected) in cases {
        assert_eq!(numbers(&both_ways(&x, f)), expected, "{name}");
    }
    let functions: [fn(&Tensor) -> Tensor; 3] = [|x| x.mean(0), |x| x.var(0, 0), |x| x.std(0, 1)];
    for f in functions {
        assert!(numbers(&both_ways(&x, f)).iter().all(|x| x.is_nan()));
    }
    let functions: [fn(&Tensor) -> Tensor; 3] =
        [|x| x.softmax(0), |x| x.log_softmax(1), |x| x.cumsum(0, false)];
    for f in functions {
        assert_eq!(both_ways(&x, f).shape(), [0, 2]);
    }
    let functions: [fn(&Tensor) -> Tensor; 4] =
        [|x| x.max(0), |x| x.min(..), |x| x.argmax(0), |x| x.argmin(..)];
    for f in functions {
        let error = error_of(&f(&x));
        assert_eq!(error.kind(), ErrorKind::Shape);
        assert!(error.message().contains("has no elements along axis 0"), "{error}");
    }
}

#[test]
fn variance_of_too_few_is_nan() {
    let x = Tensor::new(&[1.0f32, 5.0], [2]);
    assert_eq!(x.var(0, 1).item::<f32>().unwrap(), 8.0);
    assert!(x.var(0, 2).item::<f32>().unwrap().is_nan());
    assert!(x.var(0, usize::MAX).item::<f32>().unwrap().is_nan());
}

#[test]
fn infinities_and_nan() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let rows = Tensor::new(&[inf, 1.0, -inf, -inf, nan, 0.0, -inf, 0.0], [4, 2]);
    let expected = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0];
    let close = |given: Vec<f64>| {
        given.iter().zip(expected).all(|(&g, e)| g == e || g.is_nan() && e.is_nan())
    };
    assert!(close(numbers(&both_ways(&rows, |x| x.logsumexp(1)))));
    let last = |x: &Tensor| x.cumlogsumexp(1, false).slice(&[0, 1], &[4, 2], &[1, 1]);
    assert!(close(numbers(&both_ways(&rows, last))));
    assert_eq!(numbers(&both_ways(&rows, |x| x.argmax(1))), [0.0, 0.0, 0.0, 1.0]);
    assert_eq!(numbers(&both_ways(&rows, |x| x.argmin(1))), [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn long_axes_agree_with_a_loop() {
    // Longer than the blocks in which XLA computes them.
    let numbers: Vec<i32> = common::ramp_bits(&[5000], 7).iter().map(|h| (h % 7) as i32).collect();
    let running = |values: &mut dyn Iterator<Item = &i32>| -> Vec<i32> {
        values
            .scan(0, |sum, x| {
                *sum += x;
                Some(*sum)
            })
            .collect()
    };
    let x = Tensor::new(&numbers, [5000]);
    let mut reversed = running(&mut numbers.iter().rev());
    reversed.reverse();
    assert_eq!(x.cumsum(0, false).to_vec::<i32>().unwrap(), running(&mut numbers.iter()));
    assert_eq!(x.cumsum(0, true).to_vec::<i32>().unwrap(), reversed);
}

#[test]
fn mistakes_name_the_operation_the_value_and_the_limit() {
    let x = Tensor::ones([2, 3], DType::F32);
    let integers = Tensor::ones([2, 3], DType::I32);
    let truth = Tensor::ones([2], DType::Bool);
    let cases: [(Tensor, ErrorKind, &str); 16] = [
        (x.sum(2), ErrorKind::Shape, "sum: axis 2 is out of range for a tensor of rank 2"),
        (x.max(-3), ErrorKind::Shape, "max: axis -3 is out of range for a tensor of rank 2"),
        (x.prod([0, 5]), ErrorKind::Shape, "prod: axis 5 is out of range"),
        (x.any(isize::MIN), ErrorKind::Shape, "any: axis -9223372036854775808 is out of range"),
        (x.all(isize::MAX), ErrorKind::Shape, "all: axis 9223372036854775807 is out of range"),
        (x.mean([1, -1]), ErrorKind::Shape, "mean: axis 1 of f32[2,3] is named twice in [1, -1]"),
        (x.var(7, 0), ErrorKind::Shape, "var: axis 7"),
        (x.std(7, 0), ErrorKind::Shape, "std: axis 7"),
        (x.softmax(2), ErrorKind::Shape, "softmax: axis 2"),
        (x.argmax([0, 1]), ErrorKind::Argument, "argmax: one axis must be named, or all of them"),
        (x.argmin([]), ErrorKind::Argument, "argmin: one axis must be named, or all of them"),
        (x.cumsum(2, false), ErrorKind::Shape, "cumsum: axis 2 is out of range"),
        (integers.logsumexp(0), ErrorKind::DType, "logsumexp: the operand must have a floating"),
        (integers.softmax(0), ErrorKind::DType, "softmax: the operand must have a floating dtype"),
        (integers.cumlogsumexp(0, false), ErrorKind::DType, "cumlogsumexp: the operand must have"),
        (truth.cumsum(0, false), ErrorKind::DType, "cumsum: the operand must have a floating or"),
    ];
    for (tensor, kind, message) in cases {
        let error = error_of(&tensor);
        assert!(error.message().starts_with(message), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.location().unwrap().file(), file!(), "{error}");
    }
}

#[test]
fn the_first_mistake_is_the_one_reported() {
    let bad = Tensor::ones([2], DType::F32) + Tensor::ones([3], DType::F32);
    for later in [bad.sum(5), bad.argmax([4, 4]), bad.logsumexp(9), bad.powi(0), bad.sum([])] {
        assert!(error_of(&later).message().starts_with("add: "), "{:?}", later);
    }
}

#[test]
fn a_mistake_in_a_composed_function_is_at_the_call() {
    let f = jit(|x: Tensor| x.softmax(3));
    let error = f.lower(Tensor::ones([2], DType::F32)).err().unwrap();
    assert_eq!(error.location().unwrap().file(), file!());
    let f = jit(|x: Tensor| x.softmax(0));
    let hlo = f.lower(Tensor::ones([2], DType::F32)).unwrap().hlo().unwrap();
    assert!(hlo.contains("softmax/reduce") && hlo.contains(file!()), "{hlo}");
}

#[test]
fn text_that_is_not_well_formed() {
    check_refused("%1: f32[] = reduce {kind=sum, axes=[1, 0]} %0", "the axes must ascend");
    check_refused(
        "%1: f32[2,3] = reduce {kind=sum, axes=[2]} %0",
        "less than the rank of f32[2,3]",
    );
    check_refused("%1: f32[3] = reduce {kind=sum, axes=[0, 0]} %0", "the axes must ascend");
    check_refused("%1: f32[2] = reduce {kind=mean, axes=[1]} %0", "sum, prod, max, min, and, or");
    check_refused("%1: f32[2] = reduce {kind=or, axes=[1]} %0", "the operand of or must have bool");
    let inputs = "reduce: the number of inputs must be 1, but it is 2";
    check_refused("%1: f32[2] = reduce {kind=sum, axes=[1]} %0 %0", inputs);
    check_refused("%1: f32[3] = reduce {kind=sum, axes=[1]} %0", "outputs of type (f32[2])");
    let axis = "cumsum: axis 2 is out of range for f32[2,3]";
    check_refused("%1: f32[2,3] = cumulative {kind=sum, axis=2, reverse=false} %0", axis);
    check_refused("%1: f32[2,3] = cumulative {kind=and, axis=0, reverse=false} %0", "logsumexp");
}
