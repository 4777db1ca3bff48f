//! Conversions between all dtypes, of numbers and of bits.

mod common;

use common::host::Host;
use common::{EXACT, assert_close, eager_and_jitted};
use half::{bf16, f16};
use onetrace::prelude::*;

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
