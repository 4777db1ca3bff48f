//! Products of joined parts are taken apart. With a matrix that is the same at every step it is the
//! sum of the products of the parts with parts of the matrix, which are cut before the loop; with
//! what differs it is the products of the parts, joined. Less is joined then (the gates of a cell
//! are not for each step, nor for all of them), and products are independent of each other. A
//! matrix whose rows would be summed along is transposed before the loop, unless it is multiplied
//! by one row.

use super::Depends;
use crate::ir::{Equation, Value};
use crate::ops::Op;
use crate::ops::binary::Binary;
use crate::ops::broadcast::Transpose;
use crate::ops::concatenate::Concatenate;
use crate::ops::dot::Dot;
use crate::ops::scan::ScanOp;
use crate::ops::slice::Slice;
use crate::transform::Env;
use crate::transform::simplify::Simplifier;

/// A product over all steps packs its operands anew, which pays from so many columns on.
const WIDE: usize = 128;

impl ScanOp {
    /// The scan with products of joined parts taken apart.
    pub(super) fn with_products_of_parts(&self) -> ScanOp {
        let func = &self.body;
        let depends = self.depends();
        let mut at = Simplifier::new();
        let params = at.params_of(func);
        let mut env = Env::with_params(func, params.iter().map(|param| param.value));
        for equation in func.equations() {
            let inputs = env.get_all(equation.inputs());
            at.stand_for(equation);
            let outputs = taken_apart(equation, &depends, &inputs, &mut at)
                .map(|value| vec![value])
                .unwrap_or_else(|| at.again(func, equation, inputs));
            env.set_all(equation.outputs(), outputs);
        }
        let results = env.get_all(func.results());
        ScanOp { body: at.finish(func.name(), params, results), ..*self }
    }
}

/// What stands for the product of these inputs, if it is one of parts.
fn taken_apart(
    equation: &Equation,
    depends: &[Depends],
    inputs: &[Value],
    at: &mut Simplifier,
) -> Option<Value> {
    let Op::Dot(dot) = &equation.op else { return None };
    let varies = |&value: &Value| depends[value.index()] != Depends::Invariant;
    let varies: Vec<bool> = equation.inputs().iter().map(varies).collect();
    let parts = |side: usize| joined(inputs[side], at).map(|(axis, parts)| (side, axis, parts));
    if let Some((side, axis, parts)) = (0..2).filter(|&side| varies[side]).find_map(parts) {
        let product = OfParts { dot, inputs, side, axis, parts };
        return match varies[1 - side] {
            false => product.summed(at),
            true => product.joined(at),
        };
    }
    (varies == [true, false]).then(|| product(dot, inputs, at))
}

/// The product of the left operand with the right one, which is the same at every step.
fn product(dot: &Dot, inputs: &[Value], at: &mut Simplifier) -> Value {
    let sums_rows = dot.rhs_contract == [1] && dot.rhs_batch.is_empty();
    if at.aval(inputs[1]).rank() != 2 || !sums_rows || dot.rows(at.aval(inputs[0]), 0) <= 1 {
        return at.record(dot.clone(), inputs.to_vec())[0];
    }
    let matrix = at.record(Transpose { permutation: vec![1, 0] }, vec![inputs[1]])[0];
    at.record(Dot { rhs_contract: vec![0], ..dot.clone() }, vec![inputs[0], matrix])[0]
}

/// The parts that a value is joined of, and the axis.
fn joined(value: Value, at: &Simplifier) -> Option<(usize, Vec<Value>)> {
    match at.definition(value).map(|equation| (&equation.op, equation.inputs())) {
        Some((Op::Concatenate(joined), parts)) => Some((joined.axis, parts.to_vec())),
        _ => None,
    }
}

/// A product of which operand `side` is joined of parts along `axis`.
struct OfParts<'a> {
    dot: &'a Dot,
    inputs: &'a [Value],
    side: usize,
    axis: usize,
    parts: Vec<Value>,
}

impl OfParts<'_> {
    /// A part and another operand, in the order of the product.
    fn operands(&self, part: Value, other: Value) -> Vec<Value> {
        let mut operands = vec![other; 2];
        operands[self.side] = part;
        operands
    }

    /// The products of the parts with the other operand, joined.
    fn joined(&self, at: &mut Simplifier) -> Option<Value> {
        if self.parts.iter().any(|&part| at.aval(part).shape[self.axis] < WIDE) {
            return None;
        }
        let ranks = [0, 1].map(|i| at.aval(self.inputs[i]).rank());
        let axis = self.dot.axis_of_result(self.side, self.axis, ranks)?;
        let other = self.inputs[1 - self.side];
        let product = |&part| at.record(self.dot.clone(), self.operands(part, other))[0];
        let products = self.parts.iter().map(product).collect();
        Some(at.record(Concatenate { axis }, products)[0])
    }

    /// The sum of the products of the parts with parts of the other operand.
    fn summed(&self, at: &mut Simplifier) -> Option<Value> {
        let contract = [&self.dot.lhs_contract, &self.dot.rhs_contract];
        let place = contract[self.side].iter().position(|&contracted| contracted == self.axis)?;
        let (matrix, along) = (self.inputs[1 - self.side], contract[1 - self.side][place]);
        let mut start = 0;
        let mut sum: Option<Value> = None;
        for &part in &self.parts {
            let size = at.aval(part).shape[self.axis];
            let slice = Slice::along(along, start..start + size, at.aval(matrix));
            let of_matrix = at.record(slice, vec![matrix])[0];
            let operands = self.operands(part, of_matrix);
            let product = match self.side {
                0 => product(self.dot, &operands, at),
                _ => at.record(self.dot.clone(), operands)[0],
            };
            sum = Some(match sum {
                None => product,
                Some(sum) => at.record(Binary::add(), vec![sum, product])[0],
            });
            start += size;
        }
        sum
    }
}
