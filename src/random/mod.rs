//! Random numbers, as `jax.random` draws them: functions of a key.
//!
//! A key is a `u32[2]` tensor. The same key always gives the same numbers, so every draw takes a
//! key of its own, made with [`split`], [`split_into`] or [`fold_in`]. The numbers are those of JAX
//! for the same seed: keys, bits, integers and uniform numbers are equal, what is computed from
//! them with `log` or `erf_inv` agrees to the rounding of these functions.
//!
//! All is written as traced operations on the bits of the Threefry-2x32 hash, so it runs on any
//! device, in compiled functions and inside of loops. Where nothing is traced each function runs as
//! one program, which is compiled once for each shape and dtype.
//!
//! # Examples
//! ```
//! use onetrace::{prelude::*, random};
//! let [key, noise_key] = random::split_into(&random::key(0));
//! let x = random::normal(&key, [3], DType::F32);
//! let noise = random::uniform(&noise_key, [3], DType::F32);
//! assert_eq!((x + noise).shape(), [3]);
//! ```

mod discrete;
mod keys;
mod order;
mod real;

pub use discrete::{bernoulli, categorical, randint};
pub use keys::{bits, fold_in, key, split, split_into};
pub use order::{choice, permutation, permutation_of};
pub(crate) use real::transposed_normal;
pub use real::{exponential, gumbel, normal, truncated_normal, uniform, uniform_range};

use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::ops::binary::Operand;
use crate::ops::broadcast::broadcast_shapes;
use crate::ops::{check_size, composed};
use crate::tensor::Tensor;
use crate::trace::poison;
use crate::tree::Tree;

/// A draw of the function called `name`: if `checked` went well, `f` is run as one program on the
/// key and on the inputs that the check gave.
#[track_caller]
fn draw<A: Tree>(
    name: &str,
    key: &Tensor,
    checked: Result<A>,
    f: impl FnOnce(&Tensor, A) -> Tensor,
) -> Tensor {
    match check_key(name, key).and(checked) {
        Ok(inputs) => composed(name, (key.clone(), inputs), |(key, inputs)| f(&key, inputs)),
        Err(error) => poison(error, &[key]),
    }
}

fn check_key(name: &str, key: &Tensor) -> Result<()> {
    key.check()?;
    if key.dtype() == DType::U32 && key.shape() == [2] {
        return Ok(());
    }
    Err(Error::argument(format!(
        "{name}: a key is u32[2], as `random::key(seed)` makes it, but it is {}",
        key.aval(),
    )))
}

/// Checks that the dtype is a floating one, and that a memory can hold a result of this type.
pub(crate) fn check_float(name: &str, dtype: DType, shape: &[usize]) -> Result<()> {
    if !dtype.is_float() {
        return Err(Error::dtype(format!(
            "{name}: the dtype must be a floating one, but it is {dtype}"
        )));
    }
    check_size(name, &Aval::new(dtype, shape))
}

/// The argument called `what`: a tensor as it is, or a number as a scalar of `dtype`. It must be
/// one that can be broadcast to `shape`.
#[track_caller]
fn argument(
    name: &str,
    what: &str,
    value: impl Operand,
    dtype: DType,
    shape: &[usize],
) -> Result<Tensor> {
    let value = value.into_tensor(&Tensor::zeros([], dtype));
    value.check()?;
    let aval = value.aval();
    match broadcast_shapes(&[aval, &aval.with_shape(shape)]) {
        Ok(broadcast) if broadcast == shape => Ok(value),
        _ => Err(Error::shape(format!(
            "{name}: {what} must be a scalar or one that can be broadcast to the shape of the \
             result, {shape:?}, but it is {aval}"
        ))),
    }
}

/// `x` in another shape of the same number of elements.
#[track_caller]
fn reshaped(x: &Tensor, shape: &[usize]) -> Tensor {
    x.reshape(shape.iter().map(|&size| size as isize).collect::<Vec<_>>())
}
