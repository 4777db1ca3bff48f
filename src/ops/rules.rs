//! What rules of many operations have in common.

use super::{Op, Operation};
use crate::aval::Aval;
use crate::error::Result;
use crate::tensor::Tensor;
use crate::trace::record;
use crate::transform::batch::Batched;
use crate::transform::jvp::{Dual, or_zeros};
use crate::transform::transpose::Input;

/// The outputs of `op` for these inputs.
pub(super) fn apply(op: &(impl Operation + Clone + Into<Op>), inputs: &[Tensor]) -> Vec<Tensor> {
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    let avals: Vec<&Aval> = inputs.iter().map(|tensor| tensor.aval()).collect();
    let outputs = op.infer(&avals).map_or(1, |outputs| outputs.len());
    record(op.clone(), &inputs, outputs)
}

/// The one output of `op` for these inputs.
pub(super) fn apply_one(op: &(impl Operation + Clone + Into<Op>), inputs: &[Tensor]) -> Tensor {
    apply(op, inputs).swap_remove(0)
}

/// Forward mode of an operation that jumps or does nothing: its outputs have no tangent.
pub(super) fn no_tangent(
    op: &(impl Operation + Clone + Into<Op>),
    primals: &[Tensor],
) -> Result<Dual> {
    Ok(Dual::constant(apply(op, primals)))
}

/// Forward mode of an operation of one output that is linear in its first `linear` inputs together:
/// the tangent is what it makes of their tangents.
pub(super) fn linear_jvp(
    op: &(impl Operation + Clone + Into<Op>),
    linear: usize,
    primals: &[Tensor],
    tangents: &[Option<Tensor>],
) -> Result<Dual> {
    let output = apply_one(op, primals);
    let mut inputs = primals.to_vec();
    let pairs = inputs.iter_mut().zip(tangents).take(linear);
    pairs.for_each(|(x, t)| *x = or_zeros(t.clone(), x.aval()));
    let tangent = apply_one(op, &inputs);
    Ok(Dual::one(output, Some(tangent)))
}

/// The cotangents of an operation that is linear in its first input only, of which it is `first`.
pub(super) fn first_only(first: Tensor, inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
    let mut cotangents = vec![None; inputs.len()];
    cotangents[0] = Some(first);
    Ok(cotangents)
}

/// The inputs with a batch axis in front of each, and the same for those that are the same for all.
pub(super) fn all_to_front(size: usize, inputs: &[Batched]) -> Vec<Tensor> {
    inputs.iter().map(|input| input.to_front(size)).collect()
}

/// Batches of an operation that takes each element by itself, so that it does not see the axis.
pub(super) fn elementwise_batch(
    op: &(impl Operation + Clone + Into<Op>),
    size: usize,
    inputs: &[Batched],
) -> Result<Vec<Batched>> {
    let axes: Vec<Option<usize>> = inputs.iter().map(|input| input.axis).collect();
    // Where all agree there is nothing to move.
    let (inputs, axis) = if axes.windows(2).all(|pair| pair[0] == pair[1]) {
        (inputs.iter().map(|input| input.tensor.clone()).collect(), axes[0])
    } else {
        (all_to_front(size, inputs), Some(0))
    };
    let outputs = apply(op, &inputs).into_iter();
    Ok(outputs.map(|tensor| Batched { tensor, axis }).collect())
}
