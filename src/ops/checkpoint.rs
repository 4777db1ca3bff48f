//! `checkpoint`: what a function computes on the way is computed again where reverse mode needs it,
//! and not kept.

use xla::XlaOp;

use super::control::{prefixed, record_tree, trace_region};
use super::{Operation, rules};
use crate::aval::Aval;
use crate::error::{Error, Location, Result};
use crate::ir::parse::Parser;
use crate::ir::print::{Attribute, Printer};
use crate::ir::{Func, Value};
use crate::lower::{Lowering, untuple};
use crate::tensor::Tensor;
use crate::trace::{Kind, scope};
use crate::transform::batch::{Batched, batch};
use crate::transform::build;
use crate::transform::jvp::{Dual, jvp, or_zeros};
use crate::transform::prune::{Effects, PrunedOp, prune};
use crate::transform::simplify::Simplifier;
use crate::transform::split::{Save, SplitOp, split_call};
use crate::transform::transpose::{Input, transpose_values};
use crate::transform::varying::varying;
use crate::tree::{self, Tree};
use crate::xla_ext;

operation! {
    /// Calls a function. Where it is split into what is known and what is left, only what `save`
    /// says is kept in between, and the rest is computed again: `again` says that this is where.
    struct CheckpointOp = "checkpoint" { save: Save, again: bool, function: Func }
}

const NAMES: [(Save, &str); 3] =
    [(Save::Everything, "everything"), (Save::Dots, "dots"), (Save::Nothing, "nothing")];

impl Attribute for Save {
    fn print(&self, printer: &mut Printer) {
        let name = NAMES.iter().find(|(save, _)| save == self).map_or("", |(_, name)| name);
        printer.push(name);
    }

    fn parse(parser: &mut Parser<'_>) -> Result<Save> {
        let start = parser.start();
        let word = parser.word();
        let found = NAMES.iter().find(|(_, name)| *name == word).map(|(save, _)| *save);
        found.ok_or_else(|| parser.error_at(start, "everything, dots, nothing"))
    }
}

impl Operation for CheckpointOp {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        if self.function.param_avals() != avals {
            return Err(Error::ir("checkpoint: the inputs are not of the types of the parameters"));
        }
        Ok(self.function.result_avals())
    }

    /// XLA would merge what is computed again with what was computed before, and so keep it.
    fn lower(&self, cx: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        if !self.again || inputs.is_empty() {
            return cx.inline(&self.function, inputs);
        }
        let inputs = xla_ext::optimization_barrier(&cx.builder().tuple(inputs)?)?;
        cx.inline(&self.function, &untuple(&inputs, self.function.params().len())?)
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let active: Vec<bool> = tangents.iter().map(Option::is_some).collect();
        let results = self.function.results().len();
        let jvp = jvp(&self.function, &active, &vec![false; results])?;
        let op = CheckpointOp { function: jvp.func, ..*self };
        let inputs: Vec<Tensor> =
            primals.iter().chain(tangents.iter().flatten()).cloned().collect();
        let mut primals = rules::apply(&op, &inputs);
        let mut along = primals.split_off(results).into_iter();
        let tangents = jvp.tangents.iter().map(|&has| if has { along.next() } else { None });
        Ok(Dual { primals, tangents: tangents.collect() })
    }

    fn transpose(
        &self,
        cotangents: &[Option<Tensor>],
        inputs: &[Input],
    ) -> Result<Vec<Option<Tensor>>> {
        let known: Vec<Tensor> =
            inputs.iter().filter_map(|input| input.known("checkpoint").ok().cloned()).collect();
        let given: Vec<Tensor> = known.iter().chain(cotangents.iter().flatten()).cloned().collect();
        let linear: Vec<bool> = inputs.iter().map(Input::is_linear).collect();
        let avals = given.iter().map(|tensor| tensor.aval().clone()).collect();
        let function = build(self.function.name(), avals, |tensors| {
            let mut tensors = tensors.into_iter();
            let mut values = tensors.by_ref().take(known.len()).map(Input::Known);
            let inputs: Vec<Input> = inputs
                .iter()
                .filter_map(
                    |input| if input.is_linear() { Some(input.clone()) } else { values.next() },
                )
                .collect();
            let cts = cotangents.iter().map(|ct| if ct.is_some() { tensors.next() } else { None });
            let back = transpose_values(&self.function, &inputs, cts.collect())?;
            let back = back.into_iter().zip(&inputs).filter(|(_, input)| input.is_linear());
            Ok(back.map(|(ct, input)| or_zeros(ct, input.aval())).collect())
        })?;
        let mut back = rules::apply(&CheckpointOp { function, ..*self }, &given).into_iter();
        Ok(linear.iter().map(|&linear| if linear { back.next() } else { None }).collect())
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let has: Vec<bool> = inputs.iter().map(Batched::is_batched).collect();
        let results = vec![false; self.function.results().len()];
        let function = batch(&self.function, size, &has, &results)?;
        let inputs: Vec<Tensor> =
            inputs.iter().map(|input| input.to_front_if_batched(size).tensor).collect();
        let outputs = rules::apply(&CheckpointOp { function: function.func, ..*self }, &inputs);
        let outputs = outputs.into_iter().zip(function.results);
        Ok(outputs.map(|(tensor, own)| Batched { tensor, axis: own.then_some(0) }).collect())
    }

    fn regions(&self) -> Vec<&Func> {
        vec![&self.function]
    }

    fn varies(&self, inputs: &[bool], _: usize) -> Result<Vec<bool>> {
        varying(&self.function, inputs)
    }

    fn split(&self, unknown: &[bool]) -> Result<Option<SplitOp>> {
        let known = |function| CheckpointOp { function, ..*self }.into();
        let unknown_op = |function| CheckpointOp { function, again: true, ..*self }.into();
        split_call(self.save, &self.function, unknown, known, unknown_op).map(Some)
    }

    fn prune(&self, used: &[bool], effects: Effects) -> Option<PrunedOp> {
        let pruned = prune(&self.function, used, &[], effects);
        let op = CheckpointOp { function: pruned.func, ..*self };
        Some(PrunedOp { op: op.into(), inputs: pruned.params, outputs: used.to_vec() })
    }

    fn simplify(&self, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        if !self.again {
            return Some(at.inline(&self.function, inputs));
        }
        let op = CheckpointOp { function: at.rewritten(&self.function), ..*self };
        Some(at.record(op, inputs.to_vec()))
    }
}

/// What of a checkpointed function reverse mode may keep; `jax.checkpoint_policies`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Nothing but its arguments: the least memory.
    #[default]
    Nothing,
    /// The results of products of matrices, outside of loops: they cost the most to compute again.
    Dots,
    /// Everything, as without a checkpoint.
    Everything,
}

impl Policy {
    fn save(self) -> Save {
        match self {
            Policy::Nothing => Save::Nothing,
            Policy::Dots => Save::Dots,
            Policy::Everything => Save::Everything,
        }
    }
}

/// What of its steps a [`Scan`](crate::Scan) keeps for reverse mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Checkpoint {
    /// What each step computes and reverse mode needs: memory as the number of steps, no work
    /// twice.
    #[default]
    None,
    /// The carry before every so many steps, which are then computed again, those many at a time.
    /// If the number does not divide that of the steps, the xs are copied.
    Every(usize),
    /// The carry before every √T of T steps, or of a number near it that divides T: memory as √T,
    /// each step computed twice.
    Sqrt,
}

/// Makes a function that computes again, in reverse mode, what it computed on the way, instead of
/// keeping it: more work, less memory; `jax.checkpoint`. Its value is that of `f`.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let f = onetrace::checkpoint(|x: Tensor| x.sin().sin().sin());
/// let (x, slope) = (0.5f64, |x: f64| x.cos() * x.sin().cos() * x.sin().sin().cos());
/// let found = grad(f)(Tensor::scalar(x, DType::F64)).item::<f64>()?;
/// assert!((found - slope(x)).abs() < 1e-15);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn checkpoint<A: Tree, R: Tree>(f: impl Fn(A) -> R) -> impl Fn(A) -> R {
    checkpoint_with(Policy::Nothing, f)
}

/// As [`checkpoint`], and some values are kept.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let w = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0], [2, 2]);
/// let f = |x: Tensor| x.dot(&w).sin().sum(..);
/// let saving = onetrace::checkpoint_with(onetrace::Policy::Dots, f); // keeps the product
/// let x = Tensor::ones([2], DType::F32);
/// let difference = grad(saving)(x.clone()) - grad(f)(x);
/// assert!(difference.abs().max(..).item::<f32>()? < 1e-5);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn checkpoint_with<A: Tree, R: Tree>(policy: Policy, f: impl Fn(A) -> R) -> impl Fn(A) -> R {
    let location = std::panic::Location::caller();
    move |arguments| call(policy, location, &f, arguments)
}

fn call<A: Tree, R: Tree>(
    policy: Policy,
    location: Location,
    f: impl FnOnce(A) -> R,
    arguments: A,
) -> R {
    let params = prefixed("arg", &arguments);
    let call = ("checkpoint", location);
    let traced = trace_region(call, "checkpointed", Kind::Function, params, &arguments, f);
    let prepared = tree::check(&arguments).and(traced.result).map(|(function, captures)| {
        let op = CheckpointOp { save: policy.save(), again: false, function };
        (op.into(), [captures, tree::leaves(&arguments)].concat())
    });
    scope::at(location, || record_tree(prepared, &traced.output))
}
