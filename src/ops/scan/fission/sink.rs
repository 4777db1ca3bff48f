//! Into the loop: what was cheaply computed for all steps, element by element, and is sliced by the
//! loop. Inside it is made of the slices and never stored.

use std::collections::BTreeMap;

use super::params;
use crate::ir::{Equation, Value};
use crate::ops::Op;
use crate::ops::broadcast::Broadcast;
use crate::ops::scan::ScanOp;
use crate::ops::scan::part::Part;
use crate::transform::cut::{Node, cheapest};
use crate::transform::simplify::Simplifier;

impl ScanOp {
    /// The scan and its inputs, with as few bytes sliced at each step as the rest can be computed
    /// of.
    pub(super) fn with_xs_made_inside(
        &self,
        inputs: &[Value],
        at: &Simplifier,
    ) -> (ScanOp, Vec<Value>) {
        let (of_constants, init, of_xs) = self.split_inputs(inputs);
        let sliced = cheapest(of_xs, |value| {
            let cost = at.aval(value).saturating_bytes() / self.length;
            match at.definition(value) {
                Some(equation) if repeated(equation).is_some() => Node::Free,
                Some(equation) if equation.is_elementwise(|value| at.aval(value)) => {
                    Node::Computed(cost as u64 + 1, equation.inputs().to_vec())
                }
                _ => Node::Kept(cost as u64 + 1),
            }
        });
        if of_xs.iter().all(|x| sliced.contains(x)) {
            return (self.clone(), inputs.to_vec());
        }

        // What is computed inside, in the order in which it was recorded.
        let mut inside: BTreeMap<Value, &Equation> = BTreeMap::new();
        let mut to_see: Vec<Value> = of_xs.to_vec();
        while let Some(value) = to_see.pop() {
            let Some(equation) = at.definition(value).filter(|_| !sliced.contains(&value)) else {
                continue;
            };
            if inside.insert(value, equation).is_none() && repeated(equation).is_none() {
                to_see.extend(equation.inputs());
            }
        }
        let (constants, carry, xs) = params(self);
        let mut body = Part::of(&self.body);
        body.take(constants);
        let mut new_constants = of_constants.to_vec();
        let mut meaning: BTreeMap<Value, Value> = BTreeMap::new();
        for &equation in inside.values() {
            let Some((_, operand)) = repeated(equation) else { continue };
            if meaning.contains_key(&operand) {
                continue;
            }
            let known = at.definition(operand).filter(|e| matches!(e.op, Op::Constant(_)));
            let aval = at.aval(operand).clone();
            let value = match known {
                Some(e) => {
                    body.builder.equation(e.op.clone(), vec![], vec![aval], e.source().clone())[0]
                }
                None => {
                    new_constants.push(operand);
                    body.param(&aval, "")
                }
            };
            meaning.insert(operand, value);
        }
        body.take(carry);
        for &value in &sliced {
            meaning.insert(value, body.param(&at.aval(value).without_axis(0), ""));
        }
        for (&value, equation) in &inside {
            let (op, inputs) = match repeated(equation) {
                Some((broadcast, operand)) if at.aval(operand).shape == broadcast.shape[1..] => {
                    meaning.insert(value, meaning[&operand]);
                    continue;
                }
                Some((Broadcast { shape, axes }, operand)) => {
                    let axes = axes.iter().map(|axis| axis - 1).collect();
                    (Broadcast { shape: shape[1..].to_vec(), axes }.into(), vec![meaning[&operand]])
                }
                None => {
                    let inputs = equation.inputs().iter().map(|input| meaning[input]).collect();
                    (equation.op.clone(), inputs)
                }
            };
            let aval = at.aval(value).without_axis(0);
            let made = body.builder.equation(op, inputs, vec![aval], equation.source().clone());
            meaning.insert(value, made[0]);
        }
        for (x, value) in xs.into_iter().zip(of_xs) {
            body.env.set(x, meaning[value]);
        }
        self.body.equations().iter().for_each(|equation| body.copy(equation));
        let constants = new_constants.len();
        let sliced: Vec<Value> = sliced.into_iter().collect();
        let op = ScanOp { constants, body: body.finish(self.body.results()), ..*self };
        (op, [new_constants, init.to_vec(), sliced].concat())
    }
}

/// What the equation repeats for each step, if it does that.
fn repeated(equation: &Equation) -> Option<(&Broadcast, Value)> {
    match (&equation.op, equation.inputs()) {
        (Op::Broadcast(broadcast), &[operand]) if !broadcast.axes.contains(&0) => {
            Some((broadcast, operand))
        }
        _ => None,
    }
}
