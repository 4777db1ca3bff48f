//! Calls: a jitted function inside another traced function.

use xla::XlaOp;

use super::Operation;
use super::control::{prefixed, result_tree};
use crate::aval::Aval;
use crate::error::{Error, Result};
use crate::execute;
use crate::execute::CompileFor;
use crate::ir::{Func, Value};
use crate::lower::Lowering;
use crate::tensor::Tensor;
use crate::trace::{self, Captures, Kind, record, scope};
use crate::transform::batch::{Batched, batch_values};
use crate::transform::jvp::{Dual, jvp_values};
use crate::transform::prune::{Effects, PrunedOp, prune};
use crate::transform::simplify::Simplifier;
use crate::transform::split::{Save, SplitOp, split_call};
use crate::transform::transpose::{Input, transpose_values};
use crate::transform::varying::varying;
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

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let arguments = Dual { primals: primals.to_vec(), tangents: tangents.to_vec() };
        jvp_values(&self.function, arguments)
    }

    fn transpose(
        &self,
        cotangents: &[Option<Tensor>],
        inputs: &[Input],
    ) -> Result<Vec<Option<Tensor>>> {
        transpose_values(&self.function, inputs, cotangents.to_vec())
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        batch_values(&self.function, size, inputs.to_vec())
    }

    fn regions(&self) -> Vec<&Func> {
        vec![&self.function]
    }

    fn varies(&self, inputs: &[bool], _: usize) -> Result<Vec<bool>> {
        varying(&self.function, inputs)
    }

    fn split(&self, unknown: &[bool]) -> Result<Option<SplitOp>> {
        let call = |function| Call { function }.into();
        split_call(Save::Everything, &self.function, unknown, call, call).map(Some)
    }

    fn prune(&self, used: &[bool], effects: Effects) -> Option<PrunedOp> {
        let pruned = prune(&self.function, used, &[], effects);
        let op = Call { function: pruned.func };
        Some(PrunedOp { op: op.into(), inputs: pruned.params, outputs: used.to_vec() })
    }

    fn simplify(&self, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        Some(at.inline(&self.function, inputs))
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
        // A loop may run for long. Anything else is soon done, and so should its compilation be.
        let plain = function.equations().iter().all(|equation| equation.regions().is_empty());
        let goal = if plain { CompileFor::Latency } else { CompileFor::Speed };
        execute::run_function(function, &arrays?, goal, &source)
    });
    result_tree(results, &outcome.output)
}
