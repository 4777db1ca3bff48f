//! What a step reads of the xs, where a scan is lowered: parts of a slice are read one by one.
//!
//! The gates of a cell are parts of what an x has for a step. XLA:CPU makes a function of what
//! several operations of a fusion read, here the slice of the step, and computes the gates one
//! element at a time then. A part that is read from the whole is an operand like any other.

use super::ScanOp;
use super::part::Part;
use crate::aval::Shape;
use crate::ir::{Equation, Func, Value};
use crate::ops::Op;

/// What a step reads of an x.
pub(super) struct Read {
    /// The position among the xs.
    pub x: usize,
    /// Where it begins in the slice of a step.
    pub starts: Vec<usize>,
    pub shape: Shape,
}

/// The body of a scan as it is lowered: its parameters are the constants, the carry and what is
/// read of the xs.
pub(super) struct Reading {
    pub body: Func,
    pub reads: Vec<Read>,
}

impl Reading {
    pub fn of(op: &ScanOp) -> Reading {
        let func = &op.body;
        let first_x = op.constants + op.carry;
        let xs: Vec<Value> = func.params().skip(first_x).map(|(value, _)| value).collect();
        let part_of = |equation: &Equation| match &equation.op {
            Op::Slice(slice) if slice.is_dense() => {
                let x = xs.iter().position(|x| *x == equation.inputs()[0])?;
                Some((x, slice.starts.clone()))
            }
            _ => None,
        };
        let mut body = Part::of(func);
        body.take(func.params().take(first_x).map(|(value, _)| value));
        let mut reads = Vec::new();
        let others = func.equations().iter().filter(|equation| part_of(equation).is_none());
        let whole: Vec<Value> =
            others.clone().flat_map(|e| e.inputs()).chain(func.results()).copied().collect();
        for (i, &x) in xs.iter().enumerate() {
            if whole.contains(&x) {
                body.take([x]);
                let shape = func.aval(x).shape.clone();
                reads.push(Read { x: i, starts: vec![0; shape.len()], shape });
            }
        }
        for equation in func.equations() {
            if let Some((x, starts)) = part_of(equation) {
                body.take(equation.outputs().iter().copied());
                let shape = func.aval(equation.outputs()[0]).shape.clone();
                reads.push(Read { x, starts, shape });
            }
        }
        others.for_each(|equation| body.copy(equation));
        Reading { body: body.finish(func.results()), reads }
    }
}
