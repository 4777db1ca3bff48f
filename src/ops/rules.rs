//! What rules of many operations have in common.

use super::broadcast::Broadcast;
use super::select::select;
use super::{Op, Operation};
use crate::aval::Aval;
use crate::error::Result;
use crate::tensor::Tensor;
use crate::trace::{record, record_one};
use crate::transform::batch::Batched;
use crate::transform::jvp::{Dual, or_zeros};

/// The outputs of `op` for these inputs.
pub(super) fn apply(op: &(impl Operation + Clone + Into<Op>), inputs: &[Tensor]) -> Vec<Tensor> {
    let avals: Vec<&Aval> = inputs.iter().map(Tensor::aval).collect();
    let outputs = op.infer(&avals).map_or(1, |outputs| outputs.len());
    record(op.clone(), inputs, outputs)
}

/// The one output of `op` for these inputs.
pub(super) fn apply_one(op: &(impl Operation + Clone + Into<Op>), inputs: &[Tensor]) -> Tensor {
    record(op.clone(), inputs, 1).swap_remove(0)
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

/// The one input of an operation, which is batched, and its batch axis.
pub(super) fn only(inputs: &[Batched]) -> (&Tensor, usize) {
    (&inputs[0].tensor, inputs[0].axis.unwrap_or(0))
}

/// The inputs with the batch axis at the same place in each, and this place: where the first one
/// that has a batch axis has it. What is the same for all members is repeated.
pub(super) fn aligned(size: usize, inputs: &[Batched]) -> (Vec<Tensor>, usize) {
    let place = inputs.iter().find_map(|input| input.axis).unwrap_or(0);
    let at_place = |input: &Batched| match input.axis {
        Some(axis) if axis == place => input.tensor.clone(),
        Some(axis) => input.tensor.moveaxis(axis as isize, place as isize),
        None => {
            let mut shape = input.tensor.shape().to_vec();
            shape.insert(place, size);
            let axes = (0..shape.len()).filter(|&axis| axis != place).collect();
            record_one(Broadcast { shape, axes }, &[&input.tensor])
        }
    };
    (inputs.iter().map(at_place).collect(), place)
}

/// The axes as they are counted where there is a batch axis at `place`.
pub(super) fn shifted(axes: &[usize], place: usize) -> Vec<usize> {
    axes.iter().map(|&axis| axis + usize::from(axis >= place)).collect()
}

/// Batches of an operation that takes each element by itself, so that it does not see the axis.
pub(super) fn elementwise_batch(
    op: &(impl Operation + Clone + Into<Op>),
    size: usize,
    inputs: &[Batched],
) -> Result<Vec<Batched>> {
    let (inputs, axis) = aligned(size, inputs);
    let outputs = apply(op, &inputs).into_iter();
    Ok(outputs.map(|tensor| Batched { tensor, axis: Some(axis) }).collect())
}

/// For each member of a batch, `on_true` or `on_false`, as `pred` says of it. The batch axis is the
/// first one.
pub(super) fn select_members(pred: &Tensor, on_true: &Tensor, on_false: &Tensor) -> Tensor {
    let op = Broadcast { shape: on_true.shape().to_vec(), axes: vec![0] };
    select(&record_one(op, &[pred]), on_true, on_false)
}
