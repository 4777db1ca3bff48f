//! Products in the loop as XLA does them best: a product of joined parts with a matrix that is the same
//! at every step is the sum of the products of the parts with parts of the matrix, which are cut
//! before the loop. Nothing is joined then, and the products are independent of each other.

use super::Depends;
use crate::ir::{Equation, Param, Value};
use crate::ops::Op;
use crate::ops::binary::Binary;
use crate::ops::dot::Dot;
use crate::ops::scan::ScanOp;
use crate::ops::slice::Slice;
use crate::transform::Env;
use crate::transform::simplify::Simplifier;

impl ScanOp {
    /// The scan with products of joined parts taken apart.
    pub(super) fn with_products_of_parts(&self) -> ScanOp {
        let func = &self.body;
        let depends = self.depends();
        let mut at = Simplifier::new();
        let params: Vec<Param> =
            func.params().map(|(value, name)| at.param(func.aval(value), name)).collect();
        let mut env = Env::with_params(func, params.iter().map(|param| param.value));
        for equation in func.equations() {
            let inputs = env.get_all(equation.inputs());
            let outputs = parts(equation, &depends)
                .and_then(|(dot, side)| sum_of_products(dot, side, &inputs, &mut at))
                .unwrap_or_else(|| at.again(func, equation, inputs));
            env.set_all(equation.outputs(), outputs);
        }
        let results = env.get_all(func.results());
        ScanOp { body: at.finish(func.name(), params, results), ..*self }
    }
}

/// The product, and which of its operands (0 is the left one) differs from step to step, if it has
/// one axis to contract and only one of them does.
fn parts<'a>(equation: &'a Equation, depends: &[Depends]) -> Option<(&'a Dot, usize)> {
    let (Op::Dot(dot), &[x, y]) = (&equation.op, equation.inputs()) else { return None };
    let is_invariant = [x, y].map(|value| depends[value.index()] == Depends::Invariant);
    let side = is_invariant.iter().position(|is_invariant| !is_invariant)?;
    (is_invariant[1 - side] && dot.lhs_contract.len() == 1).then_some((dot, side))
}

/// The sum of the products of the parts that operand `side` is joined of, with parts of the other.
fn sum_of_products(
    dot: &Dot,
    side: usize,
    inputs: &[Value],
    at: &mut Simplifier,
) -> Option<Vec<Value>> {
    let contract = [dot.lhs_contract[0], dot.rhs_contract[0]];
    let (op, parts) = at.definition(inputs[side]).map(|e| (&e.op, e.inputs().to_vec()))?;
    let Op::Concatenate(joined) = op else { return None };
    if joined.axis != contract[side] {
        return None;
    }
    let (matrix, axis) = (inputs[1 - side], contract[1 - side]);
    let mut start = 0;
    let mut sum: Option<Value> = None;
    for part in parts {
        let size = at.aval(part).shape[contract[side]];
        let mut limits = at.aval(matrix).shape.to_vec();
        let (mut starts, strides) = (vec![0; limits.len()], vec![1; limits.len()]);
        (starts[axis], limits[axis]) = (start, start + size);
        let of_matrix = at.record(Slice { starts, limits, strides }, vec![matrix])[0];
        let mut operands = vec![of_matrix; 2];
        operands[side] = part;
        let product = at.record(dot.clone(), operands)[0];
        sum = Some(match sum {
            None => product,
            Some(sum) => at.record(Binary::add(), vec![sum, product])[0],
        });
        start += size;
    }
    sum.map(|sum| vec![sum])
}
