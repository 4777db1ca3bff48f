//! `stop_gradient`: a value that derivatives take for a constant.

use xla::XlaOp;

use super::{Operation, inputs, rules};
use crate::aval::Aval;
use crate::error::Result;
use crate::ir::Value;
use crate::lower::Lowering;
use crate::tensor::Tensor;
use crate::trace::record_one;
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::simplify::Simplifier;
use crate::transform::transpose::{Input, not_linear};
use crate::tree::{self, Tree};

operation! {
    /// The operand itself, which has no tangent.
    struct StopGradient = "stop_gradient" {}
}

impl Operation for StopGradient {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x] = inputs(self, avals)?;
        Ok(vec![x.clone()])
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        Ok(inputs.to_vec())
    }

    /// The operation stays, so that derivatives of derivatives have nothing to follow either.
    fn jvp(&self, primals: &[Tensor], _: &[Option<Tensor>]) -> Result<Dual> {
        rules::no_tangent(self, primals)
    }

    fn transpose(&self, _: &[Option<Tensor>], _: &[Input]) -> Result<Vec<Option<Tensor>>> {
        Err(not_linear("stop_gradient"))
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        rules::elementwise_batch(self, size, inputs)
    }

    fn simplify(&self, inputs: &[Value], _: &mut Simplifier) -> Option<Vec<Value>> {
        Some(inputs.to_vec())
    }
}

/// The same tree, whose tensors derivatives take for constants; `jax.lax.stop_gradient`.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let f = |x: Tensor| &x * onetrace::stop_gradient(x.square());
/// assert_eq!(grad(f)(Tensor::scalar(3.0, DType::F32)).item::<f32>()?, 9.0);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn stop_gradient<T: Tree>(tree: T) -> T {
    let mut stopped = Vec::new();
    for leaf in tree::leaves(&tree) {
        stopped.push(record_one(StopGradient {}, &[&leaf]));
    }
    let mut stopped = stopped.into_iter();
    tree::map(&tree, |leaf| stopped.next().unwrap_or_else(|| leaf.clone()))
}
