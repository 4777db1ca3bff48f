//! Padding: a value around and between the elements, or elements cut off at the edges.

use xla::XlaOp;

use super::binary::Operand;
use super::broadcast::Broadcast;
use super::concatenate::Concatenate;
use super::constant::is_zero;
use super::select::select;
use super::{Op, Operation, inputs, rules};
use crate::Tensor;
use crate::aval::{Aval, DType, Shape};
use crate::error::{Error, Result};
use crate::ir::Value;
use crate::lower::Lowering;
use crate::trace::record_one;
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::simplify::Simplifier;
use crate::transform::transpose::Input;

operation! {
    /// Puts the second operand, a scalar, around and between the elements of the first: for each
    /// axis, `low` before, `high` behind, and `interior` between each two. Negative `low` and
    /// `high` cut off instead. HLO's `pad`.
    struct Pad = "pad" {
        /// `(low, high, interior)` of each axis.
        config: Vec<(i64, i64, usize)>,
    }
}

impl Operation for Pad {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x, value] = inputs(self, avals)?;
        if x.dtype != value.dtype {
            return Err(Error::dtype(format!(
                "pad: the value must have the dtype of the tensor, but they are {value} and {x}: \
                 convert one of them with `astype`"
            )));
        }
        if value.rank() != 0 {
            return Err(Error::shape(format!(
                "pad: the value must be a scalar, but it is {value}"
            )));
        }
        if self.config.len() != x.rank() {
            return Err(Error::shape(format!(
                "pad: {x} needs one (low, high, interior) for each of its {} axes, but there are {}",
                x.rank(),
                self.config.len(),
            )));
        }
        let mut shape = Shape::new();
        for (axis, (&size, &(low, high, interior))) in x.shape.iter().zip(&self.config).enumerate()
        {
            // XLA takes the opposites of these, and so does the transpose.
            if low.min(high) == i64::MIN {
                return Err(Error::shape(format!(
                    "pad: axis {axis} of {x} cannot lose more than {} elements, but the padding \
                     (low, high, interior) is ({low}, {high}, {interior})",
                    i64::MAX,
                )));
            }
            let spread = size as i128 + size.saturating_sub(1) as i128 * interior as i128;
            let padded = spread.saturating_add(i128::from(low) + i128::from(high));
            match i64::try_from(padded) {
                Ok(padded @ 0..) => shape.push(padded as usize),
                _ => {
                    return Err(Error::shape(format!(
                        "pad: axis {axis} of {x} would get size {padded} by the padding (low, \
                         high, interior) = ({low}, {high}, {interior}): it must be 0 to {}",
                        i64::MAX,
                    )));
                }
            }
        }
        Ok(vec![x.with_shape(shape)])
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        let sizes = inputs[0].dims()?;
        // Between fewer than two elements nothing stands; there the number may be any.
        let between = |(&(low, high, interior), size): (&(i64, i64, usize), usize)| {
            (low, high, if size < 2 { 0 } else { interior as i64 })
        };
        let config: Vec<(i64, i64, i64)> = self.config.iter().zip(sizes).map(between).collect();
        Ok(vec![inputs[0].pad(&inputs[1], &config)?])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        rules::linear_jvp(self, 2, primals, tangents)
    }

    fn transpose(&self, cts: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        let shape = &inputs[0].aval().shape;
        let to = |i: usize| cts[0].as_ref().filter(|_| inputs[i].is_linear());
        let of_tensor = to(0).map(|ct| self.unpad(ct));
        let of_value = to(1).map(|ct| select(&self.is_padding(shape), ct, 0).sum(..));
        Ok(vec![of_tensor, of_value])
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let (x, value) = (&inputs[0], &inputs[1]);
        let padded = |x: &Batched, value: &Tensor| {
            let mut config = self.config.clone();
            x.axis.iter().for_each(|&axis| config.insert(axis, (0, 0, 0)));
            record_one(Pad { config }, &[&x.tensor, value])
        };
        if !value.is_batched() {
            return Ok(vec![Batched { tensor: padded(x, &value.tensor), axis: x.axis }]);
        }
        // Each member has its own value around the elements.
        let x = x.to_front_if_batched(size);
        let inner = padded(&x, &Tensor::zeros([], value.tensor.dtype()));
        let padding = self.is_padding(&x.member().shape);
        let shape = [&[size], padding.shape()].concat();
        let value = record_one(Broadcast { shape, axes: vec![0] }, &[&value.tensor]);
        Ok(vec![Batched::stacked(select(&padding, value, inner))])
    }

    fn only_moves(&self) -> bool {
        true
    }

    fn is_linear(&self) -> bool {
        true
    }
}

impl Pad {
    /// What of a padded tensor is the tensor; zeros where that was cut off.
    fn unpad(&self, padded: &Tensor) -> Tensor {
        let opposite = |&(low, high, _): &(i64, i64, usize)| (-low, -high, 0);
        let config: Vec<(i64, i64, usize)> = self.config.iter().map(opposite).collect();
        let spread = match config.iter().all(|&(low, high, _)| (low, high) == (0, 0)) {
            true => padded.clone(),
            false => record_one(Pad { config }, &[padded, &Tensor::zeros([], padded.dtype())]),
        };
        if self.config.iter().all(|&(_, _, interior)| interior == 0) {
            return spread;
        }
        let strides: Vec<usize> =
            self.config.iter().map(|&(_, _, interior)| interior.saturating_add(1)).collect();
        spread.slice(&vec![0; spread.rank()], spread.shape(), &strides)
    }

    /// Where the value stands in a tensor of this shape, padded.
    fn is_padding(&self, shape: &[usize]) -> Tensor {
        let (inside, outside) = (Tensor::zeros(shape, DType::Bool), Tensor::ones([], DType::Bool));
        rules::apply_one(self, &[inside, outside])
    }
}

/// The sum of two tensors, each padded with zeros along the same axis so that the elements of one
/// stand directly behind those of the other: both joined, and padded with what is left.
pub(super) fn joined(inputs: &[Value], at: &mut Simplifier) -> Option<Value> {
    let (first, second) = (Band::of(*inputs.first()?, at)?, Band::of(*inputs.get(1)?, at)?);
    let (first, second) = if first.low <= second.low { (first, second) } else { (second, first) };
    if first.axis != second.axis || first.low + first.size != second.low {
        return None;
    }
    let axis = first.axis;
    let parts: Vec<Value> = [first.value, second.value]
        .into_iter()
        .flat_map(|value| match at.definition(value).map(|e| (&e.op, e.inputs())) {
            Some((Op::Concatenate(joined), parts)) if joined.axis == axis => parts.to_vec(),
            _ => vec![value],
        })
        .collect();
    let value = at.record(Concatenate { axis }, parts)[0];
    if first.low == 0 && second.high == 0 {
        return Some(value);
    }
    let mut config = vec![(0, 0, 0); at.aval(value).rank()];
    config[axis] = (first.low, second.high, 0);
    Some(at.record(Pad { config }, vec![value, first.zero])[0])
}

/// A tensor with zeros before and behind it along one axis.
struct Band {
    value: Value,
    zero: Value,
    axis: usize,
    low: i64,
    size: i64,
    high: i64,
}

impl Band {
    fn of(value: Value, at: &Simplifier) -> Option<Band> {
        let equation = at.definition(value)?;
        let (Op::Pad(pad), &[value, zero]) = (&equation.op, equation.inputs()) else { return None };
        let mut padded = pad.config.iter().enumerate().filter(|(_, sizes)| **sizes != (0, 0, 0));
        let (axis, &(low, high, interior)) = padded.next()?;
        let is_one_axis = padded.next().is_none() && low >= 0 && high >= 0 && interior == 0;
        if !is_one_axis || !is_zero(zero, &|value| at.definition(value)) {
            return None;
        }
        let size = i64::try_from(at.aval(value).shape[axis]).ok()?;
        Some(Band { value, zero, axis, low, size, high })
    }
}

/// Padding.
impl Tensor {
    /// The tensor with `value` around and between its elements; `lax.pad`. For each axis, `config`
    /// has how many come before, behind, and between each two elements. Where the first or second
    /// of these is negative, as many elements are cut off instead.
    ///
    /// The value is a number or a scalar. Fails if it has another dtype, if there is not one entry
    /// for each axis, or if more would be cut off than there is.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::new(&[1i32, 2, 3], [3]);
    /// assert_eq!(x.pad(0, &[(1, 2, 0)]).to_vec::<i32>()?, [0, 1, 2, 3, 0, 0]);
    /// assert_eq!(x.pad(0, &[(-1, 0, 1)]).to_vec::<i32>()?, [0, 2, 0, 3]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn pad(&self, value: impl Operand, config: &[(isize, isize, usize)]) -> Tensor {
        let config =
            config.iter().map(|&(low, high, interior)| (low as i64, high as i64, interior));
        record_one(Pad { config: config.collect() }, &[self, &value.into_tensor(self)])
    }
}
