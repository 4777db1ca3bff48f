//! Forward mode.

use super::trace_for;
use crate::error::Location;
use crate::ops::call::composite;
use crate::ops::control::{check_same_type, result_tree};
use crate::transform::jvp::{Dual, jvp_values, or_zeros};
use crate::tree::{self, Tree};

/// The value of `f` at `primals`, and how it changes along `tangents` (the Jacobian times a vector);
/// `jax.jvp`.
///
/// `tangents` is a tree of the same type as `primals`; all leaves must have floating dtypes. The
/// second result has the type of the first; it is zero where that is no float or does not depend on
/// `primals`. A mistake comes out where the results do.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let (x, one) = (Tensor::scalar(3.0, DType::F32), Tensor::scalar(1.0, DType::F32));
/// let (y, slope) = jvp(|x: Tensor| &x * &x, x, one);
/// assert_eq!((y.item::<f32>()?, slope.item::<f32>()?), (9.0, 6.0));
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn jvp<A: Tree, R: Tree>(f: impl FnOnce(A) -> R, primals: A, tangents: A) -> (R, R) {
    jvp_for(("jvp", std::panic::Location::caller()), f, primals, tangents)
}

/// [`jvp`] on behalf of a `call` of a function of the library.
pub(super) fn jvp_for<A: Tree, R: Tree>(
    call: (&str, Location),
    f: impl FnOnce(A) -> R,
    primals: A,
    tangents: A,
) -> (R, R) {
    composite(call.0, (primals, tangents), |(primals, tangents)| {
        let (output, traced) = trace_for(call, &primals, f);
        let rule = "the tangents must have the type of the primals, but they do not";
        let pair = (("arg", "is the primal", &primals), ("arg", "is the tangent", &tangents));
        let result = check_same_type(call.0, rule, pair.0, pair.1).and(traced).and_then(|traced| {
            let captures = traced.captures.len();
            let inputs = [traced.captures, tree::leaves(&primals)].concat();
            let mut along = vec![None; captures];
            along.extend(tree::leaves(&tangents).into_iter().map(Some));
            let dual = jvp_values(&traced.func, Dual { primals: inputs, tangents: along })?;
            let pairs = dual.tangents.into_iter().zip(&dual.primals);
            let tangents: Vec<_> = pairs.map(|(t, y)| or_zeros(t, y.aval())).collect();
            Ok([dual.primals, tangents].concat())
        });
        result_tree(result.map_err(|error| error.at(call.1)), &(output.clone(), output))
    })
}
