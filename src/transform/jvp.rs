//! Forward mode: a function becomes one that also maps tangents of its arguments to those of its
//! results (its Jacobian times a vector).
//!
//! A tangent is `None` where it is known to be zero: values that do not depend on a differentiated
//! argument have none, and values that are no floats never do.

use super::{Env, build, flagged, in_place_of, replay};
use crate::aval::Aval;
use crate::error::Result;
use crate::ir::Func;
use crate::tensor::Tensor;

/// Values, and the tangent of each.
#[derive(Clone)]
pub(crate) struct Dual {
    pub primals: Vec<Tensor>,
    pub tangents: Vec<Option<Tensor>>,
}

impl Dual {
    /// One value and its tangent.
    pub fn one(primal: Tensor, tangent: Option<Tensor>) -> Dual {
        Dual { primals: vec![primal], tangents: vec![tangent] }
    }

    /// Values that do not change when the arguments do, but for jumps.
    pub fn constant(primals: Vec<Tensor>) -> Dual {
        let tangents = vec![None; primals.len()];
        Dual { primals, tangents }
    }
}

/// A function with tangents.
pub(crate) struct Jvp {
    /// Its parameters are those of the function and the tangents of the active ones; its results
    /// are those of the function and the tangents that there are.
    pub func: Func,
    /// Which results have a tangent.
    pub tangents: Vec<bool>,
}

/// `func` with tangents for the parameters that are `active`. Results that `instantiate` names have
/// a tangent in any case.
pub(crate) fn jvp(func: &Func, active: &[bool], instantiate: &[bool]) -> Result<Jvp> {
    let avals: Vec<Aval> = func.param_avals().into_iter().cloned().collect();
    let params = [avals.clone(), flagged(&avals, active)].concat();
    let mut has_tangent = Vec::new();
    let func = build(func.name(), params, |tensors| {
        let (primals, tangents) = tensors.split_at(avals.len());
        let mut tangents = tangents.iter().cloned();
        let tangents = active.iter().map(|&a| if a { tangents.next() } else { None }).collect();
        let dual = jvp_values(func, Dual { primals: primals.to_vec(), tangents })?;
        let tangents = dual.tangents.into_iter().zip(&dual.primals).zip(instantiate);
        let tangents: Vec<Option<Tensor>> = tangents
            .map(|((t, x), &wanted)| if wanted { Some(or_zeros(t, x.aval())) } else { t })
            .collect();
        has_tangent = tangents.iter().map(Option::is_some).collect();
        Ok(dual.primals.into_iter().chain(tangents.into_iter().flatten()).collect())
    })?;
    Ok(Jvp { func, tangents: has_tangent })
}

/// What the function gives for these values and tangents, in the open trace.
pub(crate) fn jvp_values(func: &Func, arguments: Dual) -> Result<Dual> {
    let mut primals = Env::with_params(func, arguments.primals);
    let mut tangents = Env::with_params(func, arguments.tangents);
    for equation in func.equations() {
        let x = primals.get_all(equation.inputs());
        let t = tangents.get_all(equation.inputs());
        let dual = if t.iter().all(Option::is_none) {
            Dual::constant(replay(equation, &x))
        } else {
            in_place_of(equation, || equation.op.rules().jvp(&x, &t))?
        };
        primals.set_all(equation.outputs(), dual.primals);
        tangents.set_all(equation.outputs(), dual.tangents);
    }
    Ok(Dual {
        primals: primals.get_all(func.results()),
        tangents: tangents.get_all(func.results()),
    })
}

/// The tensor, or zeros of this type.
pub(crate) fn or_zeros(tensor: Option<Tensor>, aval: &Aval) -> Tensor {
    tensor.unwrap_or_else(|| Tensor::zeros(&aval.shape[..], aval.dtype))
}

/// The sum of what there is.
pub(crate) fn sum(terms: impl IntoIterator<Item = Option<Tensor>>) -> Option<Tensor> {
    terms.into_iter().flatten().reduce(|a, b| a + b)
}
