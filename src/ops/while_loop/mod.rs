//! Loops whose number of steps is not known when they are traced.

mod bounded;
mod simplify;
mod transform;

use xla::XlaOp;

use super::binary::Operand;
use super::control::{Pure, check_carry, next_carry, prefixed, record_tree, retyped, trace_region};
use super::scan::{Scan, counter_dtype};
use super::{Operation, joined_dots};
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::ir::{Func, Value};
use crate::lower::{Lowering, untuple};
use crate::tensor::{Repr, Tensor};
use crate::trace::{Kind, poison, scope};
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::prune::{Effects, PrunedOp};
use crate::transform::simplify::{Cpu, Simplifier};
use crate::transform::split::SplitOp;
use crate::transform::transpose::Input;
use crate::tree::{self, Tree};

operation! {
    /// Runs `body` on the carry as long as `condition` says true of it. The inputs are what the
    /// condition captured, what the body captured, and the first carry; the outputs are the last
    /// carry.
    ///
    /// With `max_steps`, the condition is false after so many steps at the latest: it counts them.
    /// That is what reverse mode needs to know.
    struct WhileOp = "while" {
        max_steps: Option<usize>,
        condition_captures: usize,
        body_captures: usize,
        condition: Func,
        body: Func,
    }
}

impl WhileOp {
    /// Splits what there is for each input into the parts of the condition, the body and the carry.
    fn parts<'a, T>(&self, inputs: &'a [T]) -> Option<(&'a [T], &'a [T], &'a [T])> {
        let (condition, rest) = inputs.split_at_checked(self.condition_captures)?;
        let (body, carry) = rest.split_at_checked(self.body_captures)?;
        Some((condition, body, carry))
    }
}

impl Operation for WhileOp {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let Some((condition, body, carry)) = self.parts(avals) else {
            return Err(Error::ir("while: there are fewer inputs than captured values"));
        };
        if self.condition.param_avals() != [condition, carry].concat()
            || self.condition.result_avals() != [Aval::scalar(DType::Bool)]
        {
            return Err(Error::ir("while: the condition does not take the carry to one bool[]"));
        }
        if self.body.param_avals() != [body, carry].concat()
            || self.body.result_avals().iter().ne(carry.iter().copied())
        {
            return Err(Error::ir("while: the body does not take the carry to the carry"));
        }
        Ok(self.body.result_avals())
    }

    fn lower(&self, cx: &Lowering, inputs: &[XlaOp], outputs: &[Aval]) -> Result<Vec<XlaOp>> {
        let params =
            [&self.condition.param_avals()[..self.condition_captures], &self.body.param_avals()]
                .concat();
        let avals: Vec<Aval> = params.into_iter().cloned().collect();
        let parts = |state: &[XlaOp]| {
            let (condition, body, carry) = self.parts(state).expect("one value for each input");
            (condition.to_vec(), body.to_vec(), carry.to_vec())
        };
        let condition = Lowering::tuple_condition("while_condition", &avals, |cx, state| {
            let (captures, _, carry) = parts(&state);
            let results = cx.inline(&self.condition, &[captures, carry].concat())?;
            Ok(results[0].clone())
        })?;
        let body = Lowering::tuple_computation(self.body.name(), &avals, |cx, state| {
            let (condition, captures, carry) = parts(&state);
            let carry = cx.inline(&self.body, &[captures.clone(), carry].concat())?;
            Ok([condition, captures, carry].concat())
        })?;
        let result = XlaOp::while_(condition, body, cx.builder().tuple(inputs)?)?;
        Ok(untuple(&result, inputs.len())?.split_off(inputs.len() - outputs.len()))
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        self.forward(primals, tangents)
    }

    fn transpose(&self, _: &[Option<Tensor>], _: &[Input]) -> Result<Vec<Option<Tensor>>> {
        Err(Error::argument(
            "while_loop: its number of steps is not known when it is traced, so there is no reverse \
             mode through it: state a bound with `While::new().max_steps(n)`, or use `scan`, or \
             `fori_loop` with bounds that are numbers of the host, or forward mode (`jvp`)",
        ))
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        self.batched(size, inputs)
    }

    fn is_loop(&self) -> bool {
        true
    }

    fn regions(&self) -> Vec<&Func> {
        vec![&self.condition, &self.body]
    }

    fn split(&self, unknown: &[bool]) -> Result<Option<SplitOp>> {
        self.partial(unknown)
    }

    fn varies(&self, inputs: &[bool], _: usize) -> Result<Vec<bool>> {
        self.varying(inputs)
    }

    fn prune(&self, used: &[bool], effects: Effects) -> Option<PrunedOp> {
        let (op, inputs, outputs) = self.restricted(used, effects);
        Some(PrunedOp { op: op.into(), inputs, outputs })
    }

    fn simplify(&self, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        Some(self.simplified(inputs, at))
    }

    fn fission(&self, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        let op = WhileOp { body: at.rewritten(&self.body), ..self.clone() };
        Some(at.record(op, inputs.to_vec()))
    }

    fn for_cpu(&self, cpu: Cpu, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        let body = joined_dots::body_for_cpu(cpu, &self.body, self.body_captures, at);
        Some(at.record(WhileOp { body, ..self.clone() }, inputs.to_vec()))
    }
}

/// Runs `body` on a carry as long as `condition` is true of it; `jax.lax.while_loop`.
///
/// The carry is any [tree](crate::tree); `condition` returns one `bool`, shape `[]`; `body` returns
/// a carry of the same type. Both are traced once. A mistake comes out where the result does. For
/// reverse mode the number of steps must have a bound, which [`While`] states.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let below = |x: Tensor| x.lt(100);
/// let power = while_loop(below, |x| x * 3, Tensor::scalar(1, DType::I32));
/// assert_eq!(power.item::<i32>()?, 243);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn while_loop<C: Tree>(
    condition: impl FnOnce(C) -> Tensor + Pure,
    body: impl FnOnce(C) -> C + Pure,
    init: C,
) -> C {
    While::new().run(condition, body, init)
}

/// Runs `body` for each integer from `lower` up to, but not with, `upper`; `jax.lax.fori_loop`.
///
/// `body` takes the integer, an `i32` of shape `[]`, and the carry, and returns the next carry. The
/// bounds are integers of the host, or `i32` tensors of shape `[]`. With bounds that are known when
/// it is traced the loop is a [`scan`](crate::scan), else a [`while_loop`], and for reverse mode
/// [`While::fori_loop`] says how many steps there are at most. A mistake comes out where the result
/// does.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let sum = fori_loop(0, 5, |i, sum| sum + i, Tensor::scalar(0, DType::I32));
/// assert_eq!(sum.item::<i32>()?, 10);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn fori_loop<C: Tree>(
    lower: impl Operand,
    upper: impl Operand,
    body: impl FnOnce(Tensor, C) -> C + Pure,
    init: C,
) -> C {
    While::new().fori_loop(lower, upper, body, init)
}

/// A [`while_loop`] with options: how many steps it makes at most.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// // The square root by Newton's method, which stops when it is near enough, and its derivative.
/// let root = |x: Tensor| {
///     let far = |y: Tensor| (y.square() - &x).abs().gt(1e-6);
///     While::new().max_steps(50).run(far, |y| (&y + &x / &y) * 0.5, x.clone())
/// };
/// let slope = grad(root)(Tensor::scalar(4.0, DType::F64)).item::<f64>()?;
/// assert!((slope - 0.25).abs() < 1e-6);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "a loop does nothing until it is run"]
pub struct While {
    max_steps: Option<usize>,
}

impl While {
    /// A loop without a bound.
    pub fn new() -> While {
        While { max_steps: None }
    }

    /// The number of steps after which the loop stops even if its condition is still true. It then
    /// has a reverse mode, whose work follows the steps that are made, and whose memory is √n for a
    /// bound of n: √n chunks of √n steps, of which those that are needed are computed twice. A loop
    /// over a batch, which [`vmap`](crate::vmap) makes of a gradient, goes through all n steps. A
    /// [`fori_loop`](While::fori_loop) stops there too. The bound must be less than 2^63.
    pub fn max_steps(mut self, steps: usize) -> While {
        self.max_steps = Some(steps);
        self
    }

    /// Runs `body` on a carry as long as `condition` is true of it; see [`while_loop`].
    #[track_caller]
    pub fn run<C: Tree>(
        self,
        condition: impl FnOnce(C) -> Tensor + Pure,
        body: impl FnOnce(C) -> C + Pure,
        init: C,
    ) -> C {
        let location = std::panic::Location::caller();
        let call = ("while_loop", location);
        let params = prefixed("carry", &init);
        let kind = Kind::LoopBody;
        let test = trace_region(call, "while_condition", kind, params.clone(), &init, condition);
        let step = trace_region(call, "while_body", kind, params, &init, body);
        let prepared = tree::check(&init).and(test.result).and_then(|(condition, test_captures)| {
            let (body, captures) = step.result?;
            let wanted = Aval::scalar(DType::Bool);
            if *test.output.aval() != wanted {
                return Err(Error::shape(format!(
                    "while_loop: the condition must return {wanted}, but it returns {}: reduce it \
                     with `all` or `any`, or compare",
                    test.output.aval(),
                )));
            }
            check_carry("while_loop", "the body", &init, &step.output)?;
            let op = WhileOp {
                max_steps: None,
                condition_captures: test_captures.len(),
                body_captures: captures.len(),
                condition,
                body,
            };
            Ok((op, [test_captures, captures].concat()))
        });
        let leaves = tree::leaves(&init);
        let Some(steps) = self.max_steps else {
            let prepared = prepared.map(|(op, captures)| (op.into(), [captures, leaves].concat()));
            return record_tree(prepared, &init);
        };
        let count = Tensor::scalar(0, counter_dtype(steps));
        let prepared = prepared.and_then(|(op, captures)| {
            let op = scope::at(location, || op.counted(steps))?;
            Ok((op.into(), [captures, vec![count.clone()], leaves].concat()))
        });
        record_tree(prepared, &(count, init)).1
    }

    /// Runs `body` for each integer from `lower` up to, but not with, `upper`; see [`fori_loop`].
    #[track_caller]
    pub fn fori_loop<C: Tree>(
        self,
        lower: impl Operand,
        upper: impl Operand,
        body: impl FnOnce(Tensor, C) -> C + Pure,
        init: C,
    ) -> C {
        let location = std::panic::Location::caller();
        let index = Tensor::scalar(0, DType::I32);
        let (lower, upper) = (lower.into_tensor(&index), upper.into_tensor(&index));
        for (name, bound) in [("lower", &lower), ("upper", &upper)] {
            if bound.aval() != index.aval() || bound.check().is_err() {
                let (wanted, given) = (index.aval(), bound.aval());
                let message = format!("fori_loop: {name} must be {wanted}, but it is {given}");
                let bad = poison(Error::argument(message), &[bound]);
                return tree::map(&init, |leaf| retyped(&bad, leaf.aval().clone()));
            }
        }
        // The carry is checked here, for the loop below would speak of one with the integer in it.
        let step = |i: Tensor, carry: C| {
            let next = body(i, carry.clone());
            next_carry(("fori_loop", location), &carry, next)
        };
        let known = |bound: &Tensor| match &bound.0 {
            Repr::Concrete(_) => bound.item::<i32>().ok(),
            _ => None,
        };
        if let (Some(first), Some(end)) = (known(&lower), known(&upper)) {
            let length = (i64::from(end) - i64::from(first)).max(0) as usize;
            let length = length.min(self.max_steps.unwrap_or(usize::MAX));
            let step = |(i, carry): (Tensor, C), ()| ((&i + 1, step(i, carry)), ());
            let scan = Scan::on_behalf_of("fori_loop").length(length);
            return scan.run(step, (lower, init), ()).0.1;
        }
        let test = |(i, end, _): (Tensor, Tensor, C)| i.lt(end);
        let step = |(i, end, carry): (Tensor, Tensor, C)| (&i + 1, end, step(i, carry));
        self.run(test, step, (lower, upper, init)).2
    }
}
