//! Draws of integers, truth values and classes.

use super::keys::{bits32, bits64, counter, split_into};
use super::real::{standard_gumbel, unit};
use super::{argument, check_float, draw};
use crate::Tensor;
use crate::aval::{Aval, DType, Shape};
use crate::error::{Error, Result};
use crate::ops::binary::Operand;
use crate::ops::select::select;
use crate::ops::{check_size, resolve_axis};
use crate::tensor::Repr;

/// Truth values that are true with probability `p`; `jax.random.bernoulli`.
///
/// `p` is a number, or a floating tensor that can be broadcast to `shape`. A number must be in
/// [0, 1]. The dtype of the result is `bool`.
#[track_caller]
pub fn bernoulli(key: &Tensor, p: impl Operand, shape: impl Into<Shape>) -> Tensor {
    let shape = shape.into();
    let checked = argument("bernoulli", "p", p, DType::F32, &shape).and_then(|p| {
        check_float("bernoulli", p.dtype(), &shape)?;
        check_probability(&p)?;
        Ok(p)
    });
    draw("bernoulli", key, checked, |key, p| unit(key, &counter(&shape), p.dtype()).lt(p))
}

/// A number, which is an `f32` scalar of the host, must be a probability. What other tensors hold
/// is not looked at: it may not have been computed yet.
fn check_probability(p: &Tensor) -> Result<()> {
    let value = match &p.0 {
        Repr::Concrete(array) if array.is_of_host() => p.item::<f32>().ok(),
        _ => None,
    };
    match value {
        Some(value) if !(0.0..=1.0).contains(&value) => Err(Error::argument(format!(
            "bernoulli: p is a probability, so it must be in [0, 1], but it is {value}"
        ))),
        _ => Ok(()),
    }
}

/// Integers in [`minval`, `maxval`); `jax.random.randint`.
///
/// The bounds are numbers, or integer tensors that can be broadcast to `shape`; numbers beyond
/// those of the dtype stand for the nearest one, so that `2^32` ends the whole range of `u32`.
/// Where `maxval` is not above `minval`, all numbers are `minval`. The dtype is an integer one.
///
/// ```
/// # use onetrace::{prelude::*, random};
/// let dice = random::randint(&random::key(0), [5], 1, 7, DType::I32);
/// assert_eq!(dice.to_vec::<i32>()?, [2, 1, 3, 2, 6]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn randint(
    key: &Tensor,
    shape: impl Into<Shape>,
    minval: impl Operand,
    maxval: impl Operand,
    dtype: DType,
) -> Tensor {
    let shape = shape.into();
    let checked = integer_bounds(&shape, minval, maxval, dtype);
    draw("randint", key, checked, |key, (minval, maxval)| {
        integers(key, &shape, [minval, maxval].map(|bound| bound.astype(DType::I64)), dtype)
    })
}

#[track_caller]
fn integer_bounds(
    shape: &[usize],
    minval: impl Operand,
    maxval: impl Operand,
    dtype: DType,
) -> Result<(Tensor, Tensor)> {
    if !dtype.is_int() {
        return Err(Error::dtype(format!(
            "randint: the dtype must be an integer one, but it is {dtype}"
        )));
    }
    check_size("randint", &Aval::new(dtype, shape))?;
    let minval = argument("randint", "minval", minval, DType::I64, shape)?;
    let maxval = argument("randint", "maxval", maxval, DType::I64, shape)?;
    for (what, bound) in [("minval", &minval), ("maxval", &maxval)] {
        if !bound.dtype().is_int() {
            return Err(Error::dtype(format!(
                "randint: {what} must be an integer, but it is {}",
                bound.aval(),
            )));
        }
    }
    Ok((minval, maxval))
}

/// Integers between two `i64` bounds, by the remainder of twice as many bits as the result has.
#[track_caller]
pub(super) fn integers(
    key: &Tensor,
    shape: &[usize],
    [minval, maxval]: [Tensor; 2],
    dtype: DType,
) -> Tensor {
    let (least, most) = match dtype {
        DType::U8 => (0, i64::from(u8::MAX)),
        DType::U32 => (0, i64::from(u32::MAX)),
        DType::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let minval = minval.clamp(least, most);
    let maxval = maxval.clamp(least, most.saturating_add(1));

    let [high_key, low_key] = split_into(key);
    let wide = dtype == DType::I64;
    let bits = if wide { bits64 } else { bits32 };
    let counter = counter(shape);
    let (high, low) = (bits(&high_key, &counter), bits(&low_key, &counter));
    // All of the following is unsigned arithmetic modulo 2^32 or 2^64. A span of the whole range is
    // zero then, and the remainder by zero is the dividend.
    let word = high.dtype();
    let span = select(&maxval.gt(&minval), &maxval - &minval, 1).astype(word);
    let half = unsigned_rem(&Tensor::scalar(if wide { 1i64 << 32 } else { 1 << 16 }, word), &span);
    let multiplier = unsigned_rem(&(&half * &half), &span);
    let offset = unsigned_rem(&high, &span) * multiplier + unsigned_rem(&low, &span);
    (minval.astype(word) + unsigned_rem(&offset, &span)).astype(dtype)
}

/// The remainder of the division of two tensors as unsigned numbers, `u32` or the bits of `u64` as
/// `i64`.
#[track_caller]
fn unsigned_rem(x: &Tensor, y: &Tensor) -> Tensor {
    if x.dtype() == DType::U32 {
        return x % y;
    }
    // Half of x is not negative, so that twice its quotient is the quotient of x, or one less.
    let quotient = (x.shift_right_logical(1) / y) << 1;
    let remainder = x - quotient * y;
    let less = |a: &Tensor, b: &Tensor| (a ^ i64::MIN).lt(b ^ i64::MIN);
    let small = select(&less(&remainder, y), &remainder, &remainder - y);
    // A divisor of 2^63 or more is negative as a signed number; its quotient is zero or one.
    select(&y.lt(0), select(&less(x, y), x, x - y), small)
}

/// Positions along `axis`, each drawn with a probability proportional to `exp(logits)`, `i32`;
/// `jax.random.categorical`.
///
/// The result has the shape of `logits` without the axis. For several draws, broadcast `logits` to
/// as many leading axes. Fails if `logits` is not of a floating dtype, or has no such axis or no
/// element along it.
#[track_caller]
pub fn categorical(key: &Tensor, logits: &Tensor, axis: isize) -> Tensor {
    let checked = logits.check().and_then(|()| {
        check_float("categorical", logits.dtype(), logits.shape())?;
        let along = resolve_axis("categorical", axis, logits.rank())?;
        if logits.shape()[along] == 0 {
            return Err(Error::shape(format!(
                "categorical: there must be an element along axis {axis}, but the logits are {}",
                logits.aval(),
            )));
        }
        Ok(logits.clone())
    });
    draw("categorical", key, checked, |key, logits| {
        (standard_gumbel(key, &counter(logits.shape()), logits.dtype()) + logits).argmax(axis)
    })
}
