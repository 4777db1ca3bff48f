//! A simpler while loop: less is carried, and less is computed at each step.

use super::WhileOp;
use crate::ir::Value;
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
        let body = Body { func: self.body.clone(), roles: roles(captures) };
        let (body, settled) = body.with_carry_settled(init);
        let condition = Body { func: self.condition.clone(), roles: roles(condition_captures) };
        let condition = condition.merged(&settled);
        let carry: Vec<usize> = (0..init.len()).filter(|&i| settled[i].is_none()).collect();

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
        let mut made = at.record(op, [condition_captures, captures, init].concat()).into_iter();
        let outputs = settled.into_iter().map(|value| value.or_else(|| made.next()));
        outputs.map(|output| output.expect("one output for each carry")).collect()
    }
}
