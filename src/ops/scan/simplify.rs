//! A simpler scan: less is carried, less is computed at each step, and less is copied.

use std::collections::HashMap;
use std::sync::Arc;

use super::{ScanOp, stacked};
use crate::aval::Aval;
use crate::host::HostArray;
use crate::ir::Value;
use crate::ops::broadcast::Broadcast;
use crate::ops::constant::Constant;
use crate::transform::invariant::{Body, Role};
use crate::transform::simplify::Simplifier;

impl ScanOp {
    /// What stands for the outputs, recorded in `at`.
    pub fn simplified(&self, inputs: &[Value], at: &mut Simplifier) -> Vec<Value> {
        let (constants, init, xs) = self.split_inputs(inputs);
        if self.length == 0 {
            let ys = self.body.result_avals().split_off(self.carry);
            let ys = ys.iter().map(|y| nothing(stacked(y, 0), at));
            return init.iter().copied().chain(ys).collect();
        }
        let constants = constants.iter().copied().map(Role::Constant);
        let carried = init.iter().map(|_| Role::Carried);
        let roles = constants.chain(carried).chain(xs.iter().copied().map(Role::Slice)).collect();
        let body = Body { func: self.body.clone(), roles };
        let (mut body, mut outputs) = body.with_carry_settled(init);
        let carry: Vec<usize> = (0..self.carry).filter(|&i| outputs[i].is_none()).collect();
        outputs.resize(self.body.results().len(), None);

        // A y that is one of the xs is not stacked again, and none is stacked twice. `results` are
        // those of the body that the loop is to give, and each y is one of them.
        let slices: HashMap<Value, Value> = body.sliced().collect();
        let mut results: Vec<usize> = (0..carry.len()).collect();
        let mut place = HashMap::new();
        let mut ys = Vec::new();
        for (i, value) in body.func.results().iter().enumerate().skip(carry.len()) {
            let output = self.carry + i - carry.len();
            match slices.get(value) {
                Some(&x) => outputs[output] = Some(x),
                None => {
                    let place = *place.entry(*value).or_insert_with(|| {
                        results.push(i);
                        results.len() - 1
                    });
                    ys.push((output, place));
                }
            }
        }
        body.func = body.func.with_results(&results);

        // What is the same at every step is computed before; a y of that kind is repeated.
        let leave: Vec<bool> = (0..results.len()).map(|i| i >= carry.len()).collect();
        let (body, invariant) = body.hoisted(false, &leave, at);
        let mut made = match body.func.results() {
            [] if !body.func.has_effect() => Vec::new(),
            _ => {
                let (constants, slices) = (body.constants(), body.slices());
                let init: Vec<Value> = carry.iter().map(|&i| init[i]).collect();
                let op = ScanOp {
                    constants: constants.len(),
                    carry: carry.len(),
                    body: body.func,
                    ..*self
                };
                at.record(op, [constants, init, slices].concat())
            }
        }
        .into_iter();
        let values = invariant.into_iter().zip(leave).map(|(value, may_leave)| match value {
            Some(value) if may_leave => self.repeated(value, at),
            _ => made.next().expect("one output for each result"),
        });
        let values: Vec<Value> = values.collect();
        carry.iter().enumerate().for_each(|(i, &output)| outputs[output] = Some(values[i]));
        ys.into_iter().for_each(|(output, place)| outputs[output] = Some(values[place]));
        outputs.into_iter().map(|output| output.expect("there is a value for each")).collect()
    }

    /// What is the same at every step, stacked.
    fn repeated(&self, value: Value, at: &mut Simplifier) -> Value {
        let aval = at.aval(value);
        let shape = stacked(aval, self.length).shape;
        let op = Broadcast { shape, axes: (1..=aval.rank()).collect() };
        at.record(op, vec![value])[0]
    }
}

/// The tensor of a type that has no element.
fn nothing(aval: Aval, at: &mut Simplifier) -> Value {
    let value = Arc::new(HostArray { aval, bytes: Vec::new() });
    at.record(Constant { value, name: String::new() }, Vec::new())[0]
}
