//! Forward mode of which the value is computed once.

use std::sync::Arc;

use super::reverse::Linearized;
use super::{check_tangents, trace_for};
use crate::error::Error;
use crate::ops::call::composite_at;
use crate::ops::control::result_tree;
use crate::trace::scope;
use crate::tree::{self, Tree};

/// The value of `f` at `primals`, and the function that says how it changes along tangents (the
/// Jacobian at `primals` times a vector); `jax.linearize`.
///
/// As [`jvp`](crate::jvp) in two parts: the function that is returned can be called several times,
/// and what it needs of the value is computed once. All leaves of `primals` must have floating
/// dtypes, and tangents have the type of `primals`. The tangent of a result that is not a float is
/// zero. A mistake comes out where the results do.
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
    let (value, residuals) = composite_at(call, primals.clone(), |primals| {
        let (output, traced) = trace_for(call, &primals, f);
        let parts = traced.and_then(|traced| {
            let inputs = [&traced.captures[..], &tree::leaves(&primals)].concat();
            scope::at(call.1, || Ok(Linearized::of(&traced)?.value(&inputs)))
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
        let checked = check_tangents(call.0, &primals, &tangents);
        let inputs = (tangents, residuals.clone());
        composite_at(("linear", call.1), inputs, |(tangents, residuals)| {
            let results = checked.and_then(|()| {
                let linear = linear.as_ref().as_ref().map_err(Error::clone)?;
                let (tangents, template) = (tree::leaves(&tangents), tree::leaves(&template));
                Ok(scope::at(call.1, || linear.forward(&residuals, &tangents, &template)))
            });
            result_tree(results.map_err(|error| error.at(call.1)), &template)
        })
    };
    (value, along)
}
