//! Padding: a value around and between the elements, or elements cut off at the edges.

use xla::XlaOp;

use super::binary::Operand;
use super::{Operation, inputs};
use crate::Tensor;
use crate::aval::{Aval, Shape};
use crate::error::{Error, Result};
use crate::lower::Lowering;
use crate::trace::record_one;

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
