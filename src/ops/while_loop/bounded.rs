//! A while loop with a bound on its steps, as loops whose lengths are known: reverse mode needs a
//! place for what each step leaves.
//!
//! The loop becomes a scan over about √n chunks of √n steps for a bound of n. A chunk is skipped
//! once the loop is done, and else it is a scan whose steps change nothing once the loop is done.
//! The chunks are checkpointed. So the work follows the steps that are made, rounded up to a chunk,
//! and the memory is that of √n carries and of what √n steps leave.

use super::WhileOp;
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::ir::Func;
use crate::ops::checkpoint::CheckpointOp;
use crate::ops::scan::fission::Fission;
use crate::ops::scan::unroll::Unroll;
use crate::ops::scan::{ScanOp, counter_dtype};
use crate::ops::select::select;
use crate::ops::stop_gradient::stop_gradient;
use crate::ops::switch::SwitchOp;
use crate::tensor::Tensor;
use crate::trace::record;
use crate::transform::prune::{Effects, prune};
use crate::transform::split::Save;
use crate::transform::{build, inline};

impl WhileOp {
    /// The loop with a counter as its first carry, which makes at most `steps` steps.
    pub fn counted(&self, steps: usize) -> Result<WhileOp> {
        let Ok(limit) = i64::try_from(steps) else {
            return Err(Error::argument(format!(
                "while_loop: max_steps must be less than 2^63, but it is {steps}; a loop without a \
                 bound is `while_loop`"
            )));
        };
        let counter = Aval::scalar(counter_dtype(steps));
        let with_counter = |func: &Func, captures: usize| -> Vec<Aval> {
            let mut avals: Vec<Aval> = func.param_avals().into_iter().cloned().collect();
            avals.insert(captures, counter.clone());
            avals
        };
        let params = with_counter(&self.condition, self.condition_captures);
        let condition = build(self.condition.name(), params, |mut tensors| {
            let count = tensors.remove(self.condition_captures);
            let goes_on = inline(&self.condition, &tensors).swap_remove(0);
            Ok(vec![count.lt(limit) & goes_on])
        })?;
        let params = with_counter(&self.body, self.body_captures);
        let body = build(self.body.name(), params, |mut tensors| {
            let count = tensors.remove(self.body_captures);
            Ok([vec![count + 1], inline(&self.body, &tensors)].concat())
        })?;
        Ok(WhileOp { max_steps: Some(steps), condition, body, ..*self })
    }

    /// The function of the loop's inputs that does what the loop does, in chunks of steps. `linear`
    /// are the carries that are tangents.
    pub fn in_chunks(&self, max_steps: usize, linear: &[bool]) -> Result<Func> {
        let steps = max_steps.isqrt().max(1);
        let chunks = max_steps.div_ceil(steps);
        let captures: Vec<Aval> = {
            let params = &self.condition.param_avals()[..self.condition_captures];
            let body = &self.body.param_avals()[..self.body_captures];
            params.iter().chain(body).map(|&aval| aval.clone()).collect()
        };
        let carry = self.body.result_avals();
        let (constants, carried) = (captures.len(), carry.len());
        let all = [captures, carry.clone()].concat();

        let step = self.frozen_step(&all, linear)?;
        let chunk = build("chunk", all.clone(), |inputs| {
            let op = ScanOp {
                length: steps,
                reverse: false,
                unroll: Unroll::Auto,
                fission: Fission::Auto,
                constants: inputs.len(),
                carry: carried,
                body: step,
            };
            let first = inputs[constants..].to_vec();
            Ok(record(op, &[inputs, first].concat(), carried))
        })?;
        let go_on = build("chunk", all.clone(), |inputs| {
            let op = CheckpointOp { save: Save::Nothing, again: false, function: chunk };
            Ok(record(op, &inputs, carried))
        })?;
        let stay = build("done", carry, Ok)?;
        let body = build("chunk", all.clone(), |inputs| {
            let goes_on = self.goes_on(&inputs).astype(DType::I32);
            let op = SwitchOp { captures: vec![0, constants], branches: vec![stay, go_on] };
            Ok(record(op, &[vec![goes_on], inputs].concat(), carried))
        })?;
        build("bounded_while", all, |inputs| {
            let op = ScanOp {
                length: chunks,
                reverse: false,
                unroll: Unroll::Auto,
                fission: Fission::Auto,
                constants,
                carry: carried,
                body,
            };
            Ok(record(op, &inputs, carried))
        })
    }

    /// A step that changes nothing once the loop is done. Its parameters are the captures, the
    /// carry before the chunk, and the carry.
    ///
    /// The body is computed all the same, and may not be defined there: it is computed of the carry
    /// before the chunk, of which it was to be computed anyway. So a derivative of it that is
    /// infinite at the end does not become a NaN when it is multiplied by zero. What the body does
    /// on the host is only done for steps that are made.
    fn frozen_step(&self, inputs: &[Aval], linear: &[bool]) -> Result<Func> {
        let carried = linear.len();
        let captures = inputs.len() - carried;
        let params = [inputs, &inputs[captures..]].concat();
        let (used, keep) = (vec![true; carried], vec![true; self.body.params().len()]);
        let silent = prune(&self.body, &used, &keep, Effects::Drop).func;
        build(self.body.name(), params, |inputs| {
            let (captured, carries) = inputs.split_at(captures);
            let (first, carry) = carries.split_at(carried);
            let goes_on = self.goes_on(&[captured, carry].concat());
            let first = first.iter().zip(linear).map(|(first, &linear)| match linear {
                true => Tensor::zeros(first.shape(), first.dtype()),
                false => stop_gradient(first.clone()),
            });
            let choose =
                |(on_true, on_false): (&Tensor, &Tensor)| select(&goes_on, on_true, on_false);
            let safe: Vec<Tensor> =
                carry.iter().zip(&first.collect::<Vec<_>>()).map(choose).collect();
            let captured = &captured[self.condition_captures..];
            self.tell(&goes_on, &[captured, carry].concat())?;
            let next = inline(&silent, &[captured, &safe].concat());
            Ok(next.iter().zip(carry).map(choose).collect())
        })
    }

    /// What the body does on the host, if there is another step.
    fn tell(&self, goes_on: &Tensor, inputs: &[Tensor]) -> Result<()> {
        if !self.body.has_effect() {
            return Ok(());
        }
        let unused = vec![false; self.body.results().len()];
        let all = vec![true; inputs.len()];
        let effects = prune(&self.body, &unused, &all, Effects::Keep).func;
        let params = effects.param_avals().into_iter().cloned().collect();
        let nothing = build("done", params, |_| Ok(Vec::new()))?;
        let op = SwitchOp { captures: vec![0, 0], branches: vec![nothing, effects] };
        let index = vec![goes_on.astype(DType::I32)];
        record(op, &[index, inputs.to_vec()].concat(), 0);
        Ok(())
    }

    /// Whether there is another step, for all inputs of the loop.
    fn goes_on(&self, inputs: &[Tensor]) -> Tensor {
        let (condition_captures, _, carry) = self.of_inputs(inputs);
        inline(&self.condition, &[condition_captures, carry].concat()).swap_remove(0)
    }
}
