//! Before the loop: products of what comes of the xs alone with what is the same at every step.

use std::collections::BTreeSet;

use super::{Depends, bytes_of_matrix, params};
use crate::ir::{Equation, Func, Value};
use crate::ops::Op;
use crate::ops::scan::ScanOp;
use crate::ops::scan::part::Part;
use crate::transform::simplify::Simplifier;

/// Operands of a product with at most so many rows at each step are thin: the product is bound by
/// reading the other operand.
const FEW_ROWS: usize = 8;

/// A matrix of so many bytes is worth being read once and not at each step; a smaller one is in the
/// nearest cache, and the product is as fast as reading its result would be. Several rows share
/// what is read of it, so that twice as many bytes are worth it.
const LARGE: usize = 96 << 10;

/// What leaves a loop for the place before it.
pub(super) struct Before {
    /// The values that are made before and used in the loop.
    handed: Vec<Value>,
    /// Which values are made before, by their index.
    moved: Vec<bool>,
    /// The bytes of those of one step.
    pub bytes: usize,
}

impl Before {
    /// Whether a value of the body is made before the loop.
    pub fn makes(&self, value: Value) -> bool {
        self.moved[value.index()]
    }
}

impl ScanOp {
    /// Thin products of what comes of the xs, and what is computed of them alone, if there are
    /// some.
    pub(super) fn plan_before(&self) -> Option<Before> {
        let func = &self.body;
        let depends = self.depends();
        let level = |equation: &Equation| {
            let outputs = equation.outputs().iter();
            outputs.map(|output| depends[output.index()]).max()
        };
        let mut moved = vec![false; func.value_count()];
        for equation in func.equations() {
            let of_moved = equation.inputs().iter().any(|input| moved[input.index()]);
            // The loop reads a part of what is made for a step where it is.
            let is_part = matches!(&equation.op, Op::Slice(slice) if slice.is_dense());
            let moves = (of_moved && !is_part) || is_worth_it(func, equation, &depends);
            if level(equation) == Some(Depends::Step) && moves && equation.regions().is_empty() {
                equation.outputs().iter().for_each(|output| moved[output.index()] = true);
            }
        }
        // What these need is computed before as well, and if it is not cheap then only there.
        let mut needed = moved.clone();
        for equation in func.equations().iter().rev() {
            if gives_any(equation, &needed) {
                equation.inputs().iter().for_each(|input| needed[input.index()] = true);
                let is_cheap = equation.op.rules().is_cheap();
                if level(equation) == Some(Depends::Step) && !is_cheap {
                    equation.outputs().iter().for_each(|output| moved[output.index()] = true);
                }
            }
        }
        let (gone, staying): (Vec<_>, Vec<_>) =
            func.equations().iter().partition(|equation| gives_any(equation, &moved));
        let made = gone.iter().flat_map(|equation| equation.outputs());
        let made = made.map(|&value| func.aval(value).saturating_bytes());
        let bytes = made.fold(0, usize::saturating_add);
        let used = staying.iter().flat_map(|equation| equation.inputs()).chain(func.results());
        let handed: BTreeSet<Value> = used.copied().filter(|v| moved[v.index()]).collect();
        let handed: Vec<Value> = handed.into_iter().collect();
        let plan = Before { handed, moved, bytes };
        (!plan.handed.is_empty()).then_some(plan)
    }

    /// The scan and its inputs, with what is planned made before.
    pub(super) fn with_products_made_before(
        self,
        plan: Before,
        inputs: &[Value],
        at: &mut Simplifier,
    ) -> (ScanOp, Vec<Value>) {
        let func = &self.body;
        let Before { handed, moved, .. } = plan;
        let (constants, carry, xs) = params(&self);
        let mut before = Part::of(func);
        before.take(constants.iter().chain(&xs).copied());
        before.copy_for(&handed, []);
        let Some(made) = self.for_all_steps(&before.finish(&handed), inputs, &[], at) else {
            return (self, inputs.to_vec());
        };

        let mut body = Part::of(func);
        body.take([constants, carry, xs, handed].concat());
        let staying = func.equations().iter().filter(|equation| !gives_any(equation, &moved));
        staying.for_each(|equation| body.copy(equation));
        let body = body.finish(func.results());
        (ScanOp { body, ..self }, [inputs, &made].concat())
    }
}

/// Whether an output of the equation is flagged.
fn gives_any(equation: &Equation, flags: &[bool]) -> bool {
    equation.outputs().iter().any(|output| flags[output.index()])
}

/// Whether the equation is a product of something with a few rows and something large that is the
/// same at every step.
fn is_worth_it(func: &Func, equation: &Equation, depends: &[Depends]) -> bool {
    let (Op::Dot(dot), &[x, y]) = (&equation.op, equation.inputs()) else { return false };
    let side = usize::from(depends[x.index()] == Depends::Invariant);
    let rows = dot.rows(func.aval([x, y][side]), side);
    let large = if rows == 1 { LARGE } else { 2 * LARGE };
    rows <= FEW_ROWS && bytes_of_matrix(func, equation, depends).is_some_and(|b| b >= large)
}
