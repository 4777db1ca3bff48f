//! Choosing between elements by a condition, and limits.

use xla::XlaOp;

use super::binary::Operand;
use super::broadcast::broadcast_shapes;
use super::{Operation, inputs, rules};
use crate::Tensor;
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::lower::Lowering;
use crate::trace::{poison, record_one};
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::transpose::Input;

operation! {
    /// The element of the second operand where that of the first is true, of the third elsewhere.
    /// HLO's `select`.
    struct Select = "select" {}
}

impl Operation for Select {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [pred, on_true, on_false] = inputs(self, avals)?;
        if pred.dtype != DType::Bool {
            return Err(Error::dtype(format!(
                "select: the condition must be bool, but it is {pred}; compare it with something"
            )));
        }
        if on_true.dtype != on_false.dtype {
            return Err(Error::dtype(format!(
                "select: the operands must have the same dtype, but they are {on_true} and \
                 {on_false}: convert one of them with `astype`"
            )));
        }
        if pred.shape != on_true.shape || on_true.shape != on_false.shape {
            return Err(Error::shape(format!(
                "select: the shapes of {pred}, {on_true} and {on_false} differ"
            )));
        }
        Ok(vec![on_true.clone()])
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        Ok(vec![inputs[0].select(&inputs[1], &inputs[2])?])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let pred = &primals[0];
        // A zero is a scalar that is broadcast, where there is no tangent.
        let tangent = match (&tangents[1], &tangents[2]) {
            (Some(on_true), Some(on_false)) => Some(select(pred, on_true, on_false)),
            (Some(on_true), None) => Some(select(pred, on_true, 0)),
            (None, Some(on_false)) => Some(select(pred, 0, on_false)),
            (None, None) => None,
        };
        Ok(Dual::one(rules::apply_one(self, primals), tangent))
    }

    fn transpose(&self, cts: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        let pred = inputs[0].known("select")?;
        let to = |i: usize| cts[0].as_ref().filter(|_| inputs[i].is_linear());
        let on_true = to(1).map(|ct| select(pred, ct, 0));
        let on_false = to(2).map(|ct| select(pred, 0, ct));
        Ok(vec![None, on_true, on_false])
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        rules::elementwise_batch(self, size, inputs)
    }
}

/// The element of `on_true` where `pred` is true, and of `on_false` elsewhere; `jnp.where` with
/// three arguments.
///
/// Shapes are broadcast by NumPy's rules. One of the two may be a number; it takes the dtype of the
/// other. Fails if `pred` is not `bool`, if the dtypes differ, if the shapes do not fit together,
/// or if both are numbers. Both are computed whatever the condition is.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let x = Tensor::new(&[-1.0f32, 2.0], [2]);
/// let relu = select(&x.gt(0.0), &x, 0.0);
/// assert_eq!(relu.to_vec::<f32>()?, [0.0, 2.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn select(pred: &Tensor, on_true: impl Operand, on_false: impl Operand) -> Tensor {
    let like = match (on_true.as_tensor(), on_false.as_tensor()) {
        (Some(tensor), _) | (None, Some(tensor)) => tensor.clone(),
        (None, None) => {
            let message = "select: one of on_true and on_false must be a tensor, for numbers have \
                           no dtype; make one with `Tensor::scalar`";
            return poison(Error::dtype(message), &[pred]);
        }
    };
    let (on_true, on_false) = (on_true.into_tensor(&like), on_false.into_tensor(&like));
    match broadcast_shapes(&[pred.aval(), on_true.aval(), on_false.aval()]) {
        Ok(shape) => record_one(
            Select {},
            &[
                &pred.broadcast_to(&shape),
                &on_true.broadcast_to(&shape),
                &on_false.broadcast_to(&shape),
            ],
        ),
        Err(error) => {
            let message = format!("select: {}", error.message());
            poison(Error::shape(message), &[&on_true, &on_false, pred])
        }
    }
}

/// Limits.
impl Tensor {
    /// The elements, none below `min` and none above `max`; `jnp.clip`, `lax.clamp`.
    ///
    /// Where `min` is above `max`, that is `max`. NaN stays NaN. The limits may be tensors, which
    /// are broadcast.
    #[doc(alias = "clip")]
    #[track_caller]
    pub fn clamp(&self, min: impl Operand, max: impl Operand) -> Tensor {
        self.maximum(min).minimum(max)
    }
}
