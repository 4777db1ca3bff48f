//! Forward mode.

use super::{Traced, check_tangents, trace_for};
use crate::error::Location;
use crate::ops::call::composite_at;
use crate::ops::control::result_tree;
use crate::trace::scope;
use crate::transform::jvp::{Dual, jvp_values, or_zeros};
use crate::tree::{self, Tree};

/// The value of `f` at `primals`, and how it changes along `tangents` (the Jacobian times a
/// vector); `jax.jvp`.
///
/// `tangents` is a tree of the same type as `primals`; all leaves must have floating dtypes. The
/// second result has the type of the first; it is zero where that is not a float or does not depend
/// on `primals`. A mistake comes out where the results do.
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
    let checked = check_tangents(call.0, &primals, &tangents);
    composite_at(call, (primals, tangents), |(primals, tangents)| {
        let (output, traced) = trace_for(call, &primals, f);
        let derive = |traced: Traced| {
            let captures = traced.captures.len();
            let inputs = [traced.captures, tree::leaves(&primals)].concat();
            let mut along = vec![None; captures];
            along.extend(tree::leaves(&tangents).into_iter().map(Some));
            let dual = jvp_values(&traced.func, Dual { primals: inputs, tangents: along })?;
            let pairs = dual.tangents.into_iter().zip(&dual.primals);
            let tangents: Vec<_> = pairs.map(|(t, y)| or_zeros(t, y.aval())).collect();
            Ok([dual.primals, tangents].concat())
        };
        let result = checked.and(traced).and_then(|traced| scope::at(call.1, || derive(traced)));
        result_tree(result.map_err(|error| error.at(call.1)), &(output.clone(), output))
    })
}
