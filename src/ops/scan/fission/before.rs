//! Before the loop: products of what comes of the xs alone with what is the same at every step.

use std::collections::BTreeSet;

use super::{Depends, FEW_ROWS, Part, bytes_of_matrix, params};
use crate::ir::{Equation, Func, Value};
use crate::ops::Op;
use crate::ops::scan::ScanOp;
use crate::transform::simplify::Simplifier;

/// A matrix of so many bytes is worth being read once and not at each step; a smaller one is in the
/// nearest cache, and the product is as fast as reading its result would be.
const LARGE: usize = 96 << 10;

impl ScanOp {
    /// The scan and its inputs, with thin products of what comes of the xs, and what is computed of
    /// them alone, made before.
    pub(super) fn with_products_made_before(
        &self,
        inputs: &[Value],
        at: &mut Simplifier,
    ) -> (ScanOp, Vec<Value>) {
        let func = &self.body;
        let depends = self.depends();
        let stays = (self.clone(), inputs.to_vec());
        let mut moved = vec![false; func.value_count()];
        for equation in func.equations() {
            let level = equation.outputs().iter().map(|output| depends[output.index()]).max();
            let of_moved = equation.inputs().iter().any(|input| moved[input.index()]);
            let moves = of_moved || is_worth_it(func, equation, &depends);
            if level == Some(Depends::Step) && moves && equation.regions().is_empty() {
                equation.outputs().iter().for_each(|output| moved[output.index()] = true);
            }
        }
        // What these need is computed before as well, and if it is not cheap then only there.
        let mut needed = moved.clone();
        for equation in func.equations().iter().rev() {
            if equation.outputs().iter().any(|output| needed[output.index()]) {
                equation.inputs().iter().for_each(|input| needed[input.index()] = true);
                let level = equation.outputs().iter().map(|output| depends[output.index()]).max();
                if level == Some(Depends::Step) && !equation.op.rules().is_cheap() {
                    equation.outputs().iter().for_each(|output| moved[output.index()] = true);
                }
            }
        }
        let is_moved = |equation: &&Equation| equation.outputs().iter().any(|o| moved[o.index()]);
        let (gone, staying): (Vec<_>, Vec<_>) = func.equations().iter().partition(is_moved);
        let used = staying.iter().flat_map(|equation| equation.inputs()).chain(func.results());
        let handed: BTreeSet<Value> = used.copied().filter(|v| moved[v.index()]).collect();
        let handed: Vec<Value> = handed.into_iter().collect();
        let made = gone.iter().flat_map(|equation| equation.outputs());
        let memory = made.map(|&value| self.bytes_of_all(func.aval(value)));
        if handed.is_empty() || memory.fold(0, usize::saturating_add) > self.fission.memory() {
            return stays;
        }

        let (constants, carry, xs) = params(self);
        let mut before = Part::of(func);
        before.take(constants.iter().chain(&xs).copied());
        before.copy_for(&handed);
        let Some(made) = self.for_all_steps(&before.finish(&handed), inputs, &[], at) else {
            return stays;
        };

        let mut body = Part::of(func);
        body.take([constants, carry, xs, handed].concat());
        staying.into_iter().for_each(|equation| body.copy(equation));
        (ScanOp { body: body.finish(func.results()), ..*self }, [inputs, &made].concat())
    }
}

/// Whether the equation is a product of something with a few rows and something large that is the
/// same at every step.
fn is_worth_it(func: &Func, equation: &Equation, depends: &[Depends]) -> bool {
    let (Op::Dot(dot), &[x, y]) = (&equation.op, equation.inputs()) else { return false };
    let side = usize::from(depends[x.index()] == Depends::Invariant);
    let rows = dot.rows(func.aval([x, y][side]), side);
    rows <= FEW_ROWS && bytes_of_matrix(func, equation, depends).is_some_and(|b| b >= LARGE)
}
