//! Scan: a loop over the leading axis, as one HLO While, traced once.

use xla::{XlaComputation, XlaOp};

mod chunks;
pub(crate) mod fission;
mod part;
mod reads;
mod simplify;
mod stacks;
mod transform;
pub(crate) mod unroll;

use self::fission::Fission;
use self::reads::{Read, Reading};
use self::unroll::Unroll;
use super::checkpoint::Checkpoint;
use super::control::{
    Pure, check_carry, next_carry, prefixed, record_tree, result_tree, retyped, trace_region,
};
use super::{Operation, composed, joined_dots, progress};
use crate::aval::{Aval, DType};
use crate::error::{Error, ErrorKind, Result};
use crate::ir::{Func, Value};
use crate::lower::{Lowering, dims, element_type, untuple};
use crate::tensor::Tensor;
use crate::trace::{Kind, poison};
use crate::transform::batch::Batched;
use crate::transform::count;
use crate::transform::jvp::Dual;
use crate::transform::prune::{Effects, PrunedOp, prune_loop};
use crate::transform::simplify::{Cpu, Simplifier};
use crate::transform::split::SplitOp;
use crate::transform::transpose::Input;
use crate::tree::{self, Path, Tree};

/// A loop may make several steps in an iteration if a step slices and stacks no more values than
/// this: inputs and outputs of one layer, or three gates that were computed before.
const UNROLLED_SLICES: usize = 3;

/// From so many steps on, packing a matrix before the loop pays.
const STEPS_TO_PACK_FOR: usize = 4;

operation! {
    /// Runs `body` `length` times. Its parameters are the constants, the carry and one slice of
    /// each of the `xs`; its results are the carry and one slice of each of the `ys`. The inputs of
    /// the operation are the constants, the first carry and the `xs`; its outputs are the last
    /// carry and the `ys`.
    struct ScanOp = "scan" {
        length: usize,
        reverse: bool,
        unroll: Unroll,
        fission: Fission,
        constants: usize,
        carry: usize,
        body: Func,
    }
}

impl ScanOp {
    /// Splits what there is for each input: for the constants, the carry and the xs.
    fn split_inputs<'a, T>(&self, inputs: &'a [T]) -> (&'a [T], &'a [T], &'a [T]) {
        let (constants, rest) = inputs.split_at(self.constants);
        let (carry, xs) = rest.split_at(self.carry);
        (constants, carry, xs)
    }

    /// The types that the inputs must have.
    fn input_avals(&self) -> Vec<Aval> {
        let params = self.body.param_avals().into_iter().enumerate();
        let first_x = self.constants + self.carry;
        params.map(|(i, a)| if i < first_x { a.clone() } else { stacked(a, self.length) }).collect()
    }
}

/// The dtype of a counter of steps: the smallest that counts to the end.
pub(super) fn counter_dtype(length: usize) -> DType {
    if i32::try_from(length).is_ok() { DType::I32 } else { DType::I64 }
}

fn stacked(aval: &Aval, length: usize) -> Aval {
    aval.with_shape([&[length], &aval.shape[..]].concat())
}

impl Operation for ScanOp {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        if self.unroll == Unroll::Steps(0) {
            return Err(Error::argument("scan: unroll must be at least 1, but it is 0"));
        }
        if i64::try_from(self.length).is_err() {
            return Err(Error::argument(format!(
                "scan: the length must be less than 2^63, but it is {}",
                self.length,
            )));
        }
        let params = self.body.param_avals();
        let results = self.body.result_avals();
        let first_x = self.constants.saturating_add(self.carry);
        if params.len() < first_x || results.len() < self.carry {
            return Err(Error::ir(format!(
                "scan: the body has {} parameters and {} results, too few for {} constants and a \
                 carry of {}",
                params.len(),
                results.len(),
                self.constants,
                self.carry,
            )));
        }
        if params[self.constants..first_x].iter().copied().ne(&results[..self.carry]) {
            return Err(Error::ir("scan: the body changes the type of the carry"));
        }
        let wanted = self.input_avals();
        if wanted.iter().ne(avals.iter().copied()) {
            let list =
                |avals: &mut dyn Iterator<Item = String>| avals.collect::<Vec<_>>().join(", ");
            return Err(Error::shape(format!(
                "scan: the inputs must have the types ({}), but they have ({})",
                list(&mut wanted.iter().map(ToString::to_string)),
                list(&mut avals.iter().map(ToString::to_string)),
            )));
        }
        let (carry, ys) = results.split_at(self.carry);
        Ok(carry.iter().cloned().chain(ys.iter().map(|y| stacked(y, self.length))).collect())
    }

    /// A While over a counter, the constants, the carry, the xs and the ys. What is left when
    /// `unroll` does not divide the length comes behind the loop, and a loop that is unrolled whole
    /// is no loop.
    fn lower(&self, cx: &Lowering, inputs: &[XlaOp], outputs: &[Aval]) -> Result<Vec<XlaOp>> {
        let zero = |aval: &Aval| -> Result<XlaOp> {
            Ok(cx.builder().zero(element_type(aval.dtype))?.broadcast(&dims(&aval.shape))?)
        };
        let mut state = inputs.to_vec();
        for y in &outputs[self.carry..] {
            state.push(zero(y)?);
        }
        let reading = Reading::of(self);
        let unroll = self.unroll.steps();
        let iterations = if self.length <= unroll { 0 } else { self.length / unroll };
        if iterations > 0 {
            state = self.lower_loop(cx, &reading, state, outputs, iterations)?;
        }
        for step in iterations * unroll..self.length {
            let step = self.counter(cx, step)?;
            state = self.lower_step(cx, &reading, &state, &step)?;
        }
        let carry = self.constants..self.constants + self.carry;
        Ok([&state[carry], &state[inputs.len()..]].concat())
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

    fn is_loop(&self) -> bool {
        true
    }

    fn regions(&self) -> Vec<&Func> {
        vec![&self.body]
    }

    fn split(&self, unknown: &[bool]) -> Result<Option<SplitOp>> {
        self.partial(unknown).map(Some)
    }

    fn varies(&self, inputs: &[bool], _: usize) -> Result<Vec<bool>> {
        self.varying(inputs)
    }

    fn simplify(&self, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        Some(self.simplified(inputs, at))
    }

    fn fission(&self, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        let op = ScanOp { body: at.rewritten(&self.body), ..*self };
        match self.fission {
            Fission::Off => Some(at.record(op, inputs.to_vec())),
            _ => Some(op.fissioned(inputs, at)),
        }
    }

    fn for_cpu(&self, cpu: Cpu, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        let body = match self.length >= STEPS_TO_PACK_FOR {
            true => joined_dots::body_for_cpu(cpu, &self.body, self.constants, at),
            false => at.rewritten(&self.body),
        };
        // What a step slices and stacks soon costs more than the iteration that it is made in.
        let sliced = self.body.params().len() - self.constants - self.carry;
        let stacked = self.body.results().len() - self.carry;
        let is_innermost = !self.body.equations().iter().any(|e| e.op.rules().is_loop());
        let may_unroll = is_innermost && sliced + stacked <= UNROLLED_SLICES;
        let unroll = match self.unroll {
            Unroll::Auto if may_unroll => Unroll::worth_it(cpu.unroll, self.length),
            unroll => unroll,
        };
        let op = ScanOp { unroll, body, ..*self };
        Some(op.stacking_in_single_precision(inputs, at))
    }

    fn prune(&self, used: &[bool], effects: Effects) -> Option<PrunedOp> {
        let (constants, carry) = (self.constants, self.carry);
        let (pruned, outputs) = prune_loop(&self.body, constants, carry, used, effects);
        let constants = count(&pruned.params[..self.constants]);
        let carry = count(&outputs[..self.carry]);
        let op = ScanOp { constants, carry, body: pruned.func, ..*self };
        Some(PrunedOp { op: op.into(), inputs: pruned.params, outputs })
    }
}

impl ScanOp {
    fn counter(&self, cx: &Lowering, value: usize) -> Result<XlaOp> {
        let value = value as i64;
        Ok(match counter_dtype(self.length) {
            DType::I32 => cx.builder().constant_r0(value as i32)?,
            _ => cx.builder().constant_r0(value)?,
        })
    }

    /// A While of `iterations` iterations of `unroll` steps each.
    fn lower_loop(
        &self,
        cx: &Lowering,
        reading: &Reading,
        state: Vec<XlaOp>,
        outputs: &[Aval],
        iterations: usize,
    ) -> Result<Vec<XlaOp>> {
        let counter = Aval::scalar(counter_dtype(self.length));
        let ys = outputs[self.carry..].iter().cloned();
        let avals: Vec<Aval> =
            std::iter::once(counter).chain(self.input_avals()).chain(ys).collect();

        let condition = self.condition(&avals, iterations)?;
        let body = Lowering::tuple_computation(self.body.name(), &avals, |cx, state| {
            let (mut step, mut state) = (state[0].clone(), state[1..].to_vec());
            for _ in 0..self.unroll.steps() {
                state = self.lower_step(cx, reading, &state, &step)?;
                step = step.add_(&self.counter(cx, 1)?)?;
            }
            state.insert(0, step);
            Ok(state)
        })?;
        let mut first = vec![self.counter(cx, 0)?];
        first.extend(state);
        let result = XlaOp::while_(condition, body, cx.builder().tuple(&first)?)?;
        Ok(untuple(&result, avals.len())?.split_off(1))
    }

    fn condition(&self, avals: &[Aval], iterations: usize) -> Result<XlaComputation> {
        Lowering::tuple_condition("scan_condition", avals, |cx, state| {
            Ok(state[0].lt(&self.counter(cx, iterations * self.unroll.steps())?)?)
        })
    }

    /// One step: the state is the constants, the carry, the xs and the ys.
    fn lower_step(
        &self,
        cx: &Lowering,
        reading: &Reading,
        state: &[XlaOp],
        step: &XlaOp,
    ) -> Result<Vec<XlaOp>> {
        let first_x = self.constants + self.carry;
        let first_y = self.body.params().len();
        let index = if self.reverse {
            self.counter(cx, self.length - 1)?.sub_(step)?
        } else {
            step.clone()
        };
        let zero = self.counter(cx, 0)?;
        // Where something is among what there is for all steps.
        let place = |starts: &[usize]| -> Result<Vec<XlaOp>> {
            let start = |&start: &usize| match start {
                0 => Ok(zero.clone()),
                _ => self.counter(cx, start),
            };
            std::iter::once(Ok(index.clone())).chain(starts.iter().map(start)).collect()
        };

        let mut arguments = state[..first_x].to_vec();
        for Read { x, starts, shape } in &reading.reads {
            let starts = place(starts)?;
            let sizes = dims(&[&[1], &shape[..]].concat());
            let slice = state[first_x + x].dynamic_slice(&starts, &sizes)?;
            arguments.push(slice.reshape(&dims(shape))?);
        }
        let results = cx.inline(&reading.body, &arguments)?;

        let (carry, ys) = results.split_at(self.carry);
        let mut next = state[..self.constants].to_vec();
        next.extend_from_slice(carry);
        next.extend_from_slice(&state[first_x..first_y]);
        let types = self.body.result_avals();
        for ((all, y), aval) in state[first_y..].iter().zip(ys).zip(&types[self.carry..]) {
            let slice = y.reshape(&dims(&stacked(aval, 1).shape))?;
            let starts = place(&vec![0; aval.rank()])?;
            next.push(all.dynamic_update_slice(&slice, &starts)?);
        }
        Ok(next)
    }
}

/// Runs `f` over the leading axis of `xs`, carrying a state along; `jax.lax.scan`.
///
/// `f` takes the carry and one slice of `xs`, and returns the next carry, of the same type, and a
/// `y`. The result is the last carry and all `ys`, stacked along a new leading axis. Carry, `xs`
/// and `ys` are [trees](crate::tree); `()` is the empty one. The step runs once, on abstract
/// values, and the whole is one HLO While loop however many steps there are. More can be said with
/// [`Scan`].
///
/// A mistake comes out where the results do: the leading axes of `xs` differ, there is no `xs` and
/// no length, or the carry changes its tree, dtypes or shapes; the message has the leaf path and
/// both types.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let xs = Tensor::new(&[1.0f32, 2.0, 3.0], [3]);
/// let (sum, sums) = scan(|sum, x| { let next = &sum + x; (next.clone(), next) },
///                        Tensor::scalar(0.0, DType::F32), xs);
/// assert_eq!(sum.item::<f32>()?, 6.0);
/// assert_eq!(sums.to_vec::<f32>()?, [1.0, 3.0, 6.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn scan<C: Tree, X: Tree, Y: Tree>(
    f: impl FnOnce(C, X) -> (C, Y) + Pure,
    init: C,
    xs: X,
) -> (C, Y) {
    Scan::new().run(f, init, xs)
}

/// A [`scan`] with options: length, direction, unrolling, checkpoints, a display of its progress.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let powers = Scan::new().length(4).run(|x, ()| (&x * 2, x), Tensor::scalar(1, DType::I32), ());
/// assert_eq!(powers.1.to_vec::<i32>()?, [1, 2, 4, 8]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a scan does nothing until it is run"]
pub struct Scan {
    /// The function of the library that was called, for messages.
    what: &'static str,
    length: Option<usize>,
    reverse: bool,
    unroll: Unroll,
    checkpoint: Checkpoint,
    fission: Fission,
    progress: Option<String>,
}

impl Default for Scan {
    fn default() -> Scan {
        Scan::new()
    }
}

impl Scan {
    /// A scan forwards, over the whole of `xs`.
    pub fn new() -> Scan {
        Scan::on_behalf_of("scan")
    }

    pub(crate) fn on_behalf_of(what: &'static str) -> Scan {
        Scan {
            what,
            length: None,
            reverse: false,
            unroll: Unroll::Auto,
            checkpoint: Checkpoint::None,
            fission: Fission::Auto,
            progress: None,
        }
    }

    /// The number of steps. Needed where `xs` has no leaf; otherwise it must agree with `xs`.
    pub fn length(mut self, length: usize) -> Scan {
        self.length = Some(length);
        self
    }

    /// Whether to go from the last slice of `xs` to the first; `ys` keep the order of `xs`.
    pub fn reverse(mut self, reverse: bool) -> Scan {
        self.reverse = reverse;
        self
    }

    /// How many steps one iteration of the While loop makes: a number, or [`Unroll::Auto`].
    pub fn unroll(mut self, unroll: impl Into<Unroll>) -> Scan {
        self.unroll = unroll.into();
        self
    }

    /// What reverse mode keeps of the steps. With anything but [`Checkpoint::None`] the loop is one
    /// over chunks of steps, whose steps are a loop inside; the results are the same.
    pub fn checkpoint(mut self, checkpoint: Checkpoint) -> Scan {
        self.checkpoint = checkpoint;
        self
    }

    /// How much of the steps may be computed for all of them at once, before and after the loop.
    pub fn fission(mut self, fission: Fission) -> Scan {
        self.fission = fission;
        self
    }

    /// Shows on standard error how many steps have been made, from the first to the last: a bar
    /// with `label` on a terminal, and elsewhere a line for each tenth of the steps. It costs a
    /// call of the host in each step. As [`debug_print`](crate::debug_print) it works on CPUs only,
    /// and derivatives tell of the loop that goes forwards.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let count = Scan::new().length(1000).progress("counting");
    /// let (n, ()) = count.run(|n: Tensor, ()| (n + 1, ()), Tensor::scalar(0, DType::I32), ());
    /// assert_eq!(n.item::<i32>()?, 1000);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    pub fn progress(mut self, label: &str) -> Scan {
        self.progress = Some(label.to_owned());
        self
    }

    /// Runs `f` over `xs`; see [`scan`].
    #[track_caller]
    pub fn run<C: Tree, X: Tree, Y: Tree>(
        mut self,
        f: impl FnOnce(C, X) -> (C, Y) + Pure,
        init: C,
        xs: X,
    ) -> (C, Y) {
        match self.progress.take() {
            Some(label) => self.run_and_tell(&label, f, init, xs),
            None => self.run_steps(f, init, xs),
        }
    }

    /// Counts the steps in the carry, and tells of them before each and behind the last one.
    #[track_caller]
    fn run_and_tell<C: Tree, X: Tree, Y: Tree>(
        self,
        label: &str,
        f: impl FnOnce(C, X) -> (C, Y) + Pure,
        init: C,
        xs: X,
    ) -> (C, Y) {
        // Where the arguments are wrong the loop says so, and nothing is told.
        let Ok(length) = self.check_arguments(&xs) else { return self.run_steps(f, init, xs) };
        let call = (self.what, std::panic::Location::caller());
        let step = |(steps, carry): (Tensor, C), x: X| {
            progress::report(label, length, &steps);
            let (next, y) = f(carry.clone(), x);
            ((&steps + 1, next_carry(call, &carry, next)), y)
        };
        let none = Tensor::scalar(0, counter_dtype(length));
        let ((steps, last), ys) = self.run_steps(step, (none, init), xs);
        progress::report(label, length, &steps);
        (last, ys)
    }

    #[track_caller]
    fn run_steps<C: Tree, X: Tree, Y: Tree>(
        self,
        f: impl FnOnce(C, X) -> (C, Y) + Pure,
        init: C,
        xs: X,
    ) -> (C, Y) {
        let call = (self.what, std::panic::Location::caller());
        let slice = |aval: &Aval| aval.with_shape(aval.shape.get(1..).unwrap_or_default());
        let length = match tree::check(&init).and_then(|()| self.check_arguments(&xs)) {
            Ok(length) => length,
            Err(error) => {
                // The step still runs, on tensors with which nothing can be done, and what it
                // records is thrown away: what it returns tells which tree the failed results have.
                let bad = poison(error, &[]);
                let last = tree::map(&init, |leaf| retyped(&bad, leaf.aval().clone()));
                let x = tree::map(&xs, |leaf| retyped(&bad, slice(leaf.aval())));
                let step = |(): ()| f(last.clone(), x).1;
                let body = trace_region(call, "scan_body", Kind::LoopBody, Vec::new(), &(), step);
                let y = body.output;
                let first =
                    tree::leaves(&xs).first().and_then(|leaf| leaf.shape().first().copied());
                let length = self.length.or(first).unwrap_or(0);
                return (last, tree::map(&y, |leaf| retyped(&bad, stacked(leaf.aval(), length))));
            }
        };

        let mut params = prefixed("carry", &init);
        let slices = prefixed("x", &xs).into_iter().map(|(aval, name)| (slice(&aval), name));
        params.extend(slices);
        let arguments = (init.clone(), xs.clone());
        let step = |(carry, x)| f(carry, x);
        let outcome = trace_region(call, "scan_body", Kind::LoopBody, params, &arguments, step);
        let (carry, y) = outcome.output;
        let prepared = outcome.result.and_then(|(body, captures)| {
            check_carry(self.what, "a step", &init, &carry)?;
            let op = ScanOp {
                length,
                reverse: self.reverse,
                unroll: self.unroll,
                fission: self.fission,
                constants: captures.len(),
                carry: tree::leaves(&init).len(),
                body,
            };
            let inputs = [captures, tree::leaves(&init), tree::leaves(&xs)].concat();
            Ok((op, inputs, self.checkpoint.chunk(self.what, length)?))
        });
        let (carry, ys) = match prepared {
            Ok((op, inputs, Some(steps))) if length > 0 => {
                let template = (init, y);
                composed("checkpointed_scan", inputs, |inputs| {
                    result_tree(
                        op.record_in_chunks(steps, &inputs, ScanOp::record_again),
                        &template,
                    )
                })
            }
            prepared => {
                record_tree(prepared.map(|(op, inputs, _)| (op.into(), inputs)), &(init, y))
            }
        };
        // Where there was a mistake, `ys` still have the types of single slices.
        (carry, tree::map(&ys, |leaf| retyped(leaf, stacked(leaf.aval(), length))))
    }

    /// The number of steps, from `xs` and the length that was given.
    fn check_arguments<X: Tree>(&self, xs: &X) -> Result<usize> {
        let what = self.what;
        if self.unroll == Unroll::Steps(0) {
            return Err(Error::argument(format!(
                "{what}: unroll must be at least 1 (the number of steps in one iteration), but it is 0"
            )));
        }
        let leaves = tree::leaves_with_paths(xs);
        leaves.iter().try_for_each(|(_, leaf)| leaf.check())?;
        let name = |path: &Path| match path.keys() {
            [] => "xs".to_owned(),
            _ => format!("xs.{path}"),
        };
        if let Some((path, leaf)) = leaves.iter().find(|(_, leaf)| leaf.rank() == 0) {
            return Err(Error::shape(format!(
                "{what}: xs must have a leading axis to go over, but {} is the scalar {}; close \
                 over what is the same at every step instead",
                name(path),
                leaf.aval(),
            )));
        }
        let Some((_, first)) = leaves.first() else {
            return self.length.ok_or_else(|| {
                Error::argument(format!(
                    "{what}: xs has no leaf, so the number of steps must be given: \
                     Scan::new().length(n)"
                ))
            });
        };
        let wanted = self.length.unwrap_or(first.shape()[0]);
        if leaves.iter().all(|(_, leaf)| leaf.shape()[0] == wanted) {
            return Ok(wanted);
        }
        let lines =
            leaves.iter().map(|(path, leaf)| format!("\n  {}: {}", name(path), leaf.aval()));
        let rule = match self.length {
            Some(length) => {
                format!("the leading axis of every leaf of xs must be the length, {length}")
            }
            None => "the leading axes of all leaves of xs must be the same".to_owned(),
        };
        Err(Error::new(
            ErrorKind::Shape,
            format!("{what}: {rule}, but they are:{}", lines.collect::<String>()),
        ))
    }
}
