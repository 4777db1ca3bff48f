//! Calls: a jitted function inside another traced function.

use xla::XlaOp;

use super::Operation;
use crate::aval::Aval;
use crate::error::{Error, Result};
use crate::ir::Func;
use crate::lower::Lowering;
use crate::tensor::Tensor;
use crate::trace::record;
use crate::tree::{self, Tree};

operation! {
    /// Calls a function.
    struct Call = "call" { function: Func }
}

impl Operation for Call {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        if self.function.param_avals() != avals {
            return Err(Error::ir("call: the inputs are not of the types of the parameters"));
        }
        Ok(self.function.result_avals())
    }

    /// XLA inlines calls before anything else, and so do we.
    fn lower(&self, cx: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        cx.inline(&self.function, inputs)
    }

    fn regions(&self) -> Vec<&Func> {
        vec![&self.function]
    }
}

/// Records a call of `function`, and gives its results the structure of `output`.
#[track_caller]
pub(crate) fn record_call<R: Tree>(
    function: Func,
    captures: &[Tensor],
    arguments: &[Tensor],
    output: &R,
) -> Result<R> {
    let inputs: Vec<&Tensor> = captures.iter().chain(arguments).collect();
    let outputs = function.results().len();
    let results = record(Call { function }, &inputs, outputs);
    tree::unflatten(output, results)
}
