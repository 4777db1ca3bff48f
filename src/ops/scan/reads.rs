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
        let part = |equation: &Equation| match &equation.op {
            Op::Slice(slice) if slice.is_dense() => {
                let x = xs.iter().position(|x| *x == equation.inputs()[0])?;
                Some((x, equation.outputs()[0], slice.starts.clone()))
            }
            _ => None,
        };
        let parts: Vec<_> = func.equations().iter().filter_map(part).collect();

        // An x is read whole if it is used otherwise as well.
        let mut uses = func.uses();
        parts.iter().for_each(|&(x, ..)| uses[xs[x].index()] -= 1);
        let whole = xs.iter().enumerate().filter(|(_, x)| parts.is_empty() || uses[x.index()] > 0);
        let whole = whole.map(|(i, &x)| (i, x, vec![0; func.aval(x).rank()]));
        let read: Vec<_> = whole.chain(parts.iter().cloned()).collect();
        // Most bodies stay as they are.
        let body = if parts.is_empty() {
            func.clone()
        } else {
            let mut body = Part::of(func);
            body.take(func.params().take(first_x).map(|(value, _)| value));
            body.take(read.iter().map(|&(_, value, _)| value));
            func.equations().iter().for_each(|equation| body.copy(equation));
            body.finish(func.results())
        };
        let reads = read.into_iter().map(|(x, value, starts)| Read {
            x,
            starts,
            shape: func.aval(value).shape.clone(),
        });
        Reading { body, reads: reads.collect() }
    }
}
