//! The transpose of a linear function: cotangents of its results become those of its arguments (a
//! vector times its Jacobian).
//!
//! The function may have parameters in which it is not linear; they must be known. What depends on
//! these alone is computed forwards; then cotangents go backwards through the rest, and where a
//! value was used several times, what comes back is added up. `None` stands for a cotangent of
//! zeros.

use super::{Env, in_place_of, replay};
use crate::aval::Aval;
use crate::error::{Error, Result};
use crate::ir::Func;
use crate::tensor::Tensor;

/// An input of a linear function or operation.
#[derive(Clone)]
pub(crate) enum Input {
    /// A value in which it need not be linear.
    Known(Tensor),
    /// The function is linear in this input, for which there is no value.
    Linear(Aval),
}

impl Input {
    pub fn is_linear(&self) -> bool {
        matches!(self, Input::Linear(_))
    }

    pub fn aval(&self) -> &Aval {
        match self {
            Input::Known(tensor) => tensor.aval(),
            Input::Linear(aval) => aval,
        }
    }

    /// The value, where the operation called `name` is not linear in this input.
    pub fn known(&self, name: &str) -> Result<&Tensor> {
        match self {
            Input::Known(tensor) => Ok(tensor),
            Input::Linear(_) => Err(not_linear(name)),
        }
    }
}

/// The error of an operation that was asked for the transpose it does not have.
pub(crate) fn not_linear(name: &str) -> Error {
    Error::argument(format!(
        "{name}: the operation is not linear in what is differentiated, so it has no transpose: the \
         rule of a `custom_jvp` must be linear in the tangents"
    ))
}

/// The cotangents of the inputs of `func` (none for those that are known), for cotangents of its
/// results, in the open trace.
pub(crate) fn transpose_values(
    func: &Func,
    inputs: &[Input],
    cotangents: Vec<Option<Tensor>>,
) -> Result<Vec<Option<Tensor>>> {
    let mut values = Env::with_params(func, inputs.iter().cloned());
    let mut linear = Vec::new();
    for equation in func.equations() {
        let inputs = values.get_all(equation.inputs());
        let known: Option<Vec<Tensor>> = inputs.iter().map(|i| i.known("").ok().cloned()).collect();
        match known {
            Some(known) => {
                let outputs = replay(equation, &known).into_iter().map(Input::Known);
                values.set_all(equation.outputs(), outputs);
            }
            None => {
                let avals = func.avals(equation.outputs()).into_iter();
                values.set_all(equation.outputs(), avals.map(Input::Linear));
                linear.push(equation);
            }
        }
    }

    let mut sums: Env<Tensor> = Env::new(func);
    let add = |sums: &mut Env<Tensor>, value, cotangent: Option<Tensor>| {
        if let Some(cotangent) = cotangent {
            let sum = match sums.take(value) {
                Some(sum) => sum + cotangent,
                None => cotangent,
            };
            sums.set(value, sum);
        }
    };
    for (&result, cotangent) in func.results().iter().zip(cotangents) {
        if values.get(result).is_linear() {
            add(&mut sums, result, cotangent);
        }
    }
    for equation in linear.into_iter().rev() {
        let cotangents: Vec<Option<Tensor>> =
            equation.outputs().iter().map(|&output| sums.take(output)).collect();
        if cotangents.iter().all(Option::is_none) {
            continue;
        }
        let inputs = values.get_all(equation.inputs());
        in_place_of(equation, || {
            let cotangents = equation.op.rules().transpose(&cotangents, &inputs)?;
            for ((&value, input), cotangent) in
                equation.inputs().iter().zip(&inputs).zip(cotangents)
            {
                if input.is_linear() {
                    add(&mut sums, value, cotangent);
                }
            }
            Ok(())
        })?;
    }
    Ok(func.params().map(|(param, _)| sums.find(param).cloned()).collect())
}
