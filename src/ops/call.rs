//! Calls: a jitted function inside another traced function.

use xla::XlaOp;

use super::Operation;
use super::control::{prefixed, result_tree};
use crate::aval::Aval;
use crate::error::{Error, Result};
use crate::execute;
use crate::ir::Func;
use crate::lower::Lowering;
use crate::tensor::Tensor;
use crate::trace::{self, Captures, Kind, record, scope};
use crate::tree::{self, Tree};
use crate::execute::CompileFor;

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

/// Runs `f`, which is made of several operations, as one program where nothing is traced: compiled
/// once for each type of `inputs`, which are its parameters. In a trace `f` records what it does
/// there. Tensors that `f` captures are parameters too.
#[track_caller]
pub(crate) fn composite<A: Tree, R: Tree>(name: &str, inputs: A, f: impl FnOnce(A) -> R) -> R {
    if trace::is_tracing() {
        return f(inputs);
    }
    let params = prefixed("arg", &inputs);
    let outcome = trace::trace(name, Kind::Function, Captures::Params, params, |tensors| {
        f(tree::unflatten(&inputs, tensors).expect("one tensor for each leaf"))
    });
    let result = outcome.result.map_err(|error| error.note(format!("in {name}")));
    let source = scope::source(std::panic::Location::caller());
    let results = tree::check(&inputs).and(result).and_then(|(function, captures)| {
        let inputs = [captures, tree::leaves(&inputs)].concat();
        let arrays: Result<Vec<_>> = inputs.iter().map(trace::concrete).collect();
        execute::run_function(function, &arrays?, CompileFor::Latency, &source)
    });
    result_tree(results, &outcome.output)
}
