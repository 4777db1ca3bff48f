//! Which values differ between devices that run a function together, as far as can be told from
//! what they are computed of.

use super::{Env, at_equation};
use crate::error::Result;
use crate::ir::Func;

/// Which results of `func` differ, where these parameters do.
///
/// # Errors
/// If devices would wait forever, because not all of them come to a collective.
pub(crate) fn varying(func: &Func, params: &[bool]) -> Result<Vec<bool>> {
    let mut env = Env::with_params(func, params.iter().copied());
    for equation in func.equations() {
        let inputs = env.get_all(equation.inputs());
        let outputs = equation.op.rules().varies(&inputs, equation.outputs().len());
        let outputs = outputs.map_err(|error| at_equation(error, equation))?;
        env.set_all(equation.outputs(), outputs);
    }
    Ok(env.get_all(func.results()))
}
