//! Products of tall matrices along their rows, by a kernel of ours: gradients of weights are such
//! products over all steps of a loop.
//!
//! XLA:CPU packs the left matrix again for each product, and writes matrices that are joined before
//! it multiplies. `xla_extension/shim/tall_dot.cc` packs blocks of both as it reads them, and takes
//! the columns of the right one from several matrices.

use xla::XlaOp;

use super::cpu_kernel::{self, COLUMNS, made_after_transformations};
use super::dot::Dot;
use super::{Op, Operation};
use crate::aval::{Aval, DType};
use crate::error::Result;
use crate::ir::Value;
use crate::lower::Lowering;
use crate::transform::simplify::Simplifier;

/// The name under which XLA knows the kernel.
pub(crate) const TARGET: &str = "onetrace_tall_dot";

/// A product is worth it from so many multiplications and rows on: with fewer, XLA is as fast.
const ENOUGH: usize = 1 << 20;
const DEEP: usize = 256;

operation! {
    /// The product of the transpose of `f32[k,m]` and `f32[k,n]`: `f32[m,n]`. The columns of the
    /// second one are those of all further operands, `f32[k,n0]`, `f32[k,n1]`, .., all of which are
    /// multiples of 32.
    struct TallDot = "tall_dot" {}
}

impl Operation for TallDot {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        result(avals).map(|result| vec![result]).ok_or_else(|| {
            let wanted = format!(
                "matrices f32[k,m], f32[k,n0], f32[k,n1], .. of as many rows, all but the first of a \
                 multiple of {COLUMNS} columns"
            );
            cpu_kernel::wrong_operands(self, &wanted, avals)
        })
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], outputs: &[Aval]) -> Result<Vec<XlaOp>> {
        cpu_kernel::call(TARGET, inputs, &outputs[0])
    }

    made_after_transformations!();

    fn is_dot(&self) -> bool {
        true
    }

    fn multiplications(&self, inputs: &[&Aval]) -> usize {
        let columns = inputs[1..].iter().map(|matrix| matrix.shape[1]);
        inputs[0].size().saturating_mul(columns.fold(0, usize::saturating_add))
    }
}

/// The type of the product, if it is one.
fn result(avals: &[&Aval]) -> Option<Aval> {
    let (x, matrices) = avals.split_first()?;
    let &[depth, rows] = &x.shape[..] else { return None };
    let mut columns = 0usize;
    for matrix in matrices {
        match matrix.shape[..] {
            [k, n] if k == depth && n.is_multiple_of(COLUMNS) => {
                columns = columns.saturating_add(n);
            }
            _ => return None,
        }
    }
    let are_f32 = avals.iter().all(|aval| aval.dtype == DType::F32);
    (are_f32 && !matrices.is_empty()).then(|| x.with_shape([rows, columns]))
}

/// What stands for a product of two matrices along their rows.
pub(super) fn tall(dot: &Dot, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
    let (x, y) = (at.aval(inputs[0]), at.aval(inputs[1]));
    let (&[depth, _], &[_, columns]) = (&x.shape[..], &y.shape[..]) else { return None };
    let is_along_rows =
        dot.lhs_contract == [0] && dot.rhs_contract == [0] && dot.lhs_batch.is_empty();
    if !is_along_rows
        || depth < DEEP
        || x.size().saturating_mul(columns) < ENOUGH
        || result(&[x, y]).is_none()
    {
        return None;
    }
    let mut operands = vec![inputs[0]];
    for (part, columns) in joined(inputs[1], at) {
        operands.push(at.reshaped(part, &[depth, columns]));
    }
    Some(at.record(TallDot {}, operands))
}

/// What stands for the products of one matrix with several, joined along their columns: the product
/// with all of them.
pub(super) fn beside(axis: usize, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
    let mut operands: Vec<Value> = Vec::new();
    for &input in inputs {
        let equation = at.definition_used_once(input).filter(|_| axis == 1)?;
        match (&equation.op, equation.inputs().split_first()?) {
            (Op::TallDot(_), (x, matrices)) if operands.first().is_none_or(|first| first == x) => {
                if operands.is_empty() {
                    operands.push(*x);
                }
                operands.extend_from_slice(matrices);
            }
            _ => return None,
        }
    }
    Some(at.record(TallDot {}, operands))
}

/// The values that were joined along the last axis to make this matrix, with their columns; it
/// alone, if they are no panels.
fn joined(matrix: Value, at: &Simplifier) -> Vec<(Value, usize)> {
    let columns = |value: Value| at.aval(value).shape.last().copied().unwrap_or(1);
    let definition = |value| at.definition(value).map(|made| (&made.op, made.inputs()));
    // Rows may have been made one axis.
    let source = match definition(matrix) {
        Some((Op::Reshape(_), &[source])) if columns(source) == columns(matrix) => source,
        _ => matrix,
    };
    let parts = match definition(source) {
        Some((Op::Concatenate(op), parts)) if op.axis + 1 == at.aval(source).rank() => parts,
        _ => &[matrix],
    };
    let are_panels = parts.iter().all(|&part| columns(part).is_multiple_of(COLUMNS));
    let parts = if are_panels { parts } else { &[matrix] };
    parts.iter().map(|&part| (part, columns(part))).collect()
}
