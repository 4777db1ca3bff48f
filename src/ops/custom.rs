//! Functions whose derivatives the user gives.

use xla::XlaOp;

use super::control::{check_same_type, prefixed, record_tree, trace_region};
use super::{Operation, rules};
use crate::aval::Aval;
use crate::error::{Error, Location, Result};
use crate::ir::{Func, Value};
use crate::lower::Lowering;
use crate::tensor::Tensor;
use crate::trace::{Kind, record, scope};
use crate::transform::batch::{Batched, batch, batch_values};
use crate::transform::jvp::{Dual, or_zeros};
use crate::transform::simplify::Simplifier;
use crate::transform::transpose::{Input, not_linear};
use crate::transform::varying::varying;
use crate::transform::{build, inline};
use crate::tree::{self, Tree};

operation! {
    /// Calls `function`, whose forward mode is `rule`. The inputs are what the function captured,
    /// what the rule captured, and the arguments. The rule takes its captures, the arguments and
    /// their tangents; it gives the results and their tangents.
    struct CustomJvp = "custom_jvp" {
        function_captures: usize,
        rule_captures: usize,
        function: Func,
        rule: Func,
    }
}

operation! {
    /// Calls `function`, whose reverse mode is `forward` and then `backward`. The inputs are what
    /// each of the three captured, and the arguments. `forward` gives the results and then
    /// residuals; `backward` takes its captures, the residuals and cotangents of the results, and
    /// gives those of the arguments.
    struct CustomVjp = "custom_vjp" {
        function_captures: usize,
        forward_captures: usize,
        backward_captures: usize,
        function: Func,
        forward: Func,
        backward: Func,
    }
}

operation! {
    /// The linear map that [`CustomVjp`] knows the transpose of, and nothing else. The inputs are
    /// what `backward` captured, the residuals, and the tangents of the arguments; the outputs are
    /// the tangents of the results.
    struct CustomLinear = "custom_linear" {
        known: usize,
        backward: Func,
    }
}

/// An error if `func` does not take `inputs` to `outputs`.
fn takes<'a>(
    name: &str,
    func: &Func,
    inputs: impl IntoIterator<Item = &'a Aval>,
    outputs: impl IntoIterator<Item = &'a Aval>,
) -> Result<()> {
    let fits = func.param_avals().into_iter().eq(inputs) && func.result_avals().iter().eq(outputs);
    match fits {
        true => Ok(()),
        false => {
            Err(Error::ir(format!("{name}: @{} does not fit the other functions", func.name())))
        }
    }
}

fn too_few(name: &str) -> Error {
    Error::ir(format!("{name}: there are fewer inputs than captured values"))
}

impl CustomJvp {
    /// What there is for the captures of the function, those of the rule, and the arguments.
    fn parts<'a, T>(&self, inputs: &'a [T]) -> Result<(&'a [T], &'a [T], &'a [T])> {
        let parts = || {
            let (function, rest) = inputs.split_at_checked(self.function_captures)?;
            let (rule, arguments) = rest.split_at_checked(self.rule_captures)?;
            Some((function, rule, arguments))
        };
        parts().ok_or_else(|| too_few("custom_jvp"))
    }
}

impl Operation for CustomJvp {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let (function, rule, arguments) = self.parts(avals)?;
        let results = self.function.result_avals();
        let own = [function, arguments].concat();
        takes("custom_jvp", &self.function, own, &results)?;
        let twice = [rule, arguments, arguments].concat();
        takes("custom_jvp", &self.rule, twice, results.iter().chain(&results))?;
        Ok(results)
    }

    fn lower(&self, cx: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        let (function, _, arguments) = self.parts(inputs)?;
        cx.inline(&self.function, &[function, arguments].concat())
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let along = arguments_along("custom_jvp", primals, tangents, |all| {
            self.parts(all).map(|(_, _, arguments)| arguments.len())
        })?;
        let (_, rule, arguments) = self.parts(primals)?;
        let mut primals = inline(&self.rule, &[rule, arguments, &along].concat());
        let tangents = primals.split_off(self.function.results().len());
        let floats = tangents.into_iter().map(|t| t.dtype().is_float().then_some(t));
        Ok(Dual { primals, tangents: floats.collect() })
    }

    fn transpose(&self, _: &[Option<Tensor>], _: &[Input]) -> Result<Vec<Option<Tensor>>> {
        Err(not_linear("custom_jvp"))
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let has: Vec<bool> = inputs.iter().map(Batched::is_batched).collect();
        let (function_has, rule_has, arguments_have) = self.parts(&has)?;
        let all = vec![true; self.function.results().len()];
        let function = [function_has, arguments_have].concat();
        let rule = [rule_has, arguments_have, arguments_have].concat();
        let op = CustomJvp {
            function: batch(&self.function, size, &function, &all)?.func,
            rule: batch(&self.rule, size, &rule, &[&all[..], &all].concat())?.func,
            ..*self
        };
        Ok(apply_batched(op, size, inputs))
    }

    fn regions(&self) -> Vec<&Func> {
        vec![&self.function, &self.rule]
    }

    fn varies(&self, inputs: &[bool], _: usize) -> Result<Vec<bool>> {
        let (function, _, arguments) = self.parts(inputs)?;
        varying(&self.function, &[function, arguments].concat())
    }

    fn simplify(&self, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        let (function, _, arguments) = self.parts(inputs).ok()?;
        Some(at.inline(&self.function, &[function, arguments].concat()))
    }
}

impl CustomVjp {
    /// What there is for the captures of the three functions, and the arguments.
    fn parts<'a, T>(&self, inputs: &'a [T]) -> Result<[&'a [T]; 4]> {
        let parts = || {
            let (function, rest) = inputs.split_at_checked(self.function_captures)?;
            let (forward, rest) = rest.split_at_checked(self.forward_captures)?;
            let (backward, arguments) = rest.split_at_checked(self.backward_captures)?;
            Some([function, forward, backward, arguments])
        };
        parts().ok_or_else(|| too_few("custom_vjp"))
    }
}

impl Operation for CustomVjp {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [function, forward, backward, arguments] = self.parts(avals)?;
        let results = self.function.result_avals();
        let own = [function, arguments].concat();
        takes("custom_vjp", &self.function, own, &results)?;
        let kept = self.forward.result_avals();
        let Some((values, residuals)) = kept.split_at_checked(results.len()) else {
            return Err(Error::ir("custom_vjp: the forward function gives too few results"));
        };
        let given = values.iter().eq(&results);
        let own = [forward, arguments].concat();
        takes("custom_vjp", &self.forward, own, if given { &kept } else { &results })?;
        let residuals: Vec<&Aval> = residuals.iter().collect();
        let own = [backward, &residuals, &results.iter().collect::<Vec<_>>()].concat();
        takes("custom_vjp", &self.backward, own, arguments.iter().copied())?;
        Ok(results)
    }

    fn lower(&self, cx: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        let [function, _, _, arguments] = self.parts(inputs)?;
        cx.inline(&self.function, &[function, arguments].concat())
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let along = arguments_along("custom_vjp", primals, tangents, |all| {
            self.parts(all).map(|[_, _, _, arguments]| arguments.len())
        })?;
        let [_, forward, backward, arguments] = self.parts(primals)?;
        let results = self.function.results().len();
        let mut values = inline(&self.forward, &[forward, arguments].concat());
        let residuals = values.split_off(results);
        let known = [backward, &residuals].concat();
        let op = CustomLinear { known: known.len(), backward: self.backward.clone() };
        let inputs = [known, along].concat();
        let tangents = record(op, &inputs, results).into_iter();
        let floats = tangents.map(|t| t.dtype().is_float().then_some(t));
        Ok(Dual { primals: values, tangents: floats.collect() })
    }

    fn transpose(&self, _: &[Option<Tensor>], _: &[Input]) -> Result<Vec<Option<Tensor>>> {
        Err(not_linear("custom_vjp"))
    }

    /// Cotangents of arguments that are the same for all members are sums over them.
    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let has: Vec<bool> = inputs.iter().map(Batched::is_batched).collect();
        let [function_has, forward_has, backward_has, arguments_have] = self.parts(&has)?;
        let results = self.function.results().len();
        let (all, kept) = (vec![true; results], vec![true; self.forward.results().len()]);
        let function = [function_has, arguments_have].concat();
        let forward = [forward_has, arguments_have].concat();
        let given = [backward_has, &kept].concat();
        let batched = |aval: &Aval, has: bool| match has {
            true => aval.with_shape([&[size], &aval.shape[..]].concat()),
            false => aval.clone(),
        };
        let params = self.backward.param_avals().into_iter().zip(&given);
        let params = params.map(|(aval, &has)| batched(aval, has)).collect();
        let backward = build(self.backward.name(), params, |tensors| {
            let inputs = tensors.into_iter().zip(&given);
            let inputs = inputs.map(|(tensor, has)| Batched { tensor, axis: has.then_some(0) });
            let outputs = batch_values(&self.backward, size, inputs.collect())?;
            let own = |(output, &has): (&Batched, &bool)| match has {
                true => output.to_front(size),
                false => output.to_front(size).sum(0),
            };
            Ok(outputs.iter().zip(arguments_have).map(own).collect())
        })?;
        let op = CustomVjp {
            function: batch(&self.function, size, &function, &all)?.func,
            forward: batch(&self.forward, size, &forward, &kept)?.func,
            backward,
            ..*self
        };
        Ok(apply_batched(op, size, inputs))
    }

    fn regions(&self) -> Vec<&Func> {
        vec![&self.function, &self.forward, &self.backward]
    }

    fn varies(&self, inputs: &[bool], _: usize) -> Result<Vec<bool>> {
        let [function, _, _, arguments] = self.parts(inputs)?;
        varying(&self.function, &[function, arguments].concat())
    }

    fn simplify(&self, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        let [function, _, _, arguments] = self.parts(inputs).ok()?;
        Some(at.inline(&self.function, &[function, arguments].concat()))
    }
}

const NO_FORWARD_MODE: &str = "custom_vjp: the function has a reverse mode of its own, so there is no \
    forward mode through it: use `grad` or `vjp`, or give a rule for forward mode with `custom_jvp`";

impl Operation for CustomLinear {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let params = self.backward.param_avals();
        let (Some((known, tangents)), Some((own, outputs))) =
            (avals.split_at_checked(self.known), params.split_at_checked(self.known))
        else {
            return Err(too_few("custom_linear"));
        };
        if known != own || self.backward.result_avals().iter().ne(tangents.iter().copied()) {
            return Err(Error::ir("custom_linear: the inputs are not those of the function"));
        }
        Ok(outputs.iter().map(|&aval| aval.clone()).collect())
    }

    fn lower(&self, _: &Lowering, _: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        Err(Error::argument(NO_FORWARD_MODE))
    }

    fn jvp(&self, _: &[Tensor], _: &[Option<Tensor>]) -> Result<Dual> {
        Err(Error::argument(NO_FORWARD_MODE))
    }

    fn transpose(
        &self,
        cotangents: &[Option<Tensor>],
        inputs: &[Input],
    ) -> Result<Vec<Option<Tensor>>> {
        let (known, arguments) = inputs.split_at(self.known);
        let known: Result<Vec<Tensor>> =
            known.iter().map(|input| input.known("custom_linear").cloned()).collect();
        let avals = self.backward.param_avals();
        let cotangents = cotangents.iter().zip(&avals[self.known..]);
        let cotangents = cotangents.map(|(ct, aval)| or_zeros(ct.clone(), aval)).collect();
        let cotangents = inline(&self.backward, &[known?, cotangents].concat());
        let cotangents = cotangents.into_iter().zip(arguments);
        let own = cotangents.map(|(ct, input)| input.is_linear().then_some(ct));
        Ok(vec![None; self.known].into_iter().chain(own).collect())
    }

    fn batch(&self, _: usize, _: &[Batched]) -> Result<Vec<Batched>> {
        Err(Error::argument(NO_FORWARD_MODE))
    }

    fn regions(&self) -> Vec<&Func> {
        vec![&self.backward]
    }
}

/// The tangents of the arguments, of which there are as many as `count` says, behind what the
/// functions captured. What they captured has none: the rule would not see it.
fn arguments_along(
    name: &str,
    primals: &[Tensor],
    tangents: &[Option<Tensor>],
    count: impl FnOnce(&[Option<Tensor>]) -> Result<usize>,
) -> Result<Vec<Tensor>> {
    let captures = tangents.len() - count(tangents)?;
    if let Some(i) = (0..captures).find(|&i| tangents[i].is_some()) {
        return Err(Error::argument(format!(
            "{name}: the function captured a tensor of type {} that is being differentiated, which \
             its rule knows nothing of: make it an argument, or capture it with `stop_gradient`",
            primals[i].aval(),
        )));
    }
    let arguments = tangents.iter().zip(primals).skip(captures);
    Ok(arguments.map(|(t, x)| or_zeros(t.clone(), x.aval())).collect())
}

/// The results of an operation whose functions take batches, and give them.
fn apply_batched(
    op: impl Operation + Clone + Into<super::Op>,
    size: usize,
    inputs: &[Batched],
) -> Vec<Batched> {
    let inputs: Vec<Tensor> =
        inputs.iter().map(|input| input.to_front_if_batched(size).tensor).collect();
    rules::apply(&op, &inputs).into_iter().map(Batched::stacked).collect()
}

/// Gives `f` a forward mode of its own; `jax.custom_jvp`. Reverse mode follows from it.
///
/// `rule` takes the arguments and their tangents, and returns what `f` does and its tangents; it
/// must be linear in the tangents. Both are traced at each call. A mistake comes out where the
/// result does: results or tangents that do not have the type of what `f` returns.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// // log(1 + e^x), whose derivative does not overflow.
/// let softplus = onetrace::custom_jvp(
///     |x: Tensor| x.exp().log1p(),
///     |x: Tensor, along: Tensor| (x.exp().log1p(), along * x.sigmoid()),
/// );
/// assert_eq!(grad(softplus)(Tensor::scalar(100.0, DType::F32)).item::<f32>()?, 1.0);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn custom_jvp<A: Tree, R: Tree>(
    f: impl Fn(A) -> R,
    rule: impl Fn(A, A) -> (R, R),
) -> impl Fn(A) -> R {
    let call = ("custom_jvp", std::panic::Location::caller());
    move |arguments| call_custom_jvp(call, &f, &rule, arguments)
}

fn call_custom_jvp<A: Tree, R: Tree>(
    call: (&str, Location),
    f: impl FnOnce(A) -> R,
    rule: impl FnOnce(A, A) -> (R, R),
    arguments: A,
) -> R {
    let params = prefixed("arg", &arguments);
    let along = prefixed("tangent", &arguments);
    let kind = Kind::Function;
    let value = trace_region(call, "function", kind, params.clone(), &arguments, f);
    let both = (arguments.clone(), arguments.clone());
    let rule =
        trace_region(call, "rule", kind, [params, along].concat(), &both, |(x, t)| rule(x, t));
    let prepared = tree::check(&arguments).and(value.result).and_then(|(function, captures)| {
        let (rule_function, rule_captures) = rule.result?;
        for (what, output) in [("value", &rule.output.0), ("tangent", &rule.output.1)] {
            let law = format!("the {what} that the rule returns must have the type of the result");
            let result = ("result", "from the function", &value.output);
            check_same_type("custom_jvp", &law, result, ("result", "from the rule", output))?;
        }
        let op = CustomJvp {
            function_captures: captures.len(),
            rule_captures: rule_captures.len(),
            function,
            rule: rule_function,
        };
        Ok((op.into(), [captures, rule_captures, tree::leaves(&arguments)].concat()))
    });
    scope::at(call.1, || record_tree(prepared, &value.output))
}

/// Gives `f` a reverse mode of its own; `jax.custom_vjp`. It then has no forward mode.
///
/// `forward` returns what `f` does, and residuals; `backward` takes the residuals and the
/// cotangents of the result, and returns those of the arguments. All are traced at each call. A
/// mistake comes out where the result does: results or cotangents that do not have the type they
/// stand for.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// // The identity, whose gradient is cut off at 1.
/// let clipped = onetrace::custom_vjp(
///     |x: Tensor| x,
///     |x: Tensor| (x, ()),
///     |(), ct: Tensor| ct.maximum(-1.0).minimum(1.0),
/// );
/// let f = |x: Tensor| clipped(x) * 5.0;
/// assert_eq!(grad(f)(Tensor::scalar(2.0, DType::F32)).item::<f32>()?, 1.0);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn custom_vjp<A: Tree, R: Tree, S: Tree>(
    f: impl Fn(A) -> R,
    forward: impl Fn(A) -> (R, S),
    backward: impl Fn(S, R) -> A,
) -> impl Fn(A) -> R {
    let call = ("custom_vjp", std::panic::Location::caller());
    move |arguments| call_custom_vjp(call, &f, &forward, &backward, arguments)
}

fn call_custom_vjp<A: Tree, R: Tree, S: Tree>(
    call: (&str, Location),
    f: impl FnOnce(A) -> R,
    forward: impl FnOnce(A) -> (R, S),
    backward: impl FnOnce(S, R) -> A,
    arguments: A,
) -> R {
    let params = prefixed("arg", &arguments);
    let kind = Kind::Function;
    let value = trace_region(call, "function", kind, params.clone(), &arguments, f);
    let forward = trace_region(call, "forward", kind, params, &arguments, forward);
    let residuals = &forward.output.1;
    let params = [prefixed("residual", residuals), prefixed("cotangent", &value.output)].concat();
    let both = (residuals.clone(), value.output.clone());
    let backward = trace_region(call, "backward", kind, params, &both, |(s, r)| backward(s, r));
    let prepared = tree::check(&arguments).and(value.result).and_then(|(function, captures)| {
        let (forward_function, forward_captures) = forward.result?;
        let (backward_function, backward_captures) = backward.result?;
        let law = "the value that `forward` returns must have the type of the result";
        let result = ("result", "from the function", &value.output);
        let other = ("result", "from `forward`", &forward.output.0);
        check_same_type("custom_vjp", law, result, other)?;
        let law = "the cotangents that `backward` returns must have the type of the arguments";
        let own = ("arg", "in the arguments", &arguments);
        check_same_type("custom_vjp", law, own, ("arg", "from `backward`", &backward.output))?;
        let op = CustomVjp {
            function_captures: captures.len(),
            forward_captures: forward_captures.len(),
            backward_captures: backward_captures.len(),
            function,
            forward: forward_function,
            backward: backward_function,
        };
        let captures = [captures, forward_captures, backward_captures].concat();
        Ok((op.into(), [captures, tree::leaves(&arguments)].concat()))
    });
    scope::at(call.1, || record_tree(prepared, &value.output))
}
