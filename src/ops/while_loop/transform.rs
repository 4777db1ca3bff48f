//! The rules by which transformations go through a while loop.

use super::WhileOp;
use crate::aval::Aval;
use crate::error::Result;
use crate::ir::Func;
use crate::ops::call::Call;
use crate::ops::stop_gradient::stop_gradient;
use crate::ops::{collective, rules};
use crate::tensor::Tensor;
use crate::trace::record;
use crate::transform::batch::{Batched, batch};
use crate::transform::jvp::{Dual, jvp, or_zeros};
use crate::transform::prune::{Effects, prune, prune_loop};
use crate::transform::split::{From, Save, SplitOp, split, split_call};
use crate::transform::varying::varying;
use crate::transform::{build, count, fixpoint, flagged, inline, join, positions};

impl WhileOp {
    /// What there is for the inputs of the operation, in the parts that [`parts`](WhileOp::parts)
    /// tells.
    pub fn of_inputs<'a, T>(&self, inputs: &'a [T]) -> (&'a [T], &'a [T], &'a [T]) {
        self.parts(inputs).expect("there is one for each input")
    }

    /// A loop over values and tangents together. The condition sees the values alone.
    pub fn forward(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let has: Vec<bool> = tangents.iter().map(Option::is_some).collect();
        let (_, captures_have, carry_has) = self.of_inputs(&has);
        let (body, flags) = fixpoint(carry_has.to_vec(), |carry| {
            let body = jvp(&self.body, &[captures_have, carry].concat(), carry)?;
            let after = body.tangents.clone();
            Ok((body, after))
        })?;

        let (condition_captures, captures, carry) = self.of_inputs(primals);
        let (_, captures_along, carry_along) = self.of_inputs(tangents);
        let captures_along: Vec<Tensor> = captures_along.iter().flatten().cloned().collect();
        let along = carry_along.iter().zip(carry);
        let along: Vec<Tensor> = along.map(|(t, x)| or_zeros(t.clone(), x.aval())).collect();
        let along = flagged(&along, &flags);

        // The new body has the tangents behind all values, and the operation has the captures
        // first.
        let (m, n, dm, dn) = (captures.len(), carry.len(), captures_along.len(), along.len());
        let values = m + n;
        let order = [0..m, values..values + dm, m..values, values + dm..values + dm + dn];
        let results: Vec<usize> = (0..n + dn).collect();
        let op = WhileOp {
            max_steps: self.max_steps,
            condition_captures: self.condition_captures,
            body_captures: m + dm,
            condition: with_ignored(&self.condition, &along)?,
            body: body.func.reordered(&order.into_iter().flatten().collect::<Vec<_>>(), &results),
        };
        let inputs = [condition_captures, captures, &captures_along, carry, &along].concat();
        let mut outputs = record(op, &inputs, n + dn);
        let mut along = outputs.split_off(n).into_iter();
        let tangents = flags.iter().map(|&flag| if flag { along.next() } else { None }).collect();
        Ok(Dual { primals: outputs, tangents })
    }

    /// The loop of what is known, if that is enough to tell how long it goes on, and the whole loop
    /// again for the rest: there is no place where each step could leave something. With a bound on
    /// its steps, there is.
    pub fn partial(&self, unknown: &[bool]) -> Result<Option<SplitOp>> {
        let (condition_captures, captures, carry) = self.of_inputs(unknown);
        let ((), flags) = fixpoint(carry.to_vec(), |carry| {
            let parts = split(&self.body, &[captures, carry].concat(), carry)?;
            Ok(((), parts.unknown_results))
        })?;
        let seen = prune(&self.condition, &[true], &[], Effects::Drop).params;
        let unseen = [condition_captures, &flags].concat();
        if seen.iter().zip(unseen).any(|(seen, unknown)| *seen && unknown) {
            return Ok(None);
        }
        if let Some(max_steps) = self.max_steps {
            let function = self.in_chunks(max_steps, &flags)?;
            let call = |function| Call { function }.into();
            return split_call(Save::Everything, &function, unknown, call, call).map(Some);
        }
        let known: Vec<bool> = flags.iter().map(|unknown| !unknown).collect();
        let (op, known_inputs, known_outputs) = self.restricted(&known, Effects::Keep);
        if known_inputs.iter().zip(unknown).any(|(taken, unknown)| *taken && *unknown) {
            // Something that is not known is printed.
            return Ok(None);
        }
        let (again, inputs, _) = self.restricted(&vec![true; flags.len()], Effects::Drop);
        Ok(Some(SplitOp {
            known: op.into(),
            known_inputs,
            known_outputs,
            residuals: Vec::new(),
            unknown: again.into(),
            unknown_inputs: positions(&inputs).into_iter().map(From::Input).collect(),
            unknown_outputs: vec![true; flags.len()],
        }))
    }

    /// The loop without what is not needed for these outputs and for the condition; the inputs it
    /// still takes, and the outputs it still gives.
    pub fn restricted(&self, used: &[bool], effects: Effects) -> (WhileOp, Vec<bool>, Vec<bool>) {
        let seen = prune(&self.condition, &[true], &[], Effects::Drop)
            .params
            .split_off(self.condition_captures);
        let used: Vec<bool> = used.iter().zip(seen).map(|(used, seen)| *used || seen).collect();
        let (body, stay) = prune_loop(&self.body, self.body_captures, used.len(), &used, effects);
        let keep = [&vec![false; self.condition_captures], &stay[..]].concat();
        let condition = prune(&self.condition, &[true], &keep, effects);
        let condition_captures = &condition.params[..self.condition_captures];
        let body_captures = &body.params[..self.body_captures];
        let inputs = [condition_captures, body_captures, &stay].concat();
        let op = WhileOp {
            max_steps: self.max_steps,
            condition_captures: count(condition_captures),
            body_captures: count(body_captures),
            condition: condition.func,
            body: body.func,
        };
        (op, inputs, stay)
    }

    /// A loop over batches.
    pub fn batched(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let has: Vec<bool> = inputs.iter().map(Batched::is_batched).collect();
        let (condition_has, captures_have, carry_has) = self.of_inputs(&has);
        let ((condition, body), flags) = fixpoint(carry_has.to_vec(), |carry| {
            let condition =
                batch(&self.condition, size, &[condition_has, carry].concat(), &[false])?;
            // Members that are done at different times have a carry of their own.
            let own = carry.iter().map(|carry| *carry || condition.results[0]);
            let own: Vec<bool> = own.collect();
            let body = batch(&self.body, size, &[captures_have, carry].concat(), &own)?;
            let after = body.results.clone();
            Ok(((condition, body), after))
        })?;
        let (condition_captures, captures, carry) = self.of_inputs(inputs);
        let front = |inputs: &[Batched]| -> Vec<Tensor> {
            inputs.iter().map(|input| input.to_front_if_batched(size).tensor).collect()
        };
        let carry = carry.iter().zip(&flags).map(|(carry, &own)| match own {
            true => carry.to_front(size),
            false => carry.tensor.clone(),
        });
        let carry: Vec<Tensor> = carry.collect();
        let (condition_captures, captures) = (front(condition_captures), front(captures));
        let inputs: Vec<Tensor>;
        let op = if condition.results[0] {
            inputs = [&condition_captures[..], &condition_captures, &captures, &carry].concat();
            self.until_all_are_done(&condition.func, &body.func)?
        } else {
            inputs = [condition_captures, captures, carry].concat();
            WhileOp { condition: condition.func, body: body.func, ..*self }
        };
        let outputs = record(op, &inputs, flags.len()).into_iter();
        let batched = |(tensor, own): (Tensor, bool)| Batched { tensor, axis: own.then_some(0) };
        Ok(outputs.zip(flags).map(batched).collect())
    }

    /// A loop over batches, each member of which has its own condition: it goes on until all are
    /// done, and those that are done stay as they are. The first captures of the body are those of
    /// the condition.
    fn until_all_are_done(&self, condition: &Func, body: &Func) -> Result<WhileOp> {
        let params =
            |func: &Func| -> Vec<Aval> { func.param_avals().into_iter().cloned().collect() };
        let any = build(condition.name(), params(condition), |tensors| {
            Ok(vec![inline(condition, &tensors)[0].any(..)])
        })?;
        let both = [params(condition)[..self.condition_captures].to_vec(), params(body)].concat();
        let step = build(body.name(), both, |tensors| {
            let (first, rest) = tensors.split_at(self.condition_captures);
            let (captures, before) = rest.split_at(self.body_captures);
            let goes_on = inline(condition, &[first, before].concat()).swap_remove(0);
            // Reverse mode multiplies derivatives of members that are done by zero: these are taken
            // where they are sure to be defined, at the carry of a member that goes on.
            let safe = match self.max_steps.is_some() && goes_on.shape() != [0] {
                true => {
                    let member = goes_on.argmax(0);
                    let safe = |old: &Tensor| {
                        let one = old.dynamic_index_in_dim(&member, 0, true);
                        let other = stop_gradient(one).broadcast_to(old.shape());
                        rules::select_members(&goes_on, old, &other)
                    };
                    before.iter().map(safe).collect()
                }
                false => before.to_vec(),
            };
            let after = inline(body, &[captures, &safe].concat());
            let chosen = after.iter().zip(before);
            let chosen = chosen.map(|(new, old)| rules::select_members(&goes_on, new, old));
            Ok(chosen.collect())
        })?;
        Ok(WhileOp {
            body_captures: self.condition_captures + self.body_captures,
            condition: any,
            body: step,
            ..*self
        })
    }

    /// Devices that make a different number of steps have different results, and those that come to
    /// a collective once more would wait for the others.
    pub fn varying(&self, inputs: &[bool]) -> Result<Vec<bool>> {
        let (condition, captures, carry) = self.of_inputs(inputs);
        let (steps_differ, flags) = fixpoint(carry.to_vec(), |carry| {
            let steps_differ = varying(&self.condition, &[condition, carry].concat())?[0];
            let mut after = varying(&self.body, &[captures, carry].concat())?;
            join(&mut after, carry);
            join(&mut after, &vec![steps_differ; carry.len()]);
            Ok((steps_differ, after))
        })?;
        match steps_differ && [&self.condition, &self.body].into_iter().any(collective::is_in) {
            true => Err(collective::not_met("a loop of which some devices make more steps")),
            false => Ok(flags),
        }
    }
}

/// The function with further parameters, which have the types of `ignored`.
fn with_ignored(func: &Func, ignored: &[Tensor]) -> Result<Func> {
    let own = func.params().len();
    let avals = func.param_avals().into_iter().chain(ignored.iter().map(Tensor::aval));
    build(func.name(), avals.cloned().collect(), |tensors| Ok(inline(func, &tensors[..own])))
}
