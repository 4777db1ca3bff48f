//! The rules by which transformations go through a branch. Each transforms all branches, and makes
//! them give the same results again.

use super::SwitchOp;
use crate::aval::Aval;
use crate::error::Result;
use crate::ir::Func;
use crate::ops::{collective, rules};
use crate::tensor::Tensor;
use crate::trace::record;
use crate::transform::batch::{Batched, batch, batch_values};
use crate::transform::jvp::{Dual, jvp, or_zeros};
use crate::transform::prune::{Effects, PrunedOp, prune};
use crate::transform::split::{From, Split, SplitOp, split};
use crate::transform::transpose::{Input, transpose_values};
use crate::transform::varying::varying;
use crate::transform::{build, count, flagged, inline, join, positions};

impl SwitchOp {
    /// What there is for the inputs, as each branch takes it: its captures and then the operands.
    fn of_branches<T: Clone>(&self, inputs: &[T]) -> Vec<Vec<T>> {
        self.arguments(&inputs[1..]).expect("there is one for each input")
    }

    /// What there is for the operands.
    fn of_operands<'a, T>(&self, inputs: &'a [T]) -> &'a [T] {
        &inputs[1 + self.captures.iter().sum::<usize>()..]
    }

    fn outputs(&self) -> usize {
        self.branches[0].results().len()
    }

    /// The inputs of an operation of the same branches: the index, then what `of_branch` gives for
    /// the captures of each, then the operands.
    fn assemble<T: Clone>(
        &self,
        index: T,
        branches: &[Vec<T>],
        mut of_branch: impl FnMut(usize, &[T]) -> Vec<T>,
        operands: Vec<T>,
    ) -> Vec<T> {
        let mut inputs = vec![index];
        for (i, arguments) in branches.iter().enumerate() {
            inputs.extend(of_branch(i, &arguments[..self.captures[i]]));
        }
        inputs.extend(operands);
        inputs
    }

    /// Branches over values and tangents together.
    pub fn forward(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let has: Vec<bool> = tangents.iter().map(Option::is_some).collect();
        let active = self.of_branches(&has);
        let mut flags = vec![false; self.outputs()];
        for (branch, active) in self.branches.iter().zip(&active) {
            flags = jvp(branch, active, &flags)?.tangents;
        }
        let mut op = SwitchOp { captures: Vec::new(), branches: Vec::new() };
        for ((branch, active), &captures) in self.branches.iter().zip(&active).zip(&self.captures) {
            // The tangents of captures go behind the captures.
            let func = jvp(branch, active, &flags)?.func;
            let (params, along) = (active.len(), count(&active[..captures]));
            let order = [0..captures, params..params + along, captures..params];
            let rest = params + along..params + count(active);
            let order: Vec<usize> = order.into_iter().flatten().chain(rest).collect();
            let results: Vec<usize> = (0..func.results().len()).collect();
            op.captures.push(captures + along);
            op.branches.push(func.reordered(&order, &results));
        }
        let values = self.of_branches(primals);
        let along = self.of_branches(tangents);
        let of_branch = |i: usize, captures: &[Tensor]| {
            let along = along[i][..captures.len()].iter().flatten().cloned();
            captures.iter().cloned().chain(along).collect()
        };
        let along = self.of_operands(tangents).iter().flatten().cloned();
        let operands = self.of_operands(primals).iter().cloned().chain(along).collect();
        let inputs = self.assemble(primals[0].clone(), &values, of_branch, operands);
        let outputs = self.outputs() + count(&flags);
        let mut primals = record(op, &inputs, outputs);
        let mut along = primals.split_off(self.outputs()).into_iter();
        let tangents = flags.iter().map(|&flag| if flag { along.next() } else { None }).collect();
        Ok(Dual { primals, tangents })
    }

    /// Branches of what is known, each of which leaves residuals (and zeros in place of those of
    /// the other branches), and branches of the rest, each of which takes its own.
    pub fn partial(&self, unknown: &[bool]) -> Result<Option<SplitOp>> {
        if unknown[0] {
            return Ok(None);
        }
        let flags = self.of_branches(unknown);
        let mut unknown_outputs = vec![false; self.outputs()];
        for (branch, flags) in self.branches.iter().zip(&flags) {
            unknown_outputs = split(branch, flags, &unknown_outputs)?.unknown_results;
        }
        let parts: Result<Vec<Split>> = self
            .branches
            .iter()
            .zip(&flags)
            .map(|(branch, flags)| split(branch, flags, &unknown_outputs))
            .collect();
        let parts = parts?;
        let known_outputs: Vec<bool> = unknown_outputs.iter().map(|unknown| !unknown).collect();
        let results = count(&known_outputs);
        // A residual that is an input is there already.
        let given: Vec<Vec<Option<usize>>> = parts.iter().map(Split::residual_params).collect();
        let left = |(part, given): (&Split, &Vec<Option<usize>>)| -> Vec<Aval> {
            let avals = part.known.result_avals().split_off(results).into_iter().zip(given);
            avals.filter(|(_, given)| given.is_none()).map(|(aval, _)| aval).collect()
        };
        let residuals: Vec<Aval> = parts.iter().zip(&given).flat_map(left).collect();

        let known: Vec<bool> = unknown.iter().map(|unknown| !unknown).collect();
        let mut known_op = SwitchOp { captures: Vec::new(), branches: Vec::new() };
        let mut unknown_op = SwitchOp { captures: Vec::new(), branches: Vec::new() };
        let (mut first, mut unknown_inputs) = (0, vec![From::Input(0)]);
        let inputs = self.of_branches(&(0..unknown.len()).collect::<Vec<_>>());
        for (i, (part, given)) in parts.into_iter().zip(given).enumerate() {
            let own = first..first + given.iter().filter(|given| given.is_none()).count();
            first = own.end;
            let captures = self.captures[i];
            let known_inputs: Vec<usize> =
                inputs[i].iter().copied().filter(|&input| known[input]).collect();
            let mut fresh = own.clone();
            let from = |given: &Option<usize>| match given {
                Some(param) => Some(From::Input(known_inputs[*param])),
                None => fresh.next().map(From::Residual),
            };
            unknown_inputs.extend(given.iter().filter_map(from));
            known_op.captures.push(captures - count(&flags[i][..captures]));
            unknown_op.captures.push(part.residuals + count(&flags[i][..captures]));
            let captured = flagged(&inputs[i][..captures], &flags[i][..captures]);
            unknown_inputs.extend(captured.into_iter().map(From::Input));

            let params = part.known.param_avals().into_iter().cloned().collect();
            known_op.branches.push(build(part.known.name(), params, |tensors| {
                let mut values = inline(&part.known, &tensors);
                let left = values.split_off(results).into_iter().zip(&given);
                let mut left = left.filter(|(_, given)| given.is_none()).map(|(tensor, _)| tensor);
                values.extend(residuals.iter().enumerate().map(|(j, aval)| {
                    or_zeros(if own.contains(&j) { left.next() } else { None }, aval)
                }));
                Ok(values)
            })?);
            unknown_op.branches.push(part.unknown);
        }
        let first_operand = unknown.len() - self.of_operands(unknown).len();
        let operands = positions(unknown).into_iter().filter(|&i| i >= first_operand);
        unknown_inputs.extend(operands.map(From::Input));
        Ok(Some(SplitOp {
            known: known_op.into(),
            known_inputs: known,
            known_outputs,
            residuals,
            unknown: unknown_op.into(),
            unknown_inputs,
            unknown_outputs,
        }))
    }

    /// Branches that map cotangents: each gives those of its own captures, and zeros for the
    /// others.
    pub fn backward(
        &self,
        cotangents: &[Option<Tensor>],
        inputs: &[Input],
    ) -> Result<Vec<Option<Tensor>>> {
        let index = inputs[0].known("switch")?;
        let given: Vec<bool> = cotangents.iter().map(Option::is_some).collect();
        let cts: Vec<Tensor> = cotangents.iter().flatten().cloned().collect();
        let linear: Vec<usize> = (0..inputs.len()).filter(|&i| inputs[i].is_linear()).collect();
        let (all_inputs, arguments) = (inputs, self.of_branches(inputs));
        let positions = self.of_branches(&(0..inputs.len()).collect::<Vec<_>>());
        let values = |inputs: &[Input]| -> Vec<Tensor> {
            inputs.iter().filter_map(|input| input.known("switch").ok().cloned()).collect()
        };
        let mut op = SwitchOp { captures: Vec::new(), branches: Vec::new() };
        let mut captured = Vec::new();
        for (i, branch) in self.branches.iter().enumerate() {
            let known = values(&arguments[i]);
            let avals = known.iter().chain(&cts).map(|tensor| tensor.aval().clone()).collect();
            let own = values(&arguments[i][..self.captures[i]]);
            op.captures.push(own.len());
            captured.extend(own);
            op.branches.push(build(branch.name(), avals, |tensors| {
                let mut tensors = tensors.into_iter();
                let mut inputs = arguments[i].clone();
                for input in inputs.iter_mut().filter(|input| !input.is_linear()) {
                    *input = Input::Known(tensors.next().expect("a parameter for each"));
                }
                let cts = given.iter().map(|&given| if given { tensors.next() } else { None });
                let cts = transpose_values(branch, &inputs, cts.collect())?;
                let of = |input: usize| positions[i].iter().position(|&p| p == input);
                let wanted = linear.iter().map(|&input| {
                    or_zeros(of(input).and_then(|j| cts[j].clone()), all_inputs[input].aval())
                });
                Ok(wanted.collect())
            })?);
        }
        let operands = values(self.of_operands(inputs));
        let all = [vec![index.clone()], captured, operands, cts].concat();
        let outputs = record(op, &all, linear.len());
        let mut result = vec![None; inputs.len()];
        linear.iter().zip(outputs).for_each(|(&i, ct)| result[i] = Some(ct));
        Ok(result)
    }

    /// Branches over batches. Where the members go different ways, all branches are taken, and each
    /// member chooses among what they give.
    pub fn batched(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        if inputs[0].is_batched() {
            return self.batched_choice(size, inputs);
        }
        let has: Vec<bool> = inputs.iter().map(Batched::is_batched).collect();
        let flags = self.of_branches(&has);
        let mut results = vec![false; self.outputs()];
        for (branch, flags) in self.branches.iter().zip(&flags) {
            results = batch(branch, size, flags, &results)?.results;
        }
        let branches: Result<Vec<Func>> = self
            .branches
            .iter()
            .zip(&flags)
            .map(|(branch, flags)| Ok(batch(branch, size, flags, &results)?.func))
            .collect();
        let op = SwitchOp { branches: branches?, captures: self.captures.clone() };
        let inputs: Vec<Tensor> =
            inputs.iter().map(|input| input.to_front_if_batched(size).tensor).collect();
        let outputs = record(op, &inputs, results.len());
        let batched = |(tensor, own): (Tensor, bool)| Batched { tensor, axis: own.then_some(0) };
        Ok(outputs.into_iter().zip(results).map(batched).collect())
    }

    fn batched_choice(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let index = inputs[0].to_front(size);
        let mut chosen: Vec<Tensor> = Vec::new();
        for (i, (branch, arguments)) in
            self.branches.iter().zip(self.of_branches(inputs)).enumerate()
        {
            let outputs = batch_values(branch, size, arguments)?;
            let outputs = outputs.iter().map(|output| output.to_front(size));
            if i == 0 {
                chosen = outputs.collect();
                continue;
            }
            let here = index.ge(i32::try_from(i).unwrap_or(i32::MAX));
            chosen = outputs
                .zip(&chosen)
                .map(|(output, before)| rules::select_members(&here, &output, before))
                .collect();
        }
        Ok(chosen.into_iter().map(Batched::stacked).collect())
    }

    /// The branches without what is not needed for these outputs.
    pub fn restricted(&self, used: &[bool], effects: Effects) -> PrunedOp {
        // An operand that one branch needs is there for all.
        let mut operands = vec![false; self.branches[0].params().len() - self.captures[0]];
        for (branch, &captures) in self.branches.iter().zip(&self.captures) {
            join(&mut operands, &prune(branch, used, &[], effects).params[captures..]);
        }
        let mut op = SwitchOp { captures: Vec::new(), branches: Vec::new() };
        let mut inputs = vec![true];
        for (branch, &captures) in self.branches.iter().zip(&self.captures) {
            let keep = [&vec![false; captures], &operands[..]].concat();
            let pruned = prune(branch, used, &keep, effects);
            op.captures.push(count(&pruned.params[..captures]));
            inputs.extend(&pruned.params[..captures]);
            op.branches.push(pruned.func);
        }
        inputs.extend(operands);
        PrunedOp { op: op.into(), inputs, outputs: used.to_vec() }
    }

    /// Devices that take different branches have different results, and those that come to a
    /// collective in one would wait for the others.
    pub fn varying(&self, inputs: &[bool]) -> Result<Vec<bool>> {
        let mut results = vec![inputs[0]; self.outputs()];
        for (branch, flags) in self.branches.iter().zip(self.of_branches(inputs)) {
            join(&mut results, &varying(branch, &flags)?);
        }
        match inputs[0] && self.branches.iter().any(collective::is_in) {
            true => Err(collective::not_met("a branch that some devices take and others do not")),
            false => Ok(results),
        }
    }
}
