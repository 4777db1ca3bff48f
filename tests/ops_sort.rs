//! Sorts where the golden data does not reach: every dtype, stability, several keys, and mistakes.

mod common;

use common::{EXACT, assert_close, check_refused, eager_and_jitted, error_of, numbers, ramp_bits};
use onetrace::{ErrorKind, prelude::*, sort};

#[test]
fn every_dtype() {
    for dtype in DType::ALL {
        let x = Tensor::new(&[3, 0, 2, 1, 0, 3], [2, 3]).astype(dtype);
        let (eager, jitted) = eager_and_jitted(&[x], |xs| {
            let x = &xs[0];
            let sorts = [x.sort(1), x.sort_descending(1)];
            [sorts, [x.argsort(-1), x.argsort_descending(0)]].concat()
        })
        .unwrap();
        let expected = match dtype {
            DType::Bool => {
                [[0, 1, 1, 0, 1, 1], [1, 1, 0, 1, 1, 0], [1, 0, 2, 1, 0, 2], [0, 0, 0, 1, 1, 1]]
            }
            _ => [[0, 2, 3, 0, 1, 3], [3, 2, 0, 3, 1, 0], [1, 2, 0, 1, 0, 2], [0, 0, 1, 1, 1, 0]],
        };
        for ((eager, jitted), expected) in eager.iter().zip(&jitted).zip(expected) {
            assert_eq!(numbers(eager), expected.map(f64::from), "{dtype}");
            assert_close(jitted, eager, EXACT);
        }
    }
}

#[test]
fn top_k_of_every_dtype_of_numbers() {
    for dtype in DType::ALL.into_iter().filter(|&dtype| dtype != DType::Bool) {
        let x = Tensor::new(&[3, 0, 2, 1, 0, 3, 1, 1, 1], [3, 3]).astype(dtype);
        let (values, indices) = x.top_k(2);
        assert_eq!((values.dtype(), indices.dtype()), (dtype, DType::I32));
        assert_eq!(numbers(&values), [3.0, 2.0, 3.0, 1.0, 1.0, 1.0], "{dtype}");
        assert_eq!(numbers(&indices), [0.0, 2.0, 2.0, 0.0, 0.0, 1.0], "{dtype}");
    }
    let (values, indices) = Tensor::ones([2, 3], DType::F32).top_k(0);
    assert_eq!((values.shape(), indices.shape()), (&[2, 0][..], &[2, 0][..]));
}

/// Rows of numbers, few of them different, sorted by the standard library and by XLA.
#[test]
fn sorts_are_stable_for_any_number_of_keys() {
    let size = 700;
    let column = |salt| ramp_bits(&[size], salt).iter().map(|h| (h % 4) as i32).collect::<Vec<_>>();
    let (a, b) = (column(1), column(2));
    let position: Vec<i32> = (0..size as i32).collect();
    let tensor = |values: &[i32]| Tensor::new(values, [size]);
    for num_keys in 1..=3 {
        let mut rows: Vec<[i32; 3]> = (0..size).map(|i| [a[i], b[i], position[i]]).collect();
        rows.sort_by(|x, y| x[..num_keys].cmp(&y[..num_keys]));
        let sorted = sort(&[&tensor(&a), &tensor(&b), &tensor(&position)], 0, num_keys);
        for (i, column) in sorted.iter().enumerate() {
            let expected: Vec<i32> = rows.iter().map(|row| row[i]).collect();
            assert_eq!(column.to_vec::<i32>().unwrap(), expected, "{num_keys} keys");
        }
    }
}

#[test]
fn keys_and_values_of_different_dtypes() {
    let keys = Tensor::new(&[u32::MAX, 0, 1 << 31, 5], [4]);
    let values = Tensor::new(&[0.0f32, 1.0, 2.0, 3.0], [4]);
    let sorted = sort(&[&keys, &values], -1, 1);
    assert_eq!(sorted[0].to_vec::<u32>().unwrap(), [0, 5, 1 << 31, u32::MAX]);
    assert_eq!(sorted[1].to_vec::<f32>().unwrap(), [1.0, 3.0, 2.0, 0.0]);
}

#[test]
fn floats_have_a_total_order() {
    let nan = f32::NAN;
    let keys = Tensor::new(&[nan, 0.0, -nan, f32::INFINITY, -0.0, -1.0], [6]);
    assert_eq!(keys.argsort(0).to_vec::<i32>().unwrap(), [5, 1, 4, 3, 0, 2]);
    assert_eq!(keys.argsort_descending(0).to_vec::<i32>().unwrap(), [0, 2, 3, 1, 4, 5]);
    // Zeros of both signs, and NaN, are equal: the second key decides.
    let second = Tensor::new(&[1, 1, 0, 0, 0, 0], [6]);
    let sorted = sort(&[&keys, &second, &Tensor::arange(6, DType::I32)], 0, 2);
    assert_eq!(sorted[2].to_vec::<i32>().unwrap(), [5, 4, 1, 3, 2, 0]);
}

#[test]
fn nothing_to_sort() {
    for shape in [[0, 3], [2, 0]] {
        let x = Tensor::zeros(shape, DType::F32);
        assert!(x.sort(0).to_vec::<f32>().unwrap().is_empty());
        assert_eq!(x.argsort(1).aval().to_string(), format!("i32[{},{}]", shape[0], shape[1]));
        assert_eq!(x.sort_descending(1).shape(), shape);
    }
}

#[test]
fn mistakes_name_the_operation_the_value_and_the_limit() {
    let x = Tensor::ones([2, 3], DType::F32);
    let (scalar, truth) = (Tensor::scalar(1, DType::I32), Tensor::ones([2], DType::Bool));
    let other = Tensor::ones([2, 4], DType::F32);
    let cases: [(Tensor, ErrorKind, &str); 11] = [
        (x.sort(2), ErrorKind::Shape, "sort: axis 2 is out of range for a tensor of rank 2"),
        (scalar.sort(-1), ErrorKind::Shape, "sort: axis -1 is out of range: a scalar has no axes"),
        (x.argsort(-3), ErrorKind::Shape, "argsort: axis -3 is out of range"),
        (x.sort_descending(2), ErrorKind::Shape, "sort_descending: axis 2 is out of range"),
        (x.argsort_descending(2), ErrorKind::Shape, "argsort_descending: axis 2 is out of range"),
        (
            x.top_k(4).0,
            ErrorKind::Argument,
            "top_k: k must be at most the size of the last axis, 3",
        ),
        (scalar.top_k(0).1, ErrorKind::Shape, "top_k: the operand must have an axis"),
        (truth.top_k(1).0, ErrorKind::DType, "top_k: the operand must have a floating or integer"),
        (
            sort(&[&x, &other], 0, 1)[1].clone(),
            ErrorKind::Shape,
            "sort: the operands must have the",
        ),
        (
            sort(&[&x, &x], 0, 3)[0].clone(),
            ErrorKind::Argument,
            "sort: num_keys must be at least 1",
        ),
        (sort(&[], 0, 1)[0].clone(), ErrorKind::Shape, "sort: axis 0 is out of range"),
    ];
    for (tensor, kind, message) in cases {
        let error = error_of(&tensor);
        assert!(error.message().starts_with(message), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.location().unwrap().file(), file!(), "{error}");
    }
}

#[test]
fn text_that_is_not_well_formed() {
    check_refused(
        "%1: f32[2,3] = sort {axis=2, num_keys=1} %0",
        "axis 2 is out of range for f32[2,3]",
    );
    check_refused("%1: f32[2,3] = sort {axis=0, num_keys=0} %0", "num_keys must be at least 1");
    check_refused(
        "%1: f32[2,3] = sort {axis=0, num_keys=2} %0",
        "the number of operands, 1, but it is 2",
    );
    check_refused(
        "%1: f32[2,3] = sort {axis=0, num_keys=1}",
        "the number of operands, 0, but it is 1",
    );
    check_refused(
        "%1: f32[2,4] = top_k {k=4} %0",
        "k must be at most the size of the last axis, 3",
    );
    check_refused("%1: f32[2,1] = top_k {k=1} %0", "outputs of type (f32[2,1], i32[2,1])");
}
