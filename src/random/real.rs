//! Draws of real numbers.

use super::keys::{bits32, bits64, counter, transposed_counter};
use super::{argument, check_float, draw};
use crate::Tensor;
use crate::aval::{DType, Shape};
use crate::error::Result;
use crate::ops::binary::Operand;

/// How uniform numbers of a dtype are made: the random bits that are drawn for one, the bits of
/// its mantissa, and its smallest normal number.
struct Format {
    drawn: u32,
    mantissa: u32,
    tiny: f64,
}

fn format(dtype: DType) -> Format {
    let (drawn, mantissa, tiny) = match dtype {
        DType::F64 => (64, 52, f64::MIN_POSITIVE),
        DType::F16 => (16, 10, half::f16::MIN_POSITIVE.to_f64()),
        DType::BF16 => (8, 7, half::bf16::MIN_POSITIVE.to_f64()),
        _ => (32, 23, f64::from(f32::MIN_POSITIVE)),
    };
    Format { drawn, mantissa, tiny }
}

/// Uniform numbers in [0, 1); `jax.random.uniform`.
///
/// The dtype is a floating one.
///
/// ```
/// # use onetrace::{prelude::*, random};
/// let x = random::uniform(&random::key(0), [2], DType::F32);
/// assert_eq!(x.to_vec::<f32>()?, [0.947667, 0.9785799]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn uniform(key: &Tensor, shape: impl Into<Shape>, dtype: DType) -> Tensor {
    let shape = shape.into();
    let checked = check_float("uniform", dtype, &shape);
    draw("uniform", key, checked, |key, ()| unit(key, &counter(&shape), dtype))
}

/// Uniform numbers in [`minval`, `maxval`); `jax.random.uniform` with bounds.
///
/// The bounds are numbers, or tensors that can be broadcast to `shape`. Where `maxval` is not above
/// `minval`, all numbers are `minval`.
#[track_caller]
pub fn uniform_range(
    key: &Tensor,
    shape: impl Into<Shape>,
    dtype: DType,
    minval: impl Operand,
    maxval: impl Operand,
) -> Tensor {
    let shape = shape.into();
    let checked = bounds("uniform_range", &shape, dtype, ("minval", minval), ("maxval", maxval));
    draw("uniform_range", key, checked, |key, (minval, maxval)| {
        between(key, &counter(&shape), &minval.astype(dtype), &maxval.astype(dtype))
    })
}

/// Numbers of the standard normal distribution; `jax.random.normal`.
///
/// The dtype is a floating one.
#[track_caller]
pub fn normal(key: &Tensor, shape: impl Into<Shape>, dtype: DType) -> Tensor {
    let shape = shape.into();
    let checked = check_float("normal", dtype, &shape);
    draw("normal", key, checked, |key, ()| standard_normal(key, &counter(&shape), dtype))
}

/// Numbers of the standard normal distribution between `lower` and `upper`, both excluded;
/// `jax.random.truncated_normal`.
///
/// The bounds are numbers, or tensors that can be broadcast to `shape`; the dtype is a floating
/// one.
#[track_caller]
pub fn truncated_normal(
    key: &Tensor,
    lower: impl Operand,
    upper: impl Operand,
    shape: impl Into<Shape>,
    dtype: DType,
) -> Tensor {
    let shape = shape.into();
    let checked = bounds("truncated_normal", &shape, dtype, ("lower", lower), ("upper", upper));
    draw("truncated_normal", key, checked, |key, (lower, upper)| {
        let (lower, upper) = (lower.astype(dtype), upper.astype(dtype));
        let sqrt2 = std::f64::consts::SQRT_2;
        let [a, b] = [&lower, &upper].map(|bound| (bound / sqrt2).erf());
        let x = between(key, &counter(&shape), &a, &b).erf_inv() * sqrt2;
        // Rounding may have brought a number to a bound or beyond it.
        x.clamp(lower.nextafter(f64::INFINITY), upper.nextafter(f64::NEG_INFINITY))
    })
}

/// Numbers of the exponential distribution of rate one; `jax.random.exponential`.
///
/// The dtype is a floating one.
#[track_caller]
pub fn exponential(key: &Tensor, shape: impl Into<Shape>, dtype: DType) -> Tensor {
    let shape = shape.into();
    let checked = check_float("exponential", dtype, &shape);
    draw("exponential", key, checked, |key, ()| -(-unit(key, &counter(&shape), dtype)).log1p())
}

/// Numbers of the standard Gumbel distribution, `-log(-log(uniform))`; `jax.random.gumbel`.
///
/// The dtype is a floating one.
#[track_caller]
pub fn gumbel(key: &Tensor, shape: impl Into<Shape>, dtype: DType) -> Tensor {
    let shape = shape.into();
    let checked = check_float("gumbel", dtype, &shape);
    draw("gumbel", key, checked, |key, ()| standard_gumbel(key, &counter(&shape), dtype))
}

#[track_caller]
fn bounds(
    name: &str,
    shape: &[usize],
    dtype: DType,
    (low_name, low): (&str, impl Operand),
    (high_name, high): (&str, impl Operand),
) -> Result<(Tensor, Tensor)> {
    check_float(name, dtype, shape)?;
    let low = argument(name, low_name, low, dtype, shape)?;
    let high = argument(name, high_name, high, dtype, shape)?;
    Ok((low, high))
}

/// The numbers of [`normal`] for a key and the transposed shape. To draw them in their places
/// spares a program the transposition.
#[track_caller]
pub(crate) fn transposed_normal(key: &Tensor, shape: [usize; 2], dtype: DType) -> Tensor {
    standard_normal(key, &transposed_counter(shape), dtype)
}

/// Uniform numbers in [0, 1), for the elements that the counter numbers.
///
/// JAX takes the mantissa of a number in [1, 2) from the highest bits drawn, and subtracts 1. To
/// scale the mantissa as an integer gives the same numbers, for both are exact.
#[track_caller]
pub(super) fn unit(key: &Tensor, counter: &Tensor, dtype: DType) -> Tensor {
    let Format { drawn, mantissa, .. } = format(dtype);
    let bits = if drawn > 32 { bits64(key, counter) } else { bits32(key, counter) };
    let width = drawn.max(32);
    let high = if drawn < width { bits << (width - drawn) } else { bits };
    let number = high.shift_right_logical(width - mantissa).astype(dtype);
    number * 0.5f64.powi(mantissa as i32)
}

/// Uniform numbers in [`minval`, `maxval`).
#[track_caller]
fn between(key: &Tensor, counter: &Tensor, minval: &Tensor, maxval: &Tensor) -> Tensor {
    let unit = unit(key, counter, minval.dtype());
    // Rounding may have brought a number below the lower bound.
    (unit * (maxval - minval) + minval).maximum(minval)
}

#[track_caller]
fn standard_normal(key: &Tensor, counter: &Tensor, dtype: DType) -> Tensor {
    // The number after -1: erf_inv is infinite at -1 itself.
    let low = 0.5f64.powi(format(dtype).mantissa as i32 + 1) - 1.0;
    let bound = |value: f64| Tensor::scalar(value, dtype);
    between(key, counter, &bound(low), &bound(1.0)).erf_inv() * std::f64::consts::SQRT_2
}

#[track_caller]
pub(super) fn standard_gumbel(key: &Tensor, counter: &Tensor, dtype: DType) -> Tensor {
    // The logarithm of zero is infinite.
    let bound = |value: f64| Tensor::scalar(value, dtype);
    -(-between(key, counter, &bound(format(dtype).tiny), &bound(1.0)).log()).log()
}
