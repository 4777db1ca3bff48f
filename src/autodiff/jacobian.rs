//! Whole Jacobians and Hessians: forward or reverse mode along each unit vector, all at once.

use super::forward::jvp_for;
use super::reverse::{differentiate, vjp_for};
use crate::error::{Error, Location};
use crate::ops::broadcast::Reshape;
use crate::ops::call::composite_at;
use crate::tensor::Tensor;
use crate::trace::{poison, record_one};
use crate::tree::{self, Tree};
use crate::vmap::Vmap;

/// The Jacobian of `f` by forward mode, one column for each number in its argument at once: best
/// where there are more results than arguments; `jax.jacfwd`.
///
/// For a result of shape `[r..]`, the leaf of shape `[a..]` of the argument becomes one of shape
/// `[r.., a..]`; all must have floating dtypes. A mistake comes out where the result does.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let x = Tensor::new(&[1.0f32, 2.0], [2]);
/// let jacobian = onetrace::jacfwd(|x: Tensor| x.square())(x);
/// assert_eq!(jacobian.to_vec::<f32>()?, [2.0, 0.0, 0.0, 4.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn jacfwd<A: Tree>(f: impl Fn(A) -> Tensor) -> impl Fn(A) -> A {
    jacfwd_for(("jacfwd", std::panic::Location::caller()), f)
}

/// [`jacfwd`] on behalf of a `call` of a function of the library.
fn jacfwd_for<A: Tree>(call: (&'static str, Location), f: impl Fn(A) -> Tensor) -> impl Fn(A) -> A {
    move |x| {
        composite_at(call, x, |x| {
            let mut position = 0;
            tree::map(&x, |leaf| {
                let along = |unit: Tensor| {
                    let mut i = 0;
                    let tangents = tree::map(&x, |other| {
                        i += 1;
                        match i - 1 == position {
                            true => unit.clone(),
                            false => Tensor::zeros(other.shape(), other.dtype()),
                        }
                    });
                    jvp_for(call, |x| float_or_poison(call, f(x)), x.clone(), tangents).1
                };
                let columns = Vmap::new().run_at(call.1, along, units(leaf)).moveaxis(0, -1);
                position += 1;
                let rank = columns.rank().saturating_sub(1);
                with_shape(&columns, [&columns.shape()[..rank], leaf.shape()].concat())
            })
        })
    }
}

/// The Jacobian of `f` by reverse mode, one row for each number in its result at once: best where
/// there are more arguments than results; `jax.jacrev`. The result is that of [`jacfwd`].
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let x = Tensor::new(&[1.0f32, 2.0], [2]);
/// let jacobian = onetrace::jacrev(|x: Tensor| x.square())(x);
/// assert_eq!(jacobian.to_vec::<f32>()?, [2.0, 0.0, 0.0, 4.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn jacrev<A: Tree>(f: impl Fn(A) -> Tensor) -> impl Fn(A) -> A {
    let call = ("jacrev", std::panic::Location::caller());
    move |x| {
        composite_at(call, x, |x| {
            let (value, pullback) = vjp_for(call, |x| float_or_poison(call, f(x)), x);
            let rows = Vmap::new().run_at(call.1, pullback, units(&value));
            let own = |leaf: &Tensor| leaf.shape().get(1..).unwrap_or_default().to_vec();
            tree::map(&rows, |leaf| with_shape(leaf, [value.shape(), &own(leaf)].concat()))
        })
    }
}

/// The matrix of second derivatives of a function with a scalar result, forward over reverse mode;
/// `jax.hessian`. Shapes: for an argument `[a..]`, `[a.., a..]`.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let x = Tensor::new(&[1.0f32, 2.0], [2]);
/// let hessian = onetrace::hessian(|x: Tensor| x.square().prod(..))(x); // x0² x1²
/// assert_eq!(hessian.to_vec::<f32>()?, [8.0, 8.0, 8.0, 2.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn hessian(f: impl Fn(Tensor) -> Tensor) -> impl Fn(Tensor) -> Tensor {
    let call = ("hessian", std::panic::Location::caller());
    jacfwd_for(call, move |x| differentiate(call.0, call.1, |x| (f(x), ()), x).1)
}

/// The matrix of second derivatives of `f` at `primals` times a vector, without the matrix: how the
/// gradient changes along `tangents`.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let (x, v) = (Tensor::new(&[1.0f32, 2.0], [2]), Tensor::new(&[1.0f32, 0.0], [2]));
/// let product = onetrace::hvp(|x: Tensor| x.square().prod(..), x, v);
/// assert_eq!(product.to_vec::<f32>()?, [8.0, 8.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn hvp<A: Tree>(f: impl Fn(A) -> Tensor, primals: A, tangents: A) -> A {
    let call = ("hvp", std::panic::Location::caller());
    let gradient = |x: A| differentiate(call.0, call.1, |x| (f(x), ()), x).1;
    jvp_for(call, gradient, primals, tangents).1
}

/// The result of a function, of which there is a Jacobian if it is a float.
fn float_or_poison((what, location): (&str, Location), result: Tensor) -> Tensor {
    if result.check().is_err() || result.dtype().is_float() {
        return result;
    }
    let error = Error::dtype(format!(
        "{what}: the function must return a floating tensor, but it returns {}: integers have no \
         derivative, so return a float that follows the argument",
        result.aval(),
    ));
    poison(error.at(location), &[&result])
}

/// All unit tensors of the type of `x`, along a new first axis.
fn units(x: &Tensor) -> Tensor {
    let units = Tensor::eye(x.size(), x.dtype());
    with_shape(&units, [&[x.size()], x.shape()].concat())
}

fn with_shape(x: &Tensor, shape: Vec<usize>) -> Tensor {
    record_one(Reshape { shape }, &[x])
}
