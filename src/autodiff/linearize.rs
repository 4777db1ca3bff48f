//! Forward mode of which the value is computed once.

use std::sync::Arc;

use super::reverse::Linearized;
use super::trace_for;
use crate::error::Error;
use crate::ops::call::composite;
use crate::ops::control::{check_same_type, result_tree};
use crate::tree::{self, Tree};

/// The value of `f` at `primals`, and the function that says how it changes along tangents (the
/// Jacobian at `primals` times a vector); `jax.linearize`.
///
/// As [`jvp`](crate::jvp) in two parts: the function that is returned can be called several times, and
/// what it needs of the value is computed once. All leaves of `primals` must have floating dtypes, and
/// tangents have the type of `primals`. The tangent of a result that is no float is zero. A mistake comes out where the results do.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let x = Tensor::new(&[1.0f32, 2.0], [2]);
/// let (y, along) = onetrace::linearize(|x: Tensor| x.exp(), x);
/// let slope = along(Tensor::new(&[0.0f32, 1.0], [2]));
/// assert_eq!(slope.to_vec::<f32>()?, [0.0, y.to_vec::<f32>()?[1]]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn linearize<A: Tree, R: Tree>(
    f: impl FnOnce(A) -> R,
    primals: A,
) -> (R, impl Fn(A) -> R + Clone) {
    let call = ("linearize", std::panic::Location::caller());
    let mut made = None;
    let (value, residuals) = composite(call.0, primals.clone(), |primals| {
        let (output, traced) = trace_for(call, &primals, f);
        let parts = traced.and_then(|traced| {
            let inputs = [&traced.captures[..], &tree::leaves(&primals)].concat();
            Ok(Linearized::of(&traced)?.value(&inputs))
        });
        let (values, residuals, linear) = match parts.map_err(|error| error.at(call.1)) {
            Ok((values, residuals, linear)) => (Ok(values), residuals, Ok(linear)),
            Err(error) => (Err(error.clone()), Vec::new(), Err(error)),
        };
        made = Some(linear);
        (result_tree(values, &output), residuals)
    });
    let linear = Arc::new(made.expect("a composite function runs once"));
    let template = value.clone();
    let along = move |tangents: A| {
        composite("linear", (tangents, residuals.clone()), |(tangents, residuals)| {
            let rule = "the tangents must have the type of the primals, but they do not";
            let pair = (("arg", "is the primal", &primals), ("arg", "is the tangent", &tangents));
            let results = check_same_type(call.0, rule, pair.0, pair.1).and_then(|()| {
                let linear = linear.as_ref().as_ref().map_err(Error::clone)?;
                Ok(linear.forward(&residuals, &tree::leaves(&tangents), &tree::leaves(&template)))
            });
            result_tree(results.map_err(|error| error.at(call.1)), &template)
        })
    };
    (value, along)
}
