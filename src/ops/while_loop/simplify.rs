//! A simpler while loop: less is carried, and less is computed at each step.

use super::WhileOp;
use crate::ir::Value;
use crate::transform::flagged;
use crate::transform::invariant::{Body, Role};
use crate::transform::simplify::Simplifier;

impl WhileOp {
    /// What stands for the outputs, recorded in `at`.
    pub fn simplified(&self, inputs: &[Value], at: &mut Simplifier) -> Vec<Value> {
        let (condition_captures, captures, init) = self.of_inputs(inputs);
        let roles = |captures: &[Value]| -> Vec<Role> {
            let constants = captures.iter().copied().map(Role::Constant);
            constants.chain(init.iter().map(|_| Role::Carried)).collect()
        };
        let func = self.condition.clone();
        let mut condition = Body { func, roles: roles(condition_captures) };
        let mut body = Body { func: self.body.clone(), roles: roles(captures) };
        let mut outputs = init.to_vec();
        let mut carry: Vec<usize> = (0..init.len()).collect();

        // A carry that every step passes on is a constant.
        loop {
            let passed = body.passed();
            let constants =
                carry.iter().zip(&passed).map(|(&i, &passed)| passed.then_some(init[i]));
            let constants: Vec<Option<Value>> = constants.collect();
            condition = condition.merged(&constants);
            body = body.merged_body(&constants);
            let stay: Vec<bool> = passed.into_iter().map(|passed| !passed).collect();
            carry = flagged(&carry, &stay);
            if !body.passed().contains(&true) {
                break;
            }
        }

        let (condition, _) = condition.hoisted(true, &[false], at);
        let (body, _) = body.hoisted(true, &vec![false; carry.len()], at);
        let (condition_captures, captures) = (condition.constants(), body.constants());
        let init: Vec<Value> = carry.iter().map(|&i| init[i]).collect();
        let op = WhileOp {
            max_steps: self.max_steps,
            condition_captures: condition_captures.len(),
            body_captures: captures.len(),
            condition: condition.func,
            body: body.func,
        };
        let made = at.record(op, [condition_captures, captures, init].concat());
        carry.into_iter().zip(made).for_each(|(i, value)| outputs[i] = value);
        outputs
    }
}
