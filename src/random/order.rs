//! Random orders, and choices among what there is.

use super::discrete::integers;
use super::keys::{bits32, counter, split_into};
use super::{draw, reshaped};
use crate::Tensor;
use crate::aval::{Aval, DType, Shape};
use crate::error::{Error, Result};
use crate::ops::sort::sort;
use crate::ops::{check_size, resolve_axis};

/// The numbers 0, 1, …, `n - 1` in random order, `i32`; `jax.random.permutation` of a number.
///
/// ```
/// # use onetrace::random;
/// assert_eq!(random::permutation(&random::key(0), 5).to_vec::<i32>()?, [0, 1, 4, 3, 2]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn permutation(key: &Tensor, n: usize) -> Tensor {
    let checked = match i32::try_from(n) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::argument(format!(
            "permutation: the numbers are i32, so n must be below 2^31, but it is {n}"
        ))),
    };
    draw("permutation", key, checked, |key, ()| shuffled(key, Tensor::arange(n, DType::I32)))
}

/// The slices of `x` along `axis` in random order; `jax.random.permutation` of an array.
///
/// Fails if there is no such axis. Negative axes count from the back.
#[track_caller]
pub fn permutation_of(key: &Tensor, x: &Tensor, axis: isize) -> Tensor {
    let checked = x.check().and_then(|()| {
        resolve_axis("permutation_of", axis, x.rank())?;
        Ok(x.clone())
    });
    draw("permutation_of", key, checked, |key, x| permuted(key, x, axis))
}

#[track_caller]
fn permuted(key: &Tensor, x: Tensor, axis: isize) -> Tensor {
    if x.rank() == 1 {
        return shuffled(key, x);
    }
    let size = x.moveaxis(axis, 0).shape()[0];
    x.take(&shuffled(key, Tensor::arange(size, DType::I32)), axis)
}

/// A vector in random order: sorted by random numbers, so often that equal ones do not matter.
#[track_caller]
fn shuffled(key: &Tensor, mut x: Tensor) -> Tensor {
    let numbers = f64::from(u32::MAX);
    let rounds = (3.0 * (x.size().max(1) as f64).ln() / numbers.ln()).ceil() as usize;
    let mut key = key.clone();
    for _ in 0..rounds {
        let [next, round] = split_into(&key);
        key = next;
        x = sort(&[&bits32(&round, &counter(x.shape())), &x], 0, 1).swap_remove(1);
    }
    x
}

/// Slices of `a` along its first axis, drawn uniformly; `jax.random.choice`.
///
/// The result has the axes of `shape` in place of the first one. With `replace`, a slice can be
/// drawn again. Fails if `a` has no axis, if there is nothing to draw from, or if without `replace`
/// there are fewer slices than draws.
#[track_caller]
pub fn choice(key: &Tensor, a: &Tensor, shape: impl Into<Shape>, replace: bool) -> Tensor {
    let shape = shape.into();
    let checked = check_choice(a, &shape, replace).map(|()| a.clone());
    draw("choice", key, checked, |key, a| {
        let (n, rest) = (a.shape()[0], &a.shape()[1..]);
        let result = [&shape, rest].concat();
        let draws = shape.iter().product();
        if draws == 0 {
            return Tensor::zeros(result, a.dtype());
        }
        if replace {
            let bounds = [0, n as i64].map(|bound| Tensor::scalar(bound, DType::I64));
            return a.take(&integers(key, &shape, bounds, DType::I32), 0);
        }
        reshaped(&permuted(key, a, 0).slice_in_dim(0..draws, 0), &result)
    })
}

fn check_choice(a: &Tensor, shape: &[usize], replace: bool) -> Result<()> {
    a.check()?;
    let Some((&n, rest)) = a.shape().split_first() else {
        return Err(Error::shape(format!(
            "choice: a must have an axis to draw along, but it is {}",
            a.aval(),
        )));
    };
    check_size("choice", &Aval::new(a.dtype(), [shape, rest].concat()))?;
    check_size("choice", &Aval::new(DType::I32, shape))?;
    let draws: usize = shape.iter().product();
    let rule = if n == 0 && draws > 0 {
        "there is nothing to draw from"
    } else if !replace && draws > n {
        "without `replace` there must be as many slices as draws"
    } else if i32::try_from(n).is_err() {
        "the number of slices must be below 2^31"
    } else {
        return Ok(());
    };
    Err(Error::argument(format!(
        "choice: {draws} cannot be drawn from the {n} slices of {}: {rule}",
        a.aval(),
    )))
}
