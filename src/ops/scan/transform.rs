//! The rules by which transformations go through a scan. Each transforms the body, and finds by
//! repetition what then holds of the carry at every step.

use super::{ScanOp, stacked};
use crate::aval::Aval;
use crate::error::Result;
use crate::tensor::Tensor;
use crate::trace::record;
use crate::transform::batch::{Batched, batch};
use crate::transform::jvp::{Dual, jvp, or_zeros};
use crate::transform::split::{From, SplitOp, split_body};
use crate::transform::transpose::{Input, transpose_values};
use crate::transform::varying::varying;
use crate::transform::{build, count, fixpoint, flagged, join, positions};

/// What there is for each constant, for each carry, and for each of the rest (`xs` or `ys`).
struct Parts<T> {
    constants: Vec<T>,
    carry: Vec<T>,
    rest: Vec<T>,
}

impl<T> Parts<T> {
    fn concat(self) -> Vec<T> {
        self.constants.into_iter().chain(self.carry).chain(self.rest).collect()
    }

    /// Each part of `self` with that part of `other` behind it.
    fn interleave(self, other: Parts<T>) -> Parts<T> {
        let join = |a: Vec<T>, b: Vec<T>| a.into_iter().chain(b).collect();
        Parts {
            constants: join(self.constants, other.constants),
            carry: join(self.carry, other.carry),
            rest: join(self.rest, other.rest),
        }
    }
}

impl ScanOp {
    /// Splits what there is for each input.
    fn of_inputs<T: Clone>(&self, inputs: &[T]) -> Parts<T> {
        let (constants, carry, xs) = self.split_inputs(inputs);
        Parts { constants: constants.to_vec(), carry: carry.to_vec(), rest: xs.to_vec() }
    }

    /// Splits what there is for each output.
    fn of_outputs<T: Clone>(&self, outputs: &[T]) -> Parts<T> {
        let (carry, ys) = outputs.split_at(self.carry);
        Parts { constants: Vec::new(), carry: carry.to_vec(), rest: ys.to_vec() }
    }

    fn outputs(&self) -> usize {
        self.body.results().len()
    }

    /// The flags of the inputs with those of the carry replaced.
    fn with_carry(&self, flags: &[bool], carry: &[bool]) -> Vec<bool> {
        let parts = self.of_inputs(flags);
        Parts { carry: carry.to_vec(), ..parts }.concat()
    }

    /// Flags for the outputs that are those of the carry, and not set for the ys.
    fn carry_only(&self, carry: &[bool]) -> Vec<bool> {
        [carry, &vec![false; self.outputs() - self.carry]].concat()
    }

    /// A scan over values and tangents together.
    pub fn forward(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let start: Vec<bool> = tangents.iter().map(Option::is_some).collect();
        let (body, carry) = fixpoint(self.of_inputs(&start).carry, |carry| {
            let active = self.with_carry(&start, carry);
            let body = jvp(&self.body, &active, &self.carry_only(carry))?;
            let after = body.tangents[..self.carry].to_vec();
            Ok((body, after))
        })?;
        let active = self.with_carry(&start, &carry);
        let params = self.paired_positions(&active, |flags| self.of_inputs(flags));
        let results = self.paired_positions(&body.tangents, |flags| self.of_outputs(flags));

        let x = self.of_inputs(primals);
        let along = tangents.iter().zip(primals).map(|(t, x)| or_zeros(t.clone(), x.aval()));
        let along: Vec<Tensor> = flagged(&along.collect::<Vec<_>>(), &active);
        let counts = self.of_inputs(&active);
        let op = ScanOp {
            constants: self.constants + count(&counts.constants),
            carry: self.carry + count(&carry),
            body: body.func.reordered(&params, &results),
            ..*self
        };
        let along = split_parts(along, count(&counts.constants), count(&carry));
        let inputs = x.interleave(along).concat();
        let made = record(op, &inputs, results.len());

        // Behind the order of the results stand, again, values and tangents side by side.
        let mut outputs = vec![None; results.len()];
        for (tensor, position) in made.into_iter().zip(results) {
            outputs[position] = Some(tensor);
        }
        let mut outputs = outputs.into_iter().flatten();
        let primals = outputs.by_ref().take(self.outputs()).collect();
        let tangents = body.tangents.iter().map(|&has| if has { outputs.next() } else { None });
        Ok(Dual { primals, tangents: tangents.collect() })
    }

    /// Where the values, and behind all of them the tangents of those flagged, go when each part has
    /// its tangents behind it.
    fn paired_positions(
        &self,
        flags: &[bool],
        parts: impl Fn(&[bool]) -> Parts<bool>,
    ) -> Vec<usize> {
        let all: Vec<usize> = (0..flags.len()).collect();
        let split = parts(flags);
        let (constants, carry) = (split.constants.len(), split.carry.len());
        let values = split_parts(all, constants, carry);
        let tangents = (flags.len()..flags.len() + count(flags)).collect();
        let tangents = split_parts(tangents, count(&split.constants), count(&split.carry));
        values.interleave(tangents).concat()
    }

    /// A scan of what is known, which also keeps what the scan of the rest needs of each step.
    ///
    /// A residual that is a constant or one of the xs is handed on as such, and one that is a known
    /// y is not kept twice. A carry that every step passes on is a constant.
    pub fn partial(&self, unknown: &[bool]) -> Result<SplitOp> {
        let params: Vec<_> = self.body.params().map(|(value, _)| value).collect();
        let is_invariant = |i: usize| match i.checked_sub(self.constants) {
            None => true,
            Some(i) => i < self.carry && self.body.results()[i] == params[self.constants + i],
        };
        let invariant: Vec<bool> = (0..params.len()).map(is_invariant).collect();
        let (parts, carry) = fixpoint(self.of_inputs(unknown).carry, |carry| {
            let unknown = self.with_carry(unknown, carry);
            let wanted = self.carry_only(carry);
            let parts = split_body(&self.body, &invariant, &unknown, &wanted)?;
            let after = parts.unknown_results[..self.carry].to_vec();
            Ok((parts, after))
        })?;
        let unknown = self.with_carry(unknown, &carry);
        let known: Vec<bool> = unknown.iter().map(|u| !u).collect();
        let known_outputs: Vec<bool> = parts.unknown_results.iter().map(|u| !u).collect();
        let known_positions = positions(&known);
        let known_results = positions(&known_outputs);
        let known_constants = count(&known[..self.constants]);
        let known_carry = count(&known_outputs[..self.carry]);

        // Where each residual comes from. `order` are the results of the known scan.
        let results = parts.known.results();
        let params: Vec<_> = parts.known.params().map(|(value, _)| value).collect();
        let mut order: Vec<usize> = (0..known_results.len()).collect();
        let (mut residuals, mut constants, mut xs) = (Vec::new(), Vec::new(), Vec::new());
        for j in known_results.len()..results.len() {
            let value = results[j];
            let param = params.iter().position(|&param| param == value);
            let is_carried =
                |i: usize| (known_constants..known_constants + known_carry).contains(&i);
            let is_passed = |i: usize| is_carried(i) && results[i - known_constants] == value;
            let y = (known_carry..known_results.len()).find(|&i| results[i] == value);
            let residual = j - known_results.len();
            match (param, y) {
                (Some(i), _) if i < known_constants || is_passed(i) => {
                    constants.push((residual, From::Input(known_positions[i])));
                }
                (Some(i), _) if !is_carried(i) => {
                    xs.push((residual, From::Input(known_positions[i])))
                }
                (_, Some(i)) => xs.push((residual, From::Output(known_results[i]))),
                _ => {
                    xs.push((residual, From::Residual(residuals.len())));
                    residuals.push(stacked(parts.known.aval(value), self.length));
                    order.push(j);
                }
            }
        }

        let all_params: Vec<usize> = (0..params.len()).collect();
        let known_op = ScanOp {
            constants: known_constants,
            carry: known_carry,
            body: parts.known.reordered(&all_params, &order),
            ..*self
        };

        // The unknown part has the residuals in front of its other parameters.
        let unknown_inputs = positions(&unknown);
        let (unknown_constants, unknown_carry) = (count(&unknown[..self.constants]), count(&carry));
        let own = (0..unknown_inputs.len()).map(|i| parts.residuals + i).collect();
        let own = split_parts(own, unknown_constants, unknown_carry);
        let first = |list: &[(usize, From)]| list.iter().map(|(j, _)| *j).collect();
        let kept = Parts { constants: first(&constants), carry: Vec::new(), rest: first(&xs) };
        let params = kept.interleave(own).concat();
        let unknown_results: Vec<usize> = (0..parts.unknown.results().len()).collect();
        let unknown_op = ScanOp {
            constants: constants.len() + unknown_constants,
            carry: unknown_carry,
            body: parts.unknown.reordered(&params, &unknown_results),
            ..*self
        };
        let own = unknown_inputs.into_iter().map(From::Input).collect();
        let own = split_parts(own, unknown_constants, unknown_carry);
        let second = |list: Vec<(usize, From)>| list.into_iter().map(|(_, from)| from).collect();
        let kept = Parts { constants: second(constants), carry: Vec::new(), rest: second(xs) };
        Ok(SplitOp {
            known: known_op.into(),
            known_inputs: known,
            known_outputs,
            residuals,
            unknown: unknown_op.into(),
            unknown_inputs: kept.interleave(own).concat(),
            unknown_outputs: parts.unknown_results,
        })
    }

    /// A scan in the other direction, which carries the cotangents of the carry, and adds up those of
    /// the constants. A scan that has a transpose is linear in all of its carry.
    pub fn backward(
        &self,
        cotangents: &[Option<Tensor>],
        inputs: &[Input],
    ) -> Result<Vec<Option<Tensor>>> {
        let parts = self.of_inputs(inputs);
        let cts = self.of_outputs(cotangents);
        let linear = |inputs: &[Input]| inputs.iter().map(Input::is_linear).collect::<Vec<bool>>();
        let (linear_constants, linear_xs) = (linear(&parts.constants), linear(&parts.rest));
        let known = |inputs: &[Input]| -> Vec<Tensor> {
            inputs.iter().filter_map(|input| input.known("scan").ok().cloned()).collect()
        };
        let (known_constants, known_xs) = (known(&parts.constants), known(&parts.rest));
        let params = self.of_inputs(&self.body.param_avals());
        let has_ct: Vec<bool> = cts.rest.iter().map(Option::is_some).collect();
        let ys: Vec<Aval> = self.body.result_avals().split_off(self.carry);
        let summed_avals: Vec<Aval> =
            flagged(&params.constants, &linear_constants).into_iter().cloned().collect();
        let carry_avals: Vec<Aval> = params.carry.iter().map(|&aval| aval.clone()).collect();

        // The flags say which cotangents there are: those of the carry, and of linear constants.
        let start: Vec<bool> = cts.carry.iter().map(Option::is_some).collect();
        let start = [start, vec![false; summed_avals.len()]].concat();
        let carried_avals = [carry_avals.clone(), summed_avals].concat();
        let ((body, xs_flags), flags) = fixpoint(start, |flags| {
            let known_avals = |inputs: &[Input], avals: &[&Aval]| -> Vec<Aval> {
                let pairs = inputs.iter().zip(avals).filter(|(input, _)| !input.is_linear());
                pairs.map(|(_, aval)| (*aval).clone()).collect()
            };
            let constants = known_avals(&parts.constants, &params.constants);
            let xs = known_avals(&parts.rest, &params.rest);
            let groups =
                [constants, flagged(&carried_avals, flags), xs.clone(), flagged(&ys, &has_ct)];
            let (mut after, mut xs_flags) = (Vec::new(), Vec::new());
            let body = build(self.body.name(), groups.concat(), |tensors| {
                let mut tensors = tensors.into_iter();
                let mut take = |n: usize| tensors.by_ref().take(n).collect::<Vec<Tensor>>();
                let constants = take(known_constants.len());
                let carried = take(count(flags));
                let xs = take(xs.len());
                let y_cts = take(count(&has_ct));

                let mut carried = carried.into_iter();
                let carried: Vec<Option<Tensor>> =
                    flags.iter().map(|&f| if f { carried.next() } else { None }).collect();
                let (carry_cts, sums) = carried.split_at(self.carry);
                let mut y_cts = y_cts.into_iter();
                let y_cts = has_ct.iter().map(|&f| if f { y_cts.next() } else { None });
                let inputs = [
                    fill(&linear_constants, &params.constants, constants),
                    params.carry.iter().map(|&aval| Input::Linear(aval.clone())).collect(),
                    fill(&linear_xs, &params.rest, xs),
                ];
                let cts = carry_cts.iter().cloned().chain(y_cts).collect();
                let cts = transpose_values(&self.body, &inputs.concat(), cts)?;
                let cts = self.of_inputs(&cts);

                let constants = flagged(&cts.constants, &linear_constants);
                let sums = sums.iter().zip(constants).map(|(sum, ct)| match (sum, ct) {
                    (Some(sum), Some(ct)) => Some(sum + ct),
                    (sum, ct) => sum.clone().or(ct),
                });
                let next: Vec<Option<Tensor>> = cts.carry.into_iter().chain(sums).collect();
                after = next.iter().zip(flags).map(|(ct, &f)| f || ct.is_some()).collect();
                let next = next.into_iter().zip(&carried_avals).zip(&after);
                let next =
                    next.filter(|(_, after)| **after).map(|((ct, aval), _)| or_zeros(ct, aval));
                let x_cts = flagged(&cts.rest, &linear_xs);
                xs_flags = x_cts.iter().map(Option::is_some).collect::<Vec<bool>>();
                Ok(next.chain(x_cts.into_iter().flatten()).collect())
            })?;
            Ok(((body, xs_flags), after))
        })?;

        let first = cts.carry.iter().cloned().chain(vec![None; flags.len() - self.carry]);
        let first = first.zip(&carried_avals).zip(&flags);
        let first = first.filter(|(_, flag)| **flag).map(|((ct, aval), _)| or_zeros(ct, aval));
        let first: Vec<Tensor> = first.collect();
        let op = ScanOp {
            reverse: !self.reverse,
            constants: known_constants.len(),
            carry: first.len(),
            body,
            ..*self
        };
        let outputs = first.len() + count(&xs_flags);
        let inputs: Vec<Tensor> = known_constants
            .into_iter()
            .chain(first)
            .chain(known_xs)
            .chain(cts.rest.into_iter().flatten())
            .collect();
        let mut made = record(op, &inputs, outputs).into_iter();
        let mut next = |flag: bool| if flag { made.next() } else { None };
        let carried: Vec<Option<Tensor>> = flags.iter().map(|&flag| next(flag)).collect();
        let x_cts: Vec<Option<Tensor>> = xs_flags.iter().map(|&flag| next(flag)).collect();
        let (carry, sums) = carried.split_at(self.carry);
        let spread = |cts: &[Option<Tensor>], linear: &[bool]| -> Vec<Option<Tensor>> {
            let mut cts = cts.iter().cloned();
            linear.iter().map(|&linear| if linear { cts.next().flatten() } else { None }).collect()
        };
        Ok([spread(sums, &linear_constants), carry.to_vec(), spread(&x_cts, &linear_xs)].concat())
    }

    /// A scan over batches: the batch axis of xs and ys stands behind that of time.
    pub fn batched(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let start: Vec<bool> = inputs.iter().map(Batched::is_batched).collect();
        let (body, carry) = fixpoint(self.of_inputs(&start).carry, |carry| {
            let flags = self.with_carry(&start, carry);
            let body = batch(&self.body, size, &flags, &self.carry_only(carry))?;
            let after = body.results[..self.carry].to_vec();
            Ok((body, after))
        })?;
        let parts = self.of_inputs(inputs);
        let constants = parts.constants.iter().map(|c| c.to_front_if_batched(size).tensor);
        let first = parts.carry.iter().zip(&carry).map(|(c, &batched)| match batched {
            true => c.to_front(size),
            false => c.tensor.clone(),
        });
        let xs = parts.rest.iter().map(|x| match x.axis {
            Some(1) | None => x.tensor.clone(),
            Some(axis) => x.tensor.moveaxis([axis as isize], [1]),
        });
        let inputs: Vec<Tensor> = constants.chain(first).chain(xs).collect();
        let op = ScanOp { body: body.func, ..*self };
        let outputs = record(op, &inputs, self.outputs());
        let axis = |i: usize| body.results[i].then_some(usize::from(i >= self.carry));
        let outputs = outputs.into_iter().enumerate();
        Ok(outputs.map(|(i, tensor)| Batched { tensor, axis: axis(i) }).collect())
    }

    pub fn varying(&self, inputs: &[bool]) -> Result<Vec<bool>> {
        let (results, _) = fixpoint(self.of_inputs(inputs).carry, |carry| {
            let mut results = varying(&self.body, &self.with_carry(inputs, carry))?;
            join(&mut results, carry);
            let after = results[..self.carry].to_vec();
            Ok((results, after))
        })?;
        Ok(results)
    }
}

/// The first `constants` items, the next `carry` ones, and the rest.
fn split_parts<T>(mut items: Vec<T>, constants: usize, carry: usize) -> Parts<T> {
    let rest = items.split_off(constants + carry);
    let carry = items.split_off(constants);
    Parts { constants: items, carry, rest }
}

/// Inputs of which those flagged are linear, and the others have these values.
fn fill(linear: &[bool], avals: &[&Aval], known: Vec<Tensor>) -> Vec<Input> {
    let mut known = known.into_iter().map(Input::Known);
    let inputs = linear.iter().zip(avals).map(|(&linear, &aval)| match linear {
        true => Some(Input::Linear(aval.clone())),
        false => known.next(),
    });
    inputs.flatten().collect()
}
