//! Branches: one of several functions is run, chosen by a value.

mod transform;

use xla::XlaOp;

use super::Operation;
use super::binary::Operand;
use super::control::{Pure, check_same_type, prefixed, record_tree, trace_region};
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::ir::{Func, Value};
use crate::lower::{Lowering, untuple};
use crate::tensor::Tensor;
use crate::trace::{Kind, Outcome, poison};
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::prune::{Effects, PrunedOp};
use crate::transform::simplify::Simplifier;
use crate::transform::split::SplitOp;
use crate::transform::transpose::Input;
use crate::tree::{self, Tree};
use crate::xla_ext;

operation! {
    /// Runs the branch that the first input, an `i32` in range, names. The other inputs are what
    /// each branch captured, branch after branch, and the operands that all of them take.
    struct SwitchOp = "switch" { captures: Vec<usize>, branches: Vec<Func> }
}

impl SwitchOp {
    /// What there is for the inputs behind the index, as each branch takes it.
    fn arguments<T: Clone>(&self, inputs: &[T]) -> Option<Vec<Vec<T>>> {
        let captured = self.captures.iter().fold(0usize, |n, &c| n.saturating_add(c));
        let (mut captures, operands) = inputs.split_at_checked(captured)?;
        let arguments = |&count: &usize| {
            let (own, rest) = captures.split_at(count);
            captures = rest;
            [own, operands].concat()
        };
        Some(self.captures.iter().map(arguments).collect())
    }
}

impl Operation for SwitchOp {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let Some((index, rest)) = avals.split_first() else {
            return Err(Error::ir("switch: there is no index"));
        };
        if **index != Aval::scalar(DType::I32) {
            return Err(Error::shape(format!(
                "switch: the index must be i32[], but it is {index}"
            )));
        }
        let arguments = match self.arguments(rest) {
            Some(arguments) if arguments.len() == self.branches.len() => arguments,
            _ => return Err(Error::ir("switch: the inputs are not those the branches take")),
        };
        let Some(first) = self.branches.first() else {
            return Err(Error::ir("switch: there is no branch"));
        };
        for (branch, arguments) in self.branches.iter().zip(&arguments) {
            if branch.param_avals() != *arguments || branch.result_avals() != first.result_avals() {
                return Err(Error::ir(format!(
                    "switch: branch @{} does not take the inputs to the results of the others",
                    branch.name(),
                )));
            }
        }
        Ok(first.result_avals())
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], outputs: &[Aval]) -> Result<Vec<XlaOp>> {
        let (index, rest) = inputs.split_first().expect("the index is the first input");
        let arguments = self.arguments(rest).expect("one value for each input");
        let mut computations = Vec::new();
        let mut operands = Vec::new();
        for (branch, arguments) in self.branches.iter().zip(arguments) {
            let params: Vec<Aval> = branch.param_avals().into_iter().cloned().collect();
            computations.push(Lowering::tuple_computation(
                branch.name(),
                &params,
                |cx, inputs| cx.inline(branch, &inputs),
            )?);
            operands.push(index.builder().tuple(&arguments)?);
        }
        untuple(&xla_ext::conditional(index, &computations, &operands)?, outputs.len())
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        self.forward(primals, tangents)
    }

    fn transpose(
        &self,
        cotangents: &[Option<Tensor>],
        inputs: &[Input],
    ) -> Result<Vec<Option<Tensor>>> {
        self.backward(cotangents, inputs)
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        self.batched(size, inputs)
    }

    fn regions(&self) -> Vec<&Func> {
        self.branches.iter().collect()
    }

    fn split(&self, unknown: &[bool]) -> Result<Option<SplitOp>> {
        self.partial(unknown)
    }

    fn varies(&self, inputs: &[bool], _: usize) -> Result<Vec<bool>> {
        self.varying(inputs)
    }

    fn prune(&self, used: &[bool], effects: Effects) -> Option<PrunedOp> {
        Some(self.restricted(used, effects))
    }

    fn simplify(&self, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        let branches = self.branches.iter().map(|branch| at.rewritten(branch)).collect();
        let op = SwitchOp { branches, captures: self.captures.clone() };
        Some(at.record(op, inputs.to_vec()))
    }
}

/// Runs `on_true` or `on_false` on the operands, as `pred` says; `jax.lax.cond`.
///
/// `pred` is a `bool` of shape `[]`. Both functions are traced once and must return trees of the
/// same type; only one of them runs. A mistake comes out where the result does.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let x = Tensor::scalar(-3.0, DType::F32);
/// let root = cond(x.ge(0.0), |x: Tensor| x.sqrt(), |x| x * 0.0, x);
/// assert_eq!(root.item::<f32>()?, 0.0);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn cond<A: Tree, R: Tree>(
    pred: impl Operand,
    on_true: impl FnOnce(A) -> R + Pure,
    on_false: impl FnOnce(A) -> R + Pure,
    operands: A,
) -> R {
    let call = ("cond", std::panic::Location::caller());
    let pred = pred.into_tensor(&Tensor::scalar(false, DType::Bool));
    let wanted = Aval::scalar(DType::Bool);
    let index = if *pred.aval() == wanted {
        pred.astype(DType::I32)
    } else {
        let message = format!("cond: pred must be {wanted}, but it is {}", pred.aval());
        poison(Error::shape(message), &[&pred])
    };
    let params = prefixed("operand", &operands);
    let yes = trace_region(call, "on_true", Kind::Function, params.clone(), &operands, on_true);
    let no = trace_region(call, "on_false", Kind::Function, params, &operands, on_false);
    let names = ["from on_false", "from on_true"];
    let (prepared, output) = prepare("cond", 1, |i| names[i], index, vec![no, yes], &operands);
    record_tree(prepared, &output)
}

/// Runs the function that `index` names on the operands; `jax.lax.switch`.
///
/// `index` is an `i32` of shape `[]`, clamped to the branches there are. All of them are traced
/// once and must return trees of the same type; only one runs.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let x = Tensor::scalar(2.0, DType::F32);
/// let y = switch(1, &[&|x: Tensor| x + 1.0, &|x| x * 10.0, &|x| -x], x);
/// assert_eq!(y.item::<f32>()?, 20.0);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn switch<A: Tree, R: Tree, const N: usize>(
    index: impl Operand,
    branches: &[&dyn Fn(A) -> R; N],
    operands: A,
) -> R {
    const { assert!(N > 0, "switch: there must be at least one branch to return a result") };
    let call = ("switch", std::panic::Location::caller());
    let index = index.into_tensor(&Tensor::scalar(0, DType::I32));
    let params = prefixed("operand", &operands);
    let region = |(i, branch): (usize, &&dyn Fn(A) -> R)| {
        let name = format!("branch{i}");
        trace_region(call, &name, Kind::Function, params.clone(), &operands, branch)
    };
    let regions: Vec<Outcome<R>> = branches.iter().enumerate().map(region).collect();
    let last = i32::try_from(N - 1).unwrap_or(i32::MAX);
    let wanted = Aval::scalar(DType::I32);
    let index = if *index.aval() == wanted {
        index.maximum(0).minimum(last)
    } else {
        let message = format!("switch: index must be {wanted}, but it is {}", index.aval());
        poison(Error::shape(message), &[&index])
    };
    let names = |i: usize| if i == 0 { "from branch 0" } else { "from a later branch" };
    let (prepared, output) = prepare("switch", 0, names, index, regions, &operands);
    record_tree(prepared, &output)
}

/// The operation for branches that were traced, and the structure of what they return: that of the
/// branch `model`, with which the others are compared.
fn prepare<A: Tree, R: Tree>(
    what: &str,
    model: usize,
    names: impl Fn(usize) -> &'static str,
    index: Tensor,
    regions: Vec<Outcome<R>>,
    operands: &A,
) -> (Result<(super::Op, Vec<Tensor>)>, R) {
    let mut outputs = Vec::new();
    let mut results = Vec::new();
    for region in regions {
        outputs.push(region.output);
        results.push(region.result);
    }
    let prepared = || {
        index.check()?;
        tree::check(operands)?;
        if let Err(error) = &results[model] {
            return Err(error.clone());
        }
        let mut op = SwitchOp { captures: Vec::new(), branches: Vec::new() };
        let mut inputs = vec![index];
        for (i, result) in results.into_iter().enumerate() {
            let (branch, captures) = result?;
            op.captures.push(captures.len());
            op.branches.push(branch);
            inputs.extend(captures);
            let rule = "the branches must return the same type, but they do not";
            let first = ("result", names(model), &outputs[model]);
            check_same_type(what, rule, first, ("result", names(i), &outputs[i]))?;
        }
        inputs.extend(tree::leaves(operands));
        Ok((op.into(), inputs))
    };
    let prepared = prepared();
    (prepared, outputs.swap_remove(model))
}
