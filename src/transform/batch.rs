//! Batching: a function of one value becomes the same function of many, stacked along a new axis.
//!
//! Values that are the same for all of the batch keep their type, and what depends on them alone is
//! computed once.

use super::{Env, build, in_place_of, replay};
use crate::aval::Aval;
use crate::error::Result;
use crate::ir::Func;
use crate::tensor::Tensor;

/// A value for each member of the batch, or one for all.
#[derive(Clone)]
pub(crate) struct Batched {
    pub tensor: Tensor,
    /// The axis along which the values of the members stand; none if they are the same.
    pub axis: Option<usize>,
}

impl Batched {
    /// One value for all members.
    pub fn same(tensor: Tensor) -> Batched {
        Batched { tensor, axis: None }
    }

    /// The values of the members along the first axis.
    pub fn stacked(tensor: Tensor) -> Batched {
        Batched { tensor, axis: Some(0) }
    }

    pub fn is_batched(&self) -> bool {
        self.axis.is_some()
    }

    /// The type of one member's value.
    pub fn member(&self) -> Aval {
        match self.axis {
            Some(axis) => self.tensor.aval().without_axis(axis),
            None => self.tensor.aval().clone(),
        }
    }

    /// The values along the first axis, those of `size` members.
    pub fn to_front(&self, size: usize) -> Tensor {
        match self.axis {
            Some(0) => self.tensor.clone(),
            Some(axis) => self.tensor.moveaxis([axis as isize], [0]),
            None => self.tensor.broadcast_to(&[&[size], self.tensor.shape()].concat()),
        }
    }

    /// As [`to_front`](Batched::to_front), but what is the same for all stays one value.
    pub fn to_front_if_batched(&self, size: usize) -> Batched {
        match self.axis {
            Some(_) => Batched::stacked(self.to_front(size)),
            None => self.clone(),
        }
    }
}

/// A function of batches.
pub(crate) struct BatchedFunc {
    pub func: Func,
    /// Which results have a batch axis, the first one.
    pub results: Vec<bool>,
}

/// `func` for `size` members, where the parameters that are `batched` have a batch axis in front.
/// Results that `instantiate` names have one in any case.
pub(crate) fn batch(
    func: &Func,
    size: usize,
    batched: &[bool],
    instantiate: &[bool],
) -> Result<BatchedFunc> {
    let params = func.param_avals().into_iter().zip(batched);
    let params = params.map(|(aval, &batched)| match batched {
        true => aval.with_shape([&[size], &aval.shape[..]].concat()),
        false => aval.clone(),
    });
    let mut results = Vec::new();
    let func = build(func.name(), params.collect(), |tensors| {
        let inputs = tensors.into_iter().zip(batched);
        let inputs =
            inputs.map(|(tensor, &batched)| Batched { tensor, axis: batched.then_some(0) });
        let outputs = batch_values(func, size, inputs.collect())?;
        let outputs = outputs.iter().zip(instantiate);
        let front = outputs.map(|(output, &wanted)| match wanted {
            true => Batched::stacked(output.to_front(size)),
            false => output.to_front_if_batched(size),
        });
        let front: Vec<Batched> = front.collect();
        results = front.iter().map(Batched::is_batched).collect();
        Ok(front.into_iter().map(|output| output.tensor).collect())
    })?;
    Ok(BatchedFunc { func, results })
}

/// What the function gives for these batches, in the open trace.
pub(crate) fn batch_values(func: &Func, size: usize, inputs: Vec<Batched>) -> Result<Vec<Batched>> {
    let mut env = Env::with_params(func, inputs);
    for equation in func.equations() {
        let inputs = env.get_all(equation.inputs());
        let outputs = if inputs.iter().any(Batched::is_batched) {
            in_place_of(equation, || equation.op.rules().batch(size, &inputs))?
        } else {
            let tensors: Vec<Tensor> = inputs.into_iter().map(|input| input.tensor).collect();
            replay(equation, &tensors).into_iter().map(Batched::same).collect()
        };
        env.set_all(equation.outputs(), outputs);
    }
    Ok(env.get_all(func.results()))
}
