//! Arithmetic and activation functions that are made of other operations, where the golden data
//! does not reach: every dtype, edges, and mistakes.

mod common;

use common::{EXACT, Tolerance, assert_close, difference, eager_and_jitted, error_of, numbers};
use onetrace::{ErrorKind, prelude::*};

/// What `f` gives for one input, operation by operation and compiled, which must be the same.
fn both_ways(x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let (eager, jitted) = eager_and_jitted(std::slice::from_ref(x), |xs| vec![f(&xs[0])]).unwrap();
    assert_close(&jitted[0], &eager[0], EXACT);
    eager[0].clone()
}

#[test]
fn division_rounds_down_for_every_dtype_of_numbers() {
    for dtype in DType::ALL.into_iter().filter(|&dtype| dtype != DType::Bool) {
        let signed = dtype.is_float() || dtype.is_signed_int();
        let some: &[i32] = if signed { &[-7, -6, -1, 0, 1, 6, 7] } else { &[0, 1, 2, 6, 7] };
        for &divisor in some.iter().filter(|&&d| d != 0) {
            let x = Tensor::new(some, [some.len()]).astype(dtype);
            let quotient = numbers(&both_ways(&x, |x| x.floor_divide(divisor)));
            let remainder = numbers(&both_ways(&x, |x| x.remainder(divisor)));
            for ((&x, q), r) in some.iter().zip(quotient).zip(remainder) {
                let exact = (f64::from(x) / f64::from(divisor)).floor();
                assert_eq!(q, exact, "{x} // {divisor} of {dtype}");
                assert_eq!(r, f64::from(x) - exact * f64::from(divisor), "{x} % {divisor}");
            }
        }
    }
}

#[test]
fn division_at_the_edges() {
    let x = Tensor::new(&[i32::MIN, i32::MAX, 0, 5], [4]);
    assert_eq!(x.remainder(0).to_vec::<i32>().unwrap(), [0; 4]);
    assert_eq!(x.remainder(-1).to_vec::<i32>().unwrap(), [0; 4]);
    assert_eq!(x.floor_divide(-1).to_vec::<i32>().unwrap(), [i32::MIN, -i32::MAX, 0, -5]);
    let y = Tensor::new(&[7.5f32, -7.5, 0.0, f32::INFINITY], [4]);
    assert!(numbers(&y.remainder(0.0)).iter().all(|x| x.is_nan()));
    let by_zero = numbers(&y.floor_divide(0.0));
    assert_eq!(by_zero[..2], [f64::INFINITY, f64::NEG_INFINITY]);
    assert!(by_zero[2].is_nan());
    assert_eq!(numbers(&y.remainder(2.0))[..3], [1.5, 0.5, 0.0]);
}

#[test]
fn powers_by_multiplication() {
    for dtype in DType::ALL.into_iter().filter(|&dtype| dtype != DType::Bool) {
        let x = Tensor::new(&[0, 1, 2, 3], [4]).astype(dtype);
        for exponent in 0..5 {
            let expected: Vec<f64> = (0..4).map(|x| f64::from(x).powi(exponent)).collect();
            assert_eq!(numbers(&both_ways(&x, |x| x.powi(exponent))), expected, "{dtype}");
        }
        if dtype.is_float() {
            let expected = [f64::INFINITY, 1.0, 0.25];
            assert_eq!(numbers(&both_ways(&x, |x| x.powi(-2)))[..3], expected, "{dtype}");
        }
    }
    assert_eq!(
        Tensor::new(&[3], [1]).powi(i32::MAX).item::<i32>().unwrap(),
        3i32.wrapping_pow(i32::MAX as u32)
    );
    assert_eq!(numbers(&Tensor::new(&[2.0f64, 1.0], [2]).powi(i32::MIN)), [0.0, 1.0]);
}

#[test]
fn powers_of_integers_wrap_around_and_negative_ones_are_quotients() {
    let exponents =
        [0, 1, 2, 5, 31, 63, 64, 65, 100, 1 << 20, i32::MAX, -1, -2, -63, -64, i32::MIN];
    let bases = [-3, -2, -1, 0, 1, 2, 3, 10, i32::MIN, i32::MAX];
    let power = |x: i32, exponent: i32| match u32::try_from(exponent) {
        Ok(exponent) => x.wrapping_pow(exponent),
        Err(_) if x == 1 || x == -1 && exponent % 2 == 0 => 1,
        Err(_) if x == -1 => -1,
        Err(_) => 0,
    };
    let expected: Vec<i32> =
        bases.iter().flat_map(|&x| exponents.map(|exponent| power(x, exponent))).collect();
    let inputs =
        [Tensor::new(&bases, [bases.len(), 1]), Tensor::new(&exponents, [exponents.len()])];
    let (eager, jitted) = eager_and_jitted(&inputs, |xs| vec![xs[0].pow(&xs[1])]).unwrap();
    assert_eq!(eager[0].to_vec::<i32>().unwrap(), expected);
    assert_eq!(jitted[0].to_vec::<i32>().unwrap(), expected);
    let wide = Tensor::new(&[3i64, -1, 2, -2, 0, 7], [6]);
    let exponents = Tensor::new(&[39i64, i64::MAX, 62, 63, 1 << 40, -1], [6]);
    let expected = [3i64.pow(39), -1, 1 << 62, i64::MIN, 0, 0];
    assert_eq!(both_ways(&wide, |x| x.pow(&exponents)).to_vec::<i64>().unwrap(), expected);
    let small = Tensor::new(&[0u8, 1, 2, 3, 255], [5]);
    let powers = both_ways(&small, |x| x.pow(200)).to_vec::<u8>().unwrap();
    assert_eq!(powers, [0u8, 1, 2, 3, 255].map(|x| x.wrapping_pow(200)));
    let unsigned = Tensor::new(&[3u32, u32::MAX], [2]).pow(Tensor::new(&[20u32, u32::MAX], [2]));
    assert_eq!(unsigned.to_vec::<u32>().unwrap(), [3u32.pow(20), u32::MAX]);
}

#[test]
fn shifts_to_the_right_keep_the_sign_there_is() {
    let signed = Tensor::new(&[i32::MIN, -8, -1, 0, 7], [5]);
    let unsigned = Tensor::new(&[u32::MAX, 0x8000_0000, 8, 1, 0], [5]);
    for bits in [0, 1, 3, 31] {
        let expected: Vec<i32> =
            signed.to_vec::<i32>().unwrap().iter().map(|x| x >> bits).collect();
        assert_eq!(both_ways(&signed, |x| x >> bits).to_vec::<i32>().unwrap(), expected);
        let expected: Vec<u32> =
            unsigned.to_vec::<u32>().unwrap().iter().map(|x| x >> bits).collect();
        assert_eq!(both_ways(&unsigned, |x| x >> bits).to_vec::<u32>().unwrap(), expected);
    }
    assert_eq!((&signed >> 32).to_vec::<i32>().unwrap(), [-1, -1, -1, 0, 0]);
    assert_eq!((&unsigned >> 32).to_vec::<u32>().unwrap(), [0; 5]);
    assert_eq!((-256 >> Tensor::new(&[1, 4], [2])).to_vec::<i32>().unwrap(), [-128, -16]);
    let error = error_of(&(Tensor::ones([2], DType::F32) >> 1));
    assert_eq!(error.kind(), ErrorKind::DType);
    assert!(error.message().starts_with("shift_right"), "{error}");
    assert_eq!(error.location().unwrap().file(), file!());
}

#[test]
fn relu_of_every_dtype_of_numbers() {
    for dtype in DType::ALL.into_iter().filter(|&dtype| dtype != DType::Bool) {
        let x = Tensor::new(&[0, 1, 5], [3]).astype(dtype);
        let (x, expected) = match dtype.is_float() || dtype.is_signed_int() {
            true => (x - 1, [0.0, 0.0, 4.0]),
            false => (x, [0.0, 1.0, 5.0]),
        };
        assert_eq!(numbers(&both_ways(&x, Tensor::relu)), expected, "{dtype}");
    }
    let edges = Tensor::new(&[f32::NAN, -0.0, f32::NEG_INFINITY, f32::INFINITY], [4]);
    let expected = Tensor::new(&[f32::NAN, 0.0, 0.0, f32::INFINITY], [4]);
    assert_close(&edges.relu(), &expected, EXACT);
}

#[test]
fn activations_where_a_plain_formula_overflows() {
    let x = Tensor::new(&[-1000.0f32, 0.0, 1000.0, f32::INFINITY, f32::NEG_INFINITY], [5]);
    let (inf, ln2) = (f32::INFINITY, std::f32::consts::LN_2);
    type Case = (&'static str, fn(&Tensor) -> Tensor, [f32; 5]);
    let cases: [Case; 6] = [
        ("softplus", Tensor::softplus, [0.0, ln2, 1000.0, inf, 0.0]),
        ("log_sigmoid", Tensor::log_sigmoid, [-1000.0, -ln2, 0.0, 0.0, -inf]),
        ("elu", |x| x.elu(2.0), [-2.0, 0.0, 1000.0, inf, -2.0]),
        ("leaky_relu", |x| x.leaky_relu(0.5), [-500.0, 0.0, 1000.0, inf, -inf]),
        ("logaddexp", |x| x.logaddexp(x), [-1000.0 + ln2, ln2, 1000.0 + ln2, inf, -inf]),
        ("trunc", |x| x.trunc(), [-1000.0, 0.0, 1000.0, inf, -inf]),
    ];
    let near = Tolerance { relative: 1e-6, absolute: 0.0 };
    for (name, f, expected) in cases {
        let difference = difference(&both_ways(&x, f), &Tensor::new(&expected, [5]), near);
        assert!(difference.is_none(), "{name}: {}", difference.unwrap_or_default());
    }
}

#[test]
fn both_sides_are_broadcast() {
    let (x, y) = (Tensor::ones([2, 1], DType::F32), Tensor::ones([3], DType::F32));
    assert_eq!(x.logaddexp(&y).shape(), [2, 3]);
    assert_eq!(x.floor_divide(&y).shape(), [2, 3]);
    assert_eq!(x.remainder(&y).shape(), [2, 3]);
}

#[test]
fn mistakes_name_the_operation_that_was_called() {
    let x = Tensor::ones([2], DType::F32);
    let (integers, truth) = (x.astype(DType::I32), x.astype(DType::Bool));
    let three = Tensor::ones([3], DType::F32);
    let cases: [(Tensor, ErrorKind, &str); 18] = [
        (integers.gelu(), ErrorKind::DType, "gelu: the operand must have a floating dtype"),
        (integers.gelu_exact(), ErrorKind::DType, "gelu_exact: the operand must have"),
        (integers.silu(), ErrorKind::DType, "silu: the operand must have"),
        (integers.softplus(), ErrorKind::DType, "softplus: the operand must have"),
        (integers.log_sigmoid(), ErrorKind::DType, "log_sigmoid: the operand must have"),
        (integers.elu(1.0), ErrorKind::DType, "elu: the operand must have"),
        (integers.leaky_relu(0.1), ErrorKind::DType, "leaky_relu: the operand must have"),
        (integers.reciprocal(), ErrorKind::DType, "reciprocal: the operand must have"),
        (integers.trunc(), ErrorKind::DType, "trunc: the operand must have"),
        (integers.is_inf(), ErrorKind::DType, "is_inf: the operand must have"),
        (
            integers.powi(-1),
            ErrorKind::DType,
            "powi: the exponent of integers must not be negative",
        ),
        (truth.relu(), ErrorKind::DType, "relu: the operand must have a floating or integer dtype"),
        (
            truth.powi(2),
            ErrorKind::DType,
            "powi: the operand must have a floating or integer dtype",
        ),
        (x.remainder(&integers), ErrorKind::DType, "remainder: the operands must have the same"),
        (truth.floor_divide(&truth), ErrorKind::DType, "floor_divide: the operands must have a"),
        (x.floor_divide(&three), ErrorKind::Shape, "floor_divide: the shapes of f32[2] and f32[3]"),
        (x.remainder(&three), ErrorKind::Shape, "remainder: the shapes of f32[2] and f32[3]"),
        (x.logaddexp(&three), ErrorKind::Shape, "logaddexp: the shapes of f32[2] and f32[3]"),
    ];
    for (tensor, kind, message) in cases {
        let error = error_of(&tensor);
        assert!(error.message().starts_with(message), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.location().unwrap().file(), file!(), "{error}");
    }
}
