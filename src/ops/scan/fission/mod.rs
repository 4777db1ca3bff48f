//! Fission: what a scan does at each step, and can do for all steps at once, leaves the loop.
//!
//! | | |
//! |---|---|
//! | [`mod@sink`] | what is cheaply computed for all steps before the loop, for the loop alone, goes into it |
//! | [`mod@slices`] | slices of a sum are sums of slices where a part of the sum leaves the loop |
//! | [`mod@before`] | products of what comes of the `xs` alone become one product before the loop |
//! | [`mod@after`] | what only the `ys` need, and sums of products that are carried (the gradients of weights), become products over time after the loop |
//! | [`mod@layout`] | products in the loop as XLA does them best |
//!
//! A product of a vector and a matrix reads the whole matrix for each vector; one product for all
//! steps reads it once. What is stacked instead is chosen as the [cheapest](crate::transform::cut)
//! from which the rest can be computed. Sums are associated in another way, and nothing else is
//! computed otherwise.

mod after;
mod before;
mod layout;
mod sink;
mod slices;
mod work;

use std::fmt;

use self::after::After;
pub use self::work::LoopWork;
use super::ScanOp;
use super::chunks::steps_near;
use crate::aval::Aval;
use crate::error::Result;
use crate::ir::parse::Parser;
use crate::ir::print::{Attribute, Printer};
use crate::ir::{Equation, Func, Value};
use crate::ops::Op;
use crate::transform::batch::batch;
use crate::transform::build;
use crate::transform::simplify::Simplifier;

/// How much of what a [`Scan`](crate::Scan) does at each step may leave the loop, to be computed
/// for all steps at once: products of matrices with what comes of the `xs`, and sums of products
/// over the steps, such as the gradients of weights. Values are the same but for the order of sums.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// use onetrace::Fission;
/// let w = random::normal(&random::key(0), [64, 512], DType::F32);
/// let program = |fission: Fission| -> Result<String> {
///     let last = |xs: Tensor| {
///         let step = |h: Tensor, x: Tensor| ((h + x.dot(&w)).tanh(), ());
///         Scan::new().fission(fission).run(step, Tensor::zeros([512], DType::F32), xs).0
///     };
///     Ok(jit(last).lower(Tensor::ones([1000, 64], DType::F32))?.fissioned().to_string())
/// };
/// // All 1,000 products of a vector and the matrix are one product before the loop, or are not.
/// assert!(program(Fission::Auto)?.contains("f32[1000,512] = dot"));
/// assert!(!program(Fission::Off)?.contains("f32[1000,512] = dot"));
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fission {
    /// What is worth it by a model of the costs, with up to 256 MiB of further memory, or with as
    /// much as the `xs` and `ys` take.
    #[default]
    Auto,
    /// The same with up to so many bytes of further memory. Where the values of all steps would
    /// take more, they are computed for as many steps at once as fit.
    Within(usize),
    /// Nothing.
    Off,
}

/// What `Fission::Auto` may take, in bytes, where a loop does not slice and stack more by itself.
const MEMORY: usize = 256 << 20;

/// Chunks of fewer steps are not worth a loop of their own.
const LEAST_STEPS: usize = 32;

/// `auto`, `off` or the number of bytes.
impl fmt::Display for Fission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fission::Auto => f.write_str("auto"),
            Fission::Within(bytes) => bytes.fmt(f),
            Fission::Off => f.write_str("off"),
        }
    }
}

impl Attribute for Fission {
    fn print(&self, printer: &mut Printer) {
        printer.push(self);
    }

    fn parse(parser: &mut Parser<'_>) -> Result<Fission> {
        if parser.eat("auto") {
            Ok(Fission::Auto)
        } else if parser.eat("off") {
            Ok(Fission::Off)
        } else {
            parser.number("a number of bytes, `auto` or `off`").map(Fission::Within)
        }
    }

    fn omitted() -> Option<Fission> {
        Some(Fission::Auto)
    }
}

/// What a value of the body depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Depends {
    /// On constants alone.
    Invariant,
    /// On the slices of the xs.
    Step,
    /// On the carry too, or it has an effect and must stay where it is.
    Carry,
}

impl ScanOp {
    /// The outputs of the scan, recorded in `at`, with as much as is worth it outside of the loop.
    pub(super) fn fissioned(&self, inputs: &[Value], at: &mut Simplifier) -> Vec<Value> {
        if self.length < 2 || self.leaves_half_precision() {
            return at.record(self.clone(), inputs.to_vec());
        }
        let (mut op, inputs) = self.with_xs_made_inside(inputs, at);
        let mut before = op.plan_before();
        if let Some(sliced) = before.as_ref().and_then(|plan| op.with_sums_of_slices(plan)) {
            before = sliced.plan_before();
            op = sliced;
        }
        if let Some(bytes) = before.as_ref().map(|plan| plan.bytes)
            && let Some(outputs) = op.in_chunks(bytes, &inputs, at)
        {
            return outputs;
        }
        let (op, inputs) =
            match before.filter(|plan| plan.bytes.saturating_mul(op.length) <= op.memory()) {
                Some(plan) => op.with_products_made_before(plan, &inputs, at),
                None => (op, inputs),
            };
        let op = op.with_products_of_parts();
        let after = After::new(&op);
        let Some(plan) = after.plan() else { return at.record(op, inputs) };
        if plan.bytes.saturating_mul(op.length) <= op.memory() {
            return after.done(plan, &inputs, at);
        }
        let chunks = op.in_chunks(plan.bytes, &inputs, at);
        chunks.unwrap_or_else(|| at.record(op.clone(), inputs))
    }

    /// Whether a step goes from half precision to another one. XLA drops the rounding where it sees
    /// both conversions, and does not where what was rounded is stacked: the numbers would be
    /// others than those of the loop, and of JAX.
    fn leaves_half_precision(&self) -> bool {
        let func = &self.body;
        let is_half = |value: &Value| func.aval(*value).dtype.is_half();
        func.equations().iter().any(|equation| {
            let leaves = matches!(equation.op, Op::Convert(_)) && is_half(&equation.inputs()[0]);
            leaves && func.aval(equation.outputs()[0]).dtype.is_float()
        })
    }

    /// What all values that are stacked may take beyond what was stacked before, in bytes.
    fn memory(&self) -> usize {
        match self.fission {
            Fission::Off => 0,
            Fission::Within(bytes) => bytes,
            Fission::Auto => {
                let func = &self.body;
                let xs = func.params().map(|(value, _)| value).skip(self.constants + self.carry);
                let stacked = xs.chain(func.results()[self.carry..].iter().copied());
                let bytes = stacked.map(|value| self.bytes_of_all(func.aval(value)));
                bytes.fold(0, usize::saturating_add).max(MEMORY)
            }
        }
    }

    /// The outputs of the scan in chunks of as many steps as fit into the memory if each takes so
    /// many `bytes`, where that is needed and worth it. What is done for all steps at once is done
    /// for those of a chunk then.
    fn in_chunks(&self, bytes: usize, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        let memory = self.memory();
        let fit = memory / bytes.max(1);
        let has_loop = self.body.equations().iter().any(|e| !e.regions().is_empty());
        if fit >= self.length || fit < LEAST_STEPS || has_loop {
            return None;
        }
        let steps = steps_near(fit.min(self.length / 2), self.length);
        // A chunk may take what was allowed for the whole, and is not divided again.
        let op = ScanOp { fission: Fission::Within(memory), ..self.clone() };
        let func = build("chunks", self.input_avals(), |inputs| {
            op.record_in_chunks(steps, &inputs, ScanOp::record_whole)
        });
        Some(at.inline(&func.ok()?, inputs))
    }

    /// What each value of the body depends on, by its index.
    fn depends(&self) -> Vec<Depends> {
        let func = &self.body;
        let mut depends = vec![Depends::Invariant; func.value_count()];
        for (i, (param, _)) in func.params().enumerate() {
            depends[param.index()] = match i {
                _ if i < self.constants => Depends::Invariant,
                _ if i < self.constants + self.carry => Depends::Carry,
                _ => Depends::Step,
            };
        }
        for equation in func.equations() {
            let inputs = equation.inputs().iter().map(|input| depends[input.index()]);
            let mut level = inputs.max().unwrap_or(Depends::Invariant);
            if equation.op.rules().has_effect() {
                level = Depends::Carry;
            }
            equation.outputs().iter().for_each(|output| depends[output.index()] = level);
        }
        depends
    }

    /// The bytes of a value of every step.
    fn bytes_of_all(&self, aval: &Aval) -> usize {
        aval.saturating_bytes().saturating_mul(self.length)
    }

    /// What the function `step`, of the constants, the slices of the xs and of further values,
    /// gives for all steps, with the steps along the first axis. `more` has all values of the
    /// latter.
    fn for_all_steps(
        &self,
        step: &Func,
        inputs: &[Value],
        more: &[Value],
        at: &mut Simplifier,
    ) -> Option<Vec<Value>> {
        let (constants, _, xs) = self.split_inputs(inputs);
        let inputs = [constants, xs, more].concat();
        let mut varies = vec![true; inputs.len()];
        varies[..self.constants].fill(false);
        let all = vec![true; step.results().len()];
        let batched = batch(step, self.length, &varies, &all).ok()?;
        Some(at.inline(&batched.func, &inputs))
    }
}

/// The parameters of the body: constants, carry, slices of the xs.
fn params(op: &ScanOp) -> (Vec<Value>, Vec<Value>, Vec<Value>) {
    let all: Vec<Value> = op.body.params().map(|(value, _)| value).collect();
    let (constants, carry, xs) = op.split_inputs(&all);
    (constants.to_vec(), carry.to_vec(), xs.to_vec())
}

/// The bytes of the invariant operand of a product of something that varies with it.
fn bytes_of_matrix(func: &Func, equation: &Equation, depends: &[Depends]) -> Option<usize> {
    let (Op::Dot(_), [x, y]) = (&equation.op, equation.inputs()) else { return None };
    let is_invariant = |value: &Value| depends[value.index()] == Depends::Invariant;
    match [is_invariant(x), is_invariant(y)] {
        [true, false] => Some(func.aval(*x).saturating_bytes()),
        [false, true] => Some(func.aval(*y).saturating_bytes()),
        _ => None,
    }
}
