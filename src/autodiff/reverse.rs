//! Reverse mode: jvp, then split by "depends on a tangent", then transpose.

use std::sync::Arc;

use super::{Traced, trace_for};
use crate::aval::Aval;
use crate::error::{Error, Location, Result};
use crate::ir::Func;
use crate::ops::call::composite_at;
use crate::ops::control::{check_same_type, result_tree};
use crate::tensor::Tensor;
use crate::trace::scope;
use crate::transform::jvp::{jvp, or_zeros};
use crate::transform::prune::{Effects, prune};
use crate::transform::split::split;
use crate::transform::transpose::{Input, transpose_values};
use crate::transform::{count, flagged, inline};
use crate::tree::{self, Tree};

/// A function in two parts: its value, and the linear map of tangents at that value.
pub(super) struct Linearized {
    /// The parameters -> the results, and then the residuals.
    value: Func,
    /// The residuals, and then the tangents of active parameters -> the tangents of results.
    linear: Func,
    /// How many residuals there are.
    residuals: usize,
    /// Which results have a tangent.
    tangents: Vec<bool>,
}

impl Linearized {
    pub fn of(traced: &Traced) -> Result<Linearized> {
        let func = &traced.func;
        let (params, results) = (func.params().len(), func.results().len());
        let active = traced.active();
        let jvp = jvp(func, &active, &vec![false; results])?;
        let tangents = count(&jvp.tangents);
        let actives = count(&active);
        let unknown = [vec![false; params], vec![true; actives]].concat();
        let instantiate = [vec![false; results], vec![true; tangents]].concat();
        let split = split(&jvp.func, &unknown, &instantiate)?;

        // What the linear part does not need is not a residual.
        let keep = [vec![false; split.residuals], vec![true; actives]].concat();
        let linear = prune(&split.unknown, &vec![true; tangents], &keep, Effects::Keep);
        let needed = &linear.params[..split.residuals];
        let used = [&vec![true; results], needed].concat();
        let value = prune(&split.known, &used, &vec![true; params], Effects::Keep);
        Ok(Linearized {
            value: value.func,
            linear: linear.func,
            residuals: count(needed),
            tangents: jvp.tangents,
        })
    }

    /// The results of the function for these inputs, and what its linear part is there.
    pub fn value(self, inputs: &[Tensor]) -> (Vec<Tensor>, Vec<Tensor>, LinearPart) {
        let mut values = inline(&self.value, inputs);
        let residuals = values.split_off(values.len() - self.residuals);
        (values, residuals, LinearPart { linear: self.linear, tangents: self.tangents })
    }
}

/// The linear map of tangents of the arguments to those of the results.
pub(super) struct LinearPart {
    /// The residuals, and then the tangents of the arguments -> the tangents of results.
    linear: Func,
    /// Which results have a tangent: the cotangents of others are of no account.
    tangents: Vec<bool>,
}

impl LinearPart {
    /// The tangents of the results, of the types of `template`, at the value that left these
    /// residuals, in the open trace.
    pub fn forward(
        &self,
        residuals: &[Tensor],
        tangents: &[Tensor],
        template: &[Tensor],
    ) -> Vec<Tensor> {
        let mut along = inline(&self.linear, &[residuals, tangents].concat()).into_iter();
        let own = template.iter().zip(&self.tangents);
        own.map(|(y, &has)| or_zeros(if has { along.next() } else { None }, y.aval())).collect()
    }

    /// The cotangents of the arguments at the value that left these residuals, in the open trace.
    fn pull_back(
        &self,
        residuals: &[Tensor],
        cotangents: Vec<Option<Tensor>>,
    ) -> Result<Vec<Tensor>> {
        let avals = self.linear.param_avals();
        let arguments = &avals[residuals.len()..];
        let known = residuals.iter().cloned().map(Input::Known);
        let linear = arguments.iter().map(|&aval| Input::Linear(aval.clone()));
        let inputs: Vec<Input> = known.chain(linear).collect();
        let cotangents = flagged(&cotangents, &self.tangents);
        let backwards = transpose_values(&self.linear, &inputs, cotangents)?;
        let backwards = backwards.into_iter().skip(residuals.len());
        Ok(backwards.zip(arguments).map(|(ct, aval)| or_zeros(ct, aval)).collect())
    }
}

/// The value of `f` at `primals`, and the function that maps cotangents of it to those of `primals`
/// (a vector times the Jacobian); `jax.vjp`.
///
/// All leaves of `primals` must have floating dtypes. The pullback takes a tree of the type of the
/// value; what it is given for leaves that are no floats is of no account. It can be called several
/// times, and what it needs of the value is computed once. A mistake comes out where the results
/// do.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let x = Tensor::new(&[1.0f32, 2.0], [2]);
/// let (y, pullback) = vjp(|x: Tensor| x.exp(), x);
/// let x_bar = pullback(Tensor::new(&[1.0f32, 0.0], [2]));
/// assert_eq!(x_bar.to_vec::<f32>()?, [1f32.exp(), 0.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn vjp<A: Tree, R: Tree>(f: impl FnOnce(A) -> R, primals: A) -> (R, impl Fn(R) -> A + Clone) {
    vjp_for(("vjp", std::panic::Location::caller()), f, primals)
}

/// [`vjp`] on behalf of a `call` of a function of the library.
pub(super) fn vjp_for<A: Tree, R: Tree>(
    call: (&'static str, Location),
    f: impl FnOnce(A) -> R,
    primals: A,
) -> (R, impl Fn(R) -> A + Clone) {
    let (what, location) = call;
    let mut made = None;
    // The residuals are results too: where nothing is traced, they are computed with the value.
    let (value, residuals) = composite_at(call, primals.clone(), |primals| {
        let (output, traced) = trace_for(call, &primals, f);
        let parts = traced.and_then(|traced| Ok((Linearized::of(&traced)?, traced.captures)));
        let (values, residuals, pullback) = match parts {
            Ok((parts, captures)) => {
                let inputs = [captures, tree::leaves(&primals)].concat();
                let (values, residuals, pullback) = scope::at(location, || parts.value(&inputs));
                (Ok(values), residuals, Ok(pullback))
            }
            Err(error) => {
                let error = error.at(location);
                (Err(error.clone()), Vec::new(), Err(error))
            }
        };
        made = Some(pullback);
        (result_tree(values, &output), residuals)
    });
    let pullback = made.expect("a composite function runs once");
    let pullback = Arc::new(pullback);
    let template = value.clone();
    let pull = move |cotangents: R| {
        let rule = "the cotangents must have the type of the value, but they do not";
        let own = ("value", "in the value", &template);
        let given = ("value", "in the cotangents", &cotangents);
        let checked = check_same_type(what, rule, own, given);
        let inputs = (cotangents, residuals.clone());
        composite_at(("pullback", location), inputs, |(cotangents, residuals)| {
            let result = checked.and_then(|()| {
                let pullback = pullback.as_ref().as_ref().map_err(Error::clone)?;
                let cotangents = tree::leaves(&cotangents).into_iter().map(Some).collect();
                scope::at(location, || pullback.pull_back(&residuals, cotangents))
            });
            result_tree(result.map_err(|error| error.at(location)), &primals)
        })
    };
    (value, pull)
}

/// The gradient of a function with a scalar result; `jax.grad`.
///
/// The function takes one tree (a tuple, where it has several arguments), all of whose leaves have
/// floating dtypes, and the gradient is a tree of the same type: that of a module is a module. What
/// is not to be differentiated by is captured. A mistake comes out where the results do: a result
/// that is not a floating scalar, an argument that is not a float.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let x = Tensor::new(&[3.0f32, 4.0], [2]);
/// let slope = grad(|w: Tensor| (w * &x).sum(..).square())(Tensor::ones([2], DType::F32));
/// assert_eq!(slope.to_vec::<f32>()?, [42.0, 56.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn grad<A: Tree>(f: impl Fn(A) -> Tensor) -> impl Fn(A) -> A {
    let location = std::panic::Location::caller();
    move |x| differentiate("grad", location, |x| (f(x), ()), x).1
}

/// As [`grad`], for a function that also returns something else, which comes with the gradient;
/// `jax.grad` with `has_aux`.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let f = |x: Tensor| (x.square(), &x + 1.0);
/// let (slope, aux) = onetrace::grad_with_aux(f)(Tensor::scalar(3.0, DType::F32));
/// assert_eq!((slope.item::<f32>()?, aux.item::<f32>()?), (6.0, 4.0));
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn grad_with_aux<A: Tree, X: Tree>(f: impl Fn(A) -> (Tensor, X)) -> impl Fn(A) -> (A, X) {
    let location = std::panic::Location::caller();
    move |x| {
        let ((_, aux), gradient) = differentiate("grad", location, &f, x);
        (gradient, aux)
    }
}

/// The value of a function with a scalar result, and its gradient; `jax.value_and_grad`. See
/// [`grad`].
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let (y, slope) = value_and_grad(|x: Tensor| x.square())(Tensor::scalar(3.0, DType::F32));
/// assert_eq!((y.item::<f32>()?, slope.item::<f32>()?), (9.0, 6.0));
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn value_and_grad<A: Tree>(f: impl Fn(A) -> Tensor) -> impl Fn(A) -> (Tensor, A) {
    let location = std::panic::Location::caller();
    move |x| {
        let ((value, ()), gradient) = differentiate("value_and_grad", location, |x| (f(x), ()), x);
        (value, gradient)
    }
}

/// As [`value_and_grad`], for a function that also returns something else.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let f = |x: Tensor| (x.square(), &x + 1.0);
/// let ((y, aux), slope) = onetrace::value_and_grad_with_aux(f)(Tensor::scalar(3.0, DType::F32));
/// assert_eq!([y, aux, slope].map(|t| t.item::<f32>().unwrap()), [9.0, 4.0, 6.0]);
/// ```
#[track_caller]
pub fn value_and_grad_with_aux<A: Tree, X: Tree>(
    f: impl Fn(A) -> (Tensor, X),
) -> impl Fn(A) -> ((Tensor, X), A) {
    let location = std::panic::Location::caller();
    move |x| differentiate("value_and_grad", location, &f, x)
}

/// The value of `f` at `x`, with what it returns beside it, and its gradient.
pub(crate) fn differentiate<A: Tree, X: Tree>(
    what: &str,
    location: Location,
    f: impl FnOnce(A) -> (Tensor, X),
    x: A,
) -> ((Tensor, X), A) {
    composite_at((what, location), x, |x| {
        let (output, traced) = trace_for((what, location), &x, f);
        let derive = |traced: Traced| {
            let value = output.0.aval();
            check_scalar(what, value)?;
            let inputs = [&traced.captures[..], &tree::leaves(&x)].concat();
            let (values, residuals, linear) = Linearized::of(&traced)?.value(&inputs);
            let mut seed = vec![None; values.len()];
            seed[0] = Some(Tensor::ones([], value.dtype));
            let gradient = linear.pull_back(&residuals, seed)?;
            Ok([values, gradient].concat())
        };
        let result = traced.and_then(|traced| scope::at(location, || derive(traced)));
        result_tree(result.map_err(|error| error.at(location)), &(output, x))
    })
}

fn check_scalar(what: &str, value: &Aval) -> Result<()> {
    if value.rank() > 0 {
        return Err(Error::shape(format!(
            "{what}: the function must return a scalar, shape [], but it returns {value}: reduce it \
             with `sum` or `mean`, or use `vjp` or `jacrev`"
        )));
    }
    if !value.dtype.is_float() {
        return Err(Error::dtype(format!(
            "{what}: the function must return a floating scalar, but it returns {value}: integers have \
             no derivative, so return a float that follows the arguments"
        )));
    }
    Ok(())
}
